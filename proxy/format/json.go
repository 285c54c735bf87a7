package format

import (
	"encoding/json"
	"fmt"
	"strconv"
	"unicode/utf8"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/streaminfo"
)

// JSONFormatter is a compiled json_format.
type JSONFormatter struct {
	root      node
	omitEmpty bool
}

// nodeKind tells the values of a json_format apart.
type nodeKind uint8

const (
	constant nodeKind = iota // text as it is
	typed                    // one operator: a number, a string, or null while unset
	mixed                    // operators among text: a string
	object
	list
)

type node struct {
	kind     nodeKind
	key      string // `"name":` of an object's member
	text     string
	ops      []op
	steps    []step // of mixed
	children []node
}

// CompileJSON compiles a json_format. With omitEmpty (omit_empty_values) members that are null are
// left out, and unset operators among text print as nothing instead of "-". The error gives the
// path of the member.
func CompileJSON(o *conf.JSONObject, omitEmpty bool) (*JSONFormatter, error) {
	root, err := compileNode(o, "", false)
	if err != nil {
		return nil, err
	}
	return &JSONFormatter{root, omitEmpty}, nil
}

func compileNode(v any, path string, generic bool) (node, error) {
	switch v := v.(type) {
	case nil:
		return node{text: "null"}, nil
	case bool:
		return node{text: strconv.FormatBool(v)}, nil
	case float64:
		text, err := json.Marshal(v)
		return node{text: string(text)}, err
	case string:
		return compileLeaf(v, path, generic)
	case *conf.JSONObject:
		n := node{kind: object}
		for i, key := range v.Keys {
			child, err := compileNode(v.Values[i], joinPath(path, key), generic)
			if err != nil {
				return n, err
			}
			child.key = string(appendQuoted(nil, key)) + ":"
			n.children = append(n.children, child)
		}
		return n, nil
	case []any:
		n := node{kind: list}
		for i, element := range v {
			child, err := compileNode(element, fmt.Sprintf("%s[%d]", path, i), generic)
			if err != nil {
				return n, err
			}
			n.children = append(n.children, child)
		}
		return n, nil
	}
	return node{}, fmt.Errorf("%s: a json_format cannot hold a %T", path, v)
}

func joinPath(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func compileLeaf(text, path string, generic bool) (node, error) {
	ops, err := parse(text, generic)
	switch {
	case err != nil:
		return node{}, fmt.Errorf("%s: %w", path, err)
	case len(ops) == 1 && ops[0].eval != nil:
		if ops[0].bare {
			ops[0].limit = -1 // JSON cut short is no JSON
		}
		return node{kind: typed, ops: ops}, nil
	case anyOp(ops, func(o *op) bool { return o.eval != nil }):
		return node{kind: mixed, ops: ops, steps: stepsOf(ops)}, nil
	}
	literal, _ := newFormatter(ops, false).Static()
	return node{text: string(appendQuoted(nil, literal))}, nil
}

// Append appends the JSON text for a stream: one line, without a line break at its end.
func (f *JSONFormatter) Append(dst []byte, i *streaminfo.Info) []byte {
	dst, _ = f.append(dst, &f.root, i)
	return dst
}

// NeedsRequest says whether the request head is read.
func (f *JSONFormatter) NeedsRequest() bool {
	return f.root.any(func(o *op) bool { return o.request })
}

// NeedsResponse says whether the response head or its trailers are read.
func (f *JSONFormatter) NeedsResponse() bool {
	return f.root.any(func(o *op) bool { return o.response })
}

func (n *node) any(is func(*op) bool) bool {
	for i := range n.children {
		if n.children[i].any(is) {
			return true
		}
	}
	return anyOp(n.ops, is)
}

// append writes a value; false, with dst as it was, when it is null and nulls are left out.
func (f *JSONFormatter) append(dst []byte, n *node, i *streaminfo.Info) ([]byte, bool) {
	switch n.kind {
	case typed:
		return f.appendTyped(dst, &n.ops[0], i)
	case mixed:
		return f.appendMixed(dst, n.steps, i), true
	case object, list:
		return f.appendAll(dst, n, i), true
	}
	if f.omitEmpty && n.text == "null" {
		return dst, false
	}
	return append(dst, n.text...), true
}

func (f *JSONFormatter) appendAll(dst []byte, n *node, i *streaminfo.Info) []byte {
	begin, end := byte('{'), byte('}')
	if n.kind == list {
		begin, end = '[', ']'
	}
	dst = append(dst, begin)
	first := true
	for c := range n.children {
		child := &n.children[c]
		start := len(dst)
		if !first {
			dst = append(dst, ',')
		}
		dst = append(dst, child.key...)
		var ok bool
		if dst, ok = f.append(dst, child, i); !ok {
			dst = dst[:start]
			continue
		}
		first = false
	}
	return append(dst, end)
}

func (f *JSONFormatter) appendTyped(dst []byte, o *op, i *streaminfo.Info) ([]byte, bool) {
	start := len(dst)
	if !o.bare {
		dst = append(dst, '"')
	}
	dst, ok := o.eval(o, dst, i)
	switch {
	case !ok && f.omitEmpty:
		return dst[:start], false
	case !ok:
		return append(dst[:start], "null"...), true
	case o.bare:
		return dst, true
	}
	return append(escapeFrom(dst, start+1), '"'), true
}

func (f *JSONFormatter) appendMixed(dst []byte, steps []step, i *streaminfo.Info) []byte {
	dst = append(dst, '"')
	start := len(dst)
	dst = appendSteps(dst, steps, i, f.omitEmpty)
	return append(escapeFrom(dst, start), '"')
}

func appendQuoted[T string | []byte](dst []byte, s T) []byte {
	dst = append(dst, '"')
	start := len(dst)
	return append(escapeFrom(append(dst, s...), start), '"')
}

const hex = "0123456789abcdef"

// escapeFrom escapes dst[start:] for the inside of a JSON string (RFC 8259 7). Bytes that are not
// UTF-8 become U+FFFD. It allocates only when dst must grow.
func escapeFrom(dst []byte, start int) []byte {
	clean := start
	for clean < len(dst) && dst[clean] >= ' ' && dst[clean] != '"' && dst[clean] != '\\' && dst[clean] < utf8.RuneSelf {
		clean++
	}
	if clean == len(dst) {
		return dst
	}
	// The escaped form is built behind the raw one and then moved over it.
	end := len(dst)
	for n := clean; n < end; {
		c := dst[n]
		switch {
		case c >= utf8.RuneSelf:
			r, size := utf8.DecodeRune(dst[n:end])
			if r == utf8.RuneError && size == 1 {
				dst = append(dst, "\ufffd"...)
			} else {
				dst = append(dst, dst[n:n+size]...)
			}
			n += size
			continue
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c == '\n':
			dst = append(dst, '\\', 'n')
		case c == '\r':
			dst = append(dst, '\\', 'r')
		case c == '\t':
			dst = append(dst, '\\', 't')
		case c < ' ':
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		default:
			dst = append(dst, c)
		}
		n++
	}
	return dst[:clean+copy(dst[clean:], dst[end:])]
}
