//go:build !race

package cluster

import (
	"testing"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

func TestPickingAndCountingAllocateNothing(t *testing.T) {
	set := newSet(map[string]*Cluster{"c": clusterOf(conf.RoundRobin, 1, 1)})
	name := []byte("c")
	for _, row := range []struct {
		name    string
		lb      conf.LBPolicy
		weights []uint32
	}{
		{"round robin", conf.RoundRobin, []uint32{1, 1, 1}},
		{"weighted round robin", conf.RoundRobin, []uint32{1, 2, 3}},
		{"least request", conf.LeastRequest, []uint32{1, 1, 1}},
		{"weighted least request", conf.LeastRequest, []uint32{1, 2, 3}},
		{"random", conf.Random, []uint32{1, 2, 3}},
	} {
		c := clusterOf(row.lb, row.weights...)
		b, random := NewBalancer(c, 3), seeded()
		b.Pick(0)
		if n := testing.AllocsPerRun(1000, func() {
			if set.Lookup(name) == nil {
				t.Fatal("no cluster")
			}
			h := b.Pick(random.Uint64())
			b.Load(h).RqActive++
			breaker := c.Breakers[conf.PriorityDefault]
			if breaker.TryRequest() {
				breaker.ReleaseRequest()
			}
			if hb := h.Breaker(conf.PriorityDefault); hb.TryConnection(false) {
				hb.ReleaseConnection()
			}
			b.Load(h).RqActive--
		}); n != 0 {
			t.Errorf("%s: %v allocations", row.name, n)
		}
	}
}
