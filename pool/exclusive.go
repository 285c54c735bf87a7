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
