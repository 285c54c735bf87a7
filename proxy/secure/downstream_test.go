package secure

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"slices"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

func rsaLeaf(t testing.TB, ca *pair, names ...string) *pair {
	t.Helper()
	return issue(t, ca, rsaKey(), func(c *x509.Certificate) {
		c.Subject = pkix.Name{CommonName: names[0]}
		c.DNSNames = names
	})
}

// needs RSA: no suite of TLS 1.2 for another key.
func rsaOnly(c *tls.Config) {
	c.MaxVersion = tls.VersionTLS12
	c.CipherSuites = []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}
}

func TestCertificateIsChosenByServerNameAndKeyType(t *testing.T) {
	ca := authority(t, nil, "ca")
	certs := map[string]*pair{
		"first":  leaf(t, ca, "first.test"),
		"a-rsa":  rsaLeaf(t, ca, "a.test", "www.a.test"),
		"a-ec":   leaf(t, ca, "a.test", "www.a.test"),
		"wild":   leaf(t, ca, "*.a.test"),
		"common": issue(t, ca, ecKey(t), func(c *x509.Certificate) { c.Subject = pkix.Name{CommonName: "cn.test"} }),
		"rsa":    rsaLeaf(t, ca, "only-rsa.test"),
	}
	order := []string{"first", "a-rsa", "a-ec", "wild", "common", "rsa"}
	for _, row := range []struct {
		title    string
		fullScan bool
		client   func(*tls.Config)
		want     string
	}{
		{"an exact name, ECDSA before RSA", false, asks("a.test"), "a-ec"},
		{"an exact name, for a client without ECDSA", false, func(c *tls.Config) { asks("a.test")(c); rsaOnly(c) }, "a-rsa"},
		{"an exact name goes before a wildcard", false, asks("www.a.test"), "a-ec"},
		{"a wildcard", false, asks("x.a.test"), "wild"},
		{"case does not matter", false, asks("X.A.test"), "wild"},
		{"a wildcard is one label", false, asks("x.y.a.test"), "first"},
		{"a common name where there is no other", false, asks("cn.test"), "common"},
		{"a name nobody has: the first", false, asks("other.test"), "first"},
		{"a name nobody has, full scan, no ECDSA: the first that fits", true, func(c *tls.Config) { asks("other.test")(c); rsaOnly(c) }, "a-rsa"},
		{"no name: the first that fits", false, rsaOnly, "a-rsa"},
		{"no name: the first ECDSA", false, func(*tls.Config) {}, "first"},
		{"an RSA certificate for who could ECDSA", false, asks("only-rsa.test"), "rsa"},
	} {
		t.Run(row.title, func(t *testing.T) {
			r := newRig(t)
			c := &conf.DownstreamTLS{FullScanCertsOnSNIMismatch: row.fullScan}
			for _, name := range order {
				c.Certificates = append(c.Certificates, certs[name].inline())
			}
			d := r.down(c)
			o := shake(t, d.Config(), anyone(row.client))
			if o.clientErr != nil {
				t.Fatal(o.clientErr, o.serverErr)
			}
			got := o.client.PeerCertificates[0]
			if !got.Equal(certs[row.want].cert) {
				t.Errorf("%s was presented, want %s", got.Subject, row.want)
			}
			if local := d.Local(&o.server); local.Serial != serialText(got.SerialNumber) {
				t.Errorf("Local says %s, the client saw %s", local.Serial, serialText(got.SerialNumber))
			}
		})
	}
}

func TestParametersOfServers(t *testing.T) {
	ca := authority(t, nil, "ca")
	id := rsaLeaf(t, ca, "a.test")
	for _, row := range []struct {
		title   string
		server  func(*conf.DownstreamTLS)
		client  func(*tls.Config)
		failure string // of the server; empty: none
		version string
		cipher  string
		alpn    string
	}{
		{title: "TLS 1.3 is the default", version: "TLSv1.3", cipher: "TLS_AES_128_GCM_SHA256"},
		{title: "TLS 1.2 is allowed", client: only(tls.VersionTLS12), version: "TLSv1.2", cipher: "ECDHE-RSA-AES128-GCM-SHA256"},
		{title: "TLS 1.1 is not", client: only(tls.VersionTLS11), failure: "TLS_error:UNSUPPORTED_PROTOCOL"},
		{
			title:  "TLS 1.1 when configured",
			server: func(c *conf.DownstreamTLS) { c.Parameters.Minimum = conf.TLS11 },
			client: only(tls.VersionTLS11), version: "TLSv1.1", cipher: "ECDHE-RSA-AES128-SHA",
		},
		{
			title:   "TLS 1.0 is below a minimum of 1.1",
			server:  func(c *conf.DownstreamTLS) { c.Parameters.Minimum = conf.TLS11 },
			client:  only(tls.VersionTLS10),
			failure: "TLS_error:UNSUPPORTED_PROTOCOL",
		},
		{title: "a maximum of 1.2", server: func(c *conf.DownstreamTLS) { c.Parameters.Maximum = conf.TLS12 }, version: "TLSv1.2", cipher: "ECDHE-RSA-AES128-GCM-SHA256"},
		{
			title:   "a minimum of 1.3",
			server:  func(c *conf.DownstreamTLS) { c.Parameters.Minimum = conf.TLS13 },
			client:  only(tls.VersionTLS12),
			failure: "TLS_error:UNSUPPORTED_PROTOCOL",
		},
		{
			title: "cipher suites",
			server: func(c *conf.DownstreamTLS) {
				c.Parameters.CipherSuites = []uint16{tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256}
			},
			client: only(tls.VersionTLS12), version: "TLSv1.2", cipher: "ECDHE-RSA-CHACHA20-POLY1305",
		},
		{
			title: "no cipher suite in common",
			server: func(c *conf.DownstreamTLS) {
				c.Parameters.CipherSuites = []uint16{tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256}
			},
			client: func(c *tls.Config) { rsaOnly(c) }, failure: "TLS_error:NO_SHARED_CIPHER",
		},
		{
			title:  "no curve in common",
			server: func(c *conf.DownstreamTLS) { c.Parameters.Curves = []uint16{uint16(tls.CurveP384)} },
			client: func(c *tls.Config) { c.CurvePreferences = []tls.CurveID{tls.X25519} }, failure: "TLS_error:NO_SHARED_GROUP",
		},
		{
			title:  "the server's protocol goes first",
			server: func(c *conf.DownstreamTLS) { c.ALPN = []string{"h2", "http/1.1"} },
			client: func(c *tls.Config) { c.NextProtos = []string{"http/1.1", "h2"} }, version: "TLSv1.3", cipher: "TLS_AES_128_GCM_SHA256", alpn: "h2",
		},
		{
			title:  "no protocol in common: none",
			server: func(c *conf.DownstreamTLS) { c.ALPN = []string{"http/1.1"} },
			client: func(c *tls.Config) { c.NextProtos = []string{"spdy/3"} }, version: "TLSv1.3", cipher: "TLS_AES_128_GCM_SHA256",
		},
		{
			title:  "a client that prefers ChaCha, heard",
			server: func(c *conf.DownstreamTLS) { c.PreferClientCiphers = true; c.Parameters.Maximum = conf.TLS12 },
			client: func(c *tls.Config) { c.CipherSuites = []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA} }, version: "TLSv1.2", cipher: "ECDHE-RSA-AES128-SHA",
		},
		{title: "no server name where one is required", server: func(c *conf.DownstreamTLS) { c.RequireSNI = true }, failure: "TLS_error:UNRECOGNIZED_NAME"},
		{title: "the required server name", server: func(c *conf.DownstreamTLS) { c.RequireSNI = true }, client: asks("b.test"), version: "TLSv1.3", cipher: "TLS_AES_128_GCM_SHA256"},
	} {
		t.Run(row.title, func(t *testing.T) {
			r := newRig(t)
			c := &conf.DownstreamTLS{CommonTLS: conf.CommonTLS{Certificates: []*conf.TLSCertificate{id.inline()}}}
			if row.server != nil {
				row.server(c)
			}
			client := anyone()
			if row.client != nil {
				row.client(client)
			}
			d := r.down(c)
			o := r.finish(d, shake(t, d.Config(), client))
			failed(t, o.serverErr, row.failure)
			if row.failure != "" {
				r.want("handshake", 0, "connection_error", 1)
				return
			}
			p := NewPeer(&o.server, d.Local(&o.server))
			if p.Version() != row.version || p.Cipher() != row.cipher || p.ALPN() != row.alpn {
				t.Errorf("%s %s %q", p.Version(), p.Cipher(), p.ALPN())
			}
			r.want("handshake", 1, "connection_error", 0, "no_certificate", 1, "session_reused", 0, "ciphers."+row.cipher, 1, "versions."+row.version, 1)
			if row.version == "TLSv1.3" {
				r.want("curves.X25519MLKEM768", 1)
			}
		})
	}
}

// The suites of a client are in crypto/tls's order, so its hello is made by hand.
func TestClientsOrderOfCiphersWhenPreferred(t *testing.T) {
	ca := authority(t, nil, "ca")
	r := newRig(t)
	c := &conf.DownstreamTLS{PreferClientCiphers: true, CommonTLS: conf.CommonTLS{
		Certificates: []*conf.TLSCertificate{leaf(t, ca, "a.test").inline()}, ALPN: []string{"h2"},
	}}
	d := r.down(c)
	hello := func(alpn string, versions []uint16, suites ...uint16) *tls.ClientHelloInfo {
		return &tls.ClientHelloInfo{
			CipherSuites: suites, SupportedVersions: versions, SupportedProtos: []string{alpn},
			SupportedCurves: []tls.CurveID{tls.X25519, tls.CurveP256}, SupportedPoints: []uint8{0},
			SignatureSchemes: []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256},
		}
	}
	const (
		aes128 = tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
		aes256 = tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
		forRSA = tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
	)
	tls12 := []uint16{tls.VersionTLS12}
	for _, row := range []struct {
		title string
		hello *tls.ClientHelloInfo
		want  []uint16
		alpn  []string
	}{
		{"256 first", hello("h2", tls12, aes256, aes128), []uint16{aes256}, []string{"h2"}},
		{"128 first", hello("h2", tls12, aes128, aes256), []uint16{aes128}, []string{"h2"}},
		{"a suite for another key is passed over", hello("h2", tls12, forRSA, aes256), []uint16{aes256}, []string{"h2"}},
		{"no protocol in common", hello("x", tls12, aes256), []uint16{aes256}, nil},
		{"TLS 1.3 has no choice", hello("h2", []uint16{tls.VersionTLS13, tls.VersionTLS12}, aes256), nil, []string{"h2"}},
	} {
		got, err := d.onHello(row.hello)
		if err != nil || !slices.Equal(got.CipherSuites, row.want) || !slices.Equal(got.NextProtos, row.alpn) {
			t.Errorf("%s: %x %q, %v", row.title, got.CipherSuites, got.NextProtos, err)
		}
	}
}

func TestServersThatCannotBe(t *testing.T) {
	ca := authority(t, nil, "ca")
	good := leaf(t, ca, "a.test")
	other := leaf(t, ca, "b.test")
	for _, row := range []struct {
		title  string
		change func(*conf.DownstreamTLS)
		want   string
	}{
		{"no certificate", func(c *conf.DownstreamTLS) { c.Certificates = nil }, "tls_certificates: a server needs one"},
		{
			"no chain", func(c *conf.DownstreamTLS) { c.Certificates[0].Chain = conf.DataSource{} },
			"tls_certificates[0]: certificate_chain: is missing",
		},
		{
			"a chain that is none", func(c *conf.DownstreamTLS) { c.Certificates[0].Chain.Inline = []byte("x") },
			"tls_certificates[0]: certificate_chain: holds no PEM block CERTIFICATE",
		},
		{
			"no key", func(c *conf.DownstreamTLS) { c.Certificates[0].Key = conf.DataSource{} },
			"tls_certificates[0]: private_key: is missing",
		},
		{
			"a key that is none", func(c *conf.DownstreamTLS) { c.Certificates[0].Key.Inline = good.chain() },
			"tls_certificates[0]: private_key: holds no PEM block PRIVATE KEY",
		},
		{
			"another's key", func(c *conf.DownstreamTLS) { c.Certificates[0].Key.Inline = other.keyPEM() },
			"tls_certificates[0]: private_key: is not the key of the certificate",
		},
		{
			"a file that is not there", func(c *conf.DownstreamTLS) { c.Certificates[0].Key = conf.DataSource{File: "/nowhere/x.key"} },
			"tls_certificates[0]: private_key: open /nowhere/x.key: no such file or directory",
		},
		{
			"a folder", func(c *conf.DownstreamTLS) { c.Certificates[0].Key = conf.DataSource{File: "/"} },
			"tls_certificates[0]: private_key: /: not a regular file",
		},
		{
			"a staple that is none", func(c *conf.DownstreamTLS) { c.Certificates[0].OCSPStaple.Inline = []byte{1} },
			"tls_certificates[0]: ocsp_staple: no OCSP response: asn1: syntax error: truncated tag or length",
		},
		{
			"a staple that must be", func(c *conf.DownstreamTLS) { c.OCSP = conf.OCSPMustStaple },
			"tls_certificates[0]: ocsp_staple: is required and missing",
		},
		{
			"a CA that is none", func(c *conf.DownstreamTLS) {
				c.Validation = &conf.CertificateValidation{TrustedCA: conf.DataSource{Inline: []byte{}}}
			},
			"validation_context: trusted_ca: holds no PEM block CERTIFICATE",
		},
		{
			"names without a CA", func(c *conf.DownstreamTLS) {
				c.Validation = &conf.CertificateValidation{SANs: []conf.SANMatcher{{Name: conf.StringMatcher{Value: "a"}}}}
			},
			"validation_context: match_typed_subject_alt_names: without trusted_ca anybody can make such a certificate",
		},
		{
			"a name matcher that is none", func(c *conf.DownstreamTLS) {
				c.Validation = &conf.CertificateValidation{TrustedCA: ca.trust(), SANs: []conf.SANMatcher{{Name: conf.StringMatcher{Kind: conf.MatchRegex, Value: "a)(b"}}}}
			},
			"validation_context: match_typed_subject_alt_names[0]: safe_regex: error parsing regexp: unexpected ): `a)(b`",
		},
		{
			"a revocation list without a CA", func(c *conf.DownstreamTLS) {
				c.Validation = &conf.CertificateValidation{CRL: conf.DataSource{Inline: []byte("x")}}
			},
			"validation_context: crl: needs trusted_ca",
		},
		{
			"a revocation list that is none", func(c *conf.DownstreamTLS) {
				c.Validation = &conf.CertificateValidation{TrustedCA: ca.trust(), CRL: conf.DataSource{Inline: []byte("x")}}
			},
			"validation_context: crl: holds no PEM block X509 CRL",
		},
		{
			"a short ticket key", func(c *conf.DownstreamTLS) { c.TicketKeys = []conf.DataSource{{Inline: make([]byte, 48)}} },
			"session_ticket_keys: keys[0]: a session ticket key has 80 bytes, this has 48",
		},
		{
			"versions the wrong way round", func(c *conf.DownstreamTLS) {
				c.Parameters = conf.TLSParameters{Minimum: conf.TLS13, Maximum: conf.TLS12}
			},
			"tls_params: the minimum version TLSv1.3 is above the maximum TLSv1.2",
		},
		{
			"a suite of TLS 1.3", func(c *conf.DownstreamTLS) { c.Parameters.CipherSuites = []uint16{tls.TLS_AES_128_GCM_SHA256} },
			"tls_params: cipher suite TLS_AES_128_GCM_SHA256 cannot be chosen",
		},
		{
			"a curve nobody has", func(c *conf.DownstreamTLS) { c.Parameters.Curves = []uint16{7} },
			"tls_params: unknown curve 0x7",
		},
		{
			"a protocol without a name", func(c *conf.DownstreamTLS) { c.ALPN = []string{""} },
			"alpn_protocols: a name of 0 bytes",
		},
	} {
		t.Run(row.title, func(t *testing.T) {
			r := newRig(t)
			c := &conf.DownstreamTLS{SessionTickets: true, CommonTLS: conf.CommonTLS{Certificates: []*conf.TLSCertificate{good.inline()}}}
			row.change(c)
			d, err := r.Downstream(c, "l", nil)
			if err == nil || err.Error() != row.want || d != nil {
				t.Errorf("error %v, want %s", err, row.want)
			}
			if len(r.registry.Collect().Counters) != 0 || len(r.contexts) != 0 {
				t.Error("a context that is none left something behind")
			}
		})
	}
}
