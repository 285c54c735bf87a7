package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// Checks go over the transport that requests use: TLS with the cluster's trust and server name.
func TestHealthCheckOverTLS(t *testing.T) {
	harness.NoLeaks(t)
	a, other := harness.NewAuthority(t), harness.NewAuthority(t)
	serve := harness.AnswerHTTP(func(*harness.Message) string { return harness.Reply("ok") })
	o := harness.NewTLSServer(t, serverConfig(t, a, "origin.test"), serve)
	for _, row := range []struct {
		trust *harness.Authority
		want  string
	}{{a, "healthy"}, {other, "/failed_active_hc"}} {
		p := harness.Start(t, harness.Topology{Clusters: overTLS(o, harness.ClientSocket(row.trust.Trust(), "sni: origin.test"), checks("http_health_check: { path: /health }"))})
		awaitFlags(t, p, row.want)
		harness.Eventually(t, "several checks", func() bool { return p.Stat("cluster.origin.health_check.attempt") > 2 })
		if got := flagsOf(p)[0]; got != row.want {
			t.Errorf("flags %s, want %s", got, row.want)
		}
	}
	for _, s := range o.States() {
		if s.ServerName != "origin.test" {
			t.Errorf("server name %q", s.ServerName)
		}
	}
}

// event_log_path: a line of JSON for each change, and for each failure where that is asked for.
func TestHealthCheckEventLog(t *testing.T) {
	harness.NoLeaks(t)
	a := newMortal(t, "a")
	path := filepath.Join(t.TempDir(), "events")
	p := harness.Start(t, checked(checks("event_log_path: "+path+"\nalways_log_health_check_failures: true\nhttp_health_check: { path: /health }"), a))
	awaitFlags(t, p, "healthy")
	a.healthStatus.Store(500)
	awaitFlags(t, p, "/failed_active_hc")
	var kinds []string
	harness.Eventually(t, "three lines", func() bool {
		text, _ := os.ReadFile(path)
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		if len(lines) < 3 {
			return false
		}
		kinds = nil
		for _, line := range lines[:3] {
			var e map[string]any
			if err := json.Unmarshal([]byte(line), &e); err != nil || e["cluster_name"] != "origin" || e["host"] != a.addr || e["health_checker_type"] != "HTTP" {
				t.Fatalf("%s: %v", line, err)
			}
			for _, k := range []string{"add_healthy_event", "eject_unhealthy_event", "health_check_failure_event"} {
				if e[k] != nil {
					kinds = append(kinds, k)
				}
			}
		}
		return true
	})
	if got := strings.Join(kinds, " "); got != "add_healthy_event eject_unhealthy_event health_check_failure_event" {
		t.Errorf("events %s", got)
	}
}
