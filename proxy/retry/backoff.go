package retry

import (
	"math"
	"time"

	"github.com/sluiceproxy/sluice/codec/header"
)

// defaultFactor is how many times the base interval the longest one is.
const defaultFactor = 10

// defaultMaxReset is rate_limited_retry_back_off.max_interval.
const defaultMaxReset = 300 * time.Second

// BackOff returns how long the nth retry (from 1) waits: a whole number of milliseconds, each below
// (2^n - 1) * base as likely as the others, but at most limit (ROUTER-30). A limit of 0 is ten times base;
// a base below a millisecond is one.
func BackOff(n uint32, base, limit time.Duration, random uint64) time.Duration {
	base = max(base.Truncate(time.Millisecond), time.Millisecond)
	if limit == 0 {
		limit = defaultFactor * base
	}
	span := uint64(math.MaxInt64 / int64(time.Millisecond))
	if ms := uint64(base / time.Millisecond); n < 64 && (uint64(1)<<n)-1 <= span/ms {
		span = ((uint64(1) << n) - 1) * ms
	}
	return min(time.Duration(random%span)*time.Millisecond, limit)
}

// Delay returns how long the retry that was just decided on waits, and whether a header of the response,
// which is nil when there was none, said so (ROUTER-31, ROUTER-34). base is the runtime's base interval,
// unixMs the wall clock.
func (s *State) Delay(h *header.Head, base time.Duration, unixMs int64, random uint64) (d time.Duration, limited bool) {
	limit := time.Duration(0)
	if s.policy != nil {
		c := s.policy.Config
		if c.BackOffBase > 0 {
			base = c.BackOffBase
		}
		limit = c.BackOffMax
		if h != nil && c.RateLimited != nil {
			if d := s.policy.untilReset(h, unixMs); d > time.Millisecond {
				return d + time.Duration(random%uint64(d/2)), true
			}
		}
	}
	return BackOff(s.Retries, base, limit, random), false
}

// untilReset returns how long a response asks to wait; 0 when it does not, or for too long.
func (p *Policy) untilReset(h *header.Head, unixMs int64) time.Duration {
	limit := p.Config.RateLimited.MaxInterval
	if limit == 0 {
		limit = defaultMaxReset
	}
	for i := range p.resets {
		r := &p.resets[i]
		v, ok := r.name.First(h)
		if !ok {
			continue
		}
		seconds, ok := parseCount(v)
		if !ok {
			continue
		}
		d := time.Duration(seconds) * time.Second
		if r.unix {
			d -= time.Duration(unixMs) * time.Millisecond
		}
		if d > 0 && d <= limit {
			return d
		}
	}
	return 0
}

// BudgetLimit returns how many retries a budget allows at a time: percent of the requests that are active
// or wait, but never less than least (ROUTER-36).
func BudgetLimit(percent float64, least uint32, active, pending int64) int64 {
	return max(int64(least), int64(percent*float64(active+pending)/100))
}
