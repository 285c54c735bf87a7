package admin_test

import (
	"encoding/json"
	"net"
	"regexp"
	"strings"
	"testing"
)

// refused says whether an address takes no connections.
func refused(addr string) bool {
	c, err := net.Dial("tcp", addr)
	if err == nil {
		c.Close()
	}
	return err != nil
}

// OP-50: only listeners whose drain_type is DEFAULT drain while the health check fails.
func TestFailedHealthCheckEndsConnections(t *testing.T) {
	f := start(t, true)
	closes := func(addr string) bool { t.Helper(); return f.do("GET", "http://"+addr+"/").close }
	if closes(f.in) || closes(f.out) {
		t.Fatal("connections end before")
	}
	f.post("/healthcheck/fail")
	if !closes(f.in) || closes(f.out) {
		t.Error("while it fails, 'in' ends connections and 'out' (MODIFY_ONLY) does not")
	}
	if got := f.get("/stats?filter=ingress.downstream_cx_drain_close").body; got != "http.ingress.downstream_cx_drain_close: 1\n" {
		t.Errorf("%q", got)
	}
	f.post("/healthcheck/ok")
	if closes(f.in) || closes(f.out) {
		t.Error("connections end although it passes again")
	}
}

// OP-53: the sockets close at once and nothing else changes.
func TestDrainListenersClosesSockets(t *testing.T) {
	f := start(t, true)
	f.proxied(1)
	if a := f.post("/drain_listeners"); a.body != "OK\n" {
		t.Errorf("%q", a.body)
	}
	await(t, "both refuse", func() bool { return refused(f.in) && refused(f.out) })
	if a := f.do("GET", "http://"+f.in+"/"); a.status != 200 || a.close {
		t.Errorf("the open connection: %d, close %v", a.status, a.close)
	}
	if a := f.get("/ready"); a.body != "LIVE\n" {
		t.Errorf("%q", a.body)
	}
}

func TestDrainListenersInboundOnly(t *testing.T) {
	f := start(t, true)
	f.post("/drain_listeners?inboundonly")
	await(t, "'in' refuses", func() bool { return refused(f.in) })
	if refused(f.out) {
		t.Error("'out' is not inbound")
	}
}

// OP-51: graceful drains while the sockets stay open for the drain time.
func TestDrainListenersGracefulEndsConnectionsFirst(t *testing.T) {
	for _, query := range []string{"?graceful", "?graceful&skip_exit"} {
		f := start(t, true)
		f.post("/drain_listeners" + query)
		if a := f.do("GET", "http://"+f.in+"/"); a.status != 200 || !a.close {
			t.Errorf("%s: %d, close %v", query, a.status, a.close)
		}
		if refused(f.in) {
			t.Errorf("%s: refused within the drain time", query)
		}
	}
}

func TestStatsText(t *testing.T) {
	f := start(t, true)
	f.proxied(2)
	for path, want := range map[string]string{
		"/stats?filter=^http.ingress.downstream_rq_2xx$":                   "http.ingress.downstream_rq_2xx: 2\n",
		"/stats?usedonly&filter=^http.ingress.downstream_rq_[24]xx$&type=": "http.ingress.downstream_rq_2xx: 2\n",
		"/stats?filter=^http.ingress.downstream_rq_[24]xx$":                "http.ingress.downstream_rq_2xx: 2\nhttp.ingress.downstream_rq_4xx: 0\n",
		"/stats?filter=^server.(live|uptime)$&type=Counters":               "",
		"/stats?filter=^server.(live|concurrency)$&type=Gauges":            "server.concurrency: 2\nserver.live: 1\n",
		"/stats?filter=downstream_pre_cx_timeout&usedonly":                 "",
		"/stats?filter=^cluster.spare.upstream_cx_connect_ms$":             "cluster.spare.upstream_cx_connect_ms: No recorded values\n",
	} {
		if a := f.get(path); a.status != 200 || a.body != want {
			t.Errorf("%s: %d %q, want %q", path, a.status, a.body, want)
		}
	}
	line := regexp.MustCompile(`^[^\s:][^:]*: (\d+|-\d+|".*"|No recorded values|P0\(.*P100\(.*\))$`)
	for _, l := range strings.Split(strings.TrimSuffix(f.get("/stats").body, "\n"), "\n") {
		if !line.MatchString(l) {
			t.Errorf("not a line of statistics: %q", l)
		}
	}
}

func TestStatsJSON(t *testing.T) {
	f := start(t, true)
	f.proxied(1)
	var got struct {
		Stats []struct {
			Name       string
			Value      any
			Histograms *struct {
				Supported []float64 `json:"supported_quantiles"`
				Computed  []struct {
					Name   string
					Values []struct{ Interval, Cumulative *float64 }
				} `json:"computed_quantiles"`
			}
		}
	}
	a := f.get("/stats?format=json&filter=^(server.live|cluster.alt.upstream_rq_time)$")
	if err := json.Unmarshal([]byte(a.body), &got); err != nil || a.header.Get("Content-Type") != "application/json" {
		t.Fatalf("%v in %s", err, a.body)
	}
	if len(got.Stats) != 2 || got.Stats[0].Name != "server.live" || got.Stats[0].Value != 1.0 {
		t.Fatalf("%s", a.body)
	}
	h := got.Stats[1].Histograms
	if len(h.Supported) != 10 || h.Supported[9] != 100 || len(h.Computed) != 1 || h.Computed[0].Name != "cluster.alt.upstream_rq_time" || len(h.Computed[0].Values) != 10 || h.Computed[0].Values[9].Cumulative == nil {
		t.Errorf("%s", a.body)
	}
}

// OP-10 to OP-12: every line parses, each metric is one group, the tags are labels.
func TestStatsPrometheus(t *testing.T) {
	f := start(t, true)
	f.proxied(2)
	for _, path := range []string{"/stats/prometheus", "/stats?format=prometheus"} {
		body := f.get(path).body
		for _, want := range []string{
			`envoy_cluster_upstream_rq{envoy_response_code="200",envoy_cluster_name="alt"} 2`,
			`envoy_http_downstream_rq_xx{envoy_response_code_class="2",envoy_http_conn_manager_prefix="ingress"} 2`,
			"# TYPE envoy_cluster_upstream_rq_time histogram",
		} {
			if !strings.Contains(body, want+"\n") {
				t.Errorf("%s: no line %s", path, want)
			}
		}
		checkExposition(t, body)
	}
	if body := f.get("/stats/prometheus?usedonly&filter=downstream_rq_5xx").body; body != "" {
		t.Errorf("%q", body)
	}
}

var (
	sampleLine = regexp.MustCompile(`^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{([a-zA-Z_]\w*="([^"\\]|\\.)*"(, ?[a-zA-Z_]\w*="([^"\\]|\\.)*")*)?\})? (NaN|[+-]?Inf|[-+0-9.eE]+)$`)
	typeLine   = regexp.MustCompile(`^# (TYPE|HELP) (\S+) ?(.*)$`)
)

func checkExposition(t *testing.T, body string) {
	t.Helper()
	typed := map[string]bool{}
	seen := map[string]bool{}
	for _, l := range strings.Split(strings.TrimSuffix(body, "\n"), "\n") {
		if m := typeLine.FindStringSubmatch(l); m != nil {
			if m[1] == "TYPE" && typed[m[2]] {
				t.Errorf("two TYPE lines for %s", m[2])
			}
			typed[m[2]] = typed[m[2]] || m[1] == "TYPE"
			continue
		}
		m := sampleLine.FindStringSubmatch(l)
		if m == nil {
			t.Errorf("not a line of the exposition format: %q", l)
			continue
		}
		series, _, _ := strings.Cut(l, "} ")
		if seen[series] {
			t.Errorf("twice: %s", series)
		}
		seen[series] = strings.Contains(l, "{")
	}
}

func TestResetCountersLeavesGauges(t *testing.T) {
	f := start(t, true)
	f.proxied(2)
	f.post("/reset_counters")
	if got := f.get("/stats?filter=ingress.(downstream_rq_total|downstream_cx_active)$").body; got != "http.ingress.downstream_cx_active: 1\nhttp.ingress.downstream_rq_total: 0\n" {
		t.Errorf("%q", got)
	}
}
