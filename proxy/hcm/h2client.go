package hcm

import (
	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/codec/http2"
	"github.com/sluiceproxy/sluice/engine"
	"github.com/sluiceproxy/sluice/engine/mailbox"
	"github.com/sluiceproxy/sluice/pool"
	"github.com/sluiceproxy/sluice/proxy/reason"
	"github.com/sluiceproxy/sluice/proxy/secure"
	"github.com/sluiceproxy/sluice/proxy/stats"
	"github.com/sluiceproxy/sluice/proxy/worker"
)

// h2Client is one upstream HTTP/2 connection with its streams: the handler of its engine.Conn, the owner
// of its codec and its pool's session. Loop-owned.
//
//	OnData -> http2.Conn.Feed -> HeadFor, OnHeaders, OnData... -> attempt     (h2client_stream.go)
//	attempt -> requestHead, requestData... -> http2.Conn's output
//	end of OnData, or of the batch in which streams wrote (Run) -> settle -> one write of the output
//
// Its reading never pauses: what comes for a client that is slow waits in its stream and is not credited
// to the windows, which bound it, and siblings go on.
//
//	event                     what follows
//	GOAWAY                    no further streams; closed after the last; those above its number fail, refused
//	error of the peer's       GOAWAY, every stream fails (UPE), closed
//	FIN, reset                every stream fails (UC), closed
//	PING not answered         every stream fails (UC), closed
type h2Client struct {
	h2 http2.Conn
	mc *pool.MuxConn // nil once the connection is closed
	w  *worker.Worker
	up *worker.Upstream

	stats    *stats.HTTP2Stats
	counters [http2.NumCounters]stats.Counter

	first *clientStream // all that an attempt holds
	ready *clientStream // those whose response may go on
	free  *clientStream
	kept  int

	// failed is the error that a write met; settle deals with it.
	failed http2.Err
	// unopened counts upgrades that wait for the server's settings.
	unopened int
	// holding: the end of what runs will settle. scheduled: Run is to come.
	holding, scheduled bool
	// spilling: output is being written while a stream is in the middle of a call.
	spilling bool
	// stopped: the connection is being closed. away: the peer has sent GOAWAY.
	stopped, away bool

	watch worker.HTTP2Watch

	chargedRx, chargedTx uint64
}

// h2Sessions makes h2Clients for the pools.
type h2Sessions struct{}

// NewSession begins HTTP/2 on a connection. What it sends first goes out with the first requests.
func (h2Sessions) NewSession(e *worker.Endpoint, mc *pool.MuxConn) pool.Session {
	u, w := e.Upstream(), e.Worker()
	c := &h2Client{mc: mc, w: w, up: u, stats: u.HTTP2Stats()}
	c.counters = worker.HTTP2Counters(c.stats)
	c.counters[http2.RxResetNoError] = u.C.Stats.UpstreamRqRxResetNoError
	c.h2.Init(true, &u.HTTP2, &w.HTTP2, (*h2ClientEvents)(c))
	c.watch.Start((*watchedClient)(c), &c.h2, u)
	c.schedule()
	return c
}

// OnConnected never happens: a session begins when the connection is up.
func (c *h2Client) OnConnected(*engine.Conn) {}

// OnData feeds the codec.
func (c *h2Client) OnData(_ *engine.Conn, view []byte) int {
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
	c.w.FlushHeads()
	if c.stopped {
		return len(view)
	}
	return n
}

// Run implements engine.Task: it ends a batch of events of other connections, and passes on what waited
// for clients that read again.
func (c *h2Client) Run(*engine.Loop) {
	c.scheduled = false
	c.holding = true
	for s := c.ready; s != nil; s = c.ready {
		c.ready, s.nextReady, s.isReady = s.nextReady, nil, false
		if s.a == nil {
			c.putStream(s)
			continue
		}
		s.deliver()
	}
	c.settle()
	c.holding = false
	c.w.FlushHeads()
}

// schedule makes Run follow, unless the end of what runs settles anyway. Once in a batch.
//
// With several streams that is at the end of the loop's batch of events, because requests of several
// clients are often in one and then leave together. One stream has nothing to wait for.
func (c *h2Client) schedule() {
	if c.holding || c.scheduled {
		return
	}
	c.scheduled = true
	if c.mc == nil || c.mc.Streams() < 2 || !c.w.Loop.Post((*h2ClientBatch)(c)) {
		c.w.Loop.Defer(c)
	}
}

// h2ClientBatch is an h2Client as a message to its own loop.
type h2ClientBatch h2Client

// Run implements mailbox.Message.
func (b *h2ClientBatch) Run() { (*h2Client)(b).Run(nil) }

// wrote is called by whoever put something into the output.
func (c *h2Client) wrote() {
	if len(c.h2.Output()) >= spillBytes {
		c.spill()
	}
	c.schedule()
}

// spill writes the output. A flood limit that is met ends every stream, perhaps the one whose call this
// is: they hear of it in settle.
func (c *h2Client) spill() {
	out := c.h2.Output()
	if len(out) == 0 || c.spilling || c.mc == nil {
		return
	}
	c.mc.Write(out)
	c.taken()
}

func (c *h2Client) taken() {
	c.spilling = true
	if e := c.h2.Taken(c.mc.Buffered()); c.failed == http2.OK {
		c.failed = e
	}
	c.spilling = false
}

// settle ends a batch: it writes the output and acts on what became of the connection. No stream is in
// the middle of a call.
func (c *h2Client) settle() {
	c.spill()
	if c.failed == http2.OK {
		return
	}
	e := c.failed
	c.failed = http2.OK
	c.w.Stats.Inc(c.up.C.Stats.UpstreamCxProtocolError)
	c.stop()
	for s := c.first; s != nil; {
		next := s.next
		if !s.whole() { // those that Feed has ended are gone
			s.broken(e.Code(), e)
		}
		s = next
	}
}

// stop closes the connection; the codec is over, or is about to be. Idempotent.
func (c *h2Client) stop() {
	if c.stopped || c.mc == nil {
		return
	}
	c.stopped = true
	c.spill()
	c.mc.Abort()
}

// abandon ends every stream and the connection (UC).
func (c *h2Client) abandon() {
	c.holding = true
	c.h2.Close(http2.ErrClosed)
	c.dropUnopened()
	c.stop()
	c.holding = false
	c.w.FlushHeads()
}

// OnReadClosed is the server's FIN: it answers no more.
func (c *h2Client) OnReadClosed(*engine.Conn) { c.abandon() }

// OnWritable goes on with what waited for the socket.
func (c *h2Client) OnWritable(*engine.Conn) {
	if c.stopped {
		return
	}
	c.holding = true
	c.taken()
	for s := c.first; s != nil; {
		next := s.next
		s.pump()
		s = next
	}
	c.settle()
	c.holding = false
	c.w.FlushHeads()
}

// OnClosed is the end of the connection. Streams whose response is whole and waits for its client go on.
func (c *h2Client) OnClosed(_ *engine.Conn, r engine.CloseReason) {
	c.watch.Stop()
	c.charge()
	mc := c.mc
	c.mc, c.stopped = nil, true
	mc.Lost(r) // before anybody can ask the pool for another stream
	c.abandon()
}

// OnClosing implements pool.Session: GOAWAY says that nothing was lost.
func (c *h2Client) OnClosing() {
	c.h2.GoAway(http2.NoError)
	c.spill()
	c.stopped = true
	c.h2.Close(http2.ErrClosed) // there is no stream
}

// OnStream implements pool.Session: it opens a stream for a waiting attempt.
func (c *h2Client) OnStream(r *pool.Request) {
	a := r.Owner.(*attempt)
	refused := reason.Overflow
	switch {
	case a.st.tun.kind == upgradeTunnel && a.st.tun.body: // UP-17
		refused = reason.UpgradeBody
	case !c.h2.CanOpen(): // the numbers are used up
		refused = reason.UpstreamRefused
		c.mc.Retire()
	case a.admitted():
		c.open(a)
		return
	}
	c.mc.Done()
	a.setState(attemptIdle)
	a.fail(refused)
}

func (c *h2Client) open(a *attempt) {
	st := a.st
	s := c.stream()
	s.c, s.a, a.h2 = c, a, s
	slabs := c.w.Loop.Slabs()
	s.tx.Init(slabs)
	s.rx.Init(slabs)
	if s.next = c.first; s.next != nil {
		s.next.prev = s
	}
	c.first = s
	c.w.Stats.GaugeAdd(c.stats.StreamsActive, 1)
	c.watch.BeforeStream()
	a.info.UpstreamConnectionID = c.mc.ID()
	a.info.UpstreamLocal = c.mc.LocalAddr()
	if x := c.mc.Security(); x != nil {
		a.info.UpstreamPeer, _ = x.(*secure.Peer)
	}
	a.connected(header.HTTP2)
	a.sendRequest()
	if !st.requestWhole() {
		st.onUpstreamDrained()
	}
}

// CountBuffers implements worker.BufferCounter.
func (c *h2Client) CountBuffers(ec *engine.Conn, b *worker.Buffers) { c.up.CountBuffers(ec, b) }

// watchedClient is an h2Client as its watch sees it.
type watchedClient h2Client

// Stopped implements worker.HTTP2Watched.
func (x *watchedClient) Stopped() bool { return x.stopped }

// Wrote implements worker.HTTP2Watched.
func (x *watchedClient) Wrote() { (*h2Client)(x).wrote() }

// Abandon implements worker.HTTP2Watched.
func (x *watchedClient) Abandon() { (*h2Client)(x).abandon() }

// charge counts the connection's bytes since the last time.
func (c *h2Client) charge() {
	rx, tx := c.mc.BytesRead(), c.mc.BytesWritten()
	s := c.up.C.Stats
	c.w.Stats.Add(s.UpstreamCxRxBytesTotal, rx-c.chargedRx)
	c.w.Stats.Add(s.UpstreamCxTxBytesTotal, tx-c.chargedTx)
	c.chargedRx, c.chargedTx = rx, tx
}

var (
	_ pool.Session = (*h2Client)(nil)
	_ http2.Events = (*h2ClientEvents)(nil)
	_ engine.Task  = (*h2Client)(nil)

	_ mailbox.Message = (*h2ClientBatch)(nil)
)
