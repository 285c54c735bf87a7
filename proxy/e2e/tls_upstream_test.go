package e2e

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

const upstreamSSL = onOrigin + "ssl."

// serverConfig is that of an origin with a certificate for a name.
func serverConfig(t *testing.T, a *harness.Authority, name string) *tls.Config {
	t.Helper()
	return &tls.Config{Certificates: []tls.Certificate{a.Certificate(t, name)}, MinVersion: tls.VersionTLS12}
}

// overTLS is the cluster of an origin with a transport socket.
func overTLS(o harness.Origin, fields ...string) []harness.Cluster {
	return []harness.Cluster{{Name: "origin", Origins: []harness.Origin{o}, Fields: strings.Join(fields, "\n")}}
}

func TestTLSUpstream(t *testing.T) {
	harness.NoLeaks(t)
	a := harness.NewAuthority(t)
	o := harness.NewTLSServer(t, serverConfig(t, a, "origin.test"), harness.AnswerHTTP(func(m *harness.Message) string { return harness.Reply(string(m.Body)) }))
	p := harness.Start(t, harness.Topology{
		Clusters:  overTLS(o, harness.ClientSocket(a.Trust("match_typed_subject_alt_names: [{ san_type: DNS, matcher: { exact: origin.test } }]"), "sni: origin.test")),
		LogFormat: "%RESPONSE_CODE% %UPSTREAM_TRANSPORT_FAILURE_REASON%",
	})
	client := h1Client(t, 4)
	for _, size := range []int{0, 1, 16384, 1 << 20, 8 << 20} {
		sent := streamBytes(size)
		r, err := client.Post("http://"+p.Addr+"/", "x/y", bytes.NewReader(sent))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r.Body)
		r.Body.Close()
		if err != nil || r.StatusCode != 200 || !bytes.Equal(got, sent) {
			t.Errorf("%d: %d bytes of %d, %v", r.StatusCode, len(got), size, err)
		}
	}
	states := o.States()
	if len(states) != 1 || states[0].ServerName != "origin.test" || states[0].Version != tls.VersionTLS12 {
		t.Errorf("the origin saw %d connections, name %q", len(states), states[0].ServerName)
	}
	p.WantStats(harness.Stats{
		onOrigin + "upstream_cx_total": 1, onOrigin + "upstream_rq_200": 5, onOrigin + "upstream_cx_connect_fail": 0,
		upstreamSSL + "handshake": 1, upstreamSSL + "connection_error": 0, upstreamSSL + "versions.TLSv1.2": 1,
	})
	for _, line := range p.AwaitLines(5) {
		if line != "200 -" {
			t.Errorf("log line %q", line)
		}
	}
}

func TestTLSUpstreamsThatAreNotTrusted(t *testing.T) {
	harness.NoLeaks(t)
	a, other := harness.NewAuthority(t), harness.NewAuthority(t)
	good := harness.AnswerHTTP(nil)
	for _, row := range []struct {
		title, socket string
		origin        func() harness.Origin
		reason        string
		stats         harness.Stats
	}{
		{
			"another authority's", harness.ClientSocket(other.Trust(), "sni: origin.test"),
			func() harness.Origin { return harness.NewTLSServer(t, serverConfig(t, a, "origin.test"), good) },
			"TLS_error:CERTIFICATE_VERIFY_FAILED:", harness.Stats{upstreamSSL + "fail_verify_error": 1, upstreamSSL + "connection_error": 0},
		},
		{
			"another name's", harness.ClientSocket(a.Trust("match_typed_subject_alt_names: [{ san_type: DNS, matcher: { exact: wanted.test } }]"), "sni: origin.test"),
			func() harness.Origin { return harness.NewTLSServer(t, serverConfig(t, a, "origin.test"), good) },
			"TLS_error:CERTIFICATE_VERIFY_FAILED:", harness.Stats{upstreamSSL + "fail_verify_san": 1, upstreamSSL + "connection_error": 0},
		},
		{
			"not the name that is asked for", harness.ClientSocket(a.Trust(), "sni: wanted.test, auto_sni_san_validation: true"),
			func() harness.Origin { return harness.NewTLSServer(t, serverConfig(t, a, "origin.test"), good) },
			"TLS_error:CERTIFICATE_VERIFY_FAILED:", harness.Stats{upstreamSSL + "fail_verify_san": 1, upstreamSSL + "connection_error": 0},
		},
		{
			"plain", harness.ClientSocket(a.Trust(), "sni: origin.test"),
			func() harness.Origin {
				return harness.NewRaw(t, func(p *harness.Peer) { p.Send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"); p.Drain() })
			},
			"TLS_error:HTTP_REQUEST", harness.Stats{upstreamSSL + "connection_error": 1},
		},
		{
			"of an older version", harness.ClientSocket(a.Trust()+", tls_params: { tls_maximum_protocol_version: TLSv1_2 }", "sni: origin.test"),
			func() harness.Origin {
				c := serverConfig(t, a, "origin.test")
				c.MinVersion = tls.VersionTLS13
				return harness.NewTLSServer(t, c, good)
			},
			"TLS_error:TLSV1_ALERT_PROTOCOL_VERSION", harness.Stats{upstreamSSL + "connection_error": 1},
		},
	} {
		t.Run(row.title, func(t *testing.T) {
			p := harness.Start(t, harness.Topology{
				Clusters:  overTLS(row.origin(), row.socket),
				LogFormat: "%RESPONSE_CODE% %RESPONSE_FLAGS% %UPSTREAM_TRANSPORT_FAILURE_REASON%",
			})
			c := p.Dial()
			r := c.Get("/")
			c.Close()
			if r.Status != 503 {
				t.Errorf("%v", r)
			}
			row.stats[onOrigin+"upstream_cx_connect_fail"], row.stats[onOrigin+"upstream_cx_total"] = 1, 1
			row.stats[onOrigin+"upstream_cx_active"], row.stats[upstreamSSL+"handshake"] = 0, 0
			p.WantStats(row.stats)
			p.WantLine("503 UF " + row.reason)
		})
	}
}

func TestTLSUpstreamClientCertificate(t *testing.T) {
	harness.NoLeaks(t)
	a := harness.NewAuthority(t)
	for _, row := range []struct {
		title, cert string
		status      int
	}{
		{"sent", "tls_certificates: [" + a.Pair(t, "proxy.test").YAML() + "], ", 200},
		{"missing", "", 503},
	} {
		t.Run(row.title, func(t *testing.T) {
			config := serverConfig(t, a, "origin.test")
			config.ClientAuth, config.ClientCAs = tls.RequireAndVerifyClientCert, a.Pool
			o := harness.NewTLSServer(t, config, harness.AnswerHTTP(nil))
			p := harness.Start(t, harness.Topology{Clusters: overTLS(o, harness.ClientSocket(row.cert+a.Trust(), "sni: origin.test"))})
			c := p.Dial()
			if r := c.Get("/"); r.Status != row.status {
				t.Errorf("%v", r)
			}
			c.Close()
			if states := o.States(); row.status == 200 && (len(states) != 1 || states[0].PeerCertificates[0].Subject.CommonName != "proxy.test") {
				t.Errorf("%d handshakes", len(states))
			} else if row.status != 200 && len(states) != 0 {
				t.Error("a handshake without certificate")
			}
		})
	}
}

func TestTLSUpstreamResumption(t *testing.T) {
	harness.NoLeaks(t)
	a := harness.NewAuthority(t)
	for _, row := range []struct {
		title, params, fields string
		resumed               int64
	}{
		{"TLS 1.2", "", "", 4},
		{"TLS 1.3", ", tls_params: { tls_maximum_protocol_version: TLSv1_3 }", "", 4},
		{"no sessions kept", "", ", max_session_keys: 0", 0},
	} {
		t.Run(row.title, func(t *testing.T) {
			o := harness.NewTLSServer(t, serverConfig(t, a, "origin.test"), harness.AnswerHTTP(nil))
			p := harness.Start(t, harness.Topology{Clusters: overTLS(o, harness.ClientSocket(a.Trust()+row.params, "sni: origin.test"+row.fields),
				harness.ProtocolOptions("{ max_requests_per_connection: 1 }"))})
			c := p.Dial()
			const requests = 5
			for range requests {
				c.Get("/").Want(200, "ok")
			}
			c.Close()
			resumed := int64(0)
			for _, s := range o.States() {
				if s.DidResume {
					resumed++
				}
			}
			if resumed != row.resumed || len(o.States()) != requests {
				t.Errorf("%d of %d connections resumed a session", resumed, len(o.States()))
			}
			p.WantStats(harness.Stats{upstreamSSL + "handshake": requests, upstreamSSL + "session_reused": row.resumed})
		})
	}
}

// A server that accepts and says nothing has connect_timeout for the handshake too.
func TestTLSUpstreamHandshakeThatStalls(t *testing.T) {
	harness.NoLeaks(t)
	a := harness.NewAuthority(t)
	o := harness.NewRaw(t, (*harness.Peer).Drain)
	p := harness.Start(t, harness.Topology{
		Clusters:  overTLS(o, "connect_timeout: 0.2s", harness.ClientSocket(a.Trust(), "sni: origin.test")),
		LogFormat: "%RESPONSE_CODE% %RESPONSE_FLAGS%",
	})
	c := p.Dial()
	if r := c.Get("/"); r.Status != 503 {
		t.Errorf("%v", r)
	}
	c.Close()
	o.WantEnd(0)
	p.WantStats(harness.Stats{
		onOrigin + "upstream_cx_connect_timeout": 1, onOrigin + "upstream_cx_connect_fail": 1, onOrigin + "upstream_cx_active": 0,
		upstreamSSL + "handshake": 0, upstreamSSL + "connection_error": 0,
	})
	p.WantLines("503 UF")
}

// transport_socket_matches choose by the endpoint's metadata; the cluster's own socket is for the rest.
func TestTLSUpstreamSocketByEndpoint(t *testing.T) {
	harness.NoLeaks(t)
	a := harness.NewAuthority(t)
	secure := harness.NewTLSServer(t, serverConfig(t, a, "origin.test"), harness.AnswerHTTP(func(*harness.Message) string { return harness.Reply("secure") }))
	plain := harness.NewRecorder(t, func(*harness.Message) string { return harness.Reply("plain") })
	p := harness.Start(t, harness.Topology{Clusters: []harness.Cluster{{
		Name: "origin",
		Fields: fmt.Sprintf(`lb_policy: ROUND_ROBIN
transport_socket_matches:
- name: legacy
  match: { mode: plain }
  transport_socket: { name: raw, typed_config: { "@type": type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer } }
%s`, harness.ClientSocket(a.Trust(), "sni: origin.test")),
		Origins: []harness.Origin{secure, plain}, Labels: []string{"{}", "{ }, envoy.transport_socket_match: { mode: plain }"},
	}}})
	c := p.Dial()
	got := map[string]int{}
	for range 6 {
		got[c.Get("/").Body]++
	}
	c.Close()
	if got["secure"] != 3 || got["plain"] != 3 {
		t.Errorf("%v", got)
	}
}

// TLS on both sides at once.
func TestTLSBothSides(t *testing.T) {
	harness.NoLeaks(t)
	a := harness.NewAuthority(t)
	o := harness.NewTLSServer(t, serverConfig(t, a, "origin.test"), harness.AnswerHTTP(func(m *harness.Message) string { return harness.Reply(string(m.Body)) }))
	p := harness.StartSecured(t, harness.Topology{Clusters: overTLS(o, harness.ClientSocket(a.Trust(), "sni: origin.test")), Loops: 2}, secured(t, a, "a.test", ""))
	client := p.HTTPS(a.Client("a.test"))
	sent := streamBytes(4 << 20)
	for range 5 {
		r, err := client.Post("https://a.test/", "x/y", bytes.NewReader(sent))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r.Body)
		r.Body.Close()
		if err != nil || !bytes.Equal(got, sent) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
	}
}
