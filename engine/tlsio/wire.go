package tlsio

import (
	"net"
	"time"
)

// wire is a stream as its tls.Conn sees it: the net.Conn with the records. While the
// handshake computes it is used on the handshake's goroutine, afterwards on the loop.
type wire stream

var _ net.Conn = (*wire)(nil)

// nothingYet is what a read answers when no whole record is there. As a temporary
// net.Error it leaves tls.Conn as it was, to be asked again.
type nothingYet struct{}

func (nothingYet) Error() string   { return "tlsio: no whole record yet" }
func (nothingYet) Timeout() bool   { return false }
func (nothingYet) Temporary() bool { return true }

var errNothingYet net.Error = nothingYet{}

// Read gives bytes of one record, never of the next: tls.Conn must not keep any back
// (and a buffer of its own that it never has to grow past one record stays small).
func (w *wire) Read(p []byte) (int, error) {
	s := (*stream)(w)
	for s.left == 0 {
		if s.left = s.record(); s.left > 0 {
			s.plain = min(s.left-minOverhead, maxPlaintext)
			break
		}
		if s.opening == nil {
			return 0, errNothingYet
		}
		if err := s.giveBack(); err != nil {
			return 0, err
		}
	}
	n := copy(p, s.in.Bytes()[:s.left])
	s.in.Read(n)
	s.left -= n
	return n, nil
}

// Write takes all of p, always: an error would stick to the tls.Conn.
func (w *wire) Write(p []byte) (int, error) {
	s := (*stream)(w)
	switch {
	case s.opening != nil:
		s.opening.out = append(s.opening.out, p...)
	case s.gather == nil:
		s.conn.WriteWire(p)
		if s.reads {
			s.owe(len(p))
		}
	default:
		if len(s.gather)+len(p) > cap(s.gather) {
			s.conn.WriteWire(s.gather)
			s.gather = s.gather[:0]
		}
		s.gather = append(s.gather, p...)
	}
	return len(p), nil
}

// owe counts an answer of n bytes that Write passed on.
func (s *stream) owe(n int) {
	s.owed += n
	if s.conn.Buffered() == 0 {
		s.owed = 0
	}
}

// Close does nothing: the engine closes.
func (w *wire) Close() error { return nil }

// LocalAddr is for callbacks of the handshake, and zero after it.
func (w *wire) LocalAddr() net.Addr {
	if h := w.opening; h != nil {
		return net.TCPAddrFromAddrPort(h.local)
	}
	return &net.TCPAddr{}
}

// RemoteAddr is for callbacks, and the key of sessions without a server name.
func (w *wire) RemoteAddr() net.Addr {
	if h := w.opening; h != nil {
		return net.TCPAddrFromAddrPort(h.remote)
	}
	return net.TCPAddrFromAddrPort(w.conn.RemoteAddr())
}

// SetDeadline does nothing: no call here waits.
func (w *wire) SetDeadline(time.Time) error      { return nil }
func (w *wire) SetReadDeadline(time.Time) error  { return nil }
func (w *wire) SetWriteDeadline(time.Time) error { return nil }
