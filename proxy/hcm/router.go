package hcm

import (
	"net/netip"
	"time"

	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/engine"
	"github.com/sluiceproxy/sluice/proxy/reason"
	"github.com/sluiceproxy/sluice/proxy/route"
	"github.com/sluiceproxy/sluice/proxy/worker"
)

func addrPort(a netip.Addr) netip.AddrPort { return netip.AddrPortFrom(a, 0) }

// routed acts on the route that was found: answers by itself, or takes the request to its cluster.
func (st *stream) routed() {
	res := &st.route
	s, hs := st.w.Stats, st.cfg.stats
	s.Inc(hs.RqTotal)
	switch res.Kind {
	case route.NoRoute:
		s.Inc(hs.NoRoute)
		st.sendLocalReply(reason.NoRoute, 0, nil)
	case route.RequireTLS, route.Redirect:
		s.Inc(hs.RqRedirect)
		s.Inc(hs.RqDirectResponse) // AMB-20: redirects count both
		proto := st.req.Get(header.XForwardedProto)
		loc, status := res.AppendLocation(make([]byte, 0, 128), &st.req, proto, &st.info)
		st.sendLocalReply(reason.Redirect, status, loc)
	case route.Direct:
		s.Inc(hs.RqDirectResponse)
		st.direct(res.Route)
	case route.Forward:
		st.forward()
	}
}

func (st *stream) direct(r *route.Route) {
	st.info.Details = reason.DirectResponse.Entry().Details
	d := r.Config.Direct
	body := d.Body
	if r.Body != nil { // RT-63
		st.info.LocalReplyBody = body
		st.info.ResponseCode = d.Status
		body = r.Body.Append(nil, &st.info)
	}
	st.reply(reason.DirectResponse, d.Status, body, nil)
}

// forward picks cluster and host and starts the first try.
func (st *stream) forward() {
	if len(st.cfg.router.strict) > 0 && !st.strictly() {
		return
	}
	action := st.route.Route.Config.Action
	u := st.w.Cluster(st.route.Target.Cluster(&st.req))
	if u == nil || u.SpeaksProxy() && st.tun.connect == nil {
		// Requests of several clients share a connection, which a PROXY header would give to one of them.
		// The loader refuses routes that name such a cluster; cluster_header can still do so.
		st.w.Stats.Inc(st.cfg.stats.NoCluster)
		st.sendLocalReply(reason.NoCluster, action.NotFoundStatus, nil)
		return
	}
	st.cluster = u
	st.info.UpstreamCluster = u.C.Conf.StatName
	st.info.UpstreamClusterRaw = u.C.Conf.Name
	if st.sheds(u) || u.C.Drops != nil && st.drops(u) {
		return
	}
	st.routeTimers(action)
	st.hashRequest()
	st.planTries()
	st.goesTo = st.goesTo[:0]
	e := u.PickFor(st.choose())
	if e == nil {
		st.w.Stats.Inc(u.C.Stats.UpstreamCxNoneHealthy)
		st.sendLocalReply(reason.NoHealthyHost, 0, nil)
		return
	}
	if u.NamesTLS {
		st.tlsName = append(st.tlsName[:0], u.OverriddenName(&st.req)...) // as the client sent it
	}
	st.prepareUpstream(action, e.Host.Hostname)
	if u.NamesTLS && len(st.tlsName) == 0 {
		st.tlsName = append(st.tlsName, st.req.Bytes(st.req.Authority)...) // as the origin gets it
	}
	st.upstreamLimit = st.upstreamDuration()
	st.holdPayload()
	st.handshakeTimer()
	st.att.start(e, st.priority())
	if st.over || st.localReply {
		return
	}
	if st.requestWhole() {
		st.requestSent()
	} else {
		st.pauseWhenFull()
	}
}

// sheds answers in the cluster's place while it is in maintenance (router.md 10).
func (st *stream) sheds(u *worker.Upstream) bool {
	if !u.Maintenance.Enabled(st.w.Random.Uint64()) {
		return false
	}
	st.w.Stats.Inc(u.C.Stats.UpstreamRqMaintenanceMode)
	st.sendLocalReply(reason.MaintenanceMode, 0, nil)
	return true
}

// drops answers the share of requests that drop_overloads keeps from the cluster.
func (st *stream) drops(u *worker.Upstream) bool {
	drop, all := u.C.Drops.Next(st.w.Random.Uint64())
	if !drop {
		return false
	}
	st.w.Stats.Inc(u.C.Drops.Stats.UpstreamRqDropOverload)
	r := reason.OverloadDropped
	if all {
		r = reason.AllOverloadDropped
	}
	st.sendLocalReply(r, 0, nil)
	return true
}

// reroute takes the request to the route it has now, through the filters from the beginning (an internal
// redirect). They see its head as that of a request without a body: they have seen the body.
func (st *stream) reroute() {
	x := st.filters
	if x == nil {
		st.routed()
		return
	}
	x.over()
	x.release()
	st.info.Metadata, st.info.State = nil, nil
	st.startFilters(x.chain, true)
}

// forwardData takes body bytes of the request to the origin; p is only valid during the call.
func (st *stream) forwardData(p []byte, end bool) {
	if st.tries != nil && !st.tries.keepData(p) {
		return
	}
	st.att.requestData(p, end)
	if end {
		st.requestSent()
		return
	}
	st.pauseWhenFull()
}

// forwardTrailers ends the request towards the origin with the trailers in st.reqTrail.
func (st *stream) forwardTrailers() {
	if st.tries != nil {
		st.reqTrail.Retain()
	}
	st.att.requestTrailers(&st.reqTrail)
	st.requestSent()
}

// attemptFailed says what becomes of the stream when an attempt brings no response, or no whole one.
func (st *stream) attemptFailed(a *attempt, r reason.Reason) {
	if st.tries != nil && st.tries.failed(a, r) {
		return
	}
	if st.over || st.localReply {
		return // a spare of a stream that is answered already
	}
	switch {
	case st.response != halfHead:
		st.w.Stats.Inc(st.cfg.stats.RqResetAfterDownstreamResponseStarted)
		if r == reason.UpstreamTermination {
			r = reason.ResetAfterStart
		}
		st.fail(r, 0)
	case r == reason.PerTryTimeout || r == reason.PerTryIdleTimeout:
		st.timeoutReply(r)
	case r == reason.UpstreamMaxDuration:
		st.spentBudget()
		st.timedOut(r)
	case r.Resets():
		st.resetReply(a, r)
	default:
		st.fail(r, 0)
	}
}

// resetReply answers a request whose last try was reset, with what is known of why (router.md 10).
func (st *stream) resetReply(a *attempt, r reason.Reason) {
	retried := st.info.Attempts > 1
	failure := ""
	if r == reason.ConnectFailure {
		failure = a.info.UpstreamFailure
	}
	if !retried && failure == "" {
		st.fail(r, 0)
		return
	}
	e := r.Entry()
	body, details := r.Reset(retried, failure)
	st.cancelUpstream()
	st.info.Flags |= e.Flag
	st.info.Details = details
	st.reply(r, e.Status, body, nil)
}

// cancelUpstream gives up every attempt, whatever its state, and those to come.
func (st *stream) cancelUpstream() {
	if st.tries != nil {
		st.tries.cancel()
	}
	st.att.cancel()
}

// upstreamFull says whether request data should wait: there is an attempt, and it has nowhere to put them.
func (st *stream) upstreamFull() bool { return st.att.full() }

// upstreamConnected says that what is full is a connection, and not that there is none yet.
func (st *stream) upstreamConnected() bool { return st.att.state != attemptPending }

// upstreamActive says whether more of the response may come.
func (st *stream) upstreamActive() bool { return st.answering.state != attemptIdle }

// tryUpload hands the rest of a request body to the engine. src is the client's connection.
// Not while the body has to be kept.
func (st *stream) tryUpload(src *engine.Conn, left int64) {
	if st.bulkRequest() && (st.tries == nil || !st.tries.body.keeps) {
		st.att.tryUpload(src, left)
	}
}

// upstreamDuration is how long the upstream stream may live: x-envoy-upstream-stream-duration-ms, else
// the cluster's max_stream_duration; 0 is unlimited (ROUTER-46).
func (st *stream) upstreamDuration() time.Duration {
	if d, ok := st.takeMs(header.XEnvoyUpstreamStreamDurationMs); ok {
		return d
	}
	return st.cluster.C.Conf.MaxStreamDuration
}
