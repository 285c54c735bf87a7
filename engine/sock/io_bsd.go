//go:build darwin || freebsd

package sock

import (
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// MaxVec is the most pieces one Writev sends.
const MaxVec = 16

// Read receives into p, which must not be empty. n is 0 with errno 0 at the
// end of the stream.
func Read(fd int, p []byte) (n int, e syscall.Errno) {
	for {
		n, err := unix.Read(fd, p)
		if err != unix.EINTR {
			return max(n, 0), errnoOf(err)
		}
	}
}

// Read2 receives into a, then b, both not empty, with up to two calls: a result
// shorter than both together means drained, as with one readv.
func Read2(fd int, a, b []byte) (n int, e syscall.Errno) {
	if n, e = Read(fd, a); n < len(a) || e != 0 {
		return n, e
	}
	m, e := Read(fd, b)
	if e != 0 || m == 0 {
		// What follows (an error, the end) is met again by the next read.
		return n, 0
	}
	return n + m, 0
}

// Write sends p, which must not be empty, and returns how much the socket took.
func Write(fd int, p []byte) (n int, e syscall.Errno) {
	for {
		n, err := unix.Write(fd, p)
		if err != unix.EINTR {
			return max(n, 0), errnoOf(err)
		}
	}
}

// Forward receives into p, which must not be empty, and sends what came to another socket.
func Forward(from, to int, p []byte) (read int, readErr syscall.Errno, written int, writeErr syscall.Errno) {
	n, e := Read(from, p)
	if n <= 0 {
		return 0, e, 0, 0
	}
	written, writeErr = Write(to, p[:n])
	return n, 0, written, writeErr
}

// Writev sends the pieces in order until the socket takes no more.
func Writev(fd int, pieces [][]byte) (n int, e syscall.Errno) {
	for _, p := range pieces {
		m, e := Write(fd, p)
		n += m
		if e != 0 && n == 0 {
			return 0, e
		}
		if m < len(p) {
			return n, 0
		}
	}
	return n, 0
}

// Write2 sends a, then b.
func Write2(fd int, a, b []byte) (n int, e syscall.Errno) {
	n, e = Write(fd, a)
	if e != 0 || n < len(a) {
		return n, e
	}
	m, _ := Write(fd, b) // an error here is met again by the next write
	return n + m, 0
}

// Close closes fd.
func Close(fd int) { _ = unix.Close(fd) }

// ShutdownWrite sends a FIN after what was written.
func ShutdownWrite(fd int) syscall.Errno { return errnoOf(unix.Shutdown(fd, unix.SHUT_WR)) }

func setInt(fd, level, name, value int) syscall.Errno {
	return errnoOf(unix.SetsockoptInt(fd, level, name, value))
}

func getInt(fd, level, name int) (int, syscall.Errno) {
	v, err := unix.GetsockoptInt(fd, level, name)
	return v, errnoOf(err)
}

// ResetOnClose makes the next Close send a RST and drop what is unsent.
func ResetOnClose(fd int) {
	_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
}

// Accept takes one connection from a listening socket: non-blocking,
// close-on-exec. remote is zero for unix sockets.
func Accept(fd int) (nfd int, remote netip.AddrPort, e syscall.Errno) {
	for {
		nfd, sa, err := unix.Accept(fd)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return -1, netip.AddrPort{}, errnoOf(err)
		}
		if e := prepare(nfd); e != 0 {
			Close(nfd)
			return -1, netip.AddrPort{}, e
		}
		return nfd, fromSockaddr(sa), 0
	}
}

func prepare(fd int) syscall.Errno {
	unix.CloseOnExec(fd)
	return errnoOf(unix.SetNonblock(fd, true))
}

func newSocket(family int) (int, syscall.Errno) {
	syscall.ForkLock.RLock()
	fd, err := unix.Socket(family, unix.SOCK_STREAM, 0)
	if err != nil {
		syscall.ForkLock.RUnlock()
		return -1, errnoOf(err)
	}
	unix.CloseOnExec(fd)
	syscall.ForkLock.RUnlock()
	if err := unix.SetNonblock(fd, true); err != nil {
		Close(fd)
		return -1, errnoOf(err)
	}
	return fd, 0
}

func bindLocal(fd int, local netip.AddrPort) syscall.Errno {
	return errnoOf(unix.Bind(fd, toSockaddr(local)))
}

func connectAddr(fd int, a netip.AddrPort) syscall.Errno {
	e := errnoOf(unix.Connect(fd, toSockaddr(a)))
	if e == unix.EINTR {
		return unix.EINPROGRESS // goes on in the kernel
	}
	return e
}

func connectPath(fd int, path string) syscall.Errno {
	return errnoOf(unix.Connect(fd, &unix.SockaddrUnix{Name: path}))
}

// ConnectResult tells how a connection attempt stands: 0 when it is up, an
// errno of class InProgress while it is not decided, else why it failed.
func ConnectResult(fd int, _ netip.AddrPort) syscall.Errno {
	if e := SocketError(fd); e != 0 {
		return e
	}
	if _, err := unix.Getpeername(fd); err == unix.ENOTCONN {
		return unix.EINPROGRESS
	}
	return 0
}

// LocalAddr returns the socket's own address; zero for unix sockets.
func LocalAddr(fd int) netip.AddrPort {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return netip.AddrPort{}
	}
	return fromSockaddr(sa)
}

func fromSockaddr(sa unix.Sockaddr) netip.AddrPort {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(withScope(netip.AddrFrom16(sa.Addr).Unmap(), sa.ZoneId), uint16(sa.Port))
	}
	return netip.AddrPort{}
}

func errnoOf(err error) syscall.Errno {
	if err == nil {
		return 0
	}
	if e, ok := err.(syscall.Errno); ok {
		return e
	}
	return unix.EIO
}
