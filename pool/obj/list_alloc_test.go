//go:build !race && !sluicedebug

package obj

import "testing"

func TestGetAndPutDoNotAllocate(t *testing.T) {
	var l List[thing]
	if n := testing.AllocsPerRun(1000, func() { l.Put(l.Get()) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
