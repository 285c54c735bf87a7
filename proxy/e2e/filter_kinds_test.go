package e2e

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/bench"
	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

const filterType = "type.googleapis.com/envoy.extensions.filters.http."

// httpFilter is one entry of http_filters; fields is YAML without indentation.
func httpFilter(name, kind, fields string) string {
	return fmt.Sprintf("- name: %s\n  typed_config:\n    \"@type\": %s%s\n    %s\n", name, filterType, kind, strings.ReplaceAll(strings.Trim(fields, "\n"), "\n", "\n    "))
}

// perRoute is one entry of typed_per_filter_config.
func perRoute(name, kind, fields string) string {
	return fmt.Sprintf("%s: { \"@type\": %s%s, %s }", name, filterType, kind, fields)
}

// recorder is an origin that answers ok and keeps what it was sent.
func recorder(t *testing.T, fields ...string) *harness.Recorder {
	return harness.NewRecorder(t, func(m *harness.Message) string { return harness.Reply("ok", fields...) })
}

func request(method, path string, fields ...string) string {
	return method + " " + path + " HTTP/1.1\r\nHost: test\r\n" + strings.Join(append(fields, ""), "\r\n") + "\r\n"
}

// ROUTER-63.
func TestBufferFilterAnswers413AndSendsLengths(t *testing.T) {
	harness.NoLeaks(t)
	o := recorder(t)
	top := one(o)
	top.HTTPFilters = httpFilter("buffer", "buffer.v3.Buffer", "max_request_bytes: 1000")
	top.Routes = `
- match: { prefix: /large }
  route: { cluster: origin }
  typed_per_filter_config: { ` + perRoute("buffer", "buffer.v3.BufferPerRoute", "buffer: { max_request_bytes: 3000 }") + ` }
- match: { prefix: /off }
  route: { cluster: origin }
  typed_per_filter_config: { ` + perRoute("buffer", "buffer.v3.BufferPerRoute", "disabled: true") + ` }
- match: { prefix: / }
  route: { cluster: origin }
`
	p := harness.Start(t, top)
	body := string(bench.Pattern(nil, 5000))
	for _, row := range []struct {
		path   string
		n      int
		status int
	}{{"/", 0, 200}, {"/", 1000, 200}, {"/", 1001, 413}, {"/large", 3000, 200}, {"/large", 3001, 413}, {"/off", 5000, 200}} {
		for _, chunked := range []bool{false, true} {
			c := p.Dial()
			text := request("POST", row.path, fmt.Sprintf("Content-Length: %d", row.n)) + body[:row.n]
			if chunked {
				text = request("POST", row.path, "Transfer-Encoding: chunked") + chunks(body[:row.n], 100, 3)
			}
			if r := c.Send(text).Read("POST"); r.Status != row.status {
				t.Errorf("%s, %d bytes, chunked %t: %v", row.path, row.n, chunked, r)
			}
		}
	}
	for _, m := range o.Seen() {
		if m.Path() != "/off" && len(m.Body) > 0 && !strings.Contains(strings.ToLower(m.Head()), fmt.Sprintf("content-length: %d\n", len(m.Body))) {
			t.Errorf("a body that was kept came without its length: %q", m.Head())
		}
	}
	p.WantStats(harness.Stats{"http.in.downstream_rq_too_large": 4})
}

func TestBufferFilterKeepsSlowClientsFromOrigins(t *testing.T) {
	harness.NoLeaks(t)
	o := recorder(t)
	top := one(o)
	top.HTTPFilters = httpFilter("buffer", "buffer.v3.Buffer", "max_request_bytes: 1000")
	p := harness.Start(t, top)
	c := p.Dial().Send(request("POST", "/", "Content-Length: 10") + "01234")
	harness.Eventually(t, "the request is there", func() bool { return p.Stats()["http.in.downstream_rq_active"] == 1 })
	if n := p.Stat("cluster.origin.upstream_rq_total"); n != 0 {
		t.Errorf("%d requests are on their way to the origin", n)
	}
	c.Send("56789").Read("POST").Want(200, "ok")
	p.WantStats(harness.Stats{"cluster.origin.upstream_rq_total": 1})
}

func TestFaultFilterAborts(t *testing.T) {
	harness.NoLeaks(t)
	top := one(recorder(t))
	top.HTTPFilters = httpFilter("fault", "fault.v3.HTTPFault", "abort: { header_abort: {}, percentage: { numerator: 100 } }")
	top.Routes = `
- match: { prefix: /fixed }
  route: { cluster: origin }
  typed_per_filter_config: { ` + perRoute("fault", "fault.v3.HTTPFault", "abort: { http_status: 418, percentage: { numerator: 100 } }, headers: [{ name: x-no, present_match: true, invert_match: true }], downstream_nodes: [n1]") + ` }
- match: { prefix: /grpc }
  route: { cluster: origin }
  typed_per_filter_config: { ` + perRoute("fault", "fault.v3.HTTPFault", "abort: { grpc_status: 14, percentage: { numerator: 100 } }, upstream_cluster: origin") + ` }
- match: { prefix: /elsewhere }
  route: { cluster: origin }
  typed_per_filter_config: { ` + perRoute("fault", "fault.v3.HTTPFault", "abort: { http_status: 418, percentage: { numerator: 100 } }, upstream_cluster: other") + ` }
- match: { prefix: / }
  route: { cluster: origin }
`
	top.LogFormat = "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%"
	p := harness.Start(t, top)
	c := p.Dial()
	const node = "x-envoy-downstream-service-node: n1"
	for _, row := range []struct {
		path   string
		fields []string
		status int
		body   string
	}{
		{"/", nil, 200, "ok"},
		{"/", []string{"x-envoy-fault-abort-request: 429"}, 429, "fault filter abort"},
		{"/", []string{"x-envoy-fault-abort-request: 99"}, 200, "ok"},
		{"/", []string{"x-envoy-fault-abort-request: 429", "x-envoy-fault-abort-request-percentage: 0"}, 200, "ok"},
		{"/", []string{"x-envoy-fault-abort-grpc-request: 5"}, 404, "fault filter abort"},
		{"/fixed", []string{node}, 418, "fault filter abort"},
		{"/fixed", nil, 200, "ok"},
		{"/fixed", []string{node, "x-no: 1"}, 200, "ok"},
		{"/grpc", nil, 503, "fault filter abort"},
		{"/elsewhere", nil, 200, "ok"},
	} {
		c.Send(request("GET", row.path, row.fields...)).Read("GET").Want(row.status, row.body)
	}
	r := c.Send(request("GET", "/grpc", "content-type: application/grpc")).Read("GET")
	r.WantHeader("grpc-status", "14")
	if r.Status != 200 {
		t.Errorf("gRPC: %v", r)
	}
	p.WantStats(harness.Stats{"http.in.fault.aborts_injected": 5, "http.in.fault.active_faults": 0, "http.in.fault.faults_overflow": 0})
	if got := p.AwaitLines(11)[1]; got != "429 FI fault_filter_abort" {
		t.Errorf("%q", got)
	}
}

func TestFaultFilterDelaysWithinItsLimit(t *testing.T) {
	harness.NoLeaks(t)
	o := recorder(t)
	top := one(o)
	top.HTTPFilters = httpFilter("fault", "fault.v3.HTTPFault", "delay: { header_delay: {}, percentage: { numerator: 100 } }\nmax_active_faults: 1")
	p := harness.Start(t, top)
	slow := p.Dial().Send(request("POST", "/slow", "x-envoy-fault-delay-request: 600", "content-length: 3") + "abc")
	harness.Eventually(t, "the fault is active", func() bool { return p.Stats()["http.in.fault.active_faults"] == 1 })
	// A second one is one too many.
	p.Dial().Send(request("GET", "/fast", "x-envoy-fault-delay-request: 600")).Read("GET").Want(200, "ok")
	if got := len(o.Seen()); got != 1 {
		t.Errorf("%d requests at the origin while one is delayed", got)
	}
	slow.Read("POST").Want(200, "ok")
	if m := o.Seen()[1]; string(m.Body) != "abc" {
		t.Errorf("the body of the delayed request is %q", m.Body)
	}
	p.WantStats(harness.Stats{"http.in.fault.delays_injected": 1, "http.in.fault.faults_overflow": 1, "http.in.fault.active_faults": 0})
	lines := p.AwaitLines(2)
	if !strings.HasPrefix(lines[1], "200 DI ") || strings.Contains(lines[0], "DI") {
		t.Errorf("%q", lines)
	}
	// A client that leaves takes its fault with it.
	gone := p.Dial().Send(request("GET", "/", "x-envoy-fault-delay-request: 600000"))
	harness.Eventually(t, "the fault is active", func() bool { return p.Stats()["http.in.fault.active_faults"] == 1 })
	gone.Close()
	harness.Eventually(t, "the fault is over", func() bool { return p.Stats()["http.in.fault.active_faults"] == 0 })
}

func TestFaultFilterFollowsRuntime(t *testing.T) {
	harness.NoLeaks(t)
	top := one(recorder(t))
	top.HTTPFilters = httpFilter("fault", "fault.v3.HTTPFault", "abort: { http_status: 503, percentage: { numerator: 0 } }")
	p := harness.Start(t, top)
	c := p.Dial()
	c.Get("/").Want(200, "ok")
	if err := p.Server.Runtime().Modify(map[string]string{"fault.http.abort.abort_percent": "100", "fault.http.abort.http_status": "500"}); err != nil {
		t.Fatal(err)
	}
	c.Get("/").Want(500, "fault filter abort")
	if err := p.Server.Runtime().Modify(map[string]string{"fault.http.abort.abort_percent": ""}); err != nil {
		t.Fatal(err)
	}
	c.Get("/").Want(200, "ok")
}

func TestFaultFilterSlowsResponses(t *testing.T) {
	harness.NoLeaks(t)
	top := one(harness.NewOrigin(t, "a"))
	top.HTTPFilters = httpFilter("fault", "fault.v3.HTTPFault", "response_rate_limit: { header_limit: {}, percentage: { numerator: 100 } }")
	p := harness.Start(t, top)
	for _, path := range []string{"/bytes/", "/chunked/"} {
		began := time.Now()
		r := p.Dial().Send(request("GET", path+"100000", "x-envoy-fault-throughput-response: 200")).Read("GET")
		if r.Status != 200 || r.Err != nil || !bytes.Equal([]byte(r.Body), bench.Pattern(nil, 100_000)) {
			t.Fatalf("%s: %.100v", path, r)
		}
		// 100000 bytes at 10240 each 50 ms, of which one part goes at once.
		if took := time.Since(began); took < 400*time.Millisecond {
			t.Errorf("%s took %v", path, took)
		}
		p.Dial().Send(request("GET", path+"100000")).Read("GET")
	}
	p.WantStats(harness.Stats{"http.in.fault.response_rl_injected": 2, "http.in.fault.active_faults": 0})
}

func TestCORSFilter(t *testing.T) {
	harness.NoLeaks(t)
	o := recorder(t)
	top := one(o)
	top.HTTPFilters = httpFilter("cors", "cors.v3.Cors", "")
	const policy = `allow_origin_string_match: [{ suffix: .good }], allow_methods: "GET, PUT", allow_headers: x-a, expose_headers: x-b, max_age: "600", allow_credentials: true`
	top.VirtualHost = "typed_per_filter_config: { " + perRoute("cors", "cors.v3.CorsPolicy", policy) + " }"
	top.Routes = `
- match: { prefix: /shut }
  route: { cluster: origin }
  typed_per_filter_config: { ` + perRoute("cors", "cors.v3.CorsPolicy", policy+", forward_not_matching_preflights: false") + ` }
- match: { prefix: /shadow }
  route: { cluster: origin }
  typed_per_filter_config: { ` + perRoute("cors", "cors.v3.CorsPolicy", policy+", filter_enabled: { default_value: { numerator: 0 } }, shadow_enabled: { default_value: { numerator: 100 } }") + ` }
- match: { prefix: / }
  route: { cluster: origin }
`
	p := harness.Start(t, top)
	c := p.Dial()
	preflight := []string{"Origin: https://a.good", "Access-Control-Request-Method: PUT"}
	c.Send(request("OPTIONS", "/", preflight...)).Read("OPTIONS").Want(200, "").
		WantHeader("access-control-allow-origin", "https://a.good").WantHeader("access-control-allow-methods", "GET, PUT").
		WantHeader("access-control-allow-headers", "x-a").WantHeader("access-control-max-age", "600").WantHeader("access-control-allow-credentials", "true")
	if len(o.Seen()) != 0 {
		t.Error("a preflight request went to the origin")
	}
	c.Send(request("GET", "/", "Origin: https://a.good")).Read("GET").Want(200, "ok").
		WantHeader("access-control-allow-origin", "https://a.good").WantHeader("access-control-expose-headers", "x-b").WantHeader("access-control-allow-methods", "")
	c.Send(request("GET", "/", "Origin: https://a.bad")).Read("GET").Want(200, "ok").WantHeader("access-control-allow-origin", "")
	c.Send(request("GET", "/")).Read("GET").Want(200, "ok").WantHeader("access-control-allow-origin", "")
	c.Send(request("OPTIONS", "/", "Origin: https://a.bad", "Access-Control-Request-Method: PUT")).Read("OPTIONS").Want(200, "ok").WantHeader("access-control-allow-origin", "")
	c.Send(request("OPTIONS", "/shut", "Origin: https://a.bad", "Access-Control-Request-Method: PUT")).Read("OPTIONS").Want(200, "").WantHeader("access-control-allow-origin", "")
	c.Send(request("GET", "/shadow", "Origin: https://a.good")).Read("GET").Want(200, "ok").WantHeader("access-control-allow-origin", "")
	p.WantStats(harness.Stats{"http.in.cors.origin_valid": 3, "http.in.cors.origin_invalid": 3})
}

func TestHeaderMutationFilter(t *testing.T) {
	harness.NoLeaks(t)
	o := recorder(t, "X-Origin: here")
	top := one(o)
	top.HTTPFilters = httpFilter("mutate", "header_mutation.v3.HeaderMutation", `mutations:
  request_mutations: [{ remove: x-gone }, { append: { header: { key: x-path, value: "%REQ(:PATH)%" } } }]
  response_mutations: [{ append: { header: { key: x-level, value: chain }, append_action: OVERWRITE_IF_EXISTS_OR_ADD } }, { remove: x-origin }]`)
	set := func(value string) string {
		return perRoute("mutate", "header_mutation.v3.HeaderMutationPerRoute", "mutations: { response_mutations: [{ append: { header: { key: x-level, value: "+value+" }, append_action: OVERWRITE_IF_EXISTS_OR_ADD } }] }")
	}
	top.VirtualHost = "typed_per_filter_config: { " + set("host") + " }"
	top.Routes = "- match: { prefix: /r }\n  direct_response: { status: 200, body: { inline_string: own } }\n  typed_per_filter_config: { " + set("route") + " }\n- match: { prefix: / }\n  route: { cluster: origin }"
	p := harness.Start(t, top)
	c := p.Dial()
	c.Send(request("GET", "/a", "X-Gone: 1")).Read("GET").Want(200, "ok").WantHeader("x-level", "host").WantHeader("x-origin", "")
	// The least specific level comes last; and a local reply passes the filter too.
	c.Send(request("GET", "/r")).Read("GET").Want(200, "own").WantHeader("x-level", "host")
	if head := strings.ToLower(o.Seen()[0].Head()); strings.Contains(head, "x-gone") || !strings.Contains(head, "x-path: /a") {
		t.Errorf("%q", head)
	}
	top.HTTPFilters += "    most_specific_header_mutations_wins: true\n"
	p.Apply(top)
	c.Send(request("GET", "/r")).Read("GET").Want(200, "own").WantHeader("x-level", "route")
}

func TestLocalRateLimitFilter(t *testing.T) {
	harness.NoLeaks(t)
	const on = "filter_enabled: { default_value: { numerator: 100 } }\nfilter_enforced: { default_value: { numerator: 100 }, runtime_key: limit.enforced }\n"
	bucket := func(n int) string { return fmt.Sprintf("token_bucket: { max_tokens: %d, fill_interval: 3600s }\n", n) }
	for _, row := range []struct {
		title, config string
		ask           func(p *harness.Proxy) string // statuses
		want          string
		stats         harness.Stats
	}{
		{"a bucket for all", "stat_prefix: l\n" + bucket(2) + on + "response_headers_to_add: [{ header: { key: x-why, value: limit } }]\nenable_x_ratelimit_headers: DRAFT_VERSION_03", func(p *harness.Proxy) string {
			a, b := p.Dial(), p.Dial()
			out := fmt.Sprint(a.Get("/").Status, b.Get("/").WantHeader("x-ratelimit-remaining", "0").WantHeader("x-why", "").Status)
			r := a.Get("/").WantHeader("x-why", "limit").WantHeader("x-ratelimit-limit", "2")
			return fmt.Sprint(out, " ", r.Status, " ", r.Body)
		}, "200 200 429 local_rate_limited", harness.Stats{"l.http_local_rate_limit.enabled": 3, "l.http_local_rate_limit.ok": 2, "l.http_local_rate_limit.rate_limited": 1, "l.http_local_rate_limit.enforced": 1}},
		{"a bucket for each connection", "stat_prefix: l\nlocal_rate_limit_per_downstream_connection: true\nstatus: { code: 503 }\n" + bucket(1) + on, func(p *harness.Proxy) string {
			a, b := p.Dial(), p.Dial()
			return fmt.Sprint(a.Get("/").Status, b.Get("/").Status, a.Get("/").Status, b.Get("/").Status)
		}, "200 200 503 503", harness.Stats{"l.http_local_rate_limit.rate_limited": 2}},
		{"not enforced", "stat_prefix: l\n" + bucket(1) + on + "request_headers_to_add_when_not_enforced: [{ header: { key: x-limited, value: 'yes' } }]", func(p *harness.Proxy) string {
			if err := p.Server.Runtime().Modify(map[string]string{"limit.enforced": "0"}); err != nil {
				p.T.Fatal(err)
			}
			c := p.Dial()
			return fmt.Sprint(c.Get("/").Body, " ", c.Get("/").Body)
		}, "ok limited", harness.Stats{"l.http_local_rate_limit.rate_limited": 1, "l.http_local_rate_limit.enforced": 0}},
		{"not enabled", "stat_prefix: l\n" + bucket(1), func(p *harness.Proxy) string {
			c := p.Dial()
			return fmt.Sprint(c.Get("/").Status, c.Get("/").Status)
		}, "200 200", harness.Stats{"l.http_local_rate_limit.enabled": 0}},
		{"descriptors", "stat_prefix: l\n" + bucket(3) + on + `always_consume_default_token_bucket: false
rate_limits: [{ actions: [{ request_headers: { header_name: x-user, descriptor_key: user } }, { header_value_match: { descriptor_value: get, headers: [{ name: ":method", string_match: { exact: GET } }] } }] }]
descriptors: [{ entries: [{ key: user, value: ann }, { key: header_match, value: get }], token_bucket: { max_tokens: 1, fill_interval: 3600s } }]`, func(p *harness.Proxy) string {
			c := p.Dial()
			get := func(method, user string) int {
				return c.Send(request(method, "/", "x-user: "+user, "content-length: 0")).Read(method).Status
			}
			return fmt.Sprint(get("GET", "ann"), get("GET", "ann"), get("GET", "bob"), get("POST", "ann"), get("GET", "bob"), get("GET", "bob"))
		}, "200 429 200 200 200 429", harness.Stats{"l.http_local_rate_limit.rate_limited": 2}},
	} {
		t.Run(row.title, func(t *testing.T) {
			top := one(harness.NewRecorder(t, func(m *harness.Message) string {
				if strings.Contains(strings.ToLower(m.Head()), "x-limited: yes") {
					return harness.Reply("limited")
				}
				return harness.Reply("ok")
			}))
			top.HTTPFilters = httpFilter("limit", "local_ratelimit.v3.LocalRateLimit", row.config)
			p := harness.Start(t, top)
			if got := row.ask(p); got != row.want {
				t.Errorf("%s, want %s", got, row.want)
			}
			p.WantStats(row.stats)
			if row.title == "a bucket for all" {
				if got := p.AwaitLines(3)[2]; got != "429 RL local_rate_limited GET /" {
					t.Errorf("%q", got)
				}
			}
		})
	}
}

func TestHTTPRBACFilter(t *testing.T) {
	harness.NoLeaks(t)
	top := one(recorder(t))
	top.HTTPFilters = httpFilter("rbac", "rbac.v3.RBAC", `rules:
  action: DENY
  policies:
    no admins:
      permissions: [{ and_rules: { rules: [{ url_path: { path: { prefix: /admin } } }, { not_rule: { header: { name: x-role, string_match: { exact: admin } } } }] } }]
      principals: [{ any: true }]
    strangers:
      permissions: [{ any: true }]
      principals: [{ remote_ip: { address_prefix: 192.0.2.0, prefix_len: 24 } }, { authenticated: {} }]
shadow_rules:
  policies: { gets: { permissions: [{ header: { name: ":method", string_match: { exact: GET } } }], principals: [{ any: true }] } }
shadow_rules_stat_prefix: s.`)
	top.Manager = "use_remote_address: false"
	top.Routes = `
- match: { prefix: /admin/open }
  route: { cluster: origin }
  typed_per_filter_config: { ` + perRoute("rbac", "rbac.v3.RBACPerRoute", "") + ` }
- match: { prefix: / }
  route: { cluster: origin }
`
	top.LogFormat = "%RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %DYNAMIC_METADATA(envoy.filters.http.rbac:s.shadow_engine_result)%"
	p := harness.Start(t, top)
	c := p.Dial()
	c.Get("/").Want(200, "ok")
	c.Get("/admin?x").Want(403, "RBAC: access denied")
	c.Send(request("GET", "/admin", "X-Role: admin")).Read("GET").Want(200, "ok")
	c.Send(request("POST", "/", "X-Forwarded-For: 192.0.2.7", "Content-Length: 0")).Read("POST").Want(403, "RBAC: access denied")
	c.Get("/admin/open").Want(200, "ok")
	p.WantStats(harness.Stats{"http.in.rbac.allowed": 2, "http.in.rbac.denied": 2, "http.in.rbac.s.shadow_allowed": 3, "http.in.rbac.s.shadow_denied": 1})
	p.WantLines("200 via_upstream allowed", "403 rbac_access_denied_matched_policy[no_admins] allowed", "200 via_upstream allowed",
		"403 rbac_access_denied_matched_policy[strangers] denied", "200 via_upstream -")
}

func TestCL43HealthCheckFilter(t *testing.T) {
	harness.NoLeaks(t)
	o := recorder(t)
	top := one(o)
	top.Clusters = append(top.Clusters, harness.Cluster{Name: "empty"})
	headers := func(path string) string {
		return "\nheaders: [{ name: \":path\", string_match: { exact: " + path + " } }]"
	}
	top.HTTPFilters = httpFilter("own", "health_check.v3.HealthCheck", "pass_through_mode: false"+headers("/own")) +
		httpFilter("min", "health_check.v3.HealthCheck", "pass_through_mode: false\ncluster_min_healthy_percentages: { origin: { value: 100 } }"+headers("/min")) +
		httpFilter("none", "health_check.v3.HealthCheck", "pass_through_mode: false\ncluster_min_healthy_percentages: { empty: { value: 1 } }"+headers("/none")) +
		httpFilter("through", "health_check.v3.HealthCheck", "pass_through_mode: true\ncache_time: 3600s"+headers("/through"))
	top.Bootstrap = "node: { id: a, cluster: edge }"
	p := harness.Start(t, top)
	c := p.Dial()
	c.Get("/own").Want(200, "").WantHeader("x-envoy-upstream-healthchecked-cluster", "edge")
	c.Get("/min").Want(200, "")
	c.Get("/none").Want(503, "")
	c.Get("/through").Want(200, "ok").WantHeader("x-envoy-upstream-healthchecked-cluster", "edge")
	c.Get("/through").Want(200, "")
	if n := len(o.Seen()); n != 1 {
		t.Errorf("%d health checks reached the origin, the second is answered from the cache", n)
	}
	c.Get("/").Want(200, "ok").WantHeader("x-envoy-immediate-health-check-fail", "")
	p.WantLines("200 - health_check_ok GET /own", "200 - health_check_ok GET /min", "503 LH health_check_failed_cluster_empty GET /none",
		"200 - via_upstream GET /through", "200 - health_check_cached GET /through", "200 - via_upstream GET /")
	p.Server.FailHealthCheck(true)
	p.Dial().Get("/own").Want(503, "")
	p.Dial().Get("/through").Want(503, "")
	p.Dial().Get("/").Want(200, "ok").WantHeader("x-envoy-immediate-health-check-fail", "true")
}

// The same filters several times, in another order, and one that is only there for a route that wants it.
func TestFiltersInAnyOrderAndOnlyWhereTheyAreWanted(t *testing.T) {
	harness.NoLeaks(t)
	top := one(recorder(t))
	mark := func(name, text string) string {
		return httpFilter(name, "header_mutation.v3.HeaderMutation", "mutations: { request_mutations: [{ append: { header: { key: x-way, value: "+text+" } } }], response_mutations: [{ append: { header: { key: x-back, value: "+text+" } } }] }")
	}
	top.HTTPFilters = mark("one", "a") + strings.Replace(mark("two", "b"), "- name: two", "- name: two\n  disabled: true", 1) + httpFilter("buffer", "buffer.v3.Buffer", "max_request_bytes: 9") + mark("three", "c")
	const filterConfig = "type.googleapis.com/envoy.config.route.v3.FilterConfig"
	top.Routes = `
- match: { prefix: /all }
  route: { cluster: origin }
  typed_per_filter_config: { two: { "@type": ` + filterConfig + `, config: { "@type": ` + filterType + `header_mutation.v3.HeaderMutationPerRoute } } }
- match: { prefix: /less }
  route: { cluster: origin }
  typed_per_filter_config: { one: { "@type": ` + filterConfig + `, disabled: true }, buffer: { "@type": ` + filterConfig + `, disabled: true }, nobody: { "@type": ` + filterConfig + `, is_optional: true } }
- match: { prefix: / }
  route: { cluster: origin }
`
	p := harness.Start(t, top)
	c := p.Dial()
	c.Get("/").WantHeader("x-back", "c|a")
	c.Get("/all").WantHeader("x-back", "c|b|a")
	c.Get("/less").WantHeader("x-back", "c")
	c.Send(request("POST", "/less", "Content-Length: 10")+"0123456789").Read("POST").Want(200, "ok")
	c.Send(request("POST", "/all", "Content-Length: 10")+"0123456789").Read("POST").Want(413, "Payload Too Large").WantHeader("x-back", "c|b|a")
}

// Filters over HTTP/2 on both sides.
func TestFiltersOverHTTP2(t *testing.T) {
	harness.NoLeaks(t)
	top := one(echoOrigin(t))
	top.Clusters[0].Fields = "http2_protocol_options: {}"
	top.HTTPFilters = httpFilter("buffer", "buffer.v3.Buffer", "max_request_bytes: 100000") + httpFilter("fault", "fault.v3.HTTPFault", "response_rate_limit: { header_limit: {}, percentage: { numerator: 100 } }")
	p := serveH2(t, top, nil)
	client := clientH2(t)
	body := bench.Pattern(nil, 60_000)
	a := mustAskH2(t, client, "POST", "http://"+p.Addr+"/", bytes.NewReader(body), "x-envoy-fault-throughput-response: 400")
	if a.status != 200 || !bytes.Equal(a.body, body) || a.trailer.Get("X-Sum") != "back" {
		t.Errorf("%d, %d bytes, %v", a.status, len(a.body), a.trailer)
	}
	if a, err := askH2(client, "POST", "http://"+p.Addr+"/", io.LimitReader(zeros{}, 200_000)); err != nil || a.status != 413 {
		t.Errorf("%v, %v", a, err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
