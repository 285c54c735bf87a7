package route

import (
	"testing"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/match"
)

func TestPathSpecifiers(t *testing.T) {
	insensitive := func(m conf.RouteMatch) conf.RouteMatch { m.CaseInsensitive = true; return m }
	for _, row := range []struct {
		rule, target string
		match        conf.RouteMatch
		want         bool
	}{
		{"RT-41 prefix / matches everything", "/anything?x", prefix("/"), true},
		{"RT-41 an empty prefix matches everything", "/", prefix(""), true},
		{"RT-41 a prefix is a string prefix", "/api", prefix("/api"), true},
		{"RT-41 a prefix does not stop at segments", "/apiary", prefix("/api"), true},
		{"RT-41 a prefix must be there whole", "/ap", prefix("/api"), false},
		{"RT-41 a prefix does not look into the query", "/a?/api", prefix("/a?/api"), false},
		{"RT-41 a path is the whole path", "/api", exact("/api"), true},
		{"RT-41 a path has no query", "/api?x=1", exact("/api"), true},
		{"RT-41 a path matches nothing longer", "/api/", exact("/api"), false},
		{"RT-41 a path matches nothing shorter", "/ap", exact("/api"), false},
		{"RT-42 separated prefix: itself", "/api/dev", separated("/api/dev"), true},
		{"RT-42 separated prefix: with slash", "/api/dev/", separated("/api/dev"), true},
		{"RT-42 separated prefix: a segment below", "/api/dev/v1", separated("/api/dev"), true},
		{"RT-42 separated prefix: with query", "/api/dev?x=1", separated("/api/dev"), true},
		{"RT-42 separated prefix: not in a segment", "/api/developer", separated("/api/dev"), false},
		{"RT-43 prefixes tell letter case by default", "/API", prefix("/api"), false},
		{"RT-43 paths tell letter case by default", "/API", exact("/api"), false},
		{"RT-43 prefix in any case", "/aPi/x", insensitive(prefix("/ApI")), true},
		{"RT-43 path in any case", "/aPi", insensitive(exact("/ApI")), true},
		{"RT-43 separated prefix in any case", "/aPi/x", insensitive(separated("/ApI")), true},
		{"RT-43 only letters fold", "/a@", insensitive(exact("/a`")), false},
		{"RT-43 an insensitive path is still whole", "/API/x", insensitive(exact("/api")), false},
	} {
		t.Run(row.rule, func(t *testing.T) {
			table := mustCompile(t, oneHost(forward("r", row.match)))
			if got := routed(table, request(t, "GET "+row.target)) == "r"; got != row.want {
				t.Errorf("%s: got %v", row.target, got)
			}
		})
	}
}

func TestRT40FirstRouteInOrderWins(t *testing.T) {
	folded := exact("/API/V1")
	folded.CaseInsensitive = true
	guarded := prefix("/api")
	guarded.Headers = []*conf.HeaderMatcher{{Name: "x-canary", Kind: conf.MatchPresent}}
	table := mustCompile(t, oneHost(
		forward("exact", exact("/api/v1/x")), forward("guarded", guarded), forward("folded", folded),
		forward("short", prefix("/api")), forward("long", prefix("/api/v1")), forward("same", prefix("/api")), forward("rest", prefix("/")),
	))
	for _, row := range []struct {
		target, field, want string
	}{
		{"/api/v1/x", "a: b", "exact"},
		{"/api/v1/x", "x-canary: 1", "exact"},
		{"/api/v1/y", "a: b", "short"},
		{"/api/v1/y", "x-canary: 1", "guarded"},
		{"/api/v1", "a: b", "folded"},
		{"/API/v1", "a: b", "folded"},
		{"/API/v2", "a: b", "rest"},
		{"/", "a: b", "rest"},
	} {
		if got := routed(table, request(t, "GET "+row.target, row.field)); got != row.want {
			t.Errorf("%s with %s: got %s, want %s", row.target, row.field, got, row.want)
		}
	}
}

func TestRT40NoRouteMatches(t *testing.T) {
	res := mustCompile(t, oneHost(forward("r", prefix("/a")))).Match(&Input{Head: request(t, "GET /b")})
	if res.Kind != NoRoute || res.Route != nil || res.VirtualHost == nil {
		t.Errorf("got %+v", res)
	}
	if res := mustCompile(t, oneHost()).Match(&Input{Head: request(t, "GET /b")}); res.Kind != NoRoute {
		t.Errorf("a virtual host without routes: got %+v", res)
	}
}

func TestRT41SeparatedPrefixIsValidated(t *testing.T) {
	for _, p := range []string{"", "/", "/a/", "/a?b", "/a#b"} {
		refused(t, oneHost(forward("ok", prefix("/")), forward("r", separated(p))), "virtual_hosts[0].routes[1].match.path_separated_prefix")
	}
	mustCompile(t, oneHost(forward("r", separated("/a"))))
}

func TestIgnorePathParameters(t *testing.T) {
	c := oneHost(forward("r", exact("/a/b")))
	if got := routed(mustCompile(t, c), request(t, "GET /a/b;v=1?q")); got != "-" {
		t.Errorf("kept by default: got %s", got)
	}
	c.IgnorePathParameters = true
	if got := routed(mustCompile(t, c), request(t, "GET /a/b;v=1?q")); got != "r" {
		t.Errorf("ignored: got %s", got)
	}
}

func TestExactlyOneAction(t *testing.T) {
	none := &conf.Route{Match: prefix("/")}
	refused(t, oneHost(none), "virtual_hosts[0].routes[0].action", "there are 0")
	two := forward("r", prefix("/"))
	two.Direct = &conf.DirectResponse{Status: 200}
	refused(t, oneHost(two), "there are 2")
}

func TestClustersAndErrorPath(t *testing.T) {
	byHeader := &conf.Route{Match: prefix("/h"), Action: &conf.RouteAction{ClusterHeader: "x-to", NotFoundStatus: 503}}
	byHost := &conf.Route{Match: prefix("/a"), Action: &conf.RouteAction{ClusterHeader: ":authority", NotFoundStatus: 503}}
	c := oneHost(byHeader, byHost, forward("b", prefix("/b")), forward("b", prefix("/c")), forward("a", prefix("/")))
	table := mustCompile(t, c)
	if got := table.Clusters(); len(got) != 2 || got[0] != "a" || got[1] != "b" {
		t.Errorf("Clusters() = %v", got)
	}
	for _, row := range []struct{ target, field, want string }{
		{"/h", "x-to: first", "first"}, {"/h", "y: z", ""}, {"/a", "y: z", "a.example"}, {"/c", "y: z", "b"},
	} {
		h := request(t, "GET "+row.target, row.field)
		if got := found(table, h).Target.Cluster(h); string(got) != row.want {
			t.Errorf("%s: cluster %q, want %q", row.target, got, row.want)
		}
	}
	_, err := Compile(oneHost(&conf.Route{Match: prefix("/"), Action: &conf.RouteAction{NotFoundStatus: 503}}), Options{Path: "route_config"})
	if want := "route_config.virtual_hosts[0].routes[0].route.cluster_specifier: exactly one of cluster, cluster_header and weighted_clusters is needed"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	refused(t, oneHost(&conf.Route{Match: prefix("/"), Action: &conf.RouteAction{Cluster: "c", NotFoundStatus: 418}}), "cluster_not_found_response_code")
	refused(t, oneHost(&conf.Route{Match: prefix("/"), Action: &conf.RouteAction{ClusterHeader: "host", NotFoundStatus: 503}}), "cluster_header", ":authority")
}

func TestInternalOnlyNames(t *testing.T) {
	c := oneHost()
	c.InternalOnlyHeaders = []string{"x-secret", "x-envoy-retry-on"}
	got := mustCompile(t, c).InternalOnly()
	if len(got) != 2 || got[0].Lower != "x-secret" || got[1] != match.NewName("x-envoy-retry-on") {
		t.Errorf("got %v", got)
	}
	c.InternalOnlyHeaders = []string{"ok", "X-Upper"}
	refused(t, c, "internal_only_headers[1]")
}
