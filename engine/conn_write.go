package engine

import (
	"syscall"

	"github.com/sluiceproxy/sluice/engine/sock"
)

// Write sends p: at once what the socket takes, the rest from the out chain as
// room comes. p is copied where needed and free for reuse on return. It always
// accepts; ask Above and pause the source. After CloseWrite, a failed write or
// the end, bytes are dropped. One system call at most; no allocation.
func (c *Conn) Write(p []byte) {
	c.check()
	if len(p) == 0 || c.flags&(fNoWrite|fTransform) != 0 {
		c.writeThrough(p, nil)
		return
	}
	c.send(p)
}

// send is Write past its checks.
func (c *Conn) send(p []byte) {
	if c.flags&fHoldWrite == 0 && c.out.Len() == 0 {
		var n int
		var e syscall.Errno
		if c.flags&fMemory == 0 {
			n, e = sock.Write(int(c.fd), p)
		} else {
			n, e = c.ext.memory.write(p)
		}
		c.bytesWritten += uint64(n)
		if n == len(p) {
			return
		}
		if c.writeBlocked(e) {
			return
		}
		p = p[n:]
	}
	c.queue(p)
}

// Write2 sends a, then b, with one system call. See Write.
func (c *Conn) Write2(a, b []byte) {
	c.check()
	if len(a) == 0 || len(b) == 0 {
		c.Write(a)
		c.Write(b)
		return
	}
	if c.flags&(fNoWrite|fTransform) != 0 {
		c.writeThrough(a, b)
		return
	}
	if c.flags&fHoldWrite == 0 && c.out.Len() == 0 {
		n, e := c.transmit2(a, b)
		c.bytesWritten += uint64(n)
		if n == len(a)+len(b) {
			return
		}
		if c.writeBlocked(e) {
			return
		}
		if n >= len(a) {
			a, b = nil, b[n-len(a):]
		} else {
			a = a[n:]
		}
	}
	if len(a) > 0 {
		c.queue(a)
	}
	c.queue(b)
}

// writeBlocked notes that the socket took less than offered: the poller reports
// when there is room again. It reports true when the write failed for good.
func (c *Conn) writeBlocked(e syscall.Errno) bool {
	if e != 0 && sock.Classify(e) != sock.Again {
		c.writeFailed(e)
		return true
	}
	c.block()
	return false
}

func (c *Conn) queue(p []byte) {
	c.out.Append(p)
	if c.out.Len() >= int(c.high) {
		c.flags |= fAbove
	}
}

// Cork makes writes collect until Uncork sends them with one system call.
func (c *Conn) Cork() { c.flags |= fCorked }

// Uncork sends what collected since Cork.
func (c *Conn) Uncork() {
	c.flags &^= fCorked
	if c.out.Len() > 0 && c.flags&(fHoldWrite|fClosed) == 0 {
		c.flush()
	}
}

// Buffered returns how many bytes wait in the out chain.
func (c *Conn) Buffered() int { return c.out.Len() }

// Above reports whether the out chain reached the high watermark and has not
// fallen to the low one since. OnWritable follows when it does.
func (c *Conn) Above() bool { return c.flags&fAbove != 0 }

// CloseWrite sends a FIN after the out chain. Reading goes on; when the peer's
// FIN has been read as well the connection ends (PeerClosed), also with bytes kept:
// whoever leaves some unconsumed takes them in OnReadClosed (KeptView) at the latest.
func (c *Conn) CloseWrite() {
	if c.flags&fNoWrite != 0 {
		return
	}
	c.endTransform()
	c.flags |= fFinWanted
	if c.flags&fCorked != 0 {
		c.Uncork()
	}
	if c.out.Len() == 0 && c.flags&(fConnecting|fClosed|fWriteFailed) == 0 {
		c.sendFin()
	}
}

func (c *Conn) sendFin() {
	if c.flags&fFinSent == 0 {
		c.flags |= fFinSent
		if c.flags&fEOF == 0 {
			c.shutdownWrite()
		} // else the descriptor is closed next, which sends the FIN as well
	}
	switch {
	case c.flags&fLinger == 0:
		c.endIfBoth()
	case c.flags&fEOF != 0:
		c.end(LocalClose)
	}
}

// onWritable goes on with what a full socket left.
func (c *Conn) onWritable() {
	c.flags &^= fBlocked
	if c.out.Len() > 0 && c.flags&fClosed == 0 {
		c.flush()
	}
	c.tellWriter()
}

// tellWriter calls the raw writer when the socket may take bytes.
func (c *Conn) tellWriter() {
	if c.flags&(fBlocked|fClosed) == 0 && c.ext != nil && c.ext.writer != nil {
		c.ext.writer.OnRawWritable(c)
	}
}

// flush writes the out chain until it is empty or the socket full.
func (c *Conn) flush() {
	l := c.loop
	for c.out.Len() > 0 {
		k := c.out.Peek(l.pieces[:])
		offered := 0
		for _, p := range l.pieces[:k] {
			offered += len(p)
		}
		var n int
		var e syscall.Errno
		if k == 1 {
			n, e = c.transmit(l.pieces[0])
		} else {
			n, e = c.transmitV(l.pieces[:k])
		}
		clear(l.pieces[:k])
		c.bytesWritten += uint64(n)
		c.out.Consume(n)
		if n < offered {
			if c.writeBlocked(e) {
				return
			}
			break
		}
	}
	c.belowLow()
	if c.out.Len() == 0 && c.flags&(fFinWanted|fLinger) != 0 {
		c.sendFin()
	}
}

// belowLow makes OnWritable follow when the low watermark was crossed.
func (c *Conn) belowLow() {
	if c.flags&fAbove == 0 || c.out.Len() > int(c.high)/2 {
		return
	}
	c.flags &^= fAbove
	if c.flags&(fNoWrite&^fFinWanted) == 0 {
		c.flags |= fDoWritable
		c.pend()
	}
}
