package hcm

import (
	"time"

	"github.com/sluiceproxy/sluice/codec/http2"
	"github.com/sluiceproxy/sluice/engine"
	"github.com/sluiceproxy/sluice/engine/wheel"
	"github.com/sluiceproxy/sluice/proxy/reason"
)

// This file is how a downstream HTTP/2 connection begins, waits and ends.

// Deadlines of an HTTP/2 connection besides those every connection has.
const (
	h2Settings = numConnDeadlines + iota // settingsTimeout, for the client to acknowledge
	h2Ping                               // connection_keepalive: the next PING
	h2Pong                               // its answer
	h2Drain                              // drain_timeout: from the notice to the last GOAWAY
	numH2Deadlines
)

// settingsTimeout is how long a client may take to acknowledge our SETTINGS (HC-70).
const settingsTimeout = 10 * time.Second

// Details of endings that are not the codec's.
const (
	detailSettingsTimeout  = "http2.settings_timeout"
	detailKeepaliveTimeout = "http2.ping_timeout"
)

// begin makes the codec ready at the first bytes, so that a silent connection owns nothing of it.
func (h *h2Conn) begin() {
	h.started = true
	h.h2.Init(false, &h.cfg.h2, &h.a.h2.ws, (*h2Events)(h))
	h.deadlines[h2Settings] = h.a.w.Loop.Now() + int64(settingsTimeout)
	h.nextPing()
	h.arm()
}

// nextPing sets when the next PING is due: interval and up to jitter more.
func (h *h2Conn) nextPing() {
	k := &h.cfg.conf.HTTP2.KeepAlive
	if k.Interval <= 0 {
		return
	}
	d := int64(k.Interval)
	if jitter := int64(float64(d) * k.JitterPercent / 100); jitter > 0 {
		d += h.a.w.Random.Int64N(jitter)
	}
	h.deadlines[h2Ping] = h.a.w.Loop.Now() + d
}

// goAway begins the end in order (HC-75).
func (h *h2Conn) goAway() {
	switch {
	case h.going != staying || h.closing:
		return
	case !h.started:
		h.end() // there is nobody to tell
		return
	}
	h.going = noticed
	h.h2.ShutdownNotice()
	h.wrote()
	d := h.cfg.conf.DrainTimeout
	if d <= 0 {
		h.leave()
		return
	}
	h.deadlines[h2Drain] = h.a.w.Loop.Now() + int64(d)
	h.arm()
}

// leave takes no more streams. settle ends the connection with the last one.
func (h *h2Conn) leave() {
	h.going = leaving
	h.h2.GoAway(http2.NoError)
	h.wrote()
}

// end closes the connection in order; it has no stream any more.
func (h *h2Conn) end() {
	h.spill()
	h.linger(h.cfg)
}

// broken ends the connection for an error of the client's: the codec has said so in a GOAWAY, and has no
// stream any more. Errors of the protocol are told apart from floods.
func (h *h2Conn) broken(e http2.Err) {
	if e.Code() != http2.EnhanceYourCalm {
		h.a.w.Stats.Inc(h.stats.DownstreamCxProtocolError)
	}
	h.end()
}

// endStreams ends every stream for r, of which details say more than its table, as if the client were
// gone.
func (h *h2Conn) endStreams(r reason.Reason, details string) {
	h.why, h.details = r, details
	h.cutOff = h.cutOff || h.count > 0
	if h.started {
		h.h2.Close(http2.ErrClosed)
	}
}

// noteRest notes whether a frame or a field block has begun that is not complete: used bytes were, rest
// bytes are kept. Its clocks are those of a request head (ROUTER-43 to 45), unless it turns out to be
// something else.
func (h *h2Conn) noteRest(used, rest int) {
	inBlock := h.h2.HeadPending()
	switch {
	case !inBlock && rest == 0:
		h.headStart, h.inBlock = 0, false
		return
	case h.headStart == 0 || used > 0 && !h.inBlock:
		h.headStart = max(1, h.a.w.Loop.Now())
	}
	h.inBlock = inBlock
	h.headMoved = h.a.w.Loop.Now()
	if h.deadlines[connHead] == 0 {
		if h.deadlines[connHead] = headDeadline(h.cfg, h.headStart, h.headMoved); h.deadlines[connHead] != 0 {
			h.arm()
		}
	}
}

// rest begins the time without a stream.
func (h *h2Conn) rest() {
	h.idleSince = h.a.w.Loop.Now()
	switch {
	case h.closing:
	case h.going == leaving:
		h.schedule() // to end
	case h.deadlines[connIdle] == 0 && h.cfg.conf.IdleTimeout > 0:
		h.deadlines[connIdle] = h.idleSince + int64(h.cfg.conf.IdleTimeout)
		h.arm()
	}
}

// arm sets the timer for the earliest deadline.
func (h *h2Conn) arm() { h.a.w.Loop.ArmFirst(&h.timer, h.deadlines[:]) }

// OnTimer is the wheel's callback for the connection's deadlines. Whichever were due are either moved
// into the future or cleared.
func (h *h2Conn) OnTimer(*wheel.Timer) {
	if h.closing {
		return
	}
	now := h.a.w.Loop.Now()
	if h.due(connDuration, now) {
		h.a.w.Stats.Inc(h.stats.DownstreamCxMaxDurationReached)
		h.goAway()
	}
	if h.due(h2Drain, now) {
		h.leave()
	}
	if h.due(connHead, now) {
		h.headDue(now)
	}
	if h.due(connIdle, now) {
		h.idleDue(now)
	}
	if h.due(h2Settings, now) && !h.h2.SettingsAcked() {
		h.h2.GoAway(http2.SettingsTimeout)
		h.endStreams(reason.DownstreamProtocol, detailSettingsTimeout)
		h.end()
	}
	if h.due(h2Ping, now) {
		h.h2.Ping(uint64(now))
		h.wrote()
		h.deadlines[h2Pong] = now + int64(h.cfg.conf.HTTP2.KeepAlive.Timeout)
	}
	if h.due(h2Pong, now) {
		h.a.w.Stats.Inc(h.cfg.http2.KeepaliveTimeout)
		h.endStreams(reason.DownstreamClosed, detailKeepaliveTimeout)
		h.closing = true
		h.c.Close()
	}
	if !h.closing {
		h.arm()
	}
}

// due says whether a deadline has passed, and clears it then.
func (h *h2Conn) due(which int, now int64) bool {
	d := h.deadlines[which]
	if d == 0 || d > now || h.closing {
		return false
	}
	h.deadlines[which] = 0
	return true
}

// OnPong sets when the next PING goes out, after the answer to the last one.
func (e *h2Events) OnPong(uint64) {
	h := (*h2Conn)(e)
	if h.deadlines[h2Pong] == 0 {
		return // an answer to nothing
	}
	h.deadlines[h2Pong] = 0
	h.nextPing()
	h.arm()
}

// headDue ends a connection that began a head, or another frame, and does not finish it. Streams that are
// under way show that it is alive: for them it may take as long as they do.
func (h *h2Conn) headDue(now int64) {
	switch r := headOverdue(h.cfg, h.headStart, h.headMoved, now); {
	case h.headStart == 0:
	case r == reason.None:
		h.deadlines[connHead] = headDeadline(h.cfg, h.headStart, h.headMoved)
	case h.count > 0 && !h.inBlock:
		h.deadlines[connHead] = headDeadline(h.cfg, now, now)
	default:
		h.logUnparsed(r)
		h.h2.GoAway(http2.EnhanceYourCalm)
		h.endStreams(reason.DownstreamProtocol, r.Entry().Details)
		h.end()
	}
}

// logUnparsed counts and logs a request whose head never became whole.
func (h *h2Conn) logUnparsed(r reason.Reason) {
	st := h.a.streams.Get()
	st.req.Reset(nil)
	st.begin(h.a.w, h.cfg, h, &h.facts, h.headStart)
	h.a.w.Stats.Inc(h.stats.DownstreamRqHTTP2Total)
	st.setRequest(halfDone)
	countExpiry(st.w.Stats, st.cfg.stats, r)
	st.info.Flags |= r.Entry().Flag
	st.info.Details = r.Entry().Details
	st.finish(false, r)
}

// idleDue ends a connection that has had no stream for idle_timeout (HC-37).
func (h *h2Conn) idleDue(now int64) {
	d := h.cfg.conf.IdleTimeout
	switch {
	case h.count > 0 || h.going != staying: // set again with the last stream's end; ending anyway
	case passed(now, h.idleSince, d):
		h.a.w.Stats.Inc(h.stats.DownstreamCxIdleTimeout)
		h.goAway()
	case d > 0:
		h.deadlines[connIdle] = h.idleSince + int64(d)
	}
}

// OnReadClosed treats the client's FIN as its end, as Envoy does: whoever cannot update a window cannot
// be answered either.
func (h *h2Conn) OnReadClosed(*engine.Conn) {
	if h.closing {
		return
	}
	h.remote = true
	h.endStreams(reason.DownstreamClosed, "")
	h.closing = true
	h.c.Close()
}

// OnClosed is the end of the connection.
func (h *h2Conn) OnClosed(c *engine.Conn, r engine.CloseReason) {
	why := reason.DownstreamClosed
	if r == engine.LoopStopped {
		why = reason.Stopped
	}
	h.closing, h.holding = true, true
	h.endStreams(why, "")
	if h.started {
		h.h2.Taken(0) // the output goes with the socket
	}
	a := h.a
	for x := h.ready; x != nil; x = h.ready {
		h.ready, x.nextReady, x.isReady = x.nextReady, nil, false
		a.h2.putStream(x)
	}
	a.w.Stats.GaugeAdd(h.stats.DownstreamCxHTTP2Active, -1)
	h.countClosed(c, r, h.cutOff)
	a.putHTTP2(h)
}

func (h *h2Conn) uses(cfg *Config) bool {
	for x := h.first; x != nil; x = x.next {
		if x.st != nil && x.st.cfg == cfg {
			return true
		}
	}
	return h.headStart != 0 && h.cfg == cfg
}

func (h *h2Conn) busy() bool { return h.count > 0 || h.inBlock }

// shutDown tells the client at once, which then goes elsewhere with its next request; a connection
// without a stream need not wait for that when it is idle ones' turn.
func (h *h2Conn) shutDown(idle bool) {
	if h.closing {
		return
	}
	if h.going == staying {
		h.a.w.Stats.Inc(h.stats.DownstreamCxDrainClose)
		h.goAway()
	}
	if idle && !h.busy() && !h.closing {
		h.leave() // settle ends it
	}
}

// abort ends the connection now, whatever is under way.
func (h *h2Conn) abort() {
	if h.started && !h.closing {
		h.h2.GoAway(http2.NoError)
		h.endStreams(reason.Stopped, "")
		h.spill()
	}
	h.closing, h.lingers = true, false
	h.c.Close()
}
