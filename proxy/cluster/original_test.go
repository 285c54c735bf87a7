package cluster

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/stats"
)

func originalCluster() (*Cluster, *Balancer, *stats.Registry) {
	c := conf.NewCluster("c")
	c.Type, c.LB = conf.ClusterOriginalDst, conf.ClusterProvided
	c.OriginalDst = &conf.OriginalDstOptions{CleanupInterval: time.Hour}
	r := stats.NewRegistry()
	k := newCluster(c, r, nil)
	b := NewBalancer(k, 0)
	b.SetShard(r.NewShard())
	return k, b, r
}

// clusters.md 2: loops share hosts; going somewhere again allocates nothing.
func TestOriginalDestinations(t *testing.T) {
	k, b, _ := originalCluster()
	other := NewBalancer(k, 1)
	at := netip.MustParseAddrPort("10.0.0.1:80")
	h := b.PickFor(1, &Choice{Destination: at})
	if h == nil || h.Addr != at || other.PickFor(1, &Choice{DestinationText: []byte("10.0.0.1:80")}) != h {
		t.Fatalf("host %v", h)
	}
	if b.PickFor(1, nil) != nil || b.PickFor(1, &Choice{}) != nil {
		t.Error("a host for nobody")
	}
	c, text := &Choice{Destination: at}, &Choice{DestinationText: []byte("[2001:db8::1]:8080")}
	b.PickFor(1, text)
	if n := testing.AllocsPerRun(100, func() {
		b.PickFor(1, c)
		b.PickFor(1, text)
		b.Load(h).RqActive++
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	b.Forget(h)
	if b.originals[at] != nil || b.PickFor(1, c) != h {
		t.Error("a host that is still there is not found again")
	}
}

// There are at most so many hosts; whoever wants another gets none, and it is counted.
func TestOriginalDestinationsAreBounded(t *testing.T) {
	_, b, r := originalCluster()
	for i := range maxOriginals + 3 {
		at := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 80)
		if h := b.PickFor(1, &Choice{Destination: at}); (h != nil) != (i < maxOriginals) {
			t.Fatalf("host %d: %v", i, h)
		}
	}
	if got := counter(r, "cluster.c.original_dst_host_invalid"); got != 3 {
		t.Errorf("%d counted", got)
	}
	for i := range maxTexts + 5 {
		b.parse(fmt.Appendf(nil, "10.1.%d.%d:%d", i>>8&255, i&255, 1+i))
	}
	if len(b.texts) > maxTexts {
		t.Errorf("%d texts are remembered", len(b.texts))
	}
}
