package e2e

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

const lineOverflow = "503 UO upstream_reset_before_response_started{overflow}"

// gate is an origin that answers when it is let: one request for each value sent to open.
type gate struct {
	*harness.Raw
	open chan struct{}
}

func newGate(t testing.TB) *gate {
	g := &gate{open: make(chan struct{})}
	g.Raw = harness.NewRaw(t, func(c *harness.Peer) {
		for {
			head := c.ReadHead()
			if head == "" {
				return
			}
			select {
			case <-g.open:
				c.Respond(strings.Fields(head)[1])
			case <-c.Stopped():
				return
			}
		}
	})
	return g
}

// breakers is a topology whose cluster has one set of thresholds; /high uses the HIGH priority.
func breakers(o harness.Origin, thresholds string) harness.Topology {
	return harness.Topology{
		Clusters: []harness.Cluster{{Name: "origin", Origins: []harness.Origin{o}, Fields: "circuit_breakers:\n  thresholds:\n  - " + thresholds}},
		Routes:   "- match: { prefix: /high }\n  route: { cluster: origin, priority: HIGH }\n- match: { prefix: / }\n  route: { cluster: origin }",
	}
}

func overflow(t testing.TB, r *harness.Response) {
	t.Helper()
	r.Want(503, resetBody+"overflow").WantHeader("x-envoy-overloaded", "true")
	if r.Closes {
		t.Error("a local reply for overflow ends the client's connection")
	}
}

func TestMaxConnectionsLetsRequestsWait(t *testing.T) {
	harness.NoLeaks(t)
	g := newGate(t)
	p := harness.Start(t, breakers(g, "{ max_connections: 1, track_remaining: true }"))
	first, second, third := p.Dial(), p.Dial(), p.Dial()
	first.Send(getA)
	awaitStat(p, onOrigin+"upstream_rq_active", 1)
	second.Send("GET /b HTTP/1.1\r\nHost: test\r\n\r\n")
	awaitStat(p, onOrigin+"upstream_rq_pending_active", 1)
	third.Send("GET /c HTTP/1.1\r\nHost: test\r\n\r\n")
	p.WantStats(harness.Stats{
		onOrigin + "upstream_rq_pending_active": 2, onOrigin + "circuit_breakers.default.cx_open": 1, onOrigin + "circuit_breakers.default.remaining_cx": 0,
		onOrigin + "circuit_breakers.default.rq_pending_open": 0, onOrigin + "circuit_breakers.high.cx_open": 0, onOrigin + "upstream_cx_total": 1,
		onOrigin + "circuit_breakers.default.remaining_pending": 1022,
	})
	if n := p.Stat(onOrigin + "upstream_cx_overflow"); n == 0 {
		t.Error("no upstream_cx_overflow")
	}
	for i, c := range []*harness.Client{first, second, third} {
		g.open <- struct{}{}
		c.Read("GET").Want(200, []string{"/a", "/b", "/c"}[i])
	}
	p.WantStats(harness.Stats{onOrigin + "upstream_cx_total": 1, onOrigin + "upstream_rq_pending_total": 3, onOrigin + "upstream_rq_total": 3, onOrigin + "upstream_rq_pending_overflow": 0})
}

func TestMaxPendingRequestsOverflow(t *testing.T) {
	harness.NoLeaks(t)
	g := newGate(t)
	p := harness.Start(t, breakers(g, "{ max_connections: 1, max_pending_requests: 1 }"))
	first, second, third := p.Dial(), p.Dial(), p.Dial()
	first.Send(getA)
	awaitStat(p, onOrigin+"upstream_rq_active", 1)
	second.Send(getA)
	awaitStat(p, onOrigin+"upstream_rq_pending_active", 1)
	overflow(t, third.Get("/c"))
	p.WantLine(lineOverflow + " GET /c")
	p.WantStats(harness.Stats{
		onOrigin + "upstream_rq_pending_overflow": 1, onOrigin + "upstream_rq_503": 1, onOrigin + "circuit_breakers.default.rq_pending_open": 1, onOrigin + "upstream_rq_total": 1,
	})
	// The HIGH priority has limits and connections of its own (RT-79).
	high := p.Dial().Send("GET /high HTTP/1.1\r\nHost: test\r\n\r\n")
	awaitStat(p, onOrigin+"upstream_cx_active", 2)
	for range 3 {
		g.open <- struct{}{}
	}
	first.Read("GET").Want(200, "/a")
	second.Read("GET").Want(200, "/a")
	high.Read("GET").Want(200, "/high")
	third.Send(getA)
	g.open <- struct{}{}
	third.Read("GET").Want(200, "/a")
	p.WantStats(harness.Stats{onOrigin + "upstream_rq_pending_overflow": 1, onOrigin + "circuit_breakers.default.rq_pending_open": 0, onOrigin + "upstream_cx_total": 2})
}

func TestMaxRequestsOverflow(t *testing.T) {
	harness.NoLeaks(t)
	g := newGate(t)
	p := harness.Start(t, breakers(g, "{ max_requests: 1 }"))
	first, second := p.Dial(), p.Dial()
	first.Send(getA)
	awaitStat(p, onOrigin+"upstream_rq_active", 1)
	for range 3 {
		overflow(t, second.Get("/b"))
	}
	p.WantLines(lineOverflow+" GET /b", lineOverflow+" GET /b", lineOverflow+" GET /b")
	p.WantStats(harness.Stats{
		onOrigin + "upstream_rq_pending_overflow": 3, onOrigin + "upstream_rq_active_overflow": 3, onOrigin + "circuit_breakers.default.rq_open": 1,
		onOrigin + "upstream_rq_total": 1, onOrigin + "upstream_rq_503": 3, onOrigin + "upstream_rq_active": 1,
	})
	g.open <- struct{}{}
	first.Read("GET").Want(200, "/a")
	second.Send(getA)
	g.open <- struct{}{}
	second.Read("GET").Want(200, "/a")
	p.WantStats(harness.Stats{onOrigin + "circuit_breakers.default.rq_open": 0, onOrigin + "upstream_rq_200": 2})
}

// Limits of a cluster hold over all loops and after clients that went away.
func TestBreakersComeBackAfterClientsLeave(t *testing.T) {
	harness.NoLeaks(t)
	top := breakers(harness.NewOrigin(t, "a"), "{ max_connections: 2, max_pending_requests: 2, max_requests: 2 }")
	top.Loops = 2
	p := harness.Start(t, top)
	for range 5 {
		var clients []*harness.Client
		for range 12 {
			clients = append(clients, p.Dial().Send("GET /delay/60000 HTTP/1.1\r\nHost: test\r\n\r\n"))
		}
		harness.Eventually(t, "most requests to be refused", func() bool { return p.Stat(inHTTP+"downstream_rq_active") <= 4 })
		for i, c := range clients {
			if i%2 == 0 {
				c.Reset()
			} else {
				c.Close()
			}
		}
		p.WantQuiet()
		p.WantStats(harness.Stats{onOrigin + "circuit_breakers.default.rq_open": 0, onOrigin + "circuit_breakers.default.rq_pending_open": 0})
	}
	p.Dial().Get("/").Want(200, "hello from a\n")
}

func TestMaxRequestsPerConnection(t *testing.T) {
	harness.NoLeaks(t)
	o := harness.NewOrigin(t, "a")
	p := harness.Start(t, harness.Topology{
		Manager:  "common_http_protocol_options: { max_requests_per_connection: 3 }",
		Clusters: []harness.Cluster{{Name: "origin", Origins: []harness.Origin{o}, Fields: harness.ProtocolOptions("{ max_requests_per_connection: 2 }")}},
	})
	c := p.Dial()
	for i := range 3 {
		if r := c.Get("/").Want(200, "hello from a\n"); r.Closes != (i == 2) {
			t.Errorf("response %d: connection: close is %t", i+1, r.Closes)
		}
	}
	c.Send(getA) // one too many: not answered
	if err := c.WantEnd(); err != nil {
		t.Error(err)
	}
	c.Close()
	p.Dial().Get("/").Want(200, "hello from a\n")
	p.WantStats(harness.Stats{
		inHTTP + "downstream_cx_max_requests_reached": 1, inHTTP + "downstream_rq_total": 4,
		onOrigin + "upstream_cx_max_requests": 2, onOrigin + "upstream_cx_total": 2, onOrigin + "upstream_cx_active": 0,
	})
}

func TestListenerConnectionLimit(t *testing.T) {
	harness.NoLeaks(t)
	top := one(harness.NewOrigin(t, "a"))
	top.Loops = 2
	top.Bootstrap = "layered_runtime: { layers: [{ name: base, static_layer: { envoy.resource_limits.listener.ingress.connection_limit: 2 } }] }"
	p := harness.Start(t, top)
	first, second := p.Dial(), p.Dial()
	first.Get("/").Want(200, "hello from a\n")
	second.Get("/").Want(200, "hello from a\n")
	_ = p.Dial().WantEnd()
	first.Get("/").Want(200, "hello from a\n")
	p.WantStats(harness.Stats{"listener.in.downstream_cx_overflow": 1, "listener.in.downstream_cx_active": 2, inHTTP + "downstream_cx_total": 2})
	first.Close()
	awaitStat(p, "listener.in.downstream_cx_active", 1)
	p.Dial().Get("/").Want(200, "hello from a\n")
	p.WantStats(harness.Stats{"listener.in.downstream_cx_overflow": 1})
}

func TestRequestHeadLimits(t *testing.T) {
	const tooLarge, tooMany = "431 DPE http1.headers_too_large", "431 DPE http1.too_many_headers"
	body := "Request Header Fields Too Large"
	for _, tc := range []struct {
		name, manager, fields string
		status                int
		line                  string
	}{
		{"below max_request_headers_kb (HC-11)", "max_request_headers_kb: 8", "X: " + strings.Repeat("x", 8<<10-100), 200, "200 - via_upstream GET /"},
		{"above max_request_headers_kb (HC-11)", "max_request_headers_kb: 8", "X: " + strings.Repeat("x", 8<<10), 431, tooLarge},
		{"below the default (HC-11)", "", "X: " + strings.Repeat("x", 60<<10-1000), 200, "200 - via_upstream GET /"},
		{"above the default (HC-11)", "", "X: " + strings.Repeat("x", 60<<10), 431, tooLarge},
		{"far above the default (HC-11)", "", "X: " + strings.Repeat("x", 4<<20), 431, tooLarge},
		{"as many fields as max_headers_count (HC-12)", "common_http_protocol_options: { max_headers_count: 5 }", "A: 1\r\nB: 2\r\nC: 3\r\nD: 4", 200, "200 - via_upstream GET /"},
		{"more fields than max_headers_count (HC-12)", "common_http_protocol_options: { max_headers_count: 5 }", "A: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\nE: 5", 431, tooMany},
		{"more fields than the default (HC-12)", "", strings.Repeat("A: 1\r\n", 100) + "B: 1", 431, tooMany},
	} {
		t.Run(tc.name, func(t *testing.T) {
			harness.NoLeaks(t)
			p := harness.Start(t, with(one(harness.NewOrigin(t, "a")), tc.manager))
			c := p.Dial().Send("GET / HTTP/1.1\r\nHost: test\r\n" + tc.fields + "\r\n\r\n")
			r := c.Read("GET")
			p.WantLine(tc.line)
			if tc.status == 200 {
				r.Want(200, "hello from a\n")
				p.WantStats(harness.Stats{inHTTP + "downstream_cx_protocol_error": 0})
				return
			}
			if r.Want(431, body); !r.Closes {
				t.Error("the response does not announce the end of the connection")
			}
			c.WantEnd()
			c.Close()
			p.WantStats(harness.Stats{inHTTP + "downstream_cx_protocol_error": 1, inHTTP + "downstream_rq_4xx": 1, inHTTP + "downstream_rq_total": 1, onOrigin + "upstream_cx_total": 0})
		})
	}
}

// slack is what the loop may hold beside the bytes above a watermark: what one event reads, rounded up
// to slabs.
const slack = 512 << 10

// A client that does not read stops its origin; what waits meanwhile is bounded by the buffer limit.
func TestASlowClientPausesTheOrigin(t *testing.T) {
	const size = 64 << 20 // more than sockets hold
	for _, kind := range []struct {
		name, path string
		counted    bool // bulk bodies are paused by the kernel alone
	}{{"in chunks", "/chunked/", true}, {"of known length", "/bytes/", false}} {
		t.Run("a body "+kind.name, func(t *testing.T) {
			harness.NoLeaks(t)
			top := one(harness.NewOrigin(t, "a"))
			top.Listener = "per_connection_buffer_limit_bytes: 65536"
			p := harness.Start(t, top)
			c := p.Dial()
			h := c.Send(fmt.Sprintf("GET %s%d HTTP/1.1\r\nHost: test\r\n\r\n", kind.path, size)).ReadHead("GET")
			if kind.counted {
				awaitStat(p, onOrigin+"upstream_flow_control_paused_reading_total", 1)
				p.WantStats(harness.Stats{onOrigin + "upstream_flow_control_resumed_reading_total": 0})
			}
			if n := p.Buffered(); n > 65536+slack {
				t.Errorf("%d bytes are buffered", n)
			}
			n, sum, err := sumOf(h.Reader())
			if n != size || err != nil || sum != patternSum(size) {
				t.Errorf("got %d bytes, %v", n, err)
			}
			c.Close()
			p.WantQuiet()
			if kind.counted && p.Stat(onOrigin+"upstream_flow_control_paused_reading_total") != p.Stat(onOrigin+"upstream_flow_control_resumed_reading_total") {
				t.Error("pauses and resumptions differ")
			}
		})
	}
}

// An origin that does not read stops the client.
func TestASlowOriginPausesTheClient(t *testing.T) {
	const size = 64 << 20
	for _, chunked := range []bool{true, false} {
		t.Run(fmt.Sprintf("a body in chunks %t", chunked), func(t *testing.T) {
			harness.NoLeaks(t)
			read := make(chan struct{})
			o := harness.NewRaw(t, func(c *harness.Peer) {
				c.ReadHead()
				<-read
				n := int64(0)
				if chunked {
					m, _ := io.Copy(io.Discard, newChunks(c.In))
					n = m
				} else {
					n, _ = io.CopyN(io.Discard, c.In, size)
				}
				c.Respond(fmt.Sprint(n))
			})
			p := harness.Start(t, harness.Topology{Clusters: []harness.Cluster{{
				Name: "origin", Origins: []harness.Origin{o}, Fields: "per_connection_buffer_limit_bytes: 65536",
			}}})
			c := p.Dial()
			var sending sync.WaitGroup
			sending.Go(func() {
				if !chunked {
					c.Send(fmt.Sprintf("POST /a HTTP/1.1\r\nHost: test\r\nContent-Length: %d\r\n\r\n", size))
					harness.Fill(c.Conn, size)
					return
				}
				c.Send("POST /a HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n")
				piece := "10000\r\n" + strings.Repeat("x", 0x10000) + "\r\n"
				for range size / 0x10000 {
					_, _ = io.WriteString(c.Conn, piece)
				}
				_, _ = io.WriteString(c.Conn, "0\r\n\r\n")
			})
			if chunked {
				awaitStat(p, onOrigin+"upstream_flow_control_backed_up_total", 1)
				p.WantStats(harness.Stats{onOrigin + "upstream_flow_control_drained_total": 0})
			} else {
				awaitStat(p, onOrigin+"upstream_rq_active", 1)
			}
			if n := p.Buffered(); n > 65536+slack {
				t.Errorf("%d bytes are buffered", n)
			}
			close(read)
			c.Read("POST").Want(200, fmt.Sprint(size))
			sending.Wait()
			c.Close()
			p.WantQuiet()
			all := p.Stats()
			if a, b := all[onOrigin+"upstream_flow_control_backed_up_total"], all[onOrigin+"upstream_flow_control_drained_total"]; a != b {
				t.Errorf("backed up %d times, drained %d times", a, b)
			}
			if a, b := all[inHTTP+"downstream_flow_control_paused_reading_total"], all[inHTTP+"downstream_flow_control_resumed_reading_total"]; a != b {
				t.Errorf("paused %d times, resumed %d times", a, b)
			}
			if n := all[onOrigin+"upstream_cx_tx_bytes_total"]; n < size {
				t.Errorf("upstream_cx_tx_bytes_total is %d", n)
			}
		})
	}
}

// Interim responses count as bytes that wait, too.
func TestInterimResponsesToASlowClientAreBounded(t *testing.T) {
	harness.NoLeaks(t)
	hint := "HTTP/1.1 103 Early Hints\r\nLink: <" + strings.Repeat("/a", 2000) + ">\r\n\r\n"
	o := harness.NewRaw(t, func(c *harness.Peer) {
		c.ReadHead()
		for range 16000 {
			if _, err := io.WriteString(c, hint); err != nil {
				return
			}
		}
		c.Respond("done")
	})
	top := one(o)
	top.Listener = "per_connection_buffer_limit_bytes: 65536"
	p := harness.Start(t, top)
	c := p.Dial()
	c.Send(getA)
	awaitStat(p, onOrigin+"upstream_flow_control_paused_reading_total", 1)
	if n := p.Buffered(); n > 65536+slack {
		t.Errorf("%d bytes are buffered", n)
	}
	c.Read("GET").Want(200, "done")
	p.WantLine("200 - via_upstream GET /a")
}
