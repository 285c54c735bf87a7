package hcm

import (
	"time"

	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/proxy/filter"
	"github.com/sluiceproxy/sluice/proxy/reason"
	"github.com/sluiceproxy/sluice/proxy/route"
	"github.com/sluiceproxy/sluice/proxy/streaminfo"
	"github.com/sluiceproxy/sluice/proxy/worker"
)

// A slot is its filter's Stream.
var _ filter.Stream = (*slot)(nil)

// Request implements filter.Stream, as do the methods below.
func (s *slot) Request() *header.Head { return &s.run.st.req }

func (s *slot) Response() *header.Head {
	if st := s.run.st; st.info.Response != nil || st.response != halfHead {
		return &st.resp
	}
	return nil
}

func (s *slot) RequestTrailers() *header.Head  { return &s.run.st.reqTrail }
func (s *slot) ResponseTrailers() *header.Head { return &s.run.st.trail }
func (s *slot) Info() *streaminfo.Info         { return &s.run.st.info }
func (s *slot) Worker() *worker.Worker         { return s.run.st.w }
func (s *slot) Route() *route.Result           { return &s.run.st.route }
func (s *slot) ClearRoute()                    { s.run.stale = true }

func (s *slot) RouteConfig() any {
	if own := s.run.own; own != nil {
		if c := own.own[s.at]; len(c) > 0 {
			return c[len(c)-1]
		}
	}
	return nil
}

func (s *slot) RouteConfigs() []any {
	if own := s.run.own; own != nil {
		return own.own[s.at]
	}
	return nil
}

func (s *slot) Metadata() *streaminfo.Metadata {
	x := s.run.ownExtra()
	s.run.st.info.Metadata = &x.Metadata
	return &x.Metadata
}

func (s *slot) State() *streaminfo.FilterState {
	x := s.run.ownExtra()
	s.run.st.info.State = &x.State
	return &x.State
}

// ownExtra is what filters leave for one another, of the stream.
func (x *filterRun) ownExtra() *streaminfo.Extra {
	if x.extra == nil {
		x.extra = x.st.w.Extra()
	}
	return x.extra
}

func (s *slot) Destination() []byte { return s.run.st.destination() }

func (s *slot) Continue(side filter.Side) {
	x := s.run
	if x.st == nil || x.st.over || s.side[side].state == passing {
		return
	}
	w := x.st.w
	x.enter()
	x.goOn(side, s, false)
	if x.leave(w.Loop.Index()) {
		w.FlushHeads()
	}
}

func (s *slot) Kept(side filter.Side) int { return s.side[side].data.Len() }

func (s *slot) SetLimit(side filter.Side, bytes int) { s.side[side].limit = bytes }

func (s *slot) Limit(side filter.Side) int { return s.side[side].limit }

func (s *slot) Send(side filter.Side, p []byte, end bool) {
	x := s.run
	if x.st == nil || x.st.over {
		return
	}
	w := x.st.w
	x.enter()
	generation := x.generation
	if h := &s.side[side]; h.head {
		x.goOn(side, s, true)
	}
	if x.generation == generation {
		x.data(side, s.place(side)+1, p, end)
	}
	if x.leave(w.Loop.Index()) {
		w.FlushHeads()
	}
}

func (s *slot) Hold(side filter.Side, on bool) {
	h := &s.side[side]
	if s.run.st == nil || s.run.st.over || h.hold == on {
		return
	}
	if h.hold = on; on {
		s.run.hold(side)
	} else {
		s.run.unhold(side)
	}
}

func (s *slot) Reply(r filter.Reply) {
	x := s.run
	st := x.st
	if st == nil || st.over {
		return
	}
	if r.Reason == reason.None {
		r.Reason = reason.FilterReply
	}
	w := st.w
	x.enter()
	st.filterReply(&r)
	if x.leave(w.Loop.Index()) {
		w.FlushHeads()
	}
}

func (s *slot) After(t *filter.Timer, d time.Duration) { s.run.st.w.Loop.Arm(t, d) }

func (s *slot) Stop(t *filter.Timer) {
	if t.Armed() {
		s.run.st.w.Loop.Disarm(t)
	}
}
