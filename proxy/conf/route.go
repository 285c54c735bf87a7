package conf

import (
	"encoding/json"
	"time"
)

// RouteConfiguration is config.route.v3.RouteConfiguration.
type RouteConfiguration struct {
	Name         string
	VirtualHosts []*VirtualHost
	Headers      HeaderMutations
	Mirrors      []MirrorPolicy // of routes and virtual hosts without any
	// InternalOnlyHeaders are lower-case names removed from external requests (RT-90).
	InternalOnlyHeaders        []string
	MostSpecificMutationsWin   bool
	IgnorePortInHostMatching   bool
	IgnorePathParameters       bool
	MaxDirectResponseBodyBytes int // 4096
	VirtualHostHeader          string
	ValidateClusters           bool
	// Filters, here and below, is typed_per_filter_config.
	Filters FilterConfigs
	// Raw is the configuration as Envoy JSON, for /config_dump.
	Raw json.RawMessage
}

// TLSRequirement is VirtualHost.require_tls.
type TLSRequirement uint8

// TLS requirements (routing.md 5).
const (
	TLSNone TLSRequirement = iota
	TLSExternalOnly
	TLSAll
)

// VirtualHost is config.route.v3.VirtualHost. It has Routes or a Matcher.
type VirtualHost struct {
	Name       string
	Domains    []string
	Routes     []*Route
	Matcher    *MatchTree // nil: Routes
	RequireTLS TLSRequirement
	Headers    HeaderMutations
	// VirtualClusters give some requests statistics of their own; the first that matches counts.
	VirtualClusters []*VirtualCluster
	// IncludeRequestAttemptCount sets x-envoy-attempt-count upstream; InResponse downstream.
	IncludeRequestAttemptCount    bool
	IncludeAttemptCountInResponse bool
	Filters                       FilterConfigs
	// IncludeTimeoutRetry sets x-envoy-is-timeout-retry on retries.
	IncludeTimeoutRetry bool
	RoutePolicies
}

// VirtualCluster is config.route.v3.VirtualCluster.
type VirtualCluster struct {
	Name    string
	Headers []*HeaderMatcher // at least one
}

// Route is config.route.v3.Route; exactly one of Action, Redirect and Direct is set.
type Route struct {
	Name string
	// StatPrefix gives the route statistics of its own; empty: none.
	StatPrefix string

	Match    RouteMatch
	Action   *RouteAction
	Redirect *RedirectAction
	Direct   *DirectResponse
	Headers  HeaderMutations
	Filters  FilterConfigs
	RoutePolicies
}

// RouteAction forwards to a cluster.
type RouteAction struct {
	// Cluster is the name; ClusterHeader the lower-case header that holds it; Weighted has several. One of
	// the three.
	Cluster       string
	ClusterHeader string
	Weighted      *WeightedClusters
	// MetadataMatch are the subset criteria that come with the route.
	MetadataMatch LBMetadata
	// HashPolicies say what a request is hashed by, in order.
	HashPolicies []HashPolicy
	// NotFoundStatus is cluster_not_found_response_code: 503, 404 or 500.
	NotFoundStatus uint16
	// Timeout is 15 s by default; 0 off.
	Timeout time.Duration
	// IdleTimeout overrides the manager's stream_idle_timeout when HasIdleTimeout.
	IdleTimeout    time.Duration
	HasIdleTimeout bool
	// MaxStreamDuration overrides the manager's when HasMaxStreamDuration; the route timeout then only comes from headers (RT-77).
	MaxStreamDuration    time.Duration
	HasMaxStreamDuration bool
	// NewTimeouts: max_stream_duration is there, with or without a duration of its own (RT-77).
	NewTimeouts bool
	// GRPCTimeoutMax is max_stream_duration.grpc_timeout_header_max: grpc-timeout, cut to this (0: as it
	// is) and GRPCTimeoutOffset less, is the stream's longest duration. nil: grpc-timeout is not read.
	GRPCTimeoutMax    *time.Duration
	GRPCTimeoutOffset time.Duration
	// MaxGRPCTimeout is the older max_grpc_timeout: grpc-timeout, MaxGRPCTimeoutOffset less where it is more
	// than that, and cut to this (0: as it is), is the Timeout of gRPC requests. nil: not read.
	MaxGRPCTimeout       *time.Duration
	MaxGRPCTimeoutOffset time.Duration
	// FlushTimeout is how long a whole response may wait for the client to take it when HasFlushTimeout.
	FlushTimeout    time.Duration
	HasFlushTimeout bool

	// At most one of these four rewrites the path.
	PrefixRewrite       string
	RegexRewrite        *RegexRewrite
	PathTemplateRewrite string // of a PathTemplate match
	PathRewrite         string // format string

	// At most one of these five rewrites the host.
	HostRewriteLiteral   string
	AutoHostRewrite      bool
	HostRewriteHeader    string
	HostRewritePathRegex *RegexRewrite
	HostRewrite          string // format string

	AppendXForwardedHost bool
	// HighPriority selects the HIGH circuit breakers and connections (RT-79).
	HighPriority bool

	// Upgrades are upgrade_configs; their types are distinct.
	Upgrades []RouteUpgrade
}

// RouteUpgrade is RouteAction.UpgradeConfig.
type RouteUpgrade struct {
	Type     string // lower case
	Disabled bool   // enabled: false
	// Connect makes the route's cluster get the payload of CONNECT as bare TCP; nil: the request goes on.
	// For UpgradeConnect only.
	Connect *ConnectConfig
}

// ConnectConfig is RouteAction.UpgradeConfig.ConnectConfig.
type ConnectConfig struct {
	// ProxyProtocol begins each connection with a PROXY header; nil: none.
	ProxyProtocol *UpstreamProxyProtocol
	AllowPost     bool
}

// NewRouteAction returns an action with Envoy's defaults.
func NewRouteAction(cluster string) *RouteAction {
	return &RouteAction{Cluster: cluster, NotFoundStatus: 503, Timeout: 15 * time.Second}
}

// WeightedClusters is config.route.v3.WeightedCluster.
type WeightedClusters struct {
	Clusters []RouteCluster
	// RuntimeKeyPrefix and a cluster's name, with a dot between, are the runtime key of its weight.
	RuntimeKeyPrefix string
	// HeaderName is the lower-case header whose number chooses; UseHashPolicy has the route's hash choose.
	// At most one of them; without, and where there is no such value, it is random.
	HeaderName    string
	UseHashPolicy bool
}

// RouteCluster is config.route.v3.WeightedCluster.ClusterWeight.
type RouteCluster struct {
	Filters             FilterConfigs // typed_per_filter_config
	Name, ClusterHeader string        // one of the two
	Weight              uint32
	MetadataMatch       LBMetadata // over the route's
	Headers             HeaderMutations
	HostRewriteLiteral  string
}

// HashInput is what a HashPolicy hashes.
type HashInput uint8

// Inputs of hash policies (routing.md 13).
const (
	HashHeader HashInput = iota
	HashCookie
	HashRemoteIP
	HashQueryParameter
	HashState
)

// HashPolicy is config.route.v3.RouteAction.HashPolicy.
type HashPolicy struct {
	Input HashInput
	// Name is the header (lower case), cookie, query parameter or key of filter state.
	Name string
	// Rewrite changes each value of a header first; nil: as they are.
	Rewrite *RegexRewrite
	// Generate makes a cookie for a client that has none, TTL its Max-Age (0: none), Path and Attributes
	// what else it says.
	Generate   bool
	TTL        time.Duration
	CookiePath string
	Attributes [][2]string
	// Terminal ends the evaluation when there is a hash.
	Terminal bool
}

// RedirectAction answers with a Location (routing.md 8).
type RedirectAction struct {
	HTTPS         bool
	Scheme        string
	Host          string
	Port          uint16
	Path          string // path_redirect
	PrefixRewrite string
	HasPrefix     bool
	RegexRewrite  *RegexRewrite
	PathRewrite   string // format string
	StatusCode    uint16 // 301 by default
	StripQuery    bool
}

// DirectResponse answers without an upstream (routing.md 9).
type DirectResponse struct {
	Status uint16
	Body   []byte
	// BodyFormat renders the body, in which %LOCAL_REPLY_BODY% is Body; nil: Body as it is.
	BodyFormat *Format
}

// AppendAction is HeaderValueOption.append_action.
type AppendAction uint8

// Append actions (routing.md 11).
const (
	AppendIfExistsOrAdd AppendAction = iota
	AddIfAbsent
	OverwriteIfExistsOrAdd
	OverwriteIfExists
)

// HeaderValue is one header to add; Value is a format string.
type HeaderValue struct {
	Name      string // lower case
	Value     string
	Action    AppendAction
	KeepEmpty bool
}

// HeaderMutations are the four lists of one level.
type HeaderMutations struct {
	RequestAdd     []HeaderValue
	RequestRemove  []string // lower case
	ResponseAdd    []HeaderValue
	ResponseRemove []string
}

// Empty says whether there is nothing to do.
func (m *HeaderMutations) Empty() bool {
	return len(m.RequestAdd)+len(m.RequestRemove)+len(m.ResponseAdd)+len(m.ResponseRemove) == 0
}
