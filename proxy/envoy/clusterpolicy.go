//lint:file-ignore SA1019 deprecated fields are still common in configuration files

package envoy

import (
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	providedv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/cluster_provided/v3"
	commonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/common/v3"
	leastv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/least_request/v3"
	maglevv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/maglev/v3"
	randomv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/random/v3"
	ringv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/ring_hash/v3"
	roundv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/round_robin/v3"
	subsetv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/subset/v3"
	wrrv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/wrr_locality/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// policy compiles load_balancing_policy, which takes the place of lb_policy and what belongs to it: the
// first entry of the list that is supported counts.
func (c *compiler) policy(m *clusterv3.LoadBalancingPolicy, at place, out *conf.Cluster) {
	for i, p := range m.GetPolicies() {
		here := at.field("policies").index(i).field("typed_extension_config").field("typed_config")
		packed := p.GetTypedExtensionConfig().GetTypedConfig()
		if packed == nil {
			c.errs.at(at.field("policies").index(i), "typed_extension_config.typed_config is required")
			return
		}
		payload := c.unpack(packed, here)
		if _, other := payload.(*structpb.Struct); other {
			c.warn(here, "is passed over: not supported; supported: %s", alternatives(shortPolicies))
			continue
		}
		c.onePolicy(payload, here, out)
		return
	}
	c.errs.at(at, "none of the policies is supported; supported: %s", alternatives(shortPolicies))
}

var shortPolicies = []string{"round_robin", "least_request", "random", "ring_hash", "maglev", "subset", "wrr_locality", "cluster_provided"}

func (c *compiler) onePolicy(payload proto.Message, here place, out *conf.Cluster) {
	switch p := payload.(type) {
	case *roundv3.RoundRobin:
		out.LB = conf.RoundRobin
		out.SlowStart = c.slowStart(p.GetSlowStartConfig(), p.GetSlowStartConfig() != nil, here.field("slow_start_config"))
		c.localityPolicy(p.GetLocalityLbConfig(), here.field("locality_lb_config"), out)
	case *leastv3.LeastRequest:
		out.LB = conf.LeastRequest
		out.LeastRequestChoices = number(p.GetChoiceCount(), out.LeastRequestChoices)
		out.LeastRequestFullScan = p.GetSelectionMethod() == leastv3.LeastRequest_FULL_SCAN || p.GetEnableFullScan().GetValue()
		c.runtimeDouble(p.GetActiveRequestBias(), here.field("active_request_bias"), &out.LeastRequestBias)
		out.SlowStart = c.slowStart(p.GetSlowStartConfig(), p.GetSlowStartConfig() != nil, here.field("slow_start_config"))
		c.localityPolicy(p.GetLocalityLbConfig(), here.field("locality_lb_config"), out)
	case *randomv3.Random:
		out.LB = conf.Random
		c.localityPolicy(p.GetLocalityLbConfig(), here.field("locality_lb_config"), out)
	case *ringv3.RingHash:
		out.LB = conf.RingHash
		c.ring(p.GetMinimumRingSize(), p.GetMaximumRingSize(), p.GetHashFunction() == ringv3.RingHash_MURMUR_HASH_2, here, out)
		out.HashByHostname, out.HashBalanceFactor = p.GetUseHostnameForHashing(), number(p.GetHashBalanceFactor(), 0)
		c.consistent(p.GetConsistentHashingLbConfig(), out)
		out.LocalityWeighted = p.GetLocalityWeightedLbConfig() != nil
	case *maglevv3.Maglev:
		out.LB = conf.Maglev
		c.maglev(p.GetTableSize(), here, out)
		c.consistent(p.GetConsistentHashingLbConfig(), out)
		out.LocalityWeighted = p.GetLocalityWeightedLbConfig() != nil
	case *subsetv3.Subset:
		c.policy(p.GetSubsetLbPolicy(), here.field("subset_lb_policy"), out)
		out.Subsets = c.subsets(olderSubset(p), here)
	case *wrrv3.WrrLocality:
		c.policy(p.GetEndpointPickingPolicy(), here.field("endpoint_picking_policy"), out)
		out.LocalityWeighted = true
	case *providedv3.ClusterProvided:
		out.LB = conf.ClusterProvided
	}
}

// olderSubset is the message of Cluster.lb_subset_config with the same fields, which have the same numbers.
func olderSubset(m *subsetv3.Subset) *clusterv3.Cluster_LbSubsetConfig {
	out := new(clusterv3.Cluster_LbSubsetConfig)
	only := proto.Clone(m).(*subsetv3.Subset)
	only.SubsetLbPolicy, only.AllowRedundantKeys = nil, false
	if b, err := proto.Marshal(only); err == nil {
		_ = proto.Unmarshal(b, out)
	}
	return out
}

func (c *compiler) consistent(m *commonv3.ConsistentHashingLbConfig, out *conf.Cluster) {
	if m == nil {
		return
	}
	out.HashByHostname = m.GetUseHostnameForHashing()
	out.HashBalanceFactor = number(m.GetHashBalanceFactor(), out.HashBalanceFactor)
}

func (c *compiler) localityPolicy(m *commonv3.LocalityLbConfig, at place, out *conf.Cluster) {
	switch l := m.GetLocalityConfigSpecifier().(type) {
	case *commonv3.LocalityLbConfig_LocalityWeightedLbConfig_:
		out.LocalityWeighted = true
	case *commonv3.LocalityLbConfig_ZoneAwareLbConfig_:
		out.ZoneAware = c.zoneAware(l.ZoneAwareLbConfig, at.field("zone_aware_lb_config"))
		if force := l.ZoneAwareLbConfig.GetForceLocalZone(); force != nil {
			out.ZoneAware.ForceLocal, out.ZoneAware.ForceLocalMinSize = true, number(force.GetMinSize(), 1)
		}
		if l.ZoneAwareLbConfig.GetForceLocalityDirectRouting() && !out.ZoneAware.ForceLocal {
			out.ZoneAware.ForceLocal, out.ZoneAware.ForceLocalMinSize = true, 1
		}
	}
}

type zoneAwareMessage interface {
	GetRoutingEnabled() *typev3.Percent
	GetMinClusterSize() *wrapperspb.UInt64Value
	GetFailTrafficOnPanic() bool
}

func (c *compiler) zoneAware(m zoneAwareMessage, _ place) *conf.ZoneAware {
	out := &conf.ZoneAware{RoutingEnabled: 100, MinClusterSize: 6, FailOnPanic: m.GetFailTrafficOnPanic()}
	if p := m.GetRoutingEnabled(); p != nil {
		out.RoutingEnabled = p.GetValue()
	}
	if n := m.GetMinClusterSize(); n != nil {
		out.MinClusterSize = n.GetValue()
	}
	return out
}

type slowStartMessage interface {
	GetSlowStartWindow() *durationpb.Duration
	GetAggression() *corev3.RuntimeDouble
	GetMinWeightPercent() *typev3.Percent
}

// slowStart compiles slow_start_config (CL-14).
func (c *compiler) slowStart(m slowStartMessage, there bool, at place) *conf.SlowStart {
	if !there {
		return nil
	}
	out := &conf.SlowStart{Window: c.duration(m.GetSlowStartWindow(), at.field("slow_start_window"), 0), Aggression: conf.RuntimeDouble{Value: 1}, MinPercent: 10}
	c.runtimeDouble(m.GetAggression(), at.field("aggression"), &out.Aggression)
	if out.Aggression.Value <= 0 {
		c.errs.at(at.field("aggression"), "must be greater than 0")
	}
	if p := m.GetMinWeightPercent(); p != nil {
		out.MinPercent = p.GetValue()
	}
	if out.Window < time.Millisecond {
		return nil
	}
	return out
}

func (c *compiler) runtimeDouble(m *corev3.RuntimeDouble, at place, out *conf.RuntimeDouble) {
	if m == nil {
		return
	}
	*out = conf.RuntimeDouble{Value: m.GetDefaultValue(), Key: m.GetRuntimeKey()}
	if m.GetDefaultValue() < 0 {
		c.errs.at(at.field("default_value"), "must not be negative")
	}
}

// commonBalancing compiles common_lb_config and the policy of the load assignment (clusters.md 4).
func (c *compiler) commonBalancing(m *clusterv3.Cluster, at place, out *conf.Cluster) {
	common, here := m.GetCommonLbConfig(), at.field("common_lb_config")
	if p := common.GetHealthyPanicThreshold(); p != nil {
		out.PanicThreshold = p.GetValue()
	}
	out.UpdateMergeWindow = c.duration(common.GetUpdateMergeWindow(), here.field("update_merge_window"), out.UpdateMergeWindow)
	out.IgnoreNewUntilChecked = common.GetIgnoreNewHostsUntilFirstHc()
	out.CloseOnHostChange = common.GetCloseConnectionsOnHostSetChange()
	switch l := common.GetLocalityConfigSpecifier().(type) {
	case *clusterv3.Cluster_CommonLbConfig_LocalityWeightedLbConfig_:
		out.LocalityWeighted = true
	case *clusterv3.Cluster_CommonLbConfig_ZoneAwareLbConfig_:
		out.ZoneAware = c.zoneAware(l.ZoneAwareLbConfig, here.field("zone_aware_lb_config"))
	}
	policy := m.GetLoadAssignment().GetPolicy()
	out.Overprovisioning = number(policy.GetOverprovisioningFactor(), out.Overprovisioning)
	out.WeightedPriorityHealth = policy.GetWeightedPriorityHealth()
	drops := at.field("load_assignment").field("policy").field("drop_overloads")
	for i, d := range policy.GetDropOverloads() {
		if i > 0 {
			c.errs.at(drops.index(i), "not supported: more than one; add up their shares")
			break
		}
		out.DropOverload = fraction(d.GetDropPercentage())
	}
}
