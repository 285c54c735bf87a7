package envoy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// parseYAML reads one YAML document. Anchors, aliases and merge keys are resolved; duplicate keys,
// further documents, unknown tags and anchors that contain themselves are errors.
func parseYAML(name string, data []byte) (*node, int, *Error) {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc, second yaml.Node
	if err := dec.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, 0, &Error{File: name, Line: 1, Col: 1, Message: "the configuration is empty"}
		}
		return nil, 0, yamlError(name, err)
	}
	switch err := dec.Decode(&second); {
	case err == nil:
		return nil, 0, &Error{File: name, Line: second.Line, Col: second.Column, Message: "a second YAML document begins here; one is allowed"}
	case !errors.Is(err, io.EOF):
		return nil, 0, yamlError(name, err)
	}
	r := &yamlReader{file: name, done: map[*yaml.Node]*node{}}
	tree := r.value(&doc, 0)
	if r.err != nil {
		return nil, 0, r.err
	}
	return tree, r.values, nil
}

var yamlLine = regexp.MustCompile(`^(?:yaml: )?(?:line (\d+): )?`)

// yamlError keeps the parser's sentence and the line it names.
func yamlError(name string, err error) *Error {
	text := err.Error()
	m := yamlLine.FindStringSubmatch(text)
	line, _ := strconv.Atoi(m[1])
	return &Error{File: name, Line: max(line, 1), Col: 1, Message: "not valid YAML: " + text[len(m[0]):]}
}

// yamlReader converts the parser's nodes.
type yamlReader struct {
	file   string
	done   map[*yaml.Node]*node // nil while the node is being converted
	values int
	err    *Error // the first fault; conversion stops
}

func (r *yamlReader) fail(line, col int, format string, args ...any) *node {
	if r.err == nil {
		r.err = &Error{File: r.file, Line: line, Col: col, Message: fmt.Sprintf(format, args...)}
	}
	return &node{line: line, col: col}
}

func (r *yamlReader) value(y *yaml.Node, depth int) *node {
	if r.err != nil {
		return &node{}
	}
	if y.Kind == yaml.DocumentNode {
		return r.value(y.Content[0], depth)
	}
	if y.Kind == yaml.AliasNode {
		n, begun := r.done[y.Alias]
		switch {
		case n != nil:
			return n
		case begun:
			return r.fail(y.Line, y.Column, "anchor %s contains itself", shorten(y.Value))
		}
		return r.value(y.Alias, depth)
	}
	if depth > maxDepth {
		return r.fail(y.Line, y.Column, "values are nested more than %d deep", maxDepth)
	}
	if r.values++; r.values > maxValues {
		return r.fail(y.Line, y.Column, "more than %d values", maxValues)
	}
	r.done[y] = nil
	n := &node{line: y.Line, col: y.Column}
	switch y.Kind {
	case yaml.ScalarNode:
		r.scalar(y, n)
	case yaml.SequenceNode:
		r.checkTag(y, "!!seq")
		n.kind = listNode
		for _, item := range y.Content {
			n.items = append(n.items, r.value(item, depth+1))
		}
	case yaml.MappingNode:
		r.checkTag(y, "!!map")
		n.kind = mappingNode
		r.mapping(y, n, depth)
	}
	r.done[y] = n
	return n
}

// checkTag refuses explicit tags other than the one the value has anyway.
func (r *yamlReader) checkTag(y *yaml.Node, own string) {
	if y.Style&yaml.TaggedStyle != 0 && y.ShortTag() != own {
		r.fail(y.Line, y.Column, "tag %s is not supported", y.ShortTag())
	}
}

// scalar keeps the text: what it means is decided by the field it is for, so that "on", "1.10" or
// "2001-01-01" are never turned into something else on the way.
func (r *yamlReader) scalar(y *yaml.Node, n *node) {
	n.kind, n.text, n.style = scalarNode, y.Value, plainStyle
	if y.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
		n.style = quotedStyle
	}
	if y.Style&yaml.TaggedStyle != 0 {
		switch tag := y.ShortTag(); tag {
		case "!!str", "!":
			n.style = quotedStyle
		case "!!int", "!!float", "!!bool", "!!null":
			n.style = plainStyle
		default:
			r.fail(y.Line, y.Column, "tag %s is not supported", tag)
		}
	}
	if n.style == plainStyle {
		switch n.text {
		case "", "~", "null", "Null", "NULL":
			n.kind = nullNode
		}
	}
}

func (r *yamlReader) mapping(y *yaml.Node, n *node, depth int) {
	seen := make(map[string]key, len(y.Content)/2)
	var merges []*yaml.Node
	for i := 0; i+1 < len(y.Content); i += 2 {
		k, v := y.Content[i], y.Content[i+1]
		if k.Kind == yaml.AliasNode {
			k = k.Alias
		}
		if k.Kind != yaml.ScalarNode {
			r.fail(k.Line, k.Column, "a key must be a field's name, not a list or mapping")
			return
		}
		if k.Value == "<<" && k.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) == 0 {
			merges = append(merges, v)
			continue
		}
		if first, dup := seen[k.Value]; dup {
			r.fail(k.Line, k.Column, "duplicate key %s, first set at %d:%d", shorten(k.Value), first.line, first.col)
			return
		}
		entry := key{k.Value, k.Line, k.Column}
		seen[k.Value] = entry
		n.keys, n.items = append(n.keys, entry), append(n.items, r.value(v, depth+1))
	}
	for _, v := range merges {
		from := r.value(v, depth+1)
		list := []*node{from}
		if from.kind == listNode {
			list = from.items
		}
		for _, src := range list {
			r.mergeKey(v, n, src, seen)
		}
	}
}

// mergeKey adds the members of src that n does not have: what is written in n, or merged before,
// wins.
func (r *yamlReader) mergeKey(y *yaml.Node, n, src *node, seen map[string]key) {
	if r.err != nil {
		return
	}
	if src.kind != mappingNode {
		r.fail(y.Line, y.Column, "<< needs a mapping or a list of mappings, got %s", src.describe())
		return
	}
	for i, k := range src.keys {
		if _, have := seen[k.name]; have {
			continue
		}
		if r.values++; r.values > maxValues {
			r.fail(y.Line, y.Column, "more than %d values", maxValues)
			return
		}
		seen[k.name] = k
		n.keys, n.items = append(n.keys, k), append(n.items, src.items[i])
	}
}

// isOctalLooking says whether digits begin with a zero that YAML 1.1 reads as octal and YAML 1.2 as
// decimal.
func isOctalLooking(s string) bool {
	s = strings.TrimPrefix(s, "-")
	return len(s) > 1 && s[0] == '0' && s[1] >= '0' && s[1] <= '9'
}
