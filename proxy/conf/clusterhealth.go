package conf

import "time"

// HealthCheck is core.v3.HealthCheck: exactly one of HTTP, TCP and GRPC is there (clusters.md 7.1).
type HealthCheck struct {
	Timeout, Interval             time.Duration
	InitialJitter, IntervalJitter time.Duration
	IntervalJitterPercent         uint32
	UnhealthyThreshold            uint32
	HealthyThreshold              uint32
	// ReuseConnection keeps the connection from one check to the next; true.
	ReuseConnection bool
	// NoTrafficInterval and NoTrafficHealthyInterval hold until the cluster has had a connection; 60 s.
	NoTrafficInterval, NoTrafficHealthyInterval time.Duration
	// UnhealthyInterval is between checks of a host that is unhealthy, the edge intervals follow a change.
	UnhealthyInterval, UnhealthyEdgeInterval, HealthyEdgeInterval time.Duration
	// EventLogPath takes a line for each change; AlwaysLogFailures and AlwaysLogSuccess one for each check.
	EventLogPath                        string
	AlwaysLogFailures, AlwaysLogSuccess bool
	// ALPN replaces what a TLS connection of a check offers (tls_options.alpn_protocols).
	ALPN []string

	HTTP *HTTPHealthCheck
	TCP  *TCPHealthCheck
	GRPC *GRPCHealthCheck
}

// HTTPHealthCheck is HealthCheck.HttpHealthCheck.
type HTTPHealthCheck struct {
	Host, Path, Method string // Method: GET
	HTTP2              bool   // codec_client_type
	// Receive are found in the first ResponseBytes of the body, one after the other.
	Receive             [][]byte
	ResponseBytes       int // 1024
	HeadersToAdd        []HeaderValue
	HeadersToRemove     []string
	Expected, Retriable []StatusRange // Expected: 200
	// ServiceName must match the response's x-envoy-upstream-healthchecked-cluster; nil: whatever it is.
	ServiceName *StringMatcher
}

// StatusRange is a range of statuses, Start included, End not.
type StatusRange struct{ Start, End uint16 }

// TCPHealthCheck is HealthCheck.TcpHealthCheck: without Send and Receive a connection is all that counts.
type TCPHealthCheck struct {
	Send    []byte
	Receive [][]byte
}

// GRPCHealthCheck is HealthCheck.GrpcHealthCheck.
type GRPCHealthCheck struct {
	Service, Authority string
	InitialMetadata    []HeaderValue
}

// EndpointHealthCheck is Endpoint.HealthCheckConfig; the zero value checks where requests go.
type EndpointHealthCheck struct {
	Port     uint16 // 0: the endpoint's
	Hostname string
	Address  Address // zero: the endpoint's
	Disabled bool
}

// OutlierDetection is cluster.v3.OutlierDetection (clusters.md 7.2).
type OutlierDetection struct {
	Consecutive5xx, ConsecutiveGateway, ConsecutiveLocal uint32
	Interval, BaseEjection, MaxEjection, EjectionJitter  time.Duration
	MaxEjectionPercent                                   uint32
	// Enforcing are percentages.
	Enforcing5xx, EnforcingGateway, EnforcingLocal                        uint32
	EnforcingSuccessRate, EnforcingLocalSuccessRate                       uint32
	EnforcingFailurePercentage, EnforcingLocalFailurePercentage           uint32
	SuccessRateMinHosts, SuccessRateVolume, SuccessRateStdevFactor        uint32
	FailurePercentage, FailurePercentageMinHosts, FailurePercentageVolume uint32
	// Split counts failures without an answer apart from bad answers.
	Split bool
	// UnejectOnHealthCheck ends an ejection when an active check succeeds; true.
	UnejectOnHealthCheck bool
	AlwaysEjectOne       bool
}

// NewOutlierDetection returns Envoy's defaults.
func NewOutlierDetection() *OutlierDetection {
	return &OutlierDetection{
		Consecutive5xx: 5, ConsecutiveGateway: 5, ConsecutiveLocal: 5,
		Interval: 10 * time.Second, BaseEjection: 30 * time.Second, MaxEjection: 300 * time.Second,
		MaxEjectionPercent: 10, Enforcing5xx: 100, EnforcingLocal: 100,
		EnforcingSuccessRate: 100, EnforcingLocalSuccessRate: 100,
		SuccessRateMinHosts: 5, SuccessRateVolume: 100, SuccessRateStdevFactor: 1900,
		FailurePercentage: 85, FailurePercentageMinHosts: 5, FailurePercentageVolume: 50,
		UnejectOnHealthCheck: true,
	}
}
