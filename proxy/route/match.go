package route

import (
	"fmt"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/match"
)

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

// holds says whether the route's conditions other than its path hold.
func (r *Route) holds(in *Input) bool {
	if !match.AllHold(r.headers, in.Head, &in.Scratch) {
		return false
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

// compileHeaders compiles matchers of a request.
func compileHeaders(list []*conf.HeaderMatcher) ([]match.Header, error) {
	for i, m := range list {
		if m.Name == ":status" {
			return nil, fmt.Errorf("headers[%d].name: a request has no :status", i)
		}
	}
	return match.CompileHeaders(list, "headers")
}
