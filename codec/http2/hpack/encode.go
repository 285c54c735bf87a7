package hpack

import (
	"bytes"
	"encoding/binary"
	"math/bits"

	"github.com/sluiceproxy/sluice/codec/header"
)

// numSlots is the number of recent fields the encoder recognises. A power of two.
const numSlots = 128

// longValue is the length from which a value is not looked for: it would crowd out the rest.
const longValue = 1024

// slot remembers the last field with its hash: whether it was seen, and its table entry if it has one.
type slot struct {
	hash  uint32
	entry uint32 // number of the entry plus one; 0 none
}

// Encoder writes the field blocks of one connection. Loop-owned.
//
// A field is put into the table when it comes a second time soon after the first. Values that change
// with every message (ids, dates, lengths) thereby never push out those that stay, without a list of
// names, and cost one hash. Credentials and short cookies are never indexed (RFC 7541 7.1.3).
type Encoder struct {
	table table
	own   uint32 // the largest table this side wants
	// updates to announce at the front of the next block
	changed  bool
	smallest uint32
	slots    *[numSlots]slot // nil until the first field that could be indexed
}

// Init makes e ready for a new connection, with a table of at most own bytes. The peer's limit is 4096
// until it says otherwise.
func (e *Encoder) Init(own uint32) {
	*e = Encoder{own: own}
	e.table.max = defaultSize
	e.SetLimit(defaultSize)
}

// SetLimit takes the peer's HEADER_TABLE_SIZE.
func (e *Encoder) SetLimit(n uint32) {
	n = min(n, e.own)
	if n == e.table.max && !e.changed {
		return
	}
	if !e.changed || n < e.smallest {
		e.smallest = n
	}
	e.changed = true
	e.table.setMax(n)
}

// Begin appends the size updates that are due (RFC 7541 4.2). Call it at the front of every block.
func (e *Encoder) Begin(dst []byte) []byte {
	if !e.changed {
		return dst
	}
	e.changed = false
	if e.smallest < e.table.max {
		// Zero stands for any smallest size: some decoders take a second update only while they are empty.
		e.table.evict(0)
		dst = append(dst, 0x20)
	}
	return appendInt(dst, 0x20, 5, e.table.max)
}

// Status appends :status.
func (e *Encoder) Status(dst []byte, status uint16) []byte {
	switch status {
	case 200:
		return append(dst, 0x80|8)
	case 204:
		return append(dst, 0x80|9)
	case 206:
		return append(dst, 0x80|10)
	case 304:
		return append(dst, 0x80|11)
	case 400:
		return append(dst, 0x80|12)
	case 404:
		return append(dst, 0x80|13)
	case 500:
		return append(dst, 0x80|14)
	}
	text := [3]byte{'0' + byte(status/100%10), '0' + byte(status/10%10), '0' + byte(status%10)}
	// Digits are 5 or 6 bits in Huffman code, so the text is never the longer one.
	return append(dst, 8, 3, text[0], text[1], text[2])
}

// Pseudo appends a request pseudo-header field.
func (e *Encoder) Pseudo(dst []byte, p Pseudo, value []byte) []byte {
	switch p {
	case Method:
		if string(value) == "GET" {
			return append(dst, 0x80|2)
		}
		if string(value) == "POST" {
			return append(dst, 0x80|3)
		}
	case Path:
		if len(value) == 1 && value[0] == '/' {
			return append(dst, 0x80|4)
		}
	case Scheme:
		if string(value) == "http" {
			return append(dst, 0x80|6)
		}
		if string(value) == "https" {
			return append(dst, 0x80|7)
		}
	}
	return e.field(dst, uint32(p)|1<<8, header.Unknown, p, nil, value)
}

// Field appends a regular field. name is its lower-case name, read only when id is Unknown. sensitive
// forbids indexing on this and any later hop; credentials are treated so in any case.
// No allocation but while the table grows.
func (e *Encoder) Field(dst []byte, id header.Known, name, value []byte, sensitive bool) []byte {
	switch id {
	case header.Authorization, header.ProxyAuthorization:
		sensitive = true
	case header.Cookie:
		// A short one can be guessed byte by byte where an attacker sees lengths.
		sensitive = sensitive || len(value) < 20
	case header.Unknown:
		if !sensitive {
			return e.field(dst, hash(name, 1), id, Regular, name, value)
		}
	}
	if sensitive {
		return e.literal(dst, 0x10, 4, id, Regular, name, value)
	}
	return e.field(dst, uint32(id), id, Regular, nil, value)
}

// field appends a field by its index, adds it to the table when it was seen before, or spells it out.
func (e *Encoder) field(dst []byte, seed uint32, id header.Known, p Pseudo, name, value []byte) []byte {
	size := nameLen(id, p, name) + uint32(len(value))
	if len(value) >= longValue || size+entryOverhead > e.table.max {
		return e.literal(dst, 0, 4, id, p, name, value)
	}
	if e.slots == nil {
		e.slots = new([numSlots]slot)
	}
	h := hash(value, seed)
	s := &e.slots[h%numSlots]
	if s.hash != h {
		*s = slot{hash: h}
		return e.literal(dst, 0, 4, id, p, name, value)
	}
	t := &e.table
	if index := t.added - s.entry + 1; s.entry != 0 && index-1 < t.count {
		at := t.at(index)
		if at.id == id && at.pseudo == p && bytes.Equal(t.value(at), value) && bytes.Equal(t.name(at), name) {
			return appendInt(dst, 0x80, 7, numStatic+index)
		}
	}
	dst = e.literal(dst, 0x40, 6, id, p, name, value)
	t.add(entry{nameLen: size - uint32(len(value)), valueLen: uint32(len(value)), id: id, pseudo: p}, name, value)
	s.entry = t.added
	return dst
}

func nameLen(id header.Known, p Pseudo, name []byte) uint32 {
	switch {
	case p != Regular:
		return uint32(len(pseudoNames[p]))
	case id != header.Unknown:
		return uint32(len(id.String()))
	}
	return uint32(len(name))
}

// literal appends a field spelled out; first and n are the form's bits and prefix.
func (e *Encoder) literal(dst []byte, first byte, n uint, id header.Known, p Pseudo, name, value []byte) []byte {
	static := uint8(0)
	switch {
	case p != Regular:
		static = staticOfPseudo[p]
	case id != header.Unknown:
		static = staticOfKnown[id]
	default:
		static = staticOfName(name)
	}
	switch {
	case static != 0:
		dst = appendInt(dst, first, n, uint32(static))
	case p == Protocol:
		dst = append(append(dst, first), protocolName...)
	case id != header.Unknown:
		dst = append(append(dst, first), codedNames[id]...)
	default:
		dst = appendString(append(dst, first), name)
	}
	return appendString(dst, value)
}

// codedNames are the known names as strings of a block, ready to append.
var codedNames, protocolName = func() (out [header.NumKnown]string, protocol string) {
	for i := 1; i < header.NumKnown; i++ {
		out[i] = string(appendString(nil, []byte(header.Known(i).String())))
	}
	return out, string(appendString(nil, []byte(pseudoNames[Protocol])))
}()

// appendString appends a string in the shorter of both forms.
func appendString(dst, s []byte) []byte {
	if n := huffmanLen(s); n < len(s) {
		return appendHuffman(appendInt(dst, 0x80, 7, uint32(n)), s)
	}
	return append(appendInt(dst, 0, 7, uint32(len(s))), s...)
}

// hash mixes b eight bytes at a time. It need not withstand an adversary: what collides is compared,
// and spelled out when it differs.
func hash(b []byte, seed uint32) uint32 {
	const k0, k1 = 0x9e3779b97f4a7c15, 0xc2b2ae3d27d4eb4f
	h := uint64(seed)*k0 ^ uint64(len(b))
	for len(b) >= 8 {
		hi, lo := bits.Mul64(h^binary.LittleEndian.Uint64(b), k1)
		h = hi ^ lo
		b = b[8:]
	}
	tail := uint64(0)
	switch n := len(b); {
	case n >= 4:
		tail = uint64(binary.LittleEndian.Uint32(b)) | uint64(binary.LittleEndian.Uint32(b[n-4:]))<<32
	case n > 0:
		tail = uint64(b[0]) | uint64(b[n/2])<<8 | uint64(b[n-1])<<16
	}
	hi, lo := bits.Mul64(h^tail^k0, k1)
	return uint32(hi ^ lo)
}
