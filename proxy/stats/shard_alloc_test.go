//go:build !race

package stats

import "testing"

func TestCountingDoesNotAllocate(t *testing.T) {
	r := NewRegistry()
	c, g, h := r.Counter("c"), r.Gauge("g"), r.Histogram("h", UnitMilliseconds)
	s := r.NewShard()
	codes := NewCodeStats(r, "cluster.c.")
	work := func() {
		s.Inc(c)
		s.Add(c, 100)
		s.GaugeAdd(g, 1)
		s.GaugeSet(g, 2)
		s.Record(h, 12)
		s.Record(h, 12345)
		codes.Charge(s, 200, 3, true, true)
		codes.Charge(s, 503, 3, false, false)
	}
	work()
	if n := testing.AllocsPerRun(100, work); n != 0 {
		t.Fatalf("%v allocations a request", n)
	}
}

func TestCopyingAShardAgainDoesNotAllocate(t *testing.T) {
	r := NewRegistry()
	c, h := r.Counter("c"), r.Histogram("h", UnitMilliseconds)
	s := r.NewShard()
	s.Inc(c)
	s.Record(h, 12345)
	var snap Snapshot
	s.SnapshotInto(&snap)
	if n := testing.AllocsPerRun(100, func() { s.SnapshotInto(&snap) }); n != 0 {
		t.Fatalf("%v allocations a copy", n)
	}
}
