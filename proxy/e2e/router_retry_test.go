package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// 503, 503, 200 with two retries: the dropped ones count under retry. alone.
func TestROUTER81RetriedResponsesCountApart(t *testing.T) {
	harness.NoLeaks(t)
	o := inTurn(t, answered(503), answered(503), answered(200))
	p := harness.Start(t, retrying(quick("retry_on: 5xx, num_retries: 2"), o))
	if m := ask(t, p, "h", "/a"); m.Status() != 200 || string(m.Body) != "200" {
		t.Errorf("got %s", m.Head())
	}
	p.WantLine("200 - via_upstream")
	wantCounts(p, map[string]int64{
		"retry.upstream_rq_503": 2, "retry.upstream_rq_5xx": 2, "retry.upstream_rq_completed": 2, "upstream_rq_200": 1, "upstream_rq_503": 0,
		"upstream_rq_total": 3, "upstream_rq_completed": 1, "upstream_rq_retry": 2, "upstream_rq_retry_success": 1,
		"upstream_rq_retry_limit_exceeded": 0, "upstream_rq_retry_backoff_exponential": 2, "upstream_rq_retry_backoff_ratelimited": 0,
	})
	if total, _ := o.Connections(); total != 1 {
		t.Errorf("%d connections: a dropped response that is whole leaves its connection usable", total)
	}
}

// Without a condition nothing is retried, whatever the number says; with one, once by default.
func TestROUTER20RetriesNeedACondition(t *testing.T) {
	for _, row := range []struct {
		title, action string
		fields        []string
		tries         int
	}{
		{"nothing", "", nil, 1},
		{"a number alone", quick("num_retries: 5"), []string{"x-envoy-max-retries: 5"}, 1},
		{"a policy", quick("retry_on: 5xx"), nil, 2},
		{"a header", "", []string{"x-envoy-retry-on: 5xx"}, 2},
		{"a header with a number", "", []string{"x-envoy-retry-on: 5xx", "x-envoy-max-retries: 2"}, 3},
		{"a gRPC header does not mind", "", []string{"x-envoy-retry-grpc-on: unavailable"}, 1},
	} {
		t.Run(row.title, func(t *testing.T) {
			harness.NoLeaks(t)
			o := inTurn(t, answered(500))
			p := harness.Start(t, retrying(row.action, o))
			if m := ask(t, p, "h", "/a", row.fields...); m.Status() != 500 {
				t.Errorf("got %s", m.Head())
			}
			if n := len(o.Seen()); n != row.tries {
				t.Errorf("%d tries, want %d", n, row.tries)
			}
			for _, m := range o.Seen() {
				for _, f := range m.Fields {
					if strings.HasPrefix(strings.ToLower(f.Name), "x-envoy-retr") || strings.EqualFold(f.Name, "x-envoy-max-retries") {
						t.Errorf("the origin saw %s", f.Name)
					}
				}
			}
			flag := "-"
			if row.tries > 1 {
				flag = "URX"
			}
			p.WantLine("500 " + flag + " via_upstream")
		})
	}
}

// The larger of the two numbers counts.
func TestROUTER21TheLargerNumberOfRetriesCounts(t *testing.T) {
	for _, row := range []struct {
		policy, header string
		bootstrap      string
		tries          int
	}{
		{"num_retries: 2", "1", "", 3},
		{"num_retries: 1", "3", "", 4},
		{"", "0", "", 1},
		{"num_retries: 2", "", "", 3},
		{"num_retries: 2", "nonsense", "", 3},
		{"num_retries: 3", "1", runtimeLayer("sluice.router.max_retries_header_wins", "true"), 2},
	} {
		t.Run(fmt.Sprint(row.policy, row.header, row.bootstrap != ""), func(t *testing.T) {
			harness.NoLeaks(t)
			o := inTurn(t, answered(500))
			policy := "retry_on: 5xx"
			if row.policy != "" {
				policy += ", " + row.policy
			}
			top := retrying(quick(policy), o)
			top.Bootstrap = row.bootstrap
			p := harness.Start(t, top)
			var fields []string
			if row.header != "" {
				fields = []string{"x-envoy-max-retries: " + row.header}
			}
			ask(t, p, "h", "/a", fields...)
			if n := len(o.Seen()); n != row.tries {
				t.Errorf("%d tries, want %d", n, row.tries)
			}
		})
	}
}

// runtimeLayer is a bootstrap with one runtime value.
func runtimeLayer(key, value string) string {
	return fmt.Sprintf("layered_runtime: { layers: [{ name: static, static_layer: { %s: %s } }] }", key, value)
}
