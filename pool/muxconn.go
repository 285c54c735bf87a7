package pool

import (
	"net/netip"
	"time"

	"github.com/sluiceproxy/sluice/engine"
	"github.com/sluiceproxy/sluice/engine/wheel"
)

// muxState is what a multiplexed connection is doing.
//
//	            up          lend          room     Retire          last stream     close, Abort  OnClosed
//	connecting  -> ready    -             -        -               -               -             fails waiters -> gone
//	ready       -           -> busy (1)   -        -> retired (2)  starts idling   -> closing    -> gone
//	busy        -           -             -> ready -> retired (2)  -               -> closing    -> gone
//	retired     -           -             -        -               closes          -> closing    -> gone
//	closing     -           -             -        -               -               -             -> gone
//
// (1) when that was the last room, -> retired when it was the last of MaxRequests. (2) -> closing without
// streams. Empty cells cannot happen, or do nothing.
type muxState uint8

const (
	muxGone       muxState = iota // not in use
	muxConnecting                 // dialled, not up
	muxReady                      // up, in the list of those with room
	muxBusy                       // up, without room
	muxRetired                    // up, takes no further streams
	muxClosing                    // closed by us, OnClosed is to come
)

var muxStateNames = [...]string{
	muxGone: "gone", muxConnecting: "connecting", muxReady: "ready", muxBusy: "busy", muxRetired: "retired", muxClosing: "closing",
}

// String returns the constant's name.
func (s muxState) String() string { return muxStateNames[s] }

// unsettledStreams is how many streams a connection has at most before its peer has said how many it
// takes: what RFC 9113 6.5.2 asks of servers at least.
const unsettledStreams = 100

// MuxConn is a connection of a Mux. Loop-owned; its Session may use it until it has called Lost.
type MuxConn struct {
	*engine.Conn
	pool    *Mux
	session Session // nil until it is up

	prev, next         *MuxConn // of all the pool's
	prevRoom, nextRoom *MuxConn // of those with room, while it is ready

	local       netip.AddrPort // LocalAddr's answer, once asked
	createdNs   int64          // loop clock, when dialling began
	idleSinceNs int64
	duration    wheel.Timer // max duration; armed once
	idle        wheel.Timer // looks at idleSinceNs when it fires
	streams     int         // open now
	requests    int         // streams ever opened
	limit       int         // how many streams there may be now
	security    any         // what Options.Secure said of it; nil when it is plain
	state       muxState
	known       bool       // the peer has said how many streams it takes
	arriving    bool       // counted in Mux.arriving
	connected   bool       // was up
	remote      bool       // the peer ended it
	aborted     bool       // closed with streams open
	history     muxHistory // of states, in debug builds
}

// LocalAddr returns this end of the connection, invalid for unix sockets. It hides the method of
// engine.Conn, which makes a system call each time; this one makes one in the connection's life.
func (c *MuxConn) LocalAddr() netip.AddrPort {
	if !c.local.IsValid() {
		c.local = c.Conn.LocalAddr()
	}
	return c.local
}

// Security returns what Securer.Secured said of the connection; nil when it is plain.
func (c *MuxConn) Security() any { return c.security }

// Streams returns how many streams are open, as the pool counts them.
func (c *MuxConn) Streams() int { return c.streams }

// SetLimit says how many streams the peer takes at a time, whenever it has said so. Waiting requests get
// what more room there is from a later event.
func (c *MuxConn) SetLimit(streams int) {
	p := c.pool
	c.limit, c.known = min(streams, p.o.MaxStreams), true
	p.peerStreams = max(1, c.limit)
	if c.state != muxReady && c.state != muxBusy {
		return
	}
	c.place()
	p.scheduleHandoff() // even without room: grow has something else to reckon with
}

// Done says that a stream OnStream opened is over. No allocation.
func (c *MuxConn) Done() {
	p := c.pool
	c.streams--
	p.streams--
	switch c.state {
	case muxRetired:
		if c.streams == 0 {
			c.close()
		}
	case muxReady, muxBusy:
		c.place()
		if c.streams == 0 {
			if p.draining && p.waiting.len == 0 {
				c.close()
				return
			}
			p.idleFor(c)
		}
		p.scheduleHandoff()
	}
}

// Retire ends the opening of streams on the connection: those that are open go on, and it is closed after
// the last of them. Idempotent.
func (c *MuxConn) Retire() {
	if c.state != muxReady && c.state != muxBusy {
		return
	}
	c.setState(muxRetired)
	if c.streams == 0 {
		c.close()
		return
	}
	c.pool.scheduleHandoff()
}

// Abort closes the connection whatever its streams do; Done for them may still come. Idempotent.
func (c *MuxConn) Abort() {
	if c.state == muxClosing || c.state == muxGone {
		return
	}
	c.aborted = c.streams > 0
	c.remote = c.remote || c.ReadClosed()
	c.setState(muxClosing)
	c.Conn.Close()
}

// Lost is what the session calls when it hears OnClosed. c must not be used after that, not even for Done.
func (c *MuxConn) Lost(r engine.CloseReason) { c.settle(c.Conn, r) }

// close ends a connection without streams, in order.
func (c *MuxConn) close() {
	c.setState(muxClosing)
	c.session.OnClosing()
	c.Conn.Close()
}

// lend opens a stream for r, which does not wait, on a connection with room.
func (c *MuxConn) lend(r *Request) {
	p := c.pool
	c.streams++
	p.streams++
	c.requests++
	if p.o.MaxRequests > 0 && c.requests >= p.o.MaxRequests {
		p.o.Events.OnMaxRequests()
		c.setState(muxRetired)
	} else {
		c.place()
	}
	c.session.OnStream(r)
}

// place puts a connection that takes streams among those with room, or takes it out.
func (c *MuxConn) place() {
	s := muxBusy
	if c.streams < c.limit {
		s = muxReady
	}
	if c.state == s {
		c.recount()
		return
	}
	c.setState(s)
}

// setState makes a transition and keeps the pool's list and counts in step.
func (c *MuxConn) setState(s muxState) {
	c.note(s)
	p, was := c.pool, c.state
	c.state = s
	switch {
	case was == muxReady:
		c.leaveRoom()
	case s == muxReady:
		c.nextRoom = p.first
		if p.first != nil {
			p.first.prevRoom = c
		}
		p.first = c
	}
	if took, takes := was.takes(), s.takes(); took != takes {
		if takes {
			p.conns++
		} else {
			p.conns--
		}
	}
	c.recount()
}

// takes says whether a connection in state s takes streams, now or later.
func (s muxState) takes() bool { return s == muxConnecting || s == muxReady || s == muxBusy }

func (c *MuxConn) recount() {
	arriving := c.state == muxConnecting || c.state.takes() && (!c.known || c.limit == 0)
	if arriving == c.arriving {
		return
	}
	c.arriving = arriving
	if arriving {
		c.pool.arriving++
	} else {
		c.pool.arriving--
	}
}

func (c *MuxConn) leaveRoom() {
	if c.prevRoom != nil {
		c.prevRoom.nextRoom = c.nextRoom
	} else {
		c.pool.first = c.nextRoom
	}
	if c.nextRoom != nil {
		c.nextRoom.prevRoom = c.prevRoom
	}
	c.prevRoom, c.nextRoom = nil, nil
}

// settle closes the accounts of a connection that has ended.
func (c *MuxConn) settle(ec *engine.Conn, r engine.CloseReason) {
	p, was := c.pool, c.state
	if was == muxGone {
		return
	}
	c.setState(muxGone)
	p.unlink(c)
	p.loop.Disarm(&c.duration)
	p.loop.Disarm(&c.idle)
	p.streams -= c.streams
	p.o.Breaker.ReleaseConnection()
	if was == muxConnecting && r != engine.LoopStopped {
		p.o.Events.OnConnectFailed(r)
	}
	p.o.Events.OnDestroyed(Destroyed{
		Remote:        c.remote || byPeer(r),
		ActiveRequest: c.streams > 0 || c.aborted, Connected: c.connected,
		Length: p.age(c), Requests: c.requests,
	})
	p.afterClose(was, r, p.o.errOf(ec, r))
}

// muxEvents is a MuxConn as the engine sees it until it is up.
type muxEvents MuxConn

var _ engine.Handler = (*muxEvents)(nil)

// OnConnected begins the protocol and opens streams for those that wait.
func (e *muxEvents) OnConnected(ec *engine.Conn) {
	c := (*MuxConn)(e)
	p := c.pool
	if p.either != nil && !p.o.Codec.Multiplexes(ec) {
		p.either.toPool(c)
		return
	}
	if p.either != nil {
		p.either.exclusive = false
	}
	c.up(ec)
}

// up is OnConnected once it is clear that c stays here.
func (c *MuxConn) up(ec *engine.Conn) {
	p := c.pool
	c.connected = true
	if p.o.Secure != nil {
		c.security = p.o.Secure.Secured(ec)
	}
	if p.o.Watermark > 0 {
		ec.SetWatermarks(p.o.Watermark)
	}
	if p.o.MaxDuration > 0 {
		c.duration.Handler = (*muxDuration)(c)
		p.loop.Arm(&c.duration, p.o.MaxDuration)
	}
	p.o.Events.OnConnected(p.age(c))
	c.limit = 1
	if p.peerStreams > 0 {
		c.limit = min(p.assumed(), unsettledStreams)
	}
	c.session = p.o.Codec.NewSession(c)
	ec.SetHandler(c.session)
	if c.state != muxConnecting {
		return // ended by the session already
	}
	c.setState(muxReady)
	if p.draining && p.waiting.len == 0 {
		c.close()
		return
	}
	p.idleFor(c)
	(*muxHandoff)(p).Run(p.loop) // at once: the first requests go out with what the protocol begins with
}

// OnData never happens: the session hears of bytes.
func (e *muxEvents) OnData(_ *engine.Conn, view []byte) int { return len(view) }

// OnReadClosed and OnWritable never happen before the connection is up.
func (e *muxEvents) OnReadClosed(*engine.Conn) {}

// OnWritable see OnReadClosed.
func (e *muxEvents) OnWritable(*engine.Conn) {}

// OnClosed is the end of a connection that did not come up.
func (e *muxEvents) OnClosed(ec *engine.Conn, r engine.CloseReason) { (*MuxConn)(e).settle(ec, r) }

// muxDuration is a MuxConn whose maximum duration has passed.
type muxDuration MuxConn

// OnTimer retires the connection.
func (t *muxDuration) OnTimer(*wheel.Timer) {
	c := (*MuxConn)(t)
	c.pool.o.Events.OnMaxDuration()
	c.Retire()
}

// muxIdle is a MuxConn that may have been without streams for too long.
type muxIdle MuxConn

// OnTimer closes it, or waits for the rest of the time. With streams there is nothing to wait for: the
// last one's end arms the timer again.
func (t *muxIdle) OnTimer(*wheel.Timer) {
	c := (*MuxConn)(t)
	p := c.pool
	if c.streams > 0 || c.state != muxReady && c.state != muxBusy {
		return
	}
	if left := p.o.IdleTimeout - time.Duration(p.loop.Now()-c.idleSinceNs); left > 0 {
		p.loop.Arm(&c.idle, left)
		return
	}
	p.o.Events.OnIdleTimeout()
	c.close()
}
