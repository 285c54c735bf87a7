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

// VirtualHost is config.route.v3.VirtualHost.
type VirtualHost struct {
	Name       string
	Domains    []string
	Routes     []*Route
	RequireTLS TLSRequirement
	Headers    HeaderMutations
	// IncludeRequestAttemptCount sets x-envoy-attempt-count upstream; InResponse downstream.
	IncludeRequestAttemptCount    bool
	IncludeAttemptCountInResponse bool
	Filters                       FilterConfigs
}

// Route is config.route.v3.Route; exactly one of Action, Redirect and Direct is set.
type Route struct {
	Name     string
	Match    RouteMatch
	Action   *RouteAction
	Redirect *RedirectAction
	Direct   *DirectResponse
	Headers  HeaderMutations
	Filters  FilterConfigs
}

// PathKind is which path specifier a RouteMatch uses.
type PathKind uint8

// Path specifiers (RT-41).
const (
	PathPrefix PathKind = iota
	PathExact
	PathSeparatedPrefix
)

// RouteMatch is config.route.v3.RouteMatch.
type RouteMatch struct {
	Kind            PathKind
	Path            string
	CaseInsensitive bool // case_sensitive: false
	Headers         []*HeaderMatcher
	QueryParameters []*QueryMatcher
}

// StringMatchKind is which form a StringMatcher has.
type StringMatchKind uint8

// String matchers.
const (
	MatchExact StringMatchKind = iota
	MatchPrefix
	MatchSuffix
	MatchContains
	MatchRegex // RE2, full match
	MatchPresent
	MatchAbsent
	MatchRange // int64, Start <= v < End
)

// HeaderMatcher is config.route.v3.HeaderMatcher.
type HeaderMatcher struct {
	Name                string // lower case; ":method" and friends allowed
	Kind                StringMatchKind
	Value               string
	IgnoreCase          bool
	Start, End          int64
	Invert              bool
	TreatMissingAsEmpty bool
}

// QueryMatcher is config.route.v3.QueryParameterMatcher.
type QueryMatcher struct {
	Name       string
	Kind       StringMatchKind
	Value      string
	IgnoreCase bool
}

// RouteAction forwards to a cluster.
type RouteAction struct {
	// Cluster is the name; ClusterHeader the lower-case header that holds it. One of the two.
	Cluster       string
	ClusterHeader string
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

	PrefixRewrite        string
	HostRewriteLiteral   string
	AutoHostRewrite      bool
	HostRewriteHeader    string
	AppendXForwardedHost bool
	// HighPriority selects the HIGH circuit breakers and connections (RT-79).
	HighPriority bool
}

// NewRouteAction returns an action with Envoy's defaults.
func NewRouteAction(cluster string) *RouteAction {
	return &RouteAction{Cluster: cluster, NotFoundStatus: 503, Timeout: 15 * time.Second}
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
	StatusCode    uint16 // 301 by default
	StripQuery    bool
}

// DirectResponse answers without an upstream (routing.md 9).
type DirectResponse struct {
	Status uint16
	Body   []byte
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
