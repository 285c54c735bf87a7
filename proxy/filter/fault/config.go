// Package fault is envoy.filters.http.fault: it delays requests, aborts them, and slows responses down,
// for a share of the requests it is told of, so that one can see how a system bears it. Configuration
// says how much, runtime keys override that, and headers may ask for it where the configuration allows.
package fault

import (
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/filter"
	"github.com/sluiceproxy/sluice/proxy/match"
	"github.com/sluiceproxy/sluice/proxy/runtime"
	"github.com/sluiceproxy/sluice/proxy/stats"
)

// settings are a compiled conf.FaultFilter. Immutable but for the runtime values they follow.
type settings struct {
	c         *conf.FaultFilter
	headers   []match.Header
	maxActive *runtime.Uint // math.MaxUint32: no limit

	delay, abort, rate              *runtime.Fraction
	delayMs, abortStatus, abortGRPC *runtime.Uint
}

// shared is what all streams of a chain have in common.
type shared struct {
	own    *settings
	stats  *stats.FaultStats
	active atomic.Int64 // faults under way
}

// New compiles the filter.
func New(c *conf.FaultFilter, d *filter.Deps) (filter.Spec, error) {
	own, err := compile(c, d.Runtime)
	if err != nil {
		return filter.Spec{}, err
	}
	all := &shared{own: own, stats: stats.NewFaultStats(d.Registry, d.StatPrefix)}
	return filter.Spec{
		Sees: filter.Everything &^ filter.RequestBody,
		New: func() filter.Filter {
			f := &instance{shared: all}
			f.wait.Handler, f.tick.Handler = (*waiter)(f), (*ticker)(f)
			return f
		},
		CompileRoute: func(config any) (any, error) {
			r, ok := config.(*conf.FaultFilter)
			if !ok {
				return nil, fmt.Errorf("%T is no configuration of the fault filter", config)
			}
			return compile(r, d.Runtime)
		},
	}, nil
}

func compile(c *conf.FaultFilter, values *runtime.Loader) (*settings, error) {
	s := &settings{c: c}
	var err error
	if s.headers, err = match.CompileHeaders(c.Headers, "headers"); err != nil {
		return nil, err
	}
	limit := uint64(math.MaxUint32)
	if c.HasMaxActive {
		limit = uint64(c.MaxActive)
	}
	k := &c.Runtime
	s.maxActive = values.Uint(k.MaxActive, limit)
	if d := c.Delay; d != nil {
		if !d.ByHeader && d.Fixed <= 0 {
			return nil, errors.New("delay.fixed_delay: must be greater than 0s")
		}
		s.delay, s.delayMs = values.Fraction(k.DelayPercent, d.Percent), values.Uint(k.DelayDuration, uint64(d.Fixed/time.Millisecond))
	}
	if a := c.Abort; a != nil {
		if !a.ByHeader && !a.HasGRPC && (a.Status < 200 || a.Status > 599) {
			return nil, errors.New("abort.http_status: must be from 200 to 599")
		}
		status, grpc := uint64(a.Status), uint64(math.MaxUint32)
		if a.HasGRPC {
			grpc = uint64(a.GRPC)
		}
		s.abort = values.Fraction(k.AbortPercent, a.Percent)
		s.abortStatus, s.abortGRPC = values.Uint(k.AbortStatus, status), values.Uint(k.AbortGRPC, grpc)
	}
	if r := c.RateLimit; r != nil {
		if !r.ByHeader && r.KiBPerSecond == 0 {
			return nil, errors.New("response_rate_limit.fixed_limit.limit_kbps: must be greater than 0")
		}
		s.rate = values.Fraction(k.RateLimitPercent, r.Percent)
	}
	return s, nil
}

// Headers that ask for faults, where ByHeader lets them.
var (
	delayRequest  = match.NewName("x-envoy-fault-delay-request")
	delayPercent  = match.NewName("x-envoy-fault-delay-request-percentage")
	abortRequest  = match.NewName("x-envoy-fault-abort-request")
	abortGRPC     = match.NewName("x-envoy-fault-abort-grpc-request")
	abortPercent  = match.NewName("x-envoy-fault-abort-request-percentage")
	ratePerSecond = match.NewName("x-envoy-fault-throughput-response")
	ratePercent   = match.NewName("x-envoy-fault-throughput-response-percentage")
	fromNode      = match.NewName("x-envoy-downstream-service-node")
)

// number reads a header that is a number.
func number(h *header.Head, n *match.Name) (uint64, bool) {
	v, ok := n.First(h)
	if !ok || len(v) == 0 || len(v) > 9 {
		return 0, false
	}
	out := uint64(0)
	for _, c := range v {
		if c < '0' || c > '9' {
			return 0, false
		}
		out = out*10 + uint64(c-'0')
	}
	return out, true
}

// chosen says whether a request is within a share. A header may only make the share smaller.
func chosen(f *runtime.Fraction, byHeader bool, h *header.Head, percent *match.Name, random uint64) bool {
	if byHeader {
		if n, ok := number(h, percent); ok {
			share := f.Percent()
			return random%uint64(share.Denominator) < min(n, uint64(share.Numerator))
		}
	}
	return f.Enabled(random)
}
