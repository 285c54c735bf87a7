package hcm

import (
	"time"

	"github.com/sluiceproxy/sluice/engine"
	"github.com/sluiceproxy/sluice/proxy/conf"
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

// Acceptor is one loop's end of an HTTP filter chain: it makes a serverConn or an h2Conn of each
// connection and knows the live ones. Loop-owned.
type Acceptor struct {
	w       *worker.Worker
	live    *Live
	account *listener.Account

	streams streamPool
	free    *serverConn
	kept    int
	first   *accepted // live connections
	count   int

	h2 h2Parts

	relays     *relayed
	keptRelays int

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
	a.w.Stats.Inc(cfg.stats.DownstreamCxTotal)
	a.w.Stats.GaugeAdd(cfg.stats.DownstreamCxActive, 1)
	if facts.Secure != nil {
		a.w.Stats.Inc(cfg.stats.DownstreamCxSslTotal)
		a.w.Stats.GaugeAdd(cfg.stats.DownstreamCxSslActive, 1)
	}
	c.SetWatermarks(cfg.bufferLimit)
	base := accepted{c: c, a: a, cfg: cfg, stats: cfg.stats, facts: *facts}
	if cfg.conf.CodecType == conf.CodecHTTP2 {
		return a.serveHTTP2(&base)
	}
	s := a.free
	if s == nil {
		s = &serverConn{}
	} else {
		a.free = s.next
		a.kept--
		s.next = nil
	}
	s.accepted = base
	s.timer.Handler = s
	c.SetReadLimit(cfg.parse.MaxHeadBytes + 4096)
	a.link(&s.accepted, s)
	s.idleSince = a.w.Loop.Now()
	s.deadlines[connIdle] = sooner(0, s.idleSince, cfg.conf.IdleTimeout)
	s.deadlines[connDuration] = sooner(0, s.idleSince, cfg.conf.MaxConnectionDuration)
	s.arm()
	if cfg.conf.CodecType == conf.CodecAuto {
		s.undecided = true
	} else {
		s.decided()
	}
	return s
}

// put takes a closed connection's object back, where it keeps no old Config alive. The timer stays in
// the wheel's lists while it is armed, and most often is due no later than the next connection wants it;
// closing makes it do nothing before that.
func (a *Acceptor) put(s *serverConn) {
	if a.kept >= maxKeptConns {
		s.closing = true
		if s.timer.Armed() {
			a.w.Loop.Disarm(&s.timer)
		}
		return
	}
	timer := s.timer
	*s = serverConn{}
	s.timer, s.closing = timer, true
	s.next, a.free = a.free, s
	a.kept++
}

func (a *Acceptor) link(s *accepted, self server) {
	s.self = self
	s.nextLive = a.first
	if a.first != nil {
		a.first.prevLive = s
	}
	a.first = s
	a.count++
}

func (a *Acceptor) unlink(s *accepted) {
	if s.prevLive != nil {
		s.prevLive.nextLive = s.nextLive
	} else {
		a.first = s.nextLive
	}
	if s.nextLive != nil {
		s.nextLive.prevLive = s.prevLive
	}
	s.prevLive, s.nextLive = nil, nil
	a.count--
}

// Uses says whether a request, or the beginning of one, still needs cfg. Linear. Runs on the loop.
func (a *Acceptor) Uses(cfg *Config) bool {
	for s := a.first; s != nil; s = s.nextLive {
		if s.self.uses(cfg) {
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
// becomes one of all responses. HTTP/2 clients are told at once when it is all. Runs on the loop.
func (a *Acceptor) Drain(over time.Duration) {
	if a.drainFrom == 0 {
		a.drainFrom, a.drainOver = max(1, a.w.Loop.Now()), int64(over)
	} else if over == 0 {
		a.drainOver = 0
	}
	a.drainNow = true
	if a.drainOver == 0 {
		a.shutDown(false)
	}
}

func (a *Acceptor) shutDown(idle bool) {
	for s := a.first; s != nil; {
		next := s.nextLive
		s.self.shutDown(idle)
		s = next
	}
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
	a.shutDown(true)
}

// Conns returns how many connections live, and Busy how many have a request under way.
func (a *Acceptor) Conns() int { return a.count }

// Busy counts the connections that have a request, or the beginning of one. Linear.
func (a *Acceptor) Busy() int {
	n := 0
	for s := a.first; s != nil; s = s.nextLive {
		if s.self.busy() {
			n++
		}
	}
	return n
}

// CloseAll ends every connection at once. Runs on the loop.
func (a *Acceptor) CloseAll() {
	for s := a.first; s != nil; {
		next := s.nextLive
		s.self.abort()
		s = next
	}
}
