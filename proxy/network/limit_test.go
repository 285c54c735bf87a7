package network

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/reason"
	"github.com/sluiceproxy/sluice/proxy/stats"
)

func newLimit(t testing.TB, r *stats.Registry, most uint64) Filter {
	return compile(t, &conf.NetworkFilter{ConnectionLimit: &conf.ConnectionLimit{StatPrefix: "p", MaxConnections: most, Delay: time.Second}}, deps(r))
}

func TestConnectionLimitOverAllLoops(t *testing.T) {
	r := stats.NewRegistry()
	a, b := newLoop(r), newLoop(r)
	f := newLimit(t, r, 2)
	refused := Verdict{Close: true, Delay: time.Second, Reason: reason.ConnectionLimited}
	first := connection()
	for _, step := range []struct {
		c    *Connection
		want Verdict
	}{{a, Verdict{}}, {b, Verdict{}}, {a, refused}, {b, refused}} {
		if v := step.c.try(f, first); v != step.want {
			t.Fatalf("%+v, want %+v", v, step.want)
		}
	}
	wantValues(t, r, map[string]int64{"connection_limit.p.limited_connections": 2, "connection_limit.p.active_connections": 2})
	f.(Closer).OnConnectionClosed(first)
	wantValues(t, r, map[string]int64{"connection_limit.p.active_connections": 1})
	if v := b.try(f, connection()); v != (Verdict{}) {
		t.Errorf("after an end: %+v", v)
	}
	if v := b.try(f, connection()); v != refused {
		t.Errorf("after one more: %+v", v)
	}
}

// Filters of one stat_prefix count together and limit each for itself.
func TestConnectionLimitsWithOneStatPrefix(t *testing.T) {
	r := stats.NewRegistry()
	c := newLoop(r)
	one, two := newLimit(t, r, 1), newLimit(t, r, 1)
	for _, f := range []Filter{one, two} {
		if v := c.try(f, connection()); v.Close {
			t.Errorf("%+v", v)
		}
	}
	wantValues(t, r, map[string]int64{"connection_limit.p.active_connections": 2})
	one.(Closer).OnConnectionClosed(connection())
	two.(Closer).OnConnectionClosed(connection())
	wantValues(t, r, map[string]int64{"connection_limit.p.active_connections": 0})
}

// Loops that open and close at the same time never have more than the limit open, and are never
// refused while there is room.
func TestConnectionLimitUnderContention(t *testing.T) {
	const loops, rounds = 8, 2000
	for _, most := range []uint64{1, 3, loops} {
		r := stats.NewRegistry()
		f := newLimit(t, r, most)
		var open, admitted, refused, worst atomic.Int64
		var wait sync.WaitGroup
		for range loops {
			c := newLoop(r)
			wait.Go(func() {
				for range rounds {
					if c.try(f, connection()).Close {
						refused.Add(1)
						continue
					}
					admitted.Add(1)
					if n := open.Add(1); n > int64(most) {
						worst.Store(n)
					}
					open.Add(-1)
					f.(Closer).OnConnectionClosed(c.Facts)
				}
			})
		}
		wait.Wait()
		if worst.Load() != 0 || most == loops && refused.Load() != 0 || admitted.Load() == 0 {
			t.Errorf("limit %d: %d open at once, %d refused, %d admitted", most, worst.Load(), refused.Load(), admitted.Load())
		}
		wantValues(t, r, map[string]int64{"connection_limit.p.limited_connections": refused.Load(), "connection_limit.p.active_connections": 0})
	}
}
