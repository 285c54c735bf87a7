package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// ROUTER-34: the wait that a response asks for, in seconds or as a time, of the first header that says a usable
// one; a response is not retried for having it.
func TestROUTER34WaitsThatResponsesAskFor(t *testing.T) {
	const both = "rate_limited_retry_back_off: { max_interval: 3s, reset_headers: [{ name: retry-after, format: SECONDS }, { name: x-reset, format: UNIX_TIMESTAMP }] }"
	for _, row := range []struct {
		title   string
		fields  func(now int64) []string
		least   time.Duration
		limited int64
	}{
		{"seconds", func(int64) []string { return []string{"Retry-After: 1"} }, time.Second, 1},
		{"a time", func(now int64) []string { return []string{fmt.Sprint("X-Reset: ", now+2)} }, time.Second, 1},
		{"the second header", func(now int64) []string { return []string{"Retry-After: 4", fmt.Sprint("X-Reset: ", now+2)} }, time.Second, 1},
		{"a time that is past", func(now int64) []string { return []string{fmt.Sprint("X-Reset: ", now-9)} }, 0, 0},
		{"too long", func(now int64) []string { return []string{"Retry-After: 4"} }, 0, 0},
		{"no number", func(now int64) []string { return []string{"Retry-After: Fri, 31 Dec 1999 23:59:59 GMT"} }, 0, 0},
		{"none", func(int64) []string { return nil }, 0, 0},
	} {
		t.Run(row.title, func(t *testing.T) {
			t.Parallel() // they wait
			first := true
			o := harness.NewRecorder(t, func(*harness.Message) string {
				if first {
					first = false
					return answered(503, row.fields(time.Now().Unix())...)
				}
				return answered(200)
			})
			p := harness.Start(t, retrying("retry_policy: { retry_on: 5xx, "+both+" }", o))
			began := time.Now()
			if m := ask(t, p, "h", "/a"); m.Status() != 200 {
				t.Errorf("got %s", m.Head())
			}
			if took := time.Since(began); took < row.least {
				t.Errorf("it took %v", took)
			}
			wantCounts(p, map[string]int64{"upstream_rq_retry_backoff_ratelimited": row.limited, "upstream_rq_retry_backoff_exponential": 1 - row.limited})
		})
	}
	o := inTurn(t, answered(429, "Retry-After: 1"))
	p := harness.Start(t, retrying("retry_policy: { retry_on: 5xx, "+both+" }", o))
	ask(t, p, "h", "/a")
	wantCounts(p, map[string]int64{"upstream_rq_retry": 0, "upstream_rq_429": 1})
}

// ROUTER-31: the base interval of the wait is runtime's, or the route's over it. 30 waits of 0 to 99 ms are
// 1485 ms together, less 5 standard deviations (158 ms) at the least; a busy machine makes them longer only.
func TestROUTER31TheBaseIntervalOfRuntime(t *testing.T) {
	for _, row := range []struct{ title, runtime, policy string }{
		{"runtime", "100", "retry_policy: { retry_on: 5xx }"},
		{"the route's over it", "600000", "retry_policy: { retry_on: 5xx, retry_back_off: { base_interval: 0.1s } }"},
	} {
		t.Run(row.title, func(t *testing.T) {
			harness.NoLeaks(t)
			top := retrying(row.policy, inTurn(t, answered(503)))
			top.Bootstrap = runtimeLayer("upstream.base_retry_backoff_ms", row.runtime)
			p := harness.Start(t, top)
			began := time.Now()
			shares(t, p, 30, func(int) string { return getOf("/") })
			if took := time.Since(began); took < 690*time.Millisecond {
				t.Errorf("30 waits took %v", took)
			}
		})
	}
}

// ROUTER-35: three retries may be under way at a time by default, per priority.
func TestROUTER35ThreeRetriesByDefault(t *testing.T) {
	harness.NoLeaks(t)
	o := inTurn(t, answered(503))
	top := retrying("", o)
	waits := "retry_policy: { retry_on: 5xx, retry_back_off: { base_interval: 600s, max_interval: 600s } }"
	top.Routes = "- { match: { prefix: /high }, route: { cluster: origin, priority: HIGH, " + waits + " } }\n- { match: { prefix: / }, route: { cluster: origin, " + waits + " } }"
	p := harness.Start(t, top)
	var clients []*harness.Client
	for i := range 3 {
		clients = append(clients, p.Dial().Send(getA))
		awaitStat(p, onOrigin+"upstream_rq_retry", int64(i+1))
	}
	if m := ask(t, p, "h", "/b"); m.Status() != 503 {
		t.Errorf("got %s", m.Head())
	}
	clients = append(clients, p.Dial().Send("GET /high HTTP/1.1\r\nHost: h\r\n\r\n"))
	awaitStat(p, onOrigin+"upstream_rq_retry", 4)
	wantCounts(p, map[string]int64{"upstream_rq_retry_overflow": 1, "circuit_breakers.default.rq_retry_open": 1, "circuit_breakers.high.rq_retry_open": 0})
	for _, c := range clients {
		c.Close()
	}
	wantCounts(p, map[string]int64{"circuit_breakers.default.rq_retry_open": 0})
}

// ROUTER-36: the budget's runtime keys make one where the cluster has none, and count before its own.
func TestROUTER36RuntimeKeys(t *testing.T) {
	for _, row := range []struct{ key, value string }{
		{"circuit_breakers.origin.default.retry_budget.min_retry_concurrency", "1"},
		{"circuit_breakers.origin.default.max_retries", "1"},
	} {
		t.Run(row.key, func(t *testing.T) {
			harness.NoLeaks(t)
			o := inTurn(t, answered(503))
			top := retrying("retry_policy: { retry_on: 5xx, retry_back_off: { base_interval: 600s, max_interval: 600s } }", o)
			top.Bootstrap = runtimeLayer(row.key, row.value)
			p := harness.Start(t, top)
			waits := p.Dial().Send(getA)
			awaitStat(p, onOrigin+"upstream_rq_retry", 1)
			ask(t, p, "h", "/b")
			wantCounts(p, map[string]int64{"upstream_rq_retry_overflow": 1, "upstream_rq_retry": 1})
			waits.Close()
		})
	}
}
