package forwarded

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"math/big"
	"net"
	"net/url"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/secure"
)

// identity makes a self-signed certificate with a URI and a DNS name.
func identity(t testing.TB, name string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{name + ".test"}, URIs: []*url.URL{{Scheme: "spiffe", Host: "mesh", Path: "/" + name}},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// accepted makes a handshake and returns what the server found out. client may be without certificate.
func accepted(t testing.TB, server, client tls.Certificate) *secure.Peer {
	t.Helper()
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	in := tls.Server(far, &tls.Config{Certificates: []tls.Certificate{server}, ClientAuth: tls.RequestClientCert, SessionTicketsDisabled: true})
	out := tls.Client(near, &tls.Config{InsecureSkipVerify: true, GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &client, nil }})
	done := make(chan error, 1)
	go func() { done <- out.Handshake() }()
	if err := in.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	st := in.ConnectionState()
	return secure.NewPeer(&st, secure.Describe(server.Leaf))
}

func TestRT103ClientCert(t *testing.T) {
	proxy, client := identity(t, "proxy"), identity(t, "client")
	mutual, oneWay := accepted(t, proxy, client), accepted(t, proxy, tls.Certificate{})
	sum := sha256.Sum256(client.Leaf.Raw)
	short := "By=spiffe://mesh/proxy;Hash=" + hex.EncodeToString(sum[:])
	long := short + `;Subject="CN=client";URI=spiffe://mesh/client;DNS=client.test`
	pem := secure.Describe(client.Leaf).URLEncodedPEM()
	const theirs = "By=x;Hash=y"
	mode := func(m conf.ClientCertDetails, set conf.CurrentClientCert) func(*conf.HTTPConnectionManager) {
		return func(c *conf.HTTPConnectionManager) { c.ForwardClientCert, c.CurrentClientCert = m, set }
	}
	none, all := conf.CurrentClientCert{}, conf.CurrentClientCert{Subject: true, DNS: true, URI: true}
	for _, row := range []struct {
		title  string
		set    func(*conf.HTTPConnectionManager)
		peer   *secure.Peer
		fields []string
		want   string
	}{
		{"SANITIZE removes it", mode(conf.ClientCertSanitize, all), mutual, []string{theirs}, "-"},
		{"SANITIZE adds nothing", mode(conf.ClientCertSanitize, all), mutual, nil, "-"},
		{"FORWARD_ONLY passes it on from a client with a certificate", mode(conf.ClientCertForwardOnly, all), mutual, []string{theirs, "Hash=z"}, theirs + "|Hash=z"},
		{"FORWARD_ONLY adds nothing", mode(conf.ClientCertForwardOnly, all), mutual, nil, "-"},
		{"ALWAYS_FORWARD_ONLY passes it on", mode(conf.ClientCertAlwaysForwardOnly, all), mutual, []string{theirs}, theirs},
		{"APPEND_FORWARD appends", mode(conf.ClientCertAppendForward, none), mutual, []string{theirs}, theirs + "," + short},
		{"APPEND_FORWARD makes one field of several", mode(conf.ClientCertAppendForward, none), mutual, []string{theirs, "Hash=z"}, theirs + ",Hash=z," + short},
		{"APPEND_FORWARD begins a list", mode(conf.ClientCertAppendForward, all), mutual, nil, long},
		{"APPEND_FORWARD after an empty field", mode(conf.ClientCertAppendForward, none), mutual, []string{""}, short},
		{"APPEND_FORWARD after a quoted value", mode(conf.ClientCertAppendForward, none), mutual, []string{`Subject="a\",b"`}, `Subject="a\",b",` + short},
		{"APPEND_FORWARD is not swallowed by an open quote", mode(conf.ClientCertAppendForward, none), mutual, []string{`Hash=z;Subject="a`, theirs}, theirs + "," + short},
		{"APPEND_FORWARD is not swallowed by an escaped quote", mode(conf.ClientCertAppendForward, none), mutual, []string{`Subject="a\"`}, short},
		{"SANITIZE_SET replaces it", mode(conf.ClientCertSanitizeSet, none), mutual, []string{theirs, "Hash=z"}, short},
		{"SANITIZE_SET with details", mode(conf.ClientCertSanitizeSet, all), mutual, nil, long},
		{"SANITIZE_SET with the subject alone", mode(conf.ClientCertSanitizeSet, conf.CurrentClientCert{Subject: true}), mutual, nil, short + `;Subject="CN=client"`},
		{"SANITIZE_SET with the URI alone", mode(conf.ClientCertSanitizeSet, conf.CurrentClientCert{URI: true}), mutual, nil, short + ";URI=spiffe://mesh/client"},
		{"SANITIZE_SET with the DNS names alone", mode(conf.ClientCertSanitizeSet, conf.CurrentClientCert{DNS: true}), mutual, nil, short + ";DNS=client.test"},
		{"SANITIZE_SET with the certificate", mode(conf.ClientCertSanitizeSet, conf.CurrentClientCert{Cert: true}), mutual, nil, short + `;Cert="` + pem + `"`},
		{"SANITIZE_SET with the chain", mode(conf.ClientCertSanitizeSet, conf.CurrentClientCert{Chain: true}), mutual, nil, short + `;Chain="` + pem + `"`},
	} {
		t.Run(row.title, func(t *testing.T) {
			var lines []string
			for _, v := range row.fields {
				lines = append(lines, "X-Forwarded-Client-Cert: "+v)
			}
			h := request(t, "/", lines...)
			in := facts("192.0.2.1")
			in.TLS, in.Secure = true, row.peer
			policy(row.set).Request(h, in)
			if got := fields(h, "x-forwarded-client-cert"); got != row.want {
				t.Errorf("got  %s\nwant %s", got, row.want)
			}
		})
	}

	// Nobody but ALWAYS_FORWARD_ONLY believes a client without a certificate.
	for m, want := range map[conf.ClientCertDetails]string{
		conf.ClientCertSanitize: "-", conf.ClientCertForwardOnly: "-", conf.ClientCertAppendForward: "-", conf.ClientCertSanitizeSet: "-",
		conf.ClientCertAlwaysForwardOnly: "By=x|Hash=y",
	} {
		for title, peer := range map[string]*secure.Peer{"plain": nil, "TLS without a client certificate": oneWay} {
			h := request(t, "/", "x-forwarded-client-cert: By=x", "x-forwarded-client-cert: Hash=y")
			in := facts("192.0.2.1")
			in.TLS, in.Secure = peer != nil, peer
			policy(mode(m, all)).Request(h, in)
			if got := fields(h, "x-forwarded-client-cert"); got != want {
				t.Errorf("mode %d, %s: got %s, want %s", m, title, got, want)
			}
		}
	}
}
