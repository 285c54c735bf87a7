package cluster

import (
	"math/bits"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/stats"
)

// Balancer chooses the hosts of one cluster for one loop, by what that loop knows.
// Loop-owned. Picking allocates nothing, except for the first pick after the
// hosts changed.
type Balancer struct {
	cluster *Cluster
	seed    uint64
	choices int
	policy  conf.LBPolicy
	shard   *stats.Shard

	set    *HostSet
	groups []group
	loads  []*HostLoad // by Host.Index
	owners []*Host     // whose load it is
}

// group is the hosts that get one share of the requests: the healthy or the
// degraded ones of a level, or all of them in a panic.
type group struct {
	upTo  uint64 // percentage, cumulative
	hosts []*Host
	loads []*HostLoad // of hosts
	next  int         // round robin
	edf   *schedule   // when weights differ and the policy minds; else nil
	panic bool
}

// NewBalancer returns a balancer for c. seed sets where the rotation starts, so
// that loops do not all begin with the first host.
func NewBalancer(c *Cluster, seed uint64) *Balancer {
	return &Balancer{
		cluster: c, seed: seed, policy: c.Conf.LB,
		choices: max(2, int(c.Conf.LeastRequestChoices)),
	}
}

// SetShard makes the balancer count lb_healthy_panic into the loop's shard.
func (b *Balancer) SetShard(s *stats.Shard) { b.shard = s }

// Load returns this loop's counts for a host. It stays the same for as long as
// the cluster has the host; whoever holds it may go on using it afterwards.
func (b *Balancer) Load(h *Host) *HostLoad {
	for h.Index >= len(b.loads) {
		b.loads = append(b.loads, nil)
		b.owners = append(b.owners, nil)
	}
	if b.owners[h.Index] != h {
		b.loads[h.Index], b.owners[h.Index] = new(HostLoad), h
	}
	return b.loads[h.Index]
}

// Pick chooses a host for the next request; nil when none is usable. random is
// 64 fresh random bits: they choose the priority level, and the host where the
// policy is random.
func (b *Balancer) Pick(random uint64) *Host {
	if set := b.cluster.hosts.Load(); set != b.set {
		b.adopt(set)
	}
	g := b.choose(random)
	if g == nil {
		return nil
	}
	if g.panic && b.shard != nil {
		b.shard.Inc(b.cluster.Stats.LbHealthyPanic)
	}
	switch {
	case len(g.hosts) == 1:
		return g.hosts[0]
	case b.policy == conf.Random:
		return g.hosts[draw(random, len(g.hosts))]
	case b.policy == conf.LeastRequest && g.edf == nil:
		return g.leastOf(random, b.choices)
	case b.policy == conf.LeastRequest:
		return g.edf.nextByLoad()
	case g.edf != nil:
		return g.edf.next()
	}
	return g.rotate()
}

// choose returns the group a request with these random bits belongs to.
func (b *Balancer) choose(random uint64) *group {
	if len(b.groups) == 1 {
		return &b.groups[0]
	}
	share := random % 100
	for i := range b.groups {
		if share < b.groups[i].upTo {
			return &b.groups[i]
		}
	}
	return nil
}

func (g *group) rotate() *Host {
	h := g.hosts[g.next]
	g.next++
	if g.next == len(g.hosts) {
		g.next = 0
	}
	return h
}

// leastOf draws hosts, repetition allowed, and takes the one with the fewest
// active requests, the first drawn of equals (Envoy's N_CHOICES).
func (g *group) leastOf(random uint64, choices int) *Host {
	best := draw(random, len(g.hosts))
	for range choices - 1 {
		random = mix(random)
		if i := draw(random, len(g.hosts)); g.loads[i].RqActive < g.loads[best].RqActive {
			best = i
		}
	}
	return g.hosts[best]
}

// adopt takes a new host set over. Loads of hosts that stay are kept.
func (b *Balancer) adopt(set *HostSet) {
	b.set = set
	b.dropLoads()
	b.groups = b.groups[:0]
	upTo := uint64(0)
	add := func(share uint32, l *Level, hosts []*Host) {
		if share == 0 {
			return
		}
		upTo += uint64(share)
		if l.Panic {
			hosts = l.Hosts
		}
		b.groups = append(b.groups, b.newGroup(upTo, hosts, l.Panic))
	}
	for i := range set.Levels {
		add(set.Levels[i].HealthyLoad, &set.Levels[i], set.Levels[i].Healthy)
	}
	for i := range set.Levels {
		add(set.Levels[i].DegradedLoad, &set.Levels[i], set.Levels[i].Degraded)
	}
}

// dropLoads forgets the loads of hosts that left.
func (b *Balancer) dropLoads() {
	present := make([]*Host, len(b.owners))
	for _, h := range b.set.Hosts {
		if h.Index < len(present) {
			present[h.Index] = h
		}
	}
	for i, h := range present {
		if h == nil || b.owners[i] != h {
			b.loads[i], b.owners[i] = nil, nil
		}
	}
}

func (b *Balancer) newGroup(upTo uint64, hosts []*Host, panicking bool) group {
	g := group{upTo: upTo, hosts: hosts, panic: panicking, next: int(b.seed % uint64(len(hosts)))}
	g.loads = make([]*HostLoad, len(hosts))
	equal := true
	for i, h := range hosts {
		g.loads[i] = b.Load(h)
		equal = equal && h.Weight == hosts[0].Weight
	}
	if equal || b.policy == conf.Random {
		return g
	}
	g.edf = newSchedule(hosts, g.loads)
	for range g.next {
		if b.policy == conf.LeastRequest {
			g.edf.nextByLoad()
		} else {
			g.edf.next()
		}
	}
	return g
}

// draw maps random bits evenly to [0, n), by their high half: choosing the level
// uses them all but is nearly independent of these.
func draw(random uint64, n int) int {
	hi, _ := bits.Mul64(random, uint64(n))
	return int(hi)
}

// mix returns the next of a sequence of well-mixed numbers (the finaliser of
// splitmix64, public domain).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
