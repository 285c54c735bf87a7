package pool

import (
	"net/netip"
	"testing"
)

func TestExclusiveConnectionsAreUsedOnce(t *testing.T) { // TCP-18
	f := open(t, Options{Exclusive: true})
	a := f.lent()
	f.release(a, true)
	f.until("the connection is gone", func() bool { return len(f.events.destroyed) == 1 })
	b := f.lent()
	if a.id == b.id {
		t.Error("the second request got the first one's connection")
	}
	f.on(func() {
		if f.pool.Idle() != 0 || f.breaker.connections != 1 {
			t.Errorf("idle %d, counted %d", f.pool.Idle(), f.breaker.connections)
		}
	})
}

func TestExclusiveRequestsFailAtTheConnectionLimit(t *testing.T) { // TCP-13
	f := open(t, Options{Exclusive: true})
	f.breaker.maxConnections = 0
	k := f.acquire()
	f.on(func() {
		if !k.failed || k.failure != Overflow || k.answers != 1 {
			t.Errorf("failed %v: %s, %d answers", k.failed, k.failure, k.answers)
		}
		if f.events.connections != 1 || f.breaker.pending != 0 || f.breaker.forced != 0 || f.pool.Pending() != 0 {
			t.Errorf("overflows %d, pending %d, forced %d, waiting %d", f.events.connections, f.breaker.pending, f.breaker.forced, f.pool.Pending())
		}
	})
}

func TestExclusiveRequestsFailAtThePendingLimit(t *testing.T) {
	f := open(t, Options{Exclusive: true})
	f.breaker.maxPending = 0
	k := f.acquire()
	f.on(func() {
		if !k.failed || k.failure != Overflow || f.events.pendingOver != 1 || f.breaker.connections != 0 {
			t.Errorf("failed %v: %s, overflows %d, counted %d", k.failed, k.failure, f.events.pendingOver, f.breaker.connections)
		}
	})
}

func TestACancelledExclusiveRequestTakesItsConnectionAlong(t *testing.T) { // TCP-8
	f := open(t, Options{Exclusive: true})
	k := newCall()
	f.on(func() {
		f.pool.Acquire(&k.Request)
		k.Request.Cancel()
		k.Request.Cancel() // again: nothing
	})
	f.until("the connection is gone", func() bool { return len(f.events.destroyed) == 1 })
	f.on(func() {
		if k.answers != 0 || f.pool.Connecting() != 0 || f.breaker.connections != 0 || f.breaker.pending != 0 || f.events.pending != f.events.pendingDone {
			t.Errorf("answers %d, connecting %d, counted %d and %d", k.answers, f.pool.Connecting(), f.breaker.connections, f.breaker.pending)
		}
	})
}

func TestARefusedExclusiveConnectionFailsItsOwnRequestOnly(t *testing.T) {
	f := open(t, Options{Exclusive: true})
	good := f.pool.o.Dial.Addr
	bad, fine := newCall(), newCall()
	f.on(func() {
		f.pool.o.Dial.Addr = netip.MustParseAddrPort("127.0.0.1:1")
		f.pool.Acquire(&bad.Request)
		f.pool.o.Dial.Addr = good
		f.pool.Acquire(&fine.Request)
	})
	f.until("both are answered", func() bool { return bad.answers == 1 && fine.answers == 1 })
	f.on(func() {
		if !bad.failed || bad.failure != ConnectFailure || bad.err == nil || fine.conn == nil {
			t.Errorf("bad: failed %v %s %v; fine: %v", bad.failed, bad.failure, bad.err, fine.conn)
		}
		if f.events.failed != 1 || f.pool.Pending() != 0 {
			t.Errorf("failures %d, waiting %d", f.events.failed, f.pool.Pending())
		}
	})
}

func TestAnExclusivePoolThatDrainsStillServesWhoWaits(t *testing.T) {
	f := open(t, Options{Exclusive: true})
	k := newCall()
	f.on(func() {
		f.pool.Acquire(&k.Request)
		f.pool.Drain()
	})
	f.until("the request has its connection", func() bool { return k.conn != nil })
	f.release(k, true)
	f.until("it is gone", func() bool { return len(f.events.destroyed) == 1 })
}

func TestStoppingTheLoopAnswersExclusiveRequests(t *testing.T) {
	f := open(t, Options{Exclusive: true})
	k := newCall()
	f.on(func() {
		f.pool.o.Dial.Addr = netip.MustParseAddrPort("192.0.2.1:9") // answers nobody
		f.pool.Acquire(&k.Request)
	})
	f.stop()
	if k.answers != 1 || !k.failed || k.failure != Closed && k.failure != ConnectFailure {
		t.Errorf("answers %d, failed %v: %s", k.answers, k.failed, k.failure)
	}
}
