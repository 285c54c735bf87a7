package envoy

import "slices"

// Bounds of one parsed text. Aliases are followed, not copied, so a small file can stand for a very
// large tree: how many values they repeat is bounded too.
const (
	maxDepth   = 100
	maxValues  = 4_000_000
	maxAliased = 250_000
)

// nodeKind is what a value of the text is.
type nodeKind uint8

const (
	nullNode nodeKind = iota
	scalarNode
	listNode
	mappingNode
)

// scalarStyle says how a scalar was written, which decides how far its text may be interpreted.
type scalarStyle uint8

const (
	quotedStyle scalarStyle = iota // a string whatever it holds
	plainStyle                     // YAML without quotes: the field's type decides
	jsonStyle                      // a JSON number or boolean: never a string
)

// node is one value of a YAML or JSON text. Aliased values are shared: a node is read-only.
type node struct {
	kind      nodeKind
	style     scalarStyle
	text      string
	keys      []key   // of a mapping; keys[i] belongs to items[i]; no duplicates
	items     []*node // of a mapping or list
	line, col int
}

// key is a member's name and where it stands.
type key struct {
	name      string
	line, col int
}

// has says whether a mapping has a member.
func (n *node) has(name string) bool {
	return slices.ContainsFunc(n.keys, func(k key) bool { return k.name == name })
}

// describe names the value for "expected X, got Y".
func (n *node) describe() string {
	switch n.kind {
	case nullNode:
		return "null"
	case listNode:
		return "a list"
	case mappingNode:
		return "a mapping"
	}
	switch {
	case n.style == quotedStyle:
		return "the string " + shorten(n.text)
	case n.isBool():
		return "the boolean " + n.text
	case n.isInteger() || n.style == jsonStyle:
		return "the number " + n.text
	}
	return shorten(n.text)
}

// isBool says whether Envoy's reader takes the unquoted text for a boolean.
func (n *node) isBool() bool {
	if n.style == quotedStyle {
		return false
	}
	_, ok := parseBool(n.text)
	return ok
}

// isInteger says whether Envoy's reader takes the unquoted text for an integer: decimal, octal
// with a leading zero, or hexadecimal.
func (n *node) isInteger() bool {
	if n.style == quotedStyle {
		return false
	}
	s := n.text
	if len(s) > 1 && (s[0] == '-' || s[0] == '+') {
		s = s[1:]
	}
	if len(s) > 2 && s[0] == '0' && (s[1] == 'x' || s[1] == 'X') {
		for i := 2; i < len(s); i++ {
			if c := s[i] | 0x20; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
				return false
			}
		}
		return true
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// parseBool reads the YAML 1.1 booleans in the letter cases Envoy's reader knows: lower, UPPER and
// Capitalised.
func parseBool(s string) (value, ok bool) {
	switch s {
	case "true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON", "y", "Y":
		return true, true
	case "false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF", "n", "N":
		return false, true
	}
	return false, false
}
