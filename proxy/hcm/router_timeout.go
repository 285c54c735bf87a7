package hcm

import (
	"github.com/sluiceproxy/sluice/proxy/cluster"
	"github.com/sluiceproxy/sluice/proxy/reason"
)

// routeTimeout is the router's global timeout (ROUTER-40).
func (st *stream) routeTimeout() {
	if u := st.cluster; u != nil {
		st.w.Stats.Inc(u.C.Stats.UpstreamRqTimeout)
		st.visitVirtual(countVirtualTimeout)
		if e := st.att.endpoint; e != nil {
			e.Load.RqTimeout++
			e.Load.RqError++
			e.Failed(cluster.TimedOut, reason.ResponseTimeout.Entry().Status)
		}
	}
	if st.response != halfHead {
		st.w.Stats.Inc(st.cfg.stats.RqResetAfterDownstreamResponseStarted)
	}
	st.fail(reason.ResponseTimeout, 0)
}

// upstreamTimeout ends an attempt that took longer than the cluster or a header allows (ROUTER-46).
func (st *stream) upstreamTimeout() {
	st.w.Stats.Inc(st.cluster.C.Stats.UpstreamRqMaxDurationReached)
	st.att.endpoint.Load.RqError++
	st.timedOut(reason.UpstreamMaxDuration)
}
