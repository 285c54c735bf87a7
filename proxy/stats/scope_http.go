package stats

// HTTPStats is http.<stat_prefix>.: the connection manager's (http_codecs.md 5) and the router's
// (router.md 11.1). Names that only HTTP/3, the overload manager or tracing can
// move come with those, and there are no gauges of buffered bytes: to read one, a loop would have to
// look at every connection.
type HTTPStats struct {
	DownstreamCxTotal                 Counter `stat:"downstream_cx_total"`
	DownstreamCxHTTP1Total            Counter `stat:"downstream_cx_http1_total"`
	DownstreamCxHTTP2Total            Counter `stat:"downstream_cx_http2_total"`
	DownstreamCxSslTotal              Counter `stat:"downstream_cx_ssl_total"`
	DownstreamCxDestroy               Counter `stat:"downstream_cx_destroy"`
	DownstreamCxDestroyLocal          Counter `stat:"downstream_cx_destroy_local"`
	DownstreamCxDestroyRemote         Counter `stat:"downstream_cx_destroy_remote"`
	DownstreamCxDestroyActiveRq       Counter `stat:"downstream_cx_destroy_active_rq"`
	DownstreamCxDestroyLocalActiveRq  Counter `stat:"downstream_cx_destroy_local_active_rq"`
	DownstreamCxDestroyRemoteActiveRq Counter `stat:"downstream_cx_destroy_remote_active_rq"`
	DownstreamCxProtocolError         Counter `stat:"downstream_cx_protocol_error"`
	DownstreamCxRxBytesTotal          Counter `stat:"downstream_cx_rx_bytes_total"`
	DownstreamCxTxBytesTotal          Counter `stat:"downstream_cx_tx_bytes_total"`
	DownstreamCxDrainClose            Counter `stat:"downstream_cx_drain_close"`
	DownstreamCxIdleTimeout           Counter `stat:"downstream_cx_idle_timeout"`
	DownstreamCxMaxDurationReached    Counter `stat:"downstream_cx_max_duration_reached"`
	DownstreamCxMaxRequestsReached    Counter `stat:"downstream_cx_max_requests_reached"`
	DownstreamCxDelayedCloseTimeout   Counter `stat:"downstream_cx_delayed_close_timeout"`

	DownstreamFlowControlPausedReadingTotal  Counter `stat:"downstream_flow_control_paused_reading_total"`
	DownstreamFlowControlResumedReadingTotal Counter `stat:"downstream_flow_control_resumed_reading_total"`

	DownstreamRqTotal                        Counter    `stat:"downstream_rq_total"`
	DownstreamRqHTTP1Total                   Counter    `stat:"downstream_rq_http1_total"`
	DownstreamRqHTTP2Total                   Counter    `stat:"downstream_rq_http2_total"`
	DownstreamRqCompleted                    Counter    `stat:"downstream_rq_completed"`
	DownstreamRqClass                        [5]Counter `stat:"downstream_rq_%dxx"`
	DownstreamRqRxReset                      Counter    `stat:"downstream_rq_rx_reset"`
	DownstreamRqTxReset                      Counter    `stat:"downstream_rq_tx_reset"`
	DownstreamRqResponseBeforeRqComplete     Counter    `stat:"downstream_rq_response_before_rq_complete"`
	DownstreamRqNonRelativePath              Counter    `stat:"downstream_rq_non_relative_path"`
	DownstreamRqTooLarge                     Counter    `stat:"downstream_rq_too_large"`
	DownstreamRqWsOnNonWsRoute               Counter    `stat:"downstream_rq_ws_on_non_ws_route"`
	DownstreamRqIdleTimeout                  Counter    `stat:"downstream_rq_idle_timeout"`
	DownstreamRqHeaderTimeout                Counter    `stat:"downstream_rq_header_timeout"`
	DownstreamRqTimeout                      Counter    `stat:"downstream_rq_timeout"`
	DownstreamRqMaxDurationReached           Counter    `stat:"downstream_rq_max_duration_reached"`
	DownstreamRqFailedPathNormalization      Counter    `stat:"downstream_rq_failed_path_normalization"`
	DownstreamRqRedirectedWithNormalizedPath Counter    `stat:"downstream_rq_redirected_with_normalized_path"`

	DownstreamRqTooManyPrematureResets Counter `stat:"downstream_rq_too_many_premature_resets"`

	DownstreamCxUpgradesTotal  Counter `stat:"downstream_cx_upgrades_total"`
	DownstreamCxUpgradesActive Gauge   `stat:"downstream_cx_upgrades_active"`

	DownstreamCxActive      Gauge `stat:"downstream_cx_active"`
	DownstreamCxHTTP1Active Gauge `stat:"downstream_cx_http1_active"`
	DownstreamCxHTTP2Active Gauge `stat:"downstream_cx_http2_active"`
	DownstreamCxSslActive   Gauge `stat:"downstream_cx_ssl_active"`
	// Those buffered are summed up when they are read; see worker.BufferCounter.
	DownstreamCxRxBytesBuffered Gauge `stat:"downstream_cx_rx_bytes_buffered"`
	DownstreamCxTxBytesBuffered Gauge `stat:"downstream_cx_tx_bytes_buffered"`
	DownstreamRqActive          Gauge `stat:"downstream_rq_active"`

	DownstreamCxLengthMs Histogram `stat:"downstream_cx_length_ms,ms"`
	DownstreamRqTime     Histogram `stat:"downstream_rq_time,ms"`

	NoRoute                               Counter `stat:"no_route"`
	NoCluster                             Counter `stat:"no_cluster"`
	RqRedirect                            Counter `stat:"rq_redirect"`
	RqDirectResponse                      Counter `stat:"rq_direct_response"`
	RqTotal                               Counter `stat:"rq_total"`
	RsTooLarge                            Counter `stat:"rs_too_large"`
	RqResetAfterDownstreamResponseStarted Counter `stat:"rq_reset_after_downstream_response_started"`
	// RqShadowed and RqShadowOverflow are sluice's own: copies of requests sent to mirrors, and those that
	// were not because too many were under way.
	RqShadowed       Counter `stat:"rq_shadowed"`
	RqShadowOverflow Counter `stat:"rq_shadow_overflow"`

	PassthroughInternalRedirectBadLocation      Counter `stat:"passthrough_internal_redirect_bad_location"`
	PassthroughInternalRedirectUnsafeScheme     Counter `stat:"passthrough_internal_redirect_unsafe_scheme"`
	PassthroughInternalRedirectTooManyRedirects Counter `stat:"passthrough_internal_redirect_too_many_redirects"`
	PassthroughInternalRedirectNoRoute          Counter `stat:"passthrough_internal_redirect_no_route"`
	PassthroughInternalRedirectPredicate        Counter `stat:"passthrough_internal_redirect_predicate"`

	// The codec's own, shared by all connection managers (HC-14).
	HTTP1DroppedHeadersWithUnderscores            Counter `stat:".http1.dropped_headers_with_underscores"`
	HTTP1RequestsRejectedWithUnderscoresInHeaders Counter `stat:".http1.requests_rejected_with_underscores_in_headers"`
}

// NewHTTPStats registers http.<statPrefix>.
func NewHTTPStats(r *Registry, statPrefix string) *HTTPStats {
	s := new(HTTPStats)
	register(r, "http."+Clean(statPrefix)+".", s)
	return s
}

// ListenerHTTPStats is listener.<address>.http.<stat_prefix>.: a connection manager's outcomes per
// listener.
type ListenerHTTPStats struct {
	DownstreamRqCompleted Counter    `stat:"downstream_rq_completed"`
	DownstreamRqClass     [5]Counter `stat:"downstream_rq_%dxx"`
}

// NewListenerHTTPStats registers listener.<addressOrPrefix>.http.<statPrefix>.
func NewListenerHTTPStats(r *Registry, addressOrPrefix, statPrefix string) *ListenerHTTPStats {
	s := new(ListenerHTTPStats)
	register(r, "listener."+Clean(addressOrPrefix)+".http."+Clean(statPrefix)+".", s)
	return s
}
