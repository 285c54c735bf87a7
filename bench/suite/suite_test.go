//go:build linux && (amd64 || arm64)

package suite

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/bench"
	"github.com/sluiceproxy/sluice/bench/origin"
	"github.com/sluiceproxy/sluice/bench/peer"
	"github.com/sluiceproxy/sluice/bench/report"
)

// The test binary is also the processes that a run starts.
func TestMain(m *testing.M) {
	if len(os.Args) < 4 {
		os.Exit(m.Run())
	}
	var err error
	switch ctx := context.Background(); os.Args[1] {
	case "origin":
		err = origin.Serve(ctx, origin.Options{Addr: os.Args[2], EchoAddr: os.Args[3], SourceAddr: os.Args[4]})
	case "reverse-proxy":
		err = peer.ServeReverseProxy(os.Args[2], os.Args[3], os.Args[4], os.Args[5])
	case "wrong-proxy": // answers, but not as its origin does
		err = origin.Serve(ctx, origin.Options{Addr: os.Args[2], Name: "impostor"})
	default:
		os.Exit(m.Run())
	}
	_, _ = fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func options(t *testing.T) Options {
	t.Helper()
	if runtime.NumCPU() < 2 {
		t.Skip("needs a CPU for the proxy and one for the load")
	}
	return Options{
		Profile: Profile{
			Name: "test", Rounds: 2,
			Duration: time.Minute, MaxRequests: 2000, Watch: 50 * time.Millisecond,
		},
		Peers:   []*peer.Peer{peer.ReverseProxy(os.Args[0], "reverse-proxy")},
		Subject: "sluice", ProxyCPU: 0, LoadCPU: 1, OriginCommand: []string{os.Args[0], "origin"}, Command: "test",
	}
}

func TestRunFillsAReport(t *testing.T) {
	o := options(t)
	o.Only = []string{"h1-64", "h1-close", "slow-reader"}
	wrong := peer.ReverseProxy(os.Args[0], "wrong-proxy")
	wrong.Name = "wrong"
	o.Peers = append(o.Peers, wrong, peer.Sluice("/nowhere/sluice"))
	r, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Scenarios) != 3 {
		t.Fatalf("%d scenarios", len(r.Scenarios))
	}
	for _, s := range r.Scenarios {
		want := 2
		if !s.Metric.OfLoad() {
			want = 1
		}
		if len(s.Samples) != want || len(s.Budgets) == 0 {
			t.Errorf("%s: %d samples, %d budgets, refused %v", s.Name, len(s.Samples), len(s.Budgets), s.Refused)
		}
		for _, m := range s.Samples {
			if m.Peer != "net/http" || m.RSS == 0 || m.Errors > 0 ||
				s.Metric.OfLoad() && (m.Requests == 0 || m.Cost <= 0 || m.PerSecond <= 0 || m.P50Ns <= 0 || m.P99Ns < m.P50Ns || m.ProxyBusy <= 0) {
				t.Errorf("%s: %+v", s.Name, m)
			}
		}
		why := map[string]string{}
		for _, x := range s.Refused {
			why[x.Peer] = x.Why
		}
		if !strings.Contains(why["wrong"], "wrong answer: GET /") || !strings.Contains(why["sluice"], "make build") {
			t.Errorf("%s: refused %v", s.Name, why)
		}
	}
}

// Each kind of TCP row with the peers that are installed.
func TestRunMeasuresTCP(t *testing.T) {
	o := options(t)
	o.Profile.Rounds = 1
	o.Only = []string{"l4-pingpong-64", "l4-pingpong-64k", "l4-bulk-4", "l4-close", "l4-close-await", "l4-slow-reader"}
	o.Subject = "haproxy"
	installed := 0
	o.Peers = append(o.Peers, peer.HAProxy(), peer.Nginx())
	for _, p := range o.Peers {
		if p.Supports(peer.TCP) == nil {
			installed++
		}
	}
	if installed == 0 {
		t.Skip("no TCP peer is installed")
	}
	r, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range r.Scenarios {
		// The first of the peers is for HTTP alone, which is no reason to mention it.
		if len(s.Samples) != installed || len(s.Budgets) == 0 || len(s.Refused) != 2-installed {
			t.Errorf("%s: %d samples of %d, %d budgets, refused %v", s.Name, len(s.Samples), installed, len(s.Budgets), s.Refused)
		}
		for _, m := range s.Samples {
			if m.RSS == 0 || m.Errors > 0 || s.Metric.OfLoad() && (m.Requests < 2000 || m.Cost <= 0) {
				t.Errorf("%s: %+v", s.Name, m)
			}
		}
	}
}

// The rows with Redis, on the peers that are installed.
func TestRunMeasuresRedis(t *testing.T) {
	if _, err := exec.LookPath("redis-benchmark"); err != nil {
		t.Skip("redis-benchmark (redis) is not installed")
	}
	o := options(t)
	o.Profile.Rounds, o.Profile.MaxRequests = 1, 60_000 // at 1 us each they are some ticks of the kernel's clock
	o.Only = []string{"redis-1", "redis-16"}
	o.Subject = "haproxy"
	o.Peers = nil
	for _, p := range []*peer.Peer{peer.Nginx(), peer.HAProxy()} {
		if p.Supports(peer.Redis) == nil {
			o.Peers = append(o.Peers, p)
		}
	}
	if len(o.Peers) == 0 {
		t.Skip("no TCP peer is installed")
	}
	r, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range r.Scenarios {
		if len(s.Samples) != len(o.Peers) || len(s.Refused) != 0 {
			t.Errorf("%s: %d samples of %d, refused %v", s.Name, len(s.Samples), len(o.Peers), s.Refused)
		}
		for _, m := range s.Samples {
			if m.RSS == 0 || m.Requests != 60_000 || m.Cost <= 0 || m.PerSecond <= 0 || m.P50Ns <= 0 || m.P99Ns < m.P50Ns {
				t.Errorf("%s: %+v", s.Name, m)
			}
		}
		if !slices.ContainsFunc(r.Notes, func(n string) bool { return strings.HasPrefix(n, s.Name+": ") }) {
			t.Errorf("%s: nothing is said of the server alone in %q", s.Name, r.Notes)
		}
	}
}

func TestWhatRedisBenchmarkPrints(t *testing.T) {
	const head = `"test","rps","avg_latency_ms","min_latency_ms","p50_latency_ms","p95_latency_ms","p99_latency_ms","max_latency_ms"` + "\n"
	res, err := parseRedis([]byte(head+`"GET","50000.00","0.480","0.072","0.463","0.687","1.007","3.079"`+"\n"), 1000)
	want := bench.Result{Requests: 1000, Elapsed: 20 * time.Millisecond}
	want.Latency.N, want.Latency.Mean, want.Latency.P50, want.Latency.P99, want.Latency.Max = 1000, 480_000, 463_000, 1_007_000, 3_079_000
	if err != nil || !reflect.DeepEqual(res, want) {
		t.Errorf("%+v, %v", res, err)
	}
	for _, bad := range []string{"", head, head + "GET,1\n", head + "GET,x,1,1,1,1,1,1\n", head + "GET,0,1,1,1,1,1,1\n", "Could not connect\n"} {
		if res, err := parseRedis([]byte(bad), 1); err == nil {
			t.Errorf("%q: %+v", bad, res)
		}
	}
}

// The rows with TLS and HTTP/2, on the peers that are installed.
func TestRunMeasuresTLSAndHTTP2(t *testing.T) {
	if _, err := exec.LookPath("h2load"); err != nil {
		t.Skip("h2load (nghttp2-client) is not installed")
	}
	t.Run("requests", func(t *testing.T) {
		measuresTLSAndHTTP2(t, 10_000, "tls-64", "h2c-16x16", "h2-16x16") // at 10 us each they are some ticks of the kernel's clock
	})
	t.Run("handshakes", func(t *testing.T) { measuresTLSAndHTTP2(t, 500, "tls-handshake") })
}

func measuresTLSAndHTTP2(t *testing.T, requests int64, only ...string) {
	t.Helper()
	o := options(t)
	o.Profile.Rounds, o.Profile.Duration, o.Profile.MaxRequests = 1, time.Minute, requests
	o.Only = only
	o.Subject = "net/http"
	for _, p := range []*peer.Peer{peer.Nginx(), peer.HAProxy(), peer.H2O()} {
		if p.Supports(peer.HTTP) == nil {
			o.Peers = append(o.Peers, p)
		}
	}
	r, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range r.Scenarios {
		if len(s.Samples) != len(o.Peers) || len(s.Budgets) == 0 || len(s.Refused) != 0 {
			t.Errorf("%s: %d samples of %d, %d budgets, refused %v", s.Name, len(s.Samples), len(o.Peers), len(s.Budgets), s.Refused)
		}
		for _, m := range s.Samples {
			if m.RSS == 0 || m.Errors > 0 || m.Requests < requests || m.Cost <= 0 {
				t.Errorf("%s: %+v", s.Name, m)
			}
		}
	}
}

func TestIdleConnectionsFitTheFileLimit(t *testing.T) {
	for _, tc := range []struct {
		name  string
		s     scenario
		limit int
		hold  int
	}{
		{"plenty of files", scenario{mode: peer.TCP, hold: 10_000}, 65_536, 10_000},
		{"a TCP connection takes two", scenario{mode: peer.TCP, hold: 10_000}, 20_000, 9500},
		{"one of HTTP takes one", scenario{hold: 10_000}, 20_000, 10_000},
		{"hardly any", scenario{mode: peer.TCP, hold: 10_000}, 1024, 12},
		{"none at all", scenario{mode: peer.TCP, hold: 10_000}, 256, 1},
		{"a scenario without idle connections", scenario{mode: peer.TCP}, 256, 0},
	} {
		whole := tc.s.hold == tc.hold
		tc.s.fit(tc.limit)
		if tc.s.hold != tc.hold || (tc.s.title == "") != whole {
			t.Errorf("%s: %d, %q; want %d", tc.name, tc.s.hold, tc.s.title, tc.hold)
		}
	}
}

func TestRunStopsWithItsContext(t *testing.T) {
	o := options(t)
	o.Profile.Duration, o.Profile.MaxRequests = time.Hour, 0
	o.Only = []string{"h1-64"}
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	r, err := Run(ctx, o)
	if err == nil || r != nil && len(r.Scenarios) > 1 {
		t.Errorf("error %v", err)
	}
}

func TestRunRefusesBadOptions(t *testing.T) {
	o := options(t)
	o.Only = []string{"h1-64", "h1-65"}
	if _, err := Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), "h1-512") {
		t.Errorf("unknown scenario: %v", err)
	}
	o = options(t)
	o.LoadCPU = o.ProxyCPU
	if _, err := Run(t.Context(), o); err == nil {
		t.Error("proxy and load on one CPU")
	}
}

func TestEveryBudgetHasItsScenario(t *testing.T) {
	budgets, err := report.Budgets()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range Names() {
		if len(budgets[name]) == 0 {
			t.Errorf("%s has no target", name)
		}
		delete(budgets, name)
	}
	for name := range budgets {
		t.Errorf("the budget file has a target for %s, which is no scenario", name)
	}
}

func TestEveryScenarioIsInTheReadme(t *testing.T) {
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range Names() {
		if n := strings.Count(string(text), "\n| `"+name+"` |"); n != 1 {
			t.Errorf("%s has %d rows", name, n)
		}
	}
	if rows := strings.Count(string(text), "\n| `"); rows != len(Names()) {
		t.Errorf("%d rows for %d scenarios", rows, len(Names()))
	}
}

func TestSampleDividesByTheRightThings(t *testing.T) {
	started := time.Now()
	w := &meter{
		before: reading{at: started, mallocs: 100, hasMallocs: true},
		after: reading{
			at: started.Add(2 * time.Second), proxy: peer.Usage{CPU: time.Second, RSS: 7}, origin: peer.Usage{CPU: 500 * time.Millisecond},
			cpu: peer.CPUTimes{Total: 1900 * time.Millisecond, Idle: 400 * time.Millisecond, Softirq: 200 * time.Millisecond, Steal: 20 * time.Millisecond}, mallocs: 300, hasMallocs: true,
		},
	}
	res := &bench.Result{Requests: 100_000, Elapsed: 2 * time.Second, BodyBytes: 4e9}
	m, err := w.sample(report.CPUPerRequest, res)
	if err != nil {
		t.Fatal(err)
	}
	if m.Cost != 10 || m.PerSecond != 50_000 || m.ProxyBusy != 0.5 || m.OriginBusy != 0.25 || m.SoftirqBusy != 0.1 ||
		m.StealShare != 0.01 || m.OthersBusy != 0.24 || m.RSS != 7 || m.MallocsPerRequest == nil || *m.MallocsPerRequest != 0.002 {
		t.Errorf("%+v", m)
	}
	if m, err = w.sample(report.CPUPerGB, res); err != nil || m.Cost != 0.25 {
		t.Errorf("cost per GB %v (%v)", m.Cost, err)
	}
	w.after.hasMallocs = false
	if m, err = w.sample(report.CPUPerRequest, res); err != nil || m.MallocsPerRequest != nil {
		t.Errorf("allocations nobody counted: %v (%v)", m.MallocsPerRequest, err)
	}
	if _, err = w.sample(report.CPUPerRequest, &bench.Result{}); err == nil {
		t.Error("a cost without a request")
	}
	w.after.proxy.CPU = w.before.proxy.CPU
	if _, err = w.sample(report.CPUPerRequest, res); err == nil {
		t.Error("requests that cost nothing")
	}
}

func TestDisturbancesAreNoted(t *testing.T) {
	r := &report.Report{Scenarios: []report.Scenario{{Name: "a", Samples: []report.Sample{
		{Peer: "x", Round: 1, OthersBusy: 0.1, StealShare: 0.1},
		{Peer: "y", Round: 2, OthersBusy: 0.3, StealShare: 0.14},
	}}}}
	notes := disturbances(r)
	if len(notes) != 1 || !strings.Contains(notes[0], "other programs used up to 30% of the proxies' CPU (a, y, round 2)") {
		t.Errorf("notes %q", notes)
	}
}

const wrkText = `Running 2s test @ http://127.0.0.1:9000/
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   512.33us  101.22us   9.11ms   91.00%
    Req/Sec   119.00k     2.51k  124.00k    70.00%
  Latency Distribution
     50%  497.00us
     75%  540.00us
     90%    1.25ms
     99%  812.50ms
  236811 requests in 2.10s, 24.61MB read
ERRORSRequests/sec: 112767.14
Transfer/sec:     11.72MB
`

func wrkOutput(errors string) []byte { return []byte(strings.Replace(wrkText, "ERRORS", errors, 1)) }

func TestParseWrk(t *testing.T) {
	res, err := parseWrk(wrkOutput(""))
	if err != nil || res.Requests != 236811 || res.Elapsed != 2100*time.Millisecond || res.Errors.Total() != 0 ||
		res.Latency.P50 != 497_000 || res.Latency.P90 != 1_250_000 || res.Latency.P99 != 812_500_000 {
		t.Errorf("%+v (%v)", res, err)
	}
	res, err = parseWrk(wrkOutput(
		"  Socket errors: connect 1, read 2, write 3, timeout 4\n  Non-2xx or 3xx responses: 11\n"))
	if want := (bench.Errors{Connect: 1, Broken: 5, Timeout: 4, Status: 11}); err != nil || res.Errors != want || res.Requests != 236800 {
		t.Errorf("%+v (%v)", res, err)
	}
	if _, err := parseWrk([]byte("unable to connect")); err == nil {
		t.Error("a failure was read as a result")
	}
}

func TestParseH2load(t *testing.T) {
	const text = `finished in 2.00s, 40211.50 req/s, 5.80MB/s
requests: 80440 total, 80487 started, 80440 done, 80423 succeeded, 17 failed, 17 errored, 5 timeout
status codes: 80423 2xx, 1 3xx, 2 4xx, 3 5xx
traffic: 11.60MB (12165210) total, 3.2MB (3374766) headers (space savings 0.00%), 1.3MB (1367191) data
                     min         max         mean         sd        +/- sd
time for request:       45us      5.02ms       779us       155us    79.05%
`
	res, err := parseH2load([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if res.Requests != 80423 || res.Elapsed != 2*time.Second || res.Latency.Max != 5_020_000 || res.Latency.Mean != 779_000 {
		t.Errorf("%+v", res)
	}
	if res.Errors.Status != 6 || res.Errors.Timeout != 5 || res.Errors.Broken != 12 {
		t.Errorf("%+v", res.Errors)
	}
	if _, err := parseH2load([]byte("unable to connect")); err == nil {
		t.Error("no totals, no error")
	}
}
