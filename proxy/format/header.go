package format

import (
	"fmt"
	"strings"

	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/proxy/streaminfo"
)

// field is a header or a pseudo-header of a request or response.
type field struct {
	name string // lower case; empty: none
	id   header.Known
	part part
}

// part is where a field's value is.
type part uint8

const (
	inFields part = iota
	isMethod
	isPath
	isAuthority
	isScheme
	isStatus
)

// compileHeader compiles %REQ(X?Y):Z%, %RESP(X?Y):Z% and %TRAILER(X?Y):Z%.
func compileHeader(c command) (op, error) {
	o := op{limit: c.limit}
	first, second, both := strings.Cut(c.argument, "?")
	var err error
	if o.first, err = newField(c.name, first); err != nil {
		return o, err
	}
	if both {
		if o.second, err = newField(c.name, second); err != nil {
			return o, err
		}
	}
	switch c.name {
	case "REQ":
		o.eval, o.request = appendRequestHeader, true
	case "RESP":
		o.eval, o.response = appendResponseHeader, true
	default:
		o.eval, o.response = appendTrailer, true
	}
	return o, nil
}

func newField(operator, name string) (field, error) {
	name = strings.ToLower(strings.TrimSpace(name))
	f := field{name: name}
	if name == "" || strings.ContainsAny(name, "\r\n\x00") {
		return f, fmt.Errorf("header name %q", name)
	}
	switch {
	case operator == "REQ":
		switch name {
		case ":method":
			f.part = isMethod
		case ":path":
			f.part = isPath
		case ":authority", "host":
			f.part = isAuthority
		case ":scheme":
			f.part = isScheme
		}
	case operator == "RESP" && name == ":status":
		f.part = isStatus
	}
	if name[0] == ':' && f.part == inFields {
		return f, fmt.Errorf("there is no header %s here", name)
	}
	f.id = header.Lookup([]byte(name))
	return f, nil
}

// value returns the first value of f in h; ok is false when there is none.
func (f *field) value(h *header.Head) (value []byte, ok bool) {
	var s header.Span
	switch f.part {
	case isMethod:
		s = h.MethodText
	case isPath:
		s = h.Path
	case isAuthority:
		s = h.Authority
	case isScheme:
		s = h.Scheme
	default:
		i := h.Find(f.id, f.name)
		if i < 0 {
			return nil, false
		}
		return h.Bytes(h.Fields[i].Value), true
	}
	return h.Bytes(s), s.Len > 0
}

func (o *op) appendFrom(dst []byte, h *header.Head) ([]byte, bool) {
	if h == nil {
		return dst, false
	}
	v, ok := o.first.value(h)
	if !ok && o.second.name != "" {
		v, ok = o.second.value(h)
	}
	return append(dst, v[:cut(len(v), o.limit)]...), ok
}

func appendRequestHeader(o *op, dst []byte, i *streaminfo.Info) ([]byte, bool) {
	return o.appendFrom(dst, i.Request)
}

func appendResponseHeader(o *op, dst []byte, i *streaminfo.Info) ([]byte, bool) {
	if i.Response == nil {
		return dst, false
	}
	if o.first.part == isStatus || o.second.part == isStatus {
		return o.appendStatus(dst, i)
	}
	return o.appendFrom(dst, i.Response)
}

// appendStatus is for formats that ask for :STATUS, which no field holds.
func (o *op) appendStatus(dst []byte, i *streaminfo.Info) ([]byte, bool) {
	if o.first.part != isStatus {
		if v, ok := o.first.value(i.Response); ok {
			return append(dst, v[:cut(len(v), o.limit)]...), true
		}
	}
	s := i.Response.Status
	if s < 100 || s > 999 {
		return dst, false
	}
	digits := [3]byte{byte('0' + s/100), byte('0' + s/10%10), byte('0' + s%10)}
	return append(dst, digits[:cut(3, o.limit)]...), true
}

func cut(n, limit int) int {
	if limit >= 0 {
		return min(n, limit)
	}
	return n
}

func appendTrailer(o *op, dst []byte, i *streaminfo.Info) ([]byte, bool) {
	return o.appendFrom(dst, i.ResponseTrailers)
}

func versionText(v header.Version) string {
	if v == 0 {
		return ""
	}
	return v.String()
}
