package worker

import (
	"github.com/sluiceproxy/sluice/codec/http1"
	"github.com/sluiceproxy/sluice/engine"
)

// joinBytes is the largest body piece that is copied behind its head rather than gathered: below it
// one write(2) of copied bytes costs no more than a writev(2).
const joinBytes = 2048

// held is a head that was serialised and waits for the first body bytes of the same event, so that
// both leave in one system call. At most one at a time per loop; FlushHeads runs before the event
// ends.
type held struct {
	c    *engine.Conn
	buf  []byte
	soon bool // FlushSoon's flush is to come
}

// HeadBuffer returns the buffer to append c's head to: what is already held for c, else empty.
func (w *Worker) HeadBuffer(c *engine.Conn) []byte {
	if w.held.c != c {
		w.FlushHeads()
		w.held.buf = w.held.buf[:0]
	}
	return w.held.buf
}

// HoldHead keeps b, which was appended to HeadBuffer(c), until the next write to c or FlushHeads.
// It returns how many bytes were added.
func (w *Worker) HoldHead(c *engine.Conn, b []byte) int {
	n := len(b) - len(w.held.buf)
	w.held.c, w.held.buf = c, b
	return n
}

// FlushHeads writes what is held.
func (w *Worker) FlushHeads() {
	if c := w.held.c; c != nil {
		w.held.c = nil
		c.Write(w.held.buf)
		w.trim()
	}
}

// FlushSoon makes FlushHeads follow at the end of the event, for callers that do not know who ends it.
func (w *Worker) FlushSoon() {
	if !w.held.soon {
		w.held.soon = true
		w.Loop.Defer((*flushSoon)(w))
	}
}

// flushSoon is a Worker that flushes.
type flushSoon Worker

// Run implements engine.Task.
func (f *flushSoon) Run(*engine.Loop) {
	f.held.soon = false
	(*Worker)(f).FlushHeads()
}

// DropHead forgets what is held for c.
func (w *Worker) DropHead(c *engine.Conn) {
	if w.held.c == c {
		w.held.c = nil
	}
}

// maxHeldBytes bounds the buffer one huge head leaves behind.
const maxHeldBytes = 64 << 10

func (w *Worker) trim() {
	if cap(w.held.buf) > maxHeldBytes {
		w.held.buf = make([]byte, 0, 4096)
	}
	w.held.buf = w.held.buf[:0]
}

// WriteData writes p to c behind what is held for it. more says that the caller has asked for FlushSoon,
// and more of the body may follow in this event: small pieces then collect.
func (w *Worker) WriteData(c *engine.Conn, p []byte, more bool) {
	if more && len(p) < joinBytes {
		b := append(w.HeadBuffer(c), p...)
		w.held.c, w.held.buf = c, b
		if len(b) >= joinBytes {
			w.FlushHeads()
		}
		return
	}
	if w.held.c != c {
		if len(p) > 0 {
			c.Write(p)
		}
		return
	}
	if len(p) <= joinBytes {
		w.held.buf = append(w.held.buf, p...)
		w.FlushHeads()
		return
	}
	w.held.c = nil
	c.Write2(w.held.buf, p)
	w.trim()
}

// WriteChunk writes p as one chunk of a chunked body (RFC 9112 7.1), and the last chunk when end.
// more is WriteData's. It returns how many bytes that are on the wire.
func (w *Worker) WriteChunk(c *engine.Conn, p []byte, end, more bool) int {
	b := w.HeadBuffer(c)
	before := len(b)
	if len(p) > 0 {
		b = http1.AppendChunk(b, len(p))
	}
	tail := crlf
	switch {
	case end && len(p) > 0:
		tail = lastChunkAfterData
	case end:
		tail = lastChunk
	case len(p) == 0:
		return 0
	}
	n := len(b) - before + len(p) + len(tail)
	if len(p) <= joinBytes {
		b = append(append(b, p...), tail...)
		w.held.c, w.held.buf = c, b
		if !more || end || len(b) >= joinBytes {
			w.FlushHeads()
		}
		return n
	}
	c.Write2(b, p)
	// The chunk's end leaves with the next chunk of this event, or when the event ends.
	w.held.c, w.held.buf = c, append(b[:0], tail...)
	return n
}

// gatherBytes is how much of what WriteSoon gets waits at most.
const gatherBytes = 64 << 10

// gathered are the connections WriteSoon holds back. One that is closed meanwhile is no harm: Uncork of a
// connection that is not corked does nothing, whosever it is by then.
type gathered struct{ conns []*engine.Conn }

// WriteSoon writes p to c at the end of the event, in one system call with what else comes for it until
// then. It is for the data of frames, of which one read brings several and pieces of others.
func (w *Worker) WriteSoon(c *engine.Conn, p []byte) {
	if len(p) == 0 {
		return
	}
	if w.held.c == c {
		w.FlushHeads()
	}
	if c.Buffered() == 0 { // else it is held back already, or waits for its socket
		c.Cork()
		if len(w.gathered.conns) == 0 {
			w.Loop.Defer((*sendGathered)(w))
		}
		w.gathered.conns = append(w.gathered.conns, c)
	}
	c.Write(p)
	if c.Buffered() >= gatherBytes || c.Above() {
		c.Uncork()
	}
}

// sendGathered is a Worker that sends what WriteSoon held back.
type sendGathered Worker

// Run implements engine.Task.
func (s *sendGathered) Run(*engine.Loop) {
	g := &s.gathered
	for i, c := range g.conns {
		c.Uncork()
		g.conns[i] = nil
	}
	g.conns = g.conns[:0]
}

var (
	crlf               = []byte("\r\n")
	lastChunk          = []byte("0\r\n\r\n")
	lastChunkAfterData = []byte("\r\n0\r\n\r\n")
)
