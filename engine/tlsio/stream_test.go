package tlsio_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/engine"
	"github.com/sluiceproxy/sluice/engine/tlsio"
)

// dribbler sends one byte at a time, each when the engine has read the one before.
type dribbler struct {
	*net.TCPConn
	t    *testing.T
	loop *engine.Loop
	conn func() *engine.Conn
	sent uint64
}

func (d *dribbler) Write(p []byte) (int, error) {
	for i := range p {
		if _, err := d.TCPConn.Write(p[i : i+1]); err != nil {
			return i, err
		}
		d.sent++
		eventually(d.t, "the byte was read", func() (ok bool) {
			on(d.t, d.loop, func() { c := d.conn(); ok = c != nil && c.BytesRead() == d.sent })
			return ok
		})
	}
	return len(p), nil
}

// TestEverySplitGivesTheSameBytes: hello, handshake, data and close_notify arrive
// byte by byte, to a server and to a client.
func TestEverySplitGivesTheSameBytes(t *testing.T) {
	sent := random(300)
	for _, version := range versions {
		t.Run("to a server, "+tls.VersionName(version), func(t *testing.T) {
			p := echo()
			addr, l, _ := one(t, serverConfig(version), p)
			d := &dribbler{TCPConn: dial(t, addr), t: t, loop: l, conn: func() *engine.Conn { return p.conn }}
			c := tls.Client(d, clientConfig(0))
			for range 2 {
				if _, err := c.Write(sent); err != nil {
					t.Fatal(err)
				}
			}
			_ = c.CloseWrite()
			got, err := io.ReadAll(c)
			if err != nil || !bytes.Equal(got, append(sent[:300:300], sent...)) {
				t.Errorf("%d bytes came back, %v", len(got), err)
			}
			p.wantClosed(t, engine.PeerClosed)
		})
		t.Run("to a client, "+tls.VersionName(version), func(t *testing.T) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			p := &peer{}
			p.onReadClosed = (*engine.Conn).CloseWrite
			l := group(t, engine.Options{Loops: 1}).Loops()[0]
			layer := tlsio.New(tlsio.Options{})
			on(t, l, func() {
				p.conn = l.Dial(engine.DialSpec{Addr: ln.Addr().(*net.TCPAddr).AddrPort()}, p)
				layer.Client(p.conn, clientConfig(0), time.Minute)
			})
			raw, err := ln.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer raw.Close()
			d := &dribbler{TCPConn: raw.(*net.TCPConn), t: t, loop: l, conn: func() *engine.Conn { return p.conn }}
			c := tls.Server(d, serverConfig(version))
			if _, err := c.Write(sent); err != nil {
				t.Fatal(err)
			}
			_ = c.CloseWrite()
			if _, err := io.ReadAll(c); err != nil {
				t.Error(err)
			}
			p.wantClosed(t, engine.PeerClosed)
			if p.got() != string(sent) {
				t.Errorf("got %d bytes, others than sent", len(p.got()))
			}
		})
	}
}

// TestHandlersMayKeepAndPause: the read limit, what is kept, and pauses mean what
// they mean on plain TCP.
func TestHandlersMayKeepAndPause(t *testing.T) {
	for _, limit := range []int{1, 100, 5000, 64 << 10} {
		t.Run(fmt.Sprintf("limit %d", limit), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(1, uint64(limit))) // the handler's
			p := &peer{onReadClosed: (*engine.Conn).CloseWrite}
			p.onData = func(c *engine.Conn, view []byte) int {
				if len(view) > limit {
					t.Errorf("view of %d bytes over the limit of %d", len(view), limit)
				}
				n := rng.IntN(len(view) + 1)
				if rng.IntN(3) == 0 {
					c.PauseRead()
					c.Loop().Post(&job{c.ResumeRead})
				} else if n == 0 {
					n = len(view)
				}
				return n
			}
			layer := tlsio.New(tlsio.Options{})
			addr, g := serve(t, layer, serverConfig(0), time.Minute, func(c *engine.Conn) *peer {
				c.SetReadLimit(limit)
				p.conn = c
				return p
			})
			c, _ := dialTLS(t, addr, clientConfig(0))
			sent := random(min(300_000, 1000*limit))
			for rest := sent; len(rest) > 0; {
				n := min(1+rand.IntN(20_000), len(rest))
				if _, err := c.Write(rest[:n]); err != nil {
					t.Fatal(err)
				}
				rest = rest[n:]
			}
			// What is kept comes again with more bytes or when asked for.
			eventually(t, "all bytes", func() bool {
				on(t, g.Loops()[0], func() { p.conn.ResumeRead() })
				return len(p.got()) == len(sent)
			})
			if p.got() != string(sent) {
				t.Error("other bytes than sent")
			}
			_ = c.CloseWrite()
			p.wantClosed(t, engine.PeerClosed)
		})
	}
}

// TestSlowReaderIsWaitedFor: output stops at the watermark, goes on at the low one,
// and nothing is lost.
func TestSlowReaderIsWaitedFor(t *testing.T) {
	const high, total = 64 << 10, 8 << 20
	sent, rest, most := random(total), 0, 0
	var p *peer
	feed := func(c *engine.Conn) {
		for rest < total && !c.Above() {
			n := min(10_000, total-rest)
			c.Write(sent[rest : rest+n])
			rest += n
			most = max(most, c.Buffered())
		}
		if rest == total {
			c.CloseWrite()
		}
	}
	p = &peer{
		onConnected:  func(c *engine.Conn) { c.SetWatermarks(high); feed(c) },
		onWritable:   feed,
		onReadClosed: func(*engine.Conn) {},
	}
	addr, l, _ := one(t, serverConfig(0), p)
	c, _ := dialTLS(t, addr, clientConfig(0))
	eventually(t, "the socket is full", func() (full bool) {
		on(t, l, func() { full = p.conn.Above() })
		return full
	})
	got, err := io.ReadAll(c)
	if err != nil || !bytes.Equal(got, sent) {
		t.Fatalf("%d bytes of %d, %v", len(got), total, err)
	}
	_ = c.CloseWrite()
	p.wantClosed(t, engine.PeerClosed)
	if most > high+12_000 || !strings.Contains(p.log(), "writable") {
		t.Errorf("%d bytes waited, events %s", most, p.log())
	}
}

// TestWritesBeforeTheHandshakeAreBounded: they count against the watermark, and
// OnWritable follows when they have left.
func TestWritesBeforeTheHandshakeAreBounded(t *testing.T) {
	sent := random(300_000)
	p := &peer{onReadClosed: func(*engine.Conn) {}}
	p.onDialled = func(c *engine.Conn) {
		c.SetWatermarks(64 << 10)
		c.Write(sent)
		if !c.Above() || c.Buffered() != len(sent) || !c.WriteBlocked() {
			t.Errorf("above %v, buffered %d, blocked %v", c.Above(), c.Buffered(), c.WriteBlocked())
		}
	}
	p.onWritable = (*engine.Conn).CloseWrite
	dialled(t, clientConfig(0), serverConfig(0), p, echoServer)
	p.wantClosed(t, engine.PeerClosed)
	if want := "connected, writable, readclosed, closed PeerClosed"; p.got() != string(sent) || p.log() != want {
		t.Errorf("%d bytes came back, events %s; want %s", len(p.got()), p.log(), want)
	}
}

// TestStoppedHandlerStopsThePeer: while reading is paused, no more is taken from the
// socket than one read.
func TestStoppedHandlerStopsThePeer(t *testing.T) {
	p := &peer{}
	p.onData = func(c *engine.Conn, view []byte) int { c.PauseRead(); return len(view) }
	addr, l, _ := one(t, serverConfig(0), p)
	c, raw := dialTLS(t, addr, clientConfig(0))
	_ = raw.SetWriteDeadline(time.Now().Add(time.Second))
	for {
		if _, err := c.Write(make([]byte, 1<<20)); err != nil {
			break // the kernel's buffers are full
		}
	}
	on(t, l, func() {
		if n := l.Slabs().InUse(); n > 32<<10 || len(p.got()) > 16<<10 {
			t.Errorf("%d bytes delivered, %d of slabs in use", len(p.got()), n)
		}
	})
}

func TestEnds(t *testing.T) {
	for _, tc := range []struct {
		name   string
		peer   func(c *tls.Conn, raw *net.TCPConn) // what the client does
		local  func(c *engine.Conn)                // what the handler does first, may be nil
		onEnd  func(c *engine.Conn)                // on OnReadClosed
		want   engine.CloseReason
		events string
	}{
		{
			"close_notify, answered", func(c *tls.Conn, _ *net.TCPConn) { _ = c.CloseWrite(); wantEOF(t, c) },
			nil, (*engine.Conn).CloseWrite,
			engine.PeerClosed, "connected, readclosed, closed PeerClosed",
		},
		{
			"close_notify and FIN, answered", func(c *tls.Conn, raw *net.TCPConn) { _ = c.CloseWrite(); _ = raw.CloseWrite(); wantEOF(t, c) },
			nil, (*engine.Conn).CloseWrite,
			engine.PeerClosed, "connected, readclosed, closed PeerClosed",
		},
		{
			"ours first", func(c *tls.Conn, _ *net.TCPConn) { wantEOF(t, c); _, _ = io.WriteString(c, "more"); _ = c.CloseWrite() },
			(*engine.Conn).CloseWrite, nil,
			engine.PeerClosed, "connected, readclosed, closed PeerClosed",
		},
		{
			"FIN without close_notify", func(_ *tls.Conn, raw *net.TCPConn) { _ = raw.CloseWrite(); _, _ = io.Copy(io.Discard, raw) },
			nil, nil,
			engine.Truncated, "connected, closed Truncated",
		},
		{
			"FIN without close_notify after ours", func(c *tls.Conn, raw *net.TCPConn) { wantEOF(t, c); _ = raw.CloseWrite() },
			(*engine.Conn).CloseWrite, nil,
			engine.Truncated, "connected, closed Truncated",
		},
		{
			"FIN within a record", func(_ *tls.Conn, raw *net.TCPConn) {
				_, _ = io.WriteString(raw, "\x17\x03\x03\x01\x00abc")
				_ = raw.CloseWrite()
				_, _ = io.Copy(io.Discard, raw)
			},
			nil, nil,
			engine.Truncated, "connected, closed Truncated",
		},
		{
			"RST", func(_ *tls.Conn, raw *net.TCPConn) { _ = raw.SetLinger(0); raw.Close() },
			nil, nil,
			engine.PeerReset, "connected, closed PeerReset",
		},
		{
			"Close sends close_notify", func(c *tls.Conn, _ *net.TCPConn) { wantEOF(t, c) },
			(*engine.Conn).Close, nil,
			engine.LocalClose, "connected, closed LocalClose",
		},
		{
			"CloseAfterFlush sends all and close_notify", func(c *tls.Conn, _ *net.TCPConn) {
				b, err := io.ReadAll(c)
				if len(b) != 3<<20 || err != nil {
					t.Errorf("%d bytes, %v", len(b), err)
				}
				c.Close()
			},
			func(c *engine.Conn) { c.Write(make([]byte, 3<<20)); c.CloseAfterFlush(20 * time.Second) }, nil,
			engine.LocalClose, "connected, closed LocalClose",
		},
		{
			"CloseAfterFlush discards what comes", func(c *tls.Conn, _ *net.TCPConn) {
				wantEOF(t, c)
				_, _ = c.Write(make([]byte, 1<<20))
				c.Close()
			},
			func(c *engine.Conn) { c.CloseAfterFlush(20 * time.Second) }, nil,
			engine.LocalClose, "connected, closed LocalClose",
		},
		{
			"Reset sends no close_notify", func(c *tls.Conn, _ *net.TCPConn) {
				if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
					t.Errorf("read: %v", err)
				}
			},
			(*engine.Conn).Reset, nil,
			engine.LocalReset, "connected, closed LocalReset",
		},
		{
			"Close that drops bytes sends no close_notify", func(c *tls.Conn, _ *net.TCPConn) {
				if b, err := io.ReadAll(c); err == nil {
					t.Errorf("an orderly end after %d bytes", len(b))
				}
			},
			func(c *engine.Conn) { c.Write(make([]byte, 64<<20)); c.Close() }, nil,
			engine.LocalClose, "connected, closed LocalClose",
		},
		{
			"a bad record", func(c *tls.Conn, raw *net.TCPConn) {
				_, _ = io.WriteString(raw, "\x17\x03\x03\x00\x20"+strings.Repeat("x", 32))
				var alert *net.OpError
				if _, err := c.Read(make([]byte, 1)); !errors.As(err, &alert) || alert.Op != "remote error" {
					t.Errorf("the client got %v, want an alert", err)
				}
			},
			nil, nil,
			engine.TransformFailed, "connected, closed TransformFailed",
		},
		{
			"plain text", func(_ *tls.Conn, raw *net.TCPConn) { _, _ = io.WriteString(raw, "GET / HTTP/1.1\r\n\r\n") },
			nil, nil,
			engine.TransformFailed, "connected, closed TransformFailed",
		},
	} {
		for _, version := range versions {
			t.Run(tc.name+", "+tls.VersionName(version), func(t *testing.T) {
				p := &peer{onConnected: tc.local, onReadClosed: tc.onEnd}
				addr, l, _ := one(t, serverConfig(version), p)
				c, raw := dialTLS(t, addr, clientConfig(0))
				if tc.local == nil { // TLS 1.3: let the server finish, too
					eventually(t, "both are connected", func() bool { return p.connected() != nil })
				}
				tc.peer(c, raw)
				p.wantClosed(t, tc.want)
				if p.log() != tc.events {
					t.Errorf("events %s, want %s", p.log(), tc.events)
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

// wantEOF reads the peer's orderly end and nothing before it.
func wantEOF(t *testing.T, c *tls.Conn) {
	t.Helper()
	if n, err := c.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("read %d bytes, %v; want the end", n, err)
	}
}

// TestBytesBeforeTheEndAreDelivered: with the FIN right behind them.
func TestBytesBeforeTheEndAreDelivered(t *testing.T) {
	for _, orderly := range []bool{false, true} {
		p := &peer{onReadClosed: (*engine.Conn).CloseWrite}
		addr, _, _ := one(t, serverConfig(0), p)
		c, raw := dialTLS(t, addr, clientConfig(0))
		sent := random(3_000_000)
		if _, err := c.Write(sent); err != nil {
			t.Fatal(err)
		}
		want := engine.Truncated
		if orderly {
			_ = c.CloseWrite()
			want = engine.PeerClosed
		}
		_ = raw.CloseWrite()
		p.wantClosed(t, want)
		if p.got() != string(sent) {
			t.Errorf("orderly %v: %d bytes delivered of %d", orderly, len(p.got()), len(sent))
		}
	}
}

// TestWritesShareRecords: Write2 makes one record of what fits; what is corked leaves
// with one call.
func TestWritesShareRecords(t *testing.T) {
	for _, tc := range []struct {
		name    string
		write   func(c *engine.Conn)
		records int
	}{
		{"Write2 of a head and a body", func(c *engine.Conn) { c.Write2(make([]byte, 100), make([]byte, 900)) }, 1},
		{"Write2 without a head", func(c *engine.Conn) { c.Write2(nil, make([]byte, 900)) }, 1},
		{"a full record", func(c *engine.Conn) { c.Write(make([]byte, 16<<10)) }, 1},
		{"one byte more", func(c *engine.Conn) { c.Write(make([]byte, 16<<10+1)) }, 2},
		{"Write2 of two large ones", func(c *engine.Conn) { c.Write2(make([]byte, 16<<10), make([]byte, 16<<10)) }, 2},
		{"nothing", func(c *engine.Conn) { c.Write(nil); c.Write2(nil, nil) }, 0},
		{"corked", func(c *engine.Conn) { c.Cork(); c.Write([]byte("a")); c.Write([]byte("b")); c.Uncork() }, 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := &peer{onConnected: func(c *engine.Conn) { tc.write(c); c.CloseWrite() }}
			sc := serverConfig(tls.VersionTLS12) // no tickets after the handshake
			sc.DynamicRecordSizingDisabled = true
			addr, _, _ := one(t, sc, p)
			tap := &tap{Conn: dial(t, addr)}
			c := tls.Client(tap, clientConfig(0))
			if _, err := io.Copy(io.Discard, c); err != nil {
				t.Fatal(err)
			}
			records := 0
			for b := tap.got.Bytes(); len(b) >= 5; {
				if b[0] == 23 {
					records++
				}
				b = b[min(5+int(b[3])<<8+int(b[4]), len(b)):]
			}
			if records != tc.records {
				t.Errorf("%d records, want %d", records, tc.records)
			}
		})
	}
}

// tap keeps what is read through it.
type tap struct {
	net.Conn
	got bytes.Buffer
}

func (c *tap) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.got.Write(p[:n])
	return n, err
}

// TestStateOfPlainConnections is nil, and theirs has no transform.
func TestStateOfPlainConnections(t *testing.T) {
	g := group(t, engine.Options{Loops: 1})
	p := echo()
	addr := listen(t, g, plainAcceptor{p})
	c := dial(t, addr)
	exchange(t, c, []byte("plain"))
	on(t, g.Loops()[0], func() {
		if p.conn.Transform() != nil || tlsio.State(p.conn) != nil {
			t.Error("a plain connection has a transform")
		}
	})
}

type plainAcceptor struct{ *peer }

func (a plainAcceptor) OnAccept(c *engine.Conn) engine.Handler { a.conn = c; return a.peer }

// TestClosedConnectionsAreLeftAlone: starting TLS on one does nothing.
func TestClosedConnectionsAreLeftAlone(t *testing.T) {
	g := group(t, engine.Options{Loops: 1})
	layer := tlsio.New(tlsio.Options{})
	p := &peer{}
	on(t, g.Loops()[0], func() {
		c := g.Loops()[0].Dial(engine.DialSpec{Network: "unix", Path: "@nobody-listens-here"}, p)
		if !c.Closed() {
			c.Close()
		}
		layer.Client(c, clientConfig(0), time.Minute)
	})
	eventually(t, "closed", p.isClosed)
	if got := layer.Counters(); got != (tlsio.Counters{}) {
		t.Errorf("counters %+v", got)
	}
}
