package generic

import (
	"errors"
	"fmt"
	"slices"

	"github.com/sluiceproxy/sluice/codec/frame"
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/match"
)

// subject is what matchers look at: a request's header frame and its bytes.
type subject struct {
	f     *frame.Frame
	head  []byte
	props frame.Properties
}

func (s *subject) value(in *conf.GenericInput) (v []byte, ok bool) {
	switch in.Kind {
	case conf.GenericHost:
		return s.f.Host, true
	case conf.GenericPath:
		return s.f.Path, true
	case conf.GenericMethod:
		return s.f.Method, true
	}
	return s.property(in.Property)
}

func (s *subject) property(name string) (v []byte, ok bool) {
	if s.props == nil {
		return nil, false
	}
	return s.props.Property(s.head, false, name)
}

// matcher is a compiled conf.GenericMatcher (GP-2). Immutable.
type matcher struct {
	list   []fieldMatcher
	input  *conf.GenericInput // of a tree
	table  map[string]*onMatch
	sizes  []int // lengths of the prefixes, longest first; nil: whole values
	noneOf *onMatch
}

type fieldMatcher struct {
	predicate predicate
	on        *onMatch
}

type onMatch struct {
	next  *matcher
	route *route
}

func (o *onMatch) find(s *subject) *route {
	switch {
	case o == nil:
		return nil
	case o.next != nil:
		return o.next.find(s)
	}
	return o.route
}

// find returns the route of a request; nil for none. What leads nowhere is passed over: the next entry of
// a list, or the next shorter prefix, gets its chance. No allocation.
func (m *matcher) find(s *subject) *route {
	for i := range m.list {
		if e := &m.list[i]; e.predicate.holds(s) {
			if r := e.on.find(s); r != nil {
				return r
			}
		}
	}
	if m.input != nil {
		if r := m.lookUp(s); r != nil {
			return r
		}
	}
	return m.noneOf.find(s)
}

func (m *matcher) lookUp(s *subject) *route {
	v, ok := s.value(m.input)
	if !ok {
		return nil
	}
	if m.sizes == nil {
		return m.table[string(v)].find(s)
	}
	for _, n := range m.sizes {
		if n <= len(v) {
			if r := m.table[string(v[:n])].find(s); r != nil {
				return r
			}
		}
	}
	return nil
}

// predicate is a compiled conf.GenericPredicate. Immutable.
type predicate struct {
	kind    conf.GenericPredicateKind
	input   *conf.GenericInput
	value   match.Text
	request *requestMatcher
	of      []predicate
}

func (p *predicate) holds(s *subject) bool {
	switch p.kind {
	case conf.GenericValue:
		v, ok := s.value(p.input)
		return ok && p.value.Matches(v)
	case conf.GenericRequest:
		return p.request.holds(s)
	case conf.GenericNot:
		return !p.of[0].holds(s)
	}
	or := p.kind == conf.GenericOr
	for i := range p.of {
		if p.of[i].holds(s) == or {
			return or
		}
	}
	return !or
}

// requestMatcher is a compiled RequestMatcher. Immutable.
type requestMatcher struct {
	host, path, method *match.Text
	properties         []propertyMatcher
}

type propertyMatcher struct {
	name  string
	value match.Text
}

func (m *requestMatcher) holds(s *subject) bool {
	if m.host != nil && !m.host.Matches(s.f.Host) || m.path != nil && !m.path.Matches(s.f.Path) || m.method != nil && !m.method.Matches(s.f.Method) {
		return false
	}
	for i := range m.properties {
		p := &m.properties[i]
		if v, ok := s.property(p.name); !ok || !p.value.Matches(v) {
			return false
		}
	}
	return true
}

// maxMatchDepth bounds how deep matchers and predicates nest.
const maxMatchDepth = 32

// compileMatcher compiles a matcher; errors carry the path within it.
func (b *routeBuilder) compileMatcher(c *conf.GenericMatcher, depth int) (*matcher, error) {
	if depth > maxMatchDepth {
		return nil, fmt.Errorf("nests deeper than %d", maxMatchDepth)
	}
	m := new(matcher)
	for i := range c.List {
		e := &c.List[i]
		var f fieldMatcher
		var err error
		if e.Predicate == nil {
			return nil, fmt.Errorf("matcher_list.matchers[%d].predicate: is required", i)
		}
		if err = compilePredicate(&f.predicate, e.Predicate, depth); err != nil {
			return nil, fmt.Errorf("matcher_list.matchers[%d].predicate: %w", i, err)
		}
		if f.on, err = b.compileOn(&e.OnMatch, depth); err != nil {
			return nil, fmt.Errorf("matcher_list.matchers[%d].on_match: %w", i, err)
		}
		m.list = append(m.list, f)
	}
	if t := c.Tree; t != nil {
		m.input, m.table = &t.Input, make(map[string]*onMatch, len(t.Map))
		for key, on := range t.Map {
			compiled, err := b.compileOn(on, depth)
			if err != nil {
				return nil, fmt.Errorf("matcher_tree[%q]: %w", key, err)
			}
			m.table[key] = compiled
			if t.Prefix && !slices.Contains(m.sizes, len(key)) {
				m.sizes = append(m.sizes, len(key))
			}
		}
		slices.SortFunc(m.sizes, func(a, b int) int { return b - a })
	}
	if c.OnNoMatch != nil {
		var err error
		if m.noneOf, err = b.compileOn(c.OnNoMatch, depth); err != nil {
			return nil, fmt.Errorf("on_no_match: %w", err)
		}
	}
	return m, nil
}

func (b *routeBuilder) compileOn(c *conf.GenericOnMatch, depth int) (*onMatch, error) {
	out := new(onMatch)
	var err error
	switch {
	case (c.Matcher == nil) == (c.Action == nil):
		err = errors.New("needs one of matcher and action")
	case c.Matcher != nil:
		out.next, err = b.compileMatcher(c.Matcher, depth+1)
	default:
		out.route, err = b.compileAction(c.Action)
	}
	return out, err
}

func compilePredicate(p *predicate, c *conf.GenericPredicate, depth int) error {
	if depth > maxMatchDepth {
		return fmt.Errorf("nests deeper than %d", maxMatchDepth)
	}
	p.kind = c.Kind
	var err error
	switch c.Kind {
	case conf.GenericValue:
		p.input = &c.Input
		p.value, err = match.CompileText(c.Value)
	case conf.GenericRequest:
		p.request, err = compileRequestMatcher(c.Request)
	default:
		if len(c.Of) == 0 || c.Kind == conf.GenericNot && len(c.Of) != 1 {
			return errors.New("has the wrong number of predicates")
		}
		p.of = make([]predicate, len(c.Of))
		for i, of := range c.Of {
			if err := compilePredicate(&p.of[i], of, depth+1); err != nil {
				return fmt.Errorf("predicate[%d]: %w", i, err)
			}
		}
	}
	return err
}

func compileRequestMatcher(c *conf.GenericRequestMatcher) (*requestMatcher, error) {
	m := new(requestMatcher)
	for _, part := range []struct {
		from *conf.StringMatcher
		to   **match.Text
		name string
	}{{c.Host, &m.host, "host"}, {c.Path, &m.path, "path"}, {c.Method, &m.method, "method"}} {
		if part.from == nil {
			continue
		}
		t, err := match.CompileText(*part.from)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", part.name, err)
		}
		*part.to = &t
	}
	for i := range c.Properties {
		t, err := match.CompileText(c.Properties[i].Value)
		if err != nil {
			return nil, fmt.Errorf("properties[%d]: %w", i, err)
		}
		m.properties = append(m.properties, propertyMatcher{c.Properties[i].Name, t})
	}
	return m, nil
}
