package e2e

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// A client that sends requests and reads no answers gets no more of them than its buffer holds, and all
// of them once it reads (HC-29, HC-56).
func TestPipeliningWithoutReadingIsBounded(t *testing.T) {
	harness.NoLeaks(t)
	const requests, answer, limit = 8000, 4000, 64 << 10
	p := harness.Start(t, harness.Topology{
		Listener: fmt.Sprintf("per_connection_buffer_limit_bytes: %d", limit),
		Routes:   "- " + direct("prefix: /", strings.Repeat("x", answer)),
	})
	c := p.Dial()
	if err := c.Conn.SetReadBuffer(64 << 10); err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.WriteString(c.Conn, strings.Repeat(get, requests)) }()
	// It has stopped when nothing changes any more.
	for last, same := int64(-1), 0; same < 20; {
		if n := p.Buffered(); n > 4*limit {
			t.Errorf("%d bytes are buffered, the limit is %d", n, limit)
			break
		}
		if n := p.Stat(inHTTP + "downstream_rq_total"); n != last {
			last, same = n, 0
		} else {
			same++
		}
		time.Sleep(5 * time.Millisecond) // between two looks
	}
	w := harness.NewWire(t, c.Conn)
	for i := range requests {
		if m := w.Read(); len(m.Body) != answer {
			t.Fatalf("answer %d is %s", i, m.Head())
		}
	}
	p.WantStats(harness.Stats{inHTTP + "downstream_rq_2xx": requests})
	c.Close()
}

// A stream's clocks begin with the first byte of its head (ROUTER-43 to 45), and none of the
// connection's own takes their place.
func TestHeadsThatAreNotFinished(t *testing.T) {
	harness.NoLeaks(t)
	const part = "GET /a HTTP/1.1\r\nHo"
	t.Run("with", func(t *testing.T) {
		for _, tc := range []struct{ name, manager, body, line, stat string }{
			{"stream_idle_timeout", "stream_idle_timeout: 0.1s", "stream timeout", "408 SI stream_idle_timeout - -", "downstream_rq_idle_timeout"},
			{"request_timeout", "request_timeout: 0.1s", "request timeout", "408 - request_overall_timeout - -", "downstream_rq_timeout"},
			{
				"max_stream_duration", "common_http_protocol_options: { max_stream_duration: 0.1s }", "downstream duration timeout",
				"408 DT max_duration_timeout - -", "downstream_rq_max_duration_reached",
			},
			{
				"request_headers_timeout after max_connection_duration", "request_headers_timeout: 0.2s\ncommon_http_protocol_options: { max_connection_duration: 0.1s }",
				"request header timeout", "408 - request_header_timeout - -", "downstream_rq_header_timeout",
			},
			{
				"request_headers_timeout after idle_timeout", "request_headers_timeout: 0.3s\ncommon_http_protocol_options: { idle_timeout: 0.1s }",
				"request header timeout", "408 - request_header_timeout - -", "downstream_rq_header_timeout",
			},
			{
				"stream_idle_timeout after idle_timeout", "stream_idle_timeout: 0.3s\ncommon_http_protocol_options: { idle_timeout: 0.1s }",
				"stream timeout", "408 SI stream_idle_timeout - -", "downstream_rq_idle_timeout",
			},
		} {
			t.Run(tc.name, func(t *testing.T) {
				t.Parallel()
				p := harness.Start(t, harness.Topology{Manager: tc.manager})
				c := p.Dial().Send(part)
				if r := c.Read("GET").Want(408, tc.body); !r.Closes {
					t.Error("the answer does not announce the end of the connection")
				}
				c.WantEnd()
				c.Close()
				p.WantLine(tc.line)
				p.WantStats(harness.Stats{
					inHTTP + tc.stat: 1, inHTTP + "downstream_rq_total": 1, inHTTP + "downstream_rq_4xx": 1,
					inHTTP + "downstream_cx_idle_timeout": 0, inHTTP + "downstream_cx_active": 0,
				})
			})
		}
	})
}

// A byte now and then keeps a head from being idle.
func TestASlowHeadIsNotIdle(t *testing.T) {
	harness.NoLeaks(t)
	p := harness.Start(t, harness.Topology{Manager: "stream_idle_timeout: 0.5s", Routes: "- " + direct("prefix: /", "x")})
	c := p.Dial()
	for _, b := range get {
		c.Send(string(b))
		time.Sleep(30 * time.Millisecond) // the pace of the head, nothing waits for it
	}
	c.Read("GET").Want(200, "x")
	c.Close()
}

// An empty line after a request begins no other one (HC-7): the connection is idle, and may end.
func TestAnEmptyLineBeginsNoRequest(t *testing.T) {
	harness.NoLeaks(t)
	const post = "POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 1\r\n\r\nx\r\n"
	start := func(t *testing.T, manager string) (*harness.Proxy, *harness.Client) {
		t.Helper()
		p := harness.Start(t, with(one(harness.NewOrigin(t, "a")), manager))
		c := p.Dial().Send(post)
		c.Read("POST").Want(200, "x")
		return p, c
	}
	t.Run("and the client leaves", func(t *testing.T) {
		p, c := start(t, "")
		c.Send("\r\n").Close()
		p.WantQuiet()
		p.WantStats(harness.Stats{inHTTP + "downstream_rq_total": 1, inHTTP + "downstream_rq_rx_reset": 0})
		p.WantLines("200 - via_upstream POST /echo")
	})
	t.Run("and the client is idle", func(t *testing.T) {
		p, c := start(t, "common_http_protocol_options: { idle_timeout: 0.1s }")
		c.WantEnd()
		p.WantStats(harness.Stats{inHTTP + "downstream_cx_idle_timeout": 1, inHTTP + "downstream_rq_total": 1})
		c.Close()
	})
	t.Run("and a request follows", func(t *testing.T) {
		_, c := start(t, "")
		c.Send("\r").Send("\n").Get("/").Want(200, "hello from a\n")
		c.Close()
	})
}

// What a refused client has sent besides is read and dropped, so that no RST overtakes the answer
// (RFC 9112 9.6), even when it announced the end of the connection itself.
func TestARefusedRequestThatClosesIsReadToTheEnd(t *testing.T) {
	harness.NoLeaks(t)
	p := harness.Start(t, harness.Topology{})
	rest := strings.Repeat("x", 1<<20)
	for range 20 {
		c := p.Dial()
		c.Send("POST / HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n" + rest)
		c.Read("POST").Want(400, "Bad Request")
		if err := c.WantEnd(); err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
}

// A bulk response to a client whose pipelined requests fill what may wait, and who resets: nobody reads
// from it, so only the failing write tells.
func TestABulkResponseToADeadClientWithFullInput(t *testing.T) {
	harness.NoLeaks(t)
	goOn := make(chan struct{})
	const size = 64 << 20
	o := harness.NewRaw(t, func(c *harness.Peer) {
		c.ReadHead()
		c.Send(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", size))
		c.Send(strings.Repeat("x", 1<<20))
		<-goOn
		c.Send(strings.Repeat("x", size-1<<20))
		_, _ = io.Copy(io.Discard, c)
	})
	p := harness.Start(t, with(one(o), "max_request_headers_kb: 1"))
	c := p.Dial().Send("GET / HTTP/1.1\r\nHost: test\r\n\r\n" + strings.Repeat(get, 2000))
	h := c.ReadHead("GET")
	if _, err := io.ReadFull(h.Reader(), make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	c.Reset()
	close(goOn)
	p.WantQuiet()
	p.WantStats(harness.Stats{inHTTP + "downstream_rq_rx_reset": 1, onOrigin + "upstream_rq_active": 0, onOrigin + "upstream_rq_200": 0})
}

// A request without Host is valid HTTP that cannot be routed (routing.md 1, step 5), and HTTP/1.0 is no
// error of the protocol either.
func TestRefusalsThatAreNoProtocolErrors(t *testing.T) {
	harness.NoLeaks(t)
	p := harness.Start(t, harness.Topology{})
	for _, row := range []struct {
		request string
		status  int
		body    string
	}{
		{"GET / HTTP/1.1\r\n\r\n", 400, ""},
		{"GET / HTTP/1.0\r\nHost: test\r\n\r\n", 426, "Upgrade Required"},
	} {
		c := p.Dial().Send(row.request)
		c.Read("GET").Want(row.status, row.body)
		c.WantEnd()
		c.Close()
	}
	p.WantLines("400 - missing_host_header GET /", "426 DPE low_version GET /")
	p.WantStats(harness.Stats{inHTTP + "downstream_cx_protocol_error": 0, inHTTP + "downstream_rq_4xx": 2})
}

// The gauges of a connection go down where they went up, whatever the listener's stat_prefix is by then.
func TestALiveConnectionKeepsItsStatPrefix(t *testing.T) {
	harness.NoLeaks(t)
	top := harness.Topology{Routes: "- " + direct("prefix: /", "x")}
	p := harness.Start(t, top)
	c := p.Dial()
	c.Get("/").Want(200, "x")
	yaml := strings.Replace(top.YAML(t.TempDir()+"/log"), "          stat_prefix: in\n", "          stat_prefix: out\n", 1)
	if err := p.Server.Apply(harness.Load(t, yaml)); err != nil {
		t.Fatal(err)
	}
	c.Get("/").Want(200, "x")
	p.WantStats(harness.Stats{
		inHTTP + "downstream_cx_active": 1, "http.out.downstream_cx_active": 0, inHTTP + "downstream_rq_total": 1, "http.out.downstream_rq_total": 1,
	})
	c.Close()
	p.WantStats(harness.Stats{
		inHTTP + "downstream_cx_active": 0, "http.out.downstream_cx_active": 0, inHTTP + "downstream_cx_http1_active": 0, "http.out.downstream_cx_http1_active": 0,
		inHTTP + "downstream_cx_destroy": 1, "http.out.downstream_cx_destroy": 0,
	})
}

// The cluster is charged with what went wrong, not with what the client was told (ROUTER-82).
func TestMappedRepliesChargeTheClusterWithTheCause(t *testing.T) {
	harness.NoLeaks(t)
	p := harness.Start(t, harness.Topology{Manager: `
local_reply_config:
  mappers:
  - filter: { status_code_filter: { comparison: { op: EQ, value: { default_value: 503, runtime_key: none } } } }
    status_code: 418
`})
	if m := ask(t, p, "h", "/"); m.Status() != 418 {
		t.Errorf("got %s", m.Head())
	}
	p.WantStats(harness.Stats{onOrigin + "upstream_rq_503": 1, onOrigin + "upstream_rq_418": 0, inHTTP + "downstream_rq_4xx": 1})
	if m := ask(t, p, "h", "/", "Content-Type: application/grpc"); m.Status() != 200 {
		t.Errorf("got %s", m.Head())
	}
	p.WantStats(harness.Stats{onOrigin + "upstream_rq_503": 2, onOrigin + "upstream_rq_200": 0, inHTTP + "downstream_rq_2xx": 1})
}

// Interim responses are bytes on the wire too.
func TestWireBytesCountInterimResponses(t *testing.T) {
	harness.NoLeaks(t)
	const interim = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"
	const final = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
	o := harness.NewRaw(t, func(c *harness.Peer) {
		c.ReadHead()
		c.Send(interim + final)
		_, _ = io.Copy(io.Discard, c)
	})
	top := one(o)
	top.LogFormat = "%DOWNSTREAM_WIRE_BYTES_SENT% %DOWNSTREAM_HEADER_BYTES_SENT% %UPSTREAM_WIRE_BYTES_RECEIVED% %UPSTREAM_HEADER_BYTES_RECEIVED%"
	p := harness.Start(t, top)
	c := p.Dial().Send("POST /a HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx")
	_ = c.Conn.SetReadDeadline(time.Now().Add(harness.Patience))
	var got bytes.Buffer
	for !strings.HasSuffix(got.String(), "\r\n\r\nok") {
		if _, err := io.CopyN(&got, c.Conn, 1); err != nil {
			t.Fatalf("%v after %q", err, got.String())
		}
	}
	if !strings.Contains(got.String(), " 100 ") || !strings.Contains(got.String(), " 103 ") {
		t.Fatalf("got %q", got.String())
	}
	c.Close()
	hundred := len("HTTP/1.1 100 Continue\r\n\r\n")
	p.WantLines(fmt.Sprintf("%d %d %d %d", got.Len(), got.Len()-2-hundred, len(interim+final), len(interim+final)-2))
}
