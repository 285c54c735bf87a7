package stats

import (
	"runtime"
	"slices"
	"sync"
	"testing"
)

func counterValue(t *testing.T, r *Registry, name string) uint64 {
	t.Helper()
	for _, c := range r.Collect().Counters {
		if c.Name == name {
			return c.Value
		}
	}
	t.Fatalf("%s is not in the output", name)
	return 0
}

func gaugeValue(t *testing.T, r *Registry, name string) int64 {
	t.Helper()
	for _, g := range r.Collect().Gauges {
		if g.Name == name {
			return g.Value
		}
	}
	t.Fatalf("%s is not in the output", name)
	return 0
}

func names(m *Merged) map[string]bool {
	out := make(map[string]bool)
	for _, c := range m.Counters {
		out[c.Name] = true
	}
	for _, g := range m.Gauges {
		out[g.Name] = true
	}
	for _, h := range m.Histograms {
		out[h.Name] = true
	}
	for _, x := range m.Texts {
		out[x.Name] = true
	}
	return out
}

func TestSeriesAreSummedOverLoopsAndTheControlPlane(t *testing.T) {
	r := NewRegistry()
	a, b := r.NewShard(), r.NewShard()
	c, g, h := r.Counter("c"), r.Gauge("g"), r.Histogram("h", UnitMilliseconds)
	a.Inc(c)
	b.Add(c, 4)
	r.ColdCounter("c").Add(10)
	a.GaugeAdd(g, 5)
	b.GaugeAdd(g, -2)
	r.ColdGauge("g").Set(100)
	r.GaugeFunc("g", func() int64 { return 1000 })
	a.Record(h, 3)
	b.Record(h, 5)
	m := r.Collect()
	if m.Counters[0].Value != 15 || m.Gauges[0].Value != 1103 {
		t.Fatalf("counter %d, gauge %d; want 15, 1103", m.Counters[0].Value, m.Gauges[0].Value)
	}
	if d := m.Histograms[0].Cumulative; d.Count != 2 || d.Sum != 8 {
		t.Fatalf("histogram count %d sum %d; want 2, 8", d.Count, d.Sum)
	}
}

func TestRegisteringTwiceGivesTheSameSlot(t *testing.T) {
	r := NewRegistry()
	counter, gauge, cold, text := r.Counter("x"), r.Gauge("x"), r.ColdCounter("x"), r.Text("x")
	if counter != r.Counter("x") || gauge != r.Gauge("x") || cold != r.ColdCounter("x") || text != r.Text("x") {
		t.Fatal("a name was given two slots")
	}
}

func TestZeroIndexIsDiscarded(t *testing.T) {
	r := NewRegistry()
	s := r.NewShard()
	s.Inc(0)
	s.GaugeAdd(0, 3)
	s.Record(0, 9)
	if got := names(r.Collect()); len(got) != 0 {
		t.Fatalf("the discard slots came out as %v", got)
	}
}

func TestShardGrowsWhenASeriesIsNewerThanIt(t *testing.T) {
	r := NewRegistry()
	s := r.NewShard()
	var last Counter
	for i := range 5 * growth {
		last = r.Counter(string(rune('a'+i%26)) + string(rune('0'+i/26)))
	}
	g, h := r.Gauge("g"), r.Histogram("h", UnitNone)
	s.Inc(last)
	s.GaugeSet(g+5*growth, 1) // far beyond what was made room for
	s.GaugeAdd(g, 2)
	s.Record(h+5*growth, 1)
	s.Record(h, 70)
	s.Inc(last)
	if s.counters[last] != 2 || s.gauges[g].value != 2 || s.histograms[h].Sum != 70 {
		t.Fatalf("lost counts while growing: %d %d", s.counters[last], s.gauges[g].value)
	}
}

// A gauge that GaugeSet meets first must be set, not added twice.
func TestGaugeSetReplacesThisLoopsShare(t *testing.T) {
	r := NewRegistry()
	a, b := r.NewShard(), r.NewShard()
	g := r.Gauge("g")
	a.GaugeSet(g, 7)
	a.GaugeSet(g, 3)
	b.GaugeSet(g, 10)
	if got := gaugeValue(t, r, "g"); got != 13 {
		t.Fatalf("g = %d, want 13", got)
	}
}

func TestGaugesKeepTheirSignAndWhetherTheyWereSet(t *testing.T) {
	r := NewRegistry()
	a, b := r.NewShard(), r.NewShard()
	down, zero := r.Gauge("down"), r.Gauge("zero")
	r.Gauge("never")
	a.GaugeAdd(down, 1)
	a.GaugeAdd(down, -4)
	b.GaugeSet(down, -1<<40)
	b.GaugeAdd(down, 1)
	a.GaugeAdd(zero, 1)
	b.GaugeAdd(zero, -1)
	want := []GaugeValue{{"down", -2 - 1<<40, true}, {"never", 0, false}, {"zero", 0, true}}
	if got := r.Collect().Gauges; !slices.Equal(got, want) {
		t.Fatalf("got %v, want %v", got, want)
	}
}

// loop runs shard's work the way a proxy's loop does: everything that touches it on one goroutine.
type loop struct {
	shard *Shard
	work  chan func()
	done  chan struct{}
}

func startLoop(s *Shard, step func(*Shard)) *loop {
	l := &loop{shard: s, work: make(chan func()), done: make(chan struct{})}
	go func() {
		defer close(l.done)
		for {
			select {
			case f, ok := <-l.work:
				if !ok {
					return
				}
				f()
			default:
				step(s)
				runtime.Gosched()
			}
		}
	}()
	return l
}

// Readers, resets, releases and registrations while loops count: the race detector watches.
func TestReadingDoesNotRaceWithTheLoops(t *testing.T) {
	r := NewRegistry()
	c, g, h := r.Counter("a.c"), r.Gauge("a.g"), r.Histogram("a.h", UnitNone)
	codes := NewCodeStats(r, "cluster.c.")
	var loops []*loop
	for range 3 {
		n := uint64(0)
		loops = append(loops, startLoop(r.NewShard(), func(s *Shard) {
			n++
			s.Inc(c)
			s.GaugeAdd(g, 1)
			s.Record(h, n%5000)
			codes.Charge(s, uint16(100+n%500), n, n%2 == 0, n%3 == 0)
		}))
	}
	r.SetCollector(func(visit func(*Shard)) {
		for _, l := range loops {
			finished := make(chan struct{})
			l.work <- func() { visit(l.shard); close(finished) }
			<-finished
		}
	})
	var readers sync.WaitGroup
	for i := range 3 {
		readers.Go(func() {
			for range 6 {
				switch i {
				case 0:
					last := counterValue(t, r, "a.c")
					if again := counterValue(t, r, "a.c"); again < last {
						t.Errorf("a.c went back from %d to %d", last, again)
					}
				case 1:
					r.Flush()
					r.Counter("b.new")
					r.ReleasePrefix("b.")
				case 2:
					r.ColdCounter("cold").Inc()
					_ = r.WriteJSON(discard{}, Options{})
				}
			}
		})
	}
	readers.Wait()
	for _, l := range loops {
		close(l.work)
		<-l.done
	}
	r.SetCollector(func(visit func(*Shard)) {})
	m := r.Collect()
	var want uint64
	for _, l := range loops {
		want += l.shard.copied.counters[c]
	}
	if m.Counters[0].Name != "a.c" || m.Counters[0].Value != want || want == 0 {
		t.Fatalf("loops that stopped read %d, their last copies add up to %d", m.Counters[0].Value, want)
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

func TestAVisitThatComesTooLateDoesNotWaitForTheReader(t *testing.T) {
	r := NewRegistry()
	s := r.NewShard()
	c := r.Counter("c")
	s.Inc(c)
	s.copied.Lock()
	s.publish() // would hang here
	s.copied.Unlock()
	if len(s.copied.counters) != 0 {
		t.Fatal("a late visit wrote into a copy that was being read")
	}
	s.publish()
	if s.copied.counters[c] != 1 {
		t.Fatal("the next visit did not copy")
	}
}
