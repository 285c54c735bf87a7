package conf

import (
	"encoding/json"
	"time"
)

// GenericProxy is envoy.filters.network.generic_proxy.
type GenericProxy struct {
	StatPrefix string
	Codec      GenericCodec
	Routes     *GenericRoutes
	// Filters come before the router, in order.
	Filters []GenericFilter
	// BindUpstreamConnection is the router's bind_upstream_connection.
	BindUpstreamConnection bool
	AccessLogs             []*AccessLog
}

// NewGenericProxy returns a generic proxy that sends everything to one cluster.
func NewGenericProxy(statPrefix string, codec GenericCodec, cluster string) *GenericProxy {
	return &GenericProxy{StatPrefix: statPrefix, Codec: codec, Routes: &GenericRoutes{
		Name: statPrefix, Routes: &GenericMatcher{OnNoMatch: &GenericOnMatch{Action: NewGenericAction(cluster)}},
	}}
}

// GenericCodecKind is which protocol a generic proxy speaks.
type GenericCodecKind uint8

// Codecs.
const (
	GenericCustom GenericCodecKind = iota // the embedder's, by Name
	GenericRedis
	GenericThrift
	GenericMemcache
	GenericDubbo
	GenericHTTP1
)

// GenericCodec is codec_config.
type GenericCodec struct {
	Kind GenericCodecKind
	// Name is looked up in proxy.Options.GenericCodecs, with GenericCustom.
	Name string
	// Pipelined sends the requests of a bound connection without waiting for replies (GenericRedis).
	Pipelined bool
	// Protocol is the only one that clients may use (GenericThrift).
	Protocol ThriftProtocol
	// SingleFrame makes one frame of each message of at most MaxBufferBytes of body (GenericHTTP1).
	SingleFrame    bool
	MaxBufferBytes uint32
}

// ThriftProtocol is ThriftCodecConfig.protocol.
type ThriftProtocol uint8

// Thrift protocols.
const (
	ThriftAuto ThriftProtocol = iota
	ThriftBinary
	ThriftCompact
)

// GenericFilter is a filter the embedder registered (proxy.Options.GenericFilters).
type GenericFilter struct {
	// Name is what per_filter_config calls it, Type what it is registered under; Name when empty.
	Name, Type string
	// Config is its configuration as JSON; may be empty.
	Config json.RawMessage
}

// GenericRoutes is generic_proxy.v3.RouteConfiguration.
type GenericRoutes struct {
	Name         string
	VirtualHosts []*GenericVirtualHost
	// Routes serve what no virtual host does; nil: nothing.
	Routes *GenericMatcher
}

// GenericVirtualHost is generic_proxy.v3.VirtualHost.
type GenericVirtualHost struct {
	Name   string
	Hosts  []string // exact, *suffix, prefix* or *
	Routes *GenericMatcher
}

// GenericMatcher is xds.type.matcher.v3.Matcher: a list, tried in order, or a tree, which looks a value
// up. OnNoMatch is what follows when that leads nowhere; nil: no route.
type GenericMatcher struct {
	List      []GenericFieldMatcher
	Tree      *GenericTree
	OnNoMatch *GenericOnMatch
}

// GenericOnMatch is an action, or another matcher. One of the two.
type GenericOnMatch struct {
	Matcher *GenericMatcher
	Action  *GenericAction
}

// GenericFieldMatcher is one entry of a matcher list.
type GenericFieldMatcher struct {
	Predicate *GenericPredicate
	OnMatch   GenericOnMatch
}

// GenericTree looks the value of an input up, whole or by its longest prefix.
type GenericTree struct {
	Input  GenericInput
	Prefix bool
	Map    map[string]*GenericOnMatch
}

// GenericInputKind is which value of a request is looked at.
type GenericInputKind uint8

// Inputs.
const (
	GenericHost GenericInputKind = iota
	GenericPath
	GenericMethod
	GenericProperty
)

// GenericInput is a value of a request; Property names it when it is one of those.
type GenericInput struct {
	Kind     GenericInputKind
	Property string
}

// GenericPredicateKind tells the members of GenericPredicate apart.
type GenericPredicateKind uint8

// Predicates.
const (
	GenericValue   GenericPredicateKind = iota // Input is like Value
	GenericRequest                             // Request
	GenericAnd
	GenericOr
	GenericNot // of Of[0]
)

// GenericPredicate says yes or no to a request.
type GenericPredicate struct {
	Kind    GenericPredicateKind
	Input   GenericInput
	Value   StringMatcher
	Request *GenericRequestMatcher
	Of      []*GenericPredicate
}

// GenericRequestMatcher is matcher.v3.RequestMatcher: all that is set has to match.
type GenericRequestMatcher struct {
	Host, Path, Method *StringMatcher
	Properties         []GenericPropertyMatcher
}

// GenericPropertyMatcher matches one property, which must be there.
type GenericPropertyMatcher struct {
	Name  string
	Value StringMatcher
}

// GenericAction is action.v3.RouteAction.
type GenericAction struct {
	Name string
	// Cluster, or Weighted when it is not empty.
	Cluster  string
	Weighted []WeightedCluster
	// Timeout is 15 s by default, from the end of the request to that of the response; 0 off.
	Timeout time.Duration
	// NumRetries is how often a request is tried in all; 1.
	NumRetries uint32
	// Metadata are the criteria of load balancing (envoy.lb); nil: none.
	Metadata LBMetadata
	// PerFilter are per_filter_config by filter name, as JSON.
	PerFilter map[string]json.RawMessage
}

// NewGenericAction returns an action with Envoy's defaults.
func NewGenericAction(cluster string) *GenericAction {
	return &GenericAction{Cluster: cluster, Timeout: 15 * time.Second, NumRetries: 1}
}
