package http1

import "github.com/sluiceproxy/sluice/codec/header"

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
	for i, c := range dst[n:] {
		dst[n+i] = lowerByte[c]
	}
	return dst
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
