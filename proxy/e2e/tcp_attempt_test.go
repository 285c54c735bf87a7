package e2e

import (
	"testing"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

const attemptFormat = "%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %UPSTREAM_REQUEST_ATTEMPT_COUNT% %UPSTREAM_TRANSPORT_FAILURE_REASON%"

// TCP-12 to TCP-17: how a session ends whose upstream connection does not come about.
func TestTCPNoUpstreamConnection(t *testing.T) {
	harness.NoLeaks(t)
	const (
		refused = "upstream_reset_before_response_started{remote_connection_failure}"
		slow    = "upstream_reset_before_response_started{connection_timeout}"
	)
	for name, tc := range map[string]struct {
		origin  func(t *testing.T) []harness.Origin
		cluster string
		proxy   string
		filters string
		line    string
		stats   harness.Stats
	}{
		"refused (TCP-16)": {
			origin: func(t *testing.T) []harness.Origin { return []harness.Origin{harness.Refusing(t)} },
			line:   "UF,URX " + refused + " 1 connection_refused",
			stats: harness.Stats{
				onOrigin + "upstream_cx_total": 1, onOrigin + "upstream_cx_connect_fail": 1, onOrigin + "upstream_cx_connect_timeout": 0,
				onOrigin + "upstream_cx_connect_attempts_exceeded": 1, onOrigin + "upstream_cx_destroy_remote": 1, onOrigin + "upstream_rq_pending_total": 1,
			},
		},
		"refused three times (TCP-16)": {
			origin: func(t *testing.T) []harness.Origin { return []harness.Origin{harness.Refusing(t)} },
			proxy:  "max_connect_attempts: 3", line: "UF,URX " + refused + " 3 connection_refused",
			stats: harness.Stats{onOrigin + "upstream_cx_total": 3, onOrigin + "upstream_cx_connect_fail": 3, onOrigin + "upstream_cx_connect_attempts_exceeded": 1},
		},
		"refused four times with back-off (TCP-16)": {
			origin: func(t *testing.T) []harness.Origin { return []harness.Origin{harness.Refusing(t)} },
			proxy:  "max_connect_attempts: 4\nbackoff_options: { base_interval: 0.01s, max_interval: 0.02s }", line: "UF,URX " + refused + " 4 connection_refused",
			stats: harness.Stats{onOrigin + "upstream_cx_connect_fail": 4, onOrigin + "upstream_cx_connect_attempts_exceeded": 1},
		},
		"no answer (TCP-15)": {
			origin:  func(t *testing.T) []harness.Origin { return []harness.Origin{harness.BlackHole(t)} },
			cluster: "connect_timeout: 0.05s", line: "UF,URX " + slow + " 1 connection_timed_out",
			stats: harness.Stats{
				onOrigin + "upstream_cx_connect_fail": 1, onOrigin + "upstream_cx_connect_timeout": 1, onOrigin + "upstream_cx_connect_attempts_exceeded": 1,
				onOrigin + "upstream_cx_destroy_local": 1,
			},
		},
		"no answer twice (TCP-15, TCP-16)": {
			origin:  func(t *testing.T) []harness.Origin { return []harness.Origin{harness.BlackHole(t)} },
			cluster: "connect_timeout: 0.05s", proxy: "max_connect_attempts: 2", line: "UF,URX " + slow + " 2 connection_timed_out",
			stats: harness.Stats{onOrigin + "upstream_cx_connect_timeout": 2, onOrigin + "upstream_cx_connect_attempts_exceeded": 1},
		},
		"no host (TCP-14)": {
			line:  "UH no_healthy_upstream 0 -",
			stats: harness.Stats{onOrigin + "upstream_cx_none_healthy": 1, onOrigin + "upstream_cx_total": 0, onOrigin + "upstream_cx_connect_attempts_exceeded": 0},
		},
		"no cluster (TCP-12)": {
			filters: harness.SetFilterState("envoy.tcp_proxy.cluster", "nowhere"),
			line:    "NC cluster_not_found 0 -",
			stats:   harness.Stats{inTCP + "downstream_cx_no_route": 1, onOrigin + "upstream_cx_total": 0},
		},
		"no pool": {
			origin:  func(t *testing.T) []harness.Origin { return []harness.Origin{harness.Refusing(t)} },
			cluster: "circuit_breakers: { thresholds: [{ max_connection_pools: 0 }] }",
			line:    "UO upstream_reset_before_response_started{overflow} 0 -",
			stats:   harness.Stats{onOrigin + "upstream_cx_pool_overflow": 1, onOrigin + "upstream_cx_total": 0},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cl := harness.Cluster{Name: "origin", Fields: tc.cluster}
			if tc.origin != nil {
				cl.Origins = tc.origin(t)
			}
			p := harness.StartTCP(t, harness.TCPTopology{Clusters: []harness.Cluster{cl}, Proxy: tc.proxy, Filters: tc.filters, LogFormat: attemptFormat, NotSettled: name == "no pool"})
			if err := p.Dial().WantEnd(); err != nil {
				t.Errorf("the client got %v", err)
			}
			p.WantLines(tc.line)
			p.WantStats(tc.stats)
			p.WantStats(harness.Stats{inTCP + "downstream_cx_total": 1, onOrigin + "upstream_cx_active": 0, onOrigin + "upstream_rq_total": 0})
		})
	}
}

// TCP-13: a connection that the breaker has no room for is refused, and only for as long.
func TestTCPConnectionBreaker(t *testing.T) {
	harness.NoLeaks(t)
	o := echoes(t)
	p := harness.StartTCP(t, harness.TCPTopology{Clusters: []harness.Cluster{{
		Name: "origin", Origins: []harness.Origin{o}, Fields: "circuit_breakers: { thresholds: [{ max_connections: 1 }] }",
	}}, LogFormat: attemptFormat, Proxy: "max_connect_attempts: 5"})
	first := p.Dial().Send("a").WantText("a")
	p.WantStats(harness.Stats{onOrigin + "circuit_breakers.default.cx_open": 1})
	if err := p.Dial().WantEnd(); err != nil {
		t.Error(err)
	}
	p.WantLines("UO upstream_reset_before_response_started{overflow} 1 -")
	p.WantStats(harness.Stats{onOrigin + "upstream_cx_overflow": 1, onOrigin + "upstream_cx_total": 1, onOrigin + "upstream_cx_connect_attempts_exceeded": 0})
	first.Finish()
	_ = first.WantEnd()
	p.WantStats(harness.Stats{onOrigin + "circuit_breakers.default.cx_open": 0, onOrigin + "upstream_cx_active": 0})
	p.Dial().Send("b").WantText("b").Close()
	p.AwaitLines(3)
}

// Attempts that wait count against max_pending_requests.
func TestTCPPendingBreaker(t *testing.T) {
	harness.NoLeaks(t)
	p := harness.StartTCP(t, harness.TCPTopology{Clusters: []harness.Cluster{{
		Name: "origin", Origins: []harness.Origin{harness.BlackHole(t)}, Fields: "circuit_breakers: { thresholds: [{ max_pending_requests: 1 }] }",
	}}, LogFormat: attemptFormat, Proxy: early(10)})
	first := p.Dial()
	p.WantStats(harness.Stats{onOrigin + "upstream_rq_pending_active": 1})
	if err := p.Dial().WantEnd(); err != nil {
		t.Error(err)
	}
	p.WantLines("UO upstream_reset_before_response_started{overflow} 1 -")
	p.WantStats(harness.Stats{onOrigin + "upstream_rq_pending_overflow": 1, onOrigin + "upstream_cx_total": 1})
	first.Reset()
	p.AwaitLines(2)
}

// TCP-17, TCP-11: an attempt after a failed one picks anew, and the log keeps the flag of the failed one.
func TestTCPNextAttemptPicksAnew(t *testing.T) {
	harness.NoLeaks(t)
	t.Run("host", func(t *testing.T) {
		good := harness.NewRaw(t, harness.Named("good"))
		p := harness.StartTCP(t, harness.TCPTopology{Clusters: to(harness.Refusing(t), good), Proxy: "max_connect_attempts: 2", LogFormat: attemptFormat})
		for range 2 { // round robin begins anywhere
			c := p.Dial()
			if who := c.Line(); who != "good" {
				t.Errorf("%q answers", who)
			}
			c.Close()
		}
		lines := p.AwaitLines(2)
		for _, l := range lines {
			if l != "- - 1 -" && l != "UF - 2 connection_refused" {
				t.Errorf("line %q", l)
			}
		}
		p.WantStats(harness.Stats{onOrigin + "upstream_cx_connect_attempts_exceeded": 0})
	})
	t.Run("weighted cluster", func(t *testing.T) {
		good := harness.NewRaw(t, harness.Named("good"))
		p := harness.StartTCP(t, harness.TCPTopology{
			Clusters: []harness.Cluster{{Name: "bad", Origins: []harness.Origin{harness.Refusing(t)}}, {Name: "good", Origins: []harness.Origin{good}}},
			Proxy:    "weighted_clusters: { clusters: [{ name: bad, weight: 1 }, { name: good, weight: 1 }] }\nmax_connect_attempts: 100",
		})
		const sessions = 20
		for range sessions {
			c := p.Dial()
			if who := c.Line(); who != "good" {
				t.Errorf("%q answers", who)
			}
			c.Close()
		}
		p.AwaitLines(sessions)
		if n := p.Stat("cluster.bad.upstream_cx_connect_fail"); n == 0 {
			t.Error("no attempt went to the other cluster")
		}
		p.WantStats(harness.Stats{"cluster.good.upstream_cx_total": sessions})
	})
}

// TCP-18: no two sessions share an upstream connection, one after the other neither.
func TestTCPUpstreamConnectionsAreNotReused(t *testing.T) {
	harness.NoLeaks(t)
	o := echoes(t)
	p := harness.StartTCP(t, harness.TCPTopology{Clusters: to(o)})
	for range 5 {
		c := p.Dial().Send("x").WantText("x")
		c.Finish()
		_ = c.WantEnd()
	}
	p.AwaitLines(5)
	if n := o.Connections(); n != 5 {
		t.Errorf("%d upstream connections for 5 sessions", n)
	}
	p.WantStats(harness.Stats{
		onOrigin + "upstream_cx_total": 5, onOrigin + "upstream_cx_destroy": 5, onOrigin + "upstream_cx_http1_total": 0,
		onOrigin + "upstream_rq_total": 0, onOrigin + "upstream_rq_pending_total": 5,
	})
	if n := p.Histogram(onOrigin + "upstream_cx_length_ms").Count; n != 5 {
		t.Errorf("%d lengths", n)
	}
}
