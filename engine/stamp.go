package engine

import (
	"time"

	"github.com/sluiceproxy/sluice/engine/wheel"
)

const (
	// stampTime is how long one value of Stamp stands for all times.
	stampTime = 5 * time.Millisecond

	// busyStamps within stampTime are what makes a timer cost less than they do. A
	// loop with less to do is not woken for it.
	busyStamps = 128
)

// stamp is the state of Loop.Stamp.
//
//	reading   each Stamp reads the clock; busyStamps of them within stampTime -> standing
//	standing  untilNs is the answer; the timer, which is due then -> reading
type stamp struct {
	untilNs int64 // 0 while reading
	taken   int   // reads since firstNs
	firstNs int64
	timer   wheel.Timer
}

// take is Stamp while reading.
func (s *stamp) take(l *Loop) int64 {
	now := l.Now()
	if s.taken++; s.taken < busyStamps {
		return now
	}
	if now-s.firstNs < int64(stampTime) {
		s.timer.Handler = s
		l.Arm(&s.timer, stampTime)
		s.untilNs = s.timer.Deadline()
	}
	s.taken, s.firstNs = 0, now
	return now
}

// OnTimer ends standing.
func (s *stamp) OnTimer(*wheel.Timer) { s.untilNs = 0 }
