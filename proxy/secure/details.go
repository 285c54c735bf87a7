package secure

import (
	"crypto/x509"
	"math"
	"time"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// ContextCertificates are the certificates of one context: an element of /certs.
type ContextCertificates struct {
	CACert    []CertificateDetails
	CertChain []CertificateDetails // the leaf of each chain
}

// CertificateDetails is admin.v3.CertificateDetails.
type CertificateDetails struct {
	Path                string // "<inline>" for those of the configuration itself
	SerialNumber        string
	SubjectAltNames     []SubjectAltName
	DaysUntilExpiration uint64 // 0 also after it
	ValidFrom           time.Time
	ExpirationTime      time.Time
	OCSP                *OCSPDetails // nil: no staple
}

// SubjectAltName is one name: one of the three is set.
type SubjectAltName struct{ DNS, URI, IPAddress string }

// OCSPDetails is admin.v3.CertificateDetails.OcspDetails.
type OCSPDetails struct{ ValidFrom, Expiration time.Time }

func describeForAdmin(c *x509.Certificate, path string, now time.Time) CertificateDetails {
	if path == "" {
		path = "<inline>"
	}
	d := CertificateDetails{
		Path: path, SerialNumber: serialText(c.SerialNumber), ValidFrom: c.NotBefore, ExpirationTime: c.NotAfter,
		DaysUntilExpiration: daysUntil(c.NotAfter, now),
	}
	names := namesOf(c)
	for _, v := range names.byType[conf.SANDNS] {
		d.SubjectAltNames = append(d.SubjectAltNames, SubjectAltName{DNS: v})
	}
	for _, v := range names.byType[conf.SANURI] {
		d.SubjectAltNames = append(d.SubjectAltNames, SubjectAltName{URI: v})
	}
	for _, v := range names.byType[conf.SANIP] {
		d.SubjectAltNames = append(d.SubjectAltNames, SubjectAltName{IPAddress: v})
	}
	return d
}

func daysUntil(end, now time.Time) uint64 {
	return uint64(max(0, end.Sub(now)) / (24 * time.Hour))
}

// certificatesOf lists what a version of a context has.
func certificatesOf(ids []*identity, v *verifier, now time.Time) ContextCertificates {
	var out ContextCertificates
	for _, i := range ids {
		d := describeForAdmin(i.leaf(), i.path, now)
		if i.staple != nil {
			d.OCSP = &OCSPDetails{i.staple.thisUpdate, i.staple.nextUpdate}
		}
		out.CertChain = append(out.CertChain, d)
	}
	if v != nil {
		for _, root := range v.trust {
			out.CACert = append(out.CACert, describeForAdmin(root, v.conf.TrustedCA.File, now))
		}
	}
	return out
}

// firstExpiry returns the days until the first of the certificates expires; of a CA
// bundle the first counts, as in Envoy: bundles of the system hold expired ones.
func (c *ContextCertificates) firstExpiry() uint64 {
	days := uint64(math.MaxUint64)
	for i := range c.CertChain {
		days = min(days, c.CertChain[i].DaysUntilExpiration)
	}
	if len(c.CACert) > 0 {
		days = min(days, c.CACert[0].DaysUntilExpiration)
	}
	return days
}
