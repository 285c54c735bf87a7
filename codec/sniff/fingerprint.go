package sniff

import (
	"crypto/md5"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"strconv"
)

// JA3 appends the 32 hexadecimal digits of the client's JA3 fingerprint: the MD5 of
//
//	version,ciphers,extensions,groups,point formats
//
// in decimal, as sent, the values of a list joined with hyphens and GREASE left out. For a hello
// parsed as TLS only. No allocation once h has room. Source: github.com/salesforce/ja3.
func (h *ClientHello) JA3(dst []byte) []byte {
	h.text = h.appendJA3Text(h.text[:0])
	sum := md5.Sum(h.text)
	return hex.AppendEncode(dst, sum[:])
}

func (h *ClientHello) appendJA3Text(b []byte) []byte {
	b = strconv.AppendUint(b, uint64(h.LegacyVersion), 10)
	b = appendDecimals(append(b, ','), h.ciphers)
	b = append(b, ',')
	first := true
	for e := (cursor{b: h.extensions}); len(e.b) > 0; {
		kind := e.uint16()
		e.take(int(e.uint16()))
		b, first = appendDecimal(b, kind, first)
	}
	b = appendDecimals(append(b, ','), h.groups)
	b = append(b, ',')
	for i, p := range h.points {
		b, _ = appendDecimal(b, uint16(p), i == 0)
	}
	return b
}

// appendDecimals appends a list of two-byte values.
func appendDecimals(b, list []byte) []byte {
	for first := true; len(list) > 0; list = list[2:] {
		b, first = appendDecimal(b, binary.BigEndian.Uint16(list), first)
	}
	return b
}

// appendDecimal appends a value unless it is GREASE; first says that none was written before it.
func appendDecimal(b []byte, v uint16, first bool) ([]byte, bool) {
	if isGREASE(v) {
		return b, first
	}
	if !first {
		b = append(b, '-')
	}
	return strconv.AppendUint(b, uint64(v), 10), false
}

// ja4HashDigits is how much of a SHA-256 a JA4 fingerprint shows.
const ja4HashDigits = 12

// JA4 appends the 36 characters of the client's JA4 fingerprint:
//
//	t13d1516h2_8daaf6152771_e5627efa2ab1
//	||| | | |  |            SHA-256 of extensions (sorted, without server name and ALPN) _ signature algorithms
//	||| | | |  SHA-256 of the ciphers, sorted
//	||| | | first and last character of the first protocol of ALPN
//	||| | extensions, at most 99
//	||| ciphers, at most 99
//	||d with a server name, i without
//	|version
//	TCP
//
// GREASE is left out everywhere. For a hello parsed as TLS only. No allocation once h has room.
// Source: github.com/FoxIO-LLC/ja4, technical_details/JA4.md (BSD 3-Clause).
func (h *ClientHello) JA4(dst []byte) []byte {
	dst = append(dst, 't')
	dst = append(dst, ja4Version(h.MaxVersion())...)
	if h.hasServerName {
		dst = append(dst, 'd')
	} else {
		dst = append(dst, 'i')
	}
	h.sortPairs(h.ciphers)
	dst = appendCount(dst, len(h.sorted))
	h.text = appendHexList(h.text[:0], h.sorted)
	extensions := h.sortExtensions()
	dst = appendCount(dst, extensions)
	dst = append(h.appendJA4Protocol(dst), '_')
	dst = append(appendHash(dst, h.text), '_')

	h.text = appendHexList(h.text[:0], h.sorted)
	if len(h.sorted) > 0 {
		h.text = appendSignatures(h.text, h.signatures)
	}
	return appendHash(dst, h.text)
}

// sortPairs puts the values of a list, without GREASE, into h.sorted.
func (h *ClientHello) sortPairs(list []byte) {
	h.sorted = h.sorted[:0]
	for ; len(list) > 0; list = list[2:] {
		if v := binary.BigEndian.Uint16(list); !isGREASE(v) {
			h.sorted = append(h.sorted, v)
		}
	}
	slices.Sort(h.sorted)
}

// sortExtensions puts the types to hash into h.sorted, and returns how many to count.
func (h *ClientHello) sortExtensions() (count int) {
	h.sorted = h.sorted[:0]
	for e := (cursor{b: h.extensions}); len(e.b) > 0; {
		kind := e.uint16()
		e.take(int(e.uint16()))
		if isGREASE(kind) {
			continue
		}
		count++
		if kind != extServerName && kind != extProtocols {
			h.sorted = append(h.sorted, kind)
		}
	}
	slices.Sort(h.sorted)
	return count
}

func ja4Version(v uint16) string {
	switch v {
	case 0x0304:
		return "13"
	case 0x0303:
		return "12"
	case 0x0302:
		return "11"
	case 0x0301:
		return "10"
	case 0x0300:
		return "s3"
	case 0x0002:
		return "s2"
	case 0xfeff:
		return "d1"
	case 0xfefd:
		return "d2"
	case 0xfefc:
		return "d3"
	}
	return "00"
}

// appendJA4Protocol appends two characters for the protocol the client prefers.
func (h *ClientHello) appendJA4Protocol(dst []byte) []byte {
	list := h.Protocols()
	name, ok := list.Next()
	if !ok {
		return append(dst, '0', '0')
	}
	first, last := name[0], name[len(name)-1]
	if alphanumeric(first) && alphanumeric(last) {
		return append(dst, first, last)
	}
	return append(dst, hexDigits[first>>4], hexDigits[last&15])
}

const hexDigits = "0123456789abcdef"

func alphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z'
}

// appendCount appends two digits.
func appendCount(dst []byte, n int) []byte {
	n = min(n, 99)
	return append(dst, byte('0'+n/10), byte('0'+n%10))
}

// appendHexList appends four digits for each value, with commas between.
func appendHexList(dst []byte, list []uint16) []byte {
	for i, v := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendHex(dst, v)
	}
	return dst
}

func appendHex(dst []byte, v uint16) []byte {
	return append(dst, hexDigits[v>>12], hexDigits[v>>8&15], hexDigits[v>>4&15], hexDigits[v&15])
}

// appendSignatures appends the algorithms as sent, after an underscore; none, nothing.
func appendSignatures(dst, list []byte) []byte {
	for mark := byte('_'); len(list) > 0; list = list[2:] {
		if v := binary.BigEndian.Uint16(list); !isGREASE(v) {
			dst = appendHex(append(dst, mark), v)
			mark = ','
		}
	}
	return dst
}

// appendHash appends the digits shown of the hash of text; zeros stand for no text.
func appendHash(dst, text []byte) []byte {
	if len(text) == 0 {
		return append(dst, "000000000000"...)
	}
	sum := sha256.Sum256(text)
	return hex.AppendEncode(dst, sum[:ja4HashDigits/2])
}
