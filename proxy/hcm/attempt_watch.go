package hcm

import (
	"time"

	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/engine/relay"
	"github.com/sluiceproxy/sluice/engine/wheel"
	"github.com/sluiceproxy/sluice/proxy/reason"
	"github.com/sluiceproxy/sluice/proxy/streaminfo"
)

// attemptWatch is what is noted of an attempt for those who want to know how it went: the statistics of
// track_cluster_stats (ROUTER-84) and the router's upstream_log. Most attempts have none. Loop-owned, from
// the loop's free list.
type attemptWatch struct {
	a    *attempt // nil on the free list
	next *attemptWatch

	// since is when the attempt began, number which one of its request it is.
	since  int64
	number uint32
	// rq and rs are the sizes of the heads; rs is zero until there is a response, rxBegin is when it came
	// and status its own.
	rq, rs  headSize
	rxBegin int64
	status  uint16
	// why the attempt ended early; None: it did not, or nobody wanted its response any more.
	why reason.Reason
	// before are the stream's counts when the attempt began, which go on over all attempts.
	before wireCounts

	// resp is the response's head as it came, where a log reads it: the stream's own changes on its way to
	// the client.
	resp  header.Head
	timer wheel.Timer // upstream_log_flush_interval
}

// headSize is what header.Head.Size says.
type headSize struct{ fields, bytes uint32 }

func sizeOf(h *header.Head) headSize {
	fields, bytes := h.Size()
	return headSize{uint32(fields), uint32(bytes)}
}

// wireCounts are the counts of streaminfo.Info that attempts share.
type wireCounts struct{ sent, received, headSent, headReceived uint64 }

func countsOf(i *streaminfo.Info) wireCounts {
	return wireCounts{i.UpstreamWireSent, i.UpstreamWireReceived, i.UpstreamHeaderBytesSent, i.UpstreamHeaderBytesReceived}
}

func (c wireCounts) minus(d wireCounts) wireCounts {
	return wireCounts{c.sent - d.sent, c.received - d.received, c.headSent - d.headSent, c.headReceived - d.headReceived}
}

// maxKeptWatches bounds what a burst leaves behind.
const maxKeptWatches = 1024

func (p *parts) watch() *attemptWatch {
	w := p.watches
	if w == nil {
		w = new(attemptWatch)
		w.timer.Handler = w
		return w
	}
	p.watches, w.next = w.next, nil
	p.numWatches--
	return w
}

func (p *parts) putWatch(w *attemptWatch) {
	if p.numWatches >= maxKeptWatches {
		w.a = nil
		return
	}
	w.reset()
	w.next, p.watches = p.watches, w
	p.numWatches++
}

// reset clears it but for the head's storage, which is bounded, and its timer, which is not armed.
func (w *attemptWatch) reset() {
	w.resp.Shrink()
	*w = attemptWatch{resp: w.resp, timer: w.timer}
}

// watchesAttempts says whether anybody wants to know how the stream's attempts go.
func (st *stream) watchesAttempts() bool {
	c := st.cluster.C
	return c.Budgets != nil || c.Sizes != nil || st.logsAttempts()
}

// beginWatch starts noting: the request's head is what the origin gets.
func (a *attempt) beginWatch() {
	st := a.st
	w := st.parts().watch()
	a.watch, w.a = w, a
	w.since, w.number, w.before = st.w.Loop.Now(), st.info.Attempts, countsOf(a.info)
	if st.cluster.C.Sizes != nil {
		w.rq = sizeOf(&st.req)
	}
	if d := st.cfg.conf.Router.UpstreamLogInterval; d > 0 && st.logsAttempts() {
		st.w.Loop.Arm(&w.timer, d)
	}
}

// head notes the head of a final response, before anything of it is taken away.
func (w *attemptWatch) head(h *header.Head) {
	st := w.a.st
	w.status, w.rxBegin = h.Status, st.w.Loop.Now()
	if st.cluster.C.Sizes != nil {
		w.rs = sizeOf(h)
	}
	if st.cfg.router.logsResponses && st.logsAttempts() {
		w.resp.CopyFrom(h)
	}
}

// endWatch records what was noted. Once for each attempt, also those that got no connection.
func (a *attempt) endWatch() {
	w, st, c := a.watch, a.st, a.endpoint.Upstream().C
	st.w.Loop.Disarm(&w.timer)
	if st.logsAttempts() {
		w.log(streaminfo.UpstreamEnd)
	}
	if b := c.Budgets; b != nil {
		perTry := time.Duration(0)
		if st.tries != nil {
			perTry = st.tries.perTry
		}
		st.w.Stats.Record(b.UpstreamRqTimeoutBudgetPerTryPercentUsed, percentOf(st.w.Loop.Now()-w.since, perTry))
	}
	if z := c.Sizes; z != nil {
		s := st.w.Stats
		s.Record(z.UpstreamRqHeadersSize, uint64(w.rq.bytes))
		s.Record(z.UpstreamRqHeadersCount, uint64(w.rq.fields))
		s.Record(z.UpstreamRqBodySize, a.rqBody+moving(&a.upload))
		if w.status != 0 {
			s.Record(z.UpstreamRsHeadersSize, uint64(w.rs.bytes))
			s.Record(z.UpstreamRsHeadersCount, uint64(w.rs.fields))
			s.Record(z.UpstreamRsBodySize, a.rsBody+moving(&a.download))
		}
	}
	a.watch = nil
	st.parts().putWatch(w)
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
