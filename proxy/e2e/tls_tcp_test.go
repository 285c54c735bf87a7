package e2e

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

const atOnce = "upstream_connect_mode: IMMEDIATE\n"

// connectModes are those of upstream_connect_mode, with what they need beside.
var connectModes = []struct{ title, proxy string }{
	{"IMMEDIATE", atOnce}, {"ON_DOWNSTREAM_TLS_HANDSHAKE", onHandshake}, {"ON_DOWNSTREAM_DATA", onData + early(65536)},
}

// stream is either end of a session: a client or what an origin accepts.
type stream interface {
	io.ReadWriteCloser
	CloseWrite() error
	SetDeadline(time.Time) error
}

// tlsPath is a way through the proxy: TLS on one side, or on both.
type tlsPath struct {
	title    string
	down, up bool
}

var tlsPaths = []tlsPath{{"TLS to plain", true, false}, {"plain to TLS", false, true}, {"TLS to TLS", true, true}}

// start starts a proxy whose origin runs serve.
func (path tlsPath) start(t *testing.T, a *harness.Authority, fields string, serve func(stream), more ...string) *harness.Proxy {
	t.Helper()
	cluster := harness.Cluster{Name: "origin"}
	if path.up {
		cluster.Origins = append(cluster.Origins, harness.NewTLSServer(t, serverConfig(t, a, "origin.test"), func(c *tls.Conn) { serve(c) }))
		cluster.Fields = harness.ClientSocket(a.Trust(), "sni: origin.test")
	} else {
		cluster.Origins = append(cluster.Origins, harness.NewRaw(t, func(p *harness.Peer) { serve(p.TCPConn) }))
	}
	chain := harness.Chain{Proxy: fields}
	if path.down {
		chain.Match = harness.With("", append(more, secured(t, a, "a.test", ""))...)
	}
	return harness.StartTCP(t, harness.TCPTopology{Clusters: []harness.Cluster{cluster}, Chains: []harness.Chain{chain}})
}

// dial connects a client, which is closed at the end of the test.
func (path tlsPath) dial(t *testing.T, p *harness.Proxy, a *harness.Authority) stream {
	t.Helper()
	if path.down {
		return p.DialTLS(a.Client("a.test"))
	}
	c := p.Dial().Conn
	_ = c.SetDeadline(time.Now().Add(harness.Patience))
	return c
}

// wantCounted checks what a session of the path leaves in the statistics; the TLS around bytes is not
// the client's.
func (path tlsPath) wantCounted(p *harness.Proxy, up, down int64) {
	p.T.Helper()
	p.WantStats(harness.Stats{
		inTCP + "downstream_cx_total": 1, inTCP + "downstream_cx_rx_bytes_total": up, inTCP + "downstream_cx_tx_bytes_total": down,
		inListener + "downstream_cx_total": 1, inListener + "downstream_cx_destroy": 1,
		onOrigin + "upstream_cx_total": 1, onOrigin + "upstream_cx_destroy": 1, onOrigin + "upstream_cx_connect_fail": 0,
	})
	if path.down {
		p.WantStats(harness.Stats{inSSL + "handshake": 1, inSSL + "connection_error": 0})
	}
}

func wantRead(t *testing.T, c io.Reader, text string) {
	t.Helper()
	b := make([]byte, len(text))
	if n, err := io.ReadFull(c, b); err != nil || string(b) != text {
		t.Fatalf("read %q, %v; want %q", b[:n], err, text)
	}
}

func wantEOF(t *testing.T, c io.Reader) {
	t.Helper()
	if rest, err := io.ReadAll(c); err != nil || len(rest) > 0 {
		t.Errorf("the stream should have ended: %q, %v", rest, err)
	}
}

// echoEnd sends back what comes, and then its end.
func echoEnd(c stream) {
	if _, err := io.Copy(struct{ io.Writer }{c}, struct{ io.Reader }{c}); err == nil {
		_ = c.CloseWrite()
	}
}

func TestTLSSessionsInEachConnectMode(t *testing.T) {
	harness.NoLeaks(t)
	a := harness.NewAuthority(t)
	for _, path := range tlsPaths {
		for _, mode := range connectModes {
			t.Run(path.title+" "+mode.title, func(t *testing.T) {
				p := path.start(t, a, mode.proxy, echoEnd)
				c := path.dial(t, p, a)
				for _, text := range []string{"a", "hello", "and again"} {
					_, _ = io.WriteString(c, text)
					wantRead(t, c, text)
				}
				_ = c.CloseWrite()
				wantEOF(t, c)
				_ = c.Close()
				path.wantCounted(p, 15, 15)
				p.WantLines("TcpConnectionEnd - - 15 15 origin")
			})
		}
	}
}

// An origin that speaks first is heard, also when its words are there before the handshake is done.
func TestTLSServerFirst(t *testing.T) {
	harness.NoLeaks(t)
	a := harness.NewAuthority(t)
	for _, path := range tlsPaths {
		for _, mode := range connectModes[:2] {
			t.Run(path.title+" "+mode.title, func(t *testing.T) {
				p := path.start(t, a, mode.proxy, func(c stream) {
					_, _ = io.WriteString(c, "220 ready\r\n")
					echoEnd(c)
				})
				if path.down && mode.proxy == atOnce {
					// The upstream is there, and has spoken, before the client says anything.
					raw := p.Dial()
					p.WantStats(harness.Stats{onOrigin + "upstream_cx_active": 1})
					c := tls.Client(raw.Conn, a.Client("a.test"))
					wantRead(t, c, "220 ready\r\n")
					_ = c.CloseWrite()
					wantEOF(t, c)
					_ = c.Close()
				} else {
					c := path.dial(t, p, a)
					wantRead(t, c, "220 ready\r\n")
					_ = c.CloseWrite()
					wantEOF(t, c)
					_ = c.Close()
				}
				path.wantCounted(p, 0, 11)
			})
		}
	}
}

// An origin that ends its side during the handshake has what it said delivered.
func TestTLSUpstreamEndsDuringTheHandshake(t *testing.T) {
	harness.NoLeaks(t)
	a := harness.NewAuthority(t)
	path := tlsPaths[0]
	p := path.start(t, a, atOnce, func(c stream) {
		_, _ = io.WriteString(c, "bye")
		_ = c.CloseWrite()
		_, _ = io.Copy(io.Discard, c)
	})
	raw := p.Dial()
	p.WantStats(harness.Stats{onOrigin + "upstream_cx_active": 1})
	c := tls.Client(raw.Conn, a.Client("a.test"))
	wantRead(t, c, "bye")
	wantEOF(t, c)
	_ = c.Close()
	path.wantCounted(p, 0, 3)
}

func TestTLSHalfClose(t *testing.T) {
	harness.NoLeaks(t)
	a := harness.NewAuthority(t)
	for _, path := range tlsPaths {
		t.Run(path.title+", the client first", func(t *testing.T) {
			p := path.start(t, a, "", func(c stream) {
				all, _ := io.ReadAll(c) // to its end, before it answers
				_, _ = io.WriteString(c, "got "+string(all))
				_ = c.CloseWrite()
			})
			c := path.dial(t, p, a)
			_, _ = io.WriteString(c, "question")
			_ = c.CloseWrite()
			wantRead(t, c, "got question")
			wantEOF(t, c)
			_ = c.Close()
			path.wantCounted(p, 8, 12)
			p.WantLines("TcpConnectionEnd - - 8 12 origin")
		})
		t.Run(path.title+", the origin first", func(t *testing.T) {
			heard := make(chan string, 1)
			p := path.start(t, a, "", func(c stream) {
				_, _ = io.WriteString(c, "last words")
				_ = c.CloseWrite()
				all, _ := io.ReadAll(c)
				heard <- string(all)
			})
			c := path.dial(t, p, a)
			wantRead(t, c, "last words")
			wantEOF(t, c)
			_, _ = io.WriteString(c, "still ")
			_, _ = io.WriteString(c, "here")
			_ = c.CloseWrite()
			select {
			case got := <-heard:
				if got != "still here" {
					t.Errorf("the origin heard %q", got)
				}
			case <-time.After(harness.Patience):
				t.Error("the origin does not hear the end")
			}
			_ = c.Close()
			path.wantCounted(p, 10, 10)
		})
	}
}

func TestTLSBulkBothWays(t *testing.T) {
	harness.NoLeaks(t)
	a := harness.NewAuthority(t)
	const size = 16 << 20
	for _, path := range tlsPaths {
		t.Run(path.title, func(t *testing.T) {
			got := make(chan error, 1)
			p := path.start(t, a, "", func(c stream) {
				var sending sync.WaitGroup
				sending.Go(func() {
					_ = harness.SendStream(c, size)
					_ = c.CloseWrite()
				})
				n, err := harness.TakeStream(c)
				if err == nil && n != size {
					err = errors.New("the origin got too little")
				}
				got <- err
				sending.Wait()
			})
			c := path.dial(t, p, a)
			_ = c.SetDeadline(time.Now().Add(3 * harness.Patience))
			var sending sync.WaitGroup
			sending.Go(func() {
				_ = harness.SendStream(c, size)
				_ = c.CloseWrite()
			})
			if n, err := harness.TakeStream(c); n != size || err != nil {
				t.Errorf("%d bytes, %v", n, err)
			}
			sending.Wait()
			if err := <-got; err != nil {
				t.Error(err)
			}
			_ = c.Close()
			path.wantCounted(p, size, size)
		})
	}
}

// What a client says with, or right after, its handshake waits for the upstream within the limit.
func TestTLSEarlyData(t *testing.T) {
	harness.NoLeaks(t)
	a := harness.NewAuthority(t)
	const size = 1 << 20
	for _, mode := range connectModes {
		t.Run(mode.title, func(t *testing.T) {
			o, open := harness.Reluctant(t, (*harness.Peer).Echo)
			fields := mode.proxy
			if fields != connectModes[2].proxy {
				fields += early(65536)
			}
			p := harness.StartTCP(t, harness.TCPTopology{
				Clusters: []harness.Cluster{{Name: "origin", Origins: []harness.Origin{o}}},
				Chains:   []harness.Chain{{Match: harness.With("", secured(t, a, "a.test", "")), Proxy: fields}},
			})
			path := tlsPaths[0]
			c := path.dial(t, p, a)
			var sending sync.WaitGroup
			sending.Go(func() {
				_ = harness.SendStream(c, size)
				_ = c.CloseWrite()
			})
			harness.Eventually(t, "early data", func() bool { return p.Buffered() > 0 })
			if n := p.Buffered(); n > 65536+slack {
				t.Errorf("%d bytes are buffered", n)
			}
			open()
			if n, err := harness.TakeStream(c); n != size || err != nil {
				t.Errorf("%d bytes, %v", n, err)
			}
			sending.Wait()
			_ = c.Close()
			p.WantStats(harness.Stats{inTCP + "early_data_received_count_total": 1})
			path.wantCounted(p, size, size)
		})
	}
}

// A client that never completes its handshake has its time; the upstream connection that IMMEDIATE
// made goes with it, and the other modes make none.
func TestTLSClientsThatStall(t *testing.T) {
	harness.NoLeaks(t)
	a := harness.NewAuthority(t)
	for _, mode := range connectModes {
		for _, row := range []struct {
			title, sent      string
			leaves           bool
			timeouts, failed int64
		}{
			{"and time out", "", false, 1, 0},
			{"after half a hello", "\x16\x03\x01\x01\x00abc", false, 1, 0},
			{"and leave", "", true, 0, 0},
			{"and speak something else", "SSH-2.0-x\r\n", false, 0, 1},
		} {
			t.Run(mode.title+" "+row.title, func(t *testing.T) {
				path := tlsPaths[0]
				p := path.start(t, a, mode.proxy, echoEnd, "transport_socket_connect_timeout: 0.3s")
				c := p.Dial().Send(row.sent)
				upstreams := int64(0)
				if mode.proxy == atOnce {
					upstreams = 1
					if row.failed == 0 {
						p.WantStats(harness.Stats{onOrigin + "upstream_cx_total": 1})
					}
				}
				if row.leaves {
					c.Finish()
				}
				_, _ = c.Rest()
				c.Close()
				p.WantStats(harness.Stats{
					inListener + "downstream_cx_transport_socket_connect_timeout": row.timeouts, inListener + "downstream_cx_destroy": 1, inListener + "downstream_cx_active": 0,
					inSSL + "handshake": 0, inSSL + "connection_error": row.failed, inTCP + "downstream_cx_total": 1,
					inTCP + "downstream_cx_rx_bytes_total": 0, inTCP + "downstream_cx_tx_bytes_total": 0,
					onOrigin + "upstream_cx_active": 0,
				})
				if row.failed == 0 {
					p.WantStats(harness.Stats{onOrigin + "upstream_cx_total": upstreams, onOrigin + "upstream_cx_destroy": upstreams})
				}
				p.AwaitLines(1)
			})
		}
	}
}

// A client that is reset, or ends without close_notify, is gone: its session ends, with what it said
// delivered (TCP-51), and is not logged as one that ended in order.
func TestTLSClientsThatVanish(t *testing.T) {
	harness.NoLeaks(t)
	a := harness.NewAuthority(t)
	for _, row := range []struct {
		title  string
		vanish func(*net.TCPConn)
	}{
		{"reset", func(c *net.TCPConn) { _ = c.SetLinger(0); _ = c.Close() }},
		{"without close_notify", func(c *net.TCPConn) { _ = c.CloseWrite() }},
	} {
		for _, path := range []tlsPath{tlsPaths[0], tlsPaths[2]} {
			t.Run(row.title+" "+path.title, func(t *testing.T) {
				p := path.start(t, a, "", echoEnd)
				c := path.dial(t, p, a).(*harness.TLSClient)
				c.Send("x").WantText("x")
				row.vanish(c.NetConn().(*net.TCPConn))
				p.WantStats(harness.Stats{onOrigin + "upstream_cx_active": 0, inTCP + "downstream_cx_rx_bytes_total": 1, inListener + "downstream_cx_active": 0})
				p.WantLine("TcpConnectionEnd DC ")
				_ = c.NetConn().Close()
			})
		}
	}
}
