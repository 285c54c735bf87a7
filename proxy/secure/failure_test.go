package secure

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

func TestFailureTexts(t *testing.T) {
	remote := func(a uint8) error { return &net.OpError{Op: "remote error", Err: tls.AlertError(a)} }
	header := func(first string) error { return tls.RecordHeaderError{RecordHeader: [5]byte([]byte(first))} }
	for _, row := range []struct {
		err  error
		want string
	}{
		{nil, ""},
		{io.EOF, "TLS_error:UNEXPECTED_EOF"},
		{io.ErrUnexpectedEOF, "TLS_error:UNEXPECTED_EOF"},
		{header("GET /"), "TLS_error:HTTP_REQUEST"},
		{header("SSH-2"), "TLS_error:WRONG_VERSION_NUMBER"},
		{remote(40), "TLS_error:SSLV3_ALERT_HANDSHAKE_FAILURE"},
		{remote(48), "TLS_error:TLSV1_ALERT_UNKNOWN_CA"},
		{remote(116), "TLS_error:TLSV1_ALERT_CERTIFICATE_REQUIRED"},
		{remote(200), "TLS_error:ALERT_ALERT_200_"},
		{fmt.Errorf("around: %w", &VerifyError{Text: "SAN_matcher"}), "TLS_error:CERTIFICATE_VERIFY_FAILED:SAN_matcher"},
		{errors.New("tls: something else, \"new\"\r\n"), "TLS_error:TLS__SOMETHING_ELSE___NEW___"},
		{errors.New(strings.Repeat("x", 500)), "TLS_error:" + strings.Repeat("X", maxToken)},
	} {
		failed(t, row.err, row.want)
	}
	for a := range 256 {
		known := !strings.Contains(tls.AlertError(a).Error(), "alert(")
		if got := Failure(remote(uint8(a))); known == strings.Contains(got, ":ALERT_") {
			t.Errorf("alert %d is %s", a, got)
		}
	}
}

// What depends on texts of crypto/tls, by a handshake that fails so.
func TestFailuresAreRecognised(t *testing.T) {
	ca := authority(t, nil, "ca")
	r := newRig(t)
	d := r.down(&conf.DownstreamTLS{CommonTLS: conf.CommonTLS{Certificates: []*conf.TLSCertificate{leaf(t, ca, "a.test").inline()}}})
	for _, row := range []struct {
		title          string
		client         *tls.Config
		server, caller string
	}{
		{"no cipher", anyone(rsaOnly), "TLS_error:NO_SHARED_CIPHER", "TLS_error:SSLV3_ALERT_HANDSHAKE_FAILURE"},
		{"no version", anyone(only(tls.VersionTLS11)), "TLS_error:UNSUPPORTED_PROTOCOL", "TLS_error:TLSV1_ALERT_PROTOCOL_VERSION"},
		{"a client that does not trust us", &tls.Config{ServerName: "a.test", RootCAs: x509.NewCertPool()}, "TLS_error:SSLV3_ALERT_BAD_CERTIFICATE", ""},
	} {
		o := r.finish(d, shake(t, d.Config(), row.client))
		failed(t, o.serverErr, row.server)
		if row.caller != "" {
			failed(t, o.clientErr, row.caller)
		}
	}
	r.want("connection_error", 3, "handshake", 0)
	for name, said := range map[string]string{"TLS_error:HTTP_REQUEST": "GET / HTTP/1.1\r\n\r\n", "TLS_error:WRONG_VERSION_NUMBER": "SSH-2.0-x\r\n"} {
		a, b := net.Pipe()
		go func() { _, _ = io.WriteString(a, said); _, _ = io.Copy(io.Discard, a) }()
		failed(t, tls.Server(b, d.Config()).Handshake(), name)
		a.Close()
		b.Close()
	}
	d.Stats().Failed(r.shard, nil)
	d.Stats().Failed(r.shard, io.EOF)
	r.want("connection_error", 3)
}

func TestNamesOfSuitesAreWhole(t *testing.T) {
	for _, s := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		if strings.HasPrefix(CipherName(s.ID), "0x") {
			t.Errorf("%s has no name", s.Name)
		}
		if keyExchangeByRSA(s.ID) != strings.HasPrefix(s.Name, "TLS_RSA_") {
			t.Errorf("%s: key exchange", s.Name)
		}
	}
	if CipherName(0x1234) != "0x1234" || VersionName(tls.VersionTLS13) != "TLSv1.3" {
		t.Error("names")
	}
}

// What a peer signed with is known where its key leaves no choice.
func TestSignatureAlgorithmsOfPeers(t *testing.T) {
	ca := authority(t, nil, "ca")
	edwards := func() crypto.Signer {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		must(t, err)
		return key
	}
	on := func(c elliptic.Curve) crypto.Signer {
		key, err := ecdsa.GenerateKey(c, rand.Reader)
		must(t, err)
		return key
	}
	for _, row := range []struct {
		title   string
		key     crypto.Signer
		version uint16
		want    string // "0x0" is unknown
	}{
		{"P-256", on(elliptic.P256()), tls.VersionTLS13, "ecdsa_secp256r1_sha256"},
		{"P-384", on(elliptic.P384()), tls.VersionTLS13, "ecdsa_secp384r1_sha384"},
		{"P-521", on(elliptic.P521()), tls.VersionTLS13, "ecdsa_secp521r1_sha512"},
		{"P-256, any hash", on(elliptic.P256()), tls.VersionTLS12, "0x0"},
		{"Ed25519", edwards(), tls.VersionTLS12, "ed25519"},
		{"RSA, any hash", rsaKey(), tls.VersionTLS13, "0x0"},
	} {
		id := issue(t, ca, row.key, func(c *x509.Certificate) { c.DNSNames = []string{"a.test"} })
		d := newRig(t).down(&conf.DownstreamTLS{CommonTLS: conf.CommonTLS{Certificates: []*conf.TLSCertificate{id.inline()}}})
		o := shake(t, d.Config(), anyone(only(row.version)))
		if o.clientErr != nil {
			t.Fatal(row.title, o.clientErr)
		}
		if got := nameOf(sigalgs, peerSignature(&o.client)); got != row.want {
			t.Errorf("%s: %s, want %s", row.title, got, row.want)
		}
	}
}
