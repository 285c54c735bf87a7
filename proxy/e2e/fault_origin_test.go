package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// Scopes of stats.
const (
	inHTTP   = "http.in."
	onOrigin = "cluster.origin."
)

// resetBody begins the body of replies about upstream connections (router.md 10).
const resetBody = "upstream connect error or disconnect/reset before headers. reset reason: "

// originFault is what an origin does with its first connection; later ones are served well. The
// client sends send, then a second request, on the same connection when that is still there.
type originFault struct {
	name    string
	serve   func(c *harness.Peer)
	origin  func(t testing.TB) harness.Origin // instead of serve; the second request meets it too
	send    string
	action  string
	manager string
	cluster string

	status int
	body   string
	broken bool   // the response is cut off after (a part of) body
	ends   bool   // the proxy ends the client's connection
	line   string // of the access log, up to the method
	second string // the line of the second request; empty: served well
	stats  harness.Stats
}

const (
	getA        = "GET /a HTTP/1.1\r\nHost: test\r\n\r\n"
	okHead      = "HTTP/1.1 200 OK\r\n"
	lineUC      = "503 UC upstream_reset_before_response_started{connection_termination}"
	lineUPE     = "502 UPE upstream_reset_before_response_started{protocol_error}"
	lineUPE503  = "503 UPE upstream_reset_before_response_started{protocol_error}"
	lineCut     = "200 UC upstream_reset_after_response_started{connection_termination}"
	lineRefused = "503 UF upstream_reset_before_response_started{remote_connection_failure,connection_refused}"
	lineSlow    = "503 UF upstream_reset_before_response_started{connection_timeout}"
)

// headThen reads a request head and sends text.
func headThen(text string, then func(c *harness.Peer)) func(c *harness.Peer) {
	return func(c *harness.Peer) {
		c.ReadHead()
		c.Send(text)
		then(c)
	}
}

func closes(c *harness.Peer) { _ = c.Close() }
func resets(c *harness.Peer) { c.Reset() }
func stalls(c *harness.Peer) { c.Drain() }

// terminated are the stats of one request whose connection the origin ended, and one served well.
func terminated(more harness.Stats) harness.Stats {
	return plus(harness.Stats{
		onOrigin + "upstream_rq_total": 2, onOrigin + "upstream_cx_total": 2,
		onOrigin + "upstream_cx_destroy_remote_with_active_rq": 1, onOrigin + "upstream_cx_destroy_remote": 1,
		onOrigin + "upstream_cx_connect_fail": 0, onOrigin + "upstream_cx_protocol_error": 0,
	}, more)
}

// replied503 are those of a local reply 503 and one request served well.
var replied503 = harness.Stats{
	onOrigin + "upstream_rq_503": 1, onOrigin + "upstream_rq_5xx": 1, onOrigin + "upstream_rq_200": 1, onOrigin + "upstream_rq_completed": 2,
	inHTTP + "downstream_rq_5xx": 1, inHTTP + "downstream_rq_2xx": 1, inHTTP + "downstream_rq_completed": 2,
	inHTTP + "downstream_rq_tx_reset": 0, inHTTP + "downstream_cx_total": 1,
}

// cutOff are those of a response that broke off: it counts as begun, and is never complete upstream.
var cutOff = harness.Stats{
	inHTTP + "rq_reset_after_downstream_response_started": 1, inHTTP + "downstream_rq_tx_reset": 1, inHTTP + "downstream_cx_total": 2,
	inHTTP + "downstream_rq_2xx": 2, onOrigin + "upstream_rq_200": 1, onOrigin + "upstream_rq_503": 0, inHTTP + "downstream_cx_destroy_local": 1,
}

// invalid are those of an answer that is not HTTP.
func invalid(status int) harness.Stats {
	return harness.Stats{
		onOrigin + "upstream_cx_protocol_error": 1, onOrigin + fmt.Sprintf("upstream_rq_%d", status): 1, onOrigin + "upstream_rq_total": 2,
		onOrigin + "upstream_cx_destroy_local_with_active_rq": 1, inHTTP + "downstream_rq_5xx": 1, inHTTP + "downstream_cx_protocol_error": 0,
		inHTTP + "downstream_cx_total": 1,
	}
}

func plus(a, b harness.Stats) harness.Stats {
	out := harness.Stats{}
	for _, m := range []harness.Stats{a, b} {
		for k, v := range m {
			out[k] = v
		}
	}
	return out
}

const bulk = 1 << 20 // of a body: well above what is relayed by splice

var originFaults = []originFault{
	{
		name: "refuses", origin: harness.Refusing, status: 503, body: resetBody + "remote connection failure, transport failure reason: connection refused", line: lineRefused, second: lineRefused,
		stats: harness.Stats{
			onOrigin + "upstream_cx_connect_fail": 2, onOrigin + "upstream_cx_connect_timeout": 0, onOrigin + "upstream_cx_total": 2, onOrigin + "upstream_rq_total": 0,
			onOrigin + "upstream_rq_pending_total": 2, onOrigin + "upstream_rq_pending_failure_eject": 2, onOrigin + "upstream_rq_503": 2,
			inHTTP + "downstream_rq_5xx": 2, inHTTP + "downstream_cx_total": 1,
		},
	},
	{
		name: "does not answer the connect", origin: harness.BlackHole, cluster: "connect_timeout: 0.1s", status: 503, body: resetBody + "connection timeout",
		line: lineSlow, second: lineSlow,
		stats: harness.Stats{
			onOrigin + "upstream_cx_connect_fail": 2, onOrigin + "upstream_cx_connect_timeout": 2, onOrigin + "upstream_rq_pending_failure_eject": 2,
			onOrigin + "upstream_rq_503": 2, onOrigin + "upstream_rq_total": 0, inHTTP + "downstream_cx_total": 1,
		},
	},
	{
		name: "closes before any byte", serve: headThen("", closes), status: 503, body: resetBody + "connection termination", line: lineUC,
		stats: terminated(replied503),
	},
	{
		name: "resets before any byte", serve: headThen("", resets), status: 503, body: resetBody + "connection termination", line: lineUC,
		stats: terminated(replied503),
	},
	{
		name: "closes in the middle of the head", serve: headThen(okHead+"Content-Le", closes), status: 503, body: resetBody + "connection termination", line: lineUC,
		stats: terminated(replied503),
	},
	{
		name: "resets in the middle of the head", serve: headThen(okHead+"Content-Le", resets), status: 503, body: resetBody + "connection termination", line: lineUC,
		stats: terminated(replied503),
	},
	{
		name: "closes after an interim response", serve: headThen("HTTP/1.1 103 Early Hints\r\n\r\n", closes), status: 503, body: resetBody + "connection termination",
		line: lineUC, stats: terminated(replied503),
	},
	{
		name: "closes in the middle of a body with a length", serve: headThen(okHead+"Content-Length: 10\r\n\r\n12345", closes),
		status: 200, body: "12345", broken: true, ends: true, line: lineCut, stats: terminated(cutOff),
	},
	{
		name: "resets in the middle of a body with a length", serve: headThen(okHead+"Content-Length: 10\r\n\r\n12345", resets),
		status: 200, body: "12345", broken: true, ends: true, line: lineCut, stats: terminated(cutOff),
	},
	{
		name: "closes in the middle of a chunk", serve: headThen(okHead+"Transfer-Encoding: chunked\r\n\r\na\r\n12345", closes),
		status: 200, body: "12345", broken: true, ends: true, line: lineCut, stats: terminated(cutOff),
	},
	{
		name: "closes before the last chunk", serve: headThen(okHead+"Transfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n", closes),
		status: 200, body: "12345", broken: true, ends: true, line: lineCut, stats: terminated(cutOff),
	},
	{
		name: "resets a body that ends with the connection", serve: headThen(okHead+"\r\n12345", resets),
		status: 200, body: "12345", broken: true, ends: true, line: lineCut, stats: terminated(cutOff),
	},
	{
		name: "resets a body that ends with the connection for an HTTP/1.0 client", serve: headThen(okHead+"\r\n12345", resets),
		send: "GET /a HTTP/1.0\r\nHost: test\r\n\r\n", manager: "http_protocol_options: { accept_http_10: true }",
		status: 200, body: "12345", broken: true, ends: true, line: lineCut, stats: terminated(cutOff),
	},
	{
		name: "closes in the middle of a bulk body", serve: func(c *harness.Peer) {
			c.ReadHead()
			c.Send(fmt.Sprintf("%sContent-Length: %d\r\n\r\n", okHead, 2*bulk))
			c.Fill(bulk)
		},
		status: 200, broken: true, ends: true, line: lineCut, stats: terminated(cutOff),
	},
	{
		name: "resets in the middle of a bulk body", serve: func(c *harness.Peer) {
			c.ReadHead()
			c.Send(fmt.Sprintf("%sContent-Length: %d\r\n\r\n", okHead, 2*bulk))
			c.Fill(bulk)
			c.Reset()
		},
		status: 200, broken: true, ends: true, line: lineCut, stats: terminated(cutOff),
	},
	{
		name: "stalls before the head", serve: headThen("", stalls), action: "timeout: 0.1s", status: 504, body: "upstream request timeout",
		line: "504 UT upstream_response_timeout",
		stats: harness.Stats{
			onOrigin + "upstream_rq_timeout": 1, onOrigin + "upstream_rq_504": 1, onOrigin + "upstream_rq_tx_reset": 1,
			onOrigin + "upstream_cx_destroy_local_with_active_rq": 1, inHTTP + "downstream_rq_5xx": 1, inHTTP + "downstream_cx_total": 1,
			inHTTP + "rq_reset_after_downstream_response_started": 0,
		},
	},
	{
		name: "stalls in the middle of the head", serve: headThen(okHead+"Cont", stalls), action: "timeout: 0.1s", status: 504, body: "upstream request timeout",
		line: "504 UT upstream_response_timeout", stats: harness.Stats{onOrigin + "upstream_rq_timeout": 1},
	},
	{
		name: "stalls in the middle of the body until the route's timeout", serve: headThen(okHead+"Content-Length: 10\r\n\r\n12345", stalls), action: "timeout: 0.1s",
		status: 200, body: "12345", broken: true, ends: true, line: "200 UT upstream_response_timeout",
		stats: harness.Stats{
			onOrigin + "upstream_rq_timeout": 1, onOrigin + "upstream_rq_504": 0, inHTTP + "downstream_rq_tx_reset": 1,
			inHTTP + "rq_reset_after_downstream_response_started": 1, onOrigin + "upstream_cx_destroy_local_with_active_rq": 1,
		},
	},
	{
		name: "stalls in the middle of a bulk body until the route's timeout", serve: func(c *harness.Peer) {
			c.ReadHead()
			c.Send(fmt.Sprintf("%sContent-Length: %d\r\n\r\n", okHead, 2*bulk))
			c.Fill(bulk)
			c.Drain()
		},
		action: "timeout: 0.3s", status: 200, broken: true, ends: true, line: "200 UT upstream_response_timeout",
		stats: harness.Stats{onOrigin + "upstream_rq_timeout": 1, inHTTP + "downstream_rq_tx_reset": 1},
	},
	{
		name: "stalls in the middle of the body until the stream is idle", serve: headThen(okHead+"Content-Length: 10\r\n\r\n12345", stalls),
		manager: "stream_idle_timeout: 0.1s", status: 200, body: "12345", broken: true, ends: true, line: "200 SI stream_idle_timeout",
		stats: harness.Stats{
			inHTTP + "downstream_rq_idle_timeout": 1, onOrigin + "upstream_rq_timeout": 0, inHTTP + "downstream_rq_tx_reset": 1,
			onOrigin + "upstream_cx_destroy_local_with_active_rq": 1,
		},
	},
	{
		name: "stalls in the middle of a bulk body until the stream is idle", serve: func(c *harness.Peer) {
			c.ReadHead()
			c.Send(fmt.Sprintf("%sContent-Length: %d\r\n\r\n", okHead, 2*bulk))
			c.Fill(bulk)
			c.Drain()
		},
		manager: "stream_idle_timeout: 0.2s", status: 200, broken: true, ends: true, line: "200 SI stream_idle_timeout",
		stats: harness.Stats{inHTTP + "downstream_rq_idle_timeout": 1},
	},
	{
		name: "sends garbage", serve: headThen("no HTTP at all\r\n\r\n", stalls), status: 502, body: resetBody + "protocol error", line: lineUPE,
		stats: invalid(502),
	},
	{
		name: "sends garbage instead of a chunk", serve: headThen(okHead+"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nxyz\r\n", stalls),
		status: 200, body: "abc", broken: true, ends: true, line: "200 UPE upstream_reset_after_response_started{protocol_error}",
		stats: plus(cutOff, harness.Stats{onOrigin + "upstream_cx_protocol_error": 1}),
	},
	{
		name: "sends both framings", serve: headThen(okHead+"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", stalls),
		status: 502, body: resetBody + "protocol error", line: lineUPE, stats: invalid(502),
	},
	{
		name: "sends two lengths", serve: headThen(okHead+"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", stalls),
		status: 502, body: resetBody + "protocol error", line: lineUPE, stats: invalid(502),
	},
	{
		name: "sends a body with 204", serve: headThen("HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\nabc", stalls),
		status: 502, body: resetBody + "protocol error", line: lineUPE, stats: invalid(502),
	},
	{
		name: "sends a head that is too large (HC-49)", serve: headThen(okHead+"X: "+strings.Repeat("x", 100<<10)+"\r\n\r\n", stalls),
		status: 503, body: resetBody + "protocol error", line: lineUPE503, stats: invalid(503),
	},
	{
		name: "sends a head without end", serve: func(c *harness.Peer) {
			c.ReadHead()
			c.Send(okHead + "X: ")
			c.Fill(64 * bulk)
		},
		status: 503, body: resetBody + "protocol error", line: lineUPE503, stats: invalid(503),
	},
	{
		name: "sends too many fields (HC-49)", serve: headThen(okHead+strings.Repeat("X: x\r\n", 101)+"Content-Length: 0\r\n\r\n", stalls),
		status: 502, body: resetBody + "protocol error", line: lineUPE, stats: invalid(502),
	},
	{
		name: "sends 101 unasked (UP-15)", serve: headThen("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", stalls),
		status: 502, body: resetBody + "protocol error", line: lineUPE, stats: invalid(502),
	},
	{
		name: "sends bytes after its response (HC-48)", serve: headThen(okHead+"Content-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong", stalls),
		status: 200, body: "ok", line: "200 - via_upstream",
		stats: harness.Stats{
			onOrigin + "upstream_cx_protocol_error": 1, onOrigin + "upstream_cx_total": 2, onOrigin + "upstream_rq_200": 2, onOrigin + "upstream_cx_destroy_local": 1,
			onOrigin + "upstream_cx_destroy_with_active_rq": 0, inHTTP + "downstream_cx_total": 1,
		},
	},
	{
		name: "ends an idle connection with 408 (HC-48)", serve: headThen(okHead+"Content-Length: 2\r\n\r\nok"+"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", closes),
		status: 200, body: "ok", line: "200 - via_upstream",
		stats: harness.Stats{
			onOrigin + "upstream_cx_protocol_error": 0, onOrigin + "upstream_cx_close_notify": 1, onOrigin + "upstream_cx_total": 2, onOrigin + "upstream_rq_200": 2,
		},
	},
	{
		name: "sends many interim responses that are swallowed (HC-40)", serve: func(c *harness.Peer) {
			c.ReadHead()
			for range 2000 {
				c.Send("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 150 What\r\n\r\n")
			}
			c.Respond("done")
			c.Well()
		},
		status: 200, body: "done", line: "200 - via_upstream",
		stats: harness.Stats{onOrigin + "upstream_cx_total": 1, onOrigin + "upstream_cx_protocol_error": 0, onOrigin + "upstream_rq_100": 0},
	},
	{
		name: "sends many interim responses that are passed on (HC-40)", serve: func(c *harness.Peer) {
			c.ReadHead()
			for range 2000 {
				c.Send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
			}
			c.Respond("done")
			c.Well()
		},
		status: 200, body: "done", line: "200 - via_upstream", stats: harness.Stats{onOrigin + "upstream_cx_total": 1},
	},
	{
		name: "sends interim responses for ever", serve: func(c *harness.Peer) {
			c.ReadHead()
			for {
				if _, err := c.Write([]byte("HTTP/1.1 100 Continue\r\n\r\n")); err != nil {
					return
				}
			}
		},
		action: "timeout: 0.1s", status: 504, body: "upstream request timeout", line: "504 UT upstream_response_timeout",
		stats: harness.Stats{onOrigin + "upstream_rq_timeout": 1},
	},
}

func TestOriginFaults(t *testing.T) {
	harness.NoLeaks(t)
	t.Run("the origin", func(t *testing.T) {
		for _, f := range originFaults {
			t.Run(f.name, func(t *testing.T) {
				t.Parallel()
				f.run(t)
			})
		}
	})
}

func (f *originFault) run(t *testing.T) {
	var o harness.Origin
	if f.origin != nil {
		o = f.origin(t)
	} else {
		o = harness.NewRaw(t, func(c *harness.Peer) {
			if c.Number == 0 {
				f.serve(c)
			} else {
				c.Well()
			}
		})
	}
	p := harness.Start(t, harness.Topology{
		Clusters: []harness.Cluster{{Name: "origin", Origins: []harness.Origin{o}, Fields: f.cluster}}, Action: f.action, Manager: f.manager,
	})
	send := f.send
	if send == "" {
		send = getA
	}
	c := p.Dial()
	r := c.Send(send).Read("GET")
	switch {
	case !f.broken:
		r.Want(f.status, f.body)
	case r.Status != f.status || r.Err == nil || f.body != "" && r.Body != f.body:
		t.Errorf("got %v, want %d and a body that breaks off after %q", r, f.status, f.body)
	}
	if f.ends {
		c.WantEnd()
		c.Close()
		c = p.Dial()
	}
	again := c.Get("/again")
	second := "200 - via_upstream GET /again"
	if f.second == "" {
		again.Want(200, "/again")
	} else {
		again.Want(f.status, f.body)
		second = f.second + " GET /again"
	}
	p.WantLines(f.line+" GET /a", second)
	p.WantStats(f.stats)
	if raw, ok := o.(*harness.Raw); ok && f.status >= 500 {
		raw.WantEnd(0)
	}
}
