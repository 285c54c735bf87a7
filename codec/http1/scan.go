package http1

import (
	"encoding/binary"
	"math/bits"
)

// Byte classes. A byte may be of several.
const (
	tokenByte     = 1 << iota // RFC 9110 5.6.2 tchar
	valueByte                 // field value: HT, 0x20..0x7e, 0x80..0xff
	authorityByte             // RFC 3986 reg-name, IP literal, port, userinfo
	authorityMark             // of those, the ones that need a look at the structure: @ [ ] : %
	pathSpecial               // needs work in a path: % \ . / (slash and dot only beside another)
	unreserved                // RFC 3986 2.3
)

var class = func() (t [256]uint8) {
	add := func(s string, bits uint8) {
		for i := 0; i < len(s); i++ {
			t[s[i]] |= bits
		}
	}
	const alnum = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	add(alnum, tokenByte|authorityByte|unreserved)
	add("!#$%&'*+-.^_`|~", tokenByte)
	add("-._~", unreserved)
	add("-._~!$&'()*+,;=@[]:%", authorityByte)
	add("@[]:%", authorityMark)
	add("%\\./", pathSpecial)
	for c := range t {
		if c == '\t' || c >= ' ' && c != 0x7f {
			t[c] |= valueByte
		}
	}
	return t
}()

// hexDigit is the value of a hexadecimal digit, 0xff for any other byte.
var hexDigit = func() (t [256]uint8) {
	for c := range t {
		t[c] = 0xff
	}
	for i := uint8(0); i < 16; i++ {
		t["0123456789abcdef"[i]], t["0123456789ABCDEF"[i]] = i, i
	}
	return t
}()

// Eight bytes are looked at as one word. A byte x is below n (n <= 128) where x-n borrows and x has no
// top bit; only bytes above a true hit can be false ones, so the lowest hit is exact.
const (
	ones = 0x0101010101010101
	tops = 0x8080808080808080
)

// valueEnd returns the place of the first byte at or after i that no field value may hold, len(b)
// when there is none.
func valueEnd(b []byte, i int) int {
	for i+8 <= len(b) {
		x := binary.LittleEndian.Uint64(b[i : i+8])
		del := x ^ ones*0x7f
		hit := ((x-ones*0x20)&^x | (del-ones)&^del) & tops
		if hit == 0 {
			i += 8
			continue
		}
		i += bits.TrailingZeros64(hit) >> 3
		if b[i] != '\t' {
			return i
		}
		i++
	}
	for i < len(b) && class[b[i]]&valueByte != 0 {
		i++
	}
	return i
}

// targetEnd returns the place of the first byte at or after i outside 0x21..0x7e, or len(b).
func targetEnd(b []byte, i int) int {
	for i+8 <= len(b) {
		x := binary.LittleEndian.Uint64(b[i : i+8])
		del := x ^ ones*0x7f
		hit := ((x-ones*0x21)&^x | (del-ones)&^del | x) & tops
		if hit != 0 {
			return i + bits.TrailingZeros64(hit)>>3
		}
		i += 8
	}
	for i < len(b) && b[i]-0x21 < 0x7f-0x21 {
		i++
	}
	return i
}

// colon returns the place of the first ':' at or after i, or len(b).
func colon(b []byte, i int) int {
	for i+8 <= len(b) {
		x := binary.LittleEndian.Uint64(b[i:i+8]) ^ ones*':'
		if hit := (x - ones) &^ x & tops; hit != 0 {
			return i + bits.TrailingZeros64(hit)>>3
		}
		i += 8
	}
	for i < len(b) && b[i] != ':' {
		i++
	}
	return i
}

// isToken says whether b is a token of one byte or more.
func isToken(b []byte) bool {
	all := uint8(tokenByte)
	for _, c := range b {
		all &= class[c]
	}
	return all != 0 && len(b) > 0
}

// trimOWS returns b without the spaces and tabs at both ends.
func trimOWS(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}

// nextToken splits a comma-separated list into its first element, trimmed, and the rest; elements
// may be empty.
func nextToken(list []byte) (token, rest []byte) {
	for i, c := range list {
		if c == ',' {
			return trimOWS(list[:i]), list[i+1:]
		}
	}
	return trimOWS(list), nil
}
