package e2e

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// retriable_request_headers limit which requests are retried at all.
func TestROUTER22OnlyRequestsThatMatchAreRetried(t *testing.T) {
	harness.NoLeaks(t)
	o := inTurn(t, answered(503))
	p := harness.Start(t, retrying(quick(`retry_on: 5xx, retriable_request_headers: [{ name: ":method", string_match: { exact: PUT } }]`), o))
	ask(t, p, "h", "/a")
	if n := len(o.Seen()); n != 1 {
		t.Errorf("a GET was tried %d times", n)
	}
	w := harness.DialWire(t, "tcp", p.Addr)
	w.Do("PUT /a HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n")
	w.Close()
	if n := len(o.Seen()); n != 3 {
		t.Errorf("after a PUT there were %d tries", n)
	}
}

// upstream.use_retry at 0 %: no retry, and no counter moves.
func TestROUTER23UseRetryComesFirst(t *testing.T) {
	harness.NoLeaks(t)
	o := inTurn(t, answered(503))
	top := retrying(quick("retry_on: 5xx, num_retries: 3"), o)
	top.Bootstrap = runtimeLayer("upstream.use_retry", "0")
	p := harness.Start(t, top)
	ask(t, p, "h", "/a")
	p.WantLine("503 - via_upstream")
	wantCounts(p, map[string]int64{"upstream_rq_total": 1, "upstream_rq_retry": 0, "upstream_rq_retry_limit_exceeded": 0, "upstream_rq_retry_overflow": 0, "upstream_rq_503": 1})
}

// Nothing is retried once an interim response has gone to the client, nor what a breaker refused.
func TestROUTER25NeverAfterAnInterimResponse(t *testing.T) {
	harness.NoLeaks(t)
	raw := harness.NewRaw(t, headThen("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", closes))
	p := harness.Start(t, retrying(quick("retry_on: \"5xx,reset\", num_retries: 3"), raw))
	c := p.Dial().Send(getA)
	if r := c.ReadAny("GET"); r.Status != 103 {
		t.Errorf("got %v", r)
	}
	if r := c.Read("GET"); r.Status != 503 {
		t.Errorf("got %v", r)
	}
	c.Close()
	wantCounts(p, map[string]int64{"upstream_rq_total": 1, "upstream_rq_retry": 0})
}

// A host that refuses is left out by previous_hosts: of 40 requests to one of two hosts by chance a quarter
// would fail without it. With it one does when the balancer chooses the refusing host 51 times in a row.
func TestROUTER26RetriesGoToAnotherHost(t *testing.T) {
	harness.NoLeaks(t)
	top := retrying(quick(`retry_on: connect-failure, host_selection_retry_max_attempts: 50,
  retry_host_predicate: [{ name: p, typed_config: { "@type": type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate } }]`), harness.Refusing(t), harness.NewRecorder(t, nil))
	top.Clusters[0].Fields = "lb_policy: RANDOM"
	p := harness.Start(t, top)
	for range 40 {
		if m := ask(t, p, "h", "/a"); m.Status() != 200 {
			t.Errorf("got %s", m.Head())
		}
	}
	if s := p.Stats(); s[onOrigin+"upstream_rq_retry"] == 0 || s[onOrigin+"upstream_rq_retry_success"] != s[onOrigin+"upstream_rq_retry"] {
		t.Errorf("%d retries, %d successes", s[onOrigin+"upstream_rq_retry"], s[onOrigin+"upstream_rq_retry_success"])
	}
}

// The attempt's number and whether the try before was too slow, for the origin; the number for the client.
func TestAttemptCountsAndTimeoutRetryHeader(t *testing.T) {
	harness.NoLeaks(t)
	o := inTurn(t, answered(503), answered(503), answered(200))
	top := retrying(quick("retry_on: 5xx, num_retries: 2"), o)
	top.VirtualHost = "include_request_attempt_count: true\ninclude_attempt_count_in_response: true\ninclude_is_timeout_retry_header: true"
	p := harness.Start(t, top)
	if m := ask(t, p, "h", "/a", "x-envoy-attempt-count: 9"); m.Get("x-envoy-attempt-count") != "3" {
		t.Errorf("got %s", m.Head())
	}
	for i, m := range o.Seen() {
		isRetry := "false"
		if i == 0 {
			isRetry = "-"
		}
		if m.Get("x-envoy-attempt-count") != fmt.Sprint(i+1) || m.Get("x-envoy-is-timeout-retry") != isRetry {
			t.Errorf("try %d: %s", i+1, m.Head())
		}
	}
}

// x-envoy-expected-rq-timeout-ms is the try's time, else what is left of the request's.
func TestExpectedTimeout(t *testing.T) {
	for _, row := range []struct{ action, first string }{
		{"timeout: 8s\n" + quick("retry_on: 5xx"), "8000"},
		{"timeout: 8s\n" + quick("retry_on: 5xx, per_try_timeout: 2s"), "2000"},
		{"timeout: 8s\n" + quick("retry_on: 5xx, per_try_timeout: 9s"), "8000"}, // AMB-12
		{"timeout: 8s\nhedge_policy: { hedge_on_per_try_timeout: true }\n" + quick("retry_on: 5xx, per_try_timeout: 2s"), "8000"},
		{"timeout: 0s\n" + quick("retry_on: 5xx"), "-"},
	} {
		t.Run(row.first, func(t *testing.T) {
			harness.NoLeaks(t)
			o := inTurn(t, answered(503), answered(200))
			p := harness.Start(t, retrying(row.action, o))
			ask(t, p, "h", "/a")
			seen := o.Seen()
			if got := seen[0].Get("x-envoy-expected-rq-timeout-ms"); got != row.first {
				t.Errorf("the first try has %s, want %s", got, row.first)
			}
			if len(seen) != 2 {
				t.Fatalf("%d tries", len(seen))
			}
			second := seen[1].Get("x-envoy-expected-rq-timeout-ms")
			if row.first == "2000" || row.first == "-" {
				if second != row.first {
					t.Errorf("the second try has %s", second)
				}
			} else if len(second) != 4 || second >= row.first && second != row.first {
				t.Errorf("the second try has %s of %s", second, row.first)
			}
		})
	}
}

// A try that a hedge was made for triggers no other one, whatever becomes of it (ROUTER-52), and its bad
// answer is kept from the client while the other try may bring a better one (ROUTER-54, ROUTER-55).
func TestROUTER52NoDoubleRetry(t *testing.T) {
	for _, row := range []struct {
		title, fails string // what the first try does once the second is there
	}{{"a retriable response (ROUTER-54)", answered(503)}, {"a reset (ROUTER-55)", ""}} {
		t.Run(row.title, func(t *testing.T) {
			harness.NoLeaks(t)
			var n atomic.Int64
			second, failed := make(chan struct{}), make(chan struct{})
			raw := harness.NewRaw(t, func(c *harness.Peer) {
				c.ReadHead()
				switch n.Add(1) {
				case 1:
					<-second
					c.Send(row.fails)
					if row.fails == "" {
						_ = c.Close()
					}
					close(failed)
				case 2:
					close(second)
					<-failed
					harness.Eventually(t, "the first try to be over", func() bool { return c.Number == 1 })
					c.Send(answered(200))
				}
				c.Drain()
			})
			p := harness.Start(t, retrying("hedge_policy: { hedge_on_per_try_timeout: true }\n"+quick("retry_on: 5xx, num_retries: 5, per_try_timeout: 0.2s"), raw))
			c := p.Dial()
			c.Get("/a").Want(200, "200")
			c.Close()
			if got := n.Load(); got > 3 { // the second may itself be hedged on a slow machine
				t.Errorf("%d tries", got)
			}
			wantCounts(p, map[string]int64{"upstream_rq_200": 1, "upstream_rq_503": 0})
		})
	}
}

// A POST is not sent twice when no retry is allowed: hedging needs one to be left.
func TestROUTER51HedgingKeepsToTheNumberOfRetries(t *testing.T) {
	harness.NoLeaks(t)
	var n atomic.Int64
	raw := harness.NewRaw(t, func(c *harness.Peer) {
		n.Add(1)
		c.Drain()
	})
	p := harness.Start(t, retrying("timeout: 0.5s\nhedge_policy: { hedge_on_per_try_timeout: true }\n"+quick("retry_on: 5xx, num_retries: 0, per_try_timeout: 0.05s"), raw))
	p.Dial().Send("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx").Read("POST").Want(504, "upstream request timeout")
	if n.Load() != 1 {
		t.Errorf("%d tries", n.Load())
	}
	wantCounts(p, map[string]int64{"upstream_rq_per_try_timeout": 0, "upstream_rq_retry_limit_exceeded": 1, "upstream_rq_total": 1})
}

// x-envoy-hedge-on-per-try-timeout overrides the policy.
func TestROUTER50TheHeaderOverridesThePolicy(t *testing.T) {
	harness.NoLeaks(t)
	raw := harness.NewRaw(t, stalls)
	p := harness.Start(t, retrying("timeout: 5s\nhedge_policy: { hedge_on_per_try_timeout: true }\n"+quick("retry_on: connect-failure, per_try_timeout: 0.05s"), raw))
	if m := ask(t, p, "h", "/a", "x-envoy-hedge-on-per-try-timeout: false"); m.Status() != 504 {
		t.Errorf("got %s", m.Head())
	}
	p.WantLine("504 UT upstream_per_try_timeout")
}

// The time between bytes of a try, through its body.
func TestROUTER42PerTryIdleTimeout(t *testing.T) {
	harness.NoLeaks(t)
	raw := harness.NewRaw(t, headThen("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc", stalls))
	p := harness.Start(t, retrying(quick("retry_on: connect-failure, per_try_idle_timeout: 0.1s"), raw))
	c := p.Dial().Send(getA)
	if r := c.Read("GET"); r.Status != 200 || r.Err == nil {
		t.Errorf("got %v", r)
	}
	c.Close()
	p.WantLine("200 UT upstream_per_try_idle_timeout")
	wantCounts(p, map[string]int64{"upstream_rq_per_try_idle_timeout": 1})
}

// max_stream_duration of the cluster ends a try, which may be retried.
func TestROUTER46AnUpstreamStreamThatIsTooLongIsRetried(t *testing.T) {
	harness.NoLeaks(t)
	var n atomic.Int64
	raw := harness.NewRaw(t, func(c *harness.Peer) {
		c.ReadHead()
		if n.Add(1) > 1 {
			c.Send(answered(200))
		}
		c.Drain()
	})
	top := retrying(quick("retry_on: reset"), raw)
	top.Clusters[0].Fields = harness.ProtocolOptions("{ max_stream_duration: 0.2s }")
	p := harness.Start(t, top)
	p.Dial().Get("/a").Want(200, "200")
	wantCounts(p, map[string]int64{"upstream_rq_max_duration_reached": 1, "upstream_rq_retry": 1})
}

// A policy of the route replaces that of its virtual host whole.
func TestRT78PoliciesReplaceOneAnother(t *testing.T) {
	harness.NoLeaks(t)
	o := inTurn(t, answered(503))
	top := retrying("", o)
	top.VirtualHost = quick("retry_on: 5xx, num_retries: 3")
	top.Routes = "- match: { prefix: /own }\n  route: { cluster: origin, retry_policy: { retry_on: 5xx, retry_back_off: { base_interval: 0.001s } } }\n- match: { prefix: / }\n  route: { cluster: origin }"
	p := harness.Start(t, top)
	ask(t, p, "h", "/")
	if n := len(o.Seen()); n != 4 {
		t.Errorf("%d tries by the virtual host's policy, want 4", n)
	}
	ask(t, p, "h", "/own")
	if n := len(o.Seen()) - 4; n != 2 {
		t.Errorf("%d tries by the route's, want 2", n)
	}
}

// clusterRetry are the fields of a cluster with a retry policy.
func clusterRetry(policy string) string {
	return strings.Replace(harness.ProtocolOptions("{}"), "    common_http_protocol_options: {}", "    "+policy, 1)
}

// A cluster's policy is for requests whose route and virtual host have none; headers go with it as with any
// other.
func TestRT78RetryPolicyOfTheCluster(t *testing.T) {
	const own = "retry_policy: { retry_on: 5xx, num_retries: 1, retry_back_off: { base_interval: 0.001s } }"
	for _, row := range []struct {
		title, vhost, action string
		fields               []string
		tries                int
	}{
		{"nobody else has one", "", "", nil, 4},
		{"the route has one", "", own, nil, 2},
		{"the virtual host has one", own, "", nil, 2},
		{"the route has one that retries nothing", "", "retry_policy: {}", nil, 1},
		{"the route has other policies", "", "hedge_policy: { hedge_on_per_try_timeout: false }\ninternal_redirect_policy: {}", nil, 4},
		{"a header asks for more", "", "", []string{"x-envoy-max-retries: 5"}, 6},
	} {
		t.Run(row.title, func(t *testing.T) {
			harness.NoLeaks(t)
			o := inTurn(t, answered(503))
			top := retrying(row.action, o)
			top.VirtualHost = row.vhost
			top.Clusters[0].Fields = clusterRetry(quick("retry_on: 5xx, num_retries: 3"))
			p := harness.Start(t, top)
			ask(t, p, "h", "/", row.fields...)
			if n := len(o.Seen()); n != row.tries {
				t.Errorf("%d tries, want %d", n, row.tries)
			}
			wantCounts(p, map[string]int64{"upstream_rq_retry": int64(row.tries) - 1})
		})
	}
}

// A cluster's policy has a per-try timeout, host predicates and a body to send again like any other.
func TestRT78RetryPolicyOfTheClusterIsWhole(t *testing.T) {
	harness.NoLeaks(t)
	slow, good := harness.NewRaw(t, stalls), harness.NewRecorder(t, func(m *harness.Message) string { return harness.Reply(string(m.Body)) })
	top := retrying("", slow, good)
	top.Clusters[0].Fields = clusterRetry(quick(`retry_on: 5xx, num_retries: 2, per_try_timeout: 0.05s, host_selection_retry_max_attempts: 9, retry_host_predicate: [{ name: p, typed_config: { "@type": type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate } }]`))
	p := harness.Start(t, top)
	w := harness.DialWire(t, "tcp", p.Addr)
	for range 2 { // round robin: one of them begins at the slow one
		if m := w.Do(postHello); string(m.Body) != "hello" {
			t.Errorf("got %s%s", m.Head(), m.Body)
		}
	}
	w.Close()
	if n := p.Stat(onOrigin + "upstream_rq_per_try_timeout"); n == 0 {
		t.Error("no try was too slow")
	}
}

// The same retries through every pair of versions (metamorphic): the client and the origin see the same.
func TestRetriesThroughEveryPairOfVersions(t *testing.T) {
	for _, up := range []conf.UpstreamProtocol{conf.UpstreamHTTP1, conf.UpstreamHTTP2} {
		for _, down := range []string{"HTTP/1.1", "HTTP/2.0"} {
			t.Run(fmt.Sprintf("%s to %d", down, up), func(t *testing.T) {
				harness.NoLeaks(t)
				var n atomic.Int64
				var bodies [2]string
				o := newHTTPOrigin(t, nil, map[conf.UpstreamProtocol]wireKind{conf.UpstreamHTTP1: overH1, conf.UpstreamHTTP2: overH2C}[up], func(w http.ResponseWriter, r *http.Request) {
					b := make([]byte, 1<<20)
					total := 0
					for {
						k, err := r.Body.Read(b)
						total += k
						if err != nil {
							break
						}
					}
					i := n.Add(1)
					if i <= 2 {
						bodies[i-1] = fmt.Sprint(total)
					}
					if i == 1 {
						w.WriteHeader(503)
						return
					}
					_, _ = w.Write([]byte("fine"))
				})
				p := startH2Upstream(t, retrying(quick("retry_on: 5xx"), o), func(c *conf.Cluster) { c.Protocol = up }, func(m *conf.HTTPConnectionManager) { m.CodecType = conf.CodecAuto })
				client := h1Client(t, 4)
				if down == "HTTP/2.0" {
					client = clientH2(t)
				}
				resp, err := client.Post("http://"+p.Addr+"/a", "text/plain", strings.NewReader(strings.Repeat("x", 100000)))
				if err != nil {
					t.Fatal(err)
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
				if resp.StatusCode != 200 || bodies != [2]string{"100000", "100000"} {
					t.Errorf("got %d, bodies %v", resp.StatusCode, bodies)
				}
				wantCounts(p, map[string]int64{"upstream_rq_retry": 1, "upstream_rq_retry_success": 1, "retry.upstream_rq_503": 1, "upstream_rq_200": 1})
			})
		}
	}
}
