package e2e

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// newNamedOrigin is net/http's server with a certificate of each name, which says of each request by what
// name it was reached, how, and over which connection. A request for /wait is answered when the test ends
// the wait.
type namedOrigin struct {
	*tlsOrigin
	waits   chan struct{}
	release sync.Once
}

func newNamedOrigin(t *testing.T, a *harness.Authority, h2 bool, names ...string) *namedOrigin {
	t.Helper()
	o := &namedOrigin{waits: make(chan struct{})}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/wait" {
			select {
			case <-o.waits:
			case <-r.Context().Done():
			}
		}
		w.Header().Set("X-Conn", r.RemoteAddr)
		fmt.Fprintf(w, "%s %s %s", r.Proto, r.TLS.ServerName, r.Host)
	}))
	s.EnableHTTP2 = h2
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	for _, name := range names {
		s.TLS.Certificates = append(s.TLS.Certificates, a.Certificate(t, name))
	}
	s.StartTLS()
	o.tlsOrigin = &tlsOrigin{Server: s}
	t.Cleanup(o.Stop)
	return o
}

func (o *namedOrigin) endWaits() { o.release.Do(func() { close(o.waits) }) }

func (o *namedOrigin) Stop() {
	o.endWaits()
	o.tlsOrigin.Stop()
}

// naming is a cluster's HttpProtocolOptions with upstream_http_protocol_options and a protocol.
func naming(options, protocol string) string {
	const message = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
	return fmt.Sprintf("typed_extension_protocol_options:\n  %s:\n    \"@type\": type.googleapis.com/%s\n    upstream_http_protocol_options: { %s }\n    %s",
		message, message, options, protocol)
}

// upstreamProtocols are the choices of clusters.md 8, with what the origin is able to and what comes of it.
var upstreamProtocols = []struct {
	title, options string
	h2             bool
	proto          string
}{
	{"HTTP/1", "explicit_http_config: { http_protocol_options: {} }", false, "HTTP/1.1"},
	{"HTTP/2", "explicit_http_config: { http2_protocol_options: {} }", true, "HTTP/2.0"},
	{"ALPN, HTTP/2", "auto_config: {}", true, "HTTP/2.0"},
	{"ALPN, HTTP/1", "auto_config: {}", false, "HTTP/1.1"},
	{"as downstream", "use_downstream_protocol_config: { http2_protocol_options: {} }", true, "HTTP/1.1"},
}

func askAs(c *harness.Client, host, path string, fields ...string) *harness.Response {
	return c.Send("GET " + path + " HTTP/1.1\r\nHost: " + host + "\r\n" + strings.Join(append(fields, ""), "\r\n") + "\r\n").Read("GET")
}

// Requests for different hosts have connections of their own, each with the host's name; those for one
// host share one. The name is that of the authority the origin gets, without a port.
func TestTLSNamesByRequest(t *testing.T) { // CL 8: auto_sni
	harness.NoLeaks(t)
	a := harness.NewAuthority(t)
	for _, row := range upstreamProtocols {
		t.Run(row.title, func(t *testing.T) {
			o := newNamedOrigin(t, a, row.h2, "a.test", "b.test", "c.test", "127.0.0.1")
			p := harness.Start(t, harness.Topology{
				Clusters: overTLS(o, harness.ClientSocket(a.Trust(), "sni: fixed.test"), naming("auto_sni: true", row.options)),
				Routes: "- match: { path: /c }\n  route: { cluster: origin, host_rewrite_literal: \"c.test:1\" }\n" +
					"- match: { prefix: / }\n  route: { cluster: origin }",
			})
			c := p.Dial()
			conns := map[string]string{}
			for range 3 {
				for _, ask := range [][3]string{
					{"a.test", "/", "a.test"}, {"b.test:8443", "/", "b.test"}, {"A.Test", "/", "a.test"}, {"a.test", "/c", "c.test"},
					{"127.0.0.1", "/", "fixed.test"}, {"[::1]:80", "/", "fixed.test"},
				} {
					r := askAs(c, ask[0], ask[1])
					if got := strings.Fields(r.Body); r.Status != 200 || got[0] != row.proto || got[1] != ask[2] {
						t.Fatalf("%s%s: %d %s", ask[0], ask[1], r.Status, r.Body)
					}
					conn := r.Header.Get("X-Conn")
					if was, ok := conns[ask[2]]; ok && was != conn {
						t.Errorf("%s has two connections", ask[2])
					}
					conns[ask[2]] = conn
				}
			}
			p.WantStats(harness.Stats{onOrigin + "upstream_cx_total": 4, upstreamSSL + "handshake": 4, onOrigin + "upstream_rq_200": 18, onOrigin + "upstream_cx_pool_overflow": 0})
		})
	}
}

// override_auto_sni_header names the server in place of the authority, as the client sent it.
func TestTLSNamesByField(t *testing.T) {
	harness.NoLeaks(t)
	a := harness.NewAuthority(t)
	o := newNamedOrigin(t, a, false, "a.test")
	p := harness.Start(t, harness.Topology{
		Clusters:    overTLS(o, harness.ClientSocket("", ""), naming("auto_sni: true, override_auto_sni_header: X-Name", upstreamProtocols[0].options)),
		VirtualHost: "request_headers_to_remove: [x-name]",
	})
	c := p.Dial()
	for _, ask := range [][2]string{{"x-name: b.test", "b.test"}, {"X-NAME: C.test:99", "c.test"}, {"x-name: ", "a.test"}, {"y: z", "a.test"}, {"x-name: 10.0.0.1", ""}} {
		if r := askAs(c, "a.test", "/", ask[0]); r.Body != fmt.Sprintf("HTTP/1.1 %s a.test", ask[1]) {
			t.Errorf("%s: %d %s", ask[0], r.Status, r.Body)
		}
	}
}

// auto_san_validation: the certificate must be for the host that is asked for, whatever the SNI.
func TestTLSCertificatesForTheHost(t *testing.T) {
	harness.NoLeaks(t)
	a := harness.NewAuthority(t)
	for _, row := range upstreamProtocols[:3] {
		for _, options := range []string{"auto_sni: true, auto_san_validation: true", "auto_san_validation: true"} {
			t.Run(row.title+" "+options, func(t *testing.T) {
				o := newNamedOrigin(t, a, row.h2, "a.test")
				p := harness.Start(t, harness.Topology{
					Clusters:  overTLS(o, harness.ClientSocket(a.Trust(), "sni: a.test"), naming(options, row.options)),
					LogFormat: "%RESPONSE_CODE% %RESPONSE_FLAGS% %UPSTREAM_TRANSPORT_FAILURE_REASON%",
				})
				c := p.Dial()
				for _, ask := range []struct {
					host   string
					status int
				}{{"a.test", 200}, {"b.test", 503}, {"10.0.0.1", 503}, {"a.test:80", 200}, {"x,a.test", 503}} {
					if r := askAs(c, ask.host, "/"); r.Status != ask.status {
						t.Errorf("%s: %d %s", ask.host, r.Status, r.Body)
					}
				}
				p.WantStats(harness.Stats{upstreamSSL + "fail_verify_san": 3, upstreamSSL + "handshake": 1, onOrigin + "upstream_cx_connect_fail": 3})
				lines := p.AwaitLines(5)
				if lines[0] != "200 - -" || lines[1] != "503 UF TLS_error:CERTIFICATE_VERIFY_FAILED:verify_SAN_list" {
					t.Errorf("the log is %q", lines)
				}
			})
		}
	}
}

// Clients cannot make the proxy keep any number of pools: those that nobody uses make room, and when all
// are in use a request for yet another name is refused.
func TestTLSNamesAreBounded(t *testing.T) {
	harness.NoLeaks(t)
	a := harness.NewAuthority(t)
	for _, row := range upstreamProtocols[:3] {
		t.Run(row.title, func(t *testing.T) {
			o := newNamedOrigin(t, a, row.h2, "a.test")
			breakers := "circuit_breakers: { thresholds: [{ max_connection_pools: 2 }] }"
			p := harness.Start(t, harness.Topology{Clusters: overTLS(o, harness.ClientSocket("", ""), naming("auto_sni: true", row.options), breakers)})
			c := p.Dial()
			for i := range 20 {
				askAs(c, fmt.Sprintf("n%d.test", i), "/").Want(200, fmt.Sprintf("%s n%d.test n%d.test", row.proto, i, i))
			}
			p.WantStats(harness.Stats{onOrigin + "upstream_cx_total": 20, onOrigin + "upstream_cx_active": 2, onOrigin + "upstream_cx_pool_overflow": 0})
			// The two that were asked for last are kept.
			askAs(c, "n18.test", "/").Want(200, row.proto+" n18.test n18.test")
			p.WantStats(harness.Stats{onOrigin + "upstream_cx_total": 20})
			var busy sync.WaitGroup
			for i := range 2 {
				host := fmt.Sprintf("w%d.test", i)
				w := p.Dial()
				busy.Go(func() { askAs(w, host, "/wait").Want(200, row.proto+" "+host+" "+host) })
			}
			p.WantStats(harness.Stats{onOrigin + "upstream_rq_active": 2})
			if r := askAs(c, "late.test", "/"); r.Status != 503 || !strings.Contains(r.Body, "overflow") {
				t.Errorf("%d %s", r.Status, r.Body)
			}
			o.endWaits()
			busy.Wait()
			askAs(c, "late.test", "/").Want(200, row.proto+" late.test late.test")
			p.WantStats(harness.Stats{onOrigin + "upstream_cx_pool_overflow": 1, onOrigin + "circuit_breakers.default.cx_pool_open": 1})
		})
	}
	t.Run("without a limit of the configuration", func(t *testing.T) {
		const names, most = 140, 128
		o := newNamedOrigin(t, a, false, "a.test")
		p := harness.Start(t, harness.Topology{Clusters: overTLS(o, harness.ClientSocket("", ""), naming("auto_sni: true", upstreamProtocols[0].options))})
		c := p.Dial()
		for i := range names {
			if r := askAs(c, fmt.Sprintf("n%d.test", i), "/"); r.Status != 200 {
				t.Fatal(r)
			}
		}
		p.WantStats(harness.Stats{onOrigin + "upstream_cx_total": names, onOrigin + "upstream_cx_active": most, onOrigin + "upstream_cx_pool_overflow": 0})
		// A name that nobody has is refused, and kept nowhere.
		if r := askAs(c, strings.Repeat("n", 2000), "/"); r.Status != 503 {
			t.Error(r)
		}
		p.WantStats(harness.Stats{onOrigin + "upstream_cx_pool_overflow": 1, onOrigin + "upstream_cx_total": names})
	})
}

// A name's TLS sessions are resumed whatever other names are asked for between.
func TestTLSSessionsOfNamesAreKeptApart(t *testing.T) {
	harness.NoLeaks(t)
	a := harness.NewAuthority(t)
	for _, version := range []string{"TLSv1_2", "TLSv1_3"} {
		o := newNamedOrigin(t, a, false, "a.test", "b.test")
		p := harness.Start(t, harness.Topology{Clusters: overTLS(o,
			harness.ClientSocket(a.Trust()+", tls_params: { tls_maximum_protocol_version: "+version+" }", ""),
			strings.Replace(naming("auto_sni: true, auto_san_validation: true", upstreamProtocols[0].options),
				"upstream_http", "common_http_protocol_options: { max_requests_per_connection: 1 }\n    upstream_http", 1))})
		c := p.Dial()
		for range 3 { // max_session_keys is 1, for each of the names
			for _, host := range []string{"a.test", "b.test"} {
				askAs(c, host, "/").Want(200, "HTTP/1.1 "+host+" "+host)
			}
		}
		p.WantStats(harness.Stats{upstreamSSL + "handshake": 6, upstreamSSL + "session_reused": 4})
	}
}

// What a network filter left in filter state names the server of requests, too, before auto_sni.
func TestTLSNamesByFilterStateOfRequests(t *testing.T) { // tcp_proxy.md 11
	harness.NoLeaks(t)
	a := harness.NewAuthority(t)
	for _, row := range upstreamProtocols[:3] {
		for _, options := range []string{"", "auto_sni: true, auto_san_validation: true"} {
			t.Run(row.title+" "+options, func(t *testing.T) {
				o := newNamedOrigin(t, a, row.h2, "a.test")
				protocols := "x,http/1.1"
				if row.h2 {
					protocols = "x,h2"
				}
				p := harness.StartTCP(t, harness.TCPTopology{
					Clusters: overTLS(o, harness.ClientSocket(a.Trust(), "sni: fixed.test"), naming(options, row.options)),
					Chains: []harness.Chain{{HTTP: true, Filters: harness.SetFilterState(
						"envoy.network.upstream_server_name", "set.test", "envoy.network.upstream_subject_alt_names", "x.test,a.test",
						"envoy.network.application_protocols", protocols,
					)}},
				})
				c := p.Dial()
				for _, host := range []string{"b.test", "c.test"} {
					askAs(c, host, "/").Want(200, row.proto+" set.test "+host)
				}
				p.WantStats(harness.Stats{onOrigin + "upstream_cx_total": 1, upstreamSSL + "fail_verify_san": 0})
			})
		}
	}
}

// Filter state names server, protocols and certificate of a TCP session's upstream connection.
func TestTLSNamesByFilterStateOfSessions(t *testing.T) { // tcp_proxy.md 11
	harness.NoLeaks(t)
	a := harness.NewAuthority(t)
	for _, row := range []struct {
		title  string
		state  []string
		name   string
		alpn   string
		failed int64
	}{
		{"nothing", nil, "fixed.test", "", 0},
		{"the name", []string{"envoy.network.upstream_server_name", "set.test"}, "set.test", "", 0},
		{"the name that the client asks for", []string{"envoy.network.upstream_server_name", "%REQUESTED_SERVER_NAME%"}, "in.test", "", 0},
		{"protocols", []string{"envoy.network.application_protocols", "x,http/1.1"}, "fixed.test", "http/1.1", 0},
		{"a name of the certificate", []string{"envoy.network.upstream_subject_alt_names", "y.test,origin.test"}, "fixed.test", "", 0},
		{"another name", []string{"envoy.network.upstream_subject_alt_names", "y.test"}, "", "", 1},
		{"all", []string{
			"envoy.network.upstream_server_name", "set.test", "envoy.network.application_protocols", "h2", "envoy.network.upstream_subject_alt_names", "origin.test",
		}, "set.test", "h2", 0},
	} {
		t.Run(row.title, func(t *testing.T) {
			config := serverConfig(t, a, "origin.test")
			config.NextProtos = []string{"h2", "http/1.1"}
			o := harness.NewTLSServer(t, config, harness.EchoTLS)
			chain := harness.Chain{Match: harness.With("", secured(t, a, "in.test", ""))}
			if row.state != nil {
				chain.Filters = harness.SetFilterState(row.state...)
			}
			p := harness.StartTCP(t, harness.TCPTopology{
				Clusters: overTLS(o, harness.ClientSocket(a.Trust(), "sni: fixed.test")), ListenerFilters: inspectTLS(), Chains: []harness.Chain{chain},
				LogFormat: "%RESPONSE_FLAGS% %UPSTREAM_TRANSPORT_FAILURE_REASON%",
			})
			c, err := p.TryTLS(a.Client("in.test"))
			if row.failed == 0 {
				if err != nil {
					t.Fatal(err)
				}
				c.Send("hello").WantText("hello").Finish().WantEnd()
				if s := o.States()[0]; s.ServerName != row.name || s.NegotiatedProtocol != row.alpn {
					t.Errorf("the origin saw the name %q and the protocol %q", s.ServerName, s.NegotiatedProtocol)
				}
			} else {
				// The client may be in its handshake still, or the proxy not have read the end of it: no close_notify then.
				if rest, err := io.ReadAll(c.Conn); len(rest) > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("the connection should have ended: %q, %v", rest, err)
				}
				p.WantLines("UF,URX TLS_error:CERTIFICATE_VERIFY_FAILED:verify_SAN_list")
			}
			c.Close()
			p.WantStats(harness.Stats{upstreamSSL + "handshake": 1 - row.failed, upstreamSSL + "fail_verify_san": row.failed, onOrigin + "upstream_cx_connect_fail": row.failed})
		})
	}
}

// The ALPN of an HTTP cluster is for its requests: what else uses the cluster offers none.
func TestTLSSessionsDoNotOfferWhatRequestsSpeak(t *testing.T) { // clusters.md 8
	harness.NoLeaks(t)
	a := harness.NewAuthority(t)
	for _, protocol := range []string{upstreamProtocols[1].options, upstreamProtocols[2].options, upstreamProtocols[4].options} {
		config := serverConfig(t, a, "origin.test")
		config.NextProtos = []string{"h2", "http/1.1"}
		o := harness.NewTLSServer(t, config, harness.EchoTLS)
		p := harness.StartTCP(t, harness.TCPTopology{Clusters: overTLS(o, harness.ClientSocket(a.Trust(), ""), naming("", protocol))})
		c := p.Dial()
		c.Send("hello").WantText("hello").Finish()
		if rest, err := c.Rest(); rest != "" || err != nil {
			t.Errorf("%q, %v", rest, err)
		}
		if s := o.States()[0]; s.NegotiatedProtocol != "" {
			t.Errorf("%s: agreed on %q", protocol, s.NegotiatedProtocol)
		}
	}
}

// auto_host_sni asks each host for its own name, which its certificate must have, for requests and for
// sessions.
func TestTLSNamesByHost(t *testing.T) {
	harness.NoLeaks(t)
	a := harness.NewAuthority(t)
	one, two := newNamedOrigin(t, a, false, "one.test"), newNamedOrigin(t, a, true, "two.test")
	top := harness.Topology{Clusters: []harness.Cluster{{
		Name: "origin", Origins: []harness.Origin{one, two},
		Fields: naming("", "auto_config: {}") + "\n" + harness.ClientSocket(a.Trust(), "sni: none.test, auto_host_sni: true, auto_sni_san_validation: true"),
	}}}
	log := filepath.Join(t.TempDir(), "access.log")
	c := harness.Load(t, top.YAML(log))
	c.Clusters[0].Endpoints[0].Hostname, c.Clusters[0].Endpoints[1].Hostname = "one.test", "two.test"
	p := harness.StartConf(t, c, 1, log, one, two)
	client, got := p.Dial(), map[string]int{}
	for range 4 {
		got[client.Get("/").Body]++
	}
	if got["HTTP/1.1 one.test test"] != 2 || got["HTTP/2.0 two.test test"] != 2 {
		t.Errorf("%v", got)
	}
}
