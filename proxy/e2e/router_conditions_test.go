package e2e

import (
	"fmt"
	"strings"
	"testing"

	"golang.org/x/net/http2"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// ROUTER-27: each condition alone, given by the request, with answers that are worth another try to some: one
// path for each answer, whose tries are counted.
func TestROUTER27EveryConditionOverSockets(t *testing.T) {
	harness.NoLeaks(t)
	answers := map[string][]string{"/ok": {answered(200)}, "/limited": {answered(429, "x-envoy-ratelimited: true")}, "/overloaded": {answered(503, "x-envoy-overloaded: true")},
		"/header": {answered(200, "x-again: 1")}, "/limited-503": {answered(503, "x-envoy-ratelimited: true")}}
	for _, code := range []int{500, 501, 502, 503, 504, 409, 418} {
		answers[fmt.Sprintf("/%d", code)] = []string{answered(code)}
	}
	for _, status := range []int{0, 1, 4, 8, 13, 14} {
		answers[fmt.Sprintf("/grpc-%d", status)] = []string{answered(200, fmt.Sprint("grpc-status: ", status))}
	}
	o := byPath(t, answers)
	p := harness.Start(t, retrying(quick("retry_on: \"connect-failure\""), o))
	for on, want := range map[string]string{
		"x-envoy-retry-on: 5xx": "/500 /501 /502 /503 /504", "x-envoy-retry-on: gateway-error": "/502 /503 /504", "x-envoy-retry-on: retriable-4xx": "/409",
		"x-envoy-retry-on: envoy-ratelimited": "/limited /limited-503", "x-envoy-retry-on: reset,reset-before-request,connect-failure,refused-stream": "",
		"x-envoy-retry-on: retriable-status-codes": "/418", "x-envoy-retry-on: retriable-headers": "/header",
		"x-envoy-retry-on: gateway-error, retriable-4xx": "/409 /502 /503 /504", "x-envoy-retry-on: retriable-4xx\r\nx-envoy-retry-on: retriable-headers": "/409 /header",
		"x-envoy-retry-grpc-on: cancelled": "/grpc-1", "x-envoy-retry-grpc-on: deadline-exceeded": "/grpc-4", "x-envoy-retry-grpc-on: resource-exhausted": "/grpc-8",
		"x-envoy-retry-grpc-on: internal": "/grpc-13", "x-envoy-retry-grpc-on: unavailable,cancelled": "/grpc-1 /grpc-14",
	} {
		retried := map[string]bool{}
		for path := range answers {
			before := len(o.Seen())
			ask(t, p, "h", path, on, "x-envoy-retriable-status-codes: 418", "x-envoy-retriable-header-names: x-again")
			retried[path] = len(o.Seen())-before == 2
		}
		wanted := map[string]bool{}
		for _, path := range strings.Fields(want) {
			wanted[path] = true
		}
		for path := range answers {
			if retried[path] != wanted[path] {
				t.Errorf("%s: %s is retried: %v", on, path, retried[path])
			}
		}
	}
}

// AMB-7: where runtime says so, x-envoy-overloaded in an answer does not keep from retries.
func TestROUTER27OverloadedAnswersByRuntime(t *testing.T) {
	harness.NoLeaks(t)
	o := inTurn(t, answered(503, "x-envoy-overloaded: true"), answered(200))
	top := retrying(quick("retry_on: 5xx"), o)
	top.Bootstrap = runtimeLayer("sluice.router.overloaded_response_blocks_retry", "false")
	p := harness.Start(t, top)
	if m := ask(t, p, "h", "/a"); m.Status() != 200 {
		t.Errorf("got %s", m.Head())
	}
}

// ROUTER-25: how a try ended says which conditions it is worth another one to.
func TestROUTER25EveryResetOverSockets(t *testing.T) {
	closing := func(t *testing.T) harness.Origin { return harness.NewRaw(t, headThen("", closes)) }
	refusing := func(t *testing.T) harness.Origin { return harness.Refusing(t) }
	stalled := func(t *testing.T) harness.Origin { return harness.NewRaw(t, stalls) }
	for _, row := range []struct {
		title  string
		origin func(t *testing.T) harness.Origin
		want   map[string]int64 // condition: retries of at most one
	}{
		{"refused", refusing, map[string]int64{"connect-failure": 1, "reset": 1, "reset-before-request": 1, "5xx": 1, "gateway-error": 1, "refused-stream": 0, "retriable-4xx": 0}},
		{"closed", closing, map[string]int64{"connect-failure": 0, "reset": 1, "reset-before-request": 0, "5xx": 1, "gateway-error": 1, "refused-stream": 0}},
		{"too slow a try", stalled, map[string]int64{"connect-failure": 0, "reset": 1, "reset-before-request": 0, "5xx": 1, "gateway-error": 1, "refused-stream": 0}},
	} {
		for on, want := range row.want {
			t.Run(row.title+" "+on, func(t *testing.T) {
				harness.NoLeaks(t)
				p := harness.Start(t, retrying(quick("retry_on: "+on+", per_try_timeout: 0.05s"), row.origin(t)))
				ask(t, p, "h", "/a")
				wantCounts(p, map[string]int64{"upstream_rq_retry": want, "upstream_rq_retry_limit_exceeded": want})
			})
		}
	}
}

// ROUTER-25: what a circuit breaker refused is not tried again.
func TestROUTER25OverflowIsNotRetried(t *testing.T) {
	harness.NoLeaks(t)
	g := newGate(t)
	top := breakers(g, "{ max_requests: 1 }")
	top.Routes = "- { match: { prefix: / }, route: { cluster: origin, " + quick("retry_on: \"5xx,reset,connect-failure,refused-stream,reset-before-request\", num_retries: 3") + " } }"
	p := harness.Start(t, top)
	first := p.Dial().Send(getA)
	awaitStat(p, onOrigin+"upstream_rq_active", 1)
	overflow(t, p.Dial().Get("/b"))
	wantCounts(p, map[string]int64{"upstream_rq_retry": 0, "upstream_rq_retry_limit_exceeded": 0, "upstream_rq_pending_overflow": 1})
	g.open <- struct{}{}
	first.Read("GET").Want(200, "/a")
}

// A stream the server refused is worth another try to refused-stream, and it was never begun.
func TestROUTER25RefusedStream(t *testing.T) {
	for _, row := range []struct {
		on      string
		retries int64
	}{{"refused-stream", 1}, {"connect-failure", 0}, {"reset", 1}} {
		t.Run(row.on, func(t *testing.T) {
			harness.NoLeaks(t)
			o := newH2Script(t, false)
			p := startH2Upstream(t, retrying(quick("retry_on: "+row.on), o), func(c *conf.Cluster) { c.Protocol = conf.UpstreamHTTP2 })
			c := p.Dial().Send(getA)
			peer := o.peer(t)
			id := peer.next(http2.FrameHeaders).StreamID
			peer.write(func() error { return peer.WriteRSTStream(id, http2.ErrCodeRefusedStream) })
			if row.retries > 0 {
				peer.answer("again")
			}
			want := 503
			if row.retries > 0 {
				want = 200
			}
			if r := c.Read("GET"); r.Status != want {
				t.Errorf("got %v", r)
			}
			c.Close()
			wantCounts(p, map[string]int64{"upstream_rq_retry": row.retries})
		})
	}
}
