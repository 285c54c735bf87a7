package engine

import (
	"time"

	"github.com/sluiceproxy/sluice/engine/sock"
	"github.com/sluiceproxy/sluice/pool/buf"
)

// Transform stands between a connection's socket and its handler and makes the
// bytes of one from those of the other, as package tlsio does. All calls come on
// the loop. It answers through the Conn's Established, Fail, ReadWire, WriteWire
// and SendWire, which are for it alone.
//
//	Start -> OnReady... -> Established -> Read, Write... -> CloseWrite -> OnClosed
//	         opening exchange             open connection
type Transform interface {
	// Start begins the opening exchange: the socket is connected. received is what
	// came from it before and was not consumed, valid until return.
	Start(c *Conn, received []byte)

	// OnReady says that the socket may have bytes, or room. Only between Start and
	// Established.
	OnReady(c *Conn)

	// Read makes the next bytes for the handler in p, which is not empty. IOMoved: n
	// bytes, at least one; more says that others are at hand without the socket.
	// IOAgain: the socket is drained. IOEnd: the peer ended its direction in order.
	// IOFailed: the connection is closing, by Fail or within ReadWire.
	Read(c *Conn, p []byte) (n int, more bool, st IOState)

	// Write takes all of a, then b, from the handler. Either may be empty.
	Write(c *Conn, a, b []byte)

	// CloseWrite says that no Write follows: the transform writes its own end mark.
	CloseWrite(c *Conn)

	// OnClosed is the last call, once, after the handler's OnClosed.
	OnClosed(c *Conn, r CloseReason)
}

// SetTransform puts t between the socket and the handler: once, for an accepted
// connection from OnAccept on, for a dialled one from Dial on, while nothing waits
// to be written (Buffered is 0). Bytes that are kept when the running handler
// returns are the first the transform gets, and a pause ends.
//
// The opening exchange then runs as part of connecting: what is written waits, and
// the handler hears nothing before OnConnected, which follows on accepted
// connections too, or OnClosed. timeout bounds the exchange, unless a
// DialSpec.Timeout bounds it together with connecting; 0 or less does not.
//
// It reports false, and t gets no call, when the connection has ended.
func (c *Conn) SetTransform(t Transform, timeout time.Duration) bool {
	c.check()
	if c.flags&fClosed != 0 {
		return false
	}
	x := c.extend()
	x.transform, x.opening = t, timeout
	if c.flags&fConnecting == 0 {
		c.flags |= fConnecting | fDoConnected
		c.pend()
	}
	c.flags |= fTransform
	c.flags &^= fPaused
	return true
}

// Transform returns what SetTransform was given, nil for most connections. Also
// valid within OnClosed.
func (c *Conn) Transform() Transform {
	if c.flags&fTransform == 0 {
		return nil
	}
	return c.ext.transform
}

// startTransform begins the opening exchange.
func (c *Conn) startTransform() {
	x := c.ext
	c.flags |= fOpening | fWireReady
	if x.opening > 0 && !x.timer.Armed() {
		c.loop.Arm(&x.timer, x.opening)
	}
	kept := c.kept
	if kept == nil {
		x.transform.Start(c, nil)
		return
	}
	c.kept = nil
	x.transform.Start(c, kept.Bytes())
	c.loop.slabs.PutSlab(kept)
}

// Established says that the opening exchange is done, but for sending rest. What was
// written meanwhile goes to Write, then the handler gets OnConnected, within this
// call, and reading goes on. Not within Start.
func (c *Conn) Established(rest []byte) {
	if c.flags&(fOpening|fClosed) != fOpening {
		return
	}
	c.flags &^= fOpening | fConnecting
	plain := c.out
	c.out = buf.Chain{}
	c.out.Init(&c.loop.slabs)
	c.WriteWire(rest)
	c.writeWaiting(&plain)
	if c.flags&fFinWanted != 0 {
		c.ext.transform.CloseWrite(c)
	}
	c.announced()
	if c.flags&fClosed == 0 {
		c.flags |= fReadReady | fWireReady | fDoRead
		c.pend()
	}
}

// writeWaiting passes what was written during the opening exchange to the transform.
// All of it waits in the out chain before any is sent, so that leaving the chain is
// what crosses the low watermark.
func (c *Conn) writeWaiting(plain *buf.Chain) {
	corked := c.flags & fCorked
	c.flags |= fCorked
	var piece [1][]byte
	for plain.Peek(piece[:]) > 0 {
		c.ext.transform.Write(c, piece[0], nil)
		plain.Consume(len(piece[0]))
	}
	c.flags = c.flags&^fCorked | corked
}

// Fail ends the connection with r; Err will say err.
func (c *Conn) Fail(r CloseReason, err error) {
	if c.flags&fClosed == 0 {
		c.extend().err = err
		c.end(r)
	}
}

// ReadWire receives from the socket into p, which is not empty. IOMoved: n bytes.
// IOAgain: the socket is drained, the transform is called when that changes. IOEnd:
// the peer's FIN; it is for the transform to say what that means. IOFailed: the
// connection is closing.
func (c *Conn) ReadWire(p []byte) (n int, st IOState) {
	if c.flags&fClosed != 0 {
		return 0, IOFailed
	}
	if c.flags&fWireReady == 0 {
		return 0, IOAgain
	}
	n, e := c.recv(p)
	if n > 0 {
		c.bytesRead += uint64(n)
		if n < len(p) && c.flags&(fHup|fWriteFailed) == 0 {
			c.flags &^= fWireReady
		}
		return n, IOMoved
	}
	c.flags &^= fWireReady
	switch class := sock.Classify(e); {
	case class == sock.OK:
		return 0, IOEnd
	case class != sock.Again:
		c.failed(e, class)
	case c.flags&fWriteFailed != 0:
		c.end(PeerReset)
	default:
		c.flags &^= fHup
		return 0, IOAgain
	}
	return 0, IOFailed
}

// WriteWire sends p to the socket, as Write does without a transform. p is free for
// reuse on return. Only once Established.
func (c *Conn) WriteWire(p []byte) {
	if len(p) > 0 && c.flags&(fClosed|fWriteFailed|fFinSent) == 0 {
		c.send(p)
	}
}

// SendWire sends what the socket takes of p and returns how much that was; OnReady
// follows when there is room again. Only before Established.
func (c *Conn) SendWire(p []byte) int {
	if len(p) == 0 || c.flags&(fOpening|fClosed) != fOpening {
		return 0
	}
	n, e := c.transmit(p)
	c.bytesWritten += uint64(n)
	if class := sock.Classify(e); n < len(p) && class != sock.OK && class != sock.Again {
		c.failed(e, class)
	}
	return n
}

// writeThrough is Write and Write2 of a connection with a transform.
func (c *Conn) writeThrough(a, b []byte) {
	switch {
	case len(a)+len(b) == 0 || c.flags&fNoWrite != 0:
	case c.flags&fConnecting != 0:
		c.queue(a)
		c.queue(b)
	default:
		c.ext.transform.Write(c, a, b)
	}
}

// endTransform makes the transform write its end mark, ahead of a FIN.
func (c *Conn) endTransform() {
	if c.flags&(fTransform|fConnecting|fNoWrite) == fTransform {
		c.ext.transform.CloseWrite(c)
	}
}

// readPlain is one read through the transform. drained says that neither it nor the
// socket has more for now.
func (c *Conn) readPlain(p []byte) (n int, drained bool, st IOState) {
	n, more, st := c.ext.transform.Read(c, p)
	switch st {
	case IOMoved:
		return n, !more && c.flags&fWireReady == 0, IOMoved
	case IOEnd:
		c.flags &^= fReadReady
		c.onEOF()
		if c.flags&fClosed != 0 {
			st = IOFailed
		}
	}
	return 0, true, st
}

// readThrough is one read of a connection with a transform, and its delivery.
func (c *Conn) readThrough() int {
	l := c.loop
	room := int(c.readLimit) - c.Kept()
	if room <= 0 {
		c.flags |= fPaused
		return 0
	}
	b := l.readBuf[:min(len(l.readBuf), room)]
	n, drained, st := c.readPlain(b)
	if drained {
		c.flags &^= fReadReady
	}
	if st != IOMoved {
		return 0
	}
	if c.kept != nil {
		c.kept = l.slabs.Fit(c.kept, n)
		c.kept.Append(b[:n])
		c.deliverKept()
	} else if used := c.deliver(b[:n]); used < n {
		c.keep(b[used:n], used)
	}
	return n
}
