package e2e

import (
	"maps"
	"strings"
	"testing"

	"github.com/sluiceproxy/sluice/bench/origin"
	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// After a known script every counter of the connection manager, the listener and the cluster that
// moved has its exact value, none else moved, and the gauges are back at 0.
func TestEveryMovingCounter(t *testing.T) {
	harness.NoLeaks(t)
	o := harness.NewScripted(t,
		origin.Script{
			origin.ReadRequest(), origin.Send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
			origin.ReadRequest(), origin.Send("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"),
			origin.ReadRequest(), origin.Send("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"), origin.Close(),
		},
		origin.Script{origin.ReadRequest(), origin.Reset()},
		origin.Script{origin.ReadRequest(), origin.Send("garbage\r\n\r\n"), origin.Stall()},
		origin.Script{origin.ReadRequest(), origin.Send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no"), origin.Reset()},
		origin.Script{origin.ReadHead(), origin.Stall()},
	)
	top := one(o)
	top.Routes = `
- { match: { path: /direct }, direct_response: { status: 200, body: { inline_string: d } } }
- { match: { path: /redirect }, redirect: { path_redirect: / } }
- { match: { path: /lost }, route: { cluster_header: x-cluster } }
- { match: { prefix: /up }, route: { cluster: origin } }
`
	top.Manager = "path_with_escaped_slashes_action: REJECT_REQUEST"
	p := harness.Start(t, top)
	const tail = " HTTP/1.1\r\nHost: h\r\n\r\n"

	w := harness.DialWire(t, "tcp", p.Addr)
	sent, got := 0, 0
	do := func(request string, status int) {
		t.Helper()
		sent += len(request)
		m := w.Do(request)
		got += m.Wire
		if m.Status() != status {
			t.Fatalf("%q gets %s", request, m.Head())
		}
	}
	do("POST /up HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nping", 200)
	do("GET /up"+tail, 404)
	do("GET /up"+tail, 503) // the origin's own, and the end of its connection
	do("GET /up"+tail, 503) // reset
	do("GET /up"+tail, 502) // garbage
	do("GET /direct"+tail, 200)
	do("GET /redirect"+tail, 301)
	do("GET /lost"+tail, 503)
	do("GET /none"+tail, 404)
	do("GET /a%2fb"+tail, 400)
	do("BAD\r\n\r\n", 400)
	w.WantClosed()
	w.Close()

	broken := harness.DialWire(t, "tcp", p.Addr)
	broken.Send("GET /up" + tail)
	sent += len("GET /up" + tail)
	if _, err := broken.TryRead(false); err == nil {
		t.Fatal("a body cut off looks whole")
	}
	broken.Close()

	gone := harness.DialWire(t, "tcp", p.Addr)
	gone.Send("GET /up" + tail)
	sent += len("GET /up" + tail)
	harness.Eventually(t, "the origin has the request", func() bool { return strings.Contains(strings.Join(o.Received()[4:], ""), "GET") })
	gone.Close()
	p.WantQuiet()
	o.Stop()

	want := harness.Stats{
		"http.in.downstream_cx_total": 3, "http.in.downstream_cx_http1_total": 3, "http.in.downstream_cx_destroy": 3,
		"http.in.downstream_cx_destroy_local": 2, "http.in.downstream_cx_destroy_remote": 1,
		"http.in.downstream_cx_destroy_active_rq": 1, "http.in.downstream_cx_destroy_remote_active_rq": 1,
		"http.in.downstream_cx_protocol_error": 1,
		"http.in.downstream_rq_total":          13, "http.in.downstream_rq_http1_total": 13, "http.in.downstream_rq_completed": 12,
		"http.in.downstream_rq_2xx": 3, "http.in.downstream_rq_3xx": 1, "http.in.downstream_rq_4xx": 4, "http.in.downstream_rq_5xx": 4,
		"http.in.downstream_rq_rx_reset": 1, "http.in.downstream_rq_tx_reset": 1,
		"http.in.downstream_rq_failed_path_normalization": 1,
		// The first request's body waited in the kernel for the origin's connection.
		"http.in.downstream_flow_control_paused_reading_total": 1, "http.in.downstream_flow_control_resumed_reading_total": 1,
		"http.in.no_route": 1, "http.in.no_cluster": 1, "http.in.rq_redirect": 1, "http.in.rq_direct_response": 2, "http.in.rq_total": 11,
		"http.in.rq_reset_after_downstream_response_started": 1,
		"http.in.downstream_cx_rx_bytes_total":               int64(sent), "http.in.downstream_cx_tx_bytes_total": -1,

		"listener.in.downstream_cx_total": 3, "listener.in.downstream_cx_destroy": 3, "listener.in.worker_0.downstream_cx_total": 3,
		"listener.in.http.in.downstream_rq_completed": 12,
		"listener.in.http.in.downstream_rq_2xx":       3, "listener.in.http.in.downstream_rq_3xx": 1, "listener.in.http.in.downstream_rq_4xx": 4, "listener.in.http.in.downstream_rq_5xx": 4,

		"cluster.origin.upstream_cx_total": 5, "cluster.origin.upstream_cx_http1_total": 5, "cluster.origin.upstream_cx_destroy": 5,
		"cluster.origin.upstream_cx_destroy_local": 3, "cluster.origin.upstream_cx_destroy_remote": 2,
		"cluster.origin.upstream_cx_destroy_with_active_rq": 4, "cluster.origin.upstream_cx_destroy_local_with_active_rq": 2, "cluster.origin.upstream_cx_destroy_remote_with_active_rq": 2,
		"cluster.origin.upstream_cx_protocol_error": 1,
		"cluster.origin.upstream_rq_total":          7, "cluster.origin.upstream_rq_pending_total": 5,
		"cluster.origin.upstream_rq_tx_reset":  1,
		"cluster.origin.upstream_rq_completed": 5, "cluster.origin.upstream_rq_2xx": 1, "cluster.origin.upstream_rq_4xx": 1, "cluster.origin.upstream_rq_5xx": 3,
		"cluster.origin.upstream_rq_200": 1, "cluster.origin.upstream_rq_404": 1, "cluster.origin.upstream_rq_502": 1, "cluster.origin.upstream_rq_503": 2,
		"cluster.origin.membership_change": 1, "cluster.origin.upstream_cx_rx_bytes_total": -1, "cluster.origin.upstream_cx_tx_bytes_total": -1,
	}
	for name, v := range maps.Clone(want) {
		if scope, code, ok := strings.Cut(name, ".upstream_rq_"); ok && (code == "completed" || code[0] >= '0' && code[0] <= '9') {
			want[scope+".external.upstream_rq_"+code] = v
		}
	}
	p.WantStats(harness.Stats{"cluster.origin.upstream_cx_active": 0})
	m := p.Server.Registry().Collect()
	for _, c := range m.Counters {
		scope, _, _ := strings.Cut(c.Name, ".")
		if scope != "http" && scope != "listener" && scope != "cluster" {
			continue
		}
		switch v, ok := want[c.Name]; {
		case ok && v == -1 && c.Value > 0:
		case int64(c.Value) != v:
			t.Errorf("%s is %d, want %d", c.Name, c.Value, v)
		}
		delete(want, c.Name)
	}
	for name := range want {
		t.Errorf("there is no counter %s", name)
	}
	for _, g := range m.Gauges {
		if strings.HasPrefix(g.Name, "http.") || strings.HasPrefix(g.Name, "listener.") || strings.Contains(g.Name, "upstream_") {
			if g.Value != 0 {
				t.Errorf("the gauge %s is %d", g.Name, g.Value)
			}
		}
	}
}

// Paths that are refused or redirected are counted by what was wrong with them (http_codecs.md 5).
func TestPathsAreCounted(t *testing.T) {
	harness.NoLeaks(t)
	top := one(harness.NewRecorder(t, nil))
	top.Manager = "path_with_escaped_slashes_action: UNESCAPE_AND_REDIRECT"
	p := harness.Start(t, top)
	p.Dial().Send("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n").Read("OPTIONS")
	p.Dial().Send("GET /a%2Fb HTTP/1.1\r\nHost: h\r\n\r\n").Read("GET").WantHeader("location", "/a/b")
	p.WantStats(harness.Stats{inHTTP + "downstream_rq_non_relative_path": 1, inHTTP + "downstream_rq_redirected_with_normalized_path": 1, inHTTP + "downstream_rq_failed_path_normalization": 0})
}
