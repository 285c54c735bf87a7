package conf

import (
	"maps"
	"slices"
	"time"
)

// HTTPFilter is one of a connection manager's http_filters but the router, which is always the last one.
type HTTPFilter struct {
	// Name is what typed_per_filter_config calls it, and what an embedder's is registered by.
	Name string
	// Disabled filters are only there for routes that have a configuration for them.
	Disabled bool
	// Config is one of the filter configurations of this package, a pointer; nil: an embedder's.
	Config any
}

// FilterConfig is what a route, a virtual host, or a route configuration says of one filter
// (typed_per_filter_config).
type FilterConfig struct {
	// Disabled takes the filter out of the chain (FilterConfig.disabled).
	Disabled bool
	// Optional says that the filter need not be in the chain, or be one that is known.
	Optional bool
	// Config is for the filter: one of the filter configurations of this package, a pointer, or what an
	// embedder's filter understands. nil: only Disabled counts.
	Config any
}

// FilterConfigs are the FilterConfigs of one level by the filter's name.
type FilterConfigs map[string]*FilterConfig

// BufferFilter is envoy.filters.http.buffer, and with Disabled its configuration for routes.
type BufferFilter struct {
	MaxRequestBytes uint32
	Disabled        bool // routes only
}

// HeaderMutationFilter is envoy.filters.http.header_mutation, for a chain and for routes.
type HeaderMutationFilter struct {
	Request, Response []HeaderMutation
	// MostSpecificWins applies the configurations of routes from the least to the most specific, which
	// then overrides; else the other way round. For a chain.
	MostSpecificWins bool
}

// HeaderMutation is common.mutation_rules.v3.HeaderMutation: one of the two.
type HeaderMutation struct {
	Remove string       // lower case
	Add    *HeaderValue // Value is a format string
}

// DynamicForwardFilter is envoy.filters.http.dynamic_forward_proxy.
type DynamicForwardFilter struct {
	// Cache must be that of the clusters that requests go to.
	Cache *DNSCache
	// SaveAddress leaves the address of the host in the filter state (save_upstream_address).
	SaveAddress bool
	// HostFromState takes envoy.upstream.dynamic_host and dynamic_port of the filter state first
	// (allow_dynamic_host_from_filter_state).
	HostFromState bool
}

// DynamicForwardRoute is its configuration for routes: what the authority becomes before the look-up. One of
// the two; the zero value says nothing.
type DynamicForwardRoute struct {
	HostRewrite       string
	HostRewriteHeader string // lower case
}

// CORSFilter is envoy.filters.http.cors. What is allowed is said by routes.
type CORSFilter struct{}

// CORSPolicy is filters.http.cors.v3.CorsPolicy, for routes. Texts are those of the headers.
type CORSPolicy struct {
	AllowOrigins                              []StringMatcher
	AllowMethods, AllowHeaders, ExposeHeaders string
	MaxAge                                    string
	AllowCredentials, AllowPrivateNetwork     bool
	// Enabled is filter_enabled, nil always; Shadow is shadow_enabled, nil never.
	Enabled, Shadow *RuntimeFraction
	// ForwardPreflights passes preflight requests of other origins on (forward_not_matching_preflights, true).
	ForwardPreflights bool
}

// FaultFilter is envoy.filters.http.fault, for a chain and for routes.
type FaultFilter struct {
	Delay *FaultDelay
	Abort *FaultAbort
	// RateLimit is response_rate_limit.
	RateLimit *FaultRateLimit
	// A request is subject to faults when it goes to UpstreamCluster, unless empty, comes from one of
	// DownstreamNodes, unless empty, and has the headers.
	UpstreamCluster string
	DownstreamNodes []string
	Headers         []*HeaderMatcher
	// MaxActive is max_active_faults, of all loops together; HasMaxActive says whether there is a limit.
	MaxActive    uint32
	HasMaxActive bool
	// Runtime are the keys that override what is here; FaultRuntime's defaults are Envoy's.
	Runtime FaultRuntime
}

// FaultRuntime are the runtime keys of a fault filter.
type FaultRuntime struct {
	DelayPercent, DelayDuration, AbortPercent, AbortStatus, AbortGRPC, MaxActive, RateLimitPercent string
}

// NewFaultRuntime returns the keys that hold unless others are configured.
func NewFaultRuntime() FaultRuntime {
	return FaultRuntime{
		DelayPercent: "fault.http.delay.fixed_delay_percent", DelayDuration: "fault.http.delay.fixed_duration_ms",
		AbortPercent: "fault.http.abort.abort_percent", AbortStatus: "fault.http.abort.http_status", AbortGRPC: "fault.http.abort.grpc_status",
		MaxActive: "fault.http.max_active_faults", RateLimitPercent: "fault.http.rate_limit.response_percent",
	}
}

// FaultDelay is FaultDelay; ByHeader takes x-envoy-fault-delay-request.
type FaultDelay struct {
	Fixed    time.Duration
	ByHeader bool
	Percent  Fraction
}

// FaultAbort is FaultAbort: a status, or a gRPC status, or ByHeader those of x-envoy-fault-abort-request
// and x-envoy-fault-abort-grpc-request.
type FaultAbort struct {
	Status   uint16
	GRPC     uint32
	HasGRPC  bool
	ByHeader bool
	Percent  Fraction
}

// FaultRateLimit is FaultRateLimit; ByHeader takes x-envoy-fault-throughput-response.
type FaultRateLimit struct {
	KiBPerSecond uint64
	ByHeader     bool
	Percent      Fraction
}

// TokenBucket is type.v3.TokenBucket.
type TokenBucket struct {
	MaxTokens, TokensPerFill uint32
	FillInterval             time.Duration // 50 ms or more
}

// LocalRateLimitFilter is envoy.filters.http.local_ratelimit, for a chain and for routes.
type LocalRateLimitFilter struct {
	StatPrefix string
	Status     uint16 // 429
	Bucket     *TokenBucket
	// Enabled and Enforced are never unless configured, as in Envoy.
	Enabled, Enforced RuntimeFraction
	// AddWhenNotEnforced is request_headers_to_add_when_not_enforced, AddToResponse
	// response_headers_to_add.
	AddWhenNotEnforced, AddToResponse []HeaderValue
	Descriptors                       []RateLimitDescriptor
	// Limits make the request's descriptors (rate_limits).
	Limits []RateLimit
	// PerConnection gives each downstream connection buckets of its own.
	PerConnection bool
	// AlwaysDefault takes from Bucket also when a descriptor has one (always_consume_default_token_bucket).
	AlwaysDefault bool
	// XRateLimit adds x-ratelimit-* headers (DRAFT_VERSION_03).
	XRateLimit bool
	// ResourceExhausted answers gRPC with RESOURCE_EXHAUSTED instead of UNAVAILABLE.
	ResourceExhausted bool
}

// RateLimitDescriptor is common.ratelimit.v3.LocalRateLimitDescriptor: a bucket for requests of which
// one descriptor is Entries.
type RateLimitDescriptor struct {
	Entries []RateLimitEntry
	Bucket  TokenBucket
}

// RateLimitEntry is one part of a descriptor.
type RateLimitEntry struct{ Key, Value string }

// RateLimit is config.route.v3.RateLimit: each makes one descriptor of its actions, or none when one of
// them has nothing to say.
type RateLimit struct{ Actions []RateLimitAction }

// RateLimitActionKind tells the members of RateLimitAction apart.
type RateLimitActionKind uint8

// Actions.
const (
	RateLimitGenericKey RateLimitActionKind = iota
	RateLimitRequestHeader
	RateLimitRemoteAddress
	RateLimitHeaderValueMatch
	RateLimitSourceCluster
	RateLimitDestinationCluster
)

// RateLimitAction is RateLimit.Action.
type RateLimitAction struct {
	Kind RateLimitActionKind
	// Key is the entry's; Value that of generic_key and header_value_match.
	Key, Value string
	Header     string // lower case, of request_headers
	SkipAbsent bool
	Headers    []*HeaderMatcher
	Expect     bool // expect_match
}

// HealthCheckFilter is envoy.filters.http.health_check.
type HealthCheckFilter struct {
	PassThrough bool
	CacheTime   time.Duration
	Headers     []*HeaderMatcher
	// MinHealthy are percentages by cluster.
	MinHealthy []ClusterPercentage
}

// ClusterPercentage is one of cluster_min_healthy_percentages.
type ClusterPercentage struct {
	Cluster string
	Percent float64
}

// HTTPRBAC is envoy.filters.http.rbac, for a chain and, without the prefixes, for routes.
type HTTPRBAC struct {
	Rules, ShadowRules                     *RBAC // nil: none
	RulesStatPrefix, ShadowRulesStatPrefix string
}

// AllRoutes returns the virtual host's routes, or those of its Matcher, in the order of the text.
func (vh *VirtualHost) AllRoutes() []*Route {
	if vh.Matcher == nil {
		return vh.Routes
	}
	return vh.Matcher.appendRoutes(nil)
}

func (t *MatchTree) appendRoutes(out []*Route) []*Route {
	for i := range t.List {
		out = t.List[i].Outcome.appendRoutes(out)
	}
	if t.Map != nil {
		for _, key := range slices.Sorted(maps.Keys(t.Map.Outcomes)) {
			o := t.Map.Outcomes[key]
			out = o.appendRoutes(out)
		}
	}
	if t.Otherwise != nil {
		out = t.Otherwise.appendRoutes(out)
	}
	return out
}

func (o *MatchOutcome) appendRoutes(out []*Route) []*Route {
	if o.Tree != nil {
		out = o.Tree.appendRoutes(out)
	}
	return append(out, o.Routes...)
}
