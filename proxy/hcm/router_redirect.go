package hcm

import (
	"bytes"

	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/codec/http1"
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/reason"
	"github.com/sluiceproxy/sluice/proxy/route"
	"github.com/sluiceproxy/sluice/proxy/stats"
)

// redirects are the internal redirects that a request has followed (ROUTER-65).
type redirects struct {
	followed uint32
	// steps are the routes they went from and to, for previous_routes.
	steps []redirectStep
	// pending: the next route is known, and is taken when the event that found it is over.
	pending bool
}

type redirectStep struct{ from, to *route.Route }

func (r *redirects) reset() {
	clear(r.steps)
	r.followed, r.steps, r.pending = 0, r.steps[:0], false
}

// location is the target of a redirect: views of its header field.
type location struct {
	https           bool
	authority, path []byte
}

// parseLocation reads an absolute http or https URL.
func parseLocation(v []byte) (l location, ok bool) {
	var rest []byte
	switch {
	case hasPrefixFold(v, "http://"):
		rest = v[len("http://"):]
	case hasPrefixFold(v, "https://"):
		rest, l.https = v[len("https://"):], true
	default:
		return l, false
	}
	if i := bytes.IndexByte(rest, '#'); i >= 0 {
		rest = rest[:i]
	}
	l.authority = rest
	if i := bytes.IndexAny(rest, "/?"); i >= 0 {
		l.authority, l.path = rest[:i], rest[i:]
	}
	for _, c := range l.path {
		if c <= ' ' || c >= 0x7f {
			return l, false
		}
	}
	return l, len(l.authority) > 0 && http1.ValidAuthority(l.authority)
}

func hasPrefixFold(v []byte, lower string) bool {
	return len(v) >= len(lower) && header.EqualFold(v[:len(lower)], lower)
}

// redirect follows a response that is a redirect to another route of this proxy: true when it does, and
// the response does not go to the client. A redirect that cannot be followed is passed on.
func (t *tries) redirect(a *attempt) bool {
	p, st := t.policies, t.st
	if p == nil || p.Redirect == nil || st.response != halfHead || st.localReply || !p.Redirect.Follows(a.resp.Status) {
		return false
	}
	s, series := st.w.Stats, st.cluster.C.Stats
	failed, counter := t.prepareRedirect(a, p.Redirect)
	if failed {
		s.Inc(series.UpstreamInternalRedirectFailedTotal)
		s.Inc(counter)
		return false
	}
	s.Inc(series.UpstreamInternalRedirectSucceededTotal)
	st.chargeCode(a)
	t.cancelOthers(a)
	t.redirects.pending = true
	st.w.Loop.Defer(t)
	return true
}

// prepareRedirect changes the request into one for the redirect's target; or it changes nothing and says
// what to count.
func (t *tries) prepareRedirect(a *attempt, p *route.InternalRedirect) (failed bool, why stats.Counter) {
	st, hs := t.st, t.st.cfg.stats
	h := &st.req
	if !st.requestWhole() || t.body.lost || !t.body.keeps {
		return true, 0
	}
	to, ok := parseLocation(a.resp.Get(header.Location))
	if !ok {
		return true, hs.PassthroughInternalRedirectBadLocation
	}
	https := st.https()
	if https != to.https && !p.Config.AllowCrossScheme {
		return true, hs.PassthroughInternalRedirectUnsafeScheme
	}
	if t.redirects.followed >= p.Config.Max {
		return true, hs.PassthroughInternalRedirectTooManyRedirects
	}
	path, from := h.Path, st.route
	authority, scheme := h.Authority, h.Scheme
	original := st.url(https)
	if !st.setTarget(&to) {
		h.Path = path
		return true, hs.PassthroughInternalRedirectBadLocation
	}
	st.findRoute()
	switch {
	case st.route.Kind == route.NoRoute:
		why = hs.PassthroughInternalRedirectNoRoute
	case !t.allows(p.Config, from.Route, https, to.https):
		why = hs.PassthroughInternalRedirectPredicate
	default:
		t.redirects.followed++
		t.redirects.steps = append(t.redirects.steps, redirectStep{from.Route, st.route.Route})
		if !h.Has(header.XEnvoyOriginalURL) {
			h.Set(header.XEnvoyOriginalURL, original)
		}
		st.redirectMessage(a.resp, p)
		return false, 0
	}
	h.Path, h.Authority, h.Scheme = path, authority, scheme
	st.findRoute()
	st.route = from
	return true, why
}

// https says whether the client's request was for an https URL.
func (st *stream) https() bool {
	if v := st.req.Get(header.XForwardedProto); len(v) > 0 {
		return string(v) == "https"
	}
	return st.info.Conn.TLS()
}

// url is the request's URL. Allocates.
func (st *stream) url(https bool) []byte {
	scheme := "http://"
	if https {
		scheme = "https://"
	}
	h := &st.req
	return append(append([]byte(scheme), h.Bytes(h.Authority)...), h.Bytes(h.Path)...)
}

// setTarget makes the redirect's target that of the request; false when the path is none this proxy takes.
func (st *stream) setTarget(to *location) bool {
	h := &st.req
	if len(to.path) > 0 && to.path[0] == '/' {
		h.SetPath(to.path)
	} else {
		h.SetPathPrefixed("/", to.path)
	}
	if st.normalizePath(h.Bytes(h.Path)) != reason.None {
		return false
	}
	h.SetAuthority(to.authority)
	if to.https {
		h.SetScheme("https")
	} else {
		h.SetScheme("http")
	}
	return true
}

// allows asks the policy's predicates about the route that was found.
func (t *tries) allows(p *conf.InternalRedirectPolicy, from *route.Route, https, toHTTPS bool) bool {
	to := t.st.route.Route
	for i := range p.Predicates {
		ok := true
		switch p.Predicates[i].Kind {
		case conf.RedirectPreviousRoutes:
			for _, s := range t.redirects.steps {
				ok = ok && !(s.from == from && s.to == to)
			}
		case conf.RedirectAllowListedRoutes:
			ok = false
			for _, name := range p.Predicates[i].Routes {
				ok = ok || to != nil && to.Config.Name == name
			}
		case conf.RedirectSafeCrossScheme:
			ok = https || !toHTTPS
		}
		if !ok {
			return false
		}
	}
	return true
}

// redirectMessage makes the rest of the request what the redirect wants (ROUTER-66).
func (st *stream) redirectMessage(resp *header.Head, p *route.InternalRedirect) {
	h := &st.req
	if resp.Status == 303 && h.Method != header.MethodGet && h.Method != header.MethodHead {
		h.SetMethod(header.MethodGet, "GET")
		h.Remove(header.ContentLength)
		h.Transfer, h.ContentLength = header.NoBody, -1
		st.tries.body.data.Release()
		if st.reqTrail.Count() > 0 {
			st.reqTrail.Reset(nil)
		}
	}
	for i := range p.Copy {
		n := &p.Copy[i]
		h.RemoveName(n.ID, n.Lower)
		for k := resp.Find(n.ID, n.Lower); k >= 0; k = resp.Next(k) {
			h.Add(n.ID, n.Lower, resp.Bytes(resp.Fields[k].Value))
		}
	}
}

// follow takes the request to the route that a redirect leads to.
func (t *tries) follow() {
	st := t.st
	if !t.redirects.pending || st.over || st.localReply {
		return
	}
	t.redirects.pending = false
	st.deadlines[deadlineResponse], st.deadlines[deadlineUpstream] = 0, 0
	st.managerTimers()
	st.info.Attempts, st.info.Flags = 0, 0
	st.att.renew()
	st.answering = &st.att
	st.canary, st.rushed, st.clusterStatus = false, false, 0
	st.altResponse, st.expected, st.altStats = false, false, nil // the headers that asked for them are off
	st.reroute()
	st.w.FlushHeads()
}
