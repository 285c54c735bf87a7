package envoy

import (
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/reason"
)

// logFilter compiles an AccessLogFilter; nil for none.
func (c *compiler) logFilter(m *accesslogv3.AccessLogFilter, at place) *conf.LogFilter {
	if m == nil {
		return nil
	}
	switch f := m.GetFilterSpecifier().(type) {
	case *accesslogv3.AccessLogFilter_StatusCodeFilter:
		return comparison(conf.FilterStatusCode, f.StatusCodeFilter.GetComparison())
	case *accesslogv3.AccessLogFilter_DurationFilter:
		return comparison(conf.FilterDuration, f.DurationFilter.GetComparison())
	case *accesslogv3.AccessLogFilter_NotHealthCheckFilter:
		return &conf.LogFilter{Kind: conf.FilterNotHealthCheck}
	case *accesslogv3.AccessLogFilter_AndFilter:
		return c.logFilters(conf.FilterAnd, f.AndFilter.GetFilters(), at.field("and_filter"))
	case *accesslogv3.AccessLogFilter_OrFilter:
		return c.logFilters(conf.FilterOr, f.OrFilter.GetFilters(), at.field("or_filter"))
	case *accesslogv3.AccessLogFilter_HeaderFilter:
		here := at.field("header_filter").field("header")
		return &conf.LogFilter{Kind: conf.FilterHeader, Header: c.headerMatcher(f.HeaderFilter.GetHeader(), here)}
	case *accesslogv3.AccessLogFilter_ResponseFlagFilter:
		flags := f.ResponseFlagFilter.GetFlags()
		for i, flag := range flags {
			if _, known := reason.ParseFlag(flag); !known {
				c.errs.at(at.field("response_flag_filter").field("flags").index(i), "%s is not a response flag", shorten(flag))
			}
		}
		return &conf.LogFilter{Kind: conf.FilterResponseFlag, Flags: flags}
	case *accesslogv3.AccessLogFilter_RuntimeFilter:
		return &conf.LogFilter{
			Kind: conf.FilterRuntime, RuntimeKey: f.RuntimeFilter.GetRuntimeKey(),
			Percent:               fraction(f.RuntimeFilter.GetPercentSampled()),
			IndependentRandomness: f.RuntimeFilter.GetUseIndependentRandomness(),
		}
	case *accesslogv3.AccessLogFilter_LogTypeFilter:
		out := &conf.LogFilter{Kind: conf.FilterLogType, ExcludeTypes: f.LogTypeFilter.GetExclude()}
		for _, t := range f.LogTypeFilter.GetTypes() {
			out.Types = append(out.Types, t.String())
		}
		return out
	}
	return nil // a filter without a specifier does not pass the constraints
}

func (c *compiler) logFilters(kind conf.LogFilterKind, list []*accesslogv3.AccessLogFilter, at place) *conf.LogFilter {
	out := &conf.LogFilter{Kind: kind}
	for i, m := range list {
		out.Filters = append(out.Filters, c.logFilter(m, at.field("filters").index(i)))
	}
	return out
}

func comparison(kind conf.LogFilterKind, m *accesslogv3.ComparisonFilter) *conf.LogFilter {
	return &conf.LogFilter{
		Kind: kind, Compare: conf.Comparison(m.GetOp()),
		Value: m.GetValue().GetDefaultValue(), RuntimeKey: m.GetValue().GetRuntimeKey(),
	}
}

// fraction compiles a FractionalPercent: its denominator is 100 unless it says otherwise.
func fraction(m *typev3.FractionalPercent) conf.Fraction {
	out := conf.Fraction{Numerator: m.GetNumerator(), Denominator: 100}
	switch m.GetDenominator() {
	case typev3.FractionalPercent_TEN_THOUSAND:
		out.Denominator = 10_000
	case typev3.FractionalPercent_MILLION:
		out.Denominator = 1_000_000
	}
	return out
}
