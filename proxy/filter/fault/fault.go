package fault

import (
	"strconv"
	"time"

	"github.com/sluiceproxy/sluice/engine/wheel"
	"github.com/sluiceproxy/sluice/pool/buf"
	"github.com/sluiceproxy/sluice/proxy/filter"
	"github.com/sluiceproxy/sluice/proxy/match"
	"github.com/sluiceproxy/sluice/proxy/reason"
	"github.com/sluiceproxy/sluice/proxy/route"
)

// instance is the filter of one stream.
type instance struct {
	filter.PassThrough
	*shared
	s    filter.Stream
	from *settings // of the route or the chain; nil: the request is not subject to faults
	wait filter.Timer
	// active: counted in active faults.
	active bool

	// What the response is slowed down with: bytes for each tick, 0 not at all.
	perTick int
	tokens  int
	rest    buf.Chain
	tick    filter.Timer
	end     bool // the response is over after rest
	trailed bool // or its trailers follow
}

// tickEvery is how often a slowed response goes on.
const tickEvery = 50 * time.Millisecond

// RequestHead decides which faults the stream meets.
func (f *instance) RequestHead(s filter.Stream, _ bool) filter.Status {
	c := f.own
	if r, ok := s.RouteConfig().(*settings); ok {
		c = r
	}
	if !c.concerns(s) {
		return filter.Continue
	}
	f.s, f.from = s, c
	f.slowDown()
	if d := f.delayOf(); d > 0 && f.begin() {
		w := s.Worker()
		w.Stats.Inc(f.stats.DelaysInjected)
		s.Info().Flags |= reason.DelayInjected
		s.After(&f.wait, d)
		return filter.Pause
	}
	return f.abort()
}

// concerns says whether a request is one that faults are configured for.
func (c *settings) concerns(s filter.Stream) bool {
	h, w := s.Request(), s.Worker()
	if c.c.UpstreamCluster != "" {
		r := s.Route()
		if r.Kind != route.Forward || string(r.Target.Cluster(h)) != c.c.UpstreamCluster {
			return false
		}
	}
	if len(c.c.DownstreamNodes) > 0 {
		node, _ := fromNode.First(h)
		found := false
		for _, n := range c.c.DownstreamNodes {
			found = found || n == string(node)
		}
		if !found {
			return false
		}
	}
	scratch := w.Loop.Scratch()
	return match.AllHold(c.headers, h, &scratch)
}

// begin counts a fault, unless there are as many as there may be.
func (f *instance) begin() bool {
	if f.active {
		return true
	}
	w := f.s.Worker()
	if limit := int64(f.from.maxActive.Load()); f.shared.active.Add(1) > limit {
		f.shared.active.Add(-1)
		w.Stats.Inc(f.stats.FaultsOverflow)
		return false
	}
	f.active = true
	w.Stats.GaugeAdd(f.stats.ActiveFaults, 1)
	return true
}

// delayOf returns how long the request is to wait.
func (f *instance) delayOf() time.Duration {
	d := f.from.c.Delay
	if d == nil {
		return 0
	}
	h := f.s.Request()
	ms := f.from.delayMs.Load()
	if d.ByHeader {
		var ok bool
		if ms, ok = number(h, &delayRequest); !ok {
			return 0
		}
	}
	if !chosen(f.from.delay, d.ByHeader, h, &delayPercent, f.s.Worker().Random.Uint64()) {
		return 0
	}
	return time.Duration(min(ms, 1<<40)) * time.Millisecond
}

// waiter is an instance whose delay is over.
type waiter instance

// OnTimer lets the request go on, or aborts it.
func (w *waiter) OnTimer(*wheel.Timer) {
	f := (*instance)(w)
	s := f.s
	if f.abort() == filter.Continue {
		s.Continue(filter.Request)
	}
}

// abort answers the request if it is to be; Continue when it is not.
func (f *instance) abort() filter.Status {
	a := f.from.c.Abort
	if a == nil {
		return filter.Continue
	}
	h := f.s.Request()
	status, grpc := f.from.abortStatus.Load(), f.from.abortGRPC.Load()
	if a.ByHeader {
		var ok, asked bool
		if status, ok = number(h, &abortRequest); !ok || status < 200 || status > 599 {
			status, ok = 0, false
		}
		if grpc, asked = number(h, &abortGRPC); !asked {
			grpc = noGRPC
		}
		if !ok && !asked {
			return filter.Continue
		}
	}
	if !chosen(f.from.abort, a.ByHeader, h, &abortPercent, f.s.Worker().Random.Uint64()) || !f.begin() {
		return filter.Continue
	}
	f.s.Worker().Stats.Inc(f.stats.AbortsInjected)
	reply := filter.Reply{Reason: reason.FaultAborted, Status: uint16(status)}
	if grpc <= maxGRPC {
		reply.GRPC = strconv.Itoa(int(grpc))
		reply.Status = statusOf(grpc)
	}
	f.s.Reply(reply)
	return filter.Pause
}

const (
	noGRPC  = 1<<32 - 1
	maxGRPC = 16
)

// statusOf is the HTTP status of a gRPC status, for requests that are not gRPC.
func statusOf(grpc uint64) uint16 {
	return [maxGRPC + 1]uint16{200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401}[grpc]
}

// slowDown works out how fast the response may be.
func (f *instance) slowDown() {
	r := f.from.c.RateLimit
	if r == nil {
		return
	}
	h, kib := f.s.Request(), r.KiBPerSecond
	if r.ByHeader {
		var ok bool
		if kib, ok = number(h, &ratePerSecond); !ok || kib == 0 {
			return
		}
	}
	w := f.s.Worker()
	if !chosen(f.from.rate, r.ByHeader, h, &ratePercent, w.Random.Uint64()) || !f.begin() {
		return
	}
	w.Stats.Inc(f.stats.ResponseRLInjected)
	f.rest.Init(w.Loop.Slabs())
	f.perTick = max(1, int(min(kib, 1<<20)<<10*uint64(tickEvery)/uint64(time.Second)))
	f.tokens = f.perTick
}

// ResponseHead implements filter.Filter.
func (f *instance) ResponseHead(s filter.Stream, _ bool) filter.Status { return filter.Continue }

// ResponseData keeps what may not go on yet. The sender is held while there is something.
func (f *instance) ResponseData(s filter.Stream, p []byte, end bool) filter.Status {
	if f.perTick == 0 {
		return filter.Continue
	}
	if f.rest.Len() == 0 && len(p) <= f.tokens {
		f.tokens -= len(p)
		f.startTick()
		return filter.Continue
	}
	f.rest.Append(p)
	f.end = end
	s.Hold(filter.Response, true)
	f.startTick()
	return filter.Consume
}

// ResponseTrailers wait for the data before them.
func (f *instance) ResponseTrailers(filter.Stream) filter.Status {
	if f.perTick == 0 || f.rest.Len() == 0 {
		return filter.Continue
	}
	f.trailed = true
	return filter.Pause
}

func (f *instance) startTick() {
	if !f.tick.Armed() {
		f.s.After(&f.tick, tickEvery)
	}
}

// ticker is an instance whose response may go on.
type ticker instance

// OnTimer sends as much as the rate allows.
func (t *ticker) OnTimer(*wheel.Timer) {
	f := (*instance)(t)
	s := f.s
	f.tokens = f.perTick
	var piece [1][]byte
	for f.tokens > 0 && f.rest.Peek(piece[:]) > 0 {
		p := piece[0][:min(len(piece[0]), f.tokens)]
		f.tokens -= len(p)
		last := f.end && len(p) == f.rest.Len()
		n := len(p)
		s.Send(filter.Response, p, last)
		if f.s == nil || last {
			return // over, and what was kept with it
		}
		f.rest.Consume(n)
	}
	if f.rest.Len() > 0 {
		f.startTick()
		return
	}
	if f.trailed {
		f.trailed = false
		s.Continue(filter.Response)
		return
	}
	s.Hold(filter.Response, false)
}

// Done implements filter.Filter.
func (f *instance) Done(s filter.Stream) {
	s.Stop(&f.wait)
	s.Stop(&f.tick)
	if f.active {
		f.shared.active.Add(-1)
		s.Worker().Stats.GaugeAdd(f.stats.ActiveFaults, -1)
	}
	if f.rest.Len() > 0 {
		f.rest.Release()
	}
	f.s, f.from, f.active, f.perTick, f.tokens, f.end, f.trailed = nil, nil, false, 0, 0, false, false
}
