package e2e

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

const oneVirtualCluster = `virtual_clusters: [{ name: all, headers: [{ name: ":path", string_match: { prefix: / } }] }]`

// Each retry is counted by why it waited, and the response in the end as a success, in the cluster and in
// the virtual cluster.
func TestROUTER24And33CountersOfRetries(t *testing.T) {
	for _, row := range []struct {
		title, policy     string
		answers           []string
		counts, ofVirtual map[string]int64
	}{
		{
			"exponential", "retry_on: 5xx, num_retries: 3", []string{answered(503), answered(503), answered(200)},
			map[string]int64{"upstream_rq_retry": 2, "upstream_rq_retry_success": 1, "upstream_rq_retry_backoff_exponential": 2, "upstream_rq_retry_backoff_ratelimited": 0},
			map[string]int64{"upstream_rq_retry": 2, "upstream_rq_retry_success": 1, "upstream_rq_total": 3},
		},
		{
			"as the response asks (ROUTER-34)", "retry_on: 5xx, rate_limited_retry_back_off: { reset_headers: [{ name: retry-after, format: SECONDS }] }",
			[]string{answered(503, "Retry-After: 1"), answered(200)},
			map[string]int64{"upstream_rq_retry": 1, "upstream_rq_retry_success": 1, "upstream_rq_retry_backoff_exponential": 0, "upstream_rq_retry_backoff_ratelimited": 1},
			map[string]int64{"upstream_rq_retry": 1, "upstream_rq_retry_success": 1},
		},
		{
			"no try is left", "retry_on: 5xx, num_retries: 1", []string{answered(503)},
			map[string]int64{"upstream_rq_retry": 1, "upstream_rq_retry_success": 0, "upstream_rq_retry_limit_exceeded": 1},
			map[string]int64{"upstream_rq_retry": 1, "upstream_rq_retry_success": 0, "upstream_rq_retry_limit_exceeded": 1},
		},
	} {
		t.Run(row.title, func(t *testing.T) {
			harness.NoLeaks(t)
			top := retrying("retry_policy: { "+row.policy+" }", inTurn(t, row.answers...))
			top.VirtualHost = oneVirtualCluster
			p := harness.Start(t, top)
			ask(t, p, "h", "/a")
			wantCounts(p, row.counts)
			want := harness.Stats{}
			for name, n := range row.ofVirtual {
				want["vhost.all.vcluster.all."+name] = n
			}
			p.WantStats(want)
		})
	}
}

// A gRPC client hears of a timeout and of a failed connection by grpc-status.
func TestROUTER47TimeoutsOfGRPC(t *testing.T) {
	harness.NoLeaks(t)
	for _, row := range []struct {
		origin harness.Origin
		status string
	}{{harness.NewRaw(t, stalls), "4"}, {harness.Refusing(t), "14"}} {
		p := harness.Start(t, retrying("timeout: 0.05s", row.origin))
		m := ask(t, p, "h", "/s/m", "content-type: application/grpc")
		if m.Status() != 200 || m.Get("grpc-status") != row.status {
			t.Errorf("want grpc-status %s, got %s", row.status, m.Head())
		}
	}
}

// A 303 is followed by GET without a body; listed headers of the redirect go with it (ROUTER-66).
func TestROUTER66SeeOther(t *testing.T) {
	harness.NoLeaks(t)
	o := inTurn(t, answered(303, "Location: http://h/b", "X-Kept: yes"), answered(200))
	p := harness.Start(t, retrying("internal_redirect_policy: { redirect_response_codes: [303], response_headers_to_copy: [x-kept, x-gone] }", o))
	w := harness.DialWire(t, "tcp", p.Addr)
	if r := w.Do("POST /a HTTP/1.1\r\nHost: h\r\nX-Gone: 1\r\nContent-Length: 3\r\n\r\nabc"); r.Status() != 200 {
		t.Errorf("got %s", r.Head())
	}
	w.Close()
	got := o.Last(t)
	if !strings.HasPrefix(got.Head(), "GET /b ") || len(got.Body) != 0 || got.Get("x-kept") != "yes" || got.Get("x-gone") != "-" || got.Get("x-envoy-original-url") != "http://h/a" {
		t.Errorf("the second request is %s%s", got.Head(), got.Body)
	}
	wantCounts(p, map[string]int64{"upstream_internal_redirect_succeeded_total": 1})
}

// What reaches the router is counted, redirects as such; local replies are charged to a cluster when it is to
// blame (ROUTER-82), and the time of a response is recorded (ROUTER-83).
func TestROUTER80WhatTheRouterCounts(t *testing.T) {
	harness.NoLeaks(t)
	top := retrying("", harness.NewRecorder(t, nil), harness.NewRecorder(t, nil))
	top.Clusters = append(top.Clusters, harness.Cluster{Name: "slow", Origins: []harness.Origin{harness.NewRaw(t, stalls)}})
	top.Routes = `- { match: { path: /redirect }, redirect: { path_redirect: /x } }
- { match: { path: /direct }, direct_response: { status: 200 } }
- { match: { path: /slow }, route: { cluster: slow, timeout: 0.05s } }
- { match: { path: /origin }, route: { cluster: origin } }`
	p := harness.Start(t, top)
	for _, path := range []string{"/redirect", "/direct", "/slow", "/origin", "/nowhere"} {
		ask(t, p, "h", path)
	}
	p.WantStats(harness.Stats{
		inHTTP + "rq_total": 5, inHTTP + "rq_redirect": 1, inHTTP + "rq_direct_response": 2, inHTTP + "no_route": 1,
		"cluster.slow.upstream_rq_504": 1, "cluster.slow.upstream_rq_timeout": 1, onOrigin + "upstream_rq_200": 1, onOrigin + "upstream_rq_completed": 1,
	})
	if n := p.Histogram(onOrigin + "upstream_rq_time").Count; n != 1 {
		t.Errorf("%d times are recorded, want 1", n)
	}
}

// Responses are counted by the zones they come from and go to, when both are known (router.md 11.3).
func TestZonesOfResponses(t *testing.T) {
	harness.NoLeaks(t)
	o := harness.NewRecorder(t, nil)
	top := retrying("", o)
	b := harness.Load(t, top.YAML(t.TempDir()+"/log"))
	b.Node.Zone = "here"
	b.Clusters[0].Endpoints[0].Zone, b.Clusters[0].Raw = "there", nil
	p := harness.StartConf(t, b, 1, "", o)
	ask(t, p, "h", "/a")
	p.WantStats(harness.Stats{onOrigin + "zone.here.there.upstream_rq_200": 1})
}

// With a budget, an origin that fails every second request is asked little more than it would be without
// retries, however many a request may have; those beyond the budget are counted and get the failure.
func TestROUTER36RetryStormsAreBounded(t *testing.T) {
	harness.NoLeaks(t)
	var asked atomic.Int64
	o := harness.NewRecorder(t, func(*harness.Message) string {
		if asked.Add(1)%2 == 0 {
			return answered(503)
		}
		return answered(200)
	})
	top := retrying("retry_policy: { retry_on: 5xx, num_retries: 10, retry_back_off: { base_interval: 0.02s } }", o)
	top.Clusters[0].Fields = "circuit_breakers: { thresholds: [{ max_requests: 10000, retry_budget: { budget_percent: { value: 20 }, min_retry_concurrency: 1 } }] }"
	p := harness.Start(t, top)
	const clients, each = 32, 60
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			w := harness.DialWire(t, "tcp", p.Addr)
			defer w.Close()
			for range each {
				w.Do(getA)
			}
		})
	}
	wg.Wait()
	s := p.Stats()
	extra := s[onOrigin+"upstream_rq_total"] - clients*each
	t.Logf("%d requests, %d retries, %d beyond the budget", clients*each, extra, s[onOrigin+"upstream_rq_retry_overflow"])
	// A retry is active while it waits, for 10 ms and more on average; a share of a fifth of 32 requests
	// that take far less than that cannot be more retries than a third of the requests.
	if extra > clients*each/3 || s[onOrigin+"upstream_rq_retry_overflow"] == 0 {
		t.Errorf("%d retries of %d requests, %d beyond the budget", extra, clients*each, s[onOrigin+"upstream_rq_retry_overflow"])
	}
}

// A POST that the policy does not allow to be repeated is sent once, hedging or not.
func TestHedgingDoesNotRepeatWhatMayNotBeRepeated(t *testing.T) {
	harness.NoLeaks(t)
	raw := harness.NewRaw(t, stalls)
	p := harness.Start(t, retrying(`timeout: 0.4s
hedge_policy: { hedge_on_per_try_timeout: true }
retry_policy: { retry_on: 5xx, num_retries: 3, per_try_timeout: 0.05s, retriable_request_headers: [{ name: ":method", string_match: { exact: GET } }] }`, raw))
	w := harness.DialWire(t, "tcp", p.Addr)
	if r := w.Do("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc"); r.Status() != 504 {
		t.Errorf("got %s", r.Head())
	}
	w.Close()
	wantCounts(p, map[string]int64{"upstream_rq_total": 1, "upstream_rq_retry": 0})
}
