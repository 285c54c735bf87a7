package pool

import (
	"net/netip"
	"time"

	"github.com/sluiceproxy/sluice/engine"
	"github.com/sluiceproxy/sluice/engine/wheel"
	"github.com/sluiceproxy/sluice/pool/obj"
)

// Target gives the address of each new connection, for hosts that move (LOGICAL_DNS).
type Target interface{ Address() netip.AddrPort }

// Securer encrypts connections to a host, and accounts for it. Its methods are called on the loop.
type Securer interface {
	// Secure puts a transform (TLS) on a connection that is being dialled, right after Dial; the
	// connection is then up when the transform's opening exchange is done.
	Secure(c *engine.Conn)
	// Secured hears of that, before anybody is given the connection. What it returns is the connection's
	// Security.
	Secured(c *engine.Conn) any
	// Broken hears, within OnClosed, how any connection ended. It returns the error in the words that
	// requests are told, or as it was.
	Broken(c *engine.Conn, r engine.CloseReason) error
}

// Options say how a pool connects and for how long it keeps what it has. A zero
// duration or count is "no limit".
type Options struct {
	// Dial is where to. Its Timeout is replaced by ConnectTimeout.
	Dial engine.DialSpec
	// Target, when set, is asked for Dial.Addr before every new connection.
	Target Target
	// Secure, when set, encrypts every new connection.
	Secure Securer
	// ConnectTimeout bounds a new connection, Secure's opening exchange included (Cluster.connect_timeout).
	ConnectTimeout time.Duration
	// IdleTimeout closes connections no request used for that long
	// (common_http_protocol_options.idle_timeout).
	IdleTimeout time.Duration
	// MaxDuration is the age at which a connection takes no more requests
	// (max_connection_duration).
	MaxDuration time.Duration
	// MaxRequests is how many requests a connection serves (max_requests_per_connection).
	MaxRequests int
	// Watermark is the high watermark in bytes of what waits to be written
	// (per_connection_buffer_limit_bytes); 0 keeps the engine's.
	Watermark int
	// Breaker bounds what all pools of a cluster have together; nil: no limit.
	Breaker Breaker
	// Events hears what the statistics need; nil: nobody.
	Events Events
	// Preconnect has connections made ahead of requests; nil: none are. It does nothing for Exclusive.
	Preconnect Preconnect
	// Exclusive dials a connection for each request and uses none twice: for streams of bytes that have
	// no end a second one could begin after (TCP-18). The breaker then has no exception for a first
	// connection: a request it has none for fails with Overflow.
	Exclusive bool
	// Free is where Conns come from and go to; pools of one loop share one so that
	// a pool of few connections stays small. nil: the pool's own.
	Free *obj.List[Conn]
}

// Pool is one loop's connections to one host at one priority. Loop-owned.
//
// Invariant: while a request waits there is a connection that is connecting or
// lent, or a handoff of an idle one is scheduled; so every wait ends.
type Pool struct {
	loop   *engine.Loop
	o      Options
	free   *obj.List[Conn]
	either *Either // the host's, when connections may also be multiplexed

	waiting queue
	// The idle list, by time of last use: newest at the top, which is used next;
	// oldest at the bottom, which times out next.
	top, bottom *Conn
	// idleTimer is armed for the bottom of the idle list when it was armed; using a
	// connection leaves it alone, and it looks again when it fires.
	idleTimer wheel.Timer

	lent *Conn // Exclusive: the lent ones, linked by prev and next

	connecting, idle, active int
	draining, stopped        bool
	handing                  bool // a handoff is deferred
}

// New makes an empty pool on l. Cold.
func New(l *engine.Loop, o Options) *Pool {
	if o.Breaker == nil {
		o.Breaker = unlimited{}
	}
	if o.Events == nil {
		o.Events = discard{}
	}
	if o.Free == nil {
		o.Free = new(obj.List[Conn])
	}
	o.Dial.Timeout = o.ConnectTimeout
	p := &Pool{loop: l, o: o, free: o.Free}
	p.idleTimer.Handler = (*idleTimer)(p)
	return p
}

// Acquire asks for a connection. When one is idle, or when too many requests
// wait already, r's owner is answered before Acquire returns; otherwise later,
// from an event of the loop. Connections go to waiting requests in the order
// they asked. r must not be waiting. No allocation when a connection is idle.
func (p *Pool) Acquire(r *Request) {
	if p.o.Exclusive {
		p.acquireOwn(r)
		return
	}
	if p.waiting.len == 0 {
		if c := p.takeIdle(); c != nil {
			p.lend(c, r)
			if p.o.Preconnect != nil {
				p.preconnect()
			}
			return
		}
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
	p.waiting.push(r, p)
	p.o.Events.OnPending()
	p.grow()
	if p.o.Preconnect != nil {
		p.preconnect()
	}
}

// Cancel takes r back: its owner hears nothing. A connection dialled for it goes
// on and becomes idle, or is closed when it is exclusive. Does nothing when r does
// not wait. O(1), no allocation.
func (p *Pool) Cancel(r *Request) {
	if r.pool != p {
		return
	}
	c := r.conn
	p.leave(r)
	if c != nil {
		c.request = nil
		c.close()
	}
}

// Drain closes idle connections at once and the others when their request is
// done and nobody waits: the host or its cluster is gone. The pool still
// answers; what it opens after Drain is closed after use. Idempotent.
func (p *Pool) Drain() {
	p.draining = true
	if p.waiting.len > 0 {
		return // a handoff is due; Release closes what is left
	}
	for p.top != nil {
		p.top.close()
	}
	p.loop.Disarm(&p.idleTimer)
}

// Active returns how many connections are lent.
func (p *Pool) Active() int { return p.active }

// Idle returns how many connections wait for a request.
func (p *Pool) Idle() int { return p.idle }

// Connecting returns how many connections are being dialled.
func (p *Pool) Connecting() int { return p.connecting }

// Pending returns how many requests wait.
func (p *Pool) Pending() int { return p.waiting.len }

// Unused says that nobody has or waits for a connection: Drain ends the pool at once.
func (p *Pool) Unused() bool { return p.active+p.waiting.len == 0 }

// grow dials until every waiting request has a connection to come, as far as
// the breaker allows.
func (p *Pool) grow() {
	for !p.stopped && p.connecting+p.idle < p.waiting.len && p.mayDial() {
		p.dial()
	}
}

func (p *Pool) dial() *Conn {
	return p.dialWith(p.o.Secure)
}

func (p *Pool) dialWith(secure Securer) *Conn {
	c := p.free.Get()
	c.pool = p
	c.createdNs = p.loop.Now()
	c.setState(connecting)
	p.connecting++
	p.o.Events.OnCreated()
	if p.o.Target != nil {
		p.o.Dial.Addr = p.o.Target.Address()
	}
	c.Conn = p.loop.Dial(p.o.Dial, (*connEvents)(c))
	if secure != nil {
		secure.Secure(c.Conn)
	}
	return c
}

// lend gives c, which is in no list, to r, which does not wait.
func (p *Pool) lend(c *Conn, r *Request) {
	c.setState(leased)
	c.requests++
	p.active++
	if p.o.Exclusive {
		p.noteLent(c)
	}
	r.Owner.OnPoolReady(c)
}

// leave ends r's waiting.
func (p *Pool) leave(r *Request) {
	p.waiting.remove(r)
	p.o.Breaker.ReleasePending()
	p.o.Events.OnPendingDone()
}

// nextWaiting takes the request that waited longest.
func (p *Pool) nextWaiting() *Request {
	r := p.waiting.head
	p.leave(r)
	return r
}

// takeIdle takes the connection used last off the idle list, skipping those that
// the engine knows to be dead already; nil when there is none.
func (p *Pool) takeIdle() *Conn {
	for p.top != nil {
		c := p.top
		if !c.WriteClosed() && !c.ReadClosed() && c.Kept() == 0 {
			p.unlink(c)
			return c
		}
		c.remote = c.remote || c.ReadClosed()
		c.close()
	}
	return nil
}

func (p *Pool) pushIdle(c *Conn) {
	c.setState(idle)
	c.idleSinceNs = p.loop.Now()
	c.next = p.top
	if p.top == nil {
		p.bottom = c
	} else {
		p.top.prev = c
	}
	p.top = c
	p.idle++
	if p.o.IdleTimeout > 0 && !p.idleTimer.Armed() {
		p.loop.Arm(&p.idleTimer, p.o.IdleTimeout)
	}
}

func (p *Pool) unlink(c *Conn) {
	if c.prev == nil {
		p.top = c.next
	} else {
		c.prev.next = c.next
	}
	if c.next == nil {
		p.bottom = c.prev
	} else {
		c.next.prev = c.prev
	}
	c.prev, c.next = nil, nil
	p.idle--
}

// forget takes c out of the list or count its state puts it in.
func (p *Pool) forget(c *Conn) {
	switch c.state {
	case connecting:
		p.connecting--
	case idle:
		p.unlink(c)
	case leased:
		p.active--
		if p.o.Exclusive {
			p.dropLent(c)
		}
	}
}

// handoff is a Pool that gives idle connections to waiting requests. It runs at
// a safe point, not inside the Release of another request.
type handoff Pool

func (p *Pool) scheduleHandoff() {
	if !p.handing {
		p.handing = true
		p.loop.Defer((*handoff)(p))
	}
}

// Run lends idle connections, newest first, to waiting requests, oldest first.
func (h *handoff) Run(*engine.Loop) {
	p := (*Pool)(h)
	p.handing = false
	for p.waiting.len > 0 {
		c := p.takeIdle()
		if c == nil {
			p.grow()
			return
		}
		p.lend(c, p.nextWaiting())
	}
	if p.draining {
		p.Drain()
	}
}

// idleTimer is a Pool looking for connections that were idle for too long.
type idleTimer Pool

// OnTimer closes them, and waits for the next one to be due.
func (t *idleTimer) OnTimer(*wheel.Timer) {
	p := (*Pool)(t)
	now := p.loop.Now()
	for c := p.bottom; c != nil; c = p.bottom {
		left := p.o.IdleTimeout - time.Duration(now-c.idleSinceNs)
		if left > 0 {
			p.loop.Arm(&p.idleTimer, left)
			return
		}
		p.o.Events.OnIdleTimeout()
		c.close()
	}
}
