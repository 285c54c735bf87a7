package e2e

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// checks is a health check with short intervals; more are its further fields.
func checks(more string) string {
	return "health_checks:\n- timeout: 2s\n  interval: 0.03s\n  no_traffic_interval: 0.03s\n  unhealthy_threshold: 2\n  healthy_threshold: 2\n" +
		"  unhealthy_interval: 0.03s\n" + indentBy(2, more) + "\ncommon_lb_config: { update_merge_window: 0s, healthy_panic_threshold: { value: 0 } }"
}

func indentBy(n int, text string) string {
	pad := strings.Repeat(" ", n)
	return pad + strings.ReplaceAll(text, "\n", "\n"+pad)
}

func checked(fields string, origins ...harness.Origin) harness.Topology {
	return harness.Topology{Clusters: []harness.Cluster{{Name: "origin", Origins: origins, Fields: fields}}}
}

// flagsOf returns the health flags of the proxy's hosts, in order.
func flagsOf(p *harness.Proxy) (out []string) {
	for _, c := range p.Server.Clusters() {
		for _, h := range c.Hosts().Hosts {
			out = append(out, h.Flags().String())
		}
	}
	return out
}

func awaitFlags(t *testing.T, p *harness.Proxy, want ...string) {
	t.Helper()
	got := ""
	harness.Eventually(t, fmt.Sprintf("flags %v", want), func() bool {
		got = fmt.Sprint(flagsOf(p))
		return got == fmt.Sprint(want)
	})
}

// CL-40: with the first result a host is healthy or not, and the cluster serves; a host that dies gets no
// more requests and one that comes back does.
func TestCL40FirstResultCountsAndHostsComeAndGo(t *testing.T) {
	for _, kind := range []string{"http", "http2", "tcp"} {
		t.Run(kind, func(t *testing.T) {
			harness.NoLeaks(t)
			a, b := newMortal(t, "a"), newMortal(t, "b")
			b.kill()
			check := map[string]string{
				"http": "http_health_check: { path: /health }", "http2": "http_health_check: { path: /health, codec_client_type: HTTP2 }",
				"tcp": "tcp_health_check: {}",
			}[kind]
			p := harness.Start(t, checked(checks(check), a, b))
			awaitFlags(t, p, "healthy", "/failed_active_hc")
			for range 10 {
				if m := ask(t, p, "h", "/"); !bodyIs("a")(m) {
					t.Fatalf("got %s", m.Head())
				}
			}
			b.revive()
			awaitFlags(t, p, "healthy", "healthy")
			a.kill()
			awaitFlags(t, p, "/failed_active_hc", "healthy")
			for range 10 {
				if m := ask(t, p, "h", "/"); !bodyIs("b")(m) {
					t.Fatalf("got %s", m.Head())
				}
			}
			s := p.Stats()
			if s["cluster.origin.health_check.healthy"] != 1 || s["cluster.origin.membership_healthy"] != 1 || s["cluster.origin.membership_total"] != 2 ||
				s["cluster.origin.health_check.attempt"] < 6 || s["cluster.origin.health_check.network_failure"] < 2 || s["cluster.origin.health_check.success"] < 3 {
				t.Errorf("stats %v", s)
			}
		})
	}
}

// CL-42, clusters.md 7.1: what a check says of itself.
func TestCL42WhatAnHTTPCheckAsks(t *testing.T) {
	harness.NoLeaks(t)
	a := newMortal(t, "a")
	p := harness.Start(t, checked(checks(`http_health_check:
  path: /health?deep=1
  method: HEAD
  host: check.test
  request_headers_to_add: [{ header: { key: x-check, value: "100%%" } }]`), a))
	awaitFlags(t, p, "healthy")
	r := a.last.Load()
	if r.Method != "HEAD" || r.URL.String() != "/health?deep=1" || r.Host != "check.test" || r.UserAgent() != "Envoy/HC" || r.Header.Get("X-Check") != "100%" {
		t.Errorf("%s %s %s %v", r.Method, r.URL, r.Host, r.Header)
	}
}

// The host of a check is the cluster's name by default.
func TestHealthCheckHostIsTheClustersName(t *testing.T) {
	harness.NoLeaks(t)
	a := newMortal(t, "a")
	p := harness.Start(t, checked(checks("http_health_check: { path: /health }"), a))
	awaitFlags(t, p, "healthy")
	if r := a.last.Load(); r.Host != "origin" || r.Method != "GET" {
		t.Errorf("%s %s", r.Method, r.Host)
	}
}

// CL-40: an unexpected status makes unhealthy at once, a retriable one and no answer by the threshold.
func TestCL40StatusesOfChecks(t *testing.T) {
	harness.NoLeaks(t)
	a := newMortal(t, "a")
	p := harness.Start(t, checked(checks(`http_health_check:
  path: /health
  expected_statuses: [{ start: 200, end: 204 }]
  retriable_statuses: [{ start: 503, end: 504 }]`), a))
	awaitFlags(t, p, "healthy")
	a.healthStatus.Store(202)
	n := a.checked.Load()
	harness.Eventually(t, "more checks", func() bool { return a.checked.Load() > n+3 })
	awaitFlags(t, p, "healthy")
	a.healthStatus.Store(500)
	awaitFlags(t, p, "/failed_active_hc")
	a.healthStatus.Store(200)
	awaitFlags(t, p, "healthy")
	a.healthStatus.Store(503)
	awaitFlags(t, p, "/failed_active_hc")
	if m := ask(t, p, "h", "/"); m.Status() != 503 {
		t.Errorf("with no healthy host: %s", m.Head())
	}
}

// CL-41: x-envoy-degraded in a check's answer, and x-envoy-immediate-health-check-fail in one to a request.
func TestCL41DegradedAndImmediateFailure(t *testing.T) {
	harness.NoLeaks(t)
	a, b := newMortal(t, "a"), newMortal(t, "b")
	a.header.Store(&[2]string{"x-envoy-degraded", "true"})
	p := harness.Start(t, checked(checks("healthy_edge_interval: 0.03s\nhttp_health_check: { path: /health }"), a, b))
	awaitFlags(t, p, "/degraded_active_hc", "healthy")
	p.WantStats(harness.Stats{"cluster.origin.membership_degraded": 1, "cluster.origin.health_check.degraded": 1})
	a.header.Store(&[2]string{"x", "y"})
	awaitFlags(t, p, "healthy", "healthy")
	for _, o := range []*mortal{a, b} {
		o.header.Store(&[2]string{"x-envoy-immediate-health-check-fail", "true"}) // stays out
	}
	awaitFlags(t, p, "/failed_active_hc/excluded_via_immediate_hc_fail", "/failed_active_hc/excluded_via_immediate_hc_fail")
	p.WantStats(harness.Stats{"cluster.origin.membership_excluded": 2})
	for _, o := range []*mortal{a, b} {
		o.header.Store(&[2]string{"x", "y"})
	}
	awaitFlags(t, p, "healthy", "healthy")
	a.askHeader.Store(&[2]string{"x-envoy-immediate-health-check-fail", "true"})
	harness.Eventually(t, "a passive failure is counted", func() bool {
		ask(t, p, "h", "/")
		return p.Stat("cluster.origin.health_check.passive_failure") > 0
	})
}

// service_name_matcher looks at x-envoy-upstream-healthchecked-cluster.
func TestHealthCheckServiceName(t *testing.T) {
	harness.NoLeaks(t)
	a, b := newMortal(t, "a"), newMortal(t, "b")
	a.header.Store(&[2]string{"x-envoy-upstream-healthchecked-cluster", "orig-1"})
	b.header.Store(&[2]string{"x-envoy-upstream-healthchecked-cluster", "other"})
	p := harness.Start(t, checked(checks("http_health_check: { path: /health, service_name_matcher: { prefix: orig } }"), a, b))
	awaitFlags(t, p, "healthy", "/failed_active_hc")
	if p.Stat("cluster.origin.health_check.verify_cluster") < 2 {
		t.Error("verify_cluster is not counted")
	}
}

// A check's body is looked at.
func TestHealthCheckReceive(t *testing.T) {
	harness.NoLeaks(t)
	a, b := newMortal(t, "hello world"), newMortal(t, "world hello")
	p := harness.Start(t, checked(checks("http_health_check: { path: /health, receive: [{ text: \"68656c6c6f\" }, { text: \"776f726c64\" }] }"), a, b))
	awaitFlags(t, p, "healthy", "/failed_active_hc")
}

// A TCP check sends and wants an answer, over one connection when it may.
func TestTCPHealthCheckSendsAndReceives(t *testing.T) {
	harness.NoLeaks(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	accepted := make(chan struct{}, 100)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			accepted <- struct{}{}
			go func() {
				defer c.Close()
				b := make([]byte, 4)
				for {
					if n, err := c.Read(b); err != nil || string(b[:n]) != "PING" {
						return
					}
					fmt.Fprint(c, "+PO")
					fmt.Fprint(c, "NG\r\n")
				}
			}()
		}
	}()
	p := harness.Start(t, checked(checks("tcp_health_check: { send: { text: \"50494e47\" }, receive: [{ text: \"504f4e47\" }] }"), harness.At(l.Addr().String())))
	awaitFlags(t, p, "healthy")
	harness.Eventually(t, "several checks", func() bool { return p.Stat("cluster.origin.health_check.success") > 5 })
	if len(accepted) != 1 {
		t.Errorf("%d connections", len(accepted))
	}
}

// close_connections_on_host_health_failure: a TCP session with a host that fails its checks ends.
func TestCloseConnectionsOnHostHealthFailure(t *testing.T) {
	for _, set := range []bool{false, true} {
		t.Run(fmt.Sprint(set), func(t *testing.T) {
			harness.NoLeaks(t)
			checkAt := newMortal(t, "health")
			o := echoes(t)
			_, port, _ := net.SplitHostPort(checkAt.addr)
			top := harness.TCPTopology{Clusters: []harness.Cluster{{Name: "origin", Fields: checks("http_health_check: { path: /health }") +
				fmt.Sprintf("\nclose_connections_on_host_health_failure: %v", set), Origins: []harness.Origin{o}, Check: port}}}
			p := harness.StartTCP(t, top)
			awaitFlags(t, p, "healthy")
			s, err := net.Dial("tcp", p.Addr)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			harness.Eventually(t, "the session is there", func() bool { return p.Stat("cluster.origin.upstream_cx_active") == 1 })
			checkAt.healthStatus.Store(500)
			awaitFlags(t, p, "/failed_active_hc")
			if set {
				if _, err := s.Read(make([]byte, 1)); err == nil {
					t.Error("the session goes on")
				}
				return
			}
			n := checkAt.checked.Load()
			harness.Eventually(t, "more checks", func() bool { return checkAt.checked.Load() > n+3 })
			if p.Stat("cluster.origin.upstream_cx_active") != 1 {
				t.Error("the session ended")
			}
		})
	}
}
