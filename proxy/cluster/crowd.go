package cluster

import (
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/stats"
)

// crowd is hosts that share the requests meant for them: the healthy or the degraded ones of a level, or
// all in a panic. Immutable; loops keep where they are in it (group).
type crowd struct {
	hosts []*Host
	// localities share the requests by weight, or as zone says; nil: hosts are not told apart.
	localities []locality
	zone       *zoneRoute // nil: by weight
	table      table      // nil when the policy needs none
}

// locality is the hosts of a crowd that are in one place.
type locality struct {
	hosts  []*Host
	weight float64
}

// place is where a host is.
type place struct{ region, zone, subZone string }

func placeOf(h *Host) place { return place{h.Region, h.Zone, h.SubZone} }

func newCrowd(p plan, l *Level, hosts []*Host, zoned bool) *crowd {
	c := &crowd{hosts: hosts}
	switch {
	case l.Panic:
	case p.localities:
		c.localities = weighLocalities(p, l, hosts)
	case p.zone != nil && zoned && !hashes(p.conf.LB):
		c.localities, c.zone = p.zone.route(hosts)
	}
	if hashes(p.conf.LB) {
		c.table = newTable(p.conf, hosts, c.hostWeights())
		c.localities = nil // the table has them
	}
	return c
}

// weighLocalities groups hosts by place, with the effective weight of each place: its own times the part of it
// that is usable, overprovisioned (CL-23). nil when no place has any.
func weighLocalities(p plan, l *Level, hosts []*Host) []locality {
	type count struct{ all, excluded int }
	counts := make(map[place]count)
	for _, h := range l.Hosts {
		n := counts[placeOf(h)]
		n.all++
		counts[placeOf(h)] = n
	}
	for _, h := range l.Excluded {
		n := counts[placeOf(h)]
		n.excluded++
		counts[placeOf(h)] = n
	}
	out, sum := groupByPlace(hosts), 0.0
	for i := range out {
		h := out[i].hosts[0]
		n := counts[placeOf(h)]
		usable := float64(len(out[i].hosts)) / float64(max(1, n.all-n.excluded))
		if hashes(p.conf.LB) {
			usable = 1 // a key must not move because a host next door is down
		}
		out[i].weight = float64(h.localityWeight) * min(1, float64(p.conf.Overprovisioning)/100*usable)
		if p.totals != nil {
			out[i].weight *= float64(n.all) / float64(p.totals[levelPlace{placeOf(h), h.Priority}])
		}
		sum += out[i].weight
	}
	if sum == 0 {
		return nil
	}
	return out
}

// groupByPlace keeps the order of hosts.
func groupByPlace(hosts []*Host) (out []locality) {
	index := make(map[place]int)
	for _, h := range hosts {
		n, ok := index[placeOf(h)]
		if !ok {
			n = len(out)
			index[placeOf(h)] = n
			out = append(out, locality{})
		}
		out[n].hosts = append(out[n].hosts, h)
	}
	return out
}

// hostWeights returns the part of each host in all, for tables: by its weight in its locality, and by that
// of the locality when there are such.
func (c *crowd) hostWeights() []float64 {
	weights := make([]float64, len(c.hosts))
	if c.localities == nil {
		sum := float64(totalWeight(c.hosts))
		for i, h := range c.hosts {
			weights[i] = float64(h.Weight) / sum
		}
		return weights
	}
	total, of := 0.0, make(map[*Host]float64, len(c.hosts))
	for i := range c.localities {
		total += c.localities[i].weight
	}
	for i := range c.localities {
		l := &c.localities[i]
		sum := float64(totalWeight(l.hosts))
		for _, h := range l.hosts {
			of[h] = l.weight / total * float64(h.Weight) / sum
		}
	}
	for i, h := range c.hosts {
		weights[i] = of[h]
	}
	return weights
}

// zoneView is what a zone aware cluster knows of the local cluster (CL-23): the hosts of this process's
// own kind, by place.
type zoneView struct {
	own   place
	local map[place]int
	// all is how many hosts the local cluster has, panic that too few of them are healthy.
	all     int
	panic   bool
	minSize uint64
	conf    *conf.ZoneAware
	stats   *stats.ZoneStats
}

// zoneRoute is where the requests of one zone go. Immutable.
type zoneRoute struct {
	// direct: all to the own zone, which is the first of the localities.
	direct bool
	// localPart of 10000 stay; the others go by what is left in each locality, cumulative.
	localPart  uint64
	residual   []uint64
	localNotOK bool
}

// route shares out hosts: as many requests stay in the own zone as its part of the hosts can take, the
// others go where zones have more hosts than clients. nil when that makes no sense: one zone only, no
// host in the own one, or too few of them.
func (v *zoneView) route(hosts []*Host) ([]locality, *zoneRoute) {
	c := v.conf
	zones := groupByPlace(hosts)
	own := -1
	for i := range zones {
		if placeOf(zones[i].hosts[0]) == v.own {
			own = i
		}
	}
	if len(zones) < 2 || own < 0 || v.all == 0 {
		return nil, nil
	}
	if uint64(len(hosts)) < v.minSize {
		v.stats.LbZoneClusterTooSmall.Inc()
		return nil, nil
	}
	v.stats.LbRecalculateZoneStructures.Inc()
	zones[0], zones[own] = zones[own], zones[0]
	r := &zoneRoute{localNotOK: v.panic}
	part := func(n, of int) uint64 { return uint64(10000 * n / of) }
	here, there := part(v.local[v.own], v.all), part(len(zones[0].hosts), len(hosts))
	if there >= here || c.ForceLocal && uint32(len(zones[0].hosts)) >= c.ForceLocalMinSize {
		r.direct = true
		return zones, r
	}
	r.localPart = there * 10000 / here
	r.residual = make([]uint64, len(zones))
	for i := 1; i < len(zones); i++ {
		has, sends := part(len(zones[i].hosts), len(hosts)), part(v.local[placeOf(zones[i].hosts[0])], v.all)
		r.residual[i] = r.residual[i-1]
		if has > sends {
			r.residual[i] += has - sends
		}
	}
	return zones, r
}
