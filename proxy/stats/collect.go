package stats

import "sort"

// Merged is every series added up over the loops at one moment, each list sorted by name.
type Merged struct {
	Counters   []CounterValue
	Gauges     []GaugeValue
	Texts      []TextValue
	Histograms []HistogramValue
}

// CounterValue is a counter since the start or the last reset; Used says whether it ever moved.
type CounterValue struct {
	Name  string
	Value uint64
	Used  bool
}

// GaugeValue is a gauge; Used says whether it was ever set.
type GaugeValue struct {
	Name  string
	Value int64
	Used  bool
}

// TextValue is a text readout.
type TextValue struct{ Name, Value string }

// HistogramValue is a histogram since the start (Cumulative) and between the last two calls of Flush
// (Interval, nil when there was none). Both are the reader's own.
type HistogramValue struct {
	Name                 string
	Unit                 Unit
	Interval, Cumulative *Distribution
}

// Used says whether anything was recorded.
func (h *HistogramValue) Used() bool { return h.Cumulative.Count > 0 }

// sums is what the loops have counted in every slot since they started.
type sums struct {
	counters   []uint64
	gauges     []gauge
	histograms []*Distribution // nil: nothing recorded
}

func (s *sums) counter(i int) uint64 {
	if i < len(s.counters) {
		return s.counters[i]
	}
	return 0
}

func (s *sums) gauge(i int) gauge {
	if i < len(s.gauges) {
		return s.gauges[i]
	}
	return gauge{}
}

func (s *sums) histogram(i int) *Distribution {
	if i < len(s.histograms) && s.histograms[i] != nil {
		return s.histograms[i]
	}
	return new(Distribution)
}

// gather has every loop copy its shard and adds the copies up. Needs r.reading.
func (r *Registry) gather() *sums {
	r.mu.Lock()
	collect, shards := r.collector, r.shards
	r.mu.Unlock()
	if collect == nil {
		for _, s := range shards {
			s.publish()
		}
	} else {
		collect((*Shard).publish)
	}
	total := new(sums)
	for _, s := range shards {
		s.copied.Lock()
		total.add(&s.copied.Snapshot)
		s.copied.Unlock()
	}
	return total
}

func (s *sums) add(part *Snapshot) {
	for len(s.counters) < len(part.counters) {
		s.counters = append(s.counters, 0)
	}
	for i, v := range part.counters {
		s.counters[i] += v
	}
	for len(s.gauges) < len(part.gauges) {
		s.gauges = append(s.gauges, gauge{})
	}
	for i, g := range part.gauges {
		s.gauges[i].value += g.value
		s.gauges[i].used = s.gauges[i].used || g.used
	}
	for len(s.histograms) < len(part.histograms) {
		s.histograms = append(s.histograms, nil)
	}
	for i, d := range part.histograms {
		if d == nil {
			continue
		}
		if s.histograms[i] == nil {
			s.histograms[i] = new(Distribution)
		}
		s.histograms[i].merge(d)
	}
}

// Collect reads every series that is not released.
func (r *Registry) Collect() *Merged {
	r.reading.Lock()
	defer r.reading.Unlock()
	m, computed := r.merge(r.gather())
	for _, c := range computed {
		v := &m.Gauges[c.place]
		v.Value, v.Used = v.Value+c.read(), true
	}
	m.sort()
	return m
}

// computed is a gauge of Merged that still lacks what its function answers.
type computed struct {
	place int
	read  func() int64
}

// merge puts names to the sums. Gauge functions are left to the caller: they may take long, and a
// loop that registers a series must not wait for them.
func (r *Registry) merge(total *sums) (m *Merged, functions []computed) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m = new(Merged)
	for i, name := range r.counters.names {
		if r.counters.states[i] == shown {
			m.Counters = append(m.Counters, r.counters.data[i].value(name, total.counter(i)))
		}
	}
	for i, name := range r.gauges.names {
		if r.gauges.states[i] == shown {
			if read := r.gauges.data[i].read; read != nil {
				functions = append(functions, computed{len(m.Gauges), read})
			}
			m.Gauges = append(m.Gauges, r.gauges.data[i].value(name, total.gauge(i)))
		}
	}
	for i, name := range r.histograms.names {
		if r.histograms.states[i] == shown {
			m.Histograms = append(m.Histograms, r.histograms.data[i].value(name, total.histogram(i)))
		}
	}
	for i, name := range r.texts.names {
		if r.texts.states[i] == shown {
			m.Texts = append(m.Texts, TextValue{name, r.texts.data[i].Value()})
		}
	}
	return m, functions
}

func (m *Merged) sort() {
	sort.Slice(m.Counters, func(i, j int) bool { return m.Counters[i].Name < m.Counters[j].Name })
	sort.Slice(m.Gauges, func(i, j int) bool { return m.Gauges[i].Name < m.Gauges[j].Name })
	sort.Slice(m.Texts, func(i, j int) bool { return m.Texts[i].Name < m.Texts[j].Name })
	sort.Slice(m.Histograms, func(i, j int) bool { return m.Histograms[i].Name < m.Histograms[j].Name })
}

func (s *counterSeries) value(name string, loops uint64) CounterValue {
	v := CounterValue{Name: name, Value: loops - s.base, Used: loops != s.born}
	if s.cold != nil {
		cold := s.cold.value.Load()
		v.Value += cold - s.cold.base
		v.Used = v.Used || cold > 0
	}
	if s.read != nil {
		n := s.read()
		v.Value += n
		v.Used = v.Used || n > 0
	}
	return v
}

func (s *gaugeSeries) value(name string, loops gauge) GaugeValue {
	v := GaugeValue{Name: name, Value: loops.value - s.born, Used: loops.used}
	if s.cold != nil {
		v.Value += s.cold.value.Load()
		v.Used = v.Used || s.cold.used.Load()
	}
	return v
}

// cumulative takes over loops, which is the caller's own.
func (s *histogramSeries) cumulative(loops *Distribution) *Distribution {
	loops.subtract(s.born)
	if s.cold != nil {
		s.cold.mu.Lock()
		loops.merge(&s.cold.d)
		s.cold.mu.Unlock()
	}
	return loops
}

func (s *histogramSeries) value(name string, loops *Distribution) HistogramValue {
	v := HistogramValue{Name: name, Unit: s.unit, Cumulative: s.cumulative(loops)}
	if s.interval != nil && s.interval.Count > 0 {
		v.Interval = s.interval.clone()
	}
	return v
}

// Flush ends a histogram interval: Interval is from now on what was recorded since the Flush before.
// To be called every stats_flush_interval.
func (r *Registry) Flush() {
	r.reading.Lock()
	defer r.reading.Unlock()
	total := r.gather()
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.histograms.data {
		if r.histograms.states[i] != shown {
			continue
		}
		s := &r.histograms.data[i]
		now := s.cumulative(total.histogram(i))
		if now.Count == 0 {
			continue
		}
		s.interval = now.clone()
		s.interval.subtract(s.flushed)
		s.flushed = now
	}
}

// ResetCounters makes every counter read 0; gauges and histograms stay.
func (r *Registry) ResetCounters() {
	r.reading.Lock()
	defer r.reading.Unlock()
	total := r.gather()
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.counters.data {
		s := &r.counters.data[i]
		s.base = total.counter(i)
		if s.cold != nil {
			s.cold.base = s.cold.value.Load()
		}
	}
}

// ReleasePrefix takes every series whose name begins with prefix out of the output: their cluster or
// listener is gone. Registering a name again shows it again, counting from 0; gauges go on, since
// what is left of the old owner (connections that drain) still moves them. Call it only when no
// owner of that prefix remains.
func (r *Registry) ReleasePrefix(prefix string) {
	r.reading.Lock()
	defer r.reading.Unlock()
	total := r.gather()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counters.hide(prefix, func(slot uint32) {
		v := total.counter(int(slot))
		r.counters.data[slot] = counterSeries{base: v, born: v}
	})
	r.gauges.hide(prefix, func(slot uint32) {
		s := gaugeSeries{}
		if r.gauges.states[slot] == free {
			s.born = total.gauge(int(slot)).value
		}
		r.gauges.data[slot] = s
	})
	r.histograms.hide(prefix, func(slot uint32) {
		unit := r.histograms.data[slot].unit
		r.histograms.data[slot] = histogramSeries{unit: unit, born: total.histogram(int(slot)).clone()}
	})
	r.texts.hide(prefix, func(slot uint32) { r.texts.data[slot] = nil })
}
