package e2e

import (
	"fmt"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
	"github.com/sluiceproxy/sluice/proxy/network"
	"github.com/sluiceproxy/sluice/proxy/streaminfo"
)

const networkLogFormat = "%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%"

// rbac, by what it can judge a connection by.
func TestTCPNetworkRBAC(t *testing.T) {
	harness.NoLeaks(t)
	policy := func(action, permission, principal string) string {
		return fmt.Sprintf("rules: { action: %s, policies: { p: { permissions: [%s], principals: [%s] } } }\n", action, permission, principal)
	}
	const any, none = "{ any: true }", "rbac_access_denied_matched_policy[none]"
	filter := func(fields string) string { return harness.NetworkFilter("rbac", "RBAC", "stat_prefix: p\n"+fields) }
	for name, tc := range map[string]struct {
		filters, listener string
		send              string
		denied            string // details; "" is admitted
		stats             harness.Stats
	}{
		"allowed by the direct peer":  {filters: filter(policy("ALLOW", any, "{ direct_remote_ip: { address_prefix: 127.0.0.0, prefix_len: 8 } }")), stats: harness.Stats{"p.rbac.allowed": 1, "p.rbac.denied": 0}},
		"not allowed by anything":     {filters: filter(policy("ALLOW", any, "{ remote_ip: { address_prefix: 10.0.0.0, prefix_len: 8 } }")), denied: none, stats: harness.Stats{"p.rbac.allowed": 0, "p.rbac.denied": 1}},
		"denied":                      {filters: filter(policy("DENY", any, any)), denied: "rbac_access_denied_matched_policy[p]", stats: harness.Stats{"p.rbac.denied": 1}},
		"not denied":                  {filters: filter(policy("DENY", any, "{ remote_ip: { address_prefix: 10.0.0.0, prefix_len: 8 } }")), stats: harness.Stats{"p.rbac.allowed": 1}},
		"by the source of a header":   {filters: filter(policy("ALLOW", any, "{ remote_ip: { address_prefix: 10.0.0.0, prefix_len: 8 } }")), listener: proxyProtocol(""), send: v1("10.1.1.1", "2.2.2.2", "1 2"), stats: harness.Stats{"p.rbac.allowed": 1}},
		"but not the direct peer":     {filters: filter(policy("ALLOW", any, "{ direct_remote_ip: { address_prefix: 10.0.0.0, prefix_len: 8 } }")), listener: proxyProtocol(""), send: v1("10.1.1.1", "2.2.2.2", "1 2"), denied: none, stats: harness.Stats{"p.rbac.denied": 1}},
		"by the destination's port":   {filters: filter(policy("ALLOW", "{ destination_port: 443 }", any)), listener: proxyProtocol(""), send: v1("1.1.1.1", "2.2.2.2", "1 443"), stats: harness.Stats{"p.rbac.allowed": 1}},
		"by another destination":      {filters: filter(policy("ALLOW", "{ destination_ip: { address_prefix: 2.2.2.3, prefix_len: 32 } }", any)), listener: proxyProtocol(""), send: v1("1.1.1.1", "2.2.2.2", "1 443"), denied: none, stats: harness.Stats{"p.rbac.denied": 1}},
		"by the server name":          {filters: filter(policy("ALLOW", "{ requested_server_name: { suffix: .example } }", any)), listener: tlsInspector, send: string(clientHello(t, "a.example")), stats: harness.Stats{"p.rbac.allowed": 1}},
		"by another server name":      {filters: filter(policy("ALLOW", "{ requested_server_name: { suffix: .example } }", any)), listener: tlsInspector, send: string(clientHello(t, "a.test")), denied: none, stats: harness.Stats{"p.rbac.denied": 1}},
		"by what a filter before set": {filters: harness.SetFilterState("tier", "gold") + filter(policy("ALLOW", any, "{ filter_state: { key: tier, string_match: { exact: gold } } }")), stats: harness.Stats{"p.rbac.allowed": 1}},
		"after a delay":               {filters: filter(policy("DENY", any, any) + "delay_deny: 0.05s"), denied: "rbac_access_denied_matched_policy[p]", stats: harness.Stats{"p.rbac.denied": 1}},
		"shadow rules are only counted": {
			filters: filter(strings.ReplaceAll(policy("DENY", any, any), "rules:", "shadow_rules:") + "shadow_rules_stat_prefix: trial"),
			stats:   harness.Stats{"p.rbac.trial.shadow_denied": 1, "p.rbac.trial.shadow_allowed": 0, "p.rbac.denied": 0},
		},
		"shadow rules beside rules": {
			filters: filter(policy("ALLOW", any, any) + strings.ReplaceAll(policy("ALLOW", any, any), "rules:", "shadow_rules:")),
			stats:   harness.Stats{"p.rbac.shadow_allowed": 1, "p.rbac.allowed": 1},
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := harness.StartTCP(t, harness.TCPTopology{
				Clusters: to(echoes(t)), Filters: tc.filters, ListenerFilters: tc.listener, ListenerLog: true, LogFormat: networkLogFormat,
			})
			c := p.Dial().Send(tc.send)
			if tc.denied != "" {
				_ = c.WantEnd()
				p.WantLines("listener - " + tc.denied)
				p.WantStats(harness.Stats{inListener + "downstream_cx_total": 0, inTCP + "downstream_cx_total": 0, inListener + "downstream_pre_cx_active": 0})
			} else {
				if tc.listener == tlsInspector {
					c.WantText(tc.send)
				}
				c.Send("x").WantText("x").Close()
				p.AwaitLines(2)
			}
			p.WantStats(tc.stats)
		})
	}
}

// connection_limit: so many at a time, over all loops; who ends makes room.
func TestTCPConnectionLimit(t *testing.T) {
	harness.NoLeaks(t)
	for name, delay := range map[string]string{"at once": "", "after a delay": "delay: 0.05s"} {
		t.Run(name, func(t *testing.T) {
			p := harness.StartTCP(t, harness.TCPTopology{
				Loops: 2, Clusters: to(echoes(t)), ListenerLog: true, LogFormat: networkLogFormat,
				Filters: harness.NetworkFilter("connection_limit", "ConnectionLimit", "stat_prefix: few\nmax_connections: 2\n"+delay),
			})
			first, second := live(p), live(p)
			p.WantStats(harness.Stats{"connection_limit.few.active_connections": 2})
			for range 3 {
				_ = p.Dial().WantEnd()
			}
			p.WantLines("listener - over_connection_limit", "listener - over_connection_limit", "listener - over_connection_limit")
			p.WantStats(harness.Stats{"connection_limit.few.limited_connections": 3, "connection_limit.few.active_connections": 2, inTCP + "downstream_cx_total": 2})
			first.Finish()
			_ = first.WantEnd()
			p.WantStats(harness.Stats{"connection_limit.few.active_connections": 1})
			live(p).Close()
			second.Reset()
			p.WantStats(harness.Stats{"connection_limit.few.active_connections": 0})
		})
	}
}

// A connection that a later filter refuses is not counted any more.
func TestTCPConnectionLimitBeforeAnotherFilter(t *testing.T) {
	harness.NoLeaks(t)
	p := harness.StartTCP(t, harness.TCPTopology{
		Clusters: to(echoes(t)),
		Filters: harness.NetworkFilter("connection_limit", "ConnectionLimit", "stat_prefix: few\nmax_connections: 1") +
			harness.NetworkFilter("rbac", "RBAC", "stat_prefix: p\nrules: { action: ALLOW, policies: { p: { permissions: [{ any: true }], principals: [{ remote_ip: { address_prefix: 127.0.0.2, prefix_len: 32 } }] } } }"),
	})
	for range 3 {
		_ = p.Dial().WantEnd()
	}
	p.WantStats(harness.Stats{"connection_limit.few.limited_connections": 0, "connection_limit.few.active_connections": 0, "p.rbac.denied": 3})
	p.DialFrom("127.0.0.2").Send("x").WantText("x")
	p.WantStats(harness.Stats{"connection_limit.few.active_connections": 1})
}

// local_ratelimit: a token for each connection; runtime turns it off; a shared bucket is one.
func TestTCPLocalRateLimit(t *testing.T) {
	harness.NoLeaks(t)
	const bucket = "stat_prefix: few\ntoken_bucket: { max_tokens: 2, fill_interval: 3600s }\n"
	limit := func(fields string) string {
		return harness.NetworkFilter("local_ratelimit", "LocalRateLimit", bucket+fields)
	}
	t.Run("two tokens", func(t *testing.T) {
		p := harness.StartTCP(t, harness.TCPTopology{Clusters: to(echoes(t)), Loops: 2, Filters: limit(""), ListenerLog: true, LogFormat: networkLogFormat})
		live(p).Close()
		live(p).Close()
		p.AwaitLines(4)
		_ = p.Dial().WantEnd()
		_ = p.Dial().WantEnd()
		lines := p.AwaitLines(6)
		if lines[4] != "listener RL local_ratelimit_close_over_limit" || lines[5] != lines[4] {
			t.Errorf("the lines are %q", lines)
		}
		p.WantStats(harness.Stats{"local_rate_limit.few.rate_limited": 2, inTCP + "downstream_cx_total": 2})
	})
	t.Run("off by runtime", func(t *testing.T) {
		p := harness.StartTCP(t, harness.TCPTopology{
			Clusters: to(echoes(t)), Filters: limit("runtime_enabled: { default_value: true, runtime_key: limit.on }"),
			Bootstrap: "layered_runtime: { layers: [{ name: base, static_layer: { limit: { on: false } } }] }",
		})
		for range 4 {
			live(p).Close()
		}
		p.WantStats(harness.Stats{"local_rate_limit.few.rate_limited": 0, inTCP + "downstream_cx_total": 4})
	})
	t.Run("shared by two chains", func(t *testing.T) {
		p := harness.StartTCP(t, harness.TCPTopology{Clusters: to(echoes(t)), Chains: chainsFrom(
			harness.Chain{Name: "one", Filters: limit("share_key: k")}, harness.Chain{Name: "two", Filters: limit("share_key: k")},
		)})
		live(p).Close()
		p.DialFrom("127.0.0.2").Send("x").WantText("x").Close()
		_ = p.Dial().WantEnd()
		_ = p.DialFrom("127.0.0.2").WantEnd()
		p.WantStats(harness.Stats{"local_rate_limit.few.rate_limited": 2, "tcp.one.downstream_cx_total": 1, "tcp.two.downstream_cx_total": 1})
	})
}

// bouncer is an embedder's filter that refuses every other connection, and counts.
type bouncer struct {
	delay          time.Duration
	details        string
	seen, admitted atomic.Int64
	closed         atomic.Int64
}

func (b *bouncer) OnNewConnection(*network.Connection) network.Verdict {
	if b.seen.Add(1)%2 == 0 {
		return network.Verdict{Close: true, Delay: b.delay, Details: b.details}
	}
	b.admitted.Add(1)
	return network.Verdict{}
}

func (b *bouncer) OnConnectionClosed(*streaminfo.Connection) { b.closed.Add(1) }

// An embedder's filter refuses connections in its own words, and hears of the ends of the others.
func TestTCPEmbeddersFilterRefuses(t *testing.T) {
	harness.NoLeaks(t)
	for name, b := range map[string]*bouncer{"plain": {}, "with a delay": {delay: 50 * time.Millisecond}, "in its own words": {details: "not_today"}} {
		t.Run(name, func(t *testing.T) {
			p := harness.StartTCP(t, harness.TCPTopology{
				Clusters: to(echoes(t)), Filters: "- name: bouncer\n", ListenerLog: true, LogFormat: networkLogFormat,
				NetworkFilters: map[string]network.Factory{"bouncer": func(string) (network.Filter, error) { return b, nil }},
			})
			want := "network_filter_refused"
			if b.details != "" {
				want = b.details
			}
			c := live(p)
			_ = p.Dial().Send("unread").WantEnd()
			p.WantLines("listener - " + want)
			c.Finish()
			_ = c.WantEnd()
			p.AwaitLines(3)
			if b.admitted.Load() != 1 || b.closed.Load() != 1 {
				t.Errorf("%d admitted, %d closed", b.admitted.Load(), b.closed.Load())
			}
		})
	}
}

// A refused client that leaves during the delay, or a server that closes then.
func TestTCPRefusedClientLeavesDuringTheDelay(t *testing.T) {
	harness.NoLeaks(t)
	b := &bouncer{delay: time.Hour}
	b.seen.Store(1)
	p := harness.StartTCP(t, harness.TCPTopology{
		Clusters: to(echoes(t)), Filters: "- name: bouncer\n", ListenerLog: true, LogFormat: networkLogFormat, DrainTime: 1,
		NetworkFilters: map[string]network.Factory{"bouncer": func(string) (network.Filter, error) { return b, nil }},
	})
	c := p.Dial().Send("x")
	p.WantStats(harness.Stats{inListener + "downstream_pre_cx_active": 1})
	c.Close()
	conf := harness.LoadTCP(t, harness.TCPTopology{Clusters: to()})
	conf.Listeners = nil
	if err := p.Server.Apply(conf); err != nil {
		t.Fatal(err)
	}
	p.WantLines("listener - network_filter_refused")
}

// set_filter_state refuses what is no value of the key, and counts it.
func TestTCPSetFilterStateRefuses(t *testing.T) {
	harness.NoLeaks(t)
	p := harness.StartTCP(t, harness.TCPTopology{
		Clusters: to(echoes(t)), ListenerFilters: tlsInspector,
		Filters: harness.SetFilterState("envoy.tcp_proxy.per_connection_idle_timeout_ms", "%REQUESTED_SERVER_NAME%"),
	})
	hello := string(clientHello(t, "no.number"))
	p.Dial().Send(hello).WantText(hello).Close()
	p.WantStats(harness.Stats{"set_filter_state.refused": 1, inTCP + "idle_timeout": 0})
}

// original_dst: the address a client connected to before iptables sent it here.
func TestTCPOriginalDst(t *testing.T) {
	harness.NoLeaks(t)
	iptables, err := exec.LookPath("iptables")
	if err != nil {
		t.Skip("iptables is not installed")
	}
	p := harness.StartTCP(t, harness.TCPTopology{
		Clusters: to(echoes(t)), ListenerFilters: harness.ListenerFilter("original_dst", "OriginalDst", ""),
		Chains:    []harness.Chain{{Name: "redirected", Match: "{ prefix_ranges: [{ address_prefix: 127.77.0.1, prefix_len: 32 }], destination_port: 7777 }"}, {Name: "direct"}},
		LogFormat: "%FILTER_CHAIN_NAME% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_DIRECT_LOCAL_ADDRESS%",
	})
	_, port, _ := strings.Cut(p.Addr, ":")
	rule := []string{"-t", "nat", "OUTPUT", "-p", "tcp", "-d", "127.77.0.1", "--dport", "7777", "-j", "REDIRECT", "--to-ports", port}
	change := func(what string) ([]byte, error) {
		args := append([]string{rule[0], rule[1], what}, rule[2:]...)
		return exec.Command(iptables, append([]string{"-w", "5"}, args...)...).CombinedOutput()
	}
	if out, err := change("-A"); err != nil {
		t.Skipf("iptables cannot redirect here: %s", out)
	}
	t.Cleanup(func() {
		if out, err := change("-D"); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	})
	harness.Dial(t, "127.77.0.1:7777").Send("x").WantText("x").Close()
	p.WantLines("redirected 127.77.0.1:7777 " + p.Addr)
	p.Dial().Send("x").WantText("x").Close()
	p.WantLines("redirected 127.77.0.1:7777 "+p.Addr, "direct "+p.Addr+" "+p.Addr)
}
