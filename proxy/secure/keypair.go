package secure

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// CheckCertificate says what is wrong with a certificate chain (PEM, leaf first) and
// its private key (PEM; password may be nil). The error begins with certificate_chain
// or private_key.
func CheckCertificate(chain, key, password []byte) error {
	_, err := parsePair(chain, key, password)
	return err
}

// CheckTrustedCA says what is wrong with a bundle of CA certificates (PEM).
func CheckTrustedCA(bundle []byte) error {
	_, err := parseCertificates(bundle)
	return err
}

// CheckOCSPStaple says what is wrong with an OCSP response (DER) for the first
// certificate of chain (PEM). That it has expired is not: files are replaced.
func CheckOCSPStaple(staple, chain []byte) error {
	certs, err := parseCertificates(chain)
	if err != nil {
		return err
	}
	_, err = parseStaple(staple, certs[0])
	return err
}

// identity is one certificate to present, as handshakes use it. Immutable.
type identity struct {
	bare    *tls.Certificate // without the staple
	stapled *tls.Certificate // with it; nil when there is none
	staple  *staple
	// mustStaple is the certificate's own wish (RFC 7633).
	mustStaple bool
	ecdsa      bool
	facts      *Certificate
	path       string // of the chain; "<inline>"
}

func (i *identity) leaf() *x509.Certificate { return i.bare.Leaf }

// newIdentity reads a TlsCertificate. Errors begin with the field.
func newIdentity(c *conf.TLSCertificate, m *material) (*identity, error) {
	chain, err := m.bytes(&c.Chain)
	if err != nil {
		return nil, fmt.Errorf("certificate_chain: %w", err)
	}
	key, err := m.bytes(&c.Key)
	if err != nil {
		return nil, fmt.Errorf("private_key: %w", err)
	}
	var password []byte
	if c.Password.Set() {
		if password, err = m.bytes(&c.Password); err != nil {
			return nil, fmt.Errorf("password: %w", err)
		}
	}
	pair, err := parsePair(chain, key, password)
	if err != nil {
		return nil, err
	}
	out := &identity{bare: pair, facts: Describe(pair.Leaf), path: c.Chain.File, mustStaple: mustStaple(pair.Leaf)}
	out.ecdsa = isECDSA(pair.Leaf)
	if out.path == "" {
		out.path = "<inline>"
	}
	if c.OCSPStaple.Set() {
		der, err := m.bytes(&c.OCSPStaple)
		if err == nil {
			out.staple, err = parseStaple(der, pair.Leaf)
		}
		if err != nil {
			return nil, fmt.Errorf("ocsp_staple: %w", err)
		}
		with := *pair
		with.OCSPStaple = der
		out.stapled = &with
	}
	return out, nil
}

func parsePair(chain, key, password []byte) (*tls.Certificate, error) {
	certs, err := parseCertificates(chain)
	if err != nil {
		return nil, fmt.Errorf("certificate_chain: %w", err)
	}
	private, err := parseKey(key, password)
	if err != nil {
		return nil, fmt.Errorf("private_key: %w", err)
	}
	public, ok := certs[0].PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	if !ok {
		return nil, fmt.Errorf("certificate_chain: a key of type %s cannot serve TLS", certs[0].PublicKeyAlgorithm)
	}
	if !public.Equal(private.Public()) {
		return nil, errors.New("private_key: is not the key of the certificate")
	}
	out := &tls.Certificate{PrivateKey: private, Leaf: certs[0]}
	for _, c := range certs {
		out.Certificate = append(out.Certificate, c.Raw)
	}
	return out, nil
}

// parseCertificates reads the certificates of a PEM text, at least one. Blocks of
// other types are passed over: a file may hold the key too.
func parseCertificates(text []byte) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", len(out)+1, err)
		}
		out = append(out, c)
	}
	if len(out) == 0 {
		return nil, errors.New("holds no PEM block CERTIFICATE")
	}
	return out, nil
}

// minRSABits is the least that Envoy takes.
const minRSABits = 2048

var keyBlocks = []string{"PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "ENCRYPTED PRIVATE KEY"}

// parseKey reads the first private key of a PEM text.
func parseKey(text, password []byte) (crypto.Signer, error) {
	var block *pem.Block
	for block, text = pem.Decode(text); ; block, text = pem.Decode(text) {
		if block == nil {
			return nil, errors.New("holds no PEM block PRIVATE KEY")
		}
		if slices.Contains(keyBlocks, block.Type) {
			break
		}
	}
	der, err := decryptKey(block, password)
	if err != nil {
		return nil, err
	}
	var key any
	switch block.Type {
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(der)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(der)
	default:
		key, err = x509.ParsePKCS8PrivateKey(der)
	}
	if err != nil {
		return nil, err
	}
	switch k := key.(type) {
	case *rsa.PrivateKey:
		if bits := k.N.BitLen(); bits < minRSABits {
			return nil, fmt.Errorf("an RSA key of %d bits, less than %d", bits, minRSABits)
		}
		return k, nil
	case *ecdsa.PrivateKey:
		if k.Curve == elliptic.P224() {
			return nil, errors.New("a key on P-224 cannot serve TLS")
		}
		return k, nil
	case ed25519.PrivateKey:
		return k, nil
	}
	return nil, fmt.Errorf("a key of type %T cannot serve TLS", key)
}
