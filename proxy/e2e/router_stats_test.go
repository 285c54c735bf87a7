package e2e

import (
	"strings"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// codesUnder are the stats of a scope that are made of statuses and times.
func codesUnder(p *harness.Proxy, scope string) (out []string) {
	for name, v := range p.Stats() {
		last := name[strings.LastIndexByte(name, '.')+1:]
		if strings.HasPrefix(name, scope) && v != 0 && (last == "upstream_rq_completed" || strings.HasSuffix(last, "xx") || len(last) == len("upstream_rq_200") && last[len(last)-1] <= '9' && last[len(last)-3] <= '5') {
			out = append(out, name)
		}
	}
	return out
}

// router.md 11.3: without dynamic_stats nothing is counted by status, in the cluster, its alternative name or
// the virtual clusters; the fixed counts go on. Nor is the answer to a health check that is passed on.
func TestDynamicStatsOffAndHealthChecks(t *testing.T) {
	for _, row := range []struct{ title, router, path string }{
		{"off", "dynamic_stats: false", "/a"},
		{"a health check", "dynamic_stats: true", "/check"},
	} {
		t.Run(row.title, func(t *testing.T) {
			harness.NoLeaks(t)
			o := inTurn(t, answered(503), answered(200))
			top := retrying(quick("retry_on: 5xx"), o)
			top.VirtualHost = oneVirtualCluster
			top.HTTPFilters = httpFilter("through", "health_check.v3.HealthCheck", "pass_through_mode: true\nheaders: [{ name: \":path\", string_match: { exact: /check } }]")
			p := startRouter(t, top, row.router, o)
			if m := ask(t, p, "h", row.path, "x-envoy-upstream-alt-stat-name: other"); m.Status() != 200 {
				t.Errorf("got %s", m.Head())
			}
			p.WantStats(harness.Stats{onOrigin + "upstream_rq_total": 2, onOrigin + "upstream_rq_retry": 1, "vhost.all.vcluster.all.upstream_rq_total": 2, inHTTP + "rq_total": 1})
			if got := append(codesUnder(p, onOrigin), codesUnder(p, "vhost.")...); len(got) > 0 {
				t.Errorf("counted: %v", got)
			}
			if n := p.Histogram(onOrigin + "upstream_rq_time").Count; n != 0 {
				t.Errorf("%d times", n)
			}
			ask(t, p, "h", "/other")
			if n := len(codesUnder(p, onOrigin)); (n > 0) != (row.path == "/check") {
				t.Errorf("another request: %d stats", n)
			}
		})
	}
}

// router.md 11.3: a response is canary by its endpoint or by itself, and counted so beside the rest, whichever
// side of the proxy's border the request comes from.
func TestCanaryStats(t *testing.T) {
	for _, row := range []struct {
		title, manager, labels, field string
		canary                        int64
		side                          string
	}{
		{"by the endpoint", "", "{ canary: true }", "x: y", 1, "external."},
		{"by the response", internalClients, "{}", "x-envoy-upstream-canary: true", 1, "internal."},
		{"by neither", internalClients, "{ canary: false }", "x-envoy-upstream-canary: yes", 0, "internal."},
	} {
		t.Run(row.title, func(t *testing.T) {
			harness.NoLeaks(t)
			o := inTurn(t, answered(404, row.field))
			top := with(one(o), row.manager)
			top.Clusters[0].Labels = []string{row.labels}
			p := harness.Start(t, top)
			ask(t, p, "h", "/a", "x-envoy-upstream-alt-stat-name: other")
			want := harness.Stats{}
			for _, prefix := range []string{"", row.side} {
				for _, name := range []string{"404", "4xx", "completed"} {
					want[onOrigin+prefix+"upstream_rq_"+name] = 1
					want[onOrigin+"canary.upstream_rq_"+name] = row.canary
				}
			}
			alt := int64(0)
			if row.side == "internal." {
				alt = 1 // from outside the header is taken off
			}
			want[onOrigin+"other.upstream_rq_404"], want[onOrigin+"other.canary.upstream_rq_404"] = alt, alt*row.canary
			p.WantStats(want)
			if row.canary == 1 && p.Histogram(onOrigin+"canary.upstream_rq_time").Count != 1 {
				t.Error("the time is not recorded")
			}
		})
	}
}

// ROUTER-81, router.md 11.3: what a retry drops counts under retry. alone; the zones are those of the host
// that answered in the end.
func TestROUTER81ZonesAreThoseOfTheHostThatAnswered(t *testing.T) {
	harness.NoLeaks(t)
	bad, good := inTurn(t, answered(503)), inTurn(t, answered(200))
	top := retrying(quick("retry_on: 5xx, num_retries: 1, host_selection_retry_max_attempts: 30, retry_host_predicate: [{ name: p, typed_config: { \"@type\": "+previousHosts+" } }]"), bad, good)
	b := harness.Load(t, top.YAML(t.TempDir()+"/log"))
	b.Node.Zone = "here"
	e := b.Clusters[0].Endpoints
	e[0].Zone, e[1].Zone, b.Clusters[0].Raw = "bad", "good", nil
	p := harness.StartConf(t, b, 1, "", bad, good)
	const n = 10
	for range n {
		if m := ask(t, p, "h", "/a"); m.Status() != 200 {
			t.Errorf("got %s", m.Head())
		}
	}
	p.WantStats(harness.Stats{
		onOrigin + "zone.here.good.upstream_rq_200": n, onOrigin + "zone.here.bad.upstream_rq_503": 0, onOrigin + "upstream_rq_200": n, onOrigin + "upstream_rq_503": 0,
		onOrigin + "retry.upstream_rq_503": int64(len(bad.Seen())),
	})
}
