package conf

import "time"

// ConnectMode is TcpProxy.upstream_connect_mode.
type ConnectMode uint8

// When the upstream connection is made (tcp_proxy.md 2).
const (
	ConnectImmediate ConnectMode = iota
	ConnectOnDownstreamData
	ConnectOnTLSHandshake
)

// TCPProxy is envoy.filters.network.tcp_proxy.
type TCPProxy struct {
	StatPrefix string
	// Cluster is the name; or Weighted, when it is not empty.
	Cluster  string
	Weighted []WeightedCluster
	// OnDemand looks up a cluster that is not there; nil: it is an error of the connection.
	OnDemand *OnDemand
	// MetadataMatch are the load balancing criteria (envoy.lb only); nil: none.
	MetadataMatch LBMetadata
	HashPolicy    TCPHashPolicy

	// Timeouts; 0 is off. IdleTimeout is 1 h by default.
	IdleTimeout                     time.Duration
	MaxDownstreamConnectionDuration time.Duration
	// MaxDurationJitterPercent adds a random part of MaxDownstreamConnectionDuration, 0 to 100.
	MaxDurationJitterPercent float64

	MaxConnectAttempts uint32 // 1
	// BackOffBase and BackOffMax are backoff_options; 0: the next attempt follows at once.
	BackOffBase, BackOffMax time.Duration

	ConnectMode ConnectMode
	// EarlyData says that MaxEarlyDataBytes is set; else nothing is read before the upstream is connected.
	EarlyData         bool
	MaxEarlyDataBytes uint32

	AccessLogs []*AccessLog
	// LogInterval is access_log_flush_interval; 0 off.
	LogInterval                time.Duration
	LogOnConnected, LogOnStart bool

	ProxyProtocolTLVs []ProxyProtocolTLV
	TLVMerge          TLVMerge
	CheckDrainClose   bool

	// Tunnel sends the bytes through a CONNECT or POST over HTTP; nil: they go as they are.
	Tunnel *Tunneling
}

// Tunneling is TcpProxy.TunnelingConfig.
type Tunneling struct {
	Hostname string // a format string
	UsePost  bool
	PostPath string // "/" with UsePost
	Headers  []HeaderValue
	// PropagateHeaders and PropagateTrailers keep the answer's fields in filter state.
	PropagateHeaders, PropagateTrailers bool
}

// NewTCPProxy returns a TCP proxy with Envoy's defaults.
func NewTCPProxy(statPrefix, cluster string) *TCPProxy {
	return &TCPProxy{StatPrefix: statPrefix, Cluster: cluster, IdleTimeout: time.Hour, MaxConnectAttempts: 1}
}

// WeightedCluster is TcpProxy.WeightedCluster.ClusterWeight.
type WeightedCluster struct {
	Name   string
	Weight uint32 // 1 or more
	// MetadataMatch is merged over the filter's; its keys win (TCP-20).
	MetadataMatch LBMetadata
}

// LBMetadata are values of the metadata namespace envoy.lb by key, each as canonical JSON ("\"v1\"",
// "2", "true"), so that equal values have equal text. Of an endpoint, or criteria that choose among them.
type LBMetadata map[string]string

// OnDemand is TcpProxy.on_demand.
type OnDemand struct {
	// Path is the directory that holds a file for each cluster (odcds_config.path_config_source.path).
	Path    string
	Timeout time.Duration // 60 s
}

// HashKind is which hash policy is set.
type HashKind uint8

// Hash policies of TCP (type.v3.HashPolicy).
const (
	HashNone HashKind = iota
	HashSourceIP
	HashFilterState
)

// TCPHashPolicy says what a ring hash or Maglev cluster chooses the host by.
type TCPHashPolicy struct {
	Kind HashKind
	Key  string // of the filter state object
}

// TLVMerge is TcpProxy.proxy_protocol_tlv_merge_policy.
type TLVMerge uint8

// How ProxyProtocolTLVs join those received from the client.
const (
	TLVAddIfAbsent TLVMerge = iota
	TLVOverwrite
	TLVAppend
)

// ProxyProtocolTLV is core.v3.TlvEntry: a TLV for an upstream PROXY v2 header.
type ProxyProtocolTLV struct {
	Type uint8
	// Value is used when Format is nil.
	Value  []byte
	Format *Format
}

// UpstreamProxyProtocol is envoy.transport_sockets.upstream_proxy_protocol; the socket within it stands
// beside it.
type UpstreamProxyProtocol struct {
	Version2    bool
	PassThrough TLVMatch
	Added       []ProxyProtocolTLV
}
