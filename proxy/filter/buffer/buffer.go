// Package buffer is envoy.filters.http.buffer: the router gets a request when all of it is there, so that
// a slow client keeps no origin busy. A body that is larger than max_request_bytes is answered with 413
// (ROUTER-63). A body that came in chunks goes on with its length.
package buffer

import (
	"errors"
	"fmt"

	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/filter"
)

// New compiles the filter.
func New(c *conf.BufferFilter) (filter.Spec, error) {
	if c.MaxRequestBytes == 0 {
		return filter.Spec{}, errors.New("max_request_bytes: must be greater than 0")
	}
	return filter.Spec{
		Sees: filter.RequestHead | filter.RequestBody,
		New:  func() filter.Filter { return &instance{chain: c} },
		CompileRoute: func(config any) (any, error) {
			r, ok := config.(*conf.BufferFilter)
			switch {
			case !ok:
				return nil, fmt.Errorf("%T is no configuration of the buffer filter", config)
			case !r.Disabled && r.MaxRequestBytes == 0:
				return nil, errors.New("buffer.max_request_bytes: must be greater than 0")
			}
			return r, nil
		},
	}, nil
}

type instance struct {
	filter.PassThrough
	chain    *conf.BufferFilter
	disabled bool
}

// RequestHead stops a head that a body follows.
func (f *instance) RequestHead(s filter.Stream, end bool) filter.Status {
	c := f.chain
	if r, ok := s.RouteConfig().(*conf.BufferFilter); ok {
		c = r
	}
	f.disabled = c.Disabled
	if end || f.disabled {
		return filter.Continue
	}
	s.SetLimit(filter.Request, int(c.MaxRequestBytes))
	return filter.Buffer
}

// RequestData keeps the body until its last piece.
func (f *instance) RequestData(s filter.Stream, p []byte, end bool) filter.Status {
	if f.disabled || end && f.whole(s, len(p)) {
		return filter.Continue
	}
	return filter.Buffer
}

// whole says whether the last piece fits too, and gives the request its length then.
func (f *instance) whole(s filter.Stream, last int) bool {
	n := s.Kept(filter.Request) + last
	if n > s.Limit(filter.Request) {
		return false
	}
	if h := s.Request(); h.Transfer != header.Length {
		h.Transfer, h.ContentLength = header.Length, int64(n)
	}
	return true
}

// Done implements filter.Filter.
func (f *instance) Done(filter.Stream) { f.disabled = false }
