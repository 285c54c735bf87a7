package envoy

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// TestOverlapsAreFound compares the check with its definition: two chains overlap when a combination
// of one value of each criterion belongs to both (TCP-84).
func TestOverlapsAreFound(t *testing.T) {
	some := func(t *rapid.T, label string, values []string) []string {
		return rapid.SliceOfNDistinct(rapid.SampledFrom(values), 0, len(values), rapid.ID[string]).Draw(t, label)
	}
	rapid.Check(t, func(t *rapid.T) {
		c := &compiler{errs: &errorList{}}
		var matches []chainMatch
		want := 0
		seen := map[[len(criteria)]string]bool{}
		for i := range rapid.IntRange(1, 5).Draw(t, "chains") {
			m := conf.FilterChainMatch{
				DestinationPort:      rapid.SampledFrom([]uint16{0, 80}).Draw(t, "port"),
				ServerNames:          some(t, "names", []string{"a", "b", "*.c"}),
				TransportProtocol:    rapid.SampledFrom([]string{"", "tls"}).Draw(t, "transport"),
				ApplicationProtocols: some(t, "protocols", []string{"h2", "http/1.1"}),
				SourceType:           rapid.SampledFrom([]conf.SourceType{conf.SourceAny, conf.SourceExternal}).Draw(t, "type"),
			}
			for _, text := range some(t, "sources", []string{"10.0.0.0/8", "10.1.0.0/16"}) {
				m.SourcePrefixes = append(m.SourcePrefixes, netip.MustParsePrefix(text))
			}
			here := place{path: fmt.Sprintf("l.filter_chains[%d]", i), pos: newPosition("f", 1+i, 1)}
			match := c.chainMatch(&m, here, here)
			matches = append(matches, match)
			overlap := false
			combinations := [][len(criteria)]string{{}}
			for k, values := range match.values {
				var longer [][len(criteria)]string
				for _, one := range combinations {
					for _, v := range values {
						one[k] = v
						longer = append(longer, one)
					}
				}
				combinations = longer
			}
			for _, one := range combinations {
				overlap = overlap || seen[one]
				seen[one] = true
			}
			if overlap {
				want++
			}
		}
		c.overlaps(matches)
		if len(c.errs.list) != want {
			t.Fatalf("%d chains overlap with an earlier one; found %v", want, c.errs.join())
		}
	})
}

// TestManyFilterChains has a chain for each of 10,000 server names, the last one twice.
func TestManyFilterChains(t *testing.T) {
	c := &compiler{errs: &errorList{}}
	var matches []chainMatch
	for i := range 10_001 {
		here := place{path: fmt.Sprintf("filter_chains[%d]", i), pos: newPosition("f", 1+i, 1)}
		m := conf.FilterChainMatch{ServerNames: []string{fmt.Sprintf("n%d.example", min(i, 9999))}}
		matches = append(matches, c.chainMatch(&m, here, here))
	}
	c.overlaps(matches)
	want := "f:10001:1: filter_chains[10000]: matches what filter_chains[9999], at 10000:1, matches: server name n9999.example"
	if err := c.errs.join(); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// TestRegisteredNetworkFilters loads a filter that the program brings itself, by its name alone.
func TestRegisteredNetworkFilters(t *testing.T) {
	text := strings.Replace(string(plainText(t)), "    - filters:\n", "    - filters:\n      - name: acme.pick\n", 1)
	r, err := Load(Source{Data: []byte(text), NetworkFilters: []string{"acme.other", "acme.pick"}})
	if err != nil {
		t.Fatal(err)
	}
	chain := r.Conf.Listeners[0].FilterChains[0]
	if len(chain.Filters) != 1 || chain.Filters[0] != (conf.NetworkFilter{Name: "acme.pick"}) || chain.HTTP == nil {
		t.Errorf("filters are %+v", chain.Filters)
	}
	_, err = Load(Source{Data: []byte(text), NetworkFilters: []string{"acme.two", "acme.one"}})
	want := `; "acme.pick" is not one of the registered filters acme.one, acme.two`
	if err == nil || !strings.HasPrefix(err.Error(), "config:7:9: ") || !strings.HasSuffix(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
}

// TestExampleConfigurations loads the examples of the command: they are whole and draw no warnings.
func TestExampleConfigurations(t *testing.T) {
	files, err := filepath.Glob("../../cmd/sluice/examples/*.yaml")
	if err != nil || len(files) < 14 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, path := range files {
		r, err := Load(Source{Path: path})
		if err != nil {
			t.Error(err)
			continue
		}
		if len(r.Warnings) > 0 {
			t.Errorf("%s", r.Warnings)
		}
		for _, l := range r.Conf.Listeners {
			for _, chain := range l.Chains() {
				if chain.TCP != nil && chain.TCP.OnDemand != nil {
					loadDirectory(t, filepath.Join(filepath.Dir(path), chain.TCP.OnDemand.Path))
				}
			}
		}
	}
}

// loadDirectory loads every cluster of an on-demand directory, each called as its file.
func loadDirectory(t *testing.T, dir string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: %d files, %v", dir, len(files), err)
	}
	for _, path := range files {
		c, err := LoadCluster(path)
		if err != nil {
			t.Error(err)
			continue
		}
		if name := filepath.Base(path); !slices.Contains([]string{c.Name + ".yaml", c.Name + ".json"}, name) {
			t.Errorf("%s holds the cluster %s", path, c.Name)
		}
	}
}
