package hcm

import (
	"github.com/sluiceproxy/sluice/pool/buf"
	"github.com/sluiceproxy/sluice/proxy/filter"
	"github.com/sluiceproxy/sluice/proxy/reason"
	"github.com/sluiceproxy/sluice/proxy/streaminfo"
)

// filterRun is the filters of one stream at work. Loop-owned, from the loop's free list of its chain.
//
//	request:   codec -> slots[0] -> slots[1] -> ... -> tail -> router
//	response:  codec <- slots[0] <- slots[1] <- ... <-------- router or local reply
//
// What a filter stops waits in its slot, a side each; the tail keeps what the router has no room for, when
// data comes from a slot and not from the client, who would be paused. Bounded: a slot by its limit, the
// tail by those of the slots, which is where its data comes from.
//
//	status \ slot   passing                     buffering                     paused
//	Continue        next filter                 what is kept, then next       -
//	Buffer          keep -> buffering           keep, 413 or 500 over limit   -
//	Pause           keep, hold sender -> paused keep, hold sender -> paused   - (events are kept unseen)
//	Stream.Continue -                           what is kept -> passing       the same, sender goes on
type filterRun struct {
	st    *stream // nil once over
	chain *filterChain
	slots []slot
	next  *filterRun // free list

	// generation changes when what is under way has become void: the stream is over, or the response is
	// another one. Whoever called a filter, the router or the codec compares it before going on.
	generation uint32
	// depth is how many of the entry points are on the stack.
	depth int
	// sees is what filters that this stream's route does not take out want to see.
	sees filter.Sees
	// stale: the route is to be looked up again.
	stale bool
	// passed: the whole request is in the router's hands.
	passed bool
	// replies is how many local replies are on their way through the filters in this call.
	replies int
	// holds counts who stops the sender of a side, held says whether it is stopped.
	holds [2]int
	held  [2]bool
	// numStopped is how many slots are not passing on a side; with none, events no filter sees go by.
	numStopped [2]int
	own        *routeFilters
	tail       waiting
	extra      *streaminfo.Extra
}

// slot is one filter's place in a run. It is the filter's Stream.
type slot struct {
	run  *filterRun
	f    filter.Filter
	at   int
	off  bool
	side [2]waiting
}

// stop is how a slot stands to a side.
type stop uint8

const (
	// passing: events go by, or through the filter.
	passing stop = iota
	// buffering: events are kept, and the filter sees them.
	buffering
	// paused: events are kept unseen, and the sender is held.
	paused
)

// waiting is what waits of a message at one place: its head, data, and how it ends.
type waiting struct {
	state stop
	// head: the head waits too. end: the message is over after data. trailers: with trailers.
	head, end, trailers bool
	// holding: this slot holds the sender by a Pause, hold by Stream.Hold.
	holding, hold bool
	limit         int
	data          buf.Chain
}

func (h *waiting) keep(p []byte, end bool) {
	h.data.Append(p)
	h.end = h.end || end
}

// reset makes it empty, whatever it holds.
func (h *waiting) reset() {
	h.data.Release()
	h.state, h.head, h.end, h.trailers, h.holding, h.hold = passing, false, false, false, false, false
}

func (x *filterRun) begin(st *stream) {
	x.st = st
	slabs := st.w.Loop.Slabs()
	x.tail.data.Init(slabs)
	x.own = x.chain.of(st)
	for i := range x.slots {
		s := &x.slots[i]
		s.off = x.chain.specs[i].disabled
		if x.own != nil {
			s.off = x.own.off[i]
		}
		if !s.off {
			x.sees |= x.chain.specs[i].Sees
		}
		for side := range s.side {
			s.side[side].data.Init(slabs)
			s.side[side].limit = st.cfg.bufferLimit
		}
	}
}

// over ends the run with its stream. Instances hear it; what waits goes.
func (x *filterRun) over() {
	for i := range x.slots {
		if s := &x.slots[i]; !s.off {
			s.f.Done(s)
		}
	}
	x.generation++
}

// release frees what over has left, after the log is written.
func (x *filterRun) release() {
	st := x.st
	for i := range x.slots {
		for side := range x.slots[i].side {
			x.slots[i].side[side].reset()
		}
	}
	x.tail.reset()
	st.w.PutExtra(x.extra)
	st.filters, x.st, x.own, x.extra = nil, nil, nil, nil
	x.sees, x.stale, x.passed = 0, false, false
	x.replies, x.holds, x.held, x.numStopped = 0, [2]int{}, [2]bool{}, [2]int{}
	if x.depth == 0 {
		x.chain.put(x, st.w.Loop.Index())
	}
}

// enter and leave mark the entry points: until the last has left, the run is not used again.
func (x *filterRun) enter() { x.depth++ }

// leave says whether it was the last.
func (x *filterRun) leave(loop int) bool {
	last := x.depth == 1
	if x.depth--; last && x.st == nil {
		x.chain.put(x, loop)
	}
	return last
}

// slot returns the i-th slot that a side passes.
func (x *filterRun) slot(side filter.Side, i int) *slot {
	if side == filter.Response {
		i = len(x.slots) - 1 - i
	}
	return &x.slots[i]
}

// place is the inverse of slot.
func (s *slot) place(side filter.Side) int {
	if side == filter.Response {
		return len(s.run.slots) - 1 - s.at
	}
	return s.at
}

var (
	headOf = [2]filter.Sees{filter.RequestHead, filter.ResponseHead}
	bodyOf = [2]filter.Sees{filter.RequestBody, filter.ResponseBody}
)

func (s *slot) sees(what filter.Sees) bool { return s.run.chain.specs[s.at].Sees&what != 0 }

// setState moves a slot between its states, and keeps count of them.
func (x *filterRun) setState(side filter.Side, h *waiting, to stop) {
	if (h.state == passing) != (to == passing) {
		if to == passing {
			x.numStopped[side]--
		} else {
			x.numStopped[side]++
		}
	}
	h.state = to
}

// head takes a head from filter i on.
func (x *filterRun) head(side filter.Side, i int, end bool) {
	for ; i < len(x.slots); i++ {
		s := x.slot(side, i)
		if s.off || !s.sees(headOf[side]) {
			continue
		}
		generation := x.generation
		status := s.callHead(side, end)
		if x.generation != generation {
			return
		}
		if status == filter.Continue || status == filter.Consume {
			continue
		}
		h := &s.side[side]
		h.head, h.end = true, end
		x.retain(side)
		x.stopped(side, h, status)
		return
	}
	x.deliverHead(side, end)
}

// stopped notes that a filter has stopped a side.
func (x *filterRun) stopped(side filter.Side, h *waiting, status filter.Status) {
	if status == filter.Buffer {
		x.setState(side, h, buffering)
		return
	}
	x.setState(side, h, paused)
	if !h.holding {
		h.holding = true
		x.hold(side)
	}
}

// data takes body bytes from filter i on. p is only valid during the call.
func (x *filterRun) data(side filter.Side, i int, p []byte, end bool) {
	for ; i < len(x.slots); i++ {
		s := x.slot(side, i)
		h := &s.side[side]
		if h.state == paused {
			h.keep(p, end)
			return
		}
		if s.off || !s.sees(bodyOf[side]) {
			if h.state == buffering { // a filter that only looks at heads
				x.keep(side, h, p, end)
				return
			}
			continue
		}
		generation := x.generation
		status := s.callData(side, p, end)
		if x.generation != generation {
			return
		}
		switch status {
		case filter.Continue:
			if h.state != passing {
				x.goOn(side, s, true)
				if x.generation != generation {
					return
				}
			}
		case filter.Consume:
			return
		default:
			x.stopped(side, h, status)
			x.keep(side, h, p, end)
			return
		}
	}
	x.deliverData(side, p, end)
}

// keep adds data to what a slot keeps, within its limit.
func (x *filterRun) keep(side filter.Side, h *waiting, p []byte, end bool) {
	h.keep(p, end)
	if h.state != buffering || h.data.Len() <= h.limit {
		return
	}
	st := x.st
	if side == filter.Request {
		st.w.Stats.Inc(st.cfg.stats.DownstreamRqTooLarge)
		st.filterReply(&filter.Reply{Reason: reason.RequestTooLarge})
	} else {
		st.w.Stats.Inc(st.cfg.stats.RsTooLarge)
		st.filterReply(&filter.Reply{Reason: reason.ResponseTooLarge})
	}
}

// trailers takes the end of a message that has trailers, from filter i on.
func (x *filterRun) trailers(side filter.Side, i int) {
	for ; i < len(x.slots); i++ {
		s := x.slot(side, i)
		h := &s.side[side]
		status := filter.Pause
		generation := x.generation
		switch {
		case h.state == paused:
		case s.off || !s.sees(bodyOf[side]):
			if status = filter.Continue; h.state == buffering {
				status = filter.Buffer
			}
		default:
			status = s.callTrailers(side)
			if x.generation != generation {
				return
			}
		}
		switch {
		case status != filter.Continue:
			h.trailers = true
			x.retainTrailers(side)
			if h.state == passing {
				x.setState(side, h, buffering) // there is no sender left to hold
			}
			return
		case h.state != passing:
			x.goOn(side, s, true)
			if x.generation != generation {
				return
			}
		}
	}
	x.deliverTrailers(side)
}

// goOn hands what a slot keeps to the next one. more says that the caller has further events of the
// message, which are therefore not among what is kept.
func (x *filterRun) goOn(side filter.Side, s *slot, more bool) {
	h, i := &s.side[side], s.place(side)+1
	x.setState(side, h, passing)
	generation := x.generation
	end := h.end && !h.trailers && !more
	h.end = false
	if h.head {
		h.head = false
		whole := end && h.data.Len() == 0
		end = end && !whole
		x.head(side, i, whole)
	}
	var piece [1][]byte
	for x.generation == generation && h.data.Peek(piece[:]) > 0 {
		n := len(piece[0])
		last := end && n == h.data.Len()
		end = end && !last
		x.data(side, i, piece[0], last)
		if x.generation == generation {
			h.data.Consume(n)
		}
	}
	if x.generation != generation {
		return
	}
	if end {
		x.data(side, i, nil, true)
	}
	if h.trailers && x.generation == generation {
		h.trailers = false
		x.trailers(side, i)
	}
	if h.holding && x.generation == generation {
		h.holding = false
		x.unhold(side)
	}
}

func (s *slot) callHead(side filter.Side, end bool) filter.Status {
	if side == filter.Request {
		return s.f.RequestHead(s, end)
	}
	return s.f.ResponseHead(s, end)
}

func (s *slot) callData(side filter.Side, p []byte, end bool) filter.Status {
	if side == filter.Request {
		return s.f.RequestData(s, p, end)
	}
	return s.f.ResponseData(s, p, end)
}

func (s *slot) callTrailers(side filter.Side) filter.Status {
	if side == filter.Request {
		return s.f.RequestTrailers(s)
	}
	return s.f.ResponseTrailers(s)
}
