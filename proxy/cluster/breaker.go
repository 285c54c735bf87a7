package cluster

import (
	"math"
	"sync/atomic"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/runtime"
	"github.com/sluiceproxy/sluice/proxy/stats"
)

// Breaker is one priority's circuit breakers (Cluster.circuit_breakers), shared
// by all loops. Every Try that says yes is followed by exactly one Release of
// the same kind. A limit holds exactly, whatever the loops do at the same time.
// Lock-free; a Try that says no leaves no trace.
type Breaker struct {
	connections, pending, requests, retries, pools resource
	budget                                         retryBudget
}

// resource counts what is in use. Each has a cache line of its own: loops that
// count requests do not slow down those that count connections.
type resource struct {
	used  atomic.Int64
	limit *runtime.Uint
	_     [48]byte
}

func (r *resource) try() bool {
	for {
		n := r.used.Load()
		if n >= r.most() {
			return false
		}
		if r.used.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// most is the limit now: runtime may change it. One atomic load.
func (r *resource) most() int64 { return int64(min(r.limit.Load(), math.MaxInt64)) }

func (r *resource) force()   { r.used.Add(1) }
func (r *resource) release() { r.used.Add(-1) }

// open is the value of the *_open gauges: 1 when one more would be refused.
func (r *resource) open() int64 {
	if r.used.Load() >= r.most() {
		return 1
	}
	return 0
}

// remaining is the value of the remaining_* gauges.
func (r *resource) remaining() int64 { return max(0, r.most()-r.used.Load()) }

// NewBreaker returns a breaker with nothing in use and limits that stay.
func NewBreaker(c conf.Breaker) *Breaker { return newBreaker(c, nil, "") }

// newBreaker returns a breaker whose limits are runtime values under prefix, which ends in a dot.
func newBreaker(c conf.Breaker, l *runtime.Loader, prefix string) *Breaker {
	b := new(Breaker)
	b.connections.limit = l.Uint(prefix+"max_connections", uint64(c.MaxConnections))
	b.pending.limit = l.Uint(prefix+"max_pending_requests", uint64(c.MaxPendingRequests))
	b.requests.limit = l.Uint(prefix+"max_requests", uint64(c.MaxRequests))
	b.retries.limit = l.Uint(prefix+"max_retries", uint64(c.MaxRetries))
	b.budget = newRetryBudget(c.RetryBudget, l, prefix)
	b.pools.limit = l.Uint(prefix+"max_connection_pools", uint64(c.MaxConnectionPools))
	return b
}

// TryConnection asks for one more connection (max_connections). first says that
// the asking pool has none: it always gets one, or its requests would wait for
// nothing; the count may pass the limit by those.
func (b *Breaker) TryConnection(first bool) bool {
	if b.connections.try() {
		return true
	}
	if first {
		b.connections.force()
	}
	return first
}

// ReleaseConnection gives a connection back.
func (b *Breaker) ReleaseConnection() { b.connections.release() }

// TryPending asks to let one more request wait for a connection (max_pending_requests).
func (b *Breaker) TryPending() bool { return b.pending.try() }

// ReleasePending says that a request waits no more.
func (b *Breaker) ReleasePending() { b.pending.release() }

// TryRequest asks for one more active request (max_requests).
func (b *Breaker) TryRequest() bool { return b.requests.try() }

// ReleaseRequest says that a request is over.
func (b *Breaker) ReleaseRequest() { b.requests.release() }

// ReleaseRetry says that a retry is over.
func (b *Breaker) ReleaseRetry() { b.retries.release() }

// TryPool asks for one more connection pool (max_connection_pools).
func (b *Breaker) TryPool() bool { return b.pools.try() }

// ReleasePool says that a pool is gone.
func (b *Breaker) ReleasePool() { b.pools.release() }

// Connections returns how many connections are counted.
func (b *Breaker) Connections() int64 { return b.connections.used.Load() }

// Pending returns how many waiting requests are counted.
func (b *Breaker) Pending() int64 { return b.pending.used.Load() }

// Requests returns how many active requests are counted.
func (b *Breaker) Requests() int64 { return b.requests.used.Load() }

// register shows the gauges of one priority under prefix, which ends in a dot.
func (b *Breaker) register(r *stats.Registry, prefix string, trackRemaining bool) {
	r.GaugeFunc(prefix+"cx_open", b.connections.open)
	r.GaugeFunc(prefix+"cx_pool_open", b.pools.open)
	r.GaugeFunc(prefix+"rq_pending_open", b.pending.open)
	r.GaugeFunc(prefix+"rq_open", b.requests.open)
	r.GaugeFunc(prefix+"rq_retry_open", b.retryOpen)
	if trackRemaining {
		r.GaugeFunc(prefix+"remaining_cx", b.connections.remaining)
		r.GaugeFunc(prefix+"remaining_pending", b.pending.remaining)
		r.GaugeFunc(prefix+"remaining_rq", b.requests.remaining)
		r.GaugeFunc(prefix+"remaining_retries", b.remainingRetries)
	}
}

// HostBreaker adds the limit of connections to one host (per_host_thresholds) to
// its cluster's breaker. It is what the pools of a host are given.
type HostBreaker struct {
	*Breaker
	host resource
}

func newHostBreaker(b *Breaker, maxConnections uint32) *HostBreaker {
	h := &HostBreaker{Breaker: b}
	limit := uint64(maxConnections)
	if maxConnections == 0 {
		limit = math.MaxInt64
	}
	var fixed *runtime.Loader
	h.host.limit = fixed.Uint("", limit)
	return h
}

// TryConnection asks for one more connection to the host, see Breaker.TryConnection.
func (h *HostBreaker) TryConnection(first bool) bool {
	if !h.host.try() {
		if !first {
			return false
		}
		h.host.force()
	}
	if h.Breaker.TryConnection(first) {
		return true
	}
	h.host.release()
	return false
}

// ReleaseConnection gives a connection back.
func (h *HostBreaker) ReleaseConnection() {
	h.Breaker.ReleaseConnection()
	h.host.release()
}
