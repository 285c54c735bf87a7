package e2e

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// A client that sends requests and reads no answer: its requests wait in the received bytes of the connection, answers
// in those to be written, both within the limit, and nothing is left once it reads (http_codecs.md 5).
func TestBytesBufferedOfClients(t *testing.T) {
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
	rx, tx := int64(0), int64(0)
	harness.Eventually(t, "requests and answers wait", func() bool {
		s := p.Stats()
		rx, tx = s[inHTTP+"downstream_cx_rx_bytes_buffered"], s[inHTTP+"downstream_cx_tx_bytes_buffered"]
		return rx > 0 && tx > 0
	})
	if rx > 2*limit || tx > 2*limit {
		t.Errorf("%d received and %d unsent bytes are buffered, the limit is %d", rx, tx, limit)
	}
	w := harness.NewWire(t, c.Conn)
	for range requests {
		w.Read()
	}
	p.WantStats(harness.Stats{inHTTP + "downstream_cx_rx_bytes_buffered": 0, inHTTP + "downstream_cx_tx_bytes_buffered": 0, inHTTP + "downstream_cx_active": 1})
}

// An origin that reads nothing: what it has yet to get is counted, of a request and of a TCP session (clusters.md 9),
// and what was counted of a connection goes with it.
func TestBytesBufferedOfOrigins(t *testing.T) {
	const (
		unsent = onOrigin + "upstream_cx_tx_bytes_buffered"
		limit  = "per_connection_buffer_limit_bytes: 65536"
	)
	check := func(t *testing.T, p *harness.Proxy, c *harness.Client, open func()) {
		t.Helper()
		n := int64(0)
		harness.Eventually(t, "bytes wait for the origin", func() bool {
			n = p.Stat(unsent)
			return n > 0
		})
		if n > 4*65536 {
			t.Errorf("%d bytes are buffered", n)
		}
		c.Close()
		open()
		harness.Eventually(t, "none waits", func() bool { return p.Stat(unsent) == 0 && p.Stat(onOrigin+"upstream_cx_active") == 0 })
		p.WantStats(harness.Stats{unsent: 0, onOrigin + "upstream_cx_rx_bytes_buffered": 0})
	}
	push := func(c *harness.Client, head string) {
		c.Send(head)
		go func() { _, _ = io.Copy(c.Conn, io.LimitReader(new(harness.Stream), 64<<20)) }()
	}
	asleep := func(t *testing.T) (o *harness.Raw, open chan struct{}) {
		open = make(chan struct{})
		return harness.NewRaw(t, func(p *harness.Peer) {
			select {
			case <-open:
				p.Drain()
			case <-p.Stopped():
			}
		}), open
	}
	t.Run("HTTP", func(t *testing.T) {
		harness.NoLeaks(t)
		o, open := asleep(t)
		clusters := to(o)
		clusters[0].Fields = limit
		p := harness.Start(t, harness.Topology{Clusters: clusters, Listener: limit})
		c := p.Dial()
		// A body in chunks is written by the codec; one of known length is spliced and waits in pipes.
		push(c, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n4000000\r\n")
		check(t, p, c, func() { close(open) })
	})
	t.Run("TCP", func(t *testing.T) {
		harness.NoLeaks(t)
		o, open := asleep(t)
		clusters := to(o)
		clusters[0].Fields = limit
		p := harness.StartTCP(t, harness.TCPTopology{Clusters: clusters, Listener: limit})
		c := p.Dial()
		push(c, "")
		check(t, p, c, func() { close(open) })
	})
}
