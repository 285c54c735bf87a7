package http1

import (
	"encoding/binary"

	"github.com/sluiceproxy/sluice/codec/header"
)

// maxEmptyLines is how many empty lines before a request line are skipped (RFC 9112 2.2 asks for one).
const maxEmptyLines = 4

// ParseRequest reads one request head from the front of b.
//
//	b: | CRLF... | method SP target SP version CRLF | name ":" OWS value OWS CRLF | ... | CRLF | body... |
//
// seen is the number of bytes of b an earlier call for the same head was given (0 first); with it a
// head that arrives byte by byte is read in linear time.
//
//   - n > 0: the head is b[:n] and h is filled; its spans are over b.
//   - n == 0 and e == OK: more bytes are needed; h is scratch. Call again with the same bytes and more.
//   - e != OK: the request is refused; h holds what was read so far, for the access log.
//
// Host is taken out of the fields; it is the Authority unless the target has one (RFC 9112 3.2.2).
// An HTTP/1.0 request may come without Authority. Transfer is NoBody, Length or Chunked; a declared
// length of zero is NoBody with ContentLength 0. Hop-by-hop fields stay until StripHopByHop.
// No allocation once h has room for the fields.
func ParseRequest(b []byte, seen int, o *Options, h *header.Head) (n int, e Err) {
	start := 0
	for range maxEmptyLines {
		end := lineEnd(b, start)
		if end == 0 {
			break
		}
		start = end
	}
	all := len(b)
	if all-start > o.MaxHeadBytes {
		b = b[:start+o.MaxHeadBytes]
	}
	if seen <= start || !onlyWholeLines(b, start, seen, o, h) {
		h.Reset(b)
		if n, e = parseRequest(b, start, o, h); n > 0 || e != OK {
			if n > 0 {
				h.SetBase(b[:n:n])
			}
			return n, e
		}
	}
	if len(b) < all {
		h.Reset(b)
		// Whatever can be had of the request line is worth logging.
		_, _ = parseRequestLine(b, start, o, h)
		return 0, ErrTooLarge
	}
	return 0, OK
}

func parseRequest(b []byte, start int, o *Options, h *header.Head) (n int, e Err) {
	i, e := parseRequestLine(b, start, o, h)
	if i == 0 {
		return 0, e
	}
	n, e = parseFields(b, i, o, h)
	if n == 0 {
		return 0, e
	}
	if e = takeHost(h); e != OK {
		return 0, e
	}
	if e = requestFraming(o, h); e != OK {
		return 0, e
	}
	return n, OK
}

const (
	wordHTTP11 = 0x312e312f50545448 // "HTTP/1.1", little endian
	wordHTTP10 = 0x302e312f50545448 // "HTTP/1.0"
	wordGet    = 0x20544547         // "GET "
)

// parseRequestLine reads the line at b[i:]. Returns the place after it; 0 and OK when it is incomplete.
func parseRequestLine(b []byte, i int, o *Options, h *header.Head) (end int, e Err) {
	start := i
	if i == len(b) {
		return 0, OK
	}
	if len(b)-i > 4 && binary.LittleEndian.Uint32(b[i:i+4]) == wordGet {
		h.Method = header.MethodGet
		i += 3
	} else {
		// The first byte is judged at once, so that a TLS hello does not wait for a line end.
		if class[b[i]]&tokenByte == 0 && b[i] != '\r' {
			return 0, ErrRequestLine
		}
		for i < len(b) && class[b[i]]&tokenByte != 0 {
			i++
		}
		if i == len(b) || b[i] != ' ' || i == start {
			return 0, lineErr(b, start, ErrRequestLine)
		}
		h.Method = header.MethodOf(b[start:i])
		if h.Method == header.MethodOther && !o.AllowCustomMethods && !registered(b[start:i]) {
			h.MethodText = span(start, i)
			return 0, lineErr(b, start, ErrMethod)
		}
	}
	h.MethodText = span(start, i)
	from := i + 1
	i = targetEnd(b, from)
	to := i
	if i == len(b) {
		return 0, OK
	}
	if b[i] != ' ' {
		h.Path = span(from, to)
		return 0, lineErr(b, start, noVersionErr(b, from, i))
	}
	i++
	if len(b)-i < 9 {
		return 0, lineErr(b, start, ErrRequestLine)
	}
	word := binary.LittleEndian.Uint64(b[i : i+8])
	if end = lineEnd(b, i+8); end == 0 {
		h.Path = span(from, to)
		return 0, lineErr(b, start, ErrRequestLine)
	}
	switch {
	case word == wordHTTP11:
		h.Version = header.HTTP11
	case !isVersion(b[i : i+8]):
		h.Path = span(from, to)
		return 0, ErrRequestLine
	default:
		if word == wordHTTP10 {
			h.Version = header.HTTP10
		}
		if h.Version != header.HTTP10 || !o.AllowHTTP10 {
			h.Path = span(from, to)
			return 0, ErrLowVersion
		}
	}
	if e = parseTarget(b, from, to, o, h); e != OK {
		return 0, e
	}
	return end, OK
}

// noVersionErr is the error of a request line whose target, from b[from], is not followed by a space
// but by b[i]: a line that ends there is a simple request of HTTP/0.9.
func noVersionErr(b []byte, from, i int) Err {
	if i > from && lineEnd(b, i) > 0 {
		return ErrLowVersion
	}
	return ErrTarget
}

// isVersion says whether v, of eight bytes, is "HTTP/" DIGIT "." DIGIT.
func isVersion(v []byte) bool {
	return string(v[:5]) == "HTTP/" && v[5]-'0' <= 9 && v[6] == '.' && v[7]-'0' <= 9
}

func span(from, to int) header.Span {
	return header.Span{Off: uint32(from), Len: uint32(to - from)}
}

// registered says whether b is one of the further methods Envoy accepts without allow_custom_methods.
func registered(b []byte) bool {
	switch string(b) {
	case "ACL", "BIND", "CHECKOUT", "COPY", "LINK", "LOCK", "M-SEARCH", "MERGE", "MKACTIVITY",
		"MKCALENDAR", "MKCOL", "MOVE", "NOTIFY", "PROPFIND", "PROPPATCH", "PURGE", "REBIND", "REPORT",
		"SEARCH", "SOURCE", "SUBSCRIBE", "UNBIND", "UNLINK", "UNLOCK", "UNSUBSCRIBE":
		return true
	}
	return false
}

// parseTarget takes b[from:to], all visible ASCII, apart by its form (RFC 9112 3.2).
func parseTarget(b []byte, from, to int, o *Options, h *header.Head) Err {
	h.Path = span(from, to)
	if from == to {
		return ErrTarget
	}
	if h.Method == header.MethodConnect {
		if !validConnectTarget(b[from:to]) {
			return ErrTarget
		}
		h.Authority, h.Path = h.Path, header.Span{}
		return OK
	}
	switch {
	case b[from] == '/':
		return OK
	case to-from == 1 && b[from] == '*':
		if h.Method != header.MethodOptions {
			return ErrTarget
		}
		return OK
	}
	return absoluteTarget(b, from, to, o, h)
}

// absoluteTarget splits scheme "://" authority path (HC-2, RT-120 to RT-122). The fragment check is
// left to NormalizePath, as for the origin form.
func absoluteTarget(b []byte, from, to int, o *Options, h *header.Head) Err {
	t := b[from:to]
	s := colon(t, 0)
	if s == 0 || s+3 > len(t) || t[s+1] != '/' || t[s+2] != '/' || !isScheme(t[:s]) {
		return ErrTarget
	}
	end := s + 3
	for end < len(t) && t[end] != '/' && t[end] != '?' && t[end] != '#' {
		end++
	}
	// Userinfo in a target from outside is an error (RFC 9110 4.2.4).
	if !validHostPort(t[s+3 : end]) {
		return ErrTarget
	}
	var scheme string
	switch {
	case header.EqualFold(t[:s], "http"):
		scheme = "http"
	case header.EqualFold(t[:s], "https"):
		scheme = "https"
	default:
		return ErrScheme
	}
	if !o.AllowAbsoluteURL {
		return OK
	}
	h.AbsoluteForm = true
	h.SetScheme(scheme)
	h.Authority = span(from+s+3, from+end)
	h.Path = span(from+end, to)
	if end == len(t) || t[end] != '/' {
		h.SetPathPrefixed("/", t[end:])
	}
	return OK
}

// isScheme says whether b is ALPHA *( ALPHA / DIGIT / "+" / "-" / "." ) (RFC 3986 3.1).
func isScheme(b []byte) bool {
	for i, c := range b {
		alpha := (c|0x20)-'a' <= 'z'-'a'
		if !alpha && (i == 0 || c-'0' > 9 && c != '+' && c != '-' && c != '.') {
			return false
		}
	}
	return len(b) > 0
}

// takeHost moves Host out of the fields (HC-2, HC-3).
func takeHost(h *header.Head) Err {
	i := h.Index(header.Host)
	if i < 0 {
		if h.Version == header.HTTP11 {
			return ErrMissingHost
		}
		return OK
	}
	f := h.Fields[i]
	if h.Next(i) >= 0 {
		return ErrHost
	}
	h.RemoveAt(i)
	h.HostName = f.Name
	if f.Value.Len == 0 && h.Version == header.HTTP10 {
		return OK
	}
	if f.Value.Len == 0 {
		// An http URI with an empty host is invalid (RFC 9110 4.2.1).
		return ErrMissingHost
	}
	if !ValidAuthority(h.Bytes(f.Value)) {
		return ErrHost
	}
	if h.Authority.Len == 0 {
		h.Authority = f.Value
	}
	return OK
}
