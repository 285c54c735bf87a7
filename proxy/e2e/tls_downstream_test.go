package e2e

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/proxy"
	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

const inSSL = "listener.in.ssl."

// secured is a topology's filter chain with TLS for one name.
func secured(t *testing.T, a *harness.Authority, name, common string) string {
	t.Helper()
	return harness.ServerSocket(a.Pair(t, name), common, "")
}

// sized answers /n with n bytes of a Stream, and says how many bytes the request had and their hash.
func sized(t *testing.T) *harness.Recorder {
	t.Helper()
	return harness.NewRecorder(t, func(m *harness.Message) string {
		n, _ := strconv.Atoi(strings.TrimPrefix(m.Path(), "/"))
		body := make([]byte, n)
		_, _ = new(harness.Stream).Read(body)
		return harness.Reply(string(body), fmt.Sprintf("X-Got: %d %x", len(m.Body), sha256.Sum256(m.Body)))
	})
}

func streamBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = new(harness.Stream).Read(b)
	return b
}

const tlsFormat = "%RESPONSE_CODE% %REQUESTED_SERVER_NAME% %DOWNSTREAM_TLS_VERSION% %DOWNSTREAM_TLS_CIPHER% %DOWNSTREAM_LOCAL_SUBJECT% %DOWNSTREAM_LOCAL_DNS_SAN%"

func TestTLSKeepAlive(t *testing.T) {
	harness.NoLeaks(t)
	a := harness.NewAuthority(t)
	for _, version := range []struct {
		title     string
		max       uint16
		stat, log string
	}{
		{"TLS 1.2", tls.VersionTLS12, "versions.TLSv1.2", "200 a.test TLSv1.2 ECDHE-ECDSA-AES128-GCM-SHA256 CN=a.test a.test"},
		{"TLS 1.3", tls.VersionTLS13, "versions.TLSv1.3", "200 a.test TLSv1.3 TLS_AES_128_GCM_SHA256 CN=a.test a.test"},
	} {
		t.Run(version.title, func(t *testing.T) {
			o := harness.NewRecorder(t, nil)
			p := harness.StartSecured(t, harness.Topology{Clusters: to(o), LogFormat: tlsFormat}, secured(t, a, "a.test", ""))
			config := a.Client("a.test")
			config.MaxVersion = version.max
			c := p.DialTLS(config)
			const requests = 50
			for range requests {
				if m := c.Do(get); m.Status() != 200 || string(m.Body) != "ok" {
					t.Fatalf("%s %q", m.Start, m.Body)
				}
			}
			// One record with ten requests.
			c.Send(strings.Repeat(get, 10))
			for range 10 {
				c.Do("")
			}
			if got := o.Last(t).Get("x-forwarded-proto"); got != "https" {
				t.Errorf("x-forwarded-proto: %s", got)
			}
			c.Close()
			p.WantStats(harness.Stats{
				inSSL + "handshake": 1, inSSL + "session_reused": 0, inSSL + "no_certificate": 1, inSSL + "connection_error": 0, inSSL + version.stat: 1,
				inListener + "downstream_cx_total": 1, inListener + "downstream_cx_active": 0, inHTTP + "downstream_cx_http1_total": 1, inHTTP + "downstream_rq_2xx": requests + 10,
				inHTTP + "downstream_cx_active": 0, onOrigin + "upstream_cx_total": 1,
			})
			if lines := p.AwaitLines(requests + 10); lines[0] != version.log {
				t.Errorf("log line %q, want %q", lines[0], version.log)
			}
		})
	}
}

func TestTLSBodies(t *testing.T) {
	harness.NoLeaks(t)
	a := harness.NewAuthority(t)
	for _, loops := range []int{1, 2} {
		p := harness.StartSecured(t, harness.Topology{Clusters: to(sized(t)), Loops: loops}, secured(t, a, "a.test", ""))
		client := p.HTTPS(a.Client("a.test"))
		for _, size := range []int{0, 1, 1000, 16384, 16385, 100_000, 8 << 20} {
			sent := streamBytes(size)
			for _, chunked := range []bool{false, true} {
				var body io.Reader = bytes.NewReader(sent)
				if chunked {
					body = struct{ io.Reader }{body}
				}
				r, err := client.Post(fmt.Sprintf("https://a.test/%d", size), "x/y", body)
				if err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(r.Body)
				r.Body.Close()
				if err != nil || !bytes.Equal(got, sent) {
					t.Errorf("%d bytes of %d came, %v", len(got), size, err)
				}
				if want := fmt.Sprintf("%d %x", size, sha256.Sum256(sent)); r.Header.Get("X-Got") != want {
					t.Errorf("the origin got %s, want %s", r.Header.Get("X-Got"), want)
				}
			}
		}
	}
}

// A client that stops reading makes the proxy stop reading from the origin, long before the body is
// in memory; it loses nothing.
func TestTLSSlowReader(t *testing.T) {
	harness.NoLeaks(t)
	a := harness.NewAuthority(t)
	const size, limit = 64 << 20, 64 << 10
	for _, framing := range []string{"Content-Length: " + strconv.Itoa(size), "Connection: close"} {
		t.Run(framing, func(t *testing.T) {
			var sent atomic.Int64
			o := harness.NewRaw(t, func(p *harness.Peer) {
				p.ReadHead()
				p.Send("HTTP/1.1 200 OK\r\n" + framing + "\r\n\r\n")
				_ = harness.SendStream(counting{p.TCPConn, &sent}, size)
				_ = p.CloseWrite()
				p.Drain()
			})
			p := harness.StartSecured(t, harness.Topology{Clusters: to(o), Listener: fmt.Sprintf("per_connection_buffer_limit_bytes: %d", limit)}, secured(t, a, "a.test", ""))
			c := p.DialTLS(a.Client("a.test"))
			c.Send(get)
			last, since := int64(0), time.Now()
			harness.Eventually(t, "the origin to be stopped", func() bool {
				if n := sent.Load(); n != last {
					last, since = n, time.Now()
				}
				return last > 0 && time.Since(since) > 300*time.Millisecond
			})
			if n := p.Buffered(); n > limit+slack || last == size {
				t.Errorf("%d bytes are buffered, the origin got rid of %d", n, last)
			}
			r, err := http.ReadResponse(c.Wire().In, nil)
			if err != nil {
				t.Fatal(err)
			}
			_ = c.SetDeadline(time.Now().Add(3 * harness.Patience))
			if n, err := harness.TakeStream(r.Body); n != size || err != nil {
				t.Errorf("%d bytes, %v", n, err)
			}
			c.Close()
		})
	}
}

// counting counts what w takes.
type counting struct {
	io.Writer
	n *atomic.Int64
}

func (c counting) Write(b []byte) (int, error) {
	n, err := c.Writer.Write(b)
	c.n.Add(int64(n))
	return n, err
}

func TestTLSIdleTimeoutEndsWithCloseNotify(t *testing.T) {
	harness.NoLeaks(t)
	a := harness.NewAuthority(t)
	p := harness.StartSecured(t, harness.Topology{Clusters: to(harness.NewRecorder(t, nil)), Manager: "common_http_protocol_options: { idle_timeout: 0.2s }"}, secured(t, a, "a.test", ""))
	silent, served := p.DialTLS(a.Client("a.test")), p.DialTLS(a.Client("a.test"))
	served.Do(get)
	served.WantEnd()
	silent.WantEnd()
	silent.Close()
	served.Close()
	p.WantStats(harness.Stats{inHTTP + "downstream_cx_idle_timeout": 2, inSSL + "handshake": 2, inSSL + "connection_error": 0})
}

func TestTLSDrain(t *testing.T) {
	harness.NoLeaks(t)
	a := harness.NewAuthority(t)
	p := harness.StartSecured(t, harness.Topology{Clusters: to(harness.NewRecorder(t, nil))}, secured(t, a, "a.test", ""))
	c := p.DialTLS(a.Client("a.test"))
	if m := c.Do(get); m.Get("connection") != "-" {
		t.Errorf("connection: %s before the drain", m.Get("connection"))
	}
	p.Server.DrainListeners(proxy.ListenerDrain{Graceful: true, SkipExit: true})
	if m := c.Do(get); m.Status() != 200 || m.Get("connection") != "close" {
		t.Errorf("%s, connection: %s", m.Start, m.Get("connection"))
	}
	c.WantEnd()
	c.Close()
}

// require_tls sends clients of a plain listener away, and means nothing on one with TLS.
func TestTLSRequired(t *testing.T) {
	harness.NoLeaks(t)
	a := harness.NewAuthority(t)
	top := harness.Topology{Clusters: to(harness.NewRecorder(t, nil)), VirtualHost: "require_tls: ALL"}
	plain := harness.Start(t, top)
	c := plain.Dial()
	c.Get("/x").Want(301, "").WantHeader("Location", "https://test/x")
	c.Close()
	p := harness.StartSecured(t, top, secured(t, a, "a.test", ""))
	s := p.DialTLS(a.Client("a.test"))
	if m := s.Do(get); m.Status() != 200 {
		t.Errorf("%s", m.Start)
	}
	s.Close()
}

// Sessions resume across connections, on any loop.
func TestTLSResumption(t *testing.T) {
	harness.NoLeaks(t)
	a := harness.NewAuthority(t)
	for _, row := range []struct {
		title   string
		version uint16
		fields  string
		resumes bool
	}{
		{"TLS 1.2", tls.VersionTLS12, "", true},
		{"TLS 1.3", tls.VersionTLS13, "", true},
		{"TLS 1.2 without tickets", tls.VersionTLS12, "disable_stateless_session_resumption: true", false},
		{"TLS 1.3 without tickets", tls.VersionTLS13, "disable_stateless_session_resumption: true", false},
	} {
		t.Run(row.title, func(t *testing.T) {
			p := harness.StartSecured(t, harness.Topology{Clusters: to(harness.NewRecorder(t, nil)), Loops: 2},
				harness.ServerSocket(a.Pair(t, "a.test"), "", row.fields))
			config := a.Client("a.test")
			config.MaxVersion, config.ClientSessionCache = row.version, tls.NewLRUClientSessionCache(8)
			const conns = 8
			for i := range conns {
				c := p.DialTLS(config)
				c.Do(get)
				if got, want := c.ConnectionState().DidResume, row.resumes && i > 0; got != want {
					t.Errorf("connection %d resumed: %v", i, got)
				}
				c.Close()
			}
			want := int64(0)
			if row.resumes {
				want = conns - 1
			}
			p.WantStats(harness.Stats{inSSL + "handshake": conns, inSSL + "session_reused": want})
		})
	}
}

// The name in the hello chooses the filter chain, and with it the certificate.
func TestTLSChainsByServerName(t *testing.T) {
	harness.NoLeaks(t)
	a := harness.NewAuthority(t)
	chain := func(match, name string) harness.Chain {
		return harness.Chain{Name: name, Match: harness.With(match, secured(t, a, name, "")), HTTP: true, Cluster: name}
	}
	top := harness.TCPTopology{
		ListenerFilters: inspectTLS(), LogFormat: "%FILTER_CHAIN_NAME% %REQUESTED_SERVER_NAME% %DOWNSTREAM_LOCAL_DNS_SAN%",
		Chains: []harness.Chain{
			chain("{ server_names: [a.test] }", "a.test"), chain("{ server_names: ['*.b.test'] }", "www.b.test"),
			{Name: "plain", Match: "{ transport_protocol: raw_buffer }", HTTP: true, Cluster: "plain"},
		},
	}
	for _, name := range []string{"a.test", "www.b.test", "plain"} {
		o := harness.NewRecorder(t, func(*harness.Message) string { return harness.Reply(name) })
		top.Clusters = append(top.Clusters, harness.Cluster{Name: name, Origins: []harness.Origin{o}})
	}
	p := harness.StartTCP(t, top)
	for range 3 {
		for _, name := range []string{"a.test", "www.b.test"} {
			c := p.DialTLS(a.Client(name))
			if m := c.Do(get); string(m.Body) != name || c.ConnectionState().PeerCertificates[0].Subject.CommonName != name {
				t.Errorf("asked %s, got %q of %s", name, m.Body, c.ConnectionState().PeerCertificates[0].Subject)
			}
			c.Close()
		}
	}
	c := p.Dial()
	c.Get("/").Want(200, "plain")
	c.Close()
	if _, err := p.TryTLS(a.Client("c.test")); err == nil {
		t.Error("a name without a chain was served")
	}
	p.WantStats(harness.Stats{
		"http.a.test.downstream_cx_total": 3, "http.www.b.test.downstream_cx_total": 3, "http.plain.downstream_cx_total": 1,
		inListener + "no_filter_chain_match": 1, inSSL + "handshake": 6,
	})
	lines := p.AwaitLines(7)
	if lines[0] != "a.test a.test a.test" || lines[1] != "www.b.test www.b.test www.b.test" || lines[6] != "plain - -" {
		t.Errorf("the log is %q", lines)
	}
}

// One chain with several certificates presents the one that has the name.
func TestTLSCertificateByServerName(t *testing.T) {
	harness.NoLeaks(t)
	a := harness.NewAuthority(t)
	socket := harness.ServerSocket(a.Pair(t, "a.test"), "", "")
	socket = strings.Replace(socket, "tls_certificates: [", "tls_certificates: ["+a.Pair(t, "b.test").YAML()+", ", 1)
	p := harness.StartSecured(t, harness.Topology{Clusters: to(harness.NewRecorder(t, nil))}, socket)
	for _, name := range []string{"a.test", "b.test"} {
		c := p.DialTLS(a.Client(name))
		c.Do(get)
		c.Close()
	}
	p.WantStats(harness.Stats{inSSL + "handshake": 2})
}

func TestTLSHandshakesThatFail(t *testing.T) {
	harness.NoLeaks(t)
	a := harness.NewAuthority(t)
	top := func() harness.TCPTopology {
		return harness.TCPTopology{
			Clusters: to(harness.NewRecorder(t, nil)), ListenerLog: true, LogFormat: "%DOWNSTREAM_TRANSPORT_FAILURE_REASON%",
			Chains: []harness.Chain{{HTTP: true, Match: harness.With("", "transport_socket_connect_timeout: 0.2s", secured(t, a, "a.test", ""))}},
		}
	}
	for _, row := range []struct {
		title, sent string
		finish      bool
		want        harness.Stats
		line        string
	}{
		{"plain HTTP", get, false, harness.Stats{inSSL + "connection_error": 1}, "listener TLS_error:WRONG_VERSION_NUMBER"},
		{"nothing at all", "", false, harness.Stats{inSSL + "connection_error": 0, inListener + "downstream_cx_transport_socket_connect_timeout": 1}, "listener -"},
		{"half a record", "\x16\x03\x01\x01\x00abc", false, harness.Stats{inSSL + "connection_error": 0, inListener + "downstream_cx_transport_socket_connect_timeout": 1}, "listener -"},
		{"a FIN", "", true, harness.Stats{inSSL + "connection_error": 0, inListener + "downstream_cx_transport_socket_connect_timeout": 0}, "listener TLS_error:UNEXPECTED_EOF"},
	} {
		t.Run(row.title, func(t *testing.T) {
			p := harness.StartTCP(t, top())
			c := p.Dial().Send(row.sent)
			if row.finish {
				c.Finish()
			}
			_, _ = c.Rest()
			c.Close()
			row.want[inSSL+"handshake"], row.want[inListener+"downstream_cx_active"] = 0, 0
			row.want[inListener+"downstream_cx_total"], row.want[inListener+"downstream_cx_destroy"] = 1, 1
			row.want[inHTTP+"downstream_cx_active"], row.want[inHTTP+"downstream_rq_total"] = 0, 0
			p.WantStats(row.want)
			p.WantLines(row.line)
		})
	}
	t.Run("versions", func(t *testing.T) {
		p := harness.StartSecured(t, harness.Topology{Clusters: to(harness.NewRecorder(t, nil))}, secured(t, a, "a.test", "tls_params: { tls_minimum_protocol_version: TLSv1_3 }"))
		config := a.Client("a.test")
		config.MaxVersion = tls.VersionTLS12
		if _, err := p.TryTLS(config); err == nil || !strings.Contains(err.Error(), "protocol version") {
			t.Errorf("%v", err)
		}
		p.WantStats(harness.Stats{inSSL + "connection_error": 1, inSSL + "handshake": 0, inHTTP + "downstream_cx_active": 0})
	})
}

func TestTLSWithTools(t *testing.T) {
	for _, version := range []struct{ curl, openssl string }{{"--tls-max 1.2", "-tls1_2"}, {"--tlsv1.3", "-tls1_3"}} {
		t.Run(version.openssl, func(t *testing.T) {
			curl, openssl := harness.Tool(t, "curl"), harness.Tool(t, "openssl")
			harness.NoLeaks(t)
			a := harness.NewAuthority(t)
			p := harness.StartSecured(t, harness.Topology{Clusters: to(sized(t))}, secured(t, a, "a.test", "alpn_protocols: [http/1.1]"))
			args := append(curlArgs(p, a, "a.test"), strings.Fields(version.curl)...)
			url := args[len(args)-len(strings.Fields(version.curl))-1]
			args = append(args, "--http1.1", "-w", "%{num_connects} %{http_version} %{ssl_verify_result}", "-o", t.TempDir()+"/body")
			if out := harness.Run(t, curl, append(args, url+"1000000")...); !strings.HasSuffix(out, " 1.1 0") {
				t.Errorf("curl says %q", out)
			}
			// -no_ign_eof is in opensslArgs; the session ends with our input.
			s := harness.StartSession(t, openssl, append(opensslArgs(p, a, "a.test"), version.openssl, "-crlf", "-alpn", "http/1.1")...)
			s.Send("GET /3 HTTP/1.1\nHost: a.test\nConnection: close\n\n").AwaitLine("200 OK")
			if rest, err := s.End(); err != nil {
				t.Errorf("%v after %q", err, rest)
			}
			p.WantStats(harness.Stats{inHTTP + "downstream_rq_2xx": p.Stat(inHTTP + "downstream_rq_total"), inSSL + "connection_error": 0, inHTTP + "downstream_cx_active": 0})
		})
	}
}
