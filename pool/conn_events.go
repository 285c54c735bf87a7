package pool

import (
	"time"

	"github.com/sluiceproxy/sluice/engine"
	"github.com/sluiceproxy/sluice/engine/wheel"
)

// connEvents is a Conn as the engine sees it, so that the engine's callbacks are
// no methods of what requests hold.
type connEvents Conn

var _ engine.Handler = (*connEvents)(nil)

// OnConnected lends the new connection to the oldest waiter or makes it idle.
func (e *connEvents) OnConnected(ec *engine.Conn) {
	c := (*Conn)(e)
	if c.state != connecting {
		return // closed while its event was on the way
	}
	if e := c.pool.either; e != nil {
		if e.mux.o.Codec.Multiplexes(ec) {
			e.toMux(c, ec)
			return
		}
		e.exclusive = true
	}
	c.up(ec)
}

// up is OnConnected once it is clear that c stays here.
func (c *Conn) up(ec *engine.Conn) {
	p := c.pool
	c.connected = true
	if p.o.Secure != nil {
		c.security = p.o.Secure.Secured(ec)
	}
	if p.o.Watermark > 0 {
		ec.SetWatermarks(p.o.Watermark)
	}
	if p.o.MaxDuration > 0 {
		c.duration.Handler = (*connTimer)(c)
		p.loop.Arm(&c.duration, p.o.MaxDuration)
	}
	p.o.Events.OnConnected(time.Duration(p.loop.Now() - c.createdNs))
	if p.o.Exclusive {
		p.lendOwn(c)
		return
	}
	if p.draining && p.waiting.len == 0 {
		c.close()
		return
	}
	p.forget(c)
	if p.waiting.len > 0 {
		p.lend(c, p.nextWaiting())
	} else {
		p.pushIdle(c)
	}
}

// OnData passes bytes to the request. Bytes nobody asked for, on an idle
// connection or left over by a request that released it, close the connection
// and are never seen by another request (HC-48).
func (e *connEvents) OnData(ec *engine.Conn, view []byte) int {
	c := (*Conn)(e)
	if c.state != leased {
		c.unsolicited(view)
		return len(view)
	}
	if c.handler == nil {
		return 0
	}
	loan := c.requests
	c.delivering = true
	n := c.handler.OnData(ec, view)
	c.delivering = false
	if n < len(view) && (c.state != leased || c.requests != loan) {
		c.unsolicited(view[n:])
		return len(view)
	}
	return n
}

// PoolEvents returns who hears of the pool whose connection it is.
func (e *connEvents) PoolEvents() Events { return (*Conn)(e).pool.o.Events }

// OnReadClosed closes an idle connection: the origin will not answer on it.
func (e *connEvents) OnReadClosed(ec *engine.Conn) {
	c := (*Conn)(e)
	c.remote = c.remote || c.state != closing
	switch {
	case c.state == idle:
		c.close()
	case c.state == leased && c.handler != nil:
		c.handler.OnReadClosed(ec)
	}
}

// OnWritable passes the event to the request.
func (e *connEvents) OnWritable(ec *engine.Conn) {
	c := (*Conn)(e)
	if c.state == leased && c.handler != nil {
		c.handler.OnWritable(ec)
	}
}

// OnClosed settles the accounts, tells the request or the waiting ones, and
// frees the connection.
func (e *connEvents) OnClosed(ec *engine.Conn, r engine.CloseReason) {
	c := (*Conn)(e)
	p, was, h := c.pool, c.state, c.handler
	if was == gone {
		return
	}
	p.forget(c)
	c.setState(gone)
	p.loop.Disarm(&c.duration)
	p.o.Breaker.ReleaseConnection()
	if was == connecting && r != engine.LoopStopped {
		p.o.Events.OnConnectFailed(r)
	}
	p.o.Events.OnDestroyed(Destroyed{
		Remote:        c.remote || byPeer(r),
		ActiveRequest: was == leased || c.aborted, Connected: c.connected,
		Length: time.Duration(p.loop.Now() - c.createdNs), Requests: c.requests,
	})
	if was == leased && h != nil {
		h.OnClosed(ec, r)
	}
	err, asked := p.o.errOf(ec, r), c.request
	c.reset()
	p.free.Put(c)
	if p.o.Exclusive {
		p.afterOwn(asked, r, err)
		return
	}
	p.afterClose(was, r, err)
}

// byPeer reports whether the host ended or refused the connection, or said what cannot be understood.
func byPeer(r engine.CloseReason) bool {
	switch r {
	case engine.PeerReset, engine.PeerClosed, engine.ConnectRefused, engine.ConnectUnreachable, engine.ConnectError,
		engine.HandshakeFailed, engine.TransformFailed, engine.Truncated:
		return true
	}
	return false
}

// close starts the end of a connection; its slot is freed by OnClosed.
func (c *Conn) close() {
	c.pool.forget(c)
	c.setState(closing)
	c.Close()
}

// unsolicited closes a connection that brought bytes nobody asked for.
func (c *Conn) unsolicited(view []byte) {
	if c.state == closing {
		return
	}
	c.pool.o.Events.OnUnsolicited(view)
	if c.state == leased {
		c.Close() // lent again within the event: that request hears OnClosed
		return
	}
	c.close()
}

// connTimer is a Conn whose maximum duration has passed.
type connTimer Conn

// OnTimer retires the connection: now when it is idle, else when its request is done.
func (t *connTimer) OnTimer(*wheel.Timer) {
	c := (*Conn)(t)
	c.pool.o.Events.OnMaxDuration()
	c.retired = true
	if c.state == idle {
		c.close()
	}
}
