//go:build !race && !sluicedebug

package engine_test

import (
	"io"
	"net"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/engine"
	"github.com/sluiceproxy/sluice/engine/wheel"
)

// mallocs runs f and returns the allocations of the whole process meanwhile: of
// the first try with at most want, else the least of a few, since other
// goroutines of the runtime allocate now and then.
func mallocs(want uint64, f func()) uint64 {
	least := ^uint64(0)
	for try := 0; try < 4 && least > want; try++ {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f()
		runtime.ReadMemStats(&after)
		least = min(least, after.Mallocs-before.Mallocs)
	}
	return least
}

// client is a blocking socket driven by bare system calls, so that it allocates
// nothing itself. With a receive time-out set the kernel never restarts a read that
// a signal interrupts (signal(7)), and the runtime signals its threads at will: so
// these calls repeat themselves on EINTR.
func client(t testing.TB, ln *engine.Listener) int {
	t.Helper()
	fd := connect(t, &syscall.SockaddrInet4{Port: ln.Addr().(*net.TCPAddr).Port, Addr: [4]byte{127, 0, 0, 1}})
	tv := syscall.Timeval{Sec: 10}
	_ = syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &tv)
	_ = syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1)
	return fd
}

// connect returns a connected blocking socket. An interrupted attempt goes on in
// the kernel; asking again tells when it is done.
func connect(t testing.TB, sa syscall.Sockaddr) int {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	for {
		switch err := syscall.Connect(fd, sa); err {
		case nil, syscall.EISCONN:
			return fd
		case syscall.EINTR, syscall.EALREADY, syscall.EINPROGRESS:
			runtime.Gosched()
		default:
			t.Fatal(err)
		}
	}
}

func pingPong(t testing.TB, fd int, b []byte) {
	send(t, fd, b)
	receive(t, fd, b)
}

func receive(t testing.TB, fd int, b []byte) {
	for got := 0; got < len(b); {
		n, err := syscall.Read(fd, b[got:])
		if err == syscall.EINTR {
			continue
		}
		if n <= 0 || err != nil {
			t.Fatalf("read %d, %v", n, err)
		}
		got += n
	}
}

func send(t testing.TB, fd int, b []byte) {
	for {
		n, err := syscall.Write(fd, b)
		if err == syscall.EINTR {
			continue
		}
		if n != len(b) || err != nil {
			t.Fatalf("write %d, %v", n, err)
		}
		return
	}
}

// plain is an echo handler with no bookkeeping.
type plain struct {
	keep bool
	kept atomic.Bool
}

func (h *plain) OnAccept(*engine.Conn) engine.Handler { return h }
func (h *plain) OnConnected(c *engine.Conn)           {}
func (h *plain) OnWritable(*engine.Conn)              {}
func (h *plain) OnReadClosed(c *engine.Conn)          { c.Close() }

func (h *plain) OnData(c *engine.Conn, view []byte) int {
	if h.keep && len(view) < 64 { // whole messages of 64 only
		h.kept.Store(true)
		return 0
	}
	c.Write2(view[:1], view[1:])
	return len(view)
}

func (h *plain) OnClosed(*engine.Conn, engine.CloseReason) {}

func (h *plain) awaitKept(t testing.TB) {
	for deadline := time.Now().Add(10 * time.Second); !h.kept.Swap(false); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatal("the first part never arrived")
		}
	}
}

// small bounds what hundreds of operations may allocate in all: the poller's event
// list may be made anew once or twice.
const small = 8

// trips is how many round trips are counted: enough that one allocation in 25 of
// them shows. Where two threads compete with others for every turn a trip takes as
// long as a scheduler's time slice, so more would take minutes on a busy machine.
const trips = 200

func TestEchoDoesNotAllocate(t *testing.T) {
	for _, keep := range []bool{false, true} {
		g := group(t, engine.Options{Loops: 1})
		h := &plain{keep: keep}
		ln, err := g.Listen(engine.ListenSpec{Addr: "127.0.0.1:0"}, func(*engine.Loop) engine.Acceptor { return h })
		if err != nil {
			t.Fatal(err)
		}
		fd := client(t, ln)
		defer syscall.Close(fd)
		b := make([]byte, 64)
		trip := func() {
			for range trips {
				if keep { // in two parts, the first of which is kept
					send(t, fd, b[:10])
					h.awaitKept(t)
					send(t, fd, b[10:])
					receive(t, fd, b)
					continue
				}
				pingPong(t, fd, b)
			}
		}
		trip()
		if n := mallocs(small, trip); n > small {
			t.Errorf("keep %v: %d allocations in %d round trips", keep, n, trips)
		}
	}
}

func TestConnectionsDoNotAllocate(t *testing.T) {
	g := group(t, engine.Options{Loops: 1})
	ln, err := g.Listen(engine.ListenSpec{Addr: "127.0.0.1:0"}, func(*engine.Loop) engine.Acceptor { return &plain{} })
	if err != nil {
		t.Fatal(err)
	}
	sa := &syscall.SockaddrInet4{Port: ln.Addr().(*net.TCPAddr).Port, Addr: [4]byte{127, 0, 0, 1}}
	b := make([]byte, 64)
	const conns = 200
	trip := func() {
		for range conns {
			fd := connect(t, sa)
			pingPong(t, fd, b)
			syscall.Close(fd)
		}
	}
	trip()
	if n := mallocs(small, trip); n > small {
		t.Errorf("%d allocations in %d connections", n, conns)
	}
}

// redialer dials, exchanges a message and closes, over and over, with no help.
type redialer struct {
	plain
	loop *engine.Loop
	spec engine.DialSpec
	left int
	done chan struct{}
	ping []byte
}

func (r *redialer) OnConnected(c *engine.Conn) { c.Write(r.ping) }

func (r *redialer) OnData(c *engine.Conn, view []byte) int {
	c.Close()
	return len(view)
}

func (r *redialer) OnClosed(*engine.Conn, engine.CloseReason) { r.Run() }

func (r *redialer) Run() {
	if r.left == 0 {
		r.done <- struct{}{}
		return
	}
	r.left--
	r.loop.Dial(r.spec, r)
}

func TestDialDoesNotAllocate(t *testing.T) {
	g := group(t, engine.Options{Loops: 1})
	ln, err := g.Listen(engine.ListenSpec{Addr: "127.0.0.1:0"}, func(*engine.Loop) engine.Acceptor { return &plain{} })
	if err != nil {
		t.Fatal(err)
	}
	r := &redialer{
		loop: g.Loops()[0], done: make(chan struct{}, 1), ping: make([]byte, 64),
		spec: engine.DialSpec{Addr: ln.Addr().(*net.TCPAddr).AddrPort(), Timeout: time.Minute},
	}
	trip := func() {
		on(t, r.loop, func() { r.left = 200 })
		if !r.loop.Post(r) {
			t.Fatal("post refused")
		}
		<-r.done
	}
	trip()
	if n := mallocs(small+10, trip); n > small+10 { // on allocates a few itself
		t.Errorf("%d allocations in 200 dials", n)
	}
}

type ticker struct {
	wheel.Timer
	loop *engine.Loop
	left int
	done chan struct{}
}

func (k *ticker) Run() { k.loop.Arm(&k.Timer, 0) }

func (k *ticker) OnTimer(*wheel.Timer) {
	if k.left--; k.left <= 0 {
		k.done <- struct{}{}
		return
	}
	k.loop.Arm(&k.Timer, 0)
}

func TestTimersAndPostsDoNotAllocate(t *testing.T) {
	g := group(t, engine.Options{Loops: 1})
	k := &ticker{loop: g.Loops()[0], done: make(chan struct{}, 1)}
	k.Handler = k
	trip := func() {
		for range 20 {
			k.left = 5
			if !k.loop.Post(k) {
				t.Fatal("post refused")
			}
			<-k.done
		}
	}
	trip()
	if n := mallocs(small, trip); n > small {
		t.Errorf("%d allocations in 20 posts and 100 timers", n)
	}
}

// forward relays between a client's connection and one to an origin in push mode,
// the way a proxy does.
type forward struct{ other *engine.Conn }

func (f *forward) OnConnected(*engine.Conn)    {}
func (f *forward) OnWritable(*engine.Conn)     {}
func (f *forward) OnReadClosed(c *engine.Conn) { c.Close() }
func (f *forward) OnData(_ *engine.Conn, view []byte) int {
	f.other.Write(view)
	return len(view)
}

func (f *forward) OnClosed(*engine.Conn, engine.CloseReason) { f.other.Close() }

type forwarder struct{ origin engine.DialSpec }

func (f forwarder) OnAccept(c *engine.Conn) engine.Handler {
	back := &forward{other: c}
	return &forward{other: c.Loop().Dial(f.origin, back)}
}

// BenchmarkProxiedPingPong is a 64-byte round trip through two connections of one
// loop, between bare-syscall ends.
func BenchmarkProxiedPingPong(b *testing.B) {
	origin, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer origin.Close()
	go func() {
		c, err := origin.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		buf := make([]byte, 64)
		for {
			if _, err := io.ReadFull(c, buf); err != nil {
				return
			}
			if _, err := c.Write(buf); err != nil {
				return
			}
		}
	}()
	g := group(b, engine.Options{Loops: 1})
	spec := engine.DialSpec{Addr: origin.Addr().(*net.TCPAddr).AddrPort()}
	ln, err := g.Listen(engine.ListenSpec{Addr: "127.0.0.1:0"}, func(*engine.Loop) engine.Acceptor { return forwarder{spec} })
	if err != nil {
		b.Fatal(err)
	}
	fd := client(b, ln)
	defer syscall.Close(fd)
	msg := make([]byte, 64)
	pingPong(b, fd, msg)
	b.ReportAllocs()
	for b.Loop() {
		pingPong(b, fd, msg)
	}
}
