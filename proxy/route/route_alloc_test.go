//go:build !race

package route

import (
	"strings"
	"testing"

	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/streaminfo"
)

// allocates asserts that f, run on a copy of h each time, does not allocate once warm.
func allocates(t *testing.T, name string, base *header.Head, f func(h *header.Head)) {
	t.Helper()
	h := new(header.Head)
	run := func() {
		h.Reset(base.Base())
		h.Path, h.Authority, h.MethodText, h.Scheme = base.Path, base.Authority, base.MethodText, base.Scheme
		for _, field := range base.Fields {
			h.Push(field.Name, field.Value, field.ID)
		}
		f(h)
	}
	run()
	if n := testing.AllocsPerRun(200, run); n != 0 {
		t.Errorf("%s: %v allocations", name, n)
	}
}

func TestMatchDoesNotAllocate(t *testing.T) {
	guarded := prefix("/api")
	guarded.Headers = []*conf.HeaderMatcher{
		{Name: "x-multi", Kind: conf.MatchExact, Value: "1,2"}, {Name: "user-agent", Kind: conf.MatchContains, Value: "CURL", IgnoreCase: true},
		{Name: "x-n", Kind: conf.MatchRange, Start: 0, End: 10}, {Name: "x-r", Kind: conf.MatchRegex, Value: "a+b"},
	}
	guarded.QueryParameters = []*conf.QueryMatcher{{Name: "q", Kind: conf.MatchExact, Value: "1"}}
	folded := prefix("/API")
	folded.CaseInsensitive = true
	c := hosts("a.example", "*.b.example", "c.*")
	for _, vh := range c.VirtualHosts {
		vh.Routes = []*conf.Route{forward("guarded", guarded), forward("folded", folded), forward("rest", prefix("/"))}
		vh.RequireTLS = conf.TLSExternalOnly
	}
	table := mustCompile(t, c)
	in := Input{Scratch: make([]byte, 0, 512)}
	for _, row := range []struct{ host, target, want string }{
		{"A.Example", "/api/x?q=1", "guarded"}, {"x.B.example", "/api/x?q=1", "guarded"}, {"c.example", "/api/x", "folded"}, {"c.example", "/x", "rest"},
	} {
		h := request(t, "GET "+row.target, "host: "+row.host, "x-forwarded-proto: https", "x-multi: 1", "x-multi: 2", "user-agent: curl/8", "x-n: 7", "x-r: aab")
		var res Result
		allocates(t, row.host+row.target, h, func(h *header.Head) {
			in.Head = h
			res = table.Match(&in)
		})
		if res.Route == nil || res.Route.Config.Name != row.want {
			t.Errorf("%s%s: got %+v, want %s", row.host, row.target, res, row.want)
		}
	}
}

func TestRewriteRequestDoesNotAllocate(t *testing.T) {
	r := forward("r", prefix("/old/"))
	r.Action.PrefixRewrite, r.Action.AutoHostRewrite, r.Action.AppendXForwardedHost = "/new/", true, true
	h := request(t, "GET /old/"+strings.Repeat("x", 900), "x-forwarded-host: first.example")
	route := found(mustCompile(t, oneHost(r)), h)
	hostname := strings.Repeat("long-host-name.", 8) + "example"
	allocates(t, "auto host and prefix", h, func(h *header.Head) { route.RewriteRequest(h, RewriteOptions{Hostname: hostname}) })
}

func TestAppendLocationDoesNotAllocate(t *testing.T) {
	h := request(t, "GET /old/x?q", "host: a.example:80")
	r := &conf.Route{Match: prefix("/old"), Redirect: &conf.RedirectAction{HTTPS: true, Host: strings.Repeat("long-host.", 8) + "example", PrefixRewrite: "new", HasPrefix: true}}
	res := mustCompile(t, oneHost(r)).Match(&Input{Head: h})
	dst := make([]byte, 0, 256)
	allocates(t, "redirect", h, func(h *header.Head) { res.AppendLocation(dst, h, []byte("http"), nil) })
}

func TestMutateRequestDoesNotAllocate(t *testing.T) {
	r := forward("r", prefix("/"))
	r.Headers = conf.HeaderMutations{
		RequestRemove: []string{"x-gone", "cookie"},
		RequestAdd: []conf.HeaderValue{
			{Name: "x-static", Value: strings.Repeat("static", 20)},
			{Name: "user-agent", Value: "mine", Action: conf.OverwriteIfExistsOrAdd},
			{Name: "x-dynamic", Value: "%REQ(:path)% %ROUTE_NAME% %RESPONSE_CODE%", Action: conf.OverwriteIfExistsOrAdd},
		},
	}
	r.Headers.ResponseAdd = r.Headers.RequestAdd
	c := oneHost(r)
	c.Headers = requestAdds(conf.HeaderValue{Name: "x-id", Value: "%REQ(x-request-id)%", Action: conf.AddIfAbsent})
	h := request(t, "GET /p", "x-gone: 1", "cookie: a=b", "user-agent: curl", "x-request-id: abc", "x-dynamic: old")
	route := found(mustCompile(t, c), h)
	info := streaminfo.Info{RouteName: "r"}
	scratch := make([]byte, 0, 512)
	allocates(t, "request", h, func(h *header.Head) {
		info.Request = h
		scratch = route.MutateRequest(h, &info, scratch)
	})
	allocates(t, "response", h, func(h *header.Head) {
		info.Response = h
		scratch = route.MutateResponse(h, &info, scratch)
	})
}
