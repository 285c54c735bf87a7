package engine

import (
	"net/netip"

	"github.com/sluiceproxy/sluice/engine/poll"
	"github.com/sluiceproxy/sluice/engine/sock"
	"github.com/sluiceproxy/sluice/pool/buf"
)

// Conn is one stream socket on one loop, or one end of a pair within it (Memory). Loop-owned: every method only there.
// Objects are reused after OnClosed has returned.
//
//	socket -> loop's read buffer -> OnData -> (rest) kept slab, <= read limit
//	Write -> socket, (rest) -> out chain, watermarks high and high/2
//
// Life: connecting (dialled only) -> open -> closed; the two directions end
// separately in between (eof; finWanted -> finSent).
//
// Reading and writing touch the front of it, a cache line or two of its three.
type Conn struct {
	flags        connFlags
	fd           int32
	onward       *Conn     // PassTo
	passedNs     int64     // when last
	kept         *buf.Slab // received, not consumed
	bytesRead    uint64
	bytesWritten uint64
	loop         *Loop
	out          buf.Chain // to be written; its length is the last word of the first line

	handler   Handler
	ext       *connExt // what few connections need, nil for most
	high      int32
	readLimit int32

	nextPending *Conn     // safe-point list
	nextReady   *Conn     // next-turn list
	listener    *Listener // accepted connections: whose count it is in
	id          uint64
	remote      netip.AddrPort
	errno       uint16
	reason      CloseReason
	asks        asks // of the poller
}

// connFlags is the state of a Conn, one bit each.
type connFlags uint32

const (
	fConnecting  connFlags = 1 << iota // dialled, or with a transform, and not yet up
	fClosed                            // descriptor gone; OnClosed follows or was delivered
	fPaused                            // PauseRead, or the read limit was reached
	fReadReady                         // the socket may have bytes nobody read yet
	fHup                               // the peer's FIN was announced: read until it is met
	fEOF                               // the FIN was read
	fWriteFailed                       // a write failed: what was received is still delivered
	fFinWanted                         // FIN follows the out chain
	fFinSent                           // our FIN is out
	fAbove                             // out chain reached the high watermark, not yet the low one
	fCorked                            // writes collect in the out chain
	fBlocked                           // the socket took less than offered: wait for Writable
	fLinger                            // CloseAfterFlush: input is discarded
	fUnix                              // no TCP options, no addresses
	fRaw                               // ext.reader is set
	fInPending                         // on the safe-point list
	fInReady                           // on the next-turn list
	fDoConnected                       // at the safe point: OnConnected
	fDoWritable                        // at the safe point: OnWritable
	fDoRead                            // at the safe point: deliver kept bytes, go on reading
	fDoEnd                             // at the safe point: both directions ended
	fQuiet                             // freed with no event (refused in OnAccept)
	fDelivering                        // OnData runs: its view may be the kept slab
	fFreed                             // on the free list (debug builds only)
	fTransform                         // ext.transform is set
	fOpening                           // connecting: the transform's opening exchange runs
	fWireReady                         // the socket itself may have bytes; with a transform only
	fMemory                            // ext.memory is in the place of a socket
	fDoMemory                          // at the safe point: its readiness
	fUnread                            // raw: OnReadable was called, and nobody has read since
	fMuted                             // the poller does not report bytes: they are known to wait

	// fNoRead: reading makes no sense now.
	fNoRead = fConnecting | fClosed | fPaused | fEOF
	// fNoWrite: bytes given to Write are dropped.
	fNoWrite = fClosed | fWriteFailed | fFinWanted | fFinSent | fLinger
	// fHoldWrite: bytes given to Write wait in the out chain.
	fHoldWrite = fConnecting | fCorked | fBlocked
)

// ID returns a number no other connection of the group has or had.
func (c *Conn) ID() uint64 { return c.id }

// Loop returns the loop the connection lives on.
func (c *Conn) Loop() *Loop { return c.loop }

// FD returns the descriptor, -1 once closed. For socket options; reading,
// writing and closing through it break the connection's bookkeeping.
func (c *Conn) FD() int { return int(c.fd) }

// Handler returns who gets the events.
func (c *Conn) Handler() Handler { return c.handler }

// SetHandler changes who gets the events, from the next one on.
func (c *Conn) SetHandler(h Handler) { c.handler = h }

// LocalAddr returns the socket's own address, zero for unix sockets and after
// the end. One system call each time.
func (c *Conn) LocalAddr() netip.AddrPort {
	if c.fd < 0 || c.flags&fUnix != 0 {
		return netip.AddrPort{}
	}
	return sock.LocalAddr(int(c.fd))
}

// RemoteAddr returns the peer's address, zero for unix sockets.
func (c *Conn) RemoteAddr() netip.AddrPort { return c.remote }

// BytesRead returns how many bytes the socket gave, consumed or not. With a
// Transform these are not the bytes the handler sees.
func (c *Conn) BytesRead() uint64 { return c.bytesRead }

// BytesWritten returns how many bytes the socket took.
func (c *Conn) BytesWritten() uint64 { return c.bytesWritten }

// Closed reports whether the connection ended; OnClosed follows or was delivered.
func (c *Conn) Closed() bool { return c.flags&fClosed != 0 }

// ReadClosed reports whether the peer's FIN was read, or what stands for it with a
// Transform.
func (c *Conn) ReadClosed() bool { return c.flags&fEOF != 0 }

// WriteClosed reports whether writing ended: CloseWrite or CloseAfterFlush was
// called, a write failed, or the connection closed.
func (c *Conn) WriteClosed() bool { return c.flags&fNoWrite != 0 }

// SetNoDelay sets TCP_NODELAY, on by default. Nothing for unix sockets.
func (c *Conn) SetNoDelay(on bool) {
	if c.fd >= 0 && c.flags&fUnix == 0 {
		sock.SetNoDelay(int(c.fd), on)
	}
}

// SetReadLimit sets the most bytes kept unconsumed (default 64 KiB, least 1).
// When they are there and OnData consumes none, reading pauses.
func (c *Conn) SetReadLimit(n int) { c.readLimit = bounded(n) }

// SetWatermarks sets how many bytes in the out chain make Above true (default
// 1 MiB). OnWritable follows when they fall to half of it.
func (c *Conn) SetWatermarks(high int) {
	c.high = bounded(high)
	if c.out.Len() >= int(c.high) {
		c.flags |= fAbove
	}
}

// bounded fits a limit into 1 byte to 1 GiB.
func bounded(n int) int32 { return int32(min(max(n, 1), 1<<30)) }

// PauseRead stops OnData until ResumeRead. No system call; a flag, not a count.
// The peer is stopped by its window once the kernel's buffer is full.
func (c *Conn) PauseRead() { c.flags |= fPaused }

// ResumeRead ends a pause. At the safe point kept bytes are delivered again, and
// then what arrived meanwhile. Outside of OnData it delivers kept bytes again
// even when reading was not paused: a handler that can now use them asks so.
func (c *Conn) ResumeRead() {
	if c.flags&fClosed != 0 || c.flags&(fPaused|fDelivering) == fDelivering {
		return
	}
	c.flags &^= fPaused
	if c.kept != nil || c.flags&(fReadReady|fDelivering) != 0 {
		c.flags |= fDoRead
		c.pend()
	}
}

// ReadPaused reports whether reading is paused.
func (c *Conn) ReadPaused() bool { return c.flags&fPaused != 0 }

// Kept returns how many received bytes wait unconsumed. Not updated within
// OnData: its result says what was consumed.
func (c *Conn) Kept() int {
	if c.kept == nil {
		return 0
	}
	return c.kept.Len()
}

// KeptView returns the kept bytes, valid until TakeKept or the handler returns.
func (c *Conn) KeptView() []byte {
	if c.kept == nil {
		return nil
	}
	return c.kept.Bytes()
}

// TakeKept says that the first n kept bytes were consumed. Not within OnData.
func (c *Conn) TakeKept(n int) {
	if c.kept == nil {
		return
	}
	c.kept.Read(min(n, c.kept.Len()))
	c.trimKept()
}

// pend puts c on the safe-point list.
func (c *Conn) pend() {
	c.check()
	if c.flags&fInPending != 0 {
		return
	}
	c.flags |= fInPending
	l := c.loop
	if l.pendingTail == nil {
		l.pendingHead = c
	} else {
		l.pendingTail.nextPending = c
	}
	l.pendingTail = c
}

// onEvent handles readiness. ev is a hint: each branch makes the system call
// that proves it, and ends harmlessly when there is nothing.
func (c *Conn) onEvent(ev poll.Events) {
	if ev&poll.Hangup != 0 {
		c.flags |= fHup
	}
	up := c.flags&fConnecting == 0
	if !up {
		if !c.connected() {
			return
		}
	}
	if ev&poll.Writable != 0 {
		if c.flags&fBlocked != 0 {
			c.onWritable()
		} else if ev == poll.Writable && up {
			c.narrow()
		}
	}
	if ev&poll.Readable != 0 {
		if c.flags&(fRaw|fTransform) == fRaw && ev&poll.Hangup == 0 {
			c.unread()
		}
		c.onReadable()
	}
	if ev&poll.Failed != 0 && c.flags&(fEOF|fClosed|fDoEnd) == fEOF {
		c.checkDead()
	}
}

// settle does what the connection's methods left for the safe point.
func (c *Conn) settle() {
	if c.flags&fClosed != 0 {
		c.finish()
		return
	}
	if c.flags&fDoConnected != 0 {
		c.flags &^= fDoConnected
		c.announce()
	}
	if c.flags&(fDoMemory|fClosed) == fDoMemory {
		c.flags &^= fDoMemory
		c.onMemory()
	}
	if c.flags&(fDoWritable|fClosed) == fDoWritable {
		c.flags &^= fDoWritable
		c.handler.OnWritable(c)
	}
	if c.flags&(fDoRead|fClosed) == fDoRead {
		c.flags &^= fDoRead
		c.resume()
	}
	if c.flags&(fDoEnd|fClosed) == fDoEnd {
		c.end(PeerClosed)
	}
}
