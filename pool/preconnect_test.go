package pool

import (
	"testing"
)

// fixedRatio is a Preconnect.
type fixedRatio float64

func (r fixedRatio) Ratio() float64 { return float64(r) }

// counts waits for what a pool of connections has, which must stay so while nobody asks for more.
func (f *fixture) counts(active, idle int) {
	f.t.Helper()
	f.until("no connection is on its way", func() bool { return f.pool.Connecting() == 0 })
	f.on(func() {
		if f.pool.Active() != active || f.pool.Idle() != idle {
			f.t.Errorf("%d active and %d idle, want %d and %d", f.pool.Active(), f.pool.Idle(), active, idle)
		}
	})
}

// With a ratio of 1.5 every second request has a connection made ahead, with 3 each has two.
func TestConnectionsAreMadeAhead(t *testing.T) {
	for _, tc := range []struct {
		ratio fixedRatio
		idle  [4]int // after so many requests
	}{
		{0.5, [4]int{}}, {1, [4]int{}}, {1.5, [4]int{1, 1, 2, 2}}, {2, [4]int{1, 2, 3, 4}}, {3, [4]int{2, 4, 6, 8}},
	} {
		f := open(t, Options{Preconnect: tc.ratio})
		for i, idle := range tc.idle {
			f.lent()
			f.counts(i+1, idle)
		}
	}
}

// A request that finds an idle connection has the next one made.
func TestTakingAConnectionMakesAnother(t *testing.T) {
	f := open(t, Options{Preconnect: fixedRatio(2)})
	k := f.lent()
	f.counts(1, 1)
	f.lent()
	f.counts(2, 2)
	f.release(k, true)
	f.counts(1, 3)
	f.lent() // enough is there
	f.counts(2, 2)
}

// One request has three connections made at most beside its own.
func TestFewConnectionsAreMadeAtATime(t *testing.T) {
	f := open(t, Options{Preconnect: fixedRatio(1)})
	for range 8 {
		f.lent()
	}
	f.on(func() { f.pool.o.Preconnect = fixedRatio(3) }) // the host has become well
	f.lent()
	f.counts(9, 3)
}

// The breaker bounds them, and they are no reason to fail.
func TestTheBreakerBoundsWhatIsMadeAhead(t *testing.T) {
	f := open(t, Options{Preconnect: fixedRatio(3)})
	f.breaker.maxConnections = 2
	f.lent()
	f.counts(1, 1)
	f.lent()
	f.counts(2, 0)
	f.on(func() {
		if f.breaker.forced != 0 || f.events.connections != 2 {
			t.Errorf("%d forced, %d refused", f.breaker.forced, f.events.connections)
		}
	})
}

// A host that refuses is dialled for each request, and not on its own.
func TestRefusedConnectionsAreNotMadeAgain(t *testing.T) {
	f := open(t, Options{Preconnect: fixedRatio(3)})
	f.lent()
	f.counts(1, 2)
	f.on(func() { f.pool.o.Dial.Addr = refusing(t) })
	f.lent()
	f.lent()
	f.until("those made ahead are over", func() bool { return f.pool.Connecting() == 0 })
	f.on(func() {
		if f.events.failed != 2*maxPreconnects || f.pool.Active() != 3 {
			t.Errorf("%d failed, %d active", f.events.failed, f.pool.Active())
		}
	})
}

// What is made ahead and nobody needed goes with the pool.
func TestDrainClosesWhatWasMadeAhead(t *testing.T) {
	f := open(t, Options{Preconnect: fixedRatio(3)})
	k := f.lent()
	f.on(f.pool.Drain)
	f.release(k, true)
	f.settled()
}

// Streams: as long as a connection has room for those to come, there is no other.
func TestConnectionsForStreamsAreMadeAhead(t *testing.T) {
	m := openMux(t, Options{Preconnect: fixedRatio(2)})
	m.m.o.MaxStreams = 2
	m.served()
	m.takes(2)
	m.counted(1)
	m.served() // 2 streams want room for 4
	m.counted(2)
	m.takes(2)
	m.served()
	m.served()
	m.counted(4)
}

// counted waits until there are so many connections, all of them up.
func (m *mux) counted(n int) {
	m.t.Helper()
	m.until("no connection is on its way", func() bool {
		for c := m.m.all; c != nil; c = c.next {
			if c.state == muxConnecting {
				return false
			}
		}
		return true
	})
	m.on(func() {
		if m.m.Conns() != n {
			m.t.Errorf("%d connections, want %d", m.m.Conns(), n)
		}
	})
}
