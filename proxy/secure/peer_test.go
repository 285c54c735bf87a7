package secure

import (
	"crypto/sha1"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

func TestFactsOfCertificates(t *testing.T) {
	ca := authority(t, nil, "The CA")
	from, until := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), time.Date(2036, 1, 2, 3, 4, 5, 0, time.UTC)
	p := issue(t, ca, ecKey(t), func(c *x509.Certificate) {
		c.SerialNumber.SetInt64(0x0a_bc_de)
		c.Subject = pkix.Name{Country: []string{"US"}, Organization: []string{`Example, "Inc."`}, CommonName: "cliént"}
		c.NotBefore, c.NotAfter = from, until
		c.DNSNames = []string{"a.test", "b.test"}
		c.URIs = []*url.URL{mustURL("spiffe://mesh/a")}
		c.IPAddresses = []net.IP{net.ParseIP("192.0.2.1"), net.ParseIP("2001:db8::1")}
		c.EmailAddresses = []string{"a@a.test"}
	})
	sum256, sum1 := sha256.Sum256(p.cert.Raw), sha1.Sum(p.cert.Raw)
	want := &Certificate{
		Subject: `CN=cli\C3\A9nt,O=Example\, \"Inc.\",C=US`, Issuer: "CN=The CA", Serial: "0abcde",
		Fingerprint256: hex.EncodeToString(sum256[:]), Fingerprint1: hex.EncodeToString(sum1[:]),
		URIs: []string{"spiffe://mesh/a"}, DNS: []string{"a.test", "b.test"}, IPs: []string{"192.0.2.1", "2001:db8::1"}, Emails: []string{"a@a.test"},
		NotBefore: from, NotAfter: until, raw: p.cert.Raw,
	}
	if diff := cmp.Diff(want, Describe(p.cert), cmp.AllowUnexported(Certificate{})); diff != "" {
		t.Error(diff)
	}
	text := Describe(p.cert).URLEncodedPEM()
	if strings.ContainsAny(text, " \n+/=") || !strings.HasPrefix(text, "-----BEGIN%20CERTIFICATE-----%0A") || !strings.HasSuffix(text, "%0A-----END%20CERTIFICATE-----%0A") {
		t.Error(text)
	}
	plain, err := url.QueryUnescape(text)
	must(t, err)
	if b, _ := pem.Decode([]byte(plain)); b == nil || string(b.Bytes) != string(p.cert.Raw) {
		t.Error("the text is not the certificate")
	}
}

func TestDistinguishedNames(t *testing.T) {
	value := func(tag int, text string) asn1.RawValue { return asn1.RawValue{Tag: tag, Bytes: []byte(text)} }
	cn := asn1.ObjectIdentifier{2, 5, 4, 3}
	one := func(v asn1.RawValue) []relativeNameSET { return []relativeNameSET{{{cn, v}}} }
	for _, row := range []struct {
		title string
		name  []relativeNameSET
		want  string
	}{
		{"nothing", nil, ""},
		{"the last part is first", []relativeNameSET{{{asn1.ObjectIdentifier{2, 5, 4, 6}, value(19, "DE")}}, {{cn, value(12, "a")}}}, "CN=a,C=DE"},
		{"a part of two", []relativeNameSET{{{cn, value(12, "a")}, {asn1.ObjectIdentifier{0, 9, 2342, 19200300, 100, 1, 1}, value(12, "u")}}}, "CN=a+UID=u"},
		{"mail", []relativeNameSET{{{asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 1}, value(22, "a@b")}}}, "emailAddress=a@b"},
		{"special characters", one(value(12, `,+"\<>;=`)), `CN=\,\+\"\\\<\>\;=`},
		{"ends", one(value(12, " a ")), `CN=\ a\ `},
		{"a number sign", one(value(12, "#a#")), `CN=\#a#`},
		{"control characters", one(value(12, "a\r\nb\x7f")), `CN=a\0D\0Ab\7F`},
		{"Latin-1", one(value(20, "\xe9")), `CN=\C3\A9`},
		{"UTF-16", one(value(30, "\x00a\x26\x3a")), `CN=a\E2\98\BA`},
		{"half of a UTF-16 character", one(value(30, "a")), "CN=#1E0161"},
		{"no text", one(value(2, "\x05")), "CN=#020105"},
		{"an unknown type", []relativeNameSET{{{asn1.ObjectIdentifier{1, 2, 3}, value(12, "a")}}}, "1.2.3=#0C0161"},
	} {
		der, err := asn1.Marshal(row.name)
		must(t, err)
		if got := nameText(der); got != row.want {
			t.Errorf("%s: %s, want %s", row.title, got, row.want)
		}
	}
	if got := nameText([]byte{1}); got != "" {
		t.Errorf("%s of nonsense", got)
	}
}

func TestForwardedClientCertificate(t *testing.T) { // RT-103
	ca := authority(t, nil, "ca")
	middle := authority(t, ca, "middle")
	made := func(change func(*x509.Certificate)) *pair { return issue(t, middle, ecKey(t), change) }
	proxy := Describe(made(func(c *x509.Certificate) {
		c.URIs = []*url.URL{mustURL("spiffe://mesh/proxy"), mustURL("https://proxy.test/")}
	}).cert)
	full := made(func(c *x509.Certificate) {
		c.Subject = pkix.Name{CommonName: `the "client"`}
		c.URIs = []*url.URL{mustURL("spiffe://mesh/a"), mustURL("https://a.test/?b=c,d;e")}
		c.DNSNames = []string{"a.test", "b.test"}
	})
	empty := made(func(*x509.Certificate) {})
	hash := func(p *pair) string { sum := sha256.Sum256(p.cert.Raw); return "Hash=" + hex.EncodeToString(sum[:]) }
	all := XFCCFields{Cert: true, Chain: true, Subject: true, URI: true, DNS: true}
	for _, row := range []struct {
		title  string
		peer   *pair
		local  *Certificate
		fields XFCCFields
		want   string
	}{
		{"no certificate", nil, proxy, all, ""},
		{"the hash is always there", full, nil, XFCCFields{}, hash(full)},
		{"each URI of ours", full, proxy, XFCCFields{}, "By=spiffe://mesh/proxy;By=https://proxy.test/;" + hash(full)},
		{"our certificate without URIs", full, Describe(full.cert), XFCCFields{DNS: true}, `By=spiffe://mesh/a;By="https://a.test/?b=c,d;e";` + hash(full) + ";DNS=a.test;DNS=b.test"},
		{"the subject", full, nil, XFCCFields{Subject: true}, hash(full) + `;Subject="CN=the \"client\""`},
		{"URIs", full, nil, XFCCFields{URI: true}, hash(full) + `;URI=spiffe://mesh/a;URI="https://a.test/?b=c,d;e"`},
		{"a certificate without names", empty, nil, XFCCFields{Subject: true, URI: true, DNS: true}, hash(empty) + `;Subject="";URI=`},
		{
			"everything", full, proxy, all,
			"By=spiffe://mesh/proxy;By=https://proxy.test/;" + hash(full) + `;Cert="` + urlEncodedPEM(full.cert.Raw) +
				`";Chain="` + urlEncodedPEM(full.cert.Raw) + urlEncodedPEM(middle.cert.Raw) +
				`";Subject="CN=the \"client\"";URI=spiffe://mesh/a;URI="https://a.test/?b=c,d;e";DNS=a.test;DNS=b.test`,
		},
	} {
		st := new(tls.ConnectionState)
		if row.peer != nil {
			st.PeerCertificates = append([]*x509.Certificate{row.peer.cert}, row.peer.above...)
		}
		if got := string(NewPeer(st, row.local).AppendXFCCElement([]byte("before,"), row.fields)); got != "before,"+row.want {
			t.Errorf("%s:\n%s, want\n%s", row.title, got, row.want)
		}
	}
	for in, want := range map[string]string{
		"a b": "a%20b", "a\r\nHost: x": "a%0D%0AHost:%20x", `a"b`: `"a\"b"`, `a\`: `a\`, `a,\`: `"a,\\"`, "é": "%C3%A9",
	} {
		if got := string(appendXFCCValue(nil, in)); got != want {
			t.Errorf("%q is %s, want %s", in, got, want)
		}
	}
}

func TestCertificatesForAdmin(t *testing.T) {
	ca := authority(t, nil, "ca")
	id := issue(t, ca, ecKey(t), func(c *x509.Certificate) {
		c.DNSNames, c.IPAddresses, c.URIs = []string{"a.test"}, []net.IP{net.ParseIP("192.0.2.1")}, []*url.URL{mustURL("spiffe://a")}
	})
	r := newRig(t)
	dir := t.TempDir()
	c := id.files(t, dir, "a")
	next := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	c.OCSPStaple.Inline = ca.ocspFor(t, next, id)
	r.down(&conf.DownstreamTLS{CommonTLS: conf.CommonTLS{
		Certificates: []*conf.TLSCertificate{c}, Validation: &conf.CertificateValidation{TrustedCA: ca.trust()},
	}})
	r.up(&conf.UpstreamTLS{})
	got := r.Certificates()
	want := []ContextCertificates{{
		CACert: []CertificateDetails{{
			Path: "<inline>", SerialNumber: serialText(ca.cert.SerialNumber), DaysUntilExpiration: 89, ValidFrom: ca.cert.NotBefore, ExpirationTime: ca.cert.NotAfter,
		}},
		CertChain: []CertificateDetails{{
			Path: dir + "/a.crt", SerialNumber: serialText(id.cert.SerialNumber), DaysUntilExpiration: 89, ValidFrom: id.cert.NotBefore, ExpirationTime: id.cert.NotAfter,
			SubjectAltNames: []SubjectAltName{{DNS: "a.test"}, {URI: "spiffe://a"}, {IPAddress: "192.0.2.1"}},
			OCSP:            &OCSPDetails{got[0].CertChain[0].OCSP.ValidFrom, next},
		}},
	}, {}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
