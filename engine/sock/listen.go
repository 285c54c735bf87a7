package sock

import (
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// ListenOptions says how to open a listening socket.
type ListenOptions struct {
	Backlog   int  // 0: the system's maximum
	ReusePort bool // several sockets may listen on the address
	V6Only    bool // an IPv6 socket takes no IPv4 connections
}

// ListenTCP opens a listening socket with TCP_NODELAY on, which accepted
// connections inherit. Cold.
func ListenTCP(a netip.AddrPort, o ListenOptions) (fd int, err error) {
	family := unix.AF_INET6
	if a.Addr().Is4() {
		family = unix.AF_INET
	}
	fd, e := newSocket(family)
	if e != 0 {
		return -1, os.NewSyscallError("socket", e)
	}
	if err := setUpTCP(fd, family, a, o); err != nil {
		Close(fd)
		return -1, err
	}
	return fd, nil
}

func setUpTCP(fd, family int, a netip.AddrPort, o ListenOptions) error {
	if e := setInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); e != 0 {
		return os.NewSyscallError("setsockopt SO_REUSEADDR", e)
	}
	if o.ReusePort {
		if e := setInt(fd, unix.SOL_SOCKET, reusePort, 1); e != 0 {
			return os.NewSyscallError("setsockopt SO_REUSEPORT", e)
		}
	}
	if family == unix.AF_INET6 {
		v := 0
		if o.V6Only {
			v = 1
		}
		if e := setInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, v); e != 0 {
			return os.NewSyscallError("setsockopt IPV6_V6ONLY", e)
		}
	}
	SetNoDelay(fd, true)
	if err := unix.Bind(fd, toSockaddr(a)); err != nil {
		return fmt.Errorf("bind %s: %w", a, err)
	}
	return listen(fd, o.Backlog)
}

// ListenUnix opens a listening unix socket at path ("@name": abstract, Linux). A
// socket file left there by an earlier process is removed. mode, unless 0, is
// set on the file. Cold.
func ListenUnix(path string, mode os.FileMode, o ListenOptions) (fd int, err error) {
	abstract := path != "" && path[0] == '@'
	if !abstract {
		if st, err := os.Lstat(path); err == nil && st.Mode()&os.ModeSocket != 0 {
			_ = os.Remove(path)
		}
	}
	fd, e := newSocket(unix.AF_UNIX)
	if e != 0 {
		return -1, os.NewSyscallError("socket", e)
	}
	if err = unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		Close(fd)
		return -1, fmt.Errorf("bind %s: %w", path, err)
	}
	if mode != 0 && !abstract {
		err = os.Chmod(path, mode)
	}
	if err == nil {
		err = listen(fd, o.Backlog)
	}
	if err != nil {
		Close(fd)
		if !abstract {
			_ = os.Remove(path)
		}
		return -1, err
	}
	return fd, nil
}

// MaxBacklog asks for the system's limit: kernels cut it to theirs.
const MaxBacklog = 65535

func listen(fd, backlog int) error {
	if backlog <= 0 {
		backlog = MaxBacklog
	}
	return os.NewSyscallError("listen", unix.Listen(fd, backlog))
}

// Dup returns another descriptor of the same socket, close-on-exec.
func Dup(fd int) (int, error) {
	nfd, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	return nfd, os.NewSyscallError("fcntl F_DUPFD_CLOEXEC", err)
}

// StopListening makes a listening socket refuse connections while its
// descriptor stays valid, so another goroutine may call it. TCP connections that
// wait to be accepted are reset; those of a unix socket can still be accepted.
func StopListening(fd int) { _ = unix.Shutdown(fd, unix.SHUT_RDWR) }
