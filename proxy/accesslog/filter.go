package accesslog

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/match"
	"github.com/sluiceproxy/sluice/proxy/reason"
	"github.com/sluiceproxy/sluice/proxy/runtime"
	"github.com/sluiceproxy/sluice/proxy/streaminfo"
)

// Filter is a compiled AccessLogFilter, also used by local reply mappers. Immutable, shared by all
// loops.
type Filter struct {
	kind     conf.LogFilterKind
	compare  conf.Comparison
	value    *runtime.Uint
	flags    reason.Flag
	header   *match.Header
	filters  []*Filter
	fraction *runtime.Fraction
	own      bool   // use_independent_randomness
	types    uint32 // a bit for each streaminfo.LogType that passes
}

// CompileFilter compiles a filter; nil compiles to nil, which is no filter. It follows the runtime
// values it names.
func (m *Manager) CompileFilter(c *conf.LogFilter) (*Filter, error) {
	if c == nil {
		return nil, nil
	}
	return compileFilter(c, m.runtime)
}

func compileFilter(c *conf.LogFilter, values *runtime.Loader) (*Filter, error) {
	f := &Filter{kind: c.Kind, compare: c.Compare}
	switch c.Kind {
	case conf.FilterStatusCode, conf.FilterDuration:
		f.value = values.Uint(c.RuntimeKey, uint64(c.Value))
	case conf.FilterNotHealthCheck:
	case conf.FilterAnd, conf.FilterOr:
		for i, part := range c.Filters {
			sub, err := compileFilter(part, values)
			if err != nil {
				return nil, fmt.Errorf("filters[%d]: %w", i, err)
			}
			f.filters = append(f.filters, sub)
		}
		if len(f.filters) < 2 {
			return nil, errors.New("and_filter and or_filter need two filters or more")
		}
	case conf.FilterResponseFlag:
		for i, short := range c.Flags {
			flag, ok := reason.ParseFlag(short)
			if !ok {
				return nil, fmt.Errorf("flags[%d]: unknown response flag %q", i, short)
			}
			f.flags |= flag
		}
	case conf.FilterHeader:
		if c.Header == nil {
			return nil, errors.New("header: no matcher")
		}
		m, err := match.CompileHeader(c.Header)
		if err != nil {
			return nil, fmt.Errorf("header: %w", err)
		}
		f.header = &m
	case conf.FilterRuntime:
		f.fraction, f.own = values.Fraction(c.RuntimeKey, c.Percent), c.IndependentRandomness
	case conf.FilterLogType:
		var err error
		if f.types, err = logTypes(c.Types); err != nil {
			return nil, err
		}
		if c.ExcludeTypes {
			f.types = ^f.types
		}
	default:
		return nil, fmt.Errorf("unknown kind %d", c.Kind)
	}
	return f, nil
}

// otherTypes are log types of Envoy that no line here ever has.
var otherTypes = []string{
	"UdpTunnelUpstreamConnected", "UdpPeriodic", "UdpSessionEnd",
}

// logTypes returns the bits of the types named.
func logTypes(names []string) (bits uint32, err error) {
	for i, name := range names {
		t := streaminfo.NotSet
		for t < streaminfo.NumLogTypes && t.String() != name {
			t++
		}
		switch {
		case t < streaminfo.NumLogTypes:
			bits |= 1 << t
		case !slices.Contains(otherTypes, name):
			return 0, fmt.Errorf("types[%d]: unknown log type %q", i, name)
		}
	}
	return bits, nil
}

// Match says whether the stream passes. No allocation but for header fields that occur twice.
func (f *Filter) Match(i *streaminfo.Info) bool {
	switch f.kind {
	case conf.FilterStatusCode:
		return compare(f.compare, uint64(i.ResponseCode), f.value.Load())
	case conf.FilterDuration:
		return compare(f.compare, uint64(max(0, i.End-i.Start))/uint64(time.Millisecond), f.value.Load())
	case conf.FilterNotHealthCheck:
		return !i.HealthCheck
	case conf.FilterAnd:
		for _, sub := range f.filters {
			if !sub.Match(i) {
				return false
			}
		}
		return true
	case conf.FilterOr:
		for _, sub := range f.filters {
			if sub.Match(i) {
				return true
			}
		}
		return false
	case conf.FilterResponseFlag:
		if f.flags == 0 {
			return i.Flags != 0
		}
		return i.Flags&f.flags != 0
	case conf.FilterHeader:
		return f.header.Holds(i.Request, nil)
	case conf.FilterRuntime:
		if f.own {
			return f.fraction.Enabled(rand.Uint64())
		}
		return f.fraction.Enabled(sample(i.Request))
	case conf.FilterLogType:
		return f.types&(1<<i.LogType) != 0
	}
	return false
}

func compare(op conf.Comparison, a, b uint64) bool {
	switch op {
	case conf.CompareGE:
		return a >= b
	case conf.CompareLE:
		return a <= b
	case conf.CompareNE:
		return a != b
	}
	return a == b
}

// sample is the number a fraction is taken of: from the request id when there is one, so that all
// proxies on a request's way choose alike, else random.
func sample(h *header.Head) uint64 {
	if h != nil {
		if id := h.Get(header.XRequestID); len(id) >= 8 {
			if v, ok := parseHex(id[:8]); ok {
				return uint64(v)
			}
		}
	}
	return rand.Uint64()
}

func parseHex(b []byte) (v uint32, ok bool) {
	for _, c := range b {
		switch {
		case '0' <= c && c <= '9':
			v = v<<4 | uint32(c-'0')
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			v = v<<4 | uint32(c|0x20-'a'+10)
		default:
			return 0, false
		}
	}
	return v, true
}

// needsRequest says whether the request head is read.
func (f *Filter) needsRequest() bool {
	for _, sub := range f.filters {
		if sub.needsRequest() {
			return true
		}
	}
	return f.kind == conf.FilterHeader || f.kind == conf.FilterRuntime
}
