package e2e

import (
	"strings"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// direct is a route that answers with a text: the test sees which route it was.
func direct(match, text string) string {
	return "{ match: { " + match + " }, direct_response: { status: 200, body: { inline_string: \"" + text + "\" } } }"
}

// ask sends a GET with a host and more field lines, and returns the answer.
func ask(t *testing.T, p *harness.Proxy, host, path string, fields ...string) *harness.Message {
	t.Helper()
	w := harness.DialWire(t, "tcp", p.Addr)
	defer w.Close()
	var b strings.Builder
	b.WriteString("GET " + path + " HTTP/1.1\r\nHost: " + host + "\r\n")
	for _, f := range fields {
		b.WriteString(f + "\r\n")
	}
	return w.Do(b.String() + "\r\n")
}

// RT-20 to RT-28, HC-94.
func TestVirtualHosts(t *testing.T) {
	harness.NoLeaks(t)
	host := func(name, domains string) string {
		return "- { name: " + name + ", domains: [" + domains + "], routes: [" + direct("prefix: /", name) + "] }\n"
	}
	p := harness.Start(t, harness.Topology{VirtualHosts: host("exact", "a.test, \"A2.test:8080\"") + host("suffix", "\"*.test\"") +
		host("longer", "\"*.b.test\"") + host("prefix", "\"a.*\"") + host("longprefix", "\"a.b*\"") + host("dash", "\"*-x.y\"")})
	for _, row := range []struct{ host, want string }{
		{"a.test", "exact"},
		{"A.TEST", "exact"},
		{"a2.TEST:8080", "exact"},
		{"a2.test:8081", "-"},
		{"x.test", "suffix"},
		{"x.b.test", "longer"},
		{"a.b.test", "longer"},
		{"a.other", "prefix"},
		{"a.bother", "longprefix"},
		{"1-x.y", "dash"},
		{"-x.y", "-"},
		{".test", "-"},
		{"nothing", "-"},
	} {
		m := ask(t, p, row.host, "/")
		got := string(m.Body)
		if m.Status() == 404 && got == "" {
			got = "-"
		}
		if got != row.want {
			t.Errorf("host %s went to %s, want %s", row.host, got, row.want)
		}
	}
	p.WantStats(harness.Stats{"http.in.no_route": 4, "http.in.rq_direct_response": 9, "http.in.rq_total": 13})
	if lines := p.AwaitLines(13); lines[3] != "404 NR route_not_found GET /" {
		t.Errorf("log %q", lines)
	}
}

// RT-40 to RT-52.
func TestRouteMatches(t *testing.T) {
	harness.NoLeaks(t)
	var routes strings.Builder
	for _, r := range [][2]string{
		{"prefix: /, headers: [{ name: x-exact, string_match: { exact: \"yes\" } }]", "header exact"},
		{"prefix: /, headers: [{ name: x-re, string_match: { safe_regex: { regex: \"a+b\" } } }]", "header regex"},
		{"prefix: /, headers: [{ name: x-range, range_match: { start: 5, end: 10 } }]", "header range"},
		{"prefix: /, headers: [{ name: x-pre, string_match: { prefix: AB, ignore_case: true }, invert_match: true }]", "header not prefix"},
		{"prefix: /, headers: [{ name: \":method\", string_match: { exact: GET } }, { name: x-both, present_match: true }]", "method and present"},
		{"prefix: /, query_parameters: [{ name: q, string_match: { exact: \"1\" } }]", "query"},
		{"prefix: /, query_parameters: [{ name: there, present_match: true }]", "query present"},
		{"path: /exact", "exact"},
		{"path: /CASE, case_sensitive: false", "exact any case"},
		{"path_separated_prefix: /api/dev", "separated"},
		{"prefix: /pre", "prefix"},
		{"prefix: /Pre, case_sensitive: false", "prefix any case"},
	} {
		routes.WriteString("- " + direct(r[0], r[1]) + "\n")
	}
	p := harness.Start(t, harness.Topology{Routes: routes.String()})
	for _, row := range []struct{ path, field, want string }{
		{"/x", "X-Exact: yes", "header exact"},
		{"/x", "x-re: aaab", "header regex"},
		{"/x", "x-re: aaabc", ""},
		{"/x", "x-range: 9", "header range"},
		{"/x", "x-range: 10", ""},
		{"/x", "x-pre: xyz", "header not prefix"},
		{"/x", "x-pre: abc", ""},
		{"/x", "x-both:", "method and present"},
		{"/x?q=1", "a: b", "query"},
		{"/x?q=2&q=1", "a: b", ""},
		{"/x?there", "a: b", "query present"},
		{"/exact?x=y", "a: b", "exact"},
		{"/exact/", "a: b", ""},
		{"/case", "a: b", "exact any case"},
		{"/api/dev", "a: b", "separated"},
		{"/api/dev/v1", "a: b", "separated"},
		{"/api/dev?x", "a: b", "separated"},
		{"/api/developer", "a: b", ""},
		{"/prefixed", "a: b", "prefix"},
		{"/PREfixed", "a: b", "prefix any case"},
	} {
		if m := ask(t, p, "h", row.path, row.field); string(m.Body) != row.want || (m.Status() == 404) != (row.want == "") {
			t.Errorf("%s with %s: %d %q, want %q", row.path, row.field, m.Status(), m.Body, row.want)
		}
	}
}

// RT-30, RT-31, RT-60, RT-61.
func TestRedirects(t *testing.T) {
	harness.NoLeaks(t)
	p := harness.Start(t, harness.Topology{VirtualHosts: `
- name: all
  domains: ["*"]
  response_headers_to_add: [{ header: { key: x-from, value: host } }]
  routes:
  - { match: { path: /https }, redirect: { https_redirect: true } }
  - { match: { path: /port }, redirect: { https_redirect: true, port_redirect: 8443 } }
  - { match: { path: /host }, redirect: { host_redirect: other.test, response_code: FOUND } }
  - { match: { path: /path }, redirect: { path_redirect: /new } }
  - { match: { path: /strip }, redirect: { path_redirect: /new, strip_query: true, response_code: SEE_OTHER } }
  - { match: { path: /own }, redirect: { path_redirect: "/new?foo=1", strip_query: true, response_code: TEMPORARY_REDIRECT } }
  - { match: { prefix: /pre/ }, redirect: { prefix_rewrite: /post/, response_code: PERMANENT_REDIRECT } }
- name: secure
  domains: ["secure.test", "secure.test:81"]
  require_tls: ALL
  routes: [{ match: { prefix: / }, direct_response: { status: 200 } }]
`})
	for _, row := range []struct {
		host, path string
		fields     []string
		status     int
		location   string
	}{
		{"h:80", "/https", nil, 301, "https://h/https"},
		{"h:8080", "/https", nil, 301, "https://h:8080/https"},
		{"h:8080", "/port", nil, 301, "https://h:8443/port"},
		{"h:1", "/host?a=b", nil, 302, "http://other.test/host?a=b"},
		{"h", "/path?bar=1", nil, 301, "http://h/new?bar=1"},
		{"h", "/strip?bar=1", nil, 303, "http://h/new"},
		{"h", "/own?bar=1", nil, 307, "http://h/new?foo=1"},
		{"h", "/pre/x?y", nil, 308, "http://h/post/x?y"},
		{"secure.test:81", "/x?y", nil, 301, "https://secure.test:81/x?y"},
		{"secure.test", "/", []string{"X-Forwarded-Proto: https"}, 200, "-"},
	} {
		m := ask(t, p, row.host, row.path, row.fields...)
		if m.Status() != row.status || m.Get("location") != row.location || len(m.Body) != 0 || m.Get("content-length") != "0" {
			t.Errorf("%s%s: %s%s", row.host, row.path, m.Head(), m.Body)
		}
		if want := "host"; row.host[0] == 'h' && m.Get("x-from") != want {
			t.Errorf("%s%s: x-from %s", row.host, row.path, m.Get("x-from"))
		}
	}
	p.WantStats(harness.Stats{"http.in.rq_redirect": 9, "http.in.rq_direct_response": 10, "http.in.downstream_rq_3xx": 9})
}

// RT-62 to RT-66.
func TestDirectResponses(t *testing.T) {
	harness.NoLeaks(t)
	p := harness.Start(t, harness.Topology{Routes: `
- { match: { path: /text }, direct_response: { status: 503, body: { inline_string: hello } } }
- { match: { path: /json }, direct_response: { status: 200, body: { inline_string: "{}" } }, response_headers_to_add: [{ header: { key: content-type, value: application/json }, append_action: OVERWRITE_IF_EXISTS_OR_ADD }] }
- { match: { path: /none }, direct_response: { status: 404 } }
`})
	w := harness.DialWire(t, "tcp", p.Addr)
	for _, row := range []struct {
		method, path string
		status       int
		kind, length string
		body         string
	}{
		{"GET", "/text", 503, "text/plain", "5", "hello"},
		{"HEAD", "/text", 503, "text/plain", "5", ""},
		{"GET", "/json", 200, "application/json", "2", "{}"},
		{"GET", "/none", 404, "-", "0", ""},
	} {
		w.Send(row.method + " " + row.path + " HTTP/1.1\r\nHost: a\r\n\r\n")
		m, err := w.TryRead(row.method == "HEAD")
		if err != nil || m.Status() != row.status || m.Get("content-type") != row.kind || m.Get("content-length") != row.length || string(m.Body) != row.body {
			t.Errorf("%s %s: %v %s%s", row.method, row.path, err, m.Head(), m.Body)
		}
	}
	p.WantLines("503 - direct_response GET /text", "503 - direct_response HEAD /text", "200 - direct_response GET /json", "404 - direct_response GET /none")
}

// RT-69 to RT-69d: every level, every action, operators read the head as it was before the level.
func TestHeaderMutations(t *testing.T) {
	harness.NoLeaks(t)
	o := harness.NewRecorder(t, func(*harness.Message) string {
		return harness.Reply("", "X-Gone: 1", "X-Here: origin", "X-Level: origin")
	})
	top := one(o)
	top.VirtualHosts = `
- name: all
  domains: ["*"]
  request_headers_to_add:
  - { header: { key: x-level, value: vhost }, append_action: OVERWRITE_IF_EXISTS_OR_ADD }
  - { header: { key: x-list, value: vhost } }
  response_headers_to_add:
  - { header: { key: x-level, value: vhost }, append_action: OVERWRITE_IF_EXISTS_OR_ADD }
  routes:
  - match: { prefix: / }
    name: the-route
    route: { cluster: origin }
    request_headers_to_remove: [x-secret]
    request_headers_to_add:
    - { header: { key: x-level, value: route }, append_action: OVERWRITE_IF_EXISTS_OR_ADD }
    - { header: { key: x-list, value: route } }
    - { header: { key: x-absent, value: route }, append_action: ADD_IF_ABSENT }
    - { header: { key: x-there, value: route }, append_action: ADD_IF_ABSENT }
    - { header: { key: x-nothing, value: route }, append_action: OVERWRITE_IF_EXISTS }
    - { header: { key: x-copy, value: "%REQ(X-Secret)%-%REQ(:PATH)%-100%%" } }
    - { header: { key: x-empty, value: "%REQ(X-Nobody)%" } }
    - { header: { key: x-kept, value: "%REQ(X-Nobody)%" }, keep_empty_value: true }
    - { header: { key: x-facts, value: "%PROTOCOL% %ROUTE_NAME% %UPSTREAM_CLUSTER%" } }
    response_headers_to_remove: [x-gone]
    response_headers_to_add:
    - { header: { key: x-here, value: proxy } }
    - { header: { key: x-level, value: route }, append_action: OVERWRITE_IF_EXISTS_OR_ADD }
    - { header: { key: x-code, value: "%RESPONSE_CODE% %REQ(:METHOD)%" } }
`
	p := harness.Start(t, top)
	m := ask(t, p, "h", "/p", "X-Secret: s", "X-There: client", "X-List: client")
	up := o.Last(t)
	for _, row := range []struct{ side, name, got, want string }{
		{"request", "x-secret", up.Get("x-secret"), "-"},
		{"request", "x-level", up.Get("x-level"), "vhost"},
		{"request", "x-list", up.Get("x-list"), "client|route|vhost"},
		{"request", "x-absent", up.Get("x-absent"), "route"},
		{"request", "x-there", up.Get("x-there"), "client"},
		{"request", "x-nothing", up.Get("x-nothing"), "-"},
		{"request", "x-copy", up.Get("x-copy"), "s-/p-100%"},
		{"request", "x-empty", up.Get("x-empty"), "-"},
		{"request", "x-kept", up.Get("x-kept"), ""},
		{"request", "x-facts", up.Get("x-facts"), "HTTP/1.1 the-route origin"},
		{"response", "x-gone", m.Get("x-gone"), "-"},
		{"response", "x-here", m.Get("x-here"), "origin|proxy"},
		{"response", "x-level", m.Get("x-level"), "vhost"},
		{"response", "x-code", m.Get("x-code"), "200 GET"},
	} {
		if row.got != row.want {
			t.Errorf("%s %s is %q, want %q", row.side, row.name, row.got, row.want)
		}
	}
}

// RT-83 to RT-89.
func TestRewrites(t *testing.T) {
	harness.NoLeaks(t)
	o := harness.NewRecorder(t, nil)
	top := one(o)
	top.Routes = `
- { match: { prefix: /prefix/ }, route: { cluster: origin, prefix_rewrite: / } }
- { match: { path: /whole }, route: { cluster: origin, prefix_rewrite: /other } }
- { match: { path: /literal }, route: { cluster: origin, host_rewrite_literal: new.test, append_x_forwarded_host: true } }
- { match: { path: /header }, route: { cluster: origin, host_rewrite_header: x-want } }
- { match: { path: /auto }, route: { cluster: origin, auto_host_rewrite: true } }
- { match: { prefix: / }, route: { cluster: origin } }
`
	p := harness.Start(t, top)
	for _, row := range []struct{ path, field, start, host, originalPath, originalHost, forwardedHost string }{
		{"/prefix/etc?a=b", "a: b", "GET /etc?a=b HTTP/1.1", "h", "/prefix/etc?a=b", "-", "-"},
		{"/whole?x", "a: b", "GET /other?x HTTP/1.1", "h", "/whole?x", "-", "-"},
		{"/literal", "X-Forwarded-Host: first", "GET /literal HTTP/1.1", "new.test", "-", "h", "first,h"},
		{"/header", "X-Want: want.test:81", "GET /header HTTP/1.1", "want.test:81", "-", "h", "-"},
		{"/header", "a: b", "GET /header HTTP/1.1", "h", "-", "-", "-"},
		{"/auto", "a: b", "GET /auto HTTP/1.1", "h", "-", "-", "-"},
		{"/plain", "a: b", "GET /plain HTTP/1.1", "h", "-", "-", "-"},
	} {
		ask(t, p, "h", row.path, row.field)
		m := o.Last(t)
		got := [...]string{m.Start, m.Get("host"), m.Get("x-envoy-original-path"), m.Get("x-envoy-original-host"), m.Get("x-forwarded-host")}
		want := [...]string{row.start, row.host, row.originalPath, row.originalHost, row.forwardedHost}
		if got != want {
			t.Errorf("%s with %s: the origin saw %q, want %q", row.path, row.field, got, want)
		}
	}
}

// HC-90 to HC-94.
func TestPathAndHostNormalisation(t *testing.T) {
	harness.NoLeaks(t)
	for _, row := range []struct {
		manager, host, path string
		status              int
		seen                string // host and path at the origin, or the location
	}{
		{"normalize_path: false", "h", "/a/../b//c%2Fd", 200, "h /a/../b//c%2Fd"},
		{"normalize_path: true", "h", "/a/./b/../c?x=/../", 200, "h /a/c?x=/../"},
		{"normalize_path: true", "h", "/%61%2e%2e/x", 200, "h /a../x"},
		{"merge_slashes: true", "h", "//a///b?x=//", 200, "h /a/b?x=//"},
		{"path_with_escaped_slashes_action: REJECT_REQUEST", "h", "/a%2Fb", 400, ""},
		{"path_with_escaped_slashes_action: UNESCAPE_AND_REDIRECT", "h", "/a%2Fb%5c?q=%2F", 307, "/a/b\\?q=%2F"},
		{"path_with_escaped_slashes_action: UNESCAPE_AND_FORWARD", "h", "/a%2Fb", 200, "h /a/b"},
		{"normalize_path: true", "h", "/a#b", 400, ""},
		{"strip_any_host_port: true", "h:81", "/", 200, "h /"},
		{"strip_matching_host_port: true", "h:81", "/", 200, "h:81 /"},
		{"strip_trailing_host_dot: true", "h.:81", "/", 200, "h:81 /"},
	} {
		o := harness.NewRecorder(t, nil)
		p := harness.Start(t, with(one(o), row.manager))
		m := ask(t, p, row.host, row.path)
		got := ""
		switch {
		case m.Status() == 307:
			got = m.Get("location")
		case m.Status() == 200:
			up := o.Last(t)
			got = up.Get("host") + " " + up.Path()
		}
		if m.Status() != row.status || got != row.seen {
			t.Errorf("%s: %s%s gives %d %q, want %d %q", row.manager, row.host, row.path, m.Status(), got, row.status, row.seen)
		}
	}
	o := harness.NewRecorder(t, nil)
	p := harness.Start(t, with(one(o), "strip_matching_host_port: true"))
	_, port, _ := strings.Cut(p.Addr, ":")
	ask(t, p, "h:"+port, "/")
	if got := o.Last(t).Get("host"); got != "h" {
		t.Errorf("the listener's own port stays: %q", got)
	}
}
