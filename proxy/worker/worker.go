// Package worker is what one loop owns beyond sockets: its shard of the statistics and logs, its
// balancers and upstream pools, its clock text and its random numbers. Everything here is
// loop-owned; the control plane reaches it only by messages to the loop.
package worker

import (
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"github.com/sluiceproxy/sluice/codec/http2"
	"github.com/sluiceproxy/sluice/engine"
	"github.com/sluiceproxy/sluice/engine/mailbox"
	"github.com/sluiceproxy/sluice/pool"
	"github.com/sluiceproxy/sluice/pool/obj"
	"github.com/sluiceproxy/sluice/proxy/accesslog"
	"github.com/sluiceproxy/sluice/proxy/cluster"
	"github.com/sluiceproxy/sluice/proxy/forwarded"
	"github.com/sluiceproxy/sluice/proxy/stats"
	"github.com/sluiceproxy/sluice/proxy/streaminfo"
)

// Worker is one loop's state.
type Worker struct {
	Loop  *engine.Loop
	Stats *stats.Shard
	Logs  *accesslog.Shard
	// Secure returns what encrypts the connections to an endpoint, nil when they are plain; alpn are the
	// protocols they may speak, in order of preference, nil for TCP sessions, and wish is what they are to
	// be like besides, nil for nothing. nil is a server without TLS towards its upstreams. Asked when a pool
	// is made, and for each TCP session with a wish, which is not kept; set before the loop runs.
	Secure func(e *Endpoint, alpn []string, wish *Wish) pool.Securer
	// HTTP2 is what the upstream HTTP/2 connections of the loop share.
	HTTP2 http2.Workspace
	// Zone is where the proxy runs; empty: not known.
	Zone string
	// Router is package hcm's: what its router keeps for the loop.
	Router any
	// Random makes request ids, and chooses hosts. Seeded from the system; not for keys.
	Random *rand.Rand

	// Choice and Criteria are for one pick at a time: what a stream says about the host it wants.
	Choice   cluster.Choice
	Criteria cluster.Criteria
	// Wish is for one acquisition at a time: what a stream asks of the TLS to its host.
	Wish Wish

	clusters  *cluster.Manager
	upstreams map[*cluster.Cluster]*Upstream

	conns     obj.List[pool.Conn]
	extras    []*streaminfo.Extra
	settlers  []Settler
	buffers   Buffers
	held      held
	gathered  gathered
	wish      []byte // the key of the wish at hand
	dateUntil int64
	date      [29]byte
}

// New makes the state of one loop.
func New(l *engine.Loop, shard *stats.Shard, logs *accesslog.Shard, clusters *cluster.Manager) *Worker {
	return &Worker{
		Loop: l, Stats: shard, Logs: logs, clusters: clusters,
		Random:    forwarded.NewRandom(),
		upstreams: make(map[*cluster.Cluster]*Upstream),
	}
}

// Cluster returns this loop's half of a cluster by name, nil when there is none. No allocation once
// the loop has used the cluster.
func (w *Worker) Cluster(name []byte) *Upstream {
	c := w.clusters.Set().Lookup(name)
	if c == nil {
		return nil
	}
	if u := w.upstreams[c]; u != nil {
		return u
	}
	return w.adopt(c)
}

// RequestOnDemand looks up a cluster that is not there; see cluster.Manager.
func (w *Worker) RequestOnDemand(p cluster.Provider, name string, timeout time.Duration, answer func(cluster.Outcome)) *cluster.OnDemandRequest {
	return w.clusters.RequestOnDemand(p, name, timeout, answer)
}

// Date returns the Date header's text for now (RFC 9110 5.6.7), rendered once a second.
// Valid until the next call.
func (w *Worker) Date() []byte {
	if now := w.Loop.Now(); now >= w.dateUntil {
		wall := w.Loop.WallNow().UTC()
		wall.AppendFormat(w.date[:0], "Mon, 02 Jan 2006 15:04:05 GMT")
		w.dateUntil = now + int64(time.Second) - int64(wall.Nanosecond())
	}
	return w.date[:]
}

// Forget drops the state of clusters that are no longer configured: idle connections close at once,
// busy ones when their stream ends. Runs on the loop.
func (w *Worker) Forget(gone []*cluster.Cluster) {
	for _, c := range gone {
		if u := w.upstreams[c]; u != nil {
			u.drain()
			delete(w.upstreams, c)
		}
	}
}

// ForgetHosts drops the connections of hosts that left a cluster. Runs on the loop.
func (w *Worker) ForgetHosts(c *cluster.Cluster, gone []*cluster.Host) {
	u := w.upstreams[c]
	if u == nil {
		return
	}
	for _, h := range gone {
		if e := u.endpoints[h]; e != nil {
			e.drain()
			delete(u.endpoints, h)
		}
		u.balancer.Forget(h)
	}
}

// DrainHosts closes the idle connections of hosts that stay, and the others when they are done; with reset
// those of TCP sessions at once. Runs on the loop.
func (w *Worker) DrainHosts(c *cluster.Cluster, hosts []*cluster.Host, reset bool) {
	u := w.upstreams[c]
	if u == nil {
		return
	}
	for _, h := range hosts {
		e := u.endpoints[h]
		if e == nil {
			continue
		}
		if p := e.tcp; p != nil && reset {
			p.ResetLent()
		}
		e.drain()
	}
}

// VisitHosts calls f for the hosts of a cluster that this loop has used. Runs on the loop.
func (w *Worker) VisitHosts(c *cluster.Cluster, f func(h *cluster.Host, l *cluster.HostLoad)) {
	if u := w.upstreams[c]; u != nil {
		u.VisitHosts(f)
	}
}

// Visit calls f for every cluster this loop has used. Runs on the loop.
func (w *Worker) Visit(f func(u *Upstream)) {
	for _, u := range w.upstreams {
		f(u)
	}
}

// call carries a function to a loop. Cold path only: it allocates.
type call struct {
	f     func()
	state atomic.Int32
	done  chan struct{}
}

// States of a call: it leaves callWaits once, to whichever side is first.
const (
	callWaits = iota
	callRuns
	callGivenUp
)

func (c *call) Run() {
	if c.state.CompareAndSwap(callWaits, callRuns) {
		c.f()
		close(c.done)
	}
}

var _ mailbox.Message = (*call)(nil)

// Send runs f on the worker's loop without waiting for it, but at most the given time for room in the loop's
// mailbox. It reports whether f will run. Not to be called from a loop.
func (w *Worker) Send(f func(), wait time.Duration) bool {
	return w.send(&call{f: f, done: make(chan struct{})}, time.Now().Add(wait))
}

func (w *Worker) send(c *call, deadline time.Time) bool {
	for !w.Loop.Post(c) {
		if time.Now().After(deadline) {
			return false
		}
		time.Sleep(time.Millisecond)
	}
	return true
}

// Do runs f on the worker's loop and waits for it: at most the given time until it begins, and then to
// its end. It reports whether f ran; when it says false, f never will. Not to be called from a loop.
func (w *Worker) Do(f func(), wait time.Duration) bool {
	c := &call{f: f, done: make(chan struct{})}
	deadline := time.Now().Add(wait)
	if !w.send(c, deadline) {
		return false
	}
	t := time.NewTimer(time.Until(deadline))
	defer t.Stop()
	select {
	case <-c.done:
		return true
	case <-t.C:
	}
	if c.state.CompareAndSwap(callWaits, callGivenUp) {
		return false
	}
	<-c.done
	return true
}

// maxKeptExtras bounds what a burst leaves behind.
const maxKeptExtras = 1024

// Extra returns a clean Extra; give it back with PutExtra when its connection is over.
func (w *Worker) Extra() *streaminfo.Extra {
	n := len(w.extras)
	if n == 0 {
		return new(streaminfo.Extra)
	}
	x := w.extras[n-1]
	w.extras = w.extras[:n-1]
	return x
}

// PutExtra takes an Extra back; nil is fine.
func (w *Worker) PutExtra(x *streaminfo.Extra) {
	if x == nil || len(w.extras) >= maxKeptExtras {
		return
	}
	x.Reset()
	w.extras = append(w.extras, x)
}

// Settler brings statistics up to date that it does not count as things happen, because counting
// would cost on the hot path. Called on the loop before statistics are read.
type Settler interface{ Settle() }

// AddSettler makes s be called, RemoveSettler ends that. On the loop, or before it runs.
func (w *Worker) AddSettler(s Settler) { w.settlers = append(w.settlers, s) }

// RemoveSettler undoes AddSettler.
func (w *Worker) RemoveSettler(s Settler) {
	if i := slices.Index(w.settlers, s); i >= 0 {
		w.settlers = slices.Delete(w.settlers, i, i+1)
	}
}

// Settle brings the loop's statistics up to date.
func (w *Worker) Settle() {
	for _, s := range w.settlers {
		s.Settle()
	}
	w.settleBuffers()
}

// Shadow returns a worker on the same loop that counts nowhere, to find out what would be done. It is for
// the event that asked for it.
func (w *Worker) Shadow() *Worker {
	s := *w
	s.Stats = new(stats.Shard)
	return &s
}
