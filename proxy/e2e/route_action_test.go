package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/bench/origin"
	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// RT-60, RT-63, RT-85 to RT-88: expressions, templates and format strings in paths and hosts.
func TestRT87Rewrites(t *testing.T) {
	harness.NoLeaks(t)
	o := harness.NewRecorder(t, nil)
	top := one(o)
	regex := func(pattern, by string) string {
		return `regex_rewrite: { pattern: { regex: "` + pattern + `" }, substitution: "` + by + `" }`
	}
	const policy = `path_rewrite_policy: { name: t, typed_config: { "@type": type.googleapis.com/envoy.extensions.path.rewrite.uri_template.v3.UriTemplateRewriteConfig, path_template_rewrite: "`
	top.Routes = strings.Join([]string{
		`- { match: { prefix: /service }, route: { cluster: origin, ` + regex(`^/service/([^/]+)(/.*)$`, `\\2/instance/\\1`) + ` } }`,
		`- { match: { prefix: /xxx/one }, route: { cluster: origin, ` + regex(`one`, `two`) + ` } }`,
		`- { match: { prefix: /first }, route: { cluster: origin, ` + regex(`^(.*?)one(.*)$`, `\\1two\\2`) + ` } }`,
		`- { match: { prefix: /aaa }, route: { cluster: origin, ` + regex(`(?i)/xxx/`, `/yyy/`) + ` } }`,
		`- { match: { path_match_policy: ` + uriTemplate + `/content/{format}/{lang}/{id}/{file}.vtt" } } }, route: { cluster: origin, ` + policy + `/{lang}/{format}/{file}.vtt" } } } }`,
		`- { match: { safe_regex: { regex: "/re/.*" } }, route: { cluster: origin, prefix_rewrite: /all } }`,
		`- { match: { prefix: /format }, route: { cluster: origin, path_rewrite: "/new%REQ(x-to)%", host_rewrite: "p-%REQ(x-host)%" } }`,
		`- { match: { prefix: /empty }, route: { cluster: origin, path_rewrite: "%REQ(x-to)%", host_rewrite: "%REQ(x-host)%" } }`,
		`- { match: { prefix: /hosts }, route: { cluster: origin, host_rewrite_path_regex: { pattern: { regex: "^/hosts/(.+)/.+$" }, substitution: "\\1" } } }`,
		`- { match: { prefix: /rre }, redirect: { ` + regex(`^/rre/(.*)$`, `/x/\\1`) + ` } }`,
		`- { match: { prefix: /rfo }, redirect: { path_rewrite: "/to/%REQ(x-to)%", strip_query: true } }`,
		`- { match: { prefix: /rem }, redirect: { path_rewrite: "%REQ(x-to)%" } }`,
		`- { match: { prefix: /body }, direct_response: { status: 200, body: { inline_string: inner }, body_format: { text_format_source: { inline_string: "<%LOCAL_REPLY_BODY% %REQ(x-to)% %RESPONSE_CODE%>" }, content_type: text/html } } }`,
	}, "\n")
	p := harness.Start(t, top)
	for _, row := range []struct{ path, field, seen, host, original string }{
		{"/service/foo/v1/api?q=1", "a: b", "/v1/api/instance/foo?q=1", "h", "/service/foo/v1/api?q=1"},
		{"/service/foo", "a: b", "/service/foo", "h", "-"}, // no match, no rewrite
		{"/xxx/one/yyy/one/zzz", "a: b", "/xxx/two/yyy/two/zzz", "h", "/xxx/one/yyy/one/zzz"},
		{"/first/one/yyy/one/zzz", "a: b", "/first/two/yyy/one/zzz", "h", "/first/one/yyy/one/zzz"},
		{"/aaa/XxX/bbb", "a: b", "/aaa/yyy/bbb", "h", "/aaa/XxX/bbb"},
		{"/content/hls/en-us/12345/en_193913.vtt?x", "a: b", "/en-us/hls/en_193913.vtt?x", "h", "/content/hls/en-us/12345/en_193913.vtt?x"},
		{"/re/whole/path?q", "a: b", "/all?q", "h", "/re/whole/path?q"},
		{"/format?q", "x-to: /v 2?#", "/new/v%202%3F%23?q", "p-", "/format?q"},
		{"/format", "x-host: b.test", "/new", "p-b.test", "/format"},
		{"/empty", "a: b", "/empty", "h", "-"},
		{"/empty", "x-host: not a host", "/empty", "h", "-"},
		{"/hosts/new.test/x", "a: b", "/hosts/new.test/x", "new.test", "-"},
	} {
		ask(t, p, "h", row.path, row.field)
		m := o.Last(t)
		if m.Path() != row.seen || m.Get("host") != row.host || m.Get("x-envoy-original-path") != row.original {
			t.Errorf("%s with %s: the origin saw %s of %s, original %s", row.path, row.field, m.Path(), m.Get("host"), m.Get("x-envoy-original-path"))
		}
	}
	for _, row := range []struct{ path, field, want string }{
		{"/rre/a/b?q", "a: b", "http://h/x/a/b?q"}, {"/rfo?q", "x-to: v 2", "http://h/to/v%202"}, {"/rem/x?q", "a: b", "http://h/rem/x?q"},
	} {
		if m := ask(t, p, "h", row.path, row.field); m.Get("location") != row.want || m.Status() != 301 {
			t.Errorf("%s: %s, want %s", row.path, m.Get("location"), row.want)
		}
	}
	if m := ask(t, p, "h", "/body", "x-to: t"); string(m.Body) != "<inner t 200>" || m.Get("content-type") != "text/html" {
		t.Errorf("%s%s", m.Head(), m.Body)
	}
}

// RT-62, RT-66, RT-67: every source of a body, the limit, and what lifts it.
func TestRT62DirectResponseSources(t *testing.T) {
	harness.NoLeaks(t)
	file := filepath.Join(t.TempDir(), "body")
	if err := os.WriteFile(file, []byte(strings.Repeat("f", 4096)), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SLUICE_E2E_BODY", "from the environment")
	body := func(path, source string) string {
		return "- { match: { path: " + path + " }, direct_response: { status: 599, body: { " + source + " } } }\n"
	}
	p := harness.Start(t, harness.Topology{Routes: body("/s", "inline_string: text") + body("/b", "inline_bytes: AAEC") +
		body("/f", "filename: "+file) + body("/e", "environment_variable: SLUICE_E2E_BODY")})
	for path, want := range map[string]string{"/s": "text", "/b": "\x00\x01\x02", "/f": strings.Repeat("f", 4096), "/e": "from the environment"} {
		if m := ask(t, p, "h", path); string(m.Body) != want || m.Status() != 599 || m.Get("content-type") != "text/plain" {
			t.Errorf("%s: %s%.40s", path, m.Head(), m.Body)
		}
	}
	p.WantStats(harness.Stats{"http.in.rq_direct_response": 4})
}

// RT-68, RT-132: virtual clusters, the first that matches, else other; and a route's stat_prefix.
func TestRT68VirtualClusters(t *testing.T) {
	harness.NoLeaks(t)
	o := harness.NewRecorder(t, func(m *harness.Message) string {
		if strings.HasSuffix(m.Path(), "404") {
			return "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
		}
		return harness.Reply("ok")
	})
	top := one(o)
	top.LogFormat = "%VIRTUAL_CLUSTER_NAME% %ROUTE_NAME%"
	top.VirtualHosts = `
- name: all
  domains: ["*"]
  virtual_clusters:
  - { name: read, headers: [{ name: ":path", string_match: { safe_regex: { regex: "/items/[0-9]+" } } }, { name: ":method", string_match: { exact: GET } }] }
  - { name: items, headers: [{ name: ":path", string_match: { prefix: /items } }] }
  routes:
  - { match: { prefix: /items }, name: items-route, stat_prefix: it, route: { cluster: origin } }
  - { match: { path: /direct }, direct_response: { status: 200 } }
  - { match: { prefix: / }, route: { cluster: origin } }
`
	p := harness.Start(t, top)
	for _, path := range []string{"/items/1", "/items/404", "/items/x", "/other", "/direct"} {
		ask(t, p, "h", path)
	}
	p.WantLines("read items-route", "read items-route", "items items-route", "other -", "- -")
	p.WantStats(harness.Stats{
		"vhost.all.vcluster.read.upstream_rq_total": 2, "vhost.all.vcluster.read.upstream_rq_200": 1, "vhost.all.vcluster.read.upstream_rq_404": 1,
		"vhost.all.vcluster.read.upstream_rq_2xx": 1, "vhost.all.vcluster.read.upstream_rq_4xx": 1, "vhost.all.vcluster.read.upstream_rq_completed": 2,
		"vhost.all.vcluster.items.upstream_rq_total": 1, "vhost.all.vcluster.items.upstream_rq_completed": 1,
		"vhost.all.vcluster.other.upstream_rq_total": 1, "vhost.all.vcluster.other.upstream_rq_completed": 1,
		"vhost.all.route.it.upstream_rq_total": 3, "vhost.all.route.it.upstream_rq_completed": 3, "vhost.all.route.it.upstream_rq_404": 1,
		"vhost.all.vcluster.read.upstream_rq_timeout": 0, "vhost.all.vcluster.read.upstream_rq_retry": 0, "vhost.all.vcluster.read.upstream_rq_retry_success": 0,
		"vhost.all.vcluster.read.upstream_rq_retry_overflow": 0, "vhost.all.vcluster.read.upstream_rq_retry_limit_exceeded": 0,
	})
	if n := p.Histogram("vhost.all.vcluster.read.upstream_rq_time").Count; n != 2 {
		t.Errorf("%d times", n)
	}
}

// RT-77: with max_stream_duration the route's timeout does not count; grpc-timeout does where the route
// reads it, cut and with its offset.
func TestRT77StreamDuration(t *testing.T) {
	harness.NoLeaks(t)
	o := harness.NewScripted(t, origin.Script{origin.ReadHead(), origin.Stall()}, origin.Script{origin.ReadHead(), origin.Stall()},
		origin.Script{origin.ReadHead(), origin.Stall()}, origin.Script{origin.ReadHead(), origin.Stall()}, origin.Script{origin.ReadHead(), origin.Stall()})
	top := one(o)
	top.Routes = `
- { match: { prefix: /offset }, route: { cluster: origin, max_stream_duration: { grpc_timeout_header_max: 0s, grpc_timeout_header_offset: 3600s } } }
- { match: { prefix: /max }, route: { cluster: origin, timeout: 0.001s, max_stream_duration: { grpc_timeout_header_max: 0.15s } } }
- { match: { prefix: /own }, route: { cluster: origin, timeout: 0.001s, max_stream_duration: { max_stream_duration: 0.15s } } }
- { match: { prefix: /old }, route: { cluster: origin, timeout: 600s, max_grpc_timeout: 0s } }
- { match: { prefix: /less }, route: { cluster: origin, timeout: 600s, max_grpc_timeout: 0.15s, grpc_timeout_offset: 0.1s } }
`
	p := harness.Start(t, top)
	for i, row := range []struct {
		path, timeout, details string
		least                  time.Duration
	}{
		{"/offset", "1H", "max_duration_timeout", 0},
		{"/max", "1H", "max_duration_timeout", 150 * time.Millisecond},
		{"/own", "1m", "max_duration_timeout", 150 * time.Millisecond},
		{"/old", "100m", "upstream_response_timeout", 100 * time.Millisecond},
		{"/less", "1H", "upstream_response_timeout", 150 * time.Millisecond},
	} {
		began := time.Now()
		m := ask(t, p, "h", row.path, "grpc-timeout: "+row.timeout, "content-type: application/grpc")
		took := time.Since(began)
		lines := p.AwaitLines(i + 1)
		if m.Get("grpc-status") != "4" || !strings.Contains(lines[len(lines)-1], row.details) || took < row.least {
			t.Errorf("%s: %sin %v, log %q", row.path, m.Head(), took, lines[len(lines)-1])
		}
	}
}
