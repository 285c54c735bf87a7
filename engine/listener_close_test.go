package engine_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/engine"
)

// hold keeps a loop busy until the function it returns is called.
func hold(t *testing.T, l *engine.Loop) (release func()) {
	t.Helper()
	held, block := make(chan struct{}), make(chan struct{})
	if !l.Post(&job{func() { close(held); <-block }}) {
		t.Fatal("post refused")
	}
	<-held
	return sync.OnceFunc(func() { close(block) })
}

// TestClientsThatWaitAreServedWhenTheListenerCloses: clients have connected and
// sent a request while no loop could accept them; then the listener closes.
func TestClientsThatWaitAreServedWhenTheListenerCloses(t *testing.T) {
	const clients = 50
	for _, tc := range []struct {
		name    string
		spec    engine.ListenSpec
		started bool
		paused  bool
	}{
		{"while the loops are busy", engine.ListenSpec{Network: "tcp4", Addr: "127.0.0.1:0"}, true, false},
		{"over IPv6", engine.ListenSpec{Network: "tcp6", Addr: "[::1]:0"}, true, false},
		{"on one socket shared by all loops", engine.ListenSpec{Network: "tcp", Addr: "127.0.0.1:0", NoReusePort: true}, true, false},
		{"on a unix socket", engine.ListenSpec{Network: "unix", Addr: "s"}, true, false},
		{"while it is paused", engine.ListenSpec{Network: "tcp", Addr: "127.0.0.1:0"}, true, true},
		{"before the loops have started", engine.ListenSpec{Network: "tcp", Addr: "127.0.0.1:0"}, false, false},
		{"before the loops have started, on a unix socket", engine.ListenSpec{Network: "unix", Addr: "s"}, false, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.spec.Network == "unix" {
				dir, err := os.MkdirTemp("", "sl")
				if err != nil {
					t.Fatal(err)
				}
				defer os.RemoveAll(dir)
				tc.spec.Addr = filepath.Join(dir, tc.spec.Addr)
			}
			g, err := engine.New(engine.Options{Loops: 2})
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := g.Stop(context.Background()); err != nil {
					t.Error(err)
				}
			}()
			start := func() {
				if err := g.Start(); err != nil {
					t.Fatal(err)
				}
			}
			if tc.started {
				start()
			}
			ln := serve(t, g, tc.spec, func(*engine.Conn) engine.Handler {
				return &peer{onData: echo, onReadClosed: (*engine.Conn).Close}
			})
			proceed := start
			if tc.started {
				a, b := hold(t, g.Loops()[0]), hold(t, g.Loops()[1])
				defer a()
				defer b()
				proceed = func() { a(); b() }
			}
			if tc.paused {
				ln.Pause()
			}
			var waiting []net.Conn
			for i := range clients {
				c := dialNet(t, ln)
				_, _ = fmt.Fprintf(c, "request %2d", i)
				waiting = append(waiting, c)
			}
			if err := ln.Close(); err != nil {
				t.Fatal(err)
			}
			if c, err := net.Dial(ln.Addr().Network(), ln.Addr().String()); err == nil {
				c.Close()
				t.Error("a client that came after Close was let in")
			}
			proceed()
			for i, c := range waiting {
				b := make([]byte, 10)
				if _, err := io.ReadFull(c, b); err != nil || string(b) != fmt.Sprintf("request %2d", i) {
					t.Fatalf("client %d of %d reads %q, %v", i, clients, b, err)
				}
				c.Close()
			}
			eventually(t, "all have left", func() bool { return g.Active() == 0 })
			if st := ln.Stats(); st.Accepted != clients || st.Refused != 0 {
				t.Errorf("stats %+v", st)
			}
		})
	}
}

func TestLimitsHoldForThoseThatWaitWhenTheListenerCloses(t *testing.T) {
	g := group(t, engine.Options{Loops: 1})
	ln := serve(t, g, engine.ListenSpec{Network: "tcp", Addr: "127.0.0.1:0", MaxConns: 2}, func(*engine.Conn) engine.Handler {
		return &peer{onData: echo}
	})
	ln.Pause()
	for range 5 {
		dialNet(t, ln)
	}
	_ = ln.Close()
	if st := ln.Stats(); st.Accepted != 2 || st.Refused != 3 || st.Active != 2 {
		t.Errorf("stats %+v", st)
	}
}

// TestWhoWaitsIsHandedOverBeforeLaterMessages: so that whoever asks the loop after
// Close how many connections it has counts them.
func TestWhoWaitsIsHandedOverBeforeLaterMessages(t *testing.T) {
	g := group(t, engine.Options{Loops: 1})
	l := g.Loops()[0]
	ln := serve(t, g, engine.ListenSpec{}, func(*engine.Conn) engine.Handler { return &peer{} })
	release := hold(t, l)
	defer release()
	dialNet(t, ln)
	_ = ln.Close()
	conns := make(chan int, 1)
	l.Post(&job{func() { conns <- l.Conns() }})
	release()
	if n := <-conns; n != 1 {
		t.Errorf("%d connections, want the one that waited", n)
	}
}

// TestDrainCountsThoseThatWait: Drain does not return before they were served.
func TestDrainCountsThoseThatWait(t *testing.T) {
	g := group(t, engine.Options{Loops: 1})
	ln := serve(t, g, engine.ListenSpec{}, func(*engine.Conn) engine.Handler {
		return &peer{onData: func(c *engine.Conn, view []byte) int {
			c.Write(view)
			c.CloseAfterFlush(5 * time.Second)
			return len(view)
		}}
	})
	release := hold(t, g.Loops()[0])
	defer release()
	c := dialNet(t, ln)
	_, _ = c.Write([]byte("x"))
	drained := make(chan error, 2)
	for range 2 { // twice is once
		go func() { drained <- g.Drain(context.Background()) }()
	}
	eventually(t, "closed", func() bool { return g.Active() == 1 })
	if len(drained) != 0 {
		t.Error("drained with a client waiting")
	}
	release()
	if b, err := io.ReadAll(c); string(b) != "x" || err != nil {
		t.Fatalf("client reads %q, %v", b, err)
	}
	c.Close()
	for range 2 {
		if err := <-drained; err != nil {
			t.Error(err)
		}
	}
}

// TestALaterListenersSocketFileStays: a listener is replaced by one at the same
// path, as a change of configuration does.
func TestALaterListenersSocketFileStays(t *testing.T) {
	dir, err := os.MkdirTemp("", "sl")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	spec := engine.ListenSpec{Network: "unix", Addr: filepath.Join(dir, "s")}
	g := group(t, engine.Options{Loops: 2})
	accept := func(*engine.Conn) engine.Handler { return &peer{onData: echo} }
	old := serve(t, g, spec, accept)
	ln := serve(t, g, spec, accept)
	_ = old.Close()
	c := dialNet(t, ln)
	_, _ = c.Write([]byte("x"))
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
}

// TestListenersComeAndGoWithTheGroup opens, closes and stops from many goroutines
// at once: no descriptor is lost or closed twice.
func TestListenersComeAndGoWithTheGroup(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("counts /proc/self/fd")
	}
	for range 20 {
		g := group(t, engine.Options{Loops: 2})
		var wg sync.WaitGroup
		for i := range 6 {
			wg.Go(func() {
				for range 10 {
					ln, err := g.Listen(engine.ListenSpec{Addr: "127.0.0.1:0"}, func(*engine.Loop) engine.Acceptor {
						return acceptor{func(*engine.Conn) engine.Handler { return &peer{} }}
					})
					if err != nil {
						return // the group has stopped
					}
					if i%2 == 0 {
						_ = ln.Close()
					}
				}
			})
		}
		if err := g.Stop(context.Background()); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
	}
}
