package route

import (
	"testing"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

func TestHeaderMatchers(t *testing.T) {
	type m = conf.HeaderMatcher
	one, two := []string{"x-v: Beta-12"}, []string{"x-v: a", "X-V: b"}
	for _, row := range []struct {
		rule   string
		fields []string
		m      m
		want   bool
	}{
		{"6.1 exact", one, m{Kind: conf.MatchExact, Value: "Beta-12"}, true},
		{"6.1 exact tells letter case", one, m{Kind: conf.MatchExact, Value: "beta-12"}, false},
		{"6.1 exact, ignore_case", one, m{Kind: conf.MatchExact, Value: "bETA-12", IgnoreCase: true}, true},
		{"6.1 exact empty matches the empty value", []string{"x-v:"}, m{Kind: conf.MatchExact}, true},
		{"6.1 exact empty does not match another value", one, m{Kind: conf.MatchExact}, false},
		{"6.1 prefix", one, m{Kind: conf.MatchPrefix, Value: "Be"}, true},
		{"6.1 prefix longer than the value", one, m{Kind: conf.MatchPrefix, Value: "Beta-123"}, false},
		{"6.1 prefix, ignore_case", one, m{Kind: conf.MatchPrefix, Value: "bE", IgnoreCase: true}, true},
		{"6.1 suffix", one, m{Kind: conf.MatchSuffix, Value: "-12"}, true},
		{"6.1 suffix elsewhere", one, m{Kind: conf.MatchSuffix, Value: "Beta"}, false},
		{"6.1 contains", one, m{Kind: conf.MatchContains, Value: "ta-1"}, true},
		{"6.1 contains, ignore_case", one, m{Kind: conf.MatchContains, Value: "TA-1", IgnoreCase: true}, true},
		{"6.1 contains at the end", one, m{Kind: conf.MatchContains, Value: "2"}, true},
		{"6.1 contains not", one, m{Kind: conf.MatchContains, Value: "x"}, false},
		{"RT-45 regex matches in full", one, m{Kind: conf.MatchRegex, Value: `[A-Z][a-z]+-\d+`}, true},
		{"RT-45 regex does not search", one, m{Kind: conf.MatchRegex, Value: `eta`}, false},
		{"RT-45 regex alternatives stay inside", one, m{Kind: conf.MatchRegex, Value: `Beta|x`}, false},
		{"6.1 range: start is in", []string{"x-v: 10"}, m{Kind: conf.MatchRange, Start: 10, End: 20}, true},
		{"6.1 range: end is out", []string{"x-v: 20"}, m{Kind: conf.MatchRange, Start: 10, End: 20}, false},
		{"6.1 range: signed", []string{"x-v: -5"}, m{Kind: conf.MatchRange, Start: -10, End: 0}, true},
		{"6.1 range: no integer, no match", []string{"x-v: 1x"}, m{Kind: conf.MatchRange, Start: 0, End: 20}, false},
		{"6.1 range: no integer, inverted", []string{"x-v: 1x"}, m{Kind: conf.MatchRange, Start: 0, End: 20, Invert: true}, true},
		{"6.1 present", one, m{Kind: conf.MatchPresent}, true},
		{"6.1 present, missing", nil, m{Kind: conf.MatchPresent}, false},
		{"6.1 present: false", one, m{Kind: conf.MatchAbsent}, false},
		{"6.1 present: false, missing", nil, m{Kind: conf.MatchAbsent}, true},
		{"RT-46 several values are joined", two, m{Kind: conf.MatchExact, Value: "a,b"}, true},
		{"RT-46 no single value is looked at", two, m{Kind: conf.MatchExact, Value: "a"}, false},
		{"RT-47 missing is false", nil, m{Kind: conf.MatchExact, Value: "a"}, false},
		{"RT-47 missing is false, inverted too", nil, m{Kind: conf.MatchExact, Value: "a", Invert: true}, false},
		{"RT-47 missing is false, range inverted too", nil, m{Kind: conf.MatchRange, End: 1, Invert: true}, false},
		{"RT-47 present inverted, missing", nil, m{Kind: conf.MatchPresent, Invert: true}, true},
		{"RT-47 absent inverted, missing", nil, m{Kind: conf.MatchAbsent, Invert: true}, false},
		{"RT-47 missing as empty", nil, m{Kind: conf.MatchExact, TreatMissingAsEmpty: true}, true},
		{"RT-47 missing as empty, inverted", nil, m{Kind: conf.MatchExact, Value: "a", TreatMissingAsEmpty: true, Invert: true}, true},
		{"RT-48 inverted", one, m{Kind: conf.MatchExact, Value: "other", Invert: true}, true},
		{"RT-48 inverted, equal", one, m{Kind: conf.MatchExact, Value: "Beta-12", Invert: true}, false},
		{"RT-48 present inverted", one, m{Kind: conf.MatchPresent, Invert: true}, false},
		{"RT-49 :method", nil, m{Name: ":method", Kind: conf.MatchExact, Value: "GET"}, true},
		{"RT-49 :path has the query", nil, m{Name: ":path", Kind: conf.MatchExact, Value: "/p?q=1"}, true},
		{"RT-49 :authority", nil, m{Name: ":authority", Kind: conf.MatchSuffix, Value: ".example"}, true},
		{"RT-49 :scheme", nil, m{Name: ":scheme", Kind: conf.MatchExact, Value: "http"}, true},
		{"6.1 a known name", []string{"user-agent: curl/8"}, m{Name: "user-agent", Kind: conf.MatchPrefix, Value: "curl"}, true},
	} {
		t.Run(row.rule, func(t *testing.T) {
			if row.m.Name == "" {
				row.m.Name = "x-v"
			}
			match := prefix("/")
			match.Headers = []*conf.HeaderMatcher{&row.m}
			h := request(t, "GET /p?q=1", row.fields...)
			h.SetScheme("http")
			if got := routed(mustCompile(t, oneHost(forward("r", match))), h) == "r"; got != row.want {
				t.Errorf("%v with %+v: got %v", row.fields, row.m, got)
			}
		})
	}
}

func TestHeaderMatchersAreAnded(t *testing.T) {
	match := prefix("/")
	match.Headers = []*conf.HeaderMatcher{{Name: "a", Kind: conf.MatchPresent}, {Name: "b", Kind: conf.MatchPresent}}
	match.QueryParameters = []*conf.QueryMatcher{{Name: "q", Kind: conf.MatchPresent}}
	table := mustCompile(t, oneHost(forward("r", match)))
	for _, row := range []struct {
		target string
		fields []string
		want   string
	}{
		{"/?q", []string{"a: 1", "b: 1"}, "r"}, {"/?q", []string{"a: 1"}, "-"}, {"/", []string{"a: 1", "b: 1"}, "-"},
	} {
		if got := routed(table, request(t, "GET "+row.target, row.fields...)); got != row.want {
			t.Errorf("%s %v: got %s", row.target, row.fields, got)
		}
	}
}

func TestHeaderMatchersAreValidated(t *testing.T) {
	for _, row := range []struct {
		m    conf.HeaderMatcher
		want string
	}{
		{conf.HeaderMatcher{Name: "host", Kind: conf.MatchPresent}, `headers[0].name: "host" is written ":authority"`},
		{conf.HeaderMatcher{Name: "", Kind: conf.MatchPresent}, "name"},
		{conf.HeaderMatcher{Name: ":status", Kind: conf.MatchPresent}, "name"},
		{conf.HeaderMatcher{Name: "x", Kind: conf.MatchRegex, Value: "("}, "missing closing )"},
		{conf.HeaderMatcher{Name: "x", Kind: conf.MatchRegex, Value: "a)(b"}, "unexpected )"},
		{conf.HeaderMatcher{Name: "x", Kind: conf.MatchRange, Start: 5, End: 5}, "start 5 is not below end 5"},
		{conf.HeaderMatcher{Name: "x", Kind: conf.MatchPrefix}, "present_match"},
	} {
		match := prefix("/")
		match.Headers = []*conf.HeaderMatcher{&row.m}
		refused(t, oneHost(forward("r", match)), "virtual_hosts[0].routes[0].match.headers[0]", row.want)
	}
}

func TestQueryMatchers(t *testing.T) {
	type m = conf.QueryMatcher
	for _, row := range []struct {
		rule, target string
		m            m
		want         bool
	}{
		{"RT-50 a value", "/?a=1&b=2", m{Name: "b", Kind: conf.MatchExact, Value: "2"}, true},
		{"RT-50 the first value counts", "/?a=1&a=2", m{Name: "a", Kind: conf.MatchExact, Value: "2"}, false},
		{"RT-50 a key without value is empty", "/?a&b", m{Name: "a", Kind: conf.MatchExact, Value: ""}, true},
		{"RT-50 the value may hold an equals sign", "/?a=b=c", m{Name: "a", Kind: conf.MatchExact, Value: "b=c"}, true},
		{"RT-50 keys are compared whole", "/?aa=1", m{Name: "a", Kind: conf.MatchPresent}, false},
		{"RT-50 empty pairs are skipped", "/?&&a=1&", m{Name: "a", Kind: conf.MatchExact, Value: "1"}, true},
		{"RT-50 the path is not the query", "/a=1", m{Name: "a", Kind: conf.MatchPresent}, false},
		{"RT-50 a second question mark is data", "/?a=1?b=2", m{Name: "a", Kind: conf.MatchExact, Value: "1?b=2"}, true},
		{"RT-51 string_match needs the key", "/?b=1", m{Name: "a", Kind: conf.MatchExact, Value: ""}, false},
		{"RT-51 string_match without query", "/", m{Name: "a", Kind: conf.MatchExact, Value: ""}, false},
		{"RT-51 prefix", "/?a=hello", m{Name: "a", Kind: conf.MatchPrefix, Value: "he"}, true},
		{"RT-51 ignore_case", "/?a=HELLO", m{Name: "a", Kind: conf.MatchExact, Value: "hello", IgnoreCase: true}, true},
		{"RT-51 regex matches in full", "/?a=123", m{Name: "a", Kind: conf.MatchRegex, Value: `\d+`}, true},
		{"RT-51 regex does not search", "/?a=123x", m{Name: "a", Kind: conf.MatchRegex, Value: `\d+`}, false},
		{"RT-51 present", "/?x&a", m{Name: "a", Kind: conf.MatchPresent}, true},
		{"RT-51 present, missing", "/?x", m{Name: "a", Kind: conf.MatchPresent}, false},
		{"RT-51 absent", "/?x", m{Name: "a", Kind: conf.MatchAbsent}, true},
		{"RT-51 absent, present", "/?a=", m{Name: "a", Kind: conf.MatchAbsent}, false},
	} {
		t.Run(row.rule, func(t *testing.T) {
			match := prefix("/")
			match.QueryParameters = []*conf.QueryMatcher{&row.m}
			if got := routed(mustCompile(t, oneHost(forward("r", match))), request(t, "GET "+row.target)) == "r"; got != row.want {
				t.Errorf("%s with %+v: got %v", row.target, row.m, got)
			}
		})
	}
	match := prefix("/")
	match.QueryParameters = []*conf.QueryMatcher{{Kind: conf.MatchPresent}}
	refused(t, oneHost(forward("r", match)), "match.query_parameters[0].name")
	match.QueryParameters = []*conf.QueryMatcher{{Name: "a", Kind: conf.MatchRange}}
	refused(t, oneHost(forward("r", match)), "match.query_parameters[0]", "range")
}
