package conf

import "time"

// HTTP2Options is core.v3.Http2ProtocolOptions for a listener or a cluster. NewHTTP2Options has the
// defaults.
type HTTP2Options struct {
	MaxConcurrentStreams        uint32 // 1024
	InitialStreamWindowSize     uint32 // 16 MiB
	InitialConnectionWindowSize uint32 // 24 MiB
	HPACKTableSize              uint32 // 4096
	AllowConnect                bool
	// StreamErrorOnInvalidMessage is override_stream_error_on_invalid_http_message.
	StreamErrorOnInvalidMessage bool

	// Flood limits (HC-77).
	MaxOutboundFrames                           uint32 // 10000
	MaxOutboundControlFrames                    uint32 // 1000
	MaxConsecutiveInboundFramesWithEmptyPayload uint32 // 1
	MaxInboundPriorityFramesPerStream           uint32 // 100
	MaxInboundWindowUpdateFramesPerDataFrame    uint32 // 10

	// KeepAlive is connection_keepalive; an Interval of 0 sends no PINGs by itself.
	KeepAlive HTTP2KeepAlive
}

// HTTP2KeepAlive is core.v3.KeepaliveSettings.
type HTTP2KeepAlive struct {
	Interval time.Duration
	Timeout  time.Duration
	// JitterPercent of Interval is added at random; 15.
	JitterPercent float64
	// IdleInterval sends a PING before a stream that follows so long a silence; 0 off.
	IdleInterval time.Duration
}

// NewHTTP2Options returns Envoy's defaults.
func NewHTTP2Options() HTTP2Options {
	return HTTP2Options{
		MaxConcurrentStreams: 1024, InitialStreamWindowSize: 16 << 20, InitialConnectionWindowSize: 24 << 20, HPACKTableSize: 4096,
		MaxOutboundFrames: 10000, MaxOutboundControlFrames: 1000, MaxConsecutiveInboundFramesWithEmptyPayload: 1,
		MaxInboundPriorityFramesPerStream: 100, MaxInboundWindowUpdateFramesPerDataFrame: 10,
		KeepAlive: HTTP2KeepAlive{JitterPercent: 15},
	}
}

// UpstreamProtocol is which codec a cluster's connections speak (clusters.md 8).
type UpstreamProtocol uint8

// Upstream protocols.
const (
	UpstreamHTTP1 UpstreamProtocol = iota
	UpstreamHTTP2
	// UpstreamSameAsDownstream is use_downstream_protocol_config: HTTP/2 for requests that came by it.
	UpstreamSameAsDownstream
	// UpstreamByALPN is auto_config: what TLS negotiates.
	UpstreamByALPN
)
