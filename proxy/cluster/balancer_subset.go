package cluster

import (
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/stats"
)

// pickSubset chooses a host of the subset whose criteria are the request's, or of
// what a fallback says when there is no such subset (clusters.md 5):
//
//	subset found                -> its hosts, even when none is usable
//	selector has these keys     -> its fallback_policy, unless NOT_DEFINED;
//	                               KEYS_SUBSET begins anew with fewer keys
//	else                        -> fallback_policy, then panic_mode_any
//
// No allocation once the loop has used the subset.
func (b *Balancer) pickSubset(random uint64, c *Choice) *Host {
	var criteria *Criteria
	if c != nil {
		criteria = c.Criteria
	}
	if criteria == nil || len(criteria.items) == 0 || !b.set.subsets.conf.MetadataFallback {
		return b.pickBy(criteria, random, c)
	}
	for _, item := range criteria.items {
		b.instead.alternative(criteria, item)
		if h := b.pickBy(&b.instead, random, c); h != nil {
			return h
		}
	}
	return nil
}

// pickBy is pickSubset for one set of criteria.
func (b *Balancer) pickBy(criteria *Criteria, random uint64, c *Choice) *Host {
	s := b.set.subsets
	for criteria != nil && len(criteria.pairs) > 0 {
		if n := s.find(criteria.hash, criteria.pairs); n >= 0 {
			b.count(b.cluster.subsetStats.LbSubsetsSelected)
			return b.pick(b.laneOf(n), random, c)
		}
		selector := s.selector(criteria)
		if selector == nil {
			break
		}
		switch selector.Fallback {
		case conf.SubsetNoFallback:
			return nil
		case conf.SubsetAnyEndpoint:
			return b.pick(&b.whole, random, c)
		case conf.SubsetDefaultSubset:
			return b.pick(&b.byDefault, random, c)
		case conf.SubsetKeys:
			b.fewer.keep(criteria, selector.FallbackKeys) // a proper subset: this ends
			criteria = &b.fewer
			continue
		}
		break // NOT_DEFINED
	}
	return b.pickFallback(random, c)
}

func (b *Balancer) pickFallback(random uint64, c *Choice) *Host {
	s, l := b.set.subsets, &b.whole
	switch s.conf.Fallback {
	case conf.SubsetNoFallback:
		return nil
	case conf.SubsetDefaultSubset:
		l = &b.byDefault
	}
	if h := b.pick(l, random, c); h != nil {
		b.count(b.cluster.subsetStats.LbSubsetsFallback)
		return h
	}
	if !s.conf.PanicModeAny {
		return nil
	}
	h := b.pick(&b.whole, random, c)
	if h != nil {
		b.count(b.cluster.subsetStats.LbSubsetsFallbackPanic)
	}
	return h
}

// laneOf returns this loop's half of a subset, which it makes on first use.
func (b *Balancer) laneOf(n int) *lane {
	if b.lanes[n] == nil {
		b.lanes[n] = new(lane)
		b.enter(b.lanes[n], b.set.subsets.all[n].part)
	}
	return b.lanes[n]
}

func (b *Balancer) count(c stats.Counter) {
	if b.shard != nil {
		b.shard.Inc(c)
	}
}
