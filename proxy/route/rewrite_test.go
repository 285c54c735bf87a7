package route

import (
	"strings"
	"testing"

	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/streaminfo"
)

// rewritten routes h to an action and rewrites it.
func rewritten(t *testing.T, m conf.RouteMatch, a conf.RouteAction, h *header.Head, o RewriteOptions) {
	t.Helper()
	a.Cluster, a.NotFoundStatus = "c", 503
	res := mustCompile(t, oneHost(&conf.Route{Match: m, Action: &a})).Match(&Input{Head: h})
	if res.Kind != Forward {
		t.Fatalf("not routed: %v", res.Kind)
	}
	res.RewriteRequest(h, o)
}

func TestHostRewrite(t *testing.T) {
	type a = conf.RouteAction
	for _, row := range []struct {
		rule           string
		a              a
		fields         []string
		o              RewriteOptions
		host           string // afterwards
		original, list string // x-envoy-original-host, x-forwarded-host
	}{
		{"7.4 none", a{}, nil, RewriteOptions{Hostname: "e.example"}, "a.example", "", ""},
		{"7.4 literal", a{HostRewriteLiteral: "new.example:81"}, nil, RewriteOptions{}, "new.example:81", "a.example", ""},
		{"7.4 auto_host_rewrite", a{AutoHostRewrite: true}, nil, RewriteOptions{Hostname: "e.example"}, "e.example", "a.example", ""},
		{"7.4 auto_host_rewrite, endpoint without name", a{AutoHostRewrite: true}, nil, RewriteOptions{}, "a.example", "", ""},
		{"7.4 header", a{HostRewriteHeader: "x-host"}, []string{"x-host: h.example", "x-host: second"}, RewriteOptions{}, "h.example", "a.example", ""},
		{"7.4 header missing", a{HostRewriteHeader: "x-host"}, nil, RewriteOptions{}, "a.example", "", ""},
		{"7.4 header empty", a{HostRewriteHeader: "x-host"}, []string{"x-host:"}, RewriteOptions{}, "a.example", "", ""},
		{"7.4 header that is no host", a{HostRewriteHeader: "x-host"}, []string{"x-host: a b/c"}, RewriteOptions{}, "a.example", "", ""},
		{"RT-83 suppress_envoy_headers", a{HostRewriteLiteral: "n"}, nil, RewriteOptions{SuppressEnvoyHeaders: true}, "n", "", ""},
		{"RT-83 an older x-envoy-original-host is replaced", a{HostRewriteLiteral: "n"}, []string{"x-envoy-original-host: x"}, RewriteOptions{}, "n", "a.example", ""},
		{"RT-83 x-forwarded-host", a{HostRewriteLiteral: "n", AppendXForwardedHost: true}, nil, RewriteOptions{}, "n", "a.example", "a.example"},
		{"RT-83 x-forwarded-host is appended to", a{HostRewriteLiteral: "n", AppendXForwardedHost: true}, []string{"x-forwarded-host: b"}, RewriteOptions{}, "n", "a.example", "b,a.example"},
		{"RT-83 its last element already", a{HostRewriteLiteral: "n", AppendXForwardedHost: true}, []string{"x-forwarded-host: b, a.example"}, RewriteOptions{}, "n", "a.example", "b, a.example"},
		{"RT-83 an earlier element does not count", a{HostRewriteLiteral: "n", AppendXForwardedHost: true}, []string{"x-forwarded-host: a.example,b"}, RewriteOptions{}, "n", "a.example", "a.example,b,a.example"},
		{"RT-83 several fields go on", a{HostRewriteLiteral: "n", AppendXForwardedHost: true}, []string{"x-forwarded-host: b", "x-forwarded-host: c"}, RewriteOptions{}, "n", "a.example", "b|c|a.example"},
		{"RT-83 several fields, last element already", a{HostRewriteLiteral: "n", AppendXForwardedHost: true}, []string{"x-forwarded-host: b", "x-forwarded-host: a.example"}, RewriteOptions{}, "n", "a.example", "b|a.example"},
		{"RT-83 not without a rewrite", a{AppendXForwardedHost: true}, nil, RewriteOptions{}, "a.example", "", ""},
	} {
		t.Run(row.rule, func(t *testing.T) {
			h := request(t, "GET /", row.fields...)
			rewritten(t, prefix("/"), row.a, h, row.o)
			if got := string(h.Bytes(h.Authority)); got != row.host {
				t.Errorf("host %q, want %q", got, row.host)
			}
			if got := fields(h, "x-envoy-original-host"); got != row.original {
				t.Errorf("x-envoy-original-host %q, want %q", got, row.original)
			}
			if got := fields(h, "x-forwarded-host"); got != row.list {
				t.Errorf("x-forwarded-host %q, want %q", got, row.list)
			}
		})
	}
}

func TestRT84RoutingIsNotRepeated(t *testing.T) {
	c := hosts("a.example", "b.example")
	c.VirtualHosts[0].Routes[0].Action.HostRewriteLiteral = "b.example"
	table := mustCompile(t, c)
	h := request(t, "GET /")
	res := table.Match(&Input{Head: h})
	res.RewriteRequest(h, RewriteOptions{})
	if res.VirtualHost.Config.Name != "a.example" || string(h.Bytes(h.Authority)) != "b.example" {
		t.Errorf("%s, host %s", res.VirtualHost.Config.Name, h.Bytes(h.Authority))
	}
}

func TestPathRewrite(t *testing.T) {
	folded := prefix("/PREFIX/")
	folded.CaseInsensitive = true
	long := "/prefix/" + strings.Repeat("x", 5000)
	for _, row := range []struct {
		rule, target, rewrite string
		match                 conf.RouteMatch
		want                  string
	}{
		{"RT-86 prefix", "/prefix/etc", "/", prefix("/prefix/"), "/etc"},
		{"RT-86 prefix without slash leaves the slash", "/prefix/etc", "/", prefix("/prefix"), "//etc"},
		{"RT-86 prefix alone", "/prefix", "/", prefix("/prefix"), "/"},
		{"RT-86 the query is kept", "/prefix/etc?a=/prefix/", "/", prefix("/prefix/"), "/etc?a=/prefix/"},
		{"RT-86 separated prefix", "/api/dev/v1?x", "/v2", separated("/api/dev"), "/v2/v1?x"},
		{"RT-86 separated prefix, itself", "/api/dev?x", "/v2", separated("/api/dev"), "/v2?x"},
		{"RT-86 the whole path", "/a/b?x=1", "/c", exact("/a/b"), "/c?x=1"},
		{"RT-86 in any letter case", "/prefix/etc", "/", folded, "/etc"},
		{"RT-86 a long path", long, "/new/", prefix("/prefix/"), "/new/" + long[len("/prefix/"):]},
	} {
		t.Run(row.rule, func(t *testing.T) {
			h := request(t, "GET "+row.target)
			rewritten(t, row.match, conf.RouteAction{PrefixRewrite: row.rewrite}, h, RewriteOptions{})
			if got := string(h.Bytes(h.Path)); got != row.want {
				t.Errorf("path %s, want %s", got, row.want)
			}
			if got := fields(h, "x-envoy-original-path"); got != row.target {
				t.Errorf("RT-88: x-envoy-original-path %q", got)
			}
		})
	}
}

func TestRT86AlreadyNormalisedPath(t *testing.T) {
	h := request(t, "GET /a/../prefix/etc")
	h.SetPath([]byte("/prefix/etc?q")) // owned by the head, not the received bytes
	rewritten(t, prefix("/prefix/"), conf.RouteAction{PrefixRewrite: "/new/"}, h, RewriteOptions{})
	if string(h.Bytes(h.Path)) != "/new/etc?q" || fields(h, "x-envoy-original-path") != "/prefix/etc?q" {
		t.Errorf("path %s, original %s", h.Bytes(h.Path), fields(h, "x-envoy-original-path"))
	}
}

func TestRT88OriginalPath(t *testing.T) {
	h := request(t, "GET /a", "x-envoy-original-path: /theirs")
	rewritten(t, prefix("/"), conf.RouteAction{}, h, RewriteOptions{})
	if got := fields(h, "x-envoy-original-path"); got != "/theirs" {
		t.Errorf("touched without a rewrite: %q", got)
	}
	rewritten(t, prefix("/"), conf.RouteAction{PrefixRewrite: "/b/"}, h, RewriteOptions{SuppressEnvoyHeaders: true})
	if got := fields(h, "x-envoy-original-path"); got != "/theirs" {
		t.Errorf("written though suppressed: %q", got)
	}
	rewritten(t, prefix("/"), conf.RouteAction{PrefixRewrite: "/c/"}, h, RewriteOptions{})
	if got := fields(h, "x-envoy-original-path"); got != "/b/a" {
		t.Errorf("not replaced: %q", got)
	}
}

func TestRewritesAreValidated(t *testing.T) {
	for _, row := range []struct {
		a    conf.RouteAction
		want string
	}{
		{conf.RouteAction{PrefixRewrite: "x"}, "route.prefix_rewrite"},
		{conf.RouteAction{PrefixRewrite: "/ HTTP/1.1\r\n"}, "route.prefix_rewrite"},
		{conf.RouteAction{HostRewriteLiteral: "a b"}, "route.host_rewrite_literal"},
		{conf.RouteAction{HostRewriteHeader: "X"}, "route.host_rewrite_header"},
		{conf.RouteAction{HostRewriteLiteral: "a", AutoHostRewrite: true}, "route.host_rewrite_specifier"},
	} {
		row.a.Cluster, row.a.NotFoundStatus = "c", 503
		refused(t, oneHost(&conf.Route{Match: prefix("/"), Action: &row.a}), row.want)
	}
}

func TestRT89HeadersComeBeforeTheHost(t *testing.T) {
	r := forward("r", prefix("/old/"))
	r.Action.HostRewriteHeader, r.Action.PrefixRewrite = "x-host", "/new/"
	r.Headers = conf.HeaderMutations{RequestAdd: []conf.HeaderValue{
		{Name: "x-host", Value: "of-%REQ(:authority)%", Action: conf.OverwriteIfExistsOrAdd}, {Name: "x-path", Value: "%REQ(:path)%"},
	}}
	h := request(t, "GET /old/a", "x-host: theirs.example")
	route := found(mustCompile(t, oneHost(r)), h)
	route.MutateRequest(h, &streaminfo.Info{Request: h}, nil)
	route.RewriteRequest(h, RewriteOptions{})
	if string(h.Bytes(h.Authority)) != "of-a.example" || string(h.Bytes(h.Path)) != "/new/a" || fields(h, "x-path") != "/old/a" {
		t.Errorf("host %s, path %s, x-path %s", h.Bytes(h.Authority), h.Bytes(h.Path), fields(h, "x-path"))
	}
}
