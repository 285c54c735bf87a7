package e2e

import (
	"context"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// Ten thousand clients that stop in the middle of their handshakes, in every place there is to stop: what
// they cost the process, whether others are served meanwhile, and that nothing of them stays.
func TestTLSTenThousandHalfOpenHandshakes(t *testing.T) {
	const each, places = 2500, 4
	needDescriptors(t, each*places+500)
	a := harness.NewAuthority(t)
	p := startChild(t, harness.Topology{Clusters: to(sized(t))}, "transport_socket_connect_timeout: 600s", secured(t, a, "a.test", ""))
	client := &http.Client{Timeout: harness.Patience, Transport: &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, p.addr)
		},
		TLSClientConfig: a.Client("a.test"), DisableKeepAlives: true,
	}}
	ask := func() time.Duration {
		t.Helper()
		began := time.Now()
		r, err := client.Get("https://a.test/1000")
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		if n, err := harness.TakeStream(r.Body); n != 1000 || err != nil {
			t.Errorf("%d bytes, %v", n, err)
		}
		return time.Since(began)
	}
	ask() // so that what the first one takes is taken
	hello := helloBytes(t, a)
	before := p.resident()
	stalled := make([]net.Conn, 0, each*places)
	defer func() {
		for _, c := range stalled {
			_ = c.Close()
		}
	}()
	slowest := time.Duration(0)
	began := time.Now()
	for _, sent := range []string{"", "\x16", hello[:len(hello)/2], hello} {
		for n := range each {
			c, err := net.DialTimeout("tcp", p.addr, harness.Patience)
			if err != nil {
				t.Fatal(err)
			}
			stalled = append(stalled, c)
			if _, err := io.WriteString(c, sent); err != nil {
				t.Fatal(err)
			}
			if n%250 == 0 {
				slowest = max(slowest, ask())
			}
		}
	}
	took := time.Since(began)
	p.await(inListener+"downstream_cx_active", func(n int64) bool { return n == each*places })
	for range 10 {
		slowest = max(slowest, ask())
	}
	grown := p.resident() - before
	t.Logf("%d half-open handshakes in %v: resident memory +%d MiB, %d bytes each; 50 others were served meanwhile, the slowest in %v",
		each*places, took.Round(time.Millisecond), grown>>20, grown/(each*places), slowest.Round(time.Millisecond))
	if grown > 256<<20 && !raceEnabled {
		t.Errorf("resident memory grew by %d MiB", grown>>20)
	}
	for _, c := range stalled {
		_ = c.Close()
	}
	p.await(inListener+"downstream_cx_active", func(n int64) bool { return n == 0 })
	ask()
	if n := p.stats()[inSSL+"handshake"]; n != 52 {
		t.Errorf("%d handshakes", n)
	}
}
