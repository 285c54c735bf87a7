package tlsio_test

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/engine"
	"github.com/sluiceproxy/sluice/engine/relay"
	"github.com/sluiceproxy/sluice/engine/tlsio"
)

// forwarder accepts, dials, and relays; either end may be TLS.
type forwarder struct {
	origin   net.Addr
	layer    *tlsio.Layer
	server   *tls.Config // nil: plain
	client   *tls.Config // nil: plain
	done     chan result
	down, up *engine.Conn // loop only
	options  relay.Options
}

type result struct {
	up, down uint64
	a, b     engine.CloseReason
}

func (f *forwarder) OnAccept(c *engine.Conn) engine.Handler {
	up := c.Loop().Dial(engine.DialSpec{Addr: f.origin.(*net.TCPAddr).AddrPort()}, nil)
	if f.server != nil {
		f.layer.Server(c, f.server, time.Minute)
	}
	if f.client != nil {
		f.layer.Client(up, f.client, time.Minute)
	}
	f.down, f.up = c, up
	relay.Relay(c, up, f.options, f)
	return c.Handler()
}

func (f *forwarder) OnRelayDone(t *relay.Tunnel) {
	var r result
	r.up, r.down = t.Moved()
	r.a, r.b = t.Reasons()
	f.done <- r
}

// end is what both crypto/tls and TCP connections can do.
type end interface {
	net.Conn
	CloseWrite() error
}

// forwarded returns a client's and an origin's end of a relayed connection.
func forwarded(t *testing.T, server, client bool) (down, up end, f *forwarder, l *engine.Loop) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	f = &forwarder{origin: ln.Addr(), layer: tlsio.New(tlsio.Options{}), done: make(chan result, 1)}
	if server {
		f.server = serverConfig(0)
	}
	if client {
		f.client = clientConfig(0)
	}
	g := group(t, engine.Options{Loops: 1})
	c := dial(t, listen(t, g, f))
	s, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	_ = s.SetDeadline(time.Now().Add(30 * time.Second))
	t.Cleanup(func() { s.Close() })
	down, up = c, s.(*net.TCPConn)
	if server {
		down = tls.Client(c, clientConfig(0))
	}
	if client {
		up = tls.Server(s, serverConfig(0))
	}
	return down, up, f, g.Loops()[0]
}

// TestRelay moves 16 MiB each way at once through every pair of transports, with
// either end half-closing first.
func TestRelay(t *testing.T) {
	for _, server := range []bool{false, true} {
		for _, client := range []bool{false, true} {
			for _, downFirst := range []bool{false, true} {
				t.Run(fmt.Sprintf("downstream TLS %v, upstream TLS %v, the client ends first %v", server, client, downFirst), func(t *testing.T) {
					down, up, f, l := forwarded(t, server, client)
					sentUp, sentDown := random(16<<20), random(16<<20)
					first, second, toSecond, toFirst := down, up, sentUp, sentDown
					if !downFirst {
						first, second, toSecond, toFirst = up, down, sentDown, sentUp
					}
					seen := make(chan struct{}) // the second has read the first's end
					go func() {
						_, _ = first.Write(toSecond)
						_ = first.CloseWrite()
					}()
					go func() {
						_, _ = second.Write(toFirst[:8<<20])
						<-seen
						_, _ = second.Write(toFirst[8<<20:])
						_ = second.CloseWrite()
					}()
					got := make(chan []byte, 1)
					go func() {
						b, _ := io.ReadAll(second)
						close(seen)
						got <- b
					}()
					back, err := io.ReadAll(first)
					if err != nil || !bytes.Equal(back, toFirst) {
						t.Errorf("the first got %d bytes, same %v, %v", len(back), bytes.Equal(back, toFirst), err)
					}
					if b := <-got; !bytes.Equal(b, toSecond) {
						t.Errorf("the second got %d bytes, others than sent", len(b))
					}
					want := result{16 << 20, 16 << 20, engine.PeerClosed, engine.PeerClosed}
					select {
					case r := <-f.done:
						if r != want {
							t.Errorf("result %+v, want %+v", r, want)
						}
					case <-time.After(20 * time.Second):
						t.Fatal("the tunnel never ended")
					}
					on(t, l, func() {
						if n := l.Slabs().InUse(); n != 0 {
							t.Errorf("%d bytes of slabs in use", n)
						}
					})
				})
			}
		}
	}
}

// TestRelayToAStoppedReader: what waits is bounded, and goes on when it reads.
func TestRelayToAStoppedReader(t *testing.T) {
	for _, server := range []bool{false, true} {
		for _, client := range []bool{false, true} {
			t.Run(fmt.Sprintf("downstream TLS %v, upstream TLS %v", server, client), func(t *testing.T) {
				down, up, f, l := forwarded(t, server, client)
				// What the kernel holds must be little beside what is sent, however far it lets buffers grow.
				_ = socket(down).SetReadBuffer(128 << 10)
				_ = socket(up).SetWriteBuffer(128 << 10)
				exchangeOnce(t, down, up)
				sent := random(16 << 20)
				wrote := make(chan struct{})
				go func() {
					defer close(wrote)
					_, _ = up.Write(sent)
					_ = up.CloseWrite()
				}()
				var last uint64
				eventually(t, "the tunnel stands still", func() (still bool) {
					select {
					case <-wrote:
						t.Fatal("16 MiB went into buffers")
					case <-time.After(100 * time.Millisecond): // how long standing still lasts
					}
					on(t, l, func() {
						now := f.up.BytesRead()
						still = now == last && now > 0 && f.down.WriteBlocked()
						last = now
						if n := l.Slabs().InUse(); n > 256<<10 {
							t.Errorf("%d bytes of slabs in use", n)
						}
					})
					return still
				})
				got, err := io.ReadAll(down)
				if err != nil || !bytes.Equal(got, sent) {
					t.Errorf("%d bytes, same %v, %v", len(got), bytes.Equal(got, sent), err)
				}
				_ = down.CloseWrite()
				<-wrote
				if r := <-f.done; r.a != engine.PeerClosed || r.b != engine.PeerClosed {
					t.Errorf("result %+v", r)
				}
			})
		}
	}
}

// socket is what an end writes to.
func socket(e end) *net.TCPConn {
	if c, ok := e.(*tls.Conn); ok {
		return c.NetConn().(*net.TCPConn)
	}
	return e.(*net.TCPConn)
}

// exchangeOnce sends a byte each way, so that both are connected.
func exchangeOnce(t *testing.T, a, b end) {
	t.Helper()
	for _, way := range [][2]end{{a, b}, {b, a}} {
		go func() { _, _ = way[0].Write([]byte("x")) }()
		if _, err := io.ReadFull(way[1], make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestRelayCarriesATruncatedEnd: what the origin cut short ends the client's
// connection once all that came was sent.
func TestRelayCarriesATruncatedEnd(t *testing.T) {
	down, up, f, _ := forwarded(t, true, true)
	exchangeOnce(t, down, up)
	if _, err := up.Write([]byte("cut")); err != nil {
		t.Fatal(err)
	}
	_ = up.(*tls.Conn).NetConn().(*net.TCPConn).CloseWrite()
	b := make([]byte, 3)
	if _, err := io.ReadFull(down, b); err != nil || string(b) != "cut" {
		t.Fatalf("got %q, %v", b, err)
	}
	_, _ = io.Copy(io.Discard, down)
	down.Close()
	if r := <-f.done; r.b != engine.Truncated {
		t.Errorf("result %+v", r)
	}
}
