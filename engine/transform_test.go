package engine_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/engine"
)

// shift is a Transform that adds one to each byte. It opens by sending a greeting and
// getting one byte, and ends with a zero byte.
type shift struct {
	greeting []byte
	got      bool
	ended    int // calls of OnClosed
	received string
	buf      [1000]byte
}

var errShift = errors.New("no shifted bytes")

const bye = 0

func (s *shift) Start(c *engine.Conn, received []byte) {
	s.received = string(received)
	s.got = len(received) > 0
	s.OnReady(c)
}

func (s *shift) OnReady(c *engine.Conn) {
	s.greeting = s.greeting[c.SendWire(s.greeting):]
	if s.got {
		c.Loop().Post(&job{func() { c.Established(s.greeting) }})
		return
	}
	switch _, st := c.ReadWire(s.buf[:1]); st {
	case engine.IOMoved:
		s.got = true
		s.OnReady(c)
	case engine.IOEnd:
		c.Fail(engine.HandshakeFailed, errShift)
	}
}

func (s *shift) Read(c *engine.Conn, p []byte) (int, bool, engine.IOState) {
	n, st := c.ReadWire(p)
	switch {
	case st == engine.IOEnd:
		c.Fail(engine.Truncated, errShift)
		return 0, false, engine.IOFailed
	case st != engine.IOMoved:
		return 0, false, st
	case p[0] == bye:
		return 0, false, engine.IOEnd
	}
	for i := range p[:n] {
		p[i]--
	}
	return n, false, engine.IOMoved
}

func (s *shift) Write(c *engine.Conn, a, b []byte) {
	p := append(bytes.Clone(a), b...)
	for i := range p {
		p[i]++
	}
	c.WriteWire(p)
}

func (s *shift) CloseWrite(c *engine.Conn) { c.WriteWire([]byte{bye}) }

func (s *shift) OnClosed(*engine.Conn, engine.CloseReason) { s.ended++ }

// shifted serves p behind s.
func shifted(t *testing.T, s *shift, p *peer, timeout time.Duration) (net.Conn, *engine.Loop) {
	t.Helper()
	g := group(t, engine.Options{Loops: 1})
	ln := serve(t, g, engine.ListenSpec{}, func(c *engine.Conn) engine.Handler {
		if !c.SetTransform(s, timeout) {
			t.Error("refused")
		}
		p.conn = c
		return p
	})
	return dialNet(t, ln), g.Loops()[0]
}

// TestTransformOpensThenCarries: what the opening exchange could not send, what was
// written meanwhile and what is written afterwards arrive in this order.
func TestTransformOpensThenCarries(t *testing.T) {
	greeting := strings.Repeat("hello", 4<<20) // more than the socket takes
	s := &shift{greeting: []byte(greeting)}
	p := &peer{onConnected: func(c *engine.Conn) { c.Write2([]byte("b"), []byte("c")) }, onReadClosed: (*engine.Conn).CloseWrite}
	c, l := shifted(t, s, p, time.Minute)
	eventually(t, "the socket is full", func() (full bool) {
		on(t, l, func() {
			full = p.conn != nil && p.conn.BytesWritten() > 0 // it takes what it can at once
		})
		return full
	})
	on(t, l, func() {
		p.conn.Write([]byte("a"))
		if p.conn.Buffered() != 1 || p.conn.Transform() != engine.Transform(s) {
			t.Errorf("%d bytes wait, transform %v", p.conn.Buffered(), p.conn.Transform())
		}
	})
	_, _ = c.Write([]byte("k"))
	eventually(t, "open", func() bool { return strings.Contains(p.log(), "connected") })
	_, _ = c.Write([]byte("IBM"))
	eventually(t, "the bytes arrive", func() bool { return p.got() == "HAL" })
	_, _ = c.Write([]byte{bye})
	got, err := io.ReadAll(c)
	if want := greeting + "bcd\x00"; err != nil || string(got) != want {
		t.Errorf("%d bytes of %d, ending in %q, %v", len(got), len(want), got[max(0, len(got)-5):], err)
	}
	p.wantClosed(t, engine.PeerClosed)
	on(t, l, func() {
		// What was left of the greeting was above the high watermark.
		if !strings.Contains(p.log(), "writable") || s.ended != 1 {
			t.Errorf("events %s, ended %d", p.log(), s.ended)
		}
	})
}

func TestTransformFailures(t *testing.T) {
	for _, tc := range []struct {
		name    string
		timeout time.Duration
		do      func(c *net.TCPConn)
		want    engine.CloseReason
		err     error
	}{
		{"the opening exchange takes too long", 50 * time.Millisecond, func(*net.TCPConn) {}, engine.HandshakeTimeout, nil},
		{"it fails", 0, func(c *net.TCPConn) { _ = c.CloseWrite() }, engine.HandshakeFailed, errShift},
		{"the stream is cut", 0, func(c *net.TCPConn) { _, _ = c.Write([]byte("k")); _ = c.CloseWrite() }, engine.Truncated, errShift},
		{"a reset", 0, func(c *net.TCPConn) { _ = c.SetLinger(0); c.Close() }, engine.PeerReset, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, p := &shift{}, &peer{}
			c, l := shifted(t, s, p, tc.timeout)
			eventually(t, "accepted", func() (ok bool) {
				on(t, l, func() { ok = p.conn != nil })
				return ok
			})
			tc.do(c.(*net.TCPConn))
			p.wantClosed(t, tc.want)
			on(t, l, func() {
				if tc.err != nil && !errors.Is(p.err, tc.err) || s.ended != 1 {
					t.Errorf("error %v, ended %d", p.err, s.ended)
				}
			})
		})
	}
}

// TestTransformOnAnOpenConnection begins in mid-stream, with bytes that were kept.
func TestTransformOnAnOpenConnection(t *testing.T) {
	s := &shift{}
	p := &peer{onReadClosed: (*engine.Conn).CloseWrite}
	p.onData = func(c *engine.Conn, view []byte) int {
		plain, _, found := bytes.Cut(view, []byte("start\n"))
		if found {
			c.SetTransform(s, 0)
			p.onData = nil
			return len(plain) + len("start\n")
		}
		return 0
	}
	c, l := one(t, p)
	_, _ = c.Write([]byte("plain start\nk"))
	eventually(t, "open", func() bool { return strings.Contains(p.log(), "connected") })
	_, _ = c.Write([]byte("IBM"))
	eventually(t, "the bytes arrive", func() bool { return p.got() == "plain start\nHAL" })
	on(t, l, func() {
		if s.received != "k" {
			t.Errorf("the transform began with %q", s.received)
		}
	})
	_, _ = c.Write([]byte{bye})
	p.wantClosed(t, engine.PeerClosed)
}
