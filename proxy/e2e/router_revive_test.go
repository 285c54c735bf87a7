package e2e

import (
	"testing"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// TestNoRequestFailsWhileOriginsDieAndReturn: with retries on another host, origins that are killed with
// requests under way and come back cost no client an answer, whether outlier detection, active checks or
// neither sees to the hosts in the meantime.
func TestNoRequestFailsWhileOriginsDieAndReturn(t *testing.T) {
	for _, row := range []struct{ title, fields string }{
		{"retries alone", ""},
		{"outlier detection", "outlier_detection: { consecutive_5xx: 2, base_ejection_time: 0.1s, interval: 0.05s, max_ejection_percent: 60 }"},
		{"active checks", checks("healthy_edge_interval: 0.03s\nhttp_health_check: { path: /health }")},
	} {
		t.Run(row.title, func(t *testing.T) {
			harness.NoLeaks(t)
			hosts := []*mortal{newMortal(t, "a"), newMortal(t, "b"), newMortal(t, "c")}
			top := retrying(`retry_policy: { retry_on: "connect-failure,reset,5xx", num_retries: 4, host_selection_retry_max_attempts: 20,
  retry_host_predicate: [{ name: p, typed_config: { "@type": type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate } }],
  retry_back_off: { base_interval: 0.001s } }`, hosts[0], hosts[1], hosts[2])
			top.Loops = 2
			top.Clusters[0].Fields = row.fields + "\ncircuit_breakers: { thresholds: [{ max_retries: 1000 }] }"
			p := harness.Start(t, top)
			l := startLoad(t, p.Addr, 8, func(m *harness.Message) bool { return m.Status() == 200 })
			for i := range 6 {
				h := hosts[i%len(hosts)]
				h.kill()
				l.more(200)
				h.revive()
				l.more(200)
			}
			l.stop()
			if n := p.Stat(inHTTP + "downstream_rq_5xx"); n != 0 {
				t.Errorf("%d requests failed", n)
			}
			if s := p.Stats(); s[onOrigin+"upstream_rq_retry"] == 0 {
				t.Error("no request met a dead origin")
			}
		})
	}
}

// TestNoRequestFailsWhilePrioritiesFailOver: priority 0 dies whole, host by host, with requests under way,
// and comes back; retries that leave the priorities and hosts they were at find the other one before the
// checks or the ejections do, which then spare them the way. No request fails in the meantime.
func TestNoRequestFailsWhilePrioritiesFailOver(t *testing.T) {
	for _, row := range []struct{ title, fields, dead string }{
		{"active checks", checks("healthy_edge_interval: 0.03s\nhttp_health_check: { path: /health }"), "/failed_active_hc"},
		{"outlier detection", "outlier_detection: { consecutive_5xx: 2, base_ejection_time: 0.3s, max_ejection_time: 0.3s, interval: 0.05s, max_ejection_percent: 100 }\ncommon_lb_config: { update_merge_window: 0s, healthy_panic_threshold: { value: 0 } }", "/failed_outlier_check"},
	} {
		t.Run(row.title, func(t *testing.T) {
			harness.NoLeaks(t)
			hosts := []*mortal{newMortal(t, "a"), newMortal(t, "b"), newMortal(t, "c"), newMortal(t, "d")}
			var origins []harness.Origin
			for _, h := range hosts {
				origins = append(origins, h)
			}
			top := retrying(`retry_policy: { retry_on: "connect-failure,reset,5xx", num_retries: 6, host_selection_retry_max_attempts: 20,
  retry_host_predicate: [`+predicate(previousHosts, "")+`], retry_priority: `+predicate(previousPriority, ", update_frequency: 2")+`, retry_back_off: { base_interval: 0.001s } }`, origins...)
			top.Clusters[0].Fields = row.fields + "\ncircuit_breakers: { thresholds: [{ max_retries: 1000 }] }"
			log := t.TempDir() + "/log"
			k := harness.Load(t, top.YAML(log))
			for i := range k.Clusters[0].Endpoints {
				k.Clusters[0].Endpoints[i].Priority = uint32(i / 2)
			}
			k.Clusters[0].Raw = nil
			p := harness.StartConf(t, k, 2, log, origins...)
			l := startLoad(t, p.Addr, 8, func(m *harness.Message) bool { return m.Status() == 200 })
			for range 2 {
				hosts[0].kill()
				l.more(200)
				hosts[1].kill()
				awaitFlags(t, p, row.dead, row.dead, "healthy", "healthy")
				at := hosts[2].asked.Load() + hosts[3].asked.Load()
				l.more(300)
				if n := hosts[2].asked.Load() + hosts[3].asked.Load() - at; n < 290 {
					t.Errorf("%d of 300 requests went to priority 1", n)
				}
				hosts[0].revive()
				hosts[1].revive()
				awaitFlags(t, p, "healthy", "healthy", "healthy", "healthy")
				l.more(200)
			}
			l.stop()
			if n := p.Stat(inHTTP + "downstream_rq_5xx"); n != 0 {
				t.Errorf("%d requests failed", n)
			}
			if p.Stat(onOrigin+"upstream_rq_retry") == 0 || hosts[0].asked.Load() == 0 {
				t.Error("no request met a dead origin, or none a live one")
			}
		})
	}
}
