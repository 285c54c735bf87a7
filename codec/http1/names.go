package http1

import (
	"encoding/binary"

	"github.com/sluiceproxy/sluice/codec/header"
)

// lowerNames and properNames are the known names with ": " after them, ready to append.
var lowerNames, properNames = func() (lower, proper [header.NumKnown]string) {
	for i := 1; i < header.NumKnown; i++ {
		name := []byte(header.Known(i).String())
		lower[i] = string(name) + ": "
		proper[i] = string(appendProper(nil, name)) + ": "
	}
	return lower, proper
}()

// lowerByte folds ASCII letters to lower case.
var lowerByte = func() (t [256]byte) {
	for c := range t {
		t[c] = byte(c)
		if c >= 'A' && c <= 'Z' {
			t[c] |= 0x20
		}
	}
	return t
}()

// appendName appends a field name and ": " in case c. received is its spelling on the wire it came
// from; empty for a field made here, whose name is id's.
func appendName(dst []byte, id header.Known, received []byte, c HeaderCase) []byte {
	switch {
	case c == PreserveCase && len(received) > 0:
		dst = append(dst, received...)
	case id != header.Unknown && c == ProperCase:
		return append(dst, properNames[id]...)
	case id != header.Unknown:
		return append(dst, lowerNames[id]...)
	case c == ProperCase:
		dst = appendProper(dst, received)
	default:
		dst = appendLower(dst, received)
	}
	return append(dst, ':', ' ')
}

func appendLower(dst, name []byte) []byte {
	n := len(dst)
	dst = append(dst, name...)
	b := dst[n:]
	for len(b) >= 8 {
		binary.LittleEndian.PutUint64(b, lowerWord(binary.LittleEndian.Uint64(b)))
		b = b[8:]
	}
	for i, c := range b {
		b[i] = lowerByte[c]
	}
	return dst
}

// lowerWord is lowerByte for eight bytes at a time. With the top bits out of the way, adding what lacks to
// 128 sets a byte's top bit where it is at least 'A', or above 'Z', and carries into no other.
func lowerWord(w uint64) uint64 {
	const each = 0x0101010101010101
	low := w &^ (each * 0x80)
	upper := (low + each*(0x80-'A')) &^ (low + each*(0x80-'Z'-1)) &^ w & (each * 0x80)
	return w | upper>>2
}

// appendProper capitalises after every byte that is no letter (HC-52).
func appendProper(dst, name []byte) []byte {
	first := true
	for _, c := range name {
		c = lowerByte[c]
		letter := c-'a' <= 'z'-'a'
		if letter && first {
			c &^= 0x20
		}
		first = !letter
		dst = append(dst, c)
	}
	return dst
}
