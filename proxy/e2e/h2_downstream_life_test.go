//lint:file-ignore SA1019 the HTTP/2 of x/net is the peer

package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/sluiceproxy/sluice/bench/origin"
	"github.com/sluiceproxy/sluice/proxy"
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// goAwayNotice is what begins the end of a connection in order.
const goAwayNotice = "goaway 2147483647 NO_ERROR"

// slowTop answers /slow when told to, and the rest at once.
func slowTop(t *testing.T) (harness.Topology, *stuckOrigin) {
	stuck := newStuckOrigin(t)
	return harness.Topology{
		Clusters: []harness.Cluster{{Name: "origin", Origins: []harness.Origin{harness.NewOrigin(t, "a")}}, {Name: "stuck", Origins: []harness.Origin{stuck}}},
		Routes:   "- match: { prefix: /slow }\n  route: { cluster: stuck, timeout: 0s }\n- match: { prefix: / }\n  route: { cluster: origin }",
	}, stuck
}

const helloA = `"hello from a\n"`

func (w *h2Wire) wantHello(id uint32) {
	w.t.Helper()
	w.want(fmt.Sprintf("head %d 200 content-length=13", id), fmt.Sprintf("data %d %s end", id, helloA))
}

// Whatever ends a connection in order asks for no more requests, serves those that come meanwhile, and
// goes when the last one is done (HC-75).
func TestH2ConnectionsEndInOrder(t *testing.T) {
	for _, row := range []struct {
		title  string
		change func(m *conf.HTTPConnectionManager)
		begin  func(p *harness.Proxy, w *h2Wire) // makes the proxy want to
		stat   string
	}{
		{"max_requests_per_connection", func(m *conf.HTTPConnectionManager) { m.MaxRequestsPerConnection = 2 }, func(p *harness.Proxy, w *h2Wire) {}, "downstream_cx_max_requests_reached"},
		{"max_connection_duration", func(m *conf.HTTPConnectionManager) { m.MaxConnectionDuration = 300 * time.Millisecond }, func(p *harness.Proxy, w *h2Wire) {}, "downstream_cx_max_duration_reached"},
		{"a drain of the listener", nil, func(p *harness.Proxy, w *h2Wire) {
			p.Server.DrainListeners(proxy.ListenerDrain{Graceful: true, SkipExit: true})
		}, "downstream_cx_drain_close"},
	} {
		t.Run(row.title, func(t *testing.T) {
			harness.NoLeaks(t)
			top, stuck := slowTop(t)
			p := serveH2(t, top, func(m *conf.HTTPConnectionManager) {
				m.DrainTimeout = 400 * time.Millisecond
				if row.change != nil {
					row.change(m)
				}
			})
			w := dialH2(t, p)
			w.get(1, "/slow")
			w.get(3, "/")
			if row.stat == "downstream_cx_max_requests_reached" {
				w.want(goAwayNotice)
				w.wantHello(3)
			} else {
				w.wantHello(3)
				row.begin(p, w)
				w.want(goAwayNotice)
			}
			w.get(5, "/") // on its way when the notice came
			w.wantHello(5)
			w.want("goaway 5 NO_ERROR")
			w.get(7, "/") // too late: ignored
			w.must(w.WritePing(false, [8]byte{}))
			w.want("ping ack=true")
			stuck.read()
			w.want("head 1 200 content-length=2", `data 1 "ok" end`, "end")
			w.Conn.Close()
			p.WantStats(harness.Stats{inH2 + row.stat: 1, inH2 + "downstream_rq_2xx": 3, inH2 + "downstream_rq_total": 3, inH2 + "downstream_cx_destroy_local": 1, "http2.goaway_sent": 2})
		})
	}
}

// idle_timeout counts the time without a stream (HC-37).
func TestH2IdleTimeout(t *testing.T) {
	harness.NoLeaks(t)
	top, stuck := slowTop(t)
	p := serveH2(t, top, func(m *conf.HTTPConnectionManager) {
		m.IdleTimeout, m.DrainTimeout = 300*time.Millisecond, 100*time.Millisecond
	})
	w := dialH2(t, p)
	w.get(1, "/slow")
	began := time.Now()
	harness.Eventually(t, "more than the idle timeout to pass", func() bool { return time.Since(began) > 500*time.Millisecond })
	if p.Stat(inH2+"downstream_cx_idle_timeout") != 0 {
		t.Error("a connection with a stream is idle")
	}
	stuck.read()
	w.want("head 1 200 content-length=2", `data 1 "ok" end`, goAwayNotice, "goaway 1 NO_ERROR", "end")
	w.Conn.Close()
	silent := harness.DialWire(t, "tcp", p.Addr) // never says what it speaks
	silent.WantClosed()
	p.WantStats(harness.Stats{inH2 + "downstream_cx_idle_timeout": 2, inH2 + "downstream_cx_total": 2, inH2 + "downstream_cx_http2_total": 1})
}

// A server that drains loses no request of a client that honours GOAWAY.
func TestH2ServerDrain(t *testing.T) {
	harness.NoLeaks(t)
	top, stuck := slowTop(t)
	p := serveH2(t, top, func(m *conf.HTTPConnectionManager) { m.DrainTimeout = 100 * time.Millisecond })
	busy, idle := dialH2(t, p), dialH2(t, p)
	busy.get(1, "/slow")
	idle.get(1, "/")
	idle.wantHello(1)
	drained := make(chan struct{})
	go func() { defer close(drained); p.Server.Drain(context.Background()) }()
	idle.want(goAwayNotice, "goaway 1 NO_ERROR", "end")
	idle.Conn.Close()
	busy.want(goAwayNotice, "goaway 1 NO_ERROR")
	stuck.read()
	busy.want("head 1 200 content-length=2", `data 1 "ok" end`, "end")
	busy.Conn.Close()
	<-drained
	p.WantStats(harness.Stats{inH2 + "downstream_cx_drain_close": 2, inH2 + "downstream_rq_2xx": 2})
}

// Streams keep the configuration they began with; the next one of the same connection has the new.
func TestH2Reload(t *testing.T) {
	harness.NoLeaks(t)
	p := serveH2(t, harness.Topology{Routes: "- " + direct("prefix: /", "old")}, nil)
	w := dialH2(t, p)
	w.get(1, "/")
	w.want("head 1 200 content-length=3", `data 1 "old" end`)
	c := harness.Load(t, (&harness.Topology{Routes: "- " + direct("prefix: /", "new")}).YAML("/dev/null"))
	c.Listeners[0].FilterChains[0].HTTP.CodecType = conf.CodecAuto
	w.must(p.Server.Apply(c))
	w.get(3, "/")
	w.want("head 3 200 content-length=3", `data 3 "new" end`)
	w.Conn.Close()
	p.WantStats(harness.Stats{inH2 + "downstream_cx_total": 1})
}

// Resets end one stream, by either side.
func TestH2Resets(t *testing.T) {
	for _, row := range []struct {
		title  string
		change func(m *conf.HTTPConnectionManager)
		script origin.Script
		do     func(w *h2Wire)
		line   string
		stats  harness.Stats
	}{
		{
			title: "the client's, before the response", script: origin.Script{origin.ReadHead(), origin.Stall()},
			do:   func(w *h2Wire) { w.must(w.WriteRSTStream(1, http2.ErrCodeCancel)) },
			line: "0 DR http2.remote_reset GET /", stats: harness.Stats{inH2 + "downstream_rq_rx_reset": 1, "http2.rx_reset": 1, "cluster.origin.upstream_rq_tx_reset": 1},
		},
		{
			title: "the client's, in the middle of the response", script: origin.Script{origin.ReadHead(), origin.Send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"), origin.Stall()},
			do: func(w *h2Wire) {
				w.want("head 1 200 content-length=10", `data 1 "abc"`)
				w.must(w.WriteRSTStream(1, http2.ErrCodeCancel))
			},
			line: "200 DR http2.remote_reset GET /", stats: harness.Stats{inH2 + "downstream_rq_rx_reset": 1},
		},
		{
			title: "an origin that breaks off", script: origin.Script{origin.ReadHead(), origin.Send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"), origin.Close()},
			do:   func(w *h2Wire) { w.want("head 1 200 content-length=10", `data 1 "abc"`, "reset 1 INTERNAL_ERROR") },
			line: "200 UC upstream_reset_after_response_started{connection_termination} GET /", stats: harness.Stats{inH2 + "downstream_rq_tx_reset": 1, "http2.tx_reset": 1},
		},
		{
			title: "an origin that ends before its response", script: origin.Script{origin.ReadHead(), origin.Close()},
			do:   func(w *h2Wire) { w.want("head 1 503 content-length=95", "data 1 (95 bytes) end") },
			line: "503 UC upstream_reset_before_response_started{connection_termination} GET /",
		},
		{
			title: "stream_idle_timeout in the middle of the response", script: origin.Script{origin.ReadHead(), origin.Send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"), origin.Stall()},
			change: func(m *conf.HTTPConnectionManager) { m.StreamIdleTimeout = 100 * time.Millisecond },
			do:     func(w *h2Wire) { w.want("head 1 200 content-length=10", `data 1 "abc"`, "reset 1 CANCEL") },
			line:   "200 SI stream_idle_timeout GET /", stats: harness.Stats{inH2 + "downstream_rq_idle_timeout": 1},
		},
		{
			title: "max_stream_duration before the response", script: origin.Script{origin.ReadHead(), origin.Stall()},
			change: func(m *conf.HTTPConnectionManager) { m.MaxStreamDuration = 100 * time.Millisecond },
			do:     func(w *h2Wire) { w.want("head 1 504 content-length=27", `data 1 "downstream duration timeout" end`) },
			line:   "504 DT max_duration_timeout GET /", stats: harness.Stats{inH2 + "downstream_rq_max_duration_reached": 1},
		},
		{
			title: "the client goes away", script: origin.Script{origin.ReadHead(), origin.Stall()},
			do:   func(w *h2Wire) { w.Conn.Close() },
			line: "0 DC downstream_remote_disconnect GET /", stats: harness.Stats{inH2 + "downstream_cx_destroy_remote_active_rq": 1},
		},
	} {
		t.Run(row.title, func(t *testing.T) {
			harness.NoLeaks(t)
			p := serveH2(t, one(harness.NewScripted(t, row.script)), row.change)
			w := dialH2(t, p)
			w.get(1, "/")
			harness.Eventually(t, "the request has begun", func() bool { return p.Stat(inH2+"downstream_rq_total") == 1 })
			harness.Eventually(t, "the request is with the origin", func() bool { return p.Stat("cluster.origin.upstream_cx_total") == 1 })
			row.do(w)
			if !strings.HasPrefix(row.line, "0 DC") {
				w.must(w.WritePing(false, [8]byte{})) // the connection lives on
				w.want("ping ack=true")
			}
			if got := p.AwaitLines(1)[0]; got != row.line {
				t.Errorf("the line is %q, want %q", got, row.line)
			}
			w.Conn.Close()
			p.WantStats(row.stats)
		})
	}
}

// A request that the client does not finish (ROUTER-43 to 45).
func TestH2RequestsThatAreNotFinished(t *testing.T) {
	head := []byte{0, 0, 40, 1, 5, 0, 0, 0, 1, 0x82}
	for _, row := range []struct {
		title  string
		change func(m *conf.HTTPConnectionManager)
		bytes  []byte // behind the handshake
		line   string
		stat   string
	}{
		{"request_headers_timeout in the middle of a frame", func(m *conf.HTTPConnectionManager) { m.RequestHeadersTimeout = 100 * time.Millisecond }, head, "0 - request_header_timeout - -", "downstream_rq_header_timeout"},
		{"request_headers_timeout between frames", func(m *conf.HTTPConnectionManager) { m.RequestHeadersTimeout = 100 * time.Millisecond }, []byte{0, 0, 1, 1, 1, 0, 0, 0, 1, 0x82}, "0 - request_header_timeout - -", "downstream_rq_header_timeout"},
		{"request_timeout", func(m *conf.HTTPConnectionManager) { m.RequestTimeout = 100 * time.Millisecond }, head, "0 - request_overall_timeout - -", "downstream_rq_timeout"},
		{"stream_idle_timeout", func(m *conf.HTTPConnectionManager) { m.StreamIdleTimeout = 100 * time.Millisecond }, head, "0 SI stream_idle_timeout - -", "downstream_rq_idle_timeout"},
	} {
		t.Run(row.title, func(t *testing.T) {
			harness.NoLeaks(t)
			p := serveH2(t, one(harness.NewOrigin(t, "a")), row.change)
			w := dialH2(t, p)
			if _, err := w.Conn.Write(row.bytes); err != nil {
				t.Fatal(err)
			}
			w.want("goaway 0 ENHANCE_YOUR_CALM", "end")
			w.Conn.Close()
			p.WantLines(row.line)
			p.WantStats(harness.Stats{inH2 + row.stat: 1, inH2 + "downstream_rq_total": 1, inH2 + "downstream_cx_destroy_local": 1})
		})
	}
	t.Run("request_timeout in the middle of the body", func(t *testing.T) {
		harness.NoLeaks(t)
		p := serveH2(t, one(harness.NewOrigin(t, "a")), func(m *conf.HTTPConnectionManager) { m.RequestTimeout = 100 * time.Millisecond })
		w := dialH2(t, p)
		w.request(1, false, "POST", "/drain")
		w.must(w.WriteData(1, false, []byte("abc")))
		w.want("head 1 408 content-length=15", `data 1 "request timeout" end`, "reset 1 NO_ERROR")
		w.get(3, "/")
		w.wantHello(3)
		w.Conn.Close()
		p.WantLines("408 - request_overall_timeout POST /drain", "200 - via_upstream GET /")
	})
}

// SETTINGS must be acknowledged, and PINGs answered (HC-70).
func TestH2DeadPeers(t *testing.T) {
	t.Run("connection_keepalive", func(t *testing.T) {
		harness.NoLeaks(t)
		top, stuck := slowTop(t)
		p := serveH2(t, top, func(m *conf.HTTPConnectionManager) {
			m.HTTP2.KeepAlive = conf.HTTP2KeepAlive{Interval: 50 * time.Millisecond, Timeout: 200 * time.Millisecond, JitterPercent: 15}
		})
		w := dialH2(t, p)
		w.get(1, "/slow")
		for range 3 {
			w.deadline()
			f := w.nextPing()
			w.must(w.WritePing(true, f))
		}
		if p.Stat("http2.keepalive_timeout") != 0 {
			t.Error("a peer that answers is dead")
		}
		w.nextPing()
		if got := w.next(); got != "end" && !strings.HasPrefix(got, "error") {
			t.Errorf("got %s", got)
		}
		w.Conn.Close()
		p.WantLines("0 DC http2.ping_timeout GET /slow")
		p.WantStats(harness.Stats{"http2.keepalive_timeout": 1, inH2 + "downstream_cx_destroy_local_active_rq": 1})
		stuck.read()
	})
	t.Run("SETTINGS", func(t *testing.T) {
		if testing.Short() {
			t.Skip("waits ten seconds")
		}
		t.Parallel()
		p := serveH2(t, one(harness.NewOrigin(t, "a")), nil)
		w := harness.DialWire(t, "tcp", p.Addr)
		w.Send(http2.ClientPreface + "\x00\x00\x00\x04\x00\x00\x00\x00\x00")
		rest := ""
		harness.Eventually(t, "the proxy gives up", func() bool {
			b, err := w.In.ReadByte()
			if err == nil {
				rest += string([]byte{b})
			}
			return err != nil
		})
		if !strings.HasSuffix(rest, "\x00\x00\x00\x04") || !strings.Contains(rest, "\x00\x00\x08\x07\x00\x00\x00\x00\x00") {
			t.Errorf("no GOAWAY with SETTINGS_TIMEOUT but %q", rest)
		}
		w.Close()
	})
}

func (w *h2Wire) nextPing() [8]byte {
	w.t.Helper()
	for {
		f, err := w.ReadFrame()
		w.must(err)
		if p, ok := f.(*http2.PingFrame); ok {
			return p.Data
		}
	}
}

// A whole response whose client's window stays shut is given up after stream_idle_timeout.
func TestH2FlushTimeout(t *testing.T) {
	harness.NoLeaks(t)
	p := serveH2(t, one(harness.NewOrigin(t, "a")), func(m *conf.HTTPConnectionManager) { m.StreamIdleTimeout = 200 * time.Millisecond })
	w := dialH2(t, p, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 5})
	w.get(1, "/")
	w.want("head 1 200 content-length=13", `data 1 "hello"`)
	p.WantLines("200 - via_upstream GET /")
	w.want("reset 1 CANCEL")
	w.get(3, "/")
	w.want("head 3 200 content-length=13", `data 3 "hello"`)
	w.must(w.WriteWindowUpdate(3, 100))
	w.want(`data 3 " from a\n" end`)
	w.Conn.Close()
	p.WantStats(harness.Stats{"http2.tx_flush_timeout": 1, "http2.deferred_stream_close": 0, "http2.pending_send_bytes": 0})
}
