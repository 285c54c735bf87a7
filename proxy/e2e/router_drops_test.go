package e2e

import (
	"fmt"
	"math"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// dropping is a cluster with drop_overloads.
func dropping(share string, origins ...harness.Origin) harness.Topology {
	top := retrying("", origins...)
	top.Clusters[0].Policy = "{ drop_overloads: [{ category: throttle, drop_percentage: " + share + " }] }"
	return top
}

// A share of the requests is answered in the cluster's place (router.md 10). The bounds are five standard
// deviations, beyond which chance comes once in more than a million runs.
func TestDropOverloadsKeepsAShareFromTheCluster(t *testing.T) {
	harness.NoLeaks(t)
	const requests, share = 4000, 0.3
	o := harness.NewRecorder(t, nil)
	p := harness.Start(t, dropping("{ numerator: 3000, denominator: TEN_THOUSAND }", o))
	w := harness.DialWire(t, "tcp", p.Addr)
	dropped := 0
	for range requests {
		m := w.Do("GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
		if m.Status() == 200 {
			if m.Get("x-envoy-drop-overload") != "-" {
				t.Fatalf("got %s", m.Head())
			}
			continue
		}
		dropped++
		if m.Status() != 503 || string(m.Body) != "drop overload" || m.Get("x-envoy-drop-overload") != "true" || m.Get("x-envoy-overloaded") != "-" {
			t.Fatalf("got %s%s", m.Head(), m.Body)
		}
	}
	w.Close()
	if off := math.Abs(float64(dropped) - requests*share); off > 5*math.Sqrt(requests*share*(1-share)) {
		t.Errorf("%d of %d requests are dropped", dropped, requests)
	}
	if n := len(o.Seen()); n != requests-dropped {
		t.Errorf("the origin has seen %d requests, want %d", n, requests-dropped)
	}
	n := int64(dropped)
	wantCounts(p, map[string]int64{"upstream_rq_drop_overload": n, "upstream_rq_503": n, "upstream_rq_200": requests - n, "upstream_rq_total": requests - n})
	lines := map[string]int{}
	for _, line := range p.AwaitLines(requests) {
		lines[line]++
	}
	if len(lines) != 2 || lines["503 DO drop_overload GET /a"] != dropped {
		t.Errorf("the log has %v", lines)
	}
}

func TestDropOverloadsOfEverything(t *testing.T) {
	for _, row := range []struct {
		title, bootstrap, router string
		origins                  int
		line, body, header       string
		dropped                  int64
	}{
		{"all of it", "", "", 1, "503 UDO unconditional_drop_overload", "unconditional drop overload", "true", 1},
		{"without hosts, too", "", "", 0, "503 UDO unconditional_drop_overload", "unconditional drop overload", "true", 1},
		{"without Envoy's headers", "", "suppress_envoy_headers: true", 1, "503 UDO unconditional_drop_overload", "unconditional drop overload", "-", 1},
		{"after maintenance", runtimeLayer("upstream.maintenance_mode.origin", "100"), "", 1, "503 UO maintenance_mode", "maintenance mode", "-", 0},
		{"runtime allows none", runtimeLayer("load_balancing_policy.drop_overload_limit", "0"), "", 1, "200 - via_upstream", "ok", "-", 0},
	} {
		t.Run(row.title, func(t *testing.T) {
			harness.NoLeaks(t)
			var origins []harness.Origin
			for range row.origins {
				origins = append(origins, harness.NewRecorder(t, nil))
			}
			top := dropping("{ numerator: 100 }", origins...)
			top.Bootstrap = row.bootstrap
			p := startRouter(t, top, row.router, origins...)
			if m := ask(t, p, "h", "/a"); string(m.Body) != row.body || m.Get("x-envoy-drop-overload") != row.header {
				t.Errorf("got %s%s", m.Head(), m.Body)
			}
			p.WantLine(row.line)
			wantCounts(p, map[string]int64{"upstream_rq_drop_overload": row.dropped})
		})
	}
}

// A gRPC client gets the status of its own, and a retry policy does not bring the request back.
func TestDropOverloadsOfGRPCAndRetries(t *testing.T) {
	harness.NoLeaks(t)
	top := dropping("{ numerator: 100 }", harness.NewRecorder(t, nil))
	top.Action = quick("retry_on: 5xx, num_retries: 3")
	p := harness.Start(t, top)
	if m := ask(t, p, "h", "/s/m", "content-type: application/grpc"); m.Status() != 200 || m.Get("grpc-status") != "14" {
		t.Errorf("got %s", m.Head())
	}
	wantCounts(p, map[string]int64{"upstream_rq_drop_overload": 1, "upstream_rq_retry": 0, "upstream_rq_total": 0})
}

// TCP proxies and generic proxies forward to such a cluster as if it had none.
func TestDropOverloadsLeavesTCPAlone(t *testing.T) {
	harness.NoLeaks(t)
	o := harness.NewRecorder(t, func(m *harness.Message) string { return harness.Reply(fmt.Sprint(m.Path())) })
	top := harness.TCPTopology{Clusters: []harness.Cluster{{
		Name: "origin", Origins: []harness.Origin{o}, Policy: "{ drop_overloads: [{ category: throttle, drop_percentage: { numerator: 100 } }] }",
	}}}
	p := harness.StartTCP(t, top)
	if m := ask(t, p, "h", "/a"); string(m.Body) != "/a" {
		t.Errorf("got %s%s", m.Head(), m.Body)
	}
	p.WantStats(harness.Stats{onOrigin + "upstream_rq_drop_overload": 0})
}
