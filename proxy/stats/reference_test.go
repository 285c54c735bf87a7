package stats_test

import (
	"context"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/proxy"
	"github.com/sluiceproxy/sluice/proxy/cluster"
	"github.com/sluiceproxy/sluice/proxy/conf"
)

// nothing is a provider without clusters.
type nothing struct{}

func (nothing) Lookup(context.Context, string) (*conf.Cluster, error) { return nil, nil }
func (nothing) Watch(func(string)) func()                             { return func() {} }

var rewrite = flag.Bool("rewrite", false, "write STATS.md")

// TestReferenceIsCurrent compares STATS.md with what a server registers; -rewrite writes it.
func TestReferenceIsCurrent(t *testing.T) {
	hcm := conf.NewHTTPConnectionManager("MANAGER")
	counted := &conf.Route{StatPrefix: "ROUTE", Match: conf.RouteMatch{Path: "/"}, Direct: &conf.DirectResponse{Status: 200}}
	hcm.Routes = &conf.RouteConfiguration{VirtualHosts: []*conf.VirtualHost{{
		Name: "VHOST", Domains: []string{"*"}, Routes: []*conf.Route{counted},
		VirtualClusters: []*conf.VirtualCluster{{Name: "VIRTUAL", Headers: []*conf.HeaderMatcher{{Name: "x", Kind: conf.MatchPresent}}}},
	}}}
	for _, f := range []any{
		&conf.CORSFilter{}, &conf.FaultFilter{}, &conf.HTTPRBAC{ShadowRulesStatPrefix: "SHADOW."}, &conf.LocalRateLimitFilter{StatPrefix: "FILTER"},
	} {
		hcm.Filters = append(hcm.Filters, &conf.HTTPFilter{Name: "filter", Config: f})
	}
	l := conf.NewListener("in", netip.MustParseAddrPort("127.0.0.1:0"), &conf.FilterChain{HTTP: hcm, Filters: networkFilters()})
	l.StatPrefix = "LISTENER"
	l.Filters = []conf.ListenerFilter{
		{TLSInspector: &conf.TLSInspector{}}, {HTTPInspector: &conf.HTTPInspector{}}, {ProxyProtocol: &conf.ProxyProtocol{}},
	}
	l.DefaultFilterChain = &conf.FilterChain{TCP: conf.NewTCPProxy("MANAGER", "CLUSTER")}
	l.DefaultFilterChain.TCP.OnDemand = &conf.OnDemand{Timeout: time.Minute}
	g := conf.NewListener("generic", netip.MustParseAddrPort("127.0.0.1:0"), &conf.FilterChain{
		Generic: conf.NewGenericProxy("MANAGER", conf.GenericCodec{Kind: conf.GenericRedis}, "CLUSTER"),
	})
	g.StatPrefix = "LISTENER"
	c := conf.NewCluster("CLUSTER", netip.MustParseAddrPort("127.0.0.1:1"))
	c.Breakers[0].TrackRemaining, c.Breakers[1].TrackRemaining = true, true
	c.DropOverload = conf.Fraction{Numerator: 1, Denominator: 100}
	c.TrackTimeoutBudgets, c.TrackRequestResponseSizes = true, true
	clusters := []*conf.Cluster{c}
	for name, lb := range map[string]conf.LBPolicy{"ring": conf.RingHash, "maglev": conf.Maglev} {
		k := conf.NewCluster(name)
		k.StatName, k.LB = c.Name, lb
		k.Subsets = &conf.Subsets{Selectors: []conf.SubsetSelector{{Keys: []string{"key"}}}}
		clusters = append(clusters, k)
	}
	watched := conf.NewCluster("watched")
	watched.StatName, watched.Outlier, watched.ZoneAware = c.Name, conf.NewOutlierDetection(), &conf.ZoneAware{RoutingEnabled: 100}
	watched.HealthCheck = &conf.HealthCheck{TCP: &conf.TCPHealthCheck{}, Timeout: time.Second, Interval: time.Second, HealthyThreshold: 1, UnhealthyThreshold: 1}
	forward := conf.NewCluster("forward")
	forward.StatName, forward.Type, forward.LB, forward.DNSCache = c.Name, conf.ClusterDynamicForward, conf.ClusterProvided, conf.NewDNSCache("CACHE")
	clusters = append(clusters, watched, forward)
	s, err := proxy.New(proxy.Options{Config: &conf.Bootstrap{Listeners: []*conf.Listener{l, g}, Clusters: clusters}, Concurrency: 1,
		OnDemandClusters: func(string) (cluster.Provider, error) { return nothing{}, nil }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	m := s.Registry().Collect()
	rows := map[string][]string{}
	add := func(name, kind string) {
		name = strings.NewReplacer("MANAGER", "<stat_prefix>", "FILTER", "<stat_prefix>", "SHADOW", "<shadow_rules_stat_prefix>", "LISTENER", "<address>", "CLUSTER", "<cluster>", "CACHE", "<name>", "VHOST", "<virtual host>", "VIRTUAL", "<virtual cluster>", "ROUTE", "<stat_prefix>", "worker_0", "worker_<n>").Replace(name)
		root, rest, _ := strings.Cut(name, ".")
		if root == "<stat_prefix>" {
			root, _, _ = strings.Cut(rest, ".")
		}
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
and ` + "`external.`" + `. ` + "`remaining_*`" + ` needs track_remaining of the circuit breaker, ` + "`lb_subsets_*`" + ` an
lb_subset_config with selectors, ` + "`ring_hash_lb.*` and `maglev_lb.*`" + ` that lb_policy, ` + "`upstream_rq_drop_overload`" + ` a
drop_overloads, ` + "`upstream_rq_timeout_budget_*`" + ` and the sizes of requests and responses (` + "`upstream_rq_headers_size`" + ` and
those beside it) a track_cluster_stats. Of Envoy's names below ` + "`cluster.<cluster>.`" + ` those are left out that only HTTP/3
(` + "`upstream_cx_http3_total`, `upstream_cx_connect_with_0_rtt`" + `) or a management server (` + "`version`, `update_duration`" + `,
` + "`config_reload`, `assignment_stale`, `assignment_timeout_received`" + `) would move.
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

// networkFilters are those with statistics.
func networkFilters() []conf.NetworkFilter {
	return []conf.NetworkFilter{
		{SetFilterState: &conf.SetFilterState{}},
		{RBAC: &conf.NetworkRBAC{StatPrefix: "FILTER", ShadowRulesStatPrefix: "SHADOW"}},
		{ConnectionLimit: &conf.ConnectionLimit{StatPrefix: "FILTER", MaxConnections: 1}},
		{LocalRateLimit: &conf.NetworkLocalRateLimit{StatPrefix: "FILTER", MaxTokens: 1, TokensPerFill: 1, FillInterval: time.Second}},
	}
}
