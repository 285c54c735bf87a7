package engine

import "github.com/sluiceproxy/sluice/engine/poll"

// asks is what the poller reports of a socket but for bytes, or what it will again after
// fMuted. Edges that nobody waits for wake the loop in vain, so it is not all from the start.
//
//	reads (accepted)         a write was blocked -> all
//	readsAndRoom (dialled)   the same -> all; told of room in vain -> reads
//	all                      stays: who was blocked once often is again
//
// Memory connections have no poller.
type asks uint8

const (
	reads asks = iota
	readsAndRoom
	all
)

// block notes that the socket took less than offered: an event follows when there is room.
func (c *Conn) block() {
	c.flags |= fBlocked
	if c.asks == all {
		return
	}
	if c.asks == reads && c.flags&(fMuted|fMemory|fClosed) == 0 {
		c.asked(c.loop.poller.All(int(c.fd)))
	}
	c.asks = all
}

// narrow follows word of room that no write waits for. Splicing is interrupted by it once
// a turn: when bytes that were announced have been read already, room is all that is left
// to report.
func (c *Conn) narrow() {
	if c.asks == readsAndRoom && c.flags&(fMuted|fMemory|fClosed) == 0 {
		c.asks = reads
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
	if c.asks == all {
		c.asked(c.loop.poller.All(int(c.fd)))
	} else {
		c.asks = reads
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
	c.asks = readsAndRoom
	return c.loop.poller.Add(int(c.fd))
}
