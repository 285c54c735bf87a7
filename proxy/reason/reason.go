// Package reason is the one table of how requests and connections end. Status, response flag,
// details, body and the sentence for people come from it, so that the access log, the stat and the
// local reply can never tell different stories (spec: router.md 10, operations.md "Response flags").
package reason

import "strings"

// Flag is a set of Envoy response flags; several may hold for one stream.
type Flag uint64

// Response flags in the order Envoy prints them.
const (
	FailedLocalHealthCheck Flag = 1 << iota
	NoHealthyUpstream
	UpstreamRequestTimeout
	LocalReset
	UpstreamRemoteReset
	UpstreamConnectionFailure
	UpstreamConnectionTermination
	UpstreamOverflow
	NoRouteFound
	DelayInjected
	FaultInjected
	RateLimited
	UnauthorizedExternalService
	RateLimitServiceError
	DownstreamConnectionTermination
	UpstreamRetryLimitExceeded
	StreamIdleTimeout
	InvalidEnvoyRequestHeaders
	DownstreamProtocolError
	UpstreamMaxStreamDurationReached
	ResponseFromCacheFilter
	NoFilterConfigFound
	DurationTimeout
	UpstreamProtocolError
	NoClusterFound
	OverloadManagerTerminated
	DNSResolutionFailed
	DropOverload
	DownstreamRemoteReset
	UnconditionalDropOverload
	numFlags = iota
)

var flagNames = [numFlags][2]string{
	{"LH", "FailedLocalHealthCheck"},
	{"UH", "NoHealthyUpstream"},
	{"UT", "UpstreamRequestTimeout"},
	{"LR", "LocalReset"},
	{"UR", "UpstreamRemoteReset"},
	{"UF", "UpstreamConnectionFailure"},
	{"UC", "UpstreamConnectionTermination"},
	{"UO", "UpstreamOverflow"},
	{"NR", "NoRouteFound"},
	{"DI", "DelayInjected"},
	{"FI", "FaultInjected"},
	{"RL", "RateLimited"},
	{"UAEX", "UnauthorizedExternalService"},
	{"RLSE", "RateLimitServiceError"},
	{"DC", "DownstreamConnectionTermination"},
	{"URX", "UpstreamRetryLimitExceeded"},
	{"SI", "StreamIdleTimeout"},
	{"IH", "InvalidEnvoyRequestHeaders"},
	{"DPE", "DownstreamProtocolError"},
	{"UMSDR", "UpstreamMaxStreamDurationReached"},
	{"RFCF", "ResponseFromCacheFilter"},
	{"NFCF", "NoFilterConfigFound"},
	{"DT", "DurationTimeout"},
	{"UPE", "UpstreamProtocolError"},
	{"NC", "NoClusterFound"},
	{"OM", "OverloadManagerTerminated"},
	{"DF", "DnsResolutionFailed"},
	{"DO", "DropOverload"},
	{"DR", "DownstreamRemoteReset"},
	{"UDO", "UnconditionalDropOverload"},
}

// Append writes the flags joined with a comma, "-" when there are none; long chooses the long names.
func (f Flag) Append(dst []byte, long bool) []byte {
	if f == 0 {
		return append(dst, '-')
	}
	form := 0
	if long {
		form = 1
	}
	first := true
	for i := range flagNames {
		if f&(1<<i) == 0 {
			continue
		}
		if !first {
			dst = append(dst, ',')
		}
		dst, first = append(dst, flagNames[i][form]...), false
	}
	return dst
}

// String returns the short names joined with a comma.
func (f Flag) String() string { return string(f.Append(nil, false)) }

// ParseFlag returns the flag with that short name; ok is false for an unknown one.
func ParseFlag(short string) (f Flag, ok bool) {
	for i := range flagNames {
		if flagNames[i][0] == short {
			return 1 << i, true
		}
	}
	return 0, false
}

// Reason is how a request or connection ended. Zero is "not ended yet".
type Reason uint8

// Endings of HTTP requests; TCP sessions use the upstream and timeout ones too.
const (
	None Reason = iota
	ViaUpstream
	DirectResponse
	Redirect
	NoRoute
	NoCluster
	NoHealthyHost
	Overflow
	ConnectFailure
	LocalConnectFailure
	ConnectTimeout
	UpstreamTermination
	UpstreamReset
	UpstreamRefused
	UpstreamProtocol
	UpstreamHeadTooLarge
	UpstreamTooManyFields
	ResponseTimeout
	ResetAfterStart
	StreamIdle
	RequestTimeout
	RequestHeadersTimeout
	MaxStreamDuration
	UpstreamMaxDuration
	DownstreamClosed
	DownstreamReset
	DownstreamProtocol
	MissingHost
	MissingPath
	AbsolutePath
	PathNormalization
	PathRedirect
	HTTPSOnPlaintext
	UpgradeRefused
	LowVersion
	HeadTooLarge
	TooManyFields
	BadTransferEncoding
	OverloadShed
	Draining
	Stopped
	SessionEnded
	SessionIdle
	SessionDuration
	SessionDownstreamReset
	SessionUpstreamReset
	NoFilterChain
	ListenerFilterTimeout
	ListenerFilterRefused
	ListenerFilterClosed
	RBACDenied
	ConnectionLimited
	ConnectionRateLimited
	NetworkFilterRefused
	FilterReply
	DNSFailure
	DNSCacheFull
	DNSTooManyPending
	EmptyHost
	RequestTooLarge
	ResponseTooLarge
	FaultAborted
	LocalRateLimited
	HTTPRBACDenied
	CORSAnswered
	HealthCheckAnswered
	HealthCheckFailed
	GenericTimeout
	GenericConnectFailure
	GenericTermination
	GenericOverflow
	GenericProtocol
	GenericLocalReset
	GenericMaintenance
	GenericDecoding
	GenericRefused
	GenericUnanswerable
	GenericFilter
	GenericOneWay
	UpgradeBody
	EarlyConnectData
	UpstreamNoUpgrade
	TunnelRefused
	PerTryTimeout
	PerTryIdleTimeout
	RetryBufferOverflow
	InvalidEnvoyHeader
	MaintenanceMode
	OverloadDropped
	AllOverloadDropped
	numReasons
)

// Entry is one row of the table.
type Entry struct {
	// Name is the constant's name in snake case, used as a metric label and in dumps.
	Name string
	// Flag is what the access log shows.
	Flag Flag
	// Status is the local reply's status; 0 when no reply is possible and the stream is reset.
	Status uint16
	// Details is Envoy's response code details.
	Details string
	// Body is the local reply's body; may be empty.
	Body string
	// Upstream is true when the cluster is charged with the status (ROUTER-82).
	Upstream bool
	// Overloaded adds x-envoy-overloaded to the reply.
	Overloaded bool
	// Dropped adds x-envoy-drop-overload to the reply.
	Dropped bool
	// Close ends the downstream HTTP/1 connection after the reply (HC-31).
	Close bool
	// Sentence tells a person what happened and what to look at.
	Sentence string
}

const resetBody = "upstream connect error or disconnect/reset before headers. reset reason: "

// Table holds every Entry; index it by Reason. Read-only.
var Table = [numReasons]Entry{
	None:           {Name: "none", Sentence: "The stream has not ended."},
	ViaUpstream:    {Name: "via_upstream", Details: "via_upstream", Sentence: "The upstream answered and its response was passed on whole."},
	DirectResponse: {Name: "direct_response", Details: "direct_response", Sentence: "The route answers by itself (direct_response)."},
	Redirect:       {Name: "redirect", Details: "direct_response", Sentence: "The route redirects the client."},
	NoRoute: {
		Name: "no_route", Flag: NoRouteFound, Status: 404, Details: "route_not_found",
		Sentence: "No virtual host or no route matches the request.",
	},
	NoCluster: {
		Name: "no_cluster", Flag: NoClusterFound, Status: 503, Details: "cluster_not_found",
		Sentence: "The route names a cluster that does not exist.",
	},
	NoHealthyHost: {
		Name: "no_healthy_host", Flag: NoHealthyUpstream, Status: 503, Details: "no_healthy_upstream", Body: "no healthy upstream", Upstream: true,
		Sentence: "The cluster has no usable endpoint: none configured, none resolved, or none healthy.",
	},
	Overflow: {
		Name: "overflow", Flag: UpstreamOverflow, Status: 503, Details: "upstream_reset_before_response_started{overflow}", Body: resetBody + "overflow",
		Upstream: true, Overloaded: true, Sentence: "A circuit breaker of the cluster is open; see circuit_breakers in its stats.",
	},
	ConnectFailure: {
		Name: "connect_failure", Flag: UpstreamConnectionFailure, Status: 503, Details: "upstream_reset_before_response_started{remote_connection_failure}",
		Body: resetBody + "remote connection failure", Upstream: true, Sentence: "The endpoint refused or could not be reached.",
	},
	LocalConnectFailure: {
		Name: "local_connect_failure", Flag: UpstreamConnectionFailure, Status: 503, Details: "upstream_reset_before_response_started{local_connection_failure}",
		Body: resetBody + "local connection failure", Upstream: true, Sentence: "This machine could not make a socket for the endpoint (file descriptors, ports or addresses).",
	},
	ConnectTimeout: {
		Name: "connect_timeout", Flag: UpstreamConnectionFailure, Status: 503, Details: "upstream_reset_before_response_started{connection_timeout}",
		Body: resetBody + "connection timeout", Upstream: true, Sentence: "The endpoint did not accept within the cluster's connect_timeout.",
	},
	UpstreamTermination: {
		Name: "upstream_termination", Flag: UpstreamConnectionTermination, Status: 503, Details: "upstream_reset_before_response_started{connection_termination}",
		Body: resetBody + "connection termination", Upstream: true, Sentence: "The endpoint closed the connection before a whole response head arrived.",
	},
	UpstreamReset: {
		Name: "upstream_reset", Flag: UpstreamRemoteReset, Status: 503, Details: "upstream_reset_before_response_started{remote_reset}",
		Body: resetBody + "remote reset", Upstream: true, Sentence: "The endpoint reset the stream.",
	},
	UpstreamRefused: {
		Name: "upstream_refused", Flag: UpstreamRemoteReset, Status: 503, Details: "upstream_reset_before_response_started{remote_refused_stream_reset}",
		Body: resetBody + "remote refused stream reset", Upstream: true,
		Sentence: "The endpoint refused the stream or went away without taking it (REFUSED_STREAM, GOAWAY): the request is safe to send again.",
	},
	UpstreamProtocol: {
		Name: "upstream_protocol", Flag: UpstreamProtocolError, Status: 502, Details: "upstream_reset_before_response_started{protocol_error}",
		Body: resetBody + "protocol error", Upstream: true, Sentence: "The endpoint sent something that is not a valid HTTP response.",
	},
	UpstreamHeadTooLarge: {
		Name: "upstream_head_too_large", Flag: UpstreamProtocolError, Status: 503, Details: "upstream_reset_before_response_started{protocol_error}",
		Body: resetBody + "protocol error", Upstream: true, Sentence: "The response head is larger than max_response_headers_kb.",
	},
	UpstreamTooManyFields: {
		Name: "upstream_too_many_fields", Flag: UpstreamProtocolError, Status: 502, Details: "upstream_reset_before_response_started{protocol_error}",
		Body: resetBody + "protocol error", Upstream: true, Sentence: "The response has more header fields than max_headers_count.",
	},
	ResponseTimeout: {
		Name: "response_timeout", Flag: UpstreamRequestTimeout, Status: 504, Details: "upstream_response_timeout", Body: "upstream request timeout", Upstream: true,
		Sentence: "The endpoint did not answer within the route's timeout.",
	},
	ResetAfterStart: {
		Name: "reset_after_start", Flag: UpstreamConnectionTermination, Details: "upstream_reset_after_response_started{connection_termination}", Upstream: true,
		Sentence: "The endpoint broke off in the middle of its response.",
	},
	StreamIdle: {
		Name: "stream_idle", Flag: StreamIdleTimeout, Status: 504, Details: "stream_idle_timeout", Body: "stream timeout",
		Sentence: "No byte moved for stream_idle_timeout (or the route's idle_timeout).",
	},
	RequestTimeout: {
		Name: "request_timeout", Status: 408, Details: "request_overall_timeout", Body: "request timeout",
		Close: true, Sentence: "The client did not finish its request within request_timeout.",
	},
	RequestHeadersTimeout: {
		Name: "request_headers_timeout", Status: 408, Details: "request_header_timeout", Body: "request header timeout",
		Close: true, Sentence: "The client did not finish its request head within request_headers_timeout.",
	},
	MaxStreamDuration: {
		Name: "max_stream_duration", Flag: DurationTimeout, Status: 504, Details: "max_duration_timeout", Body: "downstream duration timeout",
		Sentence: "The request lived longer than max_stream_duration.",
	},
	UpstreamMaxDuration: {
		Name: "upstream_max_duration", Flag: UpstreamMaxStreamDurationReached, Status: 504, Details: "upstream_max_stream_duration_reached",
		Body: "upstream max stream duration reached", Upstream: true,
		Sentence: "The request took the endpoint longer than the cluster's max_stream_duration (or x-envoy-upstream-stream-duration-ms).",
	},
	DownstreamClosed: {
		Name: "downstream_closed", Flag: DownstreamConnectionTermination, Details: "downstream_remote_disconnect",
		Sentence: "The client went away before the response was complete.",
	},
	DownstreamReset: {
		Name: "downstream_reset", Flag: DownstreamRemoteReset, Details: "downstream_remote_reset",
		Sentence: "The client reset its stream.",
	},
	DownstreamProtocol: {
		Name: "downstream_protocol", Flag: DownstreamProtocolError, Status: 400, Details: "http1.codec_error", Body: "Bad Request", Close: true,
		Sentence: "The client sent something that is not valid HTTP.",
	},
	MissingHost: {
		Name: "missing_host", Status: 400, Details: "missing_host_header",
		Sentence: "The request has no Host.",
	},
	MissingPath: {
		Name: "missing_path", Status: 404, Details: "missing_path_rejected",
		Sentence: "The request has no path.",
	},
	AbsolutePath: {
		Name: "absolute_path", Status: 404, Details: "absolute_path_rejected",
		Sentence: "The request path does not start with a slash.",
	},
	PathNormalization: {
		Name: "path_normalization", Status: 400, Details: "path_normalization_failed",
		Sentence: "The request path cannot be normalised, or the policy refuses its escaped slashes or fragment.",
	},
	PathRedirect: {
		Name: "path_redirect", Status: 307, Details: "path_normalization_redirect",
		Sentence: "The client is sent to the path with its slashes unescaped.",
	},
	HTTPSOnPlaintext: {
		Name: "https_on_plaintext", Flag: DownstreamProtocolError, Status: 403, Details: "http1.https_url_on_plaintext_connection", Close: true,
		Sentence: "An https URL was asked for on a connection without TLS.",
	},
	UpgradeRefused: {
		Name: "upgrade_refused", Status: 403, Details: "upgrade_failed", Close: true,
		Sentence: "The request asks for an upgrade or CONNECT that is not enabled.",
	},
	LowVersion: {
		Name: "low_version", Flag: DownstreamProtocolError, Status: 426, Details: "low_version", Body: "Upgrade Required", Close: true,
		Sentence: "HTTP/1.0 is off (accept_http_10).",
	},
	HeadTooLarge: {
		Name: "head_too_large", Flag: DownstreamProtocolError, Status: 431, Details: "http1.headers_too_large", Body: "Request Header Fields Too Large", Close: true,
		Sentence: "The request head is larger than max_request_headers_kb.",
	},
	TooManyFields: {
		Name: "too_many_fields", Flag: DownstreamProtocolError, Status: 431, Details: "http1.too_many_headers", Body: "Request Header Fields Too Large", Close: true,
		Sentence: "The request has more header fields than max_headers_count.",
	},
	BadTransferEncoding: {
		Name: "bad_transfer_encoding", Flag: DownstreamProtocolError, Status: 501, Details: "http1.invalid_transfer_encoding", Body: "Not Implemented", Close: true,
		Sentence: "The request uses a transfer coding other than chunked.",
	},
	OverloadShed: {
		Name: "overload", Flag: OverloadManagerTerminated, Status: 503, Details: "overload", Body: "envoy overloaded", Overloaded: true,
		Sentence: "The proxy sheds load: one of its own limits is reached.",
	},
	Draining:     {Name: "draining", Details: "drain", Sentence: "The listener drains; the connection ended in order."},
	SessionEnded: {Name: "session_ended", Sentence: "Both sides of the TCP session ended it in order."},
	SessionIdle: {
		Name: "session_idle", Details: "tcp_session_idle_timeout",
		Sentence: "No byte moved either way for the TCP proxy's idle_timeout (or the connection's own).",
	},
	SessionDuration: {
		Name: "session_duration", Flag: DurationTimeout, Details: "max_connection_duration_reached",
		Sentence: "The connection lived longer than max_downstream_connection_duration.",
	},
	SessionDownstreamReset: {
		Name: "session_downstream_reset", Flag: DownstreamConnectionTermination, Details: "downstream_remote_disconnect",
		Sentence: "The client reset the connection, or left before the upstream was connected.",
	},
	SessionUpstreamReset: {
		Name: "session_upstream_reset", Flag: UpstreamConnectionTermination, Details: "upstream_connection_termination", Upstream: true,
		Sentence: "The endpoint reset the connection in the middle of the session.",
	},
	NoFilterChain: {
		Name: "no_filter_chain", Flag: NoRouteFound, Details: "filter_chain_not_found",
		Sentence: "No filter chain of the listener matches the connection, and there is no default_filter_chain.",
	},
	ListenerFilterTimeout: {
		Name: "listener_filter_timeout", Details: "listener_filter_timeout",
		Sentence: "The client did not send what the listener filters wait for within listener_filters_timeout.",
	},
	ListenerFilterRefused: {
		Name: "listener_filter_refused", Details: "listener_filter_refused",
		Sentence: "A listener filter refused the beginning of the connection: a PROXY header or a ClientHello that is missing, malformed or not allowed.",
	},
	ListenerFilterClosed: {
		Name: "listener_filter_closed", Flag: DownstreamConnectionTermination, Details: "downstream_remote_disconnect",
		Sentence: "The client closed the connection before the listener filters had seen enough of it.",
	},
	RBACDenied: {
		Name: "rbac_denied", Details: "rbac_access_denied_matched_policy[none]",
		Sentence: "A network RBAC filter refused the connection; the details name the policy that did, none when no policy allowed it.",
	},
	ConnectionLimited: {
		Name: "connection_limited", Details: "over_connection_limit",
		Sentence: "The filter chain's connection_limit has max_connections connections.",
	},
	ConnectionRateLimited: {
		Name: "connection_rate_limited", Flag: RateLimited, Details: "local_ratelimit_close_over_limit",
		Sentence: "The filter chain's local_ratelimit had no token left for the connection.",
	},
	NetworkFilterRefused: {
		Name: "network_filter_refused", Details: "network_filter_refused",
		Sentence: "A network filter of the embedding program refused the connection and gave no reason of its own.",
	},
	FilterReply: {
		Name: "filter_reply", Status: 500, Details: "filter_reply",
		Sentence: "An HTTP filter of the embedding program answered and gave no reason of its own.",
	},
	DNSFailure: {
		Name: "dns_failure", Flag: DNSResolutionFailed, Status: 503, Details: "dns_resolution_failure", Body: "DNS resolution failure",
		Sentence: "The dynamic forward proxy found no address for the name the request goes to; the details say why in braces.",
	},
	DNSCacheFull: {
		Name: "dns_cache_full", Status: 503, Details: "dns_cache_overflow", Body: "DNS cache overflow",
		Sentence: "The DNS cache of the dynamic forward proxy has max_hosts names, and the request goes to another one.",
	},
	DNSTooManyPending: {
		Name: "dns_too_many_pending", Status: 503, Details: "dynamic_forward_proxy_pending_request_overflow",
		Body:     "Dynamic forward proxy pending request overflow",
		Sentence: "As many requests wait for names to be resolved as dns_cache_circuit_breaker lets (max_pending_requests).",
	},
	EmptyHost: {
		Name: "empty_host", Status: 400, Details: "empty_host_header", Body: "Empty host header",
		Sentence: "The request names no host that a dynamic forward proxy could take it to.",
	},
	RequestTooLarge: {
		Name: "request_too_large", Status: 413, Details: "request_payload_too_large", Body: "Payload Too Large",
		Sentence: "A filter keeps the request's body, and it is larger than max_request_bytes or the connection's buffer limit.",
	},
	ResponseTooLarge: {
		Name: "response_too_large", Status: 500, Details: "response_payload_too_large", Body: "Internal Server Error",
		Sentence: "A filter keeps the response's body, and it is larger than the connection's buffer limit.",
	},
	FaultAborted: {
		Name: "fault_aborted", Flag: FaultInjected, Status: 503, Details: "fault_filter_abort", Body: "fault filter abort",
		Sentence: "The fault filter was told to abort this request.",
	},
	LocalRateLimited: {
		Name: "local_rate_limited", Flag: RateLimited, Status: 429, Details: "local_rate_limited", Body: "local_rate_limited",
		Sentence: "A token bucket of the local_ratelimit filter was empty.",
	},
	HTTPRBACDenied: {
		Name: "http_rbac_denied", Status: 403, Details: "rbac_access_denied_matched_policy[none]", Body: "RBAC: access denied",
		Sentence: "An HTTP RBAC filter denied the request; the details name the policy that did, none when no policy allowed it.",
	},
	CORSAnswered: {
		Name: "cors_answered", Status: 200, Details: "cors_response",
		Sentence: "The cors filter answered a preflight request.",
	},
	HealthCheckAnswered: {
		Name: "health_check_answered", Status: 200, Details: "health_check_ok",
		Sentence: "The health_check filter answered that the proxy, or the cluster behind it, is well.",
	},
	HealthCheckFailed: {
		Name: "health_check_failed", Flag: FailedLocalHealthCheck, Status: 503, Details: "health_check_failed",
		Sentence: "The health_check filter answered that the proxy is to get no requests: /healthcheck/fail, or too few healthy hosts.",
	},
	GenericTimeout: {
		Name: "generic_timeout", Flag: UpstreamRequestTimeout, Details: "timeout", Upstream: true,
		Sentence: "Generic proxy: the endpoint did not answer within the route's timeout.",
	},
	GenericConnectFailure: {
		Name: "generic_connect_failure", Flag: UpstreamConnectionFailure, Details: "connection_failure", Upstream: true,
		Sentence: "Generic proxy: the endpoint refused, or could not be reached within the cluster's connect_timeout.",
	},
	GenericTermination: {
		Name: "generic_termination", Flag: UpstreamConnectionTermination, Details: "connection_termination", Upstream: true,
		Sentence: "Generic proxy: the endpoint closed the connection before the response was complete.",
	},
	GenericOverflow: {
		Name: "generic_overflow", Flag: UpstreamOverflow, Details: "overflow", Upstream: true,
		Sentence: "Generic proxy: a circuit breaker of the cluster is open; see circuit_breakers in its stats.",
	},
	GenericProtocol: {
		Name: "generic_protocol", Flag: UpstreamProtocolError, Details: "protocol_error", Upstream: true,
		Sentence: "Generic proxy: the endpoint sent what the codec cannot read, or two responses to one request.",
	},
	GenericLocalReset: {
		Name: "generic_local_reset", Details: "local_reset",
		Sentence: "Generic proxy: the proxy gave the request up: another request of its connection broke the protocol, or the listener closes it.",
	},
	GenericMaintenance: {
		Name: "generic_maintenance", Details: "cluster_maintain_mode",
		Sentence: "Generic proxy: the runtime key upstream.maintenance_mode.<cluster> keeps requests from the cluster.",
	},
	GenericDecoding: {
		Name: "generic_decoding", Flag: DownstreamProtocolError, Details: "decoding_error",
		Sentence: "Generic proxy: the client sent what the codec cannot read, or an id that a request under way has.",
	},
	GenericRefused: {
		Name: "generic_refused", Flag: DownstreamProtocolError, Details: "refused",
		Sentence: "Generic proxy: the codec does not let the request through; the details say why. needs_bind_upstream_connection: it would change the state of a connection that other clients use.",
	},
	GenericUnanswerable: {
		Name: "generic_unanswerable", Flag: LocalReset, Details: "no_local_reply",
		Sentence: "Generic proxy: the protocol has no answer that says what went wrong.",
	},
	GenericFilter: {
		Name: "generic_filter", Details: "generic_filter",
		Sentence: "Generic proxy: a filter of the embedding program answered the request; the details are its own.",
	},
	GenericOneWay: {
		Name: "generic_one_way", Details: "one_way",
		Sentence: "Generic proxy: the request was passed on and asks for no response.",
	},
	UpgradeBody: {
		Name: "upgrade_body", Flag: DownstreamProtocolError, Status: 400, Details: "http1.body_disallowed", Body: "Bad Request", Close: true,
		Sentence: "An upgrade request with a body was to go to an HTTP/2 upstream, where such a request has none.",
	},
	EarlyConnectData: {
		Name: "early_connect_data", Status: 400, Details: "early_connect_data", Close: true,
		Sentence: "The client sent data before the answer to its CONNECT (reject_connect_request_early_data).",
	},
	UpstreamNoUpgrade: {
		Name: "upstream_no_upgrade", Flag: UpstreamProtocolError, Status: 503, Details: "upstream_reset_before_response_started{protocol_error}",
		Body: resetBody + "protocol error", Upstream: true,
		Sentence: "The endpoint speaks HTTP/2 and takes no extended CONNECT, or the cluster does not have allow_connect.",
	},
	TunnelRefused: {
		Name: "tunnel_refused", Flag: UpstreamConnectionFailure, Details: "tunnel_refused", Upstream: true,
		Sentence: "The upstream did not answer the TCP proxy's CONNECT or POST with success (tunneling_config).",
	},
	PerTryTimeout: {
		Name: "per_try_timeout", Flag: UpstreamRequestTimeout, Status: 504, Details: "upstream_per_try_timeout", Body: "upstream request timeout", Upstream: true,
		Sentence: "No try had an answer within the per-try timeout, and there was no retry left.",
	},
	PerTryIdleTimeout: {
		Name: "per_try_idle_timeout", Flag: UpstreamRequestTimeout, Status: 504, Details: "upstream_per_try_idle_timeout", Body: "upstream request timeout", Upstream: true,
		Sentence: "The endpoint did nothing for per_try_idle_timeout.",
	},
	RetryBufferOverflow: {
		Name: "retry_buffer_overflow", Status: 507, Details: "request_payload_exceeded_retry_buffer_limit",
		Body: "exceeded request buffer limit while retrying upstream", Upstream: true,
		Sentence: "Between two tries more of the request's body came than may be kept (request_body_buffer_limit).",
	},
	InvalidEnvoyHeader: {
		Name: "invalid_envoy_header", Flag: InvalidEnvoyRequestHeaders, Status: 400, Details: "request_headers_failed_strict_check",
		Sentence: "A header that strict_check_headers names has a value that is not valid; the details say which.",
	},
	MaintenanceMode: {
		Name: "maintenance_mode", Flag: UpstreamOverflow, Status: 503, Details: "maintenance_mode", Body: "maintenance mode", Upstream: true, Overloaded: true,
		Sentence: "The cluster is in maintenance for this share of requests (runtime upstream.maintenance_mode.<cluster>).",
	},
	OverloadDropped: {
		Name: "overload_dropped", Flag: DropOverload, Status: 503, Details: "drop_overload", Body: "drop overload", Upstream: true, Dropped: true,
		Sentence: "The cluster's drop_overloads keeps this share of its requests from the endpoints.",
	},
	AllOverloadDropped: {
		Name: "all_overload_dropped", Flag: UnconditionalDropOverload, Status: 503, Details: "unconditional_drop_overload", Body: "unconditional drop overload",
		Upstream: true, Dropped: true, Sentence: "The cluster's drop_overloads keeps all of its requests from the endpoints.",
	},
	Stopped: {Name: "stopped", Flag: LocalReset, Details: "local_reset", Sentence: "The proxy stopped."},
}

var bodies = func() (out [numReasons][]byte) {
	for i := range Table {
		out[i] = []byte(Table[i].Body)
	}
	return out
}()

// Body returns the local reply's body; read-only, shared.
func (r Reason) Body() []byte { return bodies[r] }

const beforeStart = "upstream_reset_before_response_started"

var afterStart = func() (out [numReasons]string) {
	for i := range Table {
		out[i] = strings.Replace(Table[i].Details, beforeStart, "upstream_reset_after_response_started", 1)
	}
	return out
}()

// DetailsAfterStart returns the row's details for a stream whose response had begun.
func (r Reason) DetailsAfterStart() string { return afterStart[r] }

// Resets says whether r is a reset of the upstream, whose reply can say more than the table (Reset).
func (r Reason) Resets() bool { return strings.HasPrefix(Table[r].Details, beforeStart+"{") }

// Reset returns body and details of the reply for a reset: retried says that tries went before, failure is
// why there was no connection, as far as known. Cold.
func (r Reason) Reset(retried bool, failure string) (body []byte, details string) {
	word := Table[r].Body[len(resetBody):]
	text := resetBody
	if retried {
		text = strings.Replace(resetBody, "reset reason: ", "retried and the latest reset reason: ", 1)
	}
	text += word
	details = beforeStart + "{" + word
	if failure != "" {
		text += ", transport failure reason: " + failure
		details += "," + failure
	}
	return []byte(text), strings.ReplaceAll(details, " ", "_") + "}"
}

// Entry returns the row of r.
func (r Reason) Entry() *Entry { return &Table[r] }

// String returns the row's name.
func (r Reason) String() string { return Table[r].Name }
