package network

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/reason"
	"github.com/sluiceproxy/sluice/proxy/stats"
	"github.com/sluiceproxy/sluice/proxy/streaminfo"
)

// rbac is envoy.filters.network.rbac. Immutable.
type rbac struct {
	rules, shadow *ruleSet // nil: none
	stats         *stats.NetworkRBACStats
	shadowStats   *stats.NetworkRBACShadowStats
	delay         time.Duration
	// Keys of dynamic metadata for what the shadow rules say.
	shadowResult, shadowPolicy string
}

// Dynamic metadata that RBAC leaves, as Envoy does.
const (
	rbacNamespace   = "envoy.filters.network.rbac"
	commonNamespace = "envoy.common"
	accessLogHint   = "access_log_hint" // of action LOG
)

var (
	textTrue, textFalse     = []byte("true"), []byte("false")
	textAllowed, textDenied = []byte("allowed"), []byte("denied")
)

// ruleSet is a compiled conf.RBAC.
type ruleSet struct {
	action   conf.RBACAction
	policies []policy // by name
}

type policy struct {
	name                    []byte
	details                 string // of a connection it refuses
	permissions, principals []rule
}

func newRBAC(c *conf.NetworkRBAC, d Deps) (Filter, error) {
	f := &rbac{
		delay: c.DelayDeny, stats: stats.NewNetworkRBACStats(d.Registry, c.StatPrefix),
		shadowStats:  stats.NewNetworkRBACShadowStats(d.Registry, c.StatPrefix, c.ShadowRulesStatPrefix),
		shadowResult: c.ShadowRulesStatPrefix + "shadow_engine_result", shadowPolicy: c.ShadowRulesStatPrefix + "shadow_effective_policy_id",
	}
	var err error
	if f.rules, err = compileRuleSet(c.Rules); err != nil {
		return nil, fmt.Errorf("rules.%w", err)
	}
	if f.shadow, err = compileRuleSet(c.ShadowRules); err != nil {
		return nil, fmt.Errorf("shadow_rules.%w", err)
	}
	return f, nil
}

func compileRuleSet(c *conf.RBAC) (*ruleSet, error) {
	if c == nil {
		return nil, nil
	}
	s := &ruleSet{action: c.Action}
	if c.Action > conf.RBACLog {
		return nil, fmt.Errorf("action: unknown action %d", c.Action)
	}
	for i := range c.Policies {
		from := &c.Policies[i]
		p := policy{name: []byte(from.Name), details: deniedBy(from.Name)}
		at := fmt.Sprintf("policies[%q]", from.Name)
		var err error
		if p.permissions, err = compileRules(from.Permissions, at+".permissions"); err != nil {
			return nil, err
		}
		if p.principals, err = compileRules(from.Principals, at+".principals"); err != nil {
			return nil, err
		}
		s.policies = append(s.policies, p)
	}
	slices.SortStableFunc(s.policies, func(a, b policy) int { return strings.Compare(string(a.name), string(b.name)) })
	return s, nil
}

// deniedBy is %CONNECTION_TERMINATION_DETAILS% of a connection that a policy refuses.
func deniedBy(policy string) string {
	oneWord := strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return '_'
		}
		return r
	}, policy)
	return "rbac_access_denied_matched_policy[" + oneWord + "]"
}

// judge says whether the connection is admitted, and names the first policy that matches; nil when
// none does.
func (s *ruleSet) judge(f *streaminfo.Connection) (admitted bool, by *policy) {
	for i := range s.policies {
		if p := &s.policies[i]; anyHolds(p.permissions, f) && anyHolds(p.principals, f) {
			return s.action != conf.RBACDeny, p
		}
	}
	return s.action != conf.RBACAllow, nil
}

// OnNewConnection counts what the shadow rules say, and does what the rules say.
func (f *rbac) OnNewConnection(c *Connection) Verdict {
	if f.shadow != nil {
		f.tryShadow(c)
	}
	if f.rules == nil {
		return Verdict{}
	}
	admitted, by := f.rules.judge(c.Facts)
	if f.rules.action == conf.RBACLog {
		hint := textFalse
		if by != nil {
			hint = textTrue
		}
		c.Extra().Metadata.Set(commonNamespace, accessLogHint, hint)
	}
	if admitted {
		c.Worker.Stats.Inc(f.stats.Allowed)
		return Verdict{}
	}
	c.Worker.Stats.Inc(f.stats.Denied)
	v := Verdict{Close: true, Delay: f.delay, Reason: reason.RBACDenied}
	if by != nil {
		v.Details = by.details
	}
	return v
}

func (f *rbac) tryShadow(c *Connection) {
	admitted, by := f.shadow.judge(c.Facts)
	result, counter := textDenied, f.shadowStats.ShadowDenied
	if admitted {
		result, counter = textAllowed, f.shadowStats.ShadowAllowed
	}
	c.Worker.Stats.Inc(counter)
	m := &c.Extra().Metadata
	m.Set(rbacNamespace, f.shadowResult, result)
	if by != nil {
		m.Set(rbacNamespace, f.shadowPolicy, by.name)
	}
}
