package http2

import (
	"math/rand/v2"
	"reflect"
	"testing"
)

// TestStreamTableAgreesWithAMap puts, finds and removes streams in random order.
func TestStreamTableAgreesWithAMap(t *testing.T) {
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 3))
		var table streamTable
		model := map[uint32]*Stream{}
		next := uint32(1)
		for range 3000 {
			if r.IntN(100) < 55 && len(model) < 300 {
				st := &Stream{id: next}
				next += 2 * uint32(1+r.IntN(3))
				table.put(st)
				model[st.id] = st
			} else if len(model) > 0 {
				for id, st := range model {
					table.remove(st)
					delete(model, id)
					break
				}
			}
			id := uint32(r.IntN(int(next)+2)) | 1
			if table.get(id) != model[id] || table.count != len(model) {
				t.Fatalf("seed %d: stream %d is %v, want %v; %d streams, want %d", seed, id, table.get(id), model[id], table.count, len(model))
			}
		}
		for _, st := range model {
			if table.get(st.id) != st {
				t.Fatalf("seed %d: stream %d is lost", seed, st.id)
			}
			table.remove(st)
		}
		if table.count != 0 || len(table.slots) > 8*minSlots {
			t.Errorf("%d slots kept for nothing", len(table.slots))
		}
	}
}

// TestStreamsComeBackClean fills every field with garbage.
func TestStreamsComeBackClean(t *testing.T) {
	var ws Workspace
	st := ws.stream()
	*st = Stream{Owner: t, id: 1, state: StateClosed, flags: 255, sendWindow: 1, recvWindow: 1, credit: 1, held: 1, expect: 1, openedNs: 1, wireIn: 1, prevBlocked: st, nextBlocked: st, nextFree: st}
	v := reflect.ValueOf(st).Elem()
	for i := range v.NumField() {
		if v.Field(i).IsZero() {
			t.Fatalf("field %s is not filled by this test", v.Type().Field(i).Name)
		}
	}
	ws.putStream(st)
	if again := ws.stream(); (again == st) == debugging {
		t.Errorf("reused: %v", again == st)
	}
	if !reflect.DeepEqual(*st, Stream{}) {
		t.Errorf("%+v", st)
	}
}

func TestNamesOfStatesCodesAndErrors(t *testing.T) {
	seen := map[string]bool{}
	for s := StateFree; s <= StateClosed; s++ {
		seen[s.String()] = true
	}
	if len(seen) != 5 || State(9).String() != "unknown" {
		t.Errorf("states %v", seen)
	}
	for c := NoError; c <= HTTP11Required; c++ {
		if c.String() == "" {
			t.Errorf("code %d has no name", c)
		}
	}
	if ErrCode(99).String() != "UNKNOWN" {
		t.Error("unknown codes have a name")
	}
	for e := OK + 1; e < numErrs; e++ {
		if e.String() == "" || e.Explain() == "" || seen[e.Explain()] {
			t.Errorf("error %d: %q %q", e, e, e.Explain())
		}
		seen[e.Explain()] = true
	}
	for n := NoCounter + 1; n < NumCounters; n++ {
		if n.String() == "" || seen[n.String()] {
			t.Errorf("counter %d is %q", n, n)
		}
		seen[n.String()] = true
	}
}
