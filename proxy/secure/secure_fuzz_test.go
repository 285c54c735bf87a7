package secure

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"strings"
	"testing"
	"time"
)

// A name is one line of printable ASCII without a character that would end it,
// whatever a certificate says.
func FuzzDistinguishedName(f *testing.F) {
	for _, name := range []pkix.Name{{CommonName: "a"}, {CommonName: `",;`, Organization: []string{"b\r\n"}}, {CommonName: "é"}} {
		der, err := asn1.Marshal(name.ToRDNSequence())
		if err != nil {
			f.Fatal(err)
		}
		f.Add(der)
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		text := nameText(der)
		for i := range len(text) {
			if text[i] < ' ' || text[i] > '~' {
				t.Fatalf("%q", text)
			}
			if text[i] == '"' && (i == 0 || text[i-1] != '\\') {
				t.Fatalf("a quote that ends the text: %s", text)
			}
		}
	})
}

// A value stays within its quotes, and within its header.
func FuzzForwardedValue(f *testing.F) {
	for _, s := range []string{"", "a", `a"b`, `a\"`, `,\`, "\r\n", "spiffe://a/b?c=d"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		out := string(appendXFCCValue(nil, in))
		quoted := strings.HasPrefix(out, `"`)
		if quoted {
			if len(out) < 2 || out[len(out)-1] != '"' {
				t.Fatalf("%q is %s", in, out)
			}
			out = out[1 : len(out)-1]
		}
		for i := 0; i < len(out); i++ {
			c := out[i]
			switch {
			case c <= ' ' || c > '~', !quoted && strings.IndexByte(`,;="`, c) >= 0, quoted && c == '"':
				t.Fatalf("%q is %s", in, out)
			case quoted && c == '\\':
				if i++; i == len(out) {
					t.Fatalf("%q escapes its last quote: %s", in, out)
				}
			}
		}
	})
}

// Whatever a file holds is an error or usable; nothing panics or takes long.
func FuzzFiles(f *testing.F) {
	ca := authority(f, nil, "ca")
	id := leaf(f, ca, "a.test")
	f.Add(id.chain(), id.keyPEM(), "secret")
	f.Add(ca.crl(f, time.Now().Add(time.Hour), id), ca.ocspFor(f, time.Now().Add(time.Hour), id), "")
	f.Fuzz(func(t *testing.T, a, b []byte, password string) {
		if CheckCertificate(a, b, []byte(password)) == nil {
			must(t, CheckTrustedCA(a))
		}
		_ = CheckCRL(a)
		_ = CheckOCSPStaple(b, id.chain())
		der, err := decryptKey(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: b[:min(len(b), 512)]}, []byte(password))
		if err == nil && len(der) >= len(b) {
			t.Error("the key is longer than what it is encrypted to")
		}
	})
}
