package e2e

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// Rapid reset by clients that come again whenever they are cut off, with all the streams that the proxy
// takes, 100,000 in a second on an idle machine: each connection gets 250 of them, nothing stays, and
// another client is served (HC-77).
func TestH2RapidResetsThatComeAgain(t *testing.T) {
	harness.NoLeaks(t)
	top, stuck := slowTop(t)
	top.Clusters[1].Fields = "circuit_breakers: { thresholds: [{ max_connections: 1, max_pending_requests: 100000, max_requests: 100000 }] }"
	p := serveH2(t, top, func(m *conf.HTTPConnectionManager) { m.DelayedCloseTimeout = 50 * time.Millisecond })
	holder := dialH2(t, p) // of the one connection to the origin, so that the others wait for it
	holder.get(1, "/slow")
	p.WantStats(harness.Stats{"cluster.stuck.upstream_cx_active": 1})
	const each, attackers = 2000, 4
	f := newFloodBytes()
	for i := range uint32(each) {
		f.open(2*i+1, "GET", "/slow", true)
		_ = f.WriteRSTStream(2*i+1, http2.ErrCodeCancel)
	}
	flood := f.Bytes()
	toll := takeToll(t, p)
	var mu sync.Mutex
	var done sync.WaitGroup
	connections := 0
	end := time.Now().Add(2 * time.Second)
	for range attackers {
		done.Go(func() {
			for time.Now().Before(end) {
				c, err := net.DialTimeout("tcp", p.Addr, harness.Patience)
				if err != nil {
					t.Error(err)
					return
				}
				_ = c.SetDeadline(time.Now().Add(harness.Patience))
				go func() { _, _ = c.Write(flood) }()
				if got := readGoAway(c); got != http2.ErrCodeEnhanceYourCalm {
					t.Errorf("GOAWAY with %v", got)
				}
				_ = c.Close()
				mu.Lock()
				connections++
				mu.Unlock()
			}
		})
	}
	done.Wait()
	took := time.Since(toll.began)
	n := int64(connections)
	begun := p.Stat(inHTTP + "downstream_rq_total")
	toll.settle(fmt.Sprintf("%d connections with %d streams and as many resets, %.0f in a second,", connections, begun, float64(begun)/took.Seconds()))
	p.WantStats(harness.Stats{
		inHTTP + "downstream_rq_too_many_premature_resets": n, "http2.streams_active": 1, inHTTP + "downstream_cx_active": 1,
		inHTTP + "downstream_cx_http2_total": n + 2, "cluster.stuck.upstream_rq_pending_active": 0, "cluster.stuck.upstream_cx_total": 1,
	})
	others := int64(toll.other.served) + 4 // the holder's, and what the bystander asked without its being counted
	if begun < 250*n || begun > 250*n+others {
		t.Errorf("%d requests on %d connections", begun, n)
	}
	stuck.read()
	holder.want("head 1 200 content-length=2", `data 1 "ok" end`)
	holder.Conn.Close()
}

// Heads that are refused end their streams, however many there are: they begin nothing, and a client that
// reads the answers may go on (HC-78).
func TestH2RefusedHeadsDoNotEndTheConnection(t *testing.T) {
	harness.NoLeaks(t)
	p := serveH2(t, one(harness.NewOrigin(t, "a")), func(m *conf.HTTPConnectionManager) { m.HeadersWithUnderscores = conf.UnderscoresReject })
	toll := takeToll(t, p)
	w := dialH2(t, p)
	const heads = 20_000
	w.must(w.Conn.SetDeadline(time.Now().Add(harness.Patience)))
	var sending sync.WaitGroup
	sending.Go(func() {
		for i := range uint32(heads) {
			if err := w.WriteHeaders(headersH2(2*i+1, w.block(":method=GET", ":scheme=http", ":path=/", ":authority=test", "x_a=b"), true)); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for i := range heads {
		if got, want := w.next(), fmt.Sprintf("reset %d PROTOCOL_ERROR", 2*i+1); got != want {
			t.Fatalf("got %s, want %s", got, want)
		}
	}
	sending.Wait()
	w.get(2*heads+1, "/")
	w.wantHello(2*heads + 1)
	toll.settle(fmt.Sprintf("%d heads refused", heads))
	w.Conn.Close()
	p.WantStats(harness.Stats{"http2.requests_rejected_with_underscores_in_headers": heads, "http2.tx_reset": heads, inHTTP + "downstream_rq_too_many_premature_resets": 0})
}

// Questions whose answers are read are no flood; they cost no memory either.
func TestH2AnsweredQuestionsCostNoMemory(t *testing.T) {
	for _, row := range []struct {
		title  string
		frame  func(f *http2.Framer)
		answer func(f http2.Frame) bool
	}{
		{"PING", func(f *http2.Framer) { _ = f.WritePing(false, [8]byte{7}) }, func(f http2.Frame) bool {
			g, ok := f.(*http2.PingFrame)
			return ok && g.IsAck()
		}},
		{"SETTINGS", func(f *http2.Framer) {
			_ = f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 70_000})
		}, func(f http2.Frame) bool {
			g, ok := f.(*http2.SettingsFrame)
			return ok && g.IsAck()
		}},
	} {
		t.Run(row.title, func(t *testing.T) {
			harness.NoLeaks(t)
			p := serveH2(t, one(harness.NewOrigin(t, "a")), nil)
			toll := takeToll(t, p)
			w := dialH2(t, p)
			const batch, batches = 500, 200 // at most batch are under way
			again := repeat(batch, row.frame)
			answers := -1 // the one to the handshake's SETTINGS
			if row.title == "PING" {
				answers = 0
			}
			for n := range batches {
				w.deadline()
				if _, err := w.Conn.Write(again); err != nil {
					t.Fatalf("after %d: %v", n*batch, err)
				}
				for answers < (n+1)*batch {
					f, err := w.ReadFrame()
					w.must(err)
					if row.answer(f) {
						answers++
					}
				}
			}
			took := time.Since(toll.began)
			toll.settle(fmt.Sprintf("%d answers, %.0f in a second,", answers, float64(answers)/took.Seconds()))
			w.get(1, "/")
			w.wantHello(1)
			w.Conn.Close()
			p.WantStats(harness.Stats{"http2.outbound_control_flood": 0})
		})
	}
}

// Data in frames of one byte is data: it arrives whole where it is taken, and where it is not it takes
// what its bytes take, not what its frames do (HC-66).
func TestH2TinyDataFrames(t *testing.T) {
	const size = 200_000
	tiny := func(id uint32, n int) []byte {
		return repeat(n, func(f *http2.Framer) { _ = f.WriteData(id, false, []byte("x")) })
	}
	t.Run("that are taken", func(t *testing.T) {
		harness.NoLeaks(t)
		p := serveH2(t, one(harness.NewOrigin(t, "a")), nil)
		toll := takeToll(t, p)
		w := dialH2(t, p)
		w.request(1, false, "POST", "/drain")
		if _, err := w.Conn.Write(tiny(1, size)); err != nil {
			t.Fatal(err)
		}
		w.must(w.WriteData(1, true, nil))
		if got := w.next(); got != "head 1 200 content-length=16" {
			t.Errorf("got %s", got)
		}
		if n := w.body(1, false); n != 16 { // the count, and a checksum
			t.Errorf("%d bytes", n)
		}
		toll.settle(fmt.Sprintf("%d frames of one byte", size))
		w.Conn.Close()
	})
	t.Run("that are not taken", func(t *testing.T) {
		harness.NoLeaks(t)
		top, stuck := slowTop(t)
		top.Clusters[1].Fields = "per_connection_buffer_limit_bytes: 32768"
		const window = 256 << 10
		p := serveH2(t, top, func(m *conf.HTTPConnectionManager) { m.HTTP2.InitialStreamWindowSize = window })
		toll := takeToll(t, p)
		w := dialH2(t, p)
		w.request(1, false, "POST", "/slow")
		if _, err := w.Conn.Write(tiny(1, size)); err != nil {
			t.Fatal(err)
		}
		w.must(w.WritePing(false, [8]byte{}))
		w.want("ping ack=true") // so that all of it has been read
		toll.settle(fmt.Sprintf("%d frames of one byte", size))
		stuck.read()
		w.must(w.WriteData(1, true, nil))
		w.want("head 1 200 content-length=2", `data 1 "ok" end`)
		w.Conn.Close()
	})
}

// A stopped reader of a gibibyte holds at most its window at the proxy, and what the listener's limit is
// for one whose socket is full; the memory of the process stays as it is (HC-66).
func TestAStoppedReaderHoldsAtMostItsWindow(t *testing.T) {
	a := harness.NewAuthority(t)
	const size, window = 1 << 30, 256 << 10
	for _, row := range []struct {
		title        string
		stream, read uint32 // the client's windows
	}{{"whose window is shut", window, window}, {"whose socket is full", 1 << 30, window}} {
		for up := overH1; up <= overH2TLS; up++ {
			t.Run(row.title+", from "+up.String(), func(t *testing.T) {
				harness.NoLeaks(t)
				var sent atomic.Int64
				p := startSides(t, a, overH2C, up, newHTTPOrigin(t, a, up, endlessHandler(&sent)), func(_ *conf.HTTPConnectionManager, c *conf.Cluster) {
					c.HTTP2.InitialStreamWindowSize = window
				})
				before := memoryInUse()
				// Its own window and what comes from an origin that was told to stop, once more as much for the
				// slabs, and where the socket is full the listener's limit of 1 MiB.
				const bound = 4*window + 1<<20
				w := dialH2(t, p, http2.Setting{ID: http2.SettingInitialWindowSize, Val: row.stream})
				w.must(w.Conn.SetReadBuffer(64 << 10))
				w.must(w.WriteWindowUpdate(0, 1<<30))
				w.get(1, fmt.Sprintf("/endless/%d", size))
				if got := w.next(); got != fmt.Sprintf("head 1 200 content-length=%d", size) {
					t.Fatalf("got %s", got)
				}
				for last, same := int64(-1), 0; same < 40 || last == 0; time.Sleep(5 * time.Millisecond) { // between two looks
					if n := sent.Load(); n != last {
						last, same = n, 0
					} else {
						same++
					}
				}
				n := sent.Load()
				toll := takeToll(t, p)
				toll.before, toll.buffers = before, bound
				toll.settle(fmt.Sprintf("the origin has sent %d KiB of 1 GiB", n>>10))
				if n > 64<<20 { // most of it in sockets, whose sizes are the kernel's choice
					t.Errorf("the origin has sent %d bytes", n)
				}
				w.Conn.Close()
				p.WantStats(harness.Stats{"http2.pending_send_bytes": 0, "http2.streams_active": 0, onOrigin + "upstream_rq_active": 0})
			})
		}
	}
}

// endlessHandler sends as many bytes as /endless says and counts them, and is acceptHandler otherwise.
func endlessHandler(sent *atomic.Int64) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		length, ok := strings.CutPrefix(r.URL.Path, "/endless/")
		if !ok {
			acceptHandler(w, r)
			return
		}
		w.Header().Set("Content-Length", length)
		piece := filler(64 << 10)
		for {
			n, err := w.Write(piece)
			if sent.Add(int64(n)); err != nil {
				return
			}
		}
	}
}
