package cluster

import (
	"fmt"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/runtime"
	"github.com/sluiceproxy/sluice/proxy/stats"
)

// sick makes a cluster of ten hosts, some of which are not healthy.
func sick(unhealthy, draining int, change func(c *conf.Cluster), l *runtime.Loader) (*Cluster, *Balancer, *stats.Registry) {
	c := conf.NewCluster("c")
	for i := range 10 {
		e := endpointAt(i, 0)
		switch {
		case i < unhealthy:
			e.Health = conf.EndpointUnhealthy
		case i < unhealthy+draining:
			e.Health = conf.EndpointDraining
		}
		c.Endpoints = append(c.Endpoints, e)
	}
	if change != nil {
		change(c)
	}
	r := stats.NewRegistry()
	k := makeCluster(c, surroundings{stats: r, runtime: l})
	k.publish(r)
	b := NewBalancer(k, 0)
	b.SetShard(r.NewShard())
	return k, b, r
}

// CL-22: the threshold, its runtime key, what 0 means, and fail_traffic_on_panic.
func TestCL22Panic(t *testing.T) {
	low := runtime.New(stats.NewRegistry(), nil)
	defer low.Close()
	low.Apply([]conf.RuntimeLayer{{Name: "s", Values: map[string]string{"upstream.healthy_panic_threshold": "10"}}}, "")
	fail := func(c *conf.Cluster) { c.ZoneAware = &conf.ZoneAware{FailOnPanic: true} }
	for _, row := range []struct {
		name      string
		unhealthy int
		change    func(c *conf.Cluster)
		runtime   *runtime.Loader
		want      string // how many hosts get requests; panics counted
	}{
		{"half", 5, nil, nil, "5 0"},
		{"less than half", 6, nil, nil, "10 100"},
		{"a lower threshold", 6, func(c *conf.Cluster) { c.PanicThreshold = 40 }, nil, "4 0"},
		{"never", 9, func(c *conf.Cluster) { c.PanicThreshold = 0 }, nil, "1 0"},
		{"never, and nobody is healthy", 10, func(c *conf.Cluster) { c.PanicThreshold = 0 }, nil, "0 0"},
		{"by runtime", 8, nil, low, "2 0"},
		{"fail_traffic_on_panic", 6, fail, nil, "0 100"},
		{"fail_traffic_on_panic without panic", 5, fail, nil, "5 0"},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, b, r := sick(row.unhealthy, 0, row.change, row.runtime)
			seen := map[*Host]bool{}
			for range 100 {
				if h := b.Pick(7); h != nil {
					seen[h] = true
				}
			}
			if got := fmt.Sprint(len(seen), " ", counter(r, "cluster.c.lb_healthy_panic")); got != row.want {
				t.Errorf("got %s, want %s", got, row.want)
			}
		})
	}
}

// CL-21: excluded hosts (draining here) do not count in any total.
func TestCL21ExcludedHostsDoNotCount(t *testing.T) {
	k, _, r := sick(2, 6, nil, nil) // 2 of 4 that count are healthy: 50 % * 1.4
	if l := k.Hosts().Levels[0]; l.available[healthyKind] != 70 || l.Panic || len(l.Excluded) != 6 {
		t.Errorf("%d %v %d", l.available[healthyKind], l.Panic, len(l.Excluded))
	}
	if n := r.Collect(); n == nil {
		t.Error("nothing is collected")
	}
	if v := k.Stats.MembershipExcluded.Value(); v != 6 {
		t.Errorf("membership_excluded %d", v)
	}
}

// clusters.md 2: overprovisioning_factor and weighted_priority_health.
func TestCL20Overprovisioning(t *testing.T) {
	for _, row := range []struct {
		factor   uint32
		weighted bool
		want     uint32
	}{{140, false, 70}, {100, false, 50}, {200, false, 100}, {100, true, 10}} {
		k, _, _ := sick(5, 0, func(c *conf.Cluster) {
			c.Overprovisioning, c.WeightedPriorityHealth = row.factor, row.weighted
			for _, e := range c.Endpoints[:5] {
				e.Weight = 9
			}
		}, nil)
		if got := k.Hosts().Levels[0].available[healthyKind]; got != row.want {
			t.Errorf("%+v: %d", row, got)
		}
	}
}

// CL-41: the flags' words are those of /clusters.
func TestCL41FlagsInWords(t *testing.T) {
	for f, want := range map[HealthFlags]string{
		0: "healthy", FailedActive | ActiveTimeout: "/failed_active_hc/active_hc_timeout", FailedOutlier: "/failed_outlier_check",
		FailedConfigured: "/failed_eds_health", DegradedActive | DegradedConfigured: "/degraded_active_hc/degraded_eds_health",
		PendingRemoval | PendingActive: "/pending_dynamic_removal/pending_active_hc", Excluded: "/excluded_via_immediate_hc_fail", Draining: "/eds_status_draining",
	} {
		if f.String() != want {
			t.Errorf("%b is %s, want %s", f, f, want)
		}
	}
}
