package stats

// growth is how many slots more than asked for a shard makes room for: a cluster's worth.
const growth = 128

func grow[T any](a []T, index int) []T {
	bigger := make([]T, max(index+1+growth, 2*len(a)))
	copy(bigger, a)
	return bigger
}

//go:noinline
func (s *Shard) addSlow(c Counter, n uint64) {
	s.counters = grow(s.counters, int(c))
	s.counters[c] += n
}

//go:noinline
func (s *Shard) gaugeSlow(g Gauge, v int64) {
	s.gauges = grow(s.gauges, int(g))
	s.gauges[g] = gauge{v, true}
}

func (s *Shard) recordSlow(h Histogram, v uint64) {
	if int(h) >= len(s.histograms) {
		s.histograms = grow(s.histograms, int(h))
	}
	if s.histograms[h] == nil {
		s.histograms[h] = new(Distribution)
	}
	s.histograms[h].add(v)
}
