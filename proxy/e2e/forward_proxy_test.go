package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
	"github.com/sluiceproxy/sluice/proxy/streaminfo"
)

// A request goes to the name it asks for; names share nothing but the cache. Names that do not exist are
// answered, and remembered.
func TestForwardProxyGoesToTheAuthority(t *testing.T) {
	harness.NoLeaks(t)
	d := harness.NewDNS(t)
	a, b := harness.NewRecorder(t, named("a")), harness.NewRecorder(t, named("b"))
	d.Set("one.test", "127.0.0.1")
	d.Set("two.test", "127.0.0.1")
	d.Set("empty.test")
	p := harness.Start(t, forwarding(dnsCache(d), a, b))
	w := harness.DialWire(t, "tcp", p.Addr)
	for range 3 {
		for _, row := range []struct{ to, want string }{{at("one.test", a), "a"}, {at("ONE.test", a), "a"}, {at("two.test", b), "b"}, {at("127.0.0.1", b), "b"}} {
			if m := w.Do(getFrom(row.to)); !bodyIs(row.want)(m) {
				t.Errorf("%s: %s", row.to, m.Head())
			}
		}
	}
	if got := a.Last(t); got.Path() != "/path" || !strings.EqualFold(got.Get("host"), at("one.test", a)) {
		t.Errorf("the origin got %s", got.Head())
	}
	p.WantStats(harness.Stats{
		"dns_cache.names.dns_query_attempt": 3, "dns_cache.names.dns_query_success": 3, "dns_cache.names.host_added": 3, "dns_cache.names.host_address_changed": 3,
		"dns_cache.names.num_hosts": 3, "cluster.origin.upstream_cx_total": 3, "dns_cache.names.circuit_breakers.rq_pending_remaining": 1024,
	})
	lines := 12 // of the requests until now
	for range 2 {
		for _, row := range []struct{ name, why string }{{"none.test", "no_addresses"}, {"empty.test", "no_addresses"}, {"a..b", "invalid_host"}} {
			wantReply(t, w.Do(getFrom(row.name)), 503, "DNS resolution failure")
			lines++
			if got := p.AwaitLines(lines)[lines-1]; got != "503 DF dns_resolution_failure{"+row.why+"} GET /path" {
				t.Errorf("%s: %s", row.name, got)
			}
		}
	}
	p.WantStats(harness.Stats{"dns_cache.names.dns_query_failure": 2, "dns_cache.names.dns_query_attempt": 5, "dns_cache.names.num_hosts": 5})
	harness.Eventually(t, "the hosts are shown", func() bool { return p.Stat("cluster.origin.membership_total") == 3 })
	w.Close()
}

// CONNECT goes there too, passed on or ended here, over HTTP/1 and HTTP/2.
func TestUP52ConnectToTheAuthority(t *testing.T) {
	harness.NoLeaks(t)
	d := harness.NewDNS(t)
	d.Set("echo.test", "127.0.0.1")
	for _, strip := range []string{"", "strip_any_host_port: true"} {
		t.Run("strip "+strip, func(t *testing.T) {
			o := tunnelEcho(t)
			top := forwarding(dnsCache(d), o)
			top.Routes, top.Manager = connectRoute, h2Connect+"\n"+strip
			p := harness.Start(t, top)
			w := harness.DialWire(t, "tcp", p.Addr)
			to := at("echo.test", o)
			w.Send("CONNECT " + to + " HTTP/1.1\r\nhost: " + to + "\r\n\r\n")
			if m := w.ReadHead(); m.Status() != 200 {
				t.Fatal(m.Head())
			}
			wantEcho(t, w.Conn, w.In, "bytes")
			w.Close()
			h := dialH2(t, p)
			h.connect(1, to)
			h.want("head 1 200")
			h.must(h.WriteData(1, false, []byte("ping")))
			h.want(`data 1 "ping"`)
			_ = h.Conn.Close()
		})
	}
}

// Requests wait for the first look-up as many as may; later ones are refused, as are names over max_hosts.
func TestForwardProxyBounds(t *testing.T) {
	harness.NoLeaks(t)
	d := harness.NewDNS(t)
	d.Hold(true)
	d.Set("one.test", "127.0.0.1")
	a := harness.NewRecorder(t, named("a"))
	p := harness.Start(t, forwarding(dnsCache(d, "dns_query_timeout: 0s", "max_hosts: 2", "dns_cache_circuit_breaker: { max_pending_requests: 2 }"), a))
	var waiting []*harness.Wire
	for i := range 2 {
		w := harness.DialWire(t, "tcp", p.Addr)
		w.Send(getFrom(at(fmt.Sprint([]string{"one", "two"}[i], ".test"), a)))
		waiting = append(waiting, w)
		harness.Eventually(t, "it waits", func() bool { return p.Stat("dns_cache.names.circuit_breakers.rq_pending_remaining") == int64(1-i) })
	}
	w := harness.DialWire(t, "tcp", p.Addr)
	wantReply(t, w.Do(getFrom(at("one.test", a))), 503, "Dynamic forward proxy pending request overflow")
	wantReply(t, w.Do(getFrom(at("three.test", a))), 503, "DNS cache overflow")
	p.WantLines("503 - dynamic_forward_proxy_pending_request_overflow GET /path", "503 - dns_cache_overflow GET /path")
	p.WantStats(harness.Stats{
		"dns_cache.names.host_overflow": 1, "dns_cache.names.dns_rq_pending_overflow": 1, "dns_cache.names.circuit_breakers.rq_pending_open": 1,
	})
	waiting[1].Close() // a client that leaves waits no more
	harness.Eventually(t, "there is room", func() bool { return p.Stat("dns_cache.names.circuit_breakers.rq_pending_remaining") == 1 })
	d.Hold(false)
	if m := waiting[0].Read(); !bodyIs("a")(m) {
		t.Error(m.Head())
	}
	waiting[0].Close()
	w.Close()
}

// A look-up that takes longer than dns_query_timeout fails.
func TestForwardProxyQueryTimeout(t *testing.T) {
	harness.NoLeaks(t)
	d := harness.NewDNS(t)
	d.Hold(true)
	a := harness.NewRecorder(t, named("a"))
	p := harness.Start(t, forwarding(dnsCache(d, "dns_query_timeout: 0.05s"), a))
	w := harness.DialWire(t, "tcp", p.Addr)
	if m := w.Do(getFrom(at("one.test", a))); m.Status() != 503 {
		t.Error(m.Head())
	}
	p.WantLine("503 DF dns_resolution_failure{resolve_timeout} GET /path")
	p.WantStats(harness.Stats{"dns_cache.names.dns_query_timeout": 1, "dns_cache.names.dns_query_failure": 1})
	d.Hold(false)
	w.Close()
}

// A failed name is asked for again after dns_failure_refresh_rate; a name that nobody uses goes after host_ttl
// with its connections, and comes again; a changed address is taken over.
func TestForwardProxyNamesComeAndGo(t *testing.T) {
	harness.NoLeaks(t)
	d := harness.NewDNS(t)
	d.Fail(true)
	a := harness.NewRecorder(t, named("a"))
	p := harness.Start(t, forwarding(dnsCache(d, "dns_failure_refresh_rate: { base_interval: 0.02s }", "host_ttl: 0.3s"), a))
	w := harness.DialWire(t, "tcp", p.Addr)
	ask := func() *harness.Message { return w.Do(getFrom(at("one.test", a))) }
	if m := ask(); m.Status() != 503 {
		t.Error(m.Head())
	}
	p.WantLine("503 DF dns_resolution_failure{resolve_failure} GET /path")
	d.Set("one.test", "127.0.0.1")
	d.Fail(false)
	for range 2 {
		harness.Eventually(t, "it resolves", func() bool { return bodyIs("a")(ask()) })
		harness.Eventually(t, "it goes", func() bool {
			s := p.Stats()
			return s["dns_cache.names.num_hosts"] == 0 && s["cluster.origin.membership_total"] == 0 && s["cluster.origin.upstream_cx_active"] == 0
		})
	}
	if added, removed := p.Stat("dns_cache.names.host_added"), p.Stat("dns_cache.names.host_removed"); added < 2 || added != removed {
		t.Errorf("%d added, %d removed", added, removed)
	}
	w.Close()
}

// disable_dns_refresh_on_failure: a name that fails is looked up by the next who asks.
func TestForwardProxyDropsFailedNames(t *testing.T) {
	harness.NoLeaks(t)
	d := harness.NewDNS(t)
	a := harness.NewRecorder(t, named("a"))
	p := harness.Start(t, forwarding(dnsCache(d, "disable_dns_refresh_on_failure: true"), a))
	w := harness.DialWire(t, "tcp", p.Addr)
	if m := w.Do(getFrom(at("one.test", a))); m.Status() != 503 {
		t.Error(m.Head())
	}
	harness.Eventually(t, "it is dropped", func() bool { return p.Stat("dns_cache.names.num_hosts") == 0 })
	d.Set("one.test", "127.0.0.1")
	if m := w.Do(getFrom(at("one.test", a))); !bodyIs("a")(m) {
		t.Error(m.Head())
	}
	w.Close()
}

// resolved_address_filter keeps requests from addresses, whether a name has them or they are asked for.
func TestForwardProxyAddressFilter(t *testing.T) {
	harness.NoLeaks(t)
	d := harness.NewDNS(t)
	a := harness.NewRecorder(t, named("a"))
	d.Set("inside.test", "10.1.2.3")
	d.Set("both.test", "10.1.2.3", "127.0.0.1")
	p := harness.Start(t, forwarding(dnsCache(d, "resolved_address_filter: { ranges: [{ address_prefix: 10.0.0.0, prefix_len: 8 }] }"), a))
	w := harness.DialWire(t, "tcp", p.Addr)
	if m := w.Do(getFrom(at("both.test", a))); !bodyIs("a")(m) {
		t.Error(m.Head())
	}
	for _, name := range []string{"inside.test", "10.9.9.9"} {
		wantReply(t, w.Do(getFrom(at(name, a))), 503, "DNS resolution failure")
	}
	const refused = "503 DF dns_resolution_failure{addresses_filtered} GET /path"
	p.WantLines("200 - via_upstream GET /path", refused, refused)
	w.Close()
}

// Routes say where a request goes instead; what was found is in the filter state.
func TestForwardProxyRewritesAndSaves(t *testing.T) {
	harness.NoLeaks(t)
	d := harness.NewDNS(t)
	d.Set("one.test", "127.0.0.1")
	d.Set("two.test", "127.0.0.1")
	a, b := harness.NewRecorder(t, named("a")), harness.NewRecorder(t, named("b"))
	top := forwarding(dnsCache(d), a, b)
	top.HTTPFilters = forwardFilter(dnsCache(d), "save_upstream_address: true")
	own := func(fields string) string {
		return fmt.Sprintf("  route: { cluster: origin, host_rewrite_literal: elsewhere }\n  typed_per_filter_config: { %s: { \"@type\": type.googleapis.com/envoy.extensions.filters.http.dynamic_forward_proxy.v3.PerRouteConfig, %s } }\n", forwardName, fields)
	}
	top.Routes = "- match: { path: /literal }\n" + own("host_rewrite_literal: \""+at("one.test", a)+"\"") + "- match: { path: /header }\n" + own("host_rewrite_header: X-To") +
		"- match: { prefix: / }\n  route: { cluster: origin, retry_policy: { retry_on: 5xx } }"
	top.LogFormat = "%FILTER_STATE(envoy.stream.upstream_address:PLAIN)% %UPSTREAM_HOST_NAME%"
	p := harness.Start(t, top)
	w := harness.DialWire(t, "tcp", p.Addr)
	for _, row := range []struct{ path, host, header, want string }{
		{"/literal", "nowhere.test", "", "a"},
		{"/header", "nowhere.test", "x-to: " + at("two.test", b) + "\r\n", "b"},
		{"/header", at("one.test", a), "", "a"},
	} {
		if m := w.Do("GET " + row.path + " HTTP/1.1\r\nhost: " + row.host + "\r\n" + row.header + "\r\n"); !bodyIs(row.want)(m) {
			t.Errorf("%s: %s", row.path, m.Head())
		}
	}
	if got := a.Last(t).Get("host"); got != "elsewhere" { // by the route, after the filter
		t.Errorf("the origin got %q", got)
	}
	// The header says nobody.
	wantReply(t, w.Do("GET /header HTTP/1.1\r\nhost: nowhere.test\r\nx-to:\r\n\r\n"), 400, "Empty host header")
	first, second := a.Address()+" "+at("one.test", a), b.Address()+" "+at("two.test", b)
	p.WantLines(first, second, first, "- -")
	w.Close()
}

func wantReply(t testing.TB, m *harness.Message, status int, body string) {
	t.Helper()
	if m.Status() != status || string(m.Body) != body {
		t.Errorf("want %d %q, got %s\n%s", status, body, m.Head(), m.Body)
	}
}

// allow_dynamic_host_from_filter_state: what a network filter has found goes before the authority.
func TestForwardProxyHostFromState(t *testing.T) {
	harness.NoLeaks(t)
	d := harness.NewDNS(t)
	d.Set("one.test", "127.0.0.1")
	for _, row := range []struct {
		allowed         bool
		host, port, ask string // "PORT" is the origin's
		status          int
	}{
		{true, "One.Test", "PORT", "nowhere.test", 200},
		{true, "one.test:PORT", "", "nowhere.test", 200},
		{true, "", "PORT", "one.test", 200},
		{true, "", "", "one.test:PORT", 200},
		{false, "one.test:PORT", "", "nowhere.test", 503},
	} {
		a := harness.NewRecorder(t, named("a"))
		real := func(text string) string { return strings.Replace(text, "PORT", at("", a)[1:], 1) }
		top := forwarding(dnsCache(d), a)
		top.HTTPFilters = forwardFilter(dnsCache(d), fmt.Sprintf("allow_dynamic_host_from_filter_state: %t", row.allowed))
		log := t.TempDir() + "/log"
		c := harness.Load(t, top.YAML(log))
		set := &conf.SetFilterState{}
		for key, value := range map[string]string{streaminfo.KeyUpstreamDynamicHost: row.host, streaminfo.KeyUpstreamDynamicPort: row.port} {
			if value != "" {
				set.OnNewConnection = append(set.OnNewConnection, conf.FilterStateValue{Key: key, Format: &conf.Format{Text: real(value)}})
			}
		}
		chain := c.Listeners[0].FilterChains[0]
		chain.Filters = append(chain.Filters, conf.NetworkFilter{Name: "state", SetFilterState: set})
		p := harness.StartConf(t, c, 1, log, a)
		w := harness.DialWire(t, "tcp", p.Addr)
		if m := w.Do(getFrom(real(row.ask))); m.Status() != row.status {
			t.Errorf("%+v: %s", row, m.Head())
		}
		w.Close()
	}
}

// Upstream TLS: each name is asked for by its name, and its certificate must be for it.
func TestForwardProxyNamesTLS(t *testing.T) {
	harness.NoLeaks(t)
	d := harness.NewDNS(t)
	d.Set("one.test", "127.0.0.1")
	d.Set("two.test", "127.0.0.1")
	a := harness.NewAuthority(t)
	o := harness.NewTLSServer(t, serverConfig(t, a, "one.test"), harness.AnswerHTTP(nil))
	top := forwarding(dnsCache(d), o)
	top.Clusters[0].Fields = harness.ClientSocket(a.Trust(), "")
	p := harness.Start(t, top)
	w := harness.DialWire(t, "tcp", p.Addr)
	if m := w.Do(getFrom(at("one.test", o))); !bodyIs("ok")(m) {
		t.Error(m.Head())
	}
	if m := w.Do(getFrom(at("two.test", o))); m.Status() != 503 {
		t.Error(m.Head())
	}
	if states := o.States(); states[0].ServerName != "one.test" {
		t.Errorf("asked for %q", states[0].ServerName)
	}
	p.WantStats(harness.Stats{upstreamSSL + "fail_verify_san": 1})
	w.Close()
}

// A reload that leaves the cluster alone leaves its names and connections alone; one that takes it away
// answers whoever waits.
func TestForwardProxyReload(t *testing.T) {
	harness.NoLeaks(t)
	d := harness.NewDNS(t)
	d.Set("one.test", "127.0.0.1")
	a := harness.NewRecorder(t, named("a"))
	top := forwarding(dnsCache(d, "dns_query_timeout: 0s"), a)
	p := harness.Start(t, top)
	w := harness.DialWire(t, "tcp", p.Addr)
	if m := w.Do(getFrom(at("one.test", a))); !bodyIs("a")(m) {
		t.Error(m.Head())
	}
	top.Manager = "server_name: other"
	p.Apply(top)
	if m := w.Do(getFrom(at("one.test", a))); !bodyIs("a")(m) {
		t.Error(m.Head())
	}
	p.WantStats(harness.Stats{"dns_cache.names.dns_query_attempt": 1, "cluster.origin.upstream_cx_total": 1})
	d.Hold(true)
	w.Send(getFrom(at("two.test", a)))
	harness.Eventually(t, "it waits", func() bool { return p.Stat("dns_cache.names.circuit_breakers.rq_pending_remaining") == 1023 })
	other := forwarding(dnsCache(d, "max_hosts: 7"), a)
	p.Apply(other)
	if m := w.Read(); m.Status() != 503 {
		t.Error(m.Head())
	}
	if got := p.AwaitLines(3)[2]; got != "503 DF dns_resolution_failure{cache_closed} GET /path" {
		t.Error(got)
	}
	d.Hold(false)
	w.Close()
}
