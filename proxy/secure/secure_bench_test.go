package secure

import (
	"crypto/tls"
	"net"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// BenchmarkHandshake compares full handshakes with a context to those with a bare
// configuration: both ends' work, TLS 1.3.
func BenchmarkHandshake(b *testing.B) {
	ca := authority(b, nil, "ca")
	id := leaf(b, ca, "a.test")
	r := newRig(b)
	c := &conf.DownstreamTLS{SessionTickets: true, CommonTLS: conf.CommonTLS{Certificates: []*conf.TLSCertificate{id.inline()}, ALPN: []string{"h2", "http/1.1"}}}
	two := *c
	two.Certificates = append(two.Certificates, rsaLeaf(b, ca, "a.test").inline())
	for _, row := range []struct {
		name   string
		server *tls.Config
	}{
		{"bare", &tls.Config{Certificates: []tls.Certificate{id.tls()}, NextProtos: c.ALPN}},
		{"context", r.down(c).Config()},
		{"context with two certificates", r.down(&two).Config()},
	} {
		b.Run(row.name, func(b *testing.B) {
			client := anyone(asks("a.test"), speaks("h2"))
			b.ReportAllocs()
			for b.Loop() {
				x, y := net.Pipe()
				done := make(chan error, 1)
				go func() { done <- tls.Server(x, row.server).Handshake() }()
				conn := tls.Client(y, client)
				if err := conn.Handshake(); err != nil {
					b.Fatal(err)
				}
				go func() { _, _ = conn.Read(make([]byte, 1)) }() // the ticket
				if err := <-done; err != nil {
					b.Fatal(err)
				}
				x.Close()
				y.Close()
			}
		})
	}
}
