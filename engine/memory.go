package engine

import (
	"errors"
	"fmt"
	"slices"
	"syscall"

	"github.com/sluiceproxy/sluice/engine/poll"
	"github.com/sluiceproxy/sluice/engine/sock"
	"github.com/sluiceproxy/sluice/pool/buf"
)

// Memory is the network of connections within a loop: what is dialled is a listener of the same group, by its
// name, and both ends are connections of the dialling loop. No descriptor, no system call, no other loop.
const Memory = "memory"

// maxMemoryDepth is how many memory connections may lead to one another: the handler of an accepted one that
// dials makes one of the next depth. It ends listeners that lead to themselves.
const maxMemoryDepth = 64

var errMemoryDepth = fmt.Errorf("more than %d listeners of this process lead to each other", maxMemoryDepth)

// defaultMemoryBytes is ListenSpec.MemoryBytes when none is given.
const defaultMemoryBytes = 1 << 20

// memoryAddr is the address of a memory listener: its name.
type memoryAddr string

func (memoryAddr) Network() string  { return Memory }
func (a memoryAddr) String() string { return string(a) }

// memoryEnd is what a connection has in the place of a socket: the bytes its peer wrote and it has yet to read,
// and what sockets have besides bytes. Its methods take the place of system calls, with their results, so that a
// Conn is the same machine over either; readiness comes at the safe point (onMemory). Loop-owned, as both ends.
//
//	peer's Write -> in, <= limit -> own read
//
// When in is full the peer's write takes less and its connection is blocked, as by a full socket; it hears of room
// once half of in is free.
type memoryEnd struct {
	conn    *Conn // nil once closed
	peer    *memoryEnd
	name    string // dialled ends: the listener
	in      buf.Chain
	limit   int
	index   int         // in the loop's list
	events  poll.Events // to be told at the safe point
	depth   int         // through how many memory connections its handler was reached
	blocked bool        // a write found no room
	ended   bool        // the peer's FIN follows what is in
	reset   bool        // the peer's RST does
	abort   bool        // closing is a RST
}

// newMemory makes a connection without a peer.
func (l *Loop) newMemory(flags connFlags) *memoryEnd {
	c := l.newConn(-1, flags|fMemory|fUnix)
	m := &memoryEnd{conn: c, index: len(l.memories)}
	m.in.Init(&l.slabs)
	c.extend().memory = m
	l.memories = append(l.memories, m)
	return m
}

// dialMemory begins to connect; the listener gets its end at the safe point.
func (l *Loop) dialMemory(name string, h Handler) *Conn {
	m := l.newMemory(fConnecting)
	m.conn.handler = h
	m.name, m.depth = name, l.depth
	l.Defer(m)
	return m.conn
}

// Run connects a dialled end, or fails as a port does that nobody listens on.
func (m *memoryEnd) Run(l *Loop) {
	c := m.conn
	if c == nil { // closed meanwhile
		return
	}
	s := l.memoryListener(m.name)
	if s != nil && m.depth >= maxMemoryDepth {
		s.ln.refused.Add(1)
		c.ext.err = errMemoryDepth
		s = nil
	}
	if s == nil || !s.ln.admit() {
		c.dialFailed(syscall.ECONNREFUSED)
		return
	}
	o := l.newMemory(0)
	server := o.conn
	server.listener = s.part
	m.limit, o.limit = s.ln.memoryBytes, s.ln.memoryBytes
	m.peer, o.peer = o, m
	o.depth = m.depth + 1
	l.depth = o.depth
	server.handler = s.acceptor.OnAccept(server)
	l.depth = 0
	if server.handler == nil {
		s.ln.refused.Add(1)
		server.flags |= fQuiet
		server.end(LocalClose)
		c.dialFailed(syscall.ECONNREFUSED)
		return
	}
	c.flags |= fDoConnected
	c.pend()
}

// memoryListener returns the loop's end of the newest listener of a name that takes connections, or nil.
func (l *Loop) memoryListener(name string) *acceptSocket {
	all := l.inner[name]
	for i := len(all) - 1; i >= 0; i-- {
		if ln := all[i].ln; !ln.closed.Load() && !ln.paused.Load() {
			return all[i]
		}
	}
	return nil
}

// listenMemory is Listen for the network Memory.
func (g *Group) listenMemory(ln *Listener, spec *ListenSpec, accept func(l *Loop) Acceptor) (*Listener, error) {
	if spec.Addr == "" {
		return nil, fmt.Errorf("listen %s: needs a name", Memory)
	}
	ln.addr, ln.memoryBytes = memoryAddr(spec.Addr), spec.MemoryBytes
	if ln.memoryBytes <= 0 {
		ln.memoryBytes = defaultMemoryBytes
	}
	for _, l := range g.loops {
		ln.sockets = append(ln.sockets, &acceptSocket{ln: ln, part: ln, loop: l, fd: -1})
	}
	g.mu.Lock()
	if g.stopped {
		g.mu.Unlock()
		return nil, errors.New("listen: the group has stopped")
	}
	g.listeners = append(g.listeners, ln)
	g.mu.Unlock()
	for _, s := range ln.sockets {
		s.loop.do(func() {
			s.acceptor = accept(s.loop)
			if s.loop.inner == nil {
				s.loop.inner = make(map[string][]*acceptSocket)
			}
			s.loop.inner[spec.Addr] = append(s.loop.inner[spec.Addr], s)
		})
	}
	return ln, nil
}

// leaveMemory takes the socket of a memory listener off its loop.
func (s *acceptSocket) leaveMemory() {
	name := s.ln.addr.String()
	all := s.loop.inner[name]
	if i := slices.Index(all, s); i >= 0 {
		if all = slices.Delete(all, i, i+1); len(all) == 0 {
			delete(s.loop.inner, name)
		} else {
			s.loop.inner[name] = all
		}
	}
}

// tell has the connection hear of events at the safe point.
func (m *memoryEnd) tell(ev poll.Events) {
	if m.conn != nil {
		m.events |= ev
		m.conn.flags |= fDoMemory
		m.conn.pend()
	}
}

// depth is through how many memory connections the handler was reached.
func (c *Conn) depth() int {
	if c.flags&fMemory != 0 {
		return c.ext.memory.depth
	}
	return 0
}

// onMemory is what the poller does for sockets.
func (c *Conn) onMemory() {
	m := c.ext.memory
	ev := m.events
	m.events = 0
	c.loop.nowFresh = false
	c.onEvent(ev)
}

// read is read(2).
func (m *memoryEnd) read(p []byte) (n int, e syscall.Errno) {
	if m.in.Len() == 0 {
		switch {
		case m.reset:
			return 0, syscall.ECONNRESET
		case m.ended:
			return 0, 0
		}
		return 0, syscall.EAGAIN
	}
	var piece [1][]byte
	for n < len(p) && m.in.Peek(piece[:]) > 0 {
		k := copy(p[n:], piece[0])
		m.in.Consume(k)
		n += k
	}
	if m.peer.blocked && m.in.Len() <= m.limit/2 {
		m.peer.blocked = false
		m.peer.tell(poll.Writable)
	}
	return n, 0
}

// write is write(2).
func (m *memoryEnd) write(p []byte) (int, syscall.Errno) {
	o := m.peer
	if o.conn == nil {
		return 0, syscall.EPIPE
	}
	n := min(len(p), o.limit-o.in.Len())
	if n < len(p) {
		m.blocked = true
	}
	if n <= 0 {
		return 0, syscall.EAGAIN
	}
	o.in.Append(p[:n])
	o.tell(poll.Readable)
	return n, 0
}

// shutdown is shutdown(2) of the writing direction.
func (m *memoryEnd) shutdown() {
	m.peer.ended = true
	m.peer.tell(poll.Readable | poll.Hangup)
}

// close is close(2): unread bytes make it a RST.
func (m *memoryEnd) close(l *Loop) {
	m.conn = nil
	last := l.memories[len(l.memories)-1]
	last.index = m.index
	l.memories[m.index] = last
	l.memories[len(l.memories)-1] = nil
	l.memories = l.memories[:len(l.memories)-1]
	if o := m.peer; o != nil {
		ev := poll.Readable | poll.Hangup
		if m.abort || m.in.Len() > 0 {
			o.reset = true
			ev |= poll.Failed
		} else {
			o.ended = true
		}
		if o.blocked { // its next write fails
			o.blocked = false
			ev |= poll.Writable
		}
		o.tell(ev)
	}
	m.in.Release()
}

// readMemory is one read of a connection with nothing kept, and its delivery.
func (c *Conn) readMemory() int {
	b := c.loop.readBuf
	b = b[:min(len(b), int(c.readLimit))]
	n, e := c.ext.memory.read(b)
	if n <= 0 {
		c.readEnded(e)
		return 0
	}
	c.received(n, len(b))
	if used := c.deliver(b[:n]); used < n {
		c.keep(b[used:n], used)
	}
	return n
}

// The system calls of a connection, whatever it is of.

func (c *Conn) recv(p []byte) (int, syscall.Errno) {
	if c.flags&fMemory != 0 {
		return c.ext.memory.read(p)
	}
	return sock.Read(int(c.fd), p)
}

func (c *Conn) recv2(a, b []byte) (int, syscall.Errno) {
	if c.flags&fMemory == 0 {
		return sock.Read2(int(c.fd), a, b)
	}
	n, e := c.ext.memory.read(a)
	if n == len(a) && c.ext.memory.in.Len() > 0 {
		more, _ := c.ext.memory.read(b)
		n += more
	}
	return n, e
}

func (c *Conn) transmit(p []byte) (int, syscall.Errno) {
	if c.flags&fMemory != 0 {
		return c.ext.memory.write(p)
	}
	return sock.Write(int(c.fd), p)
}

func (c *Conn) transmit2(a, b []byte) (int, syscall.Errno) {
	if c.flags&fMemory == 0 {
		return sock.Write2(int(c.fd), a, b)
	}
	return c.ext.memory.writev([][]byte{a, b})
}

func (c *Conn) transmitV(pieces [][]byte) (int, syscall.Errno) {
	if c.flags&fMemory == 0 {
		return sock.Writev(int(c.fd), pieces)
	}
	return c.ext.memory.writev(pieces)
}

// writev is writev(2).
func (m *memoryEnd) writev(pieces [][]byte) (n int, e syscall.Errno) {
	for _, p := range pieces {
		k, e := m.write(p)
		n += k
		if k < len(p) {
			if n > 0 {
				e = 0
			}
			return n, e
		}
	}
	return n, 0
}

func (c *Conn) shutdownWrite() {
	if c.flags&fMemory != 0 {
		c.ext.memory.shutdown()
		return
	}
	sock.ShutdownWrite(int(c.fd))
}

// resetOnClose makes closing a RST.
func (c *Conn) resetOnClose() {
	if c.flags&fMemory != 0 {
		c.ext.memory.abort = true
	} else if c.fd >= 0 {
		sock.ResetOnClose(int(c.fd))
	}
}

func (c *Conn) socketError() syscall.Errno {
	switch {
	case c.flags&fMemory == 0:
		return sock.SocketError(int(c.fd))
	case c.ext.memory.reset:
		return syscall.ECONNRESET
	}
	return 0
}
