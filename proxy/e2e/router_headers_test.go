package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// RT-94, RT-95: what a client may tell the router with. An edge takes all of it off what comes from outside;
// behind one, and for internal requests, the headers about the request itself stay, and what the router acts
// on it takes off.
func TestRT94EnvoyHeadersByWhereTheRequestComesFrom(t *testing.T) {
	const internal = "\ninternal_address_config: { cidr_ranges: [{ address_prefix: 127.0.0.0, prefix_len: 8 }] }"
	sent := [][2]string{
		{"x-envoy-internal", "forged"}, {"x-envoy-external-address", "192.0.2.9"},
		{"x-envoy-decorator-operation", "op"}, {"x-envoy-downstream-service-cluster", "c"}, {"x-envoy-downstream-service-node", "n"},
		{"x-envoy-original-path", "/p"}, {"x-envoy-original-host", "oh"},
		{"x-envoy-retry-on", "5xx"}, {"x-envoy-retry-grpc-on", "cancelled"}, {"x-envoy-max-retries", "2"}, {"x-envoy-retriable-status-codes", "418"},
		{"x-envoy-retriable-header-names", "x"}, {"x-envoy-upstream-alt-stat-name", "alt"}, {"x-envoy-upstream-rq-timeout-ms", "7000"},
		{"x-envoy-upstream-rq-per-try-timeout-ms", "6000"}, {"x-envoy-upstream-rq-timeout-alt-response", "1"}, {"x-envoy-expected-rq-timeout-ms", "99"},
		{"x-envoy-force-trace", "1"}, {"x-envoy-ip-tags", "t"}, {"x-envoy-original-url", "http://o/"}, {"x-envoy-hedge-on-per-try-timeout", "false"},
		{"x-envoy-upstream-stream-duration-ms", "9000"},
	}
	taken := "x-envoy-retry-on x-envoy-retry-grpc-on x-envoy-max-retries x-envoy-retriable-status-codes x-envoy-retriable-header-names x-envoy-upstream-alt-stat-name " +
		"x-envoy-upstream-rq-timeout-ms x-envoy-upstream-rq-per-try-timeout-ms x-envoy-upstream-rq-timeout-alt-response x-envoy-hedge-on-per-try-timeout x-envoy-upstream-stream-duration-ms"
	for _, row := range []struct {
		title, manager, from string
		honoured             bool
		want                 map[string]string // what the origin sees of those that are not in taken
	}{
		{
			"internal", "use_remote_address: true" + internal, "", true,
			map[string]string{
				"x-envoy-internal": "true", "x-envoy-external-address": "192.0.2.9", "x-envoy-decorator-operation": "-", "x-envoy-downstream-service-cluster": "c",
				"x-envoy-downstream-service-node": "n", "x-envoy-original-path": "/p", "x-envoy-original-host": "oh", "x-envoy-expected-rq-timeout-ms": "6000",
				"x-envoy-force-trace": "1", "x-envoy-ip-tags": "t", "x-envoy-original-url": "http://o/",
			},
		},
		{
			"from outside, at the edge", "use_remote_address: true", "", false,
			map[string]string{
				"x-envoy-internal": "-", "x-envoy-external-address": "127.0.0.1", "x-envoy-decorator-operation": "-", "x-envoy-downstream-service-cluster": "-",
				"x-envoy-downstream-service-node": "-", "x-envoy-original-path": "-", "x-envoy-original-host": "-", "x-envoy-expected-rq-timeout-ms": "15000",
				"x-envoy-force-trace": "-", "x-envoy-ip-tags": "-", "x-envoy-original-url": "-",
			},
		},
		{
			"from outside, behind the edge", "use_remote_address: false", "x-forwarded-for: 198.51.100.1", false,
			map[string]string{
				"x-envoy-internal": "-", "x-envoy-external-address": "192.0.2.9", "x-envoy-downstream-service-cluster": "c",
				"x-envoy-downstream-service-node": "n", "x-envoy-original-path": "/p", "x-envoy-original-host": "oh", "x-envoy-expected-rq-timeout-ms": "15000",
				"x-envoy-force-trace": "-", "x-envoy-ip-tags": "-", "x-envoy-original-url": "-",
			},
		},
		{
			"by default (RT-95)", "", "", false,
			map[string]string{"x-envoy-internal": "-", "x-envoy-expected-rq-timeout-ms": "15000", "x-envoy-force-trace": "-", "x-envoy-original-url": "-"},
		},
	} {
		t.Run(row.title, func(t *testing.T) {
			harness.NoLeaks(t)
			o := inTurn(t, answered(503), answered(200))
			p := harness.Start(t, with(one(o), row.manager))
			fields := []string{"x-own: kept"}
			if row.from != "" {
				fields = append(fields, row.from)
			}
			for _, f := range sent {
				fields = append(fields, f[0]+": "+f[1])
			}
			m := ask(t, p, "h", "/a", fields...)
			tries := 1
			if row.honoured {
				tries = 2
			}
			if n := len(o.Seen()); n != tries || (m.Status() == 200) != row.honoured {
				t.Errorf("%d tries, %s", n, m.Head())
			}
			first := o.Seen()[0]
			for name, want := range row.want {
				if got := first.Get(name); got != want {
					t.Errorf("the origin saw %s %s, want %s", name, got, want)
				}
			}
			for _, name := range strings.Fields(taken) {
				if got := first.Get(name); got != "-" {
					t.Errorf("the origin saw %s %s", name, got)
				}
			}
			if first.Get("x-own") != "kept" {
				t.Error("another header is gone")
			}
			alt := int64(0)
			if row.honoured {
				alt = 1
			}
			if got := p.Stats()[onOrigin+"alt.upstream_rq_completed"]; got != alt {
				t.Errorf("%d responses under the alternative name, want %d", got, alt)
			}
		})
	}
}

// The way back (router.md 4): what the router says of the answer, and what of the origin's it passes on.
func TestEnvoyHeadersOfResponses(t *testing.T) {
	for _, suppress := range []bool{false, true} {
		t.Run(fmt.Sprint("suppressed ", suppress), func(t *testing.T) {
			harness.NoLeaks(t)
			o := harness.NewRecorder(t, func(*harness.Message) string {
				return answered(200, "x-envoy-upstream-service-time: forged", "x-envoy-attempt-count: 9", "x-envoy-upstream-canary: true", "x-envoy-overloaded: true")
			})
			top := retrying("", o)
			top.Clusters = append(top.Clusters, harness.Cluster{Name: "none"})
			top.VirtualHost = "include_attempt_count_in_response: true\ninclude_request_attempt_count: true"
			top.Routes = "- { match: { path: /none }, route: { cluster: none } }\n- { match: { path: /direct }, direct_response: { status: 200 } }\n- { match: { prefix: / }, route: { cluster: origin, prefix_rewrite: /x, host_rewrite_literal: new.test } }"
			p := startRouter(t, top, fmt.Sprint("suppress_envoy_headers: ", suppress), o)
			m := ask(t, p, "h", "/a")
			time, want := m.Get("x-envoy-upstream-service-time"), suppress
			if (time == "forged") != want || strings.Contains(time, "|") {
				t.Errorf("service time %s", time)
			}
			if m.Get("x-envoy-attempt-count") != "1" || m.Get("x-envoy-upstream-canary") != "true" || m.Get("x-envoy-overloaded") != "true" {
				t.Errorf("got %s", m.Head())
			}
			up := o.Last(t)
			for name, value := range map[string]string{"x-envoy-original-path": "/a", "x-envoy-original-host": "h", "x-envoy-expected-rq-timeout-ms": "15000"} {
				if suppress {
					value = "-"
				}
				if got := up.Get(name); got != value {
					t.Errorf("the origin saw %s %s, want %s", name, got, value)
				}
			}
			if up.Get("x-envoy-attempt-count") != "1" {
				t.Errorf("the origin saw %s", up.Head())
			}
			for _, path := range []string{"/none", "/direct"} { // without an attempt
				if m := ask(t, p, "h", path); m.Get("x-envoy-attempt-count") != "-" || m.Get("x-envoy-upstream-service-time") != "-" {
					t.Errorf("%s: %s", path, m.Head())
				}
			}
		})
	}
}

// The time of an answer that began before its request was over is not known.
func TestServiceTimeNeedsAWholeRequest(t *testing.T) {
	harness.NoLeaks(t)
	raw := harness.NewRaw(t, headThen(answered(200), stalls))
	p := harness.Start(t, one(raw))
	c := p.Dial().Send("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nab")
	if r := c.Read("POST"); r.Status != 200 || r.Header.Get("x-envoy-upstream-service-time") != "" {
		t.Errorf("got %v", r)
	}
	c.Close()
}

// Values the router cannot read are ignored, and the headers are taken off all the same.
func TestEnvoyHeadersThatCannotBeRead(t *testing.T) {
	harness.NoLeaks(t)
	o := inTurn(t, answered(503))
	p := harness.Start(t, retrying("timeout: 9s\n"+quick("retry_on: 5xx"), o))
	ask(t, p, "h", "/a", "x-envoy-max-retries: many", "x-envoy-upstream-rq-timeout-ms: soon", "x-envoy-upstream-rq-per-try-timeout-ms: -1", "x-envoy-hedge-on-per-try-timeout: perhaps",
		"x-envoy-retry-on: nonsense", "x-envoy-retry-grpc-on: nonsense", "x-envoy-upstream-stream-duration-ms: 1h", "x-envoy-retriable-status-codes: all")
	seen := o.Seen()
	if len(seen) != 2 {
		t.Fatalf("%d tries", len(seen))
	}
	if got := seen[0].Get("x-envoy-expected-rq-timeout-ms"); got != "9000" {
		t.Errorf("expected timeout %s", got)
	}
	for _, f := range seen[0].Fields {
		if name := strings.ToLower(f.Name); strings.HasPrefix(name, "x-envoy-") && name != "x-envoy-expected-rq-timeout-ms" && name != "x-envoy-internal" {
			t.Errorf("the origin saw %s", f.Name)
		}
	}
}

// The timeouts of headers: the request's 0 is none, the try's counts without a policy.
func TestTimeoutsOfHeaders(t *testing.T) {
	harness.NoLeaks(t)
	raw := harness.NewRaw(t, stalls)
	p := harness.Start(t, retrying("timeout: 15s", raw))
	for i, row := range []struct{ field, details string }{
		{"x-envoy-upstream-rq-timeout-ms: 50", "504 UT upstream_response_timeout"},
		{"x-envoy-upstream-rq-per-try-timeout-ms: 50", "504 UT upstream_per_try_timeout"},
		{"x-envoy-upstream-stream-duration-ms: 50", "504 UMSDR upstream_max_stream_duration_reached"}, // ROUTER-46
	} {
		if m := ask(t, p, "h", "/a", row.field); m.Status() != 504 {
			t.Errorf("%s: %s", row.field, m.Head())
		}
		if got := p.AwaitLines(i + 1)[i]; !strings.HasPrefix(got, row.details+" ") {
			t.Errorf("%s: %s", row.field, got)
		}
	}
	o := harness.NewRecorder(t, nil)
	endless := harness.Start(t, retrying("timeout: 15s", o))
	ask(t, endless, "h", "/a", "x-envoy-upstream-rq-timeout-ms: 0")
	if got := o.Last(t).Get("x-envoy-expected-rq-timeout-ms"); got != "-" {
		t.Errorf("a request without a timeout is expected within %s", got)
	}
}

// ROUTER-47: with max_grpc_timeout the origin hears in grpc-timeout how long it has: the request's time, or
// the try's.
func TestROUTER47TheUpstreamsGRPCTimeout(t *testing.T) {
	harness.NoLeaks(t)
	for _, row := range []struct{ action, kind, sent, want string }{
		{"max_grpc_timeout: 0s", "application/grpc", "5S", "5000m"},
		{"max_grpc_timeout: 2s", "application/grpc+proto", "5S", "2000m"},
		{"max_grpc_timeout: 0s, grpc_timeout_offset: 1s", "application/grpc", "5S", "4000m"},
		{"max_grpc_timeout: 0s", "application/grpc", "99999999S", "99999999S"},
		{"max_grpc_timeout: 0s", "application/grpc", "99999999H", "76861433M"}, // the most this proxy counts with
		{"max_grpc_timeout: 0s", "application/grpc", "", "-"},
		{"max_grpc_timeout: 0s", "text/plain", "5S", "5S"},
		{"timeout: 7s", "application/grpc", "5S", "5S"},
		{"max_grpc_timeout: 9s, max_stream_duration: { grpc_timeout_header_max: 3s }", "application/grpc", "5S", "5S"},
		{"max_grpc_timeout: 9s, retry_policy: { retry_on: unavailable, per_try_timeout: 1s }", "application/grpc", "5S", "1000m"},
	} {
		o := harness.NewRecorder(t, nil)
		top := one(o)
		top.Routes = "- { match: { prefix: / }, route: { cluster: origin, " + row.action + " } }"
		p := harness.Start(t, top)
		fields := []string{"content-type: " + row.kind}
		if row.sent != "" {
			fields = append(fields, "grpc-timeout: "+row.sent)
		}
		ask(t, p, "h", "/a", fields...)
		if got := o.Last(t).Get("grpc-timeout"); got != row.want {
			t.Errorf("%s, %s, %s: the origin saw %s, want %s", row.action, row.kind, row.sent, got, row.want)
		}
	}
}
