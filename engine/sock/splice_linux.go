package sock

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// CanSplice says whether Splice exists on this system.
const CanSplice = true

// Splice moves up to n bytes between a pipe and a socket without copying them
// through user space. One of the two is a pipe.
func Splice(from, to, n int) (int, syscall.Errno) {
	const flags = 0x1 | 0x2 // SPLICE_F_MOVE | SPLICE_F_NONBLOCK
	for {
		r, _, e := syscall.RawSyscall6(unix.SYS_SPLICE, uintptr(from), 0, uintptr(to), 0, uintptr(n), flags)
		if e == 0 {
			return int(r), 0
		}
		if e != unix.EINTR {
			return 0, e
		}
	}
}

// ReadPipe reads from a pipe that has bytes.
func ReadPipe(fd int, p []byte) (n int, e syscall.Errno) {
	r, _, e := syscall.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
	if e != 0 {
		return 0, e
	}
	return int(r), 0
}

// NewPipe makes a non-blocking pipe of sizeBytes, or of what the system allows.
func NewPipe(sizeBytes int) (r, w, gotBytes int, e syscall.Errno) {
	var fds [2]int32
	_, _, e = syscall.RawSyscall(unix.SYS_PIPE2, uintptr(unsafe.Pointer(&fds)), unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if e != 0 {
		return -1, -1, 0, e
	}
	r, w = int(fds[0]), int(fds[1])
	// EPERM: over /proc/sys/fs/pipe-max-size or the user's pages; the default stays.
	got, _, e := syscall.RawSyscall(unix.SYS_FCNTL, uintptr(w), unix.F_SETPIPE_SZ, uintptr(sizeBytes))
	if e != 0 {
		got, _, e = syscall.RawSyscall(unix.SYS_FCNTL, uintptr(w), unix.F_GETPIPE_SZ, 0)
	}
	if e != 0 {
		Close(r)
		Close(w)
		return -1, -1, 0, e
	}
	return r, w, int(got), 0
}
