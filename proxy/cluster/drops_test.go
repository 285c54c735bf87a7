package cluster

import (
	"math/rand/v2"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/runtime"
)

// Shares are exact over the whole range of what is drawn, and runtime bounds them.
func TestDropsOverTheWholeRange(t *testing.T) {
	for _, row := range []struct {
		title string
		share conf.Fraction
		limit uint64
		drops uint64 // of a million draws in order
		all   bool
	}{
		{"in hundreds", conf.Fraction{Numerator: 30, Denominator: 100}, 100, 300_000, false},
		{"in millions", conf.Fraction{Numerator: 7, Denominator: 1_000_000}, 100, 7, false},
		{"everything", conf.Fraction{Numerator: 10_000, Denominator: 10_000}, 100, 1_000_000, true},
		{"more than everything", conf.Fraction{Numerator: 150, Denominator: 100}, 100, 1_000_000, true},
		{"runtime allows less", conf.Fraction{Numerator: 30, Denominator: 100}, 10, 100_000, false},
		{"runtime allows more", conf.Fraction{Numerator: 30, Denominator: 100}, 40, 300_000, false},
		{"runtime allows none", conf.Fraction{Numerator: 100, Denominator: 100}, 0, 0, false},
		{"runtime allows what there is not", conf.Fraction{Numerator: 100, Denominator: 100}, 101, 1_000_000, true},
	} {
		t.Run(row.title, func(t *testing.T) {
			var none *runtime.Loader
			d := &Drops{share: row.share, limit: none.Uint("", row.limit)}
			drops := uint64(0)
			for n := range uint64(1_000_000) {
				drop, all := d.Next(n)
				if drop {
					drops++
				}
				if all != row.all {
					t.Fatalf("all is %v", all)
				}
			}
			if drops != row.drops {
				t.Errorf("%d are dropped, want %d", drops, row.drops)
			}
		})
	}
}

func TestDropsDoNotAllocate(t *testing.T) {
	var none *runtime.Loader
	d := &Drops{share: conf.Fraction{Numerator: 30, Denominator: 100}, limit: none.Uint("", 100)}
	if n := testing.AllocsPerRun(100, func() { d.Next(rand.Uint64()) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
