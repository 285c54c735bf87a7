package pool

import (
	"net/netip"
	"time"

	"github.com/sluiceproxy/sluice/engine"
	"github.com/sluiceproxy/sluice/engine/wheel"
)

// connState is what a connection is doing.
//
//	            OnConnected       lease      Release     Close, timeout, FIN   OnClosed
//	connecting  -> idle, leased   -          -           -                     fails waiters -> gone
//	idle        -                 -> leased  -           -> closing            -> gone
//	leased      -                 -          -> idle     -> closing            owner's OnClosed -> gone
//	closing     -                 -          -           -                     -> gone
//
// Empty cells cannot happen: only idle connections are lent, and the engine
// sends nothing after OnClosed.
type connState uint8

const (
	gone       connState = iota // not in use; on the free list
	connecting                  // dialled, not up
	idle                        // up, in the idle list
	leased                      // lent to a request
	closing                     // Close was called, OnClosed is to come
)

var stateNames = [...]string{gone: "gone", connecting: "connecting", idle: "idle", leased: "leased", closing: "closing"}

// String returns the constant's name.
func (s connState) String() string { return stateNames[s] }

// Conn is a connection of a pool. Loop-owned; a request may use it from
// OnPoolReady until it calls Release or Abort or hears OnClosed, and not later.
type Conn struct {
	*engine.Conn
	pool       *Pool
	handler    engine.Handler // the request's; nil unless leased
	prev, next *Conn          // idle list: prev is the one used later; or the list of lent ones (Options.Exclusive)
	request    *Request       // whom it was dialled for, while it connects (Options.Exclusive)

	local       netip.AddrPort // LocalAddr's answer, once asked
	createdNs   int64          // loop clock, when dialling began
	idleSinceNs int64
	duration    wheel.Timer // max duration; armed once
	requests    int
	security    any // what Options.Secure said of it; nil when it is plain
	state       connState
	retired     bool // to be closed instead of going back to the idle list
	connected   bool
	remote      bool    // the peer sent FIN
	aborted     bool    // closed with its request unfinished
	delivering  bool    // inside the request's OnData
	history     history // of states, in debug builds
}

// reset clears everything for the next use.
func (c *Conn) reset() { *c = Conn{} }

// SetHandler makes h hear the connection's events while it is lent: OnData,
// OnReadClosed, OnWritable and OnClosed. It hides the method of engine.Conn,
// which would cut the pool off; whoever uses that one (a relay) has to call Lost
// if it is told OnClosed.
func (c *Conn) SetHandler(h engine.Handler) { c.handler = h }

// LocalAddr returns this end of the connection, invalid for unix sockets. It hides the method of
// engine.Conn, which makes a system call each time; this one makes one in the connection's life.
func (c *Conn) LocalAddr() netip.AddrPort {
	if !c.local.IsValid() {
		c.local = c.Conn.LocalAddr()
	}
	return c.local
}

// Security returns what Securer.Secured said of the connection; nil when it is plain.
func (c *Conn) Security() any { return c.security }

// Requests returns how many requests were given the connection, the present one
// included; more than 1 means it was reused, and that its end before any byte of
// response may be a race with the origin's idle timeout.
func (c *Conn) Requests() int { return c.requests }

// Release ends the loan. reusable says that the exchange is complete on both
// sides and that no byte beyond it was received: then the connection serves the
// oldest waiting request (from a later event) or becomes idle. Otherwise it is
// closed. Does nothing when the connection is closed already. No allocation.
func (c *Conn) Release(reusable bool) {
	if c.state != leased {
		return
	}
	p := c.pool
	c.handler = nil
	if !reusable || c.worn() {
		c.close()
		return
	}
	if c.ReadPaused() {
		c.ResumeRead()
	}
	p.forget(c)
	p.pushIdle(c)
	if p.waiting.len > 0 {
		p.scheduleHandoff()
	}
}

// Abort ends the loan with the request unfinished: the connection is closed and
// counted as destroyed with an active request.
func (c *Conn) Abort() {
	if c.state != leased {
		return
	}
	c.handler = nil
	c.aborted = true
	c.remote = c.remote || c.ReadClosed() // a relay may have met the FIN
	c.close()
}

// AbortAfterFlush is Abort for a connection whose unsent bytes still go, for so long at most.
func (c *Conn) AbortAfterFlush(timeout time.Duration) {
	if c.state != leased || c.Buffered() == 0 {
		c.Abort()
		return
	}
	c.handler = nil
	c.aborted = true
	c.CloseAfterFlush(timeout) // OnClosed settles the accounts
}

// Lost tells the pool of the connection's end when another handler than the
// pool's was set on the engine's connection and has been told OnClosed.
func (c *Conn) Lost(r engine.CloseReason) {
	c.handler = nil
	(*connEvents)(c).OnClosed(c.Conn, r)
}

// worn reports whether the connection must not be used again.
func (c *Conn) worn() bool {
	p := c.pool
	switch {
	case c.WriteClosed() || c.ReadClosed() || c.Buffered() > 0 || c.retired:
		return true
	case !c.delivering && c.Kept() > 0:
		// Bytes beyond the exchange. Inside OnData kept bytes are part of the view
		// and connEvents.OnData looks at what is left of it.
		p.o.Events.OnUnsolicited(c.KeptView())
		return true
	case p.o.MaxRequests > 0 && c.requests >= p.o.MaxRequests:
		p.o.Events.OnMaxRequests()
		return true
	}
	return p.o.Exclusive || p.draining && p.waiting.len == 0
}
