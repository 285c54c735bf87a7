package hcm

import (
	"time"

	"github.com/sluiceproxy/sluice/engine/wheel"
	"github.com/sluiceproxy/sluice/proxy/reason"
)

// This file is what a downstream HTTP/1 connection does while it waits: for the rest of a head, for the
// next request, for its own end.

// partialHead waits for the rest of a head, of which b is there. Empty lines before a request line
// (HC-7) do not begin one: a client that ends every body with one is idle after it.
func (s *serverConn) partialHead(cfg *Config, b []byte) {
	if s.headStart == 0 && onlyLineEnds(b) {
		return
	}
	s.seen = len(b)
	s.idleSince = s.a.w.Loop.Now()
	if s.headStart != 0 {
		return // the timer looks when it fires
	}
	s.headStart = max(1, s.idleSince)
	if s.deadlines[connHead] = headDeadline(cfg, s.headStart, s.idleSince); s.deadlines[connHead] != 0 {
		s.arm()
	}
}

func onlyLineEnds(b []byte) bool {
	for _, c := range b {
		if c != '\r' && c != '\n' {
			return false
		}
	}
	return true
}

// headDeadline is when a head is given up at the earliest that began at start and of which no byte has
// come since moved; 0 never. A stream exists only once its head is whole, but its clocks start with the
// first byte (ROUTER-43 to 45).
func headDeadline(cfg *Config, start, moved int64) int64 {
	c := cfg.conf
	at := sooner(0, start, c.RequestHeadersTimeout)
	at = sooner(at, start, c.RequestTimeout)
	at = sooner(at, start, c.MaxStreamDuration)
	return sooner(at, moved, c.StreamIdleTimeout)
}

// sooner returns the earlier of two deadlines, the second being d after from. 0 is never.
func sooner(at, from int64, d time.Duration) int64 {
	if d > 0 && (at == 0 || from+int64(d) < at) {
		return from + int64(d)
	}
	return at
}

// headOverdue says which of such a head's deadlines has passed; None for none.
func headOverdue(cfg *Config, start, moved, now int64) reason.Reason {
	c := cfg.conf
	switch {
	case passed(now, start, c.MaxStreamDuration):
		return reason.MaxStreamDuration
	case passed(now, start, c.RequestHeadersTimeout):
		return reason.RequestHeadersTimeout
	case passed(now, start, c.RequestTimeout):
		return reason.RequestTimeout
	case passed(now, moved, c.StreamIdleTimeout):
		return reason.StreamIdle
	}
	return reason.None
}

func passed(now, from int64, d time.Duration) bool { return d > 0 && from+int64(d) <= now }

// beginUnparsed makes a stream for a head that began and never became one, so that it is counted and
// logged.
func (s *serverConn) beginUnparsed() *stream {
	st := s.a.streams.Get()
	st.req.Reset(nil)
	s.cur, s.lastOne = st, true
	st.begin(s.a.w, s.cfg, s, &s.facts, s.headStart)
	s.a.w.Stats.Inc(s.cfg.stats.DownstreamRqHTTP1Total)
	st.setRequest(halfDone)
	st.info.DownstreamHeaderBytesReceived, st.info.DownstreamWireReceived = uint64(s.seen), uint64(s.seen)
	s.headStart, s.seen = 0, 0
	return st
}

// arm sets the timer for the earliest deadline.
func (s *serverConn) arm() { s.a.w.Loop.ArmFirst(&s.timer, s.deadlines[:]) }

// OnTimer is the wheel's callback for the connection's deadlines. Whichever were due are either moved
// into the future or cleared, so that the timer never fires for nothing.
func (s *serverConn) OnTimer(*wheel.Timer) {
	if s.closing {
		return
	}
	now := s.a.w.Loop.Now()
	if s.due(connDuration, now) {
		s.deadlines[connDuration] = 0
		s.a.w.Stats.Inc(s.stats.DownstreamCxMaxDurationReached)
		s.drain()
	}
	if s.due(connHead, now) {
		s.headDue(now)
	}
	if s.due(connIdle, now) {
		s.idleDue(now)
	}
	if !s.closing {
		s.arm()
	}
}

func (s *serverConn) due(which int, now int64) bool {
	d := s.deadlines[which]
	return d != 0 && d <= now && !s.closing
}

// headDue answers a client that began a head and did not finish it, or waits for the next deadline.
func (s *serverConn) headDue(now int64) {
	s.deadlines[connHead] = 0
	if s.headStart == 0 {
		return
	}
	if r := headOverdue(s.cfg, s.headStart, s.idleSince, now); r != reason.None {
		s.beginUnparsed().expire(r, 408)
		return
	}
	s.deadlines[connHead] = headDeadline(s.cfg, s.headStart, s.idleSince)
}

// idleDue ends a connection that brought no request for idle_timeout (HC-37).
func (s *serverConn) idleDue(now int64) {
	s.deadlines[connIdle] = 0
	if s.cur != nil || s.headStart != 0 {
		return // set again when the stream ends
	}
	d := s.cfg.conf.IdleTimeout
	switch {
	case passed(now, s.idleSince, d):
		s.a.w.Stats.Inc(s.stats.DownstreamCxIdleTimeout)
		s.linger(s.cfg)
	case d > 0:
		s.deadlines[connIdle] = s.idleSince + int64(d)
	}
}
