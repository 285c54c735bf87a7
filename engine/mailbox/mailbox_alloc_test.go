//go:build !race

package mailbox

import "testing"

func TestPuttingAndTakingDoNotAllocate(t *testing.T) {
	r := New(8)
	m := &letter{}
	if n := testing.AllocsPerRun(1000, func() {
		r.Put(m)
		r.Take()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
