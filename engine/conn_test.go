package engine_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"unsafe"

	"github.com/sluiceproxy/sluice/engine"
)

func TestEchoOverEachNetwork(t *testing.T) {
	dir, err := os.MkdirTemp("", "sl") // unix paths are short
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	for _, tc := range []struct{ name, network, addr string }{
		{"TCP over IPv4", "tcp4", "127.0.0.1:0"},
		{"TCP over IPv6", "tcp6", "[::1]:0"},
		{"unix socket", "unix", filepath.Join(dir, "s")},
		{"abstract unix socket", "unix", fmt.Sprintf("@sluice-test-%d", os.Getpid())},
		{"one socket shared by all loops", "shared", "127.0.0.1:0"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.addr[0] == '@' && runtime.GOOS != "linux" {
				t.Skip("only Linux has them")
			}
			g := group(t, engine.Options{Loops: 2})
			spec := engine.ListenSpec{Network: tc.network, Addr: tc.addr}
			if tc.network == "shared" {
				spec.Network, spec.NoReusePort = "tcp", true
			}
			var mu sync.Mutex
			var local []string
			ln := serve(t, g, spec, func(c *engine.Conn) engine.Handler {
				if got := c.RemoteAddr().IsValid(); got != (tc.network != "unix") {
					t.Errorf("remote address valid: %v", got)
				}
				if tc.network != "unix" {
					mu.Lock()
					local = append(local, c.LocalAddr().String())
					mu.Unlock()
				}
				return &peer{onData: echo, onReadClosed: (*engine.Conn).CloseWrite}
			})
			for range 8 {
				c := dialNet(t, ln)
				sent := bytes.Repeat([]byte("0123456789abcdef"), 20_000)
				go func() {
					_, _ = c.Write(sent)
					_ = c.(interface{ CloseWrite() error }).CloseWrite()
				}()
				got, err := io.ReadAll(c)
				if err != nil || !bytes.Equal(got, sent) {
					t.Fatalf("echo of %d bytes: %d, %v", len(sent), len(got), err)
				}
			}
			eventually(t, "all connections ended", func() bool { return g.Active() == 0 })
			mu.Lock()
			defer mu.Unlock()
			for _, a := range local {
				if a != ln.Addr().String() {
					t.Errorf("local address %s, want %s", a, ln.Addr())
				}
			}
		})
	}
}

func TestKeptBytesComeBackContiguous(t *testing.T) {
	var views []int
	p := &peer{onData: func(_ *engine.Conn, view []byte) int {
		views = append(views, len(view))
		return len(view) / 10 * 10 // whole records of ten bytes only
	}}
	c, l := one(t, p)
	var sent []byte
	for i := range 40 {
		piece := bytes.Repeat([]byte{byte('a' + i%26)}, 7)
		sent = append(sent, piece...)
		_, _ = c.Write(piece)
		want := len(sent) / 10 * 10
		eventually(t, "records delivered", func() bool { return len(p.got()) == want })
	}
	on(t, l, func() {
		if p.got() != string(sent) {
			t.Errorf("got %q, want %q", p.got(), sent)
		}
		if p.conn.Kept() != 0 || l.Slabs().InUse() != 0 {
			t.Errorf("kept %d, slabs %d: want none", p.conn.Kept(), l.Slabs().InUse())
		}
		if p.conn.BytesRead() != uint64(len(sent)) {
			t.Errorf("BytesRead %d, want %d", p.conn.BytesRead(), len(sent))
		}
	})
}

// TestAnySplitGivesTheSameBytes feeds a handler that consumes arbitrary amounts
// and pauses at arbitrary times; the bytes must come in order and whole.
func TestAnySplitGivesTheSameBytes(t *testing.T) {
	for _, limit := range []int{1, 100, 4096, 64 << 10, 300_000} {
		rng := rand.New(rand.NewPCG(1, uint64(limit))) // the handler's
		var loop *engine.Loop
		p := &peer{}
		p.onData = func(c *engine.Conn, view []byte) int {
			if len(view) > limit {
				t.Errorf("view of %d bytes over the limit of %d", len(view), limit)
			}
			n := rng.IntN(len(view) + 1)
			if rng.IntN(3) == 0 {
				c.PauseRead()
				loop.Post(&job{c.ResumeRead})
			} else if n == 0 {
				n = len(view)
			}
			return n
		}
		g := group(t, engine.Options{Loops: 1})
		loop = g.Loops()[0]
		ln := serve(t, g, engine.ListenSpec{}, func(c *engine.Conn) engine.Handler {
			c.SetReadLimit(limit)
			p.conn = c
			return p
		})
		c := dialNet(t, ln)
		sent := make([]byte, min(400_000, 2000*limit))
		_, _ = rand.NewChaCha8([32]byte{}).Read(sent)
		go func() {
			r := rand.New(rand.NewPCG(3, 4))
			for rest := sent; len(rest) > 0; {
				n := min(1+r.IntN(9000), len(rest))
				_, _ = c.Write(rest[:n])
				rest = rest[n:]
			}
			_ = c.(*net.TCPConn).CloseWrite()
		}()
		// What the handler left last time is not delivered again without more bytes
		// unless it asks, so ask until all is there.
		eventually(t, "all bytes", func() bool {
			on(t, loop, func() {
				if p.conn != nil {
					p.conn.ResumeRead()
				}
			})
			return len(p.got()) >= len(sent)
		})
		if p.got() != string(sent) {
			t.Fatalf("limit %d: bytes differ", limit)
		}
	}
}

func TestPausedConnectionReadsNothingUntilResumed(t *testing.T) {
	first := true
	p := &peer{onData: func(c *engine.Conn, view []byte) int {
		if first {
			first = false
			c.PauseRead()
			return 3
		}
		return len(view)
	}}
	c, l := one(t, p)
	_, _ = c.Write([]byte("abcdef"))
	eventually(t, "first bytes", func() bool { return p.got() == "abc" })
	_, _ = c.Write([]byte("ghi"))
	_ = c.(*net.TCPConn).CloseWrite()
	for range 20 {
		on(t, l, func() {})
	}
	if p.got() != "abc" || p.log() != "" {
		t.Fatalf("paused, yet got %q, events %q", p.got(), p.log())
	}
	on(t, l, func() {
		if !p.conn.ReadPaused() || p.conn.Kept() != 3 {
			t.Errorf("paused %v, kept %d; want true, 3", p.conn.ReadPaused(), p.conn.Kept())
		}
		p.conn.ResumeRead()
	})
	eventually(t, "the rest, then the end", func() bool { return p.got() == "abcdefghi" && p.log() == "readclosed" })
}

func TestReadLimitPausesUntilResumed(t *testing.T) {
	hold := true
	p := &peer{onData: func(_ *engine.Conn, view []byte) int {
		if hold {
			return 0
		}
		return len(view)
	}}
	c, l := one(t, p)
	on(t, l, func() {})
	eventually(t, "accepted", func() bool { ok := false; on(t, l, func() { ok = p.conn != nil }); return ok })
	on(t, l, func() { p.conn.SetReadLimit(1000) })
	sent := bytes.Repeat([]byte("x"), 5000)
	_, _ = c.Write(sent)
	eventually(t, "limit reached", func() bool {
		full := false
		on(t, l, func() { full = p.conn.ReadPaused() && p.conn.Kept() == 1000 })
		return full
	})
	on(t, l, func() {
		if n := l.Slabs().InUse(); n > 2048 {
			t.Errorf("1000 kept bytes take %d", n)
		}
		hold = false
		p.conn.ResumeRead()
	})
	eventually(t, "the rest", func() bool { return len(p.got()) == len(sent) })
}

func TestHalfClose(t *testing.T) {
	t.Run("the peer ends first, we answer after", func(t *testing.T) {
		p := &peer{onReadClosed: func(c *engine.Conn) {
			c.Write([]byte("late answer"))
			c.CloseWrite()
		}}
		c, _ := one(t, p)
		_, _ = c.Write([]byte("question"))
		_ = c.(*net.TCPConn).CloseWrite()
		got, err := io.ReadAll(c)
		if string(got) != "late answer" || err != nil {
			t.Fatalf("got %q, %v", got, err)
		}
		p.wantClosed(t, engine.PeerClosed)
		if p.log() != "readclosed, closed PeerClosed" || p.got() != "question" {
			t.Fatalf("events %q, data %q", p.log(), p.got())
		}
	})
	t.Run("we end first, the peer answers after", func(t *testing.T) {
		p := &peer{}
		p.onData = func(c *engine.Conn, view []byte) int {
			if string(view) == "go" {
				c.CloseWrite()
			}
			return len(view)
		}
		c, _ := one(t, p)
		_, _ = c.Write([]byte("go"))
		if b, err := io.ReadAll(c); len(b) != 0 || err != nil {
			t.Fatalf("read %q, %v; want the end", b, err)
		}
		_, _ = c.Write([]byte(" late"))
		_ = c.(*net.TCPConn).CloseWrite()
		p.wantClosed(t, engine.PeerClosed)
		if p.log() != "readclosed, closed PeerClosed" || p.got() != "go late" {
			t.Fatalf("events %q, data %q", p.log(), p.got())
		}
	})
	t.Run("the FIN waits for a full out chain", func(t *testing.T) {
		big := bytes.Repeat([]byte("y"), 8<<20)
		p := &peer{onData: func(c *engine.Conn, view []byte) int {
			c.Write(big)
			if !c.Above() || c.Buffered() == 0 {
				t.Error("8 MiB fit into the socket?")
			}
			c.CloseWrite()
			c.Write([]byte("dropped"))
			return len(view)
		}}
		c, l := one(t, p)
		smallWindow(t, c)
		_, _ = c.Write([]byte("go"))
		got, err := io.ReadAll(c)
		if !bytes.Equal(got, big) || err != nil {
			t.Fatalf("got %d bytes, %v", len(got), err)
		}
		on(t, l, func() {
			if n := l.Slabs().InUse(); n != 0 {
				t.Errorf("%d bytes of slabs left", n)
			}
			if p.conn.BytesWritten() != uint64(len(big)) {
				t.Errorf("BytesWritten %d", p.conn.BytesWritten())
			}
		})
	})
}

// smallWindow keeps the kernel from taking megabytes that the test does not read: it may let receive buffers
// grow to tens of them.
func smallWindow(t *testing.T, c net.Conn) {
	t.Helper()
	if err := c.(*net.TCPConn).SetReadBuffer(64 << 10); err != nil {
		t.Fatal(err)
	}
}

func TestWatermarks(t *testing.T) {
	big := bytes.Repeat([]byte("z"), 6<<20)
	p := &peer{}
	p.onData = func(c *engine.Conn, view []byte) int {
		c.SetWatermarks(64 << 10)
		c.Write(big)
		if !c.Above() {
			t.Error("not above the watermark with 6 MiB unread")
		}
		return len(view)
	}
	p.onWritable = func(c *engine.Conn) {
		if c.Above() || c.Buffered() > 32<<10 {
			t.Errorf("OnWritable with %d buffered", c.Buffered())
		}
		c.CloseWrite()
	}
	c, _ := one(t, p)
	smallWindow(t, c)
	_, _ = c.Write([]byte("go"))
	got, err := io.ReadAll(c)
	if !bytes.Equal(got, big) || err != nil {
		t.Fatalf("got %d bytes, %v", len(got), err)
	}
	if p.log() != "writable" {
		t.Fatalf("events %q, want OnWritable once", p.log())
	}
}

func TestGatherAndCork(t *testing.T) {
	p := &peer{onData: func(c *engine.Conn, view []byte) int {
		c.Write2([]byte("a"), []byte("b"))
		c.Write2(nil, []byte("c"))
		c.Cork()
		c.Write([]byte("d"))
		c.Write2([]byte("e"), []byte("f"))
		if c.Buffered() != 3 {
			t.Errorf("corked: %d buffered, want 3", c.Buffered())
		}
		c.Uncork()
		if c.Buffered() != 0 {
			t.Errorf("uncorked: %d buffered", c.Buffered())
		}
		c.Cork()
		c.Write([]byte("g"))
		c.CloseWrite()
		return len(view)
	}}
	c, _ := one(t, p)
	_, _ = c.Write([]byte("go"))
	if got, err := io.ReadAll(c); string(got) != "abcdefg" || err != nil {
		t.Fatalf("got %q, %v", got, err)
	}
}

// TestGatherWriteWhenTheSocketIsFull splits a two-piece write at whatever point
// the kernel stops taking bytes.
func TestGatherWriteWhenTheSocketIsFull(t *testing.T) {
	a, b := bytes.Repeat([]byte("a"), 5<<20), bytes.Repeat([]byte("b"), 5<<20)
	p := &peer{onData: func(c *engine.Conn, view []byte) int {
		c.Write2(a, b)
		c.Write2([]byte("c"), []byte("d"))
		c.CloseWrite()
		return len(view)
	}}
	c, _ := one(t, p)
	_, _ = c.Write([]byte("go"))
	got, err := io.ReadAll(c)
	if want := string(a) + string(b) + "cd"; string(got) != want || err != nil {
		t.Fatalf("got %d bytes, %v", len(got), err)
	}
}

func TestIdleConnectionIsSmall(t *testing.T) {
	if n := unsafe.Sizeof(engine.Conn{}); n > 250 {
		t.Errorf("Conn takes %d bytes, want at most 250", n)
	}
	p := &peer{onData: echo}
	c, l := one(t, p)
	_, _ = c.Write([]byte("hello"))
	_, _ = io.ReadFull(c, make([]byte, 5))
	on(t, l, func() {
		if n := l.Slabs().InUse(); n != 0 {
			t.Errorf("an idle connection holds %d bytes of buffers", n)
		}
	})
}

func TestABusyConnectionLeavesTurnsToOthers(t *testing.T) {
	g := group(t, engine.Options{Loops: 1})
	bulk := &peer{}
	total := 0
	bulk.onData = func(_ *engine.Conn, view []byte) int { total += len(view); return len(view) }
	quiet := &peer{onData: echo}
	handlers := []engine.Handler{bulk, quiet}
	ln := serve(t, g, engine.ListenSpec{}, func(*engine.Conn) engine.Handler {
		h := handlers[0]
		handlers = handlers[1:]
		return h
	})
	flood := dialNet(t, ln)
	_, _ = flood.Write([]byte("x")) // accepted first
	eventually(t, "first is in", func() bool { return g.Active() == 1 })
	ping := dialNet(t, ln)
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		chunk := make([]byte, 1<<20)
		for {
			select {
			case <-stop:
				return
			default:
				_, _ = flood.Write(chunk)
			}
		}
	}()
	eventually(t, "the flood flows", func() bool {
		flows := false
		on(t, g.Loops()[0], func() { flows = total > 1<<20 })
		return flows
	})
	b := make([]byte, 4)
	for range 50 {
		_, _ = ping.Write([]byte("ping"))
		if _, err := io.ReadFull(ping, b); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	<-done
}

func TestHandlersCanChangeWithinAnEvent(t *testing.T) {
	second := &peer{onData: echo}
	p := &peer{}
	p.onData = func(c *engine.Conn, view []byte) int {
		c.SetHandler(second)
		if c.Handler() != engine.Handler(second) {
			t.Error("Handler() is not what was set")
		}
		c.PauseRead()
		c.ResumeRead() // deliver the rest to the new one
		return 2
	}
	c, _ := one(t, p)
	_, _ = c.Write([]byte("abcd"))
	b := make([]byte, 2)
	if _, err := io.ReadFull(c, b); err != nil || string(b) != "cd" {
		t.Fatalf("got %q, %v", b, err)
	}
}
