package header

// Span is a piece of a head: an offset and a length into base, or into extra when the top bit of
// Off is set. The zero Span is "not there" and reads as empty.
type Span struct{ Off, Len uint32 }

const inExtra = 1 << 31

// Field is one header field in the order received.
type Field struct {
	Name, Value Span
	ID          Known
	// Dead marks a removed field; it keeps its place so that indexes stay valid.
	Dead bool
}

// Version is the protocol version the head arrived with.
type Version uint8

// The versions a head can carry.
const (
	HTTP10 Version = 10
	HTTP11 Version = 11
	HTTP2  Version = 20
	HTTP3  Version = 30
)

// String returns the form of the %PROTOCOL% operator.
func (v Version) String() string {
	switch v {
	case HTTP10:
		return "HTTP/1.0"
	case HTTP11:
		return "HTTP/1.1"
	case HTTP2:
		return "HTTP/2"
	case HTTP3:
		return "HTTP/3"
	}
	return "-"
}

// Method is a registered request method, or MethodOther with its text in Head.MethodText.
type Method uint8

// The methods the codecs tell apart (RFC 9110 9, RFC 5789).
const (
	MethodOther Method = iota
	MethodGet
	MethodHead
	MethodPost
	MethodPut
	MethodDelete
	MethodConnect
	MethodOptions
	MethodTrace
	MethodPatch
)

// TransferKind says how the end of the body is known on the wire the head came from.
type TransferKind uint8

const (
	// NoBody: the message ends with its head (also HEAD, 204, 304 and 1xx responses).
	NoBody TransferKind = iota
	// Length: exactly Head.ContentLength bytes follow.
	Length
	// Chunked: HTTP/1.1 chunked coding.
	Chunked
	// UntilClose: an HTTP/1 response that ends with its connection (RFC 9112 6.3).
	UntilClose
	// Framed: the stream's own framing ends it (HTTP/2 and 3); ContentLength is -1 or a promise to check.
	Framed
	// Tunnel: opaque bytes both ways after an upgrade or a CONNECT.
	Tunnel
)

// Head is one request or response head, whatever version carried it. Loop-owned; reused by Reset.
//
// Spans are valid while base is: until the event that delivered it returns, or, after Retain, until
// Reset. Setters and Add copy what they are given into extra.
//
// Request pseudo-values (Method, Scheme, Authority, Path) live beside the fields and never in them:
// an HTTP/1 codec takes Host out of the fields and into Authority.
type Head struct {
	Fields []Field

	MethodText Span // as received
	Scheme     Span // "http" or "https"; empty until known
	Authority  Span // host[:port]; empty when the request had none
	HostName   Span // the name of the HTTP/1 Host field as spelled; empty when there was none
	Path       Span // path and query in origin form, or "*"; empty for CONNECT
	Reason     Span // HTTP/1 response phrase as received

	// ContentLength is the declared length; -1 when not declared.
	ContentLength int64
	Status        uint16
	Method        Method
	Version       Version
	Transfer      TransferKind
	// Close is true when this message ends its HTTP/1 connection (RFC 9112 9.3).
	Close bool
	// AbsoluteForm is true when an HTTP/1 target was absolute-form (Host was then ignored).
	AbsoluteForm bool
	// Expect100 is true for a request with exactly "Expect: 100-continue" (RFC 9110 10.1.1).
	Expect100 bool
	// HasUpgrade is true when Connection nominates upgrade and an Upgrade field is there.
	HasUpgrade bool
	// DroppedUnderscores counts the fields headers_with_underscores_action DROP_HEADER left out.
	DroppedUnderscores uint32

	owned bool
	first [numKnown]uint16 // index+1 of the first live field of that name
	base  []byte
	extra []byte
	own   []byte // storage for base after Retain; kept for reuse while small
}

// MaxFields is the most fields a head can index; decoders must refuse or drop what is beyond it.
const MaxFields = 1<<16 - 1

// keepBytes and keepFields bound what a pooled head holds on to between messages.
const (
	keepBytes  = 4096
	keepFields = 256
)

// Reset makes h ready for a new head over base. It keeps storage up to a small bound.
func (h *Head) Reset(base []byte) {
	fields, own, extra := h.Fields[:0], h.own[:0], h.extra[:0]
	if cap(fields) > keepFields {
		fields = nil
	}
	if cap(own) > keepBytes {
		own = nil
	}
	if cap(extra) > keepBytes {
		extra = nil
	}
	*h = Head{Fields: fields, own: own, extra: extra, base: base, ContentLength: -1}
}

// Shrink lets go of storage beyond what a pooled head keeps, and of the bytes it refers to. The rest
// stays until Reset: h must not be read before.
func (h *Head) Shrink() {
	h.base = nil
	if cap(h.own) > keepBytes || cap(h.extra) > keepBytes || cap(h.Fields) > keepFields {
		h.Reset(nil)
	}
}

// Base returns the bytes that spans without the extra bit refer to.
func (h *Head) Base() []byte { return h.base }

// SetBase points the spans at the same bytes elsewhere (a read buffer that moved). The caller
// guarantees that b has the content the spans were made from.
func (h *Head) SetBase(b []byte) { h.base, h.owned = b, false }

// Retain copies base so that the head outlives the event that delivered it. Idempotent.
// Allocates only when the head is larger than any this object has held.
func (h *Head) Retain() {
	if h.owned {
		return
	}
	h.own = append(h.own[:0], h.base...)
	h.base, h.owned = h.own, true
}

// Bytes returns the bytes of a span. Valid as long as the span; do not modify.
func (h *Head) Bytes(s Span) []byte {
	if s.Off&inExtra != 0 {
		off := s.Off &^ inExtra
		return h.extra[off : off+s.Len : off+s.Len]
	}
	return h.base[s.Off : s.Off+s.Len : s.Off+s.Len]
}

// store copies b into extra.
func (h *Head) store(b []byte) Span {
	off := uint32(len(h.extra))
	h.extra = append(h.extra, b...)
	return Span{off | inExtra, uint32(len(b))}
}

func (h *Head) storeString(s string) Span {
	off := uint32(len(h.extra))
	h.extra = append(h.extra, s...)
	return Span{off | inExtra, uint32(len(s))}
}

// Push adds a field whose spans the codec made over base. It is the decoder's way in.
func (h *Head) Push(name, value Span, id Known) {
	h.Fields = append(h.Fields, Field{Name: name, Value: value, ID: id})
	if h.first[id] == 0 {
		h.first[id] = uint16(len(h.Fields))
	}
}

// Has says whether a field of that name is there. Not for Unknown.
func (h *Head) Has(id Known) bool { return h.first[id] != 0 }

// Index returns the place of the first live field of that name in Fields, or -1.
func (h *Head) Index(id Known) int { return int(h.first[id]) - 1 }

// Next returns the next live field of the same name after place i, or -1.
func (h *Head) Next(i int) int {
	f := &h.Fields[i]
	var name []byte
	if f.ID == Unknown {
		name = h.Bytes(f.Name)
	}
	for j := i + 1; j < len(h.Fields); j++ {
		g := &h.Fields[j]
		if g.Dead || g.ID != f.ID {
			continue
		}
		if g.ID != Unknown || foldEqual(h.Bytes(g.Name), name) {
			return j
		}
	}
	return -1
}

// Get returns the value of the first field of that name, nil when there is none.
func (h *Head) Get(id Known) []byte {
	if i := h.first[id]; i != 0 {
		return h.Bytes(h.Fields[i-1].Value)
	}
	return nil
}

// Find returns the place of the first live field with this lower-case name, or -1. id is Lookup of
// the name, worked out once at configuration time. Linear for names that are not Known.
func (h *Head) Find(id Known, lower string) int {
	if id != Unknown {
		return h.Index(id)
	}
	for i := range h.Fields {
		f := &h.Fields[i]
		if f.ID == Unknown && !f.Dead && EqualFold(h.Bytes(f.Name), lower) {
			return i
		}
	}
	return -1
}

// Count returns the number of live fields.
func (h *Head) Count() int {
	n := 0
	for i := range h.Fields {
		if !h.Fields[i].Dead {
			n++
		}
	}
	return n
}

// Size returns how many fields h has and the bytes of their names and values, without what a codec puts
// between them; the pseudo-values count as the fields they are on HTTP/2. Linear. No allocation.
func (h *Head) Size() (fields, bytes int) {
	for i := range h.Fields {
		if f := &h.Fields[i]; !f.Dead {
			fields++
			bytes += len(h.NameOf(f)) + int(f.Value.Len)
		}
	}
	if h.Status != 0 {
		return fields + 1, bytes + len(":status") + len("200")
	}
	for _, p := range [...]struct {
		name  string
		value Span
	}{{":method", h.MethodText}, {":scheme", h.Scheme}, {":authority", h.Authority}, {":path", h.Path}} {
		if p.value.Len > 0 {
			fields++
			bytes += len(p.name) + int(p.value.Len)
		}
	}
	return fields, bytes
}

// Add appends a field; name must be a lower-case token and value free of CR, LF and NUL: the
// configuration compiler guarantees both. Copies value.
func (h *Head) Add(id Known, lower string, value []byte) {
	var name Span
	if id == Unknown {
		name = h.storeString(lower)
	}
	h.Push(name, h.store(value), id)
}

// AddString is Add for a string value.
func (h *Head) AddString(id Known, lower, value string) {
	var name Span
	if id == Unknown {
		name = h.storeString(lower)
	}
	h.Push(name, h.storeString(value), id)
}

// Set makes value the only value of a known name.
func (h *Head) Set(id Known, value []byte) {
	if i := h.Index(id); i >= 0 {
		for j := h.Next(i); j >= 0; j = h.Next(i) {
			h.RemoveAt(j)
		}
		h.Fields[i].Value = h.store(value)
		return
	}
	h.Push(Span{}, h.store(value), id)
}

// SetString is Set for a string value.
func (h *Head) SetString(id Known, value string) {
	if i := h.Index(id); i >= 0 {
		for j := h.Next(i); j >= 0; j = h.Next(i) {
			h.RemoveAt(j)
		}
		h.Fields[i].Value = h.storeString(value)
		return
	}
	h.Push(Span{}, h.storeString(value), id)
}

// SetAt replaces the value of the field at place i.
func (h *Head) SetAt(i int, value []byte) { h.Fields[i].Value = h.store(value) }

// AddBytes is Add for a name kept in the spelling given. Copies name and value.
func (h *Head) AddBytes(id Known, name, value []byte) {
	n := h.store(name)
	h.Push(n, h.store(value), id)
}

// Append joins value to the first field of a known name with sep between, or adds the field.
func (h *Head) Append(id Known, sep string, value []byte) {
	i := h.Index(id)
	if i < 0 {
		h.Push(Span{}, h.store(value), id)
		return
	}
	old := h.Bytes(h.Fields[i].Value)
	off := uint32(len(h.extra))
	// old may live in extra: append reads it before any move because its bytes stay in the old array.
	h.extra = append(h.extra, old...)
	h.extra = append(h.extra, sep...)
	h.extra = append(h.extra, value...)
	h.Fields[i].Value = Span{off | inExtra, uint32(len(h.extra)) - off}
}

// Remove removes every field of a known name and says whether there was one.
func (h *Head) Remove(id Known) bool {
	i := h.Index(id)
	if i < 0 {
		return false
	}
	for j := i; j < len(h.Fields); j++ {
		if h.Fields[j].ID == id {
			h.Fields[j].Dead = true
		}
	}
	h.first[id] = 0
	return true
}

// RemoveName is Remove for any lower-case name; id is its Lookup.
func (h *Head) RemoveName(id Known, lower string) bool {
	if id != Unknown {
		return h.Remove(id)
	}
	found := false
	for i := range h.Fields {
		f := &h.Fields[i]
		if f.ID == Unknown && !f.Dead && EqualFold(h.Bytes(f.Name), lower) {
			f.Dead, found = true, true
		}
	}
	return found
}

// RemoveFold is RemoveName for a name in any letter case, as a Connection option gives it.
func (h *Head) RemoveFold(name []byte) bool {
	if id := Lookup(name); id != Unknown {
		return h.Remove(id)
	}
	found := false
	for i := range h.Fields {
		f := &h.Fields[i]
		if f.ID == Unknown && !f.Dead && foldEqual(h.Bytes(f.Name), name) {
			f.Dead, found = true, true
		}
	}
	return found
}

// RemoveAt removes the one field at place i.
func (h *Head) RemoveAt(i int) {
	f := &h.Fields[i]
	f.Dead = true
	if int(h.first[f.ID]) != i+1 {
		return // an earlier field of that name is still live
	}
	h.first[f.ID] = 0
	for j := i + 1; j < len(h.Fields); j++ {
		if g := &h.Fields[j]; g.ID == f.ID && !g.Dead {
			h.first[f.ID] = uint16(j + 1)
			return
		}
	}
}

// NameOf returns the name of a field as received; added fields and known names without a received
// form read lower case.
func (h *Head) NameOf(f *Field) []byte {
	if f.Name.Len == 0 {
		return knownBytes[f.ID]
	}
	return h.Bytes(f.Name)
}

var knownBytes = func() (out [numKnown][]byte) {
	for k, s := range knownNames {
		out[k] = []byte(s)
	}
	return out
}()

// SetMethod makes m the method, with text as its spelling.
func (h *Head) SetMethod(m Method, text string) {
	h.Method = m
	h.MethodText = h.storeString(text)
}

// SetPath replaces the path by a copy of v.
func (h *Head) SetPath(v []byte) { h.Path = h.store(v) }

// SetPathPrefixed makes prefix followed by rest the path: an absolute-form target whose query comes
// straight after the authority lacks the slash.
func (h *Head) SetPathPrefixed(prefix string, rest []byte) {
	s := h.storeString(prefix)
	h.extra = append(h.extra, rest...)
	h.Path = Span{s.Off, s.Len + uint32(len(rest))}
}

// SetAuthority replaces the authority by a copy of v.
func (h *Head) SetAuthority(v []byte) { h.Authority = h.store(v) }

// SetScheme replaces the scheme.
func (h *Head) SetScheme(v string) { h.Scheme = h.storeString(v) }

// Text returns a copy of a span for cold paths.
func (h *Head) Text(s Span) string { return string(h.Bytes(s)) }
