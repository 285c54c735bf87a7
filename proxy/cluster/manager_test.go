package cluster

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/stats"
)

func addrsOf(servers ...*nameserver) (a []netip.AddrPort) {
	for _, s := range servers {
		a = append(a, s.addr)
	}
	return a
}

// leavers records the clusters that went, in order.
type leavers struct {
	mu   sync.Mutex
	gone []*Cluster
}

func (l *leavers) add(gone []*Cluster) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gone = append(l.gone, gone...)
}

func (l *leavers) take() []*Cluster {
	l.mu.Lock()
	defer l.mu.Unlock()
	g := l.gone
	l.gone = nil
	return g
}

func expectManager(t *testing.T, r *stats.Registry, added, modified, removed uint64, active, warming int64) {
	t.Helper()
	for name, want := range map[string]uint64{"cluster_added": added, "cluster_modified": modified, "cluster_removed": removed} {
		if got := counter(r, "cluster_manager."+name); got != want {
			t.Errorf("%s is %d, want %d", name, got, want)
		}
	}
	expectGauges(t, r, map[string]int64{"cluster_manager.active_clusters": active, "cluster_manager.warming_clusters": warming})
}

func static(name string, n int) *conf.Cluster {
	c := conf.NewCluster(name)
	for i := range n {
		c.Endpoints = append(c.Endpoints, &conf.Endpoint{Address: addressOf(i), Weight: 1})
	}
	return c
}

func TestApplyAddsChangesAndRemoves(t *testing.T) {
	var l leavers
	m, r := managed(t, new(zone), Options{ClustersGone: l.add})
	select {
	case <-m.Ready():
		t.Fatal("ready before anything was applied")
	default:
	}
	apply(t, m, static("b", 1), static("a", 1))
	ready(t, m)
	expectManager(t, r, 2, 0, 0, 2, 0)
	a, b := lookup(m, "a"), lookup(m, "b")
	if all := m.Set().Clusters(); !slices.Equal(all, []*Cluster{a, b}) {
		t.Errorf("clusters %v", all)
	}
	hostOfA := a.Hosts().Hosts[0]

	apply(t, m, static("a", 1), static("b", 2), static("c", 1))
	expectManager(t, r, 3, 1, 0, 3, 0)
	if lookup(m, "a") != a || a.Hosts().Hosts[0] != hostOfA {
		t.Error("an unchanged cluster is another object")
	}
	if lookup(m, "b") == b || len(lookup(m, "b").Hosts().Hosts) != 2 {
		t.Error("the change did not arrive")
	}
	if gone := l.take(); !slices.Equal(gone, []*Cluster{b}) {
		t.Errorf("gone %v", gone)
	}

	apply(t, m, static("c", 1))
	expectManager(t, r, 3, 1, 2, 1, 0)
	if lookup(m, "a") != nil || len(l.take()) != 2 {
		t.Error("a removed cluster is still there")
	}
	if got := counter(r, "cluster.a.upstream_cx_total"); got != 1<<64-1 {
		t.Error("the series of a removed cluster are still shown")
	}
	expectGauges(t, r, map[string]int64{"cluster.c.membership_total": 1})
}

func TestRawDecidesWhetherAClusterChanged(t *testing.T) {
	m, _ := managed(t, new(zone), Options{})
	one, two := static("a", 1), static("a", 2)
	one.Raw, two.Raw = json.RawMessage(`{"name":"a"}`), json.RawMessage(`{"name":"a"}`)
	apply(t, m, one)
	c := lookup(m, "a")
	apply(t, m, two)
	if lookup(m, "a") != c {
		t.Error("equal Raw, yet another object")
	}
	two.Raw = json.RawMessage(`{"name":"a","x":1}`)
	apply(t, m, two)
	if lookup(m, "a") == c {
		t.Error("different Raw, yet the same object")
	}
}

func TestARejectedApplyChangesNothing(t *testing.T) {
	var l leavers
	m, r := managed(t, new(zone), Options{ClustersGone: l.add})
	apply(t, m, static("a", 1))
	before := m.Set()
	bad := static("z", 1)
	bad.ConnectTimeout = 0
	if err := m.Apply([]*conf.Cluster{static("b", 1), bad}); err == nil || !strings.HasPrefix(err.Error(), `clusters[1] "z": connect_timeout: `) {
		t.Errorf("error %v", err)
	}
	if m.Set() != before || len(l.take()) != 0 {
		t.Error("something changed")
	}
	expectManager(t, r, 1, 0, 0, 1, 0)
}

func TestAClusterServesWhenItIsWarm(t *testing.T) {
	var l leavers
	z := &zone{held: make(chan struct{})}
	z.set("one.test/4", 0, "10.0.0.1")
	z.set("two.test/4", 0, "10.0.0.2")
	m, r := managed(t, z, Options{ClustersGone: l.add})
	apply(t, m, static("a", 1))
	ready(t, m)
	old := lookup(m, "a")

	apply(t, m, dnsConf("a", "one.test", "two.test", "fails.test"), dnsConf("new", "one.test"))
	waiting := m.Ready()
	if lookup(m, "a") != old || lookup(m, "new") != nil {
		t.Error("a cluster serves before it is warm")
	}
	expectManager(t, r, 2, 1, 0, 1, 2)
	expectGauges(t, r, map[string]int64{"cluster.a.warming_state": 1, "cluster.a.membership_total": 1})
	select {
	case <-waiting:
		t.Fatal("ready while something warms")
	default:
	}

	close(z.held)
	ready(t, m)
	if now := lookup(m, "a"); now == old || len(now.Hosts().Hosts) != 2 {
		t.Errorf("hosts %v", texts(now))
	}
	if lookup(m, "new") == nil {
		t.Error("the new cluster does not serve")
	}
	eventually(t, "the replaced one is told", func() bool { return slices.Equal(l.take(), []*Cluster{old}) })
	expectManager(t, r, 2, 1, 0, 2, 0)
	expectGauges(t, r, map[string]int64{"cluster.a.warming_state": 0, "cluster.a.membership_total": 2})
}

func TestNoWaitForWarm(t *testing.T) {
	z := &zone{held: make(chan struct{})}
	m, _ := managed(t, z, Options{})
	c := dnsConf("a", "one.test")
	c.WaitForWarm = false
	apply(t, m, c)
	ready(t, m)
	if lookup(m, "a") == nil {
		t.Error("it waits")
	}
}

func TestWhatIsDroppedWhileWarmingNeverServes(t *testing.T) {
	for _, row := range []struct {
		name    string
		next    []*conf.Cluster
		modify  uint64
		removed uint64
		active  int64
	}{
		{"removed", nil, 0, 2, 0},
		{"changed again, to one without names", []*conf.Cluster{static("a", 3), static("new", 1)}, 2, 0, 2},
		{"changed back", []*conf.Cluster{static("a", 1)}, 1, 1, 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			var l leavers
			z := &zone{held: make(chan struct{})}
			z.set("one.test/4", 0, "10.0.0.1")
			m, r := managed(t, z, Options{ClustersGone: l.add})
			apply(t, m, static("a", 1))
			apply(t, m, dnsConf("a", "one.test"), dnsConf("new", "one.test"))
			apply(t, m, row.next...)
			ready(t, m)
			expectManager(t, r, 2, 1+row.modify, row.removed, row.active, 0)
			set := m.Set()
			close(z.held)
			m.Close() // waits for everything that could still come
			if m.Set() != set {
				t.Error("something was published afterwards")
			}
			for _, c := range set.Clusters() {
				if c.Conf.Type != conf.ClusterStatic {
					t.Errorf("%s serves", c.Conf.Name)
				}
			}
			if row.name == "changed back" {
				expectGauges(t, r, map[string]int64{"cluster.a.warming_state": 0})
			}
		})
	}
}

func TestTheSameConfigurationGoesOnWarming(t *testing.T) {
	z := &zone{held: make(chan struct{})}
	z.set("one.test/4", 0, "10.0.0.1")
	m, r := managed(t, z, Options{})
	apply(t, m, dnsConf("a", "one.test"))
	apply(t, m, dnsConf("a", "one.test"))
	expectManager(t, r, 1, 0, 0, 0, 1)
	close(z.held)
	ready(t, m)
	expectHosts(t, lookup(m, "a"), "10.0.0.1:80")
}

func TestRemovalLeavesTheSeriesOfLongerNamesAlone(t *testing.T) {
	m, r := managed(t, new(zone), Options{})
	apply(t, m, static("svc", 1), static("svc.canary", 1))
	apply(t, m, static("svc.canary", 1))
	expectGauges(t, r, map[string]int64{"cluster.svc.canary.membership_total": 1})
	apply(t, m)
	if got := gauges(r); got["cluster.svc.membership_total"] != 0 || got["cluster.svc.canary.membership_total"] != 0 {
		t.Error("series of removed clusters are still shown")
	}
}

func TestStatNames(t *testing.T) { // clusters.md 1
	m, r := managed(t, new(zone), Options{})
	c := static("a:b", 1)
	c.StatName = ""
	alt := static("c", 1)
	alt.StatName = "other"
	apply(t, m, c, alt)
	expectGauges(t, r, map[string]int64{"cluster.a_b.membership_total": 1, "cluster.other.membership_total": 1})
	back := static("c", 1) // the same cluster under its own name again
	apply(t, m, c, back)
	expectGauges(t, r, map[string]int64{"cluster.c.membership_total": 1})
	if _, shown := gauges(r)["cluster.other.membership_total"]; shown {
		t.Error("the former name is still shown")
	}
}

func TestCountsSurviveAChangeAndNotARemoval(t *testing.T) {
	m, r := managed(t, new(zone), Options{})
	s := r.NewShard()
	apply(t, m, static("a", 1))
	s.Inc(lookup(m, "a").Stats.UpstreamCxTotal)
	apply(t, m, static("a", 2))
	s.Inc(lookup(m, "a").Stats.UpstreamCxTotal)
	if got := counter(r, "cluster.a.upstream_cx_total"); got != 2 {
		t.Errorf("after a change: %d", got)
	}
	apply(t, m)
	apply(t, m, static("a", 1))
	if got := counter(r, "cluster.a.upstream_cx_total"); got != 0 {
		t.Errorf("after a removal: %d", got)
	}
}

func TestApplyFromManyGoroutines(t *testing.T) {
	z := new(zone)
	z.set("one.test/4", 0, "10.0.0.1")
	m, _ := managed(t, z, Options{})
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for n := range 20 {
				_ = m.Apply([]*conf.Cluster{static("a", 1+(i+n)%3), dnsConf("d", "one.test")})
				if c := lookup(m, "a"); c == nil || NewBalancer(c, 0).Pick(0) == nil {
					t.Error("a configured cluster is not there")
				}
			}
		})
	}
	wg.Wait()
	ready(t, m)
	expectHosts(t, lookup(m, "d"), "10.0.0.1:80")
}

func TestValidate(t *testing.T) {
	with := func(change func(c *conf.Cluster)) []*conf.Cluster {
		c := static("a", 1)
		change(c)
		return []*conf.Cluster{c}
	}
	name := conf.Address{Host: "one.test", Port: 80}
	for _, row := range []struct {
		clusters []*conf.Cluster
		want     string // "" is valid
	}{
		{nil, ""},
		{with(func(c *conf.Cluster) {}), ""},
		{with(func(c *conf.Cluster) { c.Endpoints = nil }), ""},
		{with(func(c *conf.Cluster) { c.Endpoints[0].Address = conf.Address{Pipe: "/run/x"} }), ""},
		{with(func(c *conf.Cluster) { c.Type, c.Endpoints[0].Address = conf.ClusterLogicalDNS, name }), ""},
		{[]*conf.Cluster{static("a", 1), static("a", 2)}, `clusters[1] "a": name: there is another cluster with this name`},
		{with(func(c *conf.Cluster) { c.Name = "" }), `clusters[0] "": name: must not be empty`},
		{with(func(c *conf.Cluster) { c.ConnectTimeout = 0 }), "connect_timeout: must be greater than 0"},
		{with(func(c *conf.Cluster) { c.Type, c.Endpoints = conf.ClusterLogicalDNS, nil }), "LOGICAL_DNS needs exactly one endpoint, not 0"},
		{with(func(c *conf.Cluster) {
			c.Type, c.DNSRefreshRate = conf.ClusterStrictDNS, time.Millisecond
		}), "dns_refresh_rate: must be greater than 1ms"},
		{with(func(c *conf.Cluster) { c.Endpoints[0].Address = name }), `load_assignment.endpoints[0].address: "one.test" is a name`},
		{with(func(c *conf.Cluster) {
			c.Type, c.Endpoints[0].Address = conf.ClusterStrictDNS, conf.Address{Host: "one.test"}
		}), "is no host name with a port"},
		{with(func(c *conf.Cluster) {
			c.Type, c.Endpoints[0].Address = conf.ClusterStrictDNS, conf.Address{Pipe: "/run/x"}
		}), "a pipe or internal listener needs a STATIC cluster"},
		{with(func(c *conf.Cluster) { c.Endpoints[0].Address = conf.Address{Internal: "x"} }), ""},
		{with(func(c *conf.Cluster) {
			c.Endpoints[0].Address = conf.Address{Internal: "x"}
			c.HealthCheck = &conf.HealthCheck{TCP: &conf.TCPHealthCheck{}, Timeout: 1, Interval: 1, HealthyThreshold: 1, UnhealthyThreshold: 1}
		}), "an internal listener cannot be checked"},
		{with(func(c *conf.Cluster) { c.Endpoints[0].Address = conf.Address{} }), "neither an IP address with a port nor a pipe"},
		{with(func(c *conf.Cluster) { c.Endpoints[0].Priority = 1 }), "priorities must be 0 and on, without a gap"},
		{with(func(c *conf.Cluster) { c.Endpoints[0].Priority = 129 }), "priority 129 is over 128"},
	} {
		err := Validate(row.clusters)
		if (err == nil) != (row.want == "") || (err != nil && !strings.Contains(err.Error(), row.want)) {
			t.Errorf("error %v, want %q", err, row.want)
		}
	}
}
