package route

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/match"
)

// Routes is what a connection manager routes by: one table, or several and the scope key that chooses
// among them (routing.md 3). Immutable; shared by all loops.
type Routes struct {
	table  *Table // without scopes
	key    []fragment
	scopes map[string]*Table // by encoded key
	all    []*Table
}

// fragment finds one part of a request's scope key: a compiled header_value_extractor.
type fragment struct {
	conf      *conf.ScopeFragment
	name      match.Name
	separator []byte
	between   []byte // key and value
}

// CompileRoutes compiles the routes of a connection manager. Errors name the place, "route_config..." or
// "scoped_routes...".
func CompileRoutes(c *conf.HTTPConnectionManager, o Options) (*Routes, error) {
	if (c.Routes == nil) == (c.Scoped == nil) {
		return nil, fmt.Errorf("route_specifier: exactly one of route_config and scoped_routes is needed (RT-10)")
	}
	if c.Scoped == nil {
		o.Path = "route_config"
		t, err := Compile(c.Routes, o)
		return &Routes{table: t, all: []*Table{t}}, err
	}
	r := &Routes{scopes: make(map[string]*Table, len(c.Scoped.Scopes))}
	if len(c.Scoped.Key) == 0 {
		return nil, fmt.Errorf("scoped_routes.scope_key_builder.fragments: at least one is needed (RT-11)")
	}
	for i := range c.Scoped.Key {
		f, err := compileFragment(&c.Scoped.Key[i])
		if err != nil {
			return nil, fmt.Errorf("scoped_routes.scope_key_builder.fragments[%d].header_value_extractor.%w", i, err)
		}
		r.key = append(r.key, f)
	}
	for i := range c.Scoped.Scopes {
		s := &c.Scoped.Scopes[i]
		at := fmt.Sprintf("scoped_routes.scoped_route_configurations_list[%d]", i)
		key := []byte(nil)
		for _, part := range s.Key {
			key = appendFragment(key, []byte(part))
		}
		if r.scopes[string(key)] != nil {
			return nil, fmt.Errorf("%s.key: another scope has the same key (RT-17)", at)
		}
		o.Path = at + ".route_configuration"
		t, err := Compile(s.Routes, o)
		if err != nil {
			return nil, err
		}
		r.scopes[string(key)] = t
		r.all = append(r.all, t)
	}
	return r, nil
}

func compileFragment(c *conf.ScopeFragment) (fragment, error) {
	f := fragment{conf: c, separator: []byte(c.ElementSeparator), between: []byte(c.KeySeparator)}
	switch {
	case match.CheckName(c.Header) != nil && pseudoName(c.Header) == 0:
		return f, fmt.Errorf("name: %q is not the name of a header", c.Header)
	case c.ByKey && (c.Key == "" || c.KeySeparator == ""):
		return f, fmt.Errorf("element: key and separator are needed")
	case !c.ByKey && c.ElementSeparator == "" && c.Index != 0:
		return f, fmt.Errorf("index: without an element_separator there is only element 0")
	}
	f.name = match.NewName(c.Header)
	return f, nil
}

// appendFragment appends one part of a key: | length, 4 bytes | text |.
func appendFragment(dst, text []byte) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(text)))
	return append(dst, text...)
}

// Table returns the table for a request, whose head must be as it was received; nil when a part of its
// scope key is missing, or when there is no scope with that key (RT-15). *scratch is used for the key and
// grows when it must; nothing else allocates.
func (r *Routes) Table(h *header.Head, scratch *[]byte) *Table {
	if r.scopes == nil {
		return r.table
	}
	key := (*scratch)[:0]
	for i := range r.key {
		part, ok := r.key[i].find(h)
		if !ok {
			return nil
		}
		key = appendFragment(key, part)
	}
	*scratch = key
	return r.scopes[string(key)]
}

// Clusters returns the names of the clusters that the routes refer to, sorted.
func (r *Routes) Clusters() []string {
	var out []string
	for _, t := range r.all {
		out = append(out, t.Clusters()...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Tables returns every table. Read-only.
func (r *Routes) Tables() []*Table { return r.all }

// find is RT-12.
func (f *fragment) find(h *header.Head) (part []byte, ok bool) {
	var v []byte
	if f.name.Lower[0] == ':' {
		v = pseudoOf(h, f.name.Lower)
		ok = len(v) > 0
	} else {
		v, ok = f.name.First(h)
	}
	if !ok {
		return nil, false
	}
	if f.conf.ByKey {
		return f.byKey(v)
	}
	for i := uint32(0); ; i++ {
		element, rest, more := f.next(v)
		if i == f.conf.Index {
			return element, true
		}
		if !more {
			return nil, false
		}
		v = rest
	}
}

// next cuts the first element off.
func (f *fragment) next(v []byte) (element, rest []byte, more bool) {
	if len(f.separator) == 0 {
		return v, nil, false
	}
	return bytes.Cut(v, f.separator)
}

func (f *fragment) byKey(v []byte) ([]byte, bool) {
	for more := true; more; {
		var element []byte
		element, v, more = f.next(v)
		if len(element) == 0 {
			continue
		}
		key, value, _ := bytes.Cut(element, f.between)
		if string(key) == f.conf.Key {
			return value, true
		}
	}
	return nil, false
}
