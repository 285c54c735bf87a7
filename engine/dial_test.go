package engine_test

import (
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/engine"
)

func dialOn(t *testing.T, l *engine.Loop, s engine.DialSpec, p *peer) {
	t.Helper()
	on(t, l, func() {
		p.conn = l.Dial(s, p)
		if p.log() != "" {
			t.Errorf("events %q within Dial", p.log())
		}
	})
}

func TestDialEachNetwork(t *testing.T) {
	dir, err := os.MkdirTemp("", "sl")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	for _, tc := range []struct{ network, addr string }{
		{"tcp4", "127.0.0.1:0"},
		{"tcp6", "[::1]:0"},
		{"unix", filepath.Join(dir, "s")},
		{"unix", "@sluice-dial-test"},
	} {
		t.Run(tc.network+" "+tc.addr, func(t *testing.T) {
			if tc.addr[0] == '@' && runtime.GOOS != "linux" {
				t.Skip("only Linux has the abstract name space")
			}
			ln, err := net.Listen(tc.network, tc.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			g := group(t, engine.Options{Loops: 1})
			spec := engine.DialSpec{
				Network: tc.network, Path: tc.addr, Timeout: 5 * time.Second,
				KeepAlive: engine.KeepAlive{Idle: time.Minute, Interval: 10 * time.Second, Count: 3},
			}
			if tc.network != "unix" {
				spec.Addr = ln.Addr().(*net.TCPAddr).AddrPort()
			}
			p := &peer{}
			on(t, g.Loops()[0], func() {
				c := g.Loops()[0].Dial(spec, p)
				c.Write([]byte("early, ")) // waits for the connection
				c.Write([]byte("bytes"))
				c.CloseWrite()
			})
			s, err := ln.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if b, err := io.ReadAll(s); string(b) != "early, bytes" || err != nil {
				t.Fatalf("got %q, %v", b, err)
			}
			_, _ = s.Write([]byte("answer"))
			s.Close()
			p.wantClosed(t, engine.PeerClosed)
			if p.log() != "connected, readclosed, closed PeerClosed" || p.got() != "answer" {
				t.Errorf("events %q, data %q", p.log(), p.got())
			}
		})
	}
}

func TestDialFailures(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead := closed.Addr().(*net.TCPAddr).AddrPort()
	closed.Close()
	for _, tc := range []struct {
		name string
		spec engine.DialSpec
		want engine.CloseReason
	}{
		{"nobody listens", engine.DialSpec{Addr: dead, Timeout: time.Minute}, engine.ConnectRefused},
		{"no such unix socket", engine.DialSpec{Network: "unix", Path: "/nonexistent/s"}, engine.ConnectRefused},
		{"a unix path too long", engine.DialSpec{Network: "unix", Path: string(make([]byte, 300))}, engine.ConnectError},
		{"no address at all", engine.DialSpec{}, engine.ConnectError},
		{"a destination no route leads to", engine.DialSpec{Addr: netip.MustParseAddrPort("224.0.0.1:80")}, engine.ConnectUnreachable},
		{"a foreign local address", engine.DialSpec{
			Addr: dead, Bind: netip.MustParseAddrPort("192.0.2.1:0"),
		}, engine.BindFailed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.want == engine.ConnectUnreachable && runtime.GOOS != "linux" {
				t.Skip("what Linux says to TCP to a group address")
			}
			g := group(t, engine.Options{Loops: 1})
			p := &peer{}
			dialOn(t, g.Loops()[0], tc.spec, p)
			p.wantClosed(t, tc.want)
			if p.err == nil {
				t.Error("no Err()")
			}
			on(t, g.Loops()[0], func() {
				if n := g.Loops()[0].Conns(); n != 0 {
					t.Errorf("%d connections left", n)
				}
			})
		})
	}
}

// TestDialTimeout connects to a listener whose backlog is full: its kernel drops
// the SYNs.
func TestDialTimeout(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs Linux's handling of a full backlog")
	}
	g := group(t, engine.Options{Loops: 1})
	l := g.Loops()[0]
	ln := serve(t, g, engine.ListenSpec{Network: "tcp", Addr: "127.0.0.1:0", Backlog: 1},
		func(*engine.Conn) engine.Handler { return &peer{} })
	ln.Pause()
	addr := ln.Addr().(*net.TCPAddr).AddrPort()
	for range 2 {
		c := dialNet(t, ln)
		defer c.Close()
	}
	p := &peer{}
	began := time.Now()
	dialOn(t, l, engine.DialSpec{Addr: addr, Timeout: 50 * time.Millisecond}, p)
	p.wantClosed(t, engine.ConnectTimeout)
	if d := time.Since(began); d < 50*time.Millisecond {
		t.Errorf("timed out after %v", d)
	}
	// An attempt given up by its owner ends as any Close does.
	q := &peer{}
	dialOn(t, l, engine.DialSpec{Addr: addr}, q)
	on(t, l, func() { q.conn.Close() })
	q.wantClosed(t, engine.LocalClose)
}

func TestDialFromALocalAddress(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux has all of 127/8")
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	g := group(t, engine.Options{Loops: 1})
	p := &peer{}
	dialOn(t, g.Loops()[0], engine.DialSpec{
		Addr: ln.Addr().(*net.TCPAddr).AddrPort(), Bind: netip.MustParseAddrPort("127.0.0.9:0"),
	}, p)
	s, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if ip := s.RemoteAddr().(*net.TCPAddr).IP.String(); ip != "127.0.0.9" {
		t.Errorf("came from %s", ip)
	}
	on(t, g.Loops()[0], func() {
		if a := p.conn.LocalAddr().Addr().String(); a != "127.0.0.9" {
			t.Errorf("LocalAddr %s", a)
		}
	})
}

// TestDescriptorsAreReusedAtOnce closes a connection and dials within the same
// handler, so that the new socket takes the old number while events of the old
// one are still in the batch.
func TestDescriptorsAreReusedAtOnce(t *testing.T) {
	g := group(t, engine.Options{Loops: 1})
	l := g.Loops()[0]
	ln := serve(t, g, engine.ListenSpec{}, func(*engine.Conn) engine.Handler {
		return &peer{onData: echo, onReadClosed: (*engine.Conn).Close}
	})
	addr := ln.Addr().(*net.TCPAddr).AddrPort()
	const width, depth = 20, 30
	done := make(chan int, width)
	reused := 0
	var next func(i, left int)
	next = func(i, left int) {
		p := &peer{}
		p.onConnected = func(c *engine.Conn) { c.Write([]byte("ping")) }
		p.onData = func(c *engine.Conn, view []byte) int {
			if string(view) != "ping" {
				t.Errorf("got %q", view)
			}
			if left%2 == 0 {
				c.Close()
			} else {
				c.Reset()
			}
			if left == 0 {
				done <- i
			} else {
				next(i, left-1)
			}
			return len(view)
		}
		c := l.Dial(engine.DialSpec{Addr: addr, Timeout: 10 * time.Second}, p)
		if c.FD() < 200 {
			reused++
		}
	}
	on(t, l, func() {
		for i := range width {
			next(i, depth)
		}
	})
	for range width {
		select {
		case <-done:
		case <-time.After(15 * time.Second):
			t.Fatal("a chain of dials stopped")
		}
	}
	on(t, l, func() {
		if reused != width*(depth+1) {
			t.Errorf("descriptors grew: %d of %d under 200", reused, width*(depth+1))
		}
	})
}
