package pool

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/engine"
)

func TestTheConnectionUsedLastIsUsedNext(t *testing.T) { // CL-50
	f := open(t, Options{})
	a, b, c := f.lent(), f.lent(), f.lent()
	for _, k := range []*call{b, a, c} {
		f.release(k, true)
	}
	var got []uint64
	for range 3 {
		k := f.acquire()
		if k.answers != 1 {
			t.Fatal("an idle connection is not lent at once")
		}
		got = append(got, k.id)
	}
	if want := []uint64{c.id, a.id, b.id}; !slices.Equal(got, want) {
		t.Errorf("lent %v, released %v last first", got, want)
	}
	f.on(func() {
		if f.events.created != 3 || f.pool.Active() != 3 || f.pool.Idle() != 0 {
			t.Errorf("created %d, active %d, idle %d", f.events.created, f.pool.Active(), f.pool.Idle())
		}
	})
}

func TestRequestsCountsTheLoansOfAConnection(t *testing.T) {
	f := open(t, Options{})
	for want := 1; want <= 3; want++ {
		k := f.lent()
		f.on(func() {
			if got := k.conn.Requests(); got != want {
				t.Errorf("loan %d says %d", want, got)
			}
		})
		f.release(k, true)
	}
}

func TestBytesReachTheRequestThatHasTheConnection(t *testing.T) {
	f := open(t, Options{})
	first := f.lent()
	end := f.accept()
	end.Write([]byte("one"))
	f.until("the first request hears", func() bool { return first.data == "one" })
	f.release(first, true)
	second := f.lent()
	end.Write([]byte("two"))
	f.until("the second request hears", func() bool { return second.data == "two" })
	if first.data != "one" {
		t.Errorf("the first request also heard %q", first.data)
	}
}

func TestWaitingRequestsAreServedInOrder(t *testing.T) {
	f := open(t, Options{})
	f.breaker.maxConnections = 1
	first := f.lent()
	var waiting []*call
	for range 5 {
		waiting = append(waiting, f.acquire())
	}
	f.on(func() {
		if f.pool.Pending() != 5 || f.events.created != 1 || f.events.connections != 5 {
			t.Errorf("pending %d, created %d, overflows %d", f.pool.Pending(), f.events.created, f.events.connections)
		}
	})
	f.release(first, true)
	for i, k := range waiting {
		f.until("the next one is served", func() bool { return k.conn != nil })
		if k.id != first.id {
			t.Errorf("request %d has connection %d, not the only one, %d", i, k.id, first.id)
		}
		for _, later := range waiting[i+1:] {
			if later.answers != 0 {
				t.Fatalf("a later request than %d was answered", i)
			}
		}
		f.release(k, true)
	}
}

func TestAFreedConnectionIsForThoseWhoWaitNotForWhoComesNext(t *testing.T) {
	f := open(t, Options{})
	f.breaker.maxConnections = 1
	holder, late := f.lent(), newCall()
	waiting := f.acquire()
	f.on(func() {
		holder.conn.Release(true)
		if waiting.answers != 0 {
			t.Error("a request was answered from inside another one's Release")
		}
		f.pool.Acquire(&late.Request)
		if late.answers != 0 {
			t.Error("a newcomer overtook a waiting request")
		}
	})
	f.until("the waiting request is served", func() bool { return waiting.conn != nil })
	if late.answers != 0 {
		t.Error("both have the one connection")
	}
	f.release(waiting, true)
	f.until("then the other one", func() bool { return late.conn != nil })
}

func TestNoMoreConnectionsAreDialledThanRequestsWait(t *testing.T) {
	f := open(t, Options{})
	calls := []*call{newCall(), newCall(), newCall()}
	f.on(func() {
		for i, k := range calls {
			f.pool.Acquire(&k.Request)
			if f.pool.Connecting() != i+1 {
				t.Errorf("%d connecting for %d requests", f.pool.Connecting(), i+1)
			}
		}
		f.pool.Cancel(&calls[0].Request)
		k := newCall()
		f.pool.Acquire(&k.Request)
		if f.pool.Connecting() != 3 {
			t.Errorf("%d connecting for 3 requests", f.pool.Connecting())
		}
	})
}

func TestAFreedConnectionCountsAsOneToCome(t *testing.T) {
	f := open(t, Options{})
	holder := f.lent()
	second, third := newCall(), newCall()
	f.on(func() {
		f.pool.Acquire(&second.Request) // dials
		holder.conn.Release(true)
		f.pool.Acquire(&third.Request) // the freed one will do
		if f.events.created != 2 {
			t.Errorf("%d connections for two requests at a time", f.events.created)
		}
	})
	f.until("both are served", func() bool { return second.conn != nil && third.conn != nil })
}

func TestAnIdleConnectionThatIsDeadAlreadyIsNotLent(t *testing.T) {
	f := open(t, Options{})
	f.idle(2)
	k := newCall()
	f.on(func() {
		dead, alive := f.pool.top, f.pool.bottom
		dead.Conn.Close() // its OnClosed is to come
		f.pool.Acquire(&k.Request)
		if k.conn != alive {
			t.Error("the request does not have the living one")
		}
	})
	f.until("the dead one is settled", func() bool { return len(f.events.destroyed) == 1 })
}

func TestOneConnectionIsAllowedPastTheLimit(t *testing.T) { // clusters.md 6
	f := open(t, Options{})
	f.breaker.maxConnections = 0
	k := f.lent()
	f.on(func() {
		if f.breaker.forced != 1 {
			t.Errorf("%d connections past the limit", f.breaker.forced)
		}
	})
	f.acquire()
	f.on(func() {
		if f.events.created != 1 || f.events.connections != 1 {
			t.Errorf("a second one was dialled: %d, overflows %d", f.events.created, f.events.connections)
		}
	})
	f.release(k, true)
}

func TestTooManyWaitingRequestsOverflowAtOnce(t *testing.T) { // ROUTER-71
	f := open(t, Options{})
	f.breaker.maxPending = 2
	calls := []*call{newCall(), newCall(), newCall()}
	f.on(func() {
		for _, k := range calls {
			f.pool.Acquire(&k.Request)
		}
		last := calls[2]
		if !last.failed || last.failure != Overflow || last.pool != nil || f.events.pendingOver != 1 {
			t.Errorf("third request: failed %v with %v, %d overflows", last.failed, last.failure, f.events.pendingOver)
		}
	})
	f.until("the others are served", func() bool { return calls[0].conn != nil && calls[1].conn != nil })
}

func TestCancel(t *testing.T) {
	f := open(t, Options{})
	f.breaker.maxConnections = 1

	dialling := newCall()
	f.on(func() {
		f.pool.Acquire(&dialling.Request)
		f.pool.Cancel(&dialling.Request)
		f.pool.Cancel(&dialling.Request) // again: nothing
		if dialling.pool != nil || f.breaker.pending != 0 || f.events.pendingDone != 1 {
			t.Errorf("after cancelling while connecting: waiting %v, breaker %d", dialling.pool != nil, f.breaker.pending)
		}
	})
	f.until("its connection becomes idle", func() bool { return f.pool.Idle() == 1 })

	holder := f.lent()
	a, b, c := f.acquire(), f.acquire(), f.acquire()
	f.on(func() {
		f.pool.Cancel(&b.Request) // from the middle
		f.pool.Cancel(&holder.Request)
		if holder.conn == nil {
			t.Error("cancelling an answered request did something")
		}
		holder.conn.Release(true)
		f.pool.Cancel(&a.Request) // between Release and the handoff
	})
	f.until("the third is served", func() bool { return c.conn != nil })
	if a.answers+b.answers+dialling.answers != 0 {
		t.Error("a cancelled request was answered")
	}
	f.on(func() {
		f.pool.Acquire(&a.Request) // a cancelled request can be used again
		f.pool.Cancel(&a.Request)
		c.conn.Release(true)
		c.conn = nil
		f.pool.Drain()
	})
	f.settled()
}

func TestWhatIsCancelledBeforeTheHandoffLeavesTheConnectionIdle(t *testing.T) {
	f := open(t, Options{})
	f.breaker.maxConnections = 1
	holder := f.lent()
	waiting := f.acquire()
	f.on(func() {
		holder.conn.Release(true)
		f.pool.Cancel(&waiting.Request)
	})
	f.on(func() {
		if f.pool.Idle() != 1 || waiting.answers != 0 {
			t.Errorf("idle %d, answers %d", f.pool.Idle(), waiting.answers)
		}
	})
}

func TestReleaseOfAPausedConnectionReadsAgain(t *testing.T) {
	f := open(t, Options{})
	k := f.lent()
	end := f.accept()
	f.on(func() { k.conn.PauseRead() })
	f.release(k, true)
	end.Close()
	f.until("its end is noticed", func() bool { return f.pool.Idle() == 0 && len(f.events.destroyed) == 1 })
}

func TestTheTargetIsAskedForEveryConnection(t *testing.T) {
	other := open(t, Options{}) // its origin
	target := &moving{}
	f := open(t, Options{Target: target})
	target.addr = f.pool.o.Dial.Addr
	first := f.lent()
	f.on(func() { target.addr = other.pool.o.Dial.Addr })
	second := f.lent()
	f.on(func() {
		if a, b := first.conn.RemoteAddr(), second.conn.RemoteAddr(); a == b || b != target.addr {
			t.Errorf("connected to %v, then %v", a, b)
		}
	})
	other.accept()
}

type moving struct{ addr netip.AddrPort }

func (m *moving) Address() netip.AddrPort { return m.addr }

func TestNilBreakerAndEventsMeanNone(t *testing.T) {
	f := open(t, Options{MaxRequests: 1, IdleTimeout: time.Minute})
	f.on(func() {
		f.pool = New(f.loop, Options{Dial: f.pool.o.Dial})
	})
	k := f.lent()
	f.release(k, true)
	f.on(func() {
		if f.pool.Idle() != 1 {
			t.Error("not idle")
		}
		f.pool.Drain()
	})
}

func TestFailureNames(t *testing.T) {
	for f := Overflow; f <= Closed; f++ {
		if f.String() == "" || f.String() == "Failure(?)" {
			t.Errorf("failure %d has no name", f)
		}
	}
	if Failure(99).String() != "Failure(?)" {
		t.Error("unknown failure")
	}
}

var _ engine.Handler = (*call)(nil)
