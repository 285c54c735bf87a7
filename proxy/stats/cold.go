package stats

import (
	"sync"
	"sync/atomic"
)

// ColdCounter is a counter for the control plane: any goroutine may move it. It is added to what
// the loops counted under the same name.
type ColdCounter struct {
	value atomic.Uint64
	base  uint64 // value at the last ResetCounters; the registry's
}

// Inc adds one.
func (c *ColdCounter) Inc() { c.value.Add(1) }

// Add adds n.
func (c *ColdCounter) Add(n uint64) { c.value.Add(n) }

// Value returns the count since the process started.
func (c *ColdCounter) Value() uint64 { return c.value.Load() }

// ColdGauge is a gauge for the control plane: any goroutine may move it.
type ColdGauge struct {
	value atomic.Int64
	used  atomic.Bool
}

// Set makes v the value.
func (g *ColdGauge) Set(v int64) {
	g.value.Store(v)
	g.used.Store(true)
}

// Add moves the value by d.
func (g *ColdGauge) Add(d int64) {
	g.value.Add(d)
	g.used.Store(true)
}

// Value returns the value.
func (g *ColdGauge) Value() int64 { return g.value.Load() }

// ColdHistogram is a histogram for the control plane: any goroutine may record, under a lock.
type ColdHistogram struct {
	mu sync.Mutex
	d  Distribution
}

// Record adds one value.
func (h *ColdHistogram) Record(v uint64) {
	h.mu.Lock()
	h.d.add(v)
	h.mu.Unlock()
}

// Text is a series whose value is a piece of text (Envoy's text readout).
type Text struct{ value atomic.Pointer[string] }

// Set makes s the value.
func (t *Text) Set(s string) { t.value.Store(&s) }

// Value returns the value, "" before the first Set.
func (t *Text) Value() string {
	if p := t.value.Load(); p != nil {
		return *p
	}
	return ""
}
