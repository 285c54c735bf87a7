//go:build !race

package wheel

import "testing"

func TestTimersDoNotAllocate(t *testing.T) {
	var w Wheel
	p, q := newProbe(), newProbe()
	now := int64(0)
	if n := testing.AllocsPerRun(1000, func() {
		w.Add(&p.Timer, now+15_000*tickNs)
		w.Add(&q.Timer, now+2*tickNs)
		now += 3 * tickNs
		w.Advance(now)
		w.Remove(&p.Timer)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkArmAndDisarm(b *testing.B) {
	var w Wheel
	p := newProbe()
	for b.Loop() {
		w.Add(&p.Timer, 15_000*tickNs)
		w.Remove(&p.Timer)
	}
}
