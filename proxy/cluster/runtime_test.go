package cluster

import (
	"fmt"
	"log/slog"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/runtime"
	"github.com/sluiceproxy/sluice/proxy/stats"
)

// clusters.md 6: circuit_breakers.<cluster>.<priority>.<limit> changes limits while the proxy runs.
func TestBreakerLimitsByRuntime(t *testing.T) {
	l := runtime.New(stats.NewRegistry(), slog.New(slog.DiscardHandler))
	defer l.Close()
	layer := func(values map[string]string) {
		l.Apply([]conf.RuntimeLayer{{Name: "s", Values: values}, {Name: "a", Admin: true}}, "")
	}
	layer(map[string]string{"circuit_breakers.c.high.max_requests": "1"})
	c := conf.NewCluster("c")
	k := makeCluster(c, surroundings{stats: stats.NewRegistry(), runtime: l})
	high, low := k.Breakers[conf.PriorityHigh], k.Breakers[conf.PriorityDefault]
	if !high.TryRequest() || high.TryRequest() || !low.TryRequest() || !low.TryRequest() {
		t.Error("the limit of one priority is not its own")
	}
	if err := l.Modify(map[string]string{"circuit_breakers.c.high.max_requests": "2", "circuit_breakers.c.default.max_retries": "0"}); err != nil {
		t.Fatal(err)
	}
	if !high.TryRequest() || high.TryRequest() || low.TryRetry() {
		t.Error("a changed limit does not hold")
	}
}

// CL-23: a zone aware cluster shares out by the hosts of the local cluster, and anew when those change.
func TestCL23TheLocalClusterCounts(t *testing.T) {
	cluster := func(name string, zones ...int) *conf.Cluster {
		c := conf.NewCluster(name)
		for i, z := range zones {
			e := endpointAt(i, 0)
			e.Zone = fmt.Sprint("z", z)
			c.Endpoints = append(c.Endpoints, e)
		}
		return c
	}
	up := cluster("up", 0, 1, 1, 1)
	up.ZoneAware = &conf.ZoneAware{RoutingEnabled: 100}
	r := stats.NewRegistry()
	m := NewManager(Options{Stats: r, Logger: slog.New(slog.DiscardHandler)})
	defer m.Close()
	m.SetLocal("self", "", "z0", "")
	if err := m.Apply([]*conf.Cluster{up, cluster("self", 0, 1)}); err != nil {
		t.Fatal(err)
	}
	k := m.Set().Lookup([]byte("up"))
	part := func() uint64 {
		z := k.Hosts().Levels[0].crowds[healthyKind].zone
		if z == nil {
			return 1
		}
		return z.localPart
	}
	eventually(t, "half stays", func() bool { return part() == 5000 })
	if err := m.Apply([]*conf.Cluster{up, cluster("self", 0, 1, 1, 1, 1)}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all stays", func() bool { return part() == 0 && k.Hosts().Levels[0].crowds[healthyKind].zone.direct })
}
