package engine_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sluiceproxy/sluice/engine"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// group starts a group and stops it at the end of the test, when no descriptor
// may be left over.
func group(t testing.TB, o engine.Options) *engine.Group {
	t.Helper()
	if r, w, err := os.Pipe(); err == nil { // the runtime opens descriptors of its own with the first one it waits for
		_, _ = r.Close(), w.Close()
	}
	before := openFDs(t)
	g, err := engine.New(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := g.Stop(ctx); err != nil {
			t.Errorf("stop: %v", err)
		}
		var after []string
		if !poll(func() bool { after = openFDs(t); return len(after) <= len(before) }) {
			t.Errorf("descriptors leak: %d before, %d after\n%s", len(before), len(after), strings.Join(after, "\n"))
		}
	})
	return g
}

func openFDs(t testing.TB) (names []string) {
	t.Helper()
	if runtime.GOOS != "linux" {
		return nil
	}
	ents, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range ents {
		name, err := os.Readlink(filepath.Join("/proc/self/fd", e.Name()))
		if err != nil || strings.Contains(name, "eventpoll") || strings.Contains(name, "/proc") {
			continue // the runtime's own, and the directory just read
		}
		names = append(names, e.Name()+" "+name)
	}
	return names
}

// poll waits until ok, ten seconds at most.
func poll(ok func() bool) bool {
	for deadline := time.Now().Add(10 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			return false
		}
		time.Sleep(time.Millisecond)
	}
	return true
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	if !poll(ok) {
		t.Fatalf("never: %s", what)
	}
}

// job is a message that runs a function.
type job struct{ f func() }

func (j *job) Run() { j.f() }

// on runs f on the loop and waits for it.
func on(t testing.TB, l *engine.Loop, f func()) {
	t.Helper()
	done := make(chan struct{})
	if !l.Post(&job{func() { defer close(done); f() }}) {
		t.Fatal("post refused")
	}
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("posted work never ran")
	}
}

// peer is a scripted handler that records its events. Set the functions before
// the connection starts; read the record through its methods.
type peer struct {
	mu     sync.Mutex
	events []string
	data   []byte
	closed bool
	reason engine.CloseReason
	err    error
	conn   *engine.Conn // loop only

	onConnected, onReadClosed, onWritable, onClosed func(c *engine.Conn)
	onData                                          func(c *engine.Conn, view []byte) int
}

func (p *peer) add(format string, v ...any) {
	p.mu.Lock()
	p.events = append(p.events, fmt.Sprintf(format, v...))
	p.mu.Unlock()
}

func (p *peer) OnConnected(c *engine.Conn) {
	p.add("connected")
	p.conn = c
	if p.onConnected != nil {
		p.onConnected(c)
	}
}

func (p *peer) OnData(c *engine.Conn, view []byte) int {
	n := len(view)
	if p.onData != nil {
		n = p.onData(c, view)
	}
	p.mu.Lock()
	p.data = append(p.data, view[:n]...)
	p.mu.Unlock()
	return n
}

func (p *peer) OnReadClosed(c *engine.Conn) {
	p.add("readclosed")
	if p.onReadClosed != nil {
		p.onReadClosed(c)
	}
}

func (p *peer) OnWritable(c *engine.Conn) {
	p.add("writable")
	if p.onWritable != nil {
		p.onWritable(c)
	}
}

func (p *peer) OnClosed(c *engine.Conn, r engine.CloseReason) {
	if p.onClosed != nil {
		p.onClosed(c)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.events = append(p.events, "closed "+r.String())
	if p.closed {
		p.events = append(p.events, "closed twice")
	}
	p.closed, p.reason, p.err = true, r, c.Err()
}

func (p *peer) isClosed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.closed
}

func (p *peer) got() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return string(p.data)
}

func (p *peer) log() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.events, ", ")
}

func (p *peer) wantClosed(t testing.TB, want engine.CloseReason) {
	t.Helper()
	eventually(t, "closed "+want.String()+"; events: "+p.log(), p.isClosed)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.reason != want {
		t.Fatalf("closed %v (%v), want %v; events %v", p.reason, p.err, want, p.events)
	}
}

// acceptor makes a handler per connection.
type acceptor struct {
	handler func(c *engine.Conn) engine.Handler
}

func (a acceptor) OnAccept(c *engine.Conn) engine.Handler { return a.handler(c) }

// serve listens and returns the listener. handler runs on the accepting loop.
func serve(t testing.TB, g *engine.Group, spec engine.ListenSpec, handler func(c *engine.Conn) engine.Handler) *engine.Listener {
	t.Helper()
	if spec.Addr == "" {
		spec.Network, spec.Addr = "tcp", "127.0.0.1:0"
	}
	ln, err := g.Listen(spec, func(*engine.Loop) engine.Acceptor { return acceptor{handler} })
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// dialNet connects with the standard library.
func dialNet(t testing.TB, ln *engine.Listener) net.Conn {
	t.Helper()
	c, err := net.Dial(ln.Addr().Network(), ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	return c
}

// one serves a single scripted connection and returns a client of it.
func one(t *testing.T, p *peer) (net.Conn, *engine.Loop) {
	t.Helper()
	g := group(t, engine.Options{Loops: 1})
	ln := serve(t, g, engine.ListenSpec{}, func(c *engine.Conn) engine.Handler { p.conn = c; return p })
	return dialNet(t, ln), g.Loops()[0]
}

func echo(c *engine.Conn, view []byte) int {
	c.Write(view)
	return len(view)
}
