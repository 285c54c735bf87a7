package hcm

import (
	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/codec/http1"
	"github.com/sluiceproxy/sluice/proxy/filter"
	"github.com/sluiceproxy/sluice/proxy/forwarded"
	"github.com/sluiceproxy/sluice/proxy/reason"
)

// onRequestHead takes a whole request head in st.req and decides what becomes of it, in the order of
// routing.md section 1. end says that no body follows.
func (st *stream) onRequestHead(end bool) {
	st.info.Protocol = st.req.Version
	st.moved()
	st.setRequest(halfBody)
	if end {
		st.requestComplete()
	}
	switch r, e := st.prepare(); {
	case e != http1.OK:
		st.rejectHead(e)
		return
	case r == reason.PathRedirect:
		st.redirectPath()
		return
	case r != reason.None:
		st.sendLocalReply(r, 0, nil)
		return
	}
	if !st.cfg.explainTo.Empty() {
		st.explainLive()
	}
	switch tunnel, refused := st.settleTunnel(end); {
	case refused:
	case st.tun.filters != nil:
		st.startFilters(st.tun.filters, tunnel)
	case st.cfg.filters != nil && !st.tun.ownFilters:
		st.startFilters(st.cfg.filters, tunnel)
	default:
		st.routed()
	}
	if !st.over {
		// What is still to come (a connection, the log line) reads the head after its bytes are gone.
		st.req.Retain()
	}
}

// prepare makes of the head that came what routes and filters see, and finds its route (routing.md 1, steps
// 2 to 12). A reason or an error ends the request without one.
func (st *stream) prepare() (reason.Reason, http1.Err) {
	if r := st.checkHead(); r != reason.None {
		return r, http1.OK
	}
	st.normalizeHost()
	st.findTable()
	h := &st.req
	if e := http1.StripHopByHop(h, true, st.tun.kind == upgradeTunnel); e != http1.OK {
		return reason.None, e
	}
	d := st.cfg.forwarded.Request(h, &forwarded.Facts{
		Peer: st.info.Conn.Remote.Addr(), Local: st.info.Conn.Local, UnixPeer: st.info.Conn.Unix(),
		TLS: st.info.Conn.TLS(), Secure: st.info.Conn.Peer(), Random: st.w.Random, Scratch: st.w.Loop.Scratch(), InternalOnly: st.table.InternalOnly(),
	})
	if d.Trusted.IsValid() && d.Trusted != st.info.Conn.Remote.Addr() {
		st.info.RemoteAddress = addrPort(d.Trusted)
	}
	st.findRoute()
	return reason.None, http1.OK
}

// requestComplete notes the last byte of the request.
func (st *stream) requestComplete() {
	st.setRequest(halfDone)
	st.info.RequestEnd = st.w.Loop.Now()
	st.deadlines[deadlineRequest] = 0
}

// checkHead makes the checks that come before routing (routing.md 1, steps 5 to 9).
func (st *stream) checkHead() reason.Reason {
	h := &st.req
	if h.Authority.Len == 0 {
		if d := st.cfg.conf.HTTP1.DefaultHostForHTTP10; d != "" && h.Version == header.HTTP10 {
			h.SetAuthority([]byte(d))
		} else {
			return reason.MissingHost
		}
	}
	if st.tun.kind == connectTunnel {
		if !st.cfg.upgrades.connect {
			return reason.UpgradeRefused // AMB-11
		}
		return reason.None // it has no path
	}
	path := h.Bytes(h.Path)
	if len(path) == 0 {
		return reason.MissingPath
	}
	if path[0] != '/' {
		st.w.Stats.Inc(st.cfg.stats.DownstreamRqNonRelativePath)
		return reason.AbsolutePath
	}
	if h.AbsoluteForm && !st.info.Conn.TLS() && string(h.Bytes(h.Scheme)) == "https" && st.cfg.forwarded.ValidatesScheme() {
		return reason.HTTPSOnPlaintext // RT-120
	}
	return st.normalizePath(path)
}

func (st *stream) normalizePath(path []byte) reason.Reason {
	out, result := http1.NormalizePath(st.w.Loop.Scratch()[:0], path, &st.cfg.paths)
	switch result {
	case http1.PathChanged:
		st.req.SetPath(out)
	case http1.PathRedirect:
		if st.isGRPC() { // HC-91: gRPC clients do not follow redirects
			st.w.Stats.Inc(st.cfg.stats.DownstreamRqFailedPathNormalization)
			return reason.PathNormalization
		}
		st.w.Stats.Inc(st.cfg.stats.DownstreamRqRedirectedWithNormalizedPath)
		st.req.SetPath(out)
		return reason.PathRedirect
	case http1.PathRejected:
		st.w.Stats.Inc(st.cfg.stats.DownstreamRqFailedPathNormalization)
		return reason.PathNormalization
	}
	return reason.None
}

// redirectPath answers 307 with the unescaped path (HC-91).
func (st *stream) redirectPath() {
	loc := append([]byte(nil), st.req.Bytes(st.req.Path)...)
	st.sendLocalReply(reason.PathRedirect, 0, loc)
}

// normalizeHost applies HC-94.
func (st *stream) normalizeHost() {
	c, h := st.cfg.conf, &st.req
	st.keepPort()
	if !c.StripTrailingHostDot && !c.StripAnyHostPort && !c.StripMatchingHostPort {
		return
	}
	if c.StripTrailingHostDot {
		if out, changed := http1.AppendWithoutHostDot(st.w.Loop.Scratch()[:0], h.Bytes(h.Authority)); changed {
			h.SetAuthority(out)
		}
	}
	switch host := h.Bytes(h.Authority); {
	case c.StripAnyHostPort:
		h.SetAuthority(http1.StripPort(host))
	case c.StripMatchingHostPort:
		h.SetAuthority(http1.StripMatchingPort(host, st.info.Conn.Local.Port()))
	}
}

// onRequestData passes body bytes on; p is only valid during the call. The codec stops delivering
// when the stream paused it.
func (st *stream) onRequestData(p []byte, end bool) {
	st.moved()
	st.info.BytesReceived += uint64(len(p))
	if end {
		st.requestComplete()
	}
	if st.localReply || st.over {
		return
	}
	if st.early(len(p)) {
		st.fail(reason.EarlyConnectData, 0)
		return
	}
	if x := st.filters; x != nil {
		x.onData(filter.Request, p, end)
		return
	}
	st.forwardData(p, end)
}

// pauseWhenFull stops the client while the origin is slow.
func (st *stream) pauseWhenFull() {
	if st.over || st.requestPaused || st.requestWhole() || !st.upstreamFull() {
		return
	}
	st.requestPaused = true
	if st.upstreamConnected() {
		st.w.Stats.Inc(st.cluster.C.Stats.UpstreamFlowControlBackedUpTotal)
	}
	st.w.Stats.Inc(st.cfg.stats.DownstreamFlowControlPausedReadingTotal)
	if st.request != halfDone { // else what waits is a filter's
		st.down.pauseRequest(st)
	}
}

// onRequestTrailers ends the request with the trailers in st.reqTrail.
func (st *stream) onRequestTrailers() {
	st.moved()
	st.requestComplete()
	if st.localReply || st.over {
		return
	}
	if x := st.filters; x != nil {
		x.onTrailers(filter.Request)
		return
	}
	st.forwardTrailers()
}

// onUpstreamDrained says that the origin has taken what was waiting, or is there at last.
func (st *stream) onUpstreamDrained() {
	if st.over || !st.requestPaused || st.tun.held {
		return
	}
	st.requestPaused = false
	st.w.Stats.Inc(st.cfg.stats.DownstreamFlowControlResumedReadingTotal)
	st.moved()
	if x := st.filters; x != nil {
		x.drainTail()
		if st.over || st.requestPaused || st.request == halfDone || x.held[filter.Request] {
			return
		}
	}
	st.down.resumeRequest(st)
}

// onDownstreamGone says that the client will neither send nor read any more.
func (st *stream) onDownstreamGone(r reason.Reason) { st.onDownstreamReset(r, "") }

// onDownstreamReset says the same of one stream; details, if there are any, say more than r's table.
func (st *stream) onDownstreamReset(r reason.Reason, details string) {
	if st.over {
		return
	}
	st.cancelUpstream()
	st.info.Flags |= r.Entry().Flag
	if st.response == halfHead {
		st.info.ResponseCode = 0
	}
	if st.info.Details = details; details == "" {
		st.info.Details = r.Entry().Details
	}
	st.w.Stats.Inc(st.cfg.stats.DownstreamRqRxReset)
	st.finish(false, r)
}

// rejectHead answers a request whose head, or the rest of which, the codec refused.
func (st *stream) rejectHead(e http1.Err) {
	st.info.Protocol = st.req.Version
	r := reason.DownstreamProtocol
	switch e {
	case http1.ErrMissingHost:
		r = reason.MissingHost
	case http1.ErrLowVersion:
		r = reason.LowVersion
	case http1.ErrTooLarge:
		r = reason.HeadTooLarge
	case http1.ErrTooManyFields:
		r = reason.TooManyFields
	case http1.ErrTransferEncoding:
		r = reason.BadTransferEncoding
	case http1.ErrUnderscore:
		st.w.Stats.Inc(st.cfg.stats.HTTP1RequestsRejectedWithUnderscoresInHeaders)
	}
	if r != reason.MissingHost && r != reason.LowVersion { // valid messages, but not for this proxy
		st.w.Stats.Inc(st.cfg.stats.DownstreamCxProtocolError)
	}
	st.info.Flags |= r.Entry().Flag
	st.info.Details = e.String()
	st.reply(r, uint16(e.Status()), r.Body(), nil)
}
