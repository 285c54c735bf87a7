//lint:file-ignore SA1019 the HTTP/2 of x/net is the peer

package e2e

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/sluiceproxy/sluice/engine"
	"github.com/sluiceproxy/sluice/engine/tlsio"
	"github.com/sluiceproxy/sluice/pool"
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
	"github.com/sluiceproxy/sluice/proxy/worker"
)

// tlsOrigin is net/http's server with TLS.
type tlsOrigin struct {
	*httptest.Server
	once sync.Once
}

// newTLSOrigin starts one, which speaks HTTP/2 too when h2 is set.
func newTLSOrigin(t *testing.T, h2 bool) *tlsOrigin {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Proto", r.Proto)
		bodyHandler(w, r)
	}))
	s.EnableHTTP2 = h2
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	o := &tlsOrigin{Server: s}
	t.Cleanup(o.Stop)
	return o
}

func (o *tlsOrigin) Address() string { return o.Listener.Addr().String() }

func (o *tlsOrigin) Stop() {
	o.once.Do(func() {
		o.CloseClientConnections()
		o.Close()
	})
}

// securer is a worker's Secure with one layer and one trusted server.
type securer struct {
	layer  *tlsio.Layer
	config *tls.Config
}

func (s *securer) Secure(c *engine.Conn) { s.layer.Client(c, s.config, 0) }

func (*securer) Secured(*engine.Conn) any { return nil }

func (*securer) Broken(c *engine.Conn, _ engine.CloseReason) error { return c.Err() }

// encrypt has all loops trust the origin; nil: nobody.
func encrypt(p *harness.Proxy, o *tlsOrigin) {
	layer := tlsio.New(tlsio.Options{})
	roots := x509.NewCertPool()
	if o != nil {
		roots.AddCert(o.Certificate())
	}
	p.OnLoops(func(w *worker.Worker) {
		w.Secure = func(_ *worker.Endpoint, alpn []string, _ *worker.Wish) pool.Securer {
			return &securer{layer, &tls.Config{RootCAs: roots, ServerName: "example.com", NextProtos: alpn}}
		}
	})
}

func TestTheUpstreamProtocolIsChosen(t *testing.T) { // clusters.md 8
	for _, row := range []struct {
		title    string
		protocol conf.UpstreamProtocol
		h2       bool // what the server is able to
		want     string
		http1    int64
		http2    int64
	}{
		{"HTTP/1", conf.UpstreamHTTP1, true, "HTTP/1.1", 1, 0},
		{"HTTP/2", conf.UpstreamHTTP2, true, "HTTP/2.0", 0, 1},
		{"ALPN with a server of both", conf.UpstreamByALPN, true, "HTTP/2.0", 0, 1},
		{"ALPN with an HTTP/1 server", conf.UpstreamByALPN, false, "HTTP/1.1", 1, 0},
		{"as downstream, which is HTTP/1", conf.UpstreamSameAsDownstream, true, "HTTP/1.1", 1, 0},
	} {
		t.Run(row.title, func(t *testing.T) {
			harness.NoLeaks(t)
			o := newTLSOrigin(t, row.h2)
			p := startH2Upstream(t, one(o), func(c *conf.Cluster) { c.Protocol = row.protocol })
			encrypt(p, o)
			c := p.Dial()
			for range 5 {
				r := c.Get("/bytes/70000")
				if r.Status != 200 || sha256.Sum256([]byte(r.Body)) != sha256.Sum256(filler(70000)) || r.Header.Get("X-Proto") != row.want {
					t.Fatalf("%d over %q, %d bytes", r.Status, r.Header.Get("X-Proto"), len(r.Body))
				}
			}
			p.WantStats(harness.Stats{
				"cluster.origin.upstream_cx_total": 1, "cluster.origin.upstream_cx_http1_total": row.http1, "cluster.origin.upstream_cx_http2_total": row.http2,
				"cluster.origin.upstream_rq_200": 5, "cluster.origin.upstream_rq_pending_active": 0, "cluster.origin.upstream_rq_pending_total": 1,
			})
		})
	}
}

// Requests that wait while ALPN says what the server speaks are all served by what it speaks.
func TestABurstMeetsALPN(t *testing.T) {
	for _, row := range []struct {
		title string
		h2    bool
		most  int64 // connections
	}{{"HTTP/2", true, 1}, {"HTTP/1", false, 20}} {
		t.Run(row.title, func(t *testing.T) {
			harness.NoLeaks(t)
			o := newTLSOrigin(t, row.h2)
			p := startH2Upstream(t, one(o), func(c *conf.Cluster) { c.Protocol = conf.UpstreamByALPN })
			encrypt(p, o)
			const requests = 20
			client := h1Client(t, requests)
			var wg sync.WaitGroup
			for range requests {
				wg.Go(func() {
					resp, err := client.Get("http://" + p.Addr + "/bytes/1000")
					if err != nil {
						t.Error(err)
						return
					}
					checkBody(t, resp, 1000, sha256.Sum256(filler(1000)))
				})
			}
			wg.Wait()
			p.WantStats(harness.Stats{"cluster.origin.upstream_rq_200": requests, "cluster.origin.upstream_rq_pending_active": 0})
			if n := p.Stat("cluster.origin.upstream_cx_total"); n > row.most {
				t.Errorf("%d connections", n)
			}
		})
	}
}

// A server that is exchanged for one that speaks something else is noticed by its next connection.
func TestALPNFollowsTheServer(t *testing.T) {
	harness.NoLeaks(t)
	o := newTLSOrigin(t, true)
	var h2 atomic.Bool
	p := startH2Upstream(t, one(o), func(c *conf.Cluster) {
		c.Protocol = conf.UpstreamByALPN
		c.MaxRequestsPerConnection = 1
	})
	layer := tlsio.New(tlsio.Options{})
	roots := x509.NewCertPool()
	roots.AddCert(o.Certificate())
	p.OnLoops(func(w *worker.Worker) {
		w.Secure = func(_ *worker.Endpoint, alpn []string, _ *worker.Wish) pool.Securer {
			return &swapping{securer: securer{layer: layer}, roots: roots, alpn: alpn, h2: &h2}
		}
	})
	c := p.Dial()
	for i, now := range []bool{true, false, false, true, true, false} {
		h2.Store(now)
		want := "HTTP/1.1"
		if now {
			want = "HTTP/2.0"
		}
		if r := c.Get("/bytes/10"); r.Status != 200 || r.Header.Get("X-Proto") != want {
			t.Errorf("%d: %d over %q, want %q", i, r.Status, r.Header.Get("X-Proto"), want)
		}
	}
	p.WantStats(harness.Stats{"cluster.origin.upstream_cx_http1_total": 3, "cluster.origin.upstream_cx_http2_total": 3})
}

// swapping offers h2 or not, as if the server had been exchanged.
type swapping struct {
	securer
	roots *x509.CertPool
	alpn  []string
	h2    *atomic.Bool
}

func (s *swapping) Secure(c *engine.Conn) {
	alpn := s.alpn
	if !s.h2.Load() {
		alpn = []string{"http/1.1"}
	}
	s.layer.Client(c, &tls.Config{RootCAs: s.roots, ServerName: "example.com", NextProtos: alpn}, 0)
}

func TestAFailedUpstreamHandshake(t *testing.T) { // router.md 10, clusters.md 8
	for _, protocol := range []conf.UpstreamProtocol{conf.UpstreamHTTP1, conf.UpstreamHTTP2, conf.UpstreamByALPN} {
		t.Run(fmt.Sprint(protocol), func(t *testing.T) {
			harness.NoLeaks(t)
			o := newTLSOrigin(t, true)
			top := one(o)
			top.LogFormat = "%RESPONSE_CODE% %RESPONSE_FLAGS% %UPSTREAM_TRANSPORT_FAILURE_REASON%"
			p := startH2Upstream(t, top, func(c *conf.Cluster) { c.Protocol = protocol })
			encrypt(p, nil)
			if r := p.Dial().Get("/"); r.Status != 503 || !strings.Contains(r.Body, "remote connection failure") {
				t.Errorf("%d %s", r.Status, r.Body)
			}
			p.WantStats(harness.Stats{
				"cluster.origin.upstream_cx_connect_fail": 1, "cluster.origin.upstream_cx_destroy_remote": 1, "cluster.origin.upstream_cx_active": 0,
				"cluster.origin.upstream_rq_pending_failure_eject": 1,
			})
			if line := p.AwaitLines(1)[0]; !strings.HasPrefix(line, "503 UF ") || !strings.Contains(line, "certificate") {
				t.Errorf("the log says %q", line)
			}
		})
	}
}

// connect_timeout covers the handshake.
func TestAnUpstreamHandshakeThatTakesTooLong(t *testing.T) {
	harness.NoLeaks(t)
	mute := newH2Script(t, false) // waits for a preface that never comes
	mute.silent.Store(true)
	p := startH2Upstream(t, one(mute), func(c *conf.Cluster) { c.ConnectTimeout = 100 * time.Millisecond })
	encrypt(p, nil)
	if r := p.Dial().Get("/"); r.Status != 503 || !strings.Contains(r.Body, "connection timeout") {
		t.Errorf("%d %s", r.Status, r.Body)
	}
	p.WantStats(harness.Stats{"cluster.origin.upstream_cx_connect_timeout": 1, "cluster.origin.upstream_cx_connect_fail": 1})
}

// Without anything that encrypts, a cluster with TLS gets no connection rather than a plain one.
func TestAClusterWithTLSIsNeverPlain(t *testing.T) {
	harness.NoLeaks(t)
	o := newH2Origin(t, &http2.Server{}, bodyHandler)
	p := startH2Upstream(t, one(o), func(c *conf.Cluster) { c.TLS = &conf.UpstreamTLS{} })
	p.OnLoops(func(w *worker.Worker) { w.Secure = nil })
	if r := p.Dial().Get("/bytes/1"); r.Status != 503 {
		t.Errorf("%d %s", r.Status, r.Body)
	}
	p.WantStats(harness.Stats{"cluster.origin.upstream_cx_total": 0})
}
