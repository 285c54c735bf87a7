package http2

import (
	"time"

	"github.com/sluiceproxy/sluice/codec/http1"
)

// Options are the limits and switches of one listener or cluster (Envoy's Http2ProtocolOptions and
// HttpProtocolOptions). Compiled once, then read-only and shared by every loop. Start from
// DefaultOptions.
type Options struct {
	// MaxConcurrentStreams is max_concurrent_streams: how many a client may have open here, and how many
	// we have open at most at a server, if it allows that many. 1 to 2^31-1.
	MaxConcurrentStreams uint32
	// InitialStreamWindow and InitialConnWindow are initial_stream_window_size and
	// initial_connection_window_size, in bytes: 65535 to 2^31-1.
	InitialStreamWindow, InitialConnWindow int32
	// TableSize is hpack_table_size, in bytes, for the tables of both directions.
	TableSize uint32
	// MaxHeadBytes bounds the names and values of a head, and of trailers again: max_request_headers_kb or
	// max_response_headers_kb.
	MaxHeadBytes int
	// MaxFields is max_headers_count, pseudo-header fields included.
	MaxFields int
	// Underscores is headers_with_underscores_action; requests only.
	Underscores http1.UnderscorePolicy
	// AllowConnect is allow_connect: extended CONNECT is offered to clients and used with servers.
	AllowConnect bool
	// StreamErrorOnInvalidMessage is override_stream_error_on_invalid_http_message: a malformed message
	// ends its stream, not the connection.
	StreamErrorOnInvalidMessage bool

	// Flood limits, by the names of their fields.
	MaxOutboundFrames, MaxOutboundControlFrames int
	MaxConsecutiveEmptyFrames                   uint32
	MaxPriorityFramesPerStream                  uint32
	MaxWindowUpdatesPerDataFrame                uint32

	// PrematureResetTotal and PrematureResetLifetime are overload.premature_reset_total_stream_count and
	// overload.premature_reset_min_stream_lifetime_seconds. Servers only; a total of 0 is no limit.
	PrematureResetTotal    uint64
	PrematureResetLifetime time.Duration

	// MaxRequestsPerFeed is http.max_requests_per_io_cycle: Feed stops after that many requests, with
	// Yielded, and takes the rest when it is called again. 0 is no limit.
	MaxRequestsPerFeed int
}

// DefaultOptions returns Envoy's defaults.
func DefaultOptions() Options {
	return Options{
		MaxConcurrentStreams: 1024, InitialStreamWindow: 16 << 20, InitialConnWindow: 24 << 20, TableSize: 4096,
		MaxHeadBytes: 60 << 10, MaxFields: 100,
		MaxOutboundFrames: 10_000, MaxOutboundControlFrames: 1000, MaxConsecutiveEmptyFrames: 1,
		MaxPriorityFramesPerStream: 100, MaxWindowUpdatesPerDataFrame: 10,
		PrematureResetTotal: 500, PrematureResetLifetime: time.Second,
	}
}
