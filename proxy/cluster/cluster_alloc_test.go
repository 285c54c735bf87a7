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

func TestPickingByHashAndSubsetAllocatesNothing(t *testing.T) {
	subsets := conf.Subsets{
		Fallback:  conf.SubsetAnyEndpoint,
		Selectors: []conf.SubsetSelector{selector("s v", conf.SubsetKeys, "s"), selector("s", conf.SubsetNotDefined)},
	}
	filter, weighted := NewCriteria(meta("s=a")), NewCriteria(meta("v=9"))
	for _, row := range []struct {
		name    string
		lb      conf.LBPolicy
		balance uint32
	}{
		{"round robin", conf.RoundRobin, 0},
		{"ring hash", conf.RingHash, 0},
		{"ring hash, bounded", conf.RingHash, 100},
		{"maglev", conf.Maglev, 0},
		{"maglev, bounded", conf.Maglev, 100},
	} {
		c, r := dividedAs(subsets, func(c *conf.Cluster) { c.LB, c.HashBalanceFactor = row.lb, row.balance }, "s=a v=1", "s=a v=2", "s=b v=1")
		b, random := NewBalancer(c, 3), seeded()
		b.SetShard(r.NewShard())
		var criteria Criteria
		choice := &Choice{HasHash: true}
		client, text := []byte("127.0.0.1"), []byte("b")
		round := func() {
			criteria.Reset()
			criteria.Merge(filter)
			criteria.Merge(weighted)
			choice.Criteria, choice.Hash = &criteria, Hash(client)
			h := b.PickFor(random.Uint64(), choice) // no v=9: falls back to s=a
			b.Load(h).RqActive++
			criteria.SetText("s", text)
			criteria.SetText("v", text)
			if b.PickFor(random.Uint64(), choice).Hostname != "h3" {
				t.Fatal("the fallback to s=b has other hosts")
			}
			choice.Criteria = nil
			if b.PickFor(random.Uint64(), choice) == nil {
				t.Fatal("no host")
			}
		}
		round()
		if n := testing.AllocsPerRun(1000, round); n != 0 {
			t.Errorf("%s: %v allocations", row.name, n)
		}
	}
}
