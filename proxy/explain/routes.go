package explain

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// listener compares two listeners of one name: their fields, and in words the routes of their filter
// chains.
func (r *Report) listener(a, b *conf.Listener) {
	if len(a.Raw) > 0 && bytes.Equal(a.Raw, b.Raw) && a.SourcesDigest == b.SourcesDigest {
		return
	}
	r.fields(1, a.Raw, b.Raw, isRoutes)
	if a.SourcesDigest != b.SourcesDigest {
		r.add(1, Changed, "the files or environment variables it takes bodies and formats from")
	}
	x, y := tables(a), tables(b)
	for i, t := range y {
		if i < len(x) {
			r.routes(x[i], t)
		} else {
			r.routes(&conf.RouteConfiguration{}, t)
		}
	}
}

// isRoutes says whether a field of a listener belongs to what routes tells in words.
func isRoutes(path string) bool { return strings.HasSuffix(path, ".virtual_hosts") }

// tables returns the route tables of a listener's filter chains, those of scopes among them.
func tables(l *conf.Listener) []*conf.RouteConfiguration {
	var out []*conf.RouteConfiguration
	for _, c := range l.Chains() {
		if c.HTTP == nil {
			continue
		}
		for _, t := range c.HTTP.RouteTables() {
			if t != nil {
				out = append(out, t)
			}
		}
	}
	return out
}

func (r *Report) routes(a, b *conf.RouteConfiguration) {
	name := func(v *conf.VirtualHost) string { return v.Name }
	pairs(a.VirtualHosts, b.VirtualHosts, name, func(x, y *conf.VirtualHost) {
		switch {
		case x == nil:
			r.add(1, Added, "virtual host %q for %s with %s", y.Name, strings.Join(y.Domains, ", "), count(len(y.Routes), "route"))
			r.shadows(2, nil, y.Routes)
		case y == nil:
			r.add(1, Removed, "virtual host %q for %s with %s", x.Name, strings.Join(x.Domains, ", "), count(len(x.Routes), "route"))
		default:
			r.under(1, "virtual host "+strconv.Quote(y.Name), func() { r.virtualHost(x, y) })
		}
	})
}

func (r *Report) virtualHost(a, b *conf.VirtualHost) {
	pairs(texts(a.Domains), texts(b.Domains), func(s *string) string { return *s }, func(x, y *string) {
		switch {
		case x == nil:
			r.add(2, Added, "domain %s", *y)
		case y == nil:
			r.add(2, Removed, "domain %s", *x)
		}
	})
	x, y := *a, *b
	x.Domains, x.Routes, y.Domains, y.Routes = nil, nil, nil, nil
	r.structs(2, "", reflect.ValueOf(x), reflect.ValueOf(y))
	before, after := keyed(a.Routes), keyed(b.Routes)
	still := inOrder(before, after)
	position := make(map[string]int, len(before))
	for i, k := range before {
		position[k.key] = i
	}
	pairs(before, after, func(k *keyedRoute) string { return k.key }, func(x, y *keyedRoute) {
		switch {
		case x == nil:
			r.add(2, Added, "%s", routeText(y.route))
		case y == nil:
			r.add(2, Removed, "%s", routeText(x.route))
		default:
			if !still[y.key] {
				r.add(2, Moved, "%s: from position %d to %d", routeText(y.route), position[y.key]+1, y.at+1)
			}
			at := len(r.Changes)
			r.structs(3, "", reflect.ValueOf(x.route).Elem(), reflect.ValueOf(y.route).Elem())
			if len(r.Changes) > at {
				r.Changes = slices.Insert(r.Changes, at, Change{Depth: 2, Mark: Changed, Text: routeText(y.route)})
			}
		}
	})
	r.shadows(2, a.Routes, b.Routes)
}

// shadows adds the routes that can never be chosen, but not those of before, where that was so already.
func (r *Report) shadows(depth int, before, routes []*conf.Route) {
	known := make(map[string]bool)
	for i, k := range keyed(before) {
		if s := shadowedBy(before, i); s != nil {
			known[k.key+"\n"+matchText(&s.Match)] = true
		}
	}
	for i, k := range keyed(routes) {
		if s := shadowedBy(routes, i); s != nil && !known[k.key+"\n"+matchText(&s.Match)] {
			r.add(depth, Shadowed, "%s is never chosen: %s before it takes every such request", routeText(k.route), routeText(s))
		}
	}
}

// keyedRoute is a route at its place with what tells it apart from others of its virtual host.
type keyedRoute struct {
	key   string
	route *conf.Route
	at    int
}

func keyed(routes []*conf.Route) []*keyedRoute {
	out := make([]*keyedRoute, len(routes))
	seen := make(map[string]int)
	for i, r := range routes {
		key := "name " + r.Name
		if r.Name == "" {
			m, _ := json.Marshal(r.Match)
			key = string(m)
		}
		seen[key]++
		out[i] = &keyedRoute{key: key + " " + strconv.Itoa(seen[key]), route: r, at: i}
	}
	return out
}

// inOrder returns the keys of a longest run of routes that both lists have in the same order: the others
// that both have were moved.
func inOrder(a, b []*keyedRoute) map[string]bool {
	place := make(map[string]int, len(a))
	for i, k := range a {
		place[k.key] = i
	}
	var common []*keyedRoute
	for _, k := range b {
		if _, ok := place[k.key]; ok {
			common = append(common, k)
		}
	}
	// Patience sorting: tails[n] is the end of the run of n+1 routes that ends earliest in a.
	tails, previous := []int{}, make([]int, len(common))
	for i, k := range common {
		n, _ := slices.BinarySearchFunc(tails, place[k.key], func(t, p int) int { return place[common[t].key] - p })
		previous[i] = -1
		if n > 0 {
			previous[i] = tails[n-1]
		}
		if n == len(tails) {
			tails = append(tails, i)
		} else {
			tails[n] = i
		}
	}
	out := make(map[string]bool, len(tails))
	if len(tails) > 0 {
		for i := tails[len(tails)-1]; i >= 0; i = previous[i] {
			out[common[i].key] = true
		}
	}
	return out
}

func texts(list []string) []*string {
	out := make([]*string, len(list))
	for i := range list {
		out[i] = &list[i]
	}
	return out
}
