package secure

import (
	"crypto"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// ocspFor makes a response about certificates that a CA issued.
func (p *pair) ocspFor(t testing.TB, next time.Time, about ...*pair) []byte {
	t.Helper()
	der := func(v any) []byte {
		b, err := asn1.Marshal(v)
		must(t, err)
		return b
	}
	var spki struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}
	_, err := asn1.Unmarshal(p.cert.RawSubjectPublicKeyInfo, &spki)
	must(t, err)
	name, key := sha1.Sum(p.cert.RawSubject), sha1.Sum(spki.Key.Bytes)
	type single struct {
		ID         ocspID
		Good       asn1.Flag `asn1:"tag:0,optional"`
		ThisUpdate time.Time `asn1:"generalized"`
		NextUpdate time.Time `asn1:"generalized,explicit,tag:0,optional"`
	}
	var data struct {
		Responder asn1.RawValue
		Produced  time.Time `asn1:"generalized"`
		Responses []single
	}
	data.Responder = asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 1, IsCompound: true, Bytes: p.cert.RawSubject}
	data.Produced = time.Now().UTC().Truncate(time.Second)
	for _, a := range about {
		one := single{
			ID:   ocspID{pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 3, 14, 3, 2, 26}, Parameters: asn1.NullRawValue}, name[:], key[:], a.cert.SerialNumber},
			Good: true, ThisUpdate: data.Produced.Add(-time.Hour),
		}
		if !next.IsZero() {
			one.NextUpdate = next.UTC().Truncate(time.Second)
		}
		data.Responses = append(data.Responses, one)
	}
	tbs := der(data)
	sum := sha256.Sum256(tbs)
	signature, err := p.key.Sign(rand.Reader, sum[:], crypto.SHA256)
	must(t, err)
	basic := der(struct {
		Data      asn1.RawValue
		Algorithm pkix.AlgorithmIdentifier
		Signature asn1.BitString
	}{asn1.RawValue{FullBytes: tbs}, pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2}}, asn1.BitString{Bytes: signature, BitLength: 8 * len(signature)}})
	return der(ocspResponse{Bytes: ocspBytes{oidBasicOCSP, basic}})
}

func TestStapling(t *testing.T) {
	ca := authority(t, nil, "ca")
	plain := leaf(t, ca, "a.test")
	promised := issue(t, ca, ecKey(t), func(c *x509.Certificate) {
		c.DNSNames = []string{"a.test"}
		c.ExtraExtensions = []pkix.Extension{{Id: oidTLSFeature, Value: []byte{0x30, 3, 2, 1, 5}}}
	})
	const lives, expires, none = 2, 1, 0
	for _, row := range []struct {
		title  string
		id     *pair
		staple int
		policy conf.OCSPPolicy
		want   stapling
	}{
		{"lenient, valid", plain, lives, conf.OCSPLenient, stapleSend},
		{"lenient, expired", plain, expires, conf.OCSPLenient, stapleOmit},
		{"lenient, none", plain, none, conf.OCSPLenient, stapleOmit},
		{"strict, valid", plain, lives, conf.OCSPStrict, stapleSend},
		{"strict, expired", plain, expires, conf.OCSPStrict, stapleFail},
		{"strict, none", plain, none, conf.OCSPStrict, stapleOmit},
		{"must, valid", plain, lives, conf.OCSPMustStaple, stapleSend},
		{"must, expired", plain, expires, conf.OCSPMustStaple, stapleFail},
		{"lenient, the certificate must, valid", promised, lives, conf.OCSPLenient, stapleSend},
		{"lenient, the certificate must, expired", promised, expires, conf.OCSPLenient, stapleFail},
	} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			t.Run(row.title+" "+VersionName(version), func(t *testing.T) {
				r := newRig(t)
				one := row.id.inline()
				if row.staple != none {
					one.OCSPStaple.Inline = ca.ocspFor(t, time.Now().Add(time.Hour), row.id)
				}
				d := r.down(&conf.DownstreamTLS{OCSP: row.policy, CommonTLS: conf.CommonTLS{Certificates: []*conf.TLSCertificate{one}}})
				if row.staple == expires {
					r.pass(2 * time.Hour)
				}
				o := shake(t, d.Config(), anyone(only(version))) // crypto/tls asks always
				if row.want == stapleFail {
					failed(t, o.serverErr, "TLS_error:OCSP_CB_ERROR")
					r.want("ocsp_staple_failed", 1, "ocsp_staple_requests", 1)
					return
				}
				if o.clientErr != nil || (len(o.client.OCSPResponse) > 0) != (row.want == stapleSend) {
					t.Errorf("%d bytes of staple, %v", len(o.client.OCSPResponse), o.clientErr)
				}
				r.want("ocsp_staple_failed", 0, "ocsp_staple_requests", 1)
				if row.want == stapleSend {
					r.want("ocsp_staple_responses", 1, "ocsp_staple_omitted", 0)
				} else {
					r.want("ocsp_staple_responses", 0, "ocsp_staple_omitted", 1)
				}
			})
		}
	}
}

// A certificate whose staple is missing is passed over for one that has it.
func TestStaplingDecidesBetweenCertificates(t *testing.T) {
	ca := authority(t, nil, "ca")
	stale, fresh := leaf(t, ca, "a.test"), leaf(t, ca, "a.test")
	r := newRig(t)
	a, b := stale.inline(), fresh.inline()
	a.OCSPStaple.Inline = ca.ocspFor(t, time.Now().Add(time.Minute), stale)
	b.OCSPStaple.Inline = ca.ocspFor(t, time.Now().Add(time.Hour), fresh)
	d := r.down(&conf.DownstreamTLS{OCSP: conf.OCSPStrict, CommonTLS: conf.CommonTLS{Certificates: []*conf.TLSCertificate{a, b}}})
	for i, want := range []*pair{stale, fresh} {
		o := shake(t, d.Config(), anyone(asks("a.test")))
		if o.clientErr != nil || !o.client.PeerCertificates[0].Equal(want.cert) {
			t.Errorf("step %d: the wrong certificate, %v", i, o.clientErr)
		}
		r.pass(10 * time.Minute)
	}
}

func TestStaplesThatAreNone(t *testing.T) {
	ca := authority(t, nil, "ca")
	id, other := leaf(t, ca, "a.test"), leaf(t, ca, "b.test")
	soon := time.Now().Add(time.Hour)
	must(t, CheckOCSPStaple(ca.ocspFor(t, soon, id), id.chain()))
	refused, err := asn1.Marshal(ocspResponse{Status: 6, Bytes: ocspBytes{Type: oidBasicOCSP, Response: []byte{}}})
	must(t, err)
	foreign, err := asn1.Marshal(ocspResponse{Bytes: ocspBytes{Type: oidTLSFeature, Response: []byte{}}})
	must(t, err)
	for want, der := range map[string][]byte{
		"the OCSP response is about another certificate":                ca.ocspFor(t, soon, other),
		"the OCSP response is about 2 certificates, not one":            ca.ocspFor(t, soon, id, other),
		"the OCSP response does not say how long it holds (nextUpdate)": ca.ocspFor(t, time.Time{}, id),
		"the OCSP response says failure 6":                              refused,
		"no basic OCSP response":                                        foreign,
		"no OCSP response: asn1: syntax error: sequence truncated":      {},
		"no OCSP response: asn1: structure error: tags don't match (16 vs {class:0 tag:2 length:1 isCompound:false}) {optional:false explicit:false application:false private:false defaultValue:<nil> tag:<nil> stringType:0 timeType:0 set:false omitEmpty:false} ocspResponse @2": {2, 1, 1},
	} {
		if err := CheckOCSPStaple(der, id.chain()); err == nil || err.Error() != want {
			t.Errorf("error %v, want %s", err, want)
		}
	}
	if serialText(big.NewInt(0)) != "0" || serialText(big.NewInt(0xabc)) != "0abc" || serialText(big.NewInt(-255)) != "-ff" {
		t.Error("serial numbers")
	}
}
