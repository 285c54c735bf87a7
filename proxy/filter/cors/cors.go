// Package cors is envoy.filters.http.cors: it answers preflight requests for origins that the route's
// CorsPolicy allows, and tells browsers what else such origins may see. Without a policy it does nothing.
package cors

import (
	"fmt"

	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/filter"
	"github.com/sluiceproxy/sluice/proxy/match"
	"github.com/sluiceproxy/sluice/proxy/reason"
	"github.com/sluiceproxy/sluice/proxy/runtime"
	"github.com/sluiceproxy/sluice/proxy/stats"
)

// policy is a compiled conf.CORSPolicy. Immutable.
type policy struct {
	*conf.CORSPolicy
	origins         []match.Text
	enabled, shadow *runtime.Fraction
}

var (
	origin         = match.NewName("origin")
	requestMethod  = match.NewName("access-control-request-method")
	requestPrivate = match.NewName("access-control-request-private-network")
	allowOrigin    = match.NewName("access-control-allow-origin")
	allowMethods   = match.NewName("access-control-allow-methods")
	allowHeaders   = match.NewName("access-control-allow-headers")
	allowCreds     = match.NewName("access-control-allow-credentials")
	allowPrivate   = match.NewName("access-control-allow-private-network")
	exposeHeaders  = match.NewName("access-control-expose-headers")
	maxAge         = match.NewName("access-control-max-age")
)

// New compiles the filter.
func New(d *filter.Deps) (filter.Spec, error) {
	st := stats.NewCORSStats(d.Registry, d.StatPrefix)
	return filter.Spec{
		Sees: filter.RequestHead | filter.ResponseHead,
		New:  func() filter.Filter { return &instance{stats: st} },
		CompileRoute: func(config any) (any, error) {
			c, ok := config.(*conf.CORSPolicy)
			if !ok {
				return nil, fmt.Errorf("%T is no configuration of the cors filter", config)
			}
			return compile(c, d.Runtime)
		},
	}, nil
}

func compile(c *conf.CORSPolicy, values *runtime.Loader) (*policy, error) {
	p := &policy{CORSPolicy: c}
	for i := range c.AllowOrigins {
		m, err := match.CompileText(c.AllowOrigins[i])
		if err != nil {
			return nil, fmt.Errorf("allow_origin_string_match[%d]: %w", i, err)
		}
		p.origins = append(p.origins, m)
	}
	fraction := func(f *conf.RuntimeFraction, absent uint32) *runtime.Fraction {
		if f == nil {
			return values.Fraction("", conf.Fraction{Numerator: absent, Denominator: 100})
		}
		return values.Fraction(f.Key, f.Default)
	}
	p.enabled, p.shadow = fraction(c.Enabled, 100), fraction(c.Shadow, 0)
	return p, nil
}

// allows says whether scripts of the origin may see the response.
func (p *policy) allows(from []byte) bool {
	for i := range p.origins {
		if m := &p.origins[i]; m.Matches(from) || p.AllowOrigins[i].Kind == conf.MatchExact && p.AllowOrigins[i].Value == "*" {
			return true
		}
	}
	return false
}

type instance struct {
	filter.PassThrough
	stats     *stats.CORSStats
	p         *policy // of an allowed request; nil else
	preflight bool
	private   bool
}

// RequestHead judges the origin, and answers preflight requests of those that are allowed.
func (f *instance) RequestHead(s filter.Stream, _ bool) filter.Status {
	p, ok := s.RouteConfig().(*policy)
	if !ok {
		return filter.Continue
	}
	w, h := s.Worker(), s.Request()
	enforced := p.enabled.Enabled(w.Random.Uint64())
	if !enforced && !p.shadow.Enabled(w.Random.Uint64()) {
		return filter.Continue
	}
	from, there := origin.First(h)
	if !there || len(from) == 0 {
		return filter.Continue
	}
	allowed := p.allows(from)
	if allowed {
		w.Stats.Inc(f.stats.OriginValid)
	} else {
		w.Stats.Inc(f.stats.OriginInvalid)
	}
	if !enforced {
		return filter.Continue
	}
	method, asks := requestMethod.First(h)
	preflight := h.Method == header.MethodOptions && asks && len(method) > 0
	switch {
	case allowed:
		f.p, f.preflight = p, preflight
		v, asked := requestPrivate.First(h)
		f.private = asked && string(v) == "true"
	case !preflight || p.ForwardPreflights:
		return filter.Continue
	}
	if preflight {
		s.Reply(filter.Reply{Reason: reason.CORSAnswered})
		return filter.Pause
	}
	return filter.Continue
}

// ResponseHead says what the origin may do.
func (f *instance) ResponseHead(s filter.Stream, _ bool) filter.Status {
	p := f.p
	if p == nil {
		return filter.Continue
	}
	h := s.Response()
	from, _ := origin.First(s.Request())
	allowOrigin.Set(h, from)
	set(h, &allowCreds, p.AllowCredentials, "true")
	if !f.preflight {
		set(h, &exposeHeaders, p.ExposeHeaders != "", p.ExposeHeaders)
		return filter.Continue
	}
	set(h, &allowPrivate, p.AllowPrivateNetwork && f.private, "true")
	set(h, &allowMethods, p.AllowMethods != "", p.AllowMethods)
	set(h, &allowHeaders, p.AllowHeaders != "", p.AllowHeaders)
	set(h, &maxAge, p.MaxAge != "", p.MaxAge)
	return filter.Continue
}

func set(h *header.Head, n *match.Name, yes bool, value string) {
	if yes {
		h.RemoveName(n.ID, n.Lower)
		h.AddString(n.ID, n.Lower, value)
	}
}

// Done implements filter.Filter.
func (f *instance) Done(filter.Stream) { f.p, f.preflight, f.private = nil, false, false }
