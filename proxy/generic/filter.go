package generic

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/sluiceproxy/sluice/codec/frame"
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/streaminfo"
)

// Filter is an embedder's filter before the router. All loops share it: its own state must be immutable
// or safe for concurrent use.
type Filter interface {
	// OnRequest is called with the header of each request, once it is routed. It must not block, and not
	// allocate in steady state. r is valid until it returns.
	OnRequest(r *Request) Verdict
}

// ResponseFilter is a Filter that also wants to see responses, in the reverse order of the filters.
type ResponseFilter interface {
	// OnResponse is called with the header of each response of an upstream.
	OnResponse(r *Request)
}

// Verdict is a filter's answer. The zero value lets the request pass.
type Verdict struct {
	// Reply answers the request here, with a status and one word in snake case.
	Reply   bool
	Status  frame.Status
	Details string
}

// FilterFactory makes an embedder's filter for a generic proxy that names it; config is its configuration
// as JSON, or empty. An error refuses the configuration.
type FilterFactory func(name string, config json.RawMessage) (Filter, error)

// Request is a message as filters see it. Each loop has one, filled in anew for every call. Loop-owned.
type Request struct {
	// Frame is the header frame: host, path, method, id of a request, code of a response. Read-only.
	Frame *frame.Frame
	// Conn holds the facts of the client's connection. Read-only.
	Conn *streaminfo.Connection
	// Route is the route's name, Config its per_filter_config for this filter as JSON; both may be empty.
	Route  string
	Config json.RawMessage

	cfg      *Config
	head     []byte // bytes of the header frame as they are now
	response bool
	edited   [2][]byte // what head may be in, by turns
	turn     int
	local    frame.Frame // of a request that is answered here
}

// Protocol returns the codec's name.
func (r *Request) Protocol() string { return r.cfg.codec.Protocol() }

// Property returns the first value of a property; a view.
func (r *Request) Property(name string) (value []byte, ok bool) {
	if r.cfg.props == nil {
		return nil, false
	}
	return r.cfg.props.Property(r.head, r.response, name)
}

// VisitProperties calls f for each property until it says false.
func (r *Request) VisitProperties(f func(name, value []byte) bool) {
	if r.cfg.props != nil {
		r.cfg.props.VisitProperties(r.head, r.response, f)
	}
}

// SetProperty replaces a property or adds it, EraseProperty takes it away. They report false, and change
// nothing, when the codec cannot do that.
func (r *Request) SetProperty(name string, value []byte) bool { return r.edit(name, value, false) }

// EraseProperty see SetProperty.
func (r *Request) EraseProperty(name string) bool { return r.edit(name, nil, true) }

func (r *Request) edit(name string, value []byte, erase bool) bool {
	if r.cfg.editor == nil {
		return false
	}
	r.turn = 1 - r.turn
	out, ok := r.cfg.editor.AppendEdited(r.edited[r.turn][:0], r.head, r.response, name, value, erase)
	if !ok {
		return false
	}
	r.edited[r.turn] = out
	r.head, r.Frame.Bytes = out, out
	return true
}

// filter is a compiled Filter.
type filter struct {
	name     string
	on       Filter
	response ResponseFilter
}

func compileFilters(list []conf.GenericFilter, registered map[string]FilterFactory) ([]filter, error) {
	var out []filter
	for i, c := range list {
		kind := c.Type
		if kind == "" {
			kind = c.Name
		}
		factory := registered[kind]
		if factory == nil {
			return nil, fmt.Errorf("filters[%d]: no generic filter %q is registered; there are: %s", i, kind, strings.Join(slices.Sorted(maps.Keys(registered)), ", "))
		}
		on, err := factory(c.Name, c.Config)
		if err == nil && on == nil {
			err = errors.New("the factory returned no filter")
		}
		if err != nil {
			return nil, fmt.Errorf("filters[%d]: %s: %w", i, c.Name, err)
		}
		r, _ := on.(ResponseFilter)
		out = append(out, filter{c.Name, on, r})
	}
	return out, nil
}
