package forwarded

import (
	"bytes"

	"github.com/sluiceproxy/sluice/codec/header"
)

// sanitizeReferer removes a Referer that is repeated, is no URI reference, or holds a fragment or
// user information, which RFC 9110 10.1.3 forbids to send (RT-101).
func sanitizeReferer(h *header.Head) {
	i := h.Index(header.Referer)
	if i < 0 {
		return
	}
	if h.Next(i) >= 0 || !validReferer(h.Bytes(h.Fields[i].Value)) {
		h.Remove(header.Referer)
	}
}

// validReferer says whether b is an absolute URI or a partial reference without fragment and user
// information. Bytes are what browsers write unescaped, a few more than RFC 3986 has.
func validReferer(b []byte) bool {
	if len(b) == 0 {
		return false
	}
	for _, c := range b {
		if c <= ' ' || c >= 0x7f || c == '#' || c == '"' || c == '<' || c == '>' {
			return false
		}
	}
	rest := b
	if i := bytes.IndexAny(b, ":/?"); i >= 0 && b[i] == ':' {
		if !validScheme(b[:i]) {
			return false
		}
		rest = b[i+1:]
	}
	if len(rest) < 2 || rest[0] != '/' || rest[1] != '/' {
		return len(rest) > 0
	}
	authority := rest[2:]
	if i := bytes.IndexAny(authority, "/?\\"); i >= 0 {
		authority = authority[:i]
	}
	return len(authority) > 0 && bytes.IndexByte(authority, '@') < 0
}

func validScheme(b []byte) bool {
	for i, c := range b {
		letter := 'a' <= c|0x20 && c|0x20 <= 'z'
		if !letter && (i == 0 || c != '+' && c != '-' && c != '.' && (c < '0' || c > '9')) {
			return false
		}
	}
	return len(b) > 0
}
