package engine

import (
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/sluiceproxy/sluice/engine/sock"
	"github.com/sluiceproxy/sluice/engine/wheel"
)

const (
	acceptsPerEvent = 64
	minStarve       = 50 * time.Millisecond
	maxStarve       = time.Second
)

// acceptSocket is one loop's socket of a listener. Loop-owned.
type acceptSocket struct {
	ln       *Listener
	part     *Listener // whose count this socket's connections are in: ln, unless that is exactly balanced
	loop     *Loop
	acceptor Acceptor
	fd       int
	ready    bool // connections may be waiting
	starved  bool // backing off: waits for the timer or a close
	wait     time.Duration
	timer    wheel.Timer

	// Exactly balanced listeners only; any loop.
	inbox    []handover // connections that other loops accepted for this one
	lastSlot atomic.Uint32
}

// open starts accepting, on the loop.
func (s *acceptSocket) open() {
	s.timer.Handler = s
	s.loop.accepts = append(s.loop.accepts, s)
	if err := s.loop.poller.AddReader(s.fd); err != nil {
		s.loop.group.opts.Logger.Error("register a listener", "addr", s.ln.addr.String(), "error", err)
	}
}

// onReadable accepts until nobody waits, or the turn is used up.
func (s *acceptSocket) onReadable() {
	s.ready = true
	errs := 0
	for range s.ln.perEvent {
		if s.starved || s.fd < 0 || s.ln.paused.Load() {
			return
		}
		fd, remote, e := sock.Accept(s.fd)
		switch sock.Classify(e) {
		case sock.OK:
			s.wait = 0
			if !s.ln.admit() {
				sock.Close(fd)
				continue
			}
			if s.inbox == nil {
				s.hand(fd, remote)
			} else {
				s.place(fd, remote)
			}
		case sock.Again:
			s.ready = false
			return
		case sock.Limit, sock.Memory:
			s.starve()
			return
		case sock.Reset:
			// The client gave up while it waited; the next may not have.
		default:
			// Errors of the network under the new connection (accept(2) lists them)
			// concern it alone; those of a closed listener end the turn.
			if s.ln.closed.Load() {
				return
			}
			s.ln.acceptErrors.Add(1)
			errs++
		}
	}
	if errs == s.ln.perEvent { // nothing but errors: it must not spin
		s.backOff()
		return
	}
	s.loop.acceptTurn = true
	s.loop.wake()
}

// hand gives a connection that was admitted to the acceptor, and has its safe point.
func (s *acceptSocket) hand(fd int, remote netip.AddrPort) {
	flags := connFlags(0)
	if s.ln.unix {
		flags = fUnix
	}
	c := s.loop.newConn(fd, flags)
	c.remote = remote
	c.listener = s.part
	s.offer(c)
	s.loop.safePoint()
}

func (s *acceptSocket) offer(c *Conn) {
	c.handler = s.acceptor.OnAccept(c)
	if c.handler == nil {
		s.ln.refused.Add(1)
		c.flags |= fQuiet
		c.end(LocalClose)
		return
	}
	if c.flags&fClosed != 0 {
		return
	}
	if err := c.registerAccepted(); err != nil {
		s.loop.group.opts.Logger.Error("register an accepted connection", "error", err)
		c.end(IOError)
	}
}

// starve stops accepting until a descriptor may be free.
func (s *acceptSocket) starve() {
	s.ln.fdPauses.Add(1)
	s.backOff()
}

// backOff stops accepting until one of this loop's connections closes, or 50 ms
// (doubling to 1 s) go by. The backlog holds who waits.
func (s *acceptSocket) backOff() {
	s.starved = true
	s.loop.starved++
	s.wait = min(max(2*s.wait, minStarve), maxStarve)
	s.loop.Arm(&s.timer, s.wait)
}

// feed ends a starve; accepting goes on in the next turn.
func (s *acceptSocket) feed() {
	s.starved = false
	s.loop.starved--
	s.loop.Disarm(&s.timer)
	s.loop.acceptTurn = true
	s.loop.wake()
}

// OnTimer tries again after a starve.
func (s *acceptSocket) OnTimer(*wheel.Timer) {
	if s.starved {
		s.feed()
	}
}
