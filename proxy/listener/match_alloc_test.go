//go:build !race

package listener

import (
	"fmt"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

func TestChoosingAChainAllocatesNothing(t *testing.T) {
	var chains []*Chain
	for i := range 1000 {
		chains = append(chains, chainOf("", conf.FilterChainMatch{
			ServerNames: []string{fmt.Sprintf("h%d.example.com", i), fmt.Sprintf("*.h%d.example.com", i)}, SourcePrefixes: prefix("203.0.113.0/24"),
		}))
	}
	m, err := compileMatch(chains, nil)
	if err != nil {
		t.Fatal(err)
	}
	c := from("203.0.113.9:40000", "192.0.2.1:443", tls("www.deep.h500.example.com", "h2"))
	if n := testing.AllocsPerRun(100, func() {
		if m.find(c) != chains[500] {
			t.Fatal("wrong chain")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
