package worker

import (
	"github.com/sluiceproxy/sluice/engine"
	"github.com/sluiceproxy/sluice/engine/relay"
	"github.com/sluiceproxy/sluice/pool"
	"github.com/sluiceproxy/sluice/proxy/stats"
)

// BufferCounter is a handler of connections, or the owner of a tunnel or a pool, that knows in which gauges
// the bytes count that a connection has received and nobody took, and those that wait to be written.
type BufferCounter interface {
	// CountBuffers calls b.Add for c.
	CountBuffers(c *engine.Conn, b *Buffers)
}

// Buffers are sums of bytes in the buffers of one loop's connections, by gauge. They are made when statistics
// are read: connections do not pay for them.
type Buffers struct{ now, before map[stats.Gauge]int64 }

// Add counts the bytes received and those to be written of one connection.
func (b *Buffers) Add(rx, tx stats.Gauge, received, unsent int) {
	if received != 0 {
		b.now[rx] += int64(received)
	}
	if unsent != 0 {
		b.now[tx] += int64(unsent)
	}
}

// settleBuffers brings the gauges up to date.
func (w *Worker) settleBuffers() {
	b := &w.buffers
	if b.now == nil {
		b.now, b.before = make(map[stats.Gauge]int64), make(map[stats.Gauge]int64)
	}
	w.Loop.EachConn(func(c *engine.Conn, h engine.Handler) {
		if n := bufferCounter(h); n != nil {
			n.CountBuffers(c, b)
		}
	})
	for g, n := range b.before {
		w.Stats.GaugeAdd(g, -n)
	}
	for g, n := range b.now {
		w.Stats.GaugeAdd(g, n)
	}
	b.now, b.before = b.before, b.now
	clear(b.now)
}

// bufferCounter returns who counts the buffers of a handler's connection; nil: nobody.
func bufferCounter(h engine.Handler) (n BufferCounter) {
	switch h := h.(type) {
	case BufferCounter:
		return h
	case interface{ RelayOwner() relay.Owner }:
		n, _ = h.RelayOwner().(BufferCounter)
	case interface{ PoolEvents() pool.Events }:
		n, _ = h.PoolEvents().(BufferCounter)
	}
	return n
}

// CountBuffers implements BufferCounter for connections of a pool.
func (e *poolEvents) CountBuffers(c *engine.Conn, b *Buffers) { e.up.CountBuffers(c, b) }

// CountBuffers implements BufferCounter for any connection to the cluster.
func (u *Upstream) CountBuffers(c *engine.Conn, b *Buffers) {
	b.Add(u.C.Stats.UpstreamCxRxBytesBuffered, u.C.Stats.UpstreamCxTxBytesBuffered, c.Kept(), c.Buffered())
}
