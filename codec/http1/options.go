package http1

import "github.com/sluiceproxy/sluice/codec/header"

// UnderscorePolicy is Envoy's headers_with_underscores_action (HC-14).
type UnderscorePolicy uint8

// What is done with a field whose name has an underscore.
const (
	UnderscoreAllow UnderscorePolicy = iota
	UnderscoreReject
	UnderscoreDrop
)

// Options are the limits and switches of one listener or cluster. Compiled once, then read-only and
// shared by every loop. The zero value refuses everything; start from DefaultOptions.
type Options struct {
	// MaxHeadBytes bounds the start line and the fields as received, and the trailers again:
	// max_request_headers_kb or max_response_headers_kb.
	MaxHeadBytes int
	// MaxFields is max_headers_count; more than header.MaxFields counts as that.
	MaxFields int
	// AllowHTTP10 is accept_http_10.
	AllowHTTP10 bool
	// AllowAbsoluteURL is allow_absolute_url; when false an absolute target stays whole in Path (RT-121).
	AllowAbsoluteURL bool
	// AllowCustomMethods is allow_custom_methods.
	AllowCustomMethods bool
	// AllowChunkedLength is allow_chunked_length: Content-Length beside chunked is dropped, not refused.
	AllowChunkedLength bool
	// EnableTrailers is enable_trailers; when false trailers are checked and dropped.
	EnableTrailers bool
	// Underscores is headers_with_underscores_action.
	Underscores UnderscorePolicy
}

// DefaultOptions returns Envoy's defaults: 60 KiB, 100 fields, absolute targets accepted.
func DefaultOptions() Options {
	return Options{MaxHeadBytes: 60 << 10, MaxFields: 100, AllowAbsoluteURL: true}
}

// RequestInfo is what the reading of a response depends on in the request it answers.
type RequestInfo struct {
	Method header.Method
	// Upgrade is true when the request sent asked for an upgrade; only then may 101 come back.
	Upgrade bool
}
