package http1

import "bytes"

// ValidAuthority says whether b can be the value of Host or :authority: [userinfo@] host [":" port],
// made of RFC 3986 characters, with a host that is not empty (HC-3).
func ValidAuthority(b []byte) bool {
	// Nearly all are a name and perhaps a port.
	i := 0
	for i < len(b) && class[b[i]]&(authorityByte|authorityMark) == authorityByte {
		i++
	}
	switch {
	case i == len(b):
		return i > 0
	case b[i] == ':' && i > 0 && validPort(b[i+1:]):
		return true
	}
	for _, c := range b[i:] {
		if class[c]&authorityByte == 0 {
			return false
		}
	}
	return validMarks(b)
}

// validMarks checks the structure of an authority whose bytes are all allowed.
func validMarks(b []byte) bool {
	if i := bytes.LastIndexByte(b, '@'); i >= 0 {
		// RFC 3986 3.2.1: no second '@' and no bracket in userinfo.
		if bytes.ContainsAny(b[:i], "@[]") || !validEscapes(b[:i]) {
			return false
		}
		b = b[i+1:]
	}
	host, port, ok := SplitPort(b)
	if !ok || len(host) == 0 || !validPort(port) {
		return false
	}
	if host[0] != '[' {
		return bytes.IndexByte(host, ']') < 0 && bytes.IndexByte(host, '[') < 0 && validEscapes(host)
	}
	return validLiteral(host[1 : len(host)-1])
}

// validLiteral checks the characters between the brackets of an IPv6 literal, zone included (RFC 6874).
func validLiteral(b []byte) bool {
	if i := bytes.IndexByte(b, '%'); i >= 0 {
		if !validEscapes(b[i:]) || bytes.ContainsAny(b[i:], "[]@:") {
			return false
		}
		b = b[:i]
	}
	for _, c := range b {
		if hexDigit[c] > 15 && c != ':' && c != '.' {
			return false
		}
	}
	return bytes.IndexByte(b, ':') >= 0
}

// validEscapes says whether every '%' begins a percent-encoded byte.
func validEscapes(b []byte) bool {
	for i := 0; i < len(b); i++ {
		if b[i] != '%' {
			continue
		}
		if i+2 >= len(b) || hexDigit[b[i+1]] > 15 || hexDigit[b[i+2]] > 15 {
			return false
		}
		i += 2
	}
	return true
}

// validPort accepts no digits (RFC 3986 allows "host:") up to 65535.
func validPort(b []byte) bool {
	n := 0
	for _, c := range b {
		if c-'0' > 9 {
			return false
		}
		if n = n*10 + int(c-'0'); n > 65535 {
			return false
		}
	}
	return true
}

// validHostPort is ValidAuthority without userinfo.
func validHostPort(b []byte) bool {
	return bytes.IndexByte(b, '@') < 0 && ValidAuthority(b)
}

// validConnectTarget says whether b is host ":" port, both there (RFC 9112 3.2.3).
func validConnectTarget(b []byte) bool {
	_, port, ok := SplitPort(b)
	return ok && len(port) > 0 && validHostPort(b)
}

// SplitPort takes host [":" port] apart; the host keeps its brackets and port is nil when there is no
// colon. Not ok: an unclosed bracket, anything but a port after one, or colons without brackets.
func SplitPort(authority []byte) (host, port []byte, ok bool) {
	end := bytes.IndexByte(authority, ':')
	if len(authority) > 0 && authority[0] == '[' {
		end = bytes.IndexByte(authority, ']') + 1
		if end == 0 {
			return authority, nil, false
		}
	}
	if end < 0 || end == len(authority) {
		return authority, nil, true
	}
	host, port = authority[:end], authority[end+1:]
	return host, port, authority[end] == ':' && bytes.IndexByte(port, ':') < 0
}

// StripPort returns the authority without its port (strip_any_host_port, HC-94). A view.
func StripPort(authority []byte) []byte {
	host, _, ok := SplitPort(authority)
	if !ok {
		return authority
	}
	return host
}

// StripMatchingPort returns the authority without its port when that is port
// (strip_matching_host_port, HC-94). A view.
func StripMatchingPort(authority []byte, port uint16) []byte {
	host, digits, ok := SplitPort(authority)
	if !ok || len(digits) == 0 || len(digits) > 5 {
		return authority
	}
	n := 0
	for _, c := range digits {
		if c-'0' > 9 {
			return authority
		}
		n = n*10 + int(c-'0')
	}
	if n != int(port) {
		return authority
	}
	return host
}

// AppendWithoutHostDot appends the authority without the dot its host ends in (strip_trailing_host_dot,
// HC-94); changed is false, and dst as it was, when there is no such dot.
func AppendWithoutHostDot(dst, authority []byte) (out []byte, changed bool) {
	host, _, ok := SplitPort(authority)
	if !ok || len(host) < 2 || host[len(host)-1] != '.' {
		return dst, false
	}
	dst = append(dst, host[:len(host)-1]...)
	return append(dst, authority[len(host):]...), true
}
