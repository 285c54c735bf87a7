package http2

import (
	"bytes"

	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/codec/http1"
	"github.com/sluiceproxy/sluice/codec/http2/hpack"
)

// fieldsKind is what the fields being read are of.
type fieldsKind uint8

const (
	requestFields fieldsKind = iota
	responseFields
	trailerFields
)

// fields is one head or trailer section while it is decoded: what the rules of RFC 9113 8 need to know
// across fields.
type fields struct {
	h           *header.Head
	crumbs      []header.Span // values of Cookie after the first (HC-65)
	host        header.Span
	protocol    header.Span
	maxBytes    int
	left        int // how many more fields there may be
	cookie      int // place of the Cookie field plus one
	flaw        Err // the first
	kind        fieldsKind
	underscores http1.UnderscorePolicy
	seen        uint8 // bits of hpack.Pseudo
	regular     bool  // a regular field has come
	hasHost     bool
}

func (m *fields) has(p hpack.Pseudo) bool { return m.seen&(1<<p) != 0 }

// add takes one decoded field, whose spans are over text.
func (m *fields) add(text []byte, f *hpack.Field) Err {
	if m.maxBytes -= int(f.Size); m.maxBytes < 0 {
		return ErrHeadTooLarge
	}
	if f.Pseudo != hpack.Regular {
		if m.left--; m.left < 0 {
			return ErrTooManyFields
		}
		return m.pseudo(text, f)
	}
	m.regular = true
	if f.Traits&(hpack.BadName|hpack.BadValue) != 0 {
		if f.Traits&hpack.BadName != 0 {
			return ErrFieldName
		}
		return ErrFieldValue
	}
	if f.Traits&hpack.Underscore != 0 && m.underscores != http1.UnderscoreAllow {
		if m.underscores == http1.UnderscoreReject {
			return ErrUnderscore
		}
		m.h.DroppedUnderscores++
		return OK
	}
	if care[f.ID] != 0 {
		if keep, e := m.special(text, f); !keep || e != OK {
			return e
		}
	}
	if m.left--; m.left < 0 {
		return ErrTooManyFields
	}
	m.h.Push(f.Name, f.Value, f.ID)
	return OK
}

// pseudo takes a pseudo-header field (RFC 9113 8.3, HC-62).
func (m *fields) pseudo(text []byte, f *hpack.Field) Err {
	if m.regular || f.Pseudo == hpack.OtherPseudo || m.has(f.Pseudo) || m.kind == trailerFields ||
		(f.Pseudo == hpack.Status) != (m.kind == responseFields) {
		return ErrPseudo
	}
	m.seen |= 1 << f.Pseudo
	v := text[f.Value.Off : f.Value.Off+f.Value.Len]
	h := m.h
	switch f.Pseudo {
	case hpack.Method:
		h.MethodText = f.Value
		if h.Method = header.MethodOf(v); h.Method == header.MethodOther && !isToken(v) {
			return ErrMethod
		}
	case hpack.Scheme:
		if h.Scheme = f.Value; !isScheme(v) {
			return ErrScheme
		}
	case hpack.Path:
		if h.Path = f.Value; !isTarget(v) {
			return ErrPath
		}
	case hpack.Authority:
		// RFC 9113 8.3.1: no userinfo.
		if h.Authority = f.Value; bytes.IndexByte(v, '@') >= 0 || !http1.ValidAuthority(v) {
			return ErrAuthority
		}
	case hpack.Protocol:
		if m.protocol = f.Value; !isProtocol(v) {
			return ErrConnect
		}
	case hpack.Status:
		if len(v) != 3 || v[0]-'1' > 8 || v[1]-'0' > 9 || v[2]-'0' > 9 {
			return ErrStatus
		}
		h.Status = uint16(v[0]-'0')*100 + uint16(v[1]-'0')*10 + uint16(v[2]-'0')
	case hpack.Regular, hpack.OtherPseudo:
	}
	return OK
}

// What is to be done about some regular fields.
const (
	careForbidden    = 1 << iota // belongs to HTTP/1 connections (RFC 9113 8.2.2)
	careNoTrailer                // means something before the body only: dropped from trailers (RFC 9110 6.5.1)
	careNotForwarded             // is never written: hop-by-hop, or written from elsewhere
	careRead                     // its value counts for the codec
)

var care = [header.NumKnown]uint8{
	header.Connection:         careForbidden | careNoTrailer | careNotForwarded,
	header.KeepAlive:          careForbidden | careNoTrailer | careNotForwarded,
	header.ProxyConnection:    careForbidden | careNoTrailer | careNotForwarded,
	header.TransferEncoding:   careForbidden | careNoTrailer | careNotForwarded,
	header.Upgrade:            careForbidden | careNoTrailer | careNotForwarded,
	header.HTTP2Settings:      careNoTrailer | careNotForwarded,
	header.Host:               careRead | careNoTrailer | careNotForwarded,
	header.ContentLength:      careRead | careNoTrailer | careNotForwarded,
	header.TE:                 careRead | careNoTrailer | careNotForwarded,
	header.Cookie:             careRead,
	header.Expect:             careRead | careNoTrailer,
	header.Authorization:      careNoTrailer,
	header.ContentEncoding:    careNoTrailer,
	header.ContentType:        careNoTrailer,
	header.ProxyAuthorization: careNoTrailer,
	header.Range:              careNoTrailer,
	header.Trailer:            careNoTrailer,
}

// special takes a field with care; keep says whether it goes into the head.
func (m *fields) special(text []byte, f *hpack.Field) (keep bool, e Err) {
	v := text[f.Value.Off : f.Value.Off+f.Value.Len]
	switch {
	case care[f.ID]&careForbidden != 0:
		return false, ErrConnectionField
	case f.ID == header.TE && !header.EqualFold(v, "trailers"):
		return false, ErrConnectionField
	case m.kind == trailerFields && care[f.ID]&careNoTrailer != 0:
		return false, OK
	}
	switch f.ID {
	case header.ContentLength:
		n := header.ParseLength(v)
		if n < 0 || m.h.ContentLength >= 0 {
			return false, ErrContentLength // HC-23: repeats too
		}
		m.h.ContentLength = n
	case header.Cookie:
		if m.cookie > 0 {
			m.crumbs = append(m.crumbs, f.Value)
			return false, OK
		}
		m.cookie = len(m.h.Fields) + 1
	case header.Expect:
		m.h.Expect100 = !m.h.Has(header.Expect) && header.EqualFold(v, "100-continue")
	case header.Host:
		if m.kind != requestFields {
			return true, OK
		}
		if m.hasHost {
			return false, ErrAuthority
		}
		m.host, m.hasHost = f.Value, true
		if len(v) > 0 && !http1.ValidAuthority(v) {
			return false, ErrAuthority
		}
		return false, OK
	}
	return true, OK
}

// joinCookies makes one Cookie field of all crumbs (RFC 9113 8.2.3). The whole is built behind the rest
// of text, which costs time linear in what came. Empty crumbs say nothing, and would leave whitespace at
// an end.
func (m *fields) joinCookies(text []byte) []byte {
	if len(m.crumbs) == 0 {
		return text
	}
	f := &m.h.Fields[m.cookie-1]
	at := len(text)
	text = append(text, text[f.Value.Off:f.Value.Off+f.Value.Len]...)
	for _, s := range m.crumbs {
		if s.Len == 0 {
			continue
		}
		if len(text) > at {
			text = append(text, "; "...)
		}
		text = append(text, text[s.Off:s.Off+s.Len]...)
	}
	f.Value = header.Span{Off: uint32(at), Len: uint32(len(text) - at)}
	return text
}

// finishRequest checks a request as a whole and works out its body (RFC 9113 8.3.1, 8.5).
func (c *Conn) finishRequest(st *Stream, m *fields, end bool) Err {
	h := m.h
	const needed = 1<<hpack.Method | 1<<hpack.Scheme | 1<<hpack.Path
	if !m.has(hpack.Authority) && m.hasHost {
		h.Authority = m.host // with both, :authority wins and Host is dropped (HC-63)
	}
	if h.Method == header.MethodConnect && m.has(hpack.Method) {
		if e := c.finishConnect(st, m); e != OK {
			return e
		}
	} else {
		if m.seen&needed != needed || m.has(hpack.Protocol) {
			return ErrPseudo
		}
		if h.Bytes(h.Path)[0] == '*' && h.Method != header.MethodOptions {
			return ErrPath
		}
		if h.Method == header.MethodHead {
			st.flags |= isHead
		}
	}
	if h.Transfer == header.Tunnel {
		if h.ContentLength > 0 {
			return ErrContentLength // HC-28
		}
		h.Remove(header.ContentLength)
		h.ContentLength = -1
		return OK
	}
	return bodyOf(st, h, end)
}

// finishConnect tells CONNECT from extended CONNECT, which gets the form of an HTTP/1 upgrade (UP-2a,
// UP-12, UP-35): method GET, Connection, Upgrade with the protocol.
func (c *Conn) finishConnect(st *Stream, m *fields) Err {
	const target = 1<<hpack.Scheme | 1<<hpack.Path
	h := m.h
	h.Transfer = header.Tunnel
	if !m.has(hpack.Protocol) {
		if m.seen&target != 0 || !m.has(hpack.Authority) || !hasPort(h.Bytes(h.Authority)) {
			return ErrConnect
		}
		st.flags |= isConnect
		return OK
	}
	if !c.o.AllowConnect {
		return ErrConnectProtocol
	}
	if m.seen&target != target || !m.has(hpack.Authority) {
		return ErrConnect
	}
	if header.EqualFold(h.Bytes(m.protocol), "bytestream") {
		h.Path = header.Span{}
		st.flags |= isConnect
		return OK
	}
	st.flags |= isUpgrade
	h.SetMethod(header.MethodGet, "GET")
	h.AddString(header.Connection, "connection", "upgrade")
	h.Push(header.Span{}, m.protocol, header.Upgrade)
	h.HasUpgrade = true
	return OK
}

// bodyOf works out whether data may follow, and how much.
func bodyOf(st *Stream, h *header.Head, end bool) Err {
	h.Transfer = header.Framed
	if end {
		if h.ContentLength > 0 {
			return ErrLength
		}
		h.Transfer = header.NoBody
	}
	st.expect = h.ContentLength
	return OK
}

// finishResponse checks a response as a whole and works out its body (RFC 9113 8.3.2, HC-45, HC-47).
func (c *Conn) finishResponse(st *Stream, m *fields, end bool) Err {
	h := m.h
	if !m.has(hpack.Status) {
		return ErrPseudo
	}
	s := h.Status
	switch {
	case s == 101, s < 200 && end:
		return ErrStatus // RFC 9113 8.6, 8.1
	case s < 200 || s == 204:
		if h.ContentLength > 0 {
			return ErrContentLength
		}
		h.Remove(header.ContentLength)
		h.ContentLength = -1
		h.Transfer = header.NoBody
		if s == 204 {
			st.flags |= noBody
		}
	case s == 200 && st.flags&isUpgrade != 0:
		if h.ContentLength > 0 {
			return ErrContentLength // UP-17
		}
		h.Status, h.HasUpgrade = 101, true // UP-11
		tunnelOf(h)
	case s < 300 && st.flags&isConnect != 0:
		tunnelOf(h)
	case st.flags&isHead != 0 || s == 304:
		h.Transfer = header.NoBody
		st.flags |= noBody
	default:
		return bodyOf(st, h, end)
	}
	return OK
}

// tunnelOf makes h the head of a tunnel, whose framing fields mean nothing.
func tunnelOf(h *header.Head) {
	h.Transfer = header.Tunnel
	h.Remove(header.ContentLength)
	h.ContentLength = -1
}

// isToken says whether b is a token of one byte or more (RFC 9110 5.6.2).
func isToken(b []byte) bool {
	for _, c := range b {
		if (c|0x20)-'a' > 25 && c-'0' > 9 && bytes.IndexByte(tokenMarks, c) < 0 {
			return false
		}
	}
	return len(b) > 0
}

var tokenMarks = []byte("!#$%&'*+-.^_`|~")

// isScheme says whether b is ALPHA *( ALPHA / DIGIT / "+" / "-" / "." ) (RFC 3986 3.1).
func isScheme(b []byte) bool {
	for i, c := range b {
		if (c|0x20)-'a' > 25 && (i == 0 || c-'0' > 9 && c != '+' && c != '-' && c != '.') {
			return false
		}
	}
	return len(b) > 0
}

// isTarget says whether b is "*" or begins with a slash, and has visible ASCII only: what an HTTP/1
// request line could carry. A fragment is left to path normalisation, as there (HC-90).
func isTarget(b []byte) bool {
	if len(b) == 0 || b[0] != '/' && (b[0] != '*' || len(b) > 1) {
		return false
	}
	for _, c := range b {
		if c-0x21 > 0x7e-0x21 {
			return false
		}
	}
	return true
}

// isProtocol says whether b can be the value of Upgrade: a token, perhaps with a version.
func isProtocol(b []byte) bool {
	name, version, versioned := bytes.Cut(b, []byte("/"))
	return isToken(name) && (!versioned || isToken(version))
}

// hasPort says whether an authority has a port (RFC 9110 9.3.6).
func hasPort(authority []byte) bool {
	_, port, ok := http1.SplitPort(authority)
	return ok && len(port) > 0
}
