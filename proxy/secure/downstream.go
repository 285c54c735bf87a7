package secure

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// Downstream is a DownstreamTlsContext of a filter chain. Its methods may be called
// from any goroutine.
type Downstream struct {
	managed
	conf   *conf.DownstreamTLS
	names  []string // of the filter chain; sessions are theirs
	config *tls.Config
	live   atomic.Pointer[server]
}

// server is one version of a Downstream: what its files held at one time. Immutable.
type server struct {
	d        *Downstream
	chosen   chooser
	verify   *verifier // nil: certificates of clients are not looked at
	session  [sessionIDBytes]byte
	config   *tls.Config               // for clients with a protocol of ours, or none
	noALPN   *tls.Config               // for others
	noName   *tls.Config               // refuses
	perSuite map[uint16][2]*tls.Config // as config and noALPN, prefer_client_ciphers only
}

// Config returns what Layer.Server takes. It is the same for as long as the context
// lives: sessions resume, and a handshake finds the version in force by itself.
func (d *Downstream) Config() *tls.Config { return d.config }

// Stats returns the listener's counters.
func (d *Downstream) Stats() *Stats { return d.stats }

// Local returns the certificate that a connection was served with. crypto/tls does not
// tell, so it is chosen again, from the version in force: of certificates for the same
// name it is the one whose key has the type of the cipher suite, which TLS 1.3 leaves
// open; then it is the ECDSA one.
func (d *Downstream) Local(st *tls.ConnectionState) *Certificate {
	return d.live.Load().chosen.again(st).facts
}

// Validated says whether the client's certificate holds: one that was let in by
// ACCEPT_UNTRUSTED may not. It verifies anew; the caller keeps the answer.
func (d *Downstream) Validated(st *tls.ConnectionState) bool {
	v := d.live.Load().verify
	return v != nil && len(st.PeerCertificates) > 0 && v.proves() && v.check(st.PeerCertificates, demand{}) == nil
}

// ValidatedPeer is Validated for a connection that is described already. It verifies anew only where the
// handshake let untrusted certificates in.
func (d *Downstream) ValidatedPeer(p *Peer) bool {
	v := d.live.Load().verify
	if v == nil || !p.Presented() || !v.proves() {
		return false
	}
	return !v.conf.AcceptUntrusted || v.check(p.state.PeerCertificates, demand{}) == nil
}

func newDownstream(c *conf.DownstreamTLS, names []string) *Downstream {
	d := &Downstream{conf: c, names: names}
	// What comes before a ClientHello is known, and the keys of tickets.
	d.config = &tls.Config{GetConfigForClient: d.onHello, SessionTicketsDisabled: !c.SessionTickets}
	return d
}

func (d *Downstream) sources() []*conf.DataSource {
	list := sources(&d.conf.CommonTLS)
	for i := range d.conf.TicketKeys {
		list = append(list, &d.conf.TicketKeys[i])
	}
	return list
}

// build makes a version from files and puts it in force.
func (d *Downstream) build(m *material) error {
	c := d.conf
	s := &server{d: d, chosen: chooser{policy: c.OCSP, fullScan: c.FullScanCertsOnSNIMismatch, now: d.now}}
	if len(c.Certificates) == 0 {
		return errors.New("tls_certificates: a server needs one")
	}
	for i, t := range c.Certificates {
		id, err := newIdentity(t, m)
		if err == nil && id.staple == nil && (id.mustStaple || c.OCSP == conf.OCSPMustStaple) {
			err = errors.New("ocsp_staple: is required and missing")
		}
		if err != nil {
			return fmt.Errorf("tls_certificates[%d]: %w", i, err)
		}
		s.chosen.add(id)
	}
	var err error
	if s.verify, err = newVerifier(c.Validation, m, x509.ExtKeyUsageClientAuth, d.now); err != nil {
		return fmt.Errorf("validation_context: %w", err)
	}
	keys, err := ticketKeys(c.TicketKeys, m)
	if err != nil {
		return fmt.Errorf("session_ticket_keys: %w", err)
	}
	s.session = s.sessionID(m)
	if err := s.configure(); err != nil {
		return err
	}
	if keys != nil && c.SessionTickets {
		d.config.SetSessionTicketKeys(keys)
	}
	d.live.Store(s)
	return nil
}

// configure makes what crypto/tls reads.
func (s *server) configure() error {
	d, c := s.d, s.d.conf
	base, err := parameters(&c.CommonTLS, tls.VersionTLS13)
	if err != nil {
		return err
	}
	base.Time = d.now
	base.SessionTicketsDisabled = !c.SessionTickets
	base.WrapSession, base.UnwrapSession = s.wrap, s.unwrap
	base.GetCertificate = s.certificate
	switch {
	case c.RequireClientCertificate:
		base.ClientAuth = tls.RequireAnyClientCert
	case s.verify != nil && s.verify.asks():
		base.ClientAuth = tls.RequestClientCert
	}
	if s.verify != nil {
		base.VerifyConnection = s.check
		if len(s.verify.trust) > 0 {
			base.ClientCAs = x509.NewCertPool() // only the names, for the request
			for _, root := range s.verify.trust {
				base.ClientCAs.AddCert(root)
			}
		}
	}
	s.config = base
	s.noALPN = base.Clone()
	s.noALPN.NextProtos = nil
	s.noName = base.Clone()
	s.noName.SessionTicketsDisabled = true
	s.noName.GetCertificate = noCertificate
	if c.PreferClientCiphers {
		s.perSuite = make(map[uint16][2]*tls.Config)
		for _, id := range enabledSuites(base) {
			with, without := s.config.Clone(), s.noALPN.Clone()
			with.CipherSuites, without.CipherSuites = []uint16{id}, []uint16{id}
			s.perSuite[id] = [2]*tls.Config{with, without}
		}
	}
	return nil
}

// noCertificate makes crypto/tls send the alert unrecognized_name.
func noCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, nil }

// onHello chooses the configuration for a client. On the handshake's goroutine.
func (d *Downstream) onHello(h *tls.ClientHelloInfo) (*tls.Config, error) {
	s := d.live.Load()
	if d.conf.RequireSNI && h.ServerName == "" {
		return s.noName, nil
	}
	// No protocol in common is no error for Envoy, which goes on without one.
	refused := len(s.config.NextProtos) > 0 && len(h.SupportedProtos) > 0 && !overlap(s.config.NextProtos, h.SupportedProtos)
	if s.perSuite != nil {
		if c := s.preferred(h, refused); c != nil {
			return c, nil
		}
	}
	if refused {
		return s.noALPN, nil
	}
	return s.config, nil
}

func overlap(a, b []string) bool {
	for _, v := range b {
		if slices.Contains(a, v) {
			return true
		}
	}
	return false
}

// preferred returns the configuration with the first suite of the client's list that
// can be; nil with TLS 1.3, whose suites are not for choice.
func (s *server) preferred(h *tls.ClientHelloInfo, noALPN bool) *tls.Config {
	if s.config.MaxVersion >= tls.VersionTLS13 && slices.Contains(h.SupportedVersions, tls.VersionTLS13) {
		return nil
	}
	id := s.chosen.choose(h)
	if id == nil {
		return nil
	}
	one := *h
	one.ServerName = "" // its match is not the question
	for _, suite := range h.CipherSuites {
		pair, ok := s.perSuite[suite]
		if !ok {
			continue
		}
		one.CipherSuites = []uint16{suite}
		if one.SupportsCertificate(id.bare) != nil {
			continue
		}
		if noALPN {
			return pair[1]
		}
		return pair[0]
	}
	return nil
}

// errStapling is the end of a handshake for want of a staple.
var errStapling = errors.New("no valid OCSP staple")

// certificate chooses what to present, with the staple if the client wants one. On the
// handshake's goroutine; not for resumed sessions.
func (s *server) certificate(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
	id := s.chosen.choose(h)
	if !wantsStaple(h) {
		return id.bare, nil
	}
	counts := s.d.stats.ocsp
	counts.OCSPStapleRequests.Inc()
	switch id.stapling(s.d.conf.OCSP, s.d.now()) {
	case stapleFail:
		counts.OCSPStapleFailed.Inc()
		return nil, errStapling
	case stapleSend:
		counts.OCSPStapleResponses.Inc()
		return id.stapled, nil
	}
	counts.OCSPStapleOmitted.Inc()
	return id.bare, nil
}

// check verifies a client's certificate, if it has one: that it must has been seen to.
// On the handshake's goroutine; for resumed sessions too.
func (s *server) check(st tls.ConnectionState) error {
	if len(st.PeerCertificates) == 0 {
		return nil
	}
	err := s.verify.check(st.PeerCertificates, demand{})
	if err == nil {
		return nil
	}
	s.d.stats.refused(err.Kind)
	if s.verify.conf.AcceptUntrusted {
		return nil
	}
	return err
}

func (d *Downstream) certificates(now time.Time) ContextCertificates {
	s := d.live.Load()
	return certificatesOf(s.chosen.all, s.verify, now)
}

// parameters makes a tls.Config of tls_params and alpn_protocols. newest is the version
// that TLSAuto means as a maximum.
func parameters(c *conf.CommonTLS, newest uint16) (*tls.Config, error) {
	p := &c.Parameters
	out := &tls.Config{NextProtos: slices.Clone(c.ALPN), CipherSuites: slices.Clone(p.CipherSuites), MinVersion: tls.VersionTLS12, MaxVersion: newest}
	if p.Minimum != conf.TLSAuto {
		out.MinVersion = tls.VersionTLS10 + uint16(p.Minimum-conf.TLS10)
	}
	if p.Maximum != conf.TLSAuto {
		out.MaxVersion = tls.VersionTLS10 + uint16(p.Maximum-conf.TLS10)
	}
	if out.MinVersion > out.MaxVersion {
		return nil, fmt.Errorf("tls_params: the minimum version %s is above the maximum %s", VersionName(out.MinVersion), VersionName(out.MaxVersion))
	}
	for _, id := range p.CipherSuites {
		if i := index(ciphers, id); i < 0 || strings.HasPrefix(ciphers[i].name, "TLS_") {
			return nil, fmt.Errorf("tls_params: cipher suite %s cannot be chosen", CipherName(id))
		}
	}
	for _, id := range p.Curves {
		if index(curves, id) < 0 {
			return nil, fmt.Errorf("tls_params: unknown curve %s", nameOf(curves, id))
		}
		out.CurvePreferences = append(out.CurvePreferences, tls.CurveID(id))
	}
	for _, name := range c.ALPN {
		if name == "" || len(name) > 255 {
			return nil, fmt.Errorf("alpn_protocols: a name of %d bytes", len(name))
		}
	}
	return out, nil
}

// enabledSuites are the suites up to TLS 1.2 that a configuration has.
func enabledSuites(c *tls.Config) []uint16 {
	if len(c.CipherSuites) > 0 {
		return c.CipherSuites
	}
	var out []uint16
	for _, s := range tls.CipherSuites() {
		if slices.Contains(s.SupportedVersions, tls.VersionTLS12) {
			out = append(out, s.ID)
		}
	}
	return out
}
