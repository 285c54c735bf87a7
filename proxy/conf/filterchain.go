package conf

import (
	"net/netip"
	"slices"
	"time"
)

// FilterChain is what a connection runs through (listener.v3.FilterChain): network filters, then one
// terminal filter.
type FilterChain struct {
	Name  string
	Match FilterChainMatch
	// Filters run on each new connection before the terminal filter, in order.
	Filters []NetworkFilter
	// HTTP, TCP or Generic is the terminal filter; exactly one is set.
	HTTP    *HTTPConnectionManager
	TCP     *TCPProxy
	Generic *GenericProxy
	// TLS ends TLS here; nil: the connection is plain.
	TLS *DownstreamTLS
	// TransportSocketConnectTimeout bounds a TLS handshake; 0 off.
	TransportSocketConnectTimeout time.Duration
}

// SourceType is FilterChainMatch.source_type.
type SourceType uint8

// Source types.
const (
	SourceAny SourceType = iota
	SourceLocal
	SourceExternal
)

// Transport protocols a listener filter can find (FilterChainMatch.transport_protocol).
const (
	TransportTLS       = "tls"
	TransportRawBuffer = "raw_buffer"
)

// FilterChainMatch says which connections a chain takes (TCP-80). Empty lists and zero values match
// anything; the zero value matches every connection.
type FilterChainMatch struct {
	DestinationPort      uint16
	DestinationPrefixes  []netip.Prefix // masked
	ServerNames          []string       // lower case; "*.suffix" allowed
	TransportProtocol    string
	ApplicationProtocols []string
	DirectSourcePrefixes []netip.Prefix
	SourceType           SourceType
	SourcePrefixes       []netip.Prefix
	SourcePorts          []uint16
}

// ListenerFilter is one of Listener.listener_filters; exactly one member is set.
type ListenerFilter struct {
	TLSInspector  *TLSInspector
	HTTPInspector *HTTPInspector
	ProxyProtocol *ProxyProtocol
	OriginalDst   *OriginalDst
}

// TLSInspector is envoy.filters.listener.tls_inspector.
type TLSInspector struct {
	// MaxClientHelloBytes is max_client_hello_size; 16 KiB.
	MaxClientHelloBytes uint32
	JA3, JA4            bool // enable_ja3_fingerprinting, enable_ja4_fingerprinting
	// CloseOnParseErrors is close_connection_on_client_hello_parsing_errors.
	CloseOnParseErrors bool
}

// HTTPInspector is envoy.filters.listener.http_inspector; it has no fields.
type HTTPInspector struct{}

// OriginalDst is envoy.filters.listener.original_dst; it has no fields that apply here.
type OriginalDst struct{}

// ProxyProtocol is envoy.filters.listener.proxy_protocol.
type ProxyProtocol struct {
	StatPrefix string
	// AllowWithout is allow_requests_without_proxy_protocol.
	AllowWithout bool
	Rules        []TLVRule
	// InFilterState stores the values of Rules in filter state instead of dynamic metadata (tlv_location).
	InFilterState bool
	// PassThrough keeps TLVs for an upstream PROXY header (pass_through_tlvs).
	PassThrough TLVMatch
	// DisallowV1 and DisallowV2 are disallowed_versions.
	DisallowV1, DisallowV2 bool
}

// TLVRule stores the value of one type of TLV under a name (ProxyProtocol.Rule).
type TLVRule struct {
	Type uint8
	// Namespace is the metadata namespace, "envoy.filters.listener.proxy_protocol" by default; Key the
	// name within it, or of the filter state object.
	Namespace, Key string
}

// TLVMatch chooses TLVs by type (ProxyProtocolPassThroughTLVs).
type TLVMatch struct {
	All   bool
	Types []uint8
}

// Has says whether TLVs of a type are chosen.
func (m *TLVMatch) Has(t uint8) bool { return m.All || slices.Contains(m.Types, t) }

// NetworkFilter is a network filter before the terminal one. One member is set; or none, and then Name
// is that of a filter the embedder registered (proxy.Options.NetworkFilters).
type NetworkFilter struct {
	Name            string
	SNICluster      bool // envoy.filters.network.sni_cluster
	SetFilterState  *SetFilterState
	RBAC            *NetworkRBAC
	ConnectionLimit *ConnectionLimit
	LocalRateLimit  *NetworkLocalRateLimit
}

// SetFilterState is envoy.filters.network.set_filter_state: values set on each new connection.
type SetFilterState struct {
	OnNewConnection []FilterStateValue
}

// FilterStateValue is common.set_filter_state.v3.FilterStateValue.
type FilterStateValue struct {
	// Key is object_key; Factory is factory_key, Key when empty. It decides which values are valid.
	Key, Factory string
	Format       *Format
	SkipIfEmpty  bool
	ReadOnly     bool
}

// NetworkRBAC is envoy.filters.network.rbac.
type NetworkRBAC struct {
	StatPrefix string
	// Rules are enforced; ShadowRules only counted. nil: none.
	Rules, ShadowRules    *RBAC
	ShadowRulesStatPrefix string
	DelayDeny             time.Duration
	ContinuousEnforcement bool // enforcement_type CONTINUOUS
}

// RBACAction is RBAC.action.
type RBACAction uint8

// Actions of RBAC.
const (
	RBACAllow RBACAction = iota
	RBACDeny
	RBACLog
)

// RBAC is config.rbac.v3.RBAC. A policy matches when any of its permissions and any of its principals
// does; ALLOW admits what some policy matches, DENY what none matches.
type RBAC struct {
	Action   RBACAction
	Policies []RBACPolicy // by name, sorted
}

// RBACPolicy is one named policy.
type RBACPolicy struct {
	Name                    string
	Permissions, Principals []*RBACRule
}

// RBACRuleKind tells the members of RBACRule apart.
type RBACRuleKind uint8

// Permissions and principals that a connection can be judged by.
const (
	RBACAny RBACRuleKind = iota
	RBACAnd
	RBACOr
	RBACNot             // of Rules[0]
	RBACDestinationIP   // Prefix
	RBACDestinationPort // PortFrom <= port < PortTo
	RBACServerName      // Name against the requested server name
	RBACDirectRemoteIP  // Prefix, the peer of the socket
	RBACRemoteIP        // Prefix, as the PROXY protocol says; also source_ip
	RBACFilterState     // Key, Name against its value
	RBACSourceIP        // Prefix, the connection's peer; source_ip of requests
	// The rest is of requests.
	RBACHeader        // Header
	RBACURLPath       // Name, against the path without query
	RBACMetadata      // Metadata
	RBACAuthenticated // Present: any; else Name against the certificate's names
)

// RBACRule is a permission or a principal.
type RBACRule struct {
	Kind             RBACRuleKind
	Rules            []*RBACRule
	Prefix           netip.Prefix
	PortFrom, PortTo uint32
	Key              string
	Name             StringMatcher
	Header           *HeaderMatcher
	Metadata         *MetadataMatcher
	Present          bool
}

// StringMatcher is type.matcher.v3.StringMatcher: exact, prefix, suffix, contains or regex.
type StringMatcher struct {
	Kind       StringMatchKind
	Value      string
	IgnoreCase bool
}

// ConnectionLimit is envoy.filters.network.connection_limit.
type ConnectionLimit struct {
	StatPrefix     string
	MaxConnections uint64
	Delay          time.Duration // before a refused connection is closed
}

// NetworkLocalRateLimit is envoy.filters.network.local_ratelimit: a token for each connection.
type NetworkLocalRateLimit struct {
	StatPrefix    string
	MaxTokens     uint32
	TokensPerFill uint32        // 1
	FillInterval  time.Duration // 50 ms or more
	// RuntimeKey and Enabled are runtime_enabled; the percentage of connections it applies to.
	RuntimeKey string
	Enabled    Fraction
	// ShareKey is share_key: filters with the same key and bucket share one.
	ShareKey string
}
