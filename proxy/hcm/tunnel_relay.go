package hcm

import (
	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/engine"
	"github.com/sluiceproxy/sluice/engine/relay"
	"github.com/sluiceproxy/sluice/pool"
	"github.com/sluiceproxy/sluice/proxy/reason"
	"github.com/sluiceproxy/sluice/proxy/worker"
)

// relayed is a tunnel between two connections that the engine's relay carries, so that it costs what a TCP
// session does. It hears the end of both connections in place of their own handlers, and may outlive its
// stream. Loop-owned, from the acceptor's free list.
//
//	event                    what follows
//	downstream closed        the stream ends, then its connection; bytes for the upstream are still sent
//	upstream closed          the pool is told; bytes for the client are still sent
//	stream ends (timeout)    cut: both close, their events find no stream
type relayed struct {
	t    relay.Tunnel
	a    *Acceptor
	st   *stream     // nil once over
	s    *serverConn // nil once closed
	pc   *pool.Conn  // nil once closed
	up   *worker.Upstream
	next *relayed // free list

	rxFrom, txFrom uint64 // of pc, at the beginning of the attempt
	// first is how the first of the two to close did; firstUp says which it was.
	first   engine.CloseReason
	firstUp bool
	closed  bool // one is
}

// maxKeptRelays bounds what a burst leaves behind.
const maxKeptRelays = 1024

func (a *Acceptor) takeRelay() *relayed {
	r := a.relays
	if r == nil {
		return new(relayed)
	}
	a.relays, r.next = r.next, nil
	a.keptRelays--
	return r
}

func (a *Acceptor) putRelay(r *relayed) {
	r.a, r.st, r.s, r.pc, r.up = nil, nil, nil, nil, nil
	r.closed, r.firstUp, r.first = false, false, 0
	if a.keptRelays < maxKeptRelays {
		r.next, a.relays = a.relays, r
		a.keptRelays++
	}
}

// startRelay hands both connections to the engine, when bytes are bare on either.
func (st *stream) startRelay() bool {
	a := st.answering
	s, ok := st.down.(*serverConn)
	if !st.bulkRequest() || !st.bulkResponse() {
		return false // a filter wants to see the payload
	}
	if !ok || a.pc == nil || a.encoding != header.Tunnel || st.encoding.kind != header.Tunnel || st.request == halfDone || a.paused {
		return false
	}
	st.w.FlushHeads()
	r := s.a.takeRelay()
	r.a, r.st, r.s, r.pc, r.up = s.a, st, s, a.pc, st.cluster
	r.rxFrom, r.txFrom = a.rxFrom, a.txFrom
	st.tun.relay = r
	a.pc = nil
	together := !st.halfOpen()
	r.t.Start(s.c, r.pc.Conn, relay.Options{
		LimitUp: int(st.cluster.C.Conf.PerConnectionBufferLimitBytes), LimitDown: st.cfg.bufferLimit,
		EndWithA: st.tun.kind == upgradeTunnel, EndWithB: together,
	}, (*relayOwner)(r))
	return true
}

// account puts what was moved into the stream's facts.
func (r *relayed) account(st *stream) {
	up, down := r.t.Moved()
	st.answering.uploaded(up)
	st.answering.downloaded(down)
}

// cut ends the tunnel of a stream that ends.
func (r *relayed) cut() {
	st := r.st
	r.account(st)
	st.tun.relay, r.st = nil, nil
	if r.s != nil {
		r.s.closing = true
	}
	r.t.Close()
}

// relayOwner is a relayed as its relay sees it.
type relayOwner relayed

var _ relay.Owner = (*relayOwner)(nil)

// CountBuffers implements worker.BufferCounter: what the relay has taken and not delivered waits to be written.
func (o *relayOwner) CountBuffers(c *engine.Conn, b *worker.Buffers) {
	up, down := o.t.Pending()
	if o.s != nil && c == o.s.c {
		b.Add(o.s.stats.DownstreamCxRxBytesBuffered, o.s.stats.DownstreamCxTxBytesBuffered, c.Kept(), down)
		return
	}
	b.Add(o.up.C.Stats.UpstreamCxRxBytesBuffered, o.up.C.Stats.UpstreamCxTxBytesBuffered, c.Kept(), up)
}

// OnRelayPaused counts that one side is not read since the other takes no more.
func (o *relayOwner) OnRelayPaused(_ *relay.Tunnel, up bool) {
	if st := o.st; st != nil && up {
		st.w.Stats.Inc(st.cfg.stats.DownstreamFlowControlPausedReadingTotal)
		st.w.Stats.Inc(o.up.C.Stats.UpstreamFlowControlBackedUpTotal)
	} else if st != nil {
		st.w.Stats.Inc(o.up.C.Stats.UpstreamFlowControlPausedReadingTotal)
	}
}

// OnRelayResumed counts that it is read again.
func (o *relayOwner) OnRelayResumed(_ *relay.Tunnel, up bool) {
	if st := o.st; st != nil && up {
		st.w.Stats.Inc(st.cfg.stats.DownstreamFlowControlResumedReadingTotal)
		st.w.Stats.Inc(o.up.C.Stats.UpstreamFlowControlDrainedTotal)
	} else if st != nil {
		st.w.Stats.Inc(o.up.C.Stats.UpstreamFlowControlResumedReadingTotal)
	}
}

// OnRelayFlush needs nothing: the stream ends with its client.
func (o *relayOwner) OnRelayFlush(*relay.Tunnel) {}

// OnRelayClosed settles the accounts of one connection.
func (o *relayOwner) OnRelayClosed(_ *relay.Tunnel, c *engine.Conn, up bool, why engine.CloseReason) {
	r := (*relayed)(o)
	if !r.closed {
		r.closed, r.firstUp, r.first = true, up, why
	}
	if up {
		pc, sh, series := r.pc, r.a.w.Stats, r.up.C.Stats
		r.pc = nil
		sh.Add(series.UpstreamCxRxBytesTotal, c.BytesRead()-r.rxFrom)
		sh.Add(series.UpstreamCxTxBytesTotal, c.BytesWritten()-r.txFrom)
		pc.Lost(why)
		return
	}
	s := r.s
	r.s = nil
	s.closing = true
	if st := r.st; st != nil {
		r.account(st)
		st.tun.relay, r.st = nil, nil
		st.relayEnded(r.firstUp, r.first)
	}
	s.OnClosed(c, why)
}

// OnRelayDone gives the object back.
func (o *relayOwner) OnRelayDone(*relay.Tunnel) {
	r := (*relayed)(o)
	r.a.putRelay(r)
}

// relayEnded ends the stream of a tunnel that its connections ended. The first one to close says how.
func (st *stream) relayEnded(byUpstream bool, why engine.CloseReason) {
	switch {
	case why == engine.LoopStopped:
		st.fail(reason.Stopped, 0)
	case why == engine.PeerClosed || why == engine.LocalClose:
		st.setRequest(halfDone)
		st.setResponse(halfDone)
		st.answering.tunnelDone(true)
		st.responseOver()
	case byUpstream:
		st.answering.tunnelDone(false)
		st.w.Stats.Inc(st.cfg.stats.RqResetAfterDownstreamResponseStarted)
		st.fail(reason.ResetAfterStart, 0)
	default:
		st.onDownstreamGone(reason.DownstreamClosed)
	}
}
