package obj

import "testing"

type thing struct{ n int }

func TestObjectsAreReused(t *testing.T) {
	var l List[thing]
	a := l.Get()
	a.n = 7
	if l.Used() != 1 || l.Free() != chunkLen-1 {
		t.Errorf("used %d, free %d", l.Used(), l.Free())
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
	if l.Used() != 0 {
		t.Errorf("%d used after all", l.Used())
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
	if l.Free() != 100 || l.Used() != 0 {
		t.Errorf("free %d, used %d; want 100, 0", l.Free(), l.Used())
	}
}
