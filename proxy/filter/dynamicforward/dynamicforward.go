// Package dynamicforward is envoy.filters.http.dynamic_forward_proxy: a request for a cluster of that type
// waits until the name it goes to is in the cluster's DNS cache. The cluster then has a host of that name.
package dynamicforward

import (
	"fmt"
	"time"

	"github.com/sluiceproxy/sluice/proxy/cluster"
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/filter"
	"github.com/sluiceproxy/sluice/proxy/match"
	"github.com/sluiceproxy/sluice/proxy/reason"
	"github.com/sluiceproxy/sluice/proxy/route"
	"github.com/sluiceproxy/sluice/proxy/streaminfo"
	"github.com/sluiceproxy/sluice/proxy/worker"
)

// rewrite is a compiled conf.DynamicForwardRoute. Immutable.
type rewrite struct {
	literal []byte
	header  match.Name
	from    bool // the header
}

// New compiles the filter.
func New(c *conf.DynamicForwardFilter) (filter.Spec, error) {
	return filter.Spec{
		Sees: filter.RequestHead,
		New:  func() filter.Filter { return &instance{conf: c} },
		CompileRoute: func(config any) (any, error) {
			r, ok := config.(*conf.DynamicForwardRoute)
			if !ok {
				return nil, fmt.Errorf("%T is no configuration of the dynamic_forward_proxy filter", config)
			}
			out := &rewrite{literal: []byte(r.HostRewrite)}
			if r.HostRewriteHeader != "" {
				if err := match.CheckName(r.HostRewriteHeader); err != nil {
					return nil, fmt.Errorf("host_rewrite_header: %w", err)
				}
				out.header, out.from = match.NewName(r.HostRewriteHeader), true
			}
			return out, nil
		},
	}, nil
}

// instance is the filter of one stream.
type instance struct {
	filter.PassThrough
	conf *conf.DynamicForwardFilter
	s    filter.Stream
	u    *worker.Upstream
	key  []byte
	wait *wait // nil: it does not wait
}

// wait is a stream that waits for a name. Made for each look-up, since its answer may still be on the way when
// the stream is over. Loop-owned but for failure, which is written before answered is on its way.
type wait struct {
	f       *instance // nil once the stream does not wait any more
	w       *worker.Worker
	failure string
	name    *cluster.NameWait
}

// answerWait bounds how long an answer tries to reach a busy loop.
const answerWait = 10 * time.Second

// RequestHead stops the request while its name is looked up.
func (f *instance) RequestHead(s filter.Stream, _ bool) filter.Status {
	r := s.Route()
	if r.Kind != route.Forward {
		return filter.Continue
	}
	u := s.Worker().Cluster(r.Target.Cluster(s.Request()))
	if u == nil || u.C.Cache() == nil || u.C.Cache().Name() != f.conf.Cache.Name {
		return filter.Continue
	}
	if own, ok := s.RouteConfig().(*rewrite); ok {
		own.apply(s)
	}
	conn := s.Info().Conn
	if !f.conf.HostFromState {
		conn = nil
	}
	destination := s.Destination()
	if len(destination) == 0 && conn == nil {
		s.Reply(filter.Reply{Reason: reason.EmptyHost})
		return filter.Pause
	}
	ok := false
	if f.key, ok = u.AppendName(f.key[:0], destination, conn); !ok {
		return fail(s, "invalid_host")
	}
	f.s, f.u = s, u
	if f.found() {
		return filter.Continue
	}
	return f.load()
}

// apply changes the authority, by the first field of the name where a header says what to.
func (r *rewrite) apply(s filter.Stream) {
	h := s.Request()
	if len(r.literal) > 0 {
		h.SetAuthority(r.literal)
	}
	if r.from {
		if v, ok := r.header.First(h); ok {
			h.SetAuthority(v)
		}
	}
}

// found says whether the name has an address.
func (f *instance) found() bool {
	h := f.u.Named(f.key)
	if h != nil && f.conf.SaveAddress {
		var text [64]byte
		f.s.State().Set(streaminfo.KeyUpstreamAddress, h.Address().AppendTo(text[:0]), false)
	}
	return h != nil
}

// load asks the cache for the name.
func (f *instance) load() filter.Status {
	w := &wait{f: f, w: f.s.Worker()}
	state, failure, name := f.u.C.Cache().Load(f.key, w.answer)
	switch state {
	case cluster.NamePending:
		w.name, f.wait = name, w
		return filter.Pause
	case cluster.CacheFull:
		f.s.Reply(filter.Reply{Reason: reason.DNSCacheFull})
	case cluster.TooManyPending:
		f.s.Reply(filter.Reply{Reason: reason.DNSTooManyPending})
	case cluster.NameKnown: // since found has looked
		if f.found() {
			return filter.Continue
		}
		return fail(f.s, "name_removed")
	default:
		return fail(f.s, failure)
	}
	return filter.Pause
}

// fail answers a request whose name has no address.
func fail(s filter.Stream, why string) filter.Status {
	r := reason.DNSFailure
	s.Reply(filter.Reply{Reason: r, Details: r.Entry().Details + "{" + why + "}"})
	return filter.Pause
}

// answer hears of the look-up's end, not on the loop.
func (w *wait) answer(failure string) {
	w.failure = failure
	w.w.Send(w.answered, answerWait)
}

// answered goes on with the stream. Runs on the loop.
func (w *wait) answered() {
	f := w.f
	if f == nil {
		return
	}
	f.wait = nil
	switch {
	case w.failure != "":
		fail(f.s, w.failure)
	case f.found():
		f.s.Continue(filter.Request)
	default:
		fail(f.s, "name_removed")
	}
}

// Done implements filter.Filter.
func (f *instance) Done(filter.Stream) {
	if w := f.wait; w != nil {
		w.f = nil
		w.name.Cancel()
	}
	f.s, f.u, f.wait = nil, nil, nil
}
