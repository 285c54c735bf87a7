package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// networkRBAC is the network filter with one policy for principals, and shadow rules for the same.
func networkRBAC(action, principals string) string {
	rules := fmt.Sprintf("{ action: %s, policies: { p: { permissions: [{ any: true }], principals: [%s] } } }", action, principals)
	return harness.NetworkFilter("rbac", "RBAC", "stat_prefix: edge.\nrules: "+rules+"\nshadow_rules: "+rules)
}

// tcp_proxy.md 12: principals by the client's certificate are judged when the handshake is done, before the
// upstream is connected, by its URI and DNS names and its subject.
func TestTLSPrincipalsOfConnections(t *testing.T) {
	harness.NoLeaks(t)
	a := harness.NewAuthority(t)
	named := func(matcher string) string { return "{ authenticated: { principal_name: { " + matcher + " } } }" }
	for _, row := range []struct {
		action, principals, client string
		admitted                   bool
	}{
		{"ALLOW", named("exact: good.test"), "good.test", true},
		{"ALLOW", named("exact: good.test"), "bad.test", false},
		{"ALLOW", named("exact: good.test"), "", false},
		{"ALLOW", named("exact: CN=good.test"), "good.test", true}, // the subject
		{"ALLOW", named("suffix: .test"), "other.test", true},
		{"ALLOW", named("safe_regex: { regex: '(good|fine).test' }"), "fine.test", true},
		{"ALLOW", "{ authenticated: {} }", "bad.test", true},
		{"ALLOW", "{ authenticated: {} }", "", true}, // whoever the filter chain lets in
		{"ALLOW", "{ not_id: " + named("exact: bad.test") + " }", "bad.test", false},
		{"ALLOW", "{ and_ids: { ids: [" + named("prefix: good") + ", { direct_remote_ip: { address_prefix: 127.0.0.0, prefix_len: 8 } }] } }", "good.test", true},
		{"ALLOW", named("exact: a.test") + ", " + named("exact: b.test"), "b.test", true},
		{"DENY", named("exact: bad.test"), "bad.test", false},
		{"DENY", named("exact: bad.test"), "good.test", true},
		{"DENY", named("exact: bad.test"), "", true},
	} {
		for _, http := range []bool{false, true} {
			t.Run(fmt.Sprint(row.action, " ", row.principals, " ", row.client, ", HTTP ", http), func(t *testing.T) {
				var o harness.Origin = harness.NewRaw(t, (*harness.Peer).Echo)
				if http {
					o = harness.NewRecorder(t, nil)
				}
				p := harness.StartTCP(t, harness.TCPTopology{
					Clusters: to(o), ListenerLog: true, LogFormat: "%CONNECTION_TERMINATION_DETAILS%",
					Chains: []harness.Chain{{HTTP: http, Filters: networkRBAC(row.action, row.principals), Match: harness.With("", secured(t, a, "a.test", a.Trust()))}},
				})
				config := a.Client("a.test")
				if row.client != "" {
					config.Certificates = append(config.Certificates, a.Certificate(t, row.client))
				}
				c := p.DialTLS(config)
				admitted := map[bool]int64{true: 1}[row.admitted]
				switch {
				case !row.admitted:
					c.WantEnd()
					if got := p.AwaitLines(1)[0]; !strings.HasPrefix(got, "listener rbac_access_denied_matched_policy[") {
						t.Errorf("the log has %q", got)
					}
				case http:
					if m := c.Do(get); m.Status() != 200 {
						t.Error(m.Start)
					}
				default:
					c.Send("hello").WantText("hello")
				}
				c.Close()
				p.WantStats(harness.Stats{
					"edge.rbac.allowed": admitted, "edge.rbac.denied": 1 - admitted, "edge.rbac.shadow_allowed": admitted, "edge.rbac.shadow_denied": 1 - admitted,
					onOrigin + "upstream_cx_total": admitted, inSSL + "handshake": 1, inListener + "downstream_cx_active": 0,
				})
			})
		}
	}
	t.Run("a plain connection is nobody's", func(t *testing.T) {
		p := harness.StartTCP(t, harness.TCPTopology{Clusters: to(harness.NewRaw(t, (*harness.Peer).Echo)), Filters: networkRBAC("ALLOW", "{ authenticated: {} }")})
		c := p.Dial()
		_ = c.WantEnd()
		p.WantStats(harness.Stats{"edge.rbac.denied": 1, onOrigin + "upstream_cx_total": 0})
	})
}
