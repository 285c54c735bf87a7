//go:build !race

package secure

import (
	"testing"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// What loops call for each connection.
func TestLoopsDoNotAllocate(t *testing.T) {
	ca := authority(t, nil, "ca")
	r := newRig(t)
	d := r.down(&conf.DownstreamTLS{CommonTLS: conf.CommonTLS{Certificates: []*conf.TLSCertificate{leaf(t, ca, "a.test").inline()}}})
	u := r.up(&conf.UpstreamTLS{AutoHostSNI: true})
	o := shake(t, d.Config(), u.ConfigFor(&Want{}))
	plain := Want{}
	all := Want{Host: "h.test", ServerName: []byte("a.test"), ALPN: []byte("h2"), SANs: []byte("a.test"), FallbackALPN: "h2"}
	host := Want{Host: "h.test", FallbackALPN: "http/1.1"}
	for name, f := range map[string]func(){
		"ConfigFor":            func() { u.ConfigFor(&plain) },
		"ConfigFor with all":   func() { u.ConfigFor(&all) },
		"ConfigFor for a host": func() { u.ConfigFor(&host) },
		"Finished":             func() { d.Stats().Finished(r.shard, &o.server) },
		"Config":               func() { _ = d.Config() },
	} {
		f()
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
}
