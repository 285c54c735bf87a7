package route

import (
	"strings"
	"testing"

	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/codec/http1"
	"github.com/sluiceproxy/sluice/proxy/conf"
)

// request parses "METHOD target" with the given "name: value" fields, as a listener would.
func request(t testing.TB, line string, fields ...string) *header.Head {
	t.Helper()
	text := line + " HTTP/1.1\r\n"
	hasHost := false
	for _, f := range fields {
		hasHost = hasHost || strings.HasPrefix(f, "host:")
		text += f + "\r\n"
	}
	if !hasHost {
		text += "host: a.example\r\n"
	}
	text += "\r\n"
	h := new(header.Head)
	o := http1.Options{MaxHeadBytes: 1 << 20, MaxFields: 100, AllowAbsoluteURL: true}
	if n, e := http1.ParseRequest([]byte(text), 0, &o, h); n != len(text) || e != 0 {
		t.Fatalf("ParseRequest(%q) = %d, %v", text, n, e)
	}
	return h
}

// forward is a route to the cluster that has its name.
func forward(name string, m conf.RouteMatch) *conf.Route {
	return &conf.Route{Name: name, Match: m, Action: conf.NewRouteAction(name)}
}

func prefix(p string) conf.RouteMatch { return conf.RouteMatch{Kind: conf.PathPrefix, Path: p} }
func exact(p string) conf.RouteMatch  { return conf.RouteMatch{Kind: conf.PathExact, Path: p} }
func separated(p string) conf.RouteMatch {
	return conf.RouteMatch{Kind: conf.PathSeparatedPrefix, Path: p}
}

// oneHost is a configuration with one virtual host for every name.
func oneHost(routes ...*conf.Route) *conf.RouteConfiguration {
	return &conf.RouteConfiguration{VirtualHosts: []*conf.VirtualHost{{Name: "all", Domains: []string{"*"}, Routes: routes}}}
}

func mustCompile(t testing.TB, c *conf.RouteConfiguration) *Table {
	t.Helper()
	table, err := Compile(c, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// found is Match for a request of nobody in particular.
func found(table *Table, h *header.Head) *Result {
	res := table.Match(&Input{Head: h})
	return &res
}

// routed returns the name of the matched route, or "-" for none.
func routed(table *Table, h *header.Head) string {
	res := table.Match(&Input{Head: h})
	if res.Route == nil {
		return "-"
	}
	return res.Route.Config.Name
}

// fields lists the live fields of a name, joined with "|"; "" when there are none.
func fields(h *header.Head, name string) string {
	var out []string
	for i := range h.Fields {
		if f := &h.Fields[i]; !f.Dead && strings.EqualFold(string(h.NameOf(f)), name) {
			out = append(out, string(h.Bytes(f.Value)))
		}
	}
	return strings.Join(out, "|")
}

// refused asserts that a configuration is rejected with an error that holds every part.
func refused(t *testing.T, c *conf.RouteConfiguration, parts ...string) {
	t.Helper()
	_, err := Compile(c, Options{})
	if err == nil {
		t.Fatalf("accepted; want an error with %q", parts)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("error %q lacks %q", err, p)
		}
	}
}
