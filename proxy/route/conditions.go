package route

import (
	"bytes"
	"fmt"

	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/match"
	"github.com/sluiceproxy/sluice/proxy/runtime"
)

// conditions are what a route asks of a request besides its path; nil on most routes. Immutable. All of
// them must hold (RT-40).
type conditions struct {
	fraction *runtime.Fraction // nil: all requests
	grpc     bool
	headers  []match.Header
	queries  []queryMatch
	cookies  []cookieMatch
	tls      *conf.TLSMatch
	metadata []metadataMatch
	state    []stateMatch
}

// compileConditions returns nil when there is nothing to ask.
func compileConditions(m *conf.RouteMatch, l *runtime.Loader) (*conditions, error) {
	c := &conditions{grpc: m.GRPC, tls: m.TLS}
	if f := m.RuntimeFraction; f != nil {
		c.fraction = l.Fraction(f.Key, f.Default)
	}
	var err error
	if c.headers, err = compileHeaders(m.Headers); err != nil {
		return nil, err
	}
	for i, qm := range m.QueryParameters {
		q, err := compileQuery(qm)
		if err != nil {
			return nil, fmt.Errorf("query_parameters[%d].%w", i, err)
		}
		c.queries = append(c.queries, q)
	}
	for i, cm := range m.Cookies {
		k := cookieMatch{name: cm.Name, invert: cm.Invert}
		if cm.Name == "" {
			return nil, fmt.Errorf("cookies[%d].name: must not be empty", i)
		}
		if k.text, err = match.CompileText(cm.Value); err != nil {
			return nil, fmt.Errorf("cookies[%d].string_match: %w", i, err)
		}
		c.cookies = append(c.cookies, k)
	}
	for i, mm := range m.DynamicMetadata {
		d := metadataMatch{namespace: mm.Namespace, key: mm.Key, invert: mm.Invert}
		for _, v := range mm.Values {
			t, err := match.CompileText(v)
			if err != nil {
				return nil, fmt.Errorf("dynamic_metadata[%d].value: %w", i, err)
			}
			d.any = append(d.any, t)
		}
		c.metadata = append(c.metadata, d)
	}
	for i, sm := range m.FilterState {
		s := stateMatch{key: sm.Key}
		if s.text, err = match.CompileText(sm.Value); err != nil {
			return nil, fmt.Errorf("filter_state[%d].string_match: %w", i, err)
		}
		c.state = append(c.state, s)
	}
	if c.fraction == nil && !c.grpc && c.tls == nil && len(c.headers)+len(c.queries)+len(c.cookies)+len(c.metadata)+len(c.state) == 0 {
		return nil, nil
	}
	return c, nil
}

// compileHeaders compiles matchers of a request.
func compileHeaders(list []*conf.HeaderMatcher) ([]match.Header, error) {
	for i, m := range list {
		if m.Name == ":status" {
			return nil, fmt.Errorf("headers[%d].name: a request has no :status", i)
		}
	}
	return match.CompileHeaders(list, "headers")
}

// hold says whether all conditions hold. No allocation but what a regular expression needs.
func (c *conditions) hold(in *Input) bool {
	if c.fraction != nil && !c.fraction.Enabled(in.Random) {
		return false // RT-53
	}
	if c.grpc && !isGRPC(in.Head) {
		return false
	}
	if !match.AllHold(c.headers, in.Head, &in.Scratch) {
		return false
	}
	if len(c.queries) > 0 {
		query := queryOf(in.Head.Bytes(in.Head.Path))
		for i := range c.queries {
			if !c.queries[i].holds(query) {
				return false
			}
		}
	}
	for i := range c.cookies {
		if !c.cookies[i].holds(in.Head) {
			return false
		}
	}
	if c.tls != nil && !tlsHolds(c.tls, in) {
		return false
	}
	for i := range c.metadata {
		if !c.metadata[i].holds(in) {
			return false
		}
	}
	for i := range c.state {
		if !c.state[i].holds(in) {
			return false
		}
	}
	return true
}

// isGRPC is RT-130.
func isGRPC(h *header.Head) bool {
	const grpc = "application/grpc"
	v := h.Get(header.ContentType)
	return len(v) >= len(grpc) && string(v[:len(grpc)]) == grpc && (len(v) == len(grpc) || v[len(grpc)] == '+')
}

// queryMatch is a compiled QueryParameterMatcher (RT-50, RT-51). Immutable.
type queryMatch struct {
	name string
	kind conf.StringMatchKind
	text match.Text // of the string kinds
}

func compileQuery(m *conf.QueryMatcher) (queryMatch, error) {
	out := queryMatch{name: m.Name, kind: m.Kind}
	switch {
	case m.Name == "":
		return out, fmt.Errorf("name: must not be empty")
	case m.Kind == conf.MatchRange:
		return out, fmt.Errorf("a query parameter has no range match")
	case m.Kind == conf.MatchPresent, m.Kind == conf.MatchAbsent:
		return out, nil
	}
	var err error
	out.text, err = match.CompileText(conf.StringMatcher{Kind: m.Kind, Value: m.Value, IgnoreCase: m.IgnoreCase})
	return out, err
}

// holds says whether the query passes. Names and values are compared as they stand, without percent
// decoding.
func (m *queryMatch) holds(query []byte) bool {
	v, there := parameter(query, m.name)
	switch m.kind {
	case conf.MatchPresent:
		return there
	case conf.MatchAbsent:
		return !there
	}
	return there && m.text.Matches(v)
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

// cookieMatch is a compiled CookieMatcher (RT-52): a cookie that is absent does not match, so that
// invert passes it.
type cookieMatch struct {
	name   string
	text   match.Text
	invert bool
}

func (m *cookieMatch) holds(h *header.Head) bool {
	v, there := cookie(h, m.name)
	return (there && m.text.Matches(v)) != m.invert
}

// cookie returns the first cookie of a name without the quotes around its value (RFC 6265 4.2.1):
//
//	cookie: a=1; name="value"; b
func cookie(h *header.Head, name string) (v []byte, there bool) {
	for i := h.Index(header.Cookie); i >= 0; i = h.Next(i) {
		rest := h.Bytes(h.Fields[i].Value)
		for len(rest) > 0 {
			pair := cutAt(rest, ';')
			rest = rest[min(len(pair)+1, len(rest)):]
			key, value, ok := bytes.Cut(pair, equals)
			if !ok || string(trimSpaces(key)) != name {
				continue
			}
			value = trimSpaces(value)
			if n := len(value); n >= 2 && value[0] == '"' && value[n-1] == '"' {
				value = value[1 : n-1]
			}
			return value, true
		}
	}
	return nil, false
}

var equals = []byte("=")

func trimSpaces(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}

// tlsHolds compares with the client's certificate; a plain connection has presented and validated none.
func tlsHolds(m *conf.TLSMatch, in *Input) bool {
	presented, validated := in.certificate()
	return (m.Presented == nil || *m.Presented == presented) && (m.Validated == nil || *m.Validated == validated)
}

// metadataMatch is a compiled MetadataMatcher of text. any is empty when the value need only be there.
type metadataMatch struct {
	namespace, key string
	any            []match.Text
	invert         bool
}

func (m *metadataMatch) holds(in *Input) bool {
	v, there := in.metadata(m.namespace, m.key)
	return (there && (len(m.any) == 0 || anyMatches(m.any, v))) != m.invert
}

func anyMatches(list []match.Text, v []byte) bool {
	for i := range list {
		if list[i].Matches(v) {
			return true
		}
	}
	return false
}

// stateMatch is a compiled FilterStateMatcher of text.
type stateMatch struct {
	key  string
	text match.Text
}

func (m *stateMatch) holds(in *Input) bool {
	v, there := in.filterState(m.key)
	return there && m.text.Matches(v)
}
