package route

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/match"
)

// maxTreeDepth bounds how far match trees go down.
const maxTreeDepth = 32

// tree is a compiled match tree whose outcomes are routes (RT-29). Immutable.
//
//	list:  predicate -> outcome, in order           map:  text of the input -> outcome
//	then:  on_no_match
//
// A route that an outcome leads to must still match by itself; otherwise the request has no route.
type tree struct {
	list      []treeCase
	input     input // of exact and prefixes
	exact     map[string]*outcome
	prefixes  map[string]*outcome
	lengths   []int // of prefixes, longest first
	otherwise *outcome
}

type treeCase struct {
	predicate predicate
	outcome   outcome
}

// outcome leads to a further tree or to routes.
type outcome struct {
	tree   *tree
	routes routeList
	keep   bool
}

// predicate is a compiled Matcher.MatcherList.Predicate.
type predicate struct {
	kind  conf.PredicateKind
	input input
	text  match.Text
	of    []predicate
}

// input is what a predicate or map looks at.
type input struct {
	kind conf.InputKind
	name match.Name // of a header; Lower that of a query parameter
}

func (h *hostBuilder) tree(c *conf.MatchTree, depth int) (*tree, error) {
	if depth == maxTreeDepth {
		return nil, fmt.Errorf("the tree is deeper than %d", maxTreeDepth)
	}
	t := &tree{list: make([]treeCase, len(c.List))}
	for i := range c.List {
		if err := t.list[i].predicate.compile(&c.List[i].If, 0); err != nil {
			return nil, fmt.Errorf("matcher_list.matchers[%d].predicate.%w", i, err)
		}
		if err := h.outcome(&t.list[i].outcome, &c.List[i].Outcome, depth); err != nil {
			return nil, fmt.Errorf("matcher_list.matchers[%d].on_match.%w", i, err)
		}
	}
	if c.Map != nil {
		if err := h.treeMap(t, c.Map, depth); err != nil {
			return nil, fmt.Errorf("matcher_tree.%w", err)
		}
	}
	if c.Otherwise != nil {
		t.otherwise = new(outcome)
		if err := h.outcome(t.otherwise, c.Otherwise, depth); err != nil {
			return nil, fmt.Errorf("on_no_match.%w", err)
		}
	}
	return t, nil
}

func (h *hostBuilder) treeMap(t *tree, c *conf.MatchMap, depth int) error {
	if err := t.input.compile(&c.Input); err != nil {
		return fmt.Errorf("input: %w", err)
	}
	into := make(map[string]*outcome, len(c.Outcomes))
	for key := range c.Outcomes {
		from := c.Outcomes[key]
		into[key] = new(outcome)
		if err := h.outcome(into[key], &from, depth); err != nil {
			return fmt.Errorf("map[%q].%w", key, err)
		}
		if !slices.Contains(t.lengths, len(key)) {
			t.lengths = append(t.lengths, len(key))
		}
	}
	slices.Sort(t.lengths)
	slices.Reverse(t.lengths)
	if c.Prefixes {
		t.prefixes = into
	} else {
		t.exact = into
	}
	return nil
}

func (h *hostBuilder) outcome(o *outcome, c *conf.MatchOutcome, depth int) (err error) {
	o.keep = c.KeepMatching
	if c.Tree != nil {
		if o.tree, err = h.tree(c.Tree, depth+1); err != nil {
			return fmt.Errorf("matcher.%w", err)
		}
		return nil
	}
	if o.routes, err = h.list(c.Routes); err != nil {
		return fmt.Errorf("action.%w", err)
	}
	return nil
}

func (p *predicate) compile(c *conf.MatchPredicate, depth int) (err error) {
	if depth == maxTreeDepth {
		return fmt.Errorf("predicates within predicates, more than %d", maxTreeDepth)
	}
	p.kind = c.Kind
	if c.Kind != conf.PredicateValue {
		p.of = make([]predicate, len(c.Of))
		for i := range c.Of {
			if err := p.of[i].compile(&c.Of[i], depth+1); err != nil {
				return fmt.Errorf("predicate[%d].%w", i, err)
			}
		}
		if c.Kind == conf.PredicateNot && len(c.Of) != 1 {
			return fmt.Errorf("not_matcher: negates one predicate")
		}
		return nil
	}
	if err := p.input.compile(&c.Input); err != nil {
		return fmt.Errorf("input: %w", err)
	}
	if p.text, err = match.CompileText(c.Value); err != nil {
		return fmt.Errorf("value_match: %w", err)
	}
	return nil
}

func (p *input) compile(c *conf.MatchInput) error {
	p.kind = c.Kind
	switch c.Kind {
	case conf.InputHeader:
		if err := match.CheckName(c.Name); err != nil && pseudoName(c.Name) == 0 {
			return err
		}
		p.name = match.NewName(c.Name)
	case conf.InputQueryParameter:
		p.name.Lower = c.Name
	}
	return nil
}

// pseudoName says whether a name is that of a pseudo-header of requests: 1 or 0.
func pseudoName(name string) int {
	switch name {
	case ":method", ":path", ":authority", ":scheme":
		return 1
	}
	return 0
}

// find returns the route of a request, nil for none. No allocation but for expressions.
func (t *tree) find(path []byte, in *Input) *Route {
	o := t.decide(path, in)
	if o == nil {
		return nil
	}
	if o.tree != nil {
		return o.tree.find(path, in)
	}
	return o.routes.find(path, in)
}

// decide returns the outcome; nil when nothing matches and there is no on_no_match.
func (t *tree) decide(path []byte, in *Input) *outcome {
	for i := range t.list {
		if c := &t.list[i]; c.predicate.holds(in) && c.outcome.decides(path, in) {
			return &c.outcome
		}
	}
	if t.exact != nil || t.prefixes != nil {
		if o := t.look(path, in); o != nil {
			return o
		}
	}
	return t.otherwise
}

// decides says whether an outcome that was reached is one: a tree without a match is not, and
// keep_matching says that it is none.
func (o *outcome) decides(path []byte, in *Input) bool {
	return !o.keep && (o.tree == nil || o.tree.decide(path, in) != nil)
}

// look finds the map's entry for the input: the exact one, or that of the longest prefix.
func (t *tree) look(path []byte, in *Input) *outcome {
	v, there := t.input.value(in)
	if !there {
		return nil
	}
	var o *outcome
	if t.exact != nil {
		o = t.exact[string(v)]
	}
	for i := 0; o == nil && i < len(t.lengths) && t.prefixes != nil; i++ {
		if n := t.lengths[i]; n <= len(v) {
			o = t.prefixes[string(v[:n])]
		}
	}
	if o == nil || !o.decides(path, in) {
		return nil
	}
	return o
}

func (p *predicate) holds(in *Input) bool {
	switch p.kind {
	case conf.PredicateAnd:
		for i := range p.of {
			if !p.of[i].holds(in) {
				return false
			}
		}
		return true
	case conf.PredicateOr:
		for i := range p.of {
			if p.of[i].holds(in) {
				return true
			}
		}
		return false
	case conf.PredicateNot:
		return !p.of[0].holds(in)
	}
	v, there := p.input.value(in)
	return there && p.text.Matches(v)
}

// value returns the text of the input; several header fields are joined with commas. Valid until Scratch
// is used again.
func (p *input) value(in *Input) (v []byte, there bool) {
	switch p.kind {
	case conf.InputHeader:
		if p.name.Lower[0] == ':' {
			v = pseudoOf(in.Head, p.name.Lower)
			return v, len(v) > 0
		}
		return p.name.Joined(in.Head, &in.Scratch)
	case conf.InputQueryParameter:
		return parameter(queryOf(in.Head.Bytes(in.Head.Path)), p.name.Lower)
	case conf.InputServerName:
		return serverName(in)
	}
	if in.Info == nil || in.Info.Conn == nil {
		return nil, false
	}
	c, a := in.Info.Conn, netip.AddrPort{}
	switch p.kind {
	case conf.InputSourceIP, conf.InputSourcePort:
		a = in.Info.RemoteAddress
	case conf.InputDirectSourceIP:
		a = c.DirectRemote()
	default:
		a = c.Local
	}
	if !a.IsValid() {
		return nil, false
	}
	if p.kind == conf.InputSourcePort || p.kind == conf.InputDestinationPort {
		in.Scratch = strconv.AppendUint(in.Scratch[:0], uint64(a.Port()), 10)
	} else {
		in.Scratch = a.Addr().AppendTo(in.Scratch[:0])
	}
	return in.Scratch, true
}

// serverName is the SNI that TLS, or before it a listener filter, has seen.
func serverName(in *Input) ([]byte, bool) {
	if in.Info == nil || in.Info.Conn == nil {
		return nil, false
	}
	if p := in.Info.Conn.Peer(); p != nil && p.ServerName() != "" {
		in.Scratch = append(in.Scratch[:0], p.ServerName()...)
		return in.Scratch, true
	}
	v := in.Info.Conn.ServerName()
	return v, len(v) > 0
}
