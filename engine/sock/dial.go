package sock

import (
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// NotBound is in the place of a socket that could not be bound to its local address.
const NotBound = -2

// DialTCP starts connecting to a, from local unless that is zero. It returns
// the socket with errno 0 (up at once) or of class InProgress; with any other
// errno there is no socket, and fd is NotBound where it was local that could not be had. TCP_NODELAY is on.
func DialTCP(a, local netip.AddrPort) (fd int, e syscall.Errno) {
	if !a.IsValid() {
		return -1, unix.EINVAL
	}
	a = netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
	family := unix.AF_INET6
	if a.Addr().Is4() {
		family = unix.AF_INET
	}
	if fd, e = newSocket(family); e != 0 {
		return -1, e
	}
	if local.IsValid() {
		if e = bindLocal(fd, local); e != 0 {
			Close(fd)
			return NotBound, e
		}
	}
	SetNoDelay(fd, true)
	e = connectAddr(fd, a)
	if e != 0 && Classify(e) != InProgress {
		Close(fd)
		return -1, e
	}
	return fd, e
}

// DialUnix connects to a unix socket; that never takes time. EAGAIN means that
// the listener's backlog is full.
func DialUnix(path string) (fd int, e syscall.Errno) {
	if fd, e = newSocket(unix.AF_UNIX); e != 0 {
		return -1, e
	}
	if e = connectPath(fd, path); e != 0 {
		Close(fd)
		return -1, e
	}
	return fd, 0
}
