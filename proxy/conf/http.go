package conf

import (
	"net/netip"
	"time"
)

// CodecType is HttpConnectionManager.codec_type.
type CodecType uint8

// Codec types this version serves.
const (
	CodecAuto CodecType = iota
	CodecHTTP1
	CodecHTTP2
)

// ServerHeaderTransformation is HttpConnectionManager.server_header_transformation.
type ServerHeaderTransformation uint8

// What happens to the server response header (RT-99).
const (
	ServerOverwrite ServerHeaderTransformation = iota
	ServerAppendIfAbsent
	ServerPassThrough
)

// UnderscoresAction is HttpProtocolOptions.headers_with_underscores_action (HC-14).
type UnderscoresAction uint8

// Underscore policies.
const (
	UnderscoresAllow UnderscoresAction = iota
	UnderscoresReject
	UnderscoresDrop
)

// EscapedSlashesAction is path_with_escaped_slashes_action (HC-91).
type EscapedSlashesAction uint8

// Escaped-slash policies.
const (
	EscapedSlashesKeep EscapedSlashesAction = iota
	EscapedSlashesReject
	EscapedSlashesRedirect
	EscapedSlashesForward
)

// HeaderCase is Http1ProtocolOptions.header_key_format (HC-52).
type HeaderCase uint8

// Letter case of field names written.
const (
	HeaderCaseLower HeaderCase = iota
	HeaderCaseProper
	HeaderCasePreserve
)

// ClientCertDetails is forward_client_cert_details (RT-103).
type ClientCertDetails uint8

// What happens to x-forwarded-client-cert on plain connections: all but AlwaysForward remove it.
const (
	ClientCertSanitize ClientCertDetails = iota
	ClientCertForwardOnly
	ClientCertAppendForward
	ClientCertSanitizeSet
	ClientCertAlwaysForwardOnly
)

// CurrentClientCert is set_current_client_cert_details: what AppendForward and SanitizeSet tell of the
// client's certificate besides its hash.
type CurrentClientCert struct {
	Subject, Cert, Chain, DNS, URI bool
}

// HTTPConnectionManager is envoy.filters.network.http_connection_manager.
type HTTPConnectionManager struct {
	StatPrefix string
	CodecType  CodecType
	// Routes is the route table, or Scoped the tables and what chooses among them. One of the two.
	Routes *RouteConfiguration
	Scoped *ScopedRoutes
	Router Router
	// Filters are what requests pass before the router, in order (http_filters).
	Filters    []*HTTPFilter
	AccessLogs []*AccessLog

	ServerName                 string
	ServerHeaderTransformation ServerHeaderTransformation
	Via                        string

	// Timeouts; 0 is off. Defaults: StreamIdle 5 min, Drain 5 s, DelayedClose 1 s, Idle 1 h, others off.
	StreamIdleTimeout     time.Duration
	RequestTimeout        time.Duration
	RequestHeadersTimeout time.Duration
	DrainTimeout          time.Duration
	DelayedCloseTimeout   time.Duration
	IdleTimeout           time.Duration // common_http_protocol_options.idle_timeout
	MaxConnectionDuration time.Duration
	MaxStreamDuration     time.Duration
	// StreamFlushTimeout is how long a whole HTTP/2 response may wait for the client to take it when
	// HasStreamFlushTimeout; else StreamIdleTimeout is.
	StreamFlushTimeout    time.Duration
	HasStreamFlushTimeout bool

	MaxRequestHeadersKiB     int // 60
	MaxHeadersCount          int // 100
	MaxRequestsPerConnection int // 0 unlimited
	HeadersWithUnderscores   UnderscoresAction

	HTTP1 HTTP1Options
	HTTP2 HTTP2Options

	UseRemoteAddress          bool
	XFFNumTrustedHops         int
	SkipXFFAppend             bool
	AppendXForwardedPort      bool
	InternalAddresses         []netip.Prefix // internal_address_config.cidr_ranges
	InternalUnixSockets       bool
	SchemeToOverwrite         string // scheme_header_transformation.scheme_to_overwrite
	AddUserAgent              bool
	GenerateRequestID         bool // true
	PreserveExternalRequestID bool
	AlwaysSetRequestIDInResp  bool
	PackTraceReason           bool // request_id_extension uuid pack_trace_reason; true
	ForwardClientCert         ClientCertDetails
	CurrentClientCert         CurrentClientCert
	Proxy100Continue          bool

	NormalizePath         bool
	MergeSlashes          bool
	EscapedSlashes        EscapedSlashesAction
	StripMatchingHostPort bool
	StripAnyHostPort      bool
	StripTrailingHostDot  bool

	LocalReply LocalReply

	// Upgrades are upgrade_configs; their types are distinct.
	Upgrades []Upgrade
	// LogOnTunnel is access_log_options.flush_log_on_tunnel_successfully_established.
	LogOnTunnel bool
}

// Upgrade is HttpConnectionManager.UpgradeConfig.
type Upgrade struct {
	// Type is lower case; UpgradeConnect is CONNECT.
	Type     string
	Disabled bool // enabled: false
	// Filters are used in place of the manager's, all of them but the router, when OwnFilters.
	Filters    []*HTTPFilter
	OwnFilters bool
}

// UpgradeConnect is the upgrade type of CONNECT requests.
const UpgradeConnect = "connect"

// NewHTTPConnectionManager returns a manager with Envoy's defaults.
func NewHTTPConnectionManager(statPrefix string) *HTTPConnectionManager {
	return &HTTPConnectionManager{
		StatPrefix: statPrefix, ServerName: "envoy",
		StreamIdleTimeout: 5 * time.Minute, DrainTimeout: 5 * time.Second, DelayedCloseTimeout: time.Second, IdleTimeout: time.Hour,
		MaxRequestHeadersKiB: 60, MaxHeadersCount: 100,
		HTTP1: HTTP1Options{AllowAbsoluteURL: true}, HTTP2: NewHTTP2Options(),
		GenerateRequestID: true, PackTraceReason: true,
		Router: Router{DynamicStats: true},
	}
}

// HTTP1Options is core.v3.Http1ProtocolOptions for a listener or a cluster.
type HTTP1Options struct {
	AllowAbsoluteURL      bool
	AcceptHTTP10          bool
	DefaultHostForHTTP10  string
	HeaderCase            HeaderCase
	ForwardReasonPhrase   bool // preserve_case formatter: forward_reason_phrase
	EnableTrailers        bool
	AllowChunkedLength    bool
	AllowCustomMethods    bool
	SendFullyQualifiedURL bool // clusters only (RT-123)
	// IgnoreUpgrades are the types of ignore_http_11_upgrade; managers only.
	IgnoreUpgrades []StringMatcher
}

// Router is envoy.filters.http.router.
type Router struct {
	DynamicStats         bool
	SuppressEnvoyHeaders bool
	// RejectConnectEarlyData is reject_connect_request_early_data.
	RejectConnectEarlyData bool
	// StrictCheckHeaders are the lower-case names of x-envoy-* headers whose values must be valid.
	StrictCheckHeaders []string
	// RespectExpectedTimeout: x-envoy-expected-rq-timeout-ms of the request is its timeout.
	RespectExpectedTimeout bool
	// SuppressGRPCCodeStats: gRPC requests are not counted by status.
	SuppressGRPCCodeStats bool
	// UpstreamLogs have a line for each attempt when it is over (upstream_log), LogOnUpstreamStream one more
	// when it has a stream to the origin, and UpstreamLogInterval another one as often as it says; 0: none.
	UpstreamLogs        []*AccessLog
	LogOnUpstreamStream bool
	UpstreamLogInterval time.Duration
}

// LocalReply is local_reply_config: how replies made by the proxy look (ROUTER-70).
type LocalReply struct {
	// BodyFormat renders every local body; nil keeps the plain text.
	BodyFormat *Format
	Mappers    []LocalReplyMapper
}

// LocalReplyMapper changes the local replies its filter matches; the first match wins.
type LocalReplyMapper struct {
	Filter     *LogFilter
	StatusCode uint16  // 0 keeps
	Body       *string // nil keeps
	BodyFormat *Format // nil: LocalReply.BodyFormat
	HeadersAdd []HeaderValue
}

// Format is core.v3.SubstitutionFormatString, still as text.
type Format struct {
	// Text is a text_format; used when JSON is nil.
	Text string
	// JSON is a json_format: ordered members, nested; leaves are format strings, numbers or booleans.
	JSON            *JSONObject
	ContentType     string
	OmitEmptyValues bool
}

// JSONObject keeps the member order of a json_format.
type JSONObject struct {
	Keys   []string
	Values []any // string (format), float64, bool, nil, *JSONObject, []any
}

// AccessLogSink is where lines go.
type AccessLogSink uint8

// Sinks.
const (
	SinkFile AccessLogSink = iota
	SinkStdout
	SinkStderr
)

// AccessLog is one access logger with its filter and format.
type AccessLog struct {
	Sink   AccessLogSink
	Path   string
	Format *Format // nil: Envoy's default line
	Filter *LogFilter
}

// LogFilterKind tells the members of LogFilter apart.
type LogFilterKind uint8

// Access log filters (config.accesslog.v3.AccessLogFilter).
const (
	FilterStatusCode LogFilterKind = iota
	FilterDuration
	FilterNotHealthCheck
	FilterAnd
	FilterOr
	FilterResponseFlag
	FilterHeader
	FilterRuntime
	FilterLogType
)

// Comparison is ComparisonFilter.op.
type Comparison uint8

// Comparison operators.
const (
	CompareEQ Comparison = iota
	CompareGE
	CompareLE
	CompareNE
)

// LogFilter decides whether a line is written.
type LogFilter struct {
	Kind       LogFilterKind
	Compare    Comparison
	Value      uint32
	RuntimeKey string
	Flags      []string // short names; empty: any flag
	Header     *HeaderMatcher
	Filters    []*LogFilter // and, or
	// Runtime fraction
	Percent Fraction
	// IndependentRandomness draws anew instead of using the request id.
	IndependentRandomness bool
	// Types are the names of log types that pass ("TcpConnectionEnd"); with ExcludeTypes all others do.
	Types        []string
	ExcludeTypes bool
}

// Fraction is type.v3.FractionalPercent.
type Fraction struct{ Numerator, Denominator uint32 }
