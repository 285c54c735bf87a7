// Package rbac is envoy.filters.http.rbac: it denies requests that the rules do not admit with 403, and
// counts what shadow rules would have done.
package rbac

import (
	"fmt"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/filter"
	engine "github.com/sluiceproxy/sluice/proxy/rbac"
	"github.com/sluiceproxy/sluice/proxy/reason"
	"github.com/sluiceproxy/sluice/proxy/stats"
)

// shared is a compiled configuration, of a chain or a route. Immutable.
type shared struct {
	rules, shadow            *engine.Rules // nil: none
	shadowResult, shadowName string        // keys of dynamic metadata
	stats                    *stats.HTTPRBACStats
	shadowStats              *stats.HTTPRBACShadowStats
}

// What RBAC leaves in dynamic metadata.
const (
	namespace       = "envoy.filters.http.rbac"
	commonNamespace = "envoy.common"
	accessLogHint   = "access_log_hint"
)

var yes, no, allowed, denied = []byte("true"), []byte("false"), []byte("allowed"), []byte("denied")

// New compiles the filter.
func New(c *conf.HTTPRBAC, d *filter.Deps) (filter.Spec, error) {
	own, err := compile(c, d)
	if err != nil {
		return filter.Spec{}, err
	}
	return filter.Spec{
		Sees: filter.RequestHead,
		New:  func() filter.Filter { return &instance{own: own} },
		CompileRoute: func(config any) (any, error) {
			r, ok := config.(*conf.HTTPRBAC)
			if !ok {
				return nil, fmt.Errorf("%T is no configuration of the rbac filter", config)
			}
			return compile(r, d)
		},
	}, nil
}

func compile(c *conf.HTTPRBAC, d *filter.Deps) (*shared, error) {
	out := &shared{
		shadowResult: c.ShadowRulesStatPrefix + "shadow_engine_result", shadowName: c.ShadowRulesStatPrefix + "shadow_effective_policy_id",
		stats:       stats.NewHTTPRBACStats(d.Registry, d.StatPrefix, c.RulesStatPrefix),
		shadowStats: stats.NewHTTPRBACShadowStats(d.Registry, d.StatPrefix, c.ShadowRulesStatPrefix),
	}
	var err error
	if out.rules, err = engine.Compile(c.Rules); err != nil {
		return nil, fmt.Errorf("rules.%w", err)
	}
	if out.shadow, err = engine.Compile(c.ShadowRules); err != nil {
		return nil, fmt.Errorf("shadow_rules.%w", err)
	}
	return out, nil
}

type instance struct {
	filter.PassThrough
	own   *shared
	input engine.Input
}

// RequestHead counts what the shadow rules say, and does what the rules say.
func (f *instance) RequestHead(s filter.Stream, _ bool) filter.Status {
	c := f.own
	if r, ok := s.RouteConfig().(*shared); ok {
		c = r
	}
	w, info := s.Worker(), s.Info()
	f.input = engine.Input{Conn: info.Conn, Info: info, Request: s.Request(), Scratch: w.Loop.Scratch()}
	if c.shadow != nil {
		f.tryShadow(s, c)
	}
	if c.rules == nil {
		return filter.Continue
	}
	admitted, by := c.rules.Judge(&f.input)
	if c.rules.Action == conf.RBACLog {
		hint := no
		if by != nil {
			hint = yes
		}
		s.Metadata().Set(commonNamespace, accessLogHint, hint)
	}
	if admitted {
		w.Stats.Inc(c.stats.Allowed)
		return filter.Continue
	}
	w.Stats.Inc(c.stats.Denied)
	reply := filter.Reply{Reason: reason.HTTPRBACDenied}
	if by != nil {
		reply.Details = by.Details
	}
	s.Reply(reply)
	return filter.Pause
}

func (f *instance) tryShadow(s filter.Stream, c *shared) {
	ok, by := c.shadow.Judge(&f.input)
	result, counter := denied, c.shadowStats.ShadowDenied
	if ok {
		result, counter = allowed, c.shadowStats.ShadowAllowed
	}
	s.Worker().Stats.Inc(counter)
	s.Metadata().Set(namespace, c.shadowResult, result)
	if by != nil {
		s.Metadata().Set(namespace, c.shadowName, by.Name)
	}
}

// Done implements filter.Filter.
func (f *instance) Done(filter.Stream) { f.input = engine.Input{} }
