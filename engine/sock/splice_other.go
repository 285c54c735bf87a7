//go:build !linux

package sock

import "syscall"

// CanSplice says whether Splice exists on this system.
const CanSplice = false

// Splice is not available here.
func Splice(_, _, _ int) (int, syscall.Errno) { return 0, syscall.ENOSYS }

// ReadPipe is not available here.
func ReadPipe(int, []byte) (n int, e syscall.Errno) { return 0, syscall.ENOSYS }

// NewPipe is not available here.
func NewPipe(int) (r, w, gotBytes int, e syscall.Errno) { return -1, -1, 0, syscall.ENOSYS }
