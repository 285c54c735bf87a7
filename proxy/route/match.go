package route

import (
	"fmt"
	"math"
	"regexp"

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
)

// text compares one value: a compiled StringMatcher. Immutable.
type text struct {
	regex *regexp.Regexp
	value string // lower case when fold
	kind  conf.StringMatchKind
	fold  bool
}

func compileText(kind conf.StringMatchKind, value string, fold bool) (text, error) {
	t := text{kind: kind, value: value, fold: fold}
	switch kind {
	case conf.MatchRegex:
		// The pattern is compiled by itself first: "a)(b" is only an error without the group around it.
		if _, err := regexp.Compile(value); err != nil {
			return t, err
		}
		t.regex = regexp.MustCompile(`\A(?:` + value + `)\z`)
	case conf.MatchPrefix, conf.MatchSuffix, conf.MatchContains:
		if value == "" {
			return t, fmt.Errorf("an empty prefix, suffix or contains value matches everything; use present_match")
		}
	}
	if fold {
		t.value = lowerASCII(value)
	}
	return t, nil
}

// matches says whether v fits. For the string kinds and MatchRegex only. A regular expression takes
// its scratch from a pool; nothing else allocates.
func (t *text) matches(v []byte) bool {
	n := len(t.value)
	switch t.kind {
	case conf.MatchExact:
		return t.equal(v)
	case conf.MatchPrefix:
		return len(v) >= n && t.equal(v[:n])
	case conf.MatchSuffix:
		return len(v) >= n && t.equal(v[len(v)-n:])
	case conf.MatchContains:
		for ; len(v) >= n; v = v[1:] {
			if t.equal(v[:n]) {
				return true
			}
		}
		return false
	case conf.MatchRegex:
		return t.regex.Match(v)
	}
	return false
}

func (t *text) equal(v []byte) bool {
	return string(v) == t.value || t.fold && header.EqualFold(v, t.value)
}

// headerMatch is a compiled HeaderMatcher (routing.md 6.1). Immutable.
type headerMatch struct {
	name       Name
	text       text
	start, end int64 // MatchRange
	pseudo     pseudo
	invert     bool
	emptyToo   bool // treat_missing_header_as_empty
}

func compileHeader(m *conf.HeaderMatcher) (headerMatch, error) {
	out := headerMatch{invert: m.Invert, emptyToo: m.TreatMissingAsEmpty, start: m.Start, end: m.End}
	switch m.Name {
	case ":method":
		out.pseudo = pseudoMethod
	case ":path":
		out.pseudo = pseudoPath
	case ":authority":
		out.pseudo = pseudoAuthority
	case ":scheme":
		out.pseudo = pseudoScheme
	case "host":
		return out, fmt.Errorf(`name: "host" is written ":authority" (RT-49)`)
	default:
		if err := checkName(m.Name); err != nil {
			return out, fmt.Errorf("name: %w", err)
		}
		out.name = NewName(m.Name)
	}
	if m.Kind == conf.MatchRange && m.Start >= m.End {
		return out, fmt.Errorf("range_match: start %d is not below end %d", m.Start, m.End)
	}
	var err error
	out.text, err = compileText(m.Kind, m.Value, m.IgnoreCase)
	return out, err
}

// holds says whether the request passes (RT-46 to RT-48).
func (m *headerMatch) holds(in *Input) bool {
	v, there := m.value(in)
	switch m.text.kind {
	case conf.MatchPresent:
		return there != m.invert
	case conf.MatchAbsent:
		return there == m.invert
	}
	if !there && !m.emptyToo {
		return false // RT-47: invert_match does not make a missing header match
	}
	if m.text.kind == conf.MatchRange {
		n, ok := parseInt64(v)
		return (ok && m.start <= n && n < m.end) != m.invert
	}
	return m.text.matches(v) != m.invert
}

// value returns what the matcher looks at; several fields of the name are joined with a comma (RT-46).
func (m *headerMatch) value(in *Input) (v []byte, there bool) {
	h := in.Head
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
	}
	i := h.Find(m.name.ID, m.name.Lower)
	if i < 0 {
		return nil, false
	}
	v = h.Bytes(h.Fields[i].Value)
	j := h.Next(i)
	if j < 0 {
		return v, true
	}
	out := append(in.Scratch[:0], v...)
	for ; j >= 0; j = h.Next(j) {
		out = append(out, ',')
		out = append(out, h.Bytes(h.Fields[j].Value)...)
	}
	in.Scratch = out
	return out, true
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

// queryMatch is a compiled QueryParameterMatcher (RT-50, RT-51). Immutable.
type queryMatch struct {
	name string
	text text
}

func compileQuery(m *conf.QueryMatcher) (queryMatch, error) {
	if m.Name == "" {
		return queryMatch{}, fmt.Errorf("name: must not be empty")
	}
	if m.Kind == conf.MatchRange {
		return queryMatch{}, fmt.Errorf("a query parameter has no range match")
	}
	t, err := compileText(m.Kind, m.Value, m.IgnoreCase)
	return queryMatch{name: m.Name, text: t}, err
}

// holds says whether the query passes. Names and values are compared as they stand, without percent
// decoding.
func (m *queryMatch) holds(query []byte) bool {
	v, there := parameter(query, m.name)
	switch m.text.kind {
	case conf.MatchPresent:
		return there
	case conf.MatchAbsent:
		return !there
	}
	return there && m.text.matches(v)
}

// parameter returns the first value of a name in "k=v&k2&k3=v3".
func parameter(query []byte, name string) (v []byte, there bool) {
	for len(query) > 0 {
		pair := cutAt(query, '&')
		query = query[min(len(pair)+1, len(query)):]
		key := cutAt(pair, '=')
		if string(key) == name {
			return pair[min(len(key)+1, len(pair)):], len(pair) > 0
		}
	}
	return nil, false
}

// holds says whether the route's conditions other than its path hold.
func (r *Route) holds(in *Input) bool {
	for i := range r.headers {
		if !r.headers[i].holds(in) {
			return false
		}
	}
	if len(r.queries) > 0 {
		query := queryOf(in.Head.Bytes(in.Head.Path))
		for i := range r.queries {
			if !r.queries[i].holds(query) {
				return false
			}
		}
	}
	return true
}
