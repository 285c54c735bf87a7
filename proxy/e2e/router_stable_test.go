package e2e

import (
	"strings"
	"sync"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
	"github.com/sluiceproxy/sluice/proxy/filter"
)

// byChance has two routes of which chance takes one, each with two clusters of which chance takes one.
const byChance = `
- match: { prefix: /, runtime_fraction: { default_value: { numerator: 50 } } }
  name: first
  route: { weighted_clusters: { clusters: [{ name: a, weight: 37 }, { name: b, weight: 64 }] }, RETRY }
- match: { prefix: / }
  name: second
  route: { weighted_clusters: { clusters: [{ name: c, weight: 55 }, { name: d, weight: 46 }] }, RETRY }
`

// RT-1: what chance has chosen for a request stays: the route and cluster are the same when a filter has the
// route looked up again and when the request is tried again.
func TestRT1ChoicesByChanceAreStable(t *testing.T) {
	harness.NoLeaks(t)
	const n = 200
	names := []string{"a", "b", "c", "d"}
	var clusters []harness.Cluster
	all := map[string]*harness.Recorder{}
	for _, name := range names {
		all[name] = harness.NewRecorder(t, func(m *harness.Message) string {
			if m.Get("x-envoy-attempt-count") == "3" {
				return answered(200, "x-cluster: "+name)
			}
			return answered(503)
		})
		clusters = append(clusters, harness.Cluster{Name: name, Origins: []harness.Origin{all[name]}})
	}
	var mu sync.Mutex
	chosen := map[string]string{} // by request: the route before it was looked up again
	f := &scripted{requestHead: func(s filter.Stream, _ bool) filter.Status {
		mu.Lock()
		chosen[string(s.Request().Bytes(s.Request().Path))] = s.Info().RouteName
		mu.Unlock()
		s.ClearRoute()
		return filter.Continue
	}}
	top := harness.Topology{Clusters: clusters, LogFormat: "%REQ(:PATH)% %ROUTE_NAME% %UPSTREAM_CLUSTER% %UPSTREAM_REQUEST_ATTEMPT_COUNT%"}
	top.VirtualHosts = "- name: all\n  domains: [\"*\"]\n  include_request_attempt_count: true\n  routes:\n" + indentBy(2, strings.Trim(strings.ReplaceAll(byChance, "RETRY", quick("retry_on: 5xx, num_retries: 2")), "\n"))
	p := serveFilters(t, top, nil, goFilter{name: "again", spec: f.spec()}, goFilter{name: "and-again", spec: f.spec()})
	w := harness.DialWire(t, "tcp", p.Addr)
	for i := range n {
		if m := w.Do(getOf("/" + strings.Repeat("x", i))); m.Status() != 200 {
			t.Fatalf("got %s", m.Head())
		}
	}
	w.Close()
	tries := map[string]map[string]int{}
	for name, o := range all {
		for _, m := range o.Seen() {
			if tries[m.Path()] == nil {
				tries[m.Path()] = map[string]int{}
			}
			tries[m.Path()][name]++
		}
	}
	of := map[string]string{"a": "first", "b": "first", "c": "second", "d": "second"}
	taken := map[string]int{}
	mu.Lock()
	defer mu.Unlock()
	for path, by := range tries {
		if len(by) != 1 {
			t.Errorf("a request was tried in %v", by)
		}
		for name, count := range by {
			if taken[name]++; count != 3 || chosen[path] != of[name] {
				t.Errorf("%d tries in %s after the route %s", count, name, chosen[path])
			}
		}
	}
	for _, name := range names { // the least share is 18 %: (82/100)^200 < 1e-17
		if taken[name] == 0 {
			t.Errorf("chance never took %s: %v", name, taken)
		}
	}
}

// ROUTER-23: upstream.use_retry is a share of the requests that would be retried. 2000 requests at 30 %.
func TestROUTER23UseRetryIsAShare(t *testing.T) {
	harness.NoLeaks(t)
	o := inTurn(t, answered(503))
	top := retrying("retry_policy: { retry_on: 5xx, retry_back_off: { base_interval: 0.001s, max_interval: 0.001s } }", o)
	top.Bootstrap = "layered_runtime: { layers: [{ name: static, static_layer: { upstream.use_retry: 30 } }, { name: admin, admin_layer: {} }] }"
	p := harness.Start(t, top)
	const n = 2000
	shares(t, p, n, func(int) string { return getOf("/") })
	retried := p.Stat(onOrigin + "upstream_rq_retry")
	within(t, "requests that were retried", int(retried), n, .3)
	// Only those whose retry failed, too, have had as many as they may.
	within(t, "of which none is left", int(p.Stat(onOrigin+"upstream_rq_retry_limit_exceeded")), int(retried), .3)
	if err := p.Server.Runtime().Modify(map[string]string{"upstream.use_retry": "100"}); err != nil {
		t.Fatal(err)
	}
	ask(t, p, "h", "/")
	if got := p.Stat(onOrigin + "upstream_rq_retry"); got != retried+1 {
		t.Errorf("%d retries at 100 %%", got-retried)
	}
}
