package proxyproto

import "net/netip"

// netip.ParseAddr reads the same addresses, but out of a string, which would have to be allocated.

// parseIPv4 reads four numbers up to 255 without leading zeros, with dots between.
func parseIPv4(b []byte) (a netip.Addr, ok bool) {
	v, ok := dottedQuad(b)
	return netip.AddrFrom4(v), ok
}

func dottedQuad(b []byte) (v [4]byte, ok bool) {
	for i := range v {
		part := b
		if i < len(v)-1 {
			dot := 0
			for dot < len(b) && b[dot] != '.' {
				dot++
			}
			if dot == len(b) {
				return v, false
			}
			part, b = b[:dot], b[dot+1:]
		}
		n, ok := parseDecimal(part, 3)
		if !ok || n > 255 {
			return v, false
		}
		v[i] = byte(n)
	}
	return v, true
}

// parseIPv6 reads the text of RFC 4291 2.2: groups of hexadecimal digits with colons between, "::" once
// for one or more groups of zeros, a dotted quad for the last two. No zone: it means nothing elsewhere.
func parseIPv6(b []byte) (a netip.Addr, ok bool) {
	var v [16]byte
	at, gap := 0, -1 // bytes written, and of those the ones before "::"
	if len(b) >= 2 && b[0] == ':' && b[1] == ':' {
		gap, b = 0, b[2:]
	}
	for len(b) > 0 {
		if at == len(v) {
			return a, false
		}
		n, digits := parseHex(b)
		if digits == 0 || digits > 4 {
			return a, false
		}
		if digits < len(b) && b[digits] == '.' {
			quad, ok := dottedQuad(b)
			if !ok || at > len(v)-len(quad) {
				return a, false
			}
			at += copy(v[at:], quad[:])
			break
		}
		v[at], v[at+1] = byte(n>>8), byte(n)
		at += 2
		if b = b[digits:]; len(b) == 0 {
			break
		}
		if b[0] != ':' || len(b) == 1 {
			return a, false
		}
		if b = b[1:]; b[0] == ':' {
			if gap >= 0 {
				return a, false
			}
			gap, b = at, b[1:]
		}
	}
	if gap < 0 {
		return netip.AddrFrom16(v), at == len(v)
	}
	tail := at - gap
	copy(v[len(v)-tail:], v[gap:at])
	clear(v[gap : len(v)-tail])
	return netip.AddrFrom16(v), at < len(v)
}

// parseHex reads the digits b begins with, up to five: one more than a group may have.
func parseHex(b []byte) (n, digits int) {
	for digits < len(b) && digits < 5 {
		c := b[digits]
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return n, digits
		}
		n = n<<4 | int(c)
		digits++
	}
	return n, digits
}
