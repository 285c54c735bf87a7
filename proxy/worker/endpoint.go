package worker

import (
	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/engine"
	"github.com/sluiceproxy/sluice/engine/tlsio"
	"github.com/sluiceproxy/sluice/pool"
	"github.com/sluiceproxy/sluice/proxy/cluster"
	"github.com/sluiceproxy/sluice/proxy/conf"
)

// Endpoint is this loop's half of one host: its load and its connections for each priority (RT-79).
type Endpoint struct {
	Host  *cluster.Host
	Load  *cluster.HostLoad
	up    *Upstream
	pools [numPools]*pool.Pool
	// muxes are the HTTP/2 connections by priority. eithers tie them to the pools of the priority where
	// ALPN decides which of the two a connection is for.
	muxes   [2]*pool.Mux
	eithers [2]*pool.Either
}

// What the pools of an endpoint are for: requests of the DEFAULT and the HIGH priority, and TCP
// sessions, which count against the DEFAULT priority.
const (
	defaultPool = conf.PriorityDefault
	highPool    = conf.PriorityHigh
	tcpPool     = 2
	numPools    = 3
)

// priorityOf says whose circuit breakers bound a pool.
func priorityOf(which int) int {
	if which == tcpPool {
		return conf.PriorityDefault
	}
	return which
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

// Answered, Failed and Connected tell outlier detection what became of a try of the host; see
// cluster.Host. One branch each without outlier detection.
func (e *Endpoint) Answered(status uint16) { e.Host.Answered(e.Load, status) }

// Failed is cluster.Host.Failed.
func (e *Endpoint) Failed(f cluster.Failure, status uint16) { e.Host.Failed(e.Load, f, status) }

// Connected is cluster.Host.Connected.
func (e *Endpoint) Connected(final bool) { e.Host.Connected(e.Load, final) }

// Upstream returns the cluster's half the endpoint belongs to, and Worker the loop's.
func (e *Endpoint) Upstream() *Upstream { return e.up }

// Worker returns the loop's state.
func (e *Endpoint) Worker() *Worker { return e.up.w }

// Acquire asks for what carries a request that came by version v (clusters.md 8): a connection of its own
// or, from a session that s makes, a stream. r's owner may be answered before it returns. It reports
// false, and nobody is answered, when max_connection_pools allows no pool for it.
func (e *Endpoint) Acquire(r *pool.Request, priority int, v header.Version, s Sessions) bool {
	switch p := e.up.C.Conf.Protocol; {
	case p == conf.UpstreamHTTP2, p == conf.UpstreamSameAsDownstream && v == header.HTTP2:
		m := e.muxes[priority]
		if m == nil {
			if m = e.openMux(priority, s); m == nil {
				return false
			}
		}
		m.Acquire(r)
	case p == conf.UpstreamByALPN:
		x := e.eithers[priority]
		if x == nil {
			if x = e.openEither(priority, s); x == nil {
				return false
			}
		}
		x.Acquire(r)
	default:
		p := e.pools[priority]
		if p == nil {
			if p = e.open(priority); p == nil {
				return false
			}
		}
		p.Acquire(r)
	}
	return true
}

// TCPPool returns what connects TCP sessions, a connection each (TCP-18), made on first use; nil when
// max_connection_pools allows no more pools.
func (e *Endpoint) TCPPool() *pool.Pool {
	if p := e.pools[tcpPool]; p != nil {
		return p
	}
	return e.open(tcpPool)
}

// admit asks the circuit breakers for one more pool.
func (e *Endpoint) admit(priority int) bool {
	if e.up.C.Breakers[priority].TryPool() {
		return true
	}
	e.up.w.Stats.Inc(e.up.C.Stats.UpstreamCxPoolOverflow)
	return false
}

func (e *Endpoint) open(which int) *pool.Pool {
	priority := priorityOf(which)
	alpn := alpnHTTP1
	if which == tcpPool {
		alpn = nil
	}
	o, ok := e.options(priority, alpn)
	if !ok || !e.admit(priority) {
		return nil
	}
	o.Events = http1Events{(*poolEvents)(e)}
	if which == tcpPool {
		o.Exclusive, o.Events = true, tcpEvents{(*poolEvents)(e)}
	}
	e.pools[which] = pool.New(e.up.w.Loop, o)
	return e.pools[which]
}

func (e *Endpoint) openMux(priority int, s Sessions) *pool.Mux {
	o, ok := e.options(priority, alpnHTTP2)
	if !ok || !e.admit(priority) {
		return nil
	}
	o.Events = http2Events{(*poolEvents)(e)}
	e.muxes[priority] = e.newMux(o, s)
	return e.muxes[priority]
}

func (e *Endpoint) newMux(o pool.Options, s Sessions) *pool.Mux {
	return pool.NewMux(e.up.w.Loop, pool.MuxOptions{
		Options: o, MaxStreams: int(e.up.C.Conf.HTTP2.MaxConcurrentStreams), Codec: &endpointCodec{e, s},
	})
}

func (e *Endpoint) openEither(priority int, s Sessions) *pool.Either {
	o, ok := e.options(priority, alpnBoth)
	if !ok || !e.admit(priority) {
		return nil
	}
	o.Events = (*poolEvents)(e)
	e.pools[priority], e.muxes[priority] = pool.New(e.up.w.Loop, o), e.newMux(o, s)
	e.eithers[priority] = pool.NewEither(e.pools[priority], e.muxes[priority])
	return e.eithers[priority]
}

// options are those of all kinds of pools, but for Events. ok is false when connections would have to be
// encrypted and nothing here can do that.
func (e *Endpoint) options(priority int, alpn []string) (o pool.Options, ok bool) {
	c, w := e.up.C.Conf, e.up.w
	o = pool.Options{
		ConnectTimeout: c.ConnectTimeout, IdleTimeout: c.IdleTimeout, MaxDuration: c.MaxConnectionDuration,
		MaxRequests: c.MaxRequestsPerConnection, Watermark: int(c.PerConnectionBufferLimitBytes),
		Dial:    engine.DialSpec{Network: "tcp", Addr: e.Host.Addr, Path: e.Host.Pipe, Bind: c.BindAddress},
		Breaker: e.Host.Breaker(priority),
		Free:    &w.conns,
	}
	switch {
	case w.Secure != nil:
		o.Secure = w.Secure(e, alpn)
	case c.TLS != nil || len(c.SocketMatches) > 0:
		return o, false
	}
	if e.Host.Pipe != "" {
		o.Dial.Network = "unix"
	} else {
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

func (e *Endpoint) drain() {
	for which, p := range e.pools {
		if p != nil {
			p.Drain()
			e.up.C.Breakers[priorityOf(which)].ReleasePool()
			e.pools[which] = nil
		}
	}
	for priority, m := range e.muxes {
		if m == nil {
			continue
		}
		m.Drain()
		if e.eithers[priority] == nil { // else one pool for max_connection_pools
			e.up.C.Breakers[priority].ReleasePool()
		}
		e.muxes[priority], e.eithers[priority] = nil, nil
	}
}
