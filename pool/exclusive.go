package pool

import "github.com/sluiceproxy/sluice/engine"

// acquireOwn dials a connection that is r's alone.
func (p *Pool) acquireOwn(r *Request) {
	switch {
	case p.stopped:
		r.Owner.OnPoolFailure(Closed, nil)
		return
	case !p.o.Breaker.TryPending():
		p.o.Events.OnPendingOverflow()
		r.Owner.OnPoolFailure(Overflow, nil)
		return
	case !p.o.Breaker.TryConnection(false):
		p.o.Breaker.ReleasePending()
		p.o.Events.OnConnectionOverflow()
		r.Owner.OnPoolFailure(Overflow, nil)
		return
	}
	p.waiting.push(r, p)
	p.o.Events.OnPending()
	secure := p.o.Secure
	if r.Secure != nil {
		secure = r.Secure
	}
	c := p.dialWith(secure)
	r.conn, c.request = c, r
}

// lendOwn gives a connection that is up to the request it was dialled for.
func (p *Pool) lendOwn(c *Conn) {
	r := c.request
	c.request = nil
	p.forget(c)
	p.leave(r)
	p.lend(c, r)
}

// afterOwn answers the request of a connection that did not come up; nil when it was up, or the
// request was cancelled.
func (p *Pool) afterOwn(r *Request, why engine.CloseReason, err error) {
	f := failureOf(why)
	if why == engine.LoopStopped {
		p.stopped, f = true, Closed
	}
	if r != nil {
		p.leave(r)
		r.Owner.OnPoolFailure(f, err)
	}
}

func (p *Pool) noteLent(c *Conn) {
	if c.next = p.lent; c.next != nil {
		c.next.prev = c
	}
	p.lent = c
}

func (p *Pool) dropLent(c *Conn) {
	if c.next != nil {
		c.next.prev = c.prev
	}
	if c.prev != nil {
		c.prev.next = c.next
	} else {
		p.lent = c.next
	}
	c.prev, c.next = nil, nil
}

// ResetLent resets the connections that are lent, of a pool with Exclusive: their owners hear OnClosed, as
// if the peer had done so. Cold: O(connections).
func (p *Pool) ResetLent() {
	var all []*Conn
	for c := p.lent; c != nil; c = c.next {
		all = append(all, c)
	}
	for _, c := range all {
		if c.state == leased && c.pool == p {
			c.Conn.Reset()
		}
	}
}
