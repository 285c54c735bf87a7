package e2e

import (
	"crypto/tls"
	"strings"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

const forwardsCert = `forward_client_cert_details: SANITIZE_SET
set_current_client_cert_details: { subject: true, dns: true }
`

// A client whose certificate is refused hears why, and no request of its reaches the origin.
func TestTLSClientCertificates(t *testing.T) {
	harness.NoLeaks(t)
	ours, theirs := harness.NewAuthority(t), harness.NewAuthority(t)
	const (
		noCert = "fail_verify_no_cert"
		wrong  = "fail_verify_error"
		names  = "fail_verify_san"
	)
	required := "require_client_certificate: true"
	named := ours.Trust("match_typed_subject_alt_names: [{ san_type: DNS, matcher: { exact: client.test } }]")
	for _, row := range []struct {
		title, trust, fields string
		cert                 *harness.Authority // nil: none
		name                 string
		alert, counter, log  string // of a refusal
	}{
		{title: "required and shown", trust: ours.Trust(), fields: required, cert: ours, name: "client.test"},
		{
			title: "required and missing", trust: ours.Trust(), fields: required,
			alert: "certificate required", counter: noCert, log: "TLS_error:PEER_DID_NOT_RETURN_A_CERTIFICATE",
		},
		{
			title: "required and of another authority", trust: ours.Trust(), fields: required, cert: theirs, name: "client.test",
			alert: "bad certificate", counter: wrong, log: "TLS_error:CERTIFICATE_VERIFY_FAILED:",
		},
		{title: "optional and shown", trust: ours.Trust(), cert: ours, name: "client.test"},
		{title: "optional and missing", trust: ours.Trust()},
		{title: "optional and of another authority", trust: ours.Trust(), cert: theirs, name: "client.test", alert: "bad certificate", counter: wrong, log: "TLS_error:CERTIFICATE_VERIFY_FAILED:"},
		{title: "the right name", trust: named, cert: ours, name: "client.test"},
		{title: "the wrong name", trust: named, cert: ours, name: "other.test", alert: "bad certificate", counter: names, log: "TLS_error:CERTIFICATE_VERIFY_FAILED:"},
		{title: "of another authority, which is accepted", trust: ours.Trust("trust_chain_verification: ACCEPT_UNTRUSTED"), cert: theirs, name: "client.test"},
	} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			t.Run(row.title+" "+tls.VersionName(version), func(t *testing.T) {
				o := harness.NewRecorder(t, nil)
				p := harness.StartTCP(t, harness.TCPTopology{
					Clusters: to(o), ListenerLog: true, LogFormat: "%DOWNSTREAM_TRANSPORT_FAILURE_REASON% %DOWNSTREAM_PEER_SUBJECT% %DOWNSTREAM_PEER_DNS_SAN%",
					Chains: []harness.Chain{{HTTP: true, Proxy: forwardsCert, Match: harness.With("", harness.ServerSocket(ours.Pair(t, "a.test"), row.trust, row.fields))}},
				})
				config := ours.Client("a.test")
				config.MaxVersion = version
				if row.cert != nil {
					cert := row.cert.Certificate(t, row.name)
					config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
				}
				c, err := p.TryTLS(config)
				if row.counter != "" {
					if err == nil {
						c.WantRefused(row.alert)
					}
					c.Conn.Close()
					p.WantStats(harness.Stats{
						inSSL + "handshake": 0, inSSL + noCert: 0, inSSL + wrong: 0, inSSL + names: 0, inSSL + row.counter: 1, inSSL + "connection_error": 0,
						inListener + "downstream_cx_destroy": 1, inHTTP + "downstream_cx_active": 0,
					})
					if line := p.AwaitLines(1)[0]; !strings.HasPrefix(line, "listener "+row.log) {
						t.Errorf("log line %q", line)
					}
					if len(o.Seen()) != 0 {
						t.Error("the origin got a request")
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				c.Do("GET / HTTP/1.1\r\nHost: test\r\nX-Forwarded-Client-Cert: Subject=\"forged\"\r\n\r\n")
				c.Close()
				got, subject := o.Last(t).Get("x-forwarded-client-cert"), "-"
				if row.cert == nil {
					if got != "-" {
						t.Errorf("x-forwarded-client-cert: %s", got)
					}
				} else {
					subject = "CN=client.test client.test"
					if !strings.HasPrefix(got, "Hash=") || !strings.HasSuffix(got, `Subject="CN=client.test";DNS=client.test`) || strings.Contains(got, "forged") {
						t.Errorf("x-forwarded-client-cert: %s", got)
					}
				}
				line := p.AwaitLines(1)[0]
				if !strings.HasPrefix(line, "- "+subject) {
					t.Errorf("log line %q", line)
				}
				none := int64(0)
				if row.cert == nil {
					none = 1
				}
				p.WantStats(harness.Stats{inSSL + "handshake": 1, inSSL + "no_certificate": none})
			})
		}
	}
}

// A resumed session knows the client's certificate.
func TestTLSClientCertificateOfAResumedSession(t *testing.T) {
	harness.NoLeaks(t)
	a := harness.NewAuthority(t)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		o := harness.NewRecorder(t, nil)
		p := harness.StartSecured(t, harness.Topology{Clusters: to(o), Manager: forwardsCert},
			harness.ServerSocket(a.Pair(t, "a.test"), a.Trust(), "require_client_certificate: true"))
		config := a.Client("a.test")
		config.MaxVersion, config.ClientSessionCache = version, tls.NewLRUClientSessionCache(8)
		config.Certificates = []tls.Certificate{a.Certificate(t, "client.test")}
		for i := range 3 {
			c := p.DialTLS(config)
			c.Do(get)
			c.Close()
			if got := o.Last(t).Get("x-forwarded-client-cert"); !strings.HasSuffix(got, `Subject="CN=client.test";DNS=client.test`) {
				t.Errorf("connection %d: x-forwarded-client-cert: %s", i, got)
			}
		}
		p.WantStats(harness.Stats{inSSL + "handshake": 3, inSSL + "session_reused": 2, inSSL + "fail_verify_error": 0})
	}
}
