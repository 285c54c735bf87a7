package generic

import (
	"github.com/sluiceproxy/sluice/codec/frame"
	"github.com/sluiceproxy/sluice/engine/wheel"
	"github.com/sluiceproxy/sluice/proxy/reason"
)

// arm makes the timer look at the session no later than at.
func (s *session) arm(at int64) {
	if s.deadlines[0] == 0 || at < s.deadlines[0] || !s.timer.Armed() {
		s.deadlines[0] = at
		s.a.w.Loop.ArmFirst(&s.timer, s.deadlines[:])
	}
}

// sessionTimer is a session some deadline of which may have passed.
type sessionTimer session

// OnTimer does what is due: timeouts, retries, draining. Linear in the requests under way.
func (t *sessionTimer) OnTimer(*wheel.Timer) {
	s := (*session)(t)
	if s.closing {
		return
	}
	now := s.a.w.Loop.Now()
	s.deadlines[0] = 0
	for st := s.first; st != nil && !s.closing; {
		next := st.next
		switch {
		case st.deadline != 0 && st.deadline <= now:
			st.timeout()
			next = s.first // what ended may have ended others
		case st.retryAt != 0 && st.retryAt <= now:
			st.retryAt = 0
			st.start()
			next = s.first
		}
		st = next
	}
	if s.closing {
		return
	}
	if s.drainAt != 0 && s.drainAt <= now {
		s.drainAt = 0
		s.draining = true
		s.endIfDrained()
		if s.closing {
			return
		}
	}
	first := s.drainAt
	for st := s.first; st != nil; st = st.next {
		for _, at := range [2]int64{st.deadline, st.retryAt} {
			if at != 0 && (first == 0 || at < first) {
				first = at
			}
		}
	}
	if first != 0 {
		s.arm(first)
	}
}

// timeout answers a request whose route's timeout has passed (GP-3).
func (st *stream) timeout() {
	st.deadline = 0
	if st.local || st.respDone {
		return
	}
	st.s.a.w.Stats.Inc(st.upstream.C.Stats.UpstreamRqTimeout)
	if st.endpoint != nil {
		noteFailure(st.endpoint, reason.GenericTimeout)
	}
	st.dropOwn()
	st.localReply(reason.GenericTimeout, frame.DeadlineExceeded, "")
}
