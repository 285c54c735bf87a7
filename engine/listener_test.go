package engine_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/engine"
)

func closedByPeer(t *testing.T, c net.Conn) bool {
	t.Helper()
	_, err := c.Read(make([]byte, 1))
	return err != nil && !errors.Is(err, os.ErrDeadlineExceeded)
}

func TestMaxConns(t *testing.T) {
	for _, tc := range []struct {
		name string
		o    engine.Options
		s    engine.ListenSpec
	}{
		{"of the listener", engine.Options{Loops: 2}, engine.ListenSpec{MaxConns: 3}},
		{"of the group", engine.Options{Loops: 2, MaxConns: 3}, engine.ListenSpec{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g := group(t, tc.o)
			tc.s.Network, tc.s.Addr = "tcp", "127.0.0.1:0"
			ln := serve(t, g, tc.s, func(*engine.Conn) engine.Handler {
				return &peer{onData: echo, onReadClosed: (*engine.Conn).Close}
			})
			var in []net.Conn
			for range 3 {
				c := dialNet(t, ln)
				_, _ = c.Write([]byte("x"))
				if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
					t.Fatal(err)
				}
				in = append(in, c)
			}
			if !closedByPeer(t, dialNet(t, ln)) {
				t.Error("a fourth connection was let in")
			}
			st := ln.Stats()
			if st.Accepted != 3 || st.Refused != 1 || st.Active != 3 {
				t.Errorf("stats %+v", st)
			}
			in[0].Close()
			eventually(t, "a place is free", func() bool { return ln.Stats().Active == 2 })
			c := dialNet(t, ln)
			_, _ = c.Write([]byte("x"))
			if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
				t.Errorf("refused with a place free: %v", err)
			}
		})
	}
}

func TestAnAcceptorMayRefuse(t *testing.T) {
	g := group(t, engine.Options{Loops: 1})
	ln := serve(t, g, engine.ListenSpec{}, func(*engine.Conn) engine.Handler { return nil })
	if !closedByPeer(t, dialNet(t, ln)) {
		t.Error("let in")
	}
	eventually(t, "counted", func() bool { return ln.Stats().Refused == 1 && g.Active() == 0 })
}

func TestServerFirstAndCloseInOnAccept(t *testing.T) {
	g := group(t, engine.Options{Loops: 1})
	p := &peer{}
	ln := serve(t, g, engine.ListenSpec{}, func(c *engine.Conn) engine.Handler {
		c.Write([]byte("hello"))
		c.Close()
		return p
	})
	if b, err := io.ReadAll(dialNet(t, ln)); string(b) != "hello" || err != nil {
		t.Fatalf("got %q, %v", b, err)
	}
	p.wantClosed(t, engine.LocalClose)
}

func noDelay(fd int) bool {
	v, err := syscall.GetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY)
	return err == nil && v != 0
}

func TestAcceptedSocketsInheritNoDelay(t *testing.T) {
	g := group(t, engine.Options{Loops: 1})
	on := make(chan bool, 2)
	ln := serve(t, g, engine.ListenSpec{}, func(c *engine.Conn) engine.Handler {
		on <- noDelay(c.FD())
		c.SetNoDelay(false)
		on <- noDelay(c.FD())
		return &peer{}
	})
	dialNet(t, ln)
	if !<-on || <-on {
		t.Error("TCP_NODELAY is not on at first and off when asked")
	}
}

func TestPausedListenerKeepsClientsWaiting(t *testing.T) {
	g := group(t, engine.Options{Loops: 1})
	ln := serve(t, g, engine.ListenSpec{}, func(*engine.Conn) engine.Handler { return &peer{onData: echo} })
	ln.Pause()
	c := dialNet(t, ln)
	_, _ = c.Write([]byte("x"))
	for range 20 {
		on(t, g.Loops()[0], func() {})
	}
	if n := ln.Stats().Accepted; n != 0 {
		t.Fatalf("%d accepted while paused", n)
	}
	ln.Resume()
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
}

func TestClosedListenerRefusesAndConnectionsStay(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		dir, err := os.MkdirTemp("", "sl")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		spec := engine.ListenSpec{Network: network, Addr: "127.0.0.1:0"}
		if network == "unix" {
			spec.Addr, spec.Mode = filepath.Join(dir, "s"), 0o600
		}
		g := group(t, engine.Options{Loops: 2})
		ln := serve(t, g, spec, func(*engine.Conn) engine.Handler { return &peer{onData: echo} })
		if network == "unix" {
			if st, err := os.Stat(spec.Addr); err != nil || st.Mode().Perm() != 0o600 {
				t.Errorf("mode %v, %v", st.Mode(), err)
			}
		}
		c := dialNet(t, ln)
		b := make([]byte, 1)
		for i := range 2 {
			_, _ = c.Write([]byte("x"))
			if _, err := io.ReadFull(c, b); err != nil {
				t.Fatal(err)
			}
			if i == 0 {
				if err := ln.Close(); err != nil {
					t.Fatal(err)
				}
				_ = ln.Close() // twice is once
			}
		}
		if _, err := net.Dial(network, ln.Addr().String()); err == nil {
			t.Errorf("%s: still accepting", network)
		}
		if _, err := os.Stat(spec.Addr); network == "unix" && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the socket's file is still there: %v", err)
		}
	}
}

func TestListenErrors(t *testing.T) {
	g := group(t, engine.Options{Loops: 2})
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, s := range []engine.ListenSpec{
		{Network: "tcp", Addr: taken.Addr().String()},
		{Network: "tcp", Addr: "localhost:0"},
		{Network: "tcp4", Addr: "[::1]:0"},
		{Network: "tcp6", Addr: "127.0.0.1:0"},
		{Network: "udp", Addr: "127.0.0.1:0"},
		{Network: "unix", Addr: "/nonexistent/s"},
		{Network: "tcp", Addr: "192.0.2.1:0"},
	} {
		if ln, err := g.Listen(s, nil); err == nil {
			t.Errorf("%+v: listens on %v", s, ln.Addr())
		}
	}
}

func TestDualStackListenerReportsIPv4(t *testing.T) {
	g := group(t, engine.Options{Loops: 1})
	got := make(chan string, 1)
	ln := serve(t, g, engine.ListenSpec{Network: "tcp", Addr: ":0"}, func(c *engine.Conn) engine.Handler {
		got <- c.RemoteAddr().Addr().String() + " " + c.LocalAddr().Addr().String()
		return &peer{}
	})
	c, err := net.Dial("tcp4", net.JoinHostPort("127.0.0.1", portOf(ln)))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if s := <-got; s != "127.0.0.1 127.0.0.1" {
		t.Errorf("addresses %q", s)
	}
}

func portOf(ln *engine.Listener) string {
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	return port
}

// TestOutOfDescriptors lowers the limit to what is in use, lets a client wait in
// the backlog, and gives the limit back.
func TestOutOfDescriptors(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("counts /proc/self/fd")
	}
	g := group(t, engine.Options{Loops: 1})
	l := g.Loops()[0]
	ln := serve(t, g, engine.ListenSpec{}, func(*engine.Conn) engine.Handler {
		return &peer{onData: echo, onReadClosed: (*engine.Conn).Close}
	})
	first := dialNet(t, ln)
	_, _ = first.Write([]byte("x"))
	if _, err := io.ReadFull(first, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	ln.Pause()
	c := dialNet(t, ln)
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	low := old
	low.Cur = 3 // below every number that is free
	restore := func() { _ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &old) }
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &low); err != nil {
		t.Fatal(err)
	}
	defer restore()
	ln.Resume()
	eventually(t, "the pause is counted", func() bool { return ln.Stats().FDPauses > 0 })
	p := &peer{}
	dialOn(t, l, engine.DialSpec{Addr: ln.Addr().(*net.TCPAddr).AddrPort()}, p)
	p.wantClosed(t, engine.FDLimit)
	if n := ln.Stats().FDPauses; n > 50 {
		t.Errorf("%d pauses: it spins", n)
	}
	restore()
	_, _ = c.Write([]byte("y"))
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Fatalf("the waiting client was forgotten: %v", err)
	}
}

func TestDrainAndStop(t *testing.T) {
	g := group(t, engine.Options{Loops: 2})
	p := &peer{onData: echo, onReadClosed: (*engine.Conn).Close}
	ln := serve(t, g, engine.ListenSpec{}, func(*engine.Conn) engine.Handler { return p })
	c := dialNet(t, ln)
	_, _ = c.Write([]byte("x"))
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Millisecond)
	defer cancel()
	if err := g.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("drained with a connection open: %v", err)
	}
	if _, err := net.Dial("tcp", ln.Addr().String()); err == nil {
		t.Error("draining, yet accepting")
	}
	c.Close()
	if err := g.Drain(context.Background()); err != nil {
		t.Error(err)
	}
	p.wantClosed(t, engine.LocalClose)
}

func TestStopResetsConnectionsAndRefusesWork(t *testing.T) {
	g := group(t, engine.Options{Loops: 2})
	l := g.Loops()[0]
	p, redial := &peer{}, &peer{}
	ln := serve(t, g, engine.ListenSpec{}, func(*engine.Conn) engine.Handler { return p })
	p.onClosed = func(c *engine.Conn) { c.Loop().Dial(engine.DialSpec{}, redial) }
	c := dialNet(t, ln)
	eventually(t, "accepted", func() bool { return g.Active() == 1 })
	if err := g.Stop(context.Background()); err != nil {
		t.Fatal(err)
	}
	p.wantClosed(t, engine.LoopStopped)
	redial.wantClosed(t, engine.LoopStopped)
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("client reads %v", err)
	}
	if l.Post(&job{func() { t.Error("ran after the stop") }}) {
		t.Error("post accepted after the stop")
	}
	if _, err := g.Listen(engine.ListenSpec{Addr: "127.0.0.1:0"}, nil); err == nil {
		t.Error("listens after the stop")
	}
	if err := g.Start(); err == nil {
		t.Error("started again")
	}
}

func TestListenBeforeStartAndStopWithoutStart(t *testing.T) {
	g, err := engine.New(engine.Options{Loops: 2})
	if err != nil {
		t.Fatal(err)
	}
	before := len(openFDs(t))
	ln := serve(t, g, engine.ListenSpec{}, func(*engine.Conn) engine.Handler { return &peer{} })
	dialNet(t, ln).Close() // the backlog takes it
	if err := g.Stop(context.Background()); err != nil {
		t.Fatal(err)
	}
	if n := len(openFDs(t)); n > before {
		t.Errorf("descriptors: %d before, %d after", before, n)
	}
}
