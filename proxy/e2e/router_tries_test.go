package e2e

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// The whole body goes with every try, by length and in chunks.
func TestROUTER60TheBodyGoesWithEveryTry(t *testing.T) {
	harness.NoLeaks(t)
	o := inTurn(t, answered(503), answered(503), answered(200), answered(503), answered(200))
	p := harness.Start(t, retrying(quick("retry_on: 5xx, num_retries: 2"), o))
	body := strings.Repeat("0123456789abcdef", 4000)
	w := harness.DialWire(t, "tcp", p.Addr)
	if m := w.Do(fmt.Sprintf("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s", len(body), body)); m.Status() != 200 {
		t.Errorf("got %s", m.Head())
	}
	if m := w.Do(fmt.Sprintf("POST /b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(body), body)); m.Status() != 200 {
		t.Errorf("got %s", m.Head())
	}
	w.Close()
	seen := o.Seen()
	if len(seen) != 5 {
		t.Fatalf("%d tries", len(seen))
	}
	for i, m := range seen {
		if string(m.Body) != body {
			t.Errorf("try %d has %d bytes", i, len(m.Body))
		}
	}
}

// A body that passes the limit is given up for retries, and goes on to the try that is under way.
func TestROUTER61ABodyBeyondTheLimitIsNotKept(t *testing.T) {
	harness.NoLeaks(t)
	o := inTurn(t, answered(503))
	top := retrying(quick("retry_on: 5xx"), o)
	top.VirtualHost = "request_body_buffer_limit: 100"
	p := harness.Start(t, top)
	w := harness.DialWire(t, "tcp", p.Addr)
	m := w.Do("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 101\r\n\r\n" + strings.Repeat("x", 101))
	w.Close()
	if m.Status() != 503 || len(o.Seen()) != 1 || len(o.Last(t).Body) != 101 {
		t.Errorf("got %s after %d tries", m.Head(), len(o.Seen()))
	}
	wantCounts(p, map[string]int64{"retry_or_shadow_abandoned": 1, "upstream_rq_retry": 0, "upstream_rq_503": 1})
}

// What is too much while no try is under way is answered 507.
func TestROUTER62ABodyThatIsTooLargeForRetries(t *testing.T) {
	harness.NoLeaks(t)
	first := make(chan struct{})
	raw := harness.NewRaw(t, func(c *harness.Peer) {
		c.ReadHead()
		c.Send("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")
		close(first)
		c.Drain()
	})
	top := retrying("retry_policy: { retry_on: 5xx, retry_back_off: { base_interval: 600s, max_interval: 600s } }", raw)
	top.VirtualHost = "request_body_buffer_limit: 100"
	p := harness.Start(t, top)
	c := p.Dial().Send("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n" + strings.Repeat("x", 50))
	<-first
	harness.Eventually(t, "the retry to be scheduled", func() bool { return p.Stat(onOrigin+"upstream_rq_retry") == 1 })
	c.Send(strings.Repeat("x", 100))
	r := c.Read("POST")
	if r.Status != 507 || r.Body != "exceeded request buffer limit while retrying upstream" {
		t.Errorf("got %v", r)
	}
	c.Close()
	p.WantLine("507 - request_payload_exceeded_retry_buffer_limit")
	wantCounts(p, map[string]int64{"retry_or_shadow_abandoned": 1, "upstream_rq_retry": 1, "upstream_rq_total": 1})
}

// The per-try timeout is a reset that retry policies see; without a retry it is 504.
func TestROUTER28PerTryTimeout(t *testing.T) {
	harness.NoLeaks(t)
	var n atomic.Int64
	raw := harness.NewRaw(t, func(c *harness.Peer) {
		c.ReadHead()
		if n.Add(1) == 1 {
			c.Drain()
			return
		}
		c.Send(answered(200))
	})
	p := harness.Start(t, retrying(quick("retry_on: 5xx, per_try_timeout: 0.1s"), raw))
	p.Dial().Get("/a").Want(200, "200")
	wantCounts(p, map[string]int64{"upstream_rq_per_try_timeout": 1, "upstream_rq_retry": 1, "upstream_rq_retry_success": 1, "upstream_rq_timeout": 0})
}

func TestROUTER41PerTryTimeoutWithoutRetries(t *testing.T) {
	harness.NoLeaks(t)
	raw := harness.NewRaw(t, stalls)
	p := harness.Start(t, retrying(quick("retry_on: connect-failure, per_try_timeout: 0.05s"), raw))
	p.Dial().Get("/a").Want(504, "upstream request timeout")
	p.WantLine("504 UT upstream_per_try_timeout")
	wantCounts(p, map[string]int64{"upstream_rq_per_try_timeout": 1, "upstream_rq_504": 1, "upstream_rq_retry": 0})
}

// Hedging: the slow try goes on, the first good answer wins, and the other ends.
func TestROUTER53TheFirstGoodAnswerWins(t *testing.T) {
	for _, winner := range []int64{1, 2} {
		t.Run(fmt.Sprintf("try %d", winner), func(t *testing.T) {
			harness.NoLeaks(t)
			var n atomic.Int64
			second := make(chan struct{})
			raw := harness.NewRaw(t, func(c *harness.Peer) {
				c.ReadHead()
				me := n.Add(1)
				if me == 2 {
					close(second)
				}
				if me == winner {
					<-second
					c.Send(answered(200, fmt.Sprintf("x-try: %d", me)))
				}
				c.Drain()
			})
			p := harness.Start(t, retrying("hedge_policy: { hedge_on_per_try_timeout: true }\n"+quick("retry_on: 5xx, per_try_timeout: 0.05s"), raw))
			c := p.Dial()
			r := c.Get("/a").Want(200, "200")
			r.WantHeader("x-try", fmt.Sprint(winner))
			c.Close()
			wantCounts(p, map[string]int64{"upstream_rq_per_try_timeout": 0, "upstream_rq_retry": 1, "upstream_rq_total": 2, "upstream_rq_200": 1})
		})
	}
}

// The global timeout ends all tries: one count for each, and a single 504.
func TestROUTER56TheGlobalTimeoutEndsAllTries(t *testing.T) {
	harness.NoLeaks(t)
	raw := harness.NewRaw(t, stalls)
	p := harness.Start(t, retrying("timeout: 0.4s\nhedge_policy: { hedge_on_per_try_timeout: true }\n"+quick("retry_on: 5xx, per_try_timeout: 0.05s"), raw))
	p.Dial().Get("/a").Want(504, "upstream request timeout")
	wantCounts(p, map[string]int64{"upstream_rq_timeout": 2, "upstream_rq_504": 1, "upstream_rq_total": 2})
}

// A copy of the request goes to the mirror; nobody waits for it.
func TestRT82Mirror(t *testing.T) {
	harness.NoLeaks(t)
	o, m := harness.NewRecorder(t, nil), inTurn(t, answered(500))
	top := retrying("request_mirror_policies: [{ cluster: mirror }]", o)
	top.Clusters = append(top.Clusters, harness.Cluster{Name: "mirror", Origins: []harness.Origin{m}})
	p := harness.Start(t, top)
	w := harness.DialWire(t, "tcp", p.Addr)
	if r := w.Do("POST /a HTTP/1.1\r\nHost: h:81\r\nContent-Length: 3\r\n\r\nabc"); r.Status() != 200 {
		t.Errorf("got %s", r.Head())
	}
	w.Close()
	harness.Eventually(t, "the mirror to see the request", func() bool { return len(m.Seen()) == 1 })
	got := m.Last(t)
	if got.Get("host") != "h-shadow:81" || string(got.Body) != "abc" || got.Path() != "/a" {
		t.Errorf("the mirror saw %s%s", got.Head(), got.Body)
	}
	if host := o.Last(t).Get("host"); host != "h:81" {
		t.Errorf("the origin saw the host %s", host)
	}
	p.WantStats(harness.Stats{inHTTP + "rq_shadowed": 1, "cluster.mirror.upstream_rq_500": 1, inHTTP + "downstream_rq_total": 1, inHTTP + "downstream_rq_5xx": 0})
}

// An internal redirect is followed with the body, and passed on when it may not be followed.
func TestROUTER65InternalRedirect(t *testing.T) {
	harness.NoLeaks(t)
	o := inTurn(t, answered(302, "Location: http://other/b?x=1"), answered(200), answered(302, "Location: /relative"))
	p := harness.Start(t, retrying("internal_redirect_policy: { response_headers_to_copy: [x-kept] }", o))
	w := harness.DialWire(t, "tcp", p.Addr)
	if r := w.Do("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc"); r.Status() != 200 {
		t.Errorf("got %s", r.Head())
	}
	got := o.Last(t)
	if got.Path() != "/b?x=1" || got.Get("host") != "other" || string(got.Body) != "abc" || got.Get("x-envoy-original-url") != "http://h/a" {
		t.Errorf("the second try is %s%s", got.Head(), got.Body)
	}
	if r := w.Do(getA); r.Status() != 302 {
		t.Errorf("got %s", r.Head())
	}
	w.Close()
	wantCounts(p, map[string]int64{"upstream_internal_redirect_succeeded_total": 1, "upstream_internal_redirect_failed_total": 1})
	p.WantStats(harness.Stats{inHTTP + "passthrough_internal_redirect_bad_location": 1})
}

// A reset after tries says so.
func TestRetriedResetsSaySo(t *testing.T) {
	harness.NoLeaks(t)
	raw := harness.NewRaw(t, headThen("", closes))
	p := harness.Start(t, retrying(quick("retry_on: reset"), raw))
	p.Dial().Get("/a").Want(503, "upstream connect error or disconnect/reset before headers. retried and the latest reset reason: connection termination")
	p.WantLine("503 UC,URX upstream_reset_before_response_started{connection_termination}")
}

// The route's timeout bounds all tries and the waits between them.
func TestROUTER32TheTimeoutHoldsForAllTries(t *testing.T) {
	harness.NoLeaks(t)
	o := inTurn(t, answered(503))
	p := harness.Start(t, retrying("timeout: 0.2s\nretry_policy: { retry_on: 5xx, retry_back_off: { base_interval: 600s, max_interval: 600s } }", o))
	began := time.Now()
	p.Dial().Get("/a").Want(504, "upstream request timeout")
	if took := time.Since(began); took < 200*time.Millisecond {
		t.Errorf("it took %v", took)
	}
}
