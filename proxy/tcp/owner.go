package tcp

import (
	"github.com/sluiceproxy/sluice/engine"
	"github.com/sluiceproxy/sluice/engine/relay"
	"github.com/sluiceproxy/sluice/proxy/reason"
	"github.com/sluiceproxy/sluice/proxy/worker"
)

// owner is a session as its relay sees it.
type owner session

var _ relay.Owner = (*owner)(nil)

// CountBuffers implements worker.BufferCounter for the upstream connection; charge does it for the other.
func (o *owner) CountBuffers(c *engine.Conn, b *worker.Buffers) {
	if c != o.c {
		up, _ := o.relay.Pending()
		b.Add(o.upstream.C.Stats.UpstreamCxRxBytesBuffered, o.upstream.C.Stats.UpstreamCxTxBytesBuffered, c.Kept(), up)
	}
}

// OnRelayPaused counts that one side is not read since the other takes no more (TCP-54).
func (o *owner) OnRelayPaused(_ *relay.Tunnel, up bool) {
	if up {
		o.a.w.Stats.Inc(o.cfg.stats.DownstreamFlowControlPausedReadingTotal)
	} else {
		o.a.w.Stats.Inc(o.upstream.C.Stats.UpstreamFlowControlPausedReadingTotal)
	}
}

// OnRelayResumed counts that it is read again.
func (o *owner) OnRelayResumed(_ *relay.Tunnel, up bool) {
	if up {
		o.a.w.Stats.Inc(o.cfg.stats.DownstreamFlowControlResumedReadingTotal)
	} else {
		o.a.w.Stats.Inc(o.upstream.C.Stats.UpstreamFlowControlResumedReadingTotal)
	}
}

// OnRelayFlush counts that the client is gone while bytes for the upstream are under way (TCP-51).
func (o *owner) OnRelayFlush(*relay.Tunnel) {
	o.flushing = true
	if o.c != nil && (!o.c.WriteClosed() || o.c.WriteFailed()) { // else it ended in order, or OnRelayClosed will tell
		(*session)(o).endedBy(reason.SessionDownstreamReset) // whatever ends the flush
	}
	o.a.w.Stats.Inc(o.cfg.stats.UpstreamFlushTotal)
	o.a.w.Stats.GaugeAdd(o.cfg.stats.UpstreamFlushActive, 1)
}

// OnRelayClosed settles the accounts of one connection. The first one to close says how the session
// ended.
func (o *owner) OnRelayClosed(t *relay.Tunnel, c *engine.Conn, up bool, r engine.CloseReason) {
	s := (*session)(o)
	switch {
	case t.Idled():
		s.endedBy(reason.SessionIdle)
	case up:
		s.endedBy(endOf(r, reason.SessionUpstreamReset))
	default:
		s.endedBy(endOf(r, reason.SessionDownstreamReset))
	}
	if !up {
		s.a.account.Broken(c, &s.facts, r)
		s.noteDownstream(c)
		return
	}
	s.noteUpstream(c)
	s.endpoint.Load.RqActive--
	pc := s.up
	s.up = nil
	pc.Lost(r)
}

// OnRelayDone ends the session.
func (o *owner) OnRelayDone(t *relay.Tunnel) {
	s := (*session)(o)
	if t.Idled() {
		s.a.w.Stats.Inc(s.cfg.stats.IdleTimeout)
	}
	if s.flushing {
		s.flushing = false
		s.a.w.Stats.GaugeAdd(s.cfg.stats.UpstreamFlushActive, -1)
	}
	s.finish(nil)
}

// endOf says how a session ended whose first connection closed so; reset is for the one that was not
// in order.
func endOf(r engine.CloseReason, reset reason.Reason) reason.Reason {
	switch r {
	case engine.PeerClosed, engine.LocalClose:
		return reason.SessionEnded
	case engine.LoopStopped:
		return reason.Stopped
	}
	return reset
}
