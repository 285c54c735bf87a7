package relay

import (
	"time"

	"github.com/sluiceproxy/sluice/engine"
	"github.com/sluiceproxy/sluice/engine/wheel"
)

const (
	// flushTimeout bounds how long the bytes of an ended connection may stay unsent
	// with none of them moving, when there is no idle timeout to do it.
	flushTimeout = 30 * time.Second

	// lingerTimeout is how long the input of a connection that was sent everything
	// is discarded: a RST for bytes nobody read could destroy what its peer has yet
	// to read.
	lingerTimeout = 5 * time.Second

	// leastSplice is the limit from which on a direction may splice: a pipe that is
	// filled with less costs more than copying.
	leastSplice = 64 << 10
)

// Options of a Tunnel.
type Options struct {
	// IdleTimeout closes both connections when no byte moved either way for that
	// long; 0 means never.
	IdleTimeout time.Duration

	// LimitUp and LimitDown are the most bytes taken from a and not yet in b's
	// socket, and the other way round (Envoy: per_connection_buffer_limit_bytes of
	// the cluster, and of the listener). 0 means 1 MiB, which is also the most. What
	// the engine keeps of a connection that ends goes beyond.
	LimitUp, LimitDown int

	// NoSplice copies even bulk data.
	NoSplice bool

	// EndWithA and EndWithB make a FIN from that end the end of both, as CloseFlush does, once what came
	// before it is on its way.
	EndWithA, EndWithB bool
}

// Done is told, once, when both connections of a tunnel are closed.
type Done interface {
	// OnRelayDone is the last call. It may start the tunnel again.
	OnRelayDone(t *Tunnel)
}

// Owner hears what happens to a tunnel. All calls come from the loop's dispatch,
// none from within Start; each may call any method of the tunnel but Start.
type Owner interface {
	Done

	// OnRelayPaused says that a (up) or b is not read any more because the other end
	// has no room for the bytes taken before. OnRelayResumed always follows: when
	// reading goes on, or before the direction ends.
	OnRelayPaused(t *Tunnel, up bool)
	// OnRelayResumed ends a pause.
	OnRelayResumed(t *Tunnel, up bool)

	// OnRelayFlush says, once at most, that a is gone, by no doing of this side,
	// while bytes it sent are still under way to b. OnRelayDone ends that.
	OnRelayFlush(t *Tunnel)

	// OnRelayClosed says that a, or b (up), has closed: once for each, c's last event.
	OnRelayClosed(t *Tunnel, c *engine.Conn, up bool, r engine.CloseReason)
}

// Tunnel relays two connections of one loop both ways until both are closed. a is
// the downstream, b the upstream. The zero value is idle, and it is so again in
// OnRelayDone. Loop-owned; it must stay where it is while it runs.
//
//	event                         what follows
//	FIN from one                  its bytes, then a FIN, to the other; the rest goes on (TCP-50)
//	  the same, with EndWith      its bytes to the other, then as CloseFlush
//	FIN from both                 both end (PeerClosed)
//	a is reset or fails           what it sent to b, which is then closed; bytes from b
//	                              meanwhile close it at once (TCP-51)
//	  the same, b connecting      b is closed (TCP-8)
//	b is reset or fails           what it sent to a, which is then closed (TCP-53)
//	Close of one by its owner     as Close
//	Close                         both are closed, unsent bytes are dropped (TCP-52)
//	CloseFlush                    nothing more is read; unsent bytes are sent, both are closed
//	nothing moves for too long    as Close (TCP-60)
//
// A connection that is closed with unsent bytes dropped is reset, so that its peer
// does not take what it got for the whole.
type Tunnel struct {
	a, b    *engine.Conn // nil once closed
	up      Pump         // a to b
	down    Pump         // b to a
	owner   Owner
	idle    wheel.Timer
	timeout time.Duration
	written uint64 // by both sockets, when last looked at

	deferred bool // Run follows at the safe point
	gone     bool // a is closed, or will be when what it sent is read
	flushing bool // OnRelayFlush was called
	draining bool // CloseFlush was called
	closing  bool // Close was called
	idled    bool
	endWithA bool
	endWithB bool
	reasonA  engine.CloseReason
	reasonB  engine.CloseReason
}

// Relay starts a tunnel of its own between a and b, for who wants to hear of the
// end only. See Tunnel.Start. It allocates.
func Relay(a, b *engine.Conn, o Options, done Done) *Tunnel {
	t := new(Tunnel)
	t.Start(a, b, o, endOnly{done})
	return t
}

type endOnly struct{ Done }

func (endOnly) OnRelayPaused(*Tunnel, bool)  {}
func (endOnly) OnRelayResumed(*Tunnel, bool) {}
func (endOnly) OnRelayFlush(*Tunnel)         {}

func (endOnly) OnRelayClosed(*Tunnel, *engine.Conn, bool, engine.CloseReason) {}

// Start relays a and b, and becomes the handler of both: their events no longer
// reach the handlers they had. Kept bytes go first; either may be paused, have
// been half-closed before, or be still connecting. No allocation.
func (t *Tunnel) Start(a, b *engine.Conn, o Options, owner Owner) {
	l := a.Loop()
	deferred := t.deferred
	*t = Tunnel{a: a, b: b, owner: owner, timeout: max(o.IdleTimeout, 0), deferred: true, endWithA: o.EndWithA, endWithB: o.EndWithB}
	t.written = a.BytesWritten() + b.BytesWritten()
	t.idle.Handler = ends{t}
	a.SetHandler(ends{t})
	b.SetHandler(ends{t})
	t.up.relay(a, b, o.LimitUp, o.NoSplice, ends{t})
	t.down.relay(b, a, o.LimitDown, o.NoSplice, ends{t})
	if !deferred {
		l.Defer(ends{t})
	}
	t.watch()
}

// relay readies a pump of a tunnel.
func (p *Pump) relay(src, dst *engine.Conn, limit int, noSplice bool, e ends) {
	if limit <= 0 || limit > spliceBytes {
		limit = spliceBytes
	}
	p.noSplice = noSplice || limit < leastSplice
	p.set(src, dst, noLimit, e, int32(limit))
	p.lastNs = src.Loop().Now()
}

// Close ends both connections, dropping what is unsent; OnRelayDone follows.
func (t *Tunnel) Close() {
	t.closing = true
	cut(t.a, &t.down)
	cut(t.b, &t.up)
}

// cut closes c, which into writes to.
func cut(c *engine.Conn, into *Pump) {
	switch {
	case c == nil:
	case into.pending() > 0:
		c.Reset()
	default:
		c.Close()
	}
}

// CloseFlush reads no more, sends what was read before, each way, and closes both
// connections; OnRelayDone follows. How long that may take is bounded by the idle
// timeout, or by 30 s in which nothing moves. Nothing when one end is gone already:
// the rest is being flushed then.
func (t *Tunnel) CloseFlush() {
	if t.a == nil || t.b == nil || t.gone || t.draining || t.closing {
		return
	}
	t.draining = true
	t.watch()
	for _, p := range [...]*Pump{&t.up, &t.down} {
		if !p.seal() {
			p.dst.CloseAfterFlush(lingerTimeout)
		}
	}
}

// SetIdleTimeout changes the idle timeout, counted from when bytes last moved; 0
// disables it.
func (t *Tunnel) SetIdleTimeout(d time.Duration) {
	t.timeout = max(d, 0)
	t.watch()
}

// Moved returns the bytes taken from a for b, and from b for a, so far.
func (t *Tunnel) Moved() (up, down uint64) { return t.up.Moved(), t.down.Moved() }

// Pending returns how many bytes for b, and for a, were taken and are not yet in
// the socket; 0 for one that is closed.
func (t *Tunnel) Pending() (up, down int) {
	if t.b != nil {
		up = t.up.pending()
	}
	if t.a != nil {
		down = t.down.pending()
	}
	return up, down
}

// LastMove returns when bytes last moved, or were last seen to have moved out of a
// chain, or the tunnel started, on the loop's clock.
func (t *Tunnel) LastMove() int64 { return max(t.up.LastMove(), t.down.LastMove()) }

// Reasons returns why a and b ended. Meaningful in OnRelayDone and after.
func (t *Tunnel) Reasons() (a, b engine.CloseReason) { return t.reasonA, t.reasonB }

// Idled reports whether the idle timeout ended the tunnel.
func (t *Tunnel) Idled() bool { return t.idled }

// bound returns how long nothing may move, 0 when there is no bound.
func (t *Tunnel) bound() time.Duration {
	if t.a != nil && t.b != nil && !t.gone && !t.draining {
		return t.timeout
	}
	if up, down := t.Pending(); !t.up.active && !t.down.active && up+down == 0 {
		return 0 // all is sent: what is left the engine bounds
	}
	if t.timeout == 0 {
		return flushTimeout
	}
	return t.timeout
}

// loop returns the loop of a tunnel that runs.
func (t *Tunnel) loop() *engine.Loop {
	if t.a != nil {
		return t.a.Loop()
	}
	return t.b.Loop()
}

// look notes what the sockets have taken, for a tunnel with bytes pending: what an
// out chain holds leaves without the pumps.
func (t *Tunnel) look() {
	written := uint64(0)
	if t.a != nil {
		written = t.a.BytesWritten()
	}
	if t.b != nil {
		written += t.b.BytesWritten()
	}
	if written != t.written {
		t.written = written
		t.up.lastNs = t.loop().Now()
	}
}

// watch arms the idle timer, unless it runs early enough to see for itself.
func (t *Tunnel) watch() {
	if t.a == nil && t.b == nil {
		return
	}
	l, d := t.loop(), t.bound()
	if d <= 0 {
		l.Disarm(&t.idle)
		return
	}
	at := l.Now() + int64(d)
	if t.timeout > 0 { // else what is bounded begins now
		at = t.LastMove() + int64(d)
	}
	if !t.idle.Armed() || t.idle.Deadline() > at {
		l.Arm(&t.idle, time.Duration(at-l.Now()))
	}
}

// OnTimer closes an idle tunnel, or waits on when bytes have moved.
// RelayOwner returns whose tunnel it is that handles a connection.
func (e ends) RelayOwner() Owner { return e.t.owner }

func (e ends) OnTimer(*wheel.Timer) {
	t := e.t
	d := t.bound()
	if d <= 0 {
		return
	}
	if up, down := t.Pending(); up+down > 0 {
		t.look()
	}
	l := t.loop()
	if rest := t.LastMove() + int64(d) - l.Now(); rest > 0 {
		l.Arm(&t.idle, time.Duration(rest))
		return
	}
	t.idled = t.timeout > 0
	t.Close()
}
