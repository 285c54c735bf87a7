package health

import (
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/runtime"
)

// clusters.md 7.1: which interval holds when, jitter within its range, and the runtime's bounds.
func TestIntervals(t *testing.T) {
	c := &conf.HealthCheck{
		Interval: 1 * time.Second, UnhealthyInterval: 2 * time.Second, UnhealthyEdgeInterval: 3 * time.Second, HealthyEdgeInterval: 4 * time.Second,
		NoTrafficInterval: 5 * time.Second, NoTrafficHealthyInterval: 6 * time.Second,
	}
	used := true
	var l *runtime.Loader
	s := &session{c: &Checker{o: Options{Conf: c, Used: func() bool { return used }, MinInterval: l.Uint("", 0), MaxInterval: l.Uint("", 1<<63)}}}
	for _, row := range []struct {
		used, healthy bool
		change        Change
		want          time.Duration
	}{
		{true, true, Same, time.Second}, {true, true, Pending, time.Second}, {true, true, Changed, 4 * time.Second},
		{true, false, Same, 2 * time.Second}, {true, false, Changed, 3 * time.Second},
		{false, false, Changed, 5 * time.Second}, {false, true, Changed, 6 * time.Second},
	} {
		used, s.state.Healthy = row.used, row.healthy
		if got := s.interval(row.change); got != row.want {
			t.Errorf("%+v: %v", row, got)
		}
	}
	used, s.state.Healthy = true, true
	c.IntervalJitterPercent, c.IntervalJitter = 50, time.Second
	low, high := time.Hour, time.Duration(0)
	for range 4000 { // misses the outer tenths together with less than (1-1/50)^4000, which is 10^-35
		got := s.interval(Same)
		low, high = min(low, got), max(high, got)
	}
	if low < time.Second || low > 1200*time.Millisecond || high < 2300*time.Millisecond || high >= 2500*time.Millisecond {
		t.Errorf("jitter from %v to %v", low, high)
	}
	c.IntervalJitterPercent, c.IntervalJitter = 0, 0
	s.c.o.MinInterval = l.Uint("", 1500)
	if got := s.interval(Same); got != 1500*time.Millisecond {
		t.Errorf("health_check.min_interval: %v", got)
	}
	s.c.o.MinInterval, s.c.o.MaxInterval = l.Uint("", 0), l.Uint("", 500)
	if got := s.interval(Same); got != 500*time.Millisecond {
		t.Errorf("health_check.max_interval: %v", got)
	}
}
