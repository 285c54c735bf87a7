//go:build !race

package network

import (
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/stats"
	"github.com/sluiceproxy/sluice/proxy/streaminfo"
)

// A connection through every filter costs no allocation, admitted or refused.
func TestFiltersDoNotAllocate(t *testing.T) {
	r := stats.NewRegistry()
	d := deps(r)
	d.Custom = map[string]Factory{"acme.count": func(string) (Filter, error) { return new(counter), nil }}
	refusing := &conf.RBAC{Action: conf.RBACDeny, Policies: []conf.RBACPolicy{policyOf("a", named(conf.MatchRegex, "blue.*"), from(conf.RBACDirectRemoteIP, "192.0.2.0/24"))}}
	admitting := &conf.RBAC{Action: conf.RBACLog, Policies: []conf.RBACPolicy{policyOf("b", fold(named(conf.MatchContains, "X.")), not(holding("tenant", "")))}}
	for _, row := range []struct {
		title string
		c     conf.NetworkFilter
	}{
		{"sni_cluster", conf.NetworkFilter{SNICluster: true}},
		{"set_filter_state", conf.NetworkFilter{SetFilterState: &conf.SetFilterState{OnNewConnection: []conf.FilterStateValue{
			{Key: streaminfo.KeyTCPCluster, Format: text("%REQUESTED_SERVER_NAME%/%DOWNSTREAM_REMOTE_ADDRESS%"), ReadOnly: true},
			{Key: streaminfo.KeyTCPIdleTimeoutMs, Format: text("%CONNECTION_ID%00")},
			{Key: "k", Factory: "envoy.string", Format: text("%START_TIME% %FILTER_STATE(envoy.tcp_proxy.cluster:PLAIN)%")},
		}}}},
		{"rbac that refuses", conf.NetworkFilter{RBAC: &conf.NetworkRBAC{StatPrefix: "p", Rules: refusing, ShadowRules: admitting}}},
		{"rbac that admits", conf.NetworkFilter{RBAC: &conf.NetworkRBAC{StatPrefix: "p", Rules: admitting, ShadowRules: refusing}}},
		{"connection_limit", conf.NetworkFilter{ConnectionLimit: &conf.ConnectionLimit{StatPrefix: "p", MaxConnections: 1}}},
		{"local_ratelimit", conf.NetworkFilter{LocalRateLimit: &conf.NetworkLocalRateLimit{
			StatPrefix: "p", MaxTokens: 3, TokensPerFill: 1, FillInterval: time.Hour, Enabled: conf.Fraction{Numerator: 50, Denominator: 100},
		}}},
		{"an embedder's", conf.NetworkFilter{Name: "acme.count"}},
	} {
		t.Run(row.title, func(t *testing.T) {
			c, f := newLoop(r), compile(t, &row.c, d)
			closer, _ := f.(Closer)
			facts := connection()
			facts.Extra = nil
			work := func() {
				c.Facts = facts
				c.Extra().ServerName = append(c.Extra().ServerName, "blue.example"...)
				if v := f.OnNewConnection(c); !v.Close && closer != nil {
					closer.OnConnectionClosed(facts)
				}
				c.Worker.PutExtra(facts.Extra)
				facts.Extra = nil
			}
			if n := testing.AllocsPerRun(100, work); n != 0 {
				t.Errorf("%v allocations a connection", n)
			}
		})
	}
}
