package e2e

import (
	"fmt"
	"slices"
	"testing"

	"github.com/sluiceproxy/sluice/proxy"
	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
	"github.com/sluiceproxy/sluice/proxy/network"
	"github.com/sluiceproxy/sluice/proxy/reason"
)

// sessionEnding makes a TCP session, or a connection that does not become one, end for one reason of
// the table, which the listener's log must then tell.
type sessionEnding struct {
	origin  func(t *testing.T) harness.Origin // default: echoes
	filters string
	chains  []harness.Chain
	proxy   string

	listener, listenerFilters string
	act                       func(t *testing.T, p *harness.Proxy)
}

// ended waits for the proxy to end a new connection.
func ended(_ *testing.T, p *harness.Proxy) {
	c := p.Dial()
	_ = c.WantEnd()
	c.Close()
}

// sessionEndings has a way to every reason that only connections without HTTP end with.
var sessionEndings = map[reason.Reason]sessionEnding{
	reason.SessionEnded: {act: func(_ *testing.T, p *harness.Proxy) {
		c := live(p).Finish()
		_ = c.WantEnd()
	}},
	reason.SessionIdle:            {proxy: "idle_timeout: 0.05s", act: ended},
	reason.SessionDuration:        {proxy: "max_downstream_connection_duration: 0.05s", act: ended},
	reason.SessionDownstreamReset: {act: func(_ *testing.T, p *harness.Proxy) { live(p).Reset() }},
	reason.SessionUpstreamReset: {
		origin: func(t *testing.T) harness.Origin { return harness.NewRaw(t, harness.ResetAfter(1)) },
		act: func(_ *testing.T, p *harness.Proxy) {
			c := p.Dial().Send("x")
			_ = c.WantEnd()
			c.Close()
		},
	},
	reason.Draining: {proxy: checksDrain, act: func(_ *testing.T, p *harness.Proxy) {
		c := live(p)
		p.Server.DrainListeners(proxy.ListenerDrain{Graceful: true, SkipExit: true})
		_ = c.WantEnd()
		c.Close()
	}},
	reason.NoFilterChain:         {chains: []harness.Chain{{Match: "{ destination_port: 1 }"}}, act: ended},
	reason.ListenerFilterTimeout: {listenerFilters: tlsInspector, listener: "listener_filters_timeout: 0.05s", act: ended},
	reason.ListenerFilterRefused: {listenerFilters: proxyProtocol(""), act: func(_ *testing.T, p *harness.Proxy) { _ = p.Dial().Send("no header").WantEnd() }},
	reason.ListenerFilterClosed:  {listenerFilters: tlsInspector, act: func(_ *testing.T, p *harness.Proxy) { _ = p.Dial().Finish().WantEnd() }},
	reason.RBACDenied:            {filters: harness.NetworkFilter("rbac", "RBAC", "stat_prefix: p\nrules: { action: ALLOW }"), act: ended},
	reason.ConnectionLimited: {
		filters: harness.NetworkFilter("connection_limit", "ConnectionLimit", "stat_prefix: p\nmax_connections: 1"),
		act: func(t *testing.T, p *harness.Proxy) {
			live(p)
			ended(t, p)
		},
	},
	reason.ConnectionRateLimited: {
		filters: harness.NetworkFilter("local_ratelimit", "LocalRateLimit", "stat_prefix: p\ntoken_bucket: { max_tokens: 1, fill_interval: 3600s }"),
		act: func(t *testing.T, p *harness.Proxy) {
			live(p)
			ended(t, p)
		},
	},
	reason.NetworkFilterRefused: {filters: "- name: bouncer\n", act: ended},
}

func (e *sessionEnding) run(t *testing.T, r reason.Reason) {
	origin := e.origin
	if origin == nil {
		origin = func(t *testing.T) harness.Origin { return echoes(t) }
	}
	refuses := &bouncer{}
	refuses.seen.Store(1)
	p := harness.StartTCP(t, harness.TCPTopology{
		Clusters: to(origin(t)), Filters: e.filters, Chains: e.chains, Proxy: e.proxy, Listener: e.listener, ListenerFilters: e.listenerFilters,
		ListenerLog: true, LogFormat: "%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS%",
		NetworkFilters: map[string]network.Factory{"bouncer": func(string) (network.Filter, error) { return refuses, nil }},
	})
	e.act(t, p)
	entry := r.Entry()
	details := entry.Details
	if details == "" {
		details = "-"
	}
	want := fmt.Sprintf("listener %v %s %s", entry.Flag, details, details)
	harness.Eventually(t, "the line "+want, func() bool { return slices.Contains(p.Lines(), want) })
}
