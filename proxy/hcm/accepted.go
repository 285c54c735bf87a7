package hcm

import (
	"time"

	"github.com/sluiceproxy/sluice/engine"
	"github.com/sluiceproxy/sluice/proxy/stats"
	"github.com/sluiceproxy/sluice/proxy/streaminfo"
	"github.com/sluiceproxy/sluice/proxy/worker"
)

// accepted is what a downstream connection is whatever it speaks. Loop-owned, part of a serverConn or
// an h2Conn, whose free lists clear it.
type accepted struct {
	c   *engine.Conn
	a   *Acceptor
	cfg *Config // of the current or last stream (HTTP/1), of the connection's beginning (HTTP/2)
	// stats are those the connection was counted in when it came: its gauges must go down where they
	// went up, whatever name the listener has by then.
	stats *stats.HTTPStats
	// self is what this is part of; prevLive and nextLive link the acceptor's live connections.
	self               server
	prevLive, nextLive *accepted

	// closing: no further request is read. lingers: the client has some time left to end the connection.
	closing, lingers bool
	// remote: the client ended it. cutOff: with a request under way.
	remote, cutOff bool
	// chargedRx and chargedTx are how many bytes were counted so far.
	chargedRx, chargedTx uint64

	facts streaminfo.Connection
}

// server is what the acceptor asks of a live connection, whichever codec serves it.
type server interface {
	engine.Handler
	// uses says whether a request, or the beginning of one, still needs cfg.
	uses(cfg *Config) bool
	// busy says whether there is a request, or the beginning of one.
	busy() bool
	// shutDown lets the connection end in order when all responses have to be the last ones; idle says
	// that it ends now if it has nothing under way.
	shutDown(idle bool)
	// abort ends it now, whatever is under way.
	abort()
}

// charge counts the connection's bytes since the last time.
func (s *accepted) charge() {
	rx, tx := s.c.BytesRead(), s.c.BytesWritten()
	s.a.w.Stats.Add(s.stats.DownstreamCxRxBytesTotal, rx-s.chargedRx)
	s.a.w.Stats.Add(s.stats.DownstreamCxTxBytesTotal, tx-s.chargedTx)
	s.chargedRx, s.chargedTx = rx, tx
}

// CountBuffers implements worker.BufferCounter.
func (s *accepted) CountBuffers(c *engine.Conn, b *worker.Buffers) {
	b.Add(s.stats.DownstreamCxRxBytesBuffered, s.stats.DownstreamCxTxBytesBuffered, c.Kept(), c.Buffered())
}

// linger ends the connection in order: what is unsent goes, then the client has delayed_close_timeout
// to end it too (HC-38). A timeout of 0 asks for no such wait.
func (s *accepted) linger(cfg *Config) {
	if cfg.conf.DelayedCloseTimeout == 0 && s.c.Buffered() == 0 {
		s.closing = true
		s.c.Close()
		return
	}
	s.closing, s.lingers = true, true
	s.c.CloseAfterFlush(cfg.conf.DelayedCloseTimeout)
}

// countClosed counts the end of the connection for reason r, and gives its facts back. active says that
// a request was under way.
func (s *accepted) countClosed(c *engine.Conn, r engine.CloseReason, active bool) {
	sh, hs := s.a.w.Stats, s.stats
	if s.lingers && (r == engine.FlushTimeout || r == engine.LocalClose && !c.ReadClosed()) {
		sh.Inc(hs.DownstreamCxDelayedCloseTimeout)
	}
	s.charge()
	ms := uint64(s.a.w.Loop.Now()-s.facts.StartNs) / uint64(time.Millisecond)
	sh.GaugeAdd(hs.DownstreamCxActive, -1)
	if s.facts.Secure != nil {
		sh.GaugeAdd(hs.DownstreamCxSslActive, -1)
	}
	sh.Inc(hs.DownstreamCxDestroy)
	which, whichActive := hs.DownstreamCxDestroyLocal, hs.DownstreamCxDestroyLocalActiveRq
	if s.remote || r == engine.PeerReset || r == engine.PeerClosed {
		which, whichActive = hs.DownstreamCxDestroyRemote, hs.DownstreamCxDestroyRemoteActiveRq
	}
	sh.Inc(which)
	if active {
		sh.Inc(hs.DownstreamCxDestroyActiveRq)
		sh.Inc(whichActive)
	}
	sh.Record(hs.DownstreamCxLengthMs, ms)
	s.a.account.Broken(c, &s.facts, r)
	s.a.account.Closed(c, &s.facts, nil)
	s.a.unlink(s)
}
