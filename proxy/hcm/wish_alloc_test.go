//go:build !race

package hcm

import (
	"testing"

	"github.com/sluiceproxy/sluice/proxy/cluster"
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/streaminfo"
	"github.com/sluiceproxy/sluice/proxy/worker"
)

// What a request asks of TLS costs no allocation; an address is looked at as text, and made one of.
func TestWishesDoNotAllocate(t *testing.T) {
	c := &conf.Cluster{AutoSNI: true, AutoSANValidation: true}
	st := &stream{cluster: &worker.Upstream{C: &cluster.Cluster{Conf: c}, NamesTLS: true}}
	x := new(streaminfo.Extra)
	for _, row := range []struct {
		host, state     string
		name, sans      string
		most            float64
		autoSNI, autoSA bool
	}{
		{"Shop.Test:8443", "", "shop.test", "shop.test", 0, true, true},
		{"shop.test", "set.test", "set.test", "shop.test", 0, true, true},
		{"shop.test", "", "shop.test", "", 0, true, false},
		{"shop.test", "", "", "shop.test", 0, false, true},
		{"10.0.0.1", "", "", "10.0.0.1", 1, true, true},
		{"[2001:db8::1]:80", "", "", "2001:db8::1", 1, true, true},
		{"v2", "", "v2", "v2", 0, true, true},
		{"a,b", "", "a,b", "\x00", 0, true, true},
		{"", "", "", "\x00", 0, true, true},
	} {
		c.AutoSNI, c.AutoSANValidation = row.autoSNI, row.autoSA
		facts := &streaminfo.Connection{}
		if row.state != "" {
			x.State.Set(streaminfo.KeyUpstreamServerName, []byte(row.state), false)
			facts.Extra = x
		}
		st.info.Conn = facts
		st.tlsName = append(st.tlsName[:0], row.host...)
		var w worker.Wish
		if n := testing.AllocsPerRun(100, func() { w = worker.Wish{}; st.wish(&w) }); n > row.most {
			t.Errorf("%s: %v allocations", row.host, n)
		}
		if string(w.ServerName) != row.name || string(w.SANs) != row.sans || w.ALPN != nil {
			t.Errorf("%q: name %q, SANs %q", row.host, w.ServerName, w.SANs)
		}
	}
	st.cluster = &worker.Upstream{C: &cluster.Cluster{Conf: new(conf.Cluster)}}
	st.info.Conn = &streaminfo.Connection{Extra: new(streaminfo.Extra)}
	if st.wish(new(worker.Wish)) {
		t.Error("a wish of nothing")
	}
}
