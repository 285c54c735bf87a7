package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/bench/origin"
	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// http1Cluster is a cluster's HTTP/1 options, for Cluster.Fields.
func http1Cluster(fields string) string {
	const options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
	return "typed_extension_protocol_options: { " + options + ": { \"@type\": type.googleapis.com/" + options +
		", explicit_http_config: { http_protocol_options: { " + fields + " } } } }"
}

const get = "GET / HTTP/1.1\r\nHost: test\r\n\r\n"

// HC-36, HC-46, HC-55: 1.0 clients get no chunks and keep their connection only when they ask.
func TestHTTP10Clients(t *testing.T) {
	harness.NoLeaks(t)
	top := one(harness.NewOrigin(t, "a"))
	top.Manager = "http_protocol_options: { accept_http_10: true, default_host_for_http_10: fallback.test }"
	p := harness.Start(t, top)
	for _, row := range []struct {
		title, request, framing string
		body                    int
		connection              string
		closes                  bool
	}{
		{"closes by default", "GET /bytes/10 HTTP/1.0\r\nHost: a\r\n\r\n", "length", 10, "close", true},
		{"keeps the connection when asked", "GET /bytes/10 HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n", "length", 10, "keep-alive", false},
		{"has a default host", "GET /bytes/10 HTTP/1.0\r\n\r\n", "length", 10, "close", true},
		{"gets unknown lengths until close", "GET /chunked/100000 HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n", "close", 100000, "close", true},
	} {
		t.Run(row.title, func(t *testing.T) {
			w := harness.DialWire(t, "tcp", p.Addr)
			m := w.Do(row.request)
			if m.Status() != 200 || m.Framing != row.framing || len(m.Body) != row.body || m.Get("connection") != row.connection {
				t.Errorf("got %s framing %s, %d bytes", m.Head(), m.Framing, len(m.Body))
			}
			if row.closes {
				w.WantClosed()
			} else if m := w.Do(row.request); m.Status() != 200 {
				t.Errorf("second answer %s", m.Head())
			}
		})
	}
}

// HC-4: without accept_http_10 the answer is 426, and the end.
func TestHTTP10Refused(t *testing.T) {
	harness.NoLeaks(t)
	p := harness.Start(t, one(harness.NewOrigin(t, "a")))
	w := harness.DialWire(t, "tcp", p.Addr)
	if m := w.Do("GET / HTTP/1.0\r\nHost: a\r\n\r\n"); m.Status() != 426 || m.Get("connection") != "close" {
		t.Errorf("got %s", m.Head())
	}
	w.WantClosed()
	p.WantLine("426 DPE low_version")
}

// HC-29: answers come in order, whatever mixture of methods, bodies and local replies was sent ahead.
func TestPipelining(t *testing.T) {
	harness.NoLeaks(t)
	// It answers when a request is complete: an earlier answer would end the connection (HC-30).
	o := harness.NewRecorder(t, func(m *harness.Message) string {
		n := 0
		if _, err := fmt.Sscanf(m.Path(), "/bytes/%d", &n); err == nil && m.Start[0] == 'H' {
			return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", n)
		} else if err == nil {
			return harness.Reply(strings.Repeat("x", n))
		}
		if m.Framing == "chunked" {
			return "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks(string(m.Body), 2)
		}
		return harness.Reply(string(m.Body))
	})
	top := one(o)
	top.Routes = "- { match: { path: /own }, direct_response: { status: 203, body: { inline_string: mine } } }\n" +
		"- { match: { prefix: / }, route: { cluster: origin } }"
	p := harness.Start(t, top)
	const rounds = 40
	var script strings.Builder
	for i := range rounds {
		fmt.Fprintf(&script, "GET /bytes/%d HTTP/1.1\r\nHost: a\r\n\r\n", i*1000)
		script.WriteString("HEAD /bytes/9 HTTP/1.1\r\nHost: a\r\n\r\n")
		fmt.Fprintf(&script, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n%03d", i)
		script.WriteString("GET /own HTTP/1.1\r\nHost: a\r\n\r\n")
		fmt.Fprintf(&script, "\r\nPOST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n%03d\r\n0\r\n\r\n", i)
	}
	w := harness.DialWire(t, "tcp", p.Addr)
	sent := make(chan error, 1)
	go func() { sent <- w.TrySend(script.String()) }()
	for i := range rounds {
		if m := w.Read(); len(m.Body) != i*1000 {
			t.Fatalf("round %d: %d bytes", i, len(m.Body))
		}
		if m := w.ReadHead(); m.Get("content-length") != "9" {
			t.Fatalf("round %d: HEAD got %s", i, m.Head())
		}
		if m := w.Read(); string(m.Body) != fmt.Sprintf("%03d", i) {
			t.Fatalf("round %d: echo %q", i, m.Body)
		}
		if m := w.Read(); m.Status() != 203 || string(m.Body) != "mine" {
			t.Fatalf("round %d: %s", i, m.Head())
		}
		if m := w.Read(); string(m.Body) != fmt.Sprintf("%03d", i) || m.Framing != "chunked" {
			t.Fatalf("round %d: chunked echo %q", i, m.Body)
		}
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	p.WantStats(harness.Stats{
		"http.in.downstream_cx_total": 1, "http.in.downstream_rq_total": 5 * rounds, "http.in.downstream_rq_2xx": 5 * rounds,
		"cluster.origin.upstream_rq_total": 4 * rounds, "cluster.origin.upstream_cx_total": 1,
	})
}

// HC-45: what has no body keeps the connection, and a length only where it may be.
func TestResponsesWithoutBody(t *testing.T) {
	harness.NoLeaks(t)
	o := harness.NewRecorder(t, func(m *harness.Message) string {
		switch m.Path() {
		case "/204":
			return "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"
		case "/304":
			return "HTTP/1.1 304 Not Modified\r\nContent-Length: 1234\r\nETag: \"x\"\r\n\r\n"
		case "/chunked":
			return "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
		}
		return "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n"
	})
	p := harness.Start(t, one(o))
	w := harness.DialWire(t, "tcp", p.Addr)
	for _, row := range []struct {
		method, path string
		status       int
		length       string
	}{
		{"HEAD", "/", 200, "99"},
		{"GET", "/204", 204, "-"},
		{"GET", "/304", 304, "1234"},
		{"HEAD", "/chunked", 200, "-"},
		{"HEAD", "/", 200, "99"},
	} {
		w.Send(row.method + " " + row.path + " HTTP/1.1\r\nHost: a\r\n\r\n")
		m := w.ReadHead()
		if m.Status() != row.status || m.Get("content-length") != row.length || m.Get("transfer-encoding") != "-" {
			t.Errorf("%s %s: %s", row.method, row.path, m.Head())
		}
	}
	if total, _ := o.Connections(); total != 1 {
		t.Errorf("%d upstream connections", total)
	}
}

// HC-39: 100 Continue is the proxy's own, or with proxy_100_continue the origin's.
func TestExpect100Continue(t *testing.T) {
	harness.NoLeaks(t)
	const head = "POST /x HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"
	t.Run("answered by the proxy", func(t *testing.T) {
		o := harness.NewRecorder(t, nil)
		p := harness.Start(t, one(o))
		w := harness.DialWire(t, "tcp", p.Addr)
		if m := w.Do(head); m.Status() != 100 {
			t.Fatalf("got %s", m.Head())
		}
		if m := w.Do("ping"); m.Status() != 200 {
			t.Fatalf("got %s", m.Head())
		}
		if got := o.Last(t); got.Get("expect") != "-" || string(got.Body) != "ping" {
			t.Errorf("the origin saw %s%s", got.Head(), got.Body)
		}
	})
	t.Run("answered by the origin", func(t *testing.T) {
		o := harness.NewScripted(t, origin.Script{
			origin.ReadHead(), origin.Send("HTTP/1.1 100 Continue\r\n\r\n"), origin.ReadHead(),
			origin.Respond("done"),
		})
		p := harness.Start(t, with(one(o), "proxy_100_continue: true"))
		w := harness.DialWire(t, "tcp", p.Addr)
		if m := w.Do(head[:len(head)-len("4\r\n\r\n")] + "9\r\n\r\n"); m.Status() != 100 {
			t.Fatalf("got %s", m.Head())
		}
		if m := w.Do("hello\r\n\r\n"); m.Status() != 200 || string(m.Body) != "done" {
			t.Fatalf("got %s", m.Head())
		}
		if got := o.Received()[0]; !strings.Contains(got, "\r\nexpect: 100-continue\r\n") || !strings.HasSuffix(got, "\r\n\r\nhello\r\n\r\n") {
			t.Errorf("the origin saw %q", got)
		}
	})
	t.Run("refused by the origin", func(t *testing.T) {
		o := harness.NewScripted(t, origin.Script{origin.ReadHead(), origin.Send("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n"), origin.Stall()})
		p := harness.Start(t, with(one(o), "proxy_100_continue: true"))
		w := harness.DialWire(t, "tcp", p.Addr)
		if m := w.Do(head); m.Status() != 417 || m.Get("connection") != "close" {
			t.Fatalf("got %s", m.Head())
		}
		w.WantClosed()
	})
}

// HC-40: 102, 103 and 104 pass, 100 does not, and a 1.0 client gets none.
func TestInformationalResponses(t *testing.T) {
	harness.NoLeaks(t)
	o := harness.NewRecorder(t, func(*harness.Message) string {
		return "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: x\r\nX: y\r\n\r\n" +
			"HTTP/1.1 199 What\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </b>\r\n\r\n" + harness.Reply("end")
	})
	p := harness.Start(t, with(one(o), "http_protocol_options: { accept_http_10: true }"))
	w := harness.DialWire(t, "tcp", p.Addr)
	w.Send(get)
	for _, want := range []string{"HTTP/1.1 102 Processing\n", "HTTP/1.1 103 Early Hints\nlink: </a>\n", "HTTP/1.1 103 Early Hints\nlink: </b>\n"} {
		if got := w.Read(); got.Head() != want {
			t.Errorf("got %q, want %q", got.Head(), want)
		}
	}
	if m := w.Read(); m.Status() != 200 || string(m.Body) != "end" {
		t.Errorf("got %s", m.Head())
	}
	w.Close()
	w = harness.DialWire(t, "tcp", p.Addr)
	if m := w.Do("GET / HTTP/1.0\r\nHost: a\r\n\r\n"); m.Status() != 200 {
		t.Errorf("the 1.0 client got %s", m.Head())
	}
}

// HC-13: trailers pass only where enable_trailers lets them in and out.
func TestTrailers(t *testing.T) {
	harness.NoLeaks(t)
	const request = "POST / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nping\r\n0\r\nX-Sum: 1\r\nX-More: 2\r\n\r\n"
	for _, row := range []struct {
		title             string
		manager, cluster  bool
		upstream, downish int
	}{
		{"off", false, false, 0, 0},
		{"on", true, true, 2, 1},
		{"client side only", true, false, 0, 0},
		{"origin side only", false, true, 0, 0},
	} {
		t.Run(row.title, func(t *testing.T) {
			o := harness.NewRecorder(t, func(*harness.Message) string {
				return "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npong\r\n0\r\nX-Back: 3\r\n\r\n"
			})
			top := one(o)
			top.Manager = fmt.Sprintf("http_protocol_options: { enable_trailers: %t }", row.manager)
			top.Clusters[0].Fields = http1Cluster(fmt.Sprintf("enable_trailers: %t", row.cluster))
			p := harness.Start(t, top)
			w := harness.DialWire(t, "tcp", p.Addr)
			for range 2 {
				m := w.Do(request)
				if string(m.Body) != "pong" || len(m.Trailers) != row.downish {
					t.Errorf("the client got %q and trailers %v", m.Body, m.Trailers)
				}
				if got := o.Last(t); string(got.Body) != "ping" || len(got.Trailers) != row.upstream {
					t.Errorf("the origin got %q and trailers %v", got.Body, got.Trailers)
				}
			}
		})
	}
}

// The response may be on its way when the request's trailers come: neither may get the other's.
func TestTrailersOfOneSideStayThere(t *testing.T) {
	harness.NoLeaks(t)
	const head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\npo\r\n"
	o := harness.NewScripted(t, origin.Script{origin.ReadHead(), origin.Send(head), origin.ReadHead(), origin.Send("2\r\nng\r\n0\r\n\r\n"), origin.Stall()})
	top := one(o)
	top.Manager = "http_protocol_options: { enable_trailers: true }"
	top.Clusters[0].Fields = http1Cluster("enable_trailers: true")
	p := harness.Start(t, top)
	w := harness.DialWire(t, "tcp", p.Addr)
	w.Send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
	if m := w.ReadStart(); m.Status() != 200 {
		t.Fatalf("got %s", m.Head())
	}
	w.Send("4\r\nping\r\n0\r\nX-Sum: 1\r\n\r\n")
	const rest = "2\r\npo\r\n2\r\nng\r\n0\r\n\r\n"
	got := make([]byte, len(rest))
	if _, err := io.ReadFull(w.In, got); err != nil || string(got) != rest {
		t.Errorf("the client got %q, %v", got, err)
	}
	if seen := o.Received()[0]; !strings.Contains(seen, "x-sum: 1\r\n") {
		t.Errorf("the origin got %q", seen)
	}
}

// HC-51, HC-52: letter case of field names, both ways, and the reason phrase.
func TestHeaderCase(t *testing.T) {
	harness.NoLeaks(t)
	const proper = "header_key_format: { proper_case_words: {} }"
	preserve := func(phrase bool) string {
		return fmt.Sprintf("header_key_format: { stateful_formatter: { name: preserve_case, typed_config: { \"@type\": "+
			"type.googleapis.com/envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig, forward_reason_phrase: %t } } }", phrase)
	}
	for _, row := range []struct {
		title, manager, cluster string
		start, down, up         string
	}{
		{"lower by default", "", "", "HTTP/1.1 200 OK", "x-bACk", "x-ForTH"},
		{"proper words", proper, proper, "HTTP/1.1 200 OK", "X-Back", "X-Forth"},
		{"preserved", preserve(false), preserve(false), "HTTP/1.1 200 OK", "x-bACk", "x-ForTH"},
		{"preserved with the phrase", preserve(true), preserve(true), "HTTP/1.1 200 Fine", "x-bACk", "x-ForTH"},
	} {
		t.Run(row.title, func(t *testing.T) {
			o := harness.NewRecorder(t, func(*harness.Message) string {
				return "HTTP/1.1 200 Fine\r\nx-bACk: 1\r\nContent-Length: 0\r\n\r\n"
			})
			top := one(o)
			if row.manager != "" {
				top.Manager = "http_protocol_options: { " + row.manager + " }"
			}
			if row.cluster != "" {
				top.Clusters[0].Fields = http1Cluster(row.cluster)
			}
			p := harness.Start(t, top)
			m := harness.DialWire(t, "tcp", p.Addr).Do("GET / HTTP/1.1\r\nHost: a\r\nx-ForTH: 1\r\n\r\n")
			down, up := row.down, row.up
			if row.manager == "" {
				down, up = strings.ToLower(down), strings.ToLower(up)
			}
			if m.Start != row.start || !strings.Contains(m.Head(), "\n"+down+": 1\n") {
				t.Errorf("the client got %s", m.Head())
			}
			if got := o.Last(t).Head(); !strings.Contains(got, "\n"+up+": 1\n") {
				t.Errorf("the origin got %s", got)
			}
		})
	}
}

// HC-35, RT-102: what belongs to one connection stays on it.
func TestHopByHopFieldsStay(t *testing.T) {
	harness.NoLeaks(t)
	o := harness.NewRecorder(t, func(*harness.Message) string {
		return "HTTP/1.1 200 OK\r\nConnection: keep-alive, x-hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nProxy-Connection: a\r\nX-End: 1\r\nContent-Length: 0\r\n\r\n"
	})
	p := harness.Start(t, one(o))
	m := harness.DialWire(t, "tcp", p.Addr).Do("GET / HTTP/1.1\r\nHost: a\r\nConnection: x-mine, te\r\nX-Mine: 1\r\nKeep-Alive: 1\r\nProxy-Connection: x\r\nTE: trailers, gzip\r\nX-End: 2\r\n\r\n")
	if got := m.Head("server", "date", "x-envoy-upstream-service-time"); got != "HTTP/1.1 200 OK\nx-end: 1\ncontent-length: 0\n" {
		t.Errorf("the client got %q", got)
	}
	if got := o.Last(t).Head("x-request-id", "x-forwarded-proto", "x-envoy-expected-rq-timeout-ms"); got != "GET / HTTP/1.1\nhost: a\nte: trailers\nx-end: 2\nconnection: te\n" {
		t.Errorf("the origin got %q", got)
	}
}

// Origins of other people.
func TestOrigins(t *testing.T) {
	harness.NoLeaks(t)
	t.Run("net/http", func(t *testing.T) {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Host", r.Host)
			fmt.Fprintf(w, "%s %s", r.Method, r.URL)
		}))
		defer server.Close()
		p := harness.Start(t, one(harness.At(server.Listener.Addr().String())))
		m := harness.DialWire(t, "tcp", p.Addr).Do("GET /a?b=c HTTP/1.1\r\nHost: name.test\r\n\r\n")
		if string(m.Body) != "GET /a?b=c" || m.Get("x-host") != "name.test" {
			t.Errorf("got %s%s", m.Head(), m.Body)
		}
		server.Close()
	})
	t.Run("nginx", func(t *testing.T) {
		o := startNginx(t)
		p := harness.Start(t, one(o))
		w := harness.DialWire(t, "tcp", p.Addr)
		for range 3 {
			if m := w.Do("GET /file HTTP/1.1\r\nHost: a\r\n\r\n"); m.Status() != 200 || len(m.Body) != 300000 || m.Get("server") != "envoy" {
				t.Fatalf("got %s and %d bytes", m.Head(), len(m.Body))
			}
			if m := w.Do("GET /file HTTP/1.1\r\nHost: a\r\nRange: bytes=5-9\r\n\r\n"); m.Status() != 206 || string(m.Body) != "xxxxx" {
				t.Fatalf("got %s", m.Head())
			}
			if m := w.Do("GET /none HTTP/1.1\r\nHost: a\r\n\r\n"); m.Status() != 404 {
				t.Fatalf("got %s", m.Head())
			}
		}
		w.Send("HEAD /file HTTP/1.1\r\nHost: a\r\n\r\n")
		if m := w.ReadHead(); m.Get("content-length") != "300000" {
			t.Fatalf("got %s", m.Head())
		}
		p.WantStats(harness.Stats{"cluster.origin.upstream_cx_total": 1, "cluster.origin.upstream_rq_total": 10})
	})
}

// nginx is an nginx with one file.
type nginx struct {
	addr string
	cmd  *exec.Cmd
	done chan struct{}
}

func (n *nginx) Address() string { return n.addr }

func (n *nginx) Stop() {
	select {
	case <-n.done:
	default:
		_ = n.cmd.Process.Signal(syscall.SIGTERM)
		<-n.done
	}
}

func startNginx(t *testing.T) *nginx {
	t.Helper()
	path := harness.Tool(t, "nginx")
	dir := t.TempDir()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &nginx{addr: free.Addr().String(), done: make(chan struct{})}
	_ = free.Close()
	config := fmt.Sprintf(`daemon off; master_process off; worker_processes 1; pid %[1]s/pid; error_log %[1]s/error.log;
events { worker_connections 128; }
http { access_log off; client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
server { listen %[2]s; location / { root %[1]s/www; } } }`, dir, n.addr)
	if err := os.Mkdir(filepath.Join(dir, "www"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"nginx.conf": config, "www/file": strings.Repeat("x", 300000)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	n.cmd = exec.Command(path, "-p", dir, "-c", filepath.Join(dir, "nginx.conf"), "-e", filepath.Join(dir, "error.log"))
	if err := n.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = n.cmd.Wait(); close(n.done) }()
	t.Cleanup(n.Stop)
	harness.Eventually(t, "nginx listens", func() bool {
		c, err := net.DialTimeout("tcp", n.addr, time.Second)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	return n
}
