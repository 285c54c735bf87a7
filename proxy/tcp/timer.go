package tcp

import (
	"math"
	"strconv"
	"time"

	"github.com/sluiceproxy/sluice/engine/wheel"
	"github.com/sluiceproxy/sluice/proxy/reason"
	"github.com/sluiceproxy/sluice/proxy/streaminfo"
)

// Deadlines of a session; the timer waits for the earliest.
const (
	idleAt     = iota // idle_timeout, until the relay keeps it (TCP-60)
	retryAt           // back-off is over
	durationAt        // max_downstream_connection_duration
	logAt             // the next periodic line
	drainAt           // a draining listener ends the session
	numDeadlines
)

// setTimers sets what runs from the beginning.
func (s *session) setTimers() {
	c, now := s.cfg.conf, s.a.w.Loop.Now()
	s.idle = c.IdleTimeout
	if v, ok := s.facts.FilterState(streaminfo.KeyTCPIdleTimeoutMs); ok {
		if ms, err := strconv.ParseUint(string(v), 10, 63); err == nil {
			s.idle = time.Duration(min(ms, math.MaxInt64/uint64(time.Millisecond))) * time.Millisecond
		}
	}
	s.touch()
	if d := c.MaxDownstreamConnectionDuration; d > 0 {
		s.deadlines[durationAt] = now + int64(d+s.jitter(d))
	}
	if c.LogInterval > 0 {
		s.deadlines[logAt] = now + int64(c.LogInterval)
	}
}

// jitter is the random part of max_downstream_connection_duration.
func (s *session) jitter(d time.Duration) time.Duration {
	most := int64(math.Ceil(float64(d/time.Millisecond) * s.cfg.conf.MaxDurationJitterPercent / 100))
	if most <= 0 {
		return 0
	}
	return time.Duration(s.a.w.Random.Int64N(most)) * time.Millisecond
}

// flushTimeout bounds how long what a client that is gone left for its stream may stay there with none of
// it moving, when there is no idle timeout to do it.
const flushTimeout = 30 * time.Second

// patience is how long nothing may move; 0 for ever.
func (s *session) patience() time.Duration {
	if s.idle == 0 && (s.flushing || s.state == emptying) {
		return flushTimeout
	}
	return s.idle
}

// touch notes that bytes moved before the relay, or where there is none.
func (s *session) touch() {
	if d := s.patience(); d > 0 {
		s.deadlines[idleAt] = s.a.w.Loop.Now() + int64(d)
	}
}

// arm makes the timer wait for the earliest deadline; a later one leaves an armed timer alone, which
// then looks again when it fires.
func (s *session) arm() {
	if s.state != closing {
		s.a.w.Loop.ArmFirst(&s.timer, s.deadlines[:])
	}
}

// sessionTimer is a session one of whose deadlines may have passed.
type sessionTimer session

// OnTimer does what is due.
func (t *sessionTimer) OnTimer(*wheel.Timer) {
	s := (*session)(t)
	now := s.a.w.Loop.Now()
	due := func(which int) bool {
		if d := s.deadlines[which]; d == 0 || d > now {
			return false
		}
		s.deadlines[which] = 0
		return true
	}
	st := s.cfg.stats
	switch {
	case s.state == closing:
		return
	case due(durationAt):
		s.a.w.Stats.Inc(st.MaxDownstreamConnectionDuration)
		s.abort(reason.SessionDuration)
		return
	case due(idleAt):
		if s.flushMoves() {
			break
		}
		if s.idle > 0 {
			s.a.w.Stats.Inc(st.IdleTimeout)
		}
		s.abort(reason.SessionIdle)
		return
	case due(drainAt):
		s.endInOrder()
		return
	}
	if due(logAt) {
		s.log(streaminfo.TCPPeriodic)
		s.deadlines[logAt] = now + int64(s.cfg.conf.LogInterval)
	}
	if due(retryAt) {
		s.connect()
	}
	s.arm()
}

// drain lets a session with check_drain_close end: at once, or when the drain is gradual at some time
// of it.
func (s *session) drain() {
	if !s.cfg.conf.CheckDrainClose || s.state == closing || s.state == emptying {
		return
	}
	if s.a.drainOver <= 0 || s.a.healthFailed {
		s.endInOrder()
		return
	}
	s.deadlines[drainAt] = s.a.w.Loop.Now() + s.a.w.Random.Int64N(int64(s.a.drainOver))
	s.arm()
}

// endInOrder closes both ends after what is under way.
func (s *session) endInOrder() {
	switch s.state {
	case relaying:
		s.endedBy(reason.Draining)
		s.relay.CloseFlush()
	case streaming:
		s.endedBy(reason.Draining)
		s.takeKept(s.c)
		s.clientEnds()
		s.c.CloseAfterFlush(flushTimeout)
	default:
		s.abort(reason.Draining)
	}
}
