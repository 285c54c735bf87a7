package envoy

import "strconv"

// position is where a value stands in the text. It mirrors the message it was decoded into: fields
// by their protobuf name, list entries by index, map entries and Struct members by key. The payload
// of an Any lies directly in the position of the Any.
type position struct {
	file      string
	ordinal   int // 0 the file, 1 the overlay
	line, col int
	fields    map[string]*position
	order     []string // keys of fields as written: the order of json_format members
	items     []*position
	isAny     bool // merged as a whole, as protobuf does
}

func newPosition(file string, line, col int) *position {
	return &position{file: file, line: line, col: col}
}

// merge lays the positions of an overlay over p the way proto.Merge merges the messages.
func (p *position) merge(over *position) {
	if over.isAny {
		*p = *over
		return
	}
	p.items = append(p.items, over.items...)
	if len(over.fields) == 0 && len(over.items) == 0 {
		p.file, p.ordinal, p.line, p.col = over.file, over.ordinal, over.line, over.col
		return
	}
	for _, name := range over.order {
		if mine := p.fields[name]; mine != nil {
			mine.merge(over.fields[name])
			continue
		}
		p.put(name, over.fields[name])
	}
}

func (p *position) put(name string, child *position) {
	if p.fields == nil {
		p.fields = map[string]*position{}
	}
	if _, known := p.fields[name]; !known {
		p.order = append(p.order, name)
	}
	p.fields[name] = child
}

// place names a field and knows where it stands. A field that is not in the text stands where the
// nearest enclosing one does.
type place struct {
	path string
	pos  *position
}

// field returns the place of a field of the message at p.
func (p place) field(name string) place {
	q := place{path: name, pos: p.pos}
	if p.path != "" {
		q.path = p.path + "." + name
	}
	if child := p.pos.fields[name]; child != nil {
		q.pos = child
	}
	return q
}

// index returns the place of entry i of the list at p.
func (p place) index(i int) place {
	q := place{path: p.path + "[" + strconv.Itoa(i) + "]", pos: p.pos}
	if i < len(p.pos.items) {
		q.pos = p.pos.items[i]
	}
	return q
}

// key returns the place of an entry of the map at p.
func (p place) key(name string) place {
	q := place{path: p.path + "[" + strconv.Quote(name) + "]", pos: p.pos}
	if child := p.pos.fields[name]; child != nil {
		q.pos = child
	}
	return q
}
