package envoy

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

func init() { tlsReady, http2Ready = true, true }

// inCertificates makes the working directory one that holds certs/ with a file of each kind, and
// testdata/ as here.
func inCertificates(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "certs"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, data := range certificateFiles() {
		if err := os.WriteFile(filepath.Join(dir, "certs", name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	here, err := filepath.Abs("testdata")
	if err == nil {
		err = os.Symlink(here, filepath.Join(dir, "testdata"))
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
}

// authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// issue returns a certificate for a key, signed by a, or by itself when a is nil.
func (a *authority) issue(template *x509.Certificate, key crypto.Signer) []byte {
	parent, signer := template, key
	if a != nil {
		parent, signer = a.cert, a.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		panic(err)
	}
	return der
}

func inPEM(block string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: block, Bytes: der})
}

// must is what every line of certificateFiles would have to check.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func newKey() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) }

func pkcs8(key crypto.Signer) []byte {
	return inPEM("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(key)))
}

func leafTemplate(name string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
}

// certificateFiles are the files that the configurations of testdata name, made once.
var certificateFiles = sync.OnceValue(func() map[string][]byte {
	root := leafTemplate("root")
	root.IsCA, root.BasicConstraintsValid, root.KeyUsage = true, true, x509.KeyUsageCertSign|x509.KeyUsageCRLSign
	root.SubjectKeyId = []byte{1}
	rootKey := newKey()
	rootDER := (*authority)(nil).issue(root, rootKey)
	ca := &authority{must(x509.ParseCertificate(rootDER)), rootKey}
	caPEM := inPEM("CERTIFICATE", rootDER)
	files := map[string][]byte{"ca.pem": caPEM}
	add := func(name string, template *x509.Certificate, key crypto.Signer) {
		files[name+".pem"] = append(inPEM("CERTIFICATE", ca.issue(template, key)), caPEM...)
		files[name+".key"] = pkcs8(key)
	}
	key := newKey()
	add("server", leafTemplate("a.example"), key)
	add("other", leafTemplate("b.example"), newKey())
	add("client", leafTemplate("client"), newKey())
	strong := must(rsa.GenerateKey(rand.Reader, 2048))
	add("rsa", leafTemplate("a.example"), strong)
	files["rsa.key"] = inPEM("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(strong))
	add("weak", leafTemplate("a.example"), must(rsa.GenerateKey(rand.Reader, 1024)))
	old := leafTemplate("old.example")
	old.NotBefore, old.NotAfter = time.Date(2019, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2020, 1, 2, 0, 0, 0, 0, time.UTC)
	add("expired", old, newKey())
	early := leafTemplate("early.example")
	early.NotBefore, early.NotAfter = time.Date(2199, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2200, 1, 2, 0, 0, 0, 0, time.UTC)
	add("early", early, newKey())
	staple := leafTemplate("staple.example")
	staple.ExtraExtensions = []pkix.Extension{{Id: tlsFeature, Value: must(asn1.Marshal([]int{statusRequest}))}}
	add("staple", staple, newKey())

	ec := must(x509.MarshalECPrivateKey(key))
	files["server-ec.key"] = append(inPEM("EC PARAMETERS", []byte{6, 0}), inPEM("EC PRIVATE KEY", ec)...)
	//lint:ignore SA1019 the form is still common
	files["encrypted.key"] = pem.EncodeToMemory(must(x509.EncryptPEMBlock(rand.Reader, "EC PRIVATE KEY", ec, []byte("secret"), x509.PEMCipherAES256)))
	//lint:ignore SA1019 what a wrong password gives when the padding looks right by chance
	files["garbled.key"] = pem.EncodeToMemory(must(x509.EncryptPEMBlock(rand.Reader, "EC PRIVATE KEY", []byte("no DER"), []byte("secret"), x509.PEMCipherAES256)))
	files["encrypted-pkcs8.key"] = inPEM("ENCRYPTED PRIVATE KEY", []byte{0x30, 0})
	files["password"] = []byte("secret\n")
	files["wrong-password"] = []byte("Secret\n")

	list := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: time.Now().Add(time.Hour)}
	files["crl.pem"] = inPEM("X509 CRL", must(x509.CreateRevocationList(rand.Reader, list, ca.cert, ca.key)))
	list.ThisUpdate, list.NextUpdate = old.NotBefore, old.NotAfter
	files["old-crl.pem"] = inPEM("X509 CRL", must(x509.CreateRevocationList(rand.Reader, list, ca.cert, ca.key)))
	files["ca-with-crl.pem"] = append(bytes.Clone(caPEM), files["crl.pem"]...)
	files["ticket.key"], files["next-ticket.key"] = bytes.Repeat([]byte{1}, ticketKeyBytes), bytes.Repeat([]byte{2}, ticketKeyBytes)
	files["short-ticket.key"] = bytes.Repeat([]byte{1}, 48)
	files["ocsp.der"] = []byte{0x30, 3, 0x0a, 1, 6}

	files["text"] = []byte("no PEM\n")
	files["broken.pem"] = append(bytes.Clone(caPEM), inPEM("CERTIFICATE", []byte("no DER"))...)
	files["broken.key"] = inPEM("PRIVATE KEY", []byte("no DER"))
	files["broken-crl.pem"] = inPEM("X509 CRL", []byte("no DER"))
	files["large"] = make([]byte, maxTLSSourceBytes+1)

	const anySecret = `"@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret`
	files["secret.yaml"] = []byte("name: server\ntls_certificate:\n  certificate_chain: { filename: certs/server.pem }\n  private_key: { filename: certs/server.key }\n")
	files["response.yaml"] = []byte("version_info: \"1\"\nresources:\n" +
		"- " + anySecret + "\n  name: trust\n  validation_context: { trusted_ca: { filename: certs/ca.pem } }\n" +
		"- " + anySecret + "\n  name: trust\n  tls_certificate: { certificate_chain: { filename: certs/client.pem }, private_key: { filename: certs/client.key } }\n")
	files["no-secret.yaml"] = []byte("name: server\ntls_certificates: []\n")
	files["no-resources.yaml"] = []byte("resources: []\n")
	files["bad-secret.yaml"] = []byte("name: server\ntls_certificate:\n  certificate_chain: { filename: certs/server.pem }\n  private_key: { filename: certs/other.key }\n")
	files["unpinned-secret.yaml"] = []byte("name: trust\nvalidation_context: { verify_certificate_hash: [a] }\n")
	return files
})
