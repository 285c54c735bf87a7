package e2e

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httputil"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// An origin that answers before the request has ended is heard; then both connections end, since
// nobody waits for the rest of the request (HC-30).
func TestEarlyAnswers(t *testing.T) {
	harness.NoLeaks(t)
	const early = "HTTP/1.1 413 Content Too Large\r\nContent-Length: 5\r\n\r\nearly"
	uploads := []struct {
		name, head string
		send       func(c io.Writer) // what follows the head
	}{
		{"of 100 bytes", "Content-Length: 100", func(c io.Writer) { _, _ = io.WriteString(c, "0123456789") }},
		{"in chunks", "Transfer-Encoding: chunked", func(c io.Writer) { _, _ = io.WriteString(c, "a\r\n0123456789\r\n") }},
		{"in bulk", fmt.Sprintf("Content-Length: %d", 64*bulk), func(c io.Writer) { harness.Fill(c, 64*bulk) }},
		{"in many chunks", "Transfer-Encoding: chunked", func(c io.Writer) {
			chunk := "10000\r\n" + strings.Repeat("x", 0x10000) + "\r\n"
			for range 256 {
				if _, err := io.WriteString(c, chunk); err != nil {
					return
				}
			}
		}},
	}
	origins := []struct {
		name  string
		serve func(c *harness.Peer)
	}{
		{"answers and reads nothing", func(c *harness.Peer) { c.ReadHead(); c.Send(early); waitStopped(c) }},
		{"answers and reads the rest", func(c *harness.Peer) { c.ReadHead(); c.Send(early); c.Drain() }},
		{"answers and closes", func(c *harness.Peer) { c.ReadHead(); c.Send(early) }},
		{"answers in the middle of the body", func(c *harness.Peer) {
			c.ReadHead()
			_, _ = io.CopyN(io.Discard, c.In, 10)
			c.Send(early)
			c.Drain()
		}},
		{"answers in two parts", func(c *harness.Peer) { c.ReadHead(); c.Send(early[:30]); c.Send(early[30:]); c.Drain() }},
	}
	t.Run("an upload", func(t *testing.T) {
		for _, up := range uploads {
			for _, og := range origins {
				t.Run(up.name+", the origin "+og.name, func(t *testing.T) {
					t.Parallel()
					o := harness.NewRaw(t, func(c *harness.Peer) {
						if c.Number == 0 {
							og.serve(c)
						} else {
							c.Well()
						}
					})
					p := harness.Start(t, one(o))
					c := p.Dial()
					c.Send("POST /a HTTP/1.1\r\nHost: test\r\n" + up.head + "\r\n\r\n")
					var sending sync.WaitGroup
					sending.Go(func() { up.send(c.Conn) })
					r := c.Read("POST").Want(413, "early").WantHeader("x-envoy-upstream-service-time", "")
					if !r.Closes {
						t.Error("the response does not announce the end of the connection")
					}
					c.Close()
					sending.Wait()
					p.Dial().Get("/again").Want(200, "/again")
					p.WantLines("413 - via_upstream POST /a", "200 - via_upstream GET /again")
					p.WantStats(harness.Stats{
						inHTTP + "downstream_rq_response_before_rq_complete": 1, inHTTP + "downstream_rq_4xx": 1, inHTTP + "downstream_rq_tx_reset": 0,
						onOrigin + "upstream_rq_413": 1, onOrigin + "upstream_cx_total": 2, onOrigin + "upstream_cx_active": 1, onOrigin + "upstream_cx_protocol_error": 0,
					})
				})
			}
		}
	})
}

// An origin may close an idle connection at any moment. A request that is on its way by then may fail,
// but it never gets another one's answer, and an end that was noticed before costs nothing.
func TestOriginClosesIdleConnectionsWhileRequestsRace(t *testing.T) {
	harness.NoLeaks(t)
	o := harness.NewRaw(t, func(c *harness.Peer) {
		for range 1 + rand.IntN(6) {
			head := c.ReadHead()
			if head == "" {
				return
			}
			c.Respond(strings.Fields(head)[1])
		}
	})
	p := harness.Start(t, harness.Topology{Loops: 2, Clusters: []harness.Cluster{{Name: "origin", Origins: []harness.Origin{o}}}})
	var good, bad atomic.Int64
	var clients sync.WaitGroup
	for i := range 6 {
		clients.Go(func() {
			transport := &http.Transport{}
			defer transport.CloseIdleConnections()
			client := &http.Client{Transport: transport}
			for j := range 150 {
				path := fmt.Sprintf("/%d/%d", i, j)
				r, err := client.Get("http://" + p.Addr + path)
				if err != nil {
					t.Error(err)
					return
				}
				body, err := io.ReadAll(r.Body)
				_ = r.Body.Close()
				switch {
				case err != nil:
					t.Error(err)
				case r.StatusCode == 200 && string(body) == path:
					good.Add(1)
				case r.StatusCode == 503 && string(body) == resetBody+"connection termination":
					bad.Add(1)
				default:
					t.Errorf("%s got %d %q", path, r.StatusCode, body)
				}
			}
		})
	}
	clients.Wait()
	for _, line := range p.AwaitLines(900) {
		if !strings.HasPrefix(line, "200 - via_upstream") && !strings.HasPrefix(line, lineUC) {
			t.Errorf("the access log has %q", line)
		}
	}
	p.WantStats(harness.Stats{
		onOrigin + "upstream_rq_200": good.Load(), onOrigin + "upstream_rq_503": bad.Load(), inHTTP + "downstream_rq_completed": 900,
		onOrigin + "upstream_cx_protocol_error": 0,
	})
}

func TestAStaleConnectionIsNoticedWhileIdle(t *testing.T) {
	for _, end := range []struct {
		name string
		do   func(c *harness.Peer)
	}{{"a FIN", closes}, {"a RST", resets}} {
		t.Run(end.name, func(t *testing.T) {
			harness.NoLeaks(t)
			now := make(chan struct{})
			o := harness.NewRaw(t, func(c *harness.Peer) {
				if c.Number > 0 {
					c.Well()
					return
				}
				c.ReadHead()
				c.Respond("first")
				<-now
				end.do(c)
			})
			p := harness.Start(t, one(o))
			c := p.Dial()
			c.Get("/").Want(200, "first")
			p.WantStats(harness.Stats{onOrigin + "upstream_cx_active": 1, onOrigin + "upstream_rq_active": 0})
			close(now)
			awaitStat(p, onOrigin+"upstream_cx_destroy_remote", 1)
			c.Get("/second").Want(200, "/second")
			p.WantStats(harness.Stats{
				onOrigin + "upstream_cx_total": 2, onOrigin + "upstream_cx_destroy_with_active_rq": 0, onOrigin + "upstream_cx_active": 1,
				onOrigin + "upstream_rq_200": 2, onOrigin + "upstream_rq_503": 0,
			})
		})
	}
}

// newChunks decodes a chunked body.
func newChunks(r io.Reader) io.Reader { return httputil.NewChunkedReader(r) }
