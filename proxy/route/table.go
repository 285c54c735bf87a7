package route

import (
	"fmt"
	"slices"

	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/codec/http1"
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/match"
	"github.com/sluiceproxy/sluice/proxy/runtime"
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
}

// Kind is what is to be done with a request.
type Kind uint8

const (
	// NoRoute: no virtual host or no route matches (RT-28).
	NoRoute Kind = iota
	// RequireTLS: the virtual host wants https; answer with Result.AppendLocation (RT-31).
	RequireTLS
	// Forward: Route.Config.Action says where.
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
	// Scratch is used while Match runs, for the rare value that must be changed before it is compared
	// (a host in upper case, a header that came several times). Allocated when it is too small.
	Scratch []byte
	// Internal is forwarded.Decision.Internal.
	Internal bool
}

// Result is the outcome of Match. VirtualHost is nil when no domain matches; Route is nil for NoRoute
// and RequireTLS.
type Result struct {
	VirtualHost *VirtualHost
	Route       *Route
	Kind        Kind
}

// VirtualHost is a compiled virtual host. Immutable.
type VirtualHost struct {
	Config *conf.VirtualHost
	routes []Route
	paths  pathIndex // case-sensitive literals
	folded pathIndex // case_sensitive: false
}

// Compile builds the table. Errors name the place below o.Path, for example
// "virtual_hosts[0].routes[3].match.headers[1]: ...". c must not change afterwards.
func Compile(c *conf.RouteConfiguration, o Options) (*Table, error) {
	t, err := compile(c)
	if err != nil && o.Path != "" {
		err = fmt.Errorf("%s.%w", o.Path, err)
	}
	return t, err
}

func compile(c *conf.RouteConfiguration) (*Table, error) {
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
	b := builder{conf: c, base: base, clusters: map[string]bool{}}
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
func (t *Table) InternalOnly() []match.Name { return t.internal }

// Clusters returns the names of the clusters routes refer to, sorted; cluster_header routes add none.
// Read-only.
func (t *Table) Clusters() []string { return t.clusters }

// Match finds the route of a request (RT-20 to RT-51). No allocation, no lock.
//
// Cost: one hash of the host, one more per distinct wildcard length when no exact name matches, then
// one walk over the path per case-sensitivity in use; it hardly depends on the number of routes.
func (t *Table) Match(in *Input) Result {
	h := in.Head
	vh := t.hosts.any
	if !t.hosts.onlyAny {
		vh = t.hosts.find(in, t.host(h))
	}
	if vh == nil {
		return Result{}
	}
	if vh.Config.RequireTLS != conf.TLSNone {
		proto := h.Get(header.XForwardedProto)
		if len(proto) == 0 {
			return Result{VirtualHost: vh} // RT-31
		}
		if !header.EqualFold(proto, "https") && (vh.Config.RequireTLS == conf.TLSAll || !in.Internal) {
			return Result{VirtualHost: vh, Kind: RequireTLS}
		}
	}
	target := h.Bytes(h.Path)
	if len(target) == 0 {
		return Result{VirtualHost: vh} // RT-44
	}
	path := pathOf(target)
	if t.ignoreParam {
		path = cutAt(path, ';')
	}
	best := vh.paths.match(path, vh.routes, in, none)
	best = vh.folded.match(path, vh.routes, in, best)
	if best == none {
		return Result{VirtualHost: vh}
	}
	r := &vh.routes[best]
	return Result{VirtualHost: vh, Route: r, Kind: r.kind}
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
