//lint:file-ignore SA1019 the HTTP/2 of x/net is the peer

package e2e

import (
	"bytes"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/sluiceproxy/sluice/bench"
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// Large bodies both ways through windows that are much smaller (HC-66).
func TestH2LargeBodies(t *testing.T) {
	const size = 16 << 20
	want := bench.Pattern(nil, size)
	for _, row := range []struct {
		title  string
		window uint32
		limit  string
	}{{"default windows", 0, ""}, {"the smallest windows", 65535, ""}, {"little buffer", 0, "per_connection_buffer_limit_bytes: 32768"}} {
		t.Run(row.title, func(t *testing.T) {
			harness.NoLeaks(t)
			top := one(harness.NewOrigin(t, "a"))
			top.Listener = row.limit
			p := serveH2(t, top, func(m *conf.HTTPConnectionManager) {
				if row.window > 0 {
					m.HTTP2.InitialStreamWindowSize, m.HTTP2.InitialConnectionWindowSize = row.window, row.window
				}
			})
			c, url := clientH2(t), "http://"+p.Addr
			if a := mustAskH2(t, c, "GET", fmt.Sprintf("%s/bytes/%d", url, size), nil); !bytes.Equal(a.body, want) {
				t.Errorf("download: %d bytes", len(a.body))
			}
			sum := fmt.Sprintf("%d %08x\n", size, patternSum(size))
			if a := mustAskH2(t, c, "POST", url+"/drain", bytes.NewReader(want)); string(a.body) != sum {
				t.Errorf("upload: %s, want %s", a.body, sum)
			}
			if a := mustAskH2(t, c, "POST", url+"/echo", io.MultiReader(bytes.NewReader(want))); !bytes.Equal(a.body, want) {
				t.Errorf("echo: %d bytes", len(a.body))
			}
			c.CloseIdleConnections()
		})
	}
}

// A thousand streams of one connection at a time.
func TestH2ManyStreams(t *testing.T) { // HC-67
	harness.NoLeaks(t)
	top := one(harness.NewOrigin(t, "a"))
	top.Clusters[0].Fields = "circuit_breakers: { thresholds: [{ max_connections: 2000, max_pending_requests: 2000, max_requests: 2000 }] }"
	p := serveH2(t, top, nil)
	c := clientH2(t)
	mustAskH2(t, c, "GET", "http://"+p.Addr+"/", nil) // so that there is one connection
	const streams = 1000
	var done sync.WaitGroup
	for i := range streams {
		done.Go(func() {
			body := bytes.Repeat([]byte{byte(i)}, i*37%20_000)
			if a, err := askH2(c, "POST", "http://"+p.Addr+"/echo", bytes.NewReader(body)); err != nil || !bytes.Equal(a.body, body) {
				t.Errorf("stream %d: %v", i, err)
			}
		})
	}
	done.Wait()
	c.CloseIdleConnections()
	p.WantStats(harness.Stats{inH2 + "downstream_cx_total": 1, inH2 + "downstream_rq_2xx": streams + 1})
}

// Whoever opens more streams than allowed is refused those.
func TestH2TooManyStreams(t *testing.T) {
	harness.NoLeaks(t)
	p := serveH2(t, one(harness.NewOrigin(t, "a")), func(m *conf.HTTPConnectionManager) { m.HTTP2.MaxConcurrentStreams = 2 })
	w := dialH2(t, p)
	w.request(1, false, "POST", "/drain")
	w.request(3, false, "POST", "/drain")
	w.get(5, "/")
	w.want("reset 5 REFUSED_STREAM")
	w.must(w.WriteData(1, true, []byte("a")))
	w.want("head 1 200 content-length=11", `data 1 "1 e8b7be43\n" end`)
	w.get(7, "/")
	w.want("head 7 200 content-length=13", `data 7 "hello from a\n" end`)
	w.Conn.Close()
	p.WantStats(harness.Stats{"http2.stream_refused_errors": 1, inH2 + "downstream_rq_total": 3})
}

// The response of a stream without a window waits, bounded, and does not hold up its siblings.
func TestH2ASlowStreamDoesNotStopItsSiblings(t *testing.T) {
	harness.NoLeaks(t)
	const size = 8 << 20
	top := one(harness.NewOrigin(t, "a"))
	p := serveH2(t, top, nil)
	toll := takeToll(t, p)
	w := dialH2(t, p, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1000})
	w.must(w.WriteWindowUpdate(0, 1<<30))
	w.get(1, fmt.Sprintf("/bytes/%d", size))
	w.want(fmt.Sprintf("head 1 200 content-length=%d", size), "data 1 (1000 bytes)")
	for id := uint32(3); id < 400; id += 2 {
		w.get(id, "/")
		w.want(fmt.Sprintf("head %d 200 content-length=13", id), fmt.Sprintf(`data %d "hello from a\n" end`, id))
	}
	if n := p.Stat("http2.pending_send_bytes"); n == 0 || n > 512<<10 {
		t.Errorf("%d bytes wait for the window", n)
	}
	toll.settle(fmt.Sprintf("199 siblings were served beside a stream of %d KiB that moved 1000 bytes,", size>>10))
	w.must(w.WriteWindowUpdate(1, 2*size))
	if n := w.body(1, false); n != size-1000 {
		t.Errorf("%d bytes of the slow stream", n)
	}
	w.Conn.Close()
	p.WantStats(harness.Stats{"http2.pending_send_bytes": 0, "cluster.origin.upstream_flow_control_paused_reading_total": p.Stat("cluster.origin.upstream_flow_control_resumed_reading_total")})
}

// An upload whose origin does not read stops at its window, and its siblings go on.
func TestH2ASlowUploadDoesNotStopItsSiblings(t *testing.T) {
	harness.NoLeaks(t)
	const window = 256 << 10
	stuck := newStuckOrigin(t)
	top := harness.Topology{
		Clusters: []harness.Cluster{{Name: "origin", Origins: []harness.Origin{harness.NewOrigin(t, "a")}}, {Name: "stuck", Origins: []harness.Origin{stuck}, Fields: "per_connection_buffer_limit_bytes: 32768"}},
		Routes:   "- match: { prefix: /stuck }\n  route: { cluster: stuck }\n- match: { prefix: / }\n  route: { cluster: origin }",
	}
	p := serveH2(t, top, func(m *conf.HTTPConnectionManager) {
		m.HTTP2.InitialStreamWindowSize = window
	})
	w := dialH2(t, p)
	w.request(1, false, "POST", "/stuck")
	// The window is sent as far as it goes: the sender's side of it is the test's to keep.
	credit, sent := window, 0
	piece := make([]byte, 16<<10)
	idle := func() bool { // reads what has come, until nothing does
		_ = w.Conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		f, err := w.ReadFrame()
		if u, ok := f.(*http2.WindowUpdateFrame); ok && u.StreamID == 1 {
			credit += int(u.Increment)
		}
		return err != nil
	}
	for {
		for credit >= len(piece) {
			_ = w.Conn.SetWriteDeadline(time.Now().Add(harness.Patience))
			w.must(w.WriteData(1, false, piece))
			credit -= len(piece)
			sent += len(piece)
		}
		if idle() && credit < len(piece) {
			break
		}
		if sent > 64<<20 {
			t.Fatal("the upload does not stop")
		}
	}
	if n := p.Buffered(); n > 4*window {
		t.Errorf("%d bytes are buffered for a window of %d", n, window)
	}
	for id := uint32(3); id < 100; id += 2 {
		w.request(id, false, "POST", "/echo")
		w.must(w.WriteData(id, true, []byte("abc")))
		w.want(fmt.Sprintf("head %d 200", id))
		if n := w.body(id, false); n != 3 {
			t.Fatalf("%d bytes of stream %d", n, id)
		}
	}
	stuck.read()
	harness.Eventually(t, "the upload goes on", func() bool { idle(); return credit >= len(piece) })
	w.must(w.WriteData(1, true, nil))
	w.want("head 1 200 content-length=2", `data 1 "ok" end`)
	w.Conn.Close()
}

// A client that stops reading altogether holds what its windows and the listener's limit allow, whatever
// it asks for.
func TestH2AStoppedReaderIsBounded(t *testing.T) {
	harness.NoLeaks(t)
	const limit = 64 << 10
	top := harness.Topology{
		Listener: fmt.Sprintf("per_connection_buffer_limit_bytes: %d", limit),
		Clusters: []harness.Cluster{{Name: "origin", Origins: []harness.Origin{harness.NewOrigin(t, "a")}}},
		Routes:   "- " + direct("path: /direct", string(bytes.Repeat([]byte("x"), 4000))) + "\n- match: { prefix: / }\n  route: { cluster: origin }",
	}
	for _, path := range []string{"/direct", "/bytes/1000000"} {
		t.Run(path, func(t *testing.T) {
			p := serveH2(t, top, nil)
			w := dialH2(t, p, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 30})
			w.must(w.Conn.SetReadBuffer(64 << 10))
			w.must(w.WriteWindowUpdate(0, 1<<30))
			writing := make(chan struct{})
			go func() {
				defer close(writing)
				for id := uint32(1); id < 6000; id += 2 {
					_ = w.Conn.SetWriteDeadline(time.Now().Add(2 * time.Second))
					words := []string{":method=GET", ":scheme=http", ":path=" + path, ":authority=test"}
					if err := w.WriteHeaders(headersH2(id, w.block(words...), true)); err != nil {
						return
					}
				}
			}()
			for last, same := int64(-1), 0; same < 20; {
				if n := p.Buffered(); n > 200*limit { // one read of each stream that had begun
					t.Errorf("%d bytes are buffered, the limit is %d", n, limit)
					break
				}
				if n := p.Stat(inH2 + "downstream_rq_total"); n != last {
					last, same = n, 0
				} else {
					same++
				}
				time.Sleep(5 * time.Millisecond) // between two looks
			}
			w.Conn.Close()
			<-writing
			p.WantStats(harness.Stats{inH2 + "downstream_rq_active": 0, "http2.streams_active": 0, "http2.pending_send_bytes": 0})
		})
	}
}
