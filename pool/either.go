package pool

import "github.com/sluiceproxy/sluice/engine"

// Either is the connections to a host that says, when one comes up, whether it multiplexes (ALPN). A
// request goes to the pool that the last connection was fit for; a connection that turns out to be fit
// for the other one moves there, and so do the requests that wait. Loop-owned.
type Either struct {
	pool      *Pool
	mux       *Mux
	exclusive bool // what the last connection said
}

// NewEither ties two pools together that share Breaker and Events. Cold.
func NewEither(p *Pool, m *Mux) *Either {
	e := &Either{pool: p, mux: m}
	p.either, m.either = e, e
	return e
}

// Acquire asks for a stream or a connection of its own, whichever the host offers; see Pool.Acquire and
// Mux.Acquire.
func (e *Either) Acquire(r *Request) {
	if e.exclusive {
		e.pool.Acquire(r)
		return
	}
	e.mux.Acquire(r)
}

// toPool moves a connection that came up, and the requests that wait, from the Mux to the Pool.
func (e *Either) toPool(c *MuxConn) {
	p, m, ec := e.pool, e.mux, c.Conn
	e.exclusive = true
	created := c.createdNs
	c.setState(muxGone)
	m.unlink(c)
	for m.waiting.len > 0 {
		r := m.waiting.head
		m.waiting.remove(r)
		p.waiting.push(r, p)
	}
	pc := p.free.Get()
	pc.pool, pc.Conn, pc.createdNs = p, ec, created
	pc.setState(connecting)
	p.connecting++
	ec.SetHandler((*connEvents)(pc))
	pc.up(ec)
	p.grow()
}

// toMux moves a connection that came up, and the requests that wait, from the Pool to the Mux.
func (e *Either) toMux(pc *Conn, ec *engine.Conn) {
	p, m := e.pool, e.mux
	e.exclusive = false
	c := &MuxConn{Conn: ec, pool: m, createdNs: pc.createdNs}
	p.forget(pc)
	pc.setState(gone)
	pc.reset()
	p.free.Put(pc)
	for p.waiting.len > 0 {
		r := p.waiting.head
		p.waiting.remove(r)
		m.push(r)
	}
	m.link(c)
	c.setState(muxConnecting)
	c.up(ec)
}
