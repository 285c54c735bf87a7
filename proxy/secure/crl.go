package secure

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// CheckCRL says what is wrong with certificate revocation lists (PEM, one or more).
func CheckCRL(lists []byte) error {
	_, err := parseCRLs(lists)
	return err
}

// revocation are revocation lists by their issuer's name (raw).
type revocation map[string][]*crl

// crl is one revocation list. Immutable, but for signer.
type crl struct {
	list    *x509.RevocationList // without its entries
	revoked map[string]struct{}  // serial numbers
	// signer is the public key that its signature was verified with: not for each handshake.
	signer atomic.Pointer[[]byte]
}

// reasonRemoved takes a certificate off the list (RFC 5280 5.3.1).
const reasonRemoved = 8

func parseCRLs(text []byte) (revocation, error) {
	out := make(revocation)
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		if block.Type != "X509 CRL" {
			continue
		}
		list, err := x509.ParseRevocationList(block.Bytes)
		if err != nil {
			return nil, err
		}
		for _, e := range list.Extensions {
			// Delta lists, and lists for some kinds of certificate only, would need more than
			// a look-up. Taking one for a whole list would let revoked certificates in.
			if e.Critical && !e.Id.Equal(oidAuthorityKey) && !e.Id.Equal(oidCRLNumber) {
				return nil, fmt.Errorf("critical extension %s of a revocation list is not supported", e.Id)
			}
		}
		c := &crl{list: list, revoked: make(map[string]struct{}, len(list.RevokedCertificateEntries))}
		for i := range list.RevokedCertificateEntries {
			if e := &list.RevokedCertificateEntries[i]; e.ReasonCode != reasonRemoved {
				c.revoked[string(e.SerialNumber.Bytes())] = struct{}{}
			}
		}
		list.RevokedCertificateEntries = nil
		//lint:ignore SA1019 the same once more, to be let go of
		list.RevokedCertificates = nil
		out[string(list.RawIssuer)] = append(out[string(list.RawIssuer)], c)
	}
	if len(out) == 0 {
		return nil, errors.New("holds no PEM block X509 CRL")
	}
	return out, nil
}

var (
	oidAuthorityKey = asn1.ObjectIdentifier{2, 5, 29, 35}
	oidCRLNumber    = asn1.ObjectIdentifier{2, 5, 29, 20}
)

// check looks each certificate of a verified chain up, or the leaf only. As with
// OpenSSL, one whose issuer has no valid list is refused, and a root is looked up in
// its own.
func (r revocation) check(chain []*x509.Certificate, onlyLeaf bool, now time.Time) *VerifyError {
	for i, c := range chain {
		issuer := c
		switch {
		case i+1 < len(chain):
			issuer = chain[i+1]
		case !bytes.Equal(c.RawIssuer, c.RawSubject):
			return nil // a trusted intermediate: whoever trusts it does not ask its issuer
		}
		if text := r.lookUp(c, issuer, now); text != "" {
			return &VerifyError{Kind: VerifyChain, Text: text}
		}
		if onlyLeaf {
			return nil
		}
	}
	return nil
}

// lookUp returns why the certificate is refused, "" if it is not.
func (r revocation) lookUp(c, issuer *x509.Certificate, now time.Time) string {
	text := "unable_to_get_certificate_CRL"
	good := false
	for _, l := range r[string(c.RawIssuer)] {
		switch {
		case !l.signedBy(issuer):
			text = "CRL_signature_failure"
		case now.Before(l.list.ThisUpdate):
			text = "CRL_is_not_yet_valid"
		case !l.list.NextUpdate.IsZero() && now.After(l.list.NextUpdate):
			text = "CRL_has_expired"
		default:
			if _, revoked := l.revoked[string(c.SerialNumber.Bytes())]; revoked {
				return "certificate_revoked"
			}
			good = true
		}
	}
	if good {
		return ""
	}
	return text
}

func (l *crl) signedBy(issuer *x509.Certificate) bool {
	if known := l.signer.Load(); known != nil && bytes.Equal(*known, issuer.RawSubjectPublicKeyInfo) {
		return true
	}
	if l.list.CheckSignatureFrom(issuer) != nil {
		return false
	}
	l.signer.Store(&issuer.RawSubjectPublicKeyInfo)
	return true
}
