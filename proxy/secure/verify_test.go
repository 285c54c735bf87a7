package secure

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"net"
	"net/url"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// world is the certificates of the tests of verification.
type world struct {
	root, middle, lower, stranger         *pair
	server                                *pair
	good, deep, deeper, wrong, old, early *pair
	forServers, revoked                   *pair
}

func newWorld(t testing.TB) *world {
	w := &world{root: authority(t, nil, "root"), stranger: authority(t, nil, "stranger")}
	w.middle = authority(t, w.root, "middle")
	w.lower = authority(t, w.middle, "lower")
	w.server = leaf(t, w.root, "server.test")
	names := func(c *x509.Certificate) {
		c.Subject = pkix.Name{CommonName: "client"}
		c.DNSNames = []string{"*.client.test", "b.test"}
		c.URIs = []*url.URL{mustURL("spiffe://mesh/ns/client")}
		c.EmailAddresses = []string{"a@client.test"}
		c.IPAddresses = []net.IP{net.ParseIP("192.0.2.1"), net.ParseIP("2001:db8::1")}
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	}
	made := func(by *pair, change func(*x509.Certificate)) *pair {
		return issue(t, by, ecKey(t), func(c *x509.Certificate) {
			names(c)
			if change != nil {
				change(c)
			}
		})
	}
	w.good, w.deep, w.deeper, w.wrong = made(w.root, nil), made(w.middle, nil), made(w.lower, nil), made(w.stranger, nil)
	w.revoked = made(w.root, nil)
	w.old = made(w.root, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	w.early = made(w.root, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) })
	w.forServers = made(w.root, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })
	return w
}

func TestClientCertificates(t *testing.T) {
	w := newWorld(t)
	next := time.Now().Add(time.Hour)
	crls := func(lists ...[]byte) conf.DataSource {
		var d conf.DataSource
		for _, l := range lists {
			d.Inline = append(d.Inline, l...)
		}
		return d
	}
	ca := func(change ...func(*conf.CertificateValidation)) *conf.CertificateValidation {
		v := &conf.CertificateValidation{TrustedCA: w.root.trust()}
		for _, f := range change {
			f(v)
		}
		return v
	}
	san := func(kind conf.SANType, how conf.StringMatchKind, value string) func(*conf.CertificateValidation) {
		return func(v *conf.CertificateValidation) {
			v.SANs = append(v.SANs, conf.SANMatcher{Type: kind, Name: conf.StringMatcher{Kind: how, Value: value}})
		}
	}
	pins := func(p *pair) func(*conf.CertificateValidation) {
		return func(v *conf.CertificateValidation) { v.Hashes = [][32]byte{{1}, sha256.Sum256(p.cert.Raw)} }
	}
	spki := func(p *pair) func(*conf.CertificateValidation) {
		return func(v *conf.CertificateValidation) {
			v.SPKI = [][32]byte{sha256.Sum256(p.cert.RawSubjectPublicKeyInfo)}
		}
	}
	revoking := func(leafOnly bool, lists ...[]byte) func(*conf.CertificateValidation) {
		return func(v *conf.CertificateValidation) { v.CRL, v.OnlyLeafCRL = crls(lists...), leafOnly }
	}
	depth := func(n int) func(*conf.CertificateValidation) {
		return func(v *conf.CertificateValidation) { v.MaxDepth, v.HasMaxDepth = n, true }
	}
	expired := func(v *conf.CertificateValidation) { v.AllowExpired = true }
	untrusted := func(v *conf.CertificateValidation) { v.AcceptUntrusted = true }
	const (
		refusal = "TLS_error:CERTIFICATE_VERIFY_FAILED:"
		chain   = "fail_verify_error"
		names   = "fail_verify_san"
		hash    = "fail_verify_cert_hash"
	)
	for _, row := range []struct {
		title    string
		v        *conf.CertificateValidation
		require  bool
		client   *pair
		failure  string
		counter  string // that is 1; the other fail_verify_* are 0
		notValid bool   // let in, but not validated
	}{
		{title: "required and missing", v: ca(), require: true, failure: "TLS_error:PEER_DID_NOT_RETURN_A_CERTIFICATE", counter: "fail_verify_no_cert"},
		{title: "optional and missing", v: ca(), counter: "no_certificate", notValid: true},
		{title: "required and good", v: ca(), require: true, client: w.good},
		{title: "optional and good", v: ca(), client: w.good},
		{title: "required of nobody in particular", require: true, client: w.wrong, notValid: true},
		{title: "required of nobody in particular and missing", require: true, failure: "TLS_error:PEER_DID_NOT_RETURN_A_CERTIFICATE", counter: "fail_verify_no_cert"},
		{title: "another CA's", v: ca(), client: w.wrong, failure: refusal + "unable_to_get_local_issuer_certificate", counter: chain},
		{title: "expired", v: ca(), client: w.old, failure: refusal + "certificate_has_expired", counter: chain},
		{title: "not yet valid", v: ca(), client: w.early, failure: refusal + "certificate_is_not_yet_valid", counter: chain},
		{title: "expired is allowed", v: ca(expired), client: w.old},
		{title: "not yet valid is allowed with that", v: ca(expired), client: w.early},
		{title: "another CA's stays refused", v: ca(expired), client: w.wrong, failure: refusal + "unable_to_get_local_issuer_certificate", counter: chain},
		{title: "for servers only", v: ca(), client: w.forServers, failure: refusal + "unsupported_certificate_purpose", counter: chain},

		{title: "intermediates", v: ca(), client: w.deeper},
		{title: "two intermediates are two", v: ca(depth(2)), client: w.deeper},
		{title: "two intermediates are more than one", v: ca(depth(1)), client: w.deeper, failure: refusal + "certificate_chain_too_long", counter: chain},
		{title: "no intermediate is none", v: ca(depth(0)), client: w.good},
		{title: "an intermediate as the trusted CA", v: &conf.CertificateValidation{TrustedCA: w.middle.trust()}, client: w.deeper},

		{title: "accepted though untrusted", v: ca(untrusted), client: w.wrong, counter: chain, notValid: true},
		{title: "accepted and trusted", v: ca(untrusted), client: w.good},
		{title: "accepted without a CA", v: &conf.CertificateValidation{AcceptUntrusted: true}, client: w.wrong, notValid: true},

		{title: "a pinned certificate", v: ca(pins(w.good)), client: w.good},
		{title: "another is pinned", v: ca(pins(w.deep)), client: w.good, failure: refusal + "cert_hash_and_spki", counter: hash},
		{title: "a pinned key", v: ca(spki(w.good)), client: w.good},
		{title: "either pin will do", v: ca(pins(w.deep), spki(w.good)), client: w.good},
		{title: "a pin without a CA", v: &conf.CertificateValidation{Hashes: [][32]byte{sha256.Sum256(w.wrong.cert.Raw)}}, client: w.wrong},
		{title: "a pin does not make up for the CA", v: ca(pins(w.wrong)), client: w.wrong, failure: refusal + "unable_to_get_local_issuer_certificate", counter: chain},

		{title: "a DNS name", v: ca(san(conf.SANDNS, conf.MatchExact, "B.test")), client: w.good},
		{title: "a DNS name, by the certificate's wildcard", v: ca(san(conf.SANDNS, conf.MatchExact, "x.client.test")), client: w.good},
		{title: "a wildcard is one label", v: ca(san(conf.SANDNS, conf.MatchExact, "x.y.client.test")), client: w.good, failure: refusal + "SAN_matcher", counter: names},
		{title: "a wildcard is a label", v: ca(san(conf.SANDNS, conf.MatchExact, "client.test")), client: w.good, failure: refusal + "SAN_matcher", counter: names},
		{title: "a DNS name's end", v: ca(san(conf.SANDNS, conf.MatchSuffix, ".test")), client: w.good},
		{title: "a URI", v: ca(san(conf.SANURI, conf.MatchExact, "spiffe://mesh/ns/client")), client: w.good},
		{title: "a URI's begin", v: ca(san(conf.SANURI, conf.MatchPrefix, "spiffe://mesh/")), client: w.good},
		{title: "a URI's form", v: ca(san(conf.SANURI, conf.MatchRegex, "spiffe://[^/]+/ns/[a-z]+")), client: w.good},
		{title: "a form is of the whole", v: ca(san(conf.SANURI, conf.MatchRegex, "spiffe://[^/]+/ns")), client: w.good, failure: refusal + "SAN_matcher", counter: names},
		{title: "a name of another type", v: ca(san(conf.SANURI, conf.MatchExact, "b.test")), client: w.good, failure: refusal + "SAN_matcher", counter: names},
		{title: "an address", v: ca(san(conf.SANIP, conf.MatchExact, "192.0.2.1")), client: w.good},
		{title: "an address in another form", v: ca(san(conf.SANIP, conf.MatchExact, "2001:db8:0::1")), client: w.good},
		{title: "a mail address", v: ca(san(conf.SANEmail, conf.MatchContains, "@client")), client: w.good},
		{title: "one of two names", v: ca(san(conf.SANDNS, conf.MatchExact, "no.test"), san(conf.SANEmail, conf.MatchExact, "a@client.test")), client: w.good},
		{title: "a right name of a wrong CA", v: ca(san(conf.SANDNS, conf.MatchExact, "b.test")), client: w.wrong, failure: refusal + "unable_to_get_local_issuer_certificate", counter: chain},

		{title: "not revoked", v: ca(revoking(false, w.root.crl(t, next, w.revoked))), client: w.good},
		{title: "revoked", v: ca(revoking(false, w.root.crl(t, next, w.revoked))), client: w.revoked, failure: refusal + "certificate_revoked", counter: chain},
		{title: "revoked in the second list", v: ca(revoking(true, w.root.crl(t, next), w.root.crl(t, next, w.revoked))), client: w.revoked, failure: refusal + "certificate_revoked", counter: chain},
		{title: "an intermediate without a list", v: ca(revoking(false, w.root.crl(t, next))), client: w.deep, failure: refusal + "unable_to_get_certificate_CRL", counter: chain},
		{title: "a list for each", v: ca(revoking(false, w.root.crl(t, next), w.middle.crl(t, next))), client: w.deep},
		{title: "a revoked intermediate", v: ca(revoking(false, w.root.crl(t, next, w.middle), w.middle.crl(t, next))), client: w.deep, failure: refusal + "certificate_revoked", counter: chain},
		{title: "a revoked intermediate, leaf only", v: ca(revoking(true, w.root.crl(t, next, w.middle), w.middle.crl(t, next))), client: w.deep},
		{title: "an expired list", v: ca(revoking(false, w.root.crl(t, time.Now().Add(-time.Second)))), client: w.good, failure: refusal + "CRL_has_expired", counter: chain},
		{title: "a list that another made", v: ca(revoking(false, forged(t, w.root, next))), client: w.good, failure: refusal + "CRL_signature_failure", counter: chain},
	} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			t.Run(row.title+" "+VersionName(version), func(t *testing.T) {
				r := newRig(t)
				d := r.down(&conf.DownstreamTLS{
					RequireClientCertificate: row.require,
					CommonTLS:                conf.CommonTLS{Certificates: []*conf.TLSCertificate{w.server.inline()}, Validation: row.v},
				})
				client := anyone(only(version))
				if row.client != nil {
					presents(row.client)(client)
				}
				o := r.finish(d, shake(t, d.Config(), client))
				failed(t, o.serverErr, row.failure)
				if (row.failure == "") != (o.clientErr == nil) {
					t.Errorf("the client's error is %v", o.clientErr)
				}
				for _, name := range []string{chain, names, hash, "fail_verify_no_cert", "no_certificate", "connection_error"} {
					want := 0
					if name == row.counter {
						want = 1
					}
					r.want(name, want)
				}
				if row.failure == "" && d.Validated(&o.server) == row.notValid {
					t.Errorf("validated: %v", !row.notValid)
				}
			})
		}
	}
}

// forged is a list in an issuer's name that another key signed.
func forged(t testing.TB, issuer *pair, next time.Time) []byte {
	other := &pair{key: ecKey(t)}
	name := *issuer.cert
	name.PublicKey = other.key.Public()
	other.cert = &name
	return other.crl(t, next)
}

// The names of CAs are in the request, so that a client knows which certificate to take.
func TestTrustedNamesAreSentToClients(t *testing.T) {
	w := newWorld(t)
	r := newRig(t)
	d := r.down(&conf.DownstreamTLS{CommonTLS: conf.CommonTLS{
		Certificates: []*conf.TLSCertificate{w.server.inline()}, Validation: &conf.CertificateValidation{TrustedCA: w.root.trust()},
	}})
	client := anyone()
	client.Certificates = []tls.Certificate{w.wrong.tls(), w.good.tls()}
	if o := shake(t, d.Config(), client); o.serverErr != nil || !o.server.PeerCertificates[0].Equal(w.good.cert) {
		t.Errorf("%v", o.serverErr)
	}
	if o := shake(t, d.Config(), anyone()); o.serverErr != nil || d.Validated(&o.server) {
		t.Errorf("%v", o.serverErr)
	}
}

// An extension that says which certificates a list is for cannot be passed over.
func TestRevocationListsOfPartsAreRefused(t *testing.T) {
	ca := authority(t, nil, "ca")
	list := &x509.RevocationList{
		Number: ca.cert.SerialNumber, ThisUpdate: time.Now(), NextUpdate: time.Now().Add(time.Hour),
		ExtraExtensions: []pkix.Extension{{Id: []int{2, 5, 29, 28}, Critical: true, Value: []byte{0x30, 0}}},
	}
	der, err := x509.CreateRevocationList(randomness{}, list, ca.cert, ca.key)
	must(t, err)
	if err := CheckCRL(block("X509 CRL", der)); err == nil || err.Error() != "critical extension 2.5.29.28 of a revocation list is not supported" {
		t.Errorf("error %v", err)
	}
	if err := CheckCRL(ca.crl(t, time.Now().Add(time.Hour))); err != nil {
		t.Error(err)
	}
}

func TestVerifyErrorsUnwrap(t *testing.T) {
	cause := errors.New("cause")
	err := error(&VerifyError{Kind: VerifySAN, Text: "text", Err: cause})
	if !errors.Is(err, cause) || err.Error() != "certificate verification: text: cause" {
		t.Error(err)
	}
}
