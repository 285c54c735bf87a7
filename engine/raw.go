package engine

import (
	"syscall"

	"github.com/sluiceproxy/sluice/engine/sock"
)

// IOState is how a raw operation went.
type IOState uint8

const (
	// IOMoved: at least one byte moved.
	IOMoved IOState = iota
	// IOAgain: nothing now; the raw callback follows when that changes.
	IOAgain
	// IOEnd: the peer's FIN was read.
	IOEnd
	// IOFailed: the connection is closing (OnClosed follows), or writing failed.
	IOFailed
	// IORefused: the kernel cannot splice these descriptors, there is none, or a
	// Transform is to see the bytes; copy instead.
	IORefused
)

// SetRawReader makes r read the socket in place of OnData; nil goes back. What may wait
// in the socket is then delivered: OnReadable follows when there may be some. Kept bytes
// stay until TakeKept (or, with nil, are delivered). Within OnData the bytes not consumed
// become kept first.
func (c *Conn) SetRawReader(r RawReader) {
	c.onward = nil
	if r == nil {
		if c.flags&fRaw == 0 {
			return
		}
		c.ext.reader = nil
		c.flags &^= fRaw
		c.shrinkExt()
	} else {
		known := c.flags&(fRaw|fReadReady|fDelivering|fTransform|fMemory) == 0 && c.kept == nil
		c.extend().reader = r
		c.flags |= fRaw
		if known {
			return // nothing that was reported waits there, and what comes will be reported
		}
	}
	if c.flags&fClosed == 0 {
		c.flags |= fReadReady | fDoRead
		c.pend()
	}
}

// SetRawWriter makes w hear when the socket has room after it had none and the
// out chain is empty; nil ends that.
func (c *Conn) SetRawWriter(w RawWriter) {
	if w != nil {
		c.extend().writer = w
		return
	}
	if c.ext != nil && c.ext.writer != nil {
		c.ext.writer = nil
		c.shrinkExt()
	}
}

func (c *Conn) shrinkExt() {
	if x := c.ext; x.reader == nil && x.writer == nil && x.transform == nil && x.memory == nil && !x.timer.Armed() {
		c.dropExt()
	}
}

// ReadLater makes OnReadable be called in the connection's next turn. For a raw
// reader that stops before the socket is drained, to let others have theirs.
func (c *Conn) ReadLater() {
	if c.flags&fClosed == 0 {
		c.flags |= fReadReady
		c.loop.nextTurn(c)
	}
}

// ReadRaw receives into p, for a RawReader. drained says that the socket has no
// more for now, so no further read is needed before the next OnReadable.
func (c *Conn) ReadRaw(p []byte) (n int, drained bool, st IOState) {
	if c.flags&(fClosed|fConnecting) != 0 {
		return 0, true, IOFailed
	}
	if c.flags&fEOF != 0 {
		return 0, true, IOEnd
	}
	if c.flags&fTransform != 0 {
		return c.readPlain(p)
	}
	c.flags &^= fUnread
	n, e := c.recv(p)
	if n > 0 {
		c.bytesRead += uint64(n)
		return n, c.short(n, len(p)), IOMoved
	}
	return 0, true, c.rawReadEnded(e)
}

// Forward receives into p, for a RawReader, and writes what came to dst: ReadRaw and
// Write in one.
func (c *Conn) Forward(dst *Conn, p []byte) (n int, drained bool, st IOState) {
	dst.check()
	if c.flags&(fClosed|fConnecting|fEOF|fTransform|fMemory) != 0 || dst.flags&(fTransform|fMemory) != 0 || !dst.WritesAtOnce() {
		if n, drained, st = c.ReadRaw(p); n > 0 {
			dst.Write(p[:n])
		}
		return n, drained, st
	}
	c.flags &^= fUnread
	n, e, w, we := sock.Forward(int(c.fd), int(dst.fd), p)
	c.bytesRead += uint64(n)
	dst.bytesWritten += uint64(w)
	return c.forwarded(dst, p, n, e, w, we)
}

// forwarded is what follows a sock.Forward from c to dst.
func (c *Conn) forwarded(dst *Conn, p []byte, n int, e syscall.Errno, w int, we syscall.Errno) (int, bool, IOState) {
	if n <= 0 {
		return 0, true, c.rawReadEnded(e)
	}
	if w < n && !dst.writeBlocked(we) {
		dst.queue(p[w:n])
	}
	return n, c.short(n, len(p)), IOMoved
}

// PassTo makes c, whose raw reader p is, pass what it receives on to dst by itself: as
// long as a piece, at most a read buffer, is all that has come, and dst takes it at
// once. It is for small messages, which then touch nothing but the two connections.
// p hears of all else. EndPass or SetRawReader ends it, within the OnClosed of either
// connection at the latest. It reports false, and does nothing, when either has a
// Transform or is one end of a pair within the loop.
func (c *Conn) PassTo(dst *Conn, p Passer) bool {
	if (c.flags|dst.flags)&(fTransform|fMemory) != 0 {
		return false
	}
	c.onward, c.passedNs = dst, 0
	c.ext.reader = p
	return true
}

// EndPass ends PassTo: p reads again.
func (c *Conn) EndPass() { c.onward = nil }

// LastPassed returns the Stamp of when c last passed something on since PassTo, 0
// when it did not. How much that was BytesRead tells.
func (c *Conn) LastPassed() int64 { return c.passedNs }

// passes reports whether a raw connection that may have bytes can pass them on.
func (c *Conn) passes() bool {
	return c.onward != nil && c.kept == nil && c.onward.WritesAtOnce()
}

// pass moves a piece to where PassTo said.
func (c *Conn) pass() {
	l, dst := c.loop, c.onward
	dst.check()
	n, e, w, we := sock.Forward(int(c.fd), int(dst.fd), l.readBuf)
	c.bytesRead += uint64(n)
	dst.bytesWritten += uint64(w)
	if n > 0 && n < len(l.readBuf) && w == n && c.flags&(fHup|fWriteFailed) == 0 {
		c.passedNs = l.Stamp()
		return
	}
	moved, drained, st := c.forwarded(dst, l.readBuf, n, e, w, we)
	c.ext.reader.(Passer).OnPassed(c, moved, drained, st)
}

func (c *Conn) rawReadEnded(e syscall.Errno) IOState {
	c.readEnded(e)
	switch {
	case c.flags&fClosed != 0:
		return IOFailed
	case e == 0:
		return IOEnd
	}
	return IOAgain
}

// SpliceTo moves up to max bytes from the socket into p. IOAgain with bytes in p
// may mean that p is full, so splice into an empty pipe to know the socket drained.
func (c *Conn) SpliceTo(p *Pipe, max int) (n int, st IOState) {
	if c.flags&(fClosed|fConnecting) != 0 {
		return 0, IOFailed
	}
	if c.flags&fEOF != 0 {
		return 0, IOEnd
	}
	if c.flags&(fTransform|fMemory) != 0 {
		return 0, IORefused
	}
	c.flags &^= fUnread
	n, e := sock.Splice(int(c.fd), p.w, max)
	switch {
	case n > 0:
		c.bytesRead += uint64(n)
		p.held += n
		return n, IOMoved
	case sock.Classify(e) == sock.Refusal:
		return 0, IORefused
	case sock.Classify(e) == sock.Again && p.held > 0:
		// The socket is empty or the pipe full: the kernel does not say which.
		return 0, IOAgain
	}
	return 0, c.rawReadEnded(e)
}

// SpliceFrom moves the bytes of p to the socket. IOAgain with bytes left in the
// pipe means the socket is full: OnRawWritable follows. The out chain must be
// empty (Buffered is 0).
func (c *Conn) SpliceFrom(p *Pipe) (n int, st IOState) {
	if c.flags&fNoWrite != 0 {
		return 0, IOFailed
	}
	if c.flags&fHoldWrite != 0 {
		return 0, IOAgain
	}
	if c.flags&(fTransform|fMemory) != 0 {
		return 0, IORefused
	}
	n, e := sock.Splice(p.r, int(c.fd), p.held)
	if n > 0 {
		c.bytesWritten += uint64(n)
		p.held -= n
		return n, IOMoved // less than held does not mean full: only EAGAIN arms the edge
	}
	switch sock.Classify(e) {
	case sock.Again:
		c.block()
		return 0, IOAgain
	case sock.Refusal:
		return 0, IORefused
	}
	c.writeFailed(e)
	return 0, IOFailed
}

// WriteFrom is SpliceFrom by copying: all of p, what the socket does not take into
// the out chain. For when SpliceFrom says IORefused.
func (c *Conn) WriteFrom(p *Pipe) {
	for p.held > 0 {
		n, e := sock.ReadPipe(p.r, c.loop.readBuf)
		if n <= 0 { // cannot be; but bytes must not go missing within a stream
			c.writeFailed(e)
			p.held = 0
			return
		}
		p.held -= n
		c.Write(c.loop.readBuf[:n])
	}
}

// WriteBlocked reports whether the socket has no room (or writes wait for another
// reason), so that OnRawWritable will follow.
func (c *Conn) WriteBlocked() bool { return c.flags&fHoldWrite != 0 || c.out.Len() > 0 }

// WritesAtOnce reports whether Write gives bytes to the socket: neither WriteBlocked
// nor WriteClosed.
func (c *Conn) WritesAtOnce() bool { return c.flags&(fNoWrite|fHoldWrite) == 0 && c.out.Len() == 0 }

// Connecting reports whether the connection is still to come up.
func (c *Conn) Connecting() bool { return c.flags&fConnecting != 0 }

// WriteFailed reports whether a write met an error. OnClosed follows once what the
// peer sent before has been read.
func (c *Conn) WriteFailed() bool { return c.flags&fWriteFailed != 0 }

// PeerLost reports whether the peer has reset the connection, or FINs went both
// ways, for a RawReader that cannot read now: what was received before can still be
// read, and the end follows it. Always false for unix sockets. It asks the kernel
// only when the peer was reported to have ended its direction. Cold: it allocates.
func (c *Conn) PeerLost() bool {
	if c.flags&(fHup|fClosed|fConnecting|fUnix) != fHup {
		return false
	}
	// Not SO_ERROR: asking takes the error away, and reading would then see a FIN.
	_, err := syscall.Getpeername(int(c.fd))
	return err == syscall.ENOTCONN
}

// Pipe is a kernel pipe of a loop's pool, for splicing. It is empty when it is
// taken from the pool.
type Pipe struct {
	r, w int
	held int
}

// Held returns how many bytes are inside.
func (p *Pipe) Held() int { return p.held }

const (
	pipeBytes    = 1 << 20
	maxFreePipes = 64 // 128 descriptors a loop at most
)

// TakePipe returns an empty pipe of 1 MiB, or of what the system allows; nil when
// there is none to be had (no splice here, or no descriptors): copy instead.
func (l *Loop) TakePipe() *Pipe {
	if n := len(l.pipes); n > 0 {
		p := l.pipes[n-1]
		l.pipes = l.pipes[:n-1]
		return p
	}
	if !sock.CanSplice || l.starved > 0 {
		return nil
	}
	r, w, _, e := sock.NewPipe(pipeBytes)
	if e != 0 {
		return nil
	}
	return &Pipe{r: r, w: w}
}

// PutPipe gives a pipe back. One with bytes inside is closed: they are nobody's.
func (l *Loop) PutPipe(p *Pipe) {
	if p.held == 0 && len(l.pipes) < maxFreePipes && !l.stopped.Load() {
		l.pipes = append(l.pipes, p)
		return
	}
	sock.Close(p.r)
	sock.Close(p.w)
	p.held = 0
}
