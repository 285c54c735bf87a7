package obj

import "testing"

type thing struct{ n int }

func TestObjectsAreReused(t *testing.T) {
	var l List[thing]
	a := l.Get()
	a.n = 7
	if n := len(l.free); n != chunkLen-1 {
		t.Errorf("%d of a chunk of %d are free", n, chunkLen)
	}
	l.Put(a)
	if b := l.Get(); b != a || b.n != 7 {
		t.Error("the last object put is not the next one got")
	}
}

func TestObjectsOutAreDistinct(t *testing.T) {
	var l List[thing]
	seen := map[*thing]bool{}
	for range 3*chunkLen + 1 {
		o := l.Get()
		if seen[o] {
			t.Fatal("an object is out twice")
		}
		seen[o] = true
	}
	for o := range seen {
		l.Put(o)
	}
	if n := len(l.free); n != 4*chunkLen {
		t.Errorf("%d free after all, want four chunks of %d", n, chunkLen)
	}
}

func TestFreeObjectsAreBounded(t *testing.T) {
	l := List[thing]{Limit: 100}
	var out []*thing
	for range 500 {
		out = append(out, l.Get())
	}
	for _, o := range out {
		l.Put(o)
	}
	if n := len(l.free); n != 100 {
		t.Errorf("%d free, want the limit of 100", n)
	}
}
