package engine

import (
	"fmt"
	"syscall"
	"time"

	"github.com/sluiceproxy/sluice/engine/sock"
	"github.com/sluiceproxy/sluice/engine/wheel"
)

// connExt holds what few connections need at a time: a timer (dialling,
// CloseAfterFlush), the raw callbacks, a transform, a peer within the loop.
type connExt struct {
	conn   *Conn
	timer  wheel.Timer
	reader RawReader // instead of OnData: fRaw
	writer RawWriter

	memory *memoryEnd // in the place of a socket

	transform Transform
	opening   time.Duration // how long its opening exchange may take, 0 without bound
	err       error         // why it failed
}

func (c *Conn) extend() *connExt {
	if c.ext == nil {
		c.ext = c.loop.exts.Get()
		c.ext.conn = c
		c.ext.timer.Handler = c.ext
	}
	return c.ext
}

func (c *Conn) dropExt() {
	if x := c.ext; x != nil {
		c.loop.Disarm(&x.timer)
		*x = connExt{}
		c.ext = nil
		c.loop.exts.Put(x)
	}
}

// OnTimer ends an attempt to connect, an opening exchange, or a CloseAfterFlush that
// took too long.
func (x *connExt) OnTimer(*wheel.Timer) {
	c := x.conn
	switch {
	case c.flags&fClosed != 0:
	case c.flags&fConnecting != 0:
		c.errno = uint16(syscall.ETIMEDOUT)
		if c.listener != nil {
			c.end(HandshakeTimeout)
		} else {
			c.end(ConnectTimeout)
		}
	case c.flags&fFinSent == 0:
		// The peer does not read. What the kernel holds for it goes as well.
		c.resetOnClose()
		c.end(FlushTimeout)
	default:
		c.end(LocalClose)
	}
}

// Close ends the connection: unsent bytes are dropped, the peer gets a FIN (or a
// RST when bytes it sent are unread), with a Transform's end mark before it when
// nothing was dropped. Safe to call more than once.
func (c *Conn) Close() {
	if c.flags&fTransform != 0 && c.out.Len() == 0 {
		c.endTransform()
	}
	c.end(LocalClose)
}

// Reset ends the connection with a RST; unsent bytes are dropped, in the kernel
// as well.
func (c *Conn) Reset() {
	if c.flags&fClosed == 0 {
		c.resetOnClose()
		c.end(LocalReset)
	}
}

// closeTimeout is CloseAfterFlush's when none is given.
const closeTimeout = time.Second

// CloseAfterFlush writes the out chain, sends a FIN, and discards what arrives
// until the peer's FIN, so that a RST for unread input cannot destroy bytes the
// peer has yet to read (RFC 9112 9.6). Only OnClosed follows: LocalClose, or
// FlushTimeout when bytes were still unsent after timeout, or PeerReset. A
// timeout of 0 or less means one second.
func (c *Conn) CloseAfterFlush(timeout time.Duration) {
	if c.flags&(fClosed|fLinger) != 0 {
		return
	}
	if c.flags&(fConnecting|fWriteFailed) != 0 {
		c.end(LocalClose)
		return
	}
	if timeout <= 0 {
		timeout = closeTimeout
	}
	c.endTransform()
	c.Uncork()
	if c.flags&(fClosed|fWriteFailed) != 0 {
		c.end(PeerReset)
		return
	}
	c.flags |= fLinger
	c.flags &^= fPaused
	c.SetRawReader(nil)
	c.SetRawWriter(nil)
	c.loop.Arm(&c.extend().timer, timeout)
	if c.out.Len() == 0 {
		c.sendFin()
	}
	if c.flags&(fReadReady|fDelivering) != 0 || c.kept != nil {
		c.flags |= fDoRead
		c.pend()
	}
}

// Err returns what the kernel or the Transform reported when the connection failed,
// nil when it did not. Cold: it allocates.
func (c *Conn) Err() error {
	if c.ext != nil && c.ext.err != nil {
		return c.ext.err
	}
	if c.errno == 0 {
		return nil
	}
	return syscall.Errno(c.errno)
}

// String describes the connection for logs. Cold.
func (c *Conn) String() string {
	return fmt.Sprintf("conn %d fd %d remote %s kept %d buffered %d flags %#x",
		c.id, c.fd, c.remote, c.Kept(), c.Buffered(), uint32(c.flags))
}

// end closes the descriptor now and leaves OnClosed to the safe point. Buffers
// stay until then: a handler up the stack may be looking at them.
func (c *Conn) end(r CloseReason) {
	if c.flags&fClosed != 0 {
		return
	}
	c.flags |= fClosed
	c.reason = r
	l := c.loop
	if c.fd >= 0 {
		l.slots[c.fd] = nil
		sock.Close(int(c.fd))
		c.fd = -1
		if l.starved > 0 {
			l.retryAccept()
		}
	} else if c.flags&fMemory != 0 {
		c.ext.memory.close(l)
	}
	c.pend()
}

// finish delivers OnClosed and frees the connection.
func (c *Conn) finish() {
	c.flags |= fNoWrite
	if c.flags&fQuiet == 0 {
		c.handler.OnClosed(c, c.reason)
	}
	l := c.loop
	if c.flags&fTransform != 0 {
		c.ext.transform.OnClosed(c, c.reason)
	}
	c.dropExt()
	c.out.Release()
	l.slabs.PutSlab(c.kept)
	c.kept = nil
	if c.listener != nil {
		c.listener.release()
		c.listener = nil
	}
	c.handler, c.onward = nil, nil
	l.conns--
	if c.flags&fInReady == 0 {
		l.freeConn(c)
	} // else the next-turn list lets go of it first
}

// failed ends the connection after a read error.
func (c *Conn) failed(e syscall.Errno, class sock.Class) {
	if c.errno == 0 {
		c.errno = uint16(e)
	}
	if class == sock.Reset {
		c.end(PeerReset)
	} else {
		c.end(IOError)
	}
}

// writeFailed drops what is unsent. Bytes received before are delivered first:
// an origin that answers early and closes must be heard. OnClosed follows when
// the socket is drained, or once reading is resumed when it is paused; in that
// case a source waiting for OnWritable gets it, and its bytes are dropped.
func (c *Conn) writeFailed(e syscall.Errno) {
	if c.flags&(fClosed|fWriteFailed) != 0 {
		return
	}
	c.flags |= fWriteFailed | fReadReady
	c.flags &^= fBlocked
	if c.errno == 0 {
		c.errno = uint16(e)
	}
	c.out.Release()
	if c.flags&fEOF != 0 || c.flags&fLinger != 0 || sock.Classify(e) != sock.Reset {
		if sock.Classify(e) == sock.Reset {
			c.end(PeerReset)
		} else {
			c.end(IOError)
		}
		return
	}
	if c.flags&fAbove != 0 {
		c.flags &^= fAbove
		c.flags |= fDoWritable
	}
	c.flags |= fDoRead
	c.pend()
}

// checkDead looks whether a connection whose input has ended was reset since.
func (c *Conn) checkDead() {
	if e := c.socketError(); e != 0 {
		c.failed(e, sock.Classify(e))
	}
}

// connected finds out how dialling went, or goes on with an opening exchange. It
// reports whether the connection is up.
func (c *Conn) connected() bool {
	if c.flags&fOpening != 0 {
		c.flags |= fWireReady
		c.ext.transform.OnReady(c)
		return false
	}
	if c.flags&fDoConnected != 0 { // up within Dial, but its safe point is yet to come
		c.flags &^= fDoConnected
		c.announce()
		return c.flags&(fClosed|fConnecting) == 0
	}
	e := sock.ConnectResult(int(c.fd), c.remote)
	switch sock.Classify(e) {
	case sock.OK:
		c.announce()
		return c.flags&(fClosed|fConnecting) == 0
	case sock.InProgress:
		return false
	}
	c.dialFailed(e)
	return false
}

// announce makes a connected connection open, or begins its opening exchange.
func (c *Conn) announce() {
	if c.flags&fTransform != 0 {
		c.startTransform()
		return
	}
	c.flags &^= fConnecting
	c.announced()
}

func (c *Conn) announced() {
	if c.ext != nil {
		c.loop.Disarm(&c.ext.timer)
		c.shrinkExt()
	}
	c.handler.OnConnected(c)
	if c.flags&(fClosed|fWriteFailed) != 0 {
		return
	}
	if c.out.Len() > 0 && c.flags&fHoldWrite == 0 {
		c.flush()
	} else if c.out.Len() == 0 && c.flags&(fFinWanted|fFinSent) == fFinWanted {
		c.sendFin()
	}
	c.tellWriter()
}

func (c *Conn) dialFailed(e syscall.Errno) {
	c.errno = uint16(e)
	r := ConnectError
	switch sock.Classify(e) {
	case sock.Refused:
		r = ConnectRefused
	case sock.TimedOut:
		r = ConnectTimeout
	case sock.Unreachable:
		r = ConnectUnreachable
	case sock.Limit:
		r = FDLimit
	case sock.Again: // a unix listener with a full backlog
		r = ConnectRefused
	}
	c.end(r)
}
