package engine

import (
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/engine/poll"
	"github.com/sluiceproxy/sluice/engine/sock"
)

// These tests break a connection or a loop from within, where the kernel cannot be
// made to fail on demand.

// end is a handler that remembers how its connection ended.
type end struct {
	closed chan CloseReason
	errno  error
	onData func(c *Conn, view []byte) int
	onUp   func(c *Conn)
}

func newEnd() *end { return &end{closed: make(chan CloseReason, 2)} }

func (e *end) OnConnected(c *Conn) {
	if e.onUp != nil {
		e.onUp(c)
	}
}

func (e *end) OnData(c *Conn, view []byte) int {
	if e.onData != nil {
		return e.onData(c, view)
	}
	return len(view)
}
func (e *end) OnReadClosed(*Conn) {}
func (e *end) OnWritable(*Conn)   {}
func (e *end) OnClosed(c *Conn, r CloseReason) {
	e.errno = c.Err()
	e.closed <- r
}

func (e *end) want(t *testing.T, want CloseReason) {
	t.Helper()
	select {
	case r := <-e.closed:
		if r != want {
			t.Errorf("closed %v (%v), want %v", r, e.errno, want)
		}
	case <-time.After(10 * time.Second):
		t.Fatalf("never closed, want %v", want)
	}
}

type acceptFunc func(c *Conn) Handler

func (f acceptFunc) OnAccept(c *Conn) Handler { return f(c) }

type message func()

func (m message) Run() { m() }

// oneLoop starts a group of one loop and a listener.
func oneLoop(t *testing.T, accept acceptFunc) (*Loop, *Listener) {
	t.Helper()
	g, err := New(Options{Loops: 1, Logger: slog.New(slog.DiscardHandler)})
	if err == nil {
		err = g.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	ln, err := g.Listen(ListenSpec{Addr: "127.0.0.1:0"}, func(*Loop) Acceptor { return accept })
	if err != nil {
		t.Fatal(err)
	}
	return g.loops[0], ln
}

func onLoop(t *testing.T, l *Loop, f func()) {
	t.Helper()
	done := make(chan struct{})
	if !l.Post(message(func() { defer close(done); f() })) {
		t.Fatal("post refused")
	}
	<-done
}

func dialTest(t *testing.T, ln *Listener) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	return c
}

// TestAcceptErrorsThatGoOnDoNotSpin shuts the socket down behind the listener's
// back, so that each accept fails with EINVAL.
func TestAcceptErrorsThatGoOnDoNotSpin(t *testing.T) {
	l, ln := oneLoop(t, func(*Conn) Handler { return nil })
	s := ln.sockets[0]
	onLoop(t, l, func() {
		sock.StopListening(s.fd)
		s.onReadable()
		if !s.starved || !s.timer.Armed() {
			t.Errorf("backing off: %v, timer armed: %v", s.starved, s.timer.Armed())
		}
		if n := ln.Stats().AcceptErrors; n != acceptsPerEvent {
			t.Errorf("%d errors counted, want one turn of %d", n, acceptsPerEvent)
		}
		s.onReadable()
		if n := ln.Stats().AcceptErrors; n != acceptsPerEvent {
			t.Errorf("%d errors: it goes on while it backs off", n)
		}
		first := s.wait
		s.OnTimer(&s.timer)
		s.onReadable()
		if !s.starved || s.wait != 2*first || ln.Stats().FDPauses != 0 {
			t.Errorf("then: backing off %v for %v after %v, %d pauses", s.starved, s.wait, first, ln.Stats().FDPauses)
		}
	})
	_ = ln.Close()
	onLoop(t, l, func() {
		if l.starved != 0 || s.timer.Armed() || len(l.accepts) != 0 {
			t.Errorf("closed: %d starved, timer armed %v, %d sockets", l.starved, s.timer.Armed(), len(l.accepts))
		}
	})
}

func TestAnAcceptedConnectionThatCannotBeRegisteredIsClosed(t *testing.T) {
	e := newEnd()
	_, ln := oneLoop(t, func(c *Conn) Handler {
		if err := c.loop.poller.Add(c.FD()); err != nil { // the second time is an error
			t.Error(err)
		}
		return e
	})
	c := dialTest(t, ln)
	e.want(t, IOError)
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("the client's end is open")
	}
}

// TestADialledConnectionThatCannotBeRegisteredIsClosed: its loop does not run, and
// has a poller that is closed.
func TestADialledConnectionThatCannotBeRegisteredIsClosed(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	g, err := New(Options{Loops: 1, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	l := g.loops[0]
	good := l.poller
	if l.poller, err = poll.New(events{l}, g.opts.Logger); err != nil {
		t.Fatal(err)
	}
	_ = l.poller.Close()
	e := newEnd()
	c := l.Dial(DialSpec{Addr: ln.Addr().(*net.TCPAddr).AddrPort(), Timeout: time.Minute}, e)
	l.poller = good
	if !c.Closed() {
		t.Error("not closed")
	}
	l.safePoint()
	e.want(t, ConnectError)
	if l.wheel.Len() != 0 || l.conns != 0 {
		t.Errorf("%d timers, %d connections left", l.wheel.Len(), l.conns)
	}
	if err := g.Stop(context.Background()); err != nil {
		t.Error(err)
	}
}

// TestErrorsThatAreNoResetAreIOErrors puts a file in the socket's place.
func TestErrorsThatAreNoResetAreIOErrors(t *testing.T) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for name, use := range map[string]func(c *Conn){
		"reading": func(c *Conn) { c.flags |= fReadReady; c.ResumeRead() },
		"writing": func(c *Conn) { c.Write([]byte("x")) },
		"writing from the out chain": func(c *Conn) {
			c.Cork()
			c.Write([]byte("x"))
			c.CloseWrite()
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEnd()
			e.onData = func(c *Conn, view []byte) int {
				if err := syscall.Dup3(int(null.Fd()), c.FD(), syscall.O_CLOEXEC); err != nil {
					t.Error(err)
				}
				use(c)
				return len(view)
			}
			_, ln := oneLoop(t, func(*Conn) Handler { return e })
			_, _ = dialTest(t, ln).Write([]byte("go"))
			e.want(t, IOError)
			if e.errno != syscall.ENOTSOCK {
				t.Errorf("Err() %v", e.errno)
			}
		})
	}
}

// TestWriteFromEmptiesAPipe: a connection's bytes go through a pipe and from there
// by copying, to a socket that takes them at once and to one that does not.
func TestWriteFromEmptiesAPipe(t *testing.T) {
	for _, corked := range []bool{false, true} {
		sent := make([]byte, 40_000) // more than one read buffer
		for i := range sent {
			sent[i] = byte(i * 7)
		}
		l, ln := oneLoop(t, func(*Conn) Handler { return newEnd() })
		src, dst := dialTest(t, ln), dialTest(t, ln)
		var ends [2]*Conn
		byPort := func() {
			for _, c := range l.slots {
				if c == nil {
					continue
				}
				for i, end := range []net.Conn{src, dst} {
					if c.remote == end.LocalAddr().(*net.TCPAddr).AddrPort() {
						ends[i] = c
					}
				}
			}
		}
		for deadline := time.Now().Add(10 * time.Second); ends[0] == nil || ends[1] == nil; onLoop(t, l, byPort) {
			if time.Now().After(deadline) {
				t.Fatal("never accepted")
			}
		}
		onLoop(t, l, ends[0].PauseRead)
		_, _ = src.Write(sent)
		onLoop(t, l, func() {
			p := l.TakePipe()
			for p.Held() < len(sent) {
				if _, st := ends[0].SpliceTo(p, len(sent)-p.Held()); st != IOMoved && st != IOAgain {
					t.Fatalf("splice: %v", st)
				}
			}
			if corked {
				ends[1].Cork()
			}
			ends[1].WriteFrom(p)
			ends[1].Uncork()
			if p.Held() != 0 {
				t.Errorf("%d bytes still in the pipe", p.Held())
			}
			l.PutPipe(p)
		})
		got := make([]byte, len(sent))
		if _, err := io.ReadFull(dst, got); err != nil || string(got) != string(sent) {
			t.Errorf("corked %v: bytes differ, %v", corked, err)
		}
		// A pipe that has less than it should fails the connection: a gap would go unseen.
		onLoop(t, l, func() {
			p := l.TakePipe()
			p.held = 1
			ends[1].WriteFrom(p)
			if !ends[1].Closed() || ends[1].reason != IOError || p.held != 0 {
				t.Errorf("closed %v, reason %v", ends[1].Closed(), ends[1].reason)
			}
			l.PutPipe(p)
		})
	}
}

// TestResumeReadInOnClosedDoesNothing: the connection would be finished twice.
func TestResumeReadInOnClosedDoesNothing(t *testing.T) {
	e := newEnd()
	e.onData = func(c *Conn, _ []byte) int { return 0 }
	var conn *Conn
	l, ln := oneLoop(t, func(c *Conn) Handler { conn = c; return resumer{e} })
	_, _ = dialTest(t, ln).Write([]byte("kept"))
	for kept := 0; kept == 0; {
		onLoop(t, l, func() {
			if conn != nil {
				kept = conn.Kept()
			}
		})
	}
	onLoop(t, l, func() { conn.Close() })
	e.want(t, LocalClose)
	onLoop(t, l, func() {
		if l.pendingHead != nil || l.conns != 0 {
			t.Errorf("pending %v, %d connections", l.pendingHead, l.conns)
		}
	})
}

type resumer struct{ *end }

func (r resumer) OnClosed(c *Conn, why CloseReason) {
	c.ResumeRead()
	r.end.OnClosed(c, why)
}

// TestADialThatIsUpAtOnceConnectsOnce although an event comes before its safe point.
func TestADialThatIsUpAtOnceConnectsOnce(t *testing.T) {
	dir, err := os.MkdirTemp("", "sl")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := dir + "/s"
	l, ln := oneLoop(t, func(*Conn) Handler { return newEnd() })
	un, err := l.group.Listen(ListenSpec{Network: "unix", Addr: path}, func(*Loop) Acceptor {
		return acceptFunc(func(*Conn) Handler { return newEnd() })
	})
	if err != nil {
		t.Fatal(err)
	}
	_ = ln
	up := 0
	e := newEnd()
	e.onUp = func(*Conn) { up++ }
	onLoop(t, l, func() {
		c := l.Dial(DialSpec{Network: "unix", Path: path}, e)
		c.onEvent(poll.Writable)
		if up != 1 || c.Closed() {
			t.Errorf("connected %d times, closed %v", up, c.Closed())
		}
		l.safePoint()
		if up != 1 {
			t.Errorf("connected %d times", up)
		}
		c.Close()
	})
	e.want(t, LocalClose)
	_ = un.Close()
}
