package hpack

import (
	"bytes"
	"encoding/binary"
	"math/bits"

	"github.com/sluiceproxy/sluice/codec/header"
)

// Traits are what there is to know of the strings of a field, beside what they say.
type Traits uint8

const (
	// BadName: the name is no token, or has a capital letter (RFC 9113 8.2.1). A pseudo-header name is
	// never bad; see OtherPseudo.
	BadName Traits = 1 << iota
	// BadValue: a byte that no field value may hold, or whitespace at an end.
	BadValue
	// Underscore: the name has one.
	Underscore
	// NeverIndexed: the sender forbids that the field be indexed on any later hop (RFC 7541 6.2.3).
	NeverIndexed
)

// Field is one field as decoded. Spans are into Decoder.Text; Name is zero when ID or Pseudo says it.
type Field struct {
	Name, Value header.Span
	// Size is the bytes of name and value together.
	Size   uint32
	ID     header.Known
	Pseudo Pseudo
	Traits Traits
}

// Decoder reads the field blocks of one connection. Loop-owned. A block is Begin, then Next until its
// bytes are used up; every block must be read to its end, or the tables of both ends differ.
type Decoder struct {
	// Text holds the strings of the block begun last; Begin sets it, Next appends. Set it to nil, or to
	// other storage, once the fields are no longer needed.
	Text []byte

	table   table
	limit   uint32 // the largest size the encoder may choose
	shrink  bool   // the limit fell below the size in use: the next block must begin with an update
	discard bool
}

// defaultSize is HEADER_TABLE_SIZE until a setting says otherwise (RFC 9113 6.5.2).
const defaultSize = 4096

// Init makes d ready for a new connection.
func (d *Decoder) Init() {
	*d = Decoder{limit: defaultSize}
	d.table.max = defaultSize
}

// SetLimit changes the largest size the encoder may choose: call it when the peer acknowledged the
// setting. A smaller one must be confirmed at the front of the next block.
func (d *Decoder) SetLimit(n uint32) {
	d.limit = n
	d.shrink = d.table.max > n
}

// Begin starts a block whose strings go to text, which it empties. It reads the size updates at the
// front (RFC 7541 4.2) and returns the place of the first field.
func (d *Decoder) Begin(b, text []byte) (n int, e Err) {
	d.Text, d.discard = text[:0], false
	for n < len(b) && b[n]&0xe0 == 0x20 {
		size, end, e := readInt(b, n, 5)
		if e != OK {
			return 0, e
		}
		if size > d.limit {
			return 0, ErrTableSize
		}
		d.table.setMax(size)
		d.shrink = false
		n = end
	}
	if d.shrink {
		return 0, ErrTableSize
	}
	return n, OK
}

// Discard makes the rest of the block only keep the table in step: fields are no longer described.
func (d *Decoder) Discard() { d.discard = true }

// Next reads the field at b[i] into f and returns the place after it. No allocation once Text has room.
func (d *Decoder) Next(b []byte, i int, f *Field) (end int, e Err) {
	c := b[i]
	switch {
	case c >= 0x80:
		index := uint32(c & 0x7f)
		if index == 0x7f {
			if index, end, e = readInt(b, i, 7); e != OK {
				return 0, e
			}
		} else {
			end = i + 1
		}
		return end, d.indexed(index, f)
	case c >= 0x40:
		return d.literal(b, i, 6, f)
	case c >= 0x20:
		return 0, ErrTableSize
	}
	return d.literal(b, i, 4, f)
}

// indexed reads a field that is in a table.
func (d *Decoder) indexed(index uint32, f *Field) Err {
	if index-1 < numStatic {
		if s := &statics[index]; !d.discard {
			*f = Field{ID: s.id, Pseudo: s.pseudo, Size: uint32(len(s.name) + len(s.value))}
			if s.id == header.Unknown && s.pseudo == Regular {
				f.Name = d.storeString(s.name)
			}
			f.Value = d.storeString(s.value)
		}
		return OK
	}
	index -= numStatic
	if index-1 >= d.table.count {
		return ErrIndex
	}
	if d.discard {
		return OK
	}
	e := d.table.at(index)
	*f = Field{ID: e.id, Pseudo: e.pseudo, Traits: e.traits, Size: e.nameLen + e.valueLen}
	from, n := e.pos-d.table.base, e.valueLen
	at := uint32(len(d.Text))
	if e.storesName() {
		// Name and value lie side by side.
		f.Name = header.Span{Off: at, Len: e.nameLen}
		at += e.nameLen
		n += e.nameLen
	}
	f.Value = header.Span{Off: at, Len: e.valueLen}
	d.Text = append(d.Text, d.table.text[from:from+n]...)
	return OK
}

func (d *Decoder) storeString(s string) header.Span {
	at := uint32(len(d.Text))
	d.Text = append(d.Text, s...)
	return header.Span{Off: at, Len: uint32(len(s))}
}

// literal reads a field that is spelled out, with an n-bit prefix for the index of its name: 6 bits
// with indexing (RFC 7541 6.2.1), 4 without (6.2.2) or never (6.2.3).
func (d *Decoder) literal(b []byte, i int, n uint, f *Field) (end int, e Err) {
	index := uint32(b[i]) & (1<<n - 1)
	*f = Field{}
	if n == 4 && b[i]&0x10 != 0 {
		f.Traits = NeverIndexed
	}
	if index == 1<<n-1 {
		if index, end, e = readInt(b, i, n); e != OK {
			return 0, e
		}
	} else {
		end = i + 1
	}
	mark := len(d.Text)
	nameLen := uint32(0)
	if index != 0 {
		if nameLen, e = d.nameOf(index, f); e != OK {
			return 0, e
		}
	} else {
		if f.Name, end, e = d.text(b, end); e != OK {
			return 0, e
		}
		nameLen = f.Name.Len
		d.judgeName(f)
	}
	if f.Value, end, e = d.text(b, end); e != OK {
		return 0, e
	}
	f.Size = nameLen + f.Value.Len
	value := d.Text[f.Value.Off : f.Value.Off+f.Value.Len]
	if !validValue(value) {
		f.Traits |= BadValue
	}
	if n == 6 {
		e := entry{nameLen: nameLen, valueLen: f.Value.Len, id: f.ID, pseudo: f.Pseudo, traits: f.Traits}
		d.table.add(e, d.Text[f.Name.Off:f.Name.Off+f.Name.Len], value)
	}
	if d.discard {
		d.Text = d.Text[:mark]
	}
	return end, OK
}

// nameOf describes the name at a table index.
func (d *Decoder) nameOf(index uint32, f *Field) (nameLen uint32, e Err) {
	if index <= numStatic {
		s := &statics[index]
		f.ID, f.Pseudo = s.id, s.pseudo
		if s.id == header.Unknown && s.pseudo == Regular {
			f.Name = d.storeString(s.name)
		}
		return uint32(len(s.name)), OK
	}
	index -= numStatic
	if index > d.table.count {
		return 0, ErrIndex
	}
	t := d.table.at(index)
	f.ID, f.Pseudo = t.id, t.pseudo
	f.Traits |= t.traits & (BadName | Underscore)
	if t.storesName() {
		f.Name = header.Span{Off: uint32(len(d.Text)), Len: t.nameLen}
		d.Text = append(d.Text, d.table.name(t)...)
	}
	return t.nameLen, OK
}

// text reads a string (RFC 7541 5.2) at b[i] into Text.
func (d *Decoder) text(b []byte, i int) (s header.Span, end int, e Err) {
	if i >= len(b) {
		return s, 0, ErrTruncated
	}
	coded := b[i] >= 0x80
	n := uint32(b[i] & 0x7f)
	if i++; n == 0x7f {
		if n, i, e = readInt(b, i-1, 7); e != OK {
			return s, 0, e
		}
	}
	if uint64(n) > uint64(len(b)-i) {
		return s, 0, ErrTruncated
	}
	end = i + int(n)
	s.Off = uint32(len(d.Text))
	if coded {
		var ok bool
		if d.Text, ok = appendHuffmanDecoded(d.Text, b[i:end]); !ok {
			return s, 0, ErrHuffman
		}
	} else {
		d.Text = append(d.Text, b[i:end]...)
	}
	s.Len = uint32(len(d.Text)) - s.Off
	return s, end, OK
}

// judgeName finds out whose name f.Name is.
func (d *Decoder) judgeName(f *Field) {
	name := d.Text[f.Name.Off : f.Name.Off+f.Name.Len]
	if len(name) > 0 && name[0] == ':' {
		f.Pseudo = pseudoOf(name)
		return
	}
	f.ID = header.Lookup(name)
	if f.ID != header.Unknown {
		if string(name) != f.ID.String() {
			f.Traits |= BadName // a token, so only capitals can differ
		}
		return
	}
	all, any := uint8(nameByte), uint8(0)
	for _, c := range name {
		all &= class[c]
		any |= class[c]
	}
	if all == 0 || len(name) == 0 {
		f.Traits |= BadName
	}
	if any&underscore != 0 {
		f.Traits |= Underscore
	}
}

const (
	nameByte   = 1 << iota // a token byte other than a capital letter
	valueByte              // HT, 0x20..0x7e, 0x80..0xff
	underscore             // '_'
)

var class = func() (t [256]uint8) {
	for c := range t {
		if c == '\t' || c >= ' ' && c != 0x7f {
			t[c] |= valueByte
		}
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || bytes.IndexByte([]byte("!#$%&'*+-.^_`|~"), byte(c)) >= 0 {
			t[c] |= nameByte
		}
	}
	t['_'] |= underscore
	return t
}()

// validValue says whether b can be a field value. Eight bytes at a time: a byte x is below n where x-n
// borrows and x has no top bit.
func validValue(b []byte) bool {
	if len(b) == 0 {
		return true
	}
	if first, last := b[0], b[len(b)-1]; first == ' ' || first == '\t' || last == ' ' || last == '\t' {
		return false
	}
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	for len(b) >= 8 {
		x := binary.LittleEndian.Uint64(b)
		del := x ^ ones*0x7f
		hit := ((x-ones*0x20)&^x | (del-ones)&^del) & tops
		if hit != 0 {
			k := bits.TrailingZeros64(hit) >> 3
			if b[k] != '\t' {
				return false
			}
			b = b[k+1:]
			continue
		}
		b = b[8:]
	}
	for _, c := range b {
		if class[c]&valueByte == 0 {
			return false
		}
	}
	return true
}
