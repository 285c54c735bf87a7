package relay

import (
	"time"

	"github.com/sluiceproxy/sluice/engine"
	"github.com/sluiceproxy/sluice/engine/wheel"
)

// flushTimeout bounds how long a connection is flushed after the other has gone,
// when there is no idle timeout to do it.
const flushTimeout = 30 * time.Second

// Options of a Tunnel.
type Options struct {
	// IdleTimeout closes both connections when no byte moved either way for that
	// long; 0 means never.
	IdleTimeout time.Duration
	// NoSplice copies even bulk data.
	NoSplice bool
}

// Done is told, once, when both connections of a tunnel are closed.
type Done interface{ OnRelayDone(t *Tunnel) }

// Tunnel relays two connections of one loop both ways until both are closed. The
// zero value is idle. Loop-owned; it must stay where it is while it runs.
//
//	event                         what follows
//	FIN from one                  its bytes, then a FIN, to the other; the rest goes on
//	FIN from both                 both end (PeerClosed)
//	reset or failure of one       its bytes to the other, which then closes (TCP-51, TCP-53)
//	Close of one by its owner     the other is closed, unsent bytes are dropped (TCP-52)
//	nothing moves for too long    both are closed, unsent bytes are dropped (TCP-60)
type Tunnel struct {
	a, b    *engine.Conn // nil once closed
	up      Pump         // a to b
	down    Pump         // b to a
	done    Done
	idle    wheel.Timer
	loop    *engine.Loop
	startNs int64
	timeout time.Duration
	idled   bool
	reasonA engine.CloseReason
	reasonB engine.CloseReason
}

// Relay starts a tunnel between a and b and returns it. See Tunnel.Start.
func Relay(a, b *engine.Conn, o Options, done Done) *Tunnel {
	t := new(Tunnel)
	t.Start(a, b, o, done)
	return t
}

// Start relays a and b, and becomes the handler of both: their events no longer
// reach the handlers they had. Kept bytes go first; either may be paused, have
// been half-closed before, or be still connecting. done is told at the end.
func (t *Tunnel) Start(a, b *engine.Conn, o Options, done Done) {
	l := a.Loop()
	*t = Tunnel{a: a, b: b, done: done, loop: l, startNs: l.Now(), timeout: o.IdleTimeout}
	a.SetHandler(ends{t})
	b.SetHandler(ends{t})
	t.up.SetSplice(!o.NoSplice)
	t.down.SetSplice(!o.NoSplice)
	t.up.Start(a, b, noLimit, ends{t})
	t.down.Start(b, a, noLimit, ends{t})
	if t.timeout > 0 {
		t.idle.Handler = ends{t}
		l.Arm(&t.idle, t.timeout)
	}
}

// Close ends both connections; OnRelayDone follows.
func (t *Tunnel) Close() {
	if t.a != nil {
		t.a.Close()
	}
	if t.b != nil {
		t.b.Close()
	}
}

// Moved returns the bytes taken from a for b, and from b for a.
func (t *Tunnel) Moved() (up, down uint64) { return t.up.Moved(), t.down.Moved() }

// Reasons returns why a and b ended. Meaningful in OnRelayDone and after.
func (t *Tunnel) Reasons() (a, b engine.CloseReason) { return t.reasonA, t.reasonB }

// Idled reports whether the idle timeout ended the tunnel.
func (t *Tunnel) Idled() bool { return t.idled }

// ends keeps the engine's callbacks off Tunnel's method set.
type ends struct{ t *Tunnel }

// OnConnected needs nothing: the pumps wait for room to write.
func (ends) OnConnected(*engine.Conn) {}

// OnData takes nothing: bytes that come before the pumps have begun stay kept.
func (ends) OnData(*engine.Conn, []byte) int { return 0 }

// OnReadClosed needs nothing: a pump that begins after it sees the end.
func (ends) OnReadClosed(*engine.Conn) {}

// OnWritable needs nothing: the pumps use the raw callback.
func (ends) OnWritable(*engine.Conn) {}

// OnPipeDone carries an end over: a FIN as a FIN, and a closed connection as the
// end of the other. A failed write needs nothing here: OnClosed of that
// connection follows.
func (e ends) OnPipeDone(p *Pump, r Result) {
	switch {
	case r != End:
	case p.orphan:
		p.dst.CloseAfterFlush(e.t.flushTimeout())
	default:
		p.dst.CloseWrite()
	}
}

// OnClosed ends the other connection too.
func (e ends) OnClosed(c *engine.Conn, r engine.CloseReason) {
	t := e.t
	var other *engine.Conn
	from, into := &t.up, &t.down
	if c == t.a {
		other = t.b
		t.a, t.reasonA = nil, r
	} else {
		other = t.a
		from, into = &t.down, &t.up
		t.b, t.reasonB = nil, r
	}
	into.Stop()
	switch {
	case other == nil:
		from.Stop()
		t.loop.Disarm(&t.idle)
		if t.done != nil {
			t.done.OnRelayDone(t)
		}
	case r == engine.LocalClose || r == engine.LoopStopped:
		from.Stop()
		other.Close()
	case r == engine.PeerClosed && other.WriteClosed() && other.ReadClosed():
		// Both directions have ended: other closes once its out chain is empty.
	case !from.sourceClosed():
		other.CloseAfterFlush(t.flushTimeout())
	}
}

func (t *Tunnel) flushTimeout() time.Duration {
	if t.timeout > 0 {
		return t.timeout
	}
	return flushTimeout
}

// OnTimer closes an idle tunnel, or waits on when bytes have moved.
func (e ends) OnTimer(*wheel.Timer) {
	t := e.t
	last := max(t.startNs, t.up.lastNs, t.down.lastNs)
	if rest := last + int64(t.timeout) - t.loop.Now(); rest > 0 {
		t.loop.Arm(&t.idle, time.Duration(rest))
		return
	}
	t.idled = true
	t.Close()
}
