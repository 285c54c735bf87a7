package e2e

import (
	"regexp"
	"strings"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// RT-91 to RT-104, as the origin and the client see it. A loopback peer is appended as this machine's
// own address, which the test does not know.
func TestForwardingHeaders(t *testing.T) {
	harness.NoLeaks(t)
	const address = `([0-9a-f:]+|\d+\.\d+\.\d+\.\d+)`
	for _, row := range []struct {
		title, manager string
		fields         []string
		name, want     string // at the origin: a regular expression
	}{
		{"edge appends the peer", "use_remote_address: true", nil, "x-forwarded-for", address},
		{"edge appends to what came", "use_remote_address: true", []string{"X-Forwarded-For: 1.2.3.4"}, "x-forwarded-for", `1\.2\.3\.4,` + address},
		{"skip_xff_append", "use_remote_address: true\nskip_xff_append: true", []string{"X-Forwarded-For: 1.2.3.4"}, "x-forwarded-for", `1\.2\.3\.4`},
		{"without use_remote_address", "via: v", []string{"X-Forwarded-For: 1.2.3.4"}, "x-forwarded-for", `1\.2\.3\.4`},
		{"external address", "use_remote_address: true\nxff_num_trusted_hops: 1", []string{"X-Forwarded-For: 9.9.9.9, 1.2.3.4"}, "x-envoy-external-address", `1\.2\.3\.4`},
		{"internal peer", "use_remote_address: true\ninternal_address_config: { cidr_ranges: [{ address_prefix: 127.0.0.0, prefix_len: 8 }] }", nil, "x-envoy-internal", "true"},
		{"external by default", "use_remote_address: true", []string{"X-Envoy-Internal: true"}, "x-envoy-internal", "-"},
		{"external retry-on goes", "via: v", []string{"X-Envoy-Retry-On: 5xx"}, "x-envoy-retry-on", "-"},
		{"proto at the edge", "use_remote_address: true", []string{"X-Forwarded-Proto: https"}, "x-forwarded-proto", "http"},
		{"proto behind a proxy", "via: v", []string{"X-Forwarded-Proto: https"}, "x-forwarded-proto", "https"},
		{"scheme overwritten", "scheme_header_transformation: { scheme_to_overwrite: https }", nil, "x-forwarded-proto", "https"},
		{"port", "use_remote_address: true\nappend_x_forwarded_port: true", nil, "x-forwarded-port", `\d+`},
		{"via", "via: sluice", []string{"Via: 1.1 first"}, "via", "1.1 first, sluice"},
		{"request id made", "via: v", nil, "x-request-id", `[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}`},
		{"request id kept", "via: v", []string{"X-Request-Id: mine"}, "x-request-id", "mine"},
		{"request id replaced at the edge", "use_remote_address: true", []string{"X-Request-Id: mine"}, "x-request-id", `[0-9a-f-]{36}`},
		{"request id preserved at the edge", "use_remote_address: true\npreserve_external_request_id: true", []string{"X-Request-Id: mine"}, "x-request-id", "mine"},
		{"no request id", "generate_request_id: false", nil, "x-request-id", "-"},
		{"referer with a fragment", "via: v", []string{"Referer: http://a/#b"}, "referer", "-"},
		{"client certificate", "via: v", []string{"X-Forwarded-Client-Cert: x"}, "x-forwarded-client-cert", "-"},
		{"expected timeout", "via: v", nil, "x-envoy-expected-rq-timeout-ms", "15000"},
	} {
		t.Run(row.title, func(t *testing.T) {
			o := harness.NewRecorder(t, nil)
			p := harness.Start(t, with(one(o), row.manager))
			ask(t, p, "h", "/", row.fields...)
			if got := o.Last(t).Get(row.name); !regexp.MustCompile("^(" + row.want + ")$").MatchString(got) {
				t.Errorf("%s is %q, want %s", row.name, got, row.want)
			}
		})
	}
}

// RT-99, RT-104 on responses.
func TestResponseHeadersOfTheManager(t *testing.T) {
	harness.NoLeaks(t)
	for _, row := range []struct{ title, manager, name, want string }{
		{"server overwritten", "server_name: me", "server", "me"},
		{"server appended if absent", "server_header_transformation: APPEND_IF_ABSENT", "server", "theirs"},
		{"server passed through", "server_header_transformation: PASS_THROUGH", "server", "theirs"},
		{"via", "via: sluice", "via", "sluice"},
		{"request id", "always_set_request_id_in_response: true", "x-request-id", "[0-9a-f-]{36}"},
		{"date of the origin", "via: v", "date", "Thu, 01 Jan 1970 00:00:00 GMT"},
		{"service time", "via: v", "x-envoy-upstream-service-time", `\d+`},
	} {
		t.Run(row.title, func(t *testing.T) {
			o := harness.NewRecorder(t, func(*harness.Message) string {
				return harness.Reply("", "Server: theirs", "Date: Thu, 01 Jan 1970 00:00:00 GMT")
			})
			p := harness.Start(t, with(one(o), row.manager))
			if got := ask(t, p, "h", "/").Get(row.name); !regexp.MustCompile("^(" + row.want + ")$").MatchString(got) {
				t.Errorf("%s is %q, want %s", row.name, got, row.want)
			}
		})
	}
	o := harness.NewRecorder(t, nil)
	p := harness.Start(t, with(one(o), "server_header_transformation: PASS_THROUGH"))
	m := ask(t, p, "h", "/")
	if m.Get("server") != "-" || !regexp.MustCompile(`^\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT$`).MatchString(m.Get("date")) {
		t.Errorf("got %s", m.Head())
	}
}

// ROUTER-70, RT-131.
func TestLocalReplies(t *testing.T) {
	harness.NoLeaks(t)
	top := harness.Topology{Manager: `
local_reply_config:
  mappers:
  - filter: { status_code_filter: { comparison: { op: EQ, value: { default_value: 404, runtime_key: x } } } }
    status_code: 410
    body: { inline_string: "not here" }
    headers_to_add: [{ header: { key: x-mapped, value: "%RESPONSE_CODE% %RESPONSE_FLAGS%" } }]
  - filter: { response_flag_filter: { flags: [UH] } }
    body_format_override: { text_format_source: { inline_string: "<%LOCAL_REPLY_BODY%>" }, content_type: text/html }
  body_format: { json_format: { code: "%RESPONSE_CODE%", message: "%LOCAL_REPLY_BODY%", path: "%REQ(:PATH)%" } }
`, Routes: `
- { match: { prefix: /up }, route: { cluster: origin } }
- { match: { prefix: /lost }, route: { cluster_header: x-cluster } }
`}
	p := harness.Start(t, top)
	for _, row := range []struct {
		path   string
		fields []string
		status int
		kind   string
		body   string
		mapped string
	}{
		{"/none", nil, 410, "application/json", `{"code":410,"message":"not here","path":"/none"}`, "410 NR"},
		{"/up", nil, 503, "text/html", "<no healthy upstream>", "-"},
		{"/lost", nil, 503, "application/json", `{"code":503,"message":"","path":"/lost"}`, "-"},
	} {
		m := ask(t, p, "h", row.path, row.fields...)
		if m.Status() != row.status || m.Get("content-type") != row.kind || strings.TrimSuffix(string(m.Body), "\n") != row.body || m.Get("x-mapped") != row.mapped {
			t.Errorf("%s: %s%q", row.path, m.Head(), m.Body)
		}
	}
}

func TestLocalRepliesToGRPC(t *testing.T) {
	harness.NoLeaks(t)
	p := harness.Start(t, harness.Topology{Routes: `
- { match: { prefix: /up }, route: { cluster: origin } }
- { match: { path: /odd }, direct_response: { status: 401, body: { inline_string: "100% né" } } }
`})
	for _, row := range []struct{ path, kind, status, message string }{
		{"/up", "application/grpc", "14", "no healthy upstream"},
		{"/none", "application/grpc+proto", "12", "-"},
		{"/odd", "application/grpc", "16", "100%25 n%C3%A9"},
	} {
		m := ask(t, p, "h", row.path, "Content-Type: "+row.kind)
		if m.Status() != 200 || m.Get("grpc-status") != row.status || m.Get("grpc-message") != row.message || m.Get("content-type") != "application/grpc" || len(m.Body) != 0 {
			t.Errorf("%s: %s%q", row.path, m.Head(), m.Body)
		}
	}
	if m := ask(t, p, "h", "/up", "Content-Type: application/grpc-web"); m.Status() != 503 {
		t.Errorf("grpc-web is not gRPC: %s", m.Head())
	}
}
