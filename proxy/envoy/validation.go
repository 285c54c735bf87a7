//lint:file-ignore SA1019 deprecated fields are still common in configuration files

package envoy

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"net/netip"
	"slices"
	"strings"
	"time"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// validation is a CertificateValidationContext on its way to conf: complete, or one half of a
// combined_validation_context.
type validation struct {
	conf.CertificateValidation
	// untyped are match_subject_alt_names: they count where there are no typed ones.
	untyped []conf.SANMatcher
	// at has a place for each half, the default one first.
	at []place
}

// field is the place of a field, in the half that has it.
func (v *validation) field(name string) place {
	for _, at := range slices.Backward(v.at) {
		if at.pos.fields[name] != nil {
			return at.field(name)
		}
	}
	return v.at[0].field(name)
}

// validationContext compiles the validation context in whichever way it is given, and puts named
// secrets in the place of their names; nil for none.
func (c *compiler) validationContext(m *tlsv3.CommonTlsContext, at place) *conf.CertificateValidation {
	switch t := m.GetValidationContextType().(type) {
	case *tlsv3.CommonTlsContext_ValidationContext:
		v := c.validation(t.ValidationContext, at.field("validation_context"))
		return c.finishValidation(v)
	case *tlsv3.CommonTlsContext_ValidationContextSdsSecretConfig:
		s := c.secret(t.ValidationContextSdsSecretConfig, at.field("validation_context_sds_secret_config"), validationSecret)
		if s == nil {
			return nil
		}
		m.ValidationContextType = &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: s.m.GetValidationContext()}
		return c.finishValidation(s.validation)
	case *tlsv3.CommonTlsContext_CombinedValidationContext:
		combined, here := t.CombinedValidationContext, at.field("combined_validation_context")
		v := c.validation(combined.GetDefaultValidationContext(), here.field("default_validation_context"))
		s := c.secret(combined.GetValidationContextSdsSecretConfig(), here.field("validation_context_sds_secret_config"), validationSecret)
		if s == nil {
			return nil
		}
		v.merge(&s.validation)
		merged := proto.CloneOf(combined.GetDefaultValidationContext())
		proto.Merge(merged, s.m.GetValidationContext())
		m.ValidationContextType = &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: merged}
		return c.finishValidation(v)
	}
	return nil
}

// merge lays over over v as protobufs merge: what is set replaces, lists are joined, flags are joined
// by or.
func (v *validation) merge(over *validation) {
	if over.TrustedCA.Set() {
		v.TrustedCA = over.TrustedCA
	}
	if over.CRL.Set() {
		v.CRL = over.CRL
	}
	v.SPKI = slices.Concat(v.SPKI, over.SPKI)
	v.Hashes = slices.Concat(v.Hashes, over.Hashes)
	v.SANs = slices.Concat(v.SANs, over.SANs)
	v.untyped = slices.Concat(v.untyped, over.untyped)
	v.OnlyLeafCRL = v.OnlyLeafCRL || over.OnlyLeafCRL
	v.AllowExpired = v.AllowExpired || over.AllowExpired
	v.AcceptUntrusted = v.AcceptUntrusted || over.AcceptUntrusted
	if over.HasMaxDepth {
		v.MaxDepth, v.HasMaxDepth = over.MaxDepth, true
	}
	v.at = slices.Concat(v.at, over.at)
}

// validation compiles the fields of one context, each for itself.
func (c *compiler) validation(m *tlsv3.CertificateValidationContext, at place) validation {
	v := validation{at: []place{at}}
	ca := c.tlsSource(m.GetTrustedCa(), at.field("trusted_ca"))
	for _, cert := range c.pemCertificates(ca) {
		c.validity(cert, ca.at)
	}
	crl := c.tlsSource(m.GetCrl(), at.field("crl"))
	c.revocationLists(crl)
	v.TrustedCA, v.CRL = ca.conf, crl.conf
	c.watchedDirectory(m.GetWatchedDirectory(), at.field("watched_directory"), ca.conf, crl.conf)
	v.OnlyLeafCRL, v.AllowExpired = m.GetOnlyVerifyLeafCertCrl(), m.GetAllowExpiredCertificate()
	v.AcceptUntrusted = m.GetTrustChainVerification() == tlsv3.CertificateValidationContext_ACCEPT_UNTRUSTED
	if depth := m.GetMaxVerifyDepth(); depth != nil { // counts the root too, conf does not
		v.MaxDepth, v.HasMaxDepth = max(int(depth.GetValue())-1, 0), true
	}
	for i, text := range m.GetVerifyCertificateSpki() {
		pin, err := base64.StdEncoding.DecodeString(text)
		v.SPKI = c.pin(v.SPKI, pin, err, at.field("verify_certificate_spki").index(i), "base64")
	}
	for i, text := range m.GetVerifyCertificateHash() {
		pin, err := hex.DecodeString(strings.ReplaceAll(text, ":", ""))
		v.Hashes = c.pin(v.Hashes, pin, err, at.field("verify_certificate_hash").index(i), "hexadecimal")
	}
	for i, matcher := range m.GetMatchTypedSubjectAltNames() {
		here := at.field("match_typed_subject_alt_names").index(i)
		match := c.stringMatcher(matcher.GetMatcher(), here.field("matcher"))
		san := conf.SANMatcher{Type: conf.SANType(matcher.GetSanType() - tlsv3.SubjectAltNameMatcher_EMAIL), Name: conf.StringMatcher{Kind: match.kind, Value: match.value, IgnoreCase: match.ignoreCase}}
		if san.Type == conf.SANIP && match.kind == conf.MatchExact {
			ip, err := netip.ParseAddr(match.value)
			if err != nil {
				c.errs.at(here.field("matcher").field("exact"), "%s is not an IP address", shorten(match.value))
			}
			san.Name.Value = ip.String() // as a certificate's is written
		}
		v.SANs = append(v.SANs, san)
	}
	for i, matcher := range m.GetMatchSubjectAltNames() {
		match := c.stringMatcher(matcher, at.field("match_subject_alt_names").index(i))
		name := conf.StringMatcher{Kind: match.kind, Value: match.value, IgnoreCase: match.ignoreCase}
		for _, t := range []conf.SANType{conf.SANDNS, conf.SANURI, conf.SANEmail, conf.SANIP} {
			v.untyped = append(v.untyped, conf.SANMatcher{Type: t, Name: name})
		}
	}
	return v
}

// pin appends a SHA-256.
func (c *compiler) pin(list [][32]byte, pin []byte, err error, at place, form string) [][32]byte {
	if err != nil || len(pin) != sha256.Size {
		c.errs.at(at, "is not a SHA-256 in %s", form)
		return list
	}
	return append(list, [32]byte(pin))
}

// revocationLists checks a crl.
func (c *compiler) revocationLists(source tlsSource) {
	if !source.ok {
		return
	}
	n := 0
	for block := range pemBlocks(source.data) {
		if block.Type != "X509 CRL" {
			continue
		}
		n++
		list, err := x509.ParseRevocationList(block.Bytes)
		if err != nil {
			c.errs.at(source.at, "revocation list %d cannot be parsed: %v", n, err)
			return
		}
		if !list.NextUpdate.IsZero() && time.Now().After(list.NextUpdate) {
			c.warn(source.at, "the revocation list of %s is out of date since %s", shorten(list.Issuer.String()), list.NextUpdate.Format("2006-01-02"))
		}
	}
	if n == 0 {
		c.errs.at(source.at, "holds no revocation list in PEM")
	}
}

// finishValidation checks what needs a whole context to see, as Envoy does.
func (c *compiler) finishValidation(v validation) *conf.CertificateValidation {
	switch {
	case len(v.SANs) == 0:
		v.SANs = v.untyped
	case len(v.untyped) > 0:
		c.warn(v.field("match_subject_alt_names"), "has no effect beside match_typed_subject_alt_names")
	}
	if v.OnlyLeafCRL && !v.CRL.Set() {
		c.warn(v.field("only_verify_leaf_cert_crl"), "has no effect without a crl")
	}
	if v.TrustedCA.Set() {
		return &v.CertificateValidation
	}
	if v.CRL.Set() {
		c.errs.at(v.field("crl"), "needs a trusted_ca")
	}
	if len(v.SANs) > 0 {
		name := "match_typed_subject_alt_names"
		if len(v.untyped) > 0 && v.field(name).pos == v.at[0].pos {
			name = "match_subject_alt_names"
		}
		c.errs.at(v.field(name), "needs a trusted_ca: without it names prove nothing")
	}
	if v.AllowExpired {
		c.errs.at(v.field("allow_expired_certificate"), "needs a trusted_ca: without it dates are not looked at")
	}
	if v.HasMaxDepth {
		c.warn(v.field("max_verify_depth"), "has no effect without a trusted_ca")
	}
	return &v.CertificateValidation
}
