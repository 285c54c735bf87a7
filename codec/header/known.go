package header

import "encoding/binary"

// Known is the identity of a field name the proxy looks at. Zero is any other name.
type Known uint8

// Names the engine, the router or the logs read or write. Keep the list and knownNames in step.
const (
	Unknown Known = iota
	Accept
	AcceptEncoding
	AltSvc
	Authorization
	CacheControl
	Connection
	ContentEncoding
	ContentLength
	ContentType
	Cookie
	Date
	Expect
	Forwarded
	GrpcMessage
	GrpcStatus
	GrpcTimeout
	Host
	HTTP2Settings
	IfNoneMatch
	KeepAlive
	LastModified
	Location
	Origin
	ProxyAuthenticate
	ProxyAuthorization
	ProxyConnection
	Range
	Referer
	RetryAfter
	Server
	SetCookie
	TE
	Trailer
	TransferEncoding
	Upgrade
	UserAgent
	Via
	XEnvoyAttemptCount
	XEnvoyDecoratorOperation
	XEnvoyDownstreamServiceCluster
	XEnvoyDownstreamServiceNode
	XEnvoyDropOverload
	XEnvoyExpectedRqTimeoutMs
	XEnvoyExternalAddress
	XEnvoyForceTrace
	XEnvoyHedgeOnPerTryTimeout
	XEnvoyImmediateHealthCheckFail
	XEnvoyInternal
	XEnvoyIPTags
	XEnvoyIsTimeoutRetry
	XEnvoyMaxRetries
	XEnvoyOriginalHost
	XEnvoyOriginalPath
	XEnvoyOriginalURL
	XEnvoyOverloaded
	XEnvoyRateLimited
	XEnvoyRetriableHeaderNames
	XEnvoyRetriableStatusCodes
	XEnvoyRetryGrpcOn
	XEnvoyRetryOn
	XEnvoyUpstreamAltStatName
	XEnvoyUpstreamCanary
	XEnvoyUpstreamRqPerTryTimeoutMs
	XEnvoyUpstreamRqTimeoutAltResponse
	XEnvoyUpstreamRqTimeoutMs
	XEnvoyUpstreamServiceTime
	XEnvoyUpstreamStreamDurationMs
	XForwardedClientCert
	XForwardedFor
	XForwardedHost
	XForwardedPort
	XForwardedProto
	XRequestID
	numKnown
)

var knownNames = [numKnown]string{
	Accept: "accept", AcceptEncoding: "accept-encoding", AltSvc: "alt-svc", Authorization: "authorization",
	CacheControl: "cache-control", Connection: "connection", ContentEncoding: "content-encoding",
	ContentLength: "content-length", ContentType: "content-type", Cookie: "cookie", Date: "date",
	Expect: "expect", Forwarded: "forwarded", GrpcMessage: "grpc-message", GrpcStatus: "grpc-status",
	GrpcTimeout: "grpc-timeout", Host: "host", HTTP2Settings: "http2-settings", IfNoneMatch: "if-none-match",
	KeepAlive: "keep-alive", LastModified: "last-modified", Location: "location", Origin: "origin",
	ProxyAuthenticate: "proxy-authenticate", ProxyAuthorization: "proxy-authorization",
	ProxyConnection: "proxy-connection", Range: "range", Referer: "referer", RetryAfter: "retry-after",
	Server: "server", SetCookie: "set-cookie", TE: "te", Trailer: "trailer",
	TransferEncoding: "transfer-encoding", Upgrade: "upgrade", UserAgent: "user-agent", Via: "via",
	XEnvoyAttemptCount:                 "x-envoy-attempt-count",
	XEnvoyDecoratorOperation:           "x-envoy-decorator-operation",
	XEnvoyDownstreamServiceCluster:     "x-envoy-downstream-service-cluster",
	XEnvoyDownstreamServiceNode:        "x-envoy-downstream-service-node",
	XEnvoyDropOverload:                 "x-envoy-drop-overload",
	XEnvoyExpectedRqTimeoutMs:          "x-envoy-expected-rq-timeout-ms",
	XEnvoyExternalAddress:              "x-envoy-external-address",
	XEnvoyForceTrace:                   "x-envoy-force-trace",
	XEnvoyHedgeOnPerTryTimeout:         "x-envoy-hedge-on-per-try-timeout",
	XEnvoyImmediateHealthCheckFail:     "x-envoy-immediate-health-check-fail",
	XEnvoyInternal:                     "x-envoy-internal",
	XEnvoyIPTags:                       "x-envoy-ip-tags",
	XEnvoyIsTimeoutRetry:               "x-envoy-is-timeout-retry",
	XEnvoyMaxRetries:                   "x-envoy-max-retries",
	XEnvoyOriginalHost:                 "x-envoy-original-host",
	XEnvoyOriginalPath:                 "x-envoy-original-path",
	XEnvoyOriginalURL:                  "x-envoy-original-url",
	XEnvoyOverloaded:                   "x-envoy-overloaded",
	XEnvoyRateLimited:                  "x-envoy-ratelimited",
	XEnvoyRetriableHeaderNames:         "x-envoy-retriable-header-names",
	XEnvoyRetriableStatusCodes:         "x-envoy-retriable-status-codes",
	XEnvoyRetryGrpcOn:                  "x-envoy-retry-grpc-on",
	XEnvoyRetryOn:                      "x-envoy-retry-on",
	XEnvoyUpstreamAltStatName:          "x-envoy-upstream-alt-stat-name",
	XEnvoyUpstreamCanary:               "x-envoy-upstream-canary",
	XEnvoyUpstreamRqPerTryTimeoutMs:    "x-envoy-upstream-rq-per-try-timeout-ms",
	XEnvoyUpstreamRqTimeoutAltResponse: "x-envoy-upstream-rq-timeout-alt-response",
	XEnvoyUpstreamRqTimeoutMs:          "x-envoy-upstream-rq-timeout-ms",
	XEnvoyUpstreamServiceTime:          "x-envoy-upstream-service-time",
	XEnvoyUpstreamStreamDurationMs:     "x-envoy-upstream-stream-duration-ms",
	XForwardedClientCert:               "x-forwarded-client-cert",
	XForwardedFor:                      "x-forwarded-for",
	XForwardedHost:                     "x-forwarded-host",
	XForwardedPort:                     "x-forwarded-port",
	XForwardedProto:                    "x-forwarded-proto",
	XRequestID:                         "x-request-id",
}

// String returns the lower-case name, "" for Unknown.
func (k Known) String() string { return knownNames[k] }

// NumKnown is the size of a table indexed by Known.
const NumKnown = int(numKnown)

// foldedName is a known name as two words and the bits in them that may differ (0x20 at letters).
type foldedName struct{ head, tail, headFold, tailFold uint64 }

var foldedNames = func() (out [numKnown]foldedName) {
	for k := Unknown + 1; k < numKnown; k++ {
		fold := make([]byte, len(knownNames[k]))
		for i, c := range []byte(knownNames[k]) {
			if c >= 'a' && c <= 'z' {
				fold[i] = 0x20
			}
		}
		f := &out[k]
		f.head, f.tail = nameWords([]byte(knownNames[k]))
		f.headFold, f.tailFold = nameWords(fold)
	}
	return out
}()

// knownSlots is an open-addressed table over slotOf; less than a quarter full, so probes are short.
var knownSlots = func() (slots [512]Known) {
	for k := Unknown + 1; k < numKnown; k++ {
		name := []byte(knownNames[k])
		head, tail := nameWords(name)
		i := slotOf(head, tail, len(name))
		for slots[i] != Unknown {
			i = (i + 1) & 511
		}
		slots[i] = k
	}
	return slots
}()

// nameWords returns the first and the last eight bytes of a name of two bytes or more; names under
// eight bytes fit in head alone.
func nameWords(name []byte) (head, tail uint64) {
	n := len(name)
	switch {
	case n >= 8:
		return binary.LittleEndian.Uint64(name), binary.LittleEndian.Uint64(name[n-8:])
	case n >= 4:
		return uint64(binary.LittleEndian.Uint32(name)) | uint64(binary.LittleEndian.Uint32(name[n-4:]))<<32, 0
	}
	return uint64(name[0]) | uint64(name[1])<<8 | uint64(name[n-1])<<16, 0
}

// slotOf hashes a name with its letter case folded; other bytes may collide and are compared after.
func slotOf(head, tail uint64, n int) uint {
	const lower = 0x2020202020202020
	return uint(((head|lower)*0x9e3779b97f4a7c15 ^ (tail|lower)*0xc2b2ae3d27d4eb4f + uint64(n)<<55) >> 55)
}

// Lookup returns the identity of a field name in any letter case, Unknown when it is none of ours.
// Any bytes may be asked for: a name that is found is thereby a valid token. No allocation.
func Lookup(name []byte) Known {
	n := len(name)
	if n < 2 {
		return Unknown
	}
	head, tail := nameWords(name)
	for i := slotOf(head, tail, n) & 511; ; i = (i + 1) & 511 {
		k := knownSlots[i]
		if k == Unknown {
			return Unknown
		}
		f, lower := &foldedNames[k], knownNames[k]
		if n == len(lower) && (head^f.head)&^f.headFold == 0 && (tail^f.tail)&^f.tailFold == 0 &&
			(n <= 16 || EqualFold(name[8:n-8], lower[8:n-8])) {
			return k
		}
	}
}

// EqualFold says whether name equals lower, which must be lower case already. Only letters fold;
// '_' and control bytes differ from what they would fold to because lower holds neither.
func EqualFold(name []byte, lower string) bool {
	if len(name) != len(lower) {
		return false
	}
	for i := 0; i < len(lower); i++ {
		c := name[i]
		if c != lower[i] && (c-'A' > 'Z'-'A' || c|0x20 != lower[i]) {
			return false
		}
	}
	return true
}

// foldEqual compares two names with ASCII letters folded.
func foldEqual(a, b []byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i, c := range a {
		if d := b[i]; c != d && (c^d != 0x20 || (c|0x20)-'a' > 'z'-'a') {
			return false
		}
	}
	return true
}
