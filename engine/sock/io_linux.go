package sock

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Read receives into p, which must not be empty. n is 0 with errno 0 at the
// end of the stream.
func Read(fd int, p []byte) (n int, e syscall.Errno) {
	for {
		r, _, e := syscall.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd),
			uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), 0, 0, 0)
		if e == 0 {
			return int(r), 0
		}
		if e != unix.EINTR {
			return 0, e
		}
	}
}

// Forward receives into p, which must not be empty, and sends what came to another socket: Read and
// Write in one, for the sake of the small messages of a relay. Each call and return costs them more
// than elsewhere, since the kernel leaves the processor's predictions of both to itself.
func Forward(from, to int, p []byte) (read int, readErr syscall.Errno, written int, writeErr syscall.Errno) {
	n, _, e := syscall.RawSyscall6(unix.SYS_RECVFROM, uintptr(from),
		uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), 0, 0, 0)
	if e == unix.EINTR {
		read, e = Read(from, p)
		n = uintptr(read)
	}
	if e != 0 || n == 0 {
		return 0, e, 0, 0
	}
	w, _, we := syscall.RawSyscall6(unix.SYS_SENDTO, uintptr(to),
		uintptr(unsafe.Pointer(unsafe.SliceData(p))), n, unix.MSG_NOSIGNAL, 0, 0)
	if we == 0 {
		return int(n), 0, int(w), 0
	}
	if we == unix.EINTR {
		written, we = Write(to, p[:n])
	}
	return int(n), 0, written, we
}

// Read2 receives into a, then b, with one call. Both must not be empty.
func Read2(fd int, a, b []byte) (n int, e syscall.Errno) {
	var iov [2]unix.Iovec
	setVec(&iov[0], a)
	setVec(&iov[1], b)
	for {
		r, _, e := syscall.RawSyscall(unix.SYS_READV, uintptr(fd), uintptr(unsafe.Pointer(&iov)), 2)
		if e == 0 {
			return int(r), 0
		}
		if e != unix.EINTR {
			return 0, e
		}
	}
}

// Write sends p, which must not be empty, and returns how much the socket took.
func Write(fd int, p []byte) (n int, e syscall.Errno) {
	for {
		r, _, e := syscall.RawSyscall6(unix.SYS_SENDTO, uintptr(fd),
			uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), unix.MSG_NOSIGNAL, 0, 0)
		if e == 0 {
			return int(r), 0
		}
		if e != unix.EINTR {
			return 0, e
		}
	}
}

// MaxVec is the most pieces one Writev sends.
const MaxVec = 16

// Writev sends the first MaxVec pieces with one call.
func Writev(fd int, pieces [][]byte) (n int, e syscall.Errno) {
	var iov [MaxVec]unix.Iovec
	k := min(len(pieces), MaxVec)
	for i := range k {
		setVec(&iov[i], pieces[i])
	}
	return sendVec(fd, &iov[0], k)
}

// Write2 sends a, then b, with one call.
func Write2(fd int, a, b []byte) (n int, e syscall.Errno) {
	var iov [2]unix.Iovec
	setVec(&iov[0], a)
	setVec(&iov[1], b)
	return sendVec(fd, &iov[0], 2)
}

func sendVec(fd int, iov *unix.Iovec, k int) (int, syscall.Errno) {
	var msg unix.Msghdr
	msg.Iov = iov
	msg.SetIovlen(k)
	for {
		r, _, e := syscall.RawSyscall(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(&msg)), unix.MSG_NOSIGNAL)
		if e == 0 {
			return int(r), 0
		}
		if e != unix.EINTR {
			return 0, e
		}
	}
}

func setVec(v *unix.Iovec, p []byte) {
	v.Base = unsafe.SliceData(p)
	v.SetLen(len(p))
}

// Close closes fd. EINTR is not retried: the descriptor is gone then too.
func Close(fd int) { syscall.RawSyscall(unix.SYS_CLOSE, uintptr(fd), 0, 0) }

// ShutdownWrite sends a FIN after what was written.
func ShutdownWrite(fd int) syscall.Errno {
	_, _, e := syscall.RawSyscall(unix.SYS_SHUTDOWN, uintptr(fd), unix.SHUT_WR, 0)
	return e
}

func setInt(fd, level, name, value int) syscall.Errno {
	v := int32(value)
	_, _, e := syscall.RawSyscall6(unix.SYS_SETSOCKOPT, uintptr(fd), uintptr(level), uintptr(name),
		uintptr(unsafe.Pointer(&v)), unsafe.Sizeof(v), 0)
	return e
}

func getInt(fd, level, name int) (int, syscall.Errno) {
	var v int32
	size := uint32(unsafe.Sizeof(v))
	_, _, e := syscall.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), uintptr(name),
		uintptr(unsafe.Pointer(&v)), uintptr(unsafe.Pointer(&size)), 0)
	return int(v), e
}

// ResetOnClose makes the next Close send a RST and drop what is unsent.
func ResetOnClose(fd int) {
	linger := unix.Linger{Onoff: 1}
	syscall.RawSyscall6(unix.SYS_SETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_LINGER,
		uintptr(unsafe.Pointer(&linger)), unsafe.Sizeof(linger), 0)
}
