package engine

import (
	"net/netip"
	"syscall"
	"time"

	"github.com/sluiceproxy/sluice/engine/sock"
)

// DialSpec says where to connect to.
type DialSpec struct {
	// Network is "tcp" (also "", "tcp4", "tcp6"), "unix" or Memory.
	Network string
	// Addr is the TCP destination.
	Addr netip.AddrPort
	// Path is the unix destination, where "@name" is the abstract name space (Linux), or
	// the name of a memory listener.
	Path string
	// Bind, unless zero, is the local address. With port 0 the kernel picks the port.
	Bind netip.AddrPort
	// Timeout bounds connecting; 0 leaves it to the kernel (minutes).
	Timeout time.Duration
	// KeepAlive are the TCP keep-alive settings of the connection.
	KeepAlive KeepAlive
}

// Dial starts connecting. It never returns nil: success arrives as OnConnected,
// failure as OnClosed with a Connect reason or FDLimit. Bytes may be written
// before; they wait. Without a zone name in the address nothing is allocated.
func (l *Loop) Dial(s DialSpec, h Handler) *Conn {
	if l.stopped.Load() {
		c := l.newConn(-1, fConnecting)
		c.handler = h
		c.end(LoopStopped)
		return c
	}
	if s.Network == Memory {
		return l.dialMemory(s.Path, h)
	}
	var fd int
	var e syscall.Errno
	flags := fConnecting
	if s.Network == "unix" {
		fd, e = sock.DialUnix(s.Path)
		flags |= fUnix
	} else {
		fd, e = sock.DialTCP(s.Addr, s.Bind)
	}
	c := l.newConn(max(fd, -1), flags)
	c.handler = h
	if s.Network != "unix" {
		c.remote = s.Addr
	}
	switch {
	case fd == sock.NotBound:
		c.errno = uint16(e)
		c.end(BindFailed)
		return c
	case fd < 0:
		c.dialFailed(e)
		return c
	}
	if s.Network != "unix" {
		s.KeepAlive.apply(fd)
	}
	if err := c.registerDialled(); err != nil {
		l.group.opts.Logger.Error("register a dialled connection", "error", err)
		c.end(ConnectError)
		return c
	}
	if e == 0 {
		c.flags |= fDoConnected
		c.pend()
	} else if s.Timeout > 0 {
		l.Arm(&c.extend().timer, s.Timeout)
	}
	return c
}
