package relay_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/engine"
	"github.com/sluiceproxy/sluice/engine/relay"
)

// outcome is what a session's owner saw of it.
type outcome struct {
	up, down uint64
	a, b     engine.CloseReason
	idled    bool
	events   []string // paused and resumed, "up" or "down", and flush
	wrong    []string // what must not happen
}

// session is a pooled object with a tunnel in it, as a proxy has them: it accepts,
// waits for early bytes when there are to be some, dials, relays, and is used again.
type session struct {
	relay.Tunnel
	s    *shop
	a, b *engine.Conn
	out  outcome
	over [2]bool // paused, up and down
	l    *link

	closed [2]bool // b, a
}

// shop is one loop's acceptor and its free sessions.
type shop struct {
	rig  *rig
	free []*session
}

func (s *shop) OnAccept(c *engine.Conn) engine.Handler {
	if len(s.free) == 0 {
		s.free = append(s.free, &session{s: s})
	}
	last := len(s.free) - 1
	x := s.free[last]
	s.free = s.free[:last]
	x.out = outcome{}
	x.a = c
	x.l = <-s.rig.links
	if x.l.early > 0 {
		c.SetReadLimit(x.l.early + 1) // a full one would not be read to its FIN
		return x
	}
	x.begin()
	return c.Handler()
}

func (x *session) begin() {
	if x.s.rig.late {
		x.a.SetHandler(lateUpstream{x})
		x.b = x.a.Loop().Dial(x.s.rig.origin, lateUpstream{x})
		x.s.rig.began <- x
		return
	}
	x.b = x.a.Loop().Dial(x.s.rig.origin, nil)
	x.relay()
	x.s.rig.began <- x
}

// lateUpstream keeps what b sends, and relays only when b has sent its FIN.
type lateUpstream struct{ x *session }

func (lateUpstream) OnConnected(*engine.Conn)                  {}
func (lateUpstream) OnData(*engine.Conn, []byte) int           { return 0 }
func (u lateUpstream) OnReadClosed(*engine.Conn)               { u.x.relay() }
func (lateUpstream) OnWritable(*engine.Conn)                   {}
func (lateUpstream) OnClosed(*engine.Conn, engine.CloseReason) {}

func (x *session) relay() {
	x.Start(x.a, x.b, x.s.rig.opts, x)
	x.hooked("began")
}

func (x *session) OnConnected(*engine.Conn)                  {}
func (x *session) OnReadClosed(*engine.Conn)                 { x.begin() }
func (x *session) OnWritable(*engine.Conn)                   {}
func (x *session) OnClosed(*engine.Conn, engine.CloseReason) {}

// OnData keeps early bytes until there are enough.
func (x *session) OnData(_ *engine.Conn, view []byte) int {
	if len(view) >= x.l.early && !x.l.fin {
		x.begin()
	}
	return 0
}

func way(up bool) (int, string) {
	if up {
		return 0, "up"
	}
	return 1, "down"
}

func (x *session) event(what string, up bool, was bool) {
	i, name := way(up)
	if x.over[i] != was {
		x.out.wrong = append(x.out.wrong, what+" "+name+" twice")
	}
	x.over[i] = !was
	if len(x.out.events) < 1000 {
		x.out.events = append(x.out.events, what+" "+name)
	}
	x.bounded()
	x.hooked(what)
}

func (x *session) hooked(what string) {
	if x.s.rig.hook != nil {
		x.s.rig.hook(x, what)
	}
}

func (x *session) OnRelayPaused(_ *relay.Tunnel, up bool) {
	if toB, toA := x.Pending(); (up && toB == 0) || (!up && toA == 0) {
		x.out.wrong = append(x.out.wrong, "paused with nothing pending")
	}
	x.event("paused", up, false)
}

func (x *session) OnRelayResumed(_ *relay.Tunnel, up bool) { x.event("resumed", up, true) }

func (x *session) OnRelayFlush(*relay.Tunnel) {
	if x.over[0] && x.a.Closed() {
		x.out.wrong = append(x.out.wrong, "flush of a direction that is paused")
	}
	x.out.events = append(x.out.events, "flush")
	x.hooked("flush")
}

// bounded checks the limits.
func (x *session) bounded() {
	up, down := x.Pending()
	for i, limit := range []int{x.s.rig.opts.LimitUp, x.s.rig.opts.LimitDown} {
		if n := []int{up, down}[i]; limit > 0 && n > limit && x.l.early == 0 {
			x.out.wrong = append(x.out.wrong, fmt.Sprintf("%d bytes pending, the limit is %d", n, limit))
		}
	}
}

func (x *session) OnRelayClosed(_ *relay.Tunnel, c *engine.Conn, up bool, _ engine.CloseReason) {
	if i, name := way(up); x.closed[i] || up != (c == x.b) {
		x.out.wrong = append(x.out.wrong, name+" closed twice, or another")
	} else {
		x.closed[i] = true
	}
	x.hooked("closed")
}

func (x *session) OnRelayDone(t *relay.Tunnel) {
	if &x.Tunnel != t {
		x.out.wrong = append(x.out.wrong, "another tunnel")
	}
	if x.closed != [2]bool{true, true} {
		x.out.wrong = append(x.out.wrong, "done with an end not closed")
	}
	if x.over != [2]bool{} {
		x.out.wrong = append(x.out.wrong, "done while paused")
	}
	if up, down := t.Pending(); up+down != 0 {
		x.out.wrong = append(x.out.wrong, "done with bytes pending")
	}
	x.out.up, x.out.down = t.Moved()
	x.out.a, x.out.b = t.Reasons()
	x.out.idled = t.Idled()
	x.a, x.b, x.closed = nil, nil, [2]bool{}
	x.s.free = append(x.s.free, x)
	x.l.done <- x.out
}

// rig relays from a listener to an origin, by TCP or by unix sockets.
type rig struct {
	t      testing.TB
	g      *engine.Group
	opts   relay.Options
	late   bool // relay only when the origin has sent its FIN
	close  func()
	origin engine.DialSpec
	front  net.Addr
	ln     net.Listener
	ends   []net.Conn
	links  chan *link                    // asked for
	began  chan *session                 // each session as it begins
	hook   func(x *session, what string) // called in each of the owner's events
}

// end is a peer's socket.
type end interface {
	net.Conn
	syscall.Conn
	CloseWrite() error
}

func newRig(t testing.TB, g *engine.Group, network string, o relay.Options) *rig {
	t.Helper()
	r := &rig{t: t, g: g, opts: o, links: make(chan *link, 16), began: make(chan *session, 16)}
	spec := engine.ListenSpec{Addr: "127.0.0.1:0"}
	addr := "127.0.0.1:0"
	if network == "unix" {
		dir, err := os.MkdirTemp("", "relay")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
		addr = filepath.Join(dir, "origin")
		spec = engine.ListenSpec{Network: "unix", Addr: filepath.Join(dir, "front")}
	}
	ln, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	r.ln = ln
	r.origin = dialSpec(ln.Addr())
	el, err := g.Listen(spec, func(*engine.Loop) engine.Acceptor { return &shop{rig: r} })
	if err != nil {
		t.Fatal(err)
	}
	r.front = el.Addr()
	r.close = func() {
		_ = el.Close()
		ln.Close()
		for _, c := range r.ends {
			c.Close()
		}
	}
	t.Cleanup(r.close)
	return r
}

func dialSpec(a net.Addr) engine.DialSpec {
	if a, ok := a.(*net.TCPAddr); ok {
		return engine.DialSpec{Addr: netip.MustParseAddrPort(a.String()), Timeout: 10 * time.Second}
	}
	return engine.DialSpec{Network: "unix", Path: a.String()}
}

// link is one relayed connection, seen from outside.
type link struct {
	t              testing.TB
	client, origin end
	early          int  // bytes the session waits for before it dials
	fin            bool // and a FIN
	done           chan outcome
	x              *session
}

// connect opens a relayed connection.
func (r *rig) connect() *link {
	r.t.Helper()
	l := r.knock(nil, false)
	l.accept(r)
	return l
}

// knock opens a connection whose session waits for early bytes, and for a FIN behind
// them if there is to be one; and sends these.
func (r *rig) knock(early []byte, fin bool) *link {
	r.t.Helper()
	l := &link{t: r.t, early: len(early), fin: fin, done: make(chan outcome, 1)}
	r.links <- l
	c, err := net.Dial(r.front.Network(), r.front.String())
	if err != nil {
		r.t.Fatal(err)
	}
	l.client = c.(end)
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	r.ends = append(r.ends, c)
	if _, err := c.Write(early); err != nil {
		r.t.Fatal(err)
	}
	if fin {
		_ = l.client.CloseWrite()
	}
	return l
}

func (l *link) accept(r *rig) {
	l.t.Helper()
	select {
	case l.x = <-r.began:
	case <-time.After(10 * time.Second):
		l.t.Fatal("no session began")
	}
	s, err := r.ln.Accept()
	if err != nil {
		l.t.Fatal(err)
	}
	l.origin = s.(end)
	_ = s.SetDeadline(time.Now().Add(20 * time.Second))
	r.ends = append(r.ends, s)
}

// wait returns the outcome, which must not be wrong in itself.
func (l *link) wait() outcome {
	l.t.Helper()
	select {
	case o := <-l.done:
		if len(o.wrong) > 0 {
			l.t.Fatalf("wrong: %q", o.wrong)
		}
		return o
	case <-time.After(15 * time.Second):
		l.t.Fatal("the tunnel never ended")
		return outcome{}
	}
}

// count returns how often the owner heard of an event.
func (o outcome) count(event string) (n int) {
	for _, e := range o.events {
		if e == event {
			n++
		}
	}
	return n
}

// loops returns a group of n loops that is stopped in the end.
func loops(t testing.TB, n int) *engine.Group {
	t.Helper()
	g, err := engine.New(engine.Options{Loops: n})
	if err == nil {
		err = g.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { halt(t, g) })
	return g
}

func halt(t testing.TB, g *engine.Group) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := g.Stop(ctx); err != nil {
		t.Error(err)
	}
}

// eventually polls for ok, which runs on the first loop.
func eventually(t testing.TB, g *engine.Group, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		got := false
		on(t, g, func() { got = ok() })
		if got {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

// stuff writes pieces of b until the relay has stopped reading that side: all
// buffers on the way are full. It returns how many bytes the kernel took.
func (l *link) stuff(g *engine.Group, from end, b []byte) (wrote int) {
	l.t.Helper()
	for deadline := time.Now().Add(15 * time.Second); ; {
		n, full := poke(l.t, from, b[wrote:])
		if wrote += n; wrote == len(b) {
			l.t.Fatal("nobody reads, yet all bytes were taken")
		}
		stopped := false
		if full {
			on(l.t, g, func() {
				src, dst := l.x.a, l.x.b
				if from == l.origin {
					src, dst = dst, src
				}
				stopped = src != nil && dst.WriteBlocked() && unread(src.FD())
			})
		}
		if stopped {
			if n, full := poke(l.t, from, b[wrote:]); n == 0 && full {
				return wrote
			} else {
				wrote += n
			}
		}
		if time.Now().After(deadline) {
			l.t.Fatal("the relay never stopped")
		}
	}
}

// poke writes what the socket takes at once; full says that it takes no more now.
func poke(t testing.TB, c end, b []byte) (n int, full bool) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var e error
	if err := raw.Write(func(fd uintptr) bool {
		n, e = syscall.Write(int(fd), b)
		return true
	}); err != nil {
		t.Fatal(err)
	}
	if e != nil && e != syscall.EAGAIN && e != syscall.EINTR {
		t.Fatal(e)
	}
	return max(n, 0), e == syscall.EAGAIN
}

// descriptors returns how many this process has open.
func descriptors(t testing.TB) int {
	t.Helper()
	ents, err := os.ReadDir("/dev/fd")
	if err != nil {
		t.Skip(err)
	}
	return len(ents)
}

// reset closes a TCP connection with a RST.
func reset(c end) {
	_ = c.(*net.TCPConn).SetLinger(0)
	c.Close()
}

// readRest reads to the end, or to an error that it returns.
func readRest(c io.Reader) ([]byte, error) {
	b, err := io.ReadAll(c)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return b, fmt.Errorf("the stream does not end: %w", err)
	}
	return b, err
}

// orderly reports whether both connections ended with FINs both ways.
func (o outcome) orderly() bool { return o.a == engine.PeerClosed && o.b == engine.PeerClosed }

// exchange sends b both ways.
func exchange(t *testing.T, a, b net.Conn, data []byte) {
	t.Helper()
	for _, way := range [][2]net.Conn{{a, b}, {b, a}} {
		go func() { _, _ = way[0].Write(data) }()
		got := make([]byte, len(data))
		if _, err := io.ReadFull(way[1], got); err != nil || !bytes.Equal(got, data) {
			t.Fatalf("bytes differ, %v", err)
		}
	}
}

// sendAll and receiveAll use a blocking descriptor, so that they allocate nothing.
func sendAll(t testing.TB, fd int, p []byte) {
	for len(p) > 0 {
		n, err := syscall.Write(fd, p)
		if err != nil && err != syscall.EINTR {
			t.Error(err)
			return
		}
		p = p[max(n, 0):]
	}
}

func receiveAll(t testing.TB, fd int, p []byte) {
	for len(p) > 0 {
		n, err := syscall.Read(fd, p)
		if err == syscall.EINTR {
			continue
		}
		if n <= 0 {
			t.Error(io.ErrUnexpectedEOF, err)
			return
		}
		p = p[n:]
	}
}
