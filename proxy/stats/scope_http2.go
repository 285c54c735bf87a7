package stats

// HTTP2Stats is http2., the HTTP/2 codec's own of all listeners, or cluster.<name>.http2. (HC-77).
type HTTP2Stats struct {
	RxMessagingError                         Counter `stat:"rx_messaging_error"`
	RxReset                                  Counter `stat:"rx_reset"`
	TxReset                                  Counter `stat:"tx_reset"`
	Trailers                                 Counter `stat:"trailers"`
	StreamRefusedErrors                      Counter `stat:"stream_refused_errors"`
	HeadersCbNoStream                        Counter `stat:"headers_cb_no_stream"`
	HeaderOverflow                           Counter `stat:"header_overflow"`
	DroppedHeadersWithUnderscores            Counter `stat:"dropped_headers_with_underscores"`
	RequestsRejectedWithUnderscoresInHeaders Counter `stat:"requests_rejected_with_underscores_in_headers"`
	OutboundFlood                            Counter `stat:"outbound_flood"`
	OutboundControlFlood                     Counter `stat:"outbound_control_flood"`
	InboundEmptyFramesFlood                  Counter `stat:"inbound_empty_frames_flood"`
	InboundPriorityFramesFlood               Counter `stat:"inbound_priority_frames_flood"`
	InboundWindowUpdateFramesFlood           Counter `stat:"inbound_window_update_frames_flood"`
	GoAwaySent                               Counter `stat:"goaway_sent"`
	KeepaliveTimeout                         Counter `stat:"keepalive_timeout"`
	TxFlushTimeout                           Counter `stat:"tx_flush_timeout"`

	// StreamsActive counts streams that are not over on the wire, PendingSendBytes the data that waits for
	// the peer's windows, DeferredStreamClose the streams whose message is complete but for such data.
	StreamsActive       Gauge `stat:"streams_active"`
	PendingSendBytes    Gauge `stat:"pending_send_bytes"`
	DeferredStreamClose Gauge `stat:"deferred_stream_close"`
}

// NewHTTP2Stats registers <prefix>http2.; prefix is empty for listeners, which share these, or
// cluster.<name>. with its dot.
func NewHTTP2Stats(r *Registry, prefix string) *HTTP2Stats {
	s := new(HTTP2Stats)
	register(r, prefix+"http2.", s)
	return s
}
