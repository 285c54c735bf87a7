package stats

import "strings"

// state is what has become of a slot.
type state uint8

const (
	shown  state = iota
	hidden       // released; comes back when its name does
	free         // to be given to another name
)

// table maps the names of one kind of series to slots. The registry's lock guards it.
//
//	shown --release--> hidden --same name--> shown
//	                   hidden --oldest of more than keepHidden--> free --another name--> shown
//
// A released name keeps its slot because streams that outlive their cluster still count into it. The
// bound on those keeps a process small whose clusters come and go under ever new names.
type table[T any] struct {
	index  map[string]uint32
	names  []string
	states []state
	data   []T
	queue  []uint32 // slots in the order they were hidden; may hold ones that came back
	frees  []uint32
}

const keepHidden = 1 << 16

func newTable[T any]() table[T] {
	return table[T]{index: make(map[string]uint32), names: []string{""}, states: []state{free}, data: make([]T, 1)}
}

// open returns the slot of a name, making one when needed; fresh is true when the series was not
// shown before.
func (t *table[T]) open(name string) (slot uint32, fresh bool) {
	if slot, ok := t.index[name]; ok {
		fresh = t.states[slot] == hidden
		t.states[slot] = shown
		return slot, fresh
	}
	if n := len(t.frees); n > 0 {
		slot, t.frees = t.frees[n-1], t.frees[:n-1]
		t.names[slot], t.states[slot] = name, shown
	} else {
		var zero T
		slot = uint32(len(t.names))
		t.names, t.states, t.data = append(t.names, name), append(t.states, shown), append(t.data, zero)
	}
	t.index[name] = slot
	return slot, true
}

// hide takes the series that begin with prefix out of the output and calls born for each: from here
// on it counts from what it has now.
func (t *table[T]) hide(prefix string, born func(slot uint32)) {
	for i, name := range t.names {
		if t.states[i] == shown && strings.HasPrefix(name, prefix) {
			t.states[i] = hidden
			t.queue = append(t.queue, uint32(i))
			born(uint32(i))
		}
	}
	for len(t.queue) > keepHidden {
		slot := t.queue[0]
		t.queue = t.queue[1:]
		if t.states[slot] == hidden {
			delete(t.index, t.names[slot])
			t.names[slot], t.states[slot] = "", free
			t.frees = append(t.frees, slot)
			born(slot)
		}
	}
}
