package hpack

import (
	"encoding/binary"
	"slices"
)

// codeLengths are the bits of each byte's code (RFC 7541 B). The code is canonical: within a length the
// codes count up in the order of the bytes, so the lengths say everything. EOS, 30 ones, comes last.
const codeLengths = "" +
	"\x0d\x17\x1c\x1c\x1c\x1c\x1c\x1c\x1c\x18\x1e\x1c\x1c\x1e\x1c\x1c" +
	"\x1c\x1c\x1c\x1c\x1c\x1c\x1e\x1c\x1c\x1c\x1c\x1c\x1c\x1c\x1c\x1c" +
	"\x06\x0a\x0a\x0c\x0d\x06\x08\x0b\x0a\x0a\x08\x0b\x08\x06\x06\x06" +
	"\x05\x05\x05\x06\x06\x06\x06\x06\x06\x06\x07\x08\x0f\x06\x0c\x0a" +
	"\x0d\x06\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07" +
	"\x07\x07\x07\x07\x07\x07\x07\x07\x08\x07\x08\x0d\x13\x0d\x0e\x06" +
	"\x0f\x05\x06\x05\x06\x05\x06\x06\x06\x05\x07\x07\x06\x06\x06\x05" +
	"\x06\x07\x06\x05\x05\x06\x07\x07\x07\x07\x07\x0f\x0b\x0e\x0d\x1c" +
	"\x14\x16\x14\x14\x16\x16\x16\x17\x16\x17\x17\x17\x17\x17\x18\x17" +
	"\x18\x18\x16\x17\x18\x17\x17\x17\x17\x15\x16\x17\x16\x17\x17\x18" +
	"\x16\x15\x14\x16\x16\x17\x17\x15\x17\x16\x16\x18\x15\x16\x17\x17" +
	"\x15\x15\x16\x15\x17\x16\x17\x17\x14\x16\x16\x16\x17\x16\x16\x17" +
	"\x1a\x1a\x14\x13\x16\x17\x16\x19\x1a\x1a\x1a\x1b\x1b\x1a\x18\x19" +
	"\x13\x15\x1a\x1b\x1b\x1a\x1b\x18\x15\x15\x1a\x1a\x1c\x1b\x1b\x1b" +
	"\x14\x18\x14\x15\x16\x15\x15\x17\x16\x16\x19\x19\x18\x18\x1a\x17" +
	"\x1a\x1b\x1a\x1a\x1b\x1b\x1b\x1b\x1b\x1c\x1b\x1b\x1b\x1b\x1b\x1a"

const (
	minCode   = 5  // bits of the shortest code
	maxCode   = 30 // bits of the longest
	shortBits = 11 // codes of up to that many bits are found by one look-up, two at once if both fit
)

// code is the code of one byte, in the low bits.
type code struct {
	bits uint32
	n    uint8
}

// rank describes the codes of one length: they are from first up, for symbols[at:].
type rank struct {
	first, end uint32 // end is the first code of that length that is a longer code's prefix
	at         uint16
}

var (
	codes   [256]code
	symbols [256]byte // ordered by code
	ranks   [maxCode + 1]rank
	// short maps the next bits to what they begin with; 0: a longer code.
	//
	//	| count of bytes | their bits | second byte | first byte |
	short [1 << shortBits]uint32
)

var _ = func() struct{} {
	next, at := uint32(0), 0
	for n := minCode; n <= maxCode; n++ {
		next <<= 1
		ranks[n] = rank{first: next, at: uint16(at)}
		for c := range 256 {
			if int(codeLengths[c]) != n {
				continue
			}
			codes[c] = code{next, uint8(n)}
			symbols[at] = byte(c)
			next++
			at++
		}
		ranks[n].end = next
	}
	for bits := range uint32(len(short)) {
		acc := uint64(bits) << (64 - shortBits)
		c, n := oneCode(acc)
		if n == 0 || n > shortBits {
			continue
		}
		short[bits] = 1<<24 | uint32(n)<<16 | uint32(c)
		if c2, n2 := oneCode(acc << n); n2 > 0 && n+n2 <= shortBits {
			short[bits] = 2<<24 | uint32(n+n2)<<16 | uint32(c2)<<8 | uint32(c)
		}
	}
	return struct{}{}
}()

// appendHuffmanDecoded appends the text of src. No allocation when dst has room for 8/5 of src.
func appendHuffmanDecoded(dst, src []byte) (out []byte, ok bool) {
	dst = slices.Grow(dst, len(src)*8/minCode+2) // one more than there can be: bytes are written in pairs
	at := len(dst)
	buf := dst[:cap(dst)]
	var acc uint64 // the next bits, from the top
	have := uint(0)
	i := 0
	for {
		// Fill up to at least 56 bits while there are that many.
		if i+8 <= len(src) {
			acc |= binary.BigEndian.Uint64(src[i:]) >> have
			i += int((63 - have) >> 3)
			have |= 56
		} else {
			for have <= 56 && i < len(src) {
				acc |= uint64(src[i]) << (56 - have)
				have += 8
				i++
			}
		}
		for have >= shortBits {
			s := short[acc>>(64-shortBits)]
			if s == 0 {
				if have < maxCode {
					break // fill first
				}
				c, n := oneCode(acc)
				if n == 0 {
					return dst, false
				}
				s = 1<<24 | uint32(n)<<16 | uint32(c)
			}
			buf[at+1], buf[at] = byte(s>>8), byte(s)
			at += int(s >> 24)
			n := uint(s>>16) & 63
			acc <<= n
			have -= n
		}
		if i == len(src) {
			break
		}
	}
	// The last bits: whole codes, then padding of up to 7 ones.
	for {
		c, n := oneCode(acc)
		if n == 0 || n > have {
			break
		}
		buf[at] = c
		at++
		acc <<= n
		have -= n
	}
	if have > 7 || acc != ^uint64(0)<<(64-have) {
		return dst, false
	}
	return buf[:at], true
}

// oneCode finds the code at the top of acc; n is 0 for EOS.
func oneCode(acc uint64) (c byte, n uint) {
	for n = minCode; n <= maxCode; n++ {
		r := &ranks[n]
		if v := uint32(acc >> (64 - n)); v < r.end {
			return symbols[uint32(r.at)+v-r.first], n
		}
	}
	return 0, 0
}

// huffmanLen returns the bytes that appendHuffman takes for s.
func huffmanLen(s []byte) int {
	n := uint(0)
	for _, c := range s {
		n += uint(codeLengths[c])
	}
	return int((n + 7) / 8)
}

// appendHuffman appends s in Huffman code.
func appendHuffman(dst, s []byte) []byte {
	acc, have := uint64(0), uint(0)
	for _, c := range s {
		k := codes[c]
		acc = acc<<k.n | uint64(k.bits)
		have += uint(k.n)
		if have >= 32 {
			have -= 32
			dst = binary.BigEndian.AppendUint32(dst, uint32(acc>>have))
		}
	}
	for have >= 8 {
		have -= 8
		dst = append(dst, byte(acc>>have))
	}
	if have > 0 {
		dst = append(dst, byte(acc<<(8-have))|byte(0xff>>have))
	}
	return dst
}
