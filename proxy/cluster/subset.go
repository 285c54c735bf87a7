package cluster

import (
	"slices"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// subsets are the subsets that a cluster's hosts make by their metadata
// (lb_subset_config), found by the criteria that are exactly theirs. Immutable and
// shared by all loops; made where the hosts change.
type subsets struct {
	conf  *conf.Subsets
	all   []subset
	index map[uint64]int32 // first of all with the sum of pairs, the others by next
	// byDefault are the hosts that have all of default_subset.
	byDefault *part
	// duplicates are the hosts that single_host_per_subset leaves out.
	duplicates int
	// created and removed count what differs from the subsets before.
	created, removed int
}

type subset struct {
	pairs []pair
	part  *part
	next  int32 // -1: none
}

// draft is a subset while its hosts are collected.
type draft struct {
	pairs  []pair
	hosts  []*Host
	single bool
}

// hasSubsets says whether a cluster is divided; without a selector it is not,
// whatever the fallback (Envoy).
func hasSubsets(c *conf.Cluster) bool { return c.Subsets != nil && len(c.Subsets.Selectors) > 0 }

func newSubsets(p plan, whole *part, old *subsets) *subsets {
	c := p.conf
	inner := p.within(whole)
	s := &subsets{conf: c.Subsets, index: make(map[uint64]int32)}
	drafts, states := s.collect(whole.hosts), statesOf(whole)
	for i := range drafts {
		d, before := &drafts[i], (*part)(nil)
		if n := old.find(sumOf(d.pairs), d.pairs); n >= 0 {
			before = old.all[n].part
		} else {
			s.created++
		}
		s.all[i].part = newPart(inner, d.hosts, states.of(d.hosts), before)
	}
	if old != nil {
		s.removed = len(old.all) - (len(s.all) - s.created)
	}
	if s.needsDefault() {
		var matching []*Host
		wanted := NewCriteria(c.Subsets.DefaultSubset)
		for _, h := range whole.hosts {
			if s.matches(h, wanted) {
				matching = append(matching, h)
			}
		}
		var before *part
		if old != nil {
			before = old.byDefault
		}
		s.byDefault = newPart(inner, matching, states.of(matching), before)
	}
	return s
}

// collect finds out which subsets there are and which hosts each has. It fills in
// all and index, but for the parts.
func (s *subsets) collect(hosts []*Host) (drafts []draft) {
	for _, h := range hosts {
		for i := range s.conf.Selectors {
			selector := &s.conf.Selectors[i]
			for _, pairs := range s.combinations(h, selector.Keys) {
				sum := sumOf(pairs)
				n := s.find(sum, pairs)
				if n < 0 {
					n = s.add(sum, pairs)
					drafts = append(drafts, draft{pairs: pairs, single: selector.SingleHost})
				}
				d := &drafts[n]
				switch {
				case len(d.hosts) > 0 && d.hosts[len(d.hosts)-1] == h: // by another selector, or a list that repeats itself
				case len(d.hosts) > 0 && d.single:
					s.duplicates++
				default:
					d.hosts = append(d.hosts, h)
				}
			}
		}
	}
	return drafts
}

func (s *subsets) add(sum uint64, pairs []pair) int {
	n, next := len(s.all), int32(-1)
	if first, ok := s.index[sum]; ok {
		next = first
	}
	s.index[sum] = int32(n)
	s.all = append(s.all, subset{pairs: pairs, next: next})
	return n
}

// find returns which subset has exactly these pairs; -1 when none. No allocation.
func (s *subsets) find(sum uint64, pairs []pair) int {
	if s == nil {
		return -1
	}
	n, ok := s.index[sum]
	for ok && n >= 0 {
		if samePairs(s.all[n].pairs, pairs) {
			return int(n)
		}
		n = s.all[n].next
	}
	return -1
}

// combinations returns the values that a host has for keys, which are sorted: none
// when it lacks one; several when list_as_any makes a list stand for each of its
// elements.
func (s *subsets) combinations(h *Host, keys []string) [][]pair {
	all := [][]pair{nil}
	for _, key := range keys {
		values := s.valuesOf(h, key)
		longer := make([][]pair, 0, len(all)*len(values))
		for _, pairs := range all {
			for _, v := range values {
				longer = append(longer, append(slices.Clip(pairs), pair{key, v}))
			}
		}
		all = longer
	}
	return all
}

func (s *subsets) valuesOf(h *Host, key string) [][]byte {
	value, ok := h.Metadata[key]
	switch {
	case !ok:
		return nil
	case s.conf.ListAsAny:
		return elements(value)
	}
	return [][]byte{plain(value)}
}

// matches reports whether h has all that is wanted; nil is nothing.
func (s *subsets) matches(h *Host, wanted *Criteria) bool {
	if wanted == nil {
		return true
	}
	for _, w := range wanted.pairs {
		if !slices.ContainsFunc(s.valuesOf(h, w.key), func(v []byte) bool { return string(v) == string(w.value) }) {
			return false
		}
	}
	return true
}

func (s *subsets) needsDefault() bool {
	return s.conf.Fallback == conf.SubsetDefaultSubset || slices.ContainsFunc(s.conf.Selectors, func(l conf.SubsetSelector) bool {
		return l.Fallback == conf.SubsetDefaultSubset
	})
}

// selector returns the one whose keys are those of c; nil when none is. The first
// counts. No allocation.
func (s *subsets) selector(c *Criteria) *conf.SubsetSelector {
	for i := range s.conf.Selectors {
		if c.hasKeys(s.conf.Selectors[i].Keys) {
			return &s.conf.Selectors[i]
		}
	}
	return nil
}

// hostStates are the states of a part's hosts.
type hostStates map[*Host]HealthFlags

func statesOf(p *part) hostStates {
	out := make(hostStates, len(p.hosts))
	for i, h := range p.hosts {
		out[h] = p.states[i]
	}
	return out
}

func (s hostStates) of(hosts []*Host) []HealthFlags {
	out := make([]HealthFlags, len(hosts))
	for i, h := range hosts {
		out[i] = s[h]
	}
	return out
}

// within returns the plan of subsets: localities count there when locality_weight_aware says so, scaled by
// the part of their hosts that the subset has when scale_locality_weight does.
func (p plan) within(whole *part) plan {
	p.localities, p.zone = p.localities && p.conf.Subsets.LocalityAware, nil
	if p.localities && p.conf.Subsets.ScaleLocality {
		p.totals = make(map[levelPlace]int)
		for _, h := range whole.hosts {
			p.totals[levelPlace{placeOf(h), h.Priority}]++
		}
	}
	return p
}

// levelPlace is a locality of a priority.
type levelPlace struct {
	place
	priority uint32
}
