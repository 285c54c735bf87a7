package pool

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/engine"
	"github.com/sluiceproxy/sluice/engine/tlsio"
)

// certificate is a self-signed one for "origin".
func certificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"origin"}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, roots
}

// securer is Options.Secure over crypto/tls.
type securer struct {
	layer   *tlsio.Layer
	config  *tls.Config
	secured int
	broken  []engine.CloseReason
	timeout time.Duration // Options.ConnectTimeout
}

func (s *securer) Secure(c *engine.Conn)      { s.layer.Client(c, s.config, 0) }
func (s *securer) Secured(c *engine.Conn) any { s.secured++; return s }
func (s *securer) Broken(c *engine.Conn, r engine.CloseReason) error {
	s.broken = append(s.broken, r)
	return c.Err()
}

// every runs f with each kind of pool: for connections shared in turn, for one request each, and for
// streams. ask makes a request and waits for its answer. The clients trust nobody unless change says so.
func every(t *testing.T, change func(s *securer), f func(t *testing.T, m *mux, s *securer, ask func() *call)) {
	for _, kind := range []string{"pool", "exclusive", "mux"} {
		t.Run(kind, func(t *testing.T) {
			s := &securer{layer: tlsio.New(tlsio.Options{}), config: &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "origin"}}
			if change != nil {
				change(s)
			}
			m := openMux(t, Options{Exclusive: kind == "exclusive", Secure: s, ConnectTimeout: s.timeout})
			f(t, m, s, func() *call {
				k := newCall()
				m.on(func() {
					if kind == "mux" {
						m.m.Acquire(&k.Request)
					} else {
						m.pool.Acquire(&k.Request)
					}
				})
				m.until("an answer", func() bool { return k.answers > 0 })
				return k
			})
		})
	}
}

func TestSecureConnectionsAreUpAfterTheHandshake(t *testing.T) {
	cert, roots := certificate(t)
	every(t, func(s *securer) { s.config.RootCAs = roots }, func(t *testing.T, m *mux, s *securer, ask func() *call) {
		got := make(chan string, 1)
		go func() {
			s := tls.Server(<-m.accepted, &tls.Config{Certificates: []tls.Certificate{cert}})
			defer s.Close()
			b := make([]byte, 5)
			_, _ = io.ReadFull(s, b)
			got <- string(b)
		}()
		k := ask()
		m.on(func() {
			switch {
			case k.conn != nil:
				k.conn.Write([]byte("hello"))
			case k.session != nil:
				k.session.mc.Write([]byte("hello"))
			default:
				t.Errorf("failed: %s, %v", k.failure, k.err)
			}
			if s.secured != 1 {
				t.Errorf("heard of %d handshakes", s.secured)
			}
			if k.conn != nil && k.conn.Security() != s || k.session != nil && k.session.mc.Security() != s {
				t.Error("the connection does not say what Secured said")
			}
		})
		if text := <-got; text != "hello" {
			t.Errorf("the origin decrypted %q", text)
		}
		m.until("the connection is gone", func() bool { return m.breaker.connections == 0 || k.finished })
	})
}

func TestAHandshakeThatFailsIsAConnectFailure(t *testing.T) { // clusters.md 8
	cert, _ := certificate(t)
	every(t, nil, func(t *testing.T, m *mux, s *securer, ask func() *call) {
		done := make(chan error, 1)
		go func() {
			c := <-m.accepted
			defer c.Close()
			done <- tls.Server(c, &tls.Config{Certificates: []tls.Certificate{cert}}).Handshake()
		}()
		k := ask()
		m.on(func() {
			var unknown *tls.CertificateVerificationError
			if !k.failed || k.failure != ConnectFailure || !errors.As(k.err, &unknown) {
				t.Errorf("failed %v: %s, %v", k.failed, k.failure, k.err)
			}
			if len(s.broken) != 1 || s.broken[0] != engine.HandshakeFailed || s.secured != 0 {
				t.Errorf("heard of %v and %d handshakes", s.broken, s.secured)
			}
			if d := m.events.destroyed[0]; !d.Remote || d.Connected || m.events.failed != 1 || m.events.timeouts != 0 {
				t.Errorf("%+v, %d failed", d, m.events.failed)
			}
		})
		if <-done == nil {
			t.Error("the origin's handshake succeeded")
		}
		m.settled()
	})
}

func TestConnectTimeoutCoversTheHandshake(t *testing.T) {
	every(t, func(s *securer) { s.timeout = 50 * time.Millisecond }, func(t *testing.T, m *mux, s *securer, ask func() *call) {
		k := ask() // the origin accepts and says nothing
		end := m.accept()
		m.on(func() {
			if !k.failed || k.failure != ConnectTimeout || m.events.timeouts != 1 {
				t.Errorf("failed %v: %s, %d timeouts", k.failed, k.failure, m.events.timeouts)
			}
		})
		end.Close()
		m.settled()
	})
}

func TestWhoEndedAConnection(t *testing.T) {
	for _, row := range []struct {
		r    engine.CloseReason
		peer bool
	}{
		{engine.LocalClose, false},
		{engine.ConnectTimeout, false},
		{engine.FDLimit, false},
		{engine.HandshakeShed, false},
		{engine.PeerReset, true},
		{engine.ConnectRefused, true},
		{engine.HandshakeFailed, true},
		{engine.TransformFailed, true},
		{engine.Truncated, true},
	} {
		if byPeer(row.r) != row.peer {
			t.Errorf("%s by the peer: %v", row.r, !row.peer)
		}
	}
}

// A request may say what encrypts the connection that is dialled for it alone.
func TestExclusiveRequestsMayBringTheirOwnSecurity(t *testing.T) {
	cert, roots := certificate(t)
	pools := &securer{layer: tlsio.New(tlsio.Options{}), config: &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "origin"}}
	own := &securer{layer: pools.layer, config: &tls.Config{RootCAs: roots, ServerName: "origin"}}
	m := openMux(t, Options{Exclusive: true, Secure: pools})
	go func() {
		for range 2 {
			s := tls.Server(<-m.accepted, &tls.Config{Certificates: []tls.Certificate{cert}})
			_ = s.Handshake()
			_ = s.Close()
		}
	}()
	trusting, other := newCall(), newCall()
	m.on(func() {
		trusting.Secure = own
		m.pool.Acquire(&trusting.Request)
		trusting.Secure = nil // is not read any more
		m.pool.Acquire(&other.Request)
	})
	m.until("answers", func() bool { return trusting.answers > 0 && other.answers > 0 })
	m.on(func() {
		if trusting.conn != nil {
			trusting.conn.Release(false)
		}
		if trusting.failed || !other.failed || pools.secured != 1 || own.secured != 0 || len(pools.broken) == 0 {
			t.Errorf("failed %v (%v) and %v; heard of %d and %d handshakes", trusting.failed, trusting.err, other.failed, pools.secured, own.secured)
		}
	})
	m.until("the connections are gone", func() bool { return m.breaker.connections == 0 })
}
