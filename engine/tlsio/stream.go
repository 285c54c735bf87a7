package tlsio

import (
	"crypto/tls"
	"errors"
	"io"

	"github.com/sluiceproxy/sluice/engine"
	"github.com/sluiceproxy/sluice/pool/buf"
)

const (
	// readBytes is how much ciphertext one read asks for: nearly two full records.
	readBytes = 32 << 10

	// gatherBytes bounds how many bytes of records are sent with one call.
	gatherBytes = 64 << 10

	// crypto/tls sends small records first, so that a peer can use each segment when
	// it comes (unless DynamicRecordSizingDisabled): what fits the first one, and how
	// many bytes go before they have full size.
	firstPlaintext = 1 << 10
	rampBytes      = 128 << 10

	// maxOwed bounds unsent answers to key updates, which a peer that reads nothing
	// could go on asking for.
	maxOwed = 16 << 10
)

var errOwed = errors.New("tlsio: the peer asks for key updates and does not read them")

// stream is the TLS end of one connection, an engine.Transform. Loop-owned, but for
// the times when the handshake has it (opening.away).
//
// in holds what was received and not given to tls: the front of a record, or whole
// ones after it. tls gets whole records only and keeps none back, so when none is in
// in and held is false, only the socket can have more.
type stream struct {
	layer   *Layer
	loop    *engine.Loop
	conn    *engine.Conn // nil once it is closed
	tls     *tls.Conn
	opening *handshake // nil once done
	state   *tls.ConnectionState

	in     *buf.Slab
	left   int    // bytes of the record tls reads now, still in in
	sent   int    // plaintext, up to rampBytes
	plain  int    // the most plaintext the last record had that was not read yet
	held   bool   // the last read filled its buffer, and plain is left: tls may hold some
	reads  bool   // tls reads: what it writes answers the peer
	owed   int    // bytes of such answers that may be unsent
	gather []byte // records collect here for one call; a slab, only within Write
}

var _ engine.Transform = (*stream)(nil)

// Read decrypts the next record, or goes on with one that did not fit before.
func (s *stream) Read(c *engine.Conn, p []byte) (n int, more bool, st engine.IOState) {
	for {
		if s.held || s.record() > 0 {
			s.reads = true
			n, err := s.tls.Read(p)
			s.reads = false
			s.plain -= n
			s.held = n == len(p) && s.plain > 0
			switch {
			case s.owed > maxOwed:
				c.Fail(engine.TransformFailed, errOwed)
				return 0, false, engine.IOFailed
			case n > 0:
				more := s.held || s.record() > 0
				if !more {
					s.trim()
				}
				return n, more, engine.IOMoved
			case errors.Is(err, errNothingYet):
			case errors.Is(err, io.EOF):
				return 0, false, engine.IOEnd
			default:
				c.Fail(engine.TransformFailed, err)
				return 0, false, engine.IOFailed
			}
		}
		switch st := s.fill(c); st {
		case engine.IOMoved:
		case engine.IOEnd:
			c.Fail(engine.Truncated, io.ErrUnexpectedEOF)
			return 0, false, engine.IOFailed
		default:
			s.trim()
			return 0, false, st
		}
	}
}

// fill receives what the socket has, behind what is in in.
func (s *stream) fill(c *engine.Conn) engine.IOState {
	if s.in == nil {
		s.in = s.loop.Slabs().Slab(readBytes)
	} else {
		s.in = s.loop.Slabs().Fit(s.in, readBytes-s.in.Len())
	}
	n, st := c.ReadWire(s.in.Room())
	s.in.Wrote(n)
	return st
}

// trim makes in no larger than what it holds, so that a peer that dribbles, or
// claims a large record and stalls, takes no more than it sent.
func (s *stream) trim() {
	switch {
	case s.in == nil:
	case s.in.Len() > 0:
		s.in = s.loop.Slabs().Fit(s.in, 0)
	default:
		s.loop.Slabs().PutSlab(s.in)
		s.in = nil
	}
}

// record returns the length of the record at the front of in when all of it is there.
func (s *stream) record() int {
	if s.in == nil {
		return 0
	}
	return recordLen(s.in.Bytes())
}

// Write encrypts a and b: into one record if they fit, and sends with one call what
// takes several.
func (s *stream) Write(c *engine.Conn, a, b []byte) {
	total := len(a) + len(b)
	pool := s.loop.Slabs()
	one := maxPlaintext
	if s.sent < rampBytes {
		s.sent += total
		one = firstPlaintext
	}
	var joined []byte
	if len(a) > 0 && len(b) > 0 && total <= maxPlaintext {
		joined = append(append(pool.Get(total), a...), b...)
		a, b = joined, nil
	}
	if total > one {
		s.gather = pool.Get(min(total+total/16+firstPlaintext, gatherBytes))
	}
	s.seal(c, a)
	s.seal(c, b)
	if joined != nil {
		pool.Put(joined)
	}
	if s.gather != nil {
		c.WriteWire(s.gather)
		pool.Put(s.gather)
		s.gather = nil
	}
}

func (s *stream) seal(c *engine.Conn, p []byte) {
	if len(p) > 0 {
		if _, err := s.tls.Write(p); err != nil {
			c.Fail(engine.TransformFailed, err)
		}
	}
}

// CloseWrite writes close_notify. What can go wrong with it, the read side hears of.
func (s *stream) CloseWrite(*engine.Conn) { _ = s.tls.CloseWrite() }

// OnClosed ends a handshake that is under way, and frees what in holds.
func (s *stream) OnClosed(_ *engine.Conn, r engine.CloseReason) {
	s.conn = nil
	if s.opening != nil {
		s.layer.ended(r)
		if s.cancel() {
			return // in is freed when the handshake gives it back
		}
	}
	s.free()
}

func (s *stream) free() {
	s.loop.Slabs().PutSlab(s.in)
	s.in = nil
}
