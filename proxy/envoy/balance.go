//lint:file-ignore SA1019 deprecated fields are still common in configuration files

package envoy

import (
	"math/big"
	"slices"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// balancing compiles load_balancing_policy, or lb_policy and its parameters (clusters.md 3, 5).
func (c *compiler) balancing(m *clusterv3.Cluster, at place, out *conf.Cluster) {
	c.commonBalancing(m, at, out)
	if m.GetLoadBalancingPolicy() != nil {
		c.policy(m.GetLoadBalancingPolicy(), at.field("load_balancing_policy"), out)
		c.provided(at, out)
		return
	}
	switch m.GetLbPolicy() {
	case clusterv3.Cluster_LEAST_REQUEST:
		out.LB = conf.LeastRequest
	case clusterv3.Cluster_RANDOM:
		out.LB = conf.Random
	case clusterv3.Cluster_RING_HASH:
		out.LB = conf.RingHash
	case clusterv3.Cluster_MAGLEV:
		out.LB = conf.Maglev
	case clusterv3.Cluster_CLUSTER_PROVIDED:
		out.LB = conf.ClusterProvided
	case clusterv3.Cluster_LOAD_BALANCING_POLICY_CONFIG:
		c.errs.at(at.field("lb_policy"), "LOAD_BALANCING_POLICY_CONFIG needs load_balancing_policy")
	}
	c.olderParameters(m, at, out)
	if hashing := m.GetCommonLbConfig().GetConsistentHashingLbConfig(); hashing != nil {
		if out.LB != conf.RingHash && out.LB != conf.Maglev {
			c.warn(at.field("common_lb_config").field("consistent_hashing_lb_config"), "has no effect with lb_policy %s", m.GetLbPolicy())
		}
		out.HashByHostname = hashing.GetUseHostnameForHashing()
		out.HashBalanceFactor = number(hashing.GetHashBalanceFactor(), 0)
	}
	out.Subsets = c.subsets(m.GetLbSubsetConfig(), at.field("lb_subset_config"))
	c.provided(at, out)
}

// olderParameters compiles lb_config.
func (c *compiler) olderParameters(m *clusterv3.Cluster, at place, out *conf.Cluster) {
	wants := func(lb conf.LBPolicy, field, name string) place {
		if out.LB != lb {
			c.errs.at(at.field(field), "needs lb_policy %s, not %s", name, m.GetLbPolicy())
		}
		return at.field(field)
	}
	switch lb := m.GetLbConfig().(type) {
	case *clusterv3.Cluster_LeastRequestLbConfig_:
		here, l := wants(conf.LeastRequest, "least_request_lb_config", "LEAST_REQUEST"), lb.LeastRequestLbConfig
		out.LeastRequestChoices = number(l.GetChoiceCount(), out.LeastRequestChoices)
		c.runtimeDouble(l.GetActiveRequestBias(), here.field("active_request_bias"), &out.LeastRequestBias)
		out.SlowStart = c.slowStart(l.GetSlowStartConfig(), l.GetSlowStartConfig() != nil, here.field("slow_start_config"))
	case *clusterv3.Cluster_RoundRobinLbConfig_:
		here, l := wants(conf.RoundRobin, "round_robin_lb_config", "ROUND_ROBIN"), lb.RoundRobinLbConfig
		out.SlowStart = c.slowStart(l.GetSlowStartConfig(), l.GetSlowStartConfig() != nil, here.field("slow_start_config"))
	case *clusterv3.Cluster_RingHashLbConfig_:
		l := lb.RingHashLbConfig
		c.ring(l.GetMinimumRingSize(), l.GetMaximumRingSize(), l.GetHashFunction() == clusterv3.Cluster_RingHashLbConfig_MURMUR_HASH_2,
			wants(conf.RingHash, "ring_hash_lb_config", "RING_HASH"), out)
	case *clusterv3.Cluster_MaglevLbConfig_:
		c.maglev(lb.MaglevLbConfig.GetTableSize(), wants(conf.Maglev, "maglev_lb_config", "MAGLEV"), out)
	}
}

// provided checks that the balancer that a cluster type brings is used with that type, and only there.
func (c *compiler) provided(at place, out *conf.Cluster) {
	switch {
	case out.Type == conf.ClusterOriginalDst && out.LB != conf.ClusterProvided:
		c.errs.at(at, "an ORIGINAL_DST cluster needs lb_policy CLUSTER_PROVIDED")
	case out.Type == conf.ClusterDynamicForward && out.LB != conf.ClusterProvided:
		c.errs.at(at, "a dynamic forward proxy needs lb_policy CLUSTER_PROVIDED")
	case out.Type != conf.ClusterOriginalDst && out.Type != conf.ClusterDynamicForward && out.LB == conf.ClusterProvided:
		c.errs.at(at, "lb_policy CLUSTER_PROVIDED needs a cluster type that provides a balancer: ORIGINAL_DST, or dynamic_forward_proxy")
	case out.LB == conf.ClusterProvided && out.Subsets != nil:
		c.errs.at(at.field("lb_subset_config"), "excludes lb_policy CLUSTER_PROVIDED")
	}
}

func (c *compiler) maglev(size *wrapperspb.UInt64Value, at place, out *conf.Cluster) {
	if size == nil {
		return
	}
	out.MaglevTableSize = size.GetValue()
	if !big.NewInt(int64(size.GetValue())).ProbablyPrime(0) { // exact below 2^64
		c.errs.at(at.field("table_size"), "%d is not a prime", size.GetValue())
	}
}

func (c *compiler) ring(least, most *wrapperspb.UInt64Value, murmur bool, at place, out *conf.Cluster) {
	ring := &out.RingHash
	if least != nil {
		ring.MinimumSize = least.GetValue()
	}
	if most != nil {
		ring.MaximumSize = most.GetValue()
	}
	switch {
	case ring.MinimumSize == 0:
		c.errs.at(at.field("minimum_ring_size"), "must be greater than 0")
	case ring.MinimumSize > ring.MaximumSize:
		c.errs.at(at, "minimum_ring_size %d is greater than maximum_ring_size %d", ring.MinimumSize, ring.MaximumSize)
	}
	if murmur {
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
		LocalityAware: m.GetLocalityWeightAware(), ScaleLocality: m.GetScaleLocalityWeight(),
		MetadataFallback: m.GetMetadataFallbackPolicy() == clusterv3.Cluster_LbSubsetConfig_FALLBACK_LIST,
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
