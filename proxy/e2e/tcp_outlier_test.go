package e2e

import (
	"fmt"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// TCP-61: connecting that fails, or takes too long, counts against the host as a failure of local origin: as a 5xx
// answer, or apart from answers. The host is ejected, and sessions go to the other one.
func TestTCP61ConnectFailuresEject(t *testing.T) {
	for _, tc := range []struct {
		title string
		bad   func(t testing.TB) harness.Origin
		stat  string
	}{
		{"refused", harness.Refusing, "upstream_cx_connect_fail"}, {"timeout", harness.BlackHole, "upstream_cx_connect_timeout"},
	} {
		for split, name := range map[bool]string{false: "5xx", true: "local_origin_failure"} {
			t.Run(fmt.Sprintf("%s, split %v", tc.title, split), func(t *testing.T) {
				harness.NoLeaks(t)
				clusters := to(tc.bad(t), echoes(t))
				clusters[0].Fields = fmt.Sprintf("connect_timeout: 0.05s\noutlier_detection: { interval: 0.05s, base_ejection_time: 60s, max_ejection_time: 60s, max_ejection_percent: 50, "+
					"split_external_local_origin_errors: %v }", split) + noMerge
				p := harness.StartTCP(t, harness.TCPTopology{Clusters: clusters})
				harness.Eventually(t, "the host is ejected", func() bool {
					c := p.Dial()
					_ = c.Finish()
					_, _ = c.Rest()
					c.Close()
					return p.Stat(onOrigin+"outlier_detection.ejections_active") == 1
				})
				for range 10 {
					p.Dial().Send("hello").WantText("hello").Finish().Close()
				}
				s := p.Stats()
				if s[onOrigin+"outlier_detection.ejections_enforced_consecutive_"+name] != 1 || s[onOrigin+tc.stat] < 5 {
					t.Errorf("%d ejections, %d of %s", s[onOrigin+"outlier_detection.ejections_enforced_consecutive_"+name], s[onOrigin+tc.stat], tc.stat)
				}
			})
		}
	}
}

// TCP-61: a connection that comes up ends a run of failures.
func TestTCP61ConnectSuccessEndsARun(t *testing.T) {
	for split, name := range map[string]string{"false": "5xx", "true": "local_origin_failure"} {
		t.Run("split "+split, func(t *testing.T) {
			harness.NoLeaks(t)
			o := newMortal(t, "a")
			clusters := to(o)
			clusters[0].Fields = "outlier_detection: { interval: 0.05s, base_ejection_time: 60s, max_ejection_time: 60s, max_ejection_percent: 100, " +
				"split_external_local_origin_errors: " + split + " }" + noMerge
			p := harness.StartTCP(t, harness.TCPTopology{Clusters: clusters})
			detected := onOrigin + "outlier_detection.ejections_detected_consecutive_" + name
			connect := func(times int) {
				for range times { // a session that has no connection ends at once
					c := p.Dial()
					_ = c.Finish()
					_, _ = c.Rest()
					c.Close()
				}
			}
			o.kill()
			connect(4)
			o.revive()
			connect(1)
			o.kill()
			connect(4)
			p.WantStats(harness.Stats{onOrigin + "upstream_cx_total": 9, onOrigin + "upstream_cx_connect_fail": 8, detected: 0})
			connect(1)
			p.WantStats(harness.Stats{detected: 1})
		})
	}
}
