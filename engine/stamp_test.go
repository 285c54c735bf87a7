package engine_test

import (
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/engine"
)

const (
	stampTime  = 5 * time.Millisecond
	busyStamps = 128
)

func TestStampStandsOnABusyLoopAlone(t *testing.T) {
	l := group(t, engine.Options{Loops: 1}).Loops()[0]
	latest := int64(0)
	take := func() (stamp int64, standing bool) {
		stamp, now := l.Stamp(), l.Now()
		if stamp > now+int64(stampTime) || stamp < latest {
			t.Errorf("stamp %d at %d, after one of %d", stamp, now, latest)
		}
		latest = stamp
		return stamp, stamp > now
	}
	on(t, l, func() {
		for range busyStamps - 1 {
			if _, standing := take(); standing {
				t.Error("a timer for a few stamps")
			}
		}
	})
	busy := func() (standing bool) {
		on(t, l, func() {
			for range 2 * busyStamps {
				_, standing = take()
			}
		})
		return standing
	}
	eventually(t, "one value standing for many", busy)
	eventually(t, "it ends, and the clock is read again", func() (ended bool) {
		on(t, l, func() {
			_, standing := take()
			ended = !standing
		})
		return ended
	})
	eventually(t, "one value standing for many, again", busy)
}
