package secure

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// VerifyKind is what of a peer's certificate did not hold.
type VerifyKind uint8

// Kinds, each with a counter.
const (
	VerifyChain    VerifyKind = iota // fail_verify_error
	VerifySAN                        // fail_verify_san
	VerifyHash                       // fail_verify_cert_hash
	VerifyKeyUsage                   // was_key_usage_invalid
)

// VerifyError is the error of a handshake whose peer's certificate was refused.
type VerifyError struct {
	Kind VerifyKind
	// Text is a constant of a few words, without spaces; see Failure.
	Text string
	Err  error // may be nil
}

// Error implements error.
func (e *VerifyError) Error() string {
	if e.Err == nil {
		return "certificate verification: " + e.Text
	}
	return "certificate verification: " + e.Text + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *VerifyError) Unwrap() error { return e.Err }

// verifier is a compiled CertificateValidationContext. Immutable but for what its
// revocation lists remember; any goroutine.
type verifier struct {
	conf  *conf.CertificateValidation
	trust []*x509.Certificate // of trusted_ca, in its order
	roots *x509.CertPool      // nil: chains are not verified
	usage x509.ExtKeyUsage
	sans  []sanMatcher
	crls  revocation
	now   func() time.Time
}

// newVerifier compiles c; nil for nil. Errors begin with the field.
func newVerifier(c *conf.CertificateValidation, m *material, usage x509.ExtKeyUsage, now func() time.Time) (*verifier, error) {
	if c == nil {
		return nil, nil
	}
	v := &verifier{conf: c, usage: usage, now: now}
	if c.TrustedCA.Set() {
		bundle, err := m.bytes(&c.TrustedCA)
		if err == nil {
			v.trust, err = parseCertificates(bundle)
		}
		if err != nil {
			return nil, fmt.Errorf("trusted_ca: %w", err)
		}
		v.roots = x509.NewCertPool()
		for _, root := range v.trust {
			v.roots.AddCert(v.dated(root))
		}
	}
	if v.roots == nil && len(c.SANs) > 0 {
		return nil, errors.New("match_typed_subject_alt_names: without trusted_ca anybody can make such a certificate")
	}
	for i := range c.SANs {
		s, err := newSANMatcher(&c.SANs[i])
		if err != nil {
			return nil, fmt.Errorf("match_typed_subject_alt_names[%d]: %w", i, err)
		}
		v.sans = append(v.sans, s)
	}
	if c.CRL.Set() {
		if v.roots == nil {
			return nil, errors.New("crl: needs trusted_ca")
		}
		lists, err := m.bytes(&c.CRL)
		if err == nil {
			v.crls, err = parseCRLs(lists)
		}
		if err != nil {
			return nil, fmt.Errorf("crl: %w", err)
		}
	}
	return v, nil
}

// asks says whether a server with this context asks for certificates.
func (v *verifier) asks() bool {
	return v.proves() || v.conf.AcceptUntrusted
}

// proves says whether a certificate that passes says who the peer is.
func (v *verifier) proves() bool {
	return v.roots != nil || len(v.conf.SPKI) > 0 || len(v.conf.Hashes) > 0
}

// dated returns the certificate as one without an end, when ends do not matter.
func (v *verifier) dated(c *x509.Certificate) *x509.Certificate {
	if !v.conf.AllowExpired {
		return c
	}
	out := *c // what is signed is in its raw bytes
	out.NotBefore, out.NotAfter = time.Unix(0, 0), time.Unix(1<<40, 0)
	return &out
}

// demand is what one connection asks of the peer's certificate besides.
type demand struct {
	// serverName replaces the matchers of the context: the certificate must be one for it
	// (auto_sni_san_validation). It counts when bound is set, also empty: no certificate is
	// one for no name.
	serverName string
	bound      bool
	sans       []string // one of them must be in it, of whatever type
}

// check judges a chain as the peer sent it, leaf first and not empty.
func (v *verifier) check(certs []*x509.Certificate, d demand) *VerifyError {
	leaf := certs[0]
	if v.roots != nil {
		if err := v.checkChain(certs); err != nil {
			return err
		}
	}
	names := namesOf(leaf)
	if len(d.sans) > 0 && !slices.ContainsFunc(d.sans, names.has) {
		return &VerifyError{Kind: VerifySAN, Text: "verify_SAN_list"}
	}
	switch {
	case d.bound:
		if err := leaf.VerifyHostname(d.serverName); d.serverName == "" || err != nil {
			return &VerifyError{Kind: VerifySAN, Text: "verify_SAN_of_SNI", Err: err}
		}
	case len(v.sans) > 0 && !names.match(v.sans):
		return &VerifyError{Kind: VerifySAN, Text: "SAN_matcher"}
	}
	if len(v.conf.Hashes)+len(v.conf.SPKI) > 0 &&
		!slices.Contains(v.conf.Hashes, sha256.Sum256(leaf.Raw)) && !slices.Contains(v.conf.SPKI, sha256.Sum256(leaf.RawSubjectPublicKeyInfo)) {
		return &VerifyError{Kind: VerifyHash, Text: "cert_hash_and_spki"}
	}
	return nil
}

func (v *verifier) checkChain(certs []*x509.Certificate) *VerifyError {
	now := v.now()
	between := x509.NewCertPool()
	for _, c := range certs[1:] {
		between.AddCert(v.dated(c))
	}
	chains, err := v.dated(certs[0]).Verify(x509.VerifyOptions{
		Roots: v.roots, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{v.usage},
	})
	if err != nil {
		return &VerifyError{Kind: VerifyChain, Text: chainText(err, certs, now), Err: err}
	}
	var first *VerifyError
	for _, chain := range chains {
		err := v.checkPath(chain, now)
		if err == nil {
			return nil
		}
		if first == nil {
			first = err
		}
	}
	return first
}

// checkPath judges what x509 does not of one way to a root.
func (v *verifier) checkPath(chain []*x509.Certificate, now time.Time) *VerifyError {
	if v.conf.HasMaxDepth && len(chain)-2 > v.conf.MaxDepth {
		return &VerifyError{Kind: VerifyChain, Text: "certificate_chain_too_long"}
	}
	if len(v.crls) == 0 {
		return nil
	}
	return v.crls.check(chain, v.conf.OnlyLeafCRL, now)
}

// chainText puts an error of x509 into OpenSSL's words.
func chainText(err error, certs []*x509.Certificate, now time.Time) string {
	var invalid x509.CertificateInvalidError
	var unknown x509.UnknownAuthorityError
	switch {
	case errors.As(err, &invalid):
		switch invalid.Reason {
		case x509.Expired:
			if invalid.Cert != nil && now.Before(invalid.Cert.NotBefore) {
				return "certificate_is_not_yet_valid"
			}
			return "certificate_has_expired"
		case x509.TooManyIntermediates:
			return "path_length_constraint_exceeded"
		case x509.IncompatibleUsage:
			return "unsupported_certificate_purpose"
		case x509.NotAuthorizedToSign:
			return "invalid_CA_certificate"
		case x509.CANotAuthorizedForThisName:
			return "permitted_subtree_violation"
		}
	case errors.As(err, &unknown):
		if len(certs) == 1 && string(certs[0].RawIssuer) == string(certs[0].RawSubject) {
			return "self-signed_certificate"
		}
		return "unable_to_get_local_issuer_certificate"
	}
	return "certificate_verification_error"
}

// keyUsageInvalid says whether an RSA certificate is used for what its key usage does
// not have (RFC 5246 7.4.2); that of other keys crypto/tls needs for signing alone.
func keyUsageInvalid(leaf *x509.Certificate, st *tls.ConnectionState) bool {
	if _, ok := leaf.PublicKey.(*rsa.PublicKey); !ok || leaf.KeyUsage == 0 {
		return false
	}
	need := x509.KeyUsageDigitalSignature
	if keyExchangeByRSA(st.CipherSuite) {
		need = x509.KeyUsageKeyEncipherment
	}
	return leaf.KeyUsage&need == 0
}

func isECDSA(c *x509.Certificate) bool {
	_, ok := c.PublicKey.(*ecdsa.PublicKey)
	return ok
}
