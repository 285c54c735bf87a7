package pool

import (
	"time"

	"github.com/sluiceproxy/sluice/engine"
)

// Codec makes the protocol's end of a Mux's connections. Called on the loop, once for each connection.
type Codec interface {
	// Multiplexes says whether c, which is up, carries many streams. Only asked where a connection may do
	// either (Either).
	Multiplexes(c *engine.Conn) bool
	// NewSession begins the protocol on c, which is up. From here on the session hears the events of the
	// connection.
	NewSession(c *MuxConn) Session
}

// Session is the protocol's end of one multiplexed connection, as its pool sees it. It is the handler of
// the connection and has to call MuxConn.Lost in OnClosed.
type Session interface {
	engine.Handler
	// OnStream opens a stream for r, which does not wait any more. MuxConn.Done follows, once, when the
	// stream is over. It must not ask the pool for another one before it returns.
	OnStream(r *Request)
	// OnClosing is called before the pool closes a connection without streams: the last thing to write.
	OnClosing()
}

// MuxOptions are Options for multiplexed connections.
type MuxOptions struct {
	// Options apply as they do to a Pool, but for Exclusive and Free, which mean nothing here.
	// MaxRequests counts streams, and IdleTimeout runs while there are none.
	Options
	// MaxStreams is how many streams a connection has at most, whatever its peer allows
	// (max_concurrent_streams).
	MaxStreams int
	Codec      Codec
}

// Mux is one loop's multiplexed connections to one host at one priority. Loop-owned.
//
//	Acquire --> connection with room? -- yes --> Session.OnStream, before Acquire returns
//	               | no
//	               v
//	            waiting, oldest first <----- Done of a stream, more room by the peer
//	               |                  <----- a new connection is up
//	               v
//	            Session.OnStream, or OnPoolFailure when no connection can be had
//
// A connection has room for one stream until its peer has said how many it takes, unless the last
// connection's peer is known to take more: streams beyond what a server takes come back refused.
//
// Invariant: while a request waits, a connection is arriving, or has streams that will be done, or a
// handoff is scheduled; so every wait ends.
type Mux struct {
	loop   *engine.Loop
	o      MuxOptions
	either *Either // the host's, when connections may also be exclusive

	waiting queue
	// first is the list of connections with room, the one to use next in front.
	first *MuxConn
	// conns counts those that take streams now or will: connecting, ready and busy. arriving of them
	// will have room without a stream's end: those connecting, and those whose peer has not said how many
	// streams it takes, or has said none for now.
	conns, arriving int
	streams         int
	peerStreams     int // what the peer of the last connection took; 0 not known
	all             *MuxConn

	draining, stopped, handing bool
}

// NewMux makes an empty pool on l. Cold.
func NewMux(l *engine.Loop, o MuxOptions) *Mux {
	if o.Breaker == nil {
		o.Breaker = unlimited{}
	}
	if o.Events == nil {
		o.Events = discard{}
	}
	o.MaxStreams = max(1, o.MaxStreams)
	o.Dial.Timeout = o.ConnectTimeout
	return &Mux{loop: l, o: o}
}

// Acquire asks for a stream. When a connection has room, or when too many requests wait already, r is
// answered before Acquire returns; otherwise later, from an event of the loop. r must not be waiting. No
// allocation when a connection has room.
func (p *Mux) Acquire(r *Request) {
	if p.waiting.len == 0 && p.first != nil {
		p.first.lend(r)
		if p.o.Preconnect != nil {
			p.preconnect()
		}
		return
	}
	if p.stopped {
		r.Owner.OnPoolFailure(Closed, nil)
		return
	}
	if !p.o.Breaker.TryPending() {
		p.o.Events.OnPendingOverflow()
		r.Owner.OnPoolFailure(Overflow, nil)
		return
	}
	p.push(r)
	p.o.Events.OnPending()
	p.grow()
	if p.o.Preconnect != nil {
		p.preconnect()
	}
}

func (p *Mux) push(r *Request) {
	p.waiting.push(r, nil)
	r.mux = p
}

// cancel ends r's waiting; a connection dialled for it goes on.
func (p *Mux) cancel(r *Request) {
	p.leave(r)
	if p.draining && p.waiting.len == 0 {
		p.Drain()
	}
}

func (p *Mux) leave(r *Request) {
	p.waiting.remove(r)
	p.o.Breaker.ReleasePending()
	p.o.Events.OnPendingDone()
}

// Drain closes connections without streams at once, and the others when their streams are done and nobody
// waits: the host or its cluster is gone. The pool still answers; what it opens after Drain is closed
// after use. Idempotent.
func (p *Mux) Drain() {
	p.draining = true
	if p.waiting.len > 0 {
		return // Done closes what is left
	}
	for c := p.all; c != nil; {
		next := c.next
		if c.streams == 0 && (c.state == muxReady || c.state == muxBusy) {
			c.close()
		}
		c = next
	}
}

// Streams returns how many streams there are.
func (p *Mux) Streams() int { return p.streams }

// Conns returns how many connections take streams now or will.
func (p *Mux) Conns() int { return p.conns }

// Pending returns how many requests wait.
func (p *Mux) Pending() int { return p.waiting.len }

// Unused says that there is no stream and nobody waits for one: Drain ends the pool at once.
func (p *Mux) Unused() bool { return p.streams+p.waiting.len == 0 }

// assumed is how many streams a connection is expected to take whose peer has not said.
func (p *Mux) assumed() int {
	n := p.o.MaxStreams
	if p.peerStreams > 0 {
		n = min(n, p.peerStreams)
	}
	if p.o.MaxRequests > 0 {
		n = min(n, p.o.MaxRequests)
	}
	return n
}

// grow dials until every waiting request has room to come, as far as the breaker allows.
func (p *Mux) grow() {
	for !p.stopped && p.arriving*p.assumed() < p.waiting.len && p.mayDial() {
		p.dial()
	}
}

func (p *Mux) dial() {
	c := &MuxConn{pool: p, createdNs: p.loop.Now()}
	p.link(c)
	c.setState(muxConnecting)
	p.o.Events.OnCreated()
	if p.o.Target != nil {
		p.o.Dial.Addr = p.o.Target.Address()
	}
	c.Conn = p.loop.Dial(p.o.Dial, (*muxEvents)(c))
	if p.o.Secure != nil {
		p.o.Secure.Secure(c.Conn)
	}
}

// link and unlink keep the list of all connections.
func (p *Mux) link(c *MuxConn) {
	c.next = p.all
	if p.all != nil {
		p.all.prev = c
	}
	p.all = c
}

func (p *Mux) unlink(c *MuxConn) {
	if c.prev != nil {
		c.prev.next = c.next
	} else {
		p.all = c.next
	}
	if c.next != nil {
		c.next.prev = c.prev
	}
	c.prev, c.next = nil, nil
}

// muxHandoff is a Mux that opens streams for waiting requests. It runs at a safe point, not inside the
// end of another stream.
type muxHandoff Mux

func (p *Mux) scheduleHandoff() {
	if !p.handing && p.waiting.len > 0 {
		p.handing = true
		p.loop.Defer((*muxHandoff)(p))
	}
}

// Run opens streams, oldest request first, as far as there is room, and dials for the rest.
func (h *muxHandoff) Run(*engine.Loop) {
	p := (*Mux)(h)
	p.handing = false
	for p.waiting.len > 0 && p.first != nil {
		c, r := p.first, p.waiting.head
		p.leave(r)
		c.lend(r)
	}
	p.grow()
	if p.draining {
		p.Drain()
	}
}

// afterClose deals with the requests that wait, once a connection is gone.
func (p *Mux) afterClose(was muxState, r engine.CloseReason, err error) {
	switch {
	case r == engine.LoopStopped:
		p.stopped = true
		p.fail(p.waiting.len, Closed, nil)
	case was == muxConnecting:
		p.fail(p.stranded(), failureOf(r), err)
		p.grow()
	default:
		p.grow()
	}
	if p.draining {
		p.Drain()
	}
}

// stranded returns how many waiting requests fail with a connection that did not come up: those that no
// other one is to bring room for. When nothing is left that could serve anybody, all of them, so that
// they may try another host at once.
func (p *Mux) stranded() int {
	if p.conns == 0 {
		return p.waiting.len
	}
	return min(max(0, p.waiting.len-p.arriving*p.assumed()), p.assumed())
}

// fail answers the n requests that waited longest. Those that join while owners are being told are not
// touched.
func (p *Mux) fail(n int, f Failure, err error) {
	end := p.waiting.entered
	for ; n > 0 && p.waiting.len > 0 && p.waiting.head.ordinal < end; n-- {
		r := p.waiting.head
		p.leave(r)
		r.Owner.OnPoolFailure(f, err)
	}
}

// idleFor arms c's timer for the end of its idle time, unless it is due already at or before that.
func (p *Mux) idleFor(c *MuxConn) {
	c.idleSinceNs = p.loop.Now()
	if p.o.IdleTimeout > 0 && !c.idle.Armed() {
		c.idle.Handler = (*muxIdle)(c)
		p.loop.Arm(&c.idle, p.o.IdleTimeout)
	}
}

func (p *Mux) age(c *MuxConn) time.Duration { return time.Duration(p.loop.Now() - c.createdNs) }
