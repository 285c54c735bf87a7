package worker

import (
	"github.com/sluiceproxy/sluice/codec/http1"
	"github.com/sluiceproxy/sluice/engine"
	"github.com/sluiceproxy/sluice/pool"
	"github.com/sluiceproxy/sluice/proxy/cluster"
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/format"
)

// Upstream is this loop's half of one cluster: its balancer and its connections.
type Upstream struct {
	C        *cluster.Cluster
	w        *Worker
	balancer *cluster.Balancer
	// endpoints are the hosts this loop has used; ForgetHosts takes those that left.
	endpoints map[*cluster.Host]*Endpoint

	// Parse and HeaderCase are the cluster's HTTP/1 options, compiled.
	Parse      http1.Options
	HeaderCase http1.HeaderCase
	// TLVs are those that the cluster adds to the PROXY headers of its connections, compiled.
	TLVs []TLV
}

// TLV is a type-length-value of a PROXY header to be written.
type TLV struct {
	Kind   uint8
	Value  []byte            // when Format is nil
	Format *format.Formatter // of the session
}

// CompileTLV makes the runtime form of a TLV.
func CompileTLV(c *conf.ProxyProtocolTLV) (TLV, error) {
	out := TLV{Kind: c.Type, Value: c.Value}
	var err error
	if c.Format != nil {
		out.Format, err = format.CompileText(c.Format.Text, c.Format.OmitEmptyValues)
	}
	return out, err
}

// Endpoint is this loop's half of one host: its load and its connections for each priority (RT-79).
type Endpoint struct {
	Host  *cluster.Host
	Load  *cluster.HostLoad
	pools [numPools]*pool.Pool
	up    *Upstream
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

func (w *Worker) adopt(c *cluster.Cluster) *Upstream {
	u := &Upstream{C: c, w: w, balancer: cluster.NewBalancer(c, w.Random.Uint64()), endpoints: make(map[*cluster.Host]*Endpoint)}
	u.Parse = http1.Options{MaxHeadBytes: c.Conf.MaxResponseHeadersKiB << 10, MaxFields: c.Conf.MaxHeadersCount, AllowHTTP10: true, EnableTrailers: c.Conf.HTTP1.EnableTrailers}
	u.HeaderCase = http1.HeaderCase(c.Conf.HTTP1.HeaderCase)
	if p := c.Conf.ProxyProtocol; p != nil {
		for i := range p.Added {
			if t, err := CompileTLV(&p.Added[i]); err == nil { // cluster.Manager refuses what is wrong
				u.TLVs = append(u.TLVs, t)
			}
		}
	}
	u.balancer.SetShard(w.Stats)
	w.upstreams[c] = u
	return u
}

// Pick chooses a host; nil when the cluster has no usable one. No allocation once the loop has used
// the host.
func (u *Upstream) Pick() *Endpoint { return u.PickFor(nil) }

// PickFor is Pick for a request or connection that says which host it wants; c may be nil.
func (u *Upstream) PickFor(c *cluster.Choice) *Endpoint {
	h := u.balancer.PickFor(u.w.Random.Uint64(), c)
	if h == nil {
		return nil
	}
	if e := u.endpoints[h]; e != nil {
		return e
	}
	e := &Endpoint{Host: h, Load: u.balancer.Load(h), up: u}
	u.endpoints[h] = e
	return e
}

// Pool returns the connections of one priority, made on first use; nil when max_connection_pools
// allows no more of them.
func (e *Endpoint) Pool(priority int) *pool.Pool {
	if p := e.pools[priority]; p != nil {
		return p
	}
	return e.open(priority)
}

// TCPPool returns what connects TCP sessions, a connection each (TCP-18); nil as Pool.
func (e *Endpoint) TCPPool() *pool.Pool {
	if p := e.pools[tcpPool]; p != nil {
		return p
	}
	return e.open(tcpPool)
}

func (e *Endpoint) open(which int) *pool.Pool {
	c, priority := e.up.C.Conf, priorityOf(which)
	if !e.up.C.Breakers[priority].TryPool() {
		e.up.w.Stats.Inc(e.up.C.Stats.UpstreamCxPoolOverflow)
		return nil
	}
	o := pool.Options{
		ConnectTimeout: c.ConnectTimeout, IdleTimeout: c.IdleTimeout, MaxDuration: c.MaxConnectionDuration,
		MaxRequests: c.MaxRequestsPerConnection, Watermark: int(c.PerConnectionBufferLimitBytes),
		Dial:    engine.DialSpec{Network: "tcp", Addr: e.Host.Addr, Path: e.Host.Pipe, Bind: c.BindAddress},
		Breaker: e.Host.Breaker(priority),
		Events:  (*poolEvents)(e),
		Free:    &e.up.w.conns,
	}
	if which == tcpPool {
		o.Exclusive, o.Events = true, tcpEvents{(*poolEvents)(e)}
	}
	if e.Host.Pipe != "" {
		o.Dial.Network = "unix"
	} else {
		o.Target = e.Host
	}
	if c.KeepAlive {
		o.Dial.KeepAlive = engine.KeepAlive{Idle: c.KeepAliveTime, Interval: c.KeepAliveInterval, Count: int(c.KeepAliveProbes)}
	}
	e.pools[which] = pool.New(e.up.w.Loop, o)
	return e.pools[which]
}

func (e *Endpoint) drain() {
	for which, p := range e.pools {
		if p != nil {
			p.Drain()
			e.up.C.Breakers[priorityOf(which)].ReleasePool()
			e.pools[which] = nil
		}
	}
}

func (u *Upstream) drain() {
	for h, e := range u.endpoints {
		e.drain()
		delete(u.endpoints, h)
	}
}

// VisitHosts calls f for every host this loop knows.
func (u *Upstream) VisitHosts(f func(h *cluster.Host, l *cluster.HostLoad)) {
	for h, e := range u.endpoints {
		f(h, e.Load)
	}
}
