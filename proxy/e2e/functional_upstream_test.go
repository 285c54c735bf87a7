package e2e

import (
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

func named(name string) func(*harness.Message) string {
	return func(*harness.Message) string { return harness.Reply(name) }
}

func TestUnixSocketsIPv6AndSeveralAddresses(t *testing.T) {
	harness.NoLeaks(t)
	dir := t.TempDir()
	o := harness.NewRecorderOn(t, "unix", filepath.Join(dir, "origin.sock"), named("unix"))
	path := filepath.Join(dir, "proxy.sock")
	top := harness.Topology{
		Loops:    2,
		Listener: "additional_addresses:\n- { address: { pipe: { path: " + path + ", mode: 432 } } }\n- { address: { socket_address: { address: \"::1\", port_value: 0 } } }",
		Manager:  "use_remote_address: true\ninternal_address_config: { unix_sockets: true }",
		Clusters: []harness.Cluster{{Name: "origin", Origins: []harness.Origin{harness.At("127.0.0.1:1")}}},
	}
	log := filepath.Join(dir, "log")
	c := harness.Load(t, top.YAML(log))
	c.Clusters[0].Endpoints[0].Address = conf.Address{Pipe: o.Address()}
	p := harness.StartConf(t, c, 2, log, o)
	addrs := p.Server.Listeners()[0].Addresses
	if len(addrs) != 3 {
		t.Fatalf("listening on %v", addrs)
	}
	for i, network := range []string{"tcp", "unix", "tcp"} {
		w := harness.DialWire(t, network, addrs[i].String())
		for range 2 {
			if m := w.Do(get); string(m.Body) != "unix" {
				t.Errorf("%s: %s", addrs[i], m.Head())
			}
		}
		w.Close()
		internal := "-"
		if network == "unix" {
			internal = "true"
		}
		if got := o.Last(t).Get("x-envoy-internal"); got != internal {
			t.Errorf("over %s x-envoy-internal is %s, want %s", network, got, internal)
		}
	}
	p.WantStats(harness.Stats{"http.in.downstream_cx_total": 3, "cluster.origin.upstream_rq_200": 6})
}

func TestAnOriginOnIPv6(t *testing.T) {
	harness.NoLeaks(t)
	top := one(harness.NewRecorderOn(t, "tcp", "[::1]:0", named("six")))
	top.LogFormat = "%UPSTREAM_HOST%"
	p := harness.Start(t, top)
	if m := ask(t, p, "h", "/"); string(m.Body) != "six" {
		t.Errorf("got %s", m.Head())
	}
	p.WantLine("[::1]:")
}

// Weights 3:1 in exact proportion (round robin is a schedule, not a lottery).
func TestWeightedEndpoints(t *testing.T) {
	harness.NoLeaks(t)
	a, b := harness.NewRecorder(t, named("a")), harness.NewRecorder(t, named("b"))
	top := harness.Topology{Clusters: []harness.Cluster{{Name: "origin", Origins: []harness.Origin{a, b}}}}
	log := filepath.Join(t.TempDir(), "log")
	c := harness.Load(t, top.YAML(log))
	c.Clusters[0].Endpoints[0].Weight = 3
	p := harness.StartConf(t, c, 1, log, a, b)
	w := harness.DialWire(t, "tcp", p.Addr)
	for range 400 {
		w.Do(get)
	}
	if na, nb := len(a.Seen()), len(b.Seen()); na != 300 || nb != 100 {
		t.Errorf("%d and %d requests, want 300 and 100", na, nb)
	}
}

// RT-79: the same host gets separate connections for each priority.
func TestPrioritiesHaveTheirOwnConnections(t *testing.T) {
	harness.NoLeaks(t)
	o := harness.NewRecorder(t, nil)
	top := one(o)
	top.Routes = "- { match: { prefix: /high }, route: { cluster: origin, priority: HIGH } }\n- { match: { prefix: / }, route: { cluster: origin } }"
	p := harness.Start(t, top)
	for range 3 {
		for _, path := range []string{"/high", "/low"} {
			if m := ask(t, p, "h", path); m.Status() != 200 {
				t.Errorf("got %s", m.Head())
			}
		}
	}
	if total, _ := o.Connections(); total != 2 {
		t.Errorf("%d connections", total)
	}
}

// dnsTopology is a cluster of one name that a scripted server resolves.
func dnsTopology(d *harness.DNS, port string) harness.Topology {
	return harness.Topology{Clusters: []harness.Cluster{{
		Name: "origin", Origins: []harness.Origin{harness.At("origin.test:" + port)},
		Fields: fmt.Sprintf(`dns_refresh_rate: 0.05s
dns_lookup_family: V4_ONLY
typed_dns_resolver_config:
  name: envoy.network.dns_resolver.cares
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig
    resolvers: [{ socket_address: { address: 127.0.0.1, port_value: %d } }]`, d.Addr().Port()),
	}}}
}

// startDNS starts a topology whose cluster has another type.
func startDNS(t *testing.T, top harness.Topology, kind string, origins ...harness.Origin) *harness.Proxy {
	t.Helper()
	log := filepath.Join(t.TempDir(), "log")
	return harness.StartConf(t, harness.Load(t, strings.Replace(top.YAML(log), "type: STATIC", "type: "+kind, 1)), 2, log, origins...)
}

// samePort listens on two loopback addresses with one port.
func samePort(t *testing.T, answer func(name string) func(*harness.Message) string) (a, b *harness.Recorder, port string) {
	t.Helper()
	for range 20 {
		first, err := net.Listen("tcp", "127.0.0.2:0")
		if err != nil {
			t.Skipf("127.0.0.2 cannot be used here: %v", err)
		}
		port := fmt.Sprint(netip.MustParseAddrPort(first.Addr().String()).Port())
		second, err := net.Listen("tcp", "127.0.0.3:"+port)
		_ = first.Close()
		if err != nil {
			continue
		}
		_ = second.Close()
		return harness.NewRecorderOn(t, "tcp", "127.0.0.2:"+port, answer("two")), harness.NewRecorderOn(t, "tcp", "127.0.0.3:"+port, answer("three")), port
	}
	t.Fatal("no port is free on both addresses")
	return nil, nil, ""
}

func TestStrictDNSFollowsTheAnswers(t *testing.T) {
	harness.NoLeaks(t)
	a, b, port := samePort(t, named)
	d := harness.NewDNS(t)
	d.Set("origin.test", "127.0.0.2")
	p := startDNS(t, dnsTopology(d, port), "STRICT_DNS", a, b)
	w := harness.DialWire(t, "tcp", p.Addr)
	if m := w.Do(get); string(m.Body) != "two" {
		t.Fatalf("got %s%s", m.Head(), m.Body)
	}

	d.Set("origin.test", "127.0.0.2", "127.0.0.3")
	harness.Eventually(t, "both addresses are members", func() bool { return p.Stat("cluster.origin.membership_total") == 2 })
	seen := map[string]int{}
	for range 40 {
		seen[string(w.Do(get).Body)]++
	}
	if seen["two"] != 20 || seen["three"] != 20 {
		t.Errorf("shares %v", seen)
	}

	d.Set("origin.test", "127.0.0.3")
	harness.Eventually(t, "the connections to the address that left are closed", func() bool {
		_, open := a.Connections()
		return open == 0
	})
	for range 10 {
		if m := w.Do(get); string(m.Body) != "three" {
			t.Fatalf("got %q", m.Body)
		}
	}

	// Failures and empty answers keep what was known.
	for _, breakIt := range []func(){func() { d.Fail(true) }, func() { d.Fail(false); d.Set("origin.test") }} {
		before := p.Stat("cluster.origin.update_failure") + p.Stat("cluster.origin.update_empty")
		breakIt()
		harness.Eventually(t, "an update fails", func() bool {
			return p.Stat("cluster.origin.update_failure")+p.Stat("cluster.origin.update_empty") > before
		})
		if m := w.Do(get); string(m.Body) != "three" {
			t.Fatalf("got %s", m.Head())
		}
	}
}

func TestLogicalDNSUsesOneAddressAtATime(t *testing.T) {
	harness.NoLeaks(t)
	a, b, port := samePort(t, func(name string) func(*harness.Message) string {
		return func(*harness.Message) string { return harness.Reply(name, "Connection: close") }
	})
	d := harness.NewDNS(t)
	d.Set("origin.test", "127.0.0.2")
	p := startDNS(t, dnsTopology(d, port), "LOGICAL_DNS", a, b)
	w := harness.DialWire(t, "tcp", p.Addr)
	if m := w.Do(get); string(m.Body) != "two" {
		t.Fatalf("got %s%s", m.Head(), m.Body)
	}
	d.Set("origin.test", "127.0.0.3", "127.0.0.2")
	// Only new connections go to the new address.
	harness.Eventually(t, "a new connection goes to the first address", func() bool { return string(w.Do(get).Body) == "three" })
	if got := p.Stat("cluster.origin.membership_total"); got != 1 {
		t.Errorf("%d members", got)
	}
}

// A name that does not resolve yet: requests fail as on an empty cluster, and work once it does.
func TestANameThatResolvesLater(t *testing.T) {
	harness.NoLeaks(t)
	a, b, port := samePort(t, named)
	d := harness.NewDNS(t)
	p := startDNS(t, dnsTopology(d, port), "STRICT_DNS", a, b)
	if m := ask(t, p, "h", "/"); m.Status() != 503 || string(m.Body) != "no healthy upstream" {
		t.Errorf("got %s", m.Head())
	}
	d.Set("origin.test", "127.0.0.2")
	harness.Eventually(t, "the name has an address", func() bool { return p.Stat("cluster.origin.membership_healthy") == 1 })
	if m := ask(t, p, "h", "/"); string(m.Body) != "two" {
		t.Errorf("got %s", m.Head())
	}
}
