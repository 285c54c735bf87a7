package e2e

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

const hedged = "hedge_policy: { hedge_on_per_try_timeout: true }\n"

// ROUTER-51, ROUTER-60: a POST is hedged, too, with its whole body for each try, by length and in chunks.
func TestROUTER51HedgingSendsTheWholeBody(t *testing.T) {
	body := strings.Repeat("0123456789abcdef", 4000)
	for _, row := range []struct{ title, request string }{
		{"by length", fmt.Sprintf("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s", len(body), body)},
		{"in chunks", fmt.Sprintf("POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(body), body)},
	} {
		t.Run(row.title, func(t *testing.T) {
			harness.NoLeaks(t)
			var n atomic.Int64
			bodies := make(chan string, 10)
			raw := harness.NewRaw(t, func(c *harness.Peer) {
				m, err := harness.ReadMessage(c.In, false)
				if err != nil {
					return
				}
				bodies <- string(m.Body)
				if n.Add(1) >= 2 {
					c.Send(answered(200))
				}
				c.Drain()
			})
			p := harness.Start(t, retrying(hedged+quick("retry_on: 5xx, per_try_timeout: 0.05s"), raw))
			c := p.Dial().Send(row.request)
			c.Read("POST").Want(200, "200")
			c.Close()
			for range 2 {
				if got := <-bodies; got != body {
					t.Errorf("a try had %d bytes", len(got))
				}
			}
			wantCounts(p, map[string]int64{"upstream_rq_total": 2, "upstream_rq_retry": 1, "upstream_rq_per_try_timeout": 0})
		})
	}
}

// ROUTER-54, ROUTER-55: when no try brings a good answer, what the last one brings goes to the client.
func TestROUTER54TheLastBadAnswerIsSent(t *testing.T) {
	for _, row := range []struct {
		title, last string
		status      int
		body        string
	}{
		{"an answer", answered(503, "x-try: 2"), 503, "503"},
		{"a reset (ROUTER-55)", "", 503, "upstream connect error or disconnect/reset before headers. retried and the latest reset reason: connection termination"},
	} {
		t.Run(row.title, func(t *testing.T) {
			harness.NoLeaks(t)
			var n atomic.Int64
			second, failed := make(chan struct{}), make(chan struct{})
			raw := harness.NewRaw(t, func(c *harness.Peer) {
				c.ReadHead()
				if n.Add(1) == 1 {
					<-second
					c.Send(answered(503, "x-try: 1"))
					close(failed)
					c.Drain()
					return
				}
				close(second)
				<-failed
				c.Send(row.last)
				if row.last != "" {
					c.Drain()
				}
			})
			p := harness.Start(t, retrying(hedged+quick("retry_on: 5xx, num_retries: 1, per_try_timeout: 0.1s"), raw))
			c := p.Dial()
			c.Get("/a").Want(row.status, row.body)
			c.Close()
			if n.Load() != 2 {
				t.Errorf("%d tries", n.Load())
			}
		})
	}
}

// ROUTER-51: hedging asks what retries ask: how many may be under way, and whether there are any.
func TestROUTER51WhatKeepsFromHedging(t *testing.T) {
	for _, row := range []struct{ title, cluster, bootstrap, retryOn, count string }{
		{"use_retry", "", runtimeLayer("upstream.use_retry", "0"), "5xx", ""},
		{"the breaker", "circuit_breakers: { thresholds: [{ max_retries: 0 }] }", "", "5xx", "upstream_rq_retry_overflow"},
		{"no condition", "", "", "", ""},
	} {
		t.Run(row.title, func(t *testing.T) {
			harness.NoLeaks(t)
			raw := harness.NewRaw(t, stalls)
			policy := "retry_policy: { per_try_timeout: 0.05s }"
			if row.retryOn != "" {
				policy = "retry_policy: { retry_on: " + row.retryOn + ", per_try_timeout: 0.05s }"
			}
			top := retrying("timeout: 0.3s\n"+hedged+policy, raw)
			top.Clusters[0].Fields, top.Bootstrap = row.cluster, row.bootstrap
			top.NotSettled = row.cluster != "" // a breaker for 0 is open forever
			p := harness.Start(t, top)
			p.Dial().Get("/a").Want(504, "upstream request timeout")
			want := map[string]int64{"upstream_rq_total": 1, "upstream_rq_retry": 0, "upstream_rq_timeout": 1, "upstream_rq_per_try_timeout": 0}
			if row.count != "" {
				want[row.count] = 1
			}
			wantCounts(p, want)
		})
	}
}

// ROUTER-42: a try without progress is a reset that retry policies see, and one whose body keeps coming is
// none, however long it takes.
func TestROUTER42AnIdleTryIsRetried(t *testing.T) {
	harness.NoLeaks(t)
	var n atomic.Int64
	raw := harness.NewRaw(t, func(c *harness.Peer) {
		c.ReadHead()
		if n.Add(1) == 1 {
			c.Drain()
			return
		}
		c.Send("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n")
		for range 8 { // three times the idle time, a tenth of it apiece
			time.Sleep(300 * time.Millisecond)
			c.Send("x")
		}
		c.Drain()
	})
	p := harness.Start(t, retrying(quick("retry_on: reset, per_try_idle_timeout: 1s"), raw))
	p.Dial().Get("/a").Want(200, "xxxxxxxx")
	wantCounts(p, map[string]int64{"upstream_rq_per_try_idle_timeout": 1, "upstream_rq_retry": 1, "upstream_rq_retry_success": 1})
}

// ROUTER-48: the timers of the route and of its tries run until the answer to an upgrade, which may be tried
// again until then; in the tunnel they do not count.
func TestROUTER48TimersOfUpgradesEndWithTheAnswer(t *testing.T) {
	harness.NoLeaks(t)
	var n atomic.Int64
	raw := harness.NewRaw(t, func(c *harness.Peer) {
		c.ReadHead()
		if n.Add(1) == 1 {
			c.Drain() // the try's time passes
			return
		}
		c.Send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		_, _ = io.Copy(struct{ io.Writer }{c.TCPConn}, struct{ io.Reader }{c.In})
	})
	top := retrying("timeout: 1s\n"+quick("retry_on: reset, per_try_timeout: 0.2s, per_try_idle_timeout: 0.2s"), raw)
	top.Manager += "\nupgrade_configs: [{ upgrade_type: websocket }]"
	p := harness.Start(t, top)
	w := harness.DialWire(t, "tcp", p.Addr)
	w.Send(askUpgrade("websocket"))
	if m := w.ReadHead(); m.Status() != 101 {
		t.Fatal(m.Start)
	}
	time.Sleep(1200 * time.Millisecond) // all of them are over
	wantEcho(t, w.Conn, bufio.NewReader(w.In), "still there")
	w.Close()
	wantCounts(p, map[string]int64{"upstream_rq_per_try_timeout": 1, "upstream_rq_per_try_idle_timeout": 0, "upstream_rq_timeout": 0, "upstream_rq_retry": 1})
}

// ROUTER-50: the route's policy stands in the place of its virtual host's, and the header over both, either way.
func TestROUTER50WhoSaysWhetherToHedge(t *testing.T) {
	const off = "hedge_policy: { hedge_on_per_try_timeout: false }\n"
	for _, row := range []struct {
		title, host, route, field string
		tries                     int64
	}{
		{"nobody", "", "", "x: y", 1},
		{"the virtual host", hedged, "", "x: y", 2},
		{"the route", off, hedged, "x: y", 2},
		{"the route does not", hedged, off, "x: y", 1},
		{"the header", "", off, "x-envoy-hedge-on-per-try-timeout: true", 2},
		{"the header does not", hedged, "", "x-envoy-hedge-on-per-try-timeout: false", 1},
	} {
		t.Run(row.title, func(t *testing.T) {
			harness.NoLeaks(t)
			raw := harness.NewRaw(t, stalls)
			top := retrying("timeout: 0.4s\n"+row.route+quick("retry_on: connect-failure, per_try_timeout: 0.05s"), raw)
			top.VirtualHost = row.host
			p := harness.Start(t, top)
			ask(t, p, "h", "/a", row.field)
			wantCounts(p, map[string]int64{"upstream_rq_total": row.tries, "upstream_rq_per_try_timeout": 2 - row.tries})
		})
	}
}
