//lint:file-ignore SA1019 keys in the older encrypted form are still common

package envoy

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"path/filepath"
	"slices"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// maxTLSSourceBytes bounds one file of certificates, keys or revocation lists.
const maxTLSSourceBytes = 16 << 20

// minRSABits is the smallest RSA key of a certificate, as in Envoy.
const minRSABits = 2048

// tlsSource is a data source of a TLS context, read to be checked. A file stays a file in conf: it is
// watched there, and a change of its contents is no change of the listener or cluster.
type tlsSource struct {
	conf conf.DataSource
	data []byte
	at   place // of the member that is set
	ok   bool  // there is one and it could be read
}

func (c *compiler) tlsSource(m *corev3.DataSource, at place) (out tlsSource) {
	if m == nil {
		return tlsSource{at: at}
	}
	var external string
	if out.data, external, out.at, out.ok = c.source(m, at, maxTLSSourceBytes); external != "" && m.GetFilename() != "" {
		out.conf.File = external
		return out
	}
	out.conf.Inline = append([]byte{}, out.data...)
	return out
}

// certificate is a compiled TlsCertificate.
type certificate struct {
	conf *conf.TLSCertificate
	// at is where it stands, named where a context asks for it: the same unless it is a secret.
	at, named place
	// mustStaple: it has the extension that wants a stapled OCSP response (RFC 7633).
	mustStaple bool
}

// certificates compiles tls_certificates or tls_certificate_sds_secret_configs, and puts named secrets
// in the place of their names.
func (c *compiler) certificates(m *tlsv3.CommonTlsContext, at place) (out []certificate) {
	for i, one := range m.GetTlsCertificates() {
		out = append(out, c.certificate(one, at.field("tls_certificates").index(i)))
	}
	configs, here := m.GetTlsCertificateSdsSecretConfigs(), at.field("tls_certificate_sds_secret_configs")
	if len(configs) == 0 {
		return out
	}
	if len(out) > 0 {
		c.errs.at(here, "excludes tls_certificates: only one of them may be set")
	}
	for i, config := range configs {
		if s := c.secret(config, here.index(i), certificateSecret); s != nil {
			cert := s.certificate
			cert.named = here.index(i)
			out = append(out, cert)
			m.TlsCertificates = append(m.TlsCertificates, s.m.GetTlsCertificate())
		}
	}
	m.TlsCertificateSdsSecretConfigs = nil
	return out
}

func (c *compiler) certificate(m *tlsv3.TlsCertificate, at place) certificate {
	chain := c.tlsSource(m.GetCertificateChain(), at.field("certificate_chain"))
	key := c.tlsSource(m.GetPrivateKey(), at.field("private_key"))
	password := c.tlsSource(m.GetPassword(), at.field("password"))
	out := certificate{conf: &conf.TLSCertificate{Chain: chain.conf, Key: key.conf, Password: password.conf}, at: at, named: at}
	if m.GetCertificateChain() == nil {
		c.errs.at(at, "certificate_chain is required")
	}
	if m.GetPrivateKey() == nil {
		c.errs.at(at, "private_key is required")
	}
	c.watchedDirectory(m.GetWatchedDirectory(), at.field("watched_directory"), chain.conf, key.conf)
	out.conf.OCSPStaple = c.ocspStaple(m.GetOcspStaple(), at.field("ocsp_staple"))
	certs := c.pemCertificates(chain)
	private := c.privateKey(key, password, m.GetPassword() != nil)
	if len(certs) == 0 {
		return out
	}
	for _, one := range certs {
		c.validity(one, chain.at)
	}
	leaf := certs[0]
	out.mustStaple = mustStaple(leaf)
	public, usable := leaf.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	switch size := leafRSABits(leaf); {
	case !usable:
		c.errs.at(chain.at, "the certificate's key is of a type that is not supported: %s", leaf.PublicKeyAlgorithm)
	case size > 0 && size < minRSABits:
		c.errs.at(chain.at, "the certificate has an RSA key of %d bits; at least %d are needed", size, minRSABits)
	case private != nil && !public.Equal(private.Public()):
		c.errs.at(key.at, "does not belong to the certificate in certificate_chain")
	}
	return out
}

// tlsFeature is the extension by which a certificate demands OCSP stapling (RFC 7633 4.1).
var tlsFeature = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 24}

// statusRequest is the feature, and TLS extension, of stapling.
const statusRequest = 5

func mustStaple(leaf *x509.Certificate) bool {
	for _, extension := range leaf.Extensions {
		if extension.Id.Equal(tlsFeature) {
			var features []int
			_, err := asn1.Unmarshal(extension.Value, &features)
			return err == nil && slices.Contains(features, statusRequest)
		}
	}
	return false
}

// leafRSABits is the size of an RSA key, 0 of others.
func leafRSABits(leaf *x509.Certificate) int {
	if public, ok := leaf.PublicKey.(*rsa.PublicKey); ok {
		return public.N.BitLen()
	}
	return 0
}

// ocspStaple compiles ocsp_staple: DER, so not an inline_string.
func (c *compiler) ocspStaple(m *corev3.DataSource, at place) conf.DataSource {
	if m.GetInlineString() != "" {
		c.errs.at(at.field("inline_string"), "an OCSP response is binary: use filename or inline_bytes")
		return conf.DataSource{}
	}
	source := c.tlsSource(m, at)
	if !source.ok {
		return source.conf
	}
	var response asn1.RawValue
	if rest, err := asn1.Unmarshal(source.data, &response); err != nil || len(rest) > 0 || response.Tag != asn1.TagSequence {
		c.errs.at(source.at, "is not an OCSP response in DER")
	}
	return source.conf
}

// watchedDirectory accepts the directory of the files: that is what is watched.
func (c *compiler) watchedDirectory(m *corev3.WatchedDirectory, at place, files ...conf.DataSource) {
	if m == nil {
		return
	}
	for _, f := range files {
		if f.File != "" && filepath.Dir(f.File) != filepath.Clean(m.GetPath()) {
			c.errs.at(at, "not supported: only the directory that the files are in, %s, is watched", shorten(filepath.Dir(f.File)))
			return
		}
	}
}

// pemCertificates parses a list of certificates; empty when there is a fault, which it reports.
func (c *compiler) pemCertificates(source tlsSource) (out []*x509.Certificate) {
	if !source.ok {
		return nil
	}
	for block := range pemBlocks(source.data) {
		switch block.Type {
		case "CERTIFICATE":
		case "X509 CRL":
			c.errs.at(source.at, "a revocation list stands among the certificates; it belongs in crl")
			return nil
		default:
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			c.errs.at(source.at, "certificate %d cannot be parsed: %v", len(out)+1, err)
			return nil
		}
		out = append(out, cert)
	}
	if len(out) == 0 {
		c.errs.at(source.at, "holds no certificate in PEM")
	}
	return out
}

// pemBlocks ranges over what is PEM in data.
func pemBlocks(data []byte) func(func(*pem.Block) bool) {
	return func(yield func(*pem.Block) bool) {
		for block, rest := pem.Decode(data); block != nil && yield(block); block, rest = pem.Decode(rest) {
		}
	}
}

// validity warns of a certificate that nobody will accept today.
func (c *compiler) validity(cert *x509.Certificate, at place) {
	const day = "2006-01-02"
	switch now := time.Now(); {
	case now.After(cert.NotAfter):
		c.warn(at, "the certificate of %s expired on %s", shorten(cert.Subject.String()), cert.NotAfter.Format(day))
	case now.Before(cert.NotBefore):
		c.warn(at, "the certificate of %s is not valid before %s", shorten(cert.Subject.String()), cert.NotBefore.Format(day))
	}
}

// keyBlocks are the PEM blocks that hold a private key, the last one encrypted as PKCS #8.
var keyBlocks = []string{"PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", encryptedKeyBlock}

const encryptedKeyBlock = "ENCRYPTED PRIVATE KEY"

// privateKey parses the first key of a source; nil when there is none or a fault, which it reports, or
// when it is encrypted as PKCS #8: only who serves TLS opens those.
func (c *compiler) privateKey(source, password tlsSource, hasPassword bool) crypto.Signer {
	if !source.ok {
		return nil
	}
	for block := range pemBlocks(source.data) {
		if !slices.Contains(keyBlocks, block.Type) {
			continue
		}
		legacy := x509.IsEncryptedPEMBlock(block)
		encrypted := legacy || block.Type == encryptedKeyBlock
		switch {
		case encrypted && !hasPassword:
			c.errs.at(source.at, "the key is encrypted: password is required")
			return nil
		case !encrypted && hasPassword && password.ok:
			c.warn(password.at, "has no effect: the key is not encrypted")
		case encrypted && (!legacy || !password.ok):
			return nil
		}
		der := block.Bytes
		if legacy {
			var err error
			// A line end after the password, as editors leave one, does not count.
			if der, err = x509.DecryptPEMBlock(block, bytes.TrimRight(password.data, "\r\n")); err != nil {
				c.errs.at(source.at, "the key cannot be decrypted with the password")
				return nil
			}
		}
		key := parseKey(der, block.Type)
		switch {
		case key == nil && legacy: // one wrong password in 256 leaves padding that looks right
			c.errs.at(source.at, "the key cannot be decrypted with the password")
		case key == nil:
			c.errs.at(source.at, "the key cannot be parsed as %s", block.Type)
		}
		return key
	}
	c.errs.at(source.at, "holds no private key in PEM")
	return nil
}

// parseKey reads the key of a PEM block; nil when it is none that can sign.
func parseKey(der []byte, block string) crypto.Signer {
	var key any
	var err error
	switch block {
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(der)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(der)
	default:
		key, err = x509.ParsePKCS8PrivateKey(der)
	}
	signer, ok := key.(crypto.Signer)
	if err != nil || !ok {
		return nil
	}
	return signer
}
