package explain

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

func text(t *testing.T, r *Report) string {
	t.Helper()
	var b strings.Builder
	if _, err := r.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// bootstrap has one listener with one virtual host of these routes, and one cluster of these hosts.
func bootstrap(routes []*conf.Route, hosts ...string) *conf.Bootstrap {
	hcm := conf.NewHTTPConnectionManager("in")
	hcm.Routes = &conf.RouteConfiguration{VirtualHosts: []*conf.VirtualHost{{Name: "all", Domains: []string{"*"}, Routes: routes}}}
	c := conf.NewCluster("c")
	for _, h := range hosts {
		c.Endpoints = append(c.Endpoints, &conf.Endpoint{Address: conf.Address{IP: netip.MustParseAddrPort(h)}, Weight: 1})
	}
	return &conf.Bootstrap{
		Listeners: []*conf.Listener{conf.NewListener("in", netip.MustParseAddrPort("127.0.0.1:80"), &conf.FilterChain{HTTP: hcm})},
		Clusters:  []*conf.Cluster{c},
	}
}

func prefix(p string) *conf.Route {
	return &conf.Route{Name: p, Match: conf.RouteMatch{Path: p}, Action: conf.NewRouteAction("c")}
}

func TestEqualConfigurationsSayNothing(t *testing.T) {
	a := bootstrap([]*conf.Route{prefix("/a"), prefix("/a"), prefix("/")}, "127.0.0.1:1", "127.0.0.1:1")
	b := bootstrap([]*conf.Route{prefix("/a"), prefix("/a"), prefix("/")}, "127.0.0.1:1", "127.0.0.1:1")
	if r := Compare(a, b); !r.Empty() {
		t.Errorf("two equal configurations differ:\n%s", text(t, r))
	}
}

func TestRoutesMovedAddedRemovedChanged(t *testing.T) {
	a := bootstrap([]*conf.Route{prefix("/1"), prefix("/2"), prefix("/3"), prefix("/4"), prefix("/gone")})
	slow := prefix("/4")
	slow.Action.Timeout = time.Minute
	b := bootstrap([]*conf.Route{prefix("/2"), prefix("/3"), prefix("/1"), slow, prefix("/new")})
	want := `listener in
  virtual host "all"
    - route "/gone" (prefix "/gone") to cluster c
    > route "/1" (prefix "/1") to cluster c: from position 1 to 3
    ~ route "/4" (prefix "/4") to cluster c
      ~ action.timeout: 15s -> 1m0s
    + route "/new" (prefix "/new") to cluster c
`
	if got := text(t, Compare(a, b)); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestHostsAddedRemovedChanged(t *testing.T) {
	a := bootstrap(nil, "127.0.0.1:1", "127.0.0.1:2")
	b := bootstrap(nil, "127.0.0.1:2", "127.0.0.1:3")
	b.Clusters[0].Endpoints[0].Weight = 5
	want := `cluster c
  - host 127.0.0.1:1
  ~ host 127.0.0.1:2
    ~ weight: 1 -> 5
  + host 127.0.0.1:3
`
	if got := text(t, Compare(a, b)); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestFieldsByPath(t *testing.T) {
	a, b := bootstrap(nil), bootstrap(nil)
	a.Clusters[0].Raw = json.RawMessage(`{"name":"c","connect_timeout":"1s","list":[1,2],"gone":{"x":true}}`)
	b.Clusters[0].Raw = json.RawMessage(`{"name":"c","connect_timeout":"2s","list":[1,3,4],"load_assignment":{"endpoints":[1]}}`)
	want := `cluster c
  ~ connect_timeout: "1s" -> "2s"
  - gone: {"x":true}
  ~ list[1]: 2 -> 3
  + list[2]: 4
  + load_assignment: {"endpoints":[1]}
`
	if got := text(t, Compare(a, b)); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if got := show(strings.Repeat("x", 3*maxValue)); len(got) > maxValue+3 {
		t.Errorf("a long value shows as %d bytes", len(got))
	}
}

// TestShadowed tells which second route the first one makes unreachable.
func TestShadowed(t *testing.T) {
	header := &conf.HeaderMatcher{Name: "x", Kind: conf.MatchExact, Value: "1"}
	other := &conf.HeaderMatcher{Name: "y", Kind: conf.MatchExact, Value: "1"}
	same := &conf.HeaderMatcher{Name: "x", Kind: conf.MatchExact, Value: "1"}
	type match = conf.RouteMatch
	for _, c := range []struct {
		name string
		a, b match
		want bool
	}{
		{"everything before a prefix", match{Path: "/"}, match{Path: "/a"}, true},
		{"a prefix before everything", match{Path: "/a"}, match{Path: "/"}, false},
		{"the same twice", match{Path: "/a"}, match{Path: "/a"}, true},
		{"a prefix before an exact path below it", match{Path: "/a"}, match{Kind: conf.PathExact, Path: "/a/b"}, true},
		{"a prefix that is not one of segments", match{Path: "/a"}, match{Kind: conf.PathExact, Path: "/ab"}, true},
		{"segments are not a prefix of text", match{Kind: conf.PathSeparatedPrefix, Path: "/a"}, match{Kind: conf.PathExact, Path: "/ab"}, false},
		{"segments before the same prefix", match{Kind: conf.PathSeparatedPrefix, Path: "/a"}, match{Path: "/a"}, false},
		{"segments before a prefix inside", match{Kind: conf.PathSeparatedPrefix, Path: "/a"}, match{Path: "/a/"}, true},
		{"an exact path before its prefix", match{Kind: conf.PathExact, Path: "/a"}, match{Path: "/a"}, false},
		{"any case before one", match{Path: "/A", CaseInsensitive: true}, match{Path: "/ab"}, true},
		{"one case before any", match{Path: "/a"}, match{Path: "/ab", CaseInsensitive: true}, false},
		{"a condition more in the first", match{Path: "/", Headers: []*conf.HeaderMatcher{header}}, match{Path: "/a"}, false},
		{"a condition more in the second", match{Path: "/"}, match{Path: "/a", Headers: []*conf.HeaderMatcher{header}}, true},
		{"the same condition and one more", match{Path: "/", Headers: []*conf.HeaderMatcher{header}}, match{Path: "/a", Headers: []*conf.HeaderMatcher{other, same}}, true},
		{"another condition", match{Path: "/", Headers: []*conf.HeaderMatcher{header}}, match{Path: "/a", Headers: []*conf.HeaderMatcher{other}}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			routes := []*conf.Route{{Match: c.a}, {Match: c.b}}
			if got := shadowedBy(routes, 1) != nil; got != c.want {
				t.Errorf("shadowed: %v, want %v", got, c.want)
			}
		})
	}
}

func TestShadowedOnlyToldWhenNew(t *testing.T) {
	a := bootstrap([]*conf.Route{prefix("/"), prefix("/a")})
	b := bootstrap([]*conf.Route{prefix("/"), prefix("/a"), prefix("/b")})
	got := text(t, Compare(a, b))
	if strings.Contains(got, `route "/a" (prefix "/a") to cluster c is never`) || !strings.Contains(got, `! route "/b" (prefix "/b") to cluster c is never chosen: route "/" `) {
		t.Errorf("got\n%s", got)
	}
}
