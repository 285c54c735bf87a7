package e2e

import (
	"fmt"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

const noMerge = "\ncommon_lb_config: { update_merge_window: 0s, healthy_panic_threshold: { value: 0 } }"

// CL-45: a host whose answers are 5xx in a row is ejected, and comes back after its time, which is longer
// the next time.
func TestCL45EjectionAndReturn(t *testing.T) {
	harness.NoLeaks(t)
	a, b := newMortal(t, "a"), newMortal(t, "b")
	a.status.Store(500)
	p := harness.Start(t, checked("outlier_detection: { consecutive_5xx: 3, interval: 0.05s, base_ejection_time: 0.2s, max_ejection_percent: 50 }"+noMerge, a, b))
	fails := 0
	harness.Eventually(t, "a is ejected", func() bool {
		if m := ask(t, p, "h", "/"); m.Status() == 500 {
			fails++
		}
		return p.Stat("cluster.origin.outlier_detection.ejections_active") == 1
	})
	if fails < 3 {
		t.Errorf("ejected after %d failures", fails)
	}
	a.status.Store(200)
	harness.Eventually(t, "a is back", func() bool { return p.Stat("cluster.origin.outlier_detection.ejections_active") == 0 })
	awaitFlags(t, p, "healthy", "healthy")
	s := p.Stats()
	if s["cluster.origin.outlier_detection.ejections_enforced_consecutive_5xx"] != 1 || s["cluster.origin.outlier_detection.ejections_enforced_total"] != 1 ||
		s["cluster.origin.outlier_detection.ejections_active"] != 0 || s["cluster.origin.outlier_detection.ejections_detected_consecutive_5xx"] != 1 {
		t.Errorf("stats %v", s)
	}
	harness.Eventually(t, "both serve again", func() bool {
		n := a.asked.Load()
		ask(t, p, "h", "/")
		return a.asked.Load() > n
	})
}

// CL-46: connect failures count as 5xx, and as local origin failures when split; of two hosts with
// max_ejection_percent 10 one may still be ejected, and no second one.
func TestCL46ConnectFailuresEject(t *testing.T) {
	for _, split := range []string{"false", "true"} {
		t.Run("split "+split, func(t *testing.T) {
			harness.NoLeaks(t)
			a, b := newMortal(t, "a"), newMortal(t, "b")
			p := harness.Start(t, checked("outlier_detection: { interval: 0.05s, base_ejection_time: 60s, max_ejection_time: 60s, split_external_local_origin_errors: "+split+" }"+noMerge, a, b))
			a.kill()
			harness.Eventually(t, "a is ejected", func() bool {
				ask(t, p, "h", "/")
				return p.Stat("cluster.origin.outlier_detection.ejections_active") == 1
			})
			for range 10 {
				if m := ask(t, p, "h", "/"); !bodyIs("b")(m) {
					t.Fatalf("got %s", m.Head())
				}
			}
			b.kill()
			harness.Eventually(t, "b is detected, too", func() bool {
				ask(t, p, "h", "/")
				return p.Stat("cluster.origin.outlier_detection.ejections_overflow") > 0
			})
			name := "cluster.origin.outlier_detection.ejections_enforced_consecutive_5xx"
			if split == "true" {
				name = "cluster.origin.outlier_detection.ejections_enforced_consecutive_local_origin_failure"
			}
			if p.Stat(name) != 1 {
				t.Errorf("%s is %d", name, p.Stat(name))
			}
			awaitFlags(t, p, "/failed_outlier_check", "healthy")
		})
	}
}

// fiveMortals returns a cluster's worth of origins, twice.
func fiveMortals(t *testing.T) (all []*mortal, origins []harness.Origin) {
	for range 5 {
		m := newMortal(t, "x")
		all, origins = append(all, m), append(origins, m)
	}
	return all, origins
}

// CL-45: a host whose success rate is far below the others' is ejected at the end of an interval.
func TestCL45SuccessRate(t *testing.T) {
	harness.NoLeaks(t)
	all, origins := fiveMortals(t)
	all[2].status.Store(500)
	p := harness.Start(t, checked(`outlier_detection: { interval: 0.3s, base_ejection_time: 60s, max_ejection_time: 60s, enforcing_consecutive_5xx: 0, success_rate_request_volume: 10, success_rate_stdev_factor: 1000 }`+noMerge, origins...))
	harness.Eventually(t, "ejected by its rate", func() bool {
		for range 100 {
			ask(t, p, "h", "/")
		}
		return p.Stat("cluster.origin.outlier_detection.ejections_enforced_success_rate") == 1
	})
	awaitFlags(t, p, "healthy", "healthy", "/failed_outlier_check", "healthy", "healthy")
	if p.Stat("cluster.origin.outlier_detection.ejections_enforced_consecutive_5xx") != 0 || p.Stat("cluster.origin.outlier_detection.ejections_detected_consecutive_5xx") == 0 {
		t.Error("consecutive_5xx is not only detected")
	}
}

// CL-45: failure_percentage.
func TestCL45FailurePercentage(t *testing.T) {
	harness.NoLeaks(t)
	a, b := newMortal(t, "a"), newMortal(t, "b")
	a.status.Store(503)
	p := harness.Start(t, checked(`outlier_detection: { interval: 0.3s, base_ejection_time: 60s, max_ejection_time: 60s, enforcing_consecutive_5xx: 0, enforcing_failure_percentage: 100, failure_percentage_minimum_hosts: 2, failure_percentage_request_volume: 10 }`+noMerge, a, b))
	harness.Eventually(t, "ejected by its failures", func() bool {
		for range 50 {
			ask(t, p, "h", "/")
		}
		return p.Stat("cluster.origin.outlier_detection.ejections_enforced_failure_percentage") == 1
	})
	awaitFlags(t, p, "/failed_outlier_check", "healthy")
}

// CL-45: each kind of failure ejects by itself, with the counts of its name; the others are detected at most.
func TestCL45EachKindEjects(t *testing.T) {
	const rates = "success_rate_minimum_hosts: 2, success_rate_request_volume: 10, success_rate_stdev_factor: 1000, " +
		"failure_percentage_minimum_hosts: 2, failure_percentage_request_volume: 10"
	for _, row := range []struct {
		kind  string
		split bool
		bad   func(m *mortal)
	}{
		{"consecutive_5xx", false, func(m *mortal) { m.status.Store(500) }},
		{"consecutive_gateway_failure", false, func(m *mortal) { m.status.Store(502) }},
		{"consecutive_local_origin_failure", true, (*mortal).kill},
		{"success_rate", false, func(m *mortal) { m.status.Store(500) }},
		{"local_origin_success_rate", true, (*mortal).kill},
		{"failure_percentage", false, func(m *mortal) { m.status.Store(500) }},
		{"failure_percentage_local_origin", true, (*mortal).kill},
	} {
		t.Run(row.kind, func(t *testing.T) {
			harness.NoLeaks(t)
			all, origins := fiveMortals(t)
			fields := ""
			for _, kind := range []string{
				"consecutive_5xx", "consecutive_gateway_failure", "consecutive_local_origin_failure", "success_rate", "local_origin_success_rate",
				"failure_percentage", "failure_percentage_local_origin",
			} {
				share := 0
				if kind == row.kind {
					share = 100
				}
				fields += fmt.Sprintf(", enforcing_%s: %d", kind, share)
			}
			p := harness.Start(t, checked(fmt.Sprintf("outlier_detection: { interval: 0.3s, base_ejection_time: 60s, max_ejection_time: 60s, split_external_local_origin_errors: %v, %s%s }",
				row.split, rates, fields)+noMerge, origins...))
			row.bad(all[2])
			const at = onOrigin + "outlier_detection.ejections_"
			harness.Eventually(t, "the host is ejected", func() bool {
				for range 100 {
					ask(t, p, "h", "/")
				}
				return p.Stat(at+"active") == 1
			})
			awaitFlags(t, p, "healthy", "healthy", "/failed_outlier_check", "healthy", "healthy")
			s := p.Stats()
			if s[at+"enforced_"+row.kind] != 1 || s[at+"enforced_total"] != 1 || s[at+"detected_"+row.kind] < 1 {
				t.Errorf("enforced %d of %d, detected %d", s[at+"enforced_"+row.kind], s[at+"enforced_total"], s[at+"detected_"+row.kind])
			}
		})
	}
}
