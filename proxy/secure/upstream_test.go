package secure

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net"
	"net/url"
	"strings"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// origin is a server of crypto/tls that says what it saw.
func origin(id *pair, change ...func(*tls.Config)) *tls.Config {
	c := &tls.Config{Certificates: []tls.Certificate{id.tls()}}
	for _, f := range change {
		f(c)
	}
	return c
}

func speaks(protocols ...string) func(*tls.Config) {
	return func(c *tls.Config) { c.NextProtos = protocols }
}

// cluster reads a counter of the cluster.
func (r *rig) cluster(name string) int { return r.counter("cluster.c.ssl." + name) }

func TestServerNameAndProtocolOfUpstreams(t *testing.T) {
	ca := authority(t, nil, "ca")
	id := leaf(t, ca, "a.test")
	for _, row := range []struct {
		title   string
		conf    conf.UpstreamTLS
		want    Want
		sni     string
		alpn    string
		version string
	}{
		{title: "nothing: no name, TLS 1.2 (CL 8)", version: "TLSv1.2"},
		{title: "a name", conf: conf.UpstreamTLS{SNI: "a.test"}, sni: "a.test", version: "TLSv1.2"},
		{title: "the endpoint's name is not asked for", conf: conf.UpstreamTLS{SNI: "a.test"}, want: Want{Host: "h.test"}, sni: "a.test", version: "TLSv1.2"},
		{title: "auto_host_sni", conf: conf.UpstreamTLS{SNI: "a.test", AutoHostSNI: true}, want: Want{Host: "h.test"}, sni: "h.test", version: "TLSv1.2"},
		{title: "auto_host_sni of an endpoint without a name", conf: conf.UpstreamTLS{SNI: "a.test", AutoHostSNI: true}, sni: "a.test", version: "TLSv1.2"},
		{title: "a connection's own name", conf: conf.UpstreamTLS{SNI: "a.test", AutoHostSNI: true}, want: Want{Host: "h.test", ServerName: []byte("c.test")}, sni: "c.test", version: "TLSv1.2"},
		{title: "protocols", conf: conf.UpstreamTLS{CommonTLS: conf.CommonTLS{ALPN: []string{"h2"}}}, want: Want{FallbackALPN: "http/1.1"}, alpn: "h2", version: "TLSv1.2"},
		{title: "the cluster's protocols", want: Want{FallbackALPN: "http/1.1,h2"}, alpn: "h2", version: "TLSv1.2"},
		{title: "a connection's own protocols", conf: conf.UpstreamTLS{CommonTLS: conf.CommonTLS{ALPN: []string{"h2"}}}, want: Want{ALPN: []byte("x, http/1.1")}, alpn: "http/1.1", version: "TLSv1.2"},
		{title: "TLS 1.3 when configured", conf: conf.UpstreamTLS{CommonTLS: conf.CommonTLS{Parameters: conf.TLSParameters{Maximum: conf.TLS13}}}, version: "TLSv1.3"},
	} {
		t.Run(row.title, func(t *testing.T) {
			r := newRig(t)
			u := r.up(&row.conf)
			config := u.ConfigFor(&row.want)
			o := shake(t, origin(id, speaks("h2", "http/1.1")), config)
			if o.clientErr != nil || o.serverErr != nil {
				t.Fatal(o.clientErr, o.serverErr)
			}
			if p := NewPeer(&o.server, nil); p.ServerName() != row.sni || p.ALPN() != row.alpn || p.Version() != row.version {
				t.Errorf("name %q, protocol %q, %s", p.ServerName(), p.ALPN(), p.Version())
			}
			again := row.want
			if u.ConfigFor(&again) != config {
				t.Error("the same wish makes another configuration")
			}
			u.Stats().Finished(r.shard, &o.client)
			if r.cluster("handshake") != 1 || r.cluster("versions."+row.version) != 1 {
				t.Error("the handshake is not counted")
			}
		})
	}
}

func TestServersAreVerified(t *testing.T) {
	w := newWorld(t)
	wild := leaf(t, w.root, "*.a.test")
	wrong := leaf(t, w.stranger, "a.test")
	many := issue(t, w.root, ecKey(t), func(c *x509.Certificate) {
		c.URIs, c.IPAddresses = []*url.URL{mustURL("spiffe://mesh/server")}, []net.IP{net.ParseIP("2001:db8::1")}
	})
	ca := &conf.CertificateValidation{TrustedCA: w.root.trust()}
	named := &conf.CertificateValidation{TrustedCA: w.root.trust(), SANs: []conf.SANMatcher{{Type: conf.SANDNS, Name: conf.StringMatcher{Value: "b.test"}}}}
	lenient := &conf.CertificateValidation{TrustedCA: w.root.trust(), AcceptUntrusted: true}
	with := func(v *conf.CertificateValidation) conf.UpstreamTLS {
		return conf.UpstreamTLS{SNI: "x.a.test", CommonTLS: conf.CommonTLS{Validation: v}}
	}
	auto := func(v *conf.CertificateValidation) conf.UpstreamTLS {
		c := with(v)
		c.AutoSANValidation = true
		return c
	}
	const refusal = "TLS_error:CERTIFICATE_VERIFY_FAILED:"
	for _, row := range []struct {
		title   string
		conf    conf.UpstreamTLS
		want    Want
		server  *pair
		failure string
		counter string
	}{
		{title: "no validation context: anybody's", server: wrong},
		{title: "no validation context: wanted names mean nothing", server: wrong, want: Want{SANs: []byte("b.test")}},
		{title: "the CA's", conf: with(ca), server: wild},
		{title: "another CA's", conf: with(ca), server: wrong, failure: refusal + "unable_to_get_local_issuer_certificate", counter: "fail_verify_error"},
		{title: "another CA's, accepted", conf: with(lenient), server: wrong, counter: "fail_verify_error"},
		{title: "for clients only", conf: with(ca), server: w.good, failure: refusal + "unsupported_certificate_purpose", counter: "fail_verify_error"},
		{title: "a name that matches", conf: with(named), server: leaf(t, w.root, "b.test")},
		{title: "a name that does not", conf: with(named), server: wild, failure: refusal + "SAN_matcher", counter: "fail_verify_san"},
		{title: "the name of the SNI", conf: auto(ca), server: wild},
		{title: "not the name of the SNI", conf: auto(ca), want: Want{ServerName: []byte("c.test")}, server: wild, failure: refusal + "verify_SAN_of_SNI", counter: "fail_verify_san"},
		{title: "the name of the SNI instead of matchers", conf: auto(named), server: wild},
		{title: "a connection's names", conf: with(ca), want: Want{SANs: []byte("c.test,y.a.test")}, server: wild},
		{title: "a connection's URI", conf: with(ca), want: Want{SANs: []byte("spiffe://mesh/server")}, server: many},
		{title: "a connection's address, in another form", conf: with(ca), want: Want{SANs: []byte("x, 2001:db8:0::1")}, server: many},
		{title: "not a connection's address", conf: with(ca), want: Want{SANs: []byte("2001:db8::2")}, server: many, failure: refusal + "verify_SAN_list", counter: "fail_verify_san"},
		{title: "not a connection's names", conf: with(ca), want: Want{SANs: []byte("c.test")}, server: wild, failure: refusal + "verify_SAN_list", counter: "fail_verify_san"},
		{title: "a list without names", conf: with(ca), want: Want{SANs: []byte(" , ")}, server: wild, failure: refusal + "verify_SAN_list", counter: "fail_verify_san"},
		{title: "a connection's names, and the matchers", conf: with(named), want: Want{SANs: []byte("y.a.test")}, server: wild, failure: refusal + "SAN_matcher", counter: "fail_verify_san"},
		{title: "no SNI is no name", conf: conf.UpstreamTLS{AutoSANValidation: true, CommonTLS: conf.CommonTLS{Validation: ca}}, server: wild, failure: refusal + "verify_SAN_of_SNI", counter: "fail_verify_san"},
	} {
		for _, version := range []conf.TLSVersion{conf.TLS12, conf.TLS13} {
			t.Run(fmt.Sprint(row.title, " ", version), func(t *testing.T) {
				r := newRig(t)
				row.conf.Parameters.Maximum = version
				u := r.up(&row.conf)
				o := shake(t, origin(row.server), u.ConfigFor(&row.want))
				failed(t, o.clientErr, row.failure)
				if o.clientErr != nil {
					u.Stats().Failed(r.shard, o.clientErr)
				}
				for _, name := range []string{"fail_verify_error", "fail_verify_san", "connection_error"} {
					want := 0
					if name == row.counter {
						want = 1
					}
					if got := r.cluster(name); got != want {
						t.Errorf("%s is %d, want %d", name, got, want)
					}
				}
			})
		}
	}
}

func TestClientCertificatesAreSent(t *testing.T) {
	w := newWorld(t)
	r := newRig(t)
	u := r.up(&conf.UpstreamTLS{CommonTLS: conf.CommonTLS{Certificates: []*conf.TLSCertificate{w.wrong.inline(), w.good.inline()}}})
	asking := func(c *tls.Config) {
		c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
		c.ClientCAs.AddCert(w.root.cert)
	}
	o := shake(t, origin(w.server, asking), u.ConfigFor(&Want{}))
	if o.serverErr != nil || !o.server.PeerCertificates[0].Equal(w.good.cert) {
		t.Errorf("of two the wrong one: %v", o.serverErr)
	}
	if u.Local().Serial != serialText(w.wrong.cert.SerialNumber) {
		t.Error("Local is not the first")
	}
	// Whoever has none that fits sends what it has.
	u = r.up(&conf.UpstreamTLS{CommonTLS: conf.CommonTLS{Certificates: []*conf.TLSCertificate{w.wrong.inline()}}})
	o = shake(t, origin(w.server, asking), u.ConfigFor(&Want{}))
	if o.serverErr == nil || !strings.Contains(o.serverErr.Error(), "unknown authority") {
		t.Errorf("error %v", o.serverErr)
	}
	failed(t, o.clientErr, "TLS_error:TLSV1_ALERT_UNKNOWN_CA")
	u.Stats().Failed(r.shard, o.clientErr)
	if r.cluster("connection_error") != 1 {
		t.Error("a refusal is not counted")
	}
	if u = r.up(&conf.UpstreamTLS{}); u.Local() != nil {
		t.Error("a certificate from nowhere")
	}
}

func TestSessionsOfUpstreams(t *testing.T) {
	ca := authority(t, nil, "ca")
	server := origin(leaf(t, ca, "a.test"))
	for _, row := range []struct {
		keys uint32
		want bool
	}{{0, false}, {1, true}} {
		for _, version := range []conf.TLSVersion{conf.TLS12, conf.TLS13} {
			c := &conf.UpstreamTLS{SNI: "a.test", MaxSessionKeys: row.keys}
			c.Parameters.Maximum = version
			c.Validation = &conf.CertificateValidation{TrustedCA: ca.trust()}
			u := newRig(t).up(c)
			for i := range 3 {
				o := shake(t, server, u.ConfigFor(&Want{}))
				if o.clientErr != nil {
					t.Fatal(o.clientErr)
				}
				if want := row.want && i > 0; o.client.DidResume != want {
					t.Errorf("%d keys, version %d, handshake %d: resumed %v, want %v", row.keys, version, i, o.client.DidResume, want)
				}
			}
			// The verification of another wish holds for sessions too.
			o := shake(t, server, u.ConfigFor(&Want{SANs: []byte("b.test")}))
			failed(t, o.clientErr, "TLS_error:CERTIFICATE_VERIFY_FAILED:verify_SAN_list")
		}
	}
}

func TestSessionsOfUpstreamsEndWhenFilesChange(t *testing.T) {
	ca := authority(t, nil, "ca")
	dir := t.TempDir()
	write(t, dir+"/ca", encode(ca.cert))
	r := newRig(t)
	u := r.up(&conf.UpstreamTLS{SNI: "a.test", MaxSessionKeys: 1, CommonTLS: conf.CommonTLS{
		Validation: &conf.CertificateValidation{TrustedCA: conf.DataSource{File: dir + "/ca"}},
	}})
	server := origin(leaf(t, ca, "a.test"))
	for i := range 2 {
		if o := shake(t, server, u.ConfigFor(&Want{})); o.client.DidResume != (i == 1) {
			t.Errorf("handshake %d: resumed %v", i, o.client.DidResume)
		}
	}
	write(t, dir+"/ca", encode(authority(t, nil, "other").cert))
	eventually(t, "the other CA is in force", func() bool {
		return r.counter("cluster.c.client_ssl_socket_factory.ssl_context_update_by_sds") == 1
	})
	failed(t, shake(t, server, u.ConfigFor(&Want{})).clientErr, "TLS_error:CERTIFICATE_VERIFY_FAILED:unable_to_get_local_issuer_certificate")
}

func TestKeyUsageOfRSAServers(t *testing.T) {
	ca := authority(t, nil, "ca")
	made := func(usage x509.KeyUsage) *pair {
		return issue(t, ca, rsaKey(), func(c *x509.Certificate) {
			c.Subject = pkix.Name{CommonName: "a.test"}
			c.KeyUsage = usage
		})
	}
	byRSA := func(c *tls.Config) { c.CipherSuites = []uint16{tls.TLS_RSA_WITH_AES_128_GCM_SHA256} }
	signed := func(*tls.Config) {}
	for _, row := range []struct {
		title   string
		usage   x509.KeyUsage
		server  func(*tls.Config)
		enforce bool
		invalid int
	}{
		{"signing by a key for it", x509.KeyUsageDigitalSignature, signed, true, 0},
		{"signing by a key for anything", 0, signed, true, 0},
		{"signing by a key for encryption", x509.KeyUsageKeyEncipherment, signed, true, 1},
		{"signing by a key for encryption, not enforced", x509.KeyUsageKeyEncipherment, signed, false, 1},
		{"encryption by a key for it", x509.KeyUsageKeyEncipherment, byRSA, true, 0},
		{"encryption by a key for signing", x509.KeyUsageDigitalSignature, byRSA, true, 1},
	} {
		r := newRig(t)
		c := &conf.UpstreamTLS{EnforceRSAKeyUsage: row.enforce}
		c.Parameters.CipherSuites = []uint16{tls.TLS_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}
		o := shake(t, origin(made(row.usage), row.server), r.up(c).ConfigFor(&Want{}))
		failure := ""
		if row.enforce && row.invalid > 0 {
			failure = "TLS_error:CERTIFICATE_VERIFY_FAILED:unsupported_key_usage"
		}
		failed(t, o.clientErr, failure)
		if got := r.cluster("was_key_usage_invalid"); got != row.invalid {
			t.Errorf("%s: counted %d, want %d", row.title, got, row.invalid)
		}
	}
}

// Clients can choose names, so what they choose must not pile up.
func TestWishesAreKeptInBounds(t *testing.T) {
	r := newRig(t)
	u := r.up(&conf.UpstreamTLS{})
	for i := range 10 * cacheSlots {
		name := fmt.Sprint("n", i, ".test")
		if c := u.ConfigFor(&Want{ServerName: []byte(name)}); c.ServerName != name {
			t.Fatalf("%s for %s", c.ServerName, name)
		}
	}
	kept := 0
	for i := range u.live.Load().cache {
		if u.live.Load().cache[i].Load() != nil {
			kept++
		}
	}
	if kept < cacheSlots/2 {
		t.Errorf("%d are kept", kept)
	}
	long := []byte(strings.Repeat("n", maxCachedBytes+1))
	if a, b := u.ConfigFor(&Want{ServerName: long}), u.ConfigFor(&Want{ServerName: long}); a == b {
		t.Error("a very long name is kept")
	}
	// A text that moves from one part of a wish to another is another wish.
	a, b := u.ConfigFor(&Want{ServerName: []byte("x")}), u.ConfigFor(&Want{SANs: []byte("x")})
	if a == b || b.ServerName != "" {
		t.Error("a name and a certificate's name are confused")
	}
}

func TestUpstreamsThatCannotBe(t *testing.T) {
	ca := authority(t, nil, "ca")
	for _, row := range []struct {
		conf conf.UpstreamTLS
		want string
	}{
		{conf.UpstreamTLS{AutoSANValidation: true}, "auto_sni_san_validation: needs a validation_context with trusted_ca"},
		{conf.UpstreamTLS{SNI: strings.Repeat("n", 256)}, "sni: a name of 256 bytes"},
		{conf.UpstreamTLS{CommonTLS: conf.CommonTLS{Certificates: []*conf.TLSCertificate{{}}}}, "tls_certificates[0]: certificate_chain: is missing"},
		{conf.UpstreamTLS{CommonTLS: conf.CommonTLS{Validation: &conf.CertificateValidation{TrustedCA: conf.DataSource{Inline: []byte("x")}}}}, "validation_context: trusted_ca: holds no PEM block CERTIFICATE"},
		{conf.UpstreamTLS{CommonTLS: conf.CommonTLS{Parameters: conf.TLSParameters{Minimum: conf.TLS13}, Validation: &conf.CertificateValidation{TrustedCA: ca.trust()}}}, "tls_params: the minimum version TLSv1.3 is above the maximum TLSv1.2"},
	} {
		if u, err := newRig(t).Upstream(&row.conf, "c"); err == nil || err.Error() != row.want || u != nil {
			t.Errorf("error %v, want %s", err, row.want)
		}
	}
}
