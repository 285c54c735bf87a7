package conf

import (
	"encoding/json"
	"net/netip"
	"slices"
	"time"
)

// Bootstrap is one whole configuration (config.bootstrap.v3.Bootstrap).
type Bootstrap struct {
	Node      Node
	Admin     *Admin // nil: no admin listener
	Listeners []*Listener
	Clusters  []*Cluster
	// LocalCluster is the cluster this process is one of (cluster_manager.local_cluster_name); empty: none.
	LocalCluster string
	// Runtime is the merged static_layer values, dotted keys to text (layered_runtime): what the loader
	// itself reads. What may change while the proxy runs is package runtime's.
	Runtime map[string]string
	// RuntimeLayers are the layers in order, later ones override. Without any, Runtime is one and the
	// admin interface has another.
	RuntimeLayers []RuntimeLayer
	// AccessLogFlushInterval is how often buffered log lines are written; 10 s by default.
	AccessLogFlushInterval time.Duration
	// Raw is the bootstrap as Envoy JSON, for /config_dump.
	Raw json.RawMessage
}

// RuntimeLayer is one layer of layered_runtime.
type RuntimeLayer struct {
	Name string
	// Admin marks the layer that /runtime_modify changes; at most one, and always one when
	// layered_runtime is not configured (OP-30).
	Admin bool
	// Disk makes it a disk_layer.
	Disk *RuntimeDisk
	// Values are the static values, dotted keys to text.
	Values map[string]string
}

// RuntimeDisk is a disk_layer: a directory of files, one for each value, read again when SymlinkRoot is
// swapped.
type RuntimeDisk struct {
	SymlinkRoot, Subdirectory string
	// AppendServiceCluster goes one directory further, that of the node's cluster.
	AppendServiceCluster bool
}

// Node identifies this process (core.v3.Node).
type Node struct {
	ID, Cluster           string
	Region, Zone, SubZone string
}

// Admin is the admin listener (bootstrap.admin).
type Admin struct {
	Address Address
	// AllowPaths restricts what is served: exact paths, or prefixes when they end in '*'. Empty: all.
	AllowPaths []string
}

// Address is where to listen or connect: an IP and port, a unix socket, a listener of this proxy, or a host
// name to resolve.
type Address struct {
	// IP is the literal address and port; invalid for pipes and host names.
	IP netip.AddrPort
	// Host is a name to be resolved (DNS cluster types only), with Port.
	Host string
	Port uint16
	// Pipe is a unix socket path; '@' first means the abstract namespace. Mode is its permissions.
	Pipe string
	Mode uint32
	// Internal is the name of an internal listener, of which EndpointID tells hosts apart.
	Internal, EndpointID string
	// IPv4Compat accepts IPv4 on an IPv6 listener (ipv4_compat).
	IPv4Compat bool
}

// Local returns what an address without an IP is called, a unix socket by its path and an internal listener as
// envoy://listener/endpoint; empty for others.
func (a *Address) Local() string {
	if a.Internal != "" {
		return "envoy://" + a.Internal + "/" + a.EndpointID
	}
	return a.Pipe
}

// String returns ip:port, host:port, the pipe's path or an internal listener's name.
func (a Address) String() string {
	switch {
	case a.Internal != "":
		return a.Local()
	case a.Pipe != "":
		return a.Pipe
	case a.Host != "":
		return joinHostPort(a.Host, a.Port)
	}
	return a.IP.String()
}

func joinHostPort(host string, port uint16) string {
	b := make([]byte, 0, len(host)+6)
	b = append(b, host...)
	b = append(b, ':')
	return string(appendUint(b, uint64(port)))
}

func appendUint(b []byte, v uint64) []byte {
	if v >= 10 {
		b = appendUint(b, v/10)
	}
	return append(b, byte('0'+v%10))
}

// DrainType says which events drain a listener (Listener.drain_type).
type DrainType uint8

// Drain types.
const (
	DrainDefault DrainType = iota
	DrainModifyOnly
)

// TrafficDirection is Listener.traffic_direction; /drain_listeners?inboundonly picks by it.
type TrafficDirection uint8

// Traffic directions.
const (
	TrafficUnspecified TrafficDirection = iota
	TrafficInbound
	TrafficOutbound
)

// Listener is one listener with its sockets (config.listener.v3.Listener).
type Listener struct {
	// Name is unique; a listener without a name is called by its first address.
	Name string
	// Addresses holds the address and the additional_addresses; at least one.
	Addresses  []Address
	StatPrefix string
	// FilterChains are matched against each connection (TCP-80); DefaultFilterChain takes what none of
	// them matches, nil closes it.
	FilterChains       []*FilterChain
	DefaultFilterChain *FilterChain
	// Filters look at a connection before a filter chain is chosen, in order (listener_filters).
	Filters []ListenerFilter
	// FiltersTimeout bounds how long they may wait for bytes (listener_filters_timeout, 15 s); 0 off.
	// ContinueOnFiltersTimeout then goes on with what is known instead of closing.
	FiltersTimeout           time.Duration
	ContinueOnFiltersTimeout bool
	// ExactBalance gives every accepted connection to the loop that has the fewest of this listener
	// (connection_balance_config.exact_balance) instead of leaving the choice to the kernel.
	ExactBalance bool
	// PerConnectionBufferLimitBytes is the high watermark of each connection; 1 MiB by default.
	PerConnectionBufferLimitBytes uint32
	Backlog                       int  // tcp_backlog_size; 0: the kernel's maximum
	ReusePort                     bool // enable_reuse_port; true by default
	DrainType                     DrainType
	TrafficDirection              TrafficDirection
	// ConnectionLimit is runtime envoy.resource_limits.listener.<name>.connection_limit; 0 none.
	ConnectionLimit int
	// AcceptsPerEvent bounds one wake-up's accepts (max_connections_to_accept_per_socket_event); 0: the engine's own.
	AcceptsPerEvent int
	// InternalBufferBytes bounds what is between the two ends of a connection to an internal listener, each way
	// (buffer_size_kb); 0: the engine's own.
	InternalBufferBytes int
	// AccessLogs are the listener's own: one line per connection.
	AccessLogs []*AccessLog
	// Raw is the listener as Envoy JSON; equal Raw and SourcesDigest mean unchanged, so its sockets
	// and connections stay.
	Raw json.RawMessage
	// SourcesDigest is a hash of the files and environment variables that the listener takes bodies
	// and formats from; empty when there are none.
	SourcesDigest string
}

// NewListener returns a listener with Envoy's defaults that serves every connection by one filter chain.
func NewListener(name string, address netip.AddrPort, chain *FilterChain) *Listener {
	return &Listener{
		Name: name, Addresses: []Address{{IP: address}}, FilterChains: []*FilterChain{chain},
		PerConnectionBufferLimitBytes: 1 << 20, ReusePort: true, FiltersTimeout: 15 * time.Second,
	}
}

// Chains returns every filter chain, the default one last.
func (l *Listener) Chains() []*FilterChain {
	if l.DefaultFilterChain == nil {
		return l.FilterChains
	}
	return append(slices.Clone(l.FilterChains), l.DefaultFilterChain)
}
