package e2e

import (
	"fmt"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// originalDst starts a proxy with an ORIGINAL_DST cluster that takes the address from a header.
func originalDst(t *testing.T, change func(o *conf.OriginalDstOptions), origins ...harness.Origin) *harness.Proxy {
	t.Helper()
	top := harness.Topology{}
	log := t.TempDir() + "/log"
	c := harness.Load(t, top.YAML(log))
	k := c.Clusters[0]
	k.Type, k.LB, k.Raw = conf.ClusterOriginalDst, conf.ClusterProvided, nil
	k.OriginalDst = &conf.OriginalDstOptions{UseHTTPHeader: true, HTTPHeader: "x-envoy-original-dst-host", CleanupInterval: harness.Patience}
	if change != nil {
		change(k.OriginalDst)
	}
	return harness.StartConf(t, c, 1, log, origins...)
}

func goingTo(addr string) string {
	return fmt.Sprintf("GET / HTTP/1.1\r\nhost: h\r\nx-envoy-original-dst-host: %s\r\n\r\n", addr)
}

// clusters.md 2: the request says where it goes; a bad address gets no host.
func TestOriginalDstByHeader(t *testing.T) {
	harness.NoLeaks(t)
	a, b := newMortal(t, "a"), newMortal(t, "b")
	p := originalDst(t, nil, a, b)
	w := harness.DialWire(t, "tcp", p.Addr)
	for range 3 {
		if m := w.Do(goingTo(a.addr)); !bodyIs("a")(m) {
			t.Errorf("got %s", m.Head())
		}
		if m := w.Do(goingTo(b.addr)); !bodyIs("b")(m) {
			t.Errorf("got %s", m.Head())
		}
	}
	for _, bad := range []string{"nobody", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:99999"} {
		if m := w.Do(goingTo(bad)); m.Status() != 503 {
			t.Errorf("%s: got %s", bad, m.Head())
		}
	}
	p.WantStats(harness.Stats{"cluster.origin.original_dst_host_invalid": 4, "cluster.origin.upstream_cx_none_healthy": 4})
	harness.Eventually(t, "both hosts are shown", func() bool { return p.Stat("cluster.origin.membership_total") == 2 })
	w.Close()
}

// Hosts nobody goes to are gone after cleanup_interval, with their connections.
func TestOriginalDstCleanup(t *testing.T) {
	harness.NoLeaks(t)
	a := newMortal(t, "a")
	p := originalDst(t, func(o *conf.OriginalDstOptions) { o.CleanupInterval = 50_000_000 }, a)
	w := harness.DialWire(t, "tcp", p.Addr)
	for range 3 {
		if m := w.Do(goingTo(a.addr)); !bodyIs("a")(m) {
			t.Fatalf("got %s", m.Head())
		}
		harness.Eventually(t, "the host goes", func() bool {
			s := p.Stats()
			return s["cluster.origin.membership_total"] == 0 && s["cluster.origin.upstream_cx_active"] == 0
		})
	}
	w.Close()
}

// upstream_port_override takes the place of the port.
func TestOriginalDstPortOverride(t *testing.T) {
	harness.NoLeaks(t)
	a := newMortal(t, "a")
	var port uint16
	if _, err := fmt.Sscanf(a.addr, "127.0.0.1:%d", &port); err != nil {
		t.Fatal(err)
	}
	p := originalDst(t, func(o *conf.OriginalDstOptions) { o.PortOverride = port }, a)
	w := harness.DialWire(t, "tcp", p.Addr)
	if m := w.Do(goingTo("127.0.0.1:1")); !bodyIs("a")(m) {
		t.Errorf("got %s", m.Head())
	}
	w.Close()
}
