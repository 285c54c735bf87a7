package generic

import (
	"github.com/sluiceproxy/sluice/codec/frame"
	"github.com/sluiceproxy/sluice/proxy/reason"
)

// window is a part of a view that is to be written to another connection: neighbouring frames leave in
// one call. It must be flushed before the view is gone.
type window struct {
	view     []byte
	from, to int
}

func (w *window) clear() { *w = window{} }

// blocked says whether no more of the client's bytes can be taken now.
func (s *session) blocked() bool {
	if s.c.Above() { // a client that does not read gets no further responses to keep for it
		return s.pause()
	}
	if st := s.cur; st != nil {
		return st.full() && s.pause()
	}
	switch {
	case s.count+s.up.ghosts >= maxStreams:
		if !s.stalled {
			s.a.w.Stats.Inc(s.cfg.stats.DownstreamRqQueueFull)
		}
		return true
	case s.cfg.bind && s.cfg.single && (s.count > 0 || s.up.head != nil): // GP-13
		return true
	case s.draining && s.count > 0 && s.a.live.Load() != s.cfg:
		return true // another protocol from now on: no request of the old one
	}
	return (s.heldBytes > s.cfg.bufferLimit || s.up.full()) && s.pause()
}

// pause counts that reading stops for want of room.
func (s *session) pause() bool {
	if !s.paused {
		s.paused = true
		s.a.w.Stats.Inc(s.cfg.stats.DownstreamFlowControlPausedReadingTotal)
	}
	return true
}

// stall leaves what the client sends with its connection, and beyond a read in the kernel.
func (s *session) stall() {
	if !s.stalled {
		s.stalled = true
		s.c.SetReadLimit(readAhead)
	}
}

// unstall goes on with what was left, when it may.
func (s *session) unstall() {
	if !s.stalled || s.inData || s.closing || s.blocked() {
		return
	}
	if s.paused {
		s.paused = false
		s.a.w.Stats.Inc(s.cfg.stats.DownstreamFlowControlResumedReadingTotal)
	}
	s.stalled = false
	s.c.SetReadLimit(s.cfg.readLimit)
	s.resumed = s.c.Kept() > 0
	s.c.ResumeRead()
}

// mayWrite says whether it is st's turn to answer: in the order of the requests, or when no other
// response has begun.
func (s *session) mayWrite(st *stream) bool {
	if s.cfg.byID {
		return s.open == nil || s.open == st
	}
	return s.first == st
}

// await makes st wait for its turn.
func (s *session) await(st *stream) {
	if !st.waits {
		st.waits = true
		s.waiting++
	}
}

// advance gives those their turn that wait for it.
func (s *session) advance() {
	if s.advancing || s.closing {
		return
	}
	s.advancing = true
	for again := true; again && s.waiting > 0 && !s.closing; {
		again = false
		for st := s.first; st != nil; st = st.next {
			if !st.waits || !s.mayWrite(st) {
				if !s.cfg.byID {
					break
				}
				continue
			}
			st.waits = false
			s.waiting--
			if st.local {
				st.writeLocal()
				again = true // the list may be another one now
				break
			}
			st.resume()
			if !s.cfg.byID {
				break
			}
		}
	}
	s.advancing = false
}

// resumeUpstreams reads on from whoever may answer.
func (s *session) resumeUpstreams() {
	s.up.resume()
	for st := s.first; st != nil; st = st.next {
		if st.paused && s.mayWrite(st) {
			st.resume()
		}
		if !s.cfg.byID {
			return
		}
	}
}

// forward writes a frame to the client: at once, or together with its neighbours.
func (s *session) forward(f *frame.Frame, view []byte, from, to int) {
	if f.Bytes != nil {
		s.flush()
		s.c.Write(f.Bytes)
		return
	}
	if s.out.view != nil && s.out.to == from {
		s.out.to = to
		return
	}
	s.flush()
	s.out = window{view, from, to}
}

// flush writes what forward has collected. Before the view is gone, and before anything else is written.
func (s *session) flush() {
	if s.out.view != nil {
		w := s.out
		s.out.clear()
		s.c.Write(w.view[w.from:w.to])
	}
	if s.open == nil && len(s.answer) > 0 && !s.closing {
		s.c.Write(s.answer)
		s.answer = s.answer[:0]
	}
}

// maxAnswers bounds what the codec's own answers may have to wait.
const maxAnswers = 512

// reply sends the codec's own answer (GP-23): not into the middle of a response, nor before its turn.
func (s *session) reply(b []byte) {
	if !s.cfg.byID && s.count > 0 || len(s.answer)+len(b) > maxAnswers {
		return
	}
	s.answer = append(s.answer, b...)
	s.flush()
}

// localReply answers a request in place of an upstream, once it is its turn.
func (st *stream) localReply(r reason.Reason, status frame.Status, details string) {
	s := st.s
	if s.closing {
		st.abandon(r)
		return
	}
	st.endedBy(r)
	if details != "" {
		st.details = details
	}
	st.discard = true
	switch {
	case st.oneWay:
		st.respDone = true
		st.isReset = true
		st.finishIfDone()
		return
	case st.began: // too late: the client has the beginning of another response
		st.isReset = true
		s.end(reason.GenericLocalReset)
		return
	}
	st.local, st.status = true, status
	if s.mayWrite(st) && !s.advancing {
		st.writeLocal()
		return
	}
	s.await(st)
}

// writeLocal writes the codec's answer.
func (st *stream) writeLocal() {
	s, a := st.s, st.s.a
	f := &a.request.local
	*f = frame.Frame{ID: st.id, Note: st.note, Method: st.method()}
	s.flush()
	a.text = a.text[:0]
	b, code := st.cfg.codec.AppendReply(a.text, f, st.status, st.details)
	a.text = b
	if len(b) == 0 { // GP-25
		st.local, st.isReset = false, true
		st.endedBy(reason.GenericUnanswerable)
		st.respDone = true
		if s.cfg.byID {
			st.finishIfDone()
			return
		}
		s.end(reason.GenericLocalReset) // whoever counts answers would take the next one for this
		return
	}
	st.code, st.failed, st.respDone = code, true, true
	st.bytesOut += uint64(len(b))
	s.c.Write(b)
	if cap(a.text) > maxKeptText {
		a.text = nil
	}
	st.finishIfDone()
}

const maxKeptText = 64 << 10
