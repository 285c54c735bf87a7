package network

import (
	"net/netip"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/rbac"
	"github.com/sluiceproxy/sluice/proxy/reason"
	"github.com/sluiceproxy/sluice/proxy/stats"
	"github.com/sluiceproxy/sluice/proxy/streaminfo"
)

func all(rules ...*conf.RBACRule) *conf.RBACRule {
	return &conf.RBACRule{Kind: conf.RBACAnd, Rules: rules}
}

func some(rules ...*conf.RBACRule) *conf.RBACRule {
	return &conf.RBACRule{Kind: conf.RBACOr, Rules: rules}
}

func not(r *conf.RBACRule) *conf.RBACRule {
	return &conf.RBACRule{Kind: conf.RBACNot, Rules: []*conf.RBACRule{r}}
}

func anyone() *conf.RBACRule { return &conf.RBACRule{Kind: conf.RBACAny} }

func from(kind conf.RBACRuleKind, prefix string) *conf.RBACRule {
	return &conf.RBACRule{Kind: kind, Prefix: netip.MustParsePrefix(prefix)}
}

func port(first, end uint32) *conf.RBACRule {
	return &conf.RBACRule{Kind: conf.RBACDestinationPort, PortFrom: first, PortTo: end}
}

func named(kind conf.StringMatchKind, value string) *conf.RBACRule {
	return &conf.RBACRule{Kind: conf.RBACServerName, Name: conf.StringMatcher{Kind: kind, Value: value}}
}

func fold(r *conf.RBACRule) *conf.RBACRule { r.Name.IgnoreCase = true; return r }

func holding(key, value string) *conf.RBACRule {
	return &conf.RBACRule{Kind: conf.RBACFilterState, Key: key, Name: conf.StringMatcher{Value: value}}
}

// judged is a connection behind a PROXY header, with filter state.
func judged() *streaminfo.Connection {
	f := connection()
	f.Extra.DirectRemote, f.Extra.DirectLocal = netip.MustParseAddrPort("10.9.9.9:1"), netip.MustParseAddrPort("10.8.8.8:8443")
	f.Extra.State.Set("tenant", []byte("acme"), false)
	return f
}

func TestRBACRules(t *testing.T) {
	mapped := func(f *streaminfo.Connection) { f.Remote = netip.MustParseAddrPort("[::ffff:192.0.2.7]:1") }
	zoned := func(f *streaminfo.Connection) { f.Remote = netip.MustParseAddrPort("[fe80::7%eth0]:1") }
	pipe := func(f *streaminfo.Connection) { f.Remote, f.Local, f.Extra = netip.AddrPort{}, netip.AddrPort{}, nil }
	plain := func(f *streaminfo.Connection) { f.Extra = nil }
	odd := func(f *streaminfo.Connection) { f.Extra.ServerName = []byte("Blue_1.example") }
	for _, row := range []struct {
		title  string
		r      *conf.RBACRule
		change func(*streaminfo.Connection)
		want   bool
	}{
		{"any", anyone(), nil, true},
		{"not any", not(anyone()), nil, false},
		{"all of them", all(anyone(), port(443, 444)), nil, true},
		{"all but one", all(anyone(), port(444, 445)), nil, false},
		{"one of them", some(port(80, 81), port(443, 444)), nil, true},
		{"none of them", some(port(80, 81), not(anyone())), nil, false},
		{"rules within rules", all(not(some(port(80, 81), all(anyone(), not(anyone())))), anyone()), nil, true},

		{"destination address", from(conf.RBACDestinationIP, "10.0.0.1/32"), nil, true},
		{"the socket's destination is not asked", from(conf.RBACDestinationIP, "10.8.8.8/32"), nil, false},
		{"first port of a range", port(443, 500), nil, true},
		{"end of a range", port(400, 443), nil, false},
		{"last port", port(443, 65536), nil, true},
		{"a unix socket has no port", port(0, 65536), pipe, false},

		{"remote address", from(conf.RBACRemoteIP, "192.0.2.0/24"), nil, true},
		{"host bits of a prefix do not count", from(conf.RBACRemoteIP, "192.0.2.99/24"), nil, true},
		{"another remote address", from(conf.RBACRemoteIP, "192.0.3.0/24"), nil, false},
		{"remote address is what the PROXY header says", from(conf.RBACRemoteIP, "10.9.9.9/32"), nil, false},
		{"direct remote address", from(conf.RBACDirectRemoteIP, "10.9.9.9/32"), nil, true},
		{"direct remote address is not what the PROXY header says", from(conf.RBACDirectRemoteIP, "192.0.2.0/24"), nil, false},
		{"direct remote address without a PROXY header", from(conf.RBACDirectRemoteIP, "192.0.2.0/24"), plain, true},
		{"every IPv4 address", from(conf.RBACRemoteIP, "0.0.0.0/0"), nil, true},
		{"IPv4 in IPv6 is IPv4", from(conf.RBACRemoteIP, "192.0.2.7/32"), mapped, true},
		{"IPv6 with a zone", from(conf.RBACRemoteIP, "fe80::/10"), zoned, true},
		{"an IPv4 prefix and an IPv6 address", from(conf.RBACRemoteIP, "0.0.0.0/0"), zoned, false},
		{"a unix socket has no address", some(from(conf.RBACRemoteIP, "0.0.0.0/0"), from(conf.RBACDirectRemoteIP, "::/0")), pipe, false},

		{"server name", named(conf.MatchExact, "blue.example"), nil, true},
		{"another server name", named(conf.MatchExact, "blue"), nil, false},
		{"exact, case ignored", fold(named(conf.MatchExact, "BLUE_1.example")), odd, true},
		{"exact, case matters", named(conf.MatchExact, "blue_1.example"), odd, false},
		{"case ignored, another length", fold(named(conf.MatchExact, "BLUE")), nil, false},
		{"prefix", named(conf.MatchPrefix, "blue."), nil, true},
		{"prefix longer than the name", named(conf.MatchPrefix, "blue.example.com"), nil, false},
		{"suffix", named(conf.MatchSuffix, ".example"), nil, true},
		{"suffix, not", named(conf.MatchSuffix, ".test"), nil, false},
		{"contains", named(conf.MatchContains, "e.e"), nil, true},
		{"contains at the end", fold(named(conf.MatchContains, "PLE")), nil, true},
		{"contains, not", named(conf.MatchContains, "red"), nil, false},
		{"regex", named(conf.MatchRegex, `[a-z]+\.example`), nil, true},
		{"regex of a part", named(conf.MatchRegex, `[a-z]+|x`), nil, false},
		{"no server name", named(conf.MatchExact, "blue.example"), plain, false},
		{"no server name is an empty one", named(conf.MatchExact, ""), plain, true},

		{"filter state", holding("tenant", "acme"), nil, true},
		{"another value in filter state", holding("tenant", "other"), nil, false},
		{"nothing in filter state", holding("none", ""), nil, false},
	} {
		t.Run(row.title, func(t *testing.T) {
			rules, err := rbac.Compile(&conf.RBAC{Policies: []conf.RBACPolicy{policyOf("p", row.r, &conf.RBACRule{})}})
			if err != nil {
				t.Fatal(err)
			}
			f := judged()
			if row.change != nil {
				row.change(f)
			}
			if got, _ := rules.Judge(&rbac.Input{Conn: f}); got != row.want {
				t.Errorf("%v, want %v", got, row.want)
			}
		})
	}
}

func policyOf(name string, permission, principal *conf.RBACRule) conf.RBACPolicy {
	return conf.RBACPolicy{Name: name, Permissions: []*conf.RBACRule{permission}, Principals: []*conf.RBACRule{principal}}
}

func TestRBACDecides(t *testing.T) {
	client, stranger := from(conf.RBACRemoteIP, "192.0.2.0/24"), from(conf.RBACRemoteIP, "198.51.100.0/24")
	const none = "rbac_access_denied_matched_policy[none]"
	for _, row := range []struct {
		title    string
		action   conf.RBACAction
		policies []conf.RBACPolicy
		details  string // of the refusal; empty: admitted
		hint     string // access_log_hint
	}{
		{"ALLOW without policies refuses", conf.RBACAllow, nil, none, ""},
		{"ALLOW and a policy that matches", conf.RBACAllow, []conf.RBACPolicy{policyOf("a", anyone(), stranger), policyOf("b", port(443, 444), client)}, "", ""},
		{"ALLOW and a permission that does not", conf.RBACAllow, []conf.RBACPolicy{policyOf("a", port(80, 81), client)}, none, ""},
		{"ALLOW and a principal that does not", conf.RBACAllow, []conf.RBACPolicy{policyOf("a", anyone(), stranger)}, none, ""},
		{"DENY without policies admits", conf.RBACDeny, nil, "", ""},
		{"DENY and a policy that matches", conf.RBACDeny, []conf.RBACPolicy{policyOf("no way", anyone(), client)}, "rbac_access_denied_matched_policy[no_way]", ""},
		{"DENY names the first policy by name", conf.RBACDeny, []conf.RBACPolicy{policyOf("b", anyone(), client), policyOf("a", anyone(), client)}, "rbac_access_denied_matched_policy[a]", ""},
		{"DENY and a policy that does not match", conf.RBACDeny, []conf.RBACPolicy{policyOf("a", anyone(), stranger)}, "", ""},
		{"LOG and a policy that matches", conf.RBACLog, []conf.RBACPolicy{policyOf("a", anyone(), client)}, "", "true"},
		{"LOG and a policy that does not match", conf.RBACLog, []conf.RBACPolicy{policyOf("a", anyone(), stranger)}, "", "false"},
	} {
		t.Run(row.title, func(t *testing.T) {
			r := stats.NewRegistry()
			c, facts := newLoop(r), connection()
			f := compile(t, &conf.NetworkFilter{RBAC: &conf.NetworkRBAC{
				StatPrefix: "edge.", DelayDeny: time.Second, Rules: &conf.RBAC{Action: row.action, Policies: row.policies},
			}}, deps(r))
			v := c.try(f, facts)
			if v.Details == "" && v.Close {
				v.Details = v.Reason.Entry().Details
			}
			want, allowed, denied := Verdict{}, int64(1), int64(0)
			if row.details != "" {
				want, allowed, denied = Verdict{Close: true, Delay: time.Second, Reason: reason.RBACDenied, Details: row.details}, 0, 1
			}
			if v != want {
				t.Errorf("%+v, want %+v", v, want)
			}
			wantValues(t, r, map[string]int64{"edge.rbac.allowed": allowed, "edge.rbac.denied": denied, "edge.rbac.shadow_allowed": 0, "edge.rbac.shadow_denied": 0})
			hint := row.hint
			if hint == "" {
				hint = "(unset)"
			}
			if got := metadata(facts, "envoy.common", "access_log_hint"); got != hint {
				t.Errorf("hint %s, want %s", got, hint)
			}
		})
	}
}

func TestRBACShadowRulesOnlyCount(t *testing.T) {
	client := from(conf.RBACRemoteIP, "192.0.2.0/24")
	for _, row := range []struct {
		title          string
		action         conf.RBACAction
		principal      *conf.RBACRule
		result, policy string
		allowed        int64
	}{
		{"would allow", conf.RBACAllow, client, "allowed", "a", 1},
		{"would not allow", conf.RBACAllow, not(client), "denied", "(unset)", 0},
		{"would deny", conf.RBACDeny, client, "denied", "a", 0},
		{"would log", conf.RBACLog, client, "allowed", "a", 1},
	} {
		t.Run(row.title, func(t *testing.T) {
			r := stats.NewRegistry()
			c, facts := newLoop(r), connection()
			facts.Extra = nil
			f := compile(t, &conf.NetworkFilter{RBAC: &conf.NetworkRBAC{
				StatPrefix: "edge", ShadowRulesStatPrefix: "next.",
				ShadowRules: &conf.RBAC{Action: row.action, Policies: []conf.RBACPolicy{policyOf("a", anyone(), row.principal)}},
			}}, deps(r))
			if v := c.try(f, facts); v != (Verdict{}) {
				t.Errorf("%+v", v)
			}
			wantValues(t, r, map[string]int64{
				"edge.rbac.allowed": 0, "edge.rbac.denied": 0,
				"edge.rbac.next.shadow_allowed": row.allowed, "edge.rbac.next.shadow_denied": 1 - row.allowed,
			})
			if got := metadata(facts, rbacNamespace, "next.shadow_engine_result"); got != row.result {
				t.Errorf("result %s, want %s", got, row.result)
			}
			if got := metadata(facts, rbacNamespace, "next.shadow_effective_policy_id"); got != row.policy {
				t.Errorf("policy %s, want %s", got, row.policy)
			}
			if got := metadata(facts, "envoy.common", "access_log_hint"); got != "(unset)" {
				t.Errorf("shadow rules of action LOG left the hint %s", got)
			}
		})
	}
}

// One filter serves all loops: what they count adds up, and the race detector has nothing to say.
func TestRBACOnSeveralLoops(t *testing.T) {
	r := stats.NewRegistry()
	rules := &conf.RBAC{Action: conf.RBACDeny, Policies: []conf.RBACPolicy{policyOf("a", named(conf.MatchRegex, "red.*"), anyone())}}
	f := compile(t, &conf.NetworkFilter{RBAC: &conf.NetworkRBAC{StatPrefix: "edge", Rules: rules, ShadowRules: rules}}, deps(r))
	done := make(chan struct{})
	const loops, each = 4, 500
	for range loops {
		c := newLoop(r)
		go func() {
			for i := range each {
				facts := connection()
				if i%5 == 0 {
					facts.Extra.ServerName = []byte("red.example")
				}
				c.try(f, facts)
			}
			done <- struct{}{}
		}()
	}
	for range loops {
		<-done
	}
	wantValues(t, r, map[string]int64{
		"edge.rbac.denied": loops * each / 5, "edge.rbac.allowed": loops * each * 4 / 5,
		"edge.rbac.shadow_denied": loops * each / 5, "edge.rbac.shadow_allowed": loops * each * 4 / 5,
	})
}
