package sock

import (
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// rawAddr is a socket address as the kernel sees it, built on the stack.
type rawAddr struct {
	any unix.RawSockaddrAny
	len uint32
}

func (r *rawAddr) setAddrPort(a netip.AddrPort) {
	if ip := a.Addr(); ip.Is4() {
		v4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(&r.any))
		v4.Family = unix.AF_INET
		v4.Port = swap16(a.Port())
		v4.Addr = ip.As4()
		r.len = unix.SizeofSockaddrInet4
	} else {
		v6 := (*unix.RawSockaddrInet6)(unsafe.Pointer(&r.any))
		v6.Family = unix.AF_INET6
		v6.Port = swap16(a.Port())
		v6.Addr = ip.As16()
		v6.Scope_id = scopeOf(ip)
		r.len = unix.SizeofSockaddrInet6
	}
}

// setPath reports false when path is empty or too long. "@name" is the abstract
// name space.
func (r *rawAddr) setPath(path string) bool {
	un := (*unix.RawSockaddrUnix)(unsafe.Pointer(&r.any))
	if path == "" || len(path) >= len(un.Path) {
		return false
	}
	un.Family = unix.AF_UNIX
	for i := range len(path) {
		un.Path[i] = int8(path[i])
	}
	r.len = uint32(unsafe.Offsetof(un.Path)) + uint32(len(path)) + 1
	if path[0] == '@' {
		un.Path[0] = 0
		r.len--
	}
	return true
}

func (r *rawAddr) addrPort() netip.AddrPort {
	switch r.any.Addr.Family {
	case unix.AF_INET:
		v4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(&r.any))
		return netip.AddrPortFrom(netip.AddrFrom4(v4.Addr), swap16(v4.Port))
	case unix.AF_INET6:
		v6 := (*unix.RawSockaddrInet6)(unsafe.Pointer(&r.any))
		return netip.AddrPortFrom(withScope(netip.AddrFrom16(v6.Addr).Unmap(), v6.Scope_id), swap16(v6.Port))
	}
	return netip.AddrPort{}
}

// swap16 changes between the host's and the network's byte order.
func swap16(p uint16) uint16 {
	b := (*[2]byte)(unsafe.Pointer(&p))
	return uint16(b[0])<<8 | uint16(b[1])
}

// Accept takes one connection from a listening socket: non-blocking,
// close-on-exec. remote is zero for unix sockets. An IPv4 peer of a dual-stack
// listener is reported as IPv4.
func Accept(fd int) (nfd int, remote netip.AddrPort, e syscall.Errno) {
	var r rawAddr
	for {
		r.len = unix.SizeofSockaddrAny
		n, _, e := syscall.RawSyscall6(unix.SYS_ACCEPT4, uintptr(fd), uintptr(unsafe.Pointer(&r.any)),
			uintptr(unsafe.Pointer(&r.len)), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
		if e == 0 {
			return int(n), r.addrPort(), 0
		}
		if e != unix.EINTR {
			return -1, netip.AddrPort{}, e
		}
	}
}

func newSocket(family int) (int, syscall.Errno) {
	fd, _, e := syscall.RawSyscall(unix.SYS_SOCKET, uintptr(family),
		unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if e != 0 {
		return -1, e
	}
	return int(fd), 0
}

// bindLocal binds a socket that will connect; with port 0 the kernel picks one
// only then, so ports are shared over destinations.
func bindLocal(fd int, local netip.AddrPort) syscall.Errno {
	if local.Port() == 0 {
		setInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	}
	var r rawAddr
	r.setAddrPort(local)
	_, _, e := syscall.RawSyscall(unix.SYS_BIND, uintptr(fd), uintptr(unsafe.Pointer(&r.any)), uintptr(r.len))
	return e
}

func connectAddr(fd int, a netip.AddrPort) syscall.Errno {
	var r rawAddr
	r.setAddrPort(a)
	return connectRaw(fd, &r)
}

func connectPath(fd int, path string) syscall.Errno {
	var r rawAddr
	if !r.setPath(path) {
		return unix.EINVAL
	}
	return connectRaw(fd, &r)
}

func connectRaw(fd int, r *rawAddr) syscall.Errno {
	for {
		_, _, e := syscall.RawSyscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&r.any)), uintptr(r.len))
		if e != unix.EINTR {
			return e
		}
	}
}

// ConnectResult tells how a connection attempt to a stands: 0 when it is up, an
// errno of class InProgress while it is not decided, else why it failed.
// Asking the kernel to connect again answers all three in one call: the first
// such call after success returns 0, later ones EISCONN (net/ipv4/af_inet.c).
func ConnectResult(fd int, a netip.AddrPort) syscall.Errno {
	e := connectAddr(fd, a)
	if e == unix.EISCONN {
		return 0
	}
	return e
}

// LocalAddr returns the socket's own address; zero for unix sockets.
func LocalAddr(fd int) netip.AddrPort {
	var r rawAddr
	r.len = unix.SizeofSockaddrAny
	_, _, e := syscall.RawSyscall(unix.SYS_GETSOCKNAME, uintptr(fd),
		uintptr(unsafe.Pointer(&r.any)), uintptr(unsafe.Pointer(&r.len)))
	if e != 0 {
		return netip.AddrPort{}
	}
	return r.addrPort()
}
