package hcm

import (
	"bytes"
	"time"

	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/engine"
	"github.com/sluiceproxy/sluice/proxy/reason"
	"github.com/sluiceproxy/sluice/proxy/route"
	"github.com/sluiceproxy/sluice/proxy/streaminfo"
	"github.com/sluiceproxy/sluice/proxy/worker"
)

// mirrorChoice is a cluster that gets a copy of the request (RT-82).
type mirrorChoice struct {
	mirror *route.Mirror
	to     *worker.Upstream
}

// maxShadows bounds how many copies a loop has under way.
const maxShadows = 1024

// chooseMirrors decides which clusters get a copy of the request: their share of the requests is a matter of
// chance.
func (t *tries) chooseMirrors(list []route.Mirror) {
	st := t.st
	h := &st.req
	if len(list) == 0 || h.HasUpgrade || h.Method == header.MethodConnect {
		return
	}
	for i := range list {
		m := &list[i]
		if !m.Fraction.Enabled(st.w.Random.Uint64()) {
			continue
		}
		if u := st.w.Cluster(m.Cluster(h)); u != nil && !u.SpeaksProxy() {
			t.mirrors = append(t.mirrors, mirrorChoice{m, u})
		}
	}
}

// sendMirrors sends the copies of a request that is whole. Nobody waits for what comes of them.
func (t *tries) sendMirrors() {
	mirrors := t.mirrors
	t.mirrors = t.mirrors[:0]
	for i := range mirrors {
		t.st.shadow(&mirrors[i])
	}
	if len(mirrors) > 0 && t.st.response != halfHead {
		t.body.drop() // they were the last who wanted it
	}
	clear(mirrors)
}

// shadow is a stream without a client: a copy of a request, whose response noClient reads. It is its stream's
// downstream. Loop-owned, from the loop's free list.
type shadow struct {
	stream stream
	next   *shadow
}

// noClient is the downstream connection of shadows.
var noClient streaminfo.Connection

// shadow sends a copy of the request.
func (st *stream) shadow(c *mirrorChoice) {
	s, hs, parts := st.w.Stats, st.cfg.stats, st.parts()
	if parts.shadows >= maxShadows {
		s.Inc(hs.RqShadowOverflow)
		return
	}
	s.Inc(hs.RqShadowed)
	x := parts.freeShadow
	if x == nil {
		x = new(shadow)
	} else {
		parts.freeShadow, x.next = x.next, nil
	}
	parts.shadows++
	to := &x.stream
	to.beginShadow(st, x)
	c.mirror.Mutate(&to.req, &to.info, st.w.Loop.Scratch()[:0])
	to.shadowHost(c.mirror)
	to.forwardShadow(c.to, st.info.Timeout)
}

// beginShadow makes st a copy of the request of from.
func (st *stream) beginShadow(from *stream, d downstream) {
	w := from.w
	st.w, st.cfg, st.down, st.isShadow = w, from.cfg, d, true
	st.over = false
	st.att.init(st)
	st.answering = &st.att
	st.timer.Handler = st
	st.req.CopyFrom(&from.req)
	st.req.SetString(header.XEnvoyInternal, "true")
	if from.reqTrail.Count() > 0 {
		st.reqTrail.CopyFrom(&from.reqTrail)
	}
	now := w.Loop.Now()
	st.request, st.lastMove = halfDone, now
	i := &st.info
	i.Conn, i.Request = &noClient, &st.req
	i.Start, i.RequestEnd, i.StartUnixNs = now, now, w.Loop.WallNow().UnixNano()
	i.StreamID, i.Protocol = w.Random.Uint64(), from.info.Protocol
	st.route = from.route
	t := st.parts().take(st)
	st.tries = t
	k := from.tries.body.data.Front()
	for p := k.Next(); p != nil; p = k.Next() {
		t.body.data.Append(p)
	}
}

// shadowHost makes the host say that this is a copy, unless the policy says otherwise.
func (st *stream) shadowHost(m *route.Mirror) {
	h := &st.req
	switch host := h.Bytes(h.Authority); {
	case m.Config.HostRewrite != "":
		h.SetAuthority([]byte(m.Config.HostRewrite))
	case !m.Config.KeepHost:
		at := len(host)
		if i := bytes.LastIndexByte(host, ':'); i >= 0 && bytes.IndexByte(host[i:], ']') < 0 {
			at = i
		}
		h.SetAuthority(append(append(append(make([]byte, 0, len(host)+len(shadowSuffix)), host[:at]...), shadowSuffix...), host[at:]...))
	}
}

const shadowSuffix = "-shadow"

func (st *stream) forwardShadow(u *worker.Upstream, timeout time.Duration) {
	st.cluster = u
	if st.sheds(u) {
		return
	}
	e := u.PickFor(nil)
	if e == nil {
		st.w.Stats.Inc(u.C.Stats.UpstreamCxNoneHealthy)
		st.fail(reason.NoHealthyHost, 0)
		return
	}
	if st.info.Timeout = timeout; timeout > 0 {
		st.setDeadline(deadlineResponse, timeout)
	}
	st.upstreamLimit = u.C.Conf.MaxStreamDuration
	st.att.start(e, st.priority())
}

func (x *shadow) informational(*stream, *header.Head)      {}
func (x *shadow) responseHead(*stream, *header.Head, bool) {}
func (x *shadow) responseData(*stream, []byte, bool)       {}
func (x *shadow) responseTrailers(*stream, *header.Head)   {}
func (x *shadow) full(*stream) bool                        { return false }
func (x *shadow) bare(*stream) *engine.Conn                { return nil }
func (x *shadow) uploaded(*stream, int64)                  {}
func (x *shadow) clientEnded(*stream)                      {}
func (x *shadow) pauseRequest(*stream)                     {}
func (x *shadow) resumeRequest(*stream)                    {}
func (x *shadow) finish(st *stream, _ bool, _ reason.Reason) {
	parts := st.parts()
	parts.shadows--
	if st.timer.Armed() {
		st.w.Loop.Disarm(&st.timer)
	}
	st.reset()
	x.next, parts.freeShadow = parts.freeShadow, x
}

var _ downstream = (*shadow)(nil)
