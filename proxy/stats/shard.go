package stats

import "sync"

// Counter, Gauge and Histogram are indexes into every loop's shard. The zero value of each is a slot
// nobody reads, so that a struct of stats may be used before it is registered.
type (
	Counter   uint32
	Gauge     uint32
	Histogram uint32
)

// Shard is one loop's copy of every series. Loop-owned but for copied, which readers use.
type Shard struct {
	counters   []uint64
	gauges     []gauge
	histograms []*Distribution

	copied struct {
		sync.Mutex
		Snapshot
	}
}

// gauge tells "set to 0" from "never set" (usedonly).
type gauge struct {
	value int64
	used  bool
}

// Snapshot is a copy of a shard. Its storage is reused from one SnapshotInto to the next.
type Snapshot struct {
	counters   []uint64
	gauges     []gauge
	histograms []*Distribution
}

// Inc adds one.
func (s *Shard) Inc(c Counter) {
	if int(c) < len(s.counters) {
		s.counters[c]++
		return
	}
	s.addSlow(c, 1)
}

// Add adds n.
func (s *Shard) Add(c Counter, n uint64) {
	if int(c) < len(s.counters) {
		s.counters[c] += n
		return
	}
	s.addSlow(c, n)
}

// GaugeAdd moves this loop's share of the gauge by d. What is read is the sum over the loops.
func (s *Shard) GaugeAdd(g Gauge, d int64) {
	if int(g) < len(s.gauges) {
		cell := &s.gauges[g]
		cell.value += d
		cell.used = true
		return
	}
	s.gaugeSlow(g, d)
}

// GaugeSet makes v this loop's share of the gauge.
func (s *Shard) GaugeSet(g Gauge, v int64) {
	if int(g) < len(s.gauges) {
		s.gauges[g] = gauge{v, true}
		return
	}
	s.gaugeSlow(g, v)
}

// Record adds one value to a histogram. It allocates when the loop meets a histogram, or a power of
// two in it, for the first time.
func (s *Shard) Record(h Histogram, v uint64) {
	if int(h) < len(s.histograms) && s.histograms[h].tryAdd(v) {
		return
	}
	s.recordSlow(h, v)
}

// SnapshotInto copies the shard. Runs on the loop; allocates only while dst is smaller than s.
func (s *Shard) SnapshotInto(dst *Snapshot) {
	dst.counters = append(dst.counters[:0], s.counters...)
	dst.gauges = append(dst.gauges[:0], s.gauges...)
	for len(dst.histograms) < len(s.histograms) {
		dst.histograms = append(dst.histograms, nil)
	}
	for i, d := range s.histograms {
		if d == nil {
			continue
		}
		if dst.histograms[i] == nil {
			dst.histograms[i] = new(Distribution)
		}
		d.copyInto(dst.histograms[i])
	}
}

// publish makes the copy that readers add up. Runs on the loop, which never waits for a reader: a
// visit so late that its reader is already adding up changes nothing.
func (s *Shard) publish() {
	if s.copied.TryLock() {
		s.SnapshotInto(&s.copied.Snapshot)
		s.copied.Unlock()
	}
}
