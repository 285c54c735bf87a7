package hcm

import (
	"time"

	"github.com/sluiceproxy/sluice/proxy/reason"
	"github.com/sluiceproxy/sluice/proxy/stats"
)

// chargeUpstream counts a whole response that came from, or because of, the upstream (router.md 11.3).
// The cluster is charged with the status it is to blame for, whatever the client was told in its place.
func (st *stream) chargeUpstream() {
	u := st.cluster
	if u == nil || !st.dynamicStats() || !st.upstreamCharged() {
		return
	}
	ms := uint64(0)
	if st.info.RequestEnd != 0 {
		ms = uint64(st.info.End-st.info.RequestEnd) / uint64(time.Millisecond)
	}
	st.chargeVirtual(ms)
	r := st.charged(st.clusterStatus, ms)
	u.C.Codes.ChargeResponse(st.w.Stats, &r)
}

// dynamicStats says whether responses are counted by status; those to health checks are not.
func (st *stream) dynamicStats() bool { return st.cfg.conf.Router.DynamicStats && !st.info.HealthCheck }

func (st *stream) charged(status uint16, ms uint64) stats.Response {
	r := stats.Response{Status: status, Ms: ms, Internal: st.internal(), Canary: st.canary, Alt: st.altStats, NoCode: st.noCodeStats()}
	if e := st.answering.endpoint; e != nil {
		r.Zones = e.Zones
	}
	return r
}

// noCodeStats says that the request is not counted by status.
func (st *stream) noCodeStats() bool {
	return st.cfg.conf.Router.SuppressGRPCCodeStats && st.isGRPC()
}

func (st *stream) upstreamCharged() bool {
	return st.info.Reason == reason.ViaUpstream || st.info.Reason.Entry().Upstream
}

// chargeRetried counts a response that leads to another try (ROUTER-81).
func (st *stream) chargeRetried(a *attempt) {
	if st.dynamicStats() {
		a.endpoint.Upstream().C.Codes.ChargeRetry(st.w.Stats, a.resp.Status, st.noCodeStats())
	}
}

// chargeCode counts a response that does not go to the client, because the proxy follows it.
func (st *stream) chargeCode(a *attempt) {
	if !st.dynamicStats() {
		return
	}
	r := st.charged(a.resp.Status, uint64(st.w.Loop.Now()-st.info.RequestEnd)/uint64(time.Millisecond))
	r.Canary, r.Zones = a.endpoint.Host.Canary, a.endpoint.Zones
	st.cluster.C.Codes.ChargeResponse(st.w.Stats, &r)
}
