package route

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/proxy/conf"
)

// naive is the definition the index is checked against: the first route in order whose conditions hold.
func naive(routes []*conf.Route, target string, fields map[string]string) int {
	path, _, _ := strings.Cut(target, "?")
	for i, r := range routes {
		p, literal := path, r.Match.Path
		if r.Match.CaseInsensitive {
			p, literal = strings.ToLower(p), strings.ToLower(literal)
		}
		ok := false
		switch r.Match.Kind {
		case conf.PathPrefix:
			ok = strings.HasPrefix(p, literal)
		case conf.PathExact:
			ok = p == literal
		case conf.PathSeparatedPrefix:
			ok = p == literal || strings.HasPrefix(p, literal+"/")
		}
		for _, h := range r.Match.Headers {
			ok = ok && naiveHeader(h, fields)
		}
		for _, q := range r.Match.QueryParameters {
			_, query, _ := strings.Cut(target, "?")
			ok = ok && query == q.Name
		}
		if ok {
			return i
		}
	}
	return -1
}

// naiveHeader is RT-46 to RT-48 for the matchers drawn below.
func naiveHeader(h *conf.HeaderMatcher, fields map[string]string) bool {
	v, there := fields[h.Name]
	switch {
	case h.Kind == conf.MatchPresent:
		return there != h.Invert
	case h.Kind == conf.MatchAbsent:
		return there == h.Invert
	case !there && !h.TreatMissingAsEmpty:
		return false
	}
	same := v == h.Value || h.IgnoreCase && strings.EqualFold(v, h.Value)
	return same != h.Invert
}

// drawHeader draws a matcher: some need their field, some hold without it.
func drawHeader(t *rapid.T) *conf.HeaderMatcher {
	h := &conf.HeaderMatcher{
		Name:   rapid.SampledFrom([]string{"x-1", "x-2", "accept"}).Draw(t, "header"),
		Kind:   rapid.SampledFrom([]conf.StringMatchKind{conf.MatchPresent, conf.MatchAbsent, conf.MatchExact}).Draw(t, "matcher"),
		Invert: rapid.IntRange(0, 3).Draw(t, "inverted") == 0,
	}
	if h.Kind == conf.MatchExact {
		h.Value = rapid.SampledFrom([]string{"", "v", "w", "v,", "V"}).Draw(t, "wanted")
		h.IgnoreCase = rapid.IntRange(0, 3).Draw(t, "any case") == 0
		h.TreatMissingAsEmpty = rapid.IntRange(0, 3).Draw(t, "missing as empty") == 0
	}
	return h
}

// TestRT40IndexAgreesWithFirstMatch: over random tables whose literals share prefixes, the index finds
// the route a loop over the list finds.
func TestRT40IndexAgreesWithFirstMatch(t *testing.T) {
	paths := rapid.StringMatching(`/[aAb/]{0,6}`)
	rapid.Check(t, func(t *rapid.T) {
		var routes []*conf.Route
		for i := range rapid.IntRange(0, 24).Draw(t, "routes") {
			m := conf.RouteMatch{
				Kind: conf.PathKind(rapid.IntRange(0, 2).Draw(t, "kind")), Path: paths.Draw(t, "literal"),
				CaseInsensitive: rapid.Bool().Draw(t, "folded"),
			}
			if m.Kind == conf.PathSeparatedPrefix {
				m.Path = strings.TrimRight(m.Path, "/") + "b"
				if len(m.Path) < 2 {
					m.Path = "/b"
				}
			}
			for range max(0, rapid.IntRange(-2, 2).Draw(t, "guards")) {
				m.Headers = append(m.Headers, drawHeader(t))
			}
			if rapid.IntRange(0, 4).Draw(t, "queried") == 0 {
				m.QueryParameters = []*conf.QueryMatcher{{Name: "q", Kind: conf.MatchPresent}}
			}
			routes = append(routes, forward(fmt.Sprint(i), m))
		}
		table, err := Compile(oneHost(routes...), Options{})
		if err != nil {
			t.Fatal(err)
		}
		for range 8 {
			target := paths.Draw(t, "path") + rapid.SampledFrom([]string{"", "?q", "?r"}).Draw(t, "query")
			present := map[string]string{}
			h := new(header.Head)
			h.Reset(nil)
			h.SetPath([]byte(target))
			for _, name := range []string{"x-1", "x-2", "accept"} {
				if v := rapid.SampledFrom([]string{"", "v", "w", "none"}).Draw(t, name); v != "none" {
					h.AddString(header.Lookup([]byte(name)), name, v)
					if rapid.IntRange(0, 4).Draw(t, "twice") == 0 { // RT-46
						h.AddString(header.Lookup([]byte(name)), name, "")
						v += ","
					}
					present[name] = v
				}
			}
			got := -1
			if res := table.Match(&Input{Head: h}); res.Route != nil {
				fmt.Sscan(res.Route.Config.Name, &got)
			}
			if want := naive(routes, target, present); got != want {
				t.Fatalf("%s %v: index says %d, the list says %d", target, present, got, want)
			}
		}
	})
}

// Each route needs a field of its own, and there are more such fields than an index keeps.
func TestRT40ManyNeededFields(t *testing.T) {
	const size = maxNeeded + 40
	var routes []*conf.Route
	for i := range size {
		m := conf.RouteMatch{Path: "/", Headers: []*conf.HeaderMatcher{{Name: fmt.Sprintf("x-%d", i), Kind: conf.MatchPresent}}}
		routes = append(routes, forward(fmt.Sprint(i), m))
	}
	table, err := Compile(oneHost(append(routes, forward("rest", prefix("/")))...), Options{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range size + 1 {
		want := fmt.Sprint(i)
		if i == size {
			want = "rest"
		}
		h := new(header.Head)
		h.Reset(nil)
		h.SetPath([]byte("/"))
		h.AddString(header.Unknown, fmt.Sprintf("x-%d", i), "")
		if got := table.Match(&Input{Head: h}).Route.Config.Name; got != want {
			t.Errorf("with x-%d: route %s", i, got)
		}
	}
}

// TestRT20HostIndexAgreesWithSearch checks the host index against a search over all domains.
func TestRT20HostIndexAgreesWithSearch(t *testing.T) {
	domain := rapid.StringMatching(`\*?[abA.]{1,4}|[abA.]{1,4}\*|\*`)
	rapid.Check(t, func(t *rapid.T) {
		domains := rapid.SliceOfNDistinct(domain, 1, 12, strings.ToLower).Draw(t, "domains")
		table, err := Compile(hosts(domains...), Options{})
		if err != nil {
			t.Fatal(err)
		}
		host := rapid.StringMatching(`[abB.]{1,6}`).Draw(t, "host")
		h := new(header.Head)
		h.Reset(nil)
		h.SetAuthority([]byte(host))
		got := ""
		if res := table.Match(&Input{Head: h}); res.VirtualHost != nil {
			got = res.VirtualHost.Config.Name
		}
		if want := searchHost(domains, strings.ToLower(host)); got != want {
			t.Fatalf("%s: index says %q, the search says %q", host, got, want)
		}
	})
}

func searchHost(domains []string, host string) string {
	best, rank := "", 0
	for _, d := range domains {
		low, r := strings.ToLower(d), 0
		switch {
		case low == "*":
			r = 1
		case strings.HasPrefix(low, "*"):
			if strings.HasSuffix(host, low[1:]) && len(host) > len(low)-1 {
				r = 2000 + len(low)
			}
		case strings.HasSuffix(low, "*"):
			if strings.HasPrefix(host, low[:len(low)-1]) && len(host) > len(low)-1 {
				r = 1000 + len(low)
			}
		case low == host:
			r = 3000
		}
		if r > rank {
			best, rank = d, r
		}
	}
	return best
}
