// Package headermutation is envoy.filters.http.header_mutation: headers are added, changed and removed at
// the filter's place in the chain, first as the chain says, then as the routes' levels do.
package headermutation

import (
	"fmt"

	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/filter"
	"github.com/sluiceproxy/sluice/proxy/format"
	"github.com/sluiceproxy/sluice/proxy/match"
	"github.com/sluiceproxy/sluice/proxy/route"
	"github.com/sluiceproxy/sluice/proxy/streaminfo"
)

// lists are a compiled configuration. Immutable.
type lists struct{ request, response []mutation }

type mutation struct {
	remove match.Name
	add    *conf.HeaderValue // nil: remove
	value  *format.Formatter
}

// New compiles the filter.
func New(c *conf.HeaderMutationFilter) (filter.Spec, error) {
	own, err := compile(c)
	if err != nil {
		return filter.Spec{}, err
	}
	return filter.Spec{
		Sees: filter.RequestHead | filter.ResponseHead,
		New:  func() filter.Filter { return &instance{chain: own, specificLast: c.MostSpecificWins} },
		CompileRoute: func(config any) (any, error) {
			r, ok := config.(*conf.HeaderMutationFilter)
			if !ok {
				return nil, fmt.Errorf("%T is no configuration of the header_mutation filter", config)
			}
			return compile(r)
		},
	}, nil
}

func compile(c *conf.HeaderMutationFilter) (*lists, error) {
	out := new(lists)
	var err error
	if out.request, err = compileList(c.Request, "request_mutations"); err != nil {
		return nil, err
	}
	out.response, err = compileList(c.Response, "response_mutations")
	return out, err
}

func compileList(list []conf.HeaderMutation, at string) ([]mutation, error) {
	var out []mutation
	for i := range list {
		c, m := &list[i], mutation{}
		name := c.Remove
		if c.Add != nil {
			name, m.add = c.Add.Name, c.Add
			var err error
			if m.value, err = format.Compile(c.Add.Value); err != nil {
				return nil, fmt.Errorf("%s[%d]: %w", at, i, err)
			}
		}
		if err := match.CheckName(name); err != nil {
			return nil, fmt.Errorf("%s[%d]: %w", at, i, err)
		}
		m.remove = match.NewName(name)
		out = append(out, m)
	}
	return out, nil
}

func apply(list []mutation, h *header.Head, i *streaminfo.Info, scratch []byte) {
	for k := range list {
		if m := &list[k]; m.add == nil {
			h.RemoveName(m.remove.ID, m.remove.Lower)
		} else {
			route.ApplyHeader(h, m.add, m.value.AppendHeader(scratch, i))
		}
	}
}

type instance struct {
	filter.PassThrough
	chain        *lists
	specificLast bool
}

// apply applies every configuration, in the order they hold.
func (f *instance) apply(s filter.Stream, side filter.Side) {
	h, i, scratch := s.Request(), s.Info(), s.Worker().Loop.Scratch()
	if side == filter.Response {
		h = s.Response()
	}
	pick := func(l *lists) []mutation {
		if side == filter.Response {
			return l.response
		}
		return l.request
	}
	apply(pick(f.chain), h, i, scratch)
	configs := s.RouteConfigs()
	for k := range configs {
		at := k
		if !f.specificLast {
			at = len(configs) - 1 - k
		}
		apply(pick(configs[at].(*lists)), h, i, scratch)
	}
}

// RequestHead implements filter.Filter.
func (f *instance) RequestHead(s filter.Stream, _ bool) filter.Status {
	f.apply(s, filter.Request)
	return filter.Continue
}

// ResponseHead implements filter.Filter.
func (f *instance) ResponseHead(s filter.Stream, _ bool) filter.Status {
	f.apply(s, filter.Response)
	return filter.Continue
}
