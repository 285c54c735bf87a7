package generic

import (
	"github.com/sluiceproxy/sluice/codec/frame"
	"github.com/sluiceproxy/sluice/pool"
	"github.com/sluiceproxy/sluice/pool/buf"
	"github.com/sluiceproxy/sluice/proxy/cluster"
	"github.com/sluiceproxy/sluice/proxy/reason"
	"github.com/sluiceproxy/sluice/proxy/worker"
)

// stream is one request and its response. Loop-owned, from a free list.
//
//	header     filters, route, cluster, host -> a connection of the pool, or the session's bound one
//	           none of them: local reply in its turn, the rest of the request is dropped
//	end        the route's timeout begins; one-way requests are over once they are sent (GP-22)
//	response   written in its turn; its end ends the stream
//	timeout    local reply; the connection of the pool is closed, a bound one drops the late response
//	reset      another try (attempt.go), or local reply, or when the response had begun the session ends
type stream struct {
	s   *session
	cfg *Config

	id, note uint64
	route    *route
	upstream *worker.Upstream
	endpoint *worker.Endpoint

	// With a connection of the pool (attempt.go).
	req      pool.Request
	pc       *pool.Conn
	dec      frame.Decoder
	decOf    frame.Codec // what dec decodes
	rx0, tx0 uint64
	held     buf.Chain // the request, while it waits for a connection or may be sent again
	attempts uint32
	retryAt  int64
	deadline int64

	startNs, requestEndNs, readyNs, txEndNs, rxNs, endNs int64
	bytesIn, bytesOut                                    uint64
	upID                                                 uint64

	why     reason.Reason
	flags   reason.Flag
	details string
	failure string
	code    uint16
	status  frame.Status

	text             []byte // method, path and host, one after the other
	methodTo, pathTo int
	head, respHead   []byte // header frames, for properties in the log

	// About the request.
	oneWay   bool
	reqDone  bool
	discard  bool // what comes of it is dropped
	keep     bool // held is kept after it was sent
	pending  bool // waits for a connection
	flushing bool // one-way: its last bytes wait to be written
	counted  bool // in the cluster's active requests
	sent     bool // to the bound connection
	// About the response.
	began    bool
	respDone bool
	failed   bool
	// lastOfConn: the response is the last one of its connection.
	lastOfConn bool
	local      bool
	isReset    bool
	waits      bool // for its turn
	paused     bool // its connection is not read
	ghost      bool // given up, but its response will come over the bound connection
	inIDs      bool

	prev, next *stream
	nextID     *stream
	nextAwait  *stream // of those the bound connection owes a response
}

// maxKeptHead bounds the memory that a stream keeps for the next request.
const maxKeptHead = 4 << 10

// reset clears a stream for the next request but keeps its memory, as far as requests usually need it.
func (st *stream) reset() {
	st.held.Release()
	*st = stream{held: st.held, dec: st.dec, decOf: st.decOf, text: emptied(st.text), head: emptied(st.head), respHead: emptied(st.respHead)}
}

func emptied(b []byte) []byte {
	if cap(b) > maxKeptHead {
		return nil
	}
	return b[:0]
}

func (st *stream) method() []byte { return st.text[:st.methodTo] }

// onHeader decides what becomes of a request.
func (st *stream) onHeader(f *frame.Frame, head []byte) {
	s, a, cfg := st.s, st.s.a, st.cfg
	st.oneWay = f.Flags.Has(frame.OneWay)
	st.text = append(st.text[:0], f.Method...)
	st.methodTo = len(st.text)
	if len(cfg.logs) > 0 {
		st.text = append(st.text, f.Path...)
		st.pathTo = len(st.text)
		st.text = append(st.text, f.Host...)
		if cfg.keepRequest {
			st.head = append(st.head[:0], head...)
		}
	}
	switch {
	case f.Flags.Has(frame.Refuse):
		st.localReply(reason.GenericRefused, frame.InvalidArgument, f.Reason)
		return
	case f.Flags.Has(frame.Sticky) && !cfg.bind:
		st.localReply(reason.GenericRefused, frame.InvalidArgument, "needs_bind_upstream_connection")
		return
	}
	subject := subject{f: f, head: head, props: cfg.props}
	if m := cfg.routes.find(f.Host); m != nil {
		st.route = m.find(&subject)
	}
	if st.route == nil {
		st.localReply(reason.NoRoute, frame.NotFound, "")
		return
	}
	if len(cfg.filters) > 0 && !st.filter(f, head) {
		return
	}
	t := st.route.pick(a.w.Random)
	st.upstream = a.w.Cluster(t.name)
	switch {
	case st.upstream == nil:
		st.localReply(reason.NoCluster, frame.NotFound, "")
	case t.closed.Enabled(a.w.Random.Uint64()):
		st.localReply(reason.GenericMaintenance, frame.Unavailable, "")
	case cfg.bind:
		s.up.join(st)
	default:
		st.keep = st.route.tries > 1 && !st.oneWay
		st.start()
	}
}

// filter runs the filters; false when one answered.
func (st *stream) filter(f *frame.Frame, head []byte) bool {
	r := &st.s.a.request
	r.Frame, r.Conn, r.Route, r.cfg, r.head, r.response = f, &st.s.facts, st.route.conf.Name, st.cfg, head, false
	for i := range st.cfg.filters {
		r.Config = st.route.perFilter[i]
		if v := st.cfg.filters[i].on.OnRequest(r); v.Reply {
			st.localReply(reason.GenericFilter, v.Status, v.Details)
			return false
		}
	}
	return true
}

// filterResponse lets the filters see a response, last one first.
func (st *stream) filterResponse(f *frame.Frame, head []byte) {
	r := &st.s.a.request
	r.Frame, r.Conn, r.Route, r.cfg, r.head, r.response = f, &st.s.facts, st.route.conf.Name, st.cfg, head, true
	for i := len(st.cfg.filters) - 1; i >= 0; i-- {
		if on := st.cfg.filters[i].response; on != nil {
			r.Config = st.route.perFilter[i]
			on.OnResponse(r)
		}
	}
}

// choose says which host the request wants.
func (st *stream) choose() *cluster.Choice {
	original := st.upstream.C.Conf.OriginalDst != nil
	if st.route.criteria == nil && !original {
		return nil
	}
	c := &st.s.a.choice
	*c = cluster.Choice{Criteria: st.route.criteria}
	if original {
		c.Destination = st.s.facts.Restored()
	}
	return c
}

// admitted asks the circuit breaker for one more active request and counts it.
func (st *stream) admitted() bool {
	sh, c := st.s.a.w.Stats, st.upstream.C
	if !c.Breakers[0].TryRequest() {
		sh.Inc(c.Stats.UpstreamRqPendingOverflow)
		sh.Inc(c.Stats.UpstreamRqActiveOverflow)
		return false
	}
	st.counted = true
	sh.Inc(c.Stats.UpstreamRqTotal)
	sh.GaugeAdd(c.Stats.UpstreamRqActive, 1)
	st.endpoint.Load.RqTotal++
	st.endpoint.Load.RqActive++
	return true
}

// uncount takes the request out of the active ones. Idempotent.
func (st *stream) uncount() {
	if !st.counted {
		return
	}
	st.counted = false
	u := st.upstream
	u.C.Breakers[0].ReleaseRequest()
	st.s.a.w.Stats.GaugeAdd(u.C.Stats.UpstreamRqActive, -1)
	st.endpoint.Load.RqActive--
}

// full says whether the upstream can take no more of the request now.
func (st *stream) full() bool {
	switch {
	case st.discard:
		return false
	case st.cfg.bind:
		return st.s.up.full()
	case st.pc != nil:
		return st.pc.Above()
	}
	return st.pending || st.retryAt != 0 // the header waits, the rest stays unread
}

// send passes a frame of the request on.
func (st *stream) send(f *frame.Frame, view []byte, from, to int) {
	switch {
	case st.discard:
		return
	case st.cfg.bind:
		st.s.up.forward(f, view, from, to)
		return
	}
	b := f.Bytes
	if b == nil {
		b = view[from:to]
	}
	st.sendOwn(b)
}

// requestDone says that the request was received whole.
func (st *stream) requestDone() {
	s := st.s
	now := s.a.w.Loop.Now()
	st.reqDone, st.requestEndNs = true, now
	s.cur = nil
	if st.respDone {
		st.finishIfDone()
		return
	}
	if st.discard || st.local {
		return
	}
	if st.cfg.bind {
		if st.txEndNs = now; st.oneWay {
			st.endedBy(reason.GenericOneWay)
			st.respDone = true
			st.finish()
			return
		}
	} else if st.pc != nil {
		if st.sentOwn(); st.s == nil {
			return
		}
	}
	if d := st.route.timeout; d > 0 && !st.oneWay {
		st.deadline = now + int64(d)
		s.arm(st.deadline)
	}
}

// onResponse takes a frame of the response; false when the stream is over.
func (st *stream) onResponse(f *frame.Frame, view []byte, from, to int) bool {
	s := st.s
	if f.Flags.Has(frame.Header) {
		st.began = true
		st.rxNs = s.a.w.Loop.Now()
		if f.Flags.Has(frame.Close) {
			s.draining, st.lastOfConn = true, true
		}
		if st.cfg.keepResponse {
			st.respHead = append(st.respHead[:0], bytesOf(f, view[from:to])...)
		}
		if len(st.cfg.filters) > 0 {
			st.filterResponse(f, bytesOf(f, view[from:to]))
		}
		if s.open == nil {
			s.open = st
		}
	}
	st.code, st.failed = max(st.code, f.Code), st.failed || f.Failed
	n := to - from
	if f.Bytes != nil {
		n = len(f.Bytes)
	}
	if n > 0 {
		s.forward(f, view, from, to)
		st.bytesOut += uint64(n)
	}
	if !f.Flags.Has(frame.End) {
		return true
	}
	st.endedBy(reason.ViaUpstream)
	st.respDone = true
	if s.open == st {
		s.open = nil
	}
	st.endpoint.Answered(200) // a reply that tells of an error comes from a host that works
	if st.failed {
		st.endpoint.Load.RqError++
	} else {
		st.endpoint.Load.RqSuccess++
	}
	return false
}

// endedBy notes how the request ends, once.
func (st *stream) endedBy(r reason.Reason) {
	if st.why == reason.None {
		e := r.Entry()
		st.why, st.details = r, e.Details
		st.flags |= e.Flag
	}
}

// abandon gives a request up: its connection goes.
func (st *stream) abandon(r reason.Reason) {
	st.endedBy(r)
	st.isReset = true
	st.dropOwn()
	st.finish()
}

// finishIfDone ends a stream whose request and response are whole.
func (st *stream) finishIfDone() {
	if st.reqDone && st.respDone {
		st.finish()
	} else if st.respDone {
		st.discard = !st.sent // a bound connection needs the rest
	}
}

// finish counts and logs the request and lets go of it. Whoever waited gets its chance.
func (st *stream) finish() {
	s := st.s
	st.endNs = s.a.w.Loop.Now()
	st.uncount()
	s.heldBytes -= st.held.Len()
	st.held.Release()
	st.account()
	s.unlink(st)
	if s.up.keepsGhost(st) {
		st.ghost = true
	} else {
		s.a.put(st)
	}
	s.advance()
	s.unstall()
	s.endIfDrained()
}
