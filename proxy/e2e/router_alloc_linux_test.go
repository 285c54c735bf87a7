//go:build !sluicedebug

package e2e

import (
	"fmt"
	"math"
	"net/netip"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// A request costs nothing without what the router and clusters can note of attempts, and nothing with it once
// the loop has made what it needs.
func TestWhatIsNotedOfAttemptsDoesNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	log := func(format string) string {
		return fmt.Sprintf(`upstream_log: [{ name: f, typed_config: { "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog, path: %q, log_format: { text_format_source: { inline_string: %q } } } }]`,
			filepath.Join(t.TempDir(), "log"), format+"\n")
	}
	plain := 0.0 // what is allocated with none of it, by the test itself too
	for _, row := range []struct{ title, router, cluster, policy string }{
		{"nothing", "", "", ""},
		{"track_cluster_stats", "", "track_cluster_stats: { timeout_budgets: true, request_response_sizes: true }", ""},
		{"drop_overloads", "", "", "{ drop_overloads: [{ category: some, drop_percentage: { numerator: 0 } }] }"},
		{"upstream_log", log(attemptLine), "", ""},
		{"upstream_log of heads, and more of it", log(attemptLine+" %REQ(:PATH)% %RESP(CONTENT-LENGTH)%") + ", upstream_log_options: { flush_upstream_log_on_upstream_stream: true, upstream_log_flush_interval: 100s }", "", ""},
	} {
		t.Run(row.title, func(t *testing.T) {
			o := harness.NewOrigin(t, "a")
			top := one(o)
			top.Clusters[0].Fields, top.Clusters[0].Policy = row.cluster, row.policy
			p := startRouter(t, top, row.router, o)
			body := strings.Repeat("x", 20_000)
			c := dialRawH1(t, netip.MustParseAddrPort(p.Addr), request("POST", "/bytes/100", fmt.Sprintf("Content-Length: %d", len(body)))+body)
			run := func(n int) {
				for range n {
					c.ask(100)
				}
			}
			run(200)
			least := math.MaxFloat64
			const n = 1000
			for range 3 {
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				run(n)
				runtime.ReadMemStats(&after)
				least = min(least, float64(after.Mallocs-before.Mallocs)/n)
			}
			if row.title == "nothing" {
				plain = least
			}
			t.Logf("%.3f allocations for each request", least)
			if least > plain+maxMallocsPerFiltered {
				t.Errorf("%.3f allocations for each request, %.3f without", least, plain)
			}
		})
	}
}
