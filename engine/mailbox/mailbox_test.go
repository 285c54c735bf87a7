package mailbox

import (
	"runtime"
	"sync"
	"testing"
)

type letter struct{ from, n int }

func (*letter) Run() {}

func TestEachProducersMessagesComeOnceAndInOrder(t *testing.T) {
	const producers, each = 6, 5000
	r := New(64)
	var wg sync.WaitGroup
	for from := range producers {
		wg.Go(func() {
			for n := range each {
				for m := (&letter{from, n}); !r.Put(m); {
					runtime.Gosched()
				}
			}
		})
	}
	next := make([]int, producers)
	for got := 0; got < producers*each; {
		m := r.Take()
		if m == nil {
			runtime.Gosched()
			continue
		}
		l := m.(*letter)
		if l.n != next[l.from] {
			t.Fatalf("producer %d: got %d, want %d", l.from, l.n, next[l.from])
		}
		next[l.from]++
		got++
	}
	wg.Wait()
	if r.Take() != nil {
		t.Error("a message came twice")
	}
}

func TestRingIsBounded(t *testing.T) {
	for _, tc := range []struct{ asked, want int }{{1, 2}, {2, 2}, {3, 4}, {64, 64}, {65, 128}} {
		r := New(tc.asked)
		if r.Cap() != tc.want {
			t.Errorf("New(%d).Cap() %d, want %d", tc.asked, r.Cap(), tc.want)
		}
		for lap := range 3 {
			for i := range r.Cap() {
				if !r.Put(&letter{}) {
					t.Fatalf("lap %d: full at %d of %d", lap, i, r.Cap())
				}
			}
			if r.Put(&letter{}) {
				t.Errorf("lap %d: more than %d fit", lap, r.Cap())
			}
			for range r.Cap() {
				if r.Take() == nil {
					t.Fatal("a message is missing")
				}
			}
			if r.Take() != nil {
				t.Error("a message too many")
			}
		}
	}
}
