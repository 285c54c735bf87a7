package header

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

// knownSlots is an open-addressed table over slotOf; at most a quarter full, so probes are short.
var knownSlots = func() (slots [512]Known) {
	for k := Unknown + 1; k < numKnown; k++ {
		i := slotOf([]byte(knownNames[k]))
		for slots[i] != Unknown {
			i = (i + 1) & 511
		}
		slots[i] = k
	}
	return slots
}()

func slotOf(name []byte) uint {
	n := uint(len(name))
	first, mid, last := uint(name[0]|0x20), uint(name[n/2]|0x20), uint(name[n-1]|0x20)
	return (n*37 + first*5 + mid*71 + last*151 + uint(name[n*3/4]|0x20)*263) & 511
}

// Lookup returns the identity of a field name in any letter case, Unknown when it is none of ours.
// name must already be a valid token (it is compared with letter case folded by one bit).
// No allocation.
func Lookup(name []byte) Known {
	if len(name) < 2 {
		return Unknown
	}
	for i := slotOf(name); ; i = (i + 1) & 511 {
		k := knownSlots[i]
		if k == Unknown || EqualFold(name, knownNames[k]) {
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
