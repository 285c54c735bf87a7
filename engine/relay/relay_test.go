package relay_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sluiceproxy/sluice/engine"
	"github.com/sluiceproxy/sluice/engine/relay"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// front accepts and relays each connection to the origin at addr.
type front struct {
	origin net.Addr
	opts   relay.Options
	done   chan result
	live   *atomic.Int32

	client, up *engine.Conn // loop only, as relayed
	relayed    *relay.Tunnel
}

type result struct {
	up, down uint64
	a, b     engine.CloseReason
	idled    bool
}

func (f *front) OnAccept(c *engine.Conn) engine.Handler {
	f.live.Add(1)
	spec := engine.DialSpec{Addr: f.origin.(*net.TCPAddr).AddrPort()}
	up := c.Loop().Dial(spec, nil)
	f.client, f.up = c, up
	f.relayed = relay.Relay(c, up, f.opts, f)
	return c.Handler()
}

func (f *front) OnRelayDone(t *relay.Tunnel) {
	var r result
	r.up, r.down = t.Moved()
	r.a, r.b = t.Reasons()
	r.idled = t.Idled()
	f.live.Add(-1)
	f.done <- r
}

// tunnel returns a client's and an origin's end of a relayed connection.
func tunnel(t *testing.T, o relay.Options) (client, origin *net.TCPConn, f *front, g *engine.Group) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	g = start(t)
	f = &front{origin: ln.Addr(), opts: o, done: make(chan result, 4), live: new(atomic.Int32)}
	el, err := g.Listen(engine.ListenSpec{Addr: "127.0.0.1:0"}, func(*engine.Loop) engine.Acceptor { return f })
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", el.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []net.Conn{c, s} {
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		t.Cleanup(func() { c.Close() })
	}
	return c.(*net.TCPConn), s.(*net.TCPConn), f, g
}

func start(t testing.TB) *engine.Group {
	t.Helper()
	g, err := engine.New(engine.Options{Loops: 1})
	if err == nil {
		err = g.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := g.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	return g
}

func (f *front) wait(t *testing.T) result {
	t.Helper()
	select {
	case r := <-f.done:
		return r
	case <-time.After(15 * time.Second):
		t.Fatal("the tunnel never ended")
		return result{}
	}
}

func random(n int, seed uint64) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(seed)}).Read(b)
	return b
}

// TestBytesAreTheSameHoweverTheyMove sends the same bytes both ways at once,
// copied and spliced, in bulk and in dribbles.
func TestBytesAreTheSameHoweverTheyMove(t *testing.T) {
	for _, splice := range []bool{false, true} {
		for _, piece := range []int{700, 16 << 10, 1 << 20} {
			t.Run(fmt.Sprintf("splice %v in pieces of %d", splice, piece), func(t *testing.T) {
				client, origin, f, _ := tunnel(t, relay.Options{NoSplice: !splice})
				up, down := random(min(3<<20, 1000*piece), 1), random(min(5<<20, 900*piece), 2)
				send := func(c *net.TCPConn, b []byte) {
					for len(b) > 0 {
						n := min(piece, len(b))
						if _, err := c.Write(b[:n]); err != nil {
							t.Error(err)
						}
						b = b[n:]
					}
					_ = c.CloseWrite()
				}
				go send(client, up)
				go send(origin, down)
				gotUp := make(chan []byte)
				go func() { b, _ := io.ReadAll(origin); gotUp <- b }()
				gotDown, err := io.ReadAll(client)
				if err != nil || !bytes.Equal(gotDown, down) {
					t.Errorf("down: %d of %d bytes, %v", len(gotDown), len(down), err)
				}
				if b := <-gotUp; !bytes.Equal(b, up) {
					t.Errorf("up: %d of %d bytes", len(b), len(up))
				}
				want := result{uint64(len(up)), uint64(len(down)), engine.PeerClosed, engine.PeerClosed, false}
				if r := f.wait(t); r != want {
					t.Errorf("result %+v, want %+v", r, want)
				}
			})
		}
	}
}

func TestHalfCloseIsCarriedOver(t *testing.T) { // TCP-50
	client, origin, f, _ := tunnel(t, relay.Options{})
	_, _ = client.Write([]byte("question"))
	_ = client.CloseWrite()
	if b, err := io.ReadAll(origin); string(b) != "question" || err != nil {
		t.Fatalf("origin got %q, %v", b, err)
	}
	_, _ = origin.Write([]byte("answer"))
	_ = origin.CloseWrite()
	if b, err := io.ReadAll(client); string(b) != "answer" || err != nil {
		t.Fatalf("client got %q, %v", b, err)
	}
	if r := f.wait(t); r != (result{8, 6, engine.PeerClosed, engine.PeerClosed, false}) {
		t.Errorf("result %+v", r)
	}
}

// TestWhatAResetOriginSentIsStillDelivered: TCP-53.
func TestWhatAResetOriginSentIsStillDelivered(t *testing.T) {
	client, origin, f, _ := tunnel(t, relay.Options{})
	sent := random(2<<20, 3)
	got := make(chan []byte)
	go func() {
		b := make([]byte, len(sent))
		_, _ = io.ReadFull(origin, make([]byte, 1))
		n := 0
		for n < len(sent) {
			m, err := origin.Write(sent[n:])
			n += m
			if err != nil {
				break
			}
		}
		got <- b
	}()
	_, _ = client.Write([]byte("x"))
	b := make([]byte, len(sent))
	if _, err := io.ReadFull(client, b[:1<<20]); err != nil {
		t.Fatal(err)
	}
	<-got
	// All is in kernel buffers or read by now; a RST follows the bytes.
	if _, err := io.ReadFull(client, b[1<<20:]); err != nil {
		t.Fatal(err)
	}
	_ = origin.SetLinger(0)
	origin.Close()
	if n, err := client.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Fatalf("read %d, %v after the origin's reset", n, err)
	}
	if !bytes.Equal(b, sent) {
		t.Fatal("bytes differ")
	}
	client.Close()
	r := f.wait(t)
	if r.b != engine.PeerReset || r.a == engine.PeerClosed || r.down != uint64(len(sent)) {
		t.Errorf("result %+v", r)
	}
}

// TestASlowReaderStopsTheSource: while the client has no room the relay leaves the
// origin's bytes where they are, keeps next to none itself, and loses none.
func TestASlowReaderStopsTheSource(t *testing.T) {
	for _, noSplice := range []bool{false, true} {
		client, origin, f, g := tunnel(t, relay.Options{NoSplice: noSplice})
		sent := random(64<<20, 4)
		wrote, stopped := 0, false
		for !stopped {
			n, full := tryWrite(t, origin, sent[wrote:])
			if wrote += n; wrote == len(sent) {
				t.Fatal("nobody reads, yet all bytes were taken")
			}
			if !full {
				continue
			}
			on(t, g, func() {
				if stopped = f.client.WriteBlocked() && unread(f.up.FD()); !stopped {
					return
				}
				if n := g.Loops()[0].Slabs().InUse(); n > 64<<10 {
					t.Errorf("%d bytes wait in user space", n)
				}
			})
		}
		go func() {
			_, _ = origin.Write(sent[wrote:])
			_ = origin.CloseWrite()
		}()
		got, err := io.ReadAll(client)
		if err != nil || !bytes.Equal(got, sent) {
			t.Fatalf("no splice %v: got %d bytes, %v", noSplice, len(got), err)
		}
		client.Close()
		if r := f.wait(t); r.down != uint64(len(sent)) {
			t.Errorf("result %+v", r)
		}
	}
}

// tryWrite writes what the socket takes at once; full says that it takes no more now.
func tryWrite(t *testing.T, c *net.TCPConn, b []byte) (n int, full bool) {
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

// unread reports whether bytes wait in a socket.
func unread(fd int) bool {
	var b [1]byte
	n, _, err := syscall.Recvfrom(fd, b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	return err == nil && n > 0
}

// on runs fn on the loop and waits for it.
func on(t testing.TB, g *engine.Group, fn func()) {
	t.Helper()
	done := make(chan struct{})
	post(t, g, func() { defer close(done); fn() })
	<-done
}

type call struct{ f func() }

func (c *call) Run() { c.f() }

func post(t testing.TB, g *engine.Group, f func()) {
	t.Helper()
	if !g.Loops()[0].Post(&call{f}) {
		t.Fatal("post refused")
	}
}

func TestIdleTunnelIsClosed(t *testing.T) { // TCP-60
	for _, messages := range []int{4, 1000} { // so many that the loop stops looking at the clock for each
		t.Run(fmt.Sprint(messages), func(t *testing.T) { testIdleTunnel(t, messages) })
	}
}

func testIdleTunnel(t *testing.T, messages int) {
	const idle = 60 * time.Millisecond
	client, origin, f, _ := tunnel(t, relay.Options{IdleTimeout: idle})
	var last time.Time // not after the last byte moved
	trips := uint64(0)
	for range messages {
		began := time.Now()
		_, _ = client.Write([]byte("still here"))
		if _, err := io.ReadFull(origin, make([]byte, 10)); err != nil {
			break // this machine took longer than the timeout
		}
		last = began
		trips++
	}
	r := f.wait(t)
	if took := time.Since(last); took < idle {
		t.Errorf("closed %v after bytes moved", took)
	}
	if !r.idled || r.up < 10*trips {
		t.Errorf("result %+v after %d messages, want idled", r, trips)
	}
	if _, err := client.Read(make([]byte, 1)); err == nil {
		t.Error("the client's end is still open")
	}
}

func TestADialThatFailsClosesTheClient(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead := ln.Addr()
	ln.Close()
	g := start(t)
	f := &front{origin: dead, done: make(chan result, 1), live: new(atomic.Int32)}
	el, err := g.Listen(engine.ListenSpec{Addr: "127.0.0.1:0"}, func(*engine.Loop) engine.Acceptor { return f })
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", el.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("read bytes from nowhere")
	}
	c.Close()
	if r := f.wait(t); r.b != engine.ConnectRefused {
		t.Errorf("result %+v", r)
	}
}

// segment is a connection whose input goes in lengths: "data" bytes through a pump
// to the other end, then bytes to OnData, in turn.
type segment struct {
	up      *engine.Conn
	pump    relay.Pump
	lengths []int
	heads   []byte
	ended   chan relay.Result
}

func (s *segment) OnAccept(*engine.Conn) engine.Handler { return s }
func (s *segment) OnConnected(*engine.Conn)             {}
func (s *segment) OnWritable(*engine.Conn)              {}
func (s *segment) OnReadClosed(c *engine.Conn)          { s.up.CloseWrite(); c.Close() }

// OnData takes one head byte, then starts the next pump within the callback.
func (s *segment) OnData(c *engine.Conn, view []byte) int {
	if len(s.lengths) == 0 || s.pump.Active() {
		return 0
	}
	s.heads = append(s.heads, view[0])
	n := s.lengths[0]
	s.lengths = s.lengths[1:]
	s.pump.Start(c, s.up, int64(n), s)
	return 1
}

func (s *segment) OnPipeDone(_ *relay.Pump, r relay.Result) { s.ended <- r }

func (s *segment) OnClosed(*engine.Conn, engine.CloseReason) { s.pump.Stop() }

type sink struct{}

func (sink) OnConnected(*engine.Conn)                  {}
func (sink) OnWritable(*engine.Conn)                   {}
func (sink) OnReadClosed(c *engine.Conn)               { c.Close() }
func (sink) OnData(_ *engine.Conn, b []byte) int       { return len(b) }
func (sink) OnClosed(*engine.Conn, engine.CloseReason) {}

// TestPumpHandsBackExactlyAfterItsLimit alternates a byte for the handler with
// bodies of all sizes, so each crossing of push mode, copy and splice is met.
func TestPumpHandsBackExactlyAfterItsLimit(t *testing.T) {
	lengths := []int{0, 1, 5, 4095, 16 << 10, 16<<10 + 1, 100_000, 0, 3 << 20, 7, 1 << 20, 64 << 10}
	for _, piece := range []int{1000, 1 << 22} {
		for _, splice := range []bool{true, false} {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			g := start(t)
			s := &segment{lengths: append([]int(nil), lengths...), ended: make(chan relay.Result, 32)}
			s.pump.SetSplice(splice)
			accept := func(l *engine.Loop) engine.Acceptor {
				s.up = l.Dial(engine.DialSpec{Addr: ln.Addr().(*net.TCPAddr).AddrPort()}, sink{})
				return s
			}
			el, err := g.Listen(engine.ListenSpec{Addr: "127.0.0.1:0"}, accept)
			if err != nil {
				t.Fatal(err)
			}
			origin, err := ln.Accept()
			ln.Close()
			if err != nil {
				t.Fatal(err)
			}
			client, err := net.Dial("tcp", el.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			_ = client.SetDeadline(time.Now().Add(20 * time.Second))
			_ = origin.SetDeadline(time.Now().Add(20 * time.Second))
			var wire, heads, body []byte
			for i, n := range lengths {
				b := random(n, uint64(i))
				wire = append(append(wire, byte('A'+i)), b...)
				heads = append(heads, byte('A'+i))
				body = append(body, b...)
			}
			go func() {
				for rest := wire; len(rest) > 0; {
					n := min(piece, len(rest))
					_, _ = client.Write(rest[:n])
					rest = rest[n:]
				}
				_ = client.(*net.TCPConn).CloseWrite()
			}()
			got, err := io.ReadAll(origin)
			if err != nil || !bytes.Equal(got, body) {
				t.Fatalf("splice %v, pieces of %d: body %d of %d bytes, %v", splice, piece, len(got), len(body), err)
			}
			for range lengths {
				if r := <-s.ended; r != relay.Limit {
					t.Errorf("ended with %v", r)
				}
			}
			res := make(chan string, 1)
			post(t, g, func() { res <- string(s.heads) })
			if h := <-res; h != string(heads) {
				t.Errorf("heads %q, want %q", h, heads)
			}
			client.Close()
			origin.Close()
		}
	}
}

// TestSmallMessagesAreCounted: the engine passes them on without the pump, whose counts are to be as exact as
// after a piece that it moved itself.
func TestSmallMessagesAreCounted(t *testing.T) {
	client, origin, f, g := tunnel(t, relay.Options{})
	var up, down uint64
	move := func(from, to net.Conn, n int, count *uint64) {
		t.Helper()
		sent, got := make([]byte, n), make([]byte, n)
		for i := range sent {
			sent[i] = byte(*count) + byte(i)
		}
		go func() { _, _ = from.Write(sent) }() // more than the sockets hold
		if _, err := io.ReadFull(to, got); err != nil || !bytes.Equal(got, sent) {
			t.Fatalf("%d bytes after %d: %v", n, *count, err)
		}
		*count += uint64(n)
	}
	for _, n := range []int{1, 64, 16<<10 - 1, 16 << 10, 7, 1 << 20, 3, 5, 9, 100 << 10, 64, 64} {
		for range 50 {
			move(client, origin, 64, &up)
			move(origin, client, 65, &down)
		}
		move(client, origin, n, &up)
		move(origin, client, n, &down)
		on(t, g, func() {
			if u, d := f.relayed.Moved(); u != up || d != down {
				t.Errorf("moved %d and %d, want %d and %d", u, d, up, down)
			}
			if u, d := f.relayed.Pending(); u != 0 || d != 0 {
				t.Errorf("pending %d and %d", u, d)
			}
		})
	}
	client.Close()
	origin.Close()
	if r := f.wait(t); r.up != up || r.down != down {
		t.Errorf("at the end %d and %d, want %d and %d", r.up, r.down, up, down)
	}
}
