package health

import "github.com/sluiceproxy/sluice/proxy/conf"

// Outcome is what one check found.
type Outcome uint8

const (
	// Good is an answer as it is wanted.
	Good Outcome = iota
	// Bad is an answer that makes the host unhealthy at once.
	Bad
	// Retriable is an answer that counts to the threshold (retriable_statuses).
	Retriable
	// Unreachable is no answer; it counts to the threshold.
	Unreachable
	// Late is Unreachable because of the timeout.
	Late
)

// Result is an Outcome with what the answer said besides.
type Result struct {
	Outcome Outcome
	// Degraded: x-envoy-degraded. Excluded: x-envoy-immediate-health-check-fail.
	Degraded, Excluded bool
	// Err says why, for the event log; nil for Good.
	Err error
}

// State is what is known of a host. The zero value was never checked: it is not healthy.
type State struct {
	Healthy, Degraded, TimedOut, Excluded bool
	Checked                               bool
	good, bad                             uint32 // in a row, while they count
}

// Change is what a result did to a host.
type Change uint8

const (
	// Same: neither healthy nor unhealthy has changed, nor is about to.
	Same Change = iota
	// Pending: a threshold is not reached yet.
	Pending
	// Changed: the host became healthy or unhealthy.
	Changed
)

// Apply takes a result in. The first one counts alone (CL-40).
func (s *State) Apply(c *conf.HealthCheck, r Result) (out Change) {
	first := !s.Checked
	s.Checked = true
	if r.Outcome == Good {
		s.bad, s.TimedOut, s.Excluded, s.Degraded = 0, false, false, r.Degraded
		if s.Healthy {
			return Same
		}
		if s.good++; first || s.good >= c.HealthyThreshold {
			s.Healthy = true
			return Changed
		}
		return Pending
	}
	s.good = 0
	s.TimedOut = r.Outcome == Late
	if r.Outcome == Bad || r.Outcome == Retriable {
		s.Excluded = r.Excluded
	}
	if !s.Healthy {
		return Same
	}
	if s.bad++; r.Outcome == Bad || s.bad >= c.UnhealthyThreshold {
		s.Healthy = false
		return Changed
	}
	return Pending
}

// FailAtOnce is what x-envoy-immediate-health-check-fail in an answer to a request does (CL-41).
func (s *State) FailAtOnce() (changed bool) {
	changed = s.Healthy || !s.Excluded
	s.Healthy, s.Excluded, s.good = false, true, 0
	return changed
}
