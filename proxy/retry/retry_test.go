package retry

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/codec/http1"
	"github.com/sluiceproxy/sluice/proxy/conf"
)

func head(t testing.TB, text string) *header.Head {
	t.Helper()
	h := new(header.Head)
	o := http1.Options{MaxHeadBytes: 1 << 16, MaxFields: 100}
	b := []byte(strings.ReplaceAll(text, "\n", "\r\n") + "\r\n\r\n")
	var e http1.Err
	var n int
	if strings.HasPrefix(text, "HTTP/") {
		n, e = http1.ParseResponse(b, 0, &o, http1.RequestInfo{Method: header.MethodGet}, h)
	} else {
		n, e = http1.ParseRequest(b, 0, &o, h)
	}
	if n == 0 || e != 0 {
		t.Fatalf("%q: %d, %v", text, n, e)
	}
	return h
}

func request(t testing.TB, fields ...string) *header.Head {
	return head(t, strings.Join(append([]string{"GET / HTTP/1.1\nHost: h"}, fields...), "\n"))
}

func response(t testing.TB, code int, fields ...string) *header.Head {
	return head(t, strings.Join(append([]string{fmt.Sprintf("HTTP/1.1 %d X\nContent-Length: 0", code)}, fields...), "\n"))
}

func compiled(t testing.TB, c *conf.RetryPolicy) *Policy {
	t.Helper()
	p, err := Compile(c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

type breaker bool

func (b breaker) TryRetry() bool { return bool(b) }

func TestROUTER20ActivationAndROUTER21Count(t *testing.T) {
	with := func(n uint32) *conf.RetryPolicy {
		c := conf.NewRetryPolicy("5xx")
		c.Retries, c.HasRetries = n, true
		return c
	}
	for _, row := range []struct {
		title  string
		policy *conf.RetryPolicy
		fields []string
		wins   bool
		active bool
		left   uint32
	}{
		{title: "nothing"},
		{title: "a count alone", fields: []string{"x-envoy-max-retries: 3"}},
		{title: "a policy without conditions", policy: conf.NewRetryPolicy("")},
		{title: "only unknown names", fields: []string{"x-envoy-retry-on: nonsense"}},
		{title: "a policy", policy: conf.NewRetryPolicy("5xx"), active: true, left: 1},
		{title: "a header", fields: []string{"x-envoy-retry-on: 5xx"}, active: true, left: 1},
		{title: "the gRPC header", fields: []string{"x-envoy-retry-grpc-on: cancelled"}, active: true, left: 1},
		{title: "gRPC names are not the other header's", fields: []string{"x-envoy-retry-on: cancelled"}},
		{title: "the header's count", fields: []string{"x-envoy-retry-on: 5xx", "x-envoy-max-retries: 4"}, active: true, left: 4},
		{title: "none", fields: []string{"x-envoy-retry-on: 5xx", "x-envoy-max-retries: 0"}, active: true, left: 0},
		{title: "the larger is the policy's", policy: with(3), fields: []string{"x-envoy-max-retries: 2"}, active: true, left: 3},
		{title: "the larger is the header's", policy: with(3), fields: []string{"x-envoy-max-retries: 5"}, active: true, left: 5},
		{title: "the header wins", policy: with(3), fields: []string{"x-envoy-max-retries: 2"}, wins: true, active: true, left: 2},
		{title: "a policy without a number", policy: conf.NewRetryPolicy("5xx"), fields: []string{"x-envoy-max-retries: 0"}, active: true, left: 0},
		{title: "no number", policy: with(3), fields: []string{"x-envoy-max-retries: -1"}, active: true, left: 3},
	} {
		t.Run(row.title, func(t *testing.T) {
			var p *Policy
			if row.policy != nil {
				p = compiled(t, row.policy)
			}
			var s State
			active := s.Begin(p, request(t, row.fields...), Options{HeaderWins: row.wins}, nil)
			if active != row.active || active && s.Left() != row.left {
				t.Errorf("active %v with %d left, want %v with %d", active, s.Left(), row.active, row.left)
			}
		})
	}
}

func TestROUTER22OnlyRequestsThatMatch(t *testing.T) {
	c := conf.NewRetryPolicy("5xx")
	c.RequestHeaders = []*conf.HeaderMatcher{{Name: ":method", Value: "PUT"}, {Name: "x-idempotent", Kind: conf.MatchPresent}}
	p := compiled(t, c)
	for _, row := range []struct {
		field  string
		active bool
	}{{"x-other: 1", false}, {"x-idempotent: 1", true}} {
		var s State
		if got := s.Begin(p, request(t, row.field), Options{}, nil); got != row.active || s.Active() != row.active {
			t.Errorf("%s: %v", row.field, got)
		}
	}
}

func TestROUTER23OrderOfChecks(t *testing.T) {
	for _, row := range []struct {
		title   string
		left    uint32
		allowed bool
		free    breaker
		want    Verdict
		after   uint32
	}{
		{"use_retry comes first (AMB-19)", 0, false, true, No, 0},
		{"then the count", 0, true, false, Exhausted, 0},
		{"then the breaker, which has used one up", 2, true, false, Overflow, 1},
		{"yes", 2, true, true, Yes, 1},
	} {
		t.Run(row.title, func(t *testing.T) {
			s := State{on: On5xx, left: row.left}
			if v := s.Decide(row.allowed, row.free); v != row.want || s.left != row.after {
				t.Errorf("%v with %d left, want %v with %d", v, s.left, row.want, row.after)
			}
		})
	}
}

// Each condition alone, with each response.
func TestROUTER27ConditionsOfResponses(t *testing.T) {
	all := []string{"500", "501", "502", "503", "504", "409", "418", "x-retry", "x-listed", "429 ratelimited", "503 overloaded", "grpc 1", "grpc 4", "grpc 8", "grpc 13", "grpc 14", "grpc 5", "200"}
	build := map[string]*header.Head{
		"x-retry": response(t, 200, "X-Retry: 1"), "x-listed": response(t, 200, "x-listed: 1"),
		"429 ratelimited": response(t, 429, "x-envoy-ratelimited: true"), "503 overloaded": response(t, 503, "x-envoy-overloaded: true"),
	}
	for _, n := range []int{500, 501, 502, 503, 504, 409, 418, 200} {
		build[fmt.Sprint(n)] = response(t, n)
	}
	for _, n := range []int{1, 4, 8, 13, 14, 5} {
		build[fmt.Sprintf("grpc %d", n)] = response(t, 200, fmt.Sprintf("grpc-status: %d", n))
	}
	want := map[string]string{
		"5xx": "500 501 502 503 504", "gateway-error": "502 503 504", "reset": "", "reset-before-request": "", "connect-failure": "",
		"envoy-ratelimited": "429 ratelimited", "retriable-4xx": "409", "refused-stream": "", "retriable-status-codes": "501 418",
		"retriable-headers": "x-retry x-listed", "http3-post-connect-failure": "",
		"cancelled": "grpc 1", "deadline-exceeded": "grpc 4", "resource-exhausted": "grpc 8", "internal": "grpc 13", "unavailable": "grpc 14",
	}
	if len(want) != numConditions {
		t.Fatalf("%d conditions", len(want))
	}
	for on, codes := range want {
		c := conf.NewRetryPolicy(on)
		c.StatusCodes = []uint16{418}
		c.Headers = []*conf.HeaderMatcher{{Name: "x-retry", Kind: conf.MatchPresent}}
		var s State
		s.Begin(compiled(t, c), request(t, "x-envoy-retriable-status-codes: 501, x, 9999", "x-envoy-retriable-header-names: x-none, X-Listed"), Options{}, nil)
		var got []string
		for _, name := range all {
			if s.Response(build[name], Options{}, nil) {
				got = append(got, name)
			}
		}
		if g := strings.Join(got, " "); g != codes {
			t.Errorf("%s: %q, want %q", on, g, codes)
		}
		if over := s.Response(build["503 overloaded"], Options{OverloadedRetries: true}, nil); over != (on == "5xx" || on == "gateway-error") {
			t.Errorf("%s: overloaded %v where it does not block (AMB-7)", on, over)
		}
	}
}

func TestROUTER25And28ConditionsOfResets(t *testing.T) {
	kinds := []Reset{ResetConnect, ResetOverflow, ResetRefused, ResetBroke, ResetTimeout}
	any := map[Reset]bool{ResetConnect: true, ResetRefused: true, ResetBroke: true, ResetTimeout: true}
	for _, row := range []struct {
		on    string
		begun bool
		want  map[Reset]bool
	}{
		{"5xx", true, any}, {"gateway-error", true, any}, {"reset", true, any},
		{"connect-failure", false, map[Reset]bool{ResetConnect: true}},
		{"refused-stream", true, map[Reset]bool{ResetRefused: true}},
		{"reset-before-request", false, any}, {"reset-before-request", true, nil},
		{"retriable-4xx,retriable-headers,envoy-ratelimited,cancelled", false, nil},
	} {
		var s State
		s.Begin(compiled(t, conf.NewRetryPolicy(row.on)), request(t), Options{}, nil)
		for _, k := range kinds {
			if got := s.ResetBy(k, row.begun); got != row.want[k] {
				t.Errorf("%s, begun %v, reset %d: %v", row.on, row.begun, k, got)
			}
		}
	}
}

// AMB-2: uniform over whole milliseconds below (2^n - 1) * base, at most the limit. Each value of the first
// range is met, and no other, in so many draws that missing one has a chance of 25 * (24/25)^1000 < 1e-16.
func TestROUTER30BackOffRanges(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, row := range []struct {
		n    uint32
		most time.Duration
	}{{1, 24}, {2, 74}, {3, 174}, {4, 250}, {5, 250}, {64, 250}, {1000, 250}} {
		least, most := time.Hour, time.Duration(0)
		for range 1000 {
			d := BackOff(row.n, 25*time.Millisecond, 0, r.Uint64())
			least, most = min(least, d), max(most, d)
		}
		if most > row.most*time.Millisecond || most < row.most*time.Millisecond*3/4 || row.n < 5 && least > row.most*time.Millisecond/4 {
			t.Errorf("retry %d waits between %v and %v, want at most %d ms", row.n, least, most, row.most)
		}
	}
	seen := map[time.Duration]bool{}
	for range 1000 {
		seen[BackOff(1, 25*time.Millisecond, 0, r.Uint64())] = true
	}
	if len(seen) != 25 {
		t.Errorf("%d different waits before the first retry, want 25", len(seen))
	}
}

func TestROUTER31BaseAndLimit(t *testing.T) {
	for _, row := range []struct{ base, limit, runtime, most time.Duration }{
		{0, 0, 25 * time.Millisecond, 250 * time.Millisecond},
		{0, 0, 40 * time.Millisecond, 400 * time.Millisecond},
		{time.Microsecond, 0, 25 * time.Millisecond, 10 * time.Millisecond},
		{100 * time.Millisecond, 150 * time.Millisecond, 25 * time.Millisecond, 150 * time.Millisecond},
	} {
		c := conf.NewRetryPolicy("5xx")
		c.BackOffBase, c.BackOffMax = row.base, row.limit
		s := State{policy: compiled(t, c), Retries: 20}
		most, random := time.Duration(0), rand.New(rand.NewPCG(5, 6))
		for range 100 {
			d, limited := s.Delay(nil, row.runtime, 0, random.Uint64())
			if limited {
				t.Errorf("%+v: limited", row)
			}
			most = max(most, d)
		}
		if most != row.most {
			t.Errorf("%+v: at most %v", row, most)
		}
	}
	bad := conf.NewRetryPolicy("5xx")
	bad.BackOffBase, bad.BackOffMax = 2*time.Second, time.Second
	if _, err := Compile(bad); err == nil {
		t.Error("a limit below the base compiles")
	}
}

func TestROUTER34RateLimitedBackOff(t *testing.T) {
	const now = 1_700_000_000
	c := conf.NewRetryPolicy("5xx")
	c.RateLimited = &conf.RateLimitedBackOff{MaxInterval: 300 * time.Second, ResetHeaders: []conf.ResetHeader{
		{Name: "retry-after"}, {Name: "x-reset", Unix: true},
	}}
	s := State{policy: compiled(t, c), Retries: 1}
	for _, row := range []struct {
		fields string
		want   time.Duration // 0: exponential
	}{
		{"x: y", 0}, {"Retry-After: 2", 2 * time.Second}, {"Retry-After: soon", 0}, {"Retry-After: 301", 0}, {"Retry-After: 0", 0},
		{fmt.Sprintf("X-Reset: %d", now+5), 5 * time.Second}, {fmt.Sprintf("X-Reset: %d", now-5), 0},
		{fmt.Sprintf("Retry-After: 400\nX-Reset: %d", now+7), 7 * time.Second},
	} {
		r := rand.New(rand.NewPCG(3, 4))
		least, most := time.Hour, time.Duration(0)
		for range 1000 {
			d, limited := s.Delay(response(t, 503, row.fields), 25*time.Millisecond, now*1000, r.Uint64())
			if limited != (row.want > 0) {
				t.Fatalf("%s: limited %v", row.fields, limited)
			}
			least, most = min(least, d), max(most, d)
		}
		// The chance that 1000 draws leave a fiftieth at an end out is (49/50)^1000 < 2e-9.
		if row.want > 0 && (least < row.want || most >= row.want*3/2 || least > row.want+row.want/100 || most < row.want*3/2-row.want/100) {
			t.Errorf("%s: between %v and %v, want [%v, %v)", row.fields, least, most, row.want, row.want*3/2)
		}
	}
}

func TestROUTER36BudgetLimit(t *testing.T) {
	for _, row := range []struct {
		percent         float64
		least           uint32
		active, pending int64
		want            int64
	}{{20, 3, 0, 0, 3}, {20, 3, 15, 0, 3}, {20, 3, 20, 0, 4}, {20, 3, 60, 40, 20}, {0.5, 0, 1000, 0, 5}, {100, 3, 7, 0, 7}} {
		if got := BudgetLimit(row.percent, row.least, row.active, row.pending); got != row.want {
			t.Errorf("%+v: %d", row, got)
		}
	}
}

func TestNamesOfConditions(t *testing.T) {
	c, known := Parse(All().String())
	if c != All() || !known {
		t.Errorf("%v, %v", c, known)
	}
	if c, known := Parse(" 5xx , ,nonsense"); c != On5xx || known {
		t.Errorf("%v, %v", c, known)
	}
}
