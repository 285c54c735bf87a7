package proxyproto

import (
	"net/netip"
	"strconv"
)

// What follows the prefix, by family.
const (
	v1TCP4    = " TCP4 "
	v1TCP6    = " TCP6 "
	v1Unknown = " UNKNOWN"
)

// parseV1 reads a line that begins with the prefix. It is judged when it has ended: with CRLF, with
// only one of the two, or with the most bytes it may have.
func (h *Header) parseV1(view []byte) (n int, st Status) {
	line := view[:min(len(view), MaxV1Bytes)]
	end := 0
	for end < len(line) && line[end] != '\r' && line[end] != '\n' {
		end++
	}
	switch {
	case end+1 >= MaxV1Bytes:
		return 0, Malformed // no place for the LF
	case end == len(line) || end+1 == len(line) && line[end] == '\r':
		return 0, NeedMore
	case line[end] != '\r' || line[end+1] != '\n':
		return 0, Malformed
	}
	if !h.parseV1Line(line[len(v1Prefix):end]) {
		return 0, Malformed
	}
	return end + 2, Done
}

// parseV1Line reads what is between the prefix and CRLF.
func (h *Header) parseV1Line(b []byte) bool {
	if len(b) >= len(v1Unknown) && string(b[:len(v1Unknown)]) == v1Unknown {
		h.Local = true
		return len(b) == len(v1Unknown) || b[len(v1Unknown)] == ' ' // whatever follows is not looked at
	}
	if len(b) < len(v1TCP4) {
		return false
	}
	parse := parseIPv4
	switch string(b[:len(v1TCP4)]) {
	case v1TCP4:
	case v1TCP6:
		parse = parseIPv6
	default:
		return false
	}
	b = b[len(v1TCP4):]
	source, b := nextWord(b)
	destination, b := nextWord(b)
	sourcePort, b := nextWord(b)
	from, ok1 := parse(source)
	to, ok2 := parse(destination)
	fromPort, ok3 := parsePort(sourcePort)
	toPort, ok4 := parsePort(b)
	return ok1 && ok2 && ok3 && ok4 && h.setAddresses(netip.AddrPortFrom(from, fromPort), netip.AddrPortFrom(to, toPort))
}

// nextWord splits b at its first space, which is in neither part.
func nextWord(b []byte) (word, rest []byte) {
	for i, c := range b {
		if c == ' ' {
			return b[:i], b[i+1:]
		}
	}
	return b, nil
}

// parsePort reads a decimal number up to 65535 without leading zeros.
func parsePort(b []byte) (port uint16, ok bool) {
	n, ok := parseDecimal(b, 5)
	return uint16(n), ok && n <= 1<<16-1
}

// parseDecimal reads one to maxDigits digits, the first zero only when it is the only one.
func parseDecimal(b []byte, maxDigits int) (n int, ok bool) {
	if len(b) == 0 || len(b) > maxDigits || len(b) > 1 && b[0] == '0' {
		return 0, false
	}
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, true
}

// AppendV1 appends a header of version 1 for the connection from source to destination, whose bytes
// follow it. Addresses of two families, and unset ones, make it UNKNOWN; zones are left out. No
// allocation when dst has MaxV1Bytes of room.
func AppendV1(dst []byte, source, destination netip.AddrPort) []byte {
	source, destination, f := familyOf(source, destination)
	dst = append(dst, v1Prefix...)
	switch f {
	case familyTCP4:
		dst = append(dst, v1TCP4...)
	case familyTCP6:
		dst = append(dst, v1TCP6...)
	default:
		return append(dst, v1Unknown+"\r\n"...)
	}
	dst = append(source.Addr().AppendTo(dst), ' ')
	dst = append(destination.Addr().AppendTo(dst), ' ')
	dst = append(strconv.AppendUint(dst, uint64(source.Port()), 10), ' ')
	dst = strconv.AppendUint(dst, uint64(destination.Port()), 10)
	return append(dst, '\r', '\n')
}
