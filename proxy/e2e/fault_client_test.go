package e2e

import (
	"fmt"
	"io"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// clientPhase is how far a client's request has come when it vanishes.
type clientPhase struct {
	name   string
	serve  func(c *harness.Peer) // the origin; nil: nobody may connect
	origin func(t testing.TB) harness.Origin
	fields string // of the cluster
	// reach brings the client there, and waits until the proxy is there too.
	reach func(t *testing.T, p *harness.Proxy, o *harness.Raw, c *harness.Client)
	lines []string
	stats harness.Stats
	// kept: the origin's connection stays, or there was none.
	kept bool
}

const lineGone = " DC downstream_remote_disconnect "

func awaitStat(p *harness.Proxy, name string, want int64) {
	p.T.Helper()
	harness.Eventually(p.T, fmt.Sprintf("%s to be %d", name, want), func() bool { return p.Stat(name) == want })
}

// wentAway are the stats of one request that its client gave up, and of its upstream connection.
func wentAway(more harness.Stats) harness.Stats {
	return plus(harness.Stats{
		inHTTP + "downstream_rq_total": 1, inHTTP + "downstream_rq_rx_reset": 1, inHTTP + "downstream_rq_tx_reset": 0,
		inHTTP + "downstream_cx_destroy_remote": 1, inHTTP + "downstream_cx_destroy_remote_active_rq": 1, inHTTP + "downstream_cx_destroy_local": 0,
		onOrigin + "upstream_rq_total": 1, onOrigin + "upstream_rq_tx_reset": 1, onOrigin + "upstream_cx_destroy_local_with_active_rq": 1,
	}, more)
}

func untouched(more harness.Stats) harness.Stats {
	return plus(harness.Stats{onOrigin + "upstream_rq_total": 0, onOrigin + "upstream_cx_total": 0, inHTTP + "downstream_cx_destroy_remote": 1}, more)
}

var clientPhases = []clientPhase{
	{
		name: "connected only",
		reach: func(_ *testing.T, p *harness.Proxy, _ *harness.Raw, _ *harness.Client) {
			awaitStat(p, inHTTP+"downstream_cx_active", 1)
		},
		stats: untouched(harness.Stats{inHTTP + "downstream_rq_total": 0, inHTTP + "downstream_cx_destroy_remote_active_rq": 0, inHTTP + "downstream_rq_rx_reset": 0}),
		kept:  true,
	},
	{
		name: "in the middle of the head",
		reach: func(_ *testing.T, p *harness.Proxy, _ *harness.Raw, c *harness.Client) {
			c.Send("GET /a HTTP/1.1\r\nHos")
			awaitStat(p, inHTTP+"downstream_cx_active", 1)
		},
		lines: []string{"0" + lineGone + "- -"},
		stats: untouched(harness.Stats{inHTTP + "downstream_rq_total": 1, inHTTP + "downstream_rq_rx_reset": 1, inHTTP + "downstream_rq_completed": 0}),
		kept:  true,
	},
	{
		name: "while the upstream connection is pending", origin: harness.BlackHole, fields: "connect_timeout: 0.5s",
		reach: func(_ *testing.T, p *harness.Proxy, _ *harness.Raw, c *harness.Client) {
			c.Send(getA)
			awaitStat(p, onOrigin+"upstream_rq_pending_active", 1)
		},
		lines: []string{"0" + lineGone + "GET /a"},
		stats: harness.Stats{
			onOrigin + "upstream_rq_cancelled": 1, onOrigin + "upstream_rq_pending_active": 0, onOrigin + "upstream_rq_total": 0, onOrigin + "upstream_rq_tx_reset": 0,
			inHTTP + "downstream_rq_rx_reset": 1, inHTTP + "downstream_rq_completed": 0,
		},
		kept: true,
	},
	{
		name: "in the middle of a pending request's body", origin: harness.BlackHole, fields: "connect_timeout: 0.5s",
		reach: func(_ *testing.T, p *harness.Proxy, _ *harness.Raw, c *harness.Client) {
			c.Send("POST /a HTTP/1.1\r\nHost: test\r\nContent-Length: 100\r\n\r\n12345")
			awaitStat(p, onOrigin+"upstream_rq_pending_active", 1)
		},
		lines: []string{"0" + lineGone + "POST /a"},
		stats: harness.Stats{onOrigin + "upstream_rq_cancelled": 1, inHTTP + "downstream_rq_rx_reset": 1, inHTTP + "downstream_flow_control_paused_reading_total": 1},
		kept:  true,
	},
	{
		name: "in the middle of a small upload", serve: stalls,
		reach: func(t *testing.T, _ *harness.Proxy, o *harness.Raw, c *harness.Client) {
			c.Send("POST /a HTTP/1.1\r\nHost: test\r\nContent-Length: 100\r\n\r\n12345")
			awaitRead(t, o, 50)
		},
		lines: []string{"0" + lineGone + "POST /a"}, stats: wentAway(harness.Stats{inHTTP + "downstream_rq_completed": 0}),
	},
	{
		name: "in the middle of a chunk", serve: stalls,
		reach: func(t *testing.T, _ *harness.Proxy, o *harness.Raw, c *harness.Client) {
			c.Send("POST /a HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n12345")
			awaitRead(t, o, 50)
		},
		lines: []string{"0" + lineGone + "POST /a"}, stats: wentAway(nil),
	},
	{
		name: "in the middle of a bulk upload", serve: stalls,
		reach: func(t *testing.T, _ *harness.Proxy, o *harness.Raw, c *harness.Client) {
			c.Send(fmt.Sprintf("POST /a HTTP/1.1\r\nHost: test\r\nContent-Length: %d\r\n\r\n", 4*bulk))
			harness.Fill(c.Conn, 2*bulk)
			awaitRead(t, o, 2*bulk)
		},
		lines: []string{"0" + lineGone + "POST /a"}, stats: wentAway(nil),
	},
	{
		name: "in the middle of a bulk upload that the origin does not read", serve: func(c *harness.Peer) {
			c.ReadHead()
			waitStopped(c)
		},
		reach: func(_ *testing.T, p *harness.Proxy, _ *harness.Raw, c *harness.Client) {
			c.Send(fmt.Sprintf("POST /a HTTP/1.1\r\nHost: test\r\nContent-Length: %d\r\n\r\n", 4*bulk))
			harness.Fill(c.Conn, bulk)
			awaitStat(p, onOrigin+"upstream_rq_active", 1)
		},
		lines: []string{"0" + lineGone + "POST /a"}, stats: wentAway(nil), kept: true,
	},
	{
		name: "while it waits for the response", serve: stalls,
		reach: func(t *testing.T, _ *harness.Proxy, o *harness.Raw, c *harness.Client) {
			c.Send(getA)
			awaitRead(t, o, 20)
		},
		lines: []string{"0" + lineGone + "GET /a"}, stats: wentAway(harness.Stats{inHTTP + "downstream_rq_completed": 0}),
	},
	{
		name: "while it waits for the response, with more requests waiting", serve: stalls,
		reach: func(t *testing.T, _ *harness.Proxy, o *harness.Raw, c *harness.Client) {
			c.Send(getA + getA + getA)
			awaitRead(t, o, 20)
		},
		lines: []string{"0" + lineGone + "GET /a"}, stats: wentAway(nil),
	},
	{
		name: "in the middle of the response", serve: headThen(okHead+"Content-Length: 10\r\n\r\n12345", stalls),
		reach: func(t *testing.T, _ *harness.Proxy, _ *harness.Raw, c *harness.Client) {
			readSome(t, c.Send(getA).ReadHead("GET"), 5)
		},
		lines: []string{"200" + lineGone + "GET /a"},
		stats: wentAway(harness.Stats{inHTTP + "downstream_rq_2xx": 1, inHTTP + "downstream_rq_completed": 1, onOrigin + "upstream_rq_completed": 0}),
	},
	{
		name: "in the middle of a chunked response", serve: headThen(okHead+"Transfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n", stalls),
		reach: func(t *testing.T, _ *harness.Proxy, _ *harness.Raw, c *harness.Client) {
			readSome(t, c.Send(getA).ReadHead("GET"), 5)
		},
		lines: []string{"200" + lineGone + "GET /a"}, stats: wentAway(nil),
	},
	{
		name: "in the middle of a bulk response", serve: func(c *harness.Peer) {
			c.ReadHead()
			c.Send(fmt.Sprintf("%sContent-Length: %d\r\n\r\n", okHead, 256*bulk))
			c.Fill(256 * bulk) // until the connection ends
		},
		reach: func(t *testing.T, _ *harness.Proxy, _ *harness.Raw, c *harness.Client) {
			readSome(t, c.Send(getA).ReadHead("GET"), 2*bulk)
		},
		lines: []string{"200" + lineGone + "GET /a"}, stats: wentAway(nil),
	},
	{
		name: "in the middle of a bulk response that stalls", serve: func(c *harness.Peer) {
			c.ReadHead()
			c.Send(fmt.Sprintf("%sContent-Length: %d\r\n\r\n", okHead, 4*bulk))
			c.Fill(2 * bulk)
			c.Drain()
		},
		reach: func(t *testing.T, _ *harness.Proxy, _ *harness.Raw, c *harness.Client) {
			readSome(t, c.Send(getA).ReadHead("GET"), 2*bulk)
		},
		lines: []string{"200" + lineGone + "GET /a"}, stats: wentAway(nil),
	},
	{
		name: "in the middle of the response, with more requests waiting", serve: headThen(okHead+"Content-Length: 10\r\n\r\n12345", stalls),
		reach: func(t *testing.T, _ *harness.Proxy, _ *harness.Raw, c *harness.Client) {
			readSome(t, c.Send(getA+getA+getA).ReadHead("GET"), 5)
		},
		lines: []string{"200" + lineGone + "GET /a"}, stats: wentAway(nil),
	},
}

func awaitRead(t *testing.T, o *harness.Raw, n int64) {
	t.Helper()
	harness.Eventually(t, fmt.Sprintf("the origin to read %d bytes", n), func() bool { return o.Read(0) >= n })
}

// waitStopped returns when the origin is stopped; it does not read.
func waitStopped(c *harness.Peer) { <-c.Stopped() }

func readSome(t *testing.T, h *harness.Head, n int64) {
	t.Helper()
	if _, err := io.CopyN(io.Discard, h.Reader(), n); err != nil {
		t.Fatalf("%v after the beginning of %v", err, h)
	}
}

// A client may go at any moment: what it asked for is given up at once, on both sides, and logged.
func TestClientVanishes(t *testing.T) {
	harness.NoLeaks(t)
	ways := []struct {
		name   string
		vanish func(c *harness.Client)
	}{
		{"with a FIN", (*harness.Client).Close},
		{"with a RST", (*harness.Client).Reset},
		{"half-closed", func(c *harness.Client) { c.Finish() }}, // as gone as with a FIN, like in Envoy
	}
	t.Run("the client", func(t *testing.T) {
		for _, ph := range clientPhases {
			for _, w := range ways {
				t.Run(ph.name+" "+w.name, func(t *testing.T) {
					t.Parallel()
					ph.run(t, w.vanish)
				})
			}
		}
	})
}

func (ph *clientPhase) run(t *testing.T, vanish func(c *harness.Client)) {
	var o harness.Origin
	serve := ph.serve
	if serve == nil {
		serve = func(*harness.Peer) { t.Error("a connection to the origin") }
	}
	raw := harness.NewRaw(t, serve)
	o = raw
	if ph.origin != nil {
		o = ph.origin(t)
	}
	p := harness.Start(t, harness.Topology{Clusters: []harness.Cluster{{Name: "origin", Origins: []harness.Origin{o}, Fields: ph.fields}}})
	c := p.Dial()
	ph.reach(t, p, raw, c)
	vanish(c)
	p.WantQuiet()
	if !ph.kept {
		raw.WantEnd(0)
	}
	p.WantLines(ph.lines...)
	p.WantStats(ph.stats)
	if ph.origin == nil {
		p.WantStats(harness.Stats{onOrigin + "upstream_cx_active": 0})
	}
}

// After a client has gone the proxy serves the next one, on the same pools and free lists.
func TestAfterManyVanishingClientsTheNextIsServed(t *testing.T) {
	harness.NoLeaks(t)
	p := harness.Start(t, one(harness.NewOrigin(t, "a")))
	for i := range 200 {
		c := harness.Dial(t, p.Addr)
		switch i % 4 {
		case 0:
			c.Send("GET /bytes/1000000 HTTP/1.1\r\nHost: test\r\n\r\n")
		case 1:
			c.Send("POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 1000000\r\n\r\n")
			harness.Fill(c.Conn, 100_000)
		case 2:
			c.Send("GET /delay/1000 HTTP/1.1\r\nHost: test\r\n\r\nGET / HTTP/1.1\r\nHost: test\r\n\r\n")
		case 3:
			c.Send("GET /slow?bytes=100&every=1 HTTP/1.1\r\nHost: test\r\n\r\n").ReadHead("GET")
		}
		if i%3 == 0 {
			c.Close()
		} else {
			c.Reset()
		}
	}
	p.WantQuiet()
	p.Dial().Get("/").Want(200, "hello from a\n")
}
