package cluster

import (
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/stats"
)

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// dnsConf is a STRICT_DNS cluster that refreshes quickly.
func dnsConf(name string, hosts ...string) *conf.Cluster {
	c := conf.NewCluster(name)
	c.Type, c.DNSFamily = conf.ClusterStrictDNS, conf.DNSV4Only
	c.DNSRefreshRate, c.DNSFailureRefreshBase = 5*time.Millisecond, 5*time.Millisecond
	for _, h := range hosts {
		c.Endpoints = append(c.Endpoints, &conf.Endpoint{Address: conf.Address{Host: h, Port: 80}, Weight: 1})
	}
	return c
}

// managed starts a manager whose names come from z.
func managed(t *testing.T, z resolver, o Options) (*Manager, *stats.Registry) {
	t.Helper()
	o.Stats, o.Logger, o.resolver = stats.NewRegistry(), quiet(), z
	m := NewManager(o)
	t.Cleanup(m.Close)
	return m, o.Stats
}

func apply(t *testing.T, m *Manager, clusters ...*conf.Cluster) {
	t.Helper()
	if err := m.Apply(clusters); err != nil {
		t.Fatal(err)
	}
}

func ready(t *testing.T, m *Manager) {
	t.Helper()
	select {
	case <-m.Ready():
	case <-time.After(10 * time.Second):
		t.Fatal("never ready")
	}
}

func lookup(m *Manager, name string) *Cluster { return m.Set().Lookup([]byte(name)) }

func TestStrictDNSFollowsTheServer(t *testing.T) { // clusters.md 2
	s := serve(t)
	s.set("one.test. 30 IN A 10.0.0.1", "one.test. 30 IN A 10.0.0.2")
	gone := make(chan []*Host, 10)
	m, _ := managed(t, newServerResolver(addrsOf(s), false), Options{HostsGone: func(_ *Cluster, h []*Host) { gone <- h }})
	apply(t, m, dnsConf("c", "one.test"))
	ready(t, m)
	c := lookup(m, "c")
	if got := texts(c); len(got) != 2 {
		t.Fatalf("hosts %v", got)
	}
	stays := c.Hosts().Hosts[0]
	s.set("one.test. 30 IN A "+stays.Addr.Addr().String(), "one.test. 30 IN A 10.0.0.3")
	select {
	case h := <-gone:
		if len(h) != 1 || h[0] == stays {
			t.Errorf("gone: %v", h)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the host that left was not told")
	}
	if set := c.Hosts(); len(set.Hosts) != 2 || set.Hosts[0] != stays || set.Hosts[1].AddrText != "10.0.0.3:80" {
		t.Errorf("hosts %v", texts(c))
	}
}

func TestFailureKeepsTheHosts(t *testing.T) { // clusters.md 2
	z := new(zone)
	z.set("one.test/4", 0, "10.0.0.1")
	m, r := managed(t, z, Options{})
	apply(t, m, dnsConf("c", "one.test"))
	ready(t, m)
	c := lookup(m, "c")
	eventually(t, "no_rebuild is counted", func() bool { return c.Stats.UpdateNoRebuild.Value() > 1 })
	z.fail("one.test/4")
	eventually(t, "failures are counted", func() bool { return c.Stats.UpdateFailure.Value() > 2 })
	expectHosts(t, c, "10.0.0.1:80")
	z.set("one.test/4", 0)
	eventually(t, "empty answers are counted", func() bool { return c.Stats.UpdateEmpty.Value() > 2 })
	expectHosts(t, c, "10.0.0.1:80")
	z.set("one.test/4", 0, "10.0.0.2")
	eventually(t, "the next answer is used", func() bool { return texts(c)[0] == "10.0.0.2:80" })
	m.Close()
	k := c.Stats
	if a, sum := k.UpdateAttempt.Value(), k.UpdateSuccess.Value()+k.UpdateFailure.Value()+k.UpdateEmpty.Value(); a != sum && a != sum+1 {
		t.Errorf("%d attempts, %d outcomes", a, sum)
	}
	if k.MembershipChange.Value() != 2 || counter(r, "cluster_manager.cluster_updated") != 2 {
		t.Errorf("membership_change %d, cluster_updated %d", k.MembershipChange.Value(), counter(r, "cluster_manager.cluster_updated"))
	}
}

func TestLogicalDNSUsesTheFirstAddressOfTheLatestAnswer(t *testing.T) { // clusters.md 2
	z := new(zone)
	z.set("one.test/4", 0, "10.0.0.1", "10.0.0.2")
	m, _ := managed(t, z, Options{HostsGone: func(*Cluster, []*Host) { t.Error("a LOGICAL_DNS host is never gone") }})
	c := dnsConf("c", "one.test")
	c.Type = conf.ClusterLogicalDNS
	apply(t, m, c)
	ready(t, m)
	h := NewBalancer(lookup(m, "c"), 0).Pick(0)
	if h.Address() != addrs(80, "10.0.0.1")[0] {
		t.Errorf("first %v", h.Address())
	}
	z.set("one.test/4", 0, "10.0.0.2", "10.0.0.1")
	eventually(t, "the host moves", func() bool { return h.Address() == addrs(80, "10.0.0.2")[0] })
	if NewBalancer(lookup(m, "c"), 0).Pick(0) != h {
		t.Error("the host is another object")
	}
}

func TestAClusterOfNamesAndAddressesResolvesTheNames(t *testing.T) {
	z := new(zone)
	z.set("one.test/4", 0, "10.0.0.1")
	m, _ := managed(t, z, Options{})
	c := dnsConf("c", "one.test")
	c.Endpoints = append(c.Endpoints, &conf.Endpoint{Address: addressOf(9), Weight: 1})
	apply(t, m, c)
	ready(t, m)
	expectHosts(t, lookup(m, "c"), "10.0.0.1:80", "10.0.0.9:80")
}

func TestWhenToResolveAgain(t *testing.T) {
	const ms = time.Millisecond
	c := conf.NewCluster("c")
	c.DNSRefreshRate, c.DNSFailureRefreshBase, c.DNSFailureRefreshMax = 5000*ms, 100*ms, 1000*ms
	b := backoff{conf: &c.DNSOptions}
	if got := b.succeeded(7 * time.Second); got != 5000*ms {
		t.Errorf("a time to live that is not respected: %v", got)
	}
	c.RespectDNSTTL = true
	if got := b.succeeded(7 * time.Second); got != 7000*ms {
		t.Errorf("a time to live: %v", got)
	}
	if got := b.succeeded(0); got != 5000*ms {
		t.Errorf("no time to live: %v", got)
	}
	for i, row := range []struct{ least, most time.Duration }{
		{100 * ms, 100 * ms}, {100 * ms, 200 * ms}, {200 * ms, 400 * ms}, {400 * ms, 800 * ms}, {500 * ms, 1000 * ms}, {500 * ms, 1000 * ms},
	} {
		if got := b.failed(); got < row.least || got > row.most {
			t.Errorf("failure %d: %v, want %v to %v", i, got, row.least, row.most)
		}
	}
	for range 100 { // and no overflow after many
		if got := b.failed(); got < 500*ms || got > 1000*ms {
			t.Fatalf("after many failures: %v", got)
		}
	}
	b.succeeded(0)
	if got := b.failed(); got != 100*ms {
		t.Errorf("the first failure after a success: %v", got)
	}
	b = backoff{conf: &c.DNSOptions}
	c.DNSFailureRefreshBase, c.DNSFailureRefreshMax = 0, 0
	if got := b.failed(); got != 5000*ms {
		t.Errorf("a failure with no rate of its own: %v", got)
	}
	c.DNSJitter = 50 * ms
	for range 100 {
		if got := b.succeeded(0); got < 5000*ms || got >= 5050*ms {
			t.Fatalf("with jitter: %v", got)
		}
	}
}
