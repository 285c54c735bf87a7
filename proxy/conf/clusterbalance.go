package conf

import "time"

// LBCommon is Cluster.CommonLbConfig and the policy of the load assignment, as far as they say how much
// each priority and locality gets (clusters.md 4).
type LBCommon struct {
	// PanicThreshold is healthy_panic_threshold, percent; 50, 0: never panic.
	PanicThreshold float64
	// Overprovisioning is the assignment's overprovisioning_factor, percent; 140.
	Overprovisioning uint32
	// WeightedPriorityHealth counts hosts by weight (policy.weighted_priority_health).
	WeightedPriorityHealth bool
	// UpdateMergeWindow merges changes of health and weight; 1 s, 0: off.
	UpdateMergeWindow time.Duration
	// LocalityWeighted shares a priority out by the weights of its localities; ZoneAware prefers the zone
	// this process is in. At most one of both.
	LocalityWeighted bool
	ZoneAware        *ZoneAware
	// IgnoreNewUntilChecked leaves hosts out of all totals until their first health check.
	IgnoreNewUntilChecked bool
	// CloseOnHostChange is close_connections_on_host_set_change.
	CloseOnHostChange bool
}

// NewLBCommon returns Envoy's defaults.
func NewLBCommon() LBCommon {
	return LBCommon{PanicThreshold: 50, Overprovisioning: 140, UpdateMergeWindow: time.Second}
}

// ZoneAware is CommonLbConfig.ZoneAwareLbConfig.
type ZoneAware struct {
	RoutingEnabled float64 // percent; 100
	MinClusterSize uint64  // 6
	// FailOnPanic fails requests in a panic (fail_traffic_on_panic).
	FailOnPanic bool
	// ForceLocal keeps to the local zone whatever the others have (force_local_zone), while it has
	// ForceLocalMinSize hosts.
	ForceLocal        bool
	ForceLocalMinSize uint32 // 1
}

// RuntimeDouble is core.v3.RuntimeDouble.
type RuntimeDouble struct {
	Value float64
	Key   string // empty: no runtime key
}

// SlowStart is Cluster.SlowStartConfig (CL-14).
type SlowStart struct {
	Window     time.Duration
	Aggression RuntimeDouble // 1.0
	MinPercent float64       // 10
}

// OriginalDstOptions is Cluster.OriginalDstLbConfig: where a request or connection says it wants to go.
type OriginalDstOptions struct {
	// UseHTTPHeader takes the address from HTTPHeader (lower case), if a request has it.
	UseHTTPHeader bool
	HTTPHeader    string
	// MetadataNamespace and MetadataKey say which dynamic metadata has the address; empty: none.
	MetadataNamespace, MetadataKey string
	PortOverride                   uint16 // 0: none
	// CleanupInterval is after how long without use a host goes; 5 s.
	CleanupInterval time.Duration
}
