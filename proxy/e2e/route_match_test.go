package e2e

import (
	"crypto/tls"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// directs are routes that answer with their own text, from pairs of match and text.
func directs(pairs ...string) string {
	var b strings.Builder
	for i := 0; i < len(pairs); i += 2 {
		b.WriteString("- " + direct(pairs[i], pairs[i+1]) + "\n")
	}
	return b.String()
}

// wantRouted asks for a path and compares the text of the route; "-" is a 404.
func wantRouted(t *testing.T, p *harness.Proxy, path, want string, fields ...string) {
	t.Helper()
	m := ask(t, p, "h", path, fields...)
	got := string(m.Body)
	switch {
	case m.Status() == 404:
		got = "-"
	case m.Get("grpc-status") != "-":
		got = m.Get("grpc-message") // RT-131
	}
	if got != want {
		t.Errorf("%s %q went to %s, want %s", path, fields, got, want)
	}
}

const uriTemplate = `{ name: t, typed_config: { "@type": type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig, path_template: "`

// RT-40, RT-41, RT-42, RT-43, RT-45: every path specifier, the first that matches.
func TestRT41PathSpecifiers(t *testing.T) {
	harness.NoLeaks(t)
	p := harness.Start(t, harness.Topology{Routes: directs(
		`safe_regex: { regex: "/v[0-9]+/items" }`, "regex",
		`safe_regex: { regex: "(?i)/CaSe/.*" }, case_sensitive: true`, "regex in any case",
		`path_match_policy: `+uriTemplate+`/api/v{version}/users/{id}.json" } }`, "template",
		`path_match_policy: `+uriTemplate+`/files/**" } }`, "rest",
		"connect_matcher: {}", "connect",
		"path_separated_prefix: /api/dev", "separated",
		"path: /Whole", "whole",
		"path: /whole, case_sensitive: false", "whole in any case",
		"prefix: /v", "prefix",
	)})
	for _, row := range [][2]string{
		{"/v12/items", "regex"}, {"/v12/items?x=1", "regex"}, {"/v12/items/", "prefix"}, {"/x/v12/items", "-"},
		{"/case/x", "regex in any case"}, {"/case", "-"},
		{"/api/v2/users/456.json", "template"}, {"/api/v2/users/4/6.json", "-"}, {"/api/v/users/1.json", "-"},
		{"/files/a/b/c", "rest"}, {"/files/", "rest"}, {"/files", "-"},
		{"/api/dev", "separated"}, {"/api/dev/", "separated"}, {"/api/dev/v1", "separated"}, {"/api/dev?x=1", "separated"}, {"/api/developer", "-"},
		{"/Whole", "whole"}, {"/WHOLE", "whole in any case"}, {"/whole/", "-"},
	} {
		wantRouted(t, p, row[0], row[1])
	}
}

// RT-46 to RT-52, RT-130: conditions besides the path.
func TestRT52CookiesAndRT130GRPC(t *testing.T) {
	harness.NoLeaks(t)
	p := harness.Start(t, harness.Topology{Routes: directs(
		`prefix: /, grpc: {}, headers: [{ name: x-g, present_match: true }]`, "grpc",
		`prefix: /c, cookies: [{ name: session, string_match: { prefix: A, ignore_case: true } }, { name: old, string_match: { exact: "1" }, invert_match: true }]`, "cookies",
		`prefix: /h, headers: [{ name: x-e, string_match: { exact: "" }, treat_missing_header_as_empty: true }]`, "empty",
		`prefix: /h, headers: [{ name: x-s, string_match: { suffix: .Org, ignore_case: true } }, { name: x-c, string_match: { contains: mid } }]`, "suffix and contains",
		`prefix: /h, headers: [{ name: x-n, range_match: { start: -5, end: 5 }, invert_match: true }]`, "not in range",
		`prefix: /q, query_parameters: [{ name: gone, present_match: false }, { name: k, string_match: { safe_regex: { regex: "[a-c]+" } } }]`, "query",
	)})
	for _, row := range []struct {
		path, want string
		fields     []string
	}{
		{"/g", "grpc", []string{"X-G: 1", "Content-Type: application/grpc+proto"}},
		{"/g", "grpc", []string{"X-G: 1", "Content-Type: application/grpc"}},
		{"/g", "-", []string{"X-G: 1", "Content-Type: application/grpc-web"}},
		{"/c", "cookies", []string{"Cookie: a=b; session=\"abc\"; old=2"}},
		{"/c", "cookies", []string{"Cookie: a=b", "Cookie: session=A"}},
		{"/c", "-", []string{"Cookie: session=abc; old=1"}},
		{"/c", "-", []string{"Cookie: sessions=abc"}},
		{"/h", "empty", []string{"a: b"}},
		{"/h", "suffix and contains", []string{"x-e: 1", "x-s: A.ORG", "x-c: a", "x-c: amidst"}},
		{"/h", "not in range", []string{"x-e: 1", "x-n: 5"}},
		{"/h", "not in range", []string{"x-e: 1", "x-n: five"}},
		{"/h", "-", []string{"x-e: 1", "x-n: -5"}},
		{"/h", "-", []string{"x-e: 1"}},
		{"/q?k=abc", "query", nil},
		{"/q?k=abc&gone", "-", nil},
		{"/q?k=xyz&k=abc", "-", nil},
	} {
		wantRouted(t, p, row.path, row.want, row.fields...)
	}
}

// RT-44, RT-27: CONNECT goes to connect_matcher routes only, and its target chooses the virtual host.
func TestRT44ConnectMatcher(t *testing.T) {
	harness.NoLeaks(t)
	p := harness.Start(t, harness.Topology{
		Manager: "upgrade_configs: [{ upgrade_type: CONNECT }]",
		VirtualHosts: "- { name: target, domains: [\"target.test:443\"], routes: [" + direct("prefix: /", "path") + ", " + direct("connect_matcher: {}", "target") + "] }\n" +
			"- { name: other, domains: [\"*\"], routes: [" + direct("prefix: /", "path") + "] }\n",
	})
	for target, want := range map[string]string{"target.test:443": "target", "else.test:443": ""} {
		w := harness.DialWire(t, "tcp", p.Addr)
		m := w.Do("CONNECT " + target + " HTTP/1.1\r\nHost: unused\r\n\r\n")
		if got := string(m.Body); got != want || (m.Status() == 404) != (want == "") {
			t.Errorf("CONNECT %s: %s %q, want %q", target, m.Start, got, want)
		}
		w.Close()
	}
	wantRouted(t, p, "/", "path")
}

// withFilters puts network filters before the connection manager.
func withFilters(t *testing.T, top harness.Topology, filters string) *harness.Proxy {
	t.Helper()
	const at = "    - filters:\n"
	log := filepath.Join(t.TempDir(), "log")
	yaml := top.YAML(log)
	var b strings.Builder
	for line := range strings.Lines(filters) {
		b.WriteString("      " + line)
	}
	if !strings.Contains(yaml, at) {
		t.Fatal("no filters in the topology")
	}
	return harness.StartConf(t, harness.Load(t, strings.Replace(yaml, at, at+b.String(), 1)), 1, log)
}

// RT-40: filter_state is what network filters of the connection have set, dynamic_metadata what its PROXY
// header brought.
func TestRT40FilterStateAndDynamicMetadata(t *testing.T) {
	harness.NoLeaks(t)
	const ns = "envoy.filters.listener.proxy_protocol"
	p := withFilters(t, harness.Topology{
		Listener: `listener_filters:
- name: p
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol
    rules: [{ tlv_type: 0xe0, on_tlv_present: { key: tenant } }]`,
		Routes: directs(
			`prefix: /s, filter_state: [{ key: team, string_match: { exact: blue } }]`, "not blue",
			`prefix: /s, filter_state: [{ key: team, string_match: { prefix: re } }]`, "red",
			`prefix: /m, dynamic_metadata: [{ filter: `+ns+`, path: [{ key: tenant }], value: { string_match: { exact: acme } } }]`, "acme",
			`prefix: /m, dynamic_metadata: [{ filter: `+ns+`, path: [{ key: tenant }], value: { present_match: true }, invert: true }]`, "no tenant",
			`prefix: /m`, "another tenant",
		),
	}, harness.SetFilterState("team", "red"))
	for _, row := range []struct{ tlv, path, want string }{
		{"", "/s", "red"}, {"acme", "/m", "acme"}, {"", "/m", "no tenant"}, {"other", "/m", "another tenant"},
	} {
		w := harness.DialWire(t, "tcp", p.Addr)
		tlv := ""
		if row.tlv != "" {
			tlv = "\xe0\x00" + string(rune(len(row.tlv))) + row.tlv
		}
		w.Send("\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00" + string(rune(12+len(tlv))) + "\xc0\x00\x02\x01\xc0\x00\x02\x02\x00\x0b\x00\x16" + tlv)
		m := w.Do("GET " + row.path + " HTTP/1.1\r\nHost: h\r\n\r\n")
		if string(m.Body) != row.want {
			t.Errorf("tenant %q %s: %s %q, want %q", row.tlv, row.path, m.Start, m.Body, row.want)
		}
		w.Close()
	}
}

// RT-40: tls_context, with a certificate that holds, one that was let in, and none.
func TestRT40TLSContext(t *testing.T) {
	harness.NoLeaks(t)
	ours, theirs := harness.NewAuthority(t), harness.NewAuthority(t)
	top := harness.Topology{Routes: directs(
		"prefix: /, tls_context: { presented: true, validated: true }", "validated",
		"prefix: /, tls_context: { presented: true, validated: false }", "presented",
		"prefix: /, tls_context: { presented: false }", "none",
	)}
	p := harness.StartSecured(t, top, harness.ServerSocket(ours.Pair(t, "a.test"), ours.Trust("trust_chain_verification: ACCEPT_UNTRUSTED"), ""))
	for _, row := range []struct {
		of   *harness.Authority
		want string
	}{{ours, "validated"}, {theirs, "presented"}, {nil, "none"}} {
		config := ours.Client("a.test")
		if row.of != nil {
			cert := row.of.Certificate(t, "client.test")
			config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
		}
		c := p.DialTLS(config)
		for range 2 { // the second is answered from what is kept
			if m := c.Do("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"); string(m.Body) != row.want {
				t.Errorf("got %q, want %q", m.Body, row.want)
			}
		}
		c.Close()
	}
	plain := harness.Start(t, top)
	wantRouted(t, plain, "/", "none") // no TLS, no certificate
}

// RT-53, RT-54: lowering the key moves traffic to the second route, at once and without a reload.
func TestRT54TrafficShifting(t *testing.T) {
	harness.NoLeaks(t)
	p := harness.Start(t, harness.Topology{Routes: directs(
		"prefix: /, runtime_fraction: { default_value: { numerator: 100 }, runtime_key: routing.traffic_shift.x }", "old",
		"prefix: /", "new",
	)})
	wantRouted(t, p, "/", "old")
	for value, want := range map[string]string{"0": "new", "100": "old", `{"numerator":0,"denominator":"MILLION"}`: "new"} {
		if err := p.Server.Runtime().Modify(map[string]string{"routing.traffic_shift.x": value}); err != nil {
			t.Fatal(err)
		}
		for range 20 {
			wantRouted(t, p, "/", want)
		}
	}
	if err := p.Server.Runtime().Modify(map[string]string{"routing.traffic_shift.x": ""}); err != nil {
		t.Fatal(err)
	}
	wantRouted(t, p, "/", "old")
}

const treeHeader = `{ name: i, typed_config: { "@type": type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput, header_name: `

// RT-29: a match tree leads to routes, which must still match by themselves.
func TestRT29MatcherTree(t *testing.T) {
	harness.NoLeaks(t)
	action := func(body string) string {
		return `{ action: { name: r, typed_config: { "@type": type.googleapis.com/envoy.config.route.v3.` + body + " } } }"
	}
	route := func(match, text string) string {
		return action("Route, " + strings.TrimSuffix(strings.TrimPrefix(direct(match, text), "{"), "}"))
	}
	p := harness.Start(t, harness.Topology{VirtualHosts: `
- name: all
  domains: ["*"]
  matcher:
    matcher_list:
      matchers:
      - predicate: { single_predicate: { input: ` + treeHeader + `x-env } }, value_match: { exact: canary } } }
        on_match: ` + route("prefix: /c", "canary") + `
    on_no_match:
      matcher:
        matcher_tree:
          input: ` + treeHeader + `":path" } }
          prefix_match_map:
            map:
              /a: ` + action("RouteList, routes: ["+direct("path: /a", "exact a")+", "+direct("prefix: /a", "some a")+"]") + `
              /a/b: ` + route("prefix: /", "a b") + `
        on_no_match: ` + route("prefix: /", "rest") + `
`})
	for _, row := range []struct{ path, field, want string }{
		{"/cx", "X-Env: canary", "canary"},
		{"/x", "X-Env: canary", "-"}, // the tree decided; its route does not match
		{"/a", "x: y", "exact a"}, {"/ax", "x: y", "some a"}, {"/a/bc", "x: y", "a b"}, {"/x", "X-Env: prod", "rest"},
	} {
		wantRouted(t, p, row.path, row.want, row.field)
	}
}
