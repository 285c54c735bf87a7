package secure

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// staple is what matters of an OCSP response (RFC 6960). Whoever configures it vouches
// for it: its signature is for the client to check.
type staple struct {
	thisUpdate, nextUpdate time.Time
}

func (s *staple) expired(now time.Time) bool { return !now.Before(s.nextUpdate) }

// Shapes of RFC 6960 section 4.2.1, up to what is read of them.
type (
	ocspResponse struct {
		Status asn1.Enumerated
		Bytes  ocspBytes `asn1:"explicit,tag:0,optional"`
	}
	ocspBytes struct {
		Type     asn1.ObjectIdentifier
		Response []byte
	}
	ocspBasic struct {
		Data      ocspData
		Algorithm pkix.AlgorithmIdentifier
		Signature asn1.BitString
	}
	ocspData struct {
		Version   int `asn1:"optional,default:0,explicit,tag:0"`
		Responder asn1.RawValue
		Produced  time.Time `asn1:"generalized"`
		Responses []ocspSingle
	}
	ocspSingle struct {
		ID         ocspID
		Good       asn1.Flag   `asn1:"tag:0,optional"`
		Revoked    ocspRevoked `asn1:"tag:1,optional"`
		Unknown    asn1.Flag   `asn1:"tag:2,optional"`
		ThisUpdate time.Time   `asn1:"generalized"`
		NextUpdate time.Time   `asn1:"generalized,explicit,tag:0,optional"`
	}
	ocspRevoked struct {
		Time   time.Time       `asn1:"generalized"`
		Reason asn1.Enumerated `asn1:"explicit,tag:0,optional"`
	}
	ocspID struct {
		Hash              pkix.AlgorithmIdentifier
		NameHash, KeyHash []byte
		Serial            *big.Int
	}
)

var (
	oidBasicOCSP  = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 1}
	oidTLSFeature = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 24}
)

// statusRequest is the TLS extension by which a client asks for a staple, and the
// feature by which a certificate promises one.
const statusRequest = 5

func parseStaple(der []byte, leaf *x509.Certificate) (*staple, error) {
	var r ocspResponse
	if _, err := asn1.Unmarshal(der, &r); err != nil {
		return nil, fmt.Errorf("no OCSP response: %w", err)
	}
	if r.Status != 0 {
		return nil, fmt.Errorf("the OCSP response says failure %d", r.Status)
	}
	if !r.Bytes.Type.Equal(oidBasicOCSP) {
		return nil, errors.New("no basic OCSP response")
	}
	var b ocspBasic
	if _, err := asn1.Unmarshal(r.Bytes.Response, &b); err != nil {
		return nil, fmt.Errorf("no OCSP response: %w", err)
	}
	if n := len(b.Data.Responses); n != 1 {
		return nil, fmt.Errorf("the OCSP response is about %d certificates, not one", n)
	}
	one := &b.Data.Responses[0]
	switch {
	case one.ID.Serial == nil || one.ID.Serial.Cmp(leaf.SerialNumber) != 0:
		return nil, errors.New("the OCSP response is about another certificate")
	case one.NextUpdate.IsZero():
		return nil, errors.New("the OCSP response does not say how long it holds (nextUpdate)")
	}
	return &staple{one.ThisUpdate, one.NextUpdate}, nil
}

// mustStaple reads the TLS feature extension (RFC 7633).
func mustStaple(leaf *x509.Certificate) bool {
	for i := range leaf.Extensions {
		if !leaf.Extensions[i].Id.Equal(oidTLSFeature) {
			continue
		}
		var features []int
		if _, err := asn1.Unmarshal(leaf.Extensions[i].Value, &features); err != nil {
			return false
		}
		for _, f := range features {
			if f == statusRequest {
				return true
			}
		}
	}
	return false
}

// stapling is what to do for a client that asks for a staple.
type stapling uint8

const (
	stapleOmit stapling = iota
	stapleSend
	stapleFail
)

// stapling decides as Envoy does for each policy.
func (i *identity) stapling(policy conf.OCSPPolicy, now time.Time) stapling {
	valid := i.staple != nil && !i.staple.expired(now)
	switch {
	case valid:
		return stapleSend
	case i.mustStaple || policy == conf.OCSPMustStaple:
		return stapleFail
	case policy == conf.OCSPStrict && i.staple != nil:
		return stapleFail
	}
	return stapleOmit
}
