package stats

import (
	"sync"

	"github.com/VictoriaMetrics/metrics"
)

// Unit is what a histogram's values are.
type Unit uint8

// Units.
const (
	UnitNone Unit = iota
	UnitMilliseconds
	UnitBytes
)

// Registry knows every series by its full dotted name. Its methods may be called from any goroutine;
// those that register are idempotent. Collect, Flush, ReleasePrefix, ResetCounters and the Write
// methods wait for the loops and so must not be called on one.
type Registry struct {
	mu         sync.Mutex // names and shards; held briefly, so a loop may register too
	counters   table[counterSeries]
	gauges     table[gaugeSeries]
	histograms table[histogramSeries]
	texts      table[*Text]
	shards     []*Shard
	collector  func(visit func(*Shard))

	reading sync.Mutex // one reader at a time
	set     *metrics.Set
}

type counterSeries struct {
	base uint64 // the loops' count that reads as 0: set by ResetCounters and release
	born uint64 // the loops' count when the name was released
	cold *ColdCounter
	read func() uint64
}

type gaugeSeries struct {
	born int64 // the loops' value when the slot was freed for another name
	cold *ColdGauge
	read func() int64
}

type histogramSeries struct {
	unit     Unit
	born     *Distribution // as counterSeries.born
	flushed  *Distribution // everything up to the last Flush
	interval *Distribution // what came between the last two
	cold     *ColdHistogram
}

// NewRegistry returns an empty registry.
func NewRegistry() *Registry {
	r := &Registry{
		counters: newTable[counterSeries](), gauges: newTable[gaugeSeries](),
		histograms: newTable[histogramSeries](), texts: newTable[*Text](),
		set: metrics.NewSet(),
	}
	r.set.RegisterMetricsWriter(r.writeSeries)
	return r
}

// Set returns the metrics set that WritePrometheus shows: the registry's series and whatever an
// embedder adds. Another exposition can take it in with metrics.RegisterSet.
func (r *Registry) Set() *metrics.Set { return r.set }

// NewShard makes the copy of one more loop.
func (r *Registry) NewShard() *Shard {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := &Shard{
		counters:   make([]uint64, len(r.counters.names)+growth),
		gauges:     make([]gauge, len(r.gauges.names)+growth),
		histograms: make([]*Distribution, len(r.histograms.names)+growth),
	}
	r.shards = append(r.shards, s)
	return s
}

// SetCollector says how to reach the shards: collect calls visit on every running loop with its
// shard and waits, for a bounded time; of a loop it does not reach, what it last copied is read.
// Without a collector shards are visited by the reader itself, which is right only while no loop
// runs.
func (r *Registry) SetCollector(collect func(visit func(*Shard))) {
	r.mu.Lock()
	r.collector = collect
	r.mu.Unlock()
}

// Counter registers a counter that loops move.
func (r *Registry) Counter(name string) Counter {
	r.mu.Lock()
	defer r.mu.Unlock()
	slot, _ := r.openCounter(name)
	return Counter(slot)
}

// Gauge registers a gauge that loops move.
func (r *Registry) Gauge(name string) Gauge {
	r.mu.Lock()
	defer r.mu.Unlock()
	slot, _ := r.openGauge(name)
	return Gauge(slot)
}

// Histogram registers a histogram that loops record into.
func (r *Registry) Histogram(name string, unit Unit) Histogram {
	r.mu.Lock()
	defer r.mu.Unlock()
	slot, s := r.openHistogram(name)
	s.unit = unit
	return Histogram(slot)
}

// ColdCounter registers a counter for the control plane.
func (r *Registry) ColdCounter(name string) *ColdCounter {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, s := r.openCounter(name)
	if s.cold == nil {
		s.cold = new(ColdCounter)
	}
	return s.cold
}

// ColdGauge registers a gauge for the control plane.
func (r *Registry) ColdGauge(name string) *ColdGauge {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, s := r.openGauge(name)
	if s.cold == nil {
		s.cold = new(ColdGauge)
	}
	return s.cold
}

// CounterFunc registers a counter that something else keeps. read may be called from any goroutine
// and must not wait for a loop or use the registry.
func (r *Registry) CounterFunc(name string, read func() uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, s := r.openCounter(name)
	s.read = read
}

// GaugeFunc registers a gauge that is computed when it is read, on the reader's goroutine, and added
// to what was set under the name. read must not collect; the last one given for a name counts.
func (r *Registry) GaugeFunc(name string, read func() int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, s := r.openGauge(name)
	s.read = read
}

// ColdHistogram registers a histogram for the control plane.
func (r *Registry) ColdHistogram(name string, unit Unit) *ColdHistogram {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, s := r.openHistogram(name)
	s.unit = unit
	if s.cold == nil {
		s.cold = new(ColdHistogram)
	}
	return s.cold
}

// Text registers a text readout.
func (r *Registry) Text(name string) *Text {
	r.mu.Lock()
	defer r.mu.Unlock()
	slot, fresh := r.texts.open(name)
	if fresh {
		r.texts.data[slot] = new(Text)
	}
	return r.texts.data[slot]
}

// A series that comes back drops the control plane's half of its past: the old owner keeps moving
// an object that nobody reads.

func (r *Registry) openCounter(name string) (uint32, *counterSeries) {
	slot, fresh := r.counters.open(name)
	s := &r.counters.data[slot]
	if fresh {
		s.cold, s.read = nil, nil
	}
	return slot, s
}

func (r *Registry) openGauge(name string) (uint32, *gaugeSeries) {
	slot, fresh := r.gauges.open(name)
	s := &r.gauges.data[slot]
	if fresh {
		s.cold, s.read = nil, nil
	}
	return slot, s
}

func (r *Registry) openHistogram(name string) (uint32, *histogramSeries) {
	slot, fresh := r.histograms.open(name)
	s := &r.histograms.data[slot]
	if fresh {
		s.cold = nil
	}
	return slot, s
}
