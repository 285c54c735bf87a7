package hcm

import (
	"time"

	"github.com/sluiceproxy/sluice/engine"
	"github.com/sluiceproxy/sluice/proxy/listener"
	"github.com/sluiceproxy/sluice/proxy/streaminfo"
	"github.com/sluiceproxy/sluice/proxy/worker"
)

// streamPool is the loop's free list of streams. It is bounded by the most streams the loop had at
// once, which the connection limits bound.
type streamPool struct {
	free *stream
	kept int
}

// maxKeptStreams bounds what a burst leaves behind; a stream is about 3 KiB.
const maxKeptStreams = 1024

// Get returns a clean stream.
func (p *streamPool) Get() *stream {
	st := p.free
	if st == nil {
		return &stream{}
	}
	p.free, st.next = st.next, nil
	p.kept--
	return st
}

// Put takes a stream back.
func (p *streamPool) Put(st *stream) {
	if p.kept >= maxKeptStreams {
		if st.timer.Armed() {
			st.w.Loop.Disarm(&st.timer)
		}
		return
	}
	st.reset()
	st.next, p.free = p.free, st
	p.kept++
}

// Acceptor is one loop's end of an HTTP filter chain: it makes a serverConn of each connection and
// knows the live ones. Loop-owned.
type Acceptor struct {
	w       *worker.Worker
	live    *Live
	account *listener.Account

	streams streamPool
	free    *serverConn
	kept    int
	first   *serverConn // live connections
	count   int

	// drainNow is true while responses may have to end their connections; the rest says which.
	drainNow     bool
	healthFailed bool  // every response, until the health check passes again (OP-50)
	drainFrom    int64 // 0: not draining
	drainOver    int64 // how long until every response does; 0 at once
}

var _ listener.Terminal = (*Acceptor)(nil)

// NewAcceptor makes a loop's end of a filter chain. live is shared with the control plane, which swaps
// the Config when routes change.
func NewAcceptor(w *worker.Worker, live *Live, account *listener.Account) *Acceptor {
	return &Acceptor{w: w, live: live, account: account}
}

const maxKeptConns = 4096

// Serve implements listener.Terminal.
func (a *Acceptor) Serve(c *engine.Conn, facts *streaminfo.Connection) engine.Handler {
	cfg := a.live.Load()
	s := a.free
	if s == nil {
		s = &serverConn{}
	} else {
		a.free = s.next
		a.kept--
		s.next, s.closing = nil, false
	}
	s.c, s.a, s.cfg, s.stats, s.facts = c, a, cfg, cfg.stats, *facts
	s.timer.Handler = s
	c.SetWatermarks(cfg.bufferLimit)
	c.SetReadLimit(cfg.parse.MaxHeadBytes + 4096)
	a.link(s)
	now := a.w.Loop.Now()
	s.idleSince = now
	if d := cfg.conf.IdleTimeout; d > 0 {
		s.deadlines[connIdle] = now + int64(d)
	}
	if d := cfg.conf.MaxConnectionDuration; d > 0 {
		s.deadlines[connDuration] = now + int64(d)
	}
	s.arm()
	sh, hs := a.w.Stats, cfg.stats
	sh.Inc(hs.DownstreamCxTotal)
	sh.Inc(hs.DownstreamCxHTTP1Total)
	sh.GaugeAdd(hs.DownstreamCxActive, 1)
	sh.GaugeAdd(hs.DownstreamCxHTTP1Active, 1)
	return s
}

// reset makes a closed connection's object ready for the free list, where it keeps no old Config
// alive. The timer stays in the wheel's lists while it is armed, and most often is due no later than
// the next connection wants it; closing makes it do nothing before that.
func (s *serverConn) reset() {
	timer := s.timer
	*s = serverConn{}
	s.timer, s.closing = timer, true
}

func (a *Acceptor) link(s *serverConn) {
	s.nextLive = a.first
	if a.first != nil {
		a.first.prevLive = s
	}
	a.first = s
	a.count++
}

func (a *Acceptor) unlink(s *serverConn) {
	if s.prevLive != nil {
		s.prevLive.nextLive = s.nextLive
	} else {
		a.first = s.nextLive
	}
	if s.nextLive != nil {
		s.nextLive.prevLive = s.prevLive
	}
	a.count--
}

// closed counts the end of a connection and takes the object back.
func (a *Acceptor) closed(s *serverConn, c *engine.Conn, remote, active bool) {
	sh, hs := a.w.Stats, s.stats
	s.charge()
	ms := uint64(a.w.Loop.Now()-s.facts.StartNs) / uint64(time.Millisecond)
	sh.GaugeAdd(hs.DownstreamCxActive, -1)
	sh.GaugeAdd(hs.DownstreamCxHTTP1Active, -1)
	sh.Inc(hs.DownstreamCxDestroy)
	which, whichActive := hs.DownstreamCxDestroyLocal, hs.DownstreamCxDestroyLocalActiveRq
	if remote {
		which, whichActive = hs.DownstreamCxDestroyRemote, hs.DownstreamCxDestroyRemoteActiveRq
	}
	sh.Inc(which)
	if active {
		sh.Inc(hs.DownstreamCxDestroyActiveRq)
		sh.Inc(whichActive)
	}
	sh.Record(hs.DownstreamCxLengthMs, ms)
	a.account.Closed(c, &s.facts, nil)
	a.unlink(s)
	if a.kept < maxKeptConns {
		s.reset()
		s.next, a.free = a.free, s
		a.kept++
		return
	}
	s.closing = true
	if s.timer.Armed() {
		a.w.Loop.Disarm(&s.timer)
	}
}

// Uses says whether a request, or the beginning of one, still needs cfg. Linear. Runs on the loop.
func (a *Acceptor) Uses(cfg *Config) bool {
	for s := a.first; s != nil; s = s.nextLive {
		if s.cur != nil && s.cur.cfg == cfg || s.headStart != 0 && s.cfg == cfg {
			return true
		}
	}
	return false
}

// draining decides whether the response about to start is the last of its connection. Asked once for
// each response, since the answer may be a matter of chance.
func (a *Acceptor) draining() bool { return a.drainNow && a.drainsThis() }

func (a *Acceptor) drainsThis() bool {
	if a.healthFailed || a.drainOver == 0 {
		return true
	}
	passed := a.w.Loop.Now() - a.drainFrom
	return passed >= a.drainOver || a.w.Random.Int64N(a.drainOver) < passed
}

// Drain makes responses the last of their connections: all of them from now on, or with over > 0 a
// share that grows from none to all in that time (OP-51). A drain that has begun goes on as it is, or
// becomes one of all responses. Runs on the loop.
func (a *Acceptor) Drain(over time.Duration) {
	if a.drainFrom == 0 {
		a.drainFrom, a.drainOver = max(1, a.w.Loop.Now()), int64(over)
	} else if over == 0 {
		a.drainOver = 0
	}
	a.drainNow = true
}

// FailHealth makes every response the last of its connection until it is called with false
// (/healthcheck/fail). Runs on the loop.
func (a *Acceptor) FailHealth(failed bool) {
	a.healthFailed = failed
	a.drainNow = failed || a.drainFrom != 0
}

// CloseIdle ends the connections without a request at once, and the others with their response. Runs
// on the loop, after Drain.
func (a *Acceptor) CloseIdle() {
	a.Drain(0)
	for s := a.first; s != nil; {
		next := s.nextLive
		if !s.closing && !s.lastOne {
			a.w.Stats.Inc(s.stats.DownstreamCxDrainClose)
		}
		s.drain()
		s = next
	}
}

// Conns returns how many connections live, and Busy how many have a request under way.
func (a *Acceptor) Conns() int { return a.count }

// Busy counts the connections that have a request, or the beginning of one. Linear.
func (a *Acceptor) Busy() int {
	n := 0
	for s := a.first; s != nil; s = s.nextLive {
		if s.cur != nil || s.headStart != 0 {
			n++
		}
	}
	return n
}

// CloseAll ends every connection at once. Runs on the loop.
func (a *Acceptor) CloseAll() {
	for s := a.first; s != nil; {
		next := s.nextLive
		s.abort()
		s = next
	}
}
