package match

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/proxy/conf"
)

// pseudo says which value of a head a header matcher reads.
type pseudo uint8

const (
	pseudoNone pseudo = iota // a field
	pseudoMethod
	pseudoPath
	pseudoAuthority
	pseudoScheme
	pseudoStatus
)

// Header is a compiled HeaderMatcher (routing.md 6.1). Immutable.
type Header struct {
	name       string // lower case
	id         header.Known
	kind       conf.StringMatchKind
	text       Text  // of the string kinds
	start, end int64 // MatchRange
	pseudo     pseudo
	invert     bool
	emptyToo   bool // treat_missing_header_as_empty
}

// CompileHeader compiles a matcher. The name must be in lower case; errors begin with the field they
// are about.
func CompileHeader(c *conf.HeaderMatcher) (Header, error) {
	out := Header{kind: c.Kind, invert: c.Invert, emptyToo: c.TreatMissingAsEmpty, start: c.Start, end: c.End, name: c.Name}
	switch c.Name {
	case ":method":
		out.pseudo = pseudoMethod
	case ":path":
		out.pseudo = pseudoPath
	case ":authority":
		out.pseudo = pseudoAuthority
	case ":scheme":
		out.pseudo = pseudoScheme
	case ":status":
		out.pseudo = pseudoStatus
	case "host":
		return out, fmt.Errorf(`name: "host" is written ":authority" (RT-49)`)
	default:
		if err := CheckName(c.Name); err != nil {
			return out, fmt.Errorf("name: %w", err)
		}
		out.id = header.Lookup([]byte(c.Name))
	}
	switch c.Kind {
	case conf.MatchPresent, conf.MatchAbsent:
		return out, nil
	case conf.MatchRange:
		if c.Start >= c.End {
			return out, fmt.Errorf("range_match: start %d is not below end %d", c.Start, c.End)
		}
		return out, nil
	}
	var err error
	out.text, err = CompileText(conf.StringMatcher{Kind: c.Kind, Value: c.Value, IgnoreCase: c.IgnoreCase})
	return out, err
}

// CompileHeaders compiles a list; the error names the entry: "headers[2].name: ...".
func CompileHeaders(list []*conf.HeaderMatcher, field string) ([]Header, error) {
	var out []Header
	for i, c := range list {
		m, err := CompileHeader(c)
		if err != nil {
			return nil, fmt.Errorf("%s[%d].%w", field, i, err)
		}
		out = append(out, m)
	}
	return out, nil
}

// Holds says whether a head passes (RT-46 to RT-48); nil is a head without anything. Several fields of
// the name are joined in *scratch, which grows when it must; a nil scratch allocates for them.
func (m *Header) Holds(h *header.Head, scratch *[]byte) bool {
	v, there := m.value(h, scratch)
	switch m.kind {
	case conf.MatchPresent:
		return there != m.invert
	case conf.MatchAbsent:
		return there == m.invert
	}
	if !there && !m.emptyToo {
		return false // RT-47: invert_match does not make a missing header match
	}
	if m.kind == conf.MatchRange {
		n, ok := parseInt64(v)
		return (ok && m.start <= n && n < m.end) != m.invert
	}
	return m.text.Matches(v) != m.invert
}

// Needs returns the field without which no head passes; ok is false when there is none. Many matchers may
// need the same one, which then is looked for once.
func (m *Header) Needs() (n Name, ok bool) {
	switch {
	case m.pseudo != pseudoNone, m.kind == conf.MatchPresent && m.invert, m.kind == conf.MatchAbsent && !m.invert:
		return n, false
	case m.kind != conf.MatchPresent && m.kind != conf.MatchAbsent && m.emptyToo:
		return n, false
	}
	return NewName(m.name), true
}

// Value returns the one value that passes, byte for byte; ok is false when there may be others.
func (m *Header) Value() (v string, ok bool) {
	return m.text.value, m.kind == conf.MatchExact && !m.invert && !m.text.fold
}

// AllHold says whether a head passes all of the list.
func AllHold(list []Header, h *header.Head, scratch *[]byte) bool {
	for i := range list {
		if !list[i].Holds(h, scratch) {
			return false
		}
	}
	return true
}

// value returns what the matcher looks at; several fields of the name are joined with a comma (RT-46).
func (m *Header) value(h *header.Head, scratch *[]byte) (v []byte, there bool) {
	if h == nil {
		return nil, false
	}
	switch m.pseudo {
	case pseudoMethod:
		v = h.Bytes(h.MethodText)
		return v, len(v) > 0
	case pseudoPath:
		v = h.Bytes(h.Path)
		return v, len(v) > 0
	case pseudoAuthority:
		v = h.Bytes(h.Authority)
		return v, len(v) > 0
	case pseudoScheme:
		v = h.Bytes(h.Scheme)
		return v, len(v) > 0
	case pseudoStatus:
		if h.Status == 0 {
			return nil, false
		}
		if scratch == nil {
			return strconv.AppendUint(nil, uint64(h.Status), 10), true
		}
		*scratch = strconv.AppendUint((*scratch)[:0], uint64(h.Status), 10)
		return *scratch, true
	}
	i := h.Find(m.id, m.name)
	if i < 0 {
		return nil, false
	}
	v = h.Bytes(h.Fields[i].Value)
	j := h.Next(i)
	if j < 0 {
		return v, true
	}
	return join(h, v, j, scratch), true
}

// join returns first and the values from place j on with commas between them.
func join(h *header.Head, first []byte, j int, scratch *[]byte) []byte {
	var out []byte
	if scratch != nil {
		out = (*scratch)[:0]
	}
	out = append(out, first...)
	for ; j >= 0; j = h.Next(j) {
		out = append(append(out, ','), h.Bytes(h.Fields[j].Value)...)
	}
	if scratch != nil {
		*scratch = out
	}
	return out
}

// String says what is wanted: `header x-env is "prod"`. Cold.
func (m *Header) String() string {
	not := ""
	if m.invert {
		not = "not "
	}
	switch m.kind {
	case conf.MatchPresent, conf.MatchAbsent:
		if (m.kind == conf.MatchPresent) != m.invert {
			return "header " + m.name + " is there"
		}
		return "header " + m.name + " is absent"
	case conf.MatchRange:
		return fmt.Sprintf("header %s is %sa number from %d to below %d", m.name, not, m.start, m.end)
	}
	if m.invert {
		return "header " + m.name + " is there but not so: " + m.text.String()
	}
	return "header " + m.name + " " + m.text.String()
}

// Found says what a head has instead, at most some dozens of bytes of it: `it is "test"`. Cold.
func (m *Header) Found(h *header.Head) string {
	v, there := m.value(h, nil)
	if !there {
		return "it is absent"
	}
	return "it is " + Quote(v)
}

// maxQuoted bounds what is shown of a value.
const maxQuoted = 64

// Quote returns the beginning of a value in quotes, for explanations.
func Quote(v []byte) string {
	if len(v) <= maxQuoted {
		return strconv.Quote(string(v))
	}
	return strings.TrimSuffix(strconv.Quote(string(v[:maxQuoted])), `"`) + `..."`
}

// parseInt64 reads a base-10 integer with an optional sign and nothing around it.
func parseInt64(b []byte) (n int64, ok bool) {
	negative := false
	if len(b) > 0 && (b[0] == '-' || b[0] == '+') {
		negative, b = b[0] == '-', b[1:]
	}
	if len(b) == 0 {
		return 0, false
	}
	var u uint64
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		if u > math.MaxInt64/10 {
			return 0, false
		}
		u = u*10 + uint64(c-'0')
	}
	switch {
	case negative && u <= math.MaxInt64+1:
		return -int64(u), true // wraps to MinInt64 for its magnitude
	case !negative && u <= math.MaxInt64:
		return int64(u), true
	}
	return 0, false
}
