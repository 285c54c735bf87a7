package route

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/proxy/conf"
)

// TestExplainNamesTheFirstConditionThatFails: one route for each condition, none of which the request
// meets, and one at the end that takes it.
func TestExplainNamesTheFirstConditionThatFails(t *testing.T) {
	yes := true
	with := func(f func(m *conf.RouteMatch)) conf.RouteMatch {
		m := prefix("/")
		f(&m)
		return m
	}
	is := func(v string) conf.StringMatcher { return conf.StringMatcher{Value: v} }
	rows := []struct {
		m    conf.RouteMatch
		want string
	}{
		{prefix("/b"), `path "/api/V1" does not begin with "/b"`},
		{exact("/api"), `path "/api/V1" is not "/api"`},
		{separated("/ap"), `path "/api/V1" is neither "/ap" nor below it`},
		{conf.RouteMatch{Kind: conf.PathExact, Path: "/API", CaseInsensitive: true}, `path "/api/V1" is not "/API" in any letter case`},
		{conf.RouteMatch{Kind: conf.PathRegex, Path: "/api/v[0-9]"}, `path "/api/V1" does not match the expression "/api/v[0-9]" as a whole`},
		{conf.RouteMatch{Kind: conf.PathTemplate, Path: "/api/*/x"}, `path "/api/V1" does not match the template "/api/*/x"`},
		{conf.RouteMatch{Kind: conf.PathConnect}, "the request is not a CONNECT"},
		{with(func(m *conf.RouteMatch) {
			m.RuntimeFraction = &conf.RuntimeFraction{Default: conf.Fraction{Numerator: 5, Denominator: 100}}
		}), "it is for 5 of 100 requests (runtime_fraction), and this one, with number 77, is not among them"},
		{with(func(m *conf.RouteMatch) { m.GRPC = true }), "the request is not gRPC: no content-type application/grpc"},
		{with(func(m *conf.RouteMatch) {
			m.Headers = []*conf.HeaderMatcher{{Name: "x-a", Kind: conf.MatchPresent}, {Name: "x-b", Value: "2"}}
		}), `wanted: header x-b is "2"; it is "1"`},
		{with(func(m *conf.RouteMatch) {
			m.QueryParameters = []*conf.QueryMatcher{{Name: "q", Value: "2"}}
		}), `wanted: query parameter q is "2"; it is "1"`},
		{with(func(m *conf.RouteMatch) {
			m.QueryParameters = []*conf.QueryMatcher{{Name: "r", Kind: conf.MatchPresent}}
		}), `wanted: query parameter r is there; it is absent`},
		{with(func(m *conf.RouteMatch) {
			m.Cookies = []*conf.CookieMatcher{{Name: "c", Value: is("1"), Invert: true}}
		}), `wanted: cookie c not so: is "1"; it is "1"`},
		{with(func(m *conf.RouteMatch) { m.TLS = &conf.TLSMatch{Presented: &yes} }),
			"wanted: tls_context presented: true; the client's certificate is presented: false, validated: false"},
		{with(func(m *conf.RouteMatch) {
			m.DynamicMetadata = []*conf.MetadataMatcher{{Namespace: "n", Key: "k"}}
		}), "wanted: dynamic metadata n k is there; it is absent"},
		{with(func(m *conf.RouteMatch) {
			m.FilterState = []*conf.FilterStateMatcher{{Key: "k", Value: is("v")}}
		}), `wanted: filter state k is "v"; it is absent`},
	}
	var routes []*conf.Route
	for i, row := range rows {
		routes = append(routes, forward(fmt.Sprint(i), row.m))
	}
	table := mustCompile(t, oneHost(append(routes, forward("last", prefix("/")), forward("never", prefix("/")))...))
	in := &Input{Head: request(t, "GET /api/V1?q=1", "x-a: a", "x-b: 1", "cookie: c=1"), Random: 177}
	e := table.Explain(in)
	if e.Domain != "*" || e.Host != "a.example" || e.Note != "" || len(e.Verdicts) != len(rows)+1 {
		t.Fatalf("%+v", e)
	}
	for i, row := range rows {
		if v := e.Verdicts[i]; v.Why != row.want || v.Chosen || v.Ordinal != i {
			t.Errorf("got  %s\nwant %s", v.Why, row.want)
		}
	}
	if last := e.Verdicts[len(rows)]; !last.Chosen || last.Route.Config.Name != "last" || last.Why != "" {
		t.Errorf("%+v", last)
	}
}

func TestExplainBeforeAnyRoute(t *testing.T) {
	c := hosts("*.a.example", "b.*")
	c.VirtualHosts[0].RequireTLS = conf.TLSAll
	table := mustCompile(t, c)
	for _, row := range []struct {
		host, proto, domain, note string
	}{
		{"x.A.example", "x-forwarded-proto: http", "*.a.example", "requires https; no route"},
		{"x.a.example", "x-other: 1", "*.a.example", "does not say what it came by"},
		{"c.example", "x-other: 1", "", `no virtual host has a domain for "c.example"`},
		{"b.example", "x-other: 1", "b.*", ""},
	} {
		e := table.Explain(&Input{Head: request(t, "GET /", "host: "+row.host, row.proto)})
		if e.Domain != row.domain || !strings.Contains(e.Note, row.note) || (e.Note == "") != (row.note == "") {
			t.Errorf("%s: %+v", row.host, e)
		}
	}
	if e := (*Table)(nil).Explain(&Input{Head: request(t, "GET /")}); e.Note == "" || e.Result.Kind != NoRoute {
		t.Errorf("%+v", e)
	}
}

// TestExplainAgreesWithMatch: whatever the table, every route before the chosen one has a reason, and
// where none is chosen all have one.
func TestExplainAgreesWithMatch(t *testing.T) {
	paths := rapid.StringMatching(`/[aAb/]{0,5}`)
	rapid.Check(t, func(t *rapid.T) {
		var routes []*conf.Route
		for i := range rapid.IntRange(0, 12).Draw(t, "routes") {
			m := conf.RouteMatch{Path: paths.Draw(t, "literal"), CaseInsensitive: rapid.Bool().Draw(t, "folded")}
			switch rapid.IntRange(0, 3).Draw(t, "kind") {
			case 1:
				m.Kind = conf.PathExact
			case 2:
				m.Kind, m.Path = conf.PathSeparatedPrefix, strings.TrimRight(m.Path, "/")+"/b"
			case 3:
				m.Kind, m.Path = conf.PathRegex, m.Path+rapid.SampledFrom([]string{"", "+", "?", ".*", "|/b"}).Draw(t, "more")
			}
			if rapid.IntRange(0, 2).Draw(t, "guarded") == 0 {
				m.Headers = []*conf.HeaderMatcher{{Name: "x-1", Kind: conf.MatchPresent, Invert: rapid.Bool().Draw(t, "invert")}}
			}
			routes = append(routes, forward(fmt.Sprint(i), m))
		}
		table, err := Compile(oneHost(routes...), Options{})
		if err != nil {
			t.Fatal(err)
		}
		h := new(header.Head)
		h.Reset(nil)
		h.SetPath([]byte(paths.Draw(t, "path")))
		if rapid.Bool().Draw(t, "x-1") {
			h.AddString(header.Unknown, "x-1", "v")
		}
		e := table.Explain(&Input{Head: h})
		for i, v := range e.Verdicts {
			last := i == len(e.Verdicts)-1 && e.Result.Route != nil
			if v.Chosen != last || (v.Why == "") != last {
				t.Fatalf("%d of %d: %+v", i, len(e.Verdicts), v)
			}
		}
		if e.Result.Route == nil && len(e.Verdicts) != len(routes) {
			t.Fatalf("%d verdicts of %d routes", len(e.Verdicts), len(routes))
		}
	})
}
