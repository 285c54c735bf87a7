package route

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/match"
)

// Route is a compiled route. Immutable.
type Route struct {
	Config   *conf.Route
	headers  []match.Header
	queries  []queryMatch
	request  mutator
	response mutator

	clusterHeader *match.Name // cluster_header; nil for a fixed name
	cluster       []byte
	rewriteHeader *match.Name // host_rewrite_header
	hostLiteral   []byte
	status        uint16 // of a redirect
	kind          Kind
}

// Cluster returns the name of the cluster a Forward route sends the request to: the configured one, or
// the first value of the cluster_header. Empty when the header is missing. Valid as long as h.
func (r *Route) Cluster(h *header.Head) []byte {
	if r.clusterHeader == nil {
		return r.cluster
	}
	if r.clusterHeader.Lower == authorityName {
		return h.Bytes(h.Authority)
	}
	v, _ := r.clusterHeader.First(h)
	return v
}

const (
	authorityName               = ":authority"
	defaultMaxBody              = 4096 // RT-62
	maxMutations                = 1000 // RT-69b
	minDirect, maxDirect        = 200, 599
	defaultRedirect      uint16 = 301
)

// builder compiles virtual hosts that share the RouteConfiguration's level of header mutations.
type builder struct {
	conf     *conf.RouteConfiguration
	base     levels
	clusters map[string]bool
}

func (b *builder) virtualHost(c *conf.VirtualHost) (*VirtualHost, error) {
	vh := &VirtualHost{Config: c, routes: make([]Route, len(c.Routes))}
	own, err := compileLevels(&c.Headers)
	if err != nil {
		return nil, err
	}
	outer := mutators{
		request:  newMutator(b.conf.MostSpecificMutationsWin, nil, own.request, b.base.request),
		response: newMutator(b.conf.MostSpecificMutationsWin, nil, own.response, b.base.response),
	}
	for i, rc := range c.Routes {
		if err := b.route(&vh.routes[i], rc, own, outer); err != nil {
			return nil, fmt.Errorf("routes[%d].%w", i, err)
		}
	}
	vh.paths = newPathIndex(vh.routes, false)
	vh.folded = newPathIndex(vh.routes, true)
	return vh, nil
}

// mutators are those of a route without mutations of its own; most routes share them.
type mutators struct{ request, response mutator }

func (b *builder) route(r *Route, c *conf.Route, outer levels, shared mutators) error {
	r.Config = c
	if err := r.compileMatch(&c.Match); err != nil {
		return fmt.Errorf("match.%w", err)
	}
	own, err := compileLevels(&c.Headers)
	if err != nil {
		return err
	}
	r.request, r.response = shared.request, shared.response
	specific := b.conf.MostSpecificMutationsWin
	if own.request != nil {
		r.request = newMutator(specific, own.request, outer.request, b.base.request)
	}
	if own.response != nil {
		r.response = newMutator(specific, own.response, outer.response, b.base.response)
	}
	actions := 0
	if c.Action != nil {
		actions, r.kind = actions+1, Forward
		if err := b.action(r, c.Action); err != nil {
			return fmt.Errorf("route.%w", err)
		}
	}
	if c.Redirect != nil {
		actions, r.kind = actions+1, Redirect
		if err := r.compileRedirect(c.Redirect); err != nil {
			return fmt.Errorf("redirect.%w", err)
		}
	}
	if c.Direct != nil {
		actions, r.kind = actions+1, Direct
		if err := b.direct(c.Direct); err != nil {
			return fmt.Errorf("direct_response.%w", err)
		}
	}
	if actions != 1 {
		return fmt.Errorf("action: exactly one of route, redirect and direct_response is needed, there are %d", actions)
	}
	return nil
}

func (r *Route) compileMatch(m *conf.RouteMatch) error {
	if m.Kind == conf.PathSeparatedPrefix {
		// RT-41: ^[^?#]+[^?#/]$
		if p := m.Path; len(p) < 2 || strings.ContainsAny(p, "?#") || p[len(p)-1] == '/' {
			return fmt.Errorf("path_separated_prefix: %q must have two characters or more, no '?' or '#', and not end in '/'", p)
		}
	}
	var err error
	if r.headers, err = compileHeaders(m.Headers); err != nil {
		return err
	}
	for i, qm := range m.QueryParameters {
		c, err := compileQuery(qm)
		if err != nil {
			return fmt.Errorf("query_parameters[%d].%w", i, err)
		}
		r.queries = append(r.queries, c)
	}
	return nil
}

func (b *builder) action(r *Route, a *conf.RouteAction) error {
	if (a.Cluster == "") == (a.ClusterHeader == "") {
		return fmt.Errorf("cluster_specifier: exactly one of cluster and cluster_header is needed")
	}
	if a.ClusterHeader != "" {
		if a.ClusterHeader == "host" {
			return fmt.Errorf(`cluster_header: "host" is written ":authority"`)
		}
		if a.ClusterHeader != authorityName {
			if err := match.CheckName(a.ClusterHeader); err != nil {
				return fmt.Errorf("cluster_header: %w", err)
			}
		}
		n := match.NewName(a.ClusterHeader)
		r.clusterHeader = &n
	} else {
		b.clusters[a.Cluster] = true
		r.cluster = []byte(a.Cluster)
	}
	if !slices.Contains([]uint16{404, 500, 503}, a.NotFoundStatus) {
		return fmt.Errorf("cluster_not_found_response_code: %d is not 503, 404 or 500", a.NotFoundStatus)
	}
	return r.compileRewrites(a)
}

func (b *builder) direct(d *conf.DirectResponse) error {
	if d.Status < minDirect || d.Status > maxDirect {
		return fmt.Errorf("status: %d is not within %d and %d", d.Status, minDirect, maxDirect)
	}
	limit := b.conf.MaxDirectResponseBodyBytes
	if limit == 0 {
		limit = defaultMaxBody
	}
	if len(d.Body) > limit {
		return fmt.Errorf("body: %d bytes are more than max_direct_response_body_size_bytes, %d", len(d.Body), limit)
	}
	return nil
}
