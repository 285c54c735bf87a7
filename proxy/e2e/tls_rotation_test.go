package e2e

import (
	"crypto/tls"
	"io"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// serial is that of the certificate a client got.
func serial(c *tls.Conn) string { return c.ConnectionState().PeerCertificates[0].SerialNumber.String() }

// presented connects and returns the serial of the certificate.
func presented(p *harness.Proxy, c *tls.Config) string {
	p.T.Helper()
	conn := p.DialTLS(c)
	defer conn.Close()
	conn.Do(get)
	return serial(conn.Conn)
}

const rotated = "listener.in.server_ssl_socket_factory."

// Connections go on when the files of their certificate are replaced, new ones see the new one, and
// requests meanwhile do not notice.
func TestTLSRotation(t *testing.T) {
	harness.NoLeaks(t)
	a := harness.NewAuthority(t)
	pair := a.Pair(t, "a.test")
	p := harness.StartSecured(t, harness.Topology{Clusters: to(harness.NewRecorder(t, nil)), Loops: 2}, harness.ServerSocket(pair, "", ""))
	config := a.Client("a.test")
	config.ClientSessionCache = tls.NewLRUClientSessionCache(8)
	old := p.DialTLS(a.Client("a.test"))
	old.Do(get)
	before := presented(p, config)

	var stop atomic.Bool
	var busy sync.WaitGroup
	var done atomic.Int64
	for _, keepAlive := range []bool{true, false} {
		client := p.HTTPS(a.Client("a.test"))
		client.Transport.(*http.Transport).DisableKeepAlives = !keepAlive
		busy.Go(func() {
			for !stop.Load() {
				r, err := client.Get("https://a.test/")
				if err != nil {
					t.Error(err)
					return
				}
				body, err := io.ReadAll(r.Body)
				r.Body.Close()
				if err != nil || r.StatusCode != 200 || string(body) != "ok" {
					t.Errorf("%d %q %v", r.StatusCode, body, err)
				}
				done.Add(1)
			}
		})
	}
	for range 3 {
		next := a.Certificate(t, "a.test")
		pair.Replace(t, next)
		harness.Eventually(t, "the new certificate", func() bool { return presented(p, a.Client("a.test")) != before })
		before = presented(p, a.Client("a.test"))
		if m := old.Do(get); m.Status() != 200 {
			t.Errorf("the old connection: %s", m.Start)
		}
		since := done.Load()
		harness.Eventually(t, "requests", func() bool { return done.Load() > since+4 })
	}
	stop.Store(true)
	busy.Wait()

	t.Run("files that are broken change nothing", func(t *testing.T) {
		for _, row := range []struct {
			title   string
			breakIt func()
		}{
			{"another's key", func() { harness.ReplaceFile(t, pair.Key, mustRead(t, a.Pair(t, "a.test").Key)) }},
			{"no certificate", func() { harness.ReplaceFile(t, pair.Chain, []byte("none")) }},
			{"no file", func() { _ = os.Remove(pair.Chain) }},
		} {
			failures := p.Stat(rotated + "key_rotation_failed")
			row.breakIt()
			harness.Eventually(t, row.title+" to be noticed", func() bool { return p.Stat(rotated+"key_rotation_failed") > failures })
			if got := presented(p, a.Client("a.test")); got != before {
				t.Errorf("%s: certificate %s instead of %s", row.title, got, before)
			}
		}
		pair.Replace(t, a.Certificate(t, "a.test"))
		harness.Eventually(t, "the next certificate", func() bool { return presented(p, a.Client("a.test")) != before })
	})
	if m := old.Do(get); m.Status() != 200 {
		t.Errorf("the old connection: %s", m.Start)
	}
	old.Close()
	p.WantStats(harness.Stats{inSSL + "connection_error": 0})
}

func mustRead(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A new authority's file lets in whom it signed, and nobody else's.
func TestTLSRotationOfTheAuthority(t *testing.T) {
	harness.NoLeaks(t)
	a, first, second := harness.NewAuthority(t), harness.NewAuthority(t), harness.NewAuthority(t)
	p := harness.StartSecured(t, harness.Topology{Clusters: to(harness.NewRecorder(t, nil))},
		harness.ServerSocket(a.Pair(t, "a.test"), first.Trust(), "require_client_certificate: true"))
	admitted := func(by *harness.Authority) bool {
		config := a.Client("a.test")
		cert := by.Certificate(t, "client.test")
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
		c := p.DialTLS(config)
		defer c.Close()
		if _, err := io.WriteString(c.Conn, get); err != nil {
			return false
		}
		_, err := c.Wire().TryRead(false)
		return err == nil
	}
	if !admitted(first) || admitted(second) {
		t.Fatal("not the first authority's clients alone are let in")
	}
	harness.ReplaceFile(t, first.File, mustRead(t, second.File))
	harness.Eventually(t, "the second authority's clients", func() bool { return admitted(second) })
	if admitted(first) {
		t.Error("the first authority's clients are still let in")
	}
}

// The client certificate and the authority of a cluster follow their files as well.
func TestTLSRotationUpstream(t *testing.T) {
	harness.NoLeaks(t)
	a := harness.NewAuthority(t)
	pair := a.Pair(t, "proxy.test")
	config := serverConfig(t, a, "origin.test")
	config.ClientAuth, config.ClientCAs = tls.RequireAndVerifyClientCert, a.Pool
	o := harness.NewTLSServer(t, config, harness.AnswerHTTP(nil))
	p := harness.Start(t, harness.Topology{Clusters: overTLS(o, harness.ClientSocket("tls_certificates: ["+pair.YAML()+"], "+a.Trust(), "sni: origin.test"),
		harness.ProtocolOptions("{ max_requests_per_connection: 1 }"))})
	c := p.Dial()
	c.Get("/").Want(200, "ok")
	shown := func() string {
		states := o.States()
		return states[len(states)-1].PeerCertificates[0].SerialNumber.String()
	}
	before := shown()
	pair.Replace(t, a.Certificate(t, "proxy.test"))
	harness.Eventually(t, "the new certificate", func() bool {
		c.Get("/").Want(200, "ok")
		return shown() != before
	})
	c.Close()
}
