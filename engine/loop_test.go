package engine_test

import (
	"math"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/engine"
	"github.com/sluiceproxy/sluice/engine/wheel"
)

type alarm struct {
	wheel.Timer
	loop  *engine.Loop
	fired chan time.Duration
	at    time.Time
	again int
}

func (a *alarm) OnTimer(*wheel.Timer) {
	a.fired <- time.Since(a.at)
	if a.again > 0 {
		a.again--
		a.at = time.Now()
		a.loop.Arm(&a.Timer, 3*time.Millisecond)
	}
}

func TestTimersAreNeverEarly(t *testing.T) {
	g := group(t, engine.Options{Loops: 1})
	l := g.Loops()[0]
	for _, d := range []time.Duration{0, time.Microsecond, time.Millisecond, 17 * time.Millisecond, 130 * time.Millisecond} {
		a := &alarm{loop: l, fired: make(chan time.Duration, 4)}
		a.Handler = a
		on(t, l, func() { a.at = time.Now(); l.Arm(&a.Timer, d) })
		select {
		case took := <-a.fired:
			if took < d-20*time.Microsecond { // the coarse clock was read before a.at
				t.Errorf("armed for %v, ran after %v", d, took)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("a timer of %v never ran", d)
		}
	}
}

func TestTimersRearmMoveAndCancel(t *testing.T) {
	g := group(t, engine.Options{Loops: 1})
	l := g.Loops()[0]
	make1 := func(again int) *alarm {
		a := &alarm{loop: l, fired: make(chan time.Duration, 8), again: again}
		a.Handler = a
		return a
	}
	repeat, moved, gone := make1(3), make1(0), make1(0)
	on(t, l, func() {
		l.Arm(&gone.Timer, 2*time.Millisecond)
		l.Arm(&moved.Timer, time.Hour)
		l.Arm(&repeat.Timer, time.Millisecond)
		l.Disarm(&gone.Timer)
		l.Arm(&moved.Timer, 5*time.Millisecond)
		if gone.Armed() || !moved.Armed() {
			t.Error("Armed() is wrong")
		}
	})
	for range 4 {
		<-repeat.fired
	}
	<-moved.fired
	never := make1(0)
	on(t, l, func() { l.Arm(&never.Timer, math.MaxInt64) })
	on(t, l, func() {})
	if len(gone.fired)+len(never.fired) != 0 {
		t.Error("a cancelled timer or one of 292 years ran")
	}
}

type task struct {
	n    *int
	more int
}

func (k *task) Run(l *engine.Loop) {
	*k.n++
	if k.more > 0 {
		k.more--
		l.Defer(k)
	}
}

func TestDeferredTasksRunAtTheSafePointAndYield(t *testing.T) {
	g := group(t, engine.Options{Loops: 1})
	l := g.Loops()[0]
	n := 0
	on(t, l, func() {
		l.Defer(&task{&n, 999}) // more rounds than one safe point has
		if n != 0 {
			t.Error("ran at once")
		}
	})
	eventually(t, "all rounds", func() bool { got := 0; on(t, l, func() { got = n }); return got == 1000 })
}

func TestPostFromManyGoroutines(t *testing.T) {
	g := group(t, engine.Options{Loops: 1})
	l := g.Loops()[0]
	const posters, each = 8, 2000
	var ran atomic.Int64
	m := &job{func() { ran.Add(1) }}
	for range posters {
		go func() {
			for range each {
				for !l.Post(m) {
					time.Sleep(time.Millisecond) // full: the loop is behind
				}
			}
		}()
	}
	eventually(t, "all ran", func() bool { return ran.Load() == posters*each })
}

func TestPostReportsAFullRing(t *testing.T) {
	g := group(t, engine.Options{Loops: 1})
	l := g.Loops()[0]
	block, held := make(chan struct{}), make(chan struct{})
	l.Post(&job{func() { close(held); <-block }})
	<-held
	ran := 0
	m := &job{func() { ran++ }}
	accepted := 0
	for range 100_000 {
		if !l.Post(m) {
			break
		}
		accepted++
	}
	if accepted == 100_000 {
		t.Error("the ring has no bound")
	}
	close(block)
	eventually(t, "all accepted ran", func() bool {
		got := 0
		if !l.Post(&job{func() {}}) {
			return false
		}
		on(t, l, func() { got = ran })
		return got == accepted
	})
}

func TestLoopClockAndContext(t *testing.T) {
	g := group(t, engine.Options{Loops: 2})
	for i, l := range g.Loops() {
		if l.Index() != i || l.Group() != g {
			t.Errorf("loop %d: index %d", i, l.Index())
		}
		l.SetContext(i)
		var before int64
		on(t, l, func() {
			before = l.Now()
			if l.Now() != before {
				t.Error("the clock moved within an event")
			}
			if d := time.Since(l.WallNow()); d < -time.Second || d > 10*time.Second {
				t.Errorf("wall clock is off by %v", d)
			}
			if l.Context() != any(i) || !l.OnLoop() {
				t.Error("context or ownership is wrong")
			}
			if s := l.Scratch(); len(s) != 0 || cap(s) < 64<<10 {
				t.Errorf("scratch %d/%d", len(s), cap(s))
			}
		})
		on(t, l, func() {
			if l.Now() < before {
				t.Error("the clock went back")
			}
		})
	}
}
