package cluster

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/stats"
)

// dnsCluster makes a cluster of names, shown, with nothing resolving them.
func dnsCluster(kind conf.ClusterType, endpoints ...*conf.Endpoint) *Cluster {
	if len(endpoints) == 0 {
		endpoints = []*conf.Endpoint{{Address: conf.Address{Host: "one.test", Port: 80}, Weight: 1}}
	}
	c := conf.NewCluster("c")
	c.Type, c.Endpoints = kind, endpoints
	r := stats.NewRegistry()
	k := newCluster(c, r, nil)
	k.publish(r)
	return k
}

func addrs(port uint16, texts ...string) (a []netip.AddrPort) {
	for _, s := range texts {
		a = append(a, netip.AddrPortFrom(netip.MustParseAddr(s), port))
	}
	return a
}

func texts(c *Cluster) (t []string) {
	for _, h := range c.Hosts().Hosts {
		t = append(t, h.AddrText)
	}
	return t
}

func expectHosts(t *testing.T, c *Cluster, want ...string) {
	t.Helper()
	if got := texts(c); !slices.Equal(got, want) {
		t.Errorf("hosts %v, want %v", got, want)
	}
}

func TestHostsKeepTheirIdentityWhileTheirAddressStays(t *testing.T) {
	c := dnsCluster(conf.ClusterStrictDNS)
	if _, changed := c.resolved(0, addrs(80, "10.0.0.1", "10.0.0.2")); !changed {
		t.Error("the first answer is a change")
	}
	one, version := c.Hosts().Hosts[0], c.Hosts().Version
	if _, changed := c.resolved(0, addrs(80, "10.0.0.2", "10.0.0.1")); changed || c.Hosts().Version != version {
		t.Error("another order is no change")
	}
	gone, changed := c.resolved(0, addrs(80, "10.0.0.3", "10.0.0.1", "10.0.0.3"))
	expectHosts(t, c, "10.0.0.1:80", "10.0.0.3:80")
	if !changed || len(gone) != 1 || gone[0].AddrText != "10.0.0.2:80" || c.Hosts().Version <= version {
		t.Errorf("changed %v, gone %v", changed, gone)
	}
	if c.Hosts().Hosts[0] != one {
		t.Error("a host whose address stayed is another object")
	}
	if got := c.Stats.MembershipChange.Value(); got != 2 {
		t.Errorf("membership_change %d", got)
	}
	if got := c.Stats.MembershipTotal.Value(); got != 2 {
		t.Errorf("membership_total %d", got)
	}
}

func TestLogicalDNSMovesItsOneHost(t *testing.T) {
	c := dnsCluster(conf.ClusterLogicalDNS)
	c.resolved(0, addrs(80, "10.0.0.1", "10.0.0.2"))
	expectHosts(t, c, "10.0.0.1:80") // the first address only
	h := c.Hosts().Hosts[0]
	gone, changed := c.resolved(0, addrs(80, "10.0.0.9", "10.0.0.1"))
	if !changed || gone != nil || c.Hosts().Hosts[0] != h {
		t.Errorf("changed %v, gone %v", changed, gone)
	}
	if h.Address() != addrs(80, "10.0.0.9")[0] || h.Addr != addrs(80, "10.0.0.1")[0] {
		t.Errorf("connects to %v, made with %v", h.Address(), h.Addr)
	}
	if _, changed := c.resolved(0, addrs(80, "10.0.0.9")); changed {
		t.Error("the same address is no change")
	}
}

func TestEndpointsThatResolveToOneAddressAreOneHost(t *testing.T) {
	name := func(host string, priority uint32) *conf.Endpoint {
		return &conf.Endpoint{Address: conf.Address{Host: host, Port: 80}, Weight: 1, Priority: priority}
	}
	c := dnsCluster(conf.ClusterStrictDNS, name("a.test", 0), name("b.test", 0), name("c.test", 1))
	c.resolved(0, addrs(80, "10.0.0.1"))
	c.resolved(1, addrs(80, "10.0.0.1", "10.0.0.2"))
	c.resolved(2, addrs(80, "10.0.0.1"))
	expectHosts(t, c, "10.0.0.1:80", "10.0.0.2:80", "10.0.0.1:80") // each priority has its own
	if got := []string{c.Hosts().Hosts[0].Hostname, c.Hosts().Hosts[2].Hostname}; !slices.Equal(got, []string{"a.test", "c.test"}) {
		t.Errorf("hostnames %v", got)
	}
	c.resolved(0, addrs(80, "10.0.0.5")) // the first leaves: the second one's takes its place
	expectHosts(t, c, "10.0.0.5:80", "10.0.0.1:80", "10.0.0.2:80", "10.0.0.1:80")
}

func TestStaticHosts(t *testing.T) {
	c := conf.NewCluster("c", addrs(80, "10.0.0.1", "10.0.0.1")...)
	c.Endpoints = append(c.Endpoints,
		&conf.Endpoint{Address: conf.Address{Pipe: "@app"}, Weight: 7, Hostname: "h", Canary: true, Zone: "z", Health: conf.EndpointDegraded},
		&conf.Endpoint{Address: addressOf(3), Health: conf.EndpointUnhealthy})
	r := stats.NewRegistry()
	k := newCluster(c, r, nil)
	k.publish(r)
	expectHosts(t, k, "10.0.0.1:80", "10.0.0.1:80", "@app", "10.0.0.3:80")
	pipe := k.Hosts().Hosts[2]
	if pipe.Pipe != "@app" || pipe.Weight != 7 || pipe.Hostname != "h" || !pipe.Canary || pipe.Zone != "z" || pipe.Address().IsValid() {
		t.Errorf("%+v", pipe)
	}
	if w := k.Hosts().Hosts[3].Weight; w != 1 {
		t.Errorf("weight %d where none is set", w)
	}
	expectGauges(t, r, map[string]int64{
		"cluster.c.membership_total": 4, "cluster.c.membership_healthy": 2, "cluster.c.membership_degraded": 1,
		"cluster.c.membership_excluded": 0, "cluster.c.max_host_weight": 7,
	})
	seen := map[int]bool{}
	for _, h := range k.Hosts().Hosts {
		if seen[h.Index] {
			t.Errorf("index %d twice", h.Index)
		}
		seen[h.Index] = true
	}
}
