package worker

import (
	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/engine"
	"github.com/sluiceproxy/sluice/engine/tlsio"
	"github.com/sluiceproxy/sluice/pool"
	"github.com/sluiceproxy/sluice/proxy/cluster"
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/stats"
)

// Endpoint is this loop's half of one host: its load and its connections.
type Endpoint struct {
	Host *cluster.Host
	Load *cluster.HostLoad
	up   *Upstream
	// own are the pools of requests that wish nothing of TLS, wished the others' (wish.go).
	own    pools
	wished map[string]*pools
	// tcp connects TCP sessions, which count against the DEFAULT priority.
	tcp *pool.Pool
	// tunnels are the HTTP/2 connections of TCP sessions.
	tunnels *pool.Mux
	// generic lends connections to the requests of generic proxies, which count there, too.
	generic *pool.Pool
	// Zones counts responses from the host's zone to the proxy's; nil when one is not known.
	Zones *stats.CodeStats
}

// pools are the connections of an endpoint that carry the requests of one wish, by priority (RT-79). The
// zero value but for the endpoint has none; they are made on first use.
type pools struct {
	e    *Endpoint
	wish *Wish // nil: none
	// h1 are the HTTP/1 connections, h2 those of HTTP/2. either ties them together where ALPN decides
	// which of the two a connection is for.
	h1     [2]*pool.Pool
	h2     [2]*pool.Mux
	either [2]*pool.Either

	usedNs int64 // when a request asked last, on the loop clock; with a wish only
}

// Sessions makes the protocol's end of multiplexed connections: package hcm, which speaks HTTP/2.
type Sessions interface {
	NewSession(e *Endpoint, c *pool.MuxConn) pool.Session
}

// ALPN lists what an upstream connection may speak, in order of preference.
var (
	alpnHTTP1 = []string{"http/1.1"}
	alpnHTTP2 = []string{"h2"}
	alpnBoth  = []string{"h2", "http/1.1"}
)

func newEndpoint(u *Upstream, h *cluster.Host) *Endpoint {
	e := &Endpoint{Host: h, Load: u.balancer.Load(h), up: u, Zones: u.C.Codes.Zone(u.w.Zone, h.Zone)}
	e.own.e = e
	return e
}

// Answered, Failed and Connected tell outlier detection what became of a try of the host; see
// cluster.Host. One branch each without outlier detection.
func (e *Endpoint) Answered(status uint16) { e.Host.Answered(e.Load, status) }

// Failed is cluster.Host.Failed.
func (e *Endpoint) Failed(f cluster.Failure, status uint16) { e.Host.Failed(e.Load, f, status) }

// Connected is cluster.Host.Connected.
func (e *Endpoint) Connected(final bool) { e.Host.Connected(e.Load, final) }

// Ratio implements pool.Preconnect: only healthy hosts get connections ahead of requests.
func (e *Endpoint) Ratio() float64 {
	if e.Host.Flags().Healthy() {
		return e.up.C.Conf.PreconnectRatio
	}
	return 1
}

// Upstream returns the cluster's half the endpoint belongs to, and Worker the loop's.
func (e *Endpoint) Upstream() *Upstream { return e.up }

// Worker returns the loop's state.
func (e *Endpoint) Worker() *Worker { return e.up.w }

// Acquire asks for what carries a request that came by version v (clusters.md 8): a connection of its own
// or, from a session that s makes, a stream. r's owner may be answered before it returns. It reports
// false, and nobody is answered, when max_connection_pools allows no pool for it.
func (e *Endpoint) Acquire(r *pool.Request, priority int, v header.Version, s Sessions) bool {
	return e.own.acquire(r, priority, v, s)
}

func (p *pools) acquire(r *pool.Request, priority int, v header.Version, s Sessions) bool {
	switch c := p.e.up.C.Conf.Protocol; {
	case c == conf.UpstreamHTTP2, c == conf.UpstreamSameAsDownstream && v == header.HTTP2:
		m := p.h2[priority]
		if m == nil {
			if m = p.openMux(priority, s); m == nil {
				return false
			}
		}
		m.Acquire(r)
	case c == conf.UpstreamByALPN:
		x := p.either[priority]
		if x == nil {
			if x = p.openEither(priority, s); x == nil {
				return false
			}
		}
		x.Acquire(r)
	default:
		h := p.h1[priority]
		if h == nil {
			if h = p.openHTTP1(priority); h == nil {
				return false
			}
		}
		h.Acquire(r)
	}
	return true
}

// AcquireTCP asks for a connection of r's own (TCP-18), as Acquire does for requests. wish is what the
// session asks of it; nil: nothing.
func (e *Endpoint) AcquireTCP(r *pool.Request, wish *Wish) bool {
	if e.tcp == nil && !e.openTCP() {
		return false
	}
	if wish != nil && e.Host.Secure != nil && e.up.w.Secure != nil {
		r.Secure = e.up.w.Secure(e, nil, wish)
	}
	e.tcp.Acquire(r)
	r.Secure = nil
	return true
}

// AcquireGeneric asks for a connection of the pool that the requests of generic proxies share, as Acquire
// does for HTTP.
func (e *Endpoint) AcquireGeneric(r *pool.Request) bool {
	if e.generic == nil {
		o, ok := e.options(conf.PriorityDefault, nil, nil)
		if !ok || !e.admit(conf.PriorityDefault) {
			return false
		}
		o.Events = (*poolEvents)(e)
		e.generic = pool.New(e.up.w.Loop, o)
	}
	e.generic.Acquire(r)
	return true
}

// AcquireTunnel asks for a stream of HTTP/2 that carries a TCP session, on connections that s makes and no
// request shares, as AcquireTCP does for a connection.
func (e *Endpoint) AcquireTunnel(r *pool.Request, s Sessions) bool {
	if e.tunnels == nil {
		o, ok := e.options(conf.PriorityDefault, alpnHTTP2, nil)
		if !ok || !e.admit(conf.PriorityDefault) {
			return false
		}
		o.Events = http2Events{(*poolEvents)(e)}
		e.tunnels = e.newMux(o, s)
	}
	e.tunnels.Acquire(r)
	return true
}

// admit asks the circuit breakers for one more pool. Pools of wishes that nobody has now make room.
func (e *Endpoint) admit(priority int) bool {
	b := e.up.C.Breakers[priority]
	if b.TryPool() || e.up.evict(priority) && b.TryPool() {
		return true
	}
	e.up.w.Stats.Inc(e.up.C.Stats.UpstreamCxPoolOverflow)
	return false
}

func (e *Endpoint) openTCP() bool {
	o, ok := e.options(conf.PriorityDefault, nil, nil)
	if !ok || !e.admit(conf.PriorityDefault) {
		return false
	}
	o.Exclusive, o.Events = true, tcpEvents{(*poolEvents)(e)}
	e.tcp = pool.New(e.up.w.Loop, o)
	return true
}

func (p *pools) openHTTP1(priority int) *pool.Pool {
	o, ok := p.e.options(priority, alpnHTTP1, p.wish)
	if !ok || !p.e.admit(priority) {
		return nil
	}
	o.Events = http1Events{(*poolEvents)(p.e)}
	p.h1[priority] = pool.New(p.e.up.w.Loop, o)
	return p.h1[priority]
}

func (p *pools) openMux(priority int, s Sessions) *pool.Mux {
	o, ok := p.e.options(priority, alpnHTTP2, p.wish)
	if !ok || !p.e.admit(priority) {
		return nil
	}
	o.Events = http2Events{(*poolEvents)(p.e)}
	p.h2[priority] = p.e.newMux(o, s)
	return p.h2[priority]
}

func (e *Endpoint) newMux(o pool.Options, s Sessions) *pool.Mux {
	return pool.NewMux(e.up.w.Loop, pool.MuxOptions{
		Options: o, MaxStreams: int(e.up.C.Conf.HTTP2.MaxConcurrentStreams), Codec: &endpointCodec{e, s},
	})
}

func (p *pools) openEither(priority int, s Sessions) *pool.Either {
	o, ok := p.e.options(priority, alpnBoth, p.wish)
	if !ok || !p.e.admit(priority) {
		return nil
	}
	o.Events = (*poolEvents)(p.e)
	p.h1[priority], p.h2[priority] = pool.New(p.e.up.w.Loop, o), p.e.newMux(o, s)
	p.either[priority] = pool.NewEither(p.h1[priority], p.h2[priority])
	return p.either[priority]
}

// options are those of all kinds of pools, but for Events. ok is false when connections would have to be
// encrypted and nothing here can do that.
func (e *Endpoint) options(priority int, alpn []string, wish *Wish) (o pool.Options, ok bool) {
	c, w := e.up.C.Conf, e.up.w
	o = pool.Options{
		ConnectTimeout: c.ConnectTimeout, IdleTimeout: c.IdleTimeout, MaxDuration: c.MaxConnectionDuration,
		MaxRequests: c.MaxRequestsPerConnection, Watermark: int(c.PerConnectionBufferLimitBytes),
		Dial:    engine.DialSpec{Network: "tcp", Addr: e.Host.Addr, Path: e.Host.Pipe, Bind: c.BindAddress},
		Breaker: e.Host.Breaker(priority),
		Free:    &w.conns,
	}
	if c.PreconnectRatio > 1 {
		o.Preconnect = e
	}
	switch {
	case w.Secure != nil:
		o.Secure = w.Secure(e, alpn, wish)
	case c.TLS != nil || len(c.SocketMatches) > 0:
		return o, false
	}
	switch {
	case e.Host.Internal != "":
		o.Dial = engine.DialSpec{Network: engine.Memory, Path: e.Host.Internal}
	case e.Host.Pipe != "":
		o.Dial.Network = "unix"
	default:
		o.Target = e.Host
	}
	if c.KeepAlive {
		o.Dial.KeepAlive = engine.KeepAlive{Idle: c.KeepAliveTime, Interval: c.KeepAliveInterval, Count: int(c.KeepAliveProbes)}
	}
	return o, true
}

// endpointCodec is the codec of an endpoint's multiplexed connections.
type endpointCodec struct {
	e        *Endpoint
	sessions Sessions
}

// Multiplexes says whether ALPN chose HTTP/2, and counts what it chose.
func (c *endpointCodec) Multiplexes(conn *engine.Conn) bool {
	s, series := (*poolEvents)(c.e).series()
	if t := tlsio.State(conn); t != nil && t.NegotiatedProtocol == "h2" {
		s.Inc(series.UpstreamCxHTTP2Total)
		return true
	}
	s.Inc(series.UpstreamCxHTTP1Total)
	return false
}

func (c *endpointCodec) NewSession(m *pool.MuxConn) pool.Session {
	return c.sessions.NewSession(c.e, m)
}

// has says whether there is a pool of the priority.
func (p *pools) has(priority int) bool { return p.h1[priority] != nil || p.h2[priority] != nil }

// unused says that no request has or waits for a connection.
func (p *pools) unused() bool {
	for i := range p.h1 {
		if p.h1[i] != nil && !p.h1[i].Unused() || p.h2[i] != nil && !p.h2[i].Unused() {
			return false
		}
	}
	return true
}

func (p *pools) drain() {
	for i := range p.h1 {
		if p.h1[i] != nil {
			p.h1[i].Drain()
		}
		if p.h2[i] != nil {
			p.h2[i].Drain()
		}
		if p.h1[i] != nil {
			p.e.up.C.Breakers[i].ReleasePool()
		}
		if p.h2[i] != nil && p.either[i] == nil { // else one pool for max_connection_pools
			p.e.up.C.Breakers[i].ReleasePool()
		}
		p.h1[i], p.h2[i], p.either[i] = nil, nil, nil
	}
}

func (e *Endpoint) drain() {
	e.own.drain()
	for key, p := range e.wished {
		p.drain()
		delete(e.wished, key)
	}
	if e.tunnels != nil {
		e.tunnels.Drain()
		e.up.C.Breakers[conf.PriorityDefault].ReleasePool()
		e.tunnels = nil
	}
	if e.tcp != nil {
		e.tcp.Drain()
		e.up.C.Breakers[conf.PriorityDefault].ReleasePool()
		e.tcp = nil
	}
	if e.generic != nil {
		e.generic.Drain()
		e.up.C.Breakers[conf.PriorityDefault].ReleasePool()
		e.generic = nil
	}
}
