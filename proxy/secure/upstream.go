package secure

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"hash/maphash"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// Upstream is an UpstreamTlsContext of a cluster. Its methods may be called from any
// goroutine.
type Upstream struct {
	managed
	conf *conf.UpstreamTLS
	live atomic.Pointer[client]
}

// Want is what one connection asks for besides its context. The zero value asks for
// nothing. It is only read while ConfigFor runs.
type Want struct {
	// Host is the endpoint's host name, for auto_host_sni; may be empty.
	Host string
	// ServerName is the SNI instead of the context's (filter state
	// envoy.network.upstream_server_name, auto_sni); nil for none.
	ServerName []byte
	// ALPN replaces the context's, separated by commas (filter state
	// envoy.network.application_protocols); nil for none.
	ALPN []byte
	// SANs, separated by commas, one of which the certificate must have (filter state
	// envoy.network.upstream_subject_alt_names, auto_san_validation); nil for none. Without
	// a validation context the certificate is not looked at, and they mean nothing.
	SANs []byte
	// FallbackALPN is ALPN when neither that nor the context has any: that of the
	// cluster's protocols, "h2,http/1.1".
	FallbackALPN string
}

// cacheSlots is how many configurations of wants are kept, maxCachedBytes how much text
// of a want: clients may choose it (SNI).
const (
	cacheSlots     = 256
	maxCachedBytes = 1024
)

// client is one version of an Upstream. Immutable, but for its cache.
type client struct {
	u        *Upstream
	ids      []*identity
	verify   *verifier // nil: certificates are not verified
	template *tls.Config
	base     *tls.Config // for a want that changes nothing
	seed     maphash.Seed
	cache    [cacheSlots]atomic.Pointer[wanted]
}

// wanted is a configuration and what it is for. A later one in its slot replaces it.
type wanted struct {
	name, alpn, sans string
	config           *tls.Config
}

// ConfigFor returns what Layer.Client takes. It does not allocate when the same was
// wanted lately.
func (u *Upstream) ConfigFor(w *Want) *tls.Config {
	c := u.live.Load()
	name, alpn := u.conf.SNI, ""
	if u.conf.AutoHostSNI && w.Host != "" {
		name = w.Host
	}
	if len(u.conf.ALPN) == 0 {
		alpn = w.FallbackALPN
	}
	if len(w.ServerName) == 0 && len(w.ALPN) == 0 && len(w.SANs) == 0 && alpn == "" && name == u.conf.SNI {
		return c.base
	}
	slot := &c.cache[c.hash(w, name, alpn)%cacheSlots]
	if e := slot.Load(); e != nil && same(e.name, w.ServerName, name) && same(e.alpn, w.ALPN, alpn) && e.sans == string(w.SANs) {
		return e.config
	}
	e := &wanted{name: pick(w.ServerName, name), alpn: pick(w.ALPN, alpn), sans: string(w.SANs)}
	e.config = c.configure(e)
	if n := u.conf.MaxSessionKeys; n > 0 && e.name != u.conf.SNI {
		// Sessions of one name do not push out those of another.
		e.config.ClientSessionCache = tls.NewLRUClientSessionCache(int(n))
	}
	if len(e.name)+len(e.alpn)+len(e.sans) <= maxCachedBytes {
		slot.Store(e)
	}
	return e.config
}

func pick(override []byte, otherwise string) string {
	if len(override) > 0 {
		return string(override)
	}
	return otherwise
}

func same(have string, override []byte, otherwise string) bool {
	if len(override) > 0 {
		return have == string(override)
	}
	return have == otherwise
}

func (c *client) hash(w *Want, name, alpn string) uint64 {
	var h maphash.Hash
	h.SetSeed(c.seed)
	for _, part := range [...]struct {
		override  []byte
		otherwise string
	}{{w.ServerName, name}, {w.ALPN, alpn}, {w.SANs, ""}} {
		if len(part.override) > 0 {
			h.Write(part.override)
		} else {
			h.WriteString(part.otherwise)
		}
		h.WriteByte(0)
	}
	return h.Sum64()
}

// Stats returns the cluster's counters.
func (u *Upstream) Stats() *Stats { return u.stats }

// Local returns the client certificate, nil for none. As in Envoy it is the one that is
// configured, also when the server did not ask for it.
func (u *Upstream) Local() *Certificate {
	if c := u.live.Load(); len(c.ids) > 0 {
		return c.ids[0].facts
	}
	return nil
}

func newUpstream(c *conf.UpstreamTLS) *Upstream { return &Upstream{conf: c} }

func (u *Upstream) sources() []*conf.DataSource { return sources(&u.conf.CommonTLS) }

// build makes a version from files and puts it in force.
func (u *Upstream) build(m *material) error {
	c := &client{u: u, seed: maphash.MakeSeed()}
	for i, t := range u.conf.Certificates {
		id, err := newIdentity(t, m)
		if err != nil {
			return fmt.Errorf("tls_certificates[%d]: %w", i, err)
		}
		c.ids = append(c.ids, id)
	}
	var err error
	if c.verify, err = newVerifier(u.conf.Validation, m, x509.ExtKeyUsageServerAuth, u.now); err != nil {
		return fmt.Errorf("validation_context: %w", err)
	}
	if u.conf.AutoSANValidation && (c.verify == nil || c.verify.roots == nil) {
		return errors.New("auto_sni_san_validation: needs a validation_context with trusted_ca")
	}
	if len(u.conf.SNI) > 255 {
		return fmt.Errorf("sni: a name of %d bytes", len(u.conf.SNI))
	}
	if c.template, err = parameters(&u.conf.CommonTLS, tls.VersionTLS12); err != nil {
		return err
	}
	t := c.template
	t.Time = u.now
	t.InsecureSkipVerify = true // VerifyConnection does it, if anything is to be verified
	if n := u.conf.MaxSessionKeys; n > 0 {
		// A new version begins without sessions: they would outlive a changed certificate.
		t.ClientSessionCache = tls.NewLRUClientSessionCache(int(n))
	}
	if len(c.ids) > 0 {
		t.GetClientCertificate = c.certificate
	}
	c.base = c.configure(&wanted{name: u.conf.SNI})
	u.live.Store(c)
	return nil
}

// configure makes the configuration for a want.
func (c *client) configure(w *wanted) *tls.Config {
	out := c.template.Clone()
	out.ServerName = w.name
	if w.alpn != "" {
		out.NextProtos = nil
		for name := range strings.SplitSeq(w.alpn, ",") {
			if name = strings.TrimSpace(name); name != "" && len(name) <= 255 {
				out.NextProtos = append(out.NextProtos, name)
			}
		}
	}
	j := &judge{c: c, demand: demand{serverName: w.name, bound: c.u.conf.AutoSANValidation}}
	for name := range strings.SplitSeq(w.sans, ",") {
		if name = strings.TrimSpace(name); name != "" {
			j.demand.sans = append(j.demand.sans, name)
		}
	}
	if w.sans != "" && len(j.demand.sans) == 0 {
		j.demand.sans = []string{"\x00"} // a list without a name is no list that anybody is on
	}
	out.VerifyConnection = j.check
	return out
}

// certificate presents the first certificate the server can use. When it can use none
// the first goes all the same, as from Envoy: servers forget to name CAs.
func (c *client) certificate(r *tls.CertificateRequestInfo) (*tls.Certificate, error) {
	for _, id := range c.ids {
		if r.SupportsCertificate(id.bare) == nil {
			return id.bare, nil
		}
	}
	return c.ids[0].bare, nil
}

// judge verifies servers' certificates for one configuration. Immutable.
type judge struct {
	c      *client
	demand demand
}

// check runs on the handshake's goroutine; for resumed sessions too.
func (j *judge) check(st tls.ConnectionState) error {
	c := j.c
	if keyUsageInvalid(st.PeerCertificates[0], &st) {
		err := &VerifyError{Kind: VerifyKeyUsage, Text: "unsupported_key_usage"}
		c.u.stats.refused(err.Kind)
		if c.u.conf.EnforceRSAKeyUsage {
			return err
		}
	}
	if c.verify == nil {
		return nil
	}
	err := c.verify.check(st.PeerCertificates, j.demand)
	if err == nil {
		return nil
	}
	c.u.stats.refused(err.Kind)
	if c.verify.conf.AcceptUntrusted {
		return nil
	}
	return err
}

func (u *Upstream) certificates(now time.Time) ContextCertificates {
	c := u.live.Load()
	return certificatesOf(c.ids, c.verify, now)
}
