//go:build !race && !sluicedebug

package http2

import "testing"

// TestNothingAllocates runs small requests through a client and a server once both are warm.
func TestNothingAllocates(t *testing.T) {
	for _, tc := range []struct {
		name string
		body int
	}{{"no bodies", 0}, {"bodies and trailers", 3000}} {
		x := newExchanger(tc.body)
		for range 200 {
			x.run(t)
		}
		if n := testing.AllocsPerRun(100, func() { x.run(t) }); n != 0 {
			t.Errorf("%s: %v allocations", tc.name, n)
		}
	}
}
