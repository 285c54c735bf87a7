//go:build linux && (amd64 || arm64)

package bench

import (
	"net/netip"
	"syscall"
	"time"
	"unsafe"
)

// The calls below cannot block (the sockets are non-blocking), so they skip the scheduler's bookkeeping:
// that is what makes this generator cheaper than the proxies it measures. Buffers are never empty, and
// stay reachable because the pointer conversion is in the call expression itself.

const sockNonblock = syscall.SOCK_NONBLOCK | syscall.SOCK_CLOEXEC

func rawRead(fd int, b []byte) (int, syscall.Errno) {
	n, _, e := syscall.RawSyscall(syscall.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
	return int(n), e
}

func rawWrite(fd int, b []byte) (int, syscall.Errno) {
	n, _, e := syscall.RawSyscall6(syscall.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)),
		syscall.MSG_NOSIGNAL, 0, 0)
	return int(n), e
}

// rawSendfile sends up to n bytes of the file from the given offset on, without copying them.
func rawSendfile(fd, file, offset, n int) (int, syscall.Errno) {
	at := int64(offset)
	sent, _, e := syscall.RawSyscall6(syscall.SYS_SENDFILE, uintptr(fd), uintptr(file), uintptr(unsafe.Pointer(&at)), uintptr(n), 0, 0)
	return int(sent), e
}

// rawDiscard drops up to n received bytes without copying them (tcp(7), MSG_TRUNC).
func rawDiscard(fd int, n int64) (int64, syscall.Errno) {
	r, _, e := syscall.RawSyscall6(syscall.SYS_RECVFROM, uintptr(fd), 0, uintptr(n), syscall.MSG_TRUNC, 0, 0)
	return int64(r), e
}

func rawClose(fd int) {
	_, _, _ = syscall.RawSyscall(syscall.SYS_CLOSE, uintptr(fd), 0, 0)
}

// rawPoll is epoll_wait that returns at once.
func rawPoll(epfd int, events []syscall.EpollEvent) int {
	n, _, e := syscall.RawSyscall6(syscall.SYS_EPOLL_PWAIT, uintptr(epfd), uintptr(unsafe.Pointer(&events[0])),
		uintptr(len(events)), 0, 0, 0)
	if e != 0 {
		return 0
	}
	return int(n)
}

// newTimer returns a non-blocking timerfd on the monotonic clock.
func newTimer() (int, error) {
	fd, _, e := syscall.RawSyscall(syscall.SYS_TIMERFD_CREATE, clockMonotonic, syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if e != 0 {
		return -1, e
	}
	return int(fd), nil
}

const clockMonotonic = 1

// armTimer makes the timer fire once, after d; d must be positive.
func armTimer(fd int, d time.Duration) {
	spec := [2]syscall.Timespec{1: syscall.NsecToTimespec(int64(d))} // interval, value
	_, _, _ = syscall.RawSyscall6(syscall.SYS_TIMERFD_SETTIME, uintptr(fd), 0, uintptr(unsafe.Pointer(&spec)), 0, 0, 0)
}

// threadCPU returns the CPU time of the calling thread.
func threadCPU() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_THREAD, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func sockaddrOf(a netip.AddrPort) (family int, sa syscall.Sockaddr) {
	if ip := a.Addr().Unmap(); ip.Is4() {
		return syscall.AF_INET, &syscall.SockaddrInet4{Port: int(a.Port()), Addr: ip.As4()}
	}
	return syscall.AF_INET6, &syscall.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}
