package hcm

import (
	"net/netip"
	"strconv"
	"time"

	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/engine"
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/reason"
	"github.com/sluiceproxy/sluice/proxy/route"
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

// forward picks cluster and host and starts the attempt.
func (st *stream) forward() {
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
	st.routeTimers(action)
	st.hashRequest()
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
	priority := conf.PriorityDefault
	if action.HighPriority {
		priority = conf.PriorityHigh
	}
	st.upstreamLimit = st.upstreamDuration()
	st.holdPayload()
	st.handshakeTimer()
	st.att.start(e, priority)
	if st.over || st.localReply {
		return
	}
	if st.requestWhole() {
		st.requestSent()
	} else {
		st.pauseWhenFull()
	}
}

// forwardData takes body bytes of the request to the origin; p is only valid during the call.
func (st *stream) forwardData(p []byte, end bool) {
	st.att.requestData(p, end)
	if end {
		st.requestSent()
		return
	}
	st.pauseWhenFull()
}

// forwardTrailers ends the request towards the origin with the trailers in st.reqTrail.
func (st *stream) forwardTrailers() {
	st.att.requestTrailers(&st.reqTrail)
	st.requestSent()
}

// attemptFailed ends the stream with the attempt that brings no response, or no whole one.
func (st *stream) attemptFailed(_ *attempt, r reason.Reason) {
	if st.response != halfHead {
		st.w.Stats.Inc(st.cfg.stats.RqResetAfterDownstreamResponseStarted)
		if r == reason.UpstreamTermination {
			r = reason.ResetAfterStart
		}
	}
	st.fail(r, 0)
}

// cancelUpstream gives up every attempt, whatever its state.
func (st *stream) cancelUpstream() { st.att.cancel() }

// upstreamFull says whether request data should wait: there is an attempt, and it has nowhere to put them.
func (st *stream) upstreamFull() bool { return st.att.full() }

// upstreamConnected says that what is full is a connection, and not that there is none yet.
func (st *stream) upstreamConnected() bool { return st.att.state != attemptPending }

// upstreamActive says whether more of the response may come.
func (st *stream) upstreamActive() bool { return st.answering.state != attemptIdle }

// tryUpload hands the rest of a request body to the engine. src is the client's connection.
func (st *stream) tryUpload(src *engine.Conn, left int64) {
	if st.bulkRequest() {
		st.att.tryUpload(src, left)
	}
}

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
	// The route's own or the header's; x-envoy-upstream-rq-timeout-ms reaches here only on internal
	// requests (routing.md 12).
	st.info.Timeout = st.responseLimit(a)
	if i := st.req.Index(header.XEnvoyUpstreamRqTimeoutMs); i >= 0 {
		if ms, ok := parseMs(st.req.Bytes(st.req.Fields[i].Value)); ok {
			st.info.Timeout = ms
		}
		st.req.RemoveAt(i)
	}
}

func parseMs(b []byte) (time.Duration, bool) {
	if len(b) == 0 || len(b) > 12 {
		return 0, false
	}
	n := int64(0)
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return time.Duration(n) * time.Millisecond, true
}

// upstreamDuration is how long the upstream stream may live: x-envoy-upstream-stream-duration-ms, else
// the cluster's max_stream_duration; 0 is unlimited (ROUTER-46).
func (st *stream) upstreamDuration() time.Duration {
	limit := st.cluster.C.Conf.MaxStreamDuration
	if i := st.req.Index(header.XEnvoyUpstreamStreamDurationMs); i >= 0 {
		if ms, ok := parseMs(st.req.Bytes(st.req.Fields[i].Value)); ok {
			limit = ms
		}
		st.req.RemoveAt(i)
	}
	return limit
}

// prepareUpstream turns the request head into what the origin gets (RT-89).
func (st *stream) prepareUpstream(a *conf.RouteAction, hostname string) {
	h := &st.req
	suppress := st.cfg.conf.Router.SuppressEnvoyHeaders
	if !suppress && st.info.Timeout > 0 {
		var b [20]byte
		h.Set(header.XEnvoyExpectedRqTimeoutMs, strconv.AppendInt(b[:0], int64(st.info.Timeout/time.Millisecond), 10))
	}
	if st.route.VirtualHost.Config.IncludeRequestAttemptCount {
		h.SetString(header.XEnvoyAttemptCount, "1")
	}
	st.route.MutateRequest(h, &st.info, st.w.Loop.Scratch()[:0])
	st.route.RewriteRequest(h, route.RewriteOptions{Info: &st.info, Hostname: hostname, SuppressEnvoyHeaders: suppress})
	st.restorePort()
}

// requestSent starts the clock of the response: the request is complete and handed on (ROUTER-40).
func (st *stream) requestSent() {
	if st.info.Timeout > 0 && !st.over && st.response != halfDone && st.tun.kind == noTunnel {
		st.deadlines[deadlineResponse] = st.info.RequestEnd + int64(st.info.Timeout)
		st.arm()
	}
}
