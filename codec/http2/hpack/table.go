package hpack

import "github.com/sluiceproxy/sluice/codec/header"

// entryOverhead is what each entry counts beside its strings (RFC 7541 4.1).
const entryOverhead = 32

// entry is one field of a dynamic table.
type entry struct {
	pos      uint32 // of its bytes in the table's text, counted from the first byte ever stored
	nameLen  uint32
	valueLen uint32
	id       header.Known
	pseudo   Pseudo
	traits   Traits
}

// storesName says whether the name is among the bytes; that of a known field is not.
func (e *entry) storesName() bool {
	return e.id == header.Unknown && (e.pseudo == Regular || e.pseudo == OtherPseudo)
}

func (e *entry) size() uint32 { return e.nameLen + e.valueLen + entryOverhead }

// table is a dynamic table (RFC 7541 2.3.2): entries in a ring, their bytes in a window that slides.
//
//	ring:  | ... oldest | ... | newest ... |     newest is number added-1
//	text:  | dead | oldest's bytes | ... | newest's bytes | free |
//	        ^ base                                         the dead part goes when room is needed
//
// Both grow to what is used: text to at most twice max, the ring to max/32 entries rounded up.
type table struct {
	ring  []entry
	text  []byte
	base  uint32 // position of text[0]
	added uint32 // entries ever added
	count uint32 // of them live: the newest
	size  uint32 // as RFC 7541 4.1 counts
	max   uint32
}

// at returns the entry of dynamic index i, the newest being 1. i is at most count.
func (t *table) at(i uint32) *entry { return &t.ring[(t.added-i)&uint32(len(t.ring)-1)] }

func (t *table) name(e *entry) []byte {
	if !e.storesName() {
		return nil
	}
	from := e.pos - t.base
	return t.text[from : from+e.nameLen]
}

func (t *table) value(e *entry) []byte {
	from := e.pos - t.base
	if e.storesName() {
		from += e.nameLen
	}
	return t.text[from : from+e.valueLen]
}

// setMax changes the size limit and evicts down to it.
func (t *table) setMax(n uint32) {
	t.max = n
	t.evict(n)
	if n == 0 {
		t.ring, t.text, t.base = nil, nil, 0
	}
}

// evict drops the oldest entries until size is at most n.
func (t *table) evict(n uint32) {
	for t.size > n {
		t.size -= t.at(t.count).size()
		t.count--
	}
}

// add makes a field the newest entry; e.pos is set here. One larger than the table empties it
// (RFC 7541 4.4). name and value must not be views of the table. Allocates only to grow.
func (t *table) add(e entry, name, value []byte) {
	size := e.size()
	if size > t.max {
		t.evict(0)
		return
	}
	t.evict(t.max - size)
	if !e.storesName() {
		name = nil
	}
	need := len(name) + len(value)
	if len(t.text)+need > cap(t.text) {
		t.slide(need)
	}
	if t.count == uint32(len(t.ring)) {
		t.growRing()
	}
	e.pos = t.base + uint32(len(t.text))
	t.text = append(append(t.text, name...), value...)
	t.ring[t.added&uint32(len(t.ring)-1)] = e
	t.added++
	t.count++
	t.size += size
}

// slide makes room for need bytes: it drops the dead part, and takes a larger text when half of the
// present one would still be in use, so that sliding stays cheap for each byte stored.
func (t *table) slide(need int) {
	dead := len(t.text)
	if t.count > 0 {
		dead = int(t.at(t.count).pos - t.base)
	}
	live := t.text[dead:]
	t.base += uint32(dead)
	if want := 2 * (len(live) + need); want > cap(t.text) {
		t.text = append(make([]byte, 0, max(want, 256)), live...)
		return
	}
	t.text = t.text[:copy(t.text[:len(live)], live)]
}

func (t *table) growRing() {
	old := t.ring
	t.ring = make([]entry, max(8, 2*len(old)))
	for i := t.added - t.count; i != t.added; i++ {
		t.ring[i&uint32(len(t.ring)-1)] = old[i&uint32(len(old)-1)]
	}
}
