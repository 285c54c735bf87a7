// Package wheel is a hierarchical timer wheel with intrusive timers.
//
// Eight levels of 64 slots, a slot of level L covering 64^L milliseconds:
//
//	level 0:  64 slots of 1 ms      level 1: 64 slots of 64 ms     ... level 7
//
// A timer sits at the level of the highest group of six bits in which its
// expiry tick differs from the current tick, so every occupied slot lies ahead
// of the current one and a 64-bit map per level finds the next one in a few
// instructions. When the clock reaches a slot above level 0 its timers move
// down. Adding and removing are O(1); nothing allocates; loop-owned.
package wheel

import "math/bits"

const (
	tickNs    = 1_000_000
	levelBits = 6
	slots     = 1 << levelBits
	levels    = 8 // 2^48 ms: every int64 of nanoseconds fits

	firing = levels * slots // Timer.place of a timer that is due, not yet run
)

// Handler is told when a timer of its is due. It may arm and disarm any timer.
type Handler interface{ OnTimer(t *Timer) }

// Timer is one timer, embedded in what it times. The zero value is disarmed.
// Set Handler before arming it; Kind is the owner's, to tell its timers apart.
// It must not be moved or freed while armed.
type Timer struct {
	Handler    Handler
	next, prev *Timer
	deadlineNs int64
	tick       uint64
	place      uint16
	armed      bool
	Kind       uint8
}

// Armed reports whether the timer waits (or is due and not yet run).
func (t *Timer) Armed() bool { return t.armed }

// Deadline returns when the timer is due, in the loop clock's nanoseconds.
// Meaningful while armed, and in OnTimer.
func (t *Timer) Deadline() int64 { return t.deadlineNs }

// Wheel holds armed timers. The zero value starts at time 0.
type Wheel struct {
	now      uint64 // tick up to which slots have been handled
	occupied [levels]uint64
	lists    [levels*slots + 1]*Timer // circular, the last one is firing
	n        int
}

// Add arms t for deadlineNs, or moves it there when it is armed. Expiry is
// rounded up to the next millisecond, so it is never early; a deadline that has
// passed is due at the next tick.
func (w *Wheel) Add(t *Timer, deadlineNs int64) {
	if t.armed {
		w.unlink(t)
	} else {
		t.armed = true
		w.n++
	}
	t.deadlineNs = deadlineNs
	tick := uint64(0)
	if deadlineNs > 0 {
		tick = (uint64(deadlineNs) + tickNs - 1) / tickNs
	}
	t.tick = max(tick, w.now+1)
	w.place(t)
}

// Remove disarms t; nothing happens when it is not armed.
func (w *Wheel) Remove(t *Timer) {
	if !t.armed {
		return
	}
	w.unlink(t)
	t.armed = false
	w.n--
}

// Len returns how many timers are armed.
func (w *Wheel) Len() int { return w.n }

// Next returns a time at or before which nothing is due, or false when no timer
// is armed. It is exact to the millisecond for the timers of level 0 and the
// start of the slot for later ones, so waiting for it and calling Advance makes
// progress.
func (w *Wheel) Next() (deadlineNs int64, ok bool) {
	if w.lists[firing] != nil {
		return int64(w.now) * tickNs, true
	}
	start, _, _, ok := w.nextSlot()
	return int64(start) * tickNs, ok
}

// Advance moves the wheel to nowNs and runs what is due, in order of expiry.
func (w *Wheel) Advance(nowNs int64) {
	for t := w.Expire(nowNs); t != nil; t = w.Expire(nowNs) {
		t.Handler.OnTimer(t)
	}
}

// Expire moves the wheel towards nowNs and returns the next timer due,
// disarmed, or nil when none is. The caller runs it and asks again.
func (w *Wheel) Expire(nowNs int64) *Timer {
	until := uint64(0)
	if nowNs > 0 {
		until = uint64(nowNs) / tickNs
	}
	for w.lists[firing] == nil {
		start, level, slot, ok := w.nextSlot()
		if !ok || start > until {
			w.now = max(w.now, until)
			return nil
		}
		w.now = start
		w.open(level, slot)
	}
	t := w.lists[firing]
	w.Remove(t)
	return t
}

// nextSlot finds the occupied slot that starts first. The lowest occupied
// level has it: its slots all lie within the current slot of the level above.
func (w *Wheel) nextSlot() (start uint64, level, slot int, ok bool) {
	for level = range levels {
		if w.occupied[level] == 0 {
			continue
		}
		slot = bits.TrailingZeros64(w.occupied[level])
		shift := uint(levelBits * level)
		above := w.now &^ (uint64(1)<<(shift+levelBits) - 1)
		return above | uint64(slot)<<shift, level, slot, true
	}
	return 0, 0, 0, false
}

// open empties a slot the clock has reached: what is due goes to the firing
// list, the rest to lower levels.
func (w *Wheel) open(level, slot int) {
	list := &w.lists[level*slots+slot]
	for *list != nil {
		t := *list
		w.unlink(t)
		if t.tick <= w.now {
			w.link(t, firing)
		} else {
			w.place(t)
		}
	}
}

// place links t by its tick, which is after w.now.
func (w *Wheel) place(t *Timer) {
	diff := t.tick ^ w.now
	level := (bits.Len64(diff) - 1) / levelBits
	slot := int(t.tick>>(uint(levelBits*level))) & (slots - 1)
	w.occupied[level] |= 1 << slot
	w.link(t, uint16(level*slots+slot))
}

func (w *Wheel) link(t *Timer, place uint16) {
	t.place = place
	head := w.lists[place]
	if head == nil {
		t.next, t.prev = t, t
		w.lists[place] = t
		return
	}
	t.prev, t.next = head.prev, head
	head.prev.next = t
	head.prev = t
}

func (w *Wheel) unlink(t *Timer) {
	if t.next == t {
		w.lists[t.place] = nil
		if t.place < firing {
			w.occupied[t.place/slots] &^= 1 << (t.place % slots)
		}
	} else {
		t.prev.next = t.next
		t.next.prev = t.prev
		if w.lists[t.place] == t {
			w.lists[t.place] = t.next
		}
	}
	t.next, t.prev = nil, nil
}
