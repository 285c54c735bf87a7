package engine

import (
	"syscall"

	"github.com/sluiceproxy/sluice/engine/sock"
)

// onReadable reads until the socket is drained, reading stops, or the turn is
// used up; then the connection waits for its next turn.
func (c *Conn) onReadable() {
	c.flags |= fReadReady | fWireReady
	left := turnBytes
	for c.flags&(fReadReady|fNoRead) == fReadReady {
		if left <= 0 {
			c.loop.nextTurn(c)
			return
		}
		if c.flags&(fRaw|fLinger|fTransform|fMemory) != 0 || c.kept != nil {
			left -= c.readSlow()
			continue
		}
		b := c.loop.readBuf
		if len(b) > int(c.readLimit) {
			b = b[:c.readLimit]
		}
		n, e := sock.Read(int(c.fd), b)
		if n <= 0 {
			c.readEnded(e)
			return
		}
		c.received(n, len(b))
		left -= n
		view := b[:n]
		if used := c.deliver(view); used < n {
			c.keep(view[used:], used)
		}
	}
}

// received counts n bytes of a read that asked for want.
func (c *Conn) received(n, want int) {
	c.bytesRead += uint64(n)
	if c.short(n, want) {
		c.flags &^= fReadReady
	}
}

// short reports whether a read of n bytes that asked for want has drained the socket:
// when they are fewer, unless an end was announced that only another read can meet.
func (c *Conn) short(n, want int) bool {
	if n == want || c.flags&(fHup|fWriteFailed) != 0 {
		return false
	}
	c.drained()
	return true
}

func (c *Conn) deliver(view []byte) int {
	c.flags |= fDelivering
	used := c.handler.OnData(c, view)
	c.flags &^= fDelivering
	if uint(used) > uint(len(view)) {
		return badCount(used, len(view))
	}
	return used
}

// keep stores what the handler left of a view in the loop's read buffer.
func (c *Conn) keep(rest []byte, used int) {
	if c.flags&(fClosed|fLinger) != 0 {
		return
	}
	s := c.loop.slabs.Slab(len(rest))
	s.Append(rest)
	c.kept = s
	c.checkFull(used)
}

// checkFull pauses reading when the limit is reached and nothing was consumed, not
// even to be a transform's.
func (c *Conn) checkFull(used int) {
	if used == 0 && c.kept.Len() >= int(c.readLimit) && c.flags&(fDoRead|fConnecting) == 0 {
		c.flags |= fPaused
	}
}

// readSlow is one read of a connection that is raw or lingering, or has no socket, a
// transform or kept bytes.
func (c *Conn) readSlow() int {
	if c.flags&fLinger != 0 {
		return c.discard()
	}
	if c.flags&fRaw != 0 {
		c.flags &^= fReadReady
		c.ext.reader.OnReadable(c)
		return turnBytes
	}
	if c.flags&fTransform != 0 {
		return c.readThrough()
	}
	if c.kept == nil {
		return c.readMemory()
	}
	return c.readMore()
}

// readMore reads behind the kept bytes, so that the view is contiguous: into the
// slab's free room and, past it, the loop's buffer. The slab grows only by what
// arrived, so a peer that dribbles holds no more than it sent.
func (c *Conn) readMore() int {
	l, s := c.loop, c.kept
	room := int(c.readLimit) - s.Len()
	if room <= 0 {
		c.flags |= fPaused
		return 0
	}
	a, b := s.Room(), l.readBuf
	a = a[:min(len(a), room)]
	b = b[:min(len(b), room-len(a))]
	var n int
	var e syscall.Errno
	switch {
	case len(a) == 0:
		n, e = c.recv(b)
	case len(b) == 0:
		n, e = c.recv(a)
	default:
		n, e = c.recv2(a, b)
	}
	if n <= 0 {
		c.readEnded(e)
		return 0
	}
	c.received(n, len(a)+len(b))
	if over := n - len(a); over > 0 {
		s.Wrote(len(a))
		s = l.slabs.Fit(s, over)
		s.Append(b[:over])
		c.kept = s
	} else {
		s.Wrote(n)
	}
	c.deliverKept()
	return n
}

// deliverKept hands the kept bytes to the handler.
func (c *Conn) deliverKept() {
	used := c.deliver(c.kept.Bytes())
	if c.flags&fClosed != 0 {
		return // finish frees the slab
	}
	c.kept.Read(used)
	if c.kept.Len() > 0 {
		c.checkFull(used)
	}
	c.trimKept()
}

// trimKept frees the kept slab when it is empty, and exchanges one that is far
// too big.
func (c *Conn) trimKept() {
	if c.kept.Len() == 0 || c.flags&fLinger != 0 {
		c.loop.slabs.PutSlab(c.kept)
		c.kept = nil
		return
	}
	c.kept = c.loop.slabs.Fit(c.kept, 0)
}

// resume delivers kept bytes, then goes on reading.
func (c *Conn) resume() {
	if c.flags&(fPaused|fConnecting) != 0 {
		return
	}
	if c.kept != nil {
		if c.flags&fLinger != 0 {
			c.trimKept()
		} else if c.flags&fRaw == 0 {
			c.deliverKept()
		}
	}
	if c.flags&fReadReady != 0 {
		c.onReadable()
	}
}

// discard reads and forgets (CloseAfterFlush).
func (c *Conn) discard() int {
	n, e := c.recv(c.loop.readBuf)
	if n <= 0 {
		c.readEnded(e)
		return 0
	}
	c.received(n, len(c.loop.readBuf))
	return n
}

// readEnded handles a read that returned no bytes: end of stream, nothing there,
// or an error.
func (c *Conn) readEnded(e syscall.Errno) {
	c.flags &^= fReadReady
	switch class := sock.Classify(e); class {
	case sock.Again:
		c.flags &^= fHup
		c.drained()
		if c.flags&fWriteFailed != 0 {
			c.end(PeerReset)
		}
	case sock.OK:
		c.onEOF()
	default:
		c.failed(e, class)
	}
}

func (c *Conn) onEOF() {
	c.flags |= fEOF
	switch {
	case c.flags&fWriteFailed != 0:
		// The reset that failed the write also ended the stream, perhaps short:
		// this is no orderly end.
		c.end(PeerReset)
	case c.flags&fLinger != 0:
		if c.flags&fFinSent != 0 {
			c.end(LocalClose)
		}
	case c.flags&fRaw != 0: // whoever reads raw was told by the read itself
		c.endIfBoth()
	default:
		c.handler.OnReadClosed(c)
		c.endIfBoth()
	}
}

// endIfBoth ends the connection at the safe point once both directions have ended.
func (c *Conn) endIfBoth() {
	if c.flags&(fEOF|fFinSent|fClosed|fLinger) == fEOF|fFinSent {
		c.flags |= fDoEnd
		c.pend()
	}
}
