package hcm

import (
	"strconv"
	"time"

	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/proxy/filter"
	"github.com/sluiceproxy/sluice/proxy/forwarded"
	"github.com/sluiceproxy/sluice/proxy/reason"
	"github.com/sluiceproxy/sluice/proxy/route"
)

// onInformational passes an interim response on (HC-40).
func (st *stream) onInformational(h *header.Head) {
	if st.response != halfHead || st.over {
		return
	}
	st.moved()
	st.down.informational(st, h)
	st.pauseWhenBehind()
}

// pauseWhenBehind stops the origin while the client is slow.
func (st *stream) pauseWhenBehind() {
	if !st.responsePaused && st.upstreamActive() && st.down.full(st) {
		st.responsePaused = true
		st.w.Stats.Inc(st.cluster.C.Stats.UpstreamFlowControlPausedReadingTotal)
		st.answering.pauseResponse()
	}
}

// onResponseHead takes the upstream's final response head, already without hop-by-hop fields.
func (st *stream) onResponseHead(end bool) {
	st.moved()
	now := st.w.Loop.Now()
	st.info.UpstreamRxBegin = now
	st.info.Response = &st.resp
	st.info.ResponseCode = st.resp.Status
	st.clusterStatus = st.resp.Status
	st.info.Reason = reason.ViaUpstream
	st.info.Details = "via_upstream"
	h := &st.resp
	st.canary = st.answering.endpoint.Host.Canary || string(h.Get(header.XEnvoyUpstreamCanary)) == "true"
	if st.request == halfDone {
		if !st.cfg.conf.Router.SuppressEnvoyHeaders {
			var b [20]byte
			ms := (now - st.info.RequestEnd) / int64(time.Millisecond)
			h.Set(header.XEnvoyUpstreamServiceTime, strconv.AppendInt(b[:0], ms, 10))
		}
	} else {
		st.rushed = true
	}
	if vh := st.route.VirtualHost; vh != nil && vh.Config.IncludeAttemptCountInResponse {
		st.setAttemptCount(h)
	}
	st.route.MutateResponse(h, &st.info, st.w.Loop.Scratch()[:0])
	st.route.AddCookies(st.hash, h, &st.info)
	st.responseHead(end)
}

// responseHead takes a head, the upstream's or that of a local reply, through the filters to the client.
func (st *stream) responseHead(end bool) {
	if x := st.filters; x != nil {
		x.onResponse(end)
		return
	}
	st.sendHead(&st.resp, end)
}

func (st *stream) setAttemptCount(h *header.Head) {
	var b [10]byte
	h.Set(header.XEnvoyAttemptCount, strconv.AppendUint(b[:0], uint64(st.info.Attempts), 10))
}

// sendHead applies the connection manager's response headers and hands the head to the codec.
func (st *stream) sendHead(h *header.Head, end bool) {
	st.cfg.forwarded.Response(h, &forwarded.ResponseFacts{Request: &st.req, Date: st.w.Date()})
	if st.explained != "" {
		st.addExplanation()
	}
	st.info.DownstreamTxBegin = st.w.Loop.Now()
	tunnel := st.tun.kind != noTunnel && !st.localReply && st.answersTunnel(h)
	if tunnel {
		st.tunnelAnswer(h)
	} else if st.request != halfDone {
		st.w.Stats.Inc(st.cfg.stats.DownstreamRqResponseBeforeRqComplete)
	}
	st.setResponse(halfBody)
	if end {
		st.setResponse(halfDone)
		st.info.End = st.info.DownstreamTxBegin
	}
	st.down.responseHead(st, h, end)
	switch {
	case end:
		st.responseOver()
	case tunnel:
		st.tunnelUp()
	}
}

// onResponseData passes body bytes on. p is only valid during the call.
func (st *stream) onResponseData(p []byte, end bool) {
	if x := st.filters; x != nil {
		st.moved()
		x.onData(filter.Response, p, end)
		return
	}
	st.sendData(p, end)
}

// sendData hands body bytes to the codec.
func (st *stream) sendData(p []byte, end bool) {
	st.moved()
	st.info.BytesSent += uint64(len(p))
	if end {
		st.setResponse(halfDone)
		st.info.End = st.w.Loop.Now()
	}
	st.down.responseData(st, p, end)
	if end {
		st.responseOver()
		return
	}
	st.pauseWhenBehind()
}

// onResponseTrailers ends the response with the trailers in st.trail.
func (st *stream) onResponseTrailers() {
	if x := st.filters; x != nil {
		if st.localReply {
			return // a filter has put its own in the place of the response
		}
		x.onTrailers(filter.Response)
		return
	}
	st.sendTrailers()
}

// sendTrailers hands the trailers in st.trail to the codec.
func (st *stream) sendTrailers() {
	st.moved()
	st.setResponse(halfDone)
	st.info.ResponseTrailers = &st.trail
	st.info.End = st.w.Loop.Now()
	if e := st.answering.endpoint; e != nil && e.Host.Minds() && st.isGRPC() {
		noteGRPC(e, &st.trail)
	}
	st.down.responseTrailers(st, &st.trail)
	st.responseOver()
}

// onDownstreamDrained says that the client has taken what was waiting.
func (st *stream) onDownstreamDrained() {
	if st.over || !st.responsePaused {
		return
	}
	st.responsePaused = false
	st.w.Stats.Inc(st.cluster.C.Stats.UpstreamFlowControlResumedReadingTotal)
	st.moved()
	if x := st.filters; x == nil || !x.held[filter.Response] {
		st.answering.resumeResponse()
	}
}

// responseOver runs when the response was handed over whole. A request that is still arriving is
// given up: its rest would only be thrown away, and the codec must close (HC-30).
func (st *stream) responseOver() {
	st.chargeUpstream()
	if !st.localReply {
		st.spentBudget()
	}
	if st.request != halfDone && !st.halfOpen() {
		st.cancelUpstream()
		st.setRequest(halfDone)
	}
	st.maybeFinish()
}

func (st *stream) internal() bool { return st.req.Has(header.XEnvoyInternal) }

// sendLocalReply answers from the table (router.md 10). status 0 takes the table's; location is set
// for redirects. The attempt must be gone already.
func (st *stream) sendLocalReply(r reason.Reason, status uint16, location []byte) {
	e := r.Entry()
	if status == 0 {
		status = e.Status
	}
	st.info.Flags |= e.Flag
	if st.info.Details == "" {
		st.info.Details = e.Details
	}
	st.reply(r, status, r.Body(), location)
}

// reply sends a response of the proxy's own. body must stay unchanged until the stream is over:
// it is a constant, configuration, or freshly made.
func (st *stream) reply(r reason.Reason, status uint16, body, location []byte) {
	st.localReply = true
	if x := st.filters; x != nil {
		x.dropResponse()
	}
	st.info.Reason = r
	st.info.ResponseCode, st.clusterStatus = status, status
	h := &st.resp
	h.Reset(nil)
	h.Status, h.Version = status, header.HTTP11
	h.Close = r.Entry().Close
	st.info.Response = h
	contentType := "text/plain"
	switch {
	case st.replyType != "":
		contentType = st.replyType
	case r == reason.DirectResponse && st.route.Route != nil && st.route.Route.Body != nil:
		contentType = st.route.Route.Body.ContentType
	}
	own := r != reason.DirectResponse && r != reason.Redirect
	if own && (st.cfg.replies.format != nil || len(st.cfg.replies.mappers) > 0) {
		body, contentType = st.mapReply(body, contentType)
	}
	e := r.Entry()
	if location != nil {
		h.Set(header.Location, location)
	}
	if e.Overloaded && !st.cfg.conf.Router.SuppressEnvoyHeaders {
		h.SetString(header.XEnvoyOverloaded, "true")
	}
	if e.Dropped && !st.cfg.conf.Router.SuppressEnvoyHeaders {
		h.SetString(header.XEnvoyDropOverload, "true")
	}
	if vh := st.route.VirtualHost; vh != nil && vh.Config.IncludeAttemptCountInResponse && st.info.Attempts > 0 {
		st.setAttemptCount(h)
	}
	if st.isGRPC() {
		body = st.grpcReply(h, body)
	} else if len(body) > 0 {
		h.SetString(header.ContentType, contentType)
	}
	if !own {
		st.route.MutateResponse(h, &st.info, st.w.Loop.Scratch()[:0])
	}
	st.info.LocalReplyBody = body
	h.Transfer, h.ContentLength = header.Length, int64(len(body))
	if st.req.Method == header.MethodHead || len(body) == 0 || h.Status == 304 || h.Status == 204 {
		// RFC 9110 9.3.2: HEAD gets the length the body would have; the codec knows not to send one.
		h.Transfer = header.NoBody
		st.replyHead(true)
		return
	}
	if st.replyHead(false) {
		st.onResponseData(body, true)
	}
}

// replyHead sends a local reply's head, and says whether its body is wanted. A filter may put another
// reply in its place.
func (st *stream) replyHead(end bool) bool {
	x := st.filters
	if x == nil {
		st.sendHead(&st.resp, end)
		return !st.over
	}
	generation := x.generation
	x.replies++
	st.responseHead(end)
	if x.generation != generation {
		return false
	}
	x.replies--
	return true
}

// filterReply is a filter's Reply: it breaks off a response that has begun, and one that is a local reply
// and has not come past the filters yet, so that filters cannot answer one another without end.
func (st *stream) filterReply(r *filter.Reply) {
	st.cancelUpstream()
	e := r.Reason.Entry()
	details, status, body := r.Details, r.Status, r.Body
	if details == "" {
		details = e.Details
	}
	if status == 0 {
		status = e.Status
	}
	if body == nil {
		body = r.Reason.Body()
	}
	st.info.Flags |= e.Flag
	st.info.Details = details
	if st.response != halfHead || st.filters.replies > 0 {
		st.w.Stats.Inc(st.cfg.stats.DownstreamRqTxReset)
		st.finish(false, r.Reason)
		return
	}
	st.replyType, st.replyGRPC = r.ContentType, r.GRPC
	st.reply(r.Reason, status, body, nil)
}

func (st *stream) isGRPC() bool {
	const grpc = "application/grpc"
	v := st.req.Get(header.ContentType)
	return len(v) >= len(grpc) && string(v[:len(grpc)]) == grpc && (len(v) == len(grpc) || v[len(grpc)] == '+')
}

// grpcReply turns a local reply into a trailers-only gRPC one (RT-131).
func (st *stream) grpcReply(h *header.Head, body []byte) []byte {
	code := "2" // UNKNOWN
	switch h.Status {
	case 400:
		code = "13"
	case 401:
		code = "16"
	case 403:
		code = "7"
	case 404:
		code = "12"
	case 429, 502, 503:
		code = "14"
	case 504:
		code = "4"
	}
	if st.replyGRPC != "" {
		code = st.replyGRPC
	}
	h.Status, st.info.ResponseCode = 200, 200
	h.SetString(header.ContentType, "application/grpc")
	h.SetString(header.GrpcStatus, code)
	if len(body) > 0 {
		msg := make([]byte, 0, len(body)+16)
		for _, c := range body {
			if c < 0x20 || c > 0x7e || c == '%' {
				msg = append(msg, '%', "0123456789ABCDEF"[c>>4], "0123456789ABCDEF"[c&15])
			} else {
				msg = append(msg, c)
			}
		}
		h.Set(header.GrpcMessage, msg)
	}
	return nil
}

// mapReply applies local_reply_config: the first mapper whose filter holds, then the body format.
func (st *stream) mapReply(body []byte, contentType string) ([]byte, string) {
	f := st.cfg.replies.format
	st.info.LocalReplyBody = body
	for i := range st.cfg.replies.mappers {
		m := &st.cfg.replies.mappers[i]
		if m.filter != nil && !m.filter.Match(&st.info) {
			continue
		}
		if m.status != 0 {
			st.resp.Status = m.status
			st.info.ResponseCode = m.status
		}
		if m.hasBody {
			body = m.body
			st.info.LocalReplyBody = body
		}
		for j := range m.headers {
			hv := &m.headers[j]
			route.ApplyHeader(&st.resp, &hv.conf, hv.value.AppendHeader(nil, &st.info))
		}
		if m.format != nil {
			f = m.format
		}
		break
	}
	if f == nil {
		return body, contentType
	}
	return f.Append(nil, &st.info), f.ContentType
}
