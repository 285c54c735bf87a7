package peer

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// clockTick is the unit of CPU times in /proc (USER_HZ, 100 on every Linux architecture Go runs on).
const clockTick = 10 * time.Millisecond

// cpuMask is a kernel cpu_set_t for up to 1024 CPUs.
type cpuMask [16]uint64

func (m *cpuMask) call(trap uintptr, pid int) error {
	_, _, e := syscall.RawSyscall(trap, uintptr(pid), unsafe.Sizeof(*m), uintptr(unsafe.Pointer(m)))
	if e != 0 {
		return e
	}
	return nil
}

func only(cpu int) (*cpuMask, error) {
	var m cpuMask
	if cpu < 0 || cpu >= 64*len(m) {
		return nil, fmt.Errorf("no CPU %d", cpu)
	}
	m[cpu/64] = 1 << (cpu % 64)
	return &m, nil
}

// startOn starts cmd with all of its threads bound to cpu: a child inherits the affinity of the thread
// that forks it, so this thread moves there for the moment of the fork.
func startOn(cmd *exec.Cmd, cpu int) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before cpuMask
	if err := before.call(syscall.SYS_SCHED_GETAFFINITY, 0); err != nil {
		return fmt.Errorf("sched_getaffinity: %w", err)
	}
	mask, err := only(cpu)
	if err != nil {
		return err
	}
	if err := mask.call(syscall.SYS_SCHED_SETAFFINITY, 0); err != nil {
		return fmt.Errorf("cannot run on CPU %d: %w", cpu, err)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	err = cmd.Start()
	return errors.Join(err, before.call(syscall.SYS_SCHED_SETAFFINITY, 0))
}

// PinSelf moves every thread of this process to one CPU; threads made later inherit it.
func PinSelf(cpu int) error {
	mask, err := only(cpu)
	if err != nil {
		return err
	}
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	for _, t := range tasks {
		tid, err := strconv.Atoi(t.Name())
		if err != nil {
			return err
		}
		if err := mask.call(syscall.SYS_SCHED_SETAFFINITY, tid); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("cannot run on CPU %d: %w", cpu, err)
		}
	}
	return nil
}

// RaiseFileLimit lets this process and those it starts open up to n files, or as many as the system allows,
// and returns how many that is.
func RaiseFileLimit(n uint64) uint64 {
	var l syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l) != nil {
		return 0
	}
	want := syscall.Rlimit{Cur: max(n, l.Cur), Max: max(n, l.Max)} // raising Max needs privilege
	if syscall.Setrlimit(syscall.RLIMIT_NOFILE, &want) != nil {
		want = syscall.Rlimit{Cur: l.Max, Max: l.Max}
		if syscall.Setrlimit(syscall.RLIMIT_NOFILE, &want) != nil {
			return l.Cur
		}
	}
	return want.Cur
}

func killGroup(pgid int) { _ = syscall.Kill(-pgid, syscall.SIGKILL) }

// tree returns pid and its descendants, pid first.
func tree(pid int) []int {
	children := map[int][]int{}
	dirs, _ := os.ReadDir("/proc")
	for _, d := range dirs {
		child, err := strconv.Atoi(d.Name())
		if err != nil {
			continue
		}
		if f, err := statFields(child); err == nil {
			parent, _ := strconv.Atoi(f[statParent])
			children[parent] = append(children[parent], child)
		}
	}
	pids := []int{pid}
	for i := 0; i < len(pids); i++ {
		pids = append(pids, children[pids[i]]...)
	}
	return pids
}

// Indexes into what statFields returns; proc(5) numbers the fields of stat from 1, and these start at 3.
const (
	statParent = 4 - 3
	statRSS    = 24 - 3

	statEndedUtime = 16 - 3
)

// statFields returns the fields of /proc/pid/stat after the command, which may itself contain spaces.
func statFields(pid int) ([]string, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil, err
	}
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(f) <= statRSS {
		return nil, fmt.Errorf("/proc/%d/stat: %d fields", pid, len(f))
	}
	return f, nil
}

// usageOf reads one process; withEnded adds the children it has waited for.
func usageOf(pid int, withEnded bool) (u Usage, err error) {
	f, err := statFields(pid)
	if err != nil {
		return u, err
	}
	if u.CPU, err = cpuClock(pid); err != nil {
		return u, err
	}
	if withEnded {
		for _, s := range f[statEndedUtime : statEndedUtime+2] { // cutime cstime
			ticks, err := strconv.ParseInt(s, 10, 64)
			if err != nil {
				return u, fmt.Errorf("/proc/%d/stat: %w", pid, err)
			}
			u.CPU += time.Duration(ticks) * clockTick
		}
	}
	pages, err := strconv.ParseInt(f[statRSS], 10, 64)
	u.RSS = pages * int64(os.Getpagesize())
	return u, err
}

// cpuClock returns what all threads of a process, ended ones too, have used. /proc says the same in ticks of
// 10 ms, of which short measurements have few.
func cpuClock(pid int) (time.Duration, error) {
	const ofScheduler = 2 // CPUCLOCK_SCHED of clock_getcpuclockid(3)
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|ofScheduler), &ts); err != nil {
		return 0, fmt.Errorf("CPU clock of process %d: %w", pid, err)
	}
	return time.Duration(ts.Nano()), nil
}

// TimesOf reads the line of one CPU in /proc/stat.
func TimesOf(cpu int) (t CPUTimes, err error) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return t, err
	}
	name := fmt.Sprintf("cpu%d", cpu)
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) < 9 || f[0] != name {
			continue
		}
		// user nice system idle iowait irq softirq steal
		var ticks [8]time.Duration
		for i := range ticks {
			n, err := strconv.ParseInt(f[i+1], 10, 64)
			if err != nil {
				return t, fmt.Errorf("/proc/stat: %w", err)
			}
			ticks[i] = time.Duration(n) * clockTick
			t.Total += ticks[i]
		}
		t.Idle, t.Softirq, t.Steal = ticks[3]+ticks[4], ticks[6], ticks[7]
		return t, nil
	}
	return t, fmt.Errorf("/proc/stat has no %s", name)
}

// Machine describes the hardware and kernel in one line each.
func Machine() (kernel, cpu string) {
	var u syscall.Utsname
	if syscall.Uname(&u) == nil {
		kernel = "Linux " + text(u.Release[:]) + " " + text(u.Machine[:])
	}
	cpu = "unknown CPU"
	b, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(b)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			cpu = strings.TrimSpace(value)
			break
		}
	}
	return kernel, cpu
}

// text converts a C string of kernel characters, whose sign differs between architectures.
func text[C int8 | uint8](s []C) string {
	b := make([]byte, 0, len(s))
	for _, c := range s {
		if c == 0 {
			break
		}
		b = append(b, byte(c))
	}
	return string(b)
}
