//go:build !race

package header

import "testing"

func TestHeadDoesNotAllocateOnceWarm(t *testing.T) {
	base := []byte("Accept:a")
	via, path := []byte("1.1 x"), []byte("/p")
	h := &Head{}
	use := func() {
		h.Reset(base)
		pushLine(h, 0, 6, 1)
		h.Set(Via, via)
		h.Append(Via, ", ", via)
		h.AddString(Unknown, "x-a", "b")
		h.SetPath(path)
		h.RemoveFold(via)
		h.Remove(Accept)
		h.Retain()
	}
	use()
	if n := testing.AllocsPerRun(100, use); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
