package e2e

import (
	"crypto/tls"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// pieces sends each write in segments of n bytes.
type pieces struct {
	net.Conn
	n int
}

func (p pieces) Write(b []byte) (int, error) {
	for sent := 0; sent < len(b); {
		n, err := p.Conn.Write(b[sent:min(len(b), sent+p.n)])
		if err != nil {
			return sent + n, err
		}
		sent += n
	}
	return len(b), nil
}

// Records that come in pieces of any size are the same records: in the handshake, in requests, and in
// sessions.
func TestTLSRecordsInPieces(t *testing.T) {
	harness.NoLeaks(t)
	a := harness.NewAuthority(t)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, n := range []int{1, 7, 1000} {
			t.Run(fmt.Sprintf("%s in %d", tls.VersionName(version), n), func(t *testing.T) {
				config := a.Client("a.test")
				config.MaxVersion = version
				dial := func(p *harness.Proxy) *tls.Conn {
					raw := p.Dial().Conn
					_ = raw.SetNoDelay(true)
					c := tls.Client(pieces{raw, n}, config)
					_ = c.SetDeadline(time.Now().Add(harness.Patience))
					return c
				}
				p := harness.StartSecured(t, harness.Topology{Clusters: to(sized(t))}, secured(t, a, "a.test", ""))
				c := dial(p)
				w := harness.NewWire(t, c)
				body := string(streamBytes(3000))
				for range 3 {
					if m := w.Do("POST /2000 HTTP/1.1\r\nHost: test\r\nContent-Length: 3000\r\n\r\n" + body); string(m.Body) != body[:2000] {
						t.Errorf("%s, %d bytes", m.Start, len(m.Body))
					}
				}
				_ = c.Close()
				p.WantStats(harness.Stats{inSSL + "handshake": 1, inSSL + "connection_error": 0})

				path := tlsPaths[0]
				q := path.start(t, a, early(4096), echoEnd)
				c = dial(q)
				var sending sync.WaitGroup
				sending.Go(func() {
					_ = harness.SendStream(c, 40_000)
					_ = c.CloseWrite()
				})
				if got, err := harness.TakeStream(c); got != 40_000 || err != nil {
					t.Errorf("%d bytes, %v", got, err)
				}
				sending.Wait()
				_ = c.Close()
				path.wantCounted(q, 40_000, 40_000)
			})
		}
	}
}

// A side that does not read stops the other one; what waits meanwhile is bounded, and nothing is lost.
func TestTLSSessionsThatAreNotRead(t *testing.T) {
	harness.NoLeaks(t)
	a := harness.NewAuthority(t)
	const size = 32 << 20
	for _, path := range tlsPaths {
		t.Run(path.title, func(t *testing.T) {
			read := make(chan struct{})
			got := make(chan error, 1)
			p := path.start(t, a, "", func(c stream) {
				_ = c.SetDeadline(time.Now().Add(3 * harness.Patience))
				var sending sync.WaitGroup
				sending.Go(func() {
					_ = harness.SendStream(c, size)
					_ = c.CloseWrite()
				})
				<-read
				n, err := harness.TakeStream(c)
				if n != size {
					err = fmt.Errorf("the origin got %d bytes, %w", n, err)
				}
				got <- err
				sending.Wait()
			})
			c := path.dial(t, p, a)
			_ = c.SetDeadline(time.Now().Add(3 * harness.Patience))
			var sending sync.WaitGroup
			sending.Go(func() {
				_ = harness.SendStream(c, size)
				_ = c.CloseWrite()
			})
			harness.Eventually(t, "both sides to be stopped", func() bool {
				return p.Stat(inTCP+"downstream_flow_control_paused_reading_total") > 0 && p.Stat(onOrigin+"upstream_flow_control_paused_reading_total") > 0
			})
			if n := p.Buffered(); n > 2*(1<<20)+slack {
				t.Errorf("%d bytes are buffered", n)
			}
			close(read)
			if n, err := harness.TakeStream(c); n != size || err != nil {
				t.Errorf("%d bytes, %v", n, err)
			}
			sending.Wait()
			if err := <-got; err != nil {
				t.Error(err)
			}
			_ = c.Close()
			path.wantCounted(p, size, size)
		})
	}
}
