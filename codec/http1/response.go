package http1

import (
	"encoding/binary"

	"github.com/sluiceproxy/sluice/codec/header"
)

// ParseResponse reads one response head from the front of b, as ParseRequest does a request. req tells
// which request it answers: that decides the body.
//
//	b: | version SP status [SP phrase] CRLF | name ":" OWS value OWS CRLF | ... | CRLF | body... |
//
// Transfer is NoBody (HEAD, 1xx, 204, 304, or a length of zero), Length, Chunked, UntilClose, or Tunnel
// (101 where an upgrade was asked for, and 2xx to CONNECT, whose framing fields mean nothing). HEAD and
// 304 keep their declared ContentLength beside NoBody. An interim response (1xx other than 101) leaves
// the request waiting for the next head. Empty lines before the status line are refused: bytes between
// responses are nobody's. No allocation once h has room for the fields.
func ParseResponse(b []byte, seen int, o *Options, req RequestInfo, h *header.Head) (n int, e Err) {
	all := len(b)
	if all > o.MaxHeadBytes {
		b = b[:o.MaxHeadBytes]
	}
	if seen < len(statusPrefix) || !onlyWholeLines(b, 0, seen, o, h) {
		h.Reset(b)
		if n, e = parseResponse(b, o, req, h); n > 0 || e != OK {
			if n > 0 {
				h.SetBase(b[:n:n])
			}
			return n, e
		}
	}
	if len(b) < all {
		h.Reset(b)
		_, _ = parseStatusLine(b, h)
		return 0, ErrTooLarge
	}
	return 0, OK
}

func parseResponse(b []byte, o *Options, req RequestInfo, h *header.Head) (n int, e Err) {
	i, e := parseStatusLine(b, h)
	if i == 0 {
		return 0, e
	}
	n, e = parseFields(b, i, o, h)
	if n == 0 {
		return 0, e
	}
	if e = responseFraming(o, req, h); e != OK {
		return 0, e
	}
	return n, OK
}

// statusPrefix begins every response. It is judged as far as it is there, so that another protocol is
// seen for what it is without waiting for a line end.
const statusPrefix = "HTTP/1."

// parseStatusLine reads the line at the front of b. Returns the place after it; 0 and OK when it is
// incomplete. The phrase, and the space before it, may be missing.
func parseStatusLine(b []byte, h *header.Head) (end int, e Err) {
	k := min(len(b), len(statusPrefix))
	if string(b[:k]) != statusPrefix[:k] {
		return 0, ErrStatusLine
	}
	if len(b) < len("HTTP/1.1 200\n") {
		return 0, lineErr(b, 0, ErrStatusLine)
	}
	switch binary.LittleEndian.Uint64(b[:8]) {
	case wordHTTP11:
		h.Version = header.HTTP11
	case wordHTTP10:
		h.Version = header.HTTP10
	default:
		return 0, lineErr(b, 0, ErrStatusLine)
	}
	hundreds, tens, digits := b[9]-'0', b[10]-'0', b[11]-'0'
	if b[8] != ' ' || hundreds-1 > 8 || tens > 9 || digits > 9 {
		return 0, lineErr(b, 0, ErrStatusLine)
	}
	h.Status = uint16(hundreds)*100 + uint16(tens)*10 + uint16(digits)
	i := 12
	if b[i] == ' ' {
		from := i + 1
		i = valueEnd(b, from)
		h.Reason = span(from, i)
	}
	if end = lineEnd(b, i); end == 0 {
		return 0, lineErr(b, 0, ErrStatusLine)
	}
	return end, OK
}

// responseFraming works out how the body of a response ends (RFC 9112 6.3, HC-45 to HC-47).
func responseFraming(o *Options, req RequestInfo, h *header.Head) Err {
	persistence(h)
	switch s := h.Status; {
	case s == 101 && !req.Upgrade:
		return ErrUnaskedUpgrade
	case s < 200 || s == 204:
		return bodilessFraming(h)
	case s < 300 && req.Method == header.MethodConnect:
		h.Transfer = header.Tunnel
		return OK
	}
	if e := bodyFraming(o, h, false); e != OK {
		return e
	}
	switch {
	case req.Method == header.MethodHead || h.Status == 304:
		h.Transfer = header.NoBody
	case h.Transfer == header.NoBody && h.ContentLength < 0:
		h.Transfer, h.Close = header.UntilClose, true
	}
	return OK
}

// bodilessFraming is for 1xx and 204, which may declare no body at all.
func bodilessFraming(h *header.Head) Err {
	if h.Has(header.TransferEncoding) {
		return ErrTransferEncodingNotAllowed
	}
	if i := h.Index(header.ContentLength); i >= 0 {
		if h.Next(i) >= 0 || header.ParseLength(h.Bytes(h.Fields[i].Value)) != 0 {
			return ErrContentLengthNotAllowed
		}
		h.Remove(header.ContentLength)
	}
	h.Transfer = header.NoBody
	if h.Status == 101 {
		h.Transfer = header.Tunnel
	}
	return OK
}
