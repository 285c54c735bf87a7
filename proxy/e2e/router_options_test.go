package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// startRouter starts a topology whose router filter has further fields (a YAML flow mapping's inside).
func startRouter(t *testing.T, top harness.Topology, fields string, origins ...harness.Origin) *harness.Proxy {
	t.Helper()
	log := t.TempDir() + "/log"
	yaml := top.YAML(log)
	const router = "filters.http.router.v3.Router }"
	if !strings.Contains(yaml, router) {
		t.Fatal("there is no router in the topology")
	}
	yaml = strings.Replace(yaml, router, "filters.http.router.v3.Router, "+fields+" }", 1)
	return harness.StartConf(t, harness.Load(t, yaml), 1, log, origins...)
}

// Router options: a header with a value that is not valid is answered 400.
func TestStrictCheckHeaders(t *testing.T) {
	harness.NoLeaks(t)
	o := harness.NewRecorder(t, nil)
	p := startRouter(t, retrying("", o), "strict_check_headers: [x-envoy-upstream-rq-timeout-ms, x-envoy-upstream-rq-per-try-timeout-ms, x-envoy-max-retries, x-envoy-retry-on, x-envoy-retry-grpc-on]", o)
	lines := 0
	for _, row := range []struct{ name, value string }{
		{"x-envoy-upstream-rq-timeout-ms", "soon"}, {"x-envoy-upstream-rq-per-try-timeout-ms", "1s"}, {"x-envoy-max-retries", "-1"},
		{"x-envoy-retry-on", "5xx,nonsense"}, {"x-envoy-retry-grpc-on", "5xx"},
	} {
		m := ask(t, p, "h", "/a", row.name+": "+row.value)
		if want := fmt.Sprintf("invalid header '%s' with value '%s'", row.name, row.value); m.Status() != 400 || string(m.Body) != want {
			t.Errorf("%s: %s%s", row.name, m.Head(), m.Body)
		}
		lines++
		if got := p.AwaitLines(lines)[lines-1]; !strings.HasPrefix(got, "400 IH request_headers_failed_strict_check{"+row.name+"} ") {
			t.Errorf("the log has %q", got)
		}
	}
	if m := ask(t, p, "h", "/a", "x-envoy-upstream-rq-timeout-ms: 1000", "x-envoy-retry-on: 5xx, connect-failure"); m.Status() != 200 {
		t.Errorf("got %s", m.Head())
	}
	if n := len(o.Seen()); n != 1 {
		t.Errorf("the origin saw %d requests", n)
	}
}

// respect_expected_rq_timeout: the header is the timeout and goes on unchanged.
func TestRespectExpectedTimeout(t *testing.T) {
	harness.NoLeaks(t)
	o := harness.NewRecorder(t, func(m *harness.Message) string {
		if m.Path() == "/slow" {
			return ""
		}
		return harness.Reply("ok")
	})
	p := startRouter(t, retrying("timeout: 15s", o), "respect_expected_rq_timeout: true", o)
	if m := ask(t, p, "h", "/a", "x-envoy-expected-rq-timeout-ms: 5000"); m.Status() != 200 || o.Last(t).Get("x-envoy-expected-rq-timeout-ms") != "5000" {
		t.Errorf("got %s, the origin saw %s", m.Head(), o.Last(t).Head())
	}
	if m := ask(t, p, "h", "/slow", "x-envoy-expected-rq-timeout-ms: 50"); m.Status() != 504 {
		t.Errorf("got %s", m.Head())
	}
}

// A share of the cluster's requests is answered 503 in its place (router.md 12).
func TestMaintenanceMode(t *testing.T) {
	harness.NoLeaks(t)
	o := harness.NewRecorder(t, nil)
	top := retrying("", o)
	top.Bootstrap = runtimeLayer("upstream.maintenance_mode.origin", "100")
	p := harness.Start(t, top)
	m := ask(t, p, "h", "/a")
	if m.Status() != 503 || string(m.Body) != "maintenance mode" || m.Get("x-envoy-overloaded") != "true" {
		t.Errorf("got %s%s", m.Head(), m.Body)
	}
	p.WantLine("503 UO maintenance_mode")
	wantCounts(p, map[string]int64{"upstream_rq_maintenance_mode": 1, "upstream_rq_503": 1, "upstream_rq_total": 0})
}

// x-envoy-upstream-alt-stat-name has the responses counted under another name, too.
func TestAlternativeStatName(t *testing.T) {
	harness.NoLeaks(t)
	o := harness.NewRecorder(t, nil)
	p := harness.Start(t, retrying("", o))
	ask(t, p, "h", "/a", "x-envoy-upstream-alt-stat-name: other")
	if got := o.Last(t).Get("x-envoy-upstream-alt-stat-name"); got != "-" {
		t.Errorf("the origin saw %s", got)
	}
	wantCounts(p, map[string]int64{
		"upstream_rq_200": 1, "internal.upstream_rq_200": 1, "other.upstream_rq_200": 1, "other.internal.upstream_rq_2xx": 1, "other.upstream_rq_completed": 1,
	})
}

// x-envoy-upstream-rq-timeout-alt-response: 204 without a body in place of 504.
func TestROUTER40AlternativeTimeoutResponse(t *testing.T) {
	harness.NoLeaks(t)
	raw := harness.NewRaw(t, stalls)
	p := harness.Start(t, retrying("timeout: 0.05s", raw))
	m := ask(t, p, "h", "/a", "x-envoy-upstream-rq-timeout-alt-response: 1")
	if m.Status() != 204 || len(m.Body) != 0 {
		t.Errorf("got %s%s", m.Head(), m.Body)
	}
	p.WantLine("204 UT upstream_response_timeout")
	wantCounts(p, map[string]int64{"upstream_rq_timeout": 1, "upstream_rq_204": 1})
}

// At most so many retries are under way at a time; what is beyond fails as it is.
func TestROUTER35MaxRetriesAndROUTER36Budget(t *testing.T) {
	for _, row := range []struct{ title, thresholds string }{
		{"max_retries", "max_retries: 1"},
		{"a budget", "retry_budget: { budget_percent: { value: 0 }, min_retry_concurrency: 1 }, max_retries: 100"},
	} {
		t.Run(row.title, func(t *testing.T) {
			harness.NoLeaks(t)
			o := inTurn(t, answered(503))
			top := retrying("retry_policy: { retry_on: 5xx, retry_back_off: { base_interval: 600s, max_interval: 600s } }", o)
			top.Clusters[0].Fields = "circuit_breakers: { thresholds: [{ " + row.thresholds + " }] }"
			p := harness.Start(t, top)
			waits := p.Dial().Send(getA)
			harness.Eventually(t, "a retry is under way", func() bool { return p.Stat(onOrigin+"circuit_breakers.default.rq_retry_open") == 1 })
			if m := ask(t, p, "h", "/b"); m.Status() != 503 {
				t.Errorf("got %s", m.Head())
			}
			p.WantLine("503 UO via_upstream")
			waits.Close()
			wantCounts(p, map[string]int64{"upstream_rq_retry_overflow": 1, "upstream_rq_retry": 1, "upstream_rq_503": 1, "circuit_breakers.default.rq_retry_open": 0})
		})
	}
}
