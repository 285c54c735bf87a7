package accesslog

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/reason"
	"github.com/sluiceproxy/sluice/proxy/runtime"
	"github.com/sluiceproxy/sluice/proxy/streaminfo"
)

func status(op conf.Comparison, v uint32) *conf.LogFilter {
	return &conf.LogFilter{Kind: conf.FilterStatusCode, Compare: op, Value: v}
}

func headerFilter(m conf.HeaderMatcher) *conf.LogFilter {
	return &conf.LogFilter{Kind: conf.FilterHeader, Header: &m}
}

func logType(names ...string) *conf.LogFilter {
	return &conf.LogFilter{Kind: conf.FilterLogType, Types: names}
}

func without(f *conf.LogFilter) *conf.LogFilter {
	f.ExcludeTypes = true
	return f
}

func TestFilters(t *testing.T) {
	const ms = int64(time.Millisecond)
	x := func(kind conf.StringMatchKind, value string) conf.HeaderMatcher {
		return conf.HeaderMatcher{Name: "x", Kind: kind, Value: value}
	}
	fold := func(m conf.HeaderMatcher) conf.HeaderMatcher { m.IgnoreCase = true; return m }
	invert := func(m conf.HeaderMatcher) conf.HeaderMatcher { m.Invert = true; return m }
	with := func(fields ...string) streaminfo.Info { return streaminfo.Info{Request: request(fields...)} }
	for _, row := range []struct {
		title string
		f     *conf.LogFilter
		i     streaminfo.Info
		want  bool
	}{
		{"status equal", status(conf.CompareEQ, 200), streaminfo.Info{ResponseCode: 200}, true},
		{"status not equal", status(conf.CompareEQ, 200), streaminfo.Info{ResponseCode: 201}, false},
		{"status at least", status(conf.CompareGE, 500), streaminfo.Info{ResponseCode: 500}, true},
		{"status below", status(conf.CompareGE, 500), streaminfo.Info{ResponseCode: 499}, false},
		{"status at most", status(conf.CompareLE, 399), streaminfo.Info{ResponseCode: 399}, true},
		{"status above", status(conf.CompareLE, 399), streaminfo.Info{ResponseCode: 400}, false},
		{"status other", status(conf.CompareNE, 200), streaminfo.Info{ResponseCode: 404}, true},
		{"no response is 0", status(conf.CompareEQ, 0), streaminfo.Info{}, true},
		{"runtime overrides the value", &conf.LogFilter{Kind: conf.FilterStatusCode, Compare: conf.CompareGE, Value: 600, RuntimeKey: "log.min"}, streaminfo.Info{ResponseCode: 450}, true},
		{"runtime key that is not set", &conf.LogFilter{Kind: conf.FilterStatusCode, Compare: conf.CompareGE, Value: 600, RuntimeKey: "log.other"}, streaminfo.Info{ResponseCode: 450}, false},

		{"long enough", &conf.LogFilter{Kind: conf.FilterDuration, Compare: conf.CompareGE, Value: 10}, streaminfo.Info{Start: 5, End: 5 + 10*ms}, true},
		{"too short", &conf.LogFilter{Kind: conf.FilterDuration, Compare: conf.CompareGE, Value: 10}, streaminfo.Info{Start: 5, End: 4 + 10*ms}, false},

		{"health check", &conf.LogFilter{Kind: conf.FilterNotHealthCheck}, streaminfo.Info{HealthCheck: true}, false},
		{"not a health check", &conf.LogFilter{Kind: conf.FilterNotHealthCheck}, streaminfo.Info{}, true},

		{"and: both", &conf.LogFilter{Kind: conf.FilterAnd, Filters: []*conf.LogFilter{status(conf.CompareGE, 200), status(conf.CompareLE, 299)}}, streaminfo.Info{ResponseCode: 204}, true},
		{"and: one", &conf.LogFilter{Kind: conf.FilterAnd, Filters: []*conf.LogFilter{status(conf.CompareGE, 200), status(conf.CompareLE, 299)}}, streaminfo.Info{ResponseCode: 300}, false},
		{"or: one", &conf.LogFilter{Kind: conf.FilterOr, Filters: []*conf.LogFilter{status(conf.CompareEQ, 404), status(conf.CompareEQ, 503)}}, streaminfo.Info{ResponseCode: 503}, true},
		{"or: none", &conf.LogFilter{Kind: conf.FilterOr, Filters: []*conf.LogFilter{status(conf.CompareEQ, 404), status(conf.CompareEQ, 503)}}, streaminfo.Info{ResponseCode: 200}, false},

		{"any flag", &conf.LogFilter{Kind: conf.FilterResponseFlag}, streaminfo.Info{Flags: reason.NoRouteFound}, true},
		{"no flag", &conf.LogFilter{Kind: conf.FilterResponseFlag}, streaminfo.Info{}, false},
		{"one of the flags", &conf.LogFilter{Kind: conf.FilterResponseFlag, Flags: []string{"UF", "UO"}}, streaminfo.Info{Flags: reason.UpstreamOverflow | reason.NoRouteFound}, true},
		{"another flag", &conf.LogFilter{Kind: conf.FilterResponseFlag, Flags: []string{"UF", "UO"}}, streaminfo.Info{Flags: reason.NoRouteFound}, false},

		{"exact", headerFilter(x(conf.MatchExact, "a")), with("x: a"), true},
		{"exact, other case", headerFilter(x(conf.MatchExact, "a")), with("x: A"), false},
		{"exact, case ignored", headerFilter(fold(x(conf.MatchExact, "aB"))), with("x: Ab"), true},
		{"exact, case ignored, other length", headerFilter(fold(x(conf.MatchExact, "ab"))), with("x: abc"), false},
		{"prefix", headerFilter(x(conf.MatchPrefix, "ab")), with("x: abc"), true},
		{"prefix, too short", headerFilter(x(conf.MatchPrefix, "ab")), with("x: a"), false},
		{"prefix, case ignored", headerFilter(fold(x(conf.MatchPrefix, "AB"))), with("x: abc"), true},
		{"suffix", headerFilter(x(conf.MatchSuffix, "bc")), with("x: abc"), true},
		{"suffix, not", headerFilter(x(conf.MatchSuffix, "bc")), with("x: bcd"), false},
		{"contains", headerFilter(x(conf.MatchContains, "b")), with("x: abc"), true},
		{"contains, case ignored", headerFilter(fold(x(conf.MatchContains, "B"))), with("x: abc"), true},
		{"contains, not", headerFilter(fold(x(conf.MatchContains, "z"))), with("x: abc"), false},
		{"regex matches the whole value", headerFilter(x(conf.MatchRegex, "a.*c|d")), with("x: abc"), true},
		{"regex matches a part only", headerFilter(x(conf.MatchRegex, "a.*c|d")), with("x: abcd"), false},
		{"in range", headerFilter(conf.HeaderMatcher{Name: "x", Kind: conf.MatchRange, Start: -5, End: 10}), with("x: -5"), true},
		{"end of the range", headerFilter(conf.HeaderMatcher{Name: "x", Kind: conf.MatchRange, Start: -5, End: 10}), with("x: 10"), false},
		{"not a number", headerFilter(conf.HeaderMatcher{Name: "x", Kind: conf.MatchRange, Start: -5, End: 10}), with("x: 1 "), false},
		{"present", headerFilter(x(conf.MatchPresent, "")), with("x: "), true},
		{"not present", headerFilter(x(conf.MatchPresent, "")), with("y: "), false},
		{"not present, inverted", headerFilter(invert(x(conf.MatchPresent, ""))), with("y: "), true},
		{"absent", headerFilter(x(conf.MatchAbsent, "")), with("y: "), true},
		{"RT-46 several values", headerFilter(x(conf.MatchExact, "a,b,c")), with("x: a", "x: b", "y: z", "x: c"), true},
		{"RT-47 missing", headerFilter(x(conf.MatchExact, "a")), with(), false},
		{"RT-47 missing, inverted", headerFilter(invert(x(conf.MatchExact, "a"))), with(), false},
		{"RT-47 missing as empty, inverted", headerFilter(conf.HeaderMatcher{Name: "x", Value: "a", Invert: true, TreatMissingAsEmpty: true}), with(), true},
		{"RT-48 inverted", headerFilter(invert(x(conf.MatchExact, "a"))), with("x: b"), true},
		{"RT-49 method", headerFilter(conf.HeaderMatcher{Name: ":method", Value: "GET"}), with(), true},
		{"RT-49 path", headerFilter(conf.HeaderMatcher{Name: ":path", Kind: conf.MatchPrefix, Value: "/b"}), with(), false},
		{"RT-49 authority", headerFilter(conf.HeaderMatcher{Name: ":authority", Value: "example.com"}), with(), true},
		{"RT-49 scheme, unknown", headerFilter(conf.HeaderMatcher{Name: ":scheme", Kind: conf.MatchPresent}), with(), false},
		{"no request", headerFilter(x(conf.MatchPresent, "")), streaminfo.Info{}, false},

		{"type of the line", logType("TcpPeriodic", "TcpConnectionEnd"), streaminfo.Info{LogType: streaminfo.TCPConnectionEnd}, true},
		{"another type", logType("TcpPeriodic", "TcpConnectionEnd"), streaminfo.Info{LogType: streaminfo.DownstreamEnd}, false},
		{"a type no line has", logType("UpstreamEnd"), streaminfo.Info{LogType: streaminfo.TCPConnectionEnd}, false},
		{"no types", logType(), streaminfo.Info{}, false},
		{"type excluded", without(logType("TcpPeriodic")), streaminfo.Info{LogType: streaminfo.TCPPeriodic}, false},
		{"another type excluded", without(logType("TcpPeriodic")), streaminfo.Info{LogType: streaminfo.TCPConnectionStart}, true},
		{"no types excluded", without(logType()), streaminfo.Info{LogType: streaminfo.NotSet}, true},

		{"AMB-18 the share is below the fraction", &conf.LogFilter{Kind: conf.FilterRuntime, Percent: conf.Fraction{Numerator: 16, Denominator: 100}}, with("x-request-id: 0000000f-"), true},
		{"AMB-18 the share is the fraction", &conf.LogFilter{Kind: conf.FilterRuntime, Percent: conf.Fraction{Numerator: 15, Denominator: 100}}, with("x-request-id: 0000000F-"), false},
		{"never", &conf.LogFilter{Kind: conf.FilterRuntime}, with("x-request-id: zzzzzzzz"), false},
		{"always", &conf.LogFilter{Kind: conf.FilterRuntime, Percent: conf.Fraction{Numerator: 10000, Denominator: 10000}}, streaminfo.Info{}, true},
		{"runtime overrides the fraction, in percent", &conf.LogFilter{Kind: conf.FilterRuntime, RuntimeKey: "log.share"}, with("x-request-id: 00000000"), true},
	} {
		t.Run(row.title, func(t *testing.T) {
			m, _ := newManager(t)
			values := runtime.New(nil, nil)
			values.Apply([]conf.RuntimeLayer{{Name: "static", Values: map[string]string{"log.min": "400", "log.share": "1"}}}, "")
			m.SetRuntime(values)
			f, err := m.CompileFilter(row.f)
			if err != nil {
				t.Fatal(err)
			}
			if got := f.Match(&row.i); got != row.want {
				t.Errorf("%v, want %v", got, row.want)
			}
		})
	}
}

func TestSamplingWithoutARequestIDTakesItsShare(t *testing.T) {
	m, _ := newManager(t)
	f, err := m.CompileFilter(&conf.LogFilter{Kind: conf.FilterRuntime, Percent: conf.Fraction{Numerator: 50, Denominator: 100}})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for range 10000 {
		if f.Match(&streaminfo.Info{}) {
			n++
		}
	}
	if n < 4000 || n > 6000 {
		t.Fatalf("%d of 10000 for 50 %%", n)
	}
}

func TestFilterErrorsNameThePlace(t *testing.T) {
	m, _ := newManager(t)
	for _, row := range []struct {
		f    *conf.LogFilter
		want string
	}{
		{&conf.LogFilter{Kind: conf.FilterOr, Filters: []*conf.LogFilter{{}}}, "two filters"},
		{&conf.LogFilter{Kind: conf.FilterOr, Filters: []*conf.LogFilter{{}, {Kind: conf.FilterResponseFlag, Flags: []string{"UF", "XX"}}}}, `filters[1]: flags[1]: unknown response flag "XX"`},
		{&conf.LogFilter{Kind: conf.FilterHeader}, "header: no matcher"},
		{headerFilter(conf.HeaderMatcher{}), "header: name: must not be empty"},
		{headerFilter(conf.HeaderMatcher{Name: ":nope"}), "header: name: there is no header :nope"},
		{headerFilter(conf.HeaderMatcher{Name: "host"}), "RT-49"},
		{headerFilter(conf.HeaderMatcher{Name: "x", Kind: conf.MatchRegex, Value: "a)(b"}), "header: safe_regex: "},
		{headerFilter(conf.HeaderMatcher{Name: "x", Kind: conf.MatchRange, Start: 1, End: 1}), "range_match"},
		{headerFilter(conf.HeaderMatcher{Name: "x", Kind: conf.MatchPrefix}), "use present_match"},
		{&conf.LogFilter{Kind: conf.FilterOr, Filters: []*conf.LogFilter{{}, logType("NotSet", "TcpEnd")}}, `filters[1]: types[1]: unknown log type "TcpEnd"`},
		{&conf.LogFilter{Kind: 99}, "unknown kind 99"},
	} {
		if _, err := m.CompileFilter(row.f); err == nil || !strings.Contains(fmt.Sprint(err), row.want) {
			t.Errorf("%v, want %s", err, row.want)
		}
	}
	if f, err := m.CompileFilter(nil); f != nil || err != nil {
		t.Error("no filter is not no filter")
	}
}

func TestFiltersThatReadTheRequestSaySo(t *testing.T) {
	m, _ := newManager(t)
	for _, row := range []struct {
		f    *conf.LogFilter
		want bool
	}{
		{status(conf.CompareEQ, 1), false},
		{&conf.LogFilter{Kind: conf.FilterRuntime}, true},
		{&conf.LogFilter{Kind: conf.FilterAnd, Filters: []*conf.LogFilter{status(conf.CompareEQ, 1), headerFilter(conf.HeaderMatcher{Name: "x", Kind: conf.MatchPresent})}}, true},
	} {
		l, err := m.Compile(&conf.AccessLog{Sink: conf.SinkStderr, Format: &conf.Format{Text: "x"}, Filter: row.f})
		if err != nil {
			t.Fatal(err)
		}
		if l.NeedsRequest() != row.want || l.NeedsResponse() {
			t.Errorf("%+v: request %v, response %v", row.f, l.NeedsRequest(), l.NeedsResponse())
		}
	}
}
