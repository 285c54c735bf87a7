package route

import (
	"fmt"
	"testing"

	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/proxy/conf"
)

// BenchmarkMatch measures one look-up in tables of 10 to 10,000 routes, half prefixes and half exact
// paths, with requests spread over all of them.
func BenchmarkMatch(b *testing.B) {
	for _, size := range []int{10, 100, 1000, 10_000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			var routes []*conf.Route
			for i := range size {
				m := prefix(fmt.Sprintf("/service-%05d/", i))
				if i%2 == 1 {
					m = exact(fmt.Sprintf("/service-%05d/items", i))
				}
				routes = append(routes, forward("r", m))
			}
			table := mustCompile(b, oneHost(routes...))
			heads := make([]*header.Head, 256)
			for i := range heads {
				heads[i] = request(b, fmt.Sprintf("GET /service-%05d/items?id=1", i*7919%size))
			}
			in := Input{}
			b.ResetTimer()
			for i := range b.N {
				in.Head = heads[i&255]
				if table.Match(&in).Route == nil {
					b.Fatal("no route")
				}
			}
		})
	}
}

// BenchmarkMatchHosts measures one look-up among many virtual hosts.
func BenchmarkMatchHosts(b *testing.B) {
	for _, size := range []int{10, 10_000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			var domains []string
			for i := range size {
				domains = append(domains, fmt.Sprintf("host-%05d.example.com", i), fmt.Sprintf("*.host-%05d.example.com", i))
			}
			table := mustCompile(b, hosts(domains...))
			in := Input{}
			heads := make([]*header.Head, 256)
			for i := range heads {
				heads[i] = request(b, "GET /", fmt.Sprintf("host: host-%05d.example.com", i*7919%size))
			}
			b.ResetTimer()
			for i := range b.N {
				in.Head = heads[i&255]
				if table.Match(&in).Route == nil {
					b.Fatal("no route")
				}
			}
		})
	}
}

// BenchmarkMatchTenants measures one look-up among routes of one path that a header field tells apart: with
// no such field, and with one whose value is that of the last route.
func BenchmarkMatchTenants(b *testing.B) {
	const size = 100
	var routes []*conf.Route
	for i := range size {
		m := prefix("/")
		m.Headers = []*conf.HeaderMatcher{{Name: "x-tenant", Value: fmt.Sprintf("tenant-%d", i)}}
		routes = append(routes, forward("r", m))
	}
	table := mustCompile(b, oneHost(append(routes, forward("rest", prefix("/")))...))
	for name, h := range map[string]*header.Head{
		"absent": request(b, "GET /items", "accept: */*", "x-other: 1"),
		"last":   request(b, "GET /items", "accept: */*", fmt.Sprintf("x-tenant: tenant-%d", size-1)),
	} {
		b.Run(name, func(b *testing.B) {
			in := Input{Head: h}
			b.ReportAllocs()
			for b.Loop() {
				if table.Match(&in).Route == nil {
					b.Fatal("no route")
				}
			}
		})
	}
}

// BenchmarkMatchKinds measures one look-up in a table of 1,000 routes of one kind, and 1,000 that are of
// other paths: what expressions cost, whose literal beginnings are indexed like prefixes.
func BenchmarkMatchKinds(b *testing.B) {
	for name, kind := range map[string]func(i int) conf.RouteMatch{
		"prefix": func(i int) conf.RouteMatch { return prefix(fmt.Sprintf("/service-%05d/", i)) },
		"regex": func(i int) conf.RouteMatch {
			return conf.RouteMatch{Kind: conf.PathRegex, Path: fmt.Sprintf("/service-%05d/[a-z]+", i)}
		},
		"template": func(i int) conf.RouteMatch {
			return conf.RouteMatch{Kind: conf.PathTemplate, Path: fmt.Sprintf("/service-%05d/{item}", i)}
		},
		// Nothing is known of where these begin: each is tried.
		"regex without a literal, 10 before": func(i int) conf.RouteMatch {
			if i < 10 {
				return conf.RouteMatch{Kind: conf.PathRegex, Path: fmt.Sprintf("/?other-%05d/[a-z]+", i)}
			}
			return prefix("/")
		},
	} {
		b.Run(name, func(b *testing.B) {
			var routes []*conf.Route
			for i := range 1000 {
				routes = append(routes, forward("r", kind(i)))
			}
			table := mustCompile(b, oneHost(routes...))
			heads := make([]*header.Head, 256)
			for i := range heads {
				heads[i] = request(b, fmt.Sprintf("GET /service-%05d/items?id=1", i*7919%1000))
			}
			in := Input{}
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				in.Head = heads[i&255]
				if table.Match(&in).Route == nil {
					b.Fatal("no route")
				}
			}
		})
	}
}
