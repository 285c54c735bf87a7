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
	// Hosts are all of them; Healthy and Degraded those with that configured health.
	Hosts, Healthy, Degraded []*Host
	// Levels are the priorities, most preferred first. Never empty.
	Levels []Level

	whole   *part
	subsets *subsets // nil without lb_subset_config
}

// Level is the hosts of one priority and the share of requests they get.
type Level struct {
	Hosts, Healthy, Degraded []*Host
	// HealthyLoad and DegradedLoad are percentages; over all levels they add up to
	// 100, unless there is no host at all.
	HealthyLoad, DegradedLoad uint32
	// Panic says that too few hosts are healthy: requests go to all of them (CL-22).
	Panic bool

	// available is the part of the hosts of each kind that is usable, in percent, overprovisioned.
	available [numKinds]uint32
	tables    [numKinds]table // of the hosts that get the loads; nil when the policy needs none
}

// part is hosts that are balanced on their own: the whole cluster, or one subset
// of it. Immutable.
type part struct {
	hosts  []*Host
	levels []Level
}

// newHostSet makes the set that follows old, which may be nil; parts whose hosts
// are the same are old's.
func newHostSet(c *conf.Cluster, hosts []*Host, old *HostSet) *HostSet {
	s := &HostSet{Version: 1, Hosts: hosts}
	var oldWhole *part
	var oldSubsets *subsets
	if old != nil {
		s.Version, oldWhole, oldSubsets = old.Version+1, old.whole, old.subsets
	}
	for _, h := range hosts {
		switch h.Health {
		case conf.EndpointHealthy:
			s.Healthy = append(s.Healthy, h)
		case conf.EndpointDegraded:
			s.Degraded = append(s.Degraded, h)
		}
	}
	s.whole = newPart(c, hosts, oldWhole)
	s.Levels = s.whole.levels
	if hasSubsets(c) {
		s.subsets = newSubsets(c, s.whole, oldSubsets)
	}
	return s
}

func newPart(c *conf.Cluster, hosts []*Host, old *part) *part {
	if old != nil && slices.Equal(old.hosts, hosts) {
		return old
	}
	p := &part{hosts: hosts, levels: make([]Level, 1)}
	for _, h := range hosts {
		for int(h.Priority) >= len(p.levels) {
			p.levels = append(p.levels, Level{})
		}
		l := &p.levels[h.Priority]
		l.Hosts = append(l.Hosts, h)
		switch h.Health {
		case conf.EndpointHealthy:
			l.Healthy = append(l.Healthy, h)
		case conf.EndpointDegraded:
			l.Degraded = append(l.Degraded, h)
		}
	}
	distribute(p.levels)
	for i := range p.levels {
		l := &p.levels[i]
		if len(l.Hosts) == 0 {
			continue
		}
		if hosts := l.usable(healthyKind); len(hosts) > 0 {
			l.tables[healthyKind] = newTable(c, hosts)
		}
		switch {
		case l.Panic:
			l.tables[degradedKind] = l.tables[healthyKind]
		case len(l.Degraded) > 0:
			l.tables[degradedKind] = newTable(c, l.Degraded)
		}
	}
	return p
}

// usable returns which hosts get the requests meant for those of one kind: in a panic all.
func (l *Level) usable(kind int) []*Host {
	switch {
	case l.Panic:
		return l.Hosts
	case kind == healthyKind:
		return l.Healthy
	}
	return l.Degraded
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
			if l := &p.levels[i]; l.load(kind) > 0 && l.tables[kind] != nil {
				return l.tables[kind]
			}
		}
	}
	return nil
}
