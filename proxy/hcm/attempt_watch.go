package hcm

import (
	"time"

	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/engine/relay"
)

// attemptWatch is what is noted of an attempt for those who want to know how it went: the statistics of
// track_cluster_stats (ROUTER-84). Most attempts have nobody who does.
type attemptWatch struct {
	// since is when the attempt began; 0: nobody watches, or it is over.
	since int64
	// rq and rs are the sizes of the heads; rs is zero until there is a response.
	rq, rs headSize
}

// headSize is what header.Head.Size says.
type headSize struct{ fields, bytes uint32 }

func sizeOf(h *header.Head) headSize {
	fields, bytes := h.Size()
	return headSize{uint32(fields), uint32(bytes)}
}

// watchesAttempts says whether anybody wants to know how the stream's attempts go.
func (st *stream) watchesAttempts() bool {
	c := st.cluster.C
	return c.Budgets != nil || c.Sizes != nil
}

// beginWatch starts noting: the request's head is what the origin gets.
func (a *attempt) beginWatch() {
	a.watch.since = a.st.w.Loop.Now()
	if a.st.cluster.C.Sizes != nil {
		a.watch.rq = sizeOf(&a.st.req)
	}
}

// endWatch records what was noted. Once for each attempt, also those that got no connection.
func (a *attempt) endWatch() {
	st, s, c := a.st, a.st.w.Stats, a.endpoint.Upstream().C
	w := &a.watch
	if b := c.Budgets; b != nil {
		perTry := time.Duration(0)
		if st.tries != nil {
			perTry = st.tries.perTry
		}
		s.Record(b.UpstreamRqTimeoutBudgetPerTryPercentUsed, percentOf(st.w.Loop.Now()-w.since, perTry))
	}
	w.since = 0
	z := c.Sizes
	if z == nil {
		return
	}
	s.Record(z.UpstreamRqHeadersSize, uint64(w.rq.bytes))
	s.Record(z.UpstreamRqHeadersCount, uint64(w.rq.fields))
	s.Record(z.UpstreamRqBodySize, a.rqBody+moving(&a.upload))
	if w.rs.fields > 0 {
		s.Record(z.UpstreamRsHeadersSize, uint64(w.rs.bytes))
		s.Record(z.UpstreamRsHeadersCount, uint64(w.rs.fields))
		s.Record(z.UpstreamRsBodySize, a.rsBody+moving(&a.download))
	}
}

// spentBudget records how much of the request's timeout was used when its response is whole, or a timeout
// has ended it.
func (st *stream) spentBudget() {
	if st.cluster == nil || st.cluster.C.Budgets == nil {
		return
	}
	used := int64(0)
	if st.info.RequestEnd != 0 {
		used = st.w.Loop.Now() - st.info.RequestEnd
	}
	st.w.Stats.Record(st.cluster.C.Budgets.UpstreamRqTimeoutBudgetPercentUsed, percentOf(used, st.info.Timeout))
}

// percentOf is the part of a limit that was used, in whole milliseconds as Envoy counts; none of no limit.
func percentOf(used int64, limit time.Duration) uint64 {
	ms := uint64(limit / time.Millisecond)
	if ms == 0 {
		return 0
	}
	return uint64(used) / uint64(time.Millisecond) * 100 / ms
}

// moving is what a pump at work has moved and not yet counted.
func moving(p *relay.Pump) uint64 {
	if !p.Active() {
		return 0
	}
	return p.Moved()
}
