package route

import (
	"bytes"
	"math"
	"slices"
	"strings"

	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/match"
)

// none is the ordinal of no route; smaller ordinals win.
const none = math.MaxUint32

// pathIndex finds the first route in configuration order whose path specifier and conditions hold,
// without looking at every route (RT-40). It is a radix tree of the routes' literals:
//
//	routes: 0 path /api/v1   1 prefix /api/   2 prefix /   3 prefix /api/v1/x
//
//	"" -- "/" {2} -- "api/" {1} -- "v1" {0} -- "/x" {3}
//
// Walking along a request path meets exactly the routes whose literal the path starts with. A route
// met counts when its ordinal is below the best so far and its conditions hold; a subtree whose
// smallest ordinal is not below the best is not entered. Cost: the length of the path, plus the
// conditions of routes that share a literal.
//
// Expressions and templates stand at the literal their matches begin with, which is all of "/v1/" for
// "^/v1/[0-9]+", and nothing for "/(a|b)": those are tried for every path.
//
// Immutable. The zero value matches nothing.
type pathIndex struct {
	nodes []node
	terms []term
	// needed are fields without which the conditions of some routes do not hold. A walk looks for each at
	// most once, however many routes tell tenants apart by it, and reads its value as seldom.
	needed []match.Name
	// fold: literals are in lower case and path bytes are folded before they are compared.
	fold bool
}

// node is no larger than a cache line; most steps of a walk read nothing else.
type node struct {
	edge     string // literal bytes after the one that labels this node in its parent
	labels   string // byte that leads to each child, ascending
	children uint32 // place of the first child in nodes; the others follow it
	terms    uint32 // routes whose literal ends here: a run of pathIndex.terms, by ordinal
	ends     uint32 // end of that run
	least    uint32 // smallest ordinal in this subtree
	// dense: the labels are the bytes from low to high without a gap, so that they need not be read.
	dense     bool
	low, high byte
}

// term is a route at the node where its literal ends.
type term struct {
	ordinal uint32
	kind    conf.PathKind
	plain   bool   // no conditions besides the path
	needs   uint8  // place in needed, from 1, of a field the conditions do not hold without; 0: none is known
	value   uint32 // hash of the value that field has to have; 0: it may be any
}

// maxNeeded bounds pathIndex.needed by the bits of fieldsSeen. Routes that need further fields are looked
// at one by one.
const maxNeeded = 64

// fieldsSeen is what one walk knows of the needed fields, a bit for each, and of the value of one.
type fieldsSeen struct {
	asked, there uint64
	valued       uint8  // the field of value, as term.needs has it
	value        uint32 // hash; 0: there are several, which only the matcher puts together
}

type literal struct {
	text  string
	terms []term
}

// newPathIndex builds the tree of the routes with the given case sensitivity.
func newPathIndex(routes []Route, fold bool) pathIndex {
	byText := map[string][]term{}
	x := pathIndex{fold: fold}
	for i := range routes {
		m := &routes[i].Config.Match
		text := m.Path
		switch m.Kind {
		case conf.PathConnect:
			continue
		case conf.PathRegex, conf.PathTemplate: // case_sensitive is not for them
			if fold {
				continue
			}
			text = literalPrefix(routes[i].pattern)
		default:
			if m.CaseInsensitive != fold {
				continue
			}
			if fold {
				text = lowerASCII(text)
			}
		}
		t := term{ordinal: uint32(i), kind: m.Kind, plain: routes[i].conditions == nil}
		if !t.plain {
			t.needs, t.value = x.need(routes[i].conditions)
		}
		byText[text] = append(byText[text], t)
	}
	if len(byText) == 0 {
		return x
	}
	literals := make([]literal, 0, len(byText))
	for text, terms := range byText {
		literals = append(literals, literal{text, terms})
	}
	slices.SortFunc(literals, func(a, b literal) int { return strings.Compare(a.text, b.text) })
	x.nodes = make([]node, 1, 2*len(literals))
	x.fill(0, literals, 0)
	return x
}

// need returns what term says of the fields that c cannot hold without: one whose value is known, if there is.
func (x *pathIndex) need(c *conditions) (needs uint8, value uint32) {
	for i := range c.headers {
		n, ok := c.headers[i].Needs()
		if !ok {
			continue
		}
		at := slices.Index(x.needed, n)
		if at < 0 {
			if len(x.needed) == maxNeeded {
				continue
			}
			at = len(x.needed)
			x.needed = append(x.needed, n)
		}
		if v, ok := c.headers[i].Value(); ok {
			return uint8(at + 1), hashValue(v)
		}
		if needs == 0 {
			needs = uint8(at + 1)
		}
	}
	return needs, 0
}

// hashValue is FNV-1a, and never 0. Values that collide cost a comparison.
func hashValue[T string | []byte](v T) uint32 {
	h := uint32(2166136261)
	for i := range len(v) {
		h = (h ^ uint32(v[i])) * 16777619
	}
	return max(h, 1)
}

// fill makes the node at place the root of literals, which are sorted and share their first depth bytes.
func (x *pathIndex) fill(place int, literals []literal, depth int) uint32 {
	n := x.nodes[place]
	n.least = none
	if len(literals[0].text) == depth {
		n.terms = uint32(len(x.terms))
		x.terms = append(x.terms, literals[0].terms...)
		n.ends = uint32(len(x.terms))
		n.least = literals[0].terms[0].ordinal
		literals = literals[1:]
	}
	var groups [][]literal
	var labels []byte
	for len(literals) > 0 {
		c, size := literals[0].text[depth], 1
		for size < len(literals) && literals[size].text[depth] == c {
			size++
		}
		labels, groups = append(labels, c), append(groups, literals[:size])
		literals = literals[size:]
	}
	n.labels, n.children = string(labels), uint32(len(x.nodes))
	if k := len(labels); k > 0 {
		n.low, n.high = labels[0], labels[k-1]
		n.dense = int(n.high-n.low) == k-1
	}
	x.nodes = append(x.nodes, make([]node, len(groups))...)
	for i, g := range groups {
		// Sorted: what the first and the last share, all share.
		end := depth + sharedLen(g[0].text[depth:], g[len(g)-1].text[depth:])
		child := int(n.children) + i
		x.nodes[child].edge = g[0].text[depth+1 : end]
		n.least = min(n.least, x.fill(child, g, end))
	}
	x.nodes[place] = n
	return n.least
}

func sharedLen(a, b string) int {
	n := min(len(a), len(b))
	for i := 0; i < n; i++ {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

// match returns the smallest ordinal below best of a route that matches, or best.
func (x *pathIndex) match(path []byte, routes []Route, in *Input, best uint32) uint32 {
	if len(x.nodes) == 0 {
		return best
	}
	var seen fieldsSeen
	n, at := &x.nodes[0], 0
	for n.least < best {
		for i := n.terms; i < n.ends; i++ {
			t := &x.terms[i]
			if t.ordinal >= best {
				break
			}
			if t.fits(path, at) && (t.plain || x.mayHold(t, in.Head, &seen) && routes[t.ordinal].conditions.hold(in)) && (t.kind < conf.PathRegex || routes[t.ordinal].pattern.Match(path)) {
				best = t.ordinal
				break
			}
		}
		if at == len(path) {
			return best
		}
		c := path[at]
		if x.fold {
			c = lowerByte(c)
		}
		child := n.child(c)
		if child == 0 {
			return best
		}
		n = &x.nodes[child]
		at++
		if n.edge != "" {
			end := at + len(n.edge)
			if end > len(path) || !x.same(path[at:end], n.edge) {
				return best
			}
			at = end
		}
	}
	return best
}

// mayHold says whether the field is there that the route's conditions need, with the value they need, if
// those are known.
func (x *pathIndex) mayHold(t *term, h *header.Head, seen *fieldsSeen) bool {
	if t.needs == 0 {
		return true
	}
	bit := uint64(1) << (t.needs - 1)
	if seen.asked&bit == 0 {
		seen.asked |= bit
		if n := &x.needed[t.needs-1]; h.Find(n.ID, n.Lower) >= 0 {
			seen.there |= bit
		}
	}
	if t.value == 0 || seen.there&bit == 0 {
		return seen.there&bit != 0
	}
	if seen.valued != t.needs {
		seen.valued, seen.value = t.needs, x.valueOf(h, t.needs)
	}
	return seen.value == 0 || seen.value == t.value
}

// valueOf returns fieldsSeen.value of a field that is there.
func (x *pathIndex) valueOf(h *header.Head, needs uint8) uint32 {
	n := &x.needed[needs-1]
	i := h.Find(n.ID, n.Lower)
	if h.Next(i) >= 0 {
		return 0
	}
	return hashValue(h.Bytes(h.Fields[i].Value))
}

// child returns the place of the child that c leads to, 0 (the root, no one's child) for none.
func (n *node) child(c byte) uint32 {
	if n.dense {
		if c < n.low || c > n.high {
			return 0
		}
		return n.children + uint32(c-n.low)
	}
	if i := strings.IndexByte(n.labels, c); i >= 0 {
		return n.children + uint32(i)
	}
	return 0
}

func (x *pathIndex) same(b []byte, edge string) bool {
	return string(b) == edge || x.fold && header.EqualFold(b, edge)
}

// fits says whether the specifier holds for a path whose first at bytes are the literal (RT-41); of an
// expression, whether it can.
func (t *term) fits(path []byte, at int) bool {
	switch t.kind {
	case conf.PathExact:
		return at == len(path)
	case conf.PathSeparatedPrefix:
		return at == len(path) || path[at] == '/'
	}
	return true
}

// pathOf returns the target without query and fragment.
func pathOf(target []byte) []byte { return cutAt(cutAt(target, '?'), '#') }

// queryOf returns the query of a target, without its question mark and without a fragment.
func queryOf(target []byte) []byte {
	target = cutAt(target, '#')
	if i := bytes.IndexByte(target, '?'); i >= 0 {
		return target[i+1:]
	}
	return nil
}

func cutAt(b []byte, c byte) []byte {
	if i := bytes.IndexByte(b, c); i >= 0 {
		return b[:i]
	}
	return b
}

// lowerASCII folds ASCII letters only, as the matching does.
func lowerASCII(s string) string {
	b := []byte(s)
	for i, c := range b {
		b[i] = lowerByte(c)
	}
	return string(b)
}
