package e2e

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/sluiceproxy/sluice/proxy"
	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// tunnelServer is an HTTP/2 server whose frames the test writes: its connections come in the order they
// were made, with the preface read and the settings acknowledged.
func tunnelServer(t testing.TB, settings ...http2.Setting) (harness.Origin, <-chan *h2Wire) {
	t.Helper()
	wires := make(chan *h2Wire, 8)
	return harness.NewRaw(t, func(p *harness.Peer) {
		if _, err := io.CopyN(io.Discard, p.In, int64(len(http2.ClientPreface))); err != nil {
			return
		}
		w := &h2Wire{t: t, Conn: p.TCPConn, Framer: http2.NewFramer(p.TCPConn, p.In)}
		w.SetMaxReadFrameSize(1 << 20)
		w.enc = hpack.NewEncoder(&w.text)
		w.dec = hpack.NewDecoder(4096, nil)
		_ = w.WriteSettings(settings...)
		_ = w.WriteSettingsAck()
		wires <- w
		<-p.Stopped()
	}), wires
}

// answer sends a response head.
func (w *h2Wire) answer(id uint32, end bool, words ...string) {
	w.t.Helper()
	w.deadline()
	w.must(w.WriteHeaders(headersH2(id, w.block(append([]string{":status=200"}, words...)...), end)))
}

// take reads n bytes of data of a stream, or all to its end when n is negative.
func (w *h2Wire) take(id uint32, n int) (got []byte, ended bool) {
	w.t.Helper()
	for !ended && (n < 0 || len(got) < n) {
		w.deadline()
		f, err := w.ReadFrame()
		w.must(err)
		if d, ok := f.(*http2.DataFrame); ok && d.StreamID == id {
			got, ended = append(got, d.Data()...), d.StreamEnded()
		} else if line := w.line(f); line != "" {
			w.t.Fatalf("%s after %d bytes of stream %d", line, len(got), id)
		}
	}
	return got, ended
}

const firstWindow = 65535 // of a stream and of a connection, until more is given

// waitingClient is a session whose client has sent more than the server's window takes, and its FIN when
// it ends; the server has answered the tunnel.
func waitingClient(t *testing.T, ends, answerEnds bool, more ...string) (p *harness.Proxy, c *harness.Client, w *h2Wire, sent []byte) {
	t.Helper()
	o, wires := tunnelServer(t)
	p = encapsulator(t, o, true, "hostname: h:1", append(more, "max_early_data_bytes: 200000")...)
	c = p.Dial()
	sent = tunnelBytes(100_000)
	c.Send(string(sent))
	if ends {
		c.Finish()
	}
	harness.Eventually(t, "the proxy to have it all", func() bool {
		return p.Stat("tcp.in.downstream_cx_rx_bytes_total") == int64(len(sent))
	})
	w = <-wires
	w.want("head 1 :method=CONNECT :authority=h:1")
	w.answer(1, answerEnds)
	got, _ := w.take(1, firstWindow)
	if !bytes.Equal(got, sent[:firstWindow]) {
		t.Fatal("the first bytes differ")
	}
	return p, c, w, sent
}

// TCP-50, TCP-51: both sides have ended while bytes of the client wait for the server's window: they
// still arrive, and the END_STREAM behind them.
func TestTCP51TunnelIsFlushed(t *testing.T) {
	p, c, w, sent := waitingClient(t, true, true)
	c.WantEnd()
	c.Close()
	harness.Eventually(t, "the flush", func() bool { return p.Stat("tcp.in.upstream_flush_active") == 1 })
	w.must(w.WriteWindowUpdate(0, 1<<20))
	w.must(w.WriteWindowUpdate(1, 1<<20))
	got, ended := w.take(1, -1)
	if !ended || !bytes.Equal(got, sent[firstWindow:]) {
		t.Errorf("%d bytes of %d, ended %v", len(got), len(sent)-firstWindow, ended)
	}
	p.WantLines(fmt.Sprint("TcpConnectionEnd - - ", len(sent), " 0 origin"))
	p.WantStats(harness.Stats{
		"tcp.in.upstream_flush_total": 1, "tcp.in.upstream_flush_active": 0, "tcp.in.idle_timeout": 0,
		"cluster.origin.upstream_rq_active": 0, "cluster.origin.http2.pending_send_bytes": 0, "cluster.origin.http2.streams_active": 0,
	})
}

// TCP-51, TCP-60: a flush that does not get on ends with the idle timeout.
func TestTCP51TunnelFlushIsBounded(t *testing.T) {
	p, c, w, _ := waitingClient(t, true, true, "idle_timeout: 0.3s")
	c.WantEnd()
	c.Close()
	w.want("reset 1 CANCEL")
	p.WantLines("TcpConnectionEnd - tcp_session_idle_timeout 100000 0 origin")
	p.WantStats(harness.Stats{
		"tcp.in.upstream_flush_total": 1, "tcp.in.upstream_flush_active": 0, "tcp.in.idle_timeout": 1, "cluster.origin.http2.pending_send_bytes": 0,
	})
}

// TCP-51: the same for a client that was reset, of which a write tells.
func TestTCP51TunnelFlushAfterReset(t *testing.T) {
	lost := func(t *testing.T) (*harness.Proxy, *h2Wire, []byte) {
		p, c, w, sent := waitingClient(t, false, false)
		c.Reset()
		for p.Stat("tcp.in.upstream_flush_active") == 0 { // until a write fails
			w.must(w.WriteData(1, false, []byte("x")))
			harness.Eventually(t, "the byte to be there", func() bool { return p.Stat("cluster.origin.upstream_cx_rx_bytes_total") > 0 })
		}
		return p, w, sent
	}
	t.Run("taken", func(t *testing.T) {
		p, w, sent := lost(t)
		w.must(w.WriteWindowUpdate(0, 1<<20))
		w.must(w.WriteWindowUpdate(1, 1<<20))
		got, _ := w.take(1, len(sent)-firstWindow)
		if !bytes.Equal(got, sent[firstWindow:]) {
			t.Error("the rest differs")
		}
		w.want("reset 1 CANCEL")
		if line := p.AwaitLines(1)[0]; !strings.Contains(line, "DC") {
			t.Error(line)
		}
		p.WantStats(harness.Stats{"tcp.in.upstream_flush_total": 1, "tcp.in.upstream_flush_active": 0})
	})
	t.Run("upstream sends", func(t *testing.T) {
		p, w, _ := lost(t)
		w.must(w.WriteData(1, false, []byte("for nobody")))
		w.want("reset 1 CANCEL")
		p.AwaitLines(1)
		p.WantStats(harness.Stats{
			"tcp.in.upstream_flush_total": 1, "tcp.in.upstream_flush_active": 0, "cluster.origin.http2.pending_send_bytes": 0,
		})
	})
}

// TCP-51: the server ends a session that is being flushed.
func TestTCP51TunnelFlushIsReset(t *testing.T) {
	for _, gone := range []bool{false, true} {
		p, c, w, _ := waitingClient(t, true, true)
		c.WantEnd()
		c.Close()
		harness.Eventually(t, "the flush", func() bool { return p.Stat("tcp.in.upstream_flush_active") == 1 })
		if gone {
			_ = w.Conn.Close()
		} else {
			w.must(w.WriteRSTStream(1, http2.ErrCodeCancel))
		}
		if line := p.AwaitLines(1)[0]; !strings.Contains(line, "UC") {
			t.Error(line)
		}
		p.WantStats(harness.Stats{
			"tcp.in.upstream_flush_total": 1, "tcp.in.upstream_flush_active": 0, "cluster.origin.http2.pending_send_bytes": 0,
			"cluster.origin.upstream_rq_active": 0,
		})
	}
}

// TCP-44, TCP-53: a server that has ended its direction and then resets the stream ended in order; one that
// resets it before did not. Either way the client gets what came.
func TestTCP44ResetOfTheStream(t *testing.T) {
	for _, row := range []struct {
		end  bool
		line string
	}{{true, "TcpConnectionEnd - - 4 4 origin"}, {false, "TcpConnectionEnd UC upstream_connection_termination 4 4 origin"}} {
		o, wires := tunnelServer(t)
		p := encapsulator(t, o, true, "hostname: h:1")
		c := p.Dial().Send("ping")
		w := <-wires
		w.want("head 1 :method=CONNECT :authority=h:1")
		w.answer(1, false)
		w.want(`data 1 "ping"`)
		w.must(w.WriteData(1, row.end, []byte("pong")))
		w.must(w.WriteRSTStream(1, http2.ErrCodeNo))
		if rest, err := c.Rest(); rest != "pong" || err != nil {
			t.Errorf("%q, %v", rest, err)
		}
		c.Close()
		p.WantLines(row.line)
	}
}

// TCP-40: what the answer to a tunnel over HTTP/2 says, and its trailers, can be had in logs. A CONNECT has
// no trailers (RFC 9113 8.5), so it takes a POST.
func TestTCP40PropagatedTrailers(t *testing.T) {
	for _, on := range []bool{true, false} {
		o, wires := tunnelServer(t)
		p := harness.StartTCP(t, harness.TCPTopology{
			Clusters:  []harness.Cluster{{Name: "origin", Origins: []harness.Origin{o}, Fields: h2Cluster}},
			Proxy:     fmt.Sprintf("tunneling_config: { hostname: h, use_post: true, post_path: /up, propagate_response_headers: %v, propagate_response_trailers: %v }", on, on),
			LogFormat: "%FILTER_STATE(envoy.tcp_proxy.propagate_response_headers:PLAIN)% | %FILTER_STATE(envoy.tcp_proxy.propagate_response_trailers:PLAIN)%",
		})
		c := p.Dial()
		w := <-wires
		w.want("head 1 :method=POST :scheme=http :path=/up :authority=h")
		w.answer(1, false, "x-told=yes")
		c.Send("ping").Finish()
		w.want(`data 1 "ping"`, `data 1 "" end`)
		w.must(w.WriteData(1, false, []byte("pong")))
		w.must(w.WriteHeaders(headersH2(1, w.block("x-sum=4", "x-more=no"), true)))
		if rest, err := c.Rest(); rest != "pong" || err != nil { // TCP-44: trailers are a FIN
			t.Errorf("%q, %v", rest, err)
		}
		c.Close()
		want := "- | -"
		if on {
			want = ":status: 200, x-told: yes | x-sum: 4, x-more: no"
		}
		p.WantLines(want)
	}
}

// check_drain_close ends a session through a tunnel too, after what is under way.
func TestTCPCheckDrainCloseOfATunnel(t *testing.T) {
	p, c, w, sent := waitingClient(t, false, false, "check_drain_close: true")
	w.must(w.WriteData(1, false, []byte("down")))
	c.WantText("down")
	p.Server.DrainListeners(proxy.ListenerDrain{Graceful: true, SkipExit: true})
	_ = c.WantEnd()
	c.Close()
	w.must(w.WriteWindowUpdate(0, 1<<20))
	w.must(w.WriteWindowUpdate(1, 1<<20))
	got, ended := w.take(1, -1)
	if !ended || !bytes.Equal(got, sent[firstWindow:]) {
		t.Errorf("%d bytes of %d, ended %v", len(got), len(sent)-firstWindow, ended)
	}
	w.want("reset 1 CANCEL")
	if line := p.AwaitLines(1)[0]; !strings.HasPrefix(line, lineDrained) {
		t.Error(line)
	}
	p.WantStats(harness.Stats{"tcp.in.upstream_flush_total": 0, "cluster.origin.http2.pending_send_bytes": 0})
}

// A server that goes away takes no more tunnels; those there are live on, and new ones use another connection
// (upgrades.md 7). The connection ends with its last tunnel.
func TestTCP45GoAwayDuringATunnel(t *testing.T) {
	o, wires := tunnelServer(t)
	p := encapsulator(t, o, true, "hostname: h:1")
	old := p.Dial().Send("old")
	w := <-wires
	w.want("head 1 :method=CONNECT :authority=h:1")
	w.answer(1, false)
	w.want(`data 1 "old"`)
	w.must(w.WriteGoAway(1, http2.ErrCodeNo, nil))
	harness.Eventually(t, "the notice", func() bool { return p.Stat("cluster.origin.upstream_cx_close_notify") == 1 })
	fresh := p.Dial().Send("new")
	other := <-wires
	other.want("head 1 :method=CONNECT :authority=h:1")
	other.answer(1, false)
	other.want(`data 1 "new"`)
	old.Send("and on")
	w.want(`data 1 "and on"`)
	w.must(w.WriteData(1, false, []byte("to the old one")))
	old.WantText("to the old one")
	old.Finish()
	w.want(`data 1 "" end`)
	w.must(w.WriteData(1, true, []byte("bye")))
	if rest, err := old.Rest(); rest != "bye" || err != nil {
		t.Errorf("%q, %v", rest, err)
	}
	old.Close()
	w.want("goaway 0 NO_ERROR", "end")
	other.must(other.WriteData(1, true, []byte("still here")))
	fresh.WantText("still here").Finish()
	_ = fresh.WantEnd()
	fresh.Close()
	p.AwaitLines(2)
	p.WantStats(harness.Stats{"cluster.origin.upstream_cx_total": 2, "cluster.origin.upstream_cx_active": 1, "cluster.origin.upstream_rq_active": 0})
}

// The same for a CONNECT that is passed on.
func TestUP40GoAwayDuringATunnel(t *testing.T) {
	o, wires := tunnelServer(t)
	top := one(o)
	top.Manager, top.Routes = connectOn, "- match: { connect_matcher: {} }\n  route: { cluster: origin, timeout: 0s }"
	top.Clusters[0].Fields = h2Cluster
	p := harness.Start(t, top)
	ask := func() *harness.Wire {
		c := harness.DialWire(t, "tcp", p.Addr)
		c.Send(askConnect)
		return c
	}
	old := ask()
	w := <-wires
	if head := w.next(); !strings.HasPrefix(head, "head 1 :method=CONNECT :authority=host.example:443 ") {
		t.Fatal(head)
	}
	w.answer(1, false)
	old.ReadHead()
	w.must(w.WriteGoAway(1, http2.ErrCodeNo, nil))
	harness.Eventually(t, "the notice", func() bool { return p.Stat("cluster.origin.upstream_cx_close_notify") == 1 })
	fresh := ask()
	other := <-wires
	if head := other.next(); !strings.HasPrefix(head, "head 1 :method=CONNECT :authority=host.example:443 ") {
		t.Fatal(head)
	}
	other.answer(1, false)
	fresh.ReadHead()
	old.Send("lives on")
	w.want(`data 1 "lives on"`)
	w.must(w.WriteData(1, true, nil))
	_ = old.Conn.(interface{ CloseWrite() error }).CloseWrite()
	w.want(`data 1 "" end`)
	old.WantClosed()
	fresh.Send("as well")
	other.want(`data 1 "as well"`)
	fresh.Close() // ends its direction, and the server the other
	other.want(`data 1 "" end`)
	other.must(other.WriteData(1, true, nil))
	p.AwaitLines(2)
	p.WantStats(harness.Stats{"cluster.origin.upstream_cx_total": 2, "http.in.downstream_cx_upgrades_active": 0})
}
