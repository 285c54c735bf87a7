package cluster

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/stats"
)

// clusterOf makes a static cluster with these weights.
func clusterOf(lb conf.LBPolicy, weights ...uint32) *Cluster {
	c := conf.NewCluster("c")
	c.LB = lb
	for i, w := range weights {
		c.Endpoints = append(c.Endpoints, &conf.Endpoint{Address: addressOf(i), Weight: w})
	}
	return newCluster(c, stats.NewRegistry(), nil)
}

func addressOf(i int) conf.Address {
	return conf.Address{IP: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 80)}
}

// picks counts by host index what n picks choose.
func picks(b *Balancer, random *rand.Rand, n int) []int {
	counts := make([]int, len(b.cluster.Hosts().Hosts))
	for range n {
		counts[b.Pick(random.Uint64()).Index]++
	}
	return counts
}

func seeded() *rand.Rand { return rand.New(rand.NewPCG(1, 2)) }

func TestRoundRobinOfEqualsTakesTurns(t *testing.T) {
	for seed := range uint64(3) {
		b := NewBalancer(clusterOf(conf.RoundRobin, 5, 5, 5), seed)
		for i := range uint64(9) {
			if got, want := b.Pick(0).Index, int((seed+i)%3); got != want {
				t.Errorf("seed %d, pick %d: host %d, want %d", seed, i, got, want)
			}
		}
	}
}

func TestWeightedRoundRobinIsExactOverEveryPeriod(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		weights := rapid.SliceOfN(rapid.Uint32Range(1, 50), 2, 8).Draw(rt, "weights")
		b := NewBalancer(clusterOf(conf.RoundRobin, weights...), rapid.Uint64().Draw(rt, "seed"))
		period := 0
		for _, w := range weights {
			period += int(w)
		}
		random := seeded()
		picks(b, random, rapid.IntRange(0, period).Draw(rt, "where the window begins"))
		for range 3 {
			for i, n := range picks(b, random, period) {
				if n != int(weights[i]) {
					rt.Fatalf("host %d of weight %d was picked %d times in %d", i, weights[i], n, period)
				}
			}
		}
	})
}

func TestWeightedRoundRobinInterleaves(t *testing.T) {
	b := NewBalancer(clusterOf(conf.RoundRobin, 1, 3), 0)
	got := ""
	for range 8 {
		got += fmt.Sprint(b.Pick(0).Index)
	}
	if got != "11011101" {
		t.Errorf("order %s", got)
	}
}

func TestLeastRequestPrefersTheOneWithFewer(t *testing.T) {
	c := clusterOf(conf.LeastRequest, 1, 1)
	c.Conf.LeastRequestChoices = 8 // so that nearly every draw sees both
	b := NewBalancer(c, 0)
	hosts := c.Hosts().Hosts
	b.Load(hosts[0]).RqActive = 5
	counts := picks(b, seeded(), 10000)
	// The busy one wins only when all eight draws are it: 1 in 256, about 39.
	if counts[0] < 10 || counts[0] > 90 {
		t.Errorf("the busy host was picked %d times of 10000", counts[0])
	}
}

func TestLeastRequestOfTwoChoices(t *testing.T) {
	c := clusterOf(conf.LeastRequest, 1, 1, 1, 1)
	b := NewBalancer(c, 0)
	b.Load(c.Hosts().Hosts[0]).RqActive = 1
	counts := picks(b, seeded(), 16000)
	// The busy one needs both draws: 1 in 16; the rest is shared evenly.
	for i, want := range []int{1000, 5000, 5000, 5000} {
		if d := counts[i] - want; d < -250 || d > 250 {
			t.Errorf("host %d was picked %d times, about %d expected", i, counts[i], want)
		}
	}
}

func TestLeastRequestWithEqualLoadsIsEven(t *testing.T) {
	b := NewBalancer(clusterOf(conf.LeastRequest, 2, 2, 2, 2), 0)
	expectEven(t, picks(b, seeded(), 20000))
}

func TestLeastRequestWithWeights(t *testing.T) {
	c := clusterOf(conf.LeastRequest, 1, 3)
	b := NewBalancer(c, 0)
	counts := picks(b, seeded(), 4000)
	if counts[0] != 1000 || counts[1] != 3000 {
		t.Errorf("without load: %v", counts)
	}
	// 3/(5+1) = 1/2 against 1/(0+1): two in three go to the light one.
	b.Load(c.Hosts().Hosts[1]).RqActive = 5
	counts = picks(b, seeded(), 3000)
	if d := counts[0] - 2000; d < -3 || d > 3 {
		t.Errorf("with load: %v", counts)
	}
}

func TestLoadAwareScheduleGoesOnPastItsRebase(t *testing.T) {
	c := clusterOf(conf.LeastRequest, 1, 3)
	b := NewBalancer(c, 0)
	b.Pick(0)
	s := b.whole.groups[0].edf
	for i := range s.entries {
		s.entries[i].deadline += rebase
	}
	s.now += rebase
	counts := picks(b, seeded(), 4000)
	if d := counts[0] - 1000; d < -1 || d > 1 || s.now > rebase {
		t.Errorf("picks %v, time %v", counts, s.now)
	}
}

func TestRandomIsUniformAndIgnoresWeights(t *testing.T) {
	b := NewBalancer(clusterOf(conf.Random, 1, 100, 7, 3), 0)
	expectEven(t, picks(b, seeded(), 20000))
}

// expectEven does a chi-square test at 0.1 % for 3 degrees of freedom (16.27).
func expectEven(t *testing.T, counts []int) {
	t.Helper()
	if len(counts) != 4 {
		t.Fatal("the bound is for four hosts")
	}
	n := 0
	for _, c := range counts {
		n += c
	}
	chi, want := 0.0, float64(n)/4
	for _, c := range counts {
		chi += (float64(c) - want) * (float64(c) - want) / want
	}
	if chi > 16.27 {
		t.Errorf("uneven: %v, chi-square %.1f", counts, chi)
	}
}

func TestPicksFollowThePriorityLoads(t *testing.T) { // CL-20, CL-21
	c := conf.NewCluster("c")
	for i := range 12 {
		e := &conf.Endpoint{Address: addressOf(i), Weight: 1, Priority: uint32(i / 6)}
		switch {
		case i < 3: // half of level 0 is healthy: 70 %
		case i < 6:
			e.Health = conf.EndpointUnhealthy
		case i > 8: // level 1: half healthy, half degraded
			e.Health = conf.EndpointDegraded
		}
		c.Endpoints = append(c.Endpoints, e)
	}
	b := NewBalancer(newCluster(c, stats.NewRegistry(), nil), 0)
	var byGroup [3]int
	for random := range uint64(10000) {
		switch i := b.Pick(random).Index; {
		case i < 3:
			byGroup[0]++
		case i < 6:
			t.Fatal("an unhealthy host was picked")
		case i <= 8:
			byGroup[1]++
		default:
			byGroup[2]++
		}
	}
	if byGroup != [3]int{7000, 3000, 0} {
		t.Errorf("picked %v", byGroup)
	}
}

func TestPanicUsesAllHostsAndIsCounted(t *testing.T) { // CL-22
	r := stats.NewRegistry()
	c := conf.NewCluster("c")
	for i := range 4 {
		e := &conf.Endpoint{Address: addressOf(i), Weight: 1}
		if i > 0 {
			e.Health = conf.EndpointUnhealthy
		}
		c.Endpoints = append(c.Endpoints, e)
	}
	b := NewBalancer(newCluster(c, r, nil), 0)
	b.SetShard(r.NewShard())
	for i, n := range picks(b, seeded(), 400) {
		if n != 100 {
			t.Errorf("host %d was picked %d times of 400", i, n)
		}
	}
	if got := counter(r, "cluster.c.lb_healthy_panic"); got != 400 {
		t.Errorf("lb_healthy_panic is %d", got)
	}
}

func counter(r *stats.Registry, name string) uint64 {
	for _, c := range r.Collect().Counters {
		if c.Name == name {
			return c.Value
		}
	}
	return 1<<64 - 1
}

func TestNoHostMeansNil(t *testing.T) {
	b := NewBalancer(clusterOf(conf.RoundRobin), 7)
	if h := b.Pick(1); h != nil {
		t.Errorf("picked %v", h.AddrText)
	}
}

func TestLoadsStayWhileTheHostStays(t *testing.T) {
	c := dnsCluster(conf.ClusterStrictDNS)
	b := NewBalancer(c, 0)
	c.resolved(0, addrs(80, "10.0.0.1", "10.0.0.2"))
	first, second := c.Hosts().Hosts[0], c.Hosts().Hosts[1]
	b.Pick(0)
	kept, left := b.Load(first), b.Load(second)
	kept.RqActive, left.RqActive = 3, 4
	c.resolved(0, addrs(80, "10.0.0.1", "10.0.0.3"))
	b.Pick(0)
	third := c.Hosts().Hosts[1]
	if third.Index != second.Index {
		t.Fatalf("the index of a host that left is not used again: %d", third.Index)
	}
	if b.Load(first) != kept {
		t.Error("the load of a host that stayed was lost")
	}
	if b.Load(third) == left || b.Load(third).RqActive != 0 {
		t.Error("a new host begins with the load of one that left")
	}
	left.RqActive-- // a request that is still going on there harms nobody
	if b.Load(third).RqActive != 0 {
		t.Error("two hosts share a load")
	}
}
