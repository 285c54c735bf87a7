package cluster

import (
	"math"
	"time"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/runtime"
)

// makeGroup fills in group n of a lane. Cold: once for each set of hosts.
func (b *Balancer) makeGroup(l *lane, n int) {
	level := &l.part.levels[n/numKinds]
	g := &l.groups[n]
	*g = group{made: true, panic: level.Panic}
	c := level.crowds[n%numKinds]
	if c == nil {
		return
	}
	if c.localities == nil {
		b.fill(g, c.hosts, c.table)
		return
	}
	g.zone, g.localities = c.zone, make([]group, len(c.localities))
	weights := make([]entry, len(c.localities))
	for i := range c.localities {
		b.fill(&g.localities[i], c.localities[i].hosts, nil)
		weights[i].weight = c.localities[i].weight
	}
	if c.zone == nil {
		g.turns = newSchedule(weights)
		for range b.seed % uint64(len(weights)) {
			g.turns.next()
		}
		return
	}
	b.fill(g, c.hosts, nil) // when requests are not told apart after all
}

// fill makes a group of hosts.
func (b *Balancer) fill(g *group, hosts []*Host, t table) {
	g.hosts, g.table, g.next = hosts, t, int(b.seed%uint64(len(hosts)))
	if b.policy == conf.Random || b.hashes && b.balance == 0 {
		return
	}
	g.loads = make([]*HostLoad, len(hosts))
	equal := true
	for i, h := range hosts {
		g.loads[i] = b.Load(h)
		equal = equal && h.Weight == hosts[0].Weight
	}
	g.weight = float64(totalWeight(hosts))
	if b.hashes {
		return
	}
	if b.slow != nil {
		g.slowUntil = b.slow.until(hosts)
	}
	if equal && g.slowUntil == 0 {
		return
	}
	g.edf = newSchedule(hostEntries(hosts, g.loads))
	for range g.next {
		if b.policy == conf.LeastRequest {
			g.edf.nextBy(varies{bias: b.bias()})
		} else {
			g.edf.next()
		}
	}
}

// locality chooses one of a group's localities.
func (b *Balancer) locality(g *group, random uint64) *group {
	z, s := g.zone, b.cluster.zoneStats
	if z == nil {
		return &g.localities[g.turns.next()]
	}
	random = mix(random)
	if enabled := b.cluster.zoneEnabled(); enabled < 100 && float64(random%10000) >= enabled*100 {
		return g // not this one
	}
	if z.localNotOK {
		b.count(s.LbLocalClusterNotOk)
		return g
	}
	if z.direct {
		b.count(s.LbZoneRoutingAllDirectly)
		return &g.localities[0]
	}
	random = mix(random)
	if random%10000 < z.localPart {
		b.count(s.LbZoneRoutingSampled)
		return &g.localities[0]
	}
	b.count(s.LbZoneRoutingCrossZone)
	n := len(z.residual)
	random = mix(random)
	if z.residual[n-1] == 0 { // rounding
		b.count(s.LbZoneNoCapacityLeft)
		return &g.localities[draw(random, n)]
	}
	at := random % z.residual[n-1]
	for i := range z.residual {
		if at < z.residual[i] {
			return &g.localities[i]
		}
	}
	return g
}

// slowStart is slow_start_config, compiled (CL-14).
type slowStart struct {
	window     int64 // ns
	min        float64
	aggression *runtime.Float
}

// now is the time that slow start goes by: monotonic nanoseconds.
func now() int64 { return int64(time.Since(began)) }

var began = time.Now().Add(-time.Hour) // so that no time is 0

// factor says how much of its weight a host gets.
func (s *slowStart) factor(h *Host, at int64) float64 {
	since := h.healthySince.Load()
	if since == 0 || at-since >= s.window {
		return 1
	}
	return slowFactor(at-since, s.window, s.aggression.Load(), s.min)
}

// until returns when all hosts have their whole weight; 0: they have.
func (s *slowStart) until(hosts []*Host) (last int64) {
	at := now()
	for _, h := range hosts {
		if end := h.healthySince.Load() + s.window; h.healthySince.Load() != 0 && end > at {
			last = max(last, end)
		}
	}
	return last
}

// pickSlow chooses by weights that grow, until all hosts have their whole one.
func (b *Balancer) pickSlow(g *group, random uint64) *Host {
	v := varies{slow: b.slow, now: now()}
	if v.now >= g.slowUntil {
		b.fill(g, g.hosts, g.table)
		g.slowUntil = 0
	}
	if b.policy == conf.LeastRequest {
		v.bias = b.bias()
	}
	if len(g.hosts) == 1 || g.edf == nil {
		return g.hosts[draw(random, len(g.hosts))]
	}
	return g.hosts[g.edf.nextBy(v)]
}

// slowFactor is the part of its weight that a host gets when it has been healthy for that long: at least
// least, all of it after the window.
func slowFactor(since, window int64, aggression, least float64) float64 {
	passed := math.Max(1e6, float64(since)) / float64(window) // at least a millisecond
	if aggression != 1 {
		passed = math.Pow(passed, 1/aggression)
	}
	return math.Max(least, math.Min(1, passed))
}
