package stats_test

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/sluiceproxy/sluice/proxy"
	"github.com/sluiceproxy/sluice/proxy/conf"
)

var rewrite = flag.Bool("rewrite", false, "write STATS.md")

// TestReferenceIsCurrent compares STATS.md with what a server registers; -rewrite writes it.
func TestReferenceIsCurrent(t *testing.T) {
	hcm := conf.NewHTTPConnectionManager("MANAGER")
	hcm.Routes = &conf.RouteConfiguration{}
	l := conf.NewListener("in", netip.MustParseAddrPort("127.0.0.1:0"), hcm)
	l.StatPrefix = "LISTENER"
	c := conf.NewCluster("CLUSTER", netip.MustParseAddrPort("127.0.0.1:1"))
	c.Breakers[0].TrackRemaining, c.Breakers[1].TrackRemaining = true, true
	s, err := proxy.New(proxy.Options{Config: &conf.Bootstrap{Listeners: []*conf.Listener{l}, Clusters: []*conf.Cluster{c}}, Concurrency: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	m := s.Registry().Collect()
	rows := map[string][]string{}
	add := func(name, kind string) {
		name = strings.NewReplacer("MANAGER", "<stat_prefix>", "LISTENER", "<address>", "CLUSTER", "<cluster>", "worker_0", "worker_<n>").Replace(name)
		root, _, _ := strings.Cut(name, ".")
		rows[root] = append(rows[root], fmt.Sprintf("| `%s` | %s |", name, kind))
	}
	for _, x := range m.Counters {
		add(x.Name, "counter")
	}
	for _, x := range m.Gauges {
		add(x.Name, "gauge")
	}
	for _, x := range m.Histograms {
		add(x.Name, "histogram")
	}
	for _, x := range m.Texts {
		add(x.Name, "text")
	}
	var b strings.Builder
	b.WriteString(`# Statistics

Generated from a server with one listener and one cluster (` + "`go test ./proxy/stats -rewrite`" + `); a test keeps it current.
Names are Envoy's. The admin interface serves them at ` + "`/stats`" + ` under these names and at ` + "`/stats/prometheus`" + ` as
` + "`envoy_...`" + ` with labels.

Besides these, responses are counted by status as they occur: ` + "`cluster.<cluster>.upstream_rq_<code>`" + `, and
` + "`upstream_rq_<code>`, `upstream_rq_<n>xx`, `upstream_rq_completed` and `upstream_rq_time` below `canary.`, `internal.`" + `
and ` + "`external.`" + `. ` + "`remaining_*`" + ` needs track_remaining of the circuit breaker.
`)
	roots := make([]string, 0, len(rows))
	for root := range rows {
		roots = append(roots, root)
	}
	slices.Sort(roots)
	for _, root := range roots {
		slices.Sort(rows[root])
		fmt.Fprintf(&b, "\n## %s\n\n| name | kind |\n|---|---|\n%s\n", root, strings.Join(rows[root], "\n"))
	}
	if *rewrite {
		if err := os.WriteFile("STATS.md", []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got, err := os.ReadFile("STATS.md"); err != nil || string(got) != b.String() {
		t.Errorf("STATS.md is not current (%v): run this test with -rewrite", err)
	}
}
