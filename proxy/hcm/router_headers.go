package hcm

import (
	"strconv"
	"time"

	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/reason"
	"github.com/sluiceproxy/sluice/proxy/retry"
	"github.com/sluiceproxy/sluice/proxy/route"
)

// This file is what request headers tell the router (router.md 2), and what it tells the upstream (3).

// strictChecks say whether a value of a header is valid, for those that strict_check_headers may name.
var strictChecks = [header.NumKnown]func(v []byte) bool{
	header.XEnvoyUpstreamRqTimeoutMs:       isNumber,
	header.XEnvoyUpstreamRqPerTryTimeoutMs: isNumber,
	header.XEnvoyMaxRetries:                isNumber,
	header.XEnvoyRetryOn:                   func(v []byte) bool { _, known := retry.ParseHTTP(v); return known },
	header.XEnvoyRetryGrpcOn:               func(v []byte) bool { _, known := retry.ParseGRPC(v); return known },
}

func isNumber(v []byte) bool { _, ok := parseMs(v); return ok }

// strictly checks the headers that strict_check_headers names, and answers 400 when one is invalid.
func (st *stream) strictly() bool {
	for _, id := range st.cfg.router.strict {
		for i := st.req.Index(id); i >= 0; i = st.req.Next(i) {
			if v := st.req.Bytes(st.req.Fields[i].Value); !strictChecks[id](v) {
				st.invalidHeader(id, v)
				return false
			}
		}
	}
	return true
}

func (st *stream) invalidHeader(id header.Known, v []byte) {
	r := reason.InvalidEnvoyHeader
	st.info.Flags |= r.Entry().Flag
	st.info.Details = "request_headers_failed_strict_check{" + id.String() + "}"
	st.reply(r, r.Entry().Status, []byte("invalid header '"+id.String()+"' with value '"+string(v)+"'"), nil)
}

// asksRouter says whether one of the headers is there that planTriesBy reads, or takes off.
func asksRouter(h *header.Head) bool {
	return h.Has(header.XEnvoyRetryOn) || h.Has(header.XEnvoyRetryGrpcOn) || h.Has(header.XEnvoyMaxRetries) ||
		h.Has(header.XEnvoyRetriableStatusCodes) || h.Has(header.XEnvoyRetriableHeaderNames) ||
		h.Has(header.XEnvoyUpstreamRqTimeoutMs) || h.Has(header.XEnvoyUpstreamRqPerTryTimeoutMs) ||
		h.Has(header.XEnvoyUpstreamRqTimeoutAltResponse) || h.Has(header.XEnvoyHedgeOnPerTryTimeout) ||
		h.Has(header.XEnvoyUpstreamAltStatName) || h.Has(header.XEnvoyExpectedRqTimeoutMs) || h.Has(header.XEnvoyDecoratorOperation)
}

// planTries reads what the route's policies and the request's headers say of tries and timeouts, and takes
// the headers off: they were for this proxy. One branch for requests that have neither.
func (st *stream) planTries() {
	p, asked := st.route.Route.Policies, asksRouter(&st.req)
	if p == nil && st.tries == nil && st.cluster.C.Retry == nil && !asked {
		return
	}
	st.planTriesBy(p, asked)
}

func (st *stream) planTriesBy(p *route.Policies, asked bool) {
	h := &st.req
	if d, ok := st.takeMs(header.XEnvoyUpstreamRqTimeoutMs); ok {
		st.info.Timeout = d
	}
	if st.cfg.conf.Router.RespectExpectedTimeout {
		if d, ok := parseMs(h.Get(header.XEnvoyExpectedRqTimeoutMs)); ok {
			st.info.Timeout, st.expected = d, true
		}
	}
	var policy *retry.Policy
	hedge := false
	if p != nil {
		policy, hedge = p.Retry, p.Hedge
	}
	if policy == nil {
		policy = st.cluster.C.Retry // RT-78
	}
	perTry := policy.PerTryTimeout()
	if d, ok := st.takeMs(header.XEnvoyUpstreamRqPerTryTimeoutMs); ok {
		perTry = d
	}
	if st.info.Timeout > 0 && perTry >= st.info.Timeout { // AMB-12
		perTry = 0
	}
	switch v := h.Get(header.XEnvoyHedgeOnPerTryTimeout); string(v) {
	case "true":
		hedge = true
	case "false":
		hedge = false
	}
	st.altResponse = h.Has(header.XEnvoyUpstreamRqTimeoutAltResponse)
	if v := h.Get(header.XEnvoyUpstreamAltStatName); len(v) > 0 {
		st.altStats = st.cluster.C.Codes.Alt(v)
	}
	st.beginTries(p, policy, perTry, hedge)
	if !asked {
		return
	}
	retry.RemoveHeaders(h)
	for _, id := range [...]header.Known{
		header.XEnvoyUpstreamRqTimeoutAltResponse, header.XEnvoyHedgeOnPerTryTimeout, header.XEnvoyUpstreamAltStatName, header.XEnvoyDecoratorOperation,
	} {
		h.Remove(id)
	}
}

// takeMs removes a header that is a time in milliseconds and returns its value. ok is false when it is
// not there or no number.
func (st *stream) takeMs(id header.Known) (d time.Duration, ok bool) {
	h := &st.req
	i := h.Index(id)
	if i < 0 {
		return 0, false
	}
	d, ok = parseMs(h.Bytes(h.Fields[i].Value))
	h.Remove(id)
	return d, ok
}

// parseMs reads a number of milliseconds.
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

// prepareUpstream turns the request head into what the origin gets (RT-89).
func (st *stream) prepareUpstream(a *conf.RouteAction, hostname string) {
	h := &st.req
	suppress := st.cfg.conf.Router.SuppressEnvoyHeaders
	st.setExpected()
	if st.route.VirtualHost.Config.IncludeRequestAttemptCount {
		h.SetString(header.XEnvoyAttemptCount, "1")
	}
	if t := st.tries; t != nil && a.AutoHostRewrite {
		t.authority = h.Authority
	}
	st.route.MutateRequest(h, &st.info, st.w.Loop.Scratch()[:0])
	st.route.RewriteRequest(h, route.RewriteOptions{Info: &st.info, Hostname: hostname, SuppressEnvoyHeaders: suppress})
	st.restorePort()
}

// setExpected tells the upstream how long it has: the try's own time, unless it is hedged, else the
// request's, of which later tries have what is left (router.md 3).
func (st *stream) setExpected() {
	d := st.info.Timeout
	if t := st.tries; t != nil {
		if t.perTry > 0 && !t.hedge {
			d = t.perTry
		}
		if at := st.deadlines[deadlineResponse]; at != 0 && st.info.Attempts > 0 {
			left := max(time.Duration(at-st.w.Loop.Now()), time.Millisecond)
			d = min(d, left)
		}
	}
	if d <= 0 {
		return
	}
	var b [20]byte
	if !st.expected && !st.cfg.conf.Router.SuppressEnvoyHeaders {
		st.req.Set(header.XEnvoyExpectedRqTimeoutMs, strconv.AppendInt(b[:0], int64(d/time.Millisecond), 10))
	}
	if a := st.route.Route.Config.Action; a.MaxGRPCTimeout != nil && !a.NewTimeouts && !a.HasMaxStreamDuration && st.isGRPC() {
		st.req.Set(header.GrpcTimeout, appendGRPCTimeout(b[:0], d))
	}
}

// nextHead makes of the request head what the next try's origin gets.
func (st *stream) nextHead(hostname string, byTimeout bool) {
	h, vh := &st.req, st.route.VirtualHost.Config
	st.setExpected()
	if vh.IncludeRequestAttemptCount {
		var b [10]byte
		h.Set(header.XEnvoyAttemptCount, strconv.AppendUint(b[:0], uint64(st.info.Attempts)+1, 10))
	}
	if vh.IncludeTimeoutRetry {
		h.SetString(header.XEnvoyIsTimeoutRetry, strconv.FormatBool(byTimeout))
	}
	if !st.route.Route.Config.Action.AutoHostRewrite {
		return
	}
	// RT-83: the name of the host that was chosen, or the client's where it has none.
	written := h.Authority
	if h.Authority = st.tries.authority; hostname != "" && string(h.Bytes(written)) == hostname {
		h.Authority = written
		return
	}
	st.route.RewriteHost(h, route.RewriteOptions{Info: &st.info, Hostname: hostname, SuppressEnvoyHeaders: st.cfg.conf.Router.SuppressEnvoyHeaders})
}
