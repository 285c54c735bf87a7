package stats

import "testing"

// Prefixes end in a dot whether or not they are configured with one, as Envoy's do (tcp_proxy.md 12).
func TestNetworkFiltersHaveEnvoysNames(t *testing.T) {
	for _, row := range []struct {
		title  string
		open   func(*Registry)
		prefix string
		want   string
	}{
		{"cors", func(r *Registry) { NewCORSStats(r, "http.in.") }, "http.in.cors.", "origin_valid origin_invalid"},
		{"fault", func(r *Registry) { NewFaultStats(r, "http.in.") }, "http.in.fault.", "delays_injected aborts_injected response_rl_injected faults_overflow active_faults(g)"},
		{"HTTP local_ratelimit", func(r *Registry) { NewHTTPLocalRateLimitStats(r, "edge") }, "edge.http_local_rate_limit.", "enabled ok rate_limited enforced"},
		{"HTTP rbac", func(r *Registry) { NewHTTPRBACStats(r, "http.in.", "") }, "http.in.rbac.", "allowed denied"},
		{"HTTP rbac with a prefix", func(r *Registry) { NewHTTPRBACStats(r, "http.in.", "r.") }, "http.in.rbac.r.", "allowed denied"},
		{"HTTP rbac, shadow", func(r *Registry) { NewHTTPRBACShadowStats(r, "http.in.", "s.") }, "http.in.rbac.s.", "shadow_allowed shadow_denied"},
		{"rbac", func(r *Registry) { NewNetworkRBACStats(r, "edge") }, "edge.rbac.", "allowed denied"},
		{"rbac, a prefix with a dot", func(r *Registry) { NewNetworkRBACStats(r, "edge.") }, "edge.rbac.", "allowed denied"},
		{"rbac without a prefix", func(r *Registry) { NewNetworkRBACStats(r, "") }, "rbac.", "allowed denied"},
		{"rbac, an address as prefix", func(r *Registry) { NewNetworkRBACStats(r, "[::1]:80") }, "[__1]_80.rbac.", "allowed denied"},
		{"shadow rules", func(r *Registry) { NewNetworkRBACShadowStats(r, "edge", "") }, "edge.rbac.", "shadow_{allowed,denied}"},
		{"shadow rules with a prefix", func(r *Registry) { NewNetworkRBACShadowStats(r, "edge.", "next") }, "edge.rbac.next.", "shadow_{allowed,denied}"},
		{"shadow rules, a prefix with a dot", func(r *Registry) { NewNetworkRBACShadowStats(r, "edge", "next.") }, "edge.rbac.next.", "shadow_{allowed,denied}"},
		{"connection_limit", func(r *Registry) { NewConnectionLimitStats(r, "edge") }, "connection_limit.edge.", "limited_connections active_connections(g)"},
		{"local_ratelimit", func(r *Registry) { NewNetworkLocalRateLimitStats(r, "edge.") }, "local_rate_limit.edge.", "rate_limited"},
		{"set_filter_state", func(r *Registry) { NewSetFilterStateStats(r) }, "set_filter_state.", "refused"},
	} {
		t.Run(row.title, func(t *testing.T) {
			r := NewRegistry()
			row.open(r)
			got, want := kinds(r.Collect()), expand(row.prefix, row.want)
			for name, kind := range want {
				if got[name] != kind {
					t.Errorf("%s is %q, want %s", name, got[name], kind)
				}
			}
			if len(got) != len(want) {
				t.Errorf("%v, want %v", got, want)
			}
		})
	}
}
