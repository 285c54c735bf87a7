package hcm

import (
	"github.com/sluiceproxy/sluice/proxy/filter"
)

// This file is the two ends of a filterRun: the codec and the router.

// startFilters begins the request's way through the filters, with the head. The run is there only once
// the route is known, since the route says which filters there are.
func (st *stream) startFilters(c *filterChain, end bool) {
	x := c.run(st)
	st.filters = x
	loop := st.w.Loop.Index()
	x.enter()
	x.head(filter.Request, 0, end)
	x.leave(loop)
}

// onData takes data of a side from its sender.
func (x *filterRun) onData(side filter.Side, p []byte, end bool) {
	if x.sees&bodyOf[side] == 0 && x.numStopped[side] == 0 {
		x.deliverData(side, p, end)
		return
	}
	loop := x.st.w.Loop.Index()
	x.enter()
	x.data(side, 0, p, end)
	x.leave(loop)
}

// onTrailers takes trailers of a side from its sender.
func (x *filterRun) onTrailers(side filter.Side) {
	loop := x.st.w.Loop.Index()
	x.enter()
	x.trailers(side, 0)
	x.leave(loop)
}

// onResponse takes the head of a response: the upstream's or a local reply.
func (x *filterRun) onResponse(end bool) {
	loop := x.st.w.Loop.Index()
	x.enter()
	x.head(filter.Response, 0, end)
	x.leave(loop)
}

// dropResponse forgets what waits of a response that another one replaces.
func (x *filterRun) dropResponse() {
	x.generation++
	for i := range x.slots {
		x.slots[i].side[filter.Response].reset()
	}
	x.numStopped[filter.Response], x.holds[filter.Response], x.held[filter.Response] = 0, 0, false
}

// deliverHead hands a head that has passed all filters on.
func (x *filterRun) deliverHead(side filter.Side, end bool) {
	st := x.st
	if side == filter.Response {
		st.sendHead(&st.resp, end)
		return
	}
	x.passed = end
	if x.stale {
		x.stale = false
		st.findRoute()
	}
	st.routed()
}

// deliverData hands data on.
func (x *filterRun) deliverData(side filter.Side, p []byte, end bool) {
	st := x.st
	switch {
	case side == filter.Response:
		st.sendData(p, end)
	case st.requestPaused || x.tail.data.Len() > 0:
		x.tail.keep(p, end) // the router has no room
	default:
		x.passed = end
		st.forwardData(p, end)
	}
}

// deliverTrailers hands trailers on.
func (x *filterRun) deliverTrailers(side filter.Side) {
	st := x.st
	switch {
	case side == filter.Response:
		st.sendTrailers()
	case st.requestPaused || x.tail.data.Len() > 0:
		st.reqTrail.Retain()
		x.tail.trailers = true
	default:
		x.passed = true
		st.forwardTrailers()
	}
}

// drainTail goes on with what waited for the router.
func (x *filterRun) drainTail() {
	st, h, generation := x.st, &x.tail, x.generation
	if h.data.Len() == 0 && !h.end && !h.trailers {
		return
	}
	loop := st.w.Loop.Index()
	x.enter()
	var piece [1][]byte
	for !st.requestPaused && h.data.Peek(piece[:]) > 0 {
		n := len(piece[0])
		x.passed = h.end && n == h.data.Len()
		st.forwardData(piece[0], x.passed)
		if x.generation != generation {
			break
		}
		h.data.Consume(n)
	}
	if x.generation == generation && h.data.Len() == 0 && !x.passed && !st.requestPaused {
		switch {
		case h.trailers:
			x.passed = true
			st.forwardTrailers()
		case h.end:
			x.passed = true
			st.forwardData(nil, true)
		}
	}
	x.leave(loop)
}

// hold stops the sender of a side, once for all who ask.
func (x *filterRun) hold(side filter.Side) {
	st := x.st
	if x.holds[side]++; x.holds[side] > 1 {
		return
	}
	switch {
	case side == filter.Request && st.request != halfDone:
		x.held[side] = true
		st.down.pauseRequest(st)
	case side == filter.Response && st.upstreamActive():
		x.held[side] = true
		st.answering.pauseResponse()
	}
}

// unhold undoes hold.
func (x *filterRun) unhold(side filter.Side) {
	st := x.st
	if x.holds[side]--; x.holds[side] > 0 || !x.held[side] {
		return
	}
	x.held[side] = false
	st.moved()
	switch {
	case side == filter.Request && !st.requestPaused:
		st.down.resumeRequest(st)
	case side == filter.Response && !st.responsePaused && st.upstreamActive():
		st.answering.resumeResponse()
	}
}

// retain keeps a head beyond the event that brought it.
func (x *filterRun) retain(side filter.Side) {
	if side == filter.Request {
		x.st.req.Retain()
	} else {
		x.st.resp.Retain()
	}
}

func (x *filterRun) retainTrailers(side filter.Side) {
	if side == filter.Request {
		x.st.reqTrail.Retain()
	} else {
		x.st.trail.Retain()
	}
}

// requestWhole says whether the router has been handed the whole request.
func (st *stream) requestWhole() bool {
	return st.request == halfDone && (st.filters == nil || st.filters.passed)
}

// bulkRequest and bulkResponse say whether the engine may carry a body: no filter wants to see it, and
// nothing of it waits.
func (st *stream) bulkRequest() bool {
	x := st.filters
	return x == nil || x.sees&filter.RequestBody == 0 && x.numStopped[filter.Request] == 0 && x.tail.data.Len() == 0
}

func (st *stream) bulkResponse() bool {
	x := st.filters
	return x == nil || x.sees&filter.ResponseBody == 0 && x.numStopped[filter.Response] == 0
}
