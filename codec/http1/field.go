package http1

import (
	"bytes"

	"github.com/sluiceproxy/sluice/codec/header"
)

// parseFields reads field lines from b[i:] up to and with the empty line that ends them.
//
//	b[i:]: | name ":" OWS value OWS CRLF | ... | CRLF | ...
//
// It pushes spans over b onto h; all fields, Host too. Returns the place after the empty line; 0 and OK
// when b ends before; or the first error of a complete line. Too many fields are an error only once the
// empty line is there, and the surplus is checked but not kept.
func parseFields(b []byte, i int, o *Options, h *header.Head) (end int, e Err) {
	left := min(o.MaxFields, header.MaxFields)
	for {
		if i >= len(b) {
			return 0, OK
		}
		start := i
		if c := b[i]; c <= ' ' {
			if n := lineEnd(b, i); n > 0 {
				if left < 0 {
					return 0, ErrTooManyFields
				}
				return n, OK
			}
			return 0, lineErr(b, start, blankErr(c))
		}
		i = colon(b, i)
		if i == len(b) {
			return 0, lineErr(b, start, ErrFieldName)
		}
		name := b[start:i]
		id := header.Lookup(name)
		drop := false
		if id == header.Unknown {
			if drop, e = checkName(name, o); e != OK {
				return 0, lineErr(b, start, e)
			}
		}
		for i++; i < len(b) && (b[i] == ' ' || b[i] == '\t'); i++ {
		}
		from := i
		i = valueEnd(b, i)
		to := i
		if i+1 < len(b) && b[i] == '\r' && b[i+1] == '\n' {
			i += 2
		} else if i < len(b) && b[i] == '\n' {
			i++
		} else {
			return 0, lineErr(b, start, ErrFieldValue)
		}
		for to > from && (b[to-1] == ' ' || b[to-1] == '\t') {
			to--
		}
		if drop {
			h.DroppedUnderscores++
			continue
		}
		if left--; left >= 0 {
			h.Push(header.Span{Off: uint32(start), Len: uint32(len(name))}, header.Span{Off: uint32(from), Len: uint32(to - from)}, id)
		}
	}
}

// lineEnd returns the place after the LF or CRLF at b[i] (RFC 9112 2.2), 0 when there is none or only
// a part of one.
func lineEnd(b []byte, i int) int {
	switch {
	case i < len(b) && b[i] == '\n':
		return i + 1
	case i+1 < len(b) && b[i] == '\r' && b[i+1] == '\n':
		return i + 2
	}
	return 0
}

// lineErr returns e when the line that starts at b[start] is complete, OK (need more) when it is not:
// that makes the answer the same wherever the reads were cut.
func lineErr(b []byte, start int, e Err) Err {
	if bytes.IndexByte(b[start:], '\n') < 0 {
		return OK
	}
	return e
}

// blankErr is the error of a field line that starts with c, a space or a control byte.
func blankErr(c byte) Err {
	switch c {
	case ' ', '\t':
		return ErrFolding
	case '\r':
		return ErrFieldValue
	}
	return ErrFieldName
}

// checkName checks a name outside the table of known ones, which have no underscore.
func checkName(name []byte, o *Options) (drop bool, e Err) {
	if !isToken(name) {
		return false, ErrFieldName
	}
	if o.Underscores != UnderscoreAllow && bytes.IndexByte(name, '_') >= 0 {
		if o.Underscores == UnderscoreReject {
			return false, ErrUnderscore
		}
		return true, OK
	}
	return false, OK
}

// onlyWholeLines says whether b[from:] holds nothing but complete, valid field lines and the beginning
// of one more, given that b[from:seen] was looked at before. Only the lines finished since are read, so
// a head that arrives byte by byte costs linear time.
func onlyWholeLines(b []byte, from, seen int, o *Options, h *header.Head) bool {
	seen = min(seen, len(b))
	if bytes.IndexByte(b[seen:], '\n') < 0 {
		return true
	}
	line := bytes.LastIndexByte(b[from:seen], '\n')
	if line < 0 {
		return false // the start line itself has just become complete
	}
	h.Reset(b)
	end, e := parseFields(b, from+line+1, o, h)
	return end == 0 && e == OK
}
