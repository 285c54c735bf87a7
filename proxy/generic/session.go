package generic

import (
	"github.com/sluiceproxy/sluice/codec/frame"
	"github.com/sluiceproxy/sluice/engine"
	"github.com/sluiceproxy/sluice/engine/wheel"
	"github.com/sluiceproxy/sluice/proxy/reason"
	"github.com/sluiceproxy/sluice/proxy/streaminfo"
)

// maxStreams bounds the requests of one connection that are under way; further ones stay unread.
const maxStreams = 256

// session is one client connection. Loop-owned.
//
//	event            what follows
//	request bytes    a stream each, as far as blocked allows; the rest stays unread
//	cannot be read   all streams reset, closed after what is written (GP-21)
//	FIN, reset       all streams reset, closed (GP-26)
//	response bytes   written when it is their turn (turn.go)
//	drain            closed when no stream is left (GP-35)
type session struct {
	a     *Acceptor
	cfg   *Config
	c     *engine.Conn
	facts streaminfo.Connection
	dec   frame.Decoder // of requests
	up    bound         // with bind_upstream_connection

	first, last *stream // under way, in the order they came
	count       int
	cur         *stream // whose request is being received
	open        *stream // whose response has begun and not ended
	waiting     int     // streams that wait for their turn
	ids         [16]*stream
	heldBytes   int // requests kept by streams and the bound connection

	out    window // part of an upstream's view that is to be written
	answer []byte // the codec's own, to be written when no response is open

	timer     wheel.Timer
	deadlines [1]int64 // the earliest of the streams' and drainAt
	drainAt   int64

	inData    bool
	advancing bool
	stalled   bool // there are bytes that wait for a stream to end, or for room
	paused    bool // counted as paused by flow control
	draining  bool // closes with its last stream
	resumed   bool // kept bytes are about to be looked at again
	closing   bool

	prevLive, nextLive *session
}

// begin makes s ready for its connection.
func (s *session) begin() {
	s.up.s = s
	s.up.req.Owner = &s.up
	s.up.hold.Init(s.a.w.Loop.Slabs())
	s.timer.Handler = (*sessionTimer)(s)
	s.dec = s.cfg.codec.NewRequestDecoder()
	s.c.SetWatermarks(s.cfg.bufferLimit)
	s.c.SetReadLimit(s.cfg.readLimit)
}

// OnConnected says that the TLS handshake is done.
func (s *session) OnConnected(c *engine.Conn) { s.a.account.Secured(c, &s.facts) }

// OnData cuts requests out of the bytes, as far as they may go on.
func (s *session) OnData(_ *engine.Conn, view []byte) int {
	used, idle := 0, 0
	s.resumed = false
	f := &s.a.frame
	s.inData = true
	for !s.closing {
		if s.blocked() {
			s.stall()
			break
		}
		*f = frame.Frame{}
		n, err := s.dec.Next(view[used:], f)
		if err != nil {
			s.up.flush()
			s.broken(err)
			break
		}
		if f.Flags.Has(frame.Answer) {
			if used += n; n == 0 {
				idle++
			}
			s.reply(f.Reply)
			if idle > 1 {
				break // a codec that answers nothing twice would do so for ever
			}
			continue
		}
		if n == 0 {
			if len(view)-used >= s.cfg.readLimit {
				s.up.flush()
				s.broken(errTooLarge)
			}
			break
		}
		used += n
		if f.Flags != 0 {
			s.onRequest(f, view, used-n, used)
		}
	}
	s.inData = false
	s.up.flush()
	s.flush()
	if s.closing {
		return len(view)
	}
	s.endIfDrained()
	return used
}

// Complaints that are not the codec's.
const (
	errTooLarge  frame.Error = "a frame is larger than the codec allows"
	errDuplicate frame.Error = "a request has the id of another one that is under way"
	errSequence  frame.Error = "a frame that belongs to no message"
)

// onRequest takes one frame of a request.
func (s *session) onRequest(f *frame.Frame, view []byte, from, to int) {
	st := s.cur
	switch header := f.Flags.Has(frame.Header); {
	case header != (st == nil):
		s.up.flush()
		s.broken(errSequence)
		return
	case header && s.cfg.byID && s.find(f.ID) != nil: // GP-14, GP-21
		s.up.flush()
		s.broken(errDuplicate)
		return
	case header:
		st = s.newStream(f)
		if f.Flags.Has(frame.Close) {
			s.draining = true
		}
		st.onHeader(f, bytesOf(f, view[from:to]))
		if s.closing {
			return
		}
	}
	st.bytesIn += uint64(to - from)
	st.send(f, view, from, to)
	if f.Flags.Has(frame.End) {
		st.requestDone()
	}
}

// bytesOf is what a frame found in view goes out as.
func bytesOf(f *frame.Frame, view []byte) []byte {
	if f.Bytes != nil {
		return f.Bytes
	}
	return view
}

// newStream begins a request.
func (s *session) newStream(f *frame.Frame) *stream {
	a := s.a
	if cfg := a.live.Load(); cfg != s.cfg {
		s.reconfigure(cfg)
	}
	st := a.take()
	st.s, st.cfg, st.id, st.note = s, s.cfg, f.ID, f.Note
	st.startNs = a.w.Loop.Now()
	st.prev = s.last
	if s.last == nil {
		s.first = st
	} else {
		s.last.next = st
	}
	s.last = st
	s.count++
	s.cur = st
	if s.cfg.byID {
		bucket := &s.ids[f.ID&15]
		st.nextID, *bucket = *bucket, st
		st.inIDs = true
	}
	a.w.Stats.Inc(s.cfg.stats.DownstreamRqTotal)
	a.w.Stats.GaugeAdd(s.cfg.stats.DownstreamRqActive, 1)
	return st
}

// reconfigure takes a new configuration for the requests to come; one whose bytes mean something else
// lets the connection end.
func (s *session) reconfigure(cfg *Config) {
	if cfg == nil || !s.cfg.sameWire(cfg) {
		s.draining = true
		return
	}
	s.cfg = cfg
}

// find returns the request of an id that is under way.
func (s *session) find(id uint64) *stream {
	st := s.ids[id&15]
	for st != nil && st.id != id {
		st = st.nextID
	}
	return st
}

// unlink takes a request out of those under way.
func (s *session) unlink(st *stream) {
	if st.prev == nil {
		s.first = st.next
	} else {
		st.prev.next = st.next
	}
	if st.next == nil {
		s.last = st.prev
	} else {
		st.next.prev = st.prev
	}
	st.prev, st.next = nil, nil
	s.count--
	if s.cur == st {
		s.cur = nil
	}
	if s.open == st {
		s.open = nil
	}
	if st.waits {
		st.waits = false
		s.waiting--
	}
	s.forgetID(st)
}

func (s *session) forgetID(st *stream) {
	if !st.inIDs {
		return
	}
	st.inIDs = false
	for at := &s.ids[st.id&15]; *at != nil; at = &(*at).nextID {
		if *at == st {
			*at = st.nextID
			break
		}
	}
	st.nextID = nil
}

// broken ends the connection because of what the client sent (GP-14, GP-21).
func (s *session) broken(err error) {
	s.a.w.Stats.Inc(s.cfg.stats.DownstreamRqDecodingError)
	s.a.complain(s.cfg, "generic proxy: a client's bytes cannot be read", err)
	s.end(reason.GenericDecoding)
}

// end resets what is under way and closes the connection after what is written.
func (s *session) end(r reason.Reason) {
	if s.closing {
		return
	}
	s.flush()
	s.closing = true
	s.resetAll(r)
	s.c.CloseAfterFlush(0)
}

// abort closes the connection now.
func (s *session) abort(r reason.Reason) {
	if !s.closing {
		s.closing = true
		s.resetAll(r)
	}
	s.c.Close()
}

// resetAll gives up every request and the bound connection.
func (s *session) resetAll(r reason.Reason) {
	s.out.clear()
	s.advancing = true // nobody gets a turn any more
	for s.first != nil {
		s.first.abandon(r)
	}
	s.up.close()
	s.advancing = false
}

// drain lets the connection end: now when no request is under way, else with the last one.
func (s *session) drain() {
	if s.closing {
		return
	}
	if over := s.a.drainOver; over > 0 && !s.a.healthFailed && s.drainAt == 0 {
		s.drainAt = s.a.w.Loop.Now() + s.a.w.Random.Int64N(int64(over))
		s.arm(s.drainAt)
		return
	} else if over > 0 && !s.a.healthFailed {
		return
	}
	s.draining = true
	s.endIfDrained()
}

// endIfDrained closes a draining connection without requests; one that has some unread goes on.
func (s *session) endIfDrained() {
	if s.draining && s.count == 0 && !s.inData && !s.stalled && !s.resumed && !s.closing {
		s.flush()
		s.end(reason.Draining)
	}
}

// OnReadClosed ends the connection: half closes are not supported (GP-26).
func (s *session) OnReadClosed(*engine.Conn) {
	if !s.closing {
		s.end(reason.DownstreamClosed)
	}
}

// OnWritable lets responses go on, and requests.
func (s *session) OnWritable(*engine.Conn) {
	if s.closing {
		return
	}
	s.resumeUpstreams()
	s.unstall()
}

// OnClosed settles the accounts.
func (s *session) OnClosed(c *engine.Conn, r engine.CloseReason) {
	if !s.closing {
		s.closing = true
		why := reason.DownstreamClosed
		if r == engine.LoopStopped {
			why = reason.Stopped
		}
		s.resetAll(why)
	}
	a := s.a
	a.w.Loop.Disarm(&s.timer)
	if s.paused {
		s.paused = false
		a.w.Stats.Inc(s.cfg.stats.DownstreamFlowControlResumedReadingTotal)
	}
	a.account.Broken(c, &s.facts, r)
	a.account.Closed(c, &s.facts, nil)
	a.gone(s)
}
