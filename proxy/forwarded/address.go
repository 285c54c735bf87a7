package forwarded

import "net/netip"

// parseAddr reads an IPv4 or IPv6 address (RFC 4291 2.2) without zone, port or brackets. It accepts
// what netip.ParseAddr does but for zones, returns IPv4-mapped addresses as IPv4, and does not
// allocate, which needs bytes instead of a string.
func parseAddr(b []byte) (netip.Addr, bool) {
	for _, c := range b {
		if c == ':' {
			return parse6(b)
		}
		if c == '.' {
			break
		}
	}
	a, ok := parse4(b)
	return netip.AddrFrom4(a), ok
}

// parse4 reads four decimal numbers without leading zeros.
func parse4(b []byte) (out [4]byte, ok bool) {
	part, digits, n := 0, 0, 0
	for _, c := range b {
		switch {
		case c == '.':
			if digits == 0 || part == 3 {
				return out, false
			}
			out[part] = byte(n)
			part, digits, n = part+1, 0, 0
		case c < '0' || c > '9' || digits > 0 && n == 0:
			return out, false
		default:
			n = n*10 + int(c-'0')
			digits++
			if n > 255 {
				return out, false
			}
		}
	}
	if part != 3 || digits == 0 {
		return out, false
	}
	out[3] = byte(n)
	return out, true
}

// parse6 reads groups of up to four hex digits, with at most one "::" and an optional IPv4 tail.
func parse6(b []byte) (netip.Addr, bool) {
	var out [16]byte
	at, gap := 0, -1 // bytes written; where "::" stood
	if len(b) >= 2 && b[0] == ':' && b[1] == ':' {
		gap, b = 0, b[2:]
	}
	for len(b) > 0 {
		if at == 16 {
			return netip.Addr{}, false
		}
		n, digits := 0, 0
		for digits < len(b) && digits < 5 {
			v := hexValue(b[digits])
			if v < 0 {
				break
			}
			n = n<<4 | v
			digits++
		}
		if digits == 0 || digits > 4 {
			return netip.Addr{}, false
		}
		if digits < len(b) && b[digits] == '.' {
			v4, ok := parse4(b)
			if !ok || at > 12 {
				return netip.Addr{}, false
			}
			at += copy(out[at:], v4[:])
			break
		}
		out[at], out[at+1] = byte(n>>8), byte(n)
		at += 2
		b = b[digits:]
		if len(b) == 0 {
			break
		}
		if b[0] != ':' || len(b) == 1 {
			return netip.Addr{}, false
		}
		b = b[1:]
		if b[0] == ':' {
			if gap >= 0 {
				return netip.Addr{}, false
			}
			gap, b = at, b[1:]
		}
	}
	switch {
	case gap < 0:
		return netip.AddrFrom16(out).Unmap(), at == 16
	case at == 16:
		return netip.Addr{}, false // "::" stands for at least one group
	}
	tail := at - gap
	copy(out[16-tail:], out[gap:at])
	clear(out[gap : 16-tail])
	return netip.AddrFrom16(out).Unmap(), true
}

func hexValue(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10
	}
	return -1
}
