package e2e

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/sluiceproxy/sluice/proxy"
	"github.com/sluiceproxy/sluice/proxy/admin"
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
	"github.com/sluiceproxy/sluice/proxy/explain"
)

const explainedHosts = `
- name: api
  domains: ["api.test", "*.api.test"]
  routes:
  - { name: exact, match: { path: /exact }, direct_response: { status: 201 } }
  - { name: header, match: { prefix: /h, headers: [ { name: x-env, string_match: { exact: prod } } ] }, direct_response: { status: 202 } }
  - { name: query, match: { prefix: /q, query_parameters: [ { name: debug, present_match: true } ] }, route: { cluster: origin } }
  - { name: below, match: { path_separated_prefix: /r }, route: { cluster: origin, prefix_rewrite: /rewritten } }
  - { name: moved, match: { prefix: /moved }, redirect: { path_redirect: /new } }
  - { name: lost, match: { prefix: /lost }, route: { cluster_header: x-cluster } }
  - { name: rest, match: { prefix: / }, route: { cluster: origin, host_rewrite_literal: inside, timeout: 3s }, request_headers_to_add: [ { header: { key: x-added, value: "%REQ(:PATH)%" } } ] }
- name: secure
  domains: ["secure.test"]
  require_tls: ALL
  routes: [ { match: { prefix: / }, direct_response: { status: 200 } } ]
`

// TestExplainAgreesWithWhatHappens asks about requests and then sends them: the route, the cluster, the
// host and the header changes told are those that the access log and the origin see.
func TestExplainAgreesWithWhatHappens(t *testing.T) {
	harness.NoLeaks(t)
	o := harness.NewRecorder(t, nil)
	p := harness.Start(t, harness.Topology{
		Clusters: []harness.Cluster{{Name: "origin", Origins: []harness.Origin{o}}}, VirtualHosts: explainedHosts,
		Manager:   "use_remote_address: true\nnormalize_path: true",
		LogFormat: "%ROUTE_NAME% %UPSTREAM_CLUSTER% %UPSTREAM_HOST% %RESPONSE_CODE%",
	})
	r := rand.New(rand.NewPCG(1, 2))
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	const rounds = 300
	for i := range rounds {
		host := pick("api.test", "x.api.test", "API.test", "secure.test", "other.test")
		path := pick("/exact", "/exact/", "/h", "/h/x", "/q?debug", "/q?a=1", "/r/12", "/r/x", "/moved/1", "/lost", "/../exact", "/", "/a//b")
		fields := [][2]string{}
		if r.IntN(2) == 0 {
			fields = append(fields, [2]string{"x-env", pick("prod", "test")})
		}
		if r.IntN(3) == 0 {
			fields = append(fields, [2]string{"x-cluster", pick("origin", "nowhere")})
		}
		if r.IntN(3) == 0 {
			fields = append(fields, [2]string{"X-Forwarded-For", "1.2.3.4"}, [2]string{"Connection", "keep-alive, x-env"})
		}
		a, err := p.Server.Explain(&explain.Question{
			Method: "GET", URL: "http://" + host + path, Header: fields, Listener: "ingress", From: netip.MustParseAddrPort("127.0.0.1:1"),
		})
		if err != nil {
			t.Fatal(err)
		}
		lines := make([]string, len(fields))
		for j, f := range fields {
			lines[j] = f[0] + ": " + f[1]
		}
		m := ask(t, p, host, path, lines...)
		log := strings.Fields(p.AwaitLines(i + 1)[i])
		var text strings.Builder
		_, _ = a.WriteTo(&text)
		fail := func(format string, args ...any) {
			t.Helper()
			t.Fatalf("GET %s%s %v: %s\nlogged %v\n%s", host, path, fields, fmt.Sprintf(format, args...), log, text.String())
		}
		if want := "(none)"; log[0] != "-" {
			if want = log[0]; !strings.HasPrefix(a.Route, fmt.Sprintf("route %q ", want)) {
				fail("the route told is %q", a.Route)
			}
		} else if strings.HasPrefix(a.Route, `route "`) {
			fail("a route is told, %q, and none was taken", a.Route)
		}
		if got := strconvDash(a.Cluster); got != log[1] && !(log[1] == "-" && strings.Contains(a.Ending, "NC")) {
			fail("the cluster told is %q", got)
		}
		if log[2] != "-" && (len(a.Hosts) != 1 || !a.Hosts[0].Picked || a.Hosts[0].Address != log[2]) {
			fail("the hosts told are %v", a.Hosts)
		}
		if a.Ending != "" && !strings.Contains(a.Ending, fmt.Sprintf("status %d", m.Status())) && !strings.HasPrefix(a.Ending, "a redirect to "+m.Get("location")) {
			fail("the ending told is %q, the status %d", a.Ending, m.Status())
		}
		if log[2] == "-" {
			continue
		}
		got := o.Last(t)
		for _, change := range a.Changes {
			name, value, _ := strings.Cut(change[2:], ": ")
			if _, after, ok := strings.Cut(value, " -> "); ok {
				value = after
			}
			switch {
			case name == "x-request-id": // made anew each time
			case name == ":path":
				if got.Path() != value {
					fail("%s; the origin got path %q", change, got.Path())
				}
			case name == ":authority":
				if got.Get("host") != value {
					fail("%s; the origin got host %q", change, got.Get("host"))
				}
			case change[0] == '-' && got.Get(name) != "-":
				fail("%s; the origin got %q", change, got.Get(name))
			case change[0] != '-' && got.Get(name) != value:
				fail("%s; the origin got %q", change, got.Get(name))
			}
		}
	}
	// Asking counts nothing: the router saw what was sent.
	p.WantStats(harness.Stats{"http.in.downstream_rq_total": rounds})
}

func strconvDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// TestExplainOnTheAdminInterface: /explain in both forms, and its refusals.
func TestExplainOnTheAdminInterface(t *testing.T) {
	harness.NoLeaks(t)
	o := harness.NewRecorder(t, nil)
	p := harness.Start(t, harness.Topology{Clusters: []harness.Cluster{{Name: "origin", Origins: []harness.Origin{o}}}, VirtualHosts: explainedHosts})
	a, err := admin.New(admin.Options{Server: p.Server, Config: &conf.Admin{Address: conf.Address{IP: netip.MustParseAddrPort("127.0.0.1:0")}}})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	get := func(query url.Values) (int, string) {
		t.Helper()
		r, err := http.Get("http://" + a.Addr().String() + "/explain?" + query.Encode())
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		defer http.DefaultClient.CloseIdleConnections()
		b, _ := io.ReadAll(r.Body)
		return r.StatusCode, string(b)
	}
	for _, row := range []struct {
		query url.Values
		code  int
		want  string
	}{
		{url.Values{"url": {"http://api.test/h"}, "header": {"x-env: test"}, "listener": {"ingress"}}, 200, `wanted: header x-env is "prod"; it is "test"`},
		{url.Values{"url": {"http://api.test/h"}, "header": {"x-env: prod"}, "format": {"json"}}, 200, `"ending": "status 202, the route's own answer"`},
		{url.Values{"url": {"http://api.test/"}}, 200, o.Address() + ", priority 0, healthy  <- picked"},
		{url.Values{"url": {"https://secure.test/"}}, 200, "does not end TLS"},
		{url.Values{"url": {"/x"}}, 400, "give an absolute URL"},
		{url.Values{}, 400, "?url=http://host/path"},
		{url.Values{"url": {"http://a/"}, "listener": {"x"}}, 400, `there is no listener "x"; there are: ingress`},
		{url.Values{"url": {"http://a/"}, "who": {"x"}}, 400, `unknown parameter "who"`},
		{url.Values{"url": {"http://a/"}, "header": {"x"}}, 400, "a colon is missing"},
	} {
		code, body := get(row.query)
		if code != row.code || !strings.Contains(body, row.want) {
			t.Errorf("%v: %d\n%swant %d and %s", row.query, code, body, row.code, row.want)
		}
	}
}

// TestExplainWithoutAServer: the same answers from a configuration that does not run; filter chains by
// server name, and hosts that are not resolved.
func TestExplainWithoutAServer(t *testing.T) {
	harness.NoLeaks(t)
	top := harness.Topology{VirtualHosts: explainedHosts, Clusters: []harness.Cluster{{Name: "origin", Origins: []harness.Origin{harness.At("127.0.0.1:1")}}}}
	b := harness.Load(t, top.YAML(t.TempDir()+"/log"))
	for _, row := range []struct{ method, url, want string }{
		{"GET", "http://api.test/r/7", "~ :path: /r/7 -> /rewritten/7"},
		{"GET", "http://api.test/a", "- user-agent"},
		{"CONNECT", "http://api.test/", ""},
	} {
		a, err := proxy.Explain(b, &explain.Question{Method: row.method, URL: row.url, Header: [][2]string{{"x-envoy-retry-on", "5xx"}}}, proxy.ExplainOptions{})
		if row.method == "CONNECT" {
			if err == nil {
				t.Errorf("CONNECT with a path is explained: %+v", a)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		rec := httptest.NewRecorder()
		_, _ = a.WriteTo(rec)
		if row.url == "http://api.test/a" {
			row.want = "- x-envoy-retry-on: 5xx" // RT-95: the client is external
		}
		if !strings.Contains(rec.Body.String(), row.want) {
			t.Errorf("%s %s:\n%swant %s", row.method, row.url, rec.Body, row.want)
		}
	}
}

// TestExplainALiveRequest: the header is answered to clients whose address runtime lists, from the moment
// it does, goes no further than the proxy, and is any header to others.
func TestExplainALiveRequest(t *testing.T) {
	harness.NoLeaks(t)
	o := harness.NewRecorder(t, nil)
	p := harness.Start(t, harness.Topology{
		Clusters: []harness.Cluster{{Name: "origin", Origins: []harness.Origin{o}}}, VirtualHosts: explainedHosts,
		Bootstrap: "layered_runtime: { layers: [ { name: admin, admin_layer: {} } ] }",
	})
	const header = "x-sluice-explain"
	m := ask(t, p, "api.test", "/a", header+": 1")
	if got := m.Get(header); got != "-" || o.Last(t).Get(header) != "1" {
		t.Errorf("an untrusted client got %q, and the origin %q", got, o.Last(t).Get(header))
	}
	for _, row := range []struct{ addresses, want string }{
		{"10.0.0.0/8, 127.0.0.0/8", "; route rest; cluster origin; host " + o.Address() + "; attempts 1; details via_upstream"},
		{"10.0.0.0/8 nonsense", "-"},
		{"127.0.0.1", `virtual_host api by domain api.test; not exact: path "/a" is not "/exact"; not header: path "/a" does not begin with "/h"; `},
		{"", "-"},
	} {
		if err := p.Server.Runtime().Modify(map[string]string{"sluice.explain.trusted_addresses": row.addresses}); err != nil {
			t.Fatal(err)
		}
		m := ask(t, p, "api.test", "/a", header+": 1")
		if got := m.Get(header); !strings.Contains(got, row.want) {
			t.Errorf("with %q: %q, want %q", row.addresses, got, row.want)
		}
		if row.want != "-" && o.Last(t).Get(header) != "-" {
			t.Errorf("with %q: the header went on to the origin", row.addresses)
		}
	}
	if err := p.Server.Runtime().Modify(map[string]string{"sluice.explain.trusted_addresses": "127.0.0.1"}); err != nil {
		t.Fatal(err)
	}
	if got := ask(t, p, "nowhere", "/a", header+": 1").Get(header); !strings.HasPrefix(got, `no virtual host has a domain for "nowhere"; `) {
		t.Errorf("without a virtual host: %q", got)
	}
}

// TestExplainTellsTheHealthInForce: a host that fails its checks is shown as such by the running server;
// without a server nobody is asked, and the host is what its configuration says.
func TestExplainTellsTheHealthInForce(t *testing.T) {
	harness.NoLeaks(t)
	a := newMortal(t, "a")
	top := checked(checks("healthy_edge_interval: 0.03s\nhttp_health_check: { path: /health }"), a)
	b := harness.Load(t, top.YAML(t.TempDir()+"/log"))
	q := &explain.Question{Method: "GET", URL: "http://h/", Listener: "ingress"}
	answer, err := proxy.Explain(b, q, proxy.ExplainOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if n := a.checked.Load(); n != 0 || len(answer.Hosts) != 1 || answer.Hosts[0].Health != "healthy" || !answer.Hosts[0].Picked {
		t.Errorf("%d checks were made; %+v", n, answer)
	}
	p := harness.Start(t, top)
	a.healthStatus.Store(503)
	awaitFlags(t, p, "/failed_active_hc")
	if answer, err = p.Server.Explain(q); err != nil || len(answer.Hosts) != 1 || answer.Hosts[0].Health != "/failed_active_hc" {
		t.Errorf("%+v, %v", answer, err)
	}
}
