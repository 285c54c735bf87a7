//go:build !linux

package peer

import (
	"errors"
	"os/exec"
	"runtime"
)

var errUnsupported = errors.New("comparing proxies needs Linux: CPU times come from /proc")

func startOn(*exec.Cmd, int) error { return errUnsupported }

// PinSelf is an error where there is no sched_setaffinity.
func PinSelf(int) error { return errUnsupported }

// RaiseFileLimit does nothing and returns 0: there is nothing to measure here.
func RaiseFileLimit(uint64) uint64 { return 0 }

func killGroup(int) {}

func tree(pid int) []int { return []int{pid} }

func usageOf(int, bool) (Usage, error) { return Usage{}, errUnsupported }

// TimesOf is an error where there is no /proc.
func TimesOf(int) (CPUTimes, error) { return CPUTimes{}, errUnsupported }

// Machine describes the system.
func Machine() (kernel, cpu string) { return runtime.GOOS + " " + runtime.GOARCH, "unknown CPU" }
