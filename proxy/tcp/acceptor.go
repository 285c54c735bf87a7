package tcp

import (
	"time"

	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/engine"
	"github.com/sluiceproxy/sluice/proxy/cluster"
	"github.com/sluiceproxy/sluice/proxy/listener"
	"github.com/sluiceproxy/sluice/proxy/reason"
	"github.com/sluiceproxy/sluice/proxy/streaminfo"
	"github.com/sluiceproxy/sluice/proxy/worker"
)

// Acceptor is one loop's end of a TCP filter chain: it makes a session of each connection and knows
// the live ones. Loop-owned.
type Acceptor struct {
	w       *worker.Worker
	live    *Live
	account *listener.Account

	free  *session
	kept  int
	first *session // live sessions
	count int

	draining, healthFailed bool
	drainOver              time.Duration

	// Scratch of the session at hand.
	info     streaminfo.Info
	request  header.Head // for a tunnel
	response header.Head
	criteria cluster.Criteria
	choice   cluster.Choice
	wish     worker.Wish
	text     []byte
	tlvs     []byte
	value    []byte
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

// maxKeptSessions bounds what a burst leaves behind; a session is about 1 KiB.
const maxKeptSessions = 4096

// Serve implements listener.Terminal.
func (a *Acceptor) Serve(c *engine.Conn, facts *streaminfo.Connection) engine.Handler {
	s := a.free
	if s == nil {
		s = new(session)
	} else {
		a.free = s.next
		a.kept--
		s.next = nil
	}
	s.next = a.first
	if a.first != nil {
		a.first.prev = s
	}
	a.first = s
	a.count++
	s.begin(a, c, facts)
	return s
}

// gone takes an ended session out of the live ones and keeps its object.
func (a *Acceptor) gone(s *session) {
	if s.prev != nil {
		s.prev.next = s.next
	} else {
		a.first = s.next
	}
	if s.next != nil {
		s.next.prev = s.prev
	}
	a.count--
	timer := s.timer
	*s = session{timer: timer}
	if a.kept < maxKeptSessions {
		s.next, a.free = a.free, s
		a.kept++
	}
}

// Settle implements worker.Settler: it counts what the relays have moved since the last time.
func (a *Acceptor) Settle() {
	for s := a.first; s != nil; s = s.next {
		s.charge()
	}
}

// Uses says whether a session began with cfg. Linear.
func (a *Acceptor) Uses(cfg *Config) bool {
	for s := a.first; s != nil; s = s.next {
		if s.cfg == cfg {
			return true
		}
	}
	return false
}

// Drain implements listener.Terminal. Only sessions with check_drain_close mind (OP-51).
func (a *Acceptor) Drain(over time.Duration) {
	if a.draining && (over > 0 || a.drainOver == 0) {
		return
	}
	a.draining, a.drainOver = true, over
	a.drainAll()
}

func (a *Acceptor) drainAll() {
	for s := a.first; s != nil; {
		next := s.next
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

// CloseIdle implements listener.Terminal. A session may at any time be of use to its ends, so none is
// idle.
func (a *Acceptor) CloseIdle() { a.Drain(0) }

// CloseAll implements listener.Terminal.
func (a *Acceptor) CloseAll() {
	for s := a.first; s != nil; {
		next := s.next
		s.abort(reason.Draining)
		s = next
	}
}

// Conns implements listener.Terminal.
func (a *Acceptor) Conns() int { return a.count }

// Busy implements listener.Terminal.
func (a *Acceptor) Busy() int { return a.count }
