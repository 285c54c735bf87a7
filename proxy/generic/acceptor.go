package generic

import (
	"time"

	"github.com/sluiceproxy/sluice/codec/frame"
	"github.com/sluiceproxy/sluice/engine"
	"github.com/sluiceproxy/sluice/proxy/cluster"
	"github.com/sluiceproxy/sluice/proxy/listener"
	"github.com/sluiceproxy/sluice/proxy/reason"
	"github.com/sluiceproxy/sluice/proxy/streaminfo"
	"github.com/sluiceproxy/sluice/proxy/worker"
)

// Acceptor is one loop's end of a generic filter chain: it makes a session of each connection and knows
// the live ones. Loop-owned.
type Acceptor struct {
	w       *worker.Worker
	live    *Live
	account *listener.Account

	first *session // live sessions
	count int

	streams *stream // free list
	kept    int

	draining, healthFailed bool
	drainOver              time.Duration
	complainedNs           int64

	// Scratch of the event at hand.
	frame   frame.Frame
	request Request
	info    streaminfo.Info
	message streaminfo.Generic
	choice  cluster.Choice
	text    []byte
}

var (
	_ listener.Terminal = (*Acceptor)(nil)
	_ worker.Settler    = (*Acceptor)(nil)
)

// NewAcceptor makes a loop's end of a filter chain. live is shared with the control plane, which swaps
// the Config. Whoever makes it adds it to the worker's settlers.
func NewAcceptor(w *worker.Worker, live *Live, account *listener.Account) *Acceptor {
	return &Acceptor{w: w, live: live, account: account}
}

// maxKeptStreams bounds what a burst leaves behind; a stream is about 600 bytes.
const maxKeptStreams = 4096

// take returns a clean stream.
func (a *Acceptor) take() *stream {
	st := a.streams
	if st == nil {
		st = new(stream)
		st.held.Init(a.w.Loop.Slabs())
		return st
	}
	a.streams, st.next = st.next, nil
	a.kept--
	return st
}

// put takes a stream back.
func (a *Acceptor) put(st *stream) {
	st.reset()
	if a.kept < maxKeptStreams {
		st.next, a.streams = a.streams, st
		a.kept++
	}
}

// Serve implements listener.Terminal.
func (a *Acceptor) Serve(c *engine.Conn, facts *streaminfo.Connection) engine.Handler {
	s := &session{a: a, cfg: a.live.Load(), c: c, facts: *facts}
	s.begin()
	s.nextLive = a.first
	if a.first != nil {
		a.first.prevLive = s
	}
	a.first = s
	a.count++
	if a.draining || a.healthFailed {
		s.drain()
	}
	return s
}

func (a *Acceptor) gone(s *session) {
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

// complain logs what a peer did wrong, at most once a second: a peer must not fill the log.
func (a *Acceptor) complain(cfg *Config, what string, err error) {
	now := a.w.Loop.Now()
	if a.complainedNs != 0 && now-a.complainedNs < int64(time.Second) {
		return
	}
	a.complainedNs = now
	cfg.log.Error(what, "stat_prefix", cfg.conf.StatPrefix, "error", err)
}

// Settle implements worker.Settler: it counts the bytes of bound connections.
func (a *Acceptor) Settle() {
	for s := a.first; s != nil; s = s.nextLive {
		s.up.charge()
	}
}

// Uses says whether a session or a request needs cfg. Linear.
func (a *Acceptor) Uses(cfg *Config) bool {
	for s := a.first; s != nil; s = s.nextLive {
		if s.cfg == cfg {
			return true
		}
		for st := s.first; st != nil; st = st.next {
			if st.cfg == cfg {
				return true
			}
		}
	}
	return false
}

// Drain implements listener.Terminal (GP-35).
func (a *Acceptor) Drain(over time.Duration) {
	if a.draining && (over > 0 || a.drainOver == 0) {
		return
	}
	a.draining, a.drainOver = true, over
	a.drainAll()
}

func (a *Acceptor) drainAll() {
	for s := a.first; s != nil; {
		next := s.nextLive
		s.drain()
		s = next
	}
}

// FailHealth implements listener.Terminal.
func (a *Acceptor) FailHealth(failed bool) {
	a.healthFailed = failed
	if failed {
		a.drainAll()
	}
}

// CloseIdle implements listener.Terminal.
func (a *Acceptor) CloseIdle() { a.Drain(0) }

// CloseAll implements listener.Terminal.
func (a *Acceptor) CloseAll() {
	for s := a.first; s != nil; {
		next := s.nextLive
		s.abort(reason.GenericLocalReset)
		s = next
	}
}

// Conns implements listener.Terminal.
func (a *Acceptor) Conns() int { return a.count }

// Busy implements listener.Terminal. Linear.
func (a *Acceptor) Busy() int {
	n := 0
	for s := a.first; s != nil; s = s.nextLive {
		if s.count > 0 {
			n++
		}
	}
	return n
}
