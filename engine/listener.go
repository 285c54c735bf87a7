package engine

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"

	"github.com/sluiceproxy/sluice/engine/sock"
)

// ListenSpec says where and how to listen.
type ListenSpec struct {
	// Network is tcp (also ""), tcp4, tcp6, unix or memory.
	Network string

	// Addr is "host:port" with a literal address (or none: all addresses), or the
	// path of a unix socket ("@name": abstract, Linux), or the name of a memory
	// listener: of several with the same name the newest one that is open gets the
	// connections. With port 0 the kernel picks one; Listener.Addr tells it. A "tcp" listener on [::] takes IPv4 too.
	Addr string

	// Backlog is how many connections may wait to be accepted, per loop; 0 is the
	// system's limit.
	Backlog int

	// NoReusePort makes all loops accept from one socket. Default: each has its
	// own (SO_REUSEPORT), and the kernel spreads connections over them. Unix
	// sockets are always shared.
	NoReusePort bool

	// ExactBalance gives each connection to the loop that has the fewest of this
	// listener's (Envoy's connection_balance_config.exact_balance), whichever accepted
	// it: for few and long connections, which the kernel spreads unevenly. One that
	// changes loops costs a wake-up and some microseconds. While a loop's mailbox is
	// full, or 128 connections are on their way to it, connections stay with the loop
	// that accepted them.
	ExactBalance bool

	// MaxConns bounds this listener's connections; further ones are closed at once
	// and counted. 0 means no bound.
	MaxConns int

	// V6Only makes a tcp6 or [::] listener take IPv6 only.
	V6Only bool

	// Mode is the permission of the unix socket's file; 0 leaves the umask's.
	Mode os.FileMode

	// AcceptsPerEvent bounds how many connections are accepted in one turn; 0
	// means 64.
	AcceptsPerEvent int

	// TCPKeepAlive is set on accepted connections.
	TCPKeepAlive KeepAlive

	// MemoryBytes bounds what is between the two ends of a memory connection, each
	// way; 0 means 1 MiB.
	MemoryBytes int
}

// ListenerStats are counts since the listener was opened.
type ListenerStats struct {
	Accepted     uint64 // handed to the Acceptor
	Refused      uint64 // closed at once: over a limit, or the Acceptor said no
	AcceptErrors uint64 // accept failed for another reason than the next two
	FDPauses     uint64 // accepting paused for want of descriptors or memory
	Active       uint64 // connections open now
}

// Listener accepts connections on all loops of a group. Its methods may be called
// from any goroutine.
type Listener struct {
	addr     net.Addr
	sockets  []*acceptSocket
	file     os.FileInfo // the unix socket's file; nil when it has none
	unix     bool
	shared   bool // the sockets are one, duplicated
	backlog  int
	perEvent int
	maxConns int64
	group    *Group

	memoryBytes int // memory listeners only, else 0

	// whole makes this one loop's share of an exactly balanced listener: just a count
	// (active), which connections of that loop are in besides the listener's own.
	whole   *Listener
	placing atomic.Int32 // loops that place a connection; Close waits for them

	mu     sync.Mutex // held by who closes; guards the descriptors of sockets
	closed atomic.Bool
	paused atomic.Bool

	active, accepted, refused, acceptErrors, fdPauses atomic.Int64
}

// Listen opens a listener on every loop: all sockets are open, so clients can
// connect, before any accepts. accept runs once on each loop and returns its
// Acceptor. Before or after Start.
func (g *Group) Listen(spec ListenSpec, accept func(l *Loop) Acceptor) (*Listener, error) {
	ln := &Listener{group: g, perEvent: spec.AcceptsPerEvent, backlog: spec.Backlog, maxConns: int64(spec.MaxConns)}
	if ln.perEvent <= 0 {
		ln.perEvent = acceptsPerEvent
	}
	if ln.backlog <= 0 {
		ln.backlog = sock.MaxBacklog
	}
	if spec.Network == Memory {
		return g.listenMemory(ln, &spec, accept)
	}
	fds, err := ln.openSockets(&spec, len(g.loops))
	if err != nil {
		return nil, fmt.Errorf("listen %s %s: %w", spec.Network, spec.Addr, err)
	}
	for i, l := range g.loops {
		if !ln.unix {
			spec.TCPKeepAlive.apply(fds[i]) // accepted connections inherit it
		}
		ln.sockets = append(ln.sockets, &acceptSocket{ln: ln, part: ln, loop: l, fd: fds[i]})
	}
	if spec.ExactBalance && len(g.loops) > 1 {
		ln.newParts()
	}
	g.mu.Lock()
	if g.stopped {
		g.mu.Unlock()
		for _, fd := range fds {
			sock.Close(fd)
		}
		return nil, errors.New("listen: the group has stopped")
	}
	g.listeners = append(g.listeners, ln)
	g.mu.Unlock()
	// All have their acceptor before any accepts: it may do so for another.
	ln.onEach(func(s *acceptSocket) { s.acceptor = accept(s.loop) })
	ln.onEach((*acceptSocket).open)
	return ln, nil
}

// onEach runs step on every loop whose socket is open, later than what was asked
// of the loop before.
func (l *Listener) onEach(step func(s *acceptSocket)) {
	for _, s := range l.sockets {
		running := s.loop.do(func() {
			if s.fd >= 0 {
				step(s)
			}
		})
		if !running { // the group was stopped just now
			s.shut()
		}
	}
}

// openSockets returns one descriptor per loop: own sockets with SO_REUSEPORT, or
// duplicates of one.
func (l *Listener) openSockets(spec *ListenSpec, n int) (fds []int, err error) {
	defer func() {
		if err != nil {
			for _, fd := range fds {
				sock.Close(fd)
			}
			l.removeFile()
		}
	}()
	opts := sock.ListenOptions{Backlog: spec.Backlog, V6Only: spec.V6Only || spec.Network == "tcp6"}
	opts.ReusePort = !spec.NoReusePort
	l.shared = spec.NoReusePort
	var addr netip.AddrPort
	switch spec.Network {
	case "unix":
		l.unix, l.shared = true, true
		l.addr = &net.UnixAddr{Name: spec.Addr, Net: "unix"}
	case "", "tcp", "tcp4", "tcp6":
		if addr, err = parseListen(spec.Network, spec.Addr); err != nil {
			return nil, err
		}
	default:
		return nil, errors.New("unknown network")
	}
	for i := range n {
		var fd int
		switch {
		case i > 0 && l.shared:
			fd, err = sock.Dup(fds[0])
		case l.unix:
			if fd, err = sock.ListenUnix(spec.Addr, spec.Mode, opts); err == nil && spec.Addr[0] != '@' {
				l.file, _ = os.Lstat(spec.Addr)
			}
		default:
			fd, err = sock.ListenTCP(addr, opts)
		}
		if err != nil {
			return fds, err
		}
		fds = append(fds, fd)
		if i == 0 && !l.unix {
			addr = netip.AddrPortFrom(addr.Addr(), sock.LocalAddr(fd).Port())
			l.addr = net.TCPAddrFromAddrPort(addr)
		}
	}
	return fds, nil
}

// parseListen reads "host:port". No host means all addresses: [::] for tcp, which
// takes IPv4 as well.
func parseListen(network, s string) (netip.AddrPort, error) {
	if len(s) > 0 && s[0] == ':' {
		host := "[::]"
		if network == "tcp4" {
			host = "0.0.0.0"
		}
		s = host + s
	}
	a, err := netip.ParseAddrPort(s)
	if err != nil {
		return a, err
	}
	a = netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
	if network == "tcp4" && !a.Addr().Is4() || network == "tcp6" && a.Addr().Is4() {
		return a, fmt.Errorf("%s is no %s address", a, network)
	}
	return a, nil
}

// Addr returns where the listener listens, with the real port when 0 was asked.
func (l *Listener) Addr() net.Addr { return l.addr }

// Pause leaves new clients waiting in the backlog until Resume or Close.
func (l *Listener) Pause() { l.paused.Store(true) }

// Resume ends Pause.
func (l *Listener) Resume() {
	l.paused.Store(false)
	for _, s := range l.sockets {
		s.loop.do(func() {
			if s.fd >= 0 {
				s.onReadable()
			}
		})
	}
}

// Stats returns the listener's counts.
func (l *Listener) Stats() ListenerStats {
	return ListenerStats{
		Accepted:     uint64(l.accepted.Load()),
		Refused:      uint64(l.refused.Load()),
		AcceptErrors: uint64(l.acceptErrors.Load()),
		FDPauses:     uint64(l.fdPauses.Load()),
		Active:       uint64(l.active.Load()),
	}
}

// admit counts a connection in, or refuses it over a limit.
func (l *Listener) admit() bool {
	if n := l.active.Add(1); l.maxConns > 0 && n > l.maxConns {
		l.active.Add(-1)
		l.refused.Add(1)
		return false
	}
	g := l.group
	if n := g.active.Add(1); g.opts.MaxConns > 0 && n > int64(g.opts.MaxConns) {
		g.active.Add(-1)
		l.active.Add(-1)
		l.refused.Add(1)
		return false
	}
	l.accepted.Add(1)
	return true
}

// release counts a connection out.
func (l *Listener) release() {
	if l.whole != nil {
		l.active.Add(-1)
		l = l.whole
	}
	l.active.Add(-1)
	l.group.active.Add(-1)
}
