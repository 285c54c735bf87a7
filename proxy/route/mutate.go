package route

import (
	"encoding/binary"
	"fmt"

	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/format"
	"github.com/sluiceproxy/sluice/proxy/match"
	"github.com/sluiceproxy/sluice/proxy/streaminfo"
)

// mutator is the header mutations of all levels for one direction, in the order they run (RT-69c).
// Empty when no level has any. Immutable; levels are shared between routes.
type mutator []*level

// after returns m after one more level; nil adds nothing.
func (m mutator) after(l *level) mutator {
	if l == nil {
		return m
	}
	return append(mutator{l}, m...)
}

// level is the mutations of a weighted cluster, a route, a virtual host or a route configuration in one
// direction.
type level struct {
	remove []match.Name
	add    []mutation
	// dynamic: a value must be formatted, so all are before the first field changes.
	dynamic bool
}

// mutation is one HeaderValueOption.
type mutation struct {
	name   match.Name
	value  string            // when format is nil
	format *format.Formatter // nil for a constant
	action conf.AppendAction
	keep   bool // keep_empty_value
}

// levels are what one HeaderMutations compiles to; nil for nothing to do.
type levels struct{ request, response *level }

func compileLevels(c *conf.HeaderMutations) (levels, error) {
	request, err := compileLevel("request", c.RequestAdd, c.RequestRemove)
	if err != nil {
		return levels{}, err
	}
	response, err := compileLevel("response", c.ResponseAdd, c.ResponseRemove)
	return levels{request, response}, err
}

func compileLevel(direction string, add []conf.HeaderValue, remove []string) (*level, error) {
	if len(add)+len(remove) == 0 {
		return nil, nil
	}
	if len(add) > maxMutations {
		return nil, fmt.Errorf("%s_headers_to_add: %d entries are more than %d", direction, len(add), maxMutations)
	}
	l := &level{add: make([]mutation, len(add))}
	for i, s := range remove {
		if err := checkMutable(s); err != nil {
			return nil, fmt.Errorf("%s_headers_to_remove[%d]: %w", direction, i, err)
		}
		l.remove = append(l.remove, match.NewName(s))
	}
	for i := range add {
		if err := l.add[i].compile(&add[i]); err != nil {
			return nil, fmt.Errorf("%s_headers_to_add[%d].header: %w", direction, i, err)
		}
		l.dynamic = l.dynamic || l.add[i].format != nil
	}
	return l, nil
}

// checkMutable refuses names a mutation cannot change (RT-69b).
func checkMutable(name string) error {
	if name == "host" || name != "" && name[0] == ':' {
		return fmt.Errorf("%q cannot be changed by a header mutation; use a rewrite", name)
	}
	return match.CheckName(name)
}

func (m *mutation) compile(c *conf.HeaderValue) error {
	if err := checkMutable(c.Name); err != nil {
		return err
	}
	for i := 0; i < len(c.Value); i++ {
		if b := c.Value[i]; b < ' ' && b != '\t' || b == 0x7f {
			return fmt.Errorf("value %q: control characters are not allowed", c.Value)
		}
	}
	f, err := format.Compile(c.Value)
	if err != nil {
		return fmt.Errorf("value: %w", err)
	}
	m.name, m.action, m.keep = match.NewName(c.Name), c.Action, c.KeepEmpty
	if s, ok := f.Static(); ok {
		m.value = s
	} else {
		m.format = f
	}
	return nil
}

// newMutator puts the levels in order: the most specific first, so that the least specific has the
// last word; mostSpecificWins turns that round.
func newMutator(mostSpecificWins bool, route, host, base *level) mutator {
	order := [3]*level{route, host, base}
	if mostSpecificWins {
		order = [3]*level{base, host, route}
	}
	var out mutator
	for _, l := range order {
		if l != nil {
			out = append(out, l)
		}
	}
	return out
}

// MutateRequest applies request_headers_to_remove and _to_add of all levels to h, which is i.Request.
// Values are formatted into scratch, which is returned, longer when it had to grow. No other allocation.
func (res *Result) MutateRequest(h *header.Head, i *streaminfo.Info, scratch []byte) []byte {
	for _, l := range res.mutators().request {
		scratch = l.apply(h, i, scratch)
	}
	return scratch
}

// MutateResponse is MutateRequest for the response's lists; h is i.Response.
func (res *Result) MutateResponse(h *header.Head, i *streaminfo.Info, scratch []byte) []byte {
	for _, l := range res.mutators().response {
		scratch = l.apply(h, i, scratch)
	}
	return scratch
}

// mutators returns those of the target or, where there is none, of the route; none without a route.
func (res *Result) mutators() *mutators {
	switch {
	case res.Target != nil:
		return &res.Target.mutators
	case res.Route != nil:
		return &res.Route.mutators
	}
	return &noMutators
}

var noMutators mutators

// apply runs one level. Formatters read the head as it was on entry, so every value is made before
// anything is removed or added (RT-69c); scratch then holds, per formatted value:
//
//	| length, 4 bytes | value |
func (l *level) apply(h *header.Head, i *streaminfo.Info, scratch []byte) []byte {
	scratch = scratch[:0]
	if l.dynamic {
		for k := range l.add {
			f := l.add[k].format
			if f == nil {
				continue
			}
			start := len(scratch)
			scratch = f.AppendHeader(append(scratch, 0, 0, 0, 0), i)
			binary.LittleEndian.PutUint32(scratch[start:], uint32(len(scratch)-start-4))
		}
	}
	for k := range l.remove {
		h.RemoveName(l.remove[k].ID, l.remove[k].Lower)
	}
	values := scratch
	for k := range l.add {
		m := &l.add[k]
		if m.format == nil {
			m.apply(h, []byte(m.value))
			continue
		}
		end := 4 + binary.LittleEndian.Uint32(values)
		m.apply(h, values[4:end])
		values = values[end:]
	}
	return scratch
}

func (m *mutation) apply(h *header.Head, value []byte) {
	if len(value) == 0 && !m.keep {
		return // RT-69d
	}
	apply(h, &m.name, m.action, value)
}

func apply(h *header.Head, n *match.Name, action conf.AppendAction, value []byte) {
	switch action {
	case conf.AppendIfExistsOrAdd:
		h.Add(n.ID, n.Lower, value)
	case conf.AddIfAbsent:
		if h.Find(n.ID, n.Lower) < 0 {
			h.Add(n.ID, n.Lower, value)
		}
	case conf.OverwriteIfExistsOrAdd:
		n.Set(h, value)
	case conf.OverwriteIfExists:
		if h.Find(n.ID, n.Lower) >= 0 {
			n.Set(h, value)
		}
	}
}

// ApplyHeader applies one header_to_add outside a route (a local reply mapper) with its value already
// formatted.
func ApplyHeader(h *header.Head, c *conf.HeaderValue, value []byte) {
	if len(value) == 0 && !c.KeepEmpty {
		return
	}
	n := match.NewName(c.Name)
	apply(h, &n, c.Action, value)
}
