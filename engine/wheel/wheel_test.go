package wheel

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// probe notes the time it ran at.
type probe struct {
	Timer
	ran   int
	onRun func(p *probe)
}

func (p *probe) OnTimer(*Timer) {
	p.ran++
	if p.onRun != nil {
		p.onRun(p)
	}
}

func newProbe() *probe {
	p := &probe{}
	p.Handler = p
	return p
}

// TestWheelAgreesWithASortedList arms, moves, cancels and advances at random; the
// model is a list of expiry ticks.
func TestWheelAgreesWithASortedList(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var w Wheel
		now := rapid.Int64Range(0, 1<<62).Draw(t, "start")
		w.Advance(now)
		type entry struct {
			p  *probe
			at int64 // ns, when due
		}
		var model []entry
		find := func(p *probe) int { return slices.IndexFunc(model, func(e entry) bool { return e.p == p }) }
		probes := make([]*probe, 12)
		for i := range probes {
			probes[i] = newProbe()
		}
		draw := func() *probe { return probes[rapid.IntRange(0, len(probes)-1).Draw(t, "timer")] }
		spans := []int64{0, 1, 999_999, tickNs, 63 * tickNs, 64 * tickNs, 65 * tickNs, 4096 * tickNs, 3_600_000 * tickNs, 1 << 58}
		span := func(what string) int64 {
			s := spans[rapid.IntRange(0, len(spans)-1).Draw(t, what)]
			return s + rapid.Int64Range(0, 2*s+1).Draw(t, what+" extra")
		}
		t.Repeat(map[string]func(*rapid.T){
			"arm": func(*rapid.T) {
				p := draw()
				d := min(now+span("delay"), 1<<62+1<<61)
				if i := find(p); i >= 0 {
					model = slices.Delete(model, i, i+1)
				}
				w.Add(&p.Timer, d)
				// Due at the first tick at or after d, and after the current one.
				tick := max((d+tickNs-1)/tickNs, now/tickNs+1)
				model = append(model, entry{p, tick * tickNs})
				if p.Deadline() != d {
					t.Fatalf("deadline %d, want %d", p.Deadline(), d)
				}
			},
			"cancel": func(*rapid.T) {
				p := draw()
				w.Remove(&p.Timer)
				if i := find(p); i >= 0 {
					model = slices.Delete(model, i, i+1)
				}
			},
			"advance": func(*rapid.T) {
				now = min(now+span("step"), 1<<62+1<<61)
				for _, p := range probes {
					p.ran = 0
				}
				w.Advance(now)
				for _, p := range probes {
					i := find(p)
					want := 0
					if i >= 0 && model[i].at <= now {
						want = 1
						model = slices.Delete(model, i, i+1)
					}
					if p.ran != want {
						t.Fatalf("ran %d times, want %d (now %d)", p.ran, want, now)
					}
				}
			},
			"": func(*rapid.T) {
				if w.Len() != len(model) {
					t.Fatalf("Len %d, want %d", w.Len(), len(model))
				}
				for _, p := range probes {
					if p.Armed() != (find(p) >= 0) {
						t.Fatal("Armed() is wrong")
					}
				}
				next, ok := w.Next()
				if ok != (len(model) > 0) {
					t.Fatalf("Next ok %v with %d armed", ok, len(model))
				}
				for _, e := range model {
					if next > e.at || next < now/tickNs*tickNs {
						t.Fatalf("Next %d, but a timer is due at %d (now %d)", next, e.at, now)
					}
				}
			},
		})
	})
}

// TestWaitingForNextReachesEveryTimer follows Next alone, as the loop does.
func TestWaitingForNextReachesEveryTimer(t *testing.T) {
	var w Wheel
	for _, ms := range []int64{1, 63, 64, 100, 4095, 4096, 300_000, 86_400_000} {
		p := newProbe()
		w.Add(&p.Timer, ms*tickNs)
		waits := 0
		for p.ran == 0 {
			at, ok := w.Next()
			if !ok || waits > levels {
				t.Fatalf("%d ms: %d waits", ms, waits)
			}
			waits++
			w.Advance(at)
			if p.ran != 0 && at != w.deadline(p) {
				t.Errorf("ran at %d, want %d", at, w.deadline(p))
			}
		}
	}
}

func (w *Wheel) deadline(p *probe) int64 { return (p.deadlineNs + tickNs - 1) / tickNs * tickNs }

func TestTimersRunInOrderOfExpiry(t *testing.T) {
	var w Wheel
	var order []int64
	for _, ms := range []int64{500, 3, 70, 5000, 64, 4, 65} {
		p := newProbe()
		p.onRun = func(p *probe) { order = append(order, p.Deadline()/tickNs) }
		w.Add(&p.Timer, ms*tickNs)
	}
	w.Advance(10_000 * tickNs)
	if want := []int64{3, 4, 64, 65, 70, 500, 5000}; !slices.Equal(order, want) {
		t.Errorf("order %v, want %v", order, want)
	}
}

func TestHandlersMayChangeAnyTimer(t *testing.T) {
	var w Wheel
	a, b, c := newProbe(), newProbe(), newProbe()
	a.onRun = func(*probe) {
		w.Remove(&b.Timer) // due in the same tick
		if c.ran == 0 {
			w.Add(&c.Timer, 0)         // passed: next tick
			w.Add(&a.Timer, 50*tickNs) // itself
		}
	}
	w.Add(&a.Timer, 5*tickNs)
	w.Add(&b.Timer, 5*tickNs)
	w.Advance(5 * tickNs)
	if a.ran != 1 || b.ran != 0 || b.Armed() || c.ran != 0 || !c.Armed() {
		t.Fatalf("a %d, b %d, c %d", a.ran, b.ran, c.ran)
	}
	w.Advance(6 * tickNs)
	if c.ran != 1 {
		t.Error("a deadline that had passed did not run at the next tick")
	}
	w.Advance(50 * tickNs)
	if a.ran != 2 {
		t.Error("a timer armed by its own handler did not run")
	}
}
