package e2e

import (
	"strings"
	"sync"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// byPath is an origin whose answers depend on the path, in turn where there are several; 200 elsewhere.
func byPath(t testing.TB, answers map[string][]string) *harness.Recorder {
	var mu sync.Mutex
	n := map[string]int{}
	return harness.NewRecorder(t, func(m *harness.Message) string {
		mu.Lock()
		defer mu.Unlock()
		path, _, _ := strings.Cut(m.Path(), "?")
		list := answers[path]
		if len(list) == 0 {
			return answered(200)
		}
		at := min(n[path], len(list)-1)
		n[path]++
		return list[at]
	})
}

// paths are the targets the origin saw.
func paths(o *harness.Recorder) string {
	var out []string
	for _, m := range o.Seen() {
		out = append(out, m.Path())
	}
	return strings.Join(out, " ")
}

const redirectPredicate = "type.googleapis.com/envoy.extensions.internal_redirect."

// RT-81, ROUTER-65: what a redirect must be to be followed; what is not goes to the client, and is counted.
func TestROUTER65WhichRedirectsAreFollowed(t *testing.T) {
	to := func(target string) string { return answered(302, "Location: http://"+target) }
	answers := map[string][]string{
		"/once": {to("h/200")}, "/twice": {to("h/once")}, "/none": {to("nowhere.test/")}, "/secure": {answered(302, "Location: https://h/200")},
		"/other": {answered(307, "Location: http://h/200")}, "/bare": {answered(302)}, "/bad": {answered(302, "Location: http://h:x/")},
		"/loop": {to("h/listed")}, "/listed": {to("h/loop")},
	}
	previous := `{ name: p, typed_config: { "@type": ` + redirectPredicate + `previous_routes.v3.PreviousRoutesConfig } }`
	allowed := `{ name: p, typed_config: { "@type": ` + redirectPredicate + `allow_listed_routes.v3.AllowListedRoutesConfig, allowed_route_names: [listed] } }`
	safe := `{ name: p, typed_config: { "@type": ` + redirectPredicate + `safe_cross_scheme.v3.SafeCrossSchemeConfig } }`
	for _, row := range []struct {
		title, policy, path string
		fields              []string
		status              int
		seen, passed        string // passed: the counter of why it was not followed
	}{
		{"no policy", "-", "/once", nil, 302, "/once", ""},
		{"the default", "{}", "/once", nil, 200, "/once /200", ""},
		{"another code", "{}", "/other", nil, 307, "/other", ""},
		{"a listed code", "{ redirect_response_codes: [307] }", "/other", nil, 200, "/other /200", ""},
		{"a code that is not listed", "{ redirect_response_codes: [307] }", "/once", nil, 302, "/once", ""},
		{"without a location", "{}", "/bare", nil, 302, "/bare", "bad_location"},
		{"a location that is none", "{}", "/bad", nil, 302, "/bad", "bad_location"},
		{"one is the most", "{}", "/twice", nil, 302, "/twice /once", "too_many_redirects"},
		{"two may be", "{ max_internal_redirects: 2 }", "/twice", nil, 200, "/twice /once /200", ""},
		{"another scheme", "{}", "/secure", nil, 302, "/secure", "unsafe_scheme"},
		{"another scheme that may be", "{ allow_cross_scheme_redirect: true }", "/secure", nil, 200, "/secure /200", ""},
		{"a scheme that is safer", "{ allow_cross_scheme_redirect: true, predicates: [" + safe + "] }", "/secure", nil, 302, "/secure", "predicate"},
		{"less safe a scheme", "{ allow_cross_scheme_redirect: true, predicates: [" + safe + "] }", "/once", []string{"x-forwarded-proto: https"}, 200, "/once /200", ""},
		{"no route", "{}", "/none", nil, 302, "/none", "no_route"},
		{"a route that is not listed", "{ predicates: [" + allowed + "] }", "/once", nil, 302, "/once", "predicate"},
		{"a listed route", "{ predicates: [" + allowed + "] }", "/loop", nil, 302, "/loop /listed", "too_many_redirects"},
		{"a way that was taken before", "{ max_internal_redirects: 9, predicates: [" + previous + "] }", "/loop", nil, 302, "/loop /listed /loop", "predicate"},
	} {
		t.Run(row.title, func(t *testing.T) {
			harness.NoLeaks(t)
			o := byPath(t, answers)
			top := retrying("", o)
			top.Manager = "use_remote_address: false\ninternal_address_config: { cidr_ranges: [{ address_prefix: 127.0.0.0, prefix_len: 8 }] }"
			policy := "internal_redirect_policy: " + row.policy
			if row.policy == "-" {
				policy = "timeout: 15s"
			}
			top.VirtualHosts = "- name: all\n  domains: [h]\n  routes:\n  - { match: { path: /listed }, name: listed, route: { cluster: origin, " + policy + " } }\n" +
				"  - { match: { prefix: / }, name: rest, route: { cluster: origin, " + policy + " } }\n"
			p := harness.Start(t, top)
			if m := ask(t, p, "h", row.path, row.fields...); m.Status() != row.status {
				t.Errorf("got %s", m.Head())
			}
			if got := paths(o); got != row.seen {
				t.Errorf("the origin saw %s, want %s", got, row.seen)
			}
			want := harness.Stats{onOrigin + "upstream_internal_redirect_succeeded_total": int64(strings.Count(row.seen, " ")), onOrigin + "upstream_internal_redirect_failed_total": 0}
			for _, why := range []string{"bad_location", "too_many_redirects", "unsafe_scheme", "no_route", "predicate"} {
				want[inHTTP+"passthrough_internal_redirect_"+why] = 0
			}
			if row.passed != "" {
				want[onOrigin+"upstream_internal_redirect_failed_total"] = 1
				want[inHTTP+"passthrough_internal_redirect_"+row.passed] = 1
			}
			p.WantStats(want)
		})
	}
}

// ROUTER-65: a redirect is passed on while the request is not complete, and when its body was not kept.
func TestROUTER65TheWholeRequestIsNeeded(t *testing.T) {
	harness.NoLeaks(t)
	raw := harness.NewRaw(t, func(c *harness.Peer) {
		for c.ReadHead() != "" {
			c.Send(answered(302, "Location: http://h/b"))
		}
	})
	o := inTurn(t, answered(302, "Location: http://h/b"))
	top := retrying("", o)
	top.Clusters = append(top.Clusters, harness.Cluster{Name: "early", Origins: []harness.Origin{raw}})
	top.VirtualHost = "request_body_buffer_limit: 10"
	top.Routes = "- { match: { path: /early }, route: { cluster: early, internal_redirect_policy: {} } }\n- { match: { prefix: / }, route: { cluster: origin, internal_redirect_policy: {} } }"
	p := harness.Start(t, top)
	c := p.Dial().Send("POST /early HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nab")
	if r := c.Read("POST"); r.Status != 302 {
		t.Errorf("got %v", r)
	}
	c.Close()
	w := harness.DialWire(t, "tcp", p.Addr)
	if m := w.Do("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 11\r\n\r\n01234567890"); m.Status() != 302 {
		t.Errorf("got %s", m.Head())
	}
	w.Close()
	p.WantStats(harness.Stats{
		"cluster.early.upstream_internal_redirect_failed_total": 1, onOrigin + "upstream_internal_redirect_failed_total": 1, onOrigin + "retry_or_shadow_abandoned": 1,
		inHTTP + "passthrough_internal_redirect_bad_location": 0, inHTTP + "passthrough_internal_redirect_no_route": 0,
	})
}

// A redirect leads to another route whole: what the first route says of retries and redirects ends with it.
func TestROUTER65TheNextRouteHasItsOwnPolicies(t *testing.T) {
	for _, row := range []struct {
		title, router, next string
		fails               int
		seen                string
	}{
		{"none", "suppress_envoy_headers: true", "", 503, "/a /b"},
		{"none, with headers of this proxy", "suppress_envoy_headers: false", "", 503, "/a /b"},
		{"its own", "suppress_envoy_headers: true", ", " + quick("retry_on: retriable-4xx, num_retries: 2"), 409, "/a /b /b /b"},
		{"not the first one's", "suppress_envoy_headers: true", ", " + quick("retry_on: retriable-4xx, num_retries: 2"), 503, "/a /b"},
	} {
		t.Run(row.title, func(t *testing.T) {
			harness.NoLeaks(t)
			o := byPath(t, map[string][]string{"/a": {answered(302, "Location: http://h/b")}, "/b": {answered(row.fails)}})
			top := retrying("", o)
			top.Routes = "- { match: { path: /a }, route: { cluster: origin, internal_redirect_policy: { max_internal_redirects: 5 }, " + quick("retry_on: 5xx, num_retries: 3") + " } }\n" +
				"- { match: { prefix: / }, route: { cluster: origin" + row.next + " } }"
			p := startRouter(t, top, row.router, o)
			ask(t, p, "h", "/a")
			if got := paths(o); got != row.seen {
				t.Errorf("the origin saw %s, want %s", got, row.seen)
			}
		})
	}
}

// ... and a redirect of the next route is not followed by the first one's policy.
func TestROUTER65TheNextRouteFollowsNoRedirects(t *testing.T) {
	harness.NoLeaks(t)
	o := byPath(t, map[string][]string{"/a": {answered(302, "Location: http://h/b")}, "/b": {answered(302, "Location: http://h/c")}})
	top := retrying("", o)
	top.Routes = "- { match: { path: /a }, route: { cluster: origin, internal_redirect_policy: { max_internal_redirects: 5 } } }\n- { match: { prefix: / }, route: { cluster: origin } }"
	p := startRouter(t, top, "suppress_envoy_headers: true", o)
	if m := ask(t, p, "h", "/a"); m.Status() != 302 || m.Get("location") != "http://h/c" {
		t.Errorf("got %s", m.Head())
	}
	if got := paths(o); got != "/a /b" {
		t.Errorf("the origin saw %s", got)
	}
}

// ... nor do the first one's deadlines count: here the second route's timeout ends the request.
func TestROUTER65TheNextRouteHasItsOwnDeadlines(t *testing.T) {
	harness.NoLeaks(t)
	raw := harness.NewRaw(t, func(c *harness.Peer) {
		for head := c.ReadHead(); head != ""; head = c.ReadHead() {
			if strings.HasPrefix(head, "GET /a ") {
				c.Send(answered(302, "Location: http://h/b"))
			}
		}
	})
	top := retrying("", raw)
	top.Routes = "- { match: { path: /a }, route: { cluster: origin, idle_timeout: 1s, max_stream_duration: { max_stream_duration: 1s }, internal_redirect_policy: {} } }\n- { match: { prefix: / }, route: { cluster: origin, timeout: 1.2s } }"
	p := harness.Start(t, top)
	p.Dial().Get("/a").Want(504, "upstream request timeout")
	p.WantLine("504 UT upstream_response_timeout")
}
