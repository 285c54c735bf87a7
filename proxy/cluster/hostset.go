package cluster

import (
	"slices"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// HostSet is the hosts of a cluster at one time, with everything that choosing
// among them needs and that is the same for all loops. Immutable.
type HostSet struct {
	// Version goes up with every set of the cluster.
	Version uint64
	// Hosts are all of them; Healthy and Degraded those that were at that time, Excluded those that do
	// not count.
	Hosts, Healthy, Degraded, Excluded []*Host
	// Levels are the priorities, most preferred first. Never empty.
	Levels []Level

	whole   *part
	subsets *subsets // nil without lb_subset_config
}

// Level is the hosts of one priority and the share of requests they get.
type Level struct {
	Hosts, Healthy, Degraded, Excluded []*Host
	// HealthyLoad and DegradedLoad are percentages; over all levels they add up to
	// 100, unless there is no host at all.
	HealthyLoad, DegradedLoad uint32
	// Panic says that too few hosts are healthy: requests go to all of them (CL-22).
	Panic bool

	// available is the part of the hosts of each kind that is usable, in percent, overprovisioned.
	available [numKinds]uint32
	crowds    [numKinds]*crowd // who gets the loads; nil: nobody
}

// part is hosts that are balanced on their own: the whole cluster, or one subset
// of it. Immutable.
type part struct {
	hosts  []*Host
	states []HealthFlags // of hosts
	levels []Level
}

// plan is how the parts of a cluster are made.
type plan struct {
	conf *conf.Cluster
	// panicThreshold is in percent; 0: never.
	panicThreshold float64
	localities     bool      // share out by the weights of localities
	zone           *zoneView // what zone aware routing needs to know; nil: off
	// totals are the hosts of the whole cluster, for scale_locality_weight; nil: off.
	totals map[levelPlace]int
}

// newHostSet makes the set that follows old, which may be nil; parts whose hosts
// and their health are the same are old's.
func newHostSet(p plan, hosts []*Host, old *HostSet) *HostSet {
	s := &HostSet{Version: 1, Hosts: hosts}
	var oldWhole *part
	var oldSubsets *subsets
	if old != nil {
		s.Version, oldWhole, oldSubsets = old.Version+1, old.whole, old.subsets
	}
	states := make([]HealthFlags, len(hosts))
	for i, h := range hosts {
		states[i] = h.Flags()
	}
	s.Healthy, s.Degraded, s.Excluded = sortOut(hosts, states)
	s.whole = newPart(p, hosts, states, oldWhole)
	s.Levels = s.whole.levels
	if hasSubsets(p.conf) {
		s.subsets = newSubsets(p, s.whole, oldSubsets)
	}
	return s
}

func sortOut(hosts []*Host, states []HealthFlags) (healthy, degraded, excluded []*Host) {
	for i, h := range hosts {
		switch f := states[i]; {
		case f.Healthy():
			healthy = append(healthy, h)
		case f.Degraded():
			degraded = append(degraded, h)
		}
		if states[i].Excluded() {
			excluded = append(excluded, h)
		}
	}
	return healthy, degraded, excluded
}

func newPart(p plan, hosts []*Host, states []HealthFlags, old *part) *part {
	if old != nil && p.zone == nil && slices.Equal(old.hosts, hosts) && slices.Equal(old.states, states) {
		return old
	}
	out := &part{hosts: hosts, states: states, levels: make([]Level, 1)}
	for i, h := range hosts {
		for int(h.Priority) >= len(out.levels) {
			out.levels = append(out.levels, Level{})
		}
		l := &out.levels[h.Priority]
		l.Hosts = append(l.Hosts, h)
		switch f := states[i]; {
		case f.Healthy():
			l.Healthy = append(l.Healthy, h)
		case f.Degraded():
			l.Degraded = append(l.Degraded, h)
		}
		if states[i].Excluded() {
			l.Excluded = append(l.Excluded, h)
		}
	}
	distribute(p, out.levels)
	for i := range out.levels {
		out.levels[i].gather(p, i == 0)
	}
	return out
}

// gather makes the crowds of a level. Levels without load have some, too: for requests that keep away
// from the others.
func (l *Level) gather(p plan, first bool) {
	switch {
	case len(l.Hosts) == 0:
		return
	case l.Panic:
		all := newCrowd(p, l, l.Hosts, false)
		l.crowds = [numKinds]*crowd{all, all}
		return
	}
	if len(l.Healthy) > 0 {
		l.crowds[healthyKind] = newCrowd(p, l, l.Healthy, first)
	}
	if len(l.Degraded) > 0 {
		l.crowds[degradedKind] = newCrowd(p, l, l.Degraded, false)
	}
}

func (l *Level) load(kind int) uint32 {
	if kind == healthyKind {
		return l.HealthyLoad
	}
	return l.DegradedLoad
}

// table returns the one that serves the most preferred hosts, for the gauges.
func (p *part) table() table {
	for kind := range numKinds {
		for i := range p.levels {
			if l := &p.levels[i]; l.load(kind) > 0 && l.crowds[kind] != nil {
				return l.crowds[kind].table
			}
		}
	}
	return nil
}
