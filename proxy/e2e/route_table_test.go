package e2e

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// withTable starts a topology with more fields of its RouteConfiguration.
func withTable(t *testing.T, top harness.Topology, fields string, origins ...harness.Origin) *harness.Proxy {
	t.Helper()
	const at = "            name: local\n"
	log := filepath.Join(t.TempDir(), "log")
	var b strings.Builder
	for line := range strings.Lines(fields) {
		b.WriteString("            " + line)
	}
	yaml := top.YAML(log)
	if !strings.Contains(yaml, at) {
		t.Fatal("no route configuration in the topology")
	}
	return harness.StartConf(t, harness.Load(t, strings.Replace(yaml, at, at+b.String()+"\n", 1)), 1, log, origins...)
}

// RT-20, RT-22, RT-41, RT-67, RT-90: what a RouteConfiguration says for all its virtual hosts.
func TestRT90TableOptions(t *testing.T) {
	harness.NoLeaks(t)
	hosts := "- { name: a, domains: [a.test], routes: [" + direct("path: /p", "a") + "] }\n- { name: b, domains: [\"b.test:81\", \"*.b.test\"], routes: [" + direct("prefix: /", "b") + "] }\n"
	status := func(p *harness.Proxy, host, path string, fields ...string) string {
		t.Helper()
		if m := ask(t, p, host, path, fields...); m.Status() == 200 {
			return string(m.Body)
		}
		return "-"
	}
	for _, row := range []struct{ fields, host, path, field, want string }{
		{"", "a.test:80", "/p", "x: y", "-"},
		{"ignore_port_in_host_matching: true", "a.test:80", "/p", "x: y", "a"},
		{"ignore_port_in_host_matching: true", "b.test:81", "/p", "x: y", "-"}, // ports of domains stay
		{"ignore_port_in_host_matching: true", "x.b.test:81", "/p", "x: y", "b"},
		{"vhost_header: X-Host", "b.test:81", "/p", "x-host: A.test", "a"},
		{"vhost_header: X-Host", "a.test", "/p", "x: y", "-"},
		{"", "a.test", "/p;v=1?q", "x: y", "-"},
		{"ignore_path_parameters_in_path_matching: true", "a.test", "/p;v=1?q", "x: y", "a"},
	} {
		p := withTable(t, harness.Topology{VirtualHosts: hosts}, row.fields)
		if got := status(p, row.host, row.path, row.field); got != row.want {
			t.Errorf("%s: %s%s %s: %s, want %s", row.fields, row.host, row.path, row.field, got, row.want)
		}
	}
	long := strings.Repeat("x", 5000)
	p := withTable(t, harness.Topology{Routes: directs("prefix: /", long)}, "max_direct_response_body_size_bytes: 5000")
	if got := status(p, "h", "/"); got != long {
		t.Errorf("%d bytes", len(got))
	}
}

// RT-90: external requests lose the internal headers, internal ones keep them.
func TestRT90InternalOnlyHeaders(t *testing.T) {
	harness.NoLeaks(t)
	for manager, want := range map[string]string{
		"use_remote_address: true": "-",
		"use_remote_address: true\ninternal_address_config: { cidr_ranges: [{ address_prefix: 127.0.0.0, prefix_len: 8 }] }": "s",
	} {
		o := harness.NewRecorder(t, nil)
		p := withTable(t, with(one(o), manager), "internal_only_headers: [X-Secret]", o)
		ask(t, p, "h", "/", "x-secret: s")
		if got := o.Last(t).Get("x-secret"); got != want {
			t.Errorf("%s: the origin saw %s, want %s", manager, got, want)
		}
	}
}

// validate_clusters: false loads a table with an unknown cluster; the route that names it answers NC with
// its own status (AMB-3).
func TestUnvalidatedClusters(t *testing.T) {
	harness.NoLeaks(t)
	p := withTable(t, harness.Topology{Routes: `
- { match: { path: /404 }, route: { cluster: nowhere, cluster_not_found_response_code: NOT_FOUND } }
- { match: { path: /500 }, route: { weighted_clusters: { clusters: [{ name: nowhere, weight: 1 }] }, cluster_not_found_response_code: INTERNAL_SERVER_ERROR } }
- { match: { prefix: / }, route: { cluster: nowhere } }
`}, "validate_clusters: false")
	for path, want := range map[string]int{"/404": 404, "/500": 500, "/": 503} {
		if m := ask(t, p, "h", path); m.Status() != want {
			t.Errorf("%s: %s", path, m.Start)
		}
	}
	p.WantStats(harness.Stats{"http.in.no_cluster": 3})
}

// RT-120 to RT-124: absolute URLs make a forward proxy for http only.
func TestRT124ForwardProxy(t *testing.T) {
	harness.NoLeaks(t)
	o := harness.NewRecorder(t, nil)
	for _, row := range []struct {
		manager, target string
		status          int
		seen            string // request line and host at the origin
	}{
		{"", "http://x.test:81/p?q", 200, "GET /p?q HTTP/1.1 x.test:81"},
		{"", "http://x.test", 200, "GET / HTTP/1.1 x.test"},
		{"", "ftp://x.test/", 400, ""},
		{"use_remote_address: true", "https://x.test/", 403, ""},
		{"http_protocol_options: { allow_absolute_url: false }", "http://x.test/p", 404, ""},
		{"", "*", 404, ""},
	} {
		p := harness.Start(t, with(one(o), row.manager))
		w := harness.DialWire(t, "tcp", p.Addr)
		method := "GET"
		if row.target == "*" {
			method = "OPTIONS"
		}
		m := w.Do(method + " " + row.target + " HTTP/1.1\r\nHost: ignored.test\r\n\r\n")
		seen := ""
		if m.Status() == 200 {
			up := o.Last(t)
			seen = up.Start + " " + up.Get("host")
		}
		if m.Status() != row.status || seen != row.seen {
			t.Errorf("%s with %q: %s, the origin saw %q", row.target, row.manager, m.Start, seen)
		}
		w.Close()
	}
}
