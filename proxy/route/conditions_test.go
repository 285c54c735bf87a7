package route

import (
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/streaminfo"
)

// TestRT1ChoiceIsStable: with the same random number a request gets the same route and the same cluster,
// however often it is asked, and both sides of every chance occur.
func TestRT1ChoiceIsStable(t *testing.T) {
	half := prefix("/")
	half.RuntimeFraction = &conf.RuntimeFraction{Default: conf.Fraction{Numerator: 50, Denominator: 100}}
	split := &conf.Route{Name: "split", Match: prefix("/"), Action: conf.NewRouteAction("")}
	split.Action.Weighted = &conf.WeightedClusters{Clusters: []conf.RouteCluster{{Name: "a", Weight: 1}, {Name: "b", Weight: 2}}}
	table := mustCompile(t, oneHost(forward("half", half), split))
	seen := map[string]bool{}
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		in := &Input{Head: request(t, "GET /"), Random: random.Uint64()}
		first := table.Match(in)
		seen[string(first.Target.Cluster(in.Head))] = true
		for range 3 {
			if again := table.Match(in); again != first {
				t.Fatalf("%d: %+v, then %+v", in.Random, first, again)
			}
		}
	}
	if !seen["half"] || !seen["a"] || !seen["b"] {
		t.Errorf("%v", seen)
	}
}

// TestRT53Fractions: random % D < N (AMB-18), at both ends.
func TestRT53Fractions(t *testing.T) {
	for _, row := range []struct {
		n, d   uint32
		random uint64
		want   bool
	}{
		{0, 100, 0, false}, {1, 100, 0, true}, {1, 100, 1, false}, {1, 100, 100, true}, {99, 100, 99, false}, {100, 100, 99, true},
		{150, 100, 99, true}, {25, 10_000, 24, true}, {25, 10_000, 25, false}, {25, 10_000, 10_024, true}, {1, 1_000_000, 999_999, false}, {1_000_000, 1_000_000, 999_999, true},
	} {
		m := prefix("/")
		m.RuntimeFraction = &conf.RuntimeFraction{Default: conf.Fraction{Numerator: row.n, Denominator: row.d}}
		res := mustCompile(t, oneHost(forward("r", m))).Match(&Input{Head: request(t, "GET /"), Random: row.random})
		if (res.Route != nil) != row.want {
			t.Errorf("%d of %d with %d: %v", row.n, row.d, row.random, res.Route != nil)
		}
	}
}

// TestLiteralPrefixes: what an expression's matches begin with, as far as it can be told.
func TestLiteralPrefixes(t *testing.T) {
	for _, row := range [][2]string{
		{`/api/v[0-9]+`, "/api/v"}, {`^/api/.*$`, "/api/"}, {`(/api)/x`, "/api/x"}, {`/a|/b`, "/"}, {`(?i)/api`, ""}, {`/api?`, "/ap"},
		{`.*`, ""}, {`/(a+)b`, "/a"}, {``, ""}, {`/x(?i)y`, "/x"}, {`\Q/a.b\E.*`, "/a.b"}, {`/a{2,}`, "/"},
	} {
		r, err := regexp.Compile(`\A(?:` + row[0] + `)\z`)
		if err != nil {
			t.Fatal(err)
		}
		if got := literalPrefix(r); got != row[1] {
			t.Errorf("%s: %q, want %q", row[0], got, row[1])
		}
	}
}

// TestLiteralPrefixIsOne: whatever an expression matches begins with it.
func TestLiteralPrefixIsOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pattern := rapid.StringMatching(`(/|[ab]|\(a\|b\)|\(ab\)|a\+|b\?|\[ab\]|\^|\(\?i\)|\$){0,6}`).Draw(t, "pattern")
		r, err := regexp.Compile(`\A(?:` + pattern + `)\z`)
		if err != nil {
			t.Skip()
		}
		prefix := literalPrefix(r)
		for range 10 {
			text := rapid.StringMatching(`[/abAB]{0,6}`).Draw(t, "text")
			if r.MatchString(text) && !strings.HasPrefix(text, prefix) {
				t.Fatalf("%s matches %q, which does not begin with %q", pattern, text, prefix)
			}
		}
	})
}

func TestPathTemplates(t *testing.T) {
	for _, row := range []struct{ template, path, rewrite, want string }{ // want "-": no match
		{"/{one}/{two}", "/cat/dog", "/{two}/{one}", "/dog/cat"},
		{"/videos/{language=lang/*}/*", "/videos/lang/en/video.m4s", "/{language}", "/lang/en"},
		{"/content/{format}/{lang}/{id}/{file}.vtt", "/content/hls/en-us/12345/en_193913.vtt", "/{lang}/{format}/{file}.vtt", "/en-us/hls/en_193913.vtt"},
		{"/videos/*/*/*.m4s", "/videos/123414/hls/1080p5000_00001.m4s", "/x$1", "/x$1"},
		{"/**.mpd", "/content/123/india/dash/55/manifest.mpd", "/y", "/y"},
		{"/a/{rest=**}", "/a/b/c", "/{rest}", "/b/c"}, {"/a/{rest=**}", "/a/", "/z/{rest}", "/z/"}, {"/a/{rest=**}", "/a", "/z", "-"},
		{"/v{version}/x", "/v2/x", "/{version}", "/2"}, {"/v{version}/x", "/v/x", "/", "-"}, {"/*", "/a/b", "/", "-"}, {"/a.b", "/aXb", "/", "-"},
	} {
		r := forward("r", conf.RouteMatch{Kind: conf.PathTemplate, Path: row.template})
		r.Action.PathTemplateRewrite = row.rewrite
		h := request(t, "GET "+row.path+"?q=1")
		res := found(mustCompile(t, oneHost(r)), h)
		got := "-"
		if res.Route != nil {
			res.RewriteRequest(h, RewriteOptions{})
			got = strings.TrimSuffix(string(h.Bytes(h.Path)), "?q=1")
		}
		if got != row.want {
			t.Errorf("%s with %s to %s: %s, want %s", row.path, row.template, row.rewrite, got, row.want)
		}
	}
	for template, want := range map[string]string{
		"a": "must begin with '/'", "": "must begin with '/'", "/**/a*": "must be the last operator", "/***": "must be the last operator", "/{a}{b}": "without a text between",
		"/{a": "'{' without '}'", "/a}": "'}' without '{'", "/{a={b}}": "within a variable", "/{a}/{a}": "is there twice", "/{1a}": "not the name of a variable",
		"/{a=}": "is empty", "/a//b": "an empty segment", "/a b": "is not allowed", "/a?b": "is not allowed", "/{a}/{b}/{c}/{d}/{e}/{f}": "more than 5 variables",
	} {
		refused(t, oneHost(forward("r", conf.RouteMatch{Kind: conf.PathTemplate, Path: template})), "match.path_match_policy.path_template", want)
	}
}

// TestRT87Substitutions: the load-time checks.
func TestRT87Substitutions(t *testing.T) {
	for by, want := range map[string]string{`\2`: `there is no group \2; the pattern has 1`, `a\`: "ends in a backslash", `\x`: `\x means nothing`, "a b": "neither spaces"} {
		r := forward("r", prefix("/"))
		r.Action.RegexRewrite = &conf.RegexRewrite{Pattern: "(a)", Substitution: by}
		refused(t, oneHost(r), "route.regex_rewrite.substitution", want)
	}
	r := forward("r", prefix("/"))
	r.Action.RegexRewrite = &conf.RegexRewrite{Pattern: "(a)(b)?", Substitution: `$1\\\1\0\2`}
	h := request(t, "GET /a")
	found(mustCompile(t, oneHost(r)), h).RewriteRequest(h, RewriteOptions{})
	if got := string(h.Bytes(h.Path)); got != `/$1\aa` {
		t.Errorf("got %s", got)
	}
}

// TestRT29TreesAreBounded: what a match tree leads to, and the bounds of its depth.
func TestRT29TreesAreBounded(t *testing.T) {
	tree := &conf.MatchTree{Otherwise: &conf.MatchOutcome{Routes: []*conf.Route{forward("r", prefix("/"))}}}
	c := oneHost()
	c.VirtualHosts[0].Matcher = tree
	if got := routed(mustCompile(t, c), request(t, "GET /")); got != "r" {
		t.Errorf("got %s", got)
	}
	for range maxTreeDepth + 1 {
		tree = &conf.MatchTree{Otherwise: &conf.MatchOutcome{Tree: tree}}
	}
	c.VirtualHosts[0].Matcher = tree
	refused(t, c, "matcher.on_no_match.", "deeper than")
	c.VirtualHosts[0].Routes = []*conf.Route{forward("r", prefix("/"))}
	refused(t, c, "excludes routes")
}

// TestRT17ScopesAreDistinct, with RT-10 and RT-11: what is refused of scopes.
func TestRT17ScopesAreDistinct(t *testing.T) {
	good := func() *conf.HTTPConnectionManager {
		m := conf.NewHTTPConnectionManager("m")
		m.Scoped = &conf.ScopedRoutes{
			Key:    []conf.ScopeFragment{{Header: "a"}, {Header: "b"}},
			Scopes: []conf.Scope{{Key: []string{"x", "yz"}, Routes: oneHost()}, {Key: []string{"xy", "z"}, Routes: oneHost()}},
		}
		return m
	}
	if _, err := CompileRoutes(good(), Options{}); err != nil { // the fragments are told apart
		t.Error(err)
	}
	for want, change := range map[string]func(m *conf.HTTPConnectionManager){
		"the same key (RT-17)":     func(m *conf.HTTPConnectionManager) { m.Scoped.Scopes[1].Key = []string{"x", "yz"} },
		"at least one is needed":   func(m *conf.HTTPConnectionManager) { m.Scoped.Key = nil },
		"there is only element 0":  func(m *conf.HTTPConnectionManager) { m.Scoped.Key[0].Index = 1 },
		"not the name of a header": func(m *conf.HTTPConnectionManager) { m.Scoped.Key[0].Header = "a b" },
		"exactly one of route":     func(m *conf.HTTPConnectionManager) { m.Routes = oneHost() },
		"_list[0].route_configuration.virtual_hosts[0].domains": func(m *conf.HTTPConnectionManager) {
			m.Scoped.Scopes[0].Routes = &conf.RouteConfiguration{VirtualHosts: []*conf.VirtualHost{{}}}
		},
	} {
		m := good()
		change(m)
		if _, err := CompileRoutes(m, Options{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// TestRT70WeightsAreValidated, with RT-71.
func TestRT70WeightsAreValidated(t *testing.T) {
	for want, w := range map[string]*conf.WeightedClusters{
		"add up to 0":                           {Clusters: []conf.RouteCluster{{Name: "a"}}},
		"add up to 4294967296":                  {Clusters: []conf.RouteCluster{{Name: "a", Weight: 1<<32 - 1}, {Name: "b", Weight: 1}}},
		"exactly one of name":                   {Clusters: []conf.RouteCluster{{Name: "a", ClusterHeader: "b", Weight: 1}}},
		"clusters[0].name":                      {Clusters: []conf.RouteCluster{{Weight: 1}}},
		"clusters[0].host_rewrite_literal":      {Clusters: []conf.RouteCluster{{Name: "a", Weight: 1, HostRewriteLiteral: "a b"}}},
		"clusters[0].request_headers_to_add[0]": {Clusters: []conf.RouteCluster{{Name: "a", Weight: 1, Headers: requestAdds(conf.HeaderValue{Name: ":path", Value: "x"})}}},
		"weighted_clusters.header_name":         {Clusters: []conf.RouteCluster{{Name: "a", Weight: 1}}, HeaderName: "A B"},
	} {
		r := &conf.Route{Match: prefix("/"), Action: conf.NewRouteAction("")}
		r.Action.Weighted = w
		refused(t, oneHost(r), "route.weighted_clusters", want)
	}
	both := forward("r", prefix("/"))
	both.Action.Weighted = &conf.WeightedClusters{Clusters: []conf.RouteCluster{{Name: "a", Weight: 1}}}
	refused(t, oneHost(both), "exactly one of cluster, cluster_header and weighted_clusters")
}

// TestRT110Combination: rotated by one bit and mixed in order; a terminal policy ends it.
func TestRT110Combination(t *testing.T) {
	r := forward("r", prefix("/"))
	policy := func(name string, terminal bool) conf.HashPolicy {
		return conf.HashPolicy{Input: conf.HashQueryParameter, Name: name, Terminal: terminal}
	}
	hash := func(target string, list ...conf.HashPolicy) Hash {
		r.Action.HashPolicies = list
		h := request(t, "GET "+target)
		return found(mustCompile(t, oneHost(r)), h).Hash(&Input{Head: h, Info: &streaminfo.Info{Conn: &streaminfo.Connection{}}})
	}
	a, b := hash("/?a=1", policy("a", false)).Value, hash("/?b=2", policy("b", false)).Value
	both := hash("/?a=1&b=2", policy("a", false), policy("x", false), policy("b", false))
	if want := (a<<1 | a>>63) ^ b; both.Value != want || !both.OK {
		t.Errorf("%x, want %x", both.Value, want)
	}
	if got := hash("/?a=1&b=2", policy("a", true), policy("b", false)); got.Value != a {
		t.Errorf("%x, want %x: terminal", got.Value, a)
	}
	if got := hash("/", policy("a", false)); got.OK || got.Value != 0 {
		t.Errorf("%+v", got)
	}
}
