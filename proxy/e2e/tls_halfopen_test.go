package e2e

import (
	"crypto/tls"
	"net"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// A thousand clients that stop in the middle of their handshakes cost no goroutine and little memory,
// and whoever comes meanwhile is served.
func TestTLSThousandHalfOpenHandshakes(t *testing.T) {
	harness.NoLeaks(t)
	a := harness.NewAuthority(t)
	const each = 250
	p := harness.StartSecured(t, harness.Topology{Clusters: to(sized(t)), Loops: 2}, "transport_socket_connect_timeout: 60s", secured(t, a, "a.test", ""))
	hello := helloBytes(t, a)
	var stalled []net.Conn
	for _, sent := range []string{"", "\x16", hello[:len(hello)/2], hello} {
		for range each {
			c, err := net.DialTimeout("tcp", p.Addr, harness.Patience)
			if err != nil {
				t.Fatal(err)
			}
			stalled = append(stalled, c)
			t.Cleanup(func() { _ = c.Close() })
			if _, err := c.Write([]byte(sent)); err != nil {
				t.Fatal(err)
			}
		}
	}
	p.WantStats(harness.Stats{inListener + "downstream_cx_active": 4 * each, inSSL + "handshake": 0})
	client := p.HTTPS(a.Client("a.test"))
	for range 20 {
		r, err := client.Get("https://a.test/1000")
		if err != nil {
			t.Fatal(err)
		}
		if n, err := harness.TakeStream(r.Body); n != 1000 || err != nil {
			t.Errorf("%d bytes, %v", n, err)
		}
		r.Body.Close()
		client.CloseIdleConnections()
	}
	if n := p.Buffered(); n > 4*each*4096 {
		t.Errorf("%d bytes are buffered for %d clients", n, 4*each)
	}
	p.WantStats(harness.Stats{inSSL + "handshake": 20, inListener + "downstream_cx_active": 4 * each})
	for _, c := range stalled {
		_ = c.Close()
	}
	p.WantStats(harness.Stats{
		inListener + "downstream_cx_active": 0, inListener + "downstream_cx_total": 4*each + 20, inSSL + "handshake": 20, inSSL + "connection_error": 0,
		inListener + "downstream_cx_transport_socket_connect_timeout": 0,
	})
}

// helloBytes is what a client of TLS says first.
func helloBytes(t *testing.T, a *harness.Authority) string {
	t.Helper()
	client, server := net.Pipe()
	defer server.Close()
	go func() {
		_ = tls.Client(client, a.Client("a.test")).Handshake()
		_ = client.Close()
	}()
	b := make([]byte, 16<<10)
	n, err := server.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return string(b[:n])
}
