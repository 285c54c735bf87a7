package format

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	hexadecimal "encoding/hex"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/proxy/secure"
	"github.com/sluiceproxy/sluice/proxy/streaminfo"
)

// selfSigned makes a certificate for both ends of TLS; change edits the template.
func selfSigned(t testing.TB, change func(*x509.Certificate)) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	change(template)
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

// shake makes a handshake and returns what each end found out. client may be without certificate.
func shake(t testing.TB, server, client tls.Certificate, name string, version uint16) (downstream, upstream *secure.Peer) {
	t.Helper()
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	accepted := tls.Server(far, &tls.Config{Certificates: []tls.Certificate{server}, ClientAuth: tls.RequestClientCert, MaxVersion: version, SessionTicketsDisabled: true})
	dialed := tls.Client(near, &tls.Config{InsecureSkipVerify: true, ServerName: name, GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &client, nil }})
	done := make(chan error, 1)
	go func() { done <- dialed.Handshake() }()
	if err := accepted.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	describe := func(own tls.Certificate) *secure.Certificate {
		if own.Leaf == nil {
			return nil
		}
		return secure.Describe(own.Leaf)
	}
	a, d := accepted.ConnectionState(), dialed.ConnectionState()
	return secure.NewPeer(&a, describe(server)), secure.NewPeer(&d, describe(client))
}

func uri(t testing.TB, text string) *url.URL {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// ends are certificates of a client and a server with every fact.
func ends(t testing.TB) (client, server tls.Certificate) {
	t.Helper()
	client = selfSigned(t, func(c *x509.Certificate) {
		c.SerialNumber = big.NewInt(0xabcdef)
		c.Subject = pkix.Name{CommonName: "client", Organization: []string{"Example, Inc."}}
		c.NotBefore, c.NotAfter = time.Date(2018, 12, 18, 1, 50, 34, 0, time.UTC), time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
		c.URIs = []*url.URL{uri(t, "spiffe://mesh/a"), uri(t, "spiffe://mesh/b")}
		c.DNSNames = []string{"a.test", "b.test"}
		c.IPAddresses = []net.IP{net.ParseIP("192.0.2.1"), net.ParseIP("2001:db8::1")}
		c.EmailAddresses = []string{"a@a.test"}
	})
	server = selfSigned(t, func(c *x509.Certificate) {
		c.SerialNumber = big.NewInt(0x10)
		c.Subject = pkix.Name{CommonName: "server"}
		c.NotBefore, c.NotAfter = time.Date(2020, 2, 3, 4, 5, 6, 0, time.UTC), time.Date(2040, 2, 3, 4, 5, 6, 0, time.UTC)
		c.DNSNames = []string{"server.test"}
	})
	return client, server
}

// secured is a stream from a client with a certificate to an endpoint with TLS.
func secured(t testing.TB) *streaminfo.Info {
	t.Helper()
	client, server := ends(t)
	downstream, _ := shake(t, server, client, "Server.TEST", tls.VersionTLS13)
	_, upstream := shake(t, server, client, "", tls.VersionTLS12)
	return &streaminfo.Info{
		Conn: &streaminfo.Connection{
			StartNs: 3 * int64(time.Millisecond),
			Secure:  &streaminfo.Secure{Peer: downstream, HandshakeNs: 12*int64(time.Millisecond) + 9},
		},
		UpstreamPeer: upstream,
	}
}

func TestTLSOperators(t *testing.T) {
	i := secured(t)
	client, server := i.Conn.Peer().Remote(), i.UpstreamPeer.Remote()
	for _, row := range []struct{ format, want string }{
		{"%DOWNSTREAM_TLS_VERSION% %UPSTREAM_TLS_VERSION%", "TLSv1.3 TLSv1.2"},
		{"%DOWNSTREAM_TLS_CIPHER% %UPSTREAM_TLS_CIPHER%", "TLS_AES_128_GCM_SHA256 ECDHE-ECDSA-AES128-GCM-SHA256"},
		{"%DOWNSTREAM_TLS_SESSION_ID% %UPSTREAM_TLS_SESSION_ID%", "- -"}, // crypto/tls does not tell

		{"%DOWNSTREAM_PEER_URI_SAN%", "spiffe://mesh/a,spiffe://mesh/b"},
		{"%DOWNSTREAM_PEER_DNS_SAN%", "a.test,b.test"},
		{"%DOWNSTREAM_PEER_IP_SAN%", "192.0.2.1,2001:db8::1"},
		{"%DOWNSTREAM_PEER_EMAIL_SAN%", "a@a.test"},
		{"%DOWNSTREAM_PEER_SUBJECT%", `CN=client,O=Example\, Inc.`},
		{"%DOWNSTREAM_PEER_ISSUER%", `CN=client,O=Example\, Inc.`},
		{"%DOWNSTREAM_PEER_SERIAL%", "abcdef"},
		{"%DOWNSTREAM_PEER_FINGERPRINT_256% %DOWNSTREAM_PEER_FINGERPRINT_1%", client.Fingerprint256 + " " + client.Fingerprint1},
		{"%DOWNSTREAM_PEER_CERT%", client.URLEncodedPEM()},
		{"%DOWNSTREAM_PEER_CERT_V_START%", "2018-12-18T01:50:34.000Z"},
		{"%DOWNSTREAM_PEER_CERT_V_END%", "9999-12-31T23:59:59.000Z"}, // RFC 5280 4.1.2.5: no well-defined end
		{"%DOWNSTREAM_PEER_CERT_V_START(%b-%e-%Y %H:%M:%S %Z)%", "Dec-18-2018 01:50:34 UTC"},
		{"%DOWNSTREAM_PEER_CERT_V_END(%Y)%", "9999"},

		{"%DOWNSTREAM_LOCAL_DNS_SAN% %DOWNSTREAM_LOCAL_URI_SAN% %DOWNSTREAM_LOCAL_IP_SAN% %DOWNSTREAM_LOCAL_EMAIL_SAN%", "server.test - - -"},
		{"%DOWNSTREAM_LOCAL_SUBJECT% %DOWNSTREAM_LOCAL_ISSUER% %DOWNSTREAM_LOCAL_SERIAL%", "CN=server CN=server 10"},
		{"%DOWNSTREAM_LOCAL_FINGERPRINT_256% %DOWNSTREAM_LOCAL_FINGERPRINT_1%", server.Fingerprint256 + " " + server.Fingerprint1},
		{"%DOWNSTREAM_LOCAL_CERT%", server.URLEncodedPEM()},
		{"%DOWNSTREAM_LOCAL_CERT_V_START(%F)% %DOWNSTREAM_LOCAL_CERT_V_END(%F)%", "2020-02-03 2040-02-03"},

		{"%UPSTREAM_PEER_DNS_SAN% %UPSTREAM_PEER_URI_SAN%", "server.test -"},
		{"%UPSTREAM_PEER_SUBJECT% %UPSTREAM_PEER_ISSUER% %UPSTREAM_PEER_SERIAL%", "CN=server CN=server 10"},
		{"%UPSTREAM_PEER_CERT%", server.URLEncodedPEM()},
		{"%UPSTREAM_PEER_CERT_V_START% %UPSTREAM_PEER_CERT_V_END%", "2020-02-03T04:05:06.000Z 2040-02-03T04:05:06.000Z"},
		{"%UPSTREAM_LOCAL_URI_SAN% %UPSTREAM_LOCAL_SUBJECT%", `spiffe://mesh/a,spiffe://mesh/b CN=client,O=Example\, Inc.`},

		{"%REQUESTED_SERVER_NAME%", "server.test"},
		{"%DOWNSTREAM_HANDSHAKE_DURATION%", "9"},
	} {
		f, err := Compile(row.format)
		if err != nil {
			t.Fatalf("%s: %v", row.format, err)
		}
		if got := string(f.Append(nil, i)); got != row.want {
			t.Errorf("%s\nreads %s\nwant  %s", row.format, got, row.want)
		}
		blank := strings.TrimSuffix(strings.Repeat("- ", strings.Count(row.format, "% %")+1), " ")
		for title, plain := range map[string]*streaminfo.Info{
			"no connection":          {},
			"a plain connection":     {Conn: new(streaminfo.Connection)},
			"an unfinished shake":    {Conn: &streaminfo.Connection{Secure: new(streaminfo.Secure)}},
			"a handshake that broke": {Conn: &streaminfo.Connection{Secure: &streaminfo.Secure{TransportFailure: "TLS_error:NO_SHARED_CIPHER"}}},
		} {
			if got := string(f.Append(nil, plain)); got != blank {
				t.Errorf("%s of %s: %s, want %s", row.format, title, got, blank)
			}
		}
	}
}

// The facts are those of the certificates that were shown, not only of what the descriptions say.
func TestTLSFingerprintsAndCertificate(t *testing.T) {
	client, server := ends(t)
	peer, _ := shake(t, server, client, "", tls.VersionTLS13)
	sum256, sum1 := sha256.Sum256(client.Leaf.Raw), sha1.Sum(client.Leaf.Raw)
	f, err := Compile("%DOWNSTREAM_PEER_FINGERPRINT_256%|%DOWNSTREAM_PEER_FINGERPRINT_1%|%DOWNSTREAM_PEER_CERT%|%REQUESTED_SERVER_NAME%")
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(string(f.Append(nil, &streaminfo.Info{Conn: &streaminfo.Connection{Secure: &streaminfo.Secure{Peer: peer}}})), "|")
	if parts[0] != hexadecimal.EncodeToString(sum256[:]) || parts[1] != hexadecimal.EncodeToString(sum1[:]) || parts[3] != "-" {
		t.Errorf("%q", parts)
	}
	text, err := url.QueryUnescape(parts[2])
	if err != nil {
		t.Fatal(err)
	}
	if block, _ := pem.Decode([]byte(text)); block == nil || string(block.Bytes) != string(client.Leaf.Raw) {
		t.Errorf("not the certificate: %s", text)
	}
}

func TestTLSWithoutClientCertificate(t *testing.T) {
	_, server := ends(t)
	downstream, upstream := shake(t, server, tls.Certificate{}, "server.test", tls.VersionTLS13)
	i := &streaminfo.Info{Conn: &streaminfo.Connection{Secure: &streaminfo.Secure{Peer: downstream}}, UpstreamPeer: upstream}
	for format, want := range map[string]string{
		"%DOWNSTREAM_TLS_VERSION% %DOWNSTREAM_LOCAL_SUBJECT% %UPSTREAM_PEER_SUBJECT%":            "TLSv1.3 CN=server CN=server",
		"%DOWNSTREAM_PEER_SUBJECT% %DOWNSTREAM_PEER_CERT% %DOWNSTREAM_PEER_CERT_V_END%":          "- - -",
		"%UPSTREAM_LOCAL_SUBJECT% %UPSTREAM_LOCAL_CERT_V_START% %DOWNSTREAM_HANDSHAKE_DURATION%": "- - -",
	} {
		f, err := Compile(format)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(f.Append(nil, i)); got != want {
			t.Errorf("%s: %s, want %s", format, got, want)
		}
	}
}

func TestServerNameOfTheFilterComesFirst(t *testing.T) {
	_, server := ends(t)
	f, err := Compile("%REQUESTED_SERVER_NAME%")
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct{ title, filter, shake, want string }{
		{"both saw one", "from.filter", "from.tls", "from.filter"},
		{"only TLS did", "", "FROM.tls", "from.tls"},
		{"none", "", "", "-"},
		{"what is no host name", "", "a b\r\nforged\"_.test", "a_b__forged__.test"},
	} {
		peer, _ := shake(t, server, tls.Certificate{}, row.shake, tls.VersionTLS13)
		i := &streaminfo.Info{Conn: &streaminfo.Connection{Secure: &streaminfo.Secure{Peer: peer}, Extra: &streaminfo.Extra{ServerName: []byte(row.filter)}}}
		if got := string(f.Append(nil, i)); got != row.want {
			t.Errorf("%s: %q, want %q", row.title, got, row.want)
		}
	}
}

// A certificate that nobody verified says what its owner likes.
func TestNamesOfCertificatesEndNoLine(t *testing.T) {
	client := selfSigned(t, func(c *x509.Certificate) {
		c.Subject = pkix.Name{CommonName: "a\nforged"}
		c.DNSNames, c.EmailAddresses = []string{"a\r\nforged", "b"}, []string{"c\x7f@d"}
	})
	_, server := ends(t)
	peer, _ := shake(t, server, client, "", tls.VersionTLS13)
	f, err := Compile("%DOWNSTREAM_PEER_DNS_SAN% %DOWNSTREAM_PEER_EMAIL_SAN% %DOWNSTREAM_PEER_SUBJECT%")
	if err != nil {
		t.Fatal(err)
	}
	if got := string(f.Append(nil, &streaminfo.Info{Conn: &streaminfo.Connection{Secure: &streaminfo.Secure{Peer: peer}}})); got != `a!!forged,b c!@d CN=a\0Aforged` {
		t.Errorf("got %q", got)
	}
}

func TestTLSOperatorsThatAreRefused(t *testing.T) {
	for _, row := range []struct{ format, want string }{
		{"%DOWNSTREAM_TLS_VERSION(x)%", "offset 0: %DOWNSTREAM_TLS_VERSION%: takes no argument"},
		{"%DOWNSTREAM_PEER_SUBJECT:3%", "offset 0: %DOWNSTREAM_PEER_SUBJECT%: takes no length"},
		{"%UPSTREAM_PEER_CERT_V_END:3%", "offset 0: %UPSTREAM_PEER_CERT_V_END%: takes no length"},
		{"%UPSTREAM_PEER_CERT_V_END(%Q)%", `offset 0: %UPSTREAM_PEER_CERT_V_END%: time format: unknown conversion "%Q"`},
		{"%DOWNSTREAM_TLS_NOSE%", "offset 0: %DOWNSTREAM_TLS_NOSE%: unknown operator"},
		{"%TLS_VERSION%", "offset 0: %TLS_VERSION%: unknown operator"},
		{"%DOWNSTREAM_PEER_CHAIN_SERIALS%", "offset 0: %DOWNSTREAM_PEER_CHAIN_SERIALS%: not supported: only the peer's own certificate is described; x-forwarded-client-cert has the chain"},
		{"%DOWNSTREAM_PEER_OTHERNAME_SAN%", "offset 0: %DOWNSTREAM_PEER_OTHERNAME_SAN%: not supported: other names of certificates are not read"},
	} {
		if _, err := Compile(row.format); err == nil || err.Error() != row.want {
			t.Errorf("%s: %v, want %s", row.format, err, row.want)
		}
	}
}
