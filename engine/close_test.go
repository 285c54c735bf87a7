package engine_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/engine"
)

func TestClosingMethods(t *testing.T) {
	for _, tc := range []struct {
		name  string
		close func(c *engine.Conn)
		want  engine.CloseReason
		sees  error // of the client's read after "bye"
	}{
		{"Close sends a FIN", (*engine.Conn).Close, engine.LocalClose, io.EOF},
		{"Reset sends a RST", (*engine.Conn).Reset, engine.LocalReset, syscall.ECONNRESET},
		{
			"CloseAfterFlush sends a FIN",
			func(c *engine.Conn) { c.CloseAfterFlush(5 * time.Second) }, engine.LocalClose, io.EOF,
		},
		{
			"the first of two closes counts",
			func(c *engine.Conn) { c.Close(); c.Reset(); c.CloseAfterFlush(0); c.CloseWrite() }, engine.LocalClose, io.EOF,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := &peer{onData: func(c *engine.Conn, view []byte) int {
				c.Write([]byte("bye"))
				return len(view)
			}}
			c, l := one(t, p)
			_, _ = c.Write([]byte("go"))
			b := make([]byte, 3)
			if _, err := io.ReadFull(c, b); err != nil || string(b) != "bye" {
				t.Fatalf("got %q, %v", b, err)
			}
			on(t, l, func() {
				tc.close(p.conn)
				p.conn.Write([]byte("dropped"))
			})
			if _, err := c.Read(b); !errors.Is(err, tc.sees) {
				t.Errorf("client reads %v, want %v", err, tc.sees)
			}
			c.Close()
			p.wantClosed(t, tc.want)
			on(t, l, func() {
				if l.Conns() != 0 || l.Slabs().InUse() != 0 {
					t.Errorf("%d connections, %d bytes left", l.Conns(), l.Slabs().InUse())
				}
			})
		})
	}
}

func TestClosingWithinAnyEventIsSafe(t *testing.T) {
	for _, tc := range []struct {
		name string
		set  func(p *peer)
	}{
		{"in OnData, with bytes kept", func(p *peer) {
			seen := 0
			p.onData = func(c *engine.Conn, view []byte) int {
				if seen++; seen > 1 {
					c.Close()
					c.Write(bytes.Repeat([]byte("x"), 5000)) // must not land in the view
					for _, b := range view {
						if b != 'a' {
							panic("the view changed")
						}
					}
				}
				return 0
			}
		}},
		{"in OnReadClosed", func(p *peer) { p.onReadClosed = (*engine.Conn).Close }},
		{"in OnReadClosed, by a reset", func(p *peer) { p.onReadClosed = (*engine.Conn).Reset }},
		{"in OnClosed, again", func(p *peer) {
			p.onReadClosed = (*engine.Conn).Close
			p.onClosed = (*engine.Conn).Reset
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := &peer{}
			tc.set(p)
			c, l := one(t, p)
			_, _ = c.Write([]byte("aaaa"))
			eventually(t, "first bytes in", func() bool {
				n := uint64(0)
				on(t, l, func() {
					if p.conn != nil && !p.conn.Closed() {
						n = p.conn.BytesRead()
					}
				})
				return n > 0
			})
			_, _ = c.Write([]byte("aaaa"))
			_ = c.(*net.TCPConn).CloseWrite()
			eventually(t, "closed", p.isClosed)
			on(t, l, func() {
				if l.Slabs().InUse() != 0 || l.Conns() != 0 {
					t.Errorf("slabs %d, connections %d left", l.Slabs().InUse(), l.Conns())
				}
			})
		})
	}
}

func TestPeerReset(t *testing.T) {
	p := &peer{}
	c, _ := one(t, p)
	_, _ = c.Write([]byte("hello"))
	eventually(t, "bytes in", func() bool { return p.got() == "hello" })
	_ = c.(*net.TCPConn).SetLinger(0)
	c.Close()
	p.wantClosed(t, engine.PeerReset)
	if !errors.Is(p.err, syscall.ECONNRESET) {
		t.Errorf("Err() %v", p.err)
	}
}

func TestAResetAfterTheFINIsNoticed(t *testing.T) {
	p := &peer{} // never answers the FIN
	c, _ := one(t, p)
	_ = c.(*net.TCPConn).CloseWrite()
	eventually(t, "FIN read", func() bool { return p.log() == "readclosed" })
	_ = c.(*net.TCPConn).SetLinger(0)
	c.Close()
	p.wantClosed(t, engine.PeerReset)
}

// TestAnEarlyAnswerIsHeardWhenWritingFails: the peer answers, closes with unread
// input (so a RST follows), and our next writes fail. The answer must come first.
func TestAnEarlyAnswerIsHeardWhenWritingFails(t *testing.T) {
	for _, paused := range []bool{false, true} {
		p := &peer{}
		c, l := one(t, p)
		eventually(t, "accepted", func() bool { ok := false; on(t, l, func() { ok = p.conn != nil }); return ok })
		on(t, l, func() {
			p.conn.SetWatermarks(1)
			p.conn.Write([]byte("request that is never read"))
			if paused {
				p.conn.PauseRead()
			}
		})
		answer := bytes.Repeat([]byte("413"), 10_000)
		// The engine's side is held while the answer and the reset arrive, so that it
		// meets both at once.
		arrived := make(chan struct{})
		held := make(chan struct{})
		l.Post(&job{func() {
			close(held)
			<-arrived
			for range 3 {
				p.conn.Write([]byte("more of the body"))
			}
		}})
		<-held
		_, _ = c.Write(answer)
		c.Close()
		close(arrived)
		if paused {
			for range 10 {
				on(t, l, func() {})
			}
			if p.isClosed() {
				t.Fatal("closed while reading was paused")
			}
			on(t, l, func() { p.conn.ResumeRead() })
		}
		p.wantClosed(t, engine.PeerReset)
		if p.got() != string(answer) {
			t.Errorf("paused %v: %d of %d bytes of the answer", paused, len(p.got()), len(answer))
		}
	}
}

func TestCloseAfterFlushDeliversToASlowReader(t *testing.T) {
	big := bytes.Repeat([]byte("q"), 8<<20)
	p := &peer{onData: func(c *engine.Conn, view []byte) int {
		c.Write(big)
		c.CloseAfterFlush(15 * time.Second)
		return len(view)
	}}
	c, _ := one(t, p)
	_, _ = c.Write([]byte("go"))
	_, _ = c.Write(bytes.Repeat([]byte("unread"), 1000)) // would make a plain close a RST
	var got []byte
	b := make([]byte, 256<<10)
	for {
		n, err := c.Read(b)
		got = append(got, b[:n]...)
		if err != nil {
			if err != io.EOF {
				t.Fatal(err)
			}
			break
		}
	}
	if !bytes.Equal(got, big) {
		t.Fatalf("got %d bytes", len(got))
	}
	c.Close()
	p.wantClosed(t, engine.LocalClose)
	if p.log() != "closed LocalClose" {
		t.Errorf("events %q: only OnClosed may follow", p.log())
	}
}

func TestCloseAfterFlushGivesUp(t *testing.T) {
	t.Run("on a peer that does not read", func(t *testing.T) {
		p := &peer{onData: func(c *engine.Conn, view []byte) int {
			c.Write(make([]byte, 16<<20))
			c.CloseAfterFlush(30 * time.Millisecond)
			return len(view)
		}}
		c, l := one(t, p)
		_, _ = c.Write([]byte("go"))
		p.wantClosed(t, engine.FlushTimeout)
		on(t, l, func() {
			if n := l.Slabs().InUse(); n != 0 {
				t.Errorf("%d bytes of slabs left", n)
			}
		})
		if _, err := io.Copy(io.Discard, c); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("client sees %v, want a reset: the answer is not whole", err)
		}
	})
	t.Run("on a peer that reads all and never closes", func(t *testing.T) {
		p := &peer{onData: func(c *engine.Conn, view []byte) int {
			c.Write([]byte("all"))
			c.CloseAfterFlush(30 * time.Millisecond)
			return len(view)
		}}
		c, _ := one(t, p)
		_, _ = c.Write([]byte("go"))
		if b, err := io.ReadAll(c); string(b) != "all" || err != nil {
			t.Fatalf("got %q, %v", b, err)
		}
		p.wantClosed(t, engine.LocalClose)
	})
	t.Run("on a peer that floods while it lingers", func(t *testing.T) {
		p := &peer{onData: func(c *engine.Conn, view []byte) int {
			c.CloseAfterFlush(50 * time.Millisecond)
			return len(view)
		}}
		c, _ := one(t, p)
		go func() {
			chunk := make([]byte, 1<<20)
			for {
				if _, err := c.Write(chunk); err != nil {
					return
				}
			}
		}()
		p.wantClosed(t, engine.LocalClose)
	})
	t.Run("when the peer resets", func(t *testing.T) {
		p := &peer{onData: func(c *engine.Conn, view []byte) int {
			c.Write(make([]byte, 16<<20))
			c.CloseAfterFlush(10 * time.Second)
			return len(view)
		}}
		c, _ := one(t, p)
		_, _ = c.Write([]byte("go"))
		_, _ = io.ReadFull(c, make([]byte, 1000))
		_ = c.(*net.TCPConn).SetLinger(0)
		c.Close()
		p.wantClosed(t, engine.PeerReset)
	})
}
