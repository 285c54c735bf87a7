package http2

// Err is why a stream or the connection ended; zero is that it did not. What goes over the wire is its
// Code.
type Err uint8

// The reasons. Rule ids are those of the wire rules.
const (
	// OK: nothing is wrong.
	OK Err = iota

	// Errors of the connection.

	// ErrPreface: the connection does not begin with the preface and SETTINGS (HC-60).
	ErrPreface
	// ErrFrameSize: longer than we accept, or not the length its type has (HC-61).
	ErrFrameSize
	// ErrStreamID: a stream number the frame or the peer may not use.
	ErrStreamID
	// ErrFrame: a frame where none of its type may come: inside a field block, or PUSH_PROMISE (HC-69).
	ErrFrame
	// ErrPadding: padding as long as the frame.
	ErrPadding
	// ErrSetting: a value out of its range, or an acknowledgement of nothing.
	ErrSetting
	// ErrInitialWindow: INITIAL_WINDOW_SIZE over 2^31-1, or taking a stream's window over it.
	ErrInitialWindow
	// ErrGoAwayRaised: a later GOAWAY names a higher stream than an earlier one.
	ErrGoAwayRaised
	// ErrCompression: the field block cannot be decoded.
	ErrCompression
	// ErrConnWindow: more data than the connection's window allows (HC-66).
	ErrConnWindow
	// ErrConnWindowUpdate: an increment of zero for the connection.
	ErrConnWindowUpdate
	// ErrConnWindowOverflow: an increment that takes the connection's window over 2^31-1.
	ErrConnWindowOverflow
	// ErrStreamEnded: a frame on a stream that has ended on both sides.
	ErrStreamEnded
	// ErrBlockTooLarge: a field block far over the head limit, or in too many CONTINUATION frames.
	ErrBlockTooLarge
	// ErrOutboundFlood: max_outbound_frames wait to be read by the peer.
	ErrOutboundFlood
	// ErrControlFlood: max_outbound_control_frames wait to be read by the peer.
	ErrControlFlood
	// ErrEmptyFrames: max_consecutive_inbound_frames_with_empty_payload.
	ErrEmptyFrames
	// ErrPriorityFlood: max_inbound_priority_frames_per_stream.
	ErrPriorityFlood
	// ErrWindowFlood: max_inbound_window_update_frames_per_data_frame_sent.
	ErrWindowFlood
	// ErrPrematureResets: too many requests taken back soon after they were sent.
	ErrPrematureResets
	// ErrClosed: the owner closed the connection, or the transport did.
	ErrClosed

	// Errors of a message: of the stream or the connection, as configured.

	// ErrPseudo: a pseudo-header field that is unknown, repeated, missing, or behind a regular one (HC-62).
	ErrPseudo
	// ErrMethod: not a token.
	ErrMethod
	// ErrScheme: not a scheme.
	ErrScheme
	// ErrPath: empty, neither origin-form nor "*" for OPTIONS, or with a byte no target has.
	ErrPath
	// ErrAuthority: not a host with perhaps a port, or Host repeated.
	ErrAuthority
	// ErrConnect: CONNECT with or without what RFC 9113 8.5 and RFC 8441 4 ask for (UP-35).
	ErrConnect
	// ErrStatus: not three digits from 100, 101, or an interim response that ends the stream.
	ErrStatus
	// ErrFieldName: not a token in lower case (HC-63).
	ErrFieldName
	// ErrFieldValue: a byte no value has, or whitespace at an end (HC-63).
	ErrFieldValue
	// ErrConnectionField: a field that only has a meaning for HTTP/1 connections, or TE beyond trailers (HC-63).
	ErrConnectionField
	// ErrContentLength: not one plain decimal number, or one where there is no body.
	ErrContentLength
	// ErrTrailers: a second head that does not end the stream.
	ErrTrailers
	// ErrNoHead: data before the response head.
	ErrNoHead

	// Errors of a stream.

	// ErrLength: the data is not as long as content-length said (HC-64).
	ErrLength
	// ErrConnectProtocol: extended CONNECT that was not offered (UP-12).
	ErrConnectProtocol
	// ErrUnderscore: a name with an underscore under REJECT_REQUEST (HC-78).
	ErrUnderscore
	// ErrHeadTooLarge: the head or the trailers exceed their bytes (HC-68).
	ErrHeadTooLarge
	// ErrTooManyFields: the head or the trailers exceed their count (HC-68).
	ErrTooManyFields
	// ErrHalfClosed: data or a head after END_STREAM.
	ErrHalfClosed
	// ErrStreamWindow: more data than the stream's window allows.
	ErrStreamWindow
	// ErrStreamWindowUpdate: an increment of zero.
	ErrStreamWindowUpdate
	// ErrStreamWindowOverflow: an increment that takes the window over 2^31-1.
	ErrStreamWindowOverflow
	// ErrPeerReset: the peer sent RST_STREAM; its code is passed on.
	ErrPeerReset
	// ErrGoneAway: a stream above the last one of the peer's GOAWAY: it was not processed (HC-76).
	ErrGoneAway

	numErrs
)

// scope is how much an Err ends.
type scope uint8

const (
	wholeConn scope = iota
	message         // the stream, or the connection where invalid messages are not tolerated
	oneStream
)

type errText struct {
	detail  string
	explain string
	code    ErrCode
	counter Counter
	scope   scope
}

const (
	detailProtocol  = "http2.protocol_error"
	detailMessaging = "http2.violation.of.messaging.rule"
	detailField     = "http2.invalid.header.field"
)

var errTexts = [numErrs]errText{
	OK:                      {"", "no error", NoError, NoCounter, oneStream},
	ErrPreface:              {detailProtocol, "the connection does not begin with the HTTP/2 preface and SETTINGS", ProtocolError, NoCounter, wholeConn},
	ErrFrameSize:            {detailProtocol, "a frame has a length its type cannot have", FrameSizeError, NoCounter, wholeConn},
	ErrStreamID:             {detailProtocol, "a frame is on a stream it cannot be on", ProtocolError, NoCounter, wholeConn},
	ErrFrame:                {detailProtocol, "a frame came where none of its type may", ProtocolError, NoCounter, wholeConn},
	ErrPadding:              {detailProtocol, "padding is as long as its frame", ProtocolError, NoCounter, wholeConn},
	ErrSetting:              {detailProtocol, "a setting has a value it cannot have", ProtocolError, NoCounter, wholeConn},
	ErrInitialWindow:        {detailProtocol, "the initial window is over 2^31-1", FlowControlError, NoCounter, wholeConn},
	ErrGoAwayRaised:         {detailProtocol, "a GOAWAY names a higher stream than the one before", ProtocolError, NoCounter, wholeConn},
	ErrCompression:          {detailProtocol, "a field block cannot be decoded", CompressionError, NoCounter, wholeConn},
	ErrConnWindow:           {detailProtocol, "more data than the window of the connection", FlowControlError, NoCounter, wholeConn},
	ErrConnWindowUpdate:     {detailProtocol, "a window update of zero for the connection", ProtocolError, NoCounter, wholeConn},
	ErrConnWindowOverflow:   {detailProtocol, "a window update of the connection beyond 2^31-1", FlowControlError, NoCounter, wholeConn},
	ErrStreamEnded:          {detailProtocol, "a frame on a stream that has ended", StreamClosed, NoCounter, wholeConn},
	ErrBlockTooLarge:        {"http2.headers_too_large", "a field block far larger than the limit of a head", EnhanceYourCalm, HeaderOverflow, wholeConn},
	ErrOutboundFlood:        {"http2.outbound_frames_flood", "too many frames wait for the peer to read (max_outbound_frames)", EnhanceYourCalm, OutboundFlood, wholeConn},
	ErrControlFlood:         {"http2.outbound_control_frames_flood", "too many answers wait for the peer to read (max_outbound_control_frames)", EnhanceYourCalm, OutboundControlFlood, wholeConn},
	ErrEmptyFrames:          {"http2.inbound_empty_frames_flood", "too many frames without payload in a row (max_consecutive_inbound_frames_with_empty_payload)", EnhanceYourCalm, InboundEmptyFramesFlood, wholeConn},
	ErrPriorityFlood:        {"http2.inbound_priority_frames_flood", "too many PRIORITY frames (max_inbound_priority_frames_per_stream)", EnhanceYourCalm, InboundPriorityFramesFlood, wholeConn},
	ErrWindowFlood:          {"http2.inbound_window_update_frames_flood", "too many WINDOW_UPDATE frames (max_inbound_window_update_frames_per_data_frame_sent)", EnhanceYourCalm, InboundWindowUpdateFramesFlood, wholeConn},
	ErrPrematureResets:      {"http2.too_many_premature_resets", "too many requests were reset soon after they came (overload.premature_reset_total_stream_count)", EnhanceYourCalm, TooManyPrematureResets, wholeConn},
	ErrClosed:               {"http2.connection_closed", "the connection was closed", NoError, NoCounter, wholeConn},
	ErrPseudo:               {detailMessaging, "a pseudo-header field is unknown, repeated, missing or misplaced", ProtocolError, RxMessagingError, message},
	ErrMethod:               {detailField, "the method is not a token", ProtocolError, RxMessagingError, message},
	ErrScheme:               {detailField, "the scheme is not one", ProtocolError, RxMessagingError, message},
	ErrPath:                 {detailField, "the path is empty or has a character no path has", ProtocolError, RxMessagingError, message},
	ErrAuthority:            {detailField, "the authority is not a host with perhaps a port", ProtocolError, RxMessagingError, message},
	ErrConnect:              {detailMessaging, "a CONNECT request lacks a field it needs or has one it must not have", ProtocolError, RxMessagingError, message},
	ErrStatus:               {detailField, "the status is not valid here", ProtocolError, RxMessagingError, message},
	ErrFieldName:            {detailField, "a field name is not a token in lower case", ProtocolError, RxMessagingError, message},
	ErrFieldValue:           {detailField, "a field value has a character no value has, or whitespace at an end", ProtocolError, RxMessagingError, message},
	ErrConnectionField:      {detailField, "a field belongs to HTTP/1 connections only", ProtocolError, RxMessagingError, message},
	ErrContentLength:        {detailField, "content-length is not one plain number that fits the message", ProtocolError, RxMessagingError, message},
	ErrTrailers:             {detailMessaging, "trailers do not end the stream", ProtocolError, RxMessagingError, message},
	ErrNoHead:               {detailMessaging, "data came before the response head", ProtocolError, RxMessagingError, message},
	ErrLength:               {detailMessaging, "the body is not as long as content-length says", ProtocolError, RxMessagingError, oneStream},
	ErrConnectProtocol:      {detailMessaging, "extended CONNECT is not offered (allow_connect)", ProtocolError, RxMessagingError, oneStream},
	ErrUnderscore:           {"http2.unexpected_underscore", "a field name has an underscore (headers_with_underscores_action)", ProtocolError, RequestsRejectedWithUnderscores, oneStream},
	ErrHeadTooLarge:         {"http2.headers_too_large", "the head is larger than the limit", EnhanceYourCalm, HeaderOverflow, oneStream},
	ErrTooManyFields:        {"http2.too_many_headers", "the head has more fields than the limit", EnhanceYourCalm, HeaderOverflow, oneStream},
	ErrHalfClosed:           {detailProtocol, "data or a head after the end of the stream", StreamClosed, NoCounter, oneStream},
	ErrStreamWindow:         {detailProtocol, "more data than the window of the stream", FlowControlError, NoCounter, oneStream},
	ErrStreamWindowUpdate:   {detailProtocol, "a window update of zero", ProtocolError, NoCounter, oneStream},
	ErrStreamWindowOverflow: {detailProtocol, "a window update beyond 2^31-1", FlowControlError, NoCounter, oneStream},
	ErrPeerReset:            {"http2.remote_reset", "the peer reset the stream", NoError, RxReset, oneStream},
	ErrGoneAway:             {"http2.remote_refuse", "the peer went away without processing the stream", RefusedStream, NoCounter, oneStream},
}

// String returns the response code detail, "" for OK.
func (e Err) String() string { return errTexts[e].detail }

// Explain returns one sentence for people.
func (e Err) Explain() string { return errTexts[e].explain }

// Code returns the error code that goes over the wire.
func (e Err) Code() ErrCode { return errTexts[e].code }

// Counter names a statistic that one event adds one to.
type Counter uint8

// The counters, http2.* of a listener or cluster (HC-77).
const (
	NoCounter Counter = iota
	RxMessagingError
	RxReset
	TxReset
	Trailers
	StreamRefusedErrors
	HeadersCbNoStream
	HeaderOverflow
	DroppedHeadersWithUnderscores
	RequestsRejectedWithUnderscores
	OutboundFlood
	OutboundControlFlood
	InboundEmptyFramesFlood
	InboundPriorityFramesFlood
	InboundWindowUpdateFramesFlood
	GoAwaySent
	// TooManyPrematureResets is http.<stat_prefix>.downstream_rq_too_many_premature_resets.
	TooManyPrematureResets
	// RxResetNoError is cluster.<name>.upstream_rq_rx_reset_no_error: a server has ended a stream with NO_ERROR,
	// as it does when its response is whole and it does not want the rest of the request (RFC 9113 8.1).
	// Clients only.
	RxResetNoError
	NumCounters
)

var counterNames = [NumCounters]string{
	RxMessagingError: "rx_messaging_error", RxReset: "rx_reset", TxReset: "tx_reset", Trailers: "trailers",
	StreamRefusedErrors: "stream_refused_errors", HeadersCbNoStream: "headers_cb_no_stream", HeaderOverflow: "header_overflow",
	DroppedHeadersWithUnderscores:   "dropped_headers_with_underscores",
	RequestsRejectedWithUnderscores: "requests_rejected_with_underscores_in_headers",
	OutboundFlood:                   "outbound_flood", OutboundControlFlood: "outbound_control_flood",
	InboundEmptyFramesFlood: "inbound_empty_frames_flood", InboundPriorityFramesFlood: "inbound_priority_frames_flood",
	InboundWindowUpdateFramesFlood: "inbound_window_update_frames_flood", GoAwaySent: "goaway_sent",
	TooManyPrematureResets: "downstream_rq_too_many_premature_resets",
	RxResetNoError:         "upstream_rq_rx_reset_no_error",
}

// String returns Envoy's name without its prefix, "" for NoCounter.
func (c Counter) String() string { return counterNames[c] }
