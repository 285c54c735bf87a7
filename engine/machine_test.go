package engine_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sluiceproxy/sluice/engine"
	"github.com/sluiceproxy/sluice/engine/wheel"
)

// TestWhateverHandlersDo lets both ends of many connections, on two groups, do
// things drawn at random within their callbacks: write, pause, close themselves or
// each other, read raw, dial, now or from a timer, a task or a message. Whatever
// they do, each hears OnClosed once and nothing after, gets its peer's bytes in
// order, and gets all of them when neither end was cut off; no descriptor, slab or
// connection is left.
func TestWhateverHandlersDo(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		base := len(openFDs(t))
		w := newWorld(t, rt)
		for i := range rapid.IntRange(1, 6).Draw(rt, "connections") {
			l := w.near.Loops()[i%2]
			on(t, l, func() { w.dial(l) })
		}
		for range rapid.IntRange(0, 8).Draw(rt, "rounds") {
			for _, l := range w.loops() {
				on(t, l, func() {})
			}
		}
		w.finish(rapid.SampledFrom([]string{"in order", "in order", "close", "stop", "drain"}).Draw(rt, "end"))
		if err := w.check(); err != nil {
			rt.Fatal(err)
		}
		if !poll(func() bool { return len(openFDs(t)) <= base }) {
			rt.Fatalf("descriptors leak: %d before, %d after", base, len(openFDs(t)))
		}
	})
}

// world is one run: two groups, a script that all callbacks read from, and all the
// ends there were.
type world struct {
	t         *testing.T
	near, far *engine.Group
	ln        *engine.Listener
	to, dead  netip.AddrPort
	finishing atomic.Bool // ends do nothing more but read, and end in order
	stopped   bool        // a group was stopped under open connections
	live      atomic.Int64

	mu     sync.Mutex
	script []int // what callbacks do next, whichever asks
	errs   []error
	ends   []*actor
	pairs  map[uint32]*[2]*actor // dialled and accepted end
}

const maxDials = 24

func newWorld(t *testing.T, rt *rapid.T) *world {
	w := &world{t: t, pairs: map[uint32]*[2]*actor{}}
	rng := rand.New(rand.NewPCG(1, rapid.Uint64().Draw(rt, "seed")))
	for range rapid.IntRange(0, 300).Draw(rt, "steps") {
		w.script = append(w.script, rng.IntN(1<<24))
	}
	start := func(o engine.Options) *engine.Group {
		g, err := engine.New(o)
		if err == nil {
			err = g.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range g.Loops() {
			on(t, l, func() { l.SetContext(&[]*actor{}) })
		}
		return g
	}
	w.near = start(engine.Options{Loops: 2})
	w.far = start(engine.Options{Loops: 1, ReadBufferBytes: rapid.SampledFrom([]int{512, 16 << 10}).Draw(rt, "buffer")})
	w.ln = serve(t, w.far, engine.ListenSpec{}, w.accept)
	w.to = w.ln.Addr().(*net.TCPAddr).AddrPort()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.dead = closed.Addr().(*net.TCPAddr).AddrPort()
	closed.Close()
	return w
}

func (w *world) loops() []*engine.Loop { return append(w.near.Loops()[:2:2], w.far.Loops()...) }

func (w *world) fail(format string, v ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.errs = append(w.errs, fmt.Errorf(format, v...))
}

// next takes a number from the script, 0 when there are no more.
func (w *world) next() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.script) == 0 || w.finishing.Load() {
		return 0
	}
	n := w.script[0]
	w.script = w.script[1:]
	return n
}

// dial makes a new pair; one in eight has nobody at the other end.
func (w *world) dial(l *engine.Loop) {
	a := w.newActor(l)
	a.dialled = true
	w.mu.Lock()
	a.id = uint32(len(w.pairs) + 1)
	tooMany := a.id > maxDials
	if !tooMany {
		w.pairs[a.id] = &[2]*actor{a}
	}
	w.mu.Unlock()
	if tooMany {
		return
	}
	a.open()
	to := w.to
	if w.next()%8 == 7 {
		to = w.dead
	}
	a.conn = l.Dial(engine.DialSpec{Addr: to, Timeout: time.Minute}, a)
	a.write(binary.BigEndian.AppendUint32(nil, a.id)) // waits, says which pair it is
	if w.finishing.Load() {
		a.endInOrder()
	}
}

func (w *world) accept(c *engine.Conn) engine.Handler {
	a := w.newActor(c.Loop())
	a.conn = c
	a.open()
	a.shrink()
	switch {
	case w.finishing.Load():
		a.endInOrder()
	case w.next()%16 == 15:
		a.cut((*engine.Conn).Close)
	}
	return a
}

// shrink makes the socket take less at a time, now and then.
func (a *actor) shrink() {
	if a.w.next()%2 == 1 {
		_ = syscall.SetsockoptInt(a.conn.FD(), syscall.SOL_SOCKET, syscall.SO_SNDBUF, 4<<10)
	}
}

// actor is one end of a connection. Loop-owned.
type actor struct {
	w    *world
	loop *engine.Loop
	conn *engine.Conn // nil once closed
	id   uint32

	dialled, connected bool
	readClosed, closed bool
	abrupt             bool // it cut its connection off
	raw                bool
	sent, got          int
	reason             engine.CloseReason
	timer              wheel.Timer
	later              int // what the timer, task or message does
}

func (w *world) newActor(l *engine.Loop) *actor {
	a := &actor{w: w, loop: l}
	a.timer.Handler = a
	return a
}

func (a *actor) open() {
	a.w.live.Add(1)
	a.w.mu.Lock()
	a.w.ends = append(a.w.ends, a)
	a.w.mu.Unlock()
	mates := a.loop.Context().(*[]*actor)
	*mates = append(*mates, a)
}

// mate is an open end on the same loop, perhaps a itself.
func (a *actor) mate(n int) *actor {
	mates := *a.loop.Context().(*[]*actor)
	if m := mates[n%len(mates)]; m.conn != nil {
		return m
	}
	return a
}

// pattern is the byte at a position of the stream that an end of pair id sends.
func pattern(id uint32, dialled bool, at int) byte {
	if dialled {
		if at < 4 {
			return byte(id >> (24 - 8*at))
		}
		id = ^id
	}
	return byte(uint32(at)*2654435761>>13 ^ uint32(at) ^ id*97)
}

// stream returns the next n bytes to send. The accepted end knows what to send
// once it has read which pair it belongs to.
func (a *actor) stream(n int) []byte {
	if a.id == 0 || a.conn.WriteClosed() {
		return nil
	}
	b := make([]byte, n)
	for i := range b {
		b[i] = pattern(a.id, a.dialled, a.sent+i)
	}
	a.sent += n
	return b
}

func (a *actor) write(head []byte) {
	a.sent += len(head)
	a.conn.Write(head)
}

// take checks received bytes.
func (a *actor) take(b []byte) {
	for len(b) > 0 && !a.dialled && a.got < 4 {
		a.id = a.id<<8 | uint32(b[0])
		b = b[1:]
		if a.got++; a.got == 4 {
			a.w.mu.Lock()
			if p := a.w.pairs[a.id]; p == nil || p[1] != nil {
				a.w.errs = append(a.w.errs, fmt.Errorf("no pair %d waits for an end", a.id))
			} else {
				p[1] = a
			}
			a.w.mu.Unlock()
		}
	}
	for i, c := range b {
		if c != pattern(a.id, !a.dialled, a.got+i) {
			a.w.fail("pair %d: byte %d differs", a.id, a.got+i)
			break
		}
	}
	a.got += len(b)
}

func (a *actor) event(name string) {
	if a.closed || a.conn == nil {
		a.w.fail("%s after OnClosed", name)
	}
	if a.dialled && !a.connected && name != "OnWritable" {
		a.w.fail("%s before OnConnected", name)
	}
}

func (a *actor) OnConnected(*engine.Conn) {
	if !a.dialled || a.connected {
		a.w.fail("OnConnected of an accepted end, or twice")
	}
	a.connected = true
	a.event("OnConnected")
	a.shrink()
	a.act(a.w.next())
}

func (a *actor) OnData(c *engine.Conn, view []byte) int {
	a.event("OnData")
	if a.readClosed {
		a.w.fail("OnData after the end")
	}
	n := a.w.next()
	used := len(view)
	if n%4 == 3 {
		used = n / 4 % (len(view) + 1)
		a.again()
	}
	a.take(view[:used])
	a.act(n / 16)
	return used
}

func (a *actor) OnReadClosed(*engine.Conn) {
	a.event("OnReadClosed")
	a.ended()
}

func (a *actor) ended() {
	if a.readClosed {
		a.w.fail("the end twice")
	}
	a.readClosed = true
	a.act(a.w.next())
	a.take(a.conn.KeptView()) // what it left: the last chance
	a.conn.TakeKept(a.conn.Kept())
	a.conn.CloseWrite()
}

func (a *actor) OnWritable(*engine.Conn) {
	a.event("OnWritable")
	a.act(a.w.next())
}

// OnReadable reads raw: kept bytes first, then some of what the socket has.
func (a *actor) OnReadable(c *engine.Conn) {
	a.event("OnReadable")
	a.take(c.KeptView())
	c.TakeKept(c.Kept())
	b := a.loop.ReadBuffer()
	for range 3 {
		n, drained, st := c.ReadRaw(b)
		a.take(b[:n])
		switch {
		case st == engine.IOEnd:
			a.ended()
			return
		case st != engine.IOMoved || drained:
			a.act(a.w.next())
			return
		}
	}
	c.ReadLater()
}

func (a *actor) OnRawWritable(*engine.Conn) { a.event("OnRawWritable") }

func (a *actor) OnClosed(c *engine.Conn, r engine.CloseReason) {
	if a.closed {
		a.w.fail("OnClosed twice")
	}
	a.closed, a.reason = true, r
	a.act(a.w.next())
	c.ResumeRead()
	c.Close()
	a.conn = nil
	a.loop.Disarm(&a.timer)
	mates := a.loop.Context().(*[]*actor)
	for i, m := range *mates {
		if m == a {
			*mates = append((*mates)[:i], (*mates)[i+1:]...)
			break
		}
	}
	a.w.live.Add(-1)
}

func (a *actor) OnTimer(*wheel.Timer) { a.act(a.later) }
func (a *actor) Run(*engine.Loop)     { a.actIfOpen(a.later) }
func (a *actor) again()               { a.post(func() { a.conn.ResumeRead() }) }
func (a *actor) post(f func())        { a.loop.Post(&job{func() { a.ifOpen(f) }}) }
func (a *actor) actIfOpen(n int)      { a.ifOpen(func() { a.act(n) }) }
func (a *actor) ifOpen(f func()) {
	if a.conn != nil {
		f()
	}
}
func (a *actor) cut(f func(c *engine.Conn)) {
	a.abrupt = true
	f(a.conn)
}

// act does the n-th thing. Everything is allowed everywhere, but for writing to a
// connection that is closed, which does nothing.
func (a *actor) act(n int) {
	if n == 0 || a.w.finishing.Load() {
		return
	}
	c, arg := a.conn, n/24
	switch n % 24 {
	case 1, 2:
		c.Write(a.stream(arg % 3000))
	case 3:
		c.Write(a.stream(arg * 40 % 300_000))
	case 4:
		c.Write2(a.stream(1+arg%700), a.stream(arg%100_000))
	case 5:
		c.Cork()
		c.Write(a.stream(arg % 900))
		c.Write(a.stream(arg % 5000))
		c.Uncork()
	case 6:
		c.PauseRead()
		a.again()
	case 7:
		c.SetReadLimit(1 + arg%5000)
		c.SetWatermarks(1 + arg%100_000)
		a.again()
	case 8:
		c.CloseWrite()
	case 9:
		a.cut(func(c *engine.Conn) { c.CloseAfterFlush(time.Duration(1+arg%10) * time.Millisecond) })
	case 10:
		a.cut((*engine.Conn).Close)
	case 11:
		a.cut((*engine.Conn).Reset)
	case 12:
		a.mate(arg).cut((*engine.Conn).Close)
	case 13:
		a.mate(arg).cut((*engine.Conn).Reset)
	case 14:
		a.mate(arg).cut(func(c *engine.Conn) { c.CloseAfterFlush(0) })
	case 15:
		m := a.mate(arg)
		m.conn.Write(m.stream(arg % 20_000))
	case 16:
		a.later = a.w.next()
		a.loop.Defer(a)
	case 17:
		a.later = a.w.next()
		a.loop.Arm(&a.timer, time.Duration(arg%3)*time.Millisecond)
	case 18:
		a.later = a.w.next()
		a.post(func() { a.act(a.later) })
	case 19, 20:
		if a.raw = !a.raw; a.raw && !a.readClosed {
			c.SetRawReader(a)
			c.SetRawWriter(a)
		} else {
			c.SetRawReader(nil)
			c.SetRawWriter(nil)
		}
	case 21:
		a.w.dial(a.loop)
	case 22:
		c.SetHandler(other{a})
	case 23:
		c.ResumeRead()
	}
}

// other is an actor that is another handler to the engine.
type other struct{ *actor }

// endInOrder makes an end that is open read all and send its FIN.
func (a *actor) endInOrder() {
	a.conn.CloseWrite()
	a.conn.ResumeRead()
}

// finish ends the run the way it is told.
func (w *world) finish(how string) {
	w.finishing.Store(true)
	each := func(f func(a *actor)) {
		for _, l := range w.loops() {
			on(w.t, l, func() {
				for _, a := range append([]*actor(nil), *l.Context().(*[]*actor)...) {
					a.ifOpen(func() { f(a) })
				}
			})
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	stop := func(g *engine.Group) {
		if err := g.Stop(ctx); err != nil {
			w.fail("stop: %w", err)
		}
	}
	switch how {
	case "close":
		each(func(a *actor) { a.cut((*engine.Conn).Close) })
	case "stop": // with dials under way; the other side sees resets
		w.stopped = true
		stop(w.near)
	case "drain":
		w.ln.Close()
		each((*actor).endInOrder)
		for range 2 {
			if err := w.far.Drain(ctx); err != nil {
				w.fail("drain: %w", err)
			}
		}
	}
	if how != "stop" {
		each((*actor).endInOrder)
		if !poll(func() bool { return w.live.Load() == 0 }) {
			w.fail("%d ends never closed", w.live.Load())
		}
		for _, l := range w.loops() {
			on(w.t, l, func() {
				if l.Conns() != 0 || l.Slabs().InUse() != 0 {
					w.fail("%d connections, %d bytes of slabs left", l.Conns(), l.Slabs().InUse())
				}
			})
		}
	}
	stop(w.near)
	stop(w.far)
	for _, l := range w.loops() {
		if l.Post(&job{func() {}}) {
			w.fail("a message was accepted after the stop")
		}
	}
}

// check looks at the ends after all loops have stopped.
func (w *world) check() error {
	for _, a := range w.ends {
		if !a.closed {
			w.fail("pair %d: an end heard no OnClosed", a.id)
		}
	}
	for id, p := range w.pairs {
		if p[1] == nil {
			continue
		}
		for i, from := range p {
			to := p[1-i]
			if to.got > from.sent {
				w.fail("pair %d: got %d bytes of %d", id, to.got, from.sent)
			}
			if from.abrupt || to.abrupt || from.reason != engine.PeerClosed || to.reason != engine.PeerClosed {
				continue
			}
			if to.got != from.sent {
				w.fail("pair %d, both ended in order: got %d bytes of %d", id, to.got, from.sent)
			}
		}
		if !p[0].abrupt && !p[1].abrupt {
			for _, a := range p {
				if r := a.reason; r != engine.PeerClosed && !w.stopped {
					w.fail("pair %d: nobody cut it off, yet %v", id, r)
				}
			}
		}
	}
	return errors.Join(w.errs...)
}
