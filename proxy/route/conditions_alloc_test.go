//go:build !race

package route

import (
	"net/netip"
	"testing"

	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/streaminfo"
)

// facts are those of a connection with metadata, filter state and addresses.
func facts() *streaminfo.Info {
	x := new(streaminfo.Extra)
	x.Metadata.Set("ns", "key", []byte("value"))
	x.State.Set("team", []byte("red"), false)
	x.ServerName = []byte("a.test")
	at := netip.MustParseAddrPort("192.0.2.7:4711")
	return &streaminfo.Info{RemoteAddress: at, Conn: &streaminfo.Connection{Remote: at, Local: netip.MustParseAddrPort("192.0.2.1:80"), Extra: x}}
}

// TestNoMatcherAllocates: each kind of condition, choice and hash, which all hold. Regular expressions
// are here, too: what they need comes from a pool, which a collection may empty.
func TestNoMatcherAllocates(t *testing.T) {
	no := false
	is := func(v string) conf.StringMatcher { return conf.StringMatcher{Value: v} }
	weighted := func(w conf.WeightedClusters) func(r *conf.Route) {
		return func(r *conf.Route) {
			w.Clusters = []conf.RouteCluster{{Name: "a", Weight: 1}, {Name: "b", Weight: 2}}
			r.Action.Cluster, r.Action.Weighted = "", &w
		}
	}
	policies := func(list ...conf.HashPolicy) func(r *conf.Route) {
		return func(r *conf.Route) { r.Action.HashPolicies = list }
	}
	match := func(f func(m *conf.RouteMatch)) func(r *conf.Route) { return func(r *conf.Route) { f(&r.Match) } }
	for name, set := range map[string]func(r *conf.Route){
		"prefix":    func(*conf.Route) {},
		"path":      match(func(m *conf.RouteMatch) { m.Kind, m.Path = conf.PathExact, "/api/v1" }),
		"separated": match(func(m *conf.RouteMatch) { m.Kind, m.Path = conf.PathSeparatedPrefix, "/api" }),
		"any case":  match(func(m *conf.RouteMatch) { m.Path, m.CaseInsensitive = "/API", true }),
		"regex":     match(func(m *conf.RouteMatch) { m.Kind, m.Path = conf.PathRegex, "/api/v[0-9]+" }),
		"template":  match(func(m *conf.RouteMatch) { m.Kind, m.Path = conf.PathTemplate, "/api/{version}" }),
		"fraction": match(func(m *conf.RouteMatch) {
			m.RuntimeFraction = &conf.RuntimeFraction{Default: conf.Fraction{Numerator: 50, Denominator: 100}}
		}),
		"grpc":          match(func(m *conf.RouteMatch) { m.GRPC = true }),
		"header joined": match(func(m *conf.RouteMatch) { m.Headers = []*conf.HeaderMatcher{{Name: "x-multi", Value: "1,2"}} }),
		"header range": match(func(m *conf.RouteMatch) {
			m.Headers = []*conf.HeaderMatcher{{Name: "x-n", Kind: conf.MatchRange, End: 10}}
		}),
		"header missing": match(func(m *conf.RouteMatch) {
			m.Headers = []*conf.HeaderMatcher{{Name: "x-none", TreatMissingAsEmpty: true}}
		}),
		"header regex": match(func(m *conf.RouteMatch) {
			m.Headers = []*conf.HeaderMatcher{{Name: "x-n", Kind: conf.MatchRegex, Value: "[0-9]"}}
		}),
		"query":  match(func(m *conf.RouteMatch) { m.QueryParameters = []*conf.QueryMatcher{{Name: "q", Value: "1"}} }),
		"cookie": match(func(m *conf.RouteMatch) { m.Cookies = []*conf.CookieMatcher{{Name: "c", Value: is("v")}} }),
		"tls":    match(func(m *conf.RouteMatch) { m.TLS = &conf.TLSMatch{Presented: &no, Validated: &no} }),
		"metadata": match(func(m *conf.RouteMatch) {
			m.DynamicMetadata = []*conf.MetadataMatcher{{Namespace: "ns", Key: "key", Values: []conf.StringMatcher{is("value")}}}
		}),
		"filter state":   match(func(m *conf.RouteMatch) { m.FilterState = []*conf.FilterStateMatcher{{Key: "team", Value: is("red")}} }),
		"cluster header": func(r *conf.Route) { r.Action.Cluster, r.Action.ClusterHeader = "", "x-n" },
		"weights":        weighted(conf.WeightedClusters{}),
		"weights live":   weighted(conf.WeightedClusters{RuntimeKeyPrefix: "w"}),
		"weights header": weighted(conf.WeightedClusters{HeaderName: "x-n"}),
		"hashes": policies(conf.HashPolicy{Name: "x-multi"}, conf.HashPolicy{Input: conf.HashCookie, Name: "c"}, conf.HashPolicy{Input: conf.HashCookie, Name: "new", Generate: true},
			conf.HashPolicy{Input: conf.HashRemoteIP}, conf.HashPolicy{Input: conf.HashQueryParameter, Name: "q"}, conf.HashPolicy{Input: conf.HashState, Name: "team"}),
	} {
		r := forward("r", prefix("/"))
		set(r)
		c := oneHost(r)
		c.VirtualHosts[0].VirtualClusters = []*conf.VirtualCluster{{Name: "v", Headers: []*conf.HeaderMatcher{{Name: ":path", Kind: conf.MatchPrefix, Value: "/none"}}}}
		table := mustCompile(t, c)
		h := request(t, "GET /api/v1?q=1", "x-multi: 1", "x-multi: 2", "x-n: 7", "cookie: a=b; c=v", "content-type: application/grpc")
		in := Input{Info: facts(), Scratch: make([]byte, 0, 512), Random: 7}
		var res Result
		var hash Hash
		allocates(t, name, h, func(h *header.Head) {
			in.Head = h
			res = table.Match(&in)
			hash = res.Hash(&in)
			_ = res.Target.Cluster(h)
			res.AddCookies(hash, h, in.Info)
		})
		if res.Route == nil || res.Virtual == nil || hash.OK != (name == "hashes") {
			t.Errorf("%s: %+v %+v", name, res, hash)
		}
	}
}

// TestScopesAndTreesDoNotAllocate: RT-12 and RT-29.
func TestScopesAndTreesDoNotAllocate(t *testing.T) {
	m := conf.NewHTTPConnectionManager("m")
	c := oneHost()
	inputs := []conf.MatchInput{
		{Kind: conf.InputHeader, Name: "x-multi"}, {Kind: conf.InputQueryParameter, Name: "q"}, {Kind: conf.InputSourceIP}, {Kind: conf.InputDirectSourceIP},
		{Kind: conf.InputDestinationIP}, {Kind: conf.InputSourcePort}, {Kind: conf.InputDestinationPort}, {Kind: conf.InputServerName},
	}
	values := []string{"1,2", "1", "192.0.2.7", "192.0.2.7", "192.0.2.1", "4711", "80", "a.test"}
	all := conf.MatchPredicate{Kind: conf.PredicateAnd}
	for i, in := range inputs {
		all.Of = append(all.Of, conf.MatchPredicate{Input: in, Value: conf.StringMatcher{Value: values[i]}})
	}
	c.VirtualHosts[0].Matcher = &conf.MatchTree{List: []conf.MatchCase{{If: all, Outcome: conf.MatchOutcome{Tree: &conf.MatchTree{
		Map: &conf.MatchMap{Input: conf.MatchInput{Name: ":path"}, Prefixes: true, Outcomes: map[string]conf.MatchOutcome{"/": {Routes: []*conf.Route{forward("r", prefix("/"))}}}},
	}}}}}
	m.Scoped = &conf.ScopedRoutes{
		Key:    []conf.ScopeFragment{{Header: "addr", ElementSeparator: ";", ByKey: true, Key: "k", KeySeparator: "="}, {Header: "x-multi"}},
		Scopes: []conf.Scope{{Key: []string{"v", "1"}, Routes: c}},
	}
	routes, err := CompileRoutes(m, Options{})
	if err != nil {
		t.Fatal(err)
	}
	h := request(t, "GET /?q=1", "addr: a=b;k=v", "x-multi: 1", "x-multi: 2")
	in := Input{Info: facts(), Scratch: make([]byte, 0, 512)}
	var res Result
	allocates(t, "scope and tree", h, func(h *header.Head) {
		in.Head = h
		res = routes.Table(h, &in.Scratch).Match(&in)
	})
	if res.Route == nil {
		t.Error("no route")
	}
}
