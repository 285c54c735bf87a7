//lint:file-ignore SA1019 the HTTP/2 of x/net is the peer

package e2e

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

func TestHTTP2UpstreamRouteTimeout(t *testing.T) { // ROUTER-40
	harness.NoLeaks(t)
	s := newH2Script(t, false)
	top := one(s)
	top.Action = "timeout: 0.05s"
	p := startH2Upstream(t, top, nil)
	c := sendGet(p, "/x")
	peer := s.peer(t)
	f := peer.next(http2.FrameHeaders)
	if r := c.Read("GET"); r.Status != 504 {
		t.Errorf("%d", r.Status)
	}
	if r := peer.next(http2.FrameRSTStream); r.StreamID != f.StreamID || r.code != http2.ErrCodeCancel {
		t.Errorf("stream %d is reset with %v", r.StreamID, r.code)
	}
	peer.head(f.StreamID, true, ":status", "200") // too late, and no error
	c.Send("GET /y HTTP/1.1\r\nHost: test\r\n\r\n")
	peer.answer("y")
	if r := c.Read("GET"); r.Body != "y" {
		t.Errorf("%d %q", r.Status, r.Body)
	}
	p.WantStats(harness.Stats{
		"cluster.origin.upstream_rq_timeout": 1, "cluster.origin.upstream_rq_tx_reset": 1, "cluster.origin.upstream_cx_total": 1,
		"cluster.origin.http2.headers_cb_no_stream": 1,
	})
}

// A cluster that leaves the configuration lets its streams end, and closes its connections then.
func TestHTTP2UpstreamConnectionsDrain(t *testing.T) {
	harness.NoLeaks(t)
	s := newH2Script(t, false)
	top := one(s)
	p := startH2Upstream(t, top, nil)
	c := sendGet(p, "/x")
	peer := s.peer(t)
	f := peer.next(http2.FrameHeaders)
	o := harness.NewOrigin(t, "other")
	after := harness.Topology{Clusters: []harness.Cluster{{Name: "other", Origins: []harness.Origin{o}}}}
	if err := p.Server.Apply(harness.Load(t, after.YAML(t.TempDir()+"/log"))); err != nil {
		t.Fatal(err)
	}
	if r := p.Dial().Get("/"); r.Status != 200 {
		t.Errorf("%d", r.Status)
	}
	peer.head(f.StreamID, false, ":status", "200")
	peer.body(f.StreamID, "whole", true)
	if r := c.Read("GET"); r.Body != "whole" {
		t.Errorf("%d %q", r.Status, r.Body)
	}
	if g := peer.next(http2.FrameGoAway); g.code != http2.ErrCodeNo {
		t.Errorf("GOAWAY with %v", g.code)
	}
	peer.ended()
	o.Stop()
}

// stuckServer is a server that has said hello and reads no more once a request has come.
func stuckServer(t *testing.T) (ln net.Listener, stuck chan *http2.Framer) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	stuck = make(chan *http2.Framer, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := ln.Accept()
		if err != nil {
			return
		}
		t.Cleanup(func() { c.Close() })
		if _, err := io.CopyN(io.Discard, c, int64(len(http2.ClientPreface))); err != nil {
			return
		}
		f := http2.NewFramer(c, c)
		_ = f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 30})
		_ = f.WriteWindowUpdate(0, 1<<30)
		for {
			x, err := f.ReadFrame()
			if err != nil {
				return
			}
			if s, ok := x.(*http2.SettingsFrame); ok && !s.IsAck() {
				_ = f.WriteSettingsAck()
			}
			if x.Header().Type == http2.FrameHeaders {
				stuck <- f
				return
			}
		}
	}()
	t.Cleanup(func() { ln.Close(); <-done })
	return ln, stuck
}

// A server that reads nothing of its socket holds up what is meant for it, within the buffer limit; and
// when it asks for answers all the same, the connection ends.
func TestAServerThatReadsNothing(t *testing.T) { // HC-77
	harness.NoLeaks(t)
	ln, stuck := stuckServer(t)
	p := startH2Upstream(t, one(harness.At(ln.Addr().String())), func(c *conf.Cluster) {
		c.PerConnectionBufferLimitBytes = 64 << 10
		c.HTTP2.MaxOutboundControlFrames = 10
	})
	up := p.Dial().Send("POST /up HTTP/1.1\r\nHost: test\r\nContent-Length: 1000000000\r\n\r\n")
	go func() {
		for {
			if _, err := up.Conn.Write(filler(1 << 20)); err != nil {
				return
			}
		}
	}()
	f := <-stuck
	// Once or more: while the kernel's buffers grow it may take some again.
	harness.Eventually(t, "the origin holds up its sender", func() bool {
		return p.Stat("cluster.origin.upstream_flow_control_backed_up_total") > 0
	})
	harness.Eventually(t, "nothing moves", func() bool {
		n := p.Stat("http.in.downstream_flow_control_paused_reading_total")
		time.Sleep(20 * time.Millisecond)
		return n == p.Stat("http.in.downstream_flow_control_paused_reading_total")
	})
	if n := p.Buffered(); n > 1<<20 {
		t.Errorf("%d bytes wait", n)
	}
	for range 20 {
		_ = f.WritePing(false, [8]byte{}) // fails once the connection has ended
	}
	if r := up.Read("POST"); r.Status != 502 {
		t.Errorf("%d", r.Status)
	}
	up.Close()
	p.WantLine("502 UPE upstream_reset_before_response_started{protocol_error}")
	p.WantStats(harness.Stats{
		"cluster.origin.http2.outbound_control_flood": 1, "cluster.origin.upstream_cx_protocol_error": 1, "cluster.origin.upstream_cx_active": 0,
		"cluster.origin.upstream_cx_destroy_local_with_active_rq": 1, "cluster.origin.http2.pending_send_bytes": 0,
	})
}

// A server must acknowledge our SETTINGS (HC-70).
func TestAServerThatIgnoresSettings(t *testing.T) {
	if testing.Short() {
		t.Skip("waits ten seconds")
	}
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan error, 1)
	go func() {
		c, err := ln.Accept()
		if err != nil {
			got <- err
			return
		}
		defer c.Close()
		_, _ = io.CopyN(io.Discard, c, int64(len(http2.ClientPreface)))
		f := http2.NewFramer(c, c)
		for {
			x, err := f.ReadFrame()
			if err != nil {
				got <- err
				return
			}
			if g, ok := x.(*http2.GoAwayFrame); ok {
				got <- errors.New(g.ErrCode.String())
				return
			}
		}
	}()
	p := startH2Upstream(t, one(harness.At(ln.Addr().String())), nil)
	if r := p.Dial().Get("/"); r.Status != 503 {
		t.Errorf("%d", r.Status)
	}
	if why := <-got; !strings.Contains(why.Error(), "SETTINGS_TIMEOUT") {
		t.Errorf("the connection ended with %v", why)
	}
	ln.Close()
	p.WantLine("503 UC upstream_reset_before_response_started{connection_termination}")
}

// A request that comes by HTTP/2 ends its upstream stream with itself.
func TestADownstreamResetReachesTheUpstream(t *testing.T) {
	harness.NoLeaks(t)
	s := newH2Script(t, false)
	p := startH2Upstream(t, one(s), nil, func(m *conf.HTTPConnectionManager) { m.CodecType = conf.CodecAuto })
	w := dialH2(t, p)
	w.request(1, false, http.MethodPost, "/a")
	w.get(3, "/b")
	peer := s.peer(t)
	a, b := peer.next(http2.FrameHeaders), peer.next(http2.FrameHeaders)
	w.must(w.WriteRSTStream(1, http2.ErrCodeCancel))
	if r := peer.next(http2.FrameRSTStream); r.StreamID != a.StreamID || r.code != http2.ErrCodeCancel {
		t.Errorf("stream %d is reset with %v", r.StreamID, r.code)
	}
	peer.head(b.StreamID, true, ":status", "204")
	w.want("head 3 204 end")
	// The other way: the origin's reset, once the response has begun.
	w.get(5, "/c")
	c := peer.next(http2.FrameHeaders)
	peer.head(c.StreamID, false, ":status", "200")
	w.want("head 5 200")
	peer.write(func() error { return peer.WriteRSTStream(c.StreamID, http2.ErrCodeInternal) })
	w.want("reset 5 INTERNAL_ERROR")
	w.Conn.Close()
}
