package route

import (
	"fmt"
	"slices"

	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/codec/http1"
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/match"
	"github.com/sluiceproxy/sluice/proxy/runtime"
	"github.com/sluiceproxy/sluice/proxy/stats"
	"github.com/sluiceproxy/sluice/proxy/streaminfo"
)

// Table is a compiled RouteConfiguration. Immutable; shared by all loops. A stream keeps the table
// it was routed with.
type Table struct {
	hosts       hostIndex
	hostHeader  *match.Name // vhost_header; nil: the authority
	ignorePort  bool
	ignoreParam bool
	internal    []match.Name
	clusters    []string
}

// Options adapt Compile to its surroundings.
type Options struct {
	// Path is put before every error's own path, such as "route_config"; empty for none.
	Path string
	// Runtime has the values of runtime keys; nil: defaults.
	Runtime *runtime.Loader
	// Registry gets the statistics of virtual clusters and of routes; nil: there are none.
	Registry *stats.Registry
}

// Kind is what is to be done with a request.
type Kind uint8

const (
	// NoRoute: no virtual host or no route matches (RT-28).
	NoRoute Kind = iota
	// RequireTLS: the virtual host wants https; answer with Result.AppendLocation (RT-31).
	RequireTLS
	// Forward: Target says where.
	Forward
	// Redirect: answer with Result.AppendLocation.
	Redirect
	// Direct: answer with Route.Config.Direct.
	Direct
)

// String returns the name used in dumps.
func (k Kind) String() string {
	return [...]string{NoRoute: "no_route", RequireTLS: "require_tls", Forward: "forward", Redirect: "redirect", Direct: "direct_response"}[k]
}

// Input is what matching looks at. Loop-owned.
type Input struct {
	// Head is the request after path and host normalisation and after forwarded.Policy.Request.
	Head *header.Head
	// Info has the facts of the stream and its connection: certificate, dynamic metadata, filter state,
	// addresses. nil: there are none.
	Info *streaminfo.Info
	// Scratch is used while Match runs, for the rare value that must be changed before it is compared
	// (a host in upper case, a header that came several times). Allocated when it is too small.
	Scratch []byte
	// Random is the stream's random number. The same one gives the same route and cluster, however often
	// they are asked for (RT-1).
	Random uint64
	// Internal is forwarded.Decision.Internal.
	Internal bool
}

// certificate says whether the client presented a certificate, and one that holds.
func (in *Input) certificate() (presented, validated bool) {
	if in.Info == nil || in.Info.Conn == nil || in.Info.Conn.Peer() == nil {
		return false, false
	}
	return in.Info.Conn.Peer().Presented(), in.Info.Conn.Secure.Validated()
}

// metadata returns a value of dynamic metadata.
func (in *Input) metadata(namespace, key string) ([]byte, bool) {
	if in.Info == nil || in.Info.Conn == nil || in.Info.Conn.Extra == nil {
		return nil, false
	}
	return in.Info.Conn.Extra.Metadata.Get(namespace, key)
}

func (in *Input) filterState(key string) ([]byte, bool) {
	if in.Info == nil || in.Info.Conn == nil {
		return nil, false
	}
	return in.Info.Conn.FilterState(key)
}

// Result is the outcome of Match. VirtualHost is nil when no domain matches; Route is nil for NoRoute
// and RequireTLS, Target for all but Forward, Virtual where the virtual host has no virtual clusters.
type Result struct {
	VirtualHost *VirtualHost
	Route       *Route
	Target      *Target
	Virtual     *VirtualCluster
	Kind        Kind
}

// VirtualHost is a compiled virtual host. Immutable.
type VirtualHost struct {
	Config *conf.VirtualHost
	// routeList are its routes; empty when it has a tree.
	routeList
	tree    *tree // nil: routes
	virtual []VirtualCluster
}

// Compile builds the table. Errors name the place below o.Path, for example
// "virtual_hosts[0].routes[3].match.headers[1]: ...". c must not change afterwards.
func Compile(c *conf.RouteConfiguration, o Options) (*Table, error) {
	t, err := compile(c, &o)
	if err != nil && o.Path != "" {
		err = fmt.Errorf("%s.%w", o.Path, err)
	}
	return t, err
}

func compile(c *conf.RouteConfiguration, o *Options) (*Table, error) {
	t := &Table{ignorePort: c.IgnorePortInHostMatching, ignoreParam: c.IgnorePathParameters}
	if c.VirtualHostHeader != "" {
		if err := match.CheckName(c.VirtualHostHeader); err != nil {
			return nil, fmt.Errorf("vhost_header: %w", err)
		}
		n := match.NewName(c.VirtualHostHeader)
		t.hostHeader = &n
	}
	for i, s := range c.InternalOnlyHeaders {
		if err := match.CheckName(s); err != nil {
			return nil, fmt.Errorf("internal_only_headers[%d]: %w", i, err)
		}
	}
	t.internal = match.NewNames(c.InternalOnlyHeaders)
	base, err := compileLevels(&c.Headers)
	if err != nil {
		return nil, err
	}
	b := builder{conf: c, base: base, clusters: map[string]bool{}, runtime: o.Runtime, registry: o.Registry}
	for i, vc := range c.VirtualHosts {
		at := fmt.Sprintf("virtual_hosts[%d]", i)
		vh, err := b.virtualHost(vc)
		if err != nil {
			return nil, fmt.Errorf("%s.%w", at, err)
		}
		if err := t.hosts.add(vh); err != nil {
			return nil, fmt.Errorf("%s.%w", at, err)
		}
	}
	t.hosts.finish()
	for name := range b.clusters {
		t.clusters = append(t.clusters, name)
	}
	slices.Sort(t.clusters)
	return t, nil
}

// InternalOnly returns internal_only_headers (RT-90). Read-only.
func (t *Table) InternalOnly() []match.Name {
	if t == nil {
		return nil
	}
	return t.internal
}

// Clusters returns the names of the clusters routes refer to, sorted; cluster_header routes add none.
// Read-only.
func (t *Table) Clusters() []string { return t.clusters }

// Match finds the route of a request (RT-20 to RT-51). No allocation, no lock.
//
// Cost: one hash of the host, one more per distinct wildcard length when no exact name matches, then
// one walk over the path per case-sensitivity in use; it hardly depends on the number of routes, but for
// those whose path is an expression or template that begins with the same literal as the path. A nil
// table has no routes.
func (t *Table) Match(in *Input) Result {
	if t == nil {
		return Result{}
	}
	h := in.Head
	vh := t.hosts.any
	if !t.hosts.onlyAny {
		vh = t.hosts.find(in, t.host(h))
	}
	if vh == nil {
		return Result{}
	}
	if vh.requiresTLS() {
		proto := t.proto(in)
		if len(proto) == 0 {
			return Result{VirtualHost: vh} // RT-31
		}
		if !header.EqualFold(proto, "https") && (vh.Config.RequireTLS == conf.TLSAll || !in.Internal) {
			return Result{VirtualHost: vh, Kind: RequireTLS}
		}
	}
	r := vh.find(t.path(h), in)
	if r == nil {
		return Result{VirtualHost: vh}
	}
	res := Result{VirtualHost: vh, Route: r, Kind: r.kind}
	if r.kind == Forward {
		res.Target, res.Virtual = r.target(in), vh.virtualCluster(in)
	}
	return res
}

func (vh *VirtualHost) requiresTLS() bool { return vh.Config.RequireTLS != conf.TLSNone }

// proto is what require_tls goes by (RT-30).
func (t *Table) proto(in *Input) []byte { return in.Head.Get(header.XForwardedProto) }

// path returns what path specifiers are compared with.
func (t *Table) path(h *header.Head) []byte {
	path := pathOf(h.Bytes(h.Path))
	if t.ignoreParam {
		path = cutAt(path, ';')
	}
	return path
}

// find returns the route of the virtual host; nil for none.
func (vh *VirtualHost) find(path []byte, in *Input) *Route {
	if vh.tree != nil {
		return vh.tree.find(path, in)
	}
	return vh.routeList.find(path, in)
}

// host returns what virtual hosts are chosen by: the authority, or the first value of vhost_header.
func (t *Table) host(h *header.Head) []byte {
	host := h.Bytes(h.Authority)
	if t.hostHeader != nil {
		host, _ = t.hostHeader.First(h)
	}
	if t.ignorePort {
		host = http1.StripPort(host)
	}
	return host
}
