package hcm

import (
	"github.com/sluiceproxy/sluice/codec/http2"
	"github.com/sluiceproxy/sluice/engine"
	"github.com/sluiceproxy/sluice/engine/tlsio"
)

// codec_type AUTO (HC-60, HC-95): with TLS the protocol negotiated by ALPN decides, and without one the
// first bytes do. Until then the connection is a serverConn, so that HTTP/1 pays nothing for the choice.

// enoughPreface is how much of the preface is more than any HTTP/1 request begins with.
const enoughPreface = len("PRI * HTTP/2")

// OnConnected comes on connections with TLS, once its handshake is done.
func (s *serverConn) OnConnected(c *engine.Conn) {
	s.a.account.Secured(c, &s.facts)
	if !s.undecided {
		return
	}
	state := tlsio.State(c)
	switch {
	case state == nil || state.NegotiatedProtocol == "":
	case state.NegotiatedProtocol == "h2":
		s.toHTTP2()
	default:
		s.decided()
	}
}

// choose returns who handles a connection that begins with view: s itself, the h2Conn that takes its
// place, or nil when more bytes are needed to know.
func (s *serverConn) choose(view []byte) engine.Handler {
	n := min(len(view), enoughPreface)
	switch {
	case string(view[:n]) != http2.Preface[:n]:
		s.decided()
		return s
	case n < enoughPreface:
		s.partialHead(s.cfg, view)
		return nil
	}
	return s.toHTTP2()
}

// decided counts a connection that turned out to speak HTTP/1.
func (s *serverConn) decided() {
	s.undecided = false
	s.a.w.Stats.Inc(s.stats.DownstreamCxHTTP1Total)
	s.a.w.Stats.GaugeAdd(s.stats.DownstreamCxHTTP1Active, 1)
}

// toHTTP2 gives the connection to an h2Conn. s is on the free list afterwards.
func (s *serverConn) toHTTP2() *h2Conn {
	a := s.a
	a.unlink(&s.accepted)
	h := a.serveHTTP2(&s.accepted)
	h.c.SetHandler(h)
	a.put(s)
	return h
}
