package peer

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// Wire is what clients speak to an HTTP proxy. Upstream it is HTTP/1.1 without TLS, always.
type Wire uint8

const (
	// H1 is HTTP/1.1.
	H1 Wire = iota
	// H1TLS is HTTP/1.1 over TLS.
	H1TLS
	// H2C is HTTP/2 by prior knowledge.
	H2C
	// H2TLS is HTTP/2 over TLS, agreed on by ALPN.
	H2TLS
)

// Secure reports whether there is TLS.
func (w Wire) Secure() bool { return w == H1TLS || w == H2TLS }

// HTTP2 reports whether it is HTTP/2.
func (w Wire) HTTP2() bool { return w == H2C || w == H2TLS }

// protocol is the wire's ALPN name.
func (w Wire) protocol() string {
	if w.HTTP2() {
		return "h2"
	}
	return "http/1.1"
}

// What all proxies and clients agree on, so that they do the same cryptography: keys for signatures and
// for the exchange are of P-256, and this is the only cipher of TLS 1.3 they are to use.
const (
	identityName   = "bench.test"
	identityCipher = "TLS_AES_128_GCM_SHA256"
)

// Identity is a certificate for identityName with its key, in files. One serves all proxies; nil is none.
type Identity struct {
	certFile, keyFile, bothFile string
	pool                        *x509.CertPool
}

// NewIdentity makes one and writes its files to dir.
func NewIdentity(dir string) (*Identity, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: identityName}, DNSNames: []string{identityName},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(48 * time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	private := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})
	id := &Identity{
		certFile: filepath.Join(dir, "cert.pem"), keyFile: filepath.Join(dir, "key.pem"), bothFile: filepath.Join(dir, "both.pem"),
		pool: x509.NewCertPool(),
	}
	id.pool.AppendCertsFromPEM(cert)
	return id, errors.Join(os.WriteFile(id.certFile, cert, 0o600), os.WriteFile(id.keyFile, private, 0o600),
		os.WriteFile(id.bothFile, append(cert, private...), 0o600))
}

// cert, key and both are the files' paths, empty where there is no TLS.
func (id *Identity) cert() string {
	if id == nil {
		return ""
	}
	return id.certFile
}

func (id *Identity) key() string {
	if id == nil {
		return ""
	}
	return id.keyFile
}

func (id *Identity) both() string {
	if id == nil {
		return ""
	}
	return id.bothFile
}

// Client returns how a client of a wire with TLS connects, nil for one without. Sessions are not resumed.
func (id *Identity) Client(w Wire) *tls.Config {
	if !w.Secure() {
		return nil
	}
	return &tls.Config{
		RootCAs: id.pool, ServerName: identityName, MinVersion: tls.VersionTLS13, NextProtos: []string{w.protocol()},
		CurvePreferences: []tls.CurveID{tls.CurveP256}, VerifyConnection: agreed(w),
	}
}

// agreed checks that a proxy took what all are to take.
func agreed(w Wire) func(tls.ConnectionState) error {
	return func(s tls.ConnectionState) error {
		cipher := tls.CipherSuiteName(s.CipherSuite)
		if s.Version != tls.VersionTLS13 || cipher != identityCipher || s.NegotiatedProtocol != w.protocol() && w.HTTP2() || s.DidResume {
			return fmt.Errorf("the proxy chose %s, %s, protocol %q, resumed %v", tls.VersionName(s.Version), cipher, s.NegotiatedProtocol, s.DidResume)
		}
		return nil
	}
}

// client is one that goes where it is told over a wire, with a connection for each question: no proxy
// from the environment.
func (id *Identity) client(w Wire) *http.Client {
	t := &http.Transport{DisableKeepAlives: true, DisableCompression: true, Protocols: new(http.Protocols)}
	switch w {
	case H1, H1TLS:
		t.Protocols.SetHTTP1(true)
	case H2C:
		t.Protocols.SetUnencryptedHTTP2(true)
	case H2TLS:
		t.Protocols.SetHTTP2(true)
	}
	if w.Secure() {
		t.TLSClientConfig = id.Client(w)
	}
	return &http.Client{Transport: t}
}
