package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/bench"
	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// timeoutCase is a request that runs into a timeout. After it the proxy must be at rest, with the
// client still there but for what the timeout did.
type timeoutCase struct {
	name            string
	manager, action string
	cluster         string
	origin          func(t testing.TB) harness.Origin // default: reads and never answers
	serve           func(c *harness.Peer)
	send            string

	status int
	body   string
	broken bool
	ends   bool // the proxy ends the client's connection
	line   string
	stats  harness.Stats
}

const (
	postPart   = "POST /a HTTP/1.1\r\nHost: test\r\nContent-Length: 100\r\n\r\n12345"
	partAnswer = okHead + "Content-Length: 10\r\n\r\n12345"
)

var timeoutCases = []timeoutCase{
	{
		name: "request_headers_timeout (ROUTER-44)", manager: "request_headers_timeout: 0.1s", send: "GET /a HTTP/1.1\r\nHo",
		status: 408, body: "request header timeout", ends: true, line: "408 - request_header_timeout - -",
		stats: harness.Stats{inHTTP + "downstream_rq_header_timeout": 1, inHTTP + "downstream_rq_4xx": 1, onOrigin + "upstream_cx_total": 0, inHTTP + "downstream_cx_protocol_error": 0},
	},
	{
		name: "request_headers_timeout after leading empty lines", manager: "request_headers_timeout: 0.1s", send: "\r\n\r\nG",
		status: 408, body: "request header timeout", ends: true, line: "408 - request_header_timeout - -", stats: harness.Stats{inHTTP + "downstream_rq_header_timeout": 1},
	},
	{
		name: "request_timeout (ROUTER-44)", manager: "request_timeout: 0.1s", send: postPart,
		status: 408, body: "request timeout", ends: true, line: "408 - request_overall_timeout POST /a",
		stats: harness.Stats{inHTTP + "downstream_rq_timeout": 1, onOrigin + "upstream_rq_tx_reset": 1, onOrigin + "upstream_rq_timeout": 0, onOrigin + "upstream_rq_408": 0},
	},
	{
		name: "request_timeout of a bulk upload", manager: "request_timeout: 0.3s",
		send:   fmt.Sprintf("POST /a HTTP/1.1\r\nHost: test\r\nContent-Length: %d\r\n\r\n%s", 4*bulk, strings.Repeat("x", bulk)),
		status: 408, body: "request timeout", ends: true, line: "408 - request_overall_timeout POST /a", stats: harness.Stats{inHTTP + "downstream_rq_timeout": 1},
	},
	{
		name: "request_timeout of a request whose connection is pending", manager: "request_timeout: 0.1s", cluster: "connect_timeout: 1s", origin: harness.BlackHole,
		send: postPart, status: 408, body: "request timeout", ends: true, line: "408 - request_overall_timeout POST /a",
		stats: harness.Stats{inHTTP + "downstream_rq_timeout": 1, onOrigin + "upstream_rq_cancelled": 1, onOrigin + "upstream_rq_total": 0},
	},
	{
		name: "stream_idle_timeout of an unfinished request (ROUTER-43)", manager: "stream_idle_timeout: 0.1s", send: postPart,
		status: 408, body: "stream timeout", ends: true, line: "408 SI stream_idle_timeout POST /a",
		stats: harness.Stats{inHTTP + "downstream_rq_idle_timeout": 1, onOrigin + "upstream_rq_tx_reset": 1},
	},
	{
		name: "stream_idle_timeout of a finished request (ROUTER-43)", manager: "stream_idle_timeout: 0.1s", send: getA,
		status: 504, body: "stream timeout", line: "504 SI stream_idle_timeout GET /a",
		stats: harness.Stats{inHTTP + "downstream_rq_idle_timeout": 1, onOrigin + "upstream_rq_tx_reset": 1, onOrigin + "upstream_rq_timeout": 0},
	},
	{
		name: "stream_idle_timeout in the response", manager: "stream_idle_timeout: 0.1s", serve: headThen(partAnswer, stalls), send: getA,
		status: 200, broken: true, ends: true, line: "200 SI stream_idle_timeout GET /a",
		stats: harness.Stats{inHTTP + "downstream_rq_idle_timeout": 1, inHTTP + "downstream_rq_tx_reset": 1},
	},
	{
		name: "the route's idle_timeout in place of the manager's", manager: "stream_idle_timeout: 600s", action: "idle_timeout: 0.1s", send: getA,
		status: 504, body: "stream timeout", line: "504 SI stream_idle_timeout GET /a", stats: harness.Stats{inHTTP + "downstream_rq_idle_timeout": 1},
	},
	{
		name: "the route's timeout (ROUTER-40)", action: "timeout: 0.1s", send: getA,
		status: 504, body: "upstream request timeout", line: "504 UT upstream_response_timeout GET /a",
		stats: harness.Stats{onOrigin + "upstream_rq_timeout": 1, onOrigin + "upstream_rq_504": 1, inHTTP + "downstream_rq_idle_timeout": 0},
	},
	{
		name: "the route's timeout while the connection is pending", action: "timeout: 0.1s", cluster: "connect_timeout: 1s", origin: harness.BlackHole, send: getA,
		status: 504, body: "upstream request timeout", line: "504 UT upstream_response_timeout GET /a",
		stats: harness.Stats{onOrigin + "upstream_rq_timeout": 1, onOrigin + "upstream_rq_cancelled": 1, onOrigin + "upstream_rq_total": 0},
	},
	{
		name: "x-envoy-upstream-rq-timeout-ms of an internal client", manager: "use_remote_address: true\ninternal_address_config: { cidr_ranges: [{ address_prefix: 127.0.0.0, prefix_len: 8 }] }",
		send:   "GET /a HTTP/1.1\r\nHost: test\r\nx-envoy-upstream-rq-timeout-ms: 100\r\n\r\n",
		status: 504, body: "upstream request timeout", line: "504 UT upstream_response_timeout GET /a", stats: harness.Stats{onOrigin + "upstream_rq_timeout": 1},
	},
	{
		name: "max_stream_duration of an unfinished request (ROUTER-45)", manager: "common_http_protocol_options: { max_stream_duration: 0.1s }", send: postPart,
		status: 408, body: "downstream duration timeout", ends: true, line: "408 DT max_duration_timeout POST /a",
		stats: harness.Stats{inHTTP + "downstream_rq_max_duration_reached": 1, onOrigin + "upstream_rq_tx_reset": 1},
	},
	{
		name: "max_stream_duration of a finished request (ROUTER-45)", manager: "common_http_protocol_options: { max_stream_duration: 0.1s }", send: getA,
		status: 504, body: "downstream duration timeout", line: "504 DT max_duration_timeout GET /a", stats: harness.Stats{inHTTP + "downstream_rq_max_duration_reached": 1},
	},
	{
		name: "max_stream_duration in the response, in spite of progress", manager: "common_http_protocol_options: { max_stream_duration: 0.2s }",
		serve: func(c *harness.Peer) {
			c.ReadHead()
			c.Send(okHead + "Transfer-Encoding: chunked\r\n\r\n")
			for {
				if _, err := c.Write([]byte("1\r\nx\r\n")); err != nil {
					return
				}
				time.Sleep(5 * time.Millisecond) // the pace of the body, nothing waits for it
			}
		},
		send: getA, status: 200, broken: true, ends: true, line: "200 DT max_duration_timeout GET /a",
		stats: harness.Stats{inHTTP + "downstream_rq_max_duration_reached": 1, inHTTP + "downstream_rq_tx_reset": 1},
	},
	{
		name: "the route's max_stream_duration, which takes the route timeout away (RT-77)", action: "timeout: 0.05s\nmax_stream_duration: { max_stream_duration: 0.2s }", send: getA,
		status: 504, body: "downstream duration timeout", line: "504 DT max_duration_timeout GET /a",
		stats: harness.Stats{inHTTP + "downstream_rq_max_duration_reached": 1, onOrigin + "upstream_rq_timeout": 0},
	},
	{
		name: "the earlier of two timeouts", manager: "stream_idle_timeout: 0.1s\nrequest_timeout: 60s\ncommon_http_protocol_options: { max_stream_duration: 60s }", action: "timeout: 60s", send: getA,
		status: 504, body: "stream timeout", line: "504 SI stream_idle_timeout GET /a", stats: harness.Stats{inHTTP + "downstream_rq_idle_timeout": 1, inHTTP + "downstream_rq_max_duration_reached": 0},
	},
}

func TestRequestTimeouts(t *testing.T) {
	harness.NoLeaks(t)
	t.Run("after", func(t *testing.T) {
		for _, tc := range timeoutCases {
			t.Run(tc.name, func(t *testing.T) {
				t.Parallel()
				tc.run(t)
			})
		}
	})
}

func (tc *timeoutCase) run(t *testing.T) {
	serve := tc.serve
	if serve == nil {
		serve = stalls
	}
	raw := harness.NewRaw(t, serve)
	o := harness.Origin(raw)
	if tc.origin != nil {
		o = tc.origin(t)
	}
	p := harness.Start(t, harness.Topology{
		Clusters: []harness.Cluster{{Name: "origin", Origins: []harness.Origin{o}, Fields: tc.cluster}}, Action: tc.action, Manager: tc.manager,
	})
	c := p.Dial()
	r := c.Send(tc.send).Read("GET")
	if tc.broken {
		if r.Status != tc.status || r.Err == nil {
			t.Errorf("got %v, want a broken %d", r, tc.status)
		}
	} else {
		r.Want(tc.status, tc.body)
		if r.Closes != tc.ends {
			t.Errorf("connection: close is %t, want %t", r.Closes, tc.ends)
		}
	}
	p.WantLine(tc.line)
	p.WantStats(tc.stats)
	if raw.Connections() > 0 {
		raw.WantEnd(0)
	}
	if tc.ends {
		c.WantEnd()
		c.Close()
		p.WantStats(harness.Stats{inHTTP + "downstream_cx_active": 0})
	} else {
		p.WantStats(harness.Stats{inHTTP + "downstream_cx_active": 1, inHTTP + "downstream_rq_active": 0})
	}
}

// Progress keeps a stream from being idle, and the route's timeout begins when the request is complete.
func TestTimeoutsThatDoNotApply(t *testing.T) {
	harness.NoLeaks(t)
	slowly := func(c *harness.Client, n int) {
		for range n {
			c.Send("x")
			time.Sleep(20 * time.Millisecond) // the pace of the upload, nothing waits for it
		}
	}
	t.Run("to", func(t *testing.T) {
		t.Run("a slow response with a short stream_idle_timeout", func(t *testing.T) {
			t.Parallel()
			p := harness.Start(t, with(one(harness.NewOrigin(t, "a")), "stream_idle_timeout: 0.5s"))
			if r := p.Dial().Get("/slow?bytes=50&every=20"); r.Status != 200 || len(r.Body) != 50 || r.Err != nil {
				t.Errorf("got %v", r)
			}
		})
		t.Run("a slow upload with a short stream_idle_timeout and route timeout", func(t *testing.T) {
			t.Parallel()
			top := with(one(harness.NewOrigin(t, "a")), "stream_idle_timeout: 0.5s")
			top.Action = "timeout: 0.5s"
			p := harness.Start(t, top)
			c := p.Dial().Send("POST /drain HTTP/1.1\r\nHost: test\r\nContent-Length: 50\r\n\r\n")
			slowly(c, 50)
			if r := c.Read("POST"); r.Status != 200 || !strings.HasPrefix(r.Body, "50 ") {
				t.Errorf("got %v", r)
			}
		})
		t.Run("an idle client with a request_headers_timeout and a request_timeout", func(t *testing.T) {
			t.Parallel()
			p := harness.Start(t, with(one(harness.NewOrigin(t, "a")), "request_headers_timeout: 0.6s\nrequest_timeout: 0.6s\nstream_idle_timeout: 0.6s"))
			other := p.Dial()
			idle := p.Dial()
			for range 10 {
				other.Get("/delay/100").Want(200, "delayed 100\n")
			}
			idle.Get("/").Want(200, "hello from a\n")
			p.WantStats(harness.Stats{inHTTP + "downstream_rq_header_timeout": 0, inHTTP + "downstream_rq_timeout": 0})
		})
		t.Run("a response that takes longer than the connection's idle_timeout", func(t *testing.T) {
			t.Parallel()
			p := harness.Start(t, with(one(harness.NewOrigin(t, "a")), "common_http_protocol_options: { idle_timeout: 0.5s }"))
			c := p.Dial()
			c.Get("/delay/900").Want(200, "delayed 900\n")
			c.Get("/slow?bytes=10&every=90").Want(200, string(bench.Pattern(nil, 10)))
		})
	})
}

// The timeouts of connections rather than requests, on both sides.
func TestConnectionTimeouts(t *testing.T) {
	harness.NoLeaks(t)
	start := func(t *testing.T, manager, cluster string) *harness.Proxy {
		t.Parallel()
		return harness.Start(t, harness.Topology{Manager: manager, Clusters: []harness.Cluster{{
			Name: "origin", Origins: []harness.Origin{harness.NewOrigin(t, "a")}, Fields: cluster,
		}}})
	}
	t.Run("of", func(t *testing.T) {
		t.Run("a client that never asks (HC-37)", func(t *testing.T) {
			p := start(t, "common_http_protocol_options: { idle_timeout: 0.5s }", "")
			c := p.Dial()
			if err := c.WantEnd(); err != nil {
				t.Error(err)
			}
			c.Close()
			p.WantStats(harness.Stats{inHTTP + "downstream_cx_idle_timeout": 1, inHTTP + "downstream_cx_destroy_local": 1, inHTTP + "downstream_rq_total": 0})
		})
		t.Run("a client that asks no more (HC-37)", func(t *testing.T) {
			p := start(t, "common_http_protocol_options: { idle_timeout: 0.5s }", "")
			c := p.Dial()
			c.Get("/").Want(200, "hello from a\n")
			if err := c.WantEnd(); err != nil {
				t.Error(err)
			}
			c.Close()
			p.WantStats(harness.Stats{inHTTP + "downstream_cx_idle_timeout": 1, inHTTP + "downstream_rq_completed": 1})
		})
		t.Run("an old idle client: max_connection_duration (HC-37)", func(t *testing.T) {
			p := start(t, "common_http_protocol_options: { max_connection_duration: 0.1s }", "")
			c := p.Dial()
			if err := c.WantEnd(); err != nil {
				t.Error(err)
			}
			c.Close()
			p.WantStats(harness.Stats{inHTTP + "downstream_cx_max_duration_reached": 1, inHTTP + "downstream_cx_idle_timeout": 0})
		})
		t.Run("an old busy client: max_connection_duration (HC-37)", func(t *testing.T) {
			p := start(t, "common_http_protocol_options: { max_connection_duration: 0.1s }", "")
			c := p.Dial()
			if r := c.Get("/delay/900").Want(200, "delayed 900\n"); !r.Closes {
				t.Error("the response does not announce the end of the connection")
			}
			if err := c.WantEnd(); err != nil {
				t.Error(err)
			}
			c.Close()
			p.WantStats(harness.Stats{inHTTP + "downstream_cx_max_duration_reached": 1})
		})
		t.Run("a client that does not end its connection: delayed_close_timeout (HC-38)", func(t *testing.T) {
			p := start(t, "delayed_close_timeout: 0.1s\ncommon_http_protocol_options: { max_requests_per_connection: 1 }", "")
			c := p.Dial()
			if r := c.Get("/").Want(200, "hello from a\n"); !r.Closes {
				t.Error("the response does not announce the end of the connection")
			}
			p.WantStats(harness.Stats{inHTTP + "downstream_cx_active": 0, inHTTP + "downstream_cx_delayed_close_timeout": 1, inHTTP + "downstream_cx_destroy_local": 1})
		})
		t.Run("no client when delayed_close_timeout is 0 (HC-38)", func(t *testing.T) {
			p := start(t, "delayed_close_timeout: 0s\ncommon_http_protocol_options: { max_requests_per_connection: 1 }", "")
			c := p.Dial()
			c.Get("/").Want(200, "hello from a\n")
			p.WantStats(harness.Stats{inHTTP + "downstream_cx_active": 0, inHTTP + "downstream_cx_delayed_close_timeout": 0, inHTTP + "downstream_cx_destroy_local": 1})
		})
		t.Run("a client that ends its connection in time (HC-38)", func(t *testing.T) {
			p := start(t, "delayed_close_timeout: 60s\ncommon_http_protocol_options: { max_requests_per_connection: 1 }", "")
			c := p.Dial()
			c.Get("/")
			c.Close()
			p.WantStats(harness.Stats{inHTTP + "downstream_cx_active": 0, inHTTP + "downstream_cx_delayed_close_timeout": 0})
		})
		t.Run("a client that does not read its last response: delayed_close_timeout (HC-38)", func(t *testing.T) {
			p := start(t, "delayed_close_timeout: 0.1s\ncommon_http_protocol_options: { max_requests_per_connection: 1 }", "")
			c := p.Dial()
			_ = c.Conn.SetReadBuffer(4096)
			c.Send("GET /chunked/900000 HTTP/1.1\r\nHost: test\r\n\r\n")
			p.WantStats(harness.Stats{inHTTP + "downstream_cx_active": 0, inHTTP + "downstream_cx_delayed_close_timeout": 1, inHTTP + "downstream_rq_2xx": 1})
			c.Close()
		})
		t.Run("an idle upstream connection (the cluster's idle_timeout)", func(t *testing.T) {
			p := start(t, "", harness.ProtocolOptions("{ idle_timeout: 0.1s }"))
			c := p.Dial()
			c.Get("/").Want(200, "hello from a\n")
			p.WantStats(harness.Stats{onOrigin + "upstream_cx_active": 0, onOrigin + "upstream_cx_idle_timeout": 1, onOrigin + "upstream_cx_destroy_local": 1})
			c.Get("/delay/900").Want(200, "delayed 900\n")
			p.WantStats(harness.Stats{onOrigin + "upstream_cx_total": 2, onOrigin + "upstream_cx_idle_timeout": 2, onOrigin + "upstream_cx_destroy_with_active_rq": 0})
		})
		t.Run("an old upstream connection (the cluster's max_connection_duration)", func(t *testing.T) {
			p := start(t, "", harness.ProtocolOptions("{ max_connection_duration: 0.1s }"))
			c := p.Dial()
			c.Get("/delay/900").Want(200, "delayed 900\n")
			p.WantStats(harness.Stats{onOrigin + "upstream_cx_active": 0, onOrigin + "upstream_cx_max_duration_reached": 1, onOrigin + "upstream_cx_destroy_with_active_rq": 0})
			c.Get("/").Want(200, "hello from a\n")
			p.WantStats(harness.Stats{onOrigin + "upstream_cx_total": 2, onOrigin + "upstream_cx_max_duration_reached": 2, onOrigin + "upstream_cx_active": 0})
		})
	})
}
