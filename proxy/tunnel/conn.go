package tunnel

import (
	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/codec/http2"
	"github.com/sluiceproxy/sluice/engine"
	"github.com/sluiceproxy/sluice/pool"
	"github.com/sluiceproxy/sluice/proxy/stats"
	"github.com/sluiceproxy/sluice/proxy/worker"
)

const (
	// spillBytes is when output is written before the end of the batch.
	spillBytes = 32 << 10
	// maxWindow bounds what one tunnel may have on its way to a client that does not read.
	maxWindow = 1 << 20
)

// Conn is one upstream HTTP/2 connection with its tunnels: the handler of its engine.Conn, the owner of
// its codec and its pool's session. Loop-owned.
//
//	event                     what follows
//	GOAWAY                    no further tunnels; closed after the last
//	error, FIN, reset         every tunnel is reset, closed
//	PING not answered         the same
type Conn struct {
	h2       http2.Conn
	o        http2.Options
	mc       *pool.MuxConn // nil once the connection is closed
	w        *worker.Worker
	up       *worker.Upstream
	stats    *stats.HTTP2Stats
	counters [http2.NumCounters]stats.Counter
	head     header.Head // of the response being decoded

	first, last *Stream
	failed      http2.Err

	holding, scheduled, spilling, stopped, away bool

	watch worker.HTTP2Watch

	chargedRx, chargedTx uint64
}

// Sessions makes Conns for the pools.
type Sessions struct{}

// NewSession begins HTTP/2 on a connection.
func (Sessions) NewSession(e *worker.Endpoint, mc *pool.MuxConn) pool.Session {
	u, w := e.Upstream(), e.Worker()
	c := &Conn{mc: mc, w: w, up: u, o: u.HTTP2, stats: u.HTTP2Stats()}
	c.o.InitialStreamWindow = min(c.o.InitialStreamWindow, max(maxWindow, 65535))
	c.counters = worker.HTTP2Counters(c.stats)
	c.h2.Init(true, &c.o, &w.HTTP2, (*events)(c))
	c.watch.Start((*watched)(c), &c.h2, u)
	c.schedule()
	return c
}

// OnConnected never happens: a session begins when the connection is up.
func (c *Conn) OnConnected(*engine.Conn) {}

// OnData feeds the codec.
func (c *Conn) OnData(_ *engine.Conn, view []byte) int {
	if c.stopped {
		return len(view)
	}
	c.watch.Heard()
	c.holding = true
	n, e := c.h2.Feed(view)
	if c.failed == http2.OK {
		c.failed = e
	}
	c.settle()
	c.holding = false
	if c.stopped {
		return len(view)
	}
	return n
}

// Run implements engine.Task: it ends a batch of events.
func (c *Conn) Run(*engine.Loop) {
	c.scheduled = false
	c.holding = true
	c.settle()
	c.holding = false
}

func (c *Conn) schedule() {
	if !c.holding && !c.scheduled {
		c.scheduled = true
		c.w.Loop.Defer(c)
	}
}

func (c *Conn) wrote() {
	if len(c.h2.Output()) >= spillBytes {
		c.spill()
	}
	c.schedule()
}

// spill writes the output.
func (c *Conn) spill() {
	out := c.h2.Output()
	if len(out) == 0 || c.spilling || c.mc == nil {
		return
	}
	c.mc.Write(out)
	c.taken()
}

func (c *Conn) taken() {
	c.spilling = true
	if e := c.h2.Taken(c.mc.Buffered()); c.failed == http2.OK {
		c.failed = e
	}
	c.spilling = false
}

// settle ends a batch: it writes the output and acts on what became of the connection.
func (c *Conn) settle() {
	c.spill()
	if c.failed == http2.OK {
		return
	}
	c.failed = http2.OK
	c.w.Stats.Inc(c.up.C.Stats.UpstreamCxProtocolError)
	c.abandon()
}

// stop closes the connection. Idempotent.
func (c *Conn) stop() {
	if c.stopped || c.mc == nil {
		return
	}
	c.stopped = true
	c.spill()
	c.mc.Abort()
}

// abandon ends every tunnel and the connection.
func (c *Conn) abandon() {
	held := c.holding
	c.holding = true
	c.h2.Close(http2.ErrClosed)
	c.stop()
	for s := c.first; s != nil; s = c.first { // what the codec did not know of
		s.reset(http2.Cancel, http2.ErrClosed)
	}
	c.holding = held
}

// OnReadClosed is the server's FIN.
func (c *Conn) OnReadClosed(*engine.Conn) { c.abandon() }

// OnWritable wakes the tunnels: each may write again. The one that comes first now comes last the next
// time.
func (c *Conn) OnWritable(*engine.Conn) {
	if c.stopped {
		return
	}
	c.holding = true
	c.taken()
	for s, last := c.first, c.last; s != nil && !c.mc.Above(); {
		next := s.next
		c.moveToEnd(s)
		s.pump()
		if s == last {
			break
		}
		s = next
	}
	c.settle()
	c.holding = false
}

// OnClosed is the end of the connection.
func (c *Conn) OnClosed(_ *engine.Conn, r engine.CloseReason) {
	c.watch.Stop()
	c.charge()
	mc := c.mc
	c.mc, c.stopped = nil, true
	mc.Lost(r)
	c.abandon()
}

// OnClosing implements pool.Session.
func (c *Conn) OnClosing() {
	c.h2.GoAway(http2.NoError)
	c.spill()
	c.stopped = true
	c.h2.Close(http2.ErrClosed)
}

// OnStream implements pool.Session: it opens a tunnel for a session that waits.
func (c *Conn) OnStream(r *pool.Request) {
	o := r.Owner.(Owner)
	if !c.h2.CanOpen() { // the numbers are used up
		c.mc.Retire()
		c.mc.Done()
		o.OnPoolFailure(pool.ConnectFailure, nil)
		return
	}
	s := &Stream{c: c, owner: o}
	s.tx.Init(c.w.Loop.Slabs())
	c.link(s)
	c.w.Stats.GaugeAdd(c.stats.StreamsActive, 1)
	c.watch.BeforeStream()
	o.OnTunnel(s)
}

func (c *Conn) link(s *Stream) {
	if s.prev = c.last; c.last != nil {
		c.last.next = s
	} else {
		c.first = s
	}
	c.last = s
}

func (c *Conn) unlink(s *Stream) {
	if s.prev != nil {
		s.prev.next = s.next
	} else {
		c.first = s.next
	}
	if s.next != nil {
		s.next.prev = s.prev
	} else {
		c.last = s.prev
	}
	s.prev, s.next = nil, nil
}

func (c *Conn) moveToEnd(s *Stream) {
	if s != c.last {
		c.unlink(s)
		c.link(s)
	}
}

// CountBuffers implements worker.BufferCounter.
func (c *Conn) CountBuffers(ec *engine.Conn, b *worker.Buffers) { c.up.CountBuffers(ec, b) }

// charge counts the connection's bytes since the last time.
func (c *Conn) charge() {
	rx, tx := c.mc.BytesRead(), c.mc.BytesWritten()
	s := c.up.C.Stats
	c.w.Stats.Add(s.UpstreamCxRxBytesTotal, rx-c.chargedRx)
	c.w.Stats.Add(s.UpstreamCxTxBytesTotal, tx-c.chargedTx)
	c.chargedRx, c.chargedTx = rx, tx
}

// watched is a Conn as its watch sees it.
type watched Conn

// Stopped implements worker.HTTP2Watched.
func (x *watched) Stopped() bool { return x.stopped }

// Wrote implements worker.HTTP2Watched.
func (x *watched) Wrote() { (*Conn)(x).wrote() }

// Abandon implements worker.HTTP2Watched.
func (x *watched) Abandon() { (*Conn)(x).abandon() }

var (
	_ pool.Session = (*Conn)(nil)
	_ engine.Task  = (*Conn)(nil)
	_ http2.Events = (*events)(nil)
)
