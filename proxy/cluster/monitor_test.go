package cluster

import (
	"context"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/stats"
)

// applied applies one cluster and gives it when it serves.
func applied(t *testing.T, c *conf.Cluster, change func(o *Options)) (*Manager, *stats.Registry) {
	t.Helper()
	r := stats.NewRegistry()
	o := Options{Stats: r, Logger: slog.New(slog.DiscardHandler)}
	if change != nil {
		change(&o)
	}
	m := NewManager(o)
	t.Cleanup(m.Close)
	if err := m.Apply([]*conf.Cluster{c}); err != nil {
		t.Fatal(err)
	}
	return m, r
}

func hostFlags(k *Cluster) (out []string) {
	for _, h := range k.Hosts().Hosts {
		out = append(out, h.Flags().String())
	}
	return out
}

// port is a TCP port that accepts until it is closed.
func port(t *testing.T) (net.Listener, netip.AddrPort) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close() })
	return l, l.Addr().(*net.TCPAddr).AddrPort()
}

func tcpChecked(addrs ...netip.AddrPort) *conf.Cluster {
	c := conf.NewCluster("c", addrs...)
	every := 10 * time.Millisecond
	c.HealthCheck = &conf.HealthCheck{
		TCP: new(conf.TCPHealthCheck), Timeout: 5 * time.Second, Interval: every, NoTrafficInterval: every, NoTrafficHealthyInterval: every,
		UnhealthyInterval: every, UnhealthyEdgeInterval: every, HealthyEdgeInterval: every, HealthyThreshold: 1, UnhealthyThreshold: 1,
	}
	c.UpdateMergeWindow = 0
	return c
}

// clusters.md 1: with active checks a cluster serves after the first round of them, and
// cluster_manager.warming_clusters says that it waits.
func TestWarmingWaitsForTheFirstRoundOfChecks(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c := tcpChecked(l.Addr().(*net.TCPAddr).AddrPort())
	c.HealthCheck.TCP.Receive = [][]byte{[]byte("hello")}
	m, r := applied(t, c, nil)
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if m.Set().Lookup([]byte("c")) != nil || gauge(r, "cluster_manager.warming_clusters") != 1 || gauge(r, "cluster.c.warming_state") != 1 {
		t.Error("the cluster serves before its hosts were checked")
	}
	conn.Write([]byte("hello"))
	defer conn.Close()
	<-m.Ready()
	k := m.Set().Lookup([]byte("c"))
	if got := hostFlags(k)[0]; got != "healthy" || gauge(r, "cluster_manager.warming_clusters") != 0 {
		t.Errorf("host is %s", got)
	}
}

func gauge(r *stats.Registry, name string) int64 {
	for _, g := range r.Collect().Gauges {
		if g.Name == name {
			return g.Value
		}
	}
	return math.MinInt64
}

// clusters.md 1 and 7: a host that left the DNS answer stays while its checks succeed, unless
// ignore_health_on_host_removal; then it goes.
func TestRemovedHostsStayWhileHealthy(t *testing.T) {
	for _, ignore := range []bool{false, true} {
		l, at := port(t)
		c := tcpChecked()
		c.Type, c.DropUnhealthyOnRemoval = conf.ClusterStrictDNS, ignore
		c.Endpoints = []*conf.Endpoint{{Address: conf.Address{Host: "a.test", Port: at.Port()}, Weight: 1}}
		c.DNSRefreshRate = time.Hour
		gone := make(chan *Host, 9)
		m, _ := applied(t, c, func(o *Options) {
			o.resolver = fixedResolver{netip.MustParseAddr("127.0.0.1")}
			o.HostsGone = func(_ *Cluster, hosts []*Host) {
				for _, h := range hosts {
					gone <- h
				}
			}
		})
		<-m.Ready()
		k := m.Set().Lookup([]byte("c"))
		left, _ := k.resolved(0, []netip.AddrPort{netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), at.Port())})
		if ignore {
			if len(left) != 1 || len(k.Hosts().Hosts) != 1 {
				t.Errorf("%d left, %d there", len(left), len(k.Hosts().Hosts))
			}
			continue
		}
		if len(left) != 0 || len(k.Hosts().Hosts) != 2 || hostFlags(k)[0] != "/pending_dynamic_removal" {
			t.Fatalf("%d left, flags %v", len(left), hostFlags(k))
		}
		l.Close()
		if h := <-gone; h.Addr != at {
			t.Errorf("%v is gone", h.Addr)
		}
		eventually(t, "one host is left", func() bool { return len(k.Hosts().Hosts) == 1 })
	}
}

// CL-24: changes of health within the window make one set; a change of membership does not wait.
func TestCL24UpdatesMerge(t *testing.T) {
	c := conf.NewCluster("c", netip.MustParseAddrPort("127.0.0.1:1"), netip.MustParseAddrPort("127.0.0.1:2"), netip.MustParseAddrPort("127.0.0.1:3"))
	c.UpdateMergeWindow = 200 * time.Millisecond
	m, r := applied(t, c, nil)
	k := m.Set().Lookup([]byte("c"))
	mark := func(i int, mergeable bool) uint64 {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.hosts.Load().Hosts[i].mark(FailedActive, true)
		k.show(mergeable)
		return k.hosts.Load().Version
	}
	first := mark(0, true)
	if healthy := len(k.Hosts().Healthy); healthy != 2 {
		t.Fatalf("%d healthy: the first change does not show at once", healthy)
	}
	if mark(1, true) != first || mark(2, true) != first {
		t.Error("further changes did not wait")
	}
	eventually(t, "the others show", func() bool { return len(k.Hosts().Healthy) == 0 })
	if v := k.Hosts().Version; v != first+1 {
		t.Errorf("%d sets for two changes", v-first)
	}
	mark(0, true)
	mark(0, false)
	for name, want := range map[string]uint64{"update_out_of_merge_window": 1, "cluster_updated_via_merge": 1, "update_merge_cancelled": 1} {
		if got := counter(r, "cluster_manager."+name); got != want {
			t.Errorf("%s is %d, want %d", name, got, want)
		}
	}
}

// CL-45: the mean less the deviation times the factor.
func TestCL45SuccessLimit(t *testing.T) {
	hosts := []rated{{rate: 100}, {rate: 100}, {rate: 100}, {rate: 100}, {rate: 50}}
	mean, limit := successLimit(hosts, 450, 1.9)
	if mean != 90 || math.Abs(limit-(90-1.9*20)) > 1e-9 {
		t.Errorf("mean %v, limit %v", mean, limit)
	}
}

// outlierCluster makes a cluster of n hosts with outlier detection, whose clock nobody runs.
func outlierCluster(t *testing.T, n int, change func(o *conf.OutlierDetection)) (*Cluster, *stats.Registry) {
	t.Helper()
	c := conf.NewCluster("c")
	for i := range n {
		c.Endpoints = append(c.Endpoints, endpointAt(i, 0))
	}
	c.Outlier = conf.NewOutlierDetection()
	c.Outlier.Interval = time.Hour
	c.UpdateMergeWindow = 0
	if change != nil {
		change(c.Outlier)
	}
	m, r := applied(t, c, nil)
	return m.Set().Lookup([]byte("c")), r
}

// CL-45: an ejection lasts base times the ejections in a row, at most max; each interval without one takes
// one off.
func TestCL45EjectionsGetLonger(t *testing.T) {
	k, r := outlierCluster(t, 1, func(o *conf.OutlierDetection) {
		o.BaseEjection, o.MaxEjection, o.MaxEjectionPercent = 10*time.Second, 25*time.Second, 100
	})
	h, o := k.Hosts().Hosts[0], k.monitor.outlier
	k.mu.Lock()
	defer k.mu.Unlock()
	sweepAfter := func(d time.Duration) bool {
		h.ejection.at = time.Now().Add(-d)
		o.sweep([]*Host{h}, nil)
		return !h.ejection.out
	}
	for i, last := range []time.Duration{10 * time.Second, 20 * time.Second, 25 * time.Second, 25 * time.Second} {
		if !o.inARow(h, consecutive5xx) {
			t.Fatalf("ejection %d does not happen", i)
		}
		if sweepAfter(last - time.Second) {
			t.Errorf("ejection %d ends before %v", i, last)
		}
		if !sweepAfter(last) {
			t.Errorf("ejection %d does not end after %v", i, last)
		}
	}
	for range 9 {
		o.sweep([]*Host{h}, nil)
	}
	o.inARow(h, consecutive5xx)
	if !sweepAfter(10 * time.Second) {
		t.Error("good intervals do not count")
	}
	if counter(r, "cluster.c.outlier_detection.ejections_enforced_total") != 5 || gauge(r, "cluster.c.outlier_detection.ejections_active") != 0 {
		t.Error("ejections are not counted")
	}
}

// clusters.md 7.2: max_ejection_percent, with one host at least; always_eject_one_host where it is 0.
func TestMaxEjectionPercent(t *testing.T) {
	for _, row := range []struct {
		percent uint32
		always  bool
		want    int
	}{{10, false, 1}, {20, false, 2}, {30, false, 2}, {100, false, 6}, {0, false, 0}, {0, true, 1}} {
		k, r := outlierCluster(t, 6, func(o *conf.OutlierDetection) { o.MaxEjectionPercent, o.AlwaysEjectOne = row.percent, row.always })
		k.mu.Lock()
		for _, h := range k.Hosts().Hosts {
			k.monitor.outlier.inARow(h, consecutive5xx)
		}
		got := k.monitor.outlier.ejected
		k.mu.Unlock()
		if got != row.want || counter(r, "cluster.c.outlier_detection.ejections_overflow") != uint64(6-row.want) {
			t.Errorf("%+v: %d ejected", row, got)
		}
	}
}

// clusters.md 7.2: enforcing percentages are chances.
func TestEnforcingIsAChance(t *testing.T) {
	k, r := outlierCluster(t, 1, func(o *conf.OutlierDetection) { o.Enforcing5xx, o.MaxEjectionPercent = 30, 100 })
	h, o := k.Hosts().Hosts[0], k.monitor.outlier
	k.mu.Lock()
	defer k.mu.Unlock()
	const n = 10000
	for range n {
		if o.inARow(h, consecutive5xx) {
			o.back(h)
		}
	}
	near(t, "enforced", int(counter(r, "cluster.c.outlier_detection.ejections_enforced_consecutive_5xx")), n, .3)
	if got := counter(r, "cluster.c.outlier_detection.ejections_detected_consecutive_5xx"); got != n {
		t.Errorf("%d detected", got)
	}
}

// successful_active_health_check_uneject_host ends an ejection.
func TestCL46ActiveCheckEndsAnEjection(t *testing.T) {
	for _, on := range []bool{true, false} {
		_, at := port(t)
		c := tcpChecked(at)
		c.Outlier = conf.NewOutlierDetection()
		c.Outlier.MaxEjectionPercent, c.Outlier.UnejectOnHealthCheck = 100, on
		m, r := applied(t, c, nil)
		<-m.Ready()
		k := m.Set().Lookup([]byte("c"))
		h := k.Hosts().Hosts[0]
		var l HostLoad
		for range 5 {
			h.Answered(&l, 500)
		}
		eventually(t, "the ejection", func() bool { return counter(r, "cluster.c.outlier_detection.ejections_enforced_total") == 1 })
		if on {
			eventually(t, "the return", func() bool { return h.Flags() == 0 })
			continue
		}
		n := counter(r, "cluster.c.health_check.success")
		eventually(t, "more checks", func() bool { return counter(r, "cluster.c.health_check.success") > n+2 })
		if h.Flags() != FailedOutlier {
			t.Errorf("flags %s", h.Flags())
		}
	}
}

// fixedResolver answers everything with one address.
type fixedResolver struct{ addr netip.Addr }

func (f fixedResolver) lookup(_ context.Context, _ string, v6 bool) (answer, error) {
	if v6 {
		return answer{}, nil
	}
	return answer{addrs: []netip.Addr{f.addr}}, nil
}
