package cluster

import (
	"math/bits"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/stats"
)

// Balancer chooses the hosts of one cluster for one loop, by what that loop knows.
// Loop-owned. Picking allocates nothing, except for the first pick after the
// hosts changed and the first of a subset.
type Balancer struct {
	cluster *Cluster
	seed    uint64
	choices int
	policy  conf.LBPolicy
	shard   *stats.Shard

	hashes  bool   // the policy looks hosts up by a hash
	balance uint64 // hash_balance_factor, percent; 0 off

	set       *HostSet
	whole     lane
	byDefault lane        // default_subset
	lanes     []*lane     // of subsets; nil until used
	fewer     Criteria    // what a fallback to fewer keys left
	loads     []*HostLoad // by Host.Index
	owners    []*Host     // whose load it is
}

// lane is this loop's half of a part: where it is in the hosts of each group.
type lane struct{ groups []group }

// group is the hosts that get one share of the requests: the healthy or the
// degraded ones of a level, or all of them in a panic.
type group struct {
	upTo  uint64 // percentage, cumulative
	hosts []*Host
	loads []*HostLoad // of hosts; nil when the policy does not look at them
	next  int         // round robin
	edf   *schedule   // when weights differ and the policy minds; else nil
	table table       // when the policy looks hosts up by a hash; else nil
	// weight is the sum of the hosts', for hash_balance_factor.
	weight float64
	panic  bool
}

// NewBalancer returns a balancer for c. seed sets where the rotation starts, so
// that loops do not all begin with the first host.
func NewBalancer(c *Cluster, seed uint64) *Balancer {
	return &Balancer{
		cluster: c, seed: seed, policy: c.Conf.LB,
		choices: max(2, int(c.Conf.LeastRequestChoices)),
		hashes:  hashes(c.Conf.LB), balance: uint64(c.Conf.HashBalanceFactor),
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
func (b *Balancer) Pick(random uint64) *Host { return b.PickFor(random, nil) }

// PickFor is Pick for a request that says which host it wants; c may be nil.
func (b *Balancer) PickFor(random uint64, c *Choice) *Host {
	if set := b.cluster.hosts.Load(); set != b.set {
		b.adopt(set)
	}
	if b.set.subsets != nil {
		return b.pickSubset(random, c)
	}
	return b.pick(&b.whole, random, c)
}

func (b *Balancer) pick(l *lane, random uint64, c *Choice) *Host {
	if b.hashes && c != nil && c.HasHash {
		random = c.Hash // of the level too: a key keeps to one; CL-11 without
	}
	g := l.choose(random)
	if g == nil {
		return nil
	}
	if g.panic {
		b.count(b.cluster.Stats.LbHealthyPanic)
	}
	switch {
	case len(g.hosts) == 1:
		return g.hosts[0]
	case g.table != nil && b.balance > 0:
		return g.bounded(random, g.table.pick(random), b.balance)
	case g.table != nil:
		return g.hosts[g.table.pick(random)]
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
func (l *lane) choose(random uint64) *group {
	if len(l.groups) == 1 {
		return &l.groups[0]
	}
	share := random % 100
	for i := range l.groups {
		if share < l.groups[i].upTo {
			return &l.groups[i]
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
	b.enter(&b.whole, set.whole)
	if set.subsets == nil {
		return
	}
	b.lanes = make([]*lane, len(set.subsets.all))
	if set.subsets.byDefault != nil {
		b.enter(&b.byDefault, set.subsets.byDefault)
	}
}

// enter makes l this loop's half of p.
func (b *Balancer) enter(l *lane, p *part) {
	l.groups = l.groups[:0]
	upTo := uint64(0)
	add := func(share uint32, level *Level, hosts []*Host, t table) {
		if share == 0 {
			return
		}
		upTo += uint64(share)
		l.groups = append(l.groups, b.newGroup(upTo, level.usable(hosts), t, level.Panic))
	}
	for i := range p.levels {
		add(p.levels[i].HealthyLoad, &p.levels[i], p.levels[i].Healthy, p.levels[i].healthy)
	}
	for i := range p.levels {
		add(p.levels[i].DegradedLoad, &p.levels[i], p.levels[i].Degraded, p.levels[i].degraded)
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

func (b *Balancer) newGroup(upTo uint64, hosts []*Host, t table, panicking bool) group {
	g := group{upTo: upTo, hosts: hosts, table: t, panic: panicking, next: int(b.seed % uint64(len(hosts)))}
	if b.policy == conf.Random || b.hashes && b.balance == 0 {
		return g
	}
	g.loads = make([]*HostLoad, len(hosts))
	equal := true
	for i, h := range hosts {
		g.loads[i] = b.Load(h)
		equal = equal && h.Weight == hosts[0].Weight
	}
	g.weight = float64(totalWeight(hosts))
	if equal || b.hashes {
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
