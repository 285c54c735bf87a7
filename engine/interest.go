package engine

import "github.com/sluiceproxy/sluice/engine/poll"

// asks is what the poller is to report of a socket beside its end and failures. Edges that
// nobody waits for wake the loop in vain, so it is not all from the start.
//
//	asksReads (accepted)    a write was blocked -> asksAll
//	asksRoomToo (dialled)   the same; told of room in vain -> asksReads
//	asksAll                 stays: who was blocked once often is again
//
// While a connection is fMuted it is room alone, and asks what it will be again. Memory
// connections have no poller.
type asks uint8

const (
	asksReads asks = iota
	asksRoomToo
	asksAll
)

// block notes that the socket took less than offered: an event follows when there is room.
func (c *Conn) block() {
	c.flags |= fBlocked
	if c.asks == asksAll {
		return
	}
	if c.asks == asksReads && c.flags&(fMuted|fMemory|fClosed) == 0 {
		c.asked(c.loop.poller.All(int(c.fd)))
	}
	c.asks = asksAll
}

// narrow follows word of room that no write waits for. Splicing is interrupted by it once
// a turn: when bytes that were announced have been read already, room is all that is left
// to report.
func (c *Conn) narrow() {
	if c.asks == asksRoomToo && c.flags&(fMuted|fMemory|fClosed) == 0 {
		c.asks = asksReads
		c.asked(c.loop.poller.Reads(int(c.fd)))
	}
}

// unread notes that a raw reader is about to be told of bytes. One that was told before
// and has not read waits for something else, most often for room at a slower peer: then
// each further segment would be one more event, so there are none until it has drained
// the socket.
func (c *Conn) unread() {
	if c.flags&(fUnread|fMuted|fMemory|fClosed) == fUnread {
		c.flags |= fMuted
		c.asked(c.loop.poller.Room(int(c.fd)))
	}
	c.flags |= fUnread
}

// drained follows a read that left the socket empty.
func (c *Conn) drained() {
	if c.flags&(fMuted|fClosed) != fMuted {
		return
	}
	c.flags &^= fMuted
	if c.asks == asksAll {
		c.asked(c.loop.poller.All(int(c.fd)))
	} else {
		c.asks = asksReads
		c.asked(c.loop.poller.Reads(int(c.fd)))
	}
}

// asked ends a connection whose events may not come any more.
func (c *Conn) asked(err error) {
	if err != nil {
		c.loop.group.opts.Logger.Error("register a connection again", "error", err)
		c.end(IOError)
	}
}

// registerAccepted and registerDialled begin the reports.
func (c *Conn) registerAccepted() error {
	if poll.Selective {
		return c.loop.poller.AddReader(int(c.fd))
	}
	return c.registerDialled()
}

func (c *Conn) registerDialled() error {
	c.asks = asksRoomToo
	return c.loop.poller.Add(int(c.fd))
}
