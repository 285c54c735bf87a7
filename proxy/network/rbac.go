package network

import (
	"fmt"
	"time"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/rbac"
	"github.com/sluiceproxy/sluice/proxy/reason"
	"github.com/sluiceproxy/sluice/proxy/stats"
)

// rbacFilter is envoy.filters.network.rbac. Immutable.
type rbacFilter struct {
	rules, shadow *rbac.Rules // nil: none
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

func newRBAC(c *conf.NetworkRBAC, d Deps) (Filter, error) {
	f := &rbacFilter{
		delay: c.DelayDeny, stats: stats.NewNetworkRBACStats(d.Registry, c.StatPrefix),
		shadowStats:  stats.NewNetworkRBACShadowStats(d.Registry, c.StatPrefix, c.ShadowRulesStatPrefix),
		shadowResult: c.ShadowRulesStatPrefix + "shadow_engine_result", shadowPolicy: c.ShadowRulesStatPrefix + "shadow_effective_policy_id",
	}
	var err error
	if f.rules, err = rbac.Compile(c.Rules); err != nil {
		return nil, fmt.Errorf("rules.%w", err)
	}
	if f.shadow, err = rbac.Compile(c.ShadowRules); err != nil {
		return nil, fmt.Errorf("shadow_rules.%w", err)
	}
	return f, nil
}

// JudgesPeer implements PeerJudge.
func (f *rbacFilter) JudgesPeer() bool { return f.rules.JudgesPeer() || f.shadow.JudgesPeer() }

// OnNewConnection counts what the shadow rules say, and does what the rules say.
func (f *rbacFilter) OnNewConnection(c *Connection) Verdict {
	if f.shadow != nil {
		f.tryShadow(c)
	}
	if f.rules == nil {
		return Verdict{}
	}
	admitted, by := f.rules.Judge(&rbac.Input{Conn: c.Facts})
	if f.rules.Action == conf.RBACLog {
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
		v.Details = by.Details
	}
	return v
}

func (f *rbacFilter) tryShadow(c *Connection) {
	admitted, by := f.shadow.Judge(&rbac.Input{Conn: c.Facts})
	result, counter := textDenied, f.shadowStats.ShadowDenied
	if admitted {
		result, counter = textAllowed, f.shadowStats.ShadowAllowed
	}
	c.Worker.Stats.Inc(counter)
	m := &c.Extra().Metadata
	m.Set(rbacNamespace, f.shadowResult, result)
	if by != nil {
		m.Set(rbacNamespace, f.shadowPolicy, by.Name)
	}
}
