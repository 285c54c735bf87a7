package e2e

import (
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/summerwind/h2spec"
	"github.com/summerwind/h2spec/config"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// TestH2Spec runs the h2spec conformance suite, all of it, without and with TLS. The listener speaks
// HTTP/2 alone: with AUTO a bad preface is an HTTP/1 request, and answered as one.
func TestH2Spec(t *testing.T) {
	a := harness.NewAuthority(t)
	for _, down := range []wireKind{overH2C, overH2TLS} {
		t.Run(down.String(), func(t *testing.T) {
			harness.NoLeaks(t)
			p := startSides(t, a, down, overH1, harness.NewOrigin(t, "a"), func(m *conf.HTTPConnectionManager, _ *conf.Cluster) {
				m.CodecType = conf.CodecHTTP2
			})
			host, text, err := net.SplitHostPort(p.Addr)
			if err != nil {
				t.Fatal(err)
			}
			port, err := strconv.Atoi(text)
			if err != nil {
				t.Fatal(err)
			}
			ok, err := h2spec.Run(&config.Config{
				Host: host, Port: port, Path: "/", Timeout: 2 * time.Second, MaxHeaderLen: 4000,
				TLS: down.secure(), Insecure: true, Sections: []string{},
			})
			if err != nil || !ok {
				t.Errorf("the suite failed (its report is above): %v", err)
			}
		})
	}
}
