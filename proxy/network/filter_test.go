package network

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/reason"
	"github.com/sluiceproxy/sluice/proxy/stats"
	"github.com/sluiceproxy/sluice/proxy/streaminfo"
)

func TestSNIClusterIsTheRequestedServerName(t *testing.T) {
	r := stats.NewRegistry()
	c, f := newLoop(r), compile(t, &conf.NetworkFilter{SNICluster: true}, deps(r))
	named, unnamed := connection(), connection()
	unnamed.Extra = nil
	if v := c.try(f, named); v != (Verdict{}) || state(named, streaminfo.KeyTCPCluster) != "blue.example" {
		t.Errorf("%+v, cluster %s", v, state(named, streaminfo.KeyTCPCluster))
	}
	if v := c.try(f, unnamed); v != (Verdict{}) || unnamed.Extra != nil {
		t.Errorf("without a name: %+v, %+v", v, unnamed.Extra)
	}
	// A filter behind it may choose again.
	if !named.Extra.State.Set(streaminfo.KeyTCPCluster, []byte("other"), false) {
		t.Error("the cluster cannot be changed")
	}
}

// refuser is an embedder's filter that answers what it holds.
type refuser struct{ Verdict }

func (r refuser) OnNewConnection(*Connection) Verdict { return r.Verdict }

// counter is one that counts.
type counter struct{ opened, closed int }

func (n *counter) OnNewConnection(*Connection) Verdict { n.opened++; return Verdict{} }

func (n *counter) OnConnectionClosed(*streaminfo.Connection) { n.closed++ }

func TestCustomFiltersAreMadeByName(t *testing.T) {
	r := stats.NewRegistry()
	n := new(counter)
	asked := ""
	d := Deps{Registry: r, Custom: map[string]Factory{
		"acme.count": func(name string) (Filter, error) { asked = name; return n, nil },
		"acme.no":    func(string) (Filter, error) { return refuser{Verdict{Close: true, Delay: time.Second}}, nil },
		"acme.why": func(string) (Filter, error) {
			return refuser{Verdict{Close: true, Reason: reason.RBACDenied, Details: "closed on Sundays"}}, nil
		},
	}}
	c := newLoop(r)
	f := compile(t, &conf.NetworkFilter{Name: "acme.count"}, d)
	if v := c.try(f, connection()); v != (Verdict{}) || asked != "acme.count" {
		t.Errorf("%+v from %q", v, asked)
	}
	closer, ok := f.(Closer)
	if !ok {
		t.Fatal("a filter that wants to hear of ends does not")
	}
	closer.OnConnectionClosed(connection())
	if *n != (counter{1, 1}) {
		t.Errorf("%+v", *n)
	}

	f = compile(t, &conf.NetworkFilter{Name: "acme.no"}, d)
	if _, ok := f.(Closer); ok {
		t.Error("a filter that does not want to hear of ends would")
	}
	if v, want := c.try(f, connection()), (Verdict{Close: true, Delay: time.Second, Reason: reason.NetworkFilterRefused}); v != want {
		t.Errorf("a refusal without a reason: %+v, want %+v", v, want)
	}
	if v := c.try(compile(t, &conf.NetworkFilter{Name: "acme.why"}, d), connection()); v.Reason != reason.RBACDenied || v.Details != "closed on Sundays" {
		t.Errorf("a refusal with a reason: %+v", v)
	}
}

func TestCompileErrorsNameThePlace(t *testing.T) {
	every := []*conf.RBACRule{{Kind: conf.RBACAny}}
	rules := func(permissions, principals []*conf.RBACRule) *conf.NetworkFilter {
		return &conf.NetworkFilter{RBAC: &conf.NetworkRBAC{StatPrefix: "p", Rules: &conf.RBAC{Policies: []conf.RBACPolicy{{Name: "a", Permissions: permissions, Principals: principals}}}}}
	}
	permission := func(r conf.RBACRule) *conf.NetworkFilter { return rules([]*conf.RBACRule{every[0], &r}, every) }
	value := func(v conf.FilterStateValue) *conf.NetworkFilter {
		if v.Format == nil {
			v.Format = &conf.Format{Text: "%CONNECTION_ID%"}
		}
		return &conf.NetworkFilter{SetFilterState: &conf.SetFilterState{OnNewConnection: []conf.FilterStateValue{{Key: "k", Factory: "envoy.string", Format: &conf.Format{}}, v}}}
	}
	limit := func(c conf.NetworkLocalRateLimit) *conf.NetworkFilter { return &conf.NetworkFilter{LocalRateLimit: &c} }
	for _, row := range []struct {
		c    *conf.NetworkFilter
		want string
	}{
		{&conf.NetworkFilter{Name: "acme.none"}, `no network filter "acme.none" is registered; there are: acme.bad, acme.nil`},
		{&conf.NetworkFilter{Name: "acme.bad"}, "acme.bad: no luck"},
		{&conf.NetworkFilter{Name: "acme.nil"}, "acme.nil: the factory returned no filter"},

		{rules(nil, every), `rules.policies["a"].permissions: needs at least one`},
		{rules(every, nil), `rules.policies["a"].principals: needs at least one`},
		{rules(every, []*conf.RBACRule{nil}), `rules.policies["a"].principals[0]: nothing there`},
		{permission(conf.RBACRule{Kind: conf.RBACAnd}), `rules.policies["a"].permissions[1].rules: needs at least one`},
		{permission(conf.RBACRule{Kind: conf.RBACNot, Rules: []*conf.RBACRule{every[0], every[0]}}), `rules.policies["a"].permissions[1]: negates one rule`},
		{permission(conf.RBACRule{Kind: conf.RBACOr, Rules: []*conf.RBACRule{every[0], {Kind: 77}}}), `rules.policies["a"].permissions[1].rules[1]: unknown kind 77`},
		{permission(conf.RBACRule{Kind: conf.RBACDestinationPort, PortFrom: 80, PortTo: 80}), `permissions[1]: no port is at or above 80 and below 80`},
		{permission(conf.RBACRule{Kind: conf.RBACDestinationPort, PortFrom: 80, PortTo: 65537}), `permissions[1]: no port is at or above 80 and below 65537`},
		{permission(conf.RBACRule{Kind: conf.RBACRemoteIP}), `permissions[1]: invalid Prefix is no prefix of IPv4 or IPv6 addresses`},
		{permission(conf.RBACRule{Kind: conf.RBACFilterState}), `permissions[1]: the key is missing`},
		{permission(conf.RBACRule{Kind: conf.RBACServerName, Name: conf.StringMatcher{Kind: conf.MatchRegex, Value: "a)(b"}}), `permissions[1]: safe_regex: `},
		{permission(conf.RBACRule{Kind: conf.RBACServerName, Name: conf.StringMatcher{Kind: conf.MatchSuffix}}), `permissions[1]: an empty prefix, suffix or contains value matches everything`},
		{permission(conf.RBACRule{Kind: conf.RBACServerName, Name: conf.StringMatcher{Kind: conf.MatchRange}}), `permissions[1]: string matcher of unknown kind`},
		{&conf.NetworkFilter{RBAC: &conf.NetworkRBAC{ShadowRules: &conf.RBAC{Action: 9}}}, "shadow_rules.action: unknown action 9"},

		{&conf.NetworkFilter{ConnectionLimit: &conf.ConnectionLimit{}}, "max_connections: must be at least 1"},
		{&conf.NetworkFilter{ConnectionLimit: &conf.ConnectionLimit{MaxConnections: 1, Delay: -1}}, "delay: must not be negative"},

		{limit(conf.NetworkLocalRateLimit{TokensPerFill: 1, FillInterval: time.Second}), "token_bucket.max_tokens: must be at least 1"},
		{limit(conf.NetworkLocalRateLimit{MaxTokens: 1, FillInterval: time.Second}), "token_bucket.tokens_per_fill: must be at least 1"},
		{limit(conf.NetworkLocalRateLimit{MaxTokens: 1, TokensPerFill: 1, FillInterval: 49 * time.Millisecond}), "token_bucket.fill_interval: must be at least 50ms"},
		{limit(conf.NetworkLocalRateLimit{MaxTokens: 1, TokensPerFill: 1, FillInterval: time.Second, ShareKey: "k"}), "share_key: there is nothing to share here"},

		{value(conf.FilterStateValue{}), "on_new_connection[1].object_key: must not be empty"},
		{value(conf.FilterStateValue{Key: "my.key"}), `on_new_connection[1].factory_key: there is no factory "my.key"; there are: envoy.hashable_string, `},
		{value(conf.FilterStateValue{Key: "my.key", Factory: "x"}), `on_new_connection[1].factory_key: there is no factory "x"`},
		{value(conf.FilterStateValue{Key: streaminfo.KeyTCPDisableTunneling, Factory: "envoy.string"}), `factory_key: what "envoy.string" makes is not what envoy.tcp_proxy.disable_tunneling holds: true or false`},
		{value(conf.FilterStateValue{Key: "my.key", Factory: "envoy.string", Format: &conf.Format{Text: "%NOPE%"}}), "on_new_connection[1].format_string: offset 0: %NOPE%: unknown operator"},
		{value(conf.FilterStateValue{Key: streaminfo.KeyTCPReceiveBeforeConnect, Format: &conf.Format{Text: "yes"}}), `format_string: "yes" is not true or false`},
		{value(conf.FilterStateValue{Key: streaminfo.KeyTCPIdleTimeoutMs, Format: &conf.Format{Text: "1s"}}), `format_string: "1s" is not a decimal number of at most 64 bits`},
		{value(conf.FilterStateValue{Key: streaminfo.KeyUpstreamDynamicPort, Format: &conf.Format{Text: "65536"}}), `format_string: "65536" is not a port number`},
		{&conf.NetworkFilter{SetFilterState: &conf.SetFilterState{OnNewConnection: []conf.FilterStateValue{{Key: "k", Factory: "envoy.string"}}}}, "on_new_connection[0].format_string: must be set"},
	} {
		_, err := Compile(row.c, Deps{Registry: stats.NewRegistry(), Custom: map[string]Factory{
			"acme.nil": func(string) (Filter, error) { return nil, nil },
			"acme.bad": func(string) (Filter, error) { return nil, errors.New("no luck") },
		}})
		if err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%v, want %s", err, row.want)
		}
	}
}
