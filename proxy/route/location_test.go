package route

import (
	"testing"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

func TestRedirectLocation(t *testing.T) {
	type r = conf.RedirectAction
	const host = "http://a.example"
	for _, row := range []struct {
		rule, authority, target string
		r                       r
		want                    string
	}{
		{"RT-60 path_redirect keeps the query", "a.example", "/old?bar=1", r{Path: "/new-1"}, host + "/new-1?bar=1"},
		{"RT-60 strip_query", "a.example", "/old?bar=1", r{Path: "/new-2", StripQuery: true}, host + "/new-2"},
		{"RT-60 the query of path_redirect is not stripped", "a.example", "/old?bar=1", r{Path: "/new-3?foo=1", StripQuery: true}, host + "/new-3?foo=1"},
		{"RT-60 the query of path_redirect replaces", "a.example", "/old?bar=1", r{Path: "/new-3?foo=1"}, host + "/new-3?foo=1"},
		{"RT-60 nothing to change but the host", "a.example", "/old?bar=1", r{Host: "b.example"}, "http://b.example/old?bar=1"},
		{"RT-60 strip_query alone", "a.example", "/old?bar=1", r{Host: "b.example", StripQuery: true}, "http://b.example/old"},
		{"RT-60 a path gets its slash", "a.example", "/old", r{Path: "new"}, host + "/new"},
		{"RT-60 prefix_rewrite", "a.example", "/old/x?y", r{PrefixRewrite: "/new", HasPrefix: true}, host + "/new/x?y"},
		{"RT-60 prefix_rewrite to nothing", "a.example", "/old/x?y", r{HasPrefix: true}, host + "/x?y"},
		{"RT-60 prefix_rewrite to nothing, nothing left", "a.example", "/old?y", r{HasPrefix: true}, host + "/?y"},
		{"RT-60 prefix_rewrite without slash", "a.example", "/old/x", r{PrefixRewrite: "new", HasPrefix: true}, host + "/new/x"},
		{"RT-60 https_redirect", "a.example", "/old", r{HTTPS: true}, "https://a.example/old"},
		{"RT-60 scheme_redirect", "a.example", "/old", r{Scheme: "ftp"}, "ftp://a.example/old"},
		{"RT-60 host and port", "a.example:81", "/old", r{Host: "b.example", Port: 8080}, "http://b.example:8080/old"},
		{"RT-61 host_redirect brings its own port", "a.example:81", "/old", r{Host: "b.example:99"}, "http://b.example:99/old"},
		{"RT-61 https_redirect drops the old default port", "h:80", "/old", r{HTTPS: true}, "https://h/old"},
		{"RT-61 https_redirect keeps another port", "h:8080", "/old", r{HTTPS: true}, "https://h:8080/old"},
		{"RT-61 port_redirect replaces the port", "h:8080", "/old", r{HTTPS: true, Port: 8443}, "https://h:8443/old"},
		{"RT-61 port_redirect adds a port", "h", "/old", r{Port: 8443}, "http://h:8443/old"},
		{"RT-61 the port stays when the scheme does", "h:80", "/old", r{Path: "/new"}, "http://h:80/new"},
		{"RT-61 IPv6 without port", "[::1]", "/old", r{Port: 81}, "http://[::1]:81/old"},
		{"RT-61 IPv6 with the default port", "[::1]:80", "/old", r{HTTPS: true}, "https://[::1]/old"},
	} {
		t.Run(row.rule, func(t *testing.T) {
			route := &conf.Route{Match: prefix("/old"), Redirect: &row.r}
			h := request(t, "GET "+row.target, "host: "+row.authority, "x-forwarded-proto: http")
			h.SetScheme("http")
			res := mustCompile(t, oneHost(route)).Match(&Input{Head: h})
			if res.Kind != Redirect {
				t.Fatalf("got %v", res.Kind)
			}
			got, status := res.AppendLocation([]byte("kept "), h, []byte("http"), nil)
			if string(got) != "kept "+row.want || status != 301 {
				t.Errorf("got %d to %s, want %s", status, got, row.want)
			}
		})
	}
}

func TestRT61DefaultPortIsJudgedByForwardedProto(t *testing.T) {
	for _, row := range []struct{ authority, scheme, proto, redirect, want string }{
		{"h:443", "https", "https", "http", "http://h/old"},
		{"h:80", "http", "https", "http", "http://h:80/old"},    // an http URL served over TLS
		{"h:80", "https", "http", "https", "https://h/old"},     // :scheme and x-forwarded-proto differ
		{"h:443", "http", "http", "https", "https://h:443/old"}, // 443 was not http's default
		{"h:443", "https", "HTTPS", "https", "https://h:443/old"},
	} {
		h := request(t, "GET /old", "host: "+row.authority)
		h.SetScheme(row.scheme)
		res := mustCompile(t, oneHost(&conf.Route{Match: prefix("/"), Redirect: &conf.RedirectAction{Scheme: row.redirect}})).Match(&Input{Head: h})
		if got, _ := res.AppendLocation(nil, h, []byte(row.proto), nil); string(got) != row.want {
			t.Errorf("%+v: got %s", row, got)
		}
	}
}

func TestRT60SchemeOfTheRequest(t *testing.T) {
	h := request(t, "GET /old")
	res := mustCompile(t, oneHost(&conf.Route{Match: prefix("/"), Redirect: &conf.RedirectAction{Path: "/new"}})).Match(&Input{Head: h})
	if got, _ := res.AppendLocation(nil, h, []byte("https"), nil); string(got) != "https://a.example/new" {
		t.Errorf("without :scheme: got %s", got)
	}
}

func TestRedirectStatus(t *testing.T) {
	for _, status := range []uint16{301, 302, 303, 307, 308} {
		h := request(t, "GET /")
		res := mustCompile(t, oneHost(&conf.Route{Match: prefix("/"), Redirect: &conf.RedirectAction{Path: "/x", StatusCode: status}})).Match(&Input{Head: h})
		if _, got := res.AppendLocation(nil, h, nil, nil); got != status {
			t.Errorf("got %d, want %d", got, status)
		}
	}
	for _, row := range []struct {
		r    conf.RedirectAction
		want string
	}{
		{conf.RedirectAction{StatusCode: 304}, "redirect.response_code: 304"},
		{conf.RedirectAction{HTTPS: true, Scheme: "http"}, "redirect.scheme_rewrite_specifier"},
		{conf.RedirectAction{Path: "/x", HasPrefix: true, PrefixRewrite: "/y"}, "redirect.path_rewrite_specifier"},
		{conf.RedirectAction{Path: "/x y"}, "redirect.path_redirect"},
		{conf.RedirectAction{Host: "a\r\nb"}, "redirect.host_redirect"},
	} {
		refused(t, oneHost(&conf.Route{Match: prefix("/"), Redirect: &row.r}), row.want)
	}
}

func TestDirectResponse(t *testing.T) {
	direct := func(status uint16, size, limit int) *conf.RouteConfiguration {
		c := oneHost(&conf.Route{Match: prefix("/"), Direct: &conf.DirectResponse{Status: status, Body: make([]byte, size)}})
		c.MaxDirectResponseBodyBytes = limit
		return c
	}
	for _, row := range []struct {
		rule   string
		status uint16
		size   int
		limit  int
		want   string // part of the error; empty for none
	}{
		{"RT-62 the lowest status", 200, 0, 4096, ""},
		{"RT-62 the highest status", 599, 0, 4096, ""},
		{"RT-62 a status too low", 199, 0, 4096, "direct_response.status: 199"},
		{"RT-62 a status too high", 600, 0, 4096, "direct_response.status: 600"},
		{"RT-62 4096 bytes are accepted", 200, 4096, 4096, ""},
		{"RT-62 4097 bytes are not", 200, 4097, 4096, "direct_response.body: 4097 bytes"},
		{"RT-62 the default limit", 200, 4097, 0, "direct_response.body: 4097 bytes"},
		{"RT-67 the override lifts the limit", 200, 5000, 5000, ""},
		{"RT-67 the override lowers the limit", 200, 11, 10, "direct_response.body: 11 bytes"},
	} {
		t.Run(row.rule, func(t *testing.T) {
			c := direct(row.status, row.size, row.limit)
			if row.want != "" {
				refused(t, c, "virtual_hosts[0].routes[0]."+row.want)
				return
			}
			res := mustCompile(t, c).Match(&Input{Head: request(t, "GET /")})
			if d := res.Route.Config.Direct; res.Kind != Direct || d.Status != row.status || len(d.Body) != row.size {
				t.Errorf("got %v %+v", res.Kind, d)
			}
		})
	}
}
