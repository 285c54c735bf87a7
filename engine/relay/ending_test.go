package relay_test

import (
	"bytes"
	"fmt"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/engine"
	"github.com/sluiceproxy/sluice/engine/relay"
)

// bulk is more than all buffers between two peers take.
var bulk = random(64<<20, 9)

// modes runs a test with copying and with splicing.
func modes(t *testing.T, run func(t *testing.T, g *engine.Group, o relay.Options)) {
	for _, noSplice := range []bool{false, true} {
		t.Run(fmt.Sprintf("splice %v", !noSplice), func(t *testing.T) {
			g := loops(t, 1)
			run(t, g, relay.Options{NoSplice: noSplice})
			eventually(t, g, "all slabs are back", func() bool { return g.Loops()[0].Slabs().InUse() == 0 })
		})
	}
}

// received is a stream as its reader got it.
type received struct {
	b   []byte
	err error
}

func reading(c end) chan received {
	got := make(chan received, 1)
	go func() { b, err := readRest(c); got <- received{b, err} }()
	return got
}

// mustBe checks the bytes of a whole stream.
func (r received) mustBe(t *testing.T, what string, want []byte) {
	t.Helper()
	if r.err != nil || !bytes.Equal(r.b, want) {
		t.Fatalf("%s: %d bytes, %v; want %d, and an end", what, len(r.b), r.err, len(want))
	}
}

// heard waits until the owner has heard of an event.
func (l *link) heard(g *engine.Group, event string) {
	l.t.Helper()
	eventually(l.t, g, event, func() bool { return slices.Contains(l.x.out.events, event) })
}

// gone waits until the relay's end of one of them was reset.
func (l *link) gone(g *engine.Group) {
	l.t.Helper()
	eventually(l.t, g, "one is gone", func() bool {
		a, b := l.x.Reasons()
		return a == engine.PeerReset || b == engine.PeerReset
	})
}

func TestAFINFollowsWhatIsPending(t *testing.T) { // TCP-50
	modes(t, func(t *testing.T, g *engine.Group, o relay.Options) {
		l := newRig(t, g, "tcp", o).connect()
		up := bulk[:l.stuff(g, l.client, bulk)]
		down := bulk[1 : 1+l.stuff(g, l.origin, bulk[1:])]
		_ = l.client.CloseWrite()
		_ = l.origin.CloseWrite()
		gotUp, gotDown := reading(l.origin), reading(l.client)
		(<-gotUp).mustBe(t, "up", up)
		(<-gotDown).mustBe(t, "down", down)
		out := l.wait()
		if !out.orderly() || out.up != uint64(len(up)) || out.down != uint64(len(down)) {
			t.Errorf("outcome %+v", out)
		}
		if out.count("paused up") == 0 || out.count("paused down") == 0 {
			t.Errorf("events %q, want pauses both ways", out.events)
		}
	})
}

// TestADownstreamWithFINsBothWaysIsFlushed: its connection is over when the kernel has
// all it sent, though the upstream is yet to get it.
func TestADownstreamWithFINsBothWaysIsFlushed(t *testing.T) { // TCP-51
	modes(t, func(t *testing.T, g *engine.Group, o relay.Options) {
		l := newRig(t, g, "tcp", o).connect()
		sent := 0
		for paused := false; !paused; {
			n, err := l.client.Write(bulk[sent : sent+32<<10])
			if sent += n; err != nil {
				t.Fatal(err)
			}
			on(t, g, func() { paused = l.x.over[0] })
		}
		_ = l.client.CloseWrite()
		_ = l.origin.CloseWrite()
		(<-reading(l.client)).mustBe(t, "down", nil)
		l.heard(g, "flush")
		(<-reading(l.origin)).mustBe(t, "up", bulk[:sent])
		if out := l.wait(); !out.orderly() || out.up != uint64(sent) || out.count("flush") != 1 {
			t.Errorf("outcome %+v", out)
		}
	})
}

// TestADownstreamThatIsGoneIsMetByAWrite: unix sockets tell of it only so.
func TestADownstreamThatIsGoneIsMetByAWrite(t *testing.T) { // TCP-51
	modes(t, func(t *testing.T, g *engine.Group, o relay.Options) {
		for _, abort := range []bool{false, true} {
			l := newRig(t, g, "unix", o).connect()
			sent := bulk[:l.stuff(g, l.client, bulk)]
			l.client.Close()
			_, _ = l.origin.Write([]byte("x"))
			l.heard(g, "flush")
			if abort {
				_, _ = l.origin.Write([]byte("y"))
				if out := l.wait(); out.b != engine.LocalReset || out.count("flush") != 1 {
					t.Errorf("aborted: outcome %+v", out)
				}
				continue
			}
			(<-reading(l.origin)).mustBe(t, "up", sent)
			out := l.wait()
			if out.up != uint64(len(sent)) || out.a != engine.PeerReset || out.count("flush") != 1 {
				t.Errorf("outcome %+v", out)
			}
		}
	})
}

func TestUpstreamBytesAbortTheFlush(t *testing.T) { // TCP-51
	modes(t, func(t *testing.T, g *engine.Group, o relay.Options) {
		l := newRig(t, g, "tcp", o).connect()
		l.stuff(g, l.client, bulk)
		reset(l.client)
		l.heard(g, "flush")
		_, _ = l.origin.Write([]byte("too late"))
		if out := l.wait(); out.b != engine.LocalReset || out.count("flush") != 1 || out.idled {
			t.Errorf("outcome %+v", out)
		}
		if got := <-reading(l.origin); got.err == nil || !bytes.HasPrefix(bulk, got.b) {
			t.Errorf("the origin got %d bytes and %v, want a reset", len(got.b), got.err)
		}
	})
}

func TestAResetDownstreamWithNothingPendingClosesTheUpstream(t *testing.T) { // TCP-51
	modes(t, func(t *testing.T, g *engine.Group, o relay.Options) {
		l := newRig(t, g, "tcp", o).connect()
		_, _ = l.client.Write([]byte("hello"))
		if _, err := l.origin.Read(make([]byte, 5)); err != nil {
			t.Fatal(err)
		}
		reset(l.client)
		(<-reading(l.origin)).mustBe(t, "up", nil)
		if out := l.wait(); out.a != engine.PeerReset || out.b != engine.LocalClose || len(out.events) != 0 {
			t.Errorf("outcome %+v", out)
		}
	})
}

func TestAResetUpstreamIsFlushedToTheDownstream(t *testing.T) { // TCP-53
	modes(t, func(t *testing.T, g *engine.Group, o relay.Options) {
		l := newRig(t, g, "tcp", o).connect()
		sent := bulk[:l.stuff(g, l.origin, bulk)]
		reset(l.origin)
		got := <-reading(l.client)
		got.mustBe(t, "down", sent[:min(len(got.b), len(sent))])
		l.client.Close()
		out := l.wait()
		if out.down != uint64(len(got.b)) || out.b != engine.PeerReset || out.count("flush") != 0 {
			t.Errorf("outcome %+v after %d bytes", out, len(got.b))
		}
	})
}

// TestEitherEndMayGoAfterItsFIN: reset, when nothing of its is pending.
func TestEitherEndMayGoAfterItsFIN(t *testing.T) { // TCP-51, TCP-53
	modes(t, func(t *testing.T, g *engine.Group, o relay.Options) {
		for _, origin := range []bool{false, true} {
			l := newRig(t, g, "tcp", o).connect()
			from, to := l.client, l.origin
			if origin {
				from, to = to, from
			}
			_, _ = from.Write([]byte("all"))
			_ = from.CloseWrite()
			(<-reading(to)).mustBe(t, "before the FIN", []byte("all"))
			reset(from)
			l.gone(g)
			to.Close()
			out := l.wait()
			gone, other := out.a, out.b
			if origin {
				gone, other = other, gone
			}
			if gone != engine.PeerReset || other != engine.LocalClose || len(out.events) != 0 {
				t.Errorf("origin %v: outcome %+v", origin, out)
			}
		}
	})
}

// TestKeptBytesOfAnEndThatIsGoneAreDelivered: it had sent its FIN before the tunnel
// began, so that its reset closes it at once.
func TestKeptBytesOfAnEndThatIsGoneAreDelivered(t *testing.T) { // TCP-51, TCP-53
	const early = 60 << 10
	modes(t, func(t *testing.T, g *engine.Group, o relay.Options) {
		for _, c := range []struct {
			origin bool // it is the one that goes
			fails  bool // the other does, before it has all
		}{{}, {origin: true}, {fails: true}, {true, true}} {
			r := newRig(t, g, "tcp", o)
			r.late = c.origin
			r.hook = func(x *session, what string) {
				if what == "began" {
					smallFD(t, x.a.FD())
					smallFD(t, x.b.FD())
				}
			}
			small(t, r.ln.(*net.TCPListener))
			var l *link
			if c.origin {
				l = r.connect()
				small(t, l.client)
				_, _ = l.origin.Write(bulk[:early])
				_ = l.origin.CloseWrite()
			} else {
				l = r.knock(bulk[:early], true)
				l.accept(r)
			}
			eventually(t, g, "bytes wait", func() bool { up, down := l.x.Pending(); return up+down > 0 })
			from, to := l.client, l.origin
			if c.origin {
				from, to = to, from
			}
			reset(from)
			l.gone(g)
			if c.fails {
				reset(to)
			} else {
				(<-reading(to)).mustBe(t, "kept bytes", bulk[:early])
				to.Close()
			}
			out := l.wait()
			if fromClient := !c.origin; (out.count("flush") == 1) != fromClient || out.up+out.down != early {
				t.Errorf("%+v: outcome %+v", c, out)
			}
		}
	})
}

// TestAFlushThatMovesIsNotIdle: a whole slab waits for an upstream that reads slowly,
// so that the pump has nothing to do for longer than the timeout.
func TestAFlushThatMovesIsNotIdle(t *testing.T) { // TCP-51, TCP-60
	const early, idle = 160 << 10, 300 * time.Millisecond
	g := loops(t, 1)
	r := newRig(t, g, "tcp", relay.Options{IdleTimeout: idle})
	r.hook = func(x *session, what string) {
		if what == "began" {
			smallFD(t, x.b.FD())
		}
	}
	small(t, r.ln.(*net.TCPListener))
	l := r.knock(bulk[:early], true)
	l.accept(r)
	eventually(t, g, "bytes wait", func() bool { up, _ := l.x.Pending(); return up > 0 })
	reset(l.client)
	l.gone(g)
	var got []byte
	b := make([]byte, 16<<10)
	waits := early
	var began, read, moved, longest time.Duration
	eventually(t, g, "all is sent", func() bool {
		now := time.Duration(g.Loops()[0].Now())
		if began == 0 {
			began, read, moved = now, now, now
		}
		up, _ := l.x.Pending()
		if up != waits {
			waits, moved = up, now
		}
		longest = max(longest, now-moved)
		if up == 0 || now < read+idle/8 {
			return up == 0
		}
		read = now
		n, err := l.origin.Read(b) // on the loop: there are always bytes
		got = append(got, b[:n]...)
		return err != nil
	})
	rest := <-reading(l.origin)
	out := l.wait()
	if out.idled && longest > idle/2 || moved-began < idle {
		t.Skipf("in %v the kernel moved nothing for %v", moved-began, longest)
	}
	if got = append(got, rest.b...); !bytes.Equal(got, bulk[:early]) || out.idled {
		t.Errorf("%d bytes in %v, outcome %+v", len(got), moved-began, out)
	}
}

func TestAnEndClosedByItsOwnerClosesTheOther(t *testing.T) { // TCP-52
	g := loops(t, 1)
	for name, end := range map[string]func(x *session){
		"a closed": func(x *session) { x.a.Close() }, "a reset": func(x *session) { x.a.Reset() },
		"b closed": func(x *session) { x.b.Close() }, "b reset": func(x *session) { x.b.Reset() },
	} {
		l := newRig(t, g, "tcp", relay.Options{}).connect()
		l.stuff(g, l.client, bulk)
		on(t, g, func() { end(l.x) })
		out := l.wait()
		if ofB := strings.HasPrefix(name, "b"); out.count("flush") != 0 || !ofB && out.b != engine.LocalReset || ofB && out.a != engine.LocalClose {
			t.Errorf("%s: outcome %+v", name, out)
		}
	}
}

// TestAPeerMayGoWhileBothAreFlushed: CloseFlush, both blocked, one is reset.
func TestAPeerMayGoWhileBothAreFlushed(t *testing.T) {
	modes(t, func(t *testing.T, g *engine.Group, o relay.Options) {
		for _, origin := range []bool{false, true} {
			l := newRig(t, g, "tcp", o).connect()
			l.stuff(g, l.client, bulk)
			l.stuff(g, l.origin, bulk)
			var moved [2]uint64
			on(t, g, func() { l.x.CloseFlush(); moved[0], moved[1] = l.x.Moved() })
			from, to, want := l.client, l.origin, moved[0]
			if origin {
				from, to, want = to, from, moved[1]
			}
			reset(from)
			(<-reading(to)).mustBe(t, "the other's", bulk[:want])
			to.Close()
			if out := l.wait(); [2]uint64{out.up, out.down} != moved || out.count("flush") != 0 {
				t.Errorf("outcome %+v, want %d moved", out, moved)
			}
		}
	})
}

// TestAFlushedEndIsNotIdle: its peer may take its time with the FIN.
func TestAFlushedEndIsNotIdle(t *testing.T) {
	const idle = 30 * time.Millisecond
	g := loops(t, 1)
	l := newRig(t, g, "tcp", relay.Options{IdleTimeout: idle}).connect()
	reset(l.origin)
	l.gone(g)
	last := int64(0)
	on(t, g, func() { last = l.x.LastMove() })
	eventually(t, g, "three timeouts", func() bool { return g.Loops()[0].Now() > last+3*int64(idle) })
	(<-reading(l.client)).mustBe(t, "down", nil)
	l.client.Close()
	if out := l.wait(); out.idled || out.b != engine.PeerReset {
		t.Errorf("outcome %+v", out)
	}
}

// TestAFailedUpstreamLeavesKeptBytes: they were never taken, and are freed.
func TestAFailedUpstreamLeavesKeptBytes(t *testing.T) {
	modes(t, func(t *testing.T, g *engine.Group, o relay.Options) {
		o.LimitUp = 16
		const early = 48 << 10
		r := newRig(t, g, "tcp", o)
		l := r.knock(bulk[:early], false)
		l.accept(r)
		eventually(t, g, "the upstream is up", func() bool { up, _ := l.x.Moved(); return up > 0 })
		reset(l.origin)
		if got := <-reading(l.client); len(got.b) != 0 {
			t.Errorf("the client got %d bytes", len(got.b))
		}
		l.client.Close()
		if out := l.wait(); out.up > early || out.b != engine.PeerReset {
			t.Errorf("outcome %+v", out)
		}
	})
}

func TestCloseDropsWhatIsUnsent(t *testing.T) { // TCP-52
	modes(t, func(t *testing.T, g *engine.Group, o relay.Options) {
		l := newRig(t, g, "tcp", o).connect()
		sent := bulk[:l.stuff(g, l.client, bulk)]
		on(t, g, func() { l.x.Close(); l.x.Close() })
		out := l.wait()
		if out.a != engine.LocalClose || out.b != engine.LocalReset || out.count("flush") != 0 {
			t.Errorf("outcome %+v", out)
		}
		if got := <-reading(l.origin); got.err == nil || !bytes.HasPrefix(sent, got.b) {
			t.Errorf("the origin got %d bytes and %v: it cannot tell that some are missing", len(got.b), got.err)
		}
	})
}

func TestCloseFlushSendsWhatWasTaken(t *testing.T) {
	modes(t, func(t *testing.T, g *engine.Group, o relay.Options) {
		l := newRig(t, g, "tcp", o).connect()
		up := bulk[:l.stuff(g, l.client, bulk)]
		down := bulk[1 : 1+l.stuff(g, l.origin, bulk[1:])]
		var movedUp, movedDown uint64
		on(t, g, func() {
			l.x.CloseFlush()
			l.x.CloseFlush()
			movedUp, movedDown = l.x.Moved()
			if toB, toA := l.x.Pending(); toB == 0 || toA == 0 {
				t.Errorf("%d and %d bytes pending", toB, toA)
			}
		})
		gotUp, gotDown := reading(l.origin), reading(l.client)
		(<-gotUp).mustBe(t, "up", up[:movedUp])
		(<-gotDown).mustBe(t, "down", down[:movedDown])
		l.client.Close()
		l.origin.Close()
		if out := l.wait(); out.up != movedUp || out.down != movedDown || out.count("flush") != 0 {
			t.Errorf("outcome %+v, want %d and %d bytes", out, movedUp, movedDown)
		}
	})
}

// TestCloseFlushOfEarlyBytes: what was read before the upstream was there is sent,
// also when the tunnel is told to end before it has begun to move them.
func TestCloseFlushOfEarlyBytes(t *testing.T) {
	modes(t, func(t *testing.T, g *engine.Group, o relay.Options) {
		const early = 40 << 10
		r := newRig(t, g, "tcp", o)
		r.hook = func(x *session, what string) {
			if what == "began" { // its pumps have not: they do at the safe point
				x.CloseFlush()
			}
		}
		l := r.knock(bulk[:early], false)
		l.accept(r)
		(<-reading(l.origin)).mustBe(t, "up", bulk[:early])
		l.client.Close()
		l.origin.Close()
		if out := l.wait(); out.up != early {
			t.Errorf("outcome %+v", out)
		}
	})
}

func TestAStuckFlushEndsWithTheIdleTimeout(t *testing.T) { // TCP-51, TCP-60
	modes(t, func(t *testing.T, g *engine.Group, o relay.Options) {
		for _, how := range []string{"reset", "drained"} {
			l := newRig(t, g, "tcp", o).connect()
			l.stuff(g, l.client, bulk)
			if how == "reset" {
				reset(l.client)
				l.heard(g, "flush")
			} else {
				on(t, g, func() { l.x.CloseFlush() })
			}
			on(t, g, func() { l.x.SetIdleTimeout(30 * time.Millisecond) })
			if out := l.wait(); !out.idled || out.b != engine.LocalReset {
				t.Errorf("%s: outcome %+v", how, out)
			}
		}
	})
}

// TestTheOwnerMayEndItInEachEvent.
func TestTheOwnerMayEndItInEachEvent(t *testing.T) {
	modes(t, func(t *testing.T, g *engine.Group, o relay.Options) {
		for _, event := range []string{"paused", "resumed", "flush", "closed"} {
			for name, act := range map[string]func(*relay.Tunnel){
				"Close": (*relay.Tunnel).Close, "CloseFlush": (*relay.Tunnel).CloseFlush,
				"SetIdleTimeout": func(t *relay.Tunnel) { t.SetIdleTimeout(20 * time.Millisecond) },
			} {
				r := newRig(t, g, "tcp", o)
				r.hook = func(x *session, what string) {
					if what == event {
						act(&x.Tunnel)
					}
				}
				l := r.connect()
				go func() { _, _ = l.client.Write(bulk) }()
				eventually(t, g, "a pause", func() bool { return len(l.x.out.events) > 0 })
				if event == "flush" || event == "closed" {
					reset(l.client)
				}
				if event == "resumed" || event == "closed" || name == "CloseFlush" {
					go func() { _, _ = readRest(l.origin); l.client.Close(); l.origin.Close() }()
				}
				if out := l.wait(); event == "flush" && out.count("flush") != 1 {
					t.Errorf("%s in %s: outcome %+v", name, event, out)
				}
			}
		}
	})
}

func TestIdleTimeoutMayChangeAnyTime(t *testing.T) { // TCP-60
	const long, short = time.Hour, 40 * time.Millisecond
	g := loops(t, 1)
	clock := g.Loops()[0]
	for _, from := range []time.Duration{0, long} {
		l := newRig(t, g, "tcp", relay.Options{IdleTimeout: from}).connect()
		_, _ = l.client.Write([]byte("x"))
		var last, ended int64
		eventually(t, g, "a byte moved", func() bool { up, _ := l.x.Moved(); last = l.x.LastMove(); return up == 1 })
		on(t, g, func() { l.x.SetIdleTimeout(short) })
		out := l.wait()
		on(t, g, func() { ended = clock.Now() })
		if took := time.Duration(ended - last); !out.idled || took < short {
			t.Errorf("from %v: ended after %v, outcome %+v", from, took, out)
		}
	}
	l := newRig(t, g, "tcp", relay.Options{IdleTimeout: short}).connect()
	var changed int64
	on(t, g, func() { l.x.SetIdleTimeout(0); changed = clock.Now() })
	eventually(t, g, "three times that long", func() bool { return clock.Now() > changed+3*int64(short) })
	exchange(t, l.client, l.origin, []byte("still here"))
	on(t, g, func() { l.x.SetIdleTimeout(long); l.x.Close() })
	if out := l.wait(); out.idled || out.a != engine.LocalClose {
		t.Errorf("outcome %+v", out)
	}
}

// TestAReaderThatStopsBoundsWhatIsTaken: no more than the limit waits here, and it
// all arrives when reading goes on.
func TestAReaderThatStopsBoundsWhatIsTaken(t *testing.T) {
	for _, limit := range []int{1, 100, 4 << 10, 64 << 10, 300 << 10, 0} {
		modes(t, func(t *testing.T, g *engine.Group, o relay.Options) {
			if o.NoSplice && limit > 0 && limit < 64<<10 {
				return // never splices anyway
			}
			o.LimitUp, o.LimitDown = limit, limit
			most := limit
			if limit == 0 {
				most = 1 << 20
			}
			pool := g.Loops()[0].Slabs()
			for _, back := range []bool{false, true} {
				if back && limit == 1 {
					continue // one way is slow enough
				}
				l := newRig(t, g, "tcp", o).connect()
				from, to := l.client, l.origin
				if back {
					from, to = to, from
				}
				if limit == 1 { // a byte at a time takes long to fill megabytes
					small(t, from)
					small(t, to)
					on(t, g, func() { smallFD(t, l.x.a.FD()); smallFD(t, l.x.b.FD()) })
				}
				sent := bulk[:l.stuff(g, from, bulk)]
				on(t, g, func() {
					up, down := l.x.Pending()
					if up+down == 0 || up+down > most || pool.InUse() > 2*most+4<<10 {
						t.Errorf("limit %d: %d and %d bytes pending, slabs of %d", limit, up, down, pool.InUse())
					}
				})
				_ = from.CloseWrite()
				(<-reading(to)).mustBe(t, "all", sent)
				_ = to.CloseWrite()
				if out := l.wait(); !out.orderly() || strings.HasPrefix(out.events[0], "resumed") {
					t.Errorf("outcome %+v", out)
				}
			}
		})
	}
}

// small and smallFD make a socket's buffers small.
func small(t *testing.T, c syscall.Conn) {
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) { smallFD(t, int(fd)) }); err != nil {
		t.Fatal(err)
	}
}

func smallFD(t *testing.T, fd int) {
	for _, opt := range []int{syscall.SO_SNDBUF, syscall.SO_RCVBUF} {
		if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, opt, 4<<10); err != nil {
			t.Error(err)
		}
	}
}
