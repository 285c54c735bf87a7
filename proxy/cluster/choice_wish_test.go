package cluster

import (
	"testing"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// leveled makes a cluster with one host for each priority given.
func leveled(lb conf.LBPolicy, priorities ...uint32) *Cluster {
	c := clusterOf(lb)
	conf := *c.Conf
	for i, p := range priorities {
		conf.Endpoints = append(conf.Endpoints, endpointAt(i, p))
	}
	return newCluster(&conf, newRegistry(), nil)
}

// TestPreviousPriorities: a request that tried a priority goes to the others, by what their loads would
// be without it; when it tried all, it begins anew (ROUTER 5.5).
func TestPreviousPriorities(t *testing.T) {
	for _, lb := range []conf.LBPolicy{conf.RoundRobin, conf.LeastRequest, conf.Random, conf.RingHash, conf.Maglev} {
		b := NewBalancer(leveled(lb, 0, 0, 1, 1, 2), 1)
		var tried Tried
		c := &Choice{Tried: &tried}
		for want := range uint32(3) {
			for range 20 {
				if h := b.PickFor(seeded().Uint64(), c); h.Priority != want {
					t.Fatalf("%v: host of priority %d after %d tried", lb, h.Priority, want)
				}
			}
			tried.Add(want)
		}
		if h := b.PickFor(1, c); h.Priority != 0 || tried != (Tried{}) {
			t.Errorf("%v: with all tried: priority %d, tried %v", lb, h.Priority, tried)
		}
		tried.Add(0)
		if n := testing.AllocsPerRun(100, func() { b.PickFor(5, c) }); n != 0 {
			t.Errorf("%v: %v allocations", lb, n)
		}
	}
}

// A host that is not usable does not get a request because others were tried.
func TestPreviousPrioritiesSkipWhatIsDown(t *testing.T) {
	k := leveled(conf.RoundRobin, 0, 1, 2)
	k.Conf.Endpoints[1].Health = conf.EndpointUnhealthy
	b := NewBalancer(newCluster(k.Conf, newRegistry(), nil), 0)
	var tried Tried
	tried.Add(0)
	if h := b.PickFor(1, &Choice{Tried: &tried}); h.Priority != 2 {
		t.Errorf("priority %d", h.Priority)
	}
}

// refuser refuses hosts by index and counts how often it is asked.
type refuser struct {
	hosts map[int]bool
	asked int
}

func (r *refuser) Refuses(h *Host) bool {
	r.asked++
	return r.hosts[h.Index]
}

// TestHostPredicate: the balancer is asked again while a host is refused, a bounded number of times, and
// then the last one stands (ROUTER 5.5).
func TestHostPredicate(t *testing.T) {
	for _, lb := range []conf.LBPolicy{conf.RoundRobin, conf.LeastRequest, conf.Random, conf.RingHash, conf.Maglev} {
		b, random := NewBalancer(clusterOf(lb, 1, 1, 1, 1), 0), seeded()
		judge := &refuser{hosts: map[int]bool{0: true, 1: true}}
		c := &Choice{Judge: judge, Again: 60, Hash: 77, HasHash: true}
		for range 500 { // 2^-61 for each to fail by chance
			if h := b.PickFor(random.Uint64(), c); judge.hosts[h.Index] {
				t.Fatalf("%v: a refused host was chosen", lb)
			}
		}
		all := &refuser{hosts: map[int]bool{0: true, 1: true, 2: true, 3: true}}
		if h := b.PickFor(3, &Choice{Judge: all, Again: 5}); h == nil || all.asked != 5 {
			t.Errorf("%v: host %v after %d questions", lb, h, all.asked)
		}
		if n := testing.AllocsPerRun(100, func() { b.PickFor(random.Uint64(), c) }); n != 0 {
			t.Errorf("%v: %v allocations", lb, n)
		}
	}
}
