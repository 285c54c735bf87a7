//lint:file-ignore SA1019 the HTTP/2 of x/net is the peer

package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// h2Peer is a server's end of an HTTP/2 connection that a test drives frame by frame. The reader answers
// SETTINGS and, unless mute, PING, and passes everything else on.
type h2Peer struct {
	*http2.Framer
	t      *testing.T
	conn   net.Conn
	mu     sync.Mutex // of writing
	frames chan h2Frame
	block  bytes.Buffer
	enc    *hpack.Encoder
	data   atomic.Int64 // bytes received
}

// h2Frame is a copy of what matters of a frame.
type h2Frame struct {
	http2.FrameHeader
	fields map[string]string
	code   http2.ErrCode
}

// h2Script is an origin whose connections a test drives.
type h2Script struct {
	ln       net.Listener
	wg       sync.WaitGroup
	peers    chan *h2Peer
	settings []http2.Setting
	mute     bool
	silent   atomic.Bool // says nothing and expects nothing

	mu    sync.Mutex
	conns []net.Conn
}

func newH2Script(t *testing.T, mute bool, settings ...http2.Setting) *h2Script {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &h2Script{ln: ln, peers: make(chan *h2Peer, 64), settings: settings, mute: mute}
	s.wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conns = append(s.conns, c)
			s.mu.Unlock()
			s.wg.Go(func() { s.serve(t, c) })
		}
	})
	t.Cleanup(s.Stop)
	return s
}

func (s *h2Script) Address() string { return s.ln.Addr().String() }

func (s *h2Script) Stop() {
	_ = s.ln.Close()
	s.mu.Lock()
	for _, c := range s.conns {
		_ = c.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
}

func (s *h2Script) serve(t *testing.T, c net.Conn) {
	if s.silent.Load() {
		_, _ = io.Copy(io.Discard, c)
		return
	}
	preface := make([]byte, len(http2.ClientPreface))
	if _, err := io.ReadFull(c, preface); err != nil || string(preface) != http2.ClientPreface {
		t.Errorf("the preface is %q, %v", preface, err)
		_ = c.Close()
		return
	}
	p := &h2Peer{Framer: http2.NewFramer(c, c), t: t, conn: c, frames: make(chan h2Frame, 4096)}
	p.enc = hpack.NewEncoder(&p.block)
	p.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	p.write(func() error { return p.WriteSettings(s.settings...) })
	s.peers <- p
	defer close(p.frames)
	for {
		f, err := p.ReadFrame()
		if err != nil {
			return
		}
		out := h2Frame{FrameHeader: f.Header()}
		switch f := f.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				p.write(p.WriteSettingsAck)
			}
			continue
		case *http2.PingFrame:
			if !s.mute && !f.IsAck() {
				p.write(func() error { return p.WritePing(true, f.Data) })
			}
		case *http2.MetaHeadersFrame:
			out.fields = map[string]string{}
			for _, h := range f.Fields {
				out.fields[h.Name] = h.Value
			}
		case *http2.DataFrame:
			p.data.Add(int64(len(f.Data())))
		case *http2.RSTStreamFrame:
			out.code = f.ErrCode
		case *http2.GoAwayFrame:
			out.code = f.ErrCode
		}
		p.frames <- out
	}
}

func (p *h2Peer) write(f func() error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := f(); err != nil && !errors.Is(err, net.ErrClosed) && !strings.Contains(err.Error(), "connection reset") && !strings.Contains(err.Error(), "broken pipe") {
		p.t.Errorf("write: %v", err)
	}
}

// peer returns the next connection.
func (s *h2Script) peer(t *testing.T) *h2Peer {
	t.Helper()
	select {
	case p := <-s.peers:
		return p
	case <-time.After(harness.Patience):
		t.Fatal("no connection came")
		return nil
	}
}

// next returns the next frame of one of the types.
func (p *h2Peer) next(types ...http2.FrameType) h2Frame {
	p.t.Helper()
	deadline := time.After(harness.Patience)
	for {
		select {
		case f, ok := <-p.frames:
			if !ok {
				p.t.Fatalf("the connection ended before %v", types)
			}
			for _, typ := range types {
				if f.Type == typ {
					return f
				}
			}
		case <-deadline:
			p.t.Fatalf("waited in vain for %v", types)
		}
	}
}

// ended waits for the end of the connection.
func (p *h2Peer) ended() {
	p.t.Helper()
	deadline := time.After(harness.Patience)
	for {
		select {
		case _, ok := <-p.frames:
			if !ok {
				return
			}
		case <-deadline:
			p.t.Fatal("the connection does not end")
		}
	}
}

// head answers with a head.
func (p *h2Peer) head(stream uint32, end bool, fields ...string) {
	p.write(func() error {
		p.block.Reset()
		for i := 0; i < len(fields); i += 2 {
			_ = p.enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
		}
		return p.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: p.block.Bytes(), EndHeaders: true, EndStream: end})
	})
}

func (p *h2Peer) body(stream uint32, text string, end bool) {
	p.write(func() error { return p.WriteData(stream, end, []byte(text)) })
}

// answer waits for a request and answers it.
func (p *h2Peer) answer(text string) {
	p.t.Helper()
	f := p.next(http2.FrameHeaders)
	p.head(f.StreamID, false, ":status", "200")
	p.body(f.StreamID, text, true)
}

// sendGet sends a GET and does not wait for the answer.
func sendGet(p *harness.Proxy, path string) *harness.Client {
	return p.Dial().Send("GET " + path + " HTTP/1.1\r\nHost: test\r\n\r\n")
}

func TestHTTP2UpstreamEndings(t *testing.T) { // HC-62 to HC-64, HC-76, router.md 10
	const before, after = "upstream_reset_before_response_started", "upstream_reset_after_response_started"
	for _, row := range []struct {
		title string
		end   func(p *h2Peer, stream uint32)
		log   string
		stats harness.Stats
	}{
		{"refused", func(p *h2Peer, id uint32) {
			p.write(func() error { return p.WriteRSTStream(id, http2.ErrCodeRefusedStream) })
		}, "503 UR " + before + "{remote_refused_stream_reset}", harness.Stats{"http2.rx_reset": 1, "upstream_rq_rx_reset": 0}},
		{"reset", func(p *h2Peer, id uint32) {
			p.write(func() error { return p.WriteRSTStream(id, http2.ErrCodeInternal) })
		}, "503 UR " + before + "{remote_reset}", harness.Stats{"http2.rx_reset": 1, "upstream_rq_rx_reset": 1}},
		{"reset after the head", func(p *h2Peer, id uint32) {
			p.head(id, false, ":status", "200")
			p.write(func() error { return p.WriteRSTStream(id, http2.ErrCodeCancel) })
		}, "200 UR " + after + "{remote_reset}", harness.Stats{"upstream_rq_rx_reset": 1}},
		{"reset without an error (router.md 11.2)", func(p *h2Peer, id uint32) {
			p.write(func() error { return p.WriteRSTStream(id, http2.ErrCodeNo) })
		}, "503 UR " + before + "{remote_reset}", harness.Stats{"http2.rx_reset": 1, "upstream_rq_rx_reset": 0, "upstream_rq_rx_reset_no_error": 1}},
		{"gone away without it", func(p *h2Peer, _ uint32) {
			p.write(func() error { return p.WriteGoAway(0, http2.ErrCodeNo, nil) })
		}, "503 UR " + before + "{remote_refused_stream_reset}", harness.Stats{"upstream_cx_close_notify": 1, "upstream_cx_active": 0}},
		{"connection closed", func(p *h2Peer, _ uint32) { _ = p.conn.Close() },
			"503 UC " + before + "{connection_termination}", harness.Stats{"upstream_cx_destroy_remote_with_active_rq": 1, "upstream_cx_active": 0}},
		{"connection closed after the head", func(p *h2Peer, id uint32) {
			p.head(id, false, ":status", "200")
			_ = p.conn.Close()
		}, "200 UC " + after + "{connection_termination}", harness.Stats{"upstream_cx_destroy_remote_with_active_rq": 1}},
		{"a head without status", func(p *h2Peer, id uint32) { p.head(id, true, "a", "b") },
			"502 UPE " + before + "{protocol_error}", harness.Stats{"upstream_cx_protocol_error": 1, "http2.rx_messaging_error": 1, "upstream_cx_active": 0, "upstream_cx_destroy_local_with_active_rq": 1}},
		{"a forbidden field", func(p *h2Peer, id uint32) { p.head(id, true, ":status", "200", "connection", "close") },
			"502 UPE " + before + "{protocol_error}", harness.Stats{"upstream_cx_protocol_error": 1}},
		{"less data than declared", func(p *h2Peer, id uint32) {
			p.head(id, false, ":status", "200", "content-length", "5")
			p.body(id, "abc", true)
		}, "200 UPE " + after + "{protocol_error}", harness.Stats{"http2.rx_messaging_error": 1, "upstream_rq_tx_reset": 1, "upstream_cx_active": 1}},
		{"a head that is too large", func(p *h2Peer, id uint32) {
			p.head(id, true, ":status", "200", "x", strings.Repeat("y", 100<<10)[:9<<10], "z", strings.Repeat("y", 7<<10))
		}, "503 UPE " + before + "{protocol_error}", harness.Stats{"http2.header_overflow": 1, "upstream_cx_active": 1}},
		{"garbage", func(p *h2Peer, _ uint32) { _, _ = p.conn.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")) },
			"502 UPE " + before + "{protocol_error}", harness.Stats{"upstream_cx_protocol_error": 1, "upstream_cx_active": 0}},
	} {
		t.Run(row.title, func(t *testing.T) {
			harness.NoLeaks(t)
			s := newH2Script(t, false)
			p := startH2Upstream(t, one(s), func(c *conf.Cluster) {
				c.MaxResponseHeadersKiB = 8
				c.HTTP2.InitialStreamWindowSize = 65535
				c.HTTP2.StreamErrorOnInvalidMessage = row.title == "less data than declared"
			})
			c := sendGet(p, "/x")
			peer := s.peer(t)
			row.end(peer, peer.next(http2.FrameHeaders).StreamID)
			_ = c.Read("GET")
			p.WantLine(row.log)
			want := harness.Stats{"cluster.origin.upstream_rq_active": 0, "cluster.origin.upstream_rq_total": 1, "cluster.origin.http2.streams_active": 0}
			for name, v := range row.stats {
				want["cluster.origin."+name] = v
			}
			p.WantStats(want)
		})
	}
}

func TestGoAwayLetsStreamsFinish(t *testing.T) { // HC-76
	harness.NoLeaks(t)
	s := newH2Script(t, false)
	p := startH2Upstream(t, one(s), nil)
	a := sendGet(p, "/a")
	first := s.peer(t)
	one := first.next(http2.FrameHeaders)
	first.write(func() error { return first.WriteGoAway(1<<31-1, http2.ErrCodeNo, nil) })
	p.WantStats(harness.Stats{"cluster.origin.upstream_cx_close_notify": 1})
	b := sendGet(p, "/b")
	second := s.peer(t)
	second.answer("second")
	if r := b.Read("GET"); r.Status != 200 || r.Body != "second" {
		t.Errorf("%d %q", r.Status, r.Body)
	}
	first.head(one.StreamID, false, ":status", "200")
	first.write(func() error { return first.WriteGoAway(one.StreamID, http2.ErrCodeNo, nil) })
	first.body(one.StreamID, "first", true)
	if r := a.Read("GET"); r.Status != 200 || r.Body != "first" {
		t.Errorf("%d %q", r.Status, r.Body)
	}
	first.ended()
	p.WantStats(harness.Stats{
		"cluster.origin.upstream_cx_close_notify": 1, "cluster.origin.upstream_cx_active": 1, "cluster.origin.upstream_cx_total": 2,
		"cluster.origin.upstream_cx_destroy_with_active_rq": 0, "cluster.origin.upstream_rq_200": 2,
	})
}

func TestAClientThatLeavesResetsItsStreamOnly(t *testing.T) {
	harness.NoLeaks(t)
	s := newH2Script(t, false)
	p := startH2Upstream(t, one(s), nil)
	a := sendGet(p, "/a")
	peer := s.peer(t)
	f := peer.next(http2.FrameHeaders)
	b := sendGet(p, "/b")
	g := peer.next(http2.FrameHeaders)
	a.Close()
	if r := peer.next(http2.FrameRSTStream); r.StreamID != f.StreamID || r.code != http2.ErrCodeCancel {
		t.Errorf("stream %d is reset with %v", r.StreamID, r.code)
	}
	peer.head(g.StreamID, true, ":status", "204")
	if r := b.Read("GET"); r.Status != 204 {
		t.Errorf("%d", r.Status)
	}
	p.WantStats(harness.Stats{
		"cluster.origin.upstream_rq_tx_reset": 1, "cluster.origin.http2.tx_reset": 1,
		"cluster.origin.upstream_cx_active": 1, "cluster.origin.upstream_rq_active": 0,
	})
}

// A response that is whole before the request is ends the stream (HC-30, HC-72).
func TestAnEarlyResponseResetsTheStream(t *testing.T) {
	harness.NoLeaks(t)
	s := newH2Script(t, false)
	p := startH2Upstream(t, one(s), nil)
	c := p.Dial().Send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 100\r\n\r\nabc")
	peer := s.peer(t)
	f := peer.next(http2.FrameHeaders)
	peer.head(f.StreamID, true, ":status", "413")
	if r := c.Read("POST"); r.Status != 413 || !r.Closes {
		t.Errorf("%d closes %v", r.Status, r.Closes)
	}
	if r := peer.next(http2.FrameRSTStream); r.StreamID != f.StreamID {
		t.Errorf("stream %d is reset", r.StreamID)
	}
	p.WantStats(harness.Stats{"cluster.origin.upstream_cx_active": 1})
}

// A server that has answered and does not want the rest of the request says so by NO_ERROR (RFC 9113 8.1): the
// client gets the answer, and the server's reset is counted although ours crosses it.
func TestAnEarlyResponseAndNoError(t *testing.T) {
	harness.NoLeaks(t)
	s := newH2Script(t, false)
	p := startH2Upstream(t, one(s), nil)
	c := p.Dial().Send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 100\r\n\r\nabc")
	peer := s.peer(t)
	f := peer.next(http2.FrameHeaders)
	peer.head(f.StreamID, false, ":status", "413")
	peer.body(f.StreamID, "no", true)
	peer.write(func() error { return peer.WriteRSTStream(f.StreamID, http2.ErrCodeNo) })
	if r := c.Read("POST"); r.Status != 413 || r.Body != "no" {
		t.Errorf("got %d %q", r.Status, r.Body)
	}
	p.WantLine("413 - via_upstream")
	// Another request goes over the same connection, and a whole exchange after which NO_ERROR comes moves nothing.
	b := sendGet(p, "/b")
	g := peer.next(http2.FrameHeaders)
	peer.head(g.StreamID, true, ":status", "200")
	peer.write(func() error { return peer.WriteRSTStream(g.StreamID, http2.ErrCodeNo) })
	if r := b.Read("GET"); r.Status != 200 {
		t.Errorf("got %d", r.Status)
	}
	d := sendGet(p, "/d")
	peer.answer("fine")
	if r := d.Read("GET"); r.Body != "fine" {
		t.Errorf("got %d %q", r.Status, r.Body)
	}
	p.WantStats(harness.Stats{
		"cluster.origin.upstream_rq_rx_reset_no_error": 1, "cluster.origin.upstream_rq_rx_reset": 0, "cluster.origin.upstream_cx_total": 1,
		"cluster.origin.upstream_rq_413": 1, "cluster.origin.upstream_rq_200": 2,
	})
}

// A server that gives no window holds up its uploads, bounded, and nothing else.
func TestAServerThatStopsReadingAStream(t *testing.T) { // HC-66
	harness.NoLeaks(t)
	s := newH2Script(t, false, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1000})
	p := startH2Upstream(t, one(s), func(c *conf.Cluster) { c.PerConnectionBufferLimitBytes = 64 << 10 })
	const size = 8 << 20
	up := p.Dial()
	sent := make(chan error, 1)
	body := filler(size)
	go func() {
		_, err := up.Conn.Write(append([]byte(fmt.Sprintf("POST /up HTTP/1.1\r\nHost: test\r\nContent-Length: %d\r\n\r\n", size)), body...))
		sent <- err
	}()
	peer := s.peer(t)
	f := peer.next(http2.FrameHeaders)
	harness.Eventually(t, "the window is used up", func() bool { return peer.data.Load() >= 1000 })
	p.WantStats(harness.Stats{"cluster.origin.upstream_flow_control_backed_up_total": 1})
	if n := p.Buffered(); n > 512<<10 {
		t.Errorf("%d bytes wait", n)
	}
	b := sendGet(p, "/b")
	peer.answer("fine")
	if r := b.Read("GET"); r.Body != "fine" {
		t.Errorf("%d %q", r.Status, r.Body)
	}
	peer.write(func() error { return peer.WriteWindowUpdate(0, 1<<30) })
	peer.write(func() error { return peer.WriteWindowUpdate(f.StreamID, size) })
	harness.Eventually(t, "the whole upload", func() bool { return peer.data.Load() == size })
	if err := <-sent; err != nil {
		t.Error(err)
	}
	peer.head(f.StreamID, true, ":status", "200")
	if r := up.Read("POST"); r.Status != 200 {
		t.Errorf("%d", r.Status)
	}
	p.WantStats(harness.Stats{"cluster.origin.http2.pending_send_bytes": 0, "cluster.origin.upstream_rq_200": 2})
}

// A client that does not read gets the rest when it does, though the server has gone since.
func TestAWholeResponseOutlivesItsConnection(t *testing.T) {
	harness.NoLeaks(t)
	s := newH2Script(t, false)
	p := startH2Upstream(t, one(s), nil)
	c := sendGet(p, "/x")
	peer := s.peer(t)
	f := peer.next(http2.FrameHeaders)
	peer.head(f.StreamID, false, ":status", "200")
	const pieces = 600
	piece := string(filler(16384))
	for i := range pieces {
		peer.body(f.StreamID, piece, i == pieces-1)
	}
	p.WantStats(harness.Stats{"cluster.origin.upstream_flow_control_paused_reading_total": 1})
	p.WantStats(harness.Stats{"cluster.origin.upstream_rq_active": 1})
	harness.Eventually(t, "all of it is at the proxy", func() bool {
		_ = peer.conn.(*net.TCPConn).CloseWrite()
		return p.Stat("cluster.origin.upstream_cx_active") == 0
	})
	h := c.ReadHead("GET")
	if n, err := io.Copy(io.Discard, h.Reader()); n != pieces*16384 || err != nil {
		t.Errorf("%d bytes of %d, %v", n, pieces*16384, err)
	}
	p.WantStats(harness.Stats{"cluster.origin.upstream_rq_200": 1, "cluster.origin.upstream_rq_active": 0})
}

func TestHTTP2UpstreamKeepAlive(t *testing.T) { // HC-70
	for _, row := range []struct {
		title string
		mute  bool
	}{{"answered", false}, {"not answered", true}} {
		t.Run(row.title, func(t *testing.T) {
			harness.NoLeaks(t)
			s := newH2Script(t, row.mute)
			p := startH2Upstream(t, one(s), func(c *conf.Cluster) {
				c.HTTP2.KeepAlive = conf.HTTP2KeepAlive{Interval: 20 * time.Millisecond, Timeout: 200 * time.Millisecond}
				if !row.mute {
					c.HTTP2.KeepAlive.Timeout = harness.Patience
				}
			})
			c := sendGet(p, "/x")
			peer := s.peer(t)
			f := peer.next(http2.FrameHeaders)
			peer.next(http2.FramePing)
			if row.mute {
				if r := c.Read("GET"); r.Status != 503 {
					t.Errorf("%d", r.Status)
				}
				peer.ended()
				p.WantLine("503 UC upstream_reset_before_response_started{connection_termination}")
				p.WantStats(harness.Stats{"cluster.origin.http2.keepalive_timeout": 1, "cluster.origin.upstream_cx_destroy_local_with_active_rq": 1})
				return
			}
			peer.next(http2.FramePing)
			peer.next(http2.FramePing)
			peer.head(f.StreamID, true, ":status", "204")
			if r := c.Read("GET"); r.Status != 204 {
				t.Errorf("%d", r.Status)
			}
			p.WantStats(harness.Stats{"cluster.origin.http2.keepalive_timeout": 0})
		})
	}
}

// A PING goes ahead of a stream that follows a silence.
func TestHTTP2UpstreamPingsAfterASilence(t *testing.T) { // HC-70
	harness.NoLeaks(t)
	s := newH2Script(t, false)
	p := startH2Upstream(t, one(s), func(c *conf.Cluster) {
		c.HTTP2.KeepAlive = conf.HTTP2KeepAlive{Timeout: harness.Patience, IdleInterval: time.Millisecond}
	})
	c := sendGet(p, "/a")
	peer := s.peer(t)
	peer.answer("a")
	_ = c.Read("GET")
	time.Sleep(2 * time.Millisecond) // the silence
	c.Send("GET /b HTTP/1.1\r\nHost: test\r\n\r\n")
	if f := peer.next(http2.FramePing, http2.FrameHeaders); f.Type != http2.FramePing {
		t.Errorf("%v came first", f.Type)
	}
	peer.answer("b")
	if r := c.Read("GET"); r.Body != "b" {
		t.Errorf("%q", r.Body)
	}
}
