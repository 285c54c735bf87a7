package stats

import (
	"fmt"
	"math"
	"testing"
)

func TestReleasedSeriesVanishAndComeBackAtZero(t *testing.T) {
	r := NewRegistry()
	s := r.NewShard()
	old := NewClusterStats(r, "a")
	other := NewClusterStats(r, "ab")
	s.Add(old.UpstreamCxTotal, 7)
	s.GaugeAdd(old.UpstreamCxActive, 2)
	s.Record(old.UpstreamCxConnectMs, 5)
	s.Add(other.UpstreamCxTotal, 3)
	old.MembershipTotal.Set(4)
	old.UpdateAttempt.Add(9)
	r.ReleasePrefix("cluster.a.")
	got := names(r.Collect())
	if got["cluster.a.upstream_cx_total"] || got["cluster.a.membership_total"] || got["cluster.a.upstream_cx_connect_ms"] {
		t.Fatal("a released series is still in the output")
	}
	if counterValue(t, r, "cluster.ab.upstream_cx_total") != 3 {
		t.Fatal("a series with a longer name was released too")
	}
	again := NewClusterStats(r, "a")
	if again.UpstreamCxTotal != old.UpstreamCxTotal {
		t.Fatal("a name that came back changed its slot")
	}
	m := r.Collect()
	for _, c := range m.Counters {
		if c.Value != 0 && c.Name != "cluster.ab.upstream_cx_total" || c.Used != (c.Value != 0) {
			t.Errorf("%s = %d (used %v) after it came back", c.Name, c.Value, c.Used)
		}
	}
	for _, h := range m.Histograms {
		if h.Used() {
			t.Errorf("%s kept its past", h.Name)
		}
	}
	if gaugeValue(t, r, "cluster.a.membership_total") != 0 {
		t.Error("membership_total kept its past")
	}
	// The old owner's two connections still drain.
	if gaugeValue(t, r, "cluster.a.upstream_cx_active") != 2 {
		t.Error("connections that drain are not counted")
	}
	s.GaugeAdd(old.UpstreamCxActive, -2)
	old.UpdateAttempt.Inc()
	s.Inc(again.UpstreamCxTotal)
	if gaugeValue(t, r, "cluster.a.upstream_cx_active") != 0 || counterValue(t, r, "cluster.a.update_attempt") != 0 || counterValue(t, r, "cluster.a.upstream_cx_total") != 1 {
		t.Error("old and new owner are mixed up")
	}
}

func TestReleasedNamesAreBounded(t *testing.T) {
	r := NewRegistry()
	s := r.NewShard()
	for i := range keepHidden + 500 {
		name := fmt.Sprintf("cluster.c%d.x", i)
		s.Inc(r.Counter(name))
		s.GaugeAdd(r.Gauge(name), 1)
		if i%1000 == 0 {
			r.ReleasePrefix("cluster.")
		}
	}
	r.ReleasePrefix("cluster.")
	r.ReleasePrefix("cluster.")
	if n := len(r.counters.index); n > keepHidden {
		t.Fatalf("%d released names are remembered, want at most %d", n, keepHidden)
	}
	slots := len(r.counters.names)
	r.Counter("new")
	r.Gauge("new")
	if len(r.counters.names) != slots {
		t.Fatal("a freed slot was not given to a new name")
	}
	if counterValue(t, r, "new") != 0 || gaugeValue(t, r, "new") != 0 {
		t.Fatal("a freed slot kept its past")
	}
}

func TestResetCountersLeavesGaugesAndHistograms(t *testing.T) {
	r := NewRegistry()
	s := r.NewShard()
	c, g, h := r.Counter("c"), r.Gauge("g"), r.Histogram("h", UnitNone)
	s.Add(c, 5)
	r.ColdCounter("c").Add(2)
	s.GaugeSet(g, 5)
	s.Record(h, 5)
	r.ResetCounters()
	s.Inc(c)
	m := r.Collect()
	if m.Counters[0].Value != 1 || !m.Counters[0].Used || m.Gauges[0].Value != 5 || m.Histograms[0].Cumulative.Count != 1 {
		t.Fatalf("after a reset: %+v %+v", m.Counters, m.Gauges)
	}
}

func TestIntervalIsWhatCameBetweenTheLastTwoFlushes(t *testing.T) {
	r := NewRegistry()
	s := r.NewShard()
	h := r.Histogram("h", UnitMilliseconds)
	read := func() *HistogramValue { return &r.Collect().Histograms[0] }
	s.Record(h, 10)
	if read().Interval != nil {
		t.Fatal("an interval before the first flush")
	}
	r.Flush()
	s.Record(h, 20)
	s.Record(h, 20)
	if v := read(); v.Interval.Count != 1 || v.Interval.Quantile(1) != 10 || v.Cumulative.Count != 3 {
		t.Fatalf("first interval: %d values, max %v", v.Interval.Count, v.Interval.Quantile(1))
	}
	r.Flush()
	if v := read(); v.Interval.Count != 2 || v.Interval.Quantile(0) != 20 || v.Interval.Sum != 40 {
		t.Fatalf("second interval: %d values, min %v", v.Interval.Count, v.Interval.Quantile(0))
	}
	r.Flush()
	if v := read(); v.Interval != nil || !math.IsNaN(v.Interval.Quantile(0.5)) || v.Cumulative.Count != 3 {
		t.Fatal("an interval without values is not empty")
	}
	r.ColdHistogram("h", UnitMilliseconds).Record(7)
	if v := read(); v.Cumulative.Count != 4 {
		t.Fatal("the control plane's value is missing")
	}
}

func TestCodesAreChargedOncePerPrefix(t *testing.T) {
	r := NewRegistry()
	s := r.NewShard()
	c := NewCodeStats(r, "cluster.c.")
	c.Charge(s, 200, 5, false, false)
	c.Charge(s, 204, 5, true, true)
	c.Charge(s, 503, 5, false, false)
	c.Charge(s, 999, 5, false, false)
	for name, want := range map[string]uint64{
		"upstream_rq_completed": 4, "upstream_rq_2xx": 2, "upstream_rq_5xx": 1, "upstream_rq_3xx": 0,
		"upstream_rq_200": 1, "upstream_rq_204": 1, "upstream_rq_503": 1, "upstream_rq_unknown": 1,
		"external.upstream_rq_200": 1, "external.upstream_rq_completed": 3, "external.upstream_rq_5xx": 1,
		"internal.upstream_rq_204": 1, "internal.upstream_rq_2xx": 1, "canary.upstream_rq_204": 1, "canary.upstream_rq_completed": 1,
	} {
		if got := counterValue(t, r, "cluster.c."+name); got != want {
			t.Errorf("%s = %d, want %d", name, got, want)
		}
	}
	got := names(r.Collect())
	for _, name := range []string{"upstream_rq_404", "internal.upstream_rq_200", "canary.upstream_rq_200"} {
		if got["cluster.c."+name] {
			t.Errorf("%s exists though nobody charged it", name)
		}
	}
	for _, name := range []string{"upstream_rq_time", "external.upstream_rq_time", "canary.upstream_rq_time"} {
		if !got["cluster.c."+name] {
			t.Errorf("%s is missing", name)
		}
	}
}
