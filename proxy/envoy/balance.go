//lint:file-ignore SA1019 deprecated fields are still common in configuration files

package envoy

import (
	"math/big"
	"slices"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// balancing compiles lb_policy and its parameters (clusters.md 3, 5).
func (c *compiler) balancing(m *clusterv3.Cluster, at place, out *conf.Cluster) {
	switch m.GetLbPolicy() {
	case clusterv3.Cluster_LEAST_REQUEST:
		out.LB = conf.LeastRequest
	case clusterv3.Cluster_RANDOM:
		out.LB = conf.Random
	case clusterv3.Cluster_RING_HASH:
		out.LB = conf.RingHash
	case clusterv3.Cluster_MAGLEV:
		out.LB = conf.Maglev
	}
	wants := func(lb conf.LBPolicy, field, name string) place {
		if out.LB != lb {
			c.errs.at(at.field(field), "needs lb_policy %s, not %s", name, m.GetLbPolicy())
		}
		return at.field(field)
	}
	switch lb := m.GetLbConfig().(type) {
	case *clusterv3.Cluster_LeastRequestLbConfig_:
		wants(conf.LeastRequest, "least_request_lb_config", "LEAST_REQUEST")
		out.LeastRequestChoices = number(lb.LeastRequestLbConfig.GetChoiceCount(), out.LeastRequestChoices)
	case *clusterv3.Cluster_RoundRobinLbConfig_:
		wants(conf.RoundRobin, "round_robin_lb_config", "ROUND_ROBIN")
	case *clusterv3.Cluster_RingHashLbConfig_:
		c.ringHash(lb.RingHashLbConfig, wants(conf.RingHash, "ring_hash_lb_config", "RING_HASH"), out)
	case *clusterv3.Cluster_MaglevLbConfig_:
		here := wants(conf.Maglev, "maglev_lb_config", "MAGLEV")
		if size := lb.MaglevLbConfig.GetTableSize(); size != nil {
			out.MaglevTableSize = size.GetValue()
			if !big.NewInt(int64(size.GetValue())).ProbablyPrime(0) { // exact below 2^64
				c.errs.at(here.field("table_size"), "%d is not a prime", size.GetValue())
			}
		}
	}
	if hashing := m.GetCommonLbConfig().GetConsistentHashingLbConfig(); hashing != nil {
		if out.LB != conf.RingHash && out.LB != conf.Maglev {
			c.warn(at.field("common_lb_config").field("consistent_hashing_lb_config"), "has no effect with lb_policy %s", m.GetLbPolicy())
		}
		out.HashByHostname = hashing.GetUseHostnameForHashing()
		out.HashBalanceFactor = number(hashing.GetHashBalanceFactor(), 0)
	}
	out.Subsets = c.subsets(m.GetLbSubsetConfig(), at.field("lb_subset_config"))
}

func (c *compiler) ringHash(m *clusterv3.Cluster_RingHashLbConfig, at place, out *conf.Cluster) {
	ring := &out.RingHash
	if m.GetMinimumRingSize() != nil {
		ring.MinimumSize = m.GetMinimumRingSize().GetValue()
	}
	if m.GetMaximumRingSize() != nil {
		ring.MaximumSize = m.GetMaximumRingSize().GetValue()
	}
	switch {
	case ring.MinimumSize == 0:
		c.errs.at(at.field("minimum_ring_size"), "must be greater than 0")
	case ring.MinimumSize > ring.MaximumSize:
		c.errs.at(at, "minimum_ring_size %d is greater than maximum_ring_size %d", ring.MinimumSize, ring.MaximumSize)
	}
	if m.GetHashFunction() == clusterv3.Cluster_RingHashLbConfig_MURMUR_HASH_2 {
		ring.Function = conf.MurmurHash2
	}
}

// subsets compiles lb_subset_config; nil when it has no selectors, which turns it off.
func (c *compiler) subsets(m *clusterv3.Cluster_LbSubsetConfig, at place) *conf.Subsets {
	if m == nil {
		return nil
	}
	if len(m.GetSubsetSelectors()) == 0 {
		c.warn(at, "has no effect without subset_selectors")
		return nil
	}
	out := &conf.Subsets{
		Fallback: subsetFallback[m.GetFallbackPolicy()], DefaultSubset: lbMetadata(m.GetDefaultSubset()),
		PanicModeAny: m.GetPanicModeAny(), ListAsAny: m.GetListAsAny(),
	}
	for i, s := range m.GetSubsetSelectors() {
		here := at.field("subset_selectors").index(i)
		selector := c.subsetSelector(s, here)
		for j := range out.Selectors {
			if slices.Equal(out.Selectors[j].Keys, selector.Keys) {
				c.errs.at(here.field("keys"), "subset_selectors[%d] has the same keys", j)
				break
			}
		}
		out.Selectors = append(out.Selectors, selector)
	}
	return out
}

func (c *compiler) subsetSelector(m *clusterv3.Cluster_LbSubsetConfig_LbSubsetSelector, at place) conf.SubsetSelector {
	out := conf.SubsetSelector{
		Keys: distinct(m.GetKeys()), FallbackKeys: distinct(m.GetFallbackKeysSubset()),
		Fallback: selectorFallback[m.GetFallbackPolicy()], SingleHost: m.GetSingleHostPerSubset(),
	}
	fallback := at.field("fallback_keys_subset")
	missing := slices.IndexFunc(out.FallbackKeys, func(key string) bool { return !slices.Contains(out.Keys, key) })
	switch {
	case len(out.Keys) == 0:
		c.errs.at(at, "keys are required")
	case out.SingleHost && len(out.Keys) > 1:
		c.errs.at(at.field("single_host_per_subset"), "needs a selector of one key, not %d", len(out.Keys))
	case out.Fallback != conf.SubsetKeys && len(out.FallbackKeys) > 0:
		c.errs.at(fallback, "needs fallback_policy KEYS_SUBSET")
	case out.Fallback != conf.SubsetKeys:
	case len(out.FallbackKeys) == 0:
		c.errs.at(at, "fallback_policy KEYS_SUBSET needs fallback_keys_subset")
	case missing >= 0:
		c.errs.at(fallback, "%s is not one of the selector's keys", shorten(out.FallbackKeys[missing]))
	case len(out.FallbackKeys) == len(out.Keys):
		c.errs.at(fallback, "must have fewer keys than the selector")
	}
	return out
}

var subsetFallback = map[clusterv3.Cluster_LbSubsetConfig_LbSubsetFallbackPolicy]conf.SubsetFallback{
	clusterv3.Cluster_LbSubsetConfig_NO_FALLBACK:    conf.SubsetNoFallback,
	clusterv3.Cluster_LbSubsetConfig_ANY_ENDPOINT:   conf.SubsetAnyEndpoint,
	clusterv3.Cluster_LbSubsetConfig_DEFAULT_SUBSET: conf.SubsetDefaultSubset,
}

var selectorFallback = map[clusterv3.Cluster_LbSubsetConfig_LbSubsetSelector_LbSubsetSelectorFallbackPolicy]conf.SubsetFallback{
	clusterv3.Cluster_LbSubsetConfig_LbSubsetSelector_NOT_DEFINED:    conf.SubsetNotDefined,
	clusterv3.Cluster_LbSubsetConfig_LbSubsetSelector_NO_FALLBACK:    conf.SubsetNoFallback,
	clusterv3.Cluster_LbSubsetConfig_LbSubsetSelector_ANY_ENDPOINT:   conf.SubsetAnyEndpoint,
	clusterv3.Cluster_LbSubsetConfig_LbSubsetSelector_DEFAULT_SUBSET: conf.SubsetDefaultSubset,
	clusterv3.Cluster_LbSubsetConfig_LbSubsetSelector_KEYS_SUBSET:    conf.SubsetKeys,
}

// distinct sorts names and drops those that occur twice; nil for none.
func distinct(names []string) []string {
	if len(names) == 0 {
		return nil
	}
	return slices.Compact(slices.Sorted(slices.Values(names)))
}
