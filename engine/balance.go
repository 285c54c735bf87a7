package engine

import (
	"net/netip"
	"sync/atomic"

	"github.com/sluiceproxy/sluice/engine/sock"
)

// handoverSlots is how many connections may be on their way to one loop at a time.
const handoverSlots = 128

// handover is a place for one connection on its way from the loop that accepted it
// to the one that shall have it: a message of that loop's mailbox, and used again
// and again, so that handing over does not allocate.
//
//	state  event                                   -> next
//	free   an accepting loop claims it             -> busy
//	busy   the connection is written               -> filled, then the message is posted
//	       the connection is read                  -> free
//	filled the receiving loop gets the message,    -> busy; who makes this step has
//	       its socket closes, or the sender           the descriptor, the others
//	       takes it back                              find nothing
type handover struct {
	to    *acceptSocket
	state atomic.Uint32
	conn  queued
}

const (
	slotFree uint32 = iota
	slotBusy
	slotFilled
)

// take empties the slot, if it is filled.
func (h *handover) take() (q queued, ok bool) {
	if !h.state.CompareAndSwap(slotFilled, slotBusy) {
		return q, false
	}
	q = h.conn
	h.state.Store(slotFree)
	return q, true
}

// Run receives the connection, on its loop. Somebody else may have taken it: the
// message is older than the slot's filling then, or younger.
func (h *handover) Run() {
	if q, ok := h.take(); ok {
		h.to.receive(q)
	}
}

// newParts gives each socket of an exactly balanced listener its own count and the
// slots in which it receives.
func (l *Listener) newParts() {
	for _, s := range l.sockets {
		s.part = &Listener{whole: l, group: l.group}
		s.inbox = make([]handover, handoverSlots)
		for i := range s.inbox {
			s.inbox[i].to = s
		}
	}
}

// fewest counts a connection in where there are fewest, with from rather than
// elsewhere when that is the same, and returns that socket. Any goroutine.
func (l *Listener) fewest(from *acceptSocket) *acceptSocket {
	for {
		to, least := from, from.part.active.Load()
		for _, s := range l.sockets {
			if n := s.part.active.Load(); n < least {
				to, least = s, n
			}
		}
		// When it has changed since, another connection came or went: look again.
		if to.part.active.CompareAndSwap(least, least+1) {
			return to
		}
	}
}

// place gives a connection that was admitted to the loop that has the fewest. It
// stays here when that is this loop, or cannot be told now, or when the listener is
// closing: Close promises that loops get their connections before later messages.
func (s *acceptSocket) place(fd int, remote netip.AddrPort) {
	q := queued{fd, remote}
	s.ln.placing.Add(1)
	to := s
	if s.ln.closed.Load() {
		s.part.active.Add(1)
	} else {
		to = s.ln.fewest(s)
	}
	given := to != s
	if given {
		q, given = to.give(q)
	}
	s.ln.placing.Add(-1)
	if given {
		return
	}
	if to != s {
		to.part.active.Add(-1)
		s.part.active.Add(1)
	}
	s.hand(q.fd, q.remote)
}

// give puts q on its way to s's loop. When it reports false the caller has the
// connection that is returned: q, or after a stop of the loop another one to it.
func (s *acceptSocket) give(q queued) (left queued, given bool) {
	h := &s.inbox[s.lastSlot.Add(1)%handoverSlots]
	if !h.state.CompareAndSwap(slotFree, slotBusy) {
		return q, false // they are used in turn: all that follow are on their way still
	}
	h.conn = q
	h.state.Store(slotFilled)
	if s.loop.Post(h) && !s.loop.Stopped() {
		return q, true
	}
	// The mailbox is full, or the loop has stopped: it may have emptied its slots
	// before this one was filled, and will not look again.
	left, ok := h.take()
	return left, !ok
}

// receive hands a connection from another loop, or from the closing listener's
// queue, to the acceptor.
func (s *acceptSocket) receive(q queued) {
	if s.acceptor == nil { // closed before it was open
		s.drop(q)
		return
	}
	s.hand(q.fd, q.remote)
}

// receiveAll receives what is on its way. The listener is closed, so nothing is
// put on its way after.
func (s *acceptSocket) receiveAll() {
	for i := range s.inbox {
		s.inbox[i].Run()
	}
}

// dropAll closes what is on its way to a loop that has stopped.
func (s *acceptSocket) dropAll() {
	for i := range s.inbox {
		if q, ok := s.inbox[i].take(); ok {
			s.drop(q)
		}
	}
}

// drop closes a connection that no loop can have any more.
func (s *acceptSocket) drop(q queued) {
	sock.Close(q.fd)
	s.part.release()
}
