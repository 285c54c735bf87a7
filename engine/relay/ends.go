package relay

import "github.com/sluiceproxy/sluice/engine"

// ends is a tunnel as the handler of its connections and the owner of its pumps; it
// keeps the callbacks off Tunnel's method set.
type ends struct{ t *Tunnel }

// Run begins, once the handler that called Start has returned.
func (e ends) Run(*engine.Loop) {
	e.t.deferred = false
	e.t.up.begin()
	e.t.down.begin()
}

// OnConnected needs nothing: the pumps wait for room to write.
func (ends) OnConnected(*engine.Conn) {}

// OnData takes nothing: bytes that come before the pumps have begun stay kept. What
// b sends once a is gone is for nobody (TCP-51).
func (e ends) OnData(c *engine.Conn, _ []byte) int {
	if e.t.gone && c == e.t.b {
		e.t.Close()
	}
	return 0
}

// OnReadClosed needs nothing: a pump that begins after it sees the end.
func (ends) OnReadClosed(*engine.Conn) {}

// OnWritable needs nothing: the pumps use the raw callback.
func (ends) OnWritable(*engine.Conn) {}

// stuck tells the owner that the source of p is not read any more.
func (e ends) stuck(p *Pump) {
	t := e.t
	t.owner.OnRelayPaused(t, p == &t.up)
	if t.gone && p == &t.up {
		t.flush()
	}
}

// OnPipeDone carries the end of a direction over.
func (e ends) OnPipeDone(p *Pump, r Result) {
	t := e.t
	switch {
	case t.closing:
	case r == WriteFailed && p.sealed:
		p.dst.Close() // whatever it says, there is nobody to hear it
	case r == WriteFailed:
		e.writeFailed(p)
	case !p.sealed && t.endsWith(p):
		t.CloseFlush()
	case !p.sealed || p.dst.ReadClosed():
		p.dst.CloseWrite() // after which, if both directions have ended, it closes
	case p == &t.up && !t.draining:
		t.b.Close()
	default:
		p.dst.CloseAfterFlush(lingerTimeout)
	}
}

// endsWith says whether the FIN that ended p ends the tunnel.
func (t *Tunnel) endsWith(p *Pump) bool {
	if p == &t.up {
		return t.endWithA
	}
	return t.endWithB
}

// writeFailed: what the destination of p sent is still read, then its OnClosed
// follows. Nothing follows when it was half-closed before the tunnel began.
func (e ends) writeFailed(p *Pump) {
	t := e.t
	switch {
	case !p.dst.WriteFailed():
	case p == &t.down:
		t.lost()
	case t.a != nil:
		t.a.PauseRead() // b has no use for it
	}
}

// lost notes that a was reset. What it sent before is still read and given to b;
// bytes for it are not wanted any more.
func (t *Tunnel) lost() {
	if t.gone || t.closing || t.draining {
		return
	}
	if t.b != nil && t.b.Connecting() {
		t.Close()
		return
	}
	t.gone = true
	t.down.Stop() // from now on OnData sees what b sends
	t.watch()
	if up, _ := t.Pending(); up > 0 {
		t.flush()
	}
}

// flush tells the owner that a is gone and b still to get bytes.
func (t *Tunnel) flush() {
	if !t.flushing && !t.closing {
		t.flushing = true
		t.owner.OnRelayFlush(t)
	}
}

// OnClosed ends the other connection too.
func (e ends) OnClosed(c *engine.Conn, r engine.CloseReason) {
	t := e.t
	from, into, other := &t.up, &t.down, t.b
	if c == t.a {
		t.a, t.reasonA = nil, r
	} else {
		from, into, other = &t.down, &t.up, t.a
		t.b, t.reasonB = nil, r
	}
	into.Stop()
	from.recall()
	t.owner.OnRelayClosed(t, c, from == &t.down, r)
	if other == nil {
		from.Stop()
		c.Loop().Disarm(&t.idle)
		t.owner.OnRelayDone(t)
		return
	}
	t.written = other.BytesWritten()
	switch {
	case t.closing: // the other's OnClosed is on its way
	case t.draining:
		from.sourceClosed()
	case local(r) || from == &t.up && other.Connecting():
		cut(other, from)
		from.Stop()
	case r == engine.PeerClosed && other.WriteClosed() && other.ReadClosed():
		// Both directions have ended: other closes once its out chain is empty.
	case from == &t.up:
		t.downstreamGone()
	default:
		t.upstreamGone()
	}
	t.watch()
}

// downstreamGone closes b, after what it is still to get.
func (t *Tunnel) downstreamGone() {
	t.gone = true
	if !t.up.sourceClosed() {
		t.b.Close()
	} else if t.up.active {
		t.flush()
	}
}

// upstreamGone closes a, after what it is still to get.
func (t *Tunnel) upstreamGone() {
	if !t.down.sourceClosed() {
		t.a.CloseAfterFlush(lingerTimeout)
	} else if t.down.active {
		t.a.PauseRead() // what it sends is for nobody
	}
}

// local reports whether a connection's end was this side's doing.
func local(r engine.CloseReason) bool {
	switch r {
	case engine.LocalClose, engine.LocalReset, engine.FlushTimeout, engine.LoopStopped:
		return true
	}
	return false
}
