package route

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/format"
	"github.com/sluiceproxy/sluice/proxy/match"
	"github.com/sluiceproxy/sluice/proxy/runtime"
	"github.com/sluiceproxy/sluice/proxy/stats"
)

// Route is a compiled route. Immutable. What Match reads of each route stands first, in one cache line.
type Route struct {
	Config     *conf.Route
	conditions *conditions    // nil: the path decides
	pattern    *regexp.Regexp // of PathRegex and PathTemplate, anchored
	weights    *weights       // nil for one target
	targets    []Target       // of Forward: one, or the weighted ones
	kind       Kind
	status     uint16 // of a redirect

	// Stats is vhost.<virtual host>.route.<stat_prefix>.; nil without a stat_prefix.
	Stats *stats.VirtualStats
	// Body renders the body of a direct response; nil: it is Config.Direct.Body.
	Body *format.Body

	hashes []hashPolicy
	path   pathRewrite
	host   hostRewrite
	// Policies say what there is of tries, mirrors and internal redirects; nil: nothing.
	Policies *Policies
	mutators
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
	runtime  *runtime.Loader
	registry *stats.Registry // nil: no statistics
	// host are the policies of the virtual host whose routes are compiled.
	policies hostPolicies
}

func (b *builder) virtualHost(c *conf.VirtualHost) (*VirtualHost, error) {
	vh := &VirtualHost{Config: c}
	own, err := compileLevels(&c.Headers)
	if err != nil {
		return nil, err
	}
	h := hostBuilder{builder: b, host: c, own: own, shared: mutators{
		request:  newMutator(b.conf.MostSpecificMutationsWin, nil, own.request, b.base.request),
		response: newMutator(b.conf.MostSpecificMutationsWin, nil, own.response, b.base.response),
	}}
	if vh.virtual, err = b.virtualClusters(c); err != nil {
		return nil, err
	}
	if b.policies, err = b.hostPolicies(&c.RoutePolicies); err != nil {
		return nil, err
	}
	if c.Matcher != nil {
		if len(c.Routes) > 0 {
			return nil, fmt.Errorf("matcher: excludes routes (RT-29)")
		}
		vh.tree, err = h.tree(c.Matcher, 0)
		if err != nil {
			return nil, fmt.Errorf("matcher.%w", err)
		}
		return vh, nil
	}
	vh.routeList, err = h.list(c.Routes)
	return vh, err
}

// hostBuilder compiles the routes of one virtual host.
type hostBuilder struct {
	*builder
	host *conf.VirtualHost
	own  levels
	// shared are the mutators of a route without mutations of its own.
	shared mutators
}

// routeList are routes of which the first that matches is taken.
type routeList struct {
	routes   []Route
	paths    pathIndex // case-sensitive literals, expressions and templates
	folded   pathIndex // case_sensitive: false
	connects []uint32  // ordinals of connect_matcher routes
}

func (h *hostBuilder) list(routes []*conf.Route) (routeList, error) {
	l := routeList{routes: make([]Route, len(routes))}
	for i, rc := range routes {
		if err := h.route(&l.routes[i], rc, h.own, h.shared); err != nil {
			return l, fmt.Errorf("routes[%d].%w", i, err)
		}
		if rc.Match.Kind == conf.PathConnect {
			l.connects = append(l.connects, uint32(i))
		}
		if h.registry != nil && rc.StatPrefix != "" {
			l.routes[i].Stats = stats.NewRouteStats(h.registry, h.host.Name, rc.StatPrefix)
		}
	}
	l.paths = newPathIndex(l.routes, false)
	l.folded = newPathIndex(l.routes, true)
	return l, nil
}

// find returns the first route that matches, nil for none. path is empty for a request without one (RT-44).
func (l *routeList) find(path []byte, in *Input) *Route {
	best := uint32(none)
	if len(path) > 0 {
		best = l.paths.match(path, l.routes, in, best)
		best = l.folded.match(path, l.routes, in, best)
	}
	if len(l.connects) > 0 && isConnect(in.Head) {
		for _, k := range l.connects {
			if k >= best {
				break
			}
			if c := l.routes[k].conditions; c == nil || c.hold(in) {
				best = k
				break
			}
		}
	}
	if best == none {
		return nil
	}
	return &l.routes[best]
}

// isConnect says whether connect_matcher takes the request: CONNECT, and CONNECT-UDP in the form of an
// upgrade (RT-41).
func isConnect(h *header.Head) bool {
	return h.Method == header.MethodConnect || h.HasUpgrade && header.EqualFold(h.Get(header.Upgrade), "connect-udp")
}

// mutators are those of a route without mutations of its own; most routes share them.
type mutators struct{ request, response mutator }

func (b *builder) route(r *Route, c *conf.Route, outer levels, shared mutators) error {
	r.Config = c
	template, err := b.match(r, &c.Match)
	if err != nil {
		return fmt.Errorf("match.%w", err)
	}
	own, err := compileLevels(&c.Headers)
	if err != nil {
		return err
	}
	r.mutators = shared
	if r.Policies, err = b.policies.of(&c.RoutePolicies, b.runtime); err != nil {
		return err
	}
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
		if err := b.action(r, c.Action, template); err != nil {
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
		if err := b.direct(r, c.Direct); err != nil {
			return fmt.Errorf("direct_response.%w", err)
		}
	}
	if actions != 1 {
		return fmt.Errorf("action: exactly one of route, redirect and direct_response is needed, there are %d", actions)
	}
	return nil
}

// match compiles the path specifier and the conditions; the template is that of a PathTemplate.
func (b *builder) match(r *Route, m *conf.RouteMatch) (t *conf.URITemplate, err error) {
	switch m.Kind {
	case conf.PathSeparatedPrefix:
		// RT-41: ^[^?#]+[^?#/]$
		if p := m.Path; len(p) < 2 || strings.ContainsAny(p, "?#") || p[len(p)-1] == '/' {
			return nil, fmt.Errorf("path_separated_prefix: %q must have two characters or more, no '?' or '#', and not end in '/'", p)
		}
	case conf.PathRegex:
		if r.pattern, err = match.FullRegex(m.Path); err != nil {
			return nil, fmt.Errorf("safe_regex.regex: %w", err)
		}
	case conf.PathTemplate:
		if t, err = conf.ParseURITemplate(m.Path); err != nil {
			return nil, fmt.Errorf("path_match_policy.path_template: %w", err)
		}
		if r.pattern, err = match.FullRegex(t.Expression); err != nil {
			return nil, fmt.Errorf("path_match_policy.path_template: %w", err)
		}
	}
	r.conditions, err = compileConditions(m, b.runtime)
	return t, err
}

func (b *builder) action(r *Route, a *conf.RouteAction, t *conf.URITemplate) error {
	if err := b.compileTargets(r, a, r.mutators); err != nil {
		return err
	}
	if !slices.Contains([]uint16{404, 500, 503}, a.NotFoundStatus) {
		return fmt.Errorf("cluster_not_found_response_code: %d is not 503, 404 or 500", a.NotFoundStatus)
	}
	var err error
	if r.hashes, err = compileHashPolicies(a.HashPolicies); err != nil {
		return err
	}
	if err := r.path.compile(a, t); err != nil {
		return err
	}
	return r.host.compile(a)
}

func (b *builder) direct(r *Route, d *conf.DirectResponse) (err error) {
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
	if r.Body, err = format.CompileBody(d.BodyFormat); err != nil {
		return fmt.Errorf("body_format: %w", err)
	}
	return nil
}
