package hcm

import (
	"github.com/sluiceproxy/sluice/proxy/cluster"
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/reason"
)

// routeTimers applies the route's deadlines over the manager's (routing.md 7.2, RT-77).
func (st *stream) routeTimers(a *conf.RouteAction) {
	if a.HasIdleTimeout {
		st.idle = a.IdleTimeout
		st.deadlines[deadlineIdle] = 0
		if st.idle > 0 {
			st.setDeadline(deadlineIdle, st.idle)
		}
	}
	st.durationLimit(a)
	st.info.Timeout = st.responseLimit(a)
}

// requestSent starts the clock of the response: the request is complete and handed on (ROUTER-40).
func (st *stream) requestSent() {
	if st.over || st.response == halfDone || st.tun.kind != noTunnel {
		return
	}
	if st.info.Timeout > 0 && st.deadlines[deadlineResponse] == 0 {
		st.deadlines[deadlineResponse] = st.info.RequestEnd + int64(st.info.Timeout)
		st.arm()
	}
	if st.tries != nil {
		st.tries.requestComplete()
	}
}

// routeTimeout is the router's global timeout (ROUTER-40, ROUTER-56): it ends every try, and counts one
// for each that was under way.
func (st *stream) routeTimeout() {
	if st.cluster != nil {
		st.att.outOfTime()
		if t := st.tries; t != nil {
			for s := t.spares; s != nil; s = s.link {
				s.attempt.outOfTime()
			}
		}
	}
	st.timeoutReply(reason.ResponseTimeout)
}

// outOfTime counts the global timeout of an attempt that is under way.
func (a *attempt) outOfTime() {
	if a.state == attemptIdle {
		return
	}
	a.endsFor(reason.ResponseTimeout)
	a.st.w.Stats.Inc(a.st.cluster.C.Stats.UpstreamRqTimeout)
	a.st.visitVirtual(countVirtualTimeout)
	a.endpoint.Load.RqTimeout++
	a.endpoint.Load.RqError++
	a.endpoint.Failed(cluster.TimedOut, reason.ResponseTimeout.Entry().Status)
}

// timeoutReply answers a timeout, with 204 where the request asks for that.
func (st *stream) timeoutReply(r reason.Reason) {
	st.spentBudget()
	if st.response != halfHead {
		st.w.Stats.Inc(st.cfg.stats.RqResetAfterDownstreamResponseStarted)
		st.fail(r, 0)
		return
	}
	if !st.altResponse {
		st.fail(r, 0)
		return
	}
	st.cancelUpstream()
	st.info.Flags |= r.Entry().Flag
	st.info.Details = r.Entry().Details
	st.reply(r, 204, nil, nil)
}

// upstreamTimeout ends an attempt that took longer than the cluster or a header allows (ROUTER-46).
func (st *stream) upstreamTimeout() {
	st.w.Stats.Inc(st.cluster.C.Stats.UpstreamRqMaxDurationReached)
	st.att.endpoint.Load.RqError++
	st.att.endsFor(reason.UpstreamMaxDuration)
	st.spentBudget()
	st.timedOut(reason.UpstreamMaxDuration)
}

// expired ends a try one of whose clocks is over, or joins another one to it.
func (t *tries) expired(a *attempt, now int64) {
	st := t.st
	s, series := st.w.Stats, st.cluster.C.Stats
	switch d := &a.deadlines; {
	case d[tryDuration] != 0 && d[tryDuration] <= now:
		d[tryDuration] = 0
		s.Inc(series.UpstreamRqMaxDurationReached)
		a.timedOut(reason.UpstreamMaxDuration)
	case d[tryTimeout] != 0 && d[tryTimeout] <= now:
		d[tryTimeout] = 0
		if t.hedge {
			t.joinIn(a)
			return
		}
		s.Inc(series.UpstreamRqPerTryTimeout)
		t.tooSlow(a, reason.PerTryTimeout)
	default:
		if at := t.moved(a) + int64(t.perTryIdle); at > now {
			d[tryIdle] = at
			return
		}
		d[tryIdle] = 0
		if t.hedge && st.response == halfHead {
			t.joinIn(a)
			return
		}
		s.Inc(series.UpstreamRqPerTryIdleTimeout)
		t.tooSlow(a, reason.PerTryIdleTimeout)
	}
}

// moved is when the try last made progress.
func (t *tries) moved(a *attempt) int64 {
	st := t.st
	if t.spares != nil && st.response == halfHead {
		return a.clockedAt // what moves is not known to be this one's
	}
	return max(a.clockedAt, st.lastMove, a.upload.LastMove(), a.download.LastMove())
}

func (t *tries) tooSlow(a *attempt, r reason.Reason) {
	a.endpoint.Load.RqTimeout++
	a.endpoint.Failed(cluster.TimedOut, r.Entry().Status)
	a.timedOut(r)
}

// timedOut ends a try for a clock of its own.
func (a *attempt) timedOut(r reason.Reason) {
	a.endsFor(r)
	a.endpoint.Load.RqError++
	a.cancel()
	a.st.attemptFailed(a, r)
}

// joinIn has another try made while a goes on: the first good response wins (ROUTER-51). Whatever becomes of
// a, there is no other for its sake (ROUTER-52).
func (t *tries) joinIn(a *attempt) {
	a.endpoint.Failed(cluster.TimedOut, reason.PerTryTimeout.Entry().Status)
	if t.open() && !a.retried && t.again(a, nil, true) {
		a.retried = true
	}
}
