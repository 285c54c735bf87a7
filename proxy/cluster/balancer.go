package cluster

import (
	"math/bits"
	"net/netip"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/stats"
)

// Balancer chooses the hosts of one cluster for one loop, by what that loop knows.
// Loop-owned. Picking allocates nothing, except for the first pick after the
// hosts changed and the first of a subset.
type Balancer struct {
	cluster  *Cluster
	seed     uint64
	choices  int
	fullScan bool
	policy   conf.LBPolicy
	shard    *stats.Shard

	hashes  bool   // the policy looks hosts up by a hash
	balance uint64 // hash_balance_factor, percent; 0 off
	slow    *slowStart
	failing bool // fail_traffic_on_panic

	originals map[netip.AddrPort]*Host // of ORIGINAL_DST clusters; else nil
	texts     map[string]netip.AddrPort
	named     map[string]*Host // of dynamic forward proxies, by Hostname; else nil

	set       *HostSet
	whole     lane
	byDefault lane        // default_subset
	lanes     []*lane     // of subsets; nil until used
	instead   Criteria    // what an item of a fallback_list makes of a request's
	fewer     Criteria    // what a fallback to fewer keys left
	loads     []*HostLoad // by Host.Index
	owners    []*Host     // whose load it is
}

// lane is this loop's half of a part: where it is in the hosts of each group.
type lane struct {
	part   *part
	shares []portion // what decides where a request goes that has no wishes
	groups []group   // two of each level: healthy, degraded
}

// portion is the requests whose random percentage is under upTo, and not under that of the one before.
type portion struct {
	upTo  uint64
	group int
}

// group is the hosts that get one share of the requests: the healthy or the
// degraded ones of a level, or all of them in a panic; or those of one locality. It is made when first used.
type group struct {
	made  bool
	panic bool
	hosts []*Host
	loads []*HostLoad // of hosts; nil when the policy does not look at them
	next  int         // round robin
	edf   *schedule   // when weights differ and the policy minds; else nil
	table table       // when the policy looks hosts up by a hash; else nil
	// weight is the sum of the hosts', for hash_balance_factor.
	weight float64
	// slowUntil is when the last host of the group has its whole weight; 0: all have.
	slowUntil int64

	// localities are groups of their own, which turns shares out by weight, or zone as it says.
	localities []group
	turns      *schedule
	zone       *zoneRoute
}

// NewBalancer returns a balancer for c. seed sets where the rotation starts, so
// that loops do not all begin with the first host.
func NewBalancer(c *Cluster, seed uint64) *Balancer {
	k := c.Conf
	b := &Balancer{
		cluster: c, seed: seed, policy: k.LB, slow: c.slow,
		choices: max(2, int(k.LeastRequestChoices)), fullScan: k.LeastRequestFullScan,
		hashes: hashes(k.LB), balance: uint64(k.HashBalanceFactor),
		failing: k.ZoneAware != nil && k.ZoneAware.FailOnPanic,
	}
	if c.originals != nil {
		b.originals, b.texts = make(map[netip.AddrPort]*Host), make(map[string]netip.AddrPort)
	}
	if c.dynamics != nil {
		b.named = make(map[string]*Host)
	}
	return b
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
	if b.originals != nil {
		return b.pickOriginal(c)
	}
	if b.named != nil {
		return b.pickNamed(c)
	}
	if set := b.cluster.hosts.Load(); set != b.set {
		b.adopt(set)
	}
	if b.set.subsets != nil {
		return b.pickSubset(random, c)
	}
	return b.pick(&b.whole, random, c)
}

// pick chooses among the hosts of a lane, again while the request's judge refuses.
func (b *Balancer) pick(l *lane, random uint64, c *Choice) *Host {
	key := random
	if b.hashes && c != nil && c.HasHash {
		key = c.Hash // of the level too: a key keeps to one; CL-11 without
	}
	h := b.pickOnce(l, key, 0, c)
	if c == nil || c.Judge == nil {
		return h
	}
	for n := 1; n <= c.Again && h != nil && c.Judge.Refuses(h); n++ {
		if !b.hashes {
			key = mix(key)
		}
		h = b.pickOnce(l, key, n, c)
	}
	return h
}

// pickOnce chooses a host; again counts the refusals so far.
func (b *Balancer) pickOnce(l *lane, key uint64, again int, c *Choice) *Host {
	n := -1
	if c != nil && c.Tried != nil {
		n = l.chooseUntried(key, c.Tried)
	}
	if n < 0 {
		if n = l.choose(key); n < 0 {
			return nil
		}
	}
	g := &l.groups[n]
	if !g.made {
		b.makeGroup(l, n)
	}
	if g.panic {
		b.count(b.cluster.Stats.LbHealthyPanic)
		if b.failing {
			return nil
		}
	}
	if g.localities != nil {
		g = b.locality(g, key)
	}
	if g.slowUntil != 0 {
		return b.pickSlow(g, key)
	}
	switch {
	case len(g.hosts) == 1:
		return g.hosts[0]
	case len(g.hosts) == 0:
		return nil
	case g.table != nil && b.balance > 0:
		return g.bounded(key, g.table.pick(key, again), b.balance)
	case g.table != nil:
		return g.hosts[g.table.pick(key, again)]
	case b.policy == conf.Random:
		return g.hosts[draw(key, len(g.hosts))]
	case b.policy == conf.LeastRequest && g.edf == nil:
		if b.fullScan {
			return g.leastOfAll(key)
		}
		return g.leastOf(key, b.choices)
	case b.policy == conf.LeastRequest:
		return g.hosts[g.edf.nextBy(varies{bias: b.bias()})]
	case g.edf != nil:
		return g.hosts[g.edf.next()]
	}
	return g.rotate()
}

// bias is active_request_bias; a negative one counts as none.
func (b *Balancer) bias() float64 { return max(0, b.cluster.bias()) }

// choose returns the group a request with these random bits belongs to; -1: there is no host.
func (l *lane) choose(random uint64) int {
	if len(l.shares) == 1 {
		return l.shares[0].group
	}
	percent := random % 100
	for i := range l.shares {
		if percent < l.shares[i].upTo {
			return l.shares[i].group
		}
	}
	return -1
}

// chooseUntried is choose with the loads that the levels would have without those tried; -1 when no
// host is usable anywhere. With every level tried it begins anew.
func (l *lane) chooseUntried(random uint64, tried *Tried) int {
	levels := l.part.levels
	sum := availableUntried(levels, tried)
	if sum == 0 {
		tried.Reset()
		if sum = availableUntried(levels, tried); sum == 0 {
			return -1
		}
	}
	percent, upTo, first := uint32(random%100), uint32(0), -1
	for kind := range 2 {
		for i := range levels {
			if levels[i].available[kind] == 0 || tried.Has(uint32(i)) {
				continue
			}
			if first < 0 {
				first = groupOf(i, kind)
			}
			if upTo += levels[i].available[kind] * 100 / sum; percent < upTo {
				return groupOf(i, kind)
			}
		}
	}
	return first // what rounding leaves
}

func availableUntried(levels []Level, tried *Tried) (sum uint32) {
	for i := range levels {
		if !tried.Has(uint32(i)) {
			sum += levels[i].available[healthyKind] + levels[i].available[degradedKind]
		}
	}
	return min(100, sum)
}

// The kinds of hosts that are balanced apart.
const (
	healthyKind = iota
	degradedKind
	numKinds
)

func groupOf(level, kind int) int { return numKinds*level + kind }

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

// leastOfAll looks at every host and takes one of those with the fewest active requests, each with the
// same chance (FULL_SCAN). O(hosts).
func (g *group) leastOfAll(random uint64) *Host {
	best, equals := 0, uint64(1)
	for i := 1; i < len(g.loads); i++ {
		switch n := g.loads[i].RqActive; {
		case n < g.loads[best].RqActive:
			best, equals = i, 1
		case n == g.loads[best].RqActive:
			equals++
			if random = mix(random); random%equals == 0 {
				best = i
			}
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
	l.part, l.shares, l.groups = p, l.shares[:0], make([]group, numKinds*len(p.levels))
	upTo := uint64(0)
	for kind := range numKinds {
		for i := range p.levels {
			if load := p.levels[i].load(kind); load > 0 {
				upTo += uint64(load)
				l.shares = append(l.shares, portion{upTo, groupOf(i, kind)})
			}
		}
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
