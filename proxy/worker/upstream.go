package worker

import (
	"github.com/sluiceproxy/sluice/codec/http1"
	"github.com/sluiceproxy/sluice/engine"
	"github.com/sluiceproxy/sluice/pool"
	"github.com/sluiceproxy/sluice/proxy/cluster"
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
}

// Endpoint is this loop's half of one host: its load and its connections for each priority (RT-79).
type Endpoint struct {
	Host  *cluster.Host
	Load  *cluster.HostLoad
	pools [2]*pool.Pool
	up    *Upstream
}

func (w *Worker) adopt(c *cluster.Cluster) *Upstream {
	u := &Upstream{C: c, w: w, balancer: cluster.NewBalancer(c, w.Random.Uint64()), endpoints: make(map[*cluster.Host]*Endpoint)}
	u.Parse = http1.Options{MaxHeadBytes: c.Conf.MaxResponseHeadersKiB << 10, MaxFields: c.Conf.MaxHeadersCount, AllowHTTP10: true, EnableTrailers: c.Conf.HTTP1.EnableTrailers}
	u.HeaderCase = http1.HeaderCase(c.Conf.HTTP1.HeaderCase)
	u.balancer.SetShard(w.Stats)
	w.upstreams[c] = u
	return u
}

// Pick chooses a host; nil when the cluster has no usable one. No allocation once the loop has used
// the host.
func (u *Upstream) Pick() *Endpoint {
	h := u.balancer.Pick(u.w.Random.Uint64())
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

func (e *Endpoint) open(priority int) *pool.Pool {
	c := e.up.C.Conf
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
	if e.Host.Pipe != "" {
		o.Dial.Network = "unix"
	} else {
		o.Target = e.Host
	}
	if c.KeepAlive {
		o.Dial.KeepAlive = engine.KeepAlive{Idle: c.KeepAliveTime, Interval: c.KeepAliveInterval, Count: int(c.KeepAliveProbes)}
	}
	e.pools[priority] = pool.New(e.up.w.Loop, o)
	return e.pools[priority]
}

func (e *Endpoint) drain() {
	for priority, p := range e.pools {
		if p != nil {
			p.Drain()
			e.up.C.Breakers[priority].ReleasePool()
			e.pools[priority] = nil
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
