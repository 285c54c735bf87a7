package cluster

import (
	"sync"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"

	"github.com/sluiceproxy/sluice/pool"
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/stats"
)

var (
	_ pool.Breaker = (*Breaker)(nil)
	_ pool.Breaker = (*HostBreaker)(nil)
	_ pool.Target  = (*Host)(nil)
)

// kinds are the five things a breaker counts.
var kinds = []struct {
	name    string
	try     func(b *Breaker) bool
	release func(b *Breaker)
	of      func(b *Breaker) *resource
}{
	{"connections", func(b *Breaker) bool { return b.TryConnection(false) }, (*Breaker).ReleaseConnection, func(b *Breaker) *resource { return &b.connections }},
	{"pending", (*Breaker).TryPending, (*Breaker).ReleasePending, func(b *Breaker) *resource { return &b.pending }},
	{"requests", (*Breaker).TryRequest, (*Breaker).ReleaseRequest, func(b *Breaker) *resource { return &b.requests }},
	{"retries", (*Breaker).TryRetry, (*Breaker).ReleaseRetry, func(b *Breaker) *resource { return &b.retries }},
	{"pools", (*Breaker).TryPool, (*Breaker).ReleasePool, func(b *Breaker) *resource { return &b.pools }},
}

func TestABreakerFollowsItsModel(t *testing.T) { // clusters.md 6
	rapid.Check(t, func(rt *rapid.T) {
		limit := func(name string) uint32 { return rapid.Uint32Range(0, 4).Draw(rt, name) }
		c := conf.Breaker{
			MaxConnections: limit("cx"), MaxPendingRequests: limit("pending"), MaxRequests: limit("rq"),
			MaxRetries: limit("retries"), MaxConnectionPools: limit("pools"),
		}
		limits := []int64{int64(c.MaxConnections), int64(c.MaxPendingRequests), int64(c.MaxRequests), int64(c.MaxRetries), int64(c.MaxConnectionPools)}
		b, used := NewBreaker(c), make([]int64, len(kinds))
		for range 60 {
			i := rapid.IntRange(0, len(kinds)-1).Draw(rt, "kind")
			switch k := kinds[i]; {
			case used[i] > 0 && rapid.Bool().Draw(rt, "release"):
				k.release(b)
				used[i]--
			case k.try(b):
				used[i]++
				if used[i] > limits[i] {
					rt.Fatalf("%s: %d allowed, limit %d", k.name, used[i], limits[i])
				}
			case used[i] < limits[i]:
				rt.Fatalf("%s: refused with %d of %d in use", k.name, used[i], limits[i])
			}
			for i, k := range kinds {
				r := k.of(b)
				if r.used.Load() != used[i] || (r.open() == 1) != (used[i] >= limits[i]) || r.remaining() != limits[i]-used[i] {
					rt.Fatalf("%s: used %d open %d remaining %d, want %d of %d", k.name, r.used.Load(), r.open(), r.remaining(), used[i], limits[i])
				}
			}
		}
		for i, k := range kinds {
			for range used[i] {
				k.release(b)
			}
			if n := k.of(b).used.Load(); n != 0 {
				rt.Fatalf("%s: %d left", k.name, n)
			}
		}
	})
}

func TestLoopsTogetherNeverPassALimit(t *testing.T) {
	const limit, loops, rounds = 3, 4, 20000
	b := NewBreaker(conf.Breaker{MaxRequests: limit})
	var inside, most, allowed atomic.Int64
	var wg sync.WaitGroup
	for range loops {
		wg.Go(func() {
			for range rounds {
				if !b.TryRequest() {
					continue
				}
				allowed.Add(1)
				n := inside.Add(1)
				for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
				}
				inside.Add(-1)
				b.ReleaseRequest()
			}
		})
	}
	wg.Wait()
	if most.Load() > limit || allowed.Load() == 0 || b.Requests() != 0 {
		t.Errorf("%d at a time, %d in all, %d left", most.Load(), allowed.Load(), b.Requests())
	}
}

func TestTheFirstConnectionOfAPoolIsAlwaysAllowed(t *testing.T) {
	b := NewBreaker(conf.Breaker{MaxConnections: 1})
	for i, row := range []struct{ first, want bool }{{false, true}, {false, false}, {true, true}, {true, true}, {false, false}} {
		if got := b.TryConnection(row.first); got != row.want {
			t.Errorf("connection %d (first %v): %v", i, row.first, got)
		}
	}
	if b.Connections() != 3 || b.connections.remaining() != 0 {
		t.Errorf("%d counted, %d remaining", b.Connections(), b.connections.remaining())
	}
	for range 3 {
		b.ReleaseConnection()
	}
	if !b.TryConnection(false) {
		t.Error("refused when nothing is in use")
	}
}

func TestPerHostThresholds(t *testing.T) {
	b := NewBreaker(conf.Breaker{MaxConnections: 3, MaxPendingRequests: 1})
	one, two, free := newHostBreaker(b, 1), newHostBreaker(b, 2), newHostBreaker(b, 0)
	for i, row := range []struct {
		host  *HostBreaker
		first bool
		want  bool
	}{
		{one, true, true},
		{one, false, false}, // its own limit
		{two, true, true},
		{two, false, true},
		{two, false, false},
		{free, false, false}, // the cluster's limit, and the host's count is given back
		{free, true, true},
		{one, true, true}, // another loop's first
	} {
		if got := row.host.TryConnection(row.first); got != row.want {
			t.Errorf("step %d: %v", i, got)
		}
	}
	if b.Connections() != 5 || one.host.used.Load() != 2 || two.host.used.Load() != 2 || free.host.used.Load() != 1 {
		t.Errorf("cluster %d, hosts %d %d %d", b.Connections(), one.host.used.Load(), two.host.used.Load(), free.host.used.Load())
	}
	for _, h := range []*HostBreaker{one, one, two, two, free} {
		h.ReleaseConnection()
	}
	if b.Connections() != 0 || one.host.used.Load()+two.host.used.Load()+free.host.used.Load() != 0 {
		t.Error("something is left")
	}
	if !one.TryPending() || two.TryPending() || b.Pending() != 1 {
		t.Error("waiting requests are the cluster's to count")
	}
}

func TestBreakerGauges(t *testing.T) {
	r := stats.NewRegistry()
	c := conf.NewCluster("c")
	c.Breakers[conf.PriorityDefault] = conf.Breaker{MaxConnections: 1, MaxPendingRequests: 2, MaxRequests: 3, MaxRetries: 4, MaxConnectionPools: 1, TrackRemaining: true}
	k := newCluster(c, r, nil)
	k.publish(r)
	const d, h = "cluster.c.circuit_breakers.default.", "cluster.c.circuit_breakers.high."
	k.Breakers[conf.PriorityDefault].TryConnection(false)
	k.Breakers[conf.PriorityDefault].TryRequest()
	k.Breakers[conf.PriorityDefault].TryPool()
	expectGauges(t, r, map[string]int64{
		d + "cx_open": 1, d + "cx_pool_open": 1, d + "rq_pending_open": 0, d + "rq_open": 0, d + "rq_retry_open": 0,
		d + "remaining_cx": 0, d + "remaining_pending": 2, d + "remaining_rq": 2, d + "remaining_retries": 4,
		h + "cx_open": 0, h + "cx_pool_open": 0, h + "rq_pending_open": 0, h + "rq_open": 0, h + "rq_retry_open": 0,
	})
	if _, shown := gauges(r)[h+"remaining_cx"]; shown {
		t.Error("remaining_cx without track_remaining")
	}
}

func gauges(r *stats.Registry) map[string]int64 {
	m := make(map[string]int64)
	for _, g := range r.Collect().Gauges {
		m[g.Name] = g.Value
	}
	return m
}

func expectGauges(t *testing.T, r *stats.Registry, want map[string]int64) {
	t.Helper()
	got := gauges(r)
	for name, v := range want {
		if g, ok := got[name]; !ok || g != v {
			t.Errorf("%s is %d (shown %v), want %d", name, g, ok, v)
		}
	}
}
