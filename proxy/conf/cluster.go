package conf

import (
	"encoding/json"
	"net/netip"
	"time"
)

// ClusterType is Cluster.type.
type ClusterType uint8

// Discovery types (clusters.md 2).
const (
	ClusterStatic ClusterType = iota
	ClusterStrictDNS
	ClusterLogicalDNS
	ClusterOriginalDst
	ClusterDynamicForward // cluster_type envoy.clusters.dynamic_forward_proxy
)

// LBPolicy is Cluster.lb_policy.
type LBPolicy uint8

// Load balancing policies (clusters.md 3).
const (
	RoundRobin LBPolicy = iota
	LeastRequest
	Random
	RingHash
	Maglev
	ClusterProvided
)

// DNSFamily is Cluster.dns_lookup_family.
type DNSFamily uint8

// Address families to resolve.
const (
	DNSAuto DNSFamily = iota
	DNSV4Only
	DNSV6Only
	DNSV4Preferred
	DNSAll
)

// Cluster is config.cluster.v3.Cluster.
type Cluster struct {
	Name     string
	StatName string // alt_stat_name, else Name with ':' as '_'
	Type     ClusterType
	LB       LBPolicy
	// LeastRequestChoices is least_request_lb_config.choice_count; 2. LeastRequestFullScan looks at every
	// host instead (selection_method FULL_SCAN).
	LeastRequestChoices  uint32
	LeastRequestFullScan bool
	// LeastRequestBias is active_request_bias, the exponent of active requests where weights differ; 1.0.
	LeastRequestBias RuntimeDouble
	// SlowStart lets the share of new hosts grow; nil: off.
	SlowStart *SlowStart
	LBCommon
	RingHash        RingHashOptions
	MaglevTableSize uint64 // 65537; a prime
	// HashBalanceFactor bounds the load of a host to that percentage of the average
	// (consistent_hashing_lb_config.hash_balance_factor, 100 or more); 0 off.
	HashBalanceFactor uint32
	// HashByHostname is consistent_hashing_lb_config.use_hostname_for_hashing.
	HashByHostname bool
	// Subsets is lb_subset_config; nil: no subsets.
	Subsets   *Subsets
	Endpoints []*Endpoint

	ConnectTimeout                time.Duration // 5 s
	PerConnectionBufferLimitBytes uint32        // 1 MiB
	MaxRequestsPerConnection      int           // 0 unlimited
	// PreconnectRatio is how many requests there are connections for, for each that there is, on every loop
	// (preconnect_policy.per_upstream_preconnect_ratio, to 3); up to 1: for those alone. Not for TCP sessions.
	PreconnectRatio float64
	// IdleTimeout of pooled connections (common_http_protocol_options.idle_timeout); 1 h; 0 off.
	IdleTimeout           time.Duration
	MaxConnectionDuration time.Duration
	MaxStreamDuration     time.Duration
	MaxResponseHeadersKiB int // 80 on HTTP/1
	MaxHeadersCount       int // 100
	HTTP1                 HTTP1Options
	HTTP2                 HTTP2Options
	Protocol              UpstreamProtocol
	// AutoSNI makes the host of a request the SNI of its connection, AutoSANValidation what the certificate
	// must be for (upstream_http_protocol_options): that of the authority, or of the field SNIHeader (lower
	// case) where a request has it.
	AutoSNI, AutoSANValidation bool
	SNIHeader                  string

	// OriginalDst is for clusters of that type.
	OriginalDst *OriginalDstOptions
	// DNSCache is for clusters of the type dynamic_forward_proxy: the names they go to.
	DNSCache *DNSCache
	// HealthCheck probes each host; nil: a host is as healthy as its configuration says.
	HealthCheck *HealthCheck
	// Retry is HttpProtocolOptions.retry_policy, of requests whose route and virtual host have none (RT-78);
	// nil: none.
	Retry *RetryPolicy
	// DropOverload is the share of HTTP requests that are answered 503 in the cluster's place
	// (drop_overloads of load_assignment.policy); a numerator of 0: none.
	DropOverload Fraction
	// TrackTimeoutBudgets and TrackRequestResponseSizes are of track_cluster_stats: histograms that cost a
	// little for each attempt.
	TrackTimeoutBudgets, TrackRequestResponseSizes bool
	// Outlier ejects hosts that fail more than the others; nil: off.
	Outlier *OutlierDetection
	// CloseOnHealthFailure is close_connections_on_host_health_failure; DropUnhealthyOnRemoval is
	// ignore_health_on_host_removal.
	CloseOnHealthFailure, DropUnhealthyOnRemoval bool

	// Breakers holds the DEFAULT and the HIGH priority's limits.
	Breakers [2]Breaker

	DNSOptions
	WaitForWarm bool

	BindAddress netip.AddrPort // upstream_bind_config.source_address
	TCPKeepAlive

	// TLS encrypts each connection; nil: plain. SocketMatches go before it, the first that matches an
	// endpoint.
	TLS           *UpstreamTLS
	SocketMatches []TransportSocketMatch
	// ProxyProtocol begins each connection with a PROXY header, in plain also when TLS follows; nil: none.
	// TCP proxies only.
	ProxyProtocol *UpstreamProxyProtocol

	// Raw is the cluster as Envoy JSON; equal Raw means unchanged, so its connections and stats stay.
	Raw json.RawMessage
}

// DNSOptions say how names are resolved, and when again.
type DNSOptions struct {
	DNSRefreshRate        time.Duration // 5 s
	DNSFailureRefreshBase time.Duration // = refresh rate
	DNSFailureRefreshMax  time.Duration
	DNSJitter             time.Duration
	RespectDNSTTL         bool
	DNSFamily             DNSFamily
	// DNSResolvers are servers to ask; empty: the system's resolver.
	DNSResolvers []netip.AddrPort
	DNSUseTCP    bool
}

// TCPKeepAlive is upstream_connection_options.tcp_keepalive; zero values leave the kernel's.
type TCPKeepAlive struct {
	KeepAlive         bool
	KeepAliveProbes   uint32
	KeepAliveTime     time.Duration
	KeepAliveInterval time.Duration
}

// Endpoint is one LbEndpoint with its locality.
type Endpoint struct {
	Address  Address
	Hostname string
	Weight   uint32 // load_balancing_weight; 1
	// Health is the configured health_status: usable, degraded or not (clusters.md 2).
	Health                EndpointHealth
	Region, Zone, SubZone string
	// LocalityWeight is LocalityLbEndpoints.load_balancing_weight; 0: none.
	LocalityWeight uint32
	Priority       uint32
	Canary         bool
	// HealthCheck is health_check_config.
	HealthCheck EndpointHealthCheck
	// Metadata is the endpoint's envoy.lb metadata, SocketMetadata envoy.transport_socket_match; nil: none.
	Metadata       LBMetadata
	SocketMetadata LBMetadata
	// LocalitySocketMetadata is its locality's, which counts when nothing matches SocketMetadata.
	LocalitySocketMetadata LBMetadata
}

// RingHashFunction is RingHashLbConfig.hash_function.
type RingHashFunction uint8

// Hash functions of a ring.
const (
	XXHash RingHashFunction = iota
	MurmurHash2
)

// RingHashOptions is Cluster.RingHashLbConfig.
type RingHashOptions struct {
	MinimumSize, MaximumSize uint64 // 1024, 8 Mi
	Function                 RingHashFunction
}

// SubsetFallback says which hosts take a request whose criteria no subset has.
type SubsetFallback uint8

// Fallback policies (clusters.md 5); SubsetNotDefined and SubsetKeys are for selectors only.
const (
	SubsetNoFallback SubsetFallback = iota
	SubsetAnyEndpoint
	SubsetDefaultSubset
	SubsetKeys
	SubsetNotDefined
)

// Subsets is Cluster.LbSubsetConfig.
type Subsets struct {
	Fallback      SubsetFallback
	DefaultSubset LBMetadata
	Selectors     []SubsetSelector
	PanicModeAny  bool
	ListAsAny     bool
	// LocalityAware balances by locality weights within a subset, ScaleLocality scales them by the part
	// of the locality's hosts that the subset has.
	LocalityAware, ScaleLocality bool
	// MetadataFallback tries the criteria of the request's fallback_list, one after the other
	// (metadata_fallback_policy FALLBACK_LIST).
	MetadataFallback bool
}

// SubsetSelector makes a subset of each combination of values that endpoints have for its keys.
type SubsetSelector struct {
	Keys         []string // sorted, distinct
	Fallback     SubsetFallback
	FallbackKeys []string // SubsetKeys: a proper subset of Keys
	SingleHost   bool     // single_host_per_subset
}

// EndpointHealth is LbEndpoint.health_status reduced to what it means.
type EndpointHealth uint8

// Endpoint health.
const (
	EndpointHealthy EndpointHealth = iota
	EndpointDegraded
	EndpointUnhealthy
	// EndpointDraining is EndpointUnhealthy, and does not count among the hosts of its priority.
	EndpointDraining
)

// Breaker is one CircuitBreakers.Thresholds.
type Breaker struct {
	MaxConnections     uint32 // 1024
	MaxPendingRequests uint32 // 1024
	MaxRequests        uint32 // 1024
	MaxRetries         uint32 // 3
	// RetryBudget replaces MaxRetries; nil: it does not.
	RetryBudget        *RetryBudget
	MaxConnectionPools uint32 // unlimited
	TrackRemaining     bool
	// MaxConnectionsPerHost is per_host_thresholds.max_connections; 0 none. DEFAULT only.
	MaxConnectionsPerHost uint32
}

// RetryBudget is CircuitBreakers.Thresholds.RetryBudget.
type RetryBudget struct {
	Percent        float64 // 20
	MinConcurrency uint32  // 3
}

// Priorities index Cluster.Breakers.
const (
	PriorityDefault = 0
	PriorityHigh    = 1
)

// NewCluster returns a static round-robin cluster with Envoy's defaults.
func NewCluster(name string, addresses ...netip.AddrPort) *Cluster {
	const unlimited = 1<<32 - 1
	b := Breaker{MaxConnections: 1024, MaxPendingRequests: 1024, MaxRequests: 1024, MaxRetries: 3, MaxConnectionPools: unlimited}
	c := &Cluster{
		Name: name, StatName: name, LeastRequestChoices: 2, LeastRequestBias: RuntimeDouble{Value: 1},
		LBCommon: NewLBCommon(),
		HTTP2:    NewHTTP2Options(), RingHash: RingHashOptions{MinimumSize: 1024, MaximumSize: 8 << 20}, MaglevTableSize: 65537,
		ConnectTimeout: 5 * time.Second, PerConnectionBufferLimitBytes: 1 << 20,
		IdleTimeout: time.Hour, MaxResponseHeadersKiB: 80, MaxHeadersCount: 100,
		Breakers:    [2]Breaker{b, b},
		DNSOptions:  DNSOptions{DNSRefreshRate: 5 * time.Second, DNSFailureRefreshBase: 5 * time.Second, DNSFailureRefreshMax: 5 * time.Second},
		WaitForWarm: true,
	}
	for _, a := range addresses {
		c.Endpoints = append(c.Endpoints, &Endpoint{Address: Address{IP: a}, Weight: 1})
	}
	return c
}
