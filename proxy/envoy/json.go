package envoy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sort"
	"unicode/utf8"
)

// parseJSON reads one JSON value, refusing duplicate members and anything after the value.
func parseJSON(name string, data []byte) (*node, int, *Error) {
	r := &jsonReader{file: name, data: data, dec: json.NewDecoder(bytes.NewReader(data))}
	r.dec.UseNumber()
	for i, c := range data {
		if c == '\n' {
			r.lines = append(r.lines, i+1)
		}
	}
	if !utf8.Valid(data) {
		return nil, 0, &Error{File: name, Line: 1, Col: 1, Message: "not valid JSON: the text is not UTF-8"}
	}
	tree := r.value(0)
	if r.err == nil {
		at := r.next()
		if _, err := r.dec.Token(); !errors.Is(err, io.EOF) {
			r.fail(at, "not valid JSON: something follows the value")
		}
	}
	if r.err != nil {
		return nil, 0, r.err
	}
	return tree, r.values, nil
}

// jsonReader builds nodes from tokens.
type jsonReader struct {
	file   string
	data   []byte
	dec    *json.Decoder
	lines  []int // offsets at which the second and later lines begin
	values int
	err    *Error

	// The column counted last: a whole file may be one line, so counting goes on from here.
	lastOffset, lastCol int
}

// where turns an offset into line and column.
func (r *jsonReader) where(offset int) (line, col int) {
	i := sort.SearchInts(r.lines, offset+1)
	start := 0
	if i > 0 {
		start = r.lines[i-1]
	}
	from, col := start, 1
	if r.lastOffset >= start && r.lastOffset <= offset {
		from, col = r.lastOffset, max(r.lastCol, 1)
	}
	col += utf8.RuneCount(r.data[from:min(offset, len(r.data))])
	r.lastOffset, r.lastCol = offset, col
	return i + 1, col
}

// next is the offset of the token about to be read.
func (r *jsonReader) next() int {
	o := int(r.dec.InputOffset())
	for o < len(r.data) {
		switch r.data[o] {
		case ' ', '\t', '\r', '\n', ',', ':':
			o++
			continue
		}
		break
	}
	return o
}

func (r *jsonReader) fail(offset int, format string, args ...any) {
	if r.err == nil {
		line, col := r.where(offset)
		r.err = &Error{File: r.file, Line: line, Col: col, Message: fmt.Sprintf(format, args...)}
	}
}

func (r *jsonReader) token() (json.Token, int) {
	at := r.next()
	t, err := r.dec.Token()
	if err != nil {
		if errors.Is(err, io.EOF) {
			r.fail(len(r.data), "not valid JSON: the text ends too early")
			return nil, at
		}
		if se := (*json.SyntaxError)(nil); errors.As(err, &se) {
			at = max(int(se.Offset)-1, 0)
		}
		r.fail(at, "not valid JSON: %v", err)
	}
	return t, at
}

func (r *jsonReader) value(depth int) *node {
	t, at := r.token()
	n := &node{}
	n.line, n.col = r.where(at)
	if r.err != nil {
		return n
	}
	if depth > maxDepth {
		r.fail(at, "values are nested more than %d deep", maxDepth)
		return n
	}
	if r.values++; r.values > maxValues {
		r.fail(at, "more than %d values", maxValues)
		return n
	}
	switch t := t.(type) {
	case nil:
	case bool:
		n.kind, n.style, n.text = scalarNode, jsonStyle, fmt.Sprint(t)
	case json.Number:
		n.kind, n.style, n.text = scalarNode, jsonStyle, t.String()
	case string:
		n.kind, n.style, n.text = scalarNode, quotedStyle, t
	case json.Delim:
		if t == '[' {
			n.kind = listNode
			for r.err == nil && r.dec.More() {
				n.items = append(n.items, r.value(depth+1))
			}
		} else {
			n.kind = mappingNode
			r.members(n, depth)
		}
		if r.err == nil {
			r.token() // the closing bracket
		}
	}
	return n
}

func (r *jsonReader) members(n *node, depth int) {
	seen := map[string]key{}
	for r.err == nil && r.dec.More() {
		t, at := r.token()
		name, _ := t.(string)
		line, col := r.where(at)
		if first, dup := seen[name]; dup {
			r.fail(at, "duplicate key %s, first set at %d:%d", shorten(name), first.line, first.col)
			return
		}
		k := key{name, line, col}
		seen[name] = k
		n.keys, n.items = append(n.keys, k), append(n.items, r.value(depth+1))
	}
}
