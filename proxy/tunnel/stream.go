package tunnel

import (
	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/codec/http2"
	"github.com/sluiceproxy/sluice/pool"
	"github.com/sluiceproxy/sluice/pool/buf"
)

// pieceBytes is how much data is put into the output at a time: one frame.
const pieceBytes = 16 << 10

// Owner is the session at the other end of a tunnel. OnTunnel is the pool's answer in place of
// OnPoolReady. Nothing comes after OnTunnelReset, or after Close.
type Owner interface {
	pool.Owner
	// OnTunnel brings a stream, which the owner opens with Open before it returns.
	OnTunnel(s *Stream)
	// OnTunnelHead brings the response head, whose spans are valid during the call; end says that nothing
	// follows.
	OnTunnelHead(s *Stream, h *header.Head, end bool)
	// OnTunnelData brings bytes, valid during the call, to be handed back by Consumed; end marks the last.
	OnTunnelData(s *Stream, p []byte, end bool)
	// OnTunnelTrailers ends the response with trailers.
	OnTunnelTrailers(s *Stream, t *header.Head)
	// OnTunnelRoom says that a stream that was Full is not any more.
	OnTunnelRoom(s *Stream)
	// OnTunnelReset ends the stream in both directions; why is for logs.
	OnTunnelReset(s *Stream, why string)
}

// Stream is one tunnel. Loop-owned.
type Stream struct {
	c          *Conn // nil once over
	owner      Owner
	hs         *http2.Stream
	prev, next *Stream

	tx    buf.Chain // bytes for which there was no window
	txEnd bool
	// full: the owner was told to wait.
	full bool
}

// Open sends the request.
func (s *Stream) Open(h *header.Head) {
	s.hs = s.c.h2.Open(h, false) // CanOpen was asked
	s.hs.Owner = s
	s.c.wrote()
}

// Full says whether more should wait for OnTunnelRoom.
func (s *Stream) Full() bool {
	s.full = s.tx.Len() > 0 || s.c.mc == nil || s.c.mc.Above()
	return s.full
}

// Write takes all of p, of which what the windows do not take waits: so ask Full before. end ends the
// owner's direction.
func (s *Stream) Write(p []byte, end bool) {
	n := 0
	if s.tx.Len() == 0 {
		for {
			piece := p[n:min(len(p), n+pieceBytes)]
			k := s.c.h2.WriteData(s.hs, piece, end && n+len(piece) == len(p))
			n += k
			s.c.wrote()
			if k < len(piece) || n == len(p) {
				break
			}
		}
		if n == len(p) {
			return
		}
	}
	s.tx.Append(p[n:])
	s.txEnd = end
	s.c.w.Stats.GaugeAdd(s.c.stats.PendingSendBytes, int64(len(p)-n))
}

// pump goes on with what waits, then tells the owner that there is room.
func (s *Stream) pump() {
	var piece [1][]byte
	for !s.c.mc.Above() && s.tx.Peek(piece[:]) > 0 {
		p := piece[0][:min(len(piece[0]), pieceBytes)]
		n := s.c.h2.WriteData(s.hs, p, s.txEnd && len(p) == s.tx.Len())
		s.tx.Consume(n)
		s.c.w.Stats.GaugeAdd(s.c.stats.PendingSendBytes, -int64(n))
		s.c.wrote()
		if n < len(p) {
			return
		}
	}
	if s.full && s.tx.Len() == 0 && !s.c.mc.Above() {
		s.full = false
		s.owner.OnTunnelRoom(s)
	}
}

// Consumed credits n bytes to the server's windows.
func (s *Stream) Consumed(n int) {
	s.c.h2.Consumed(s.hs, n)
	s.c.wrote()
}

// Close ends the stream, by a reset where it is not over; the owner hears nothing more. Idempotent.
func (s *Stream) Close() {
	c := s.c
	if c == nil {
		return
	}
	s.c = nil
	if n := s.tx.Len(); n > 0 {
		c.w.Stats.GaugeAdd(c.stats.PendingSendBytes, -int64(n))
		s.tx.Release()
	}
	if s.hs != nil {
		c.h2.Release(s.hs)
	}
	c.unlink(s)
	c.w.Stats.GaugeAdd(c.stats.StreamsActive, -1)
	if c.mc != nil {
		c.wrote()
		c.charge()
		c.mc.Done()
	}
}

// reset tells the owner that the stream is over.
func (s *Stream) reset(_ http2.ErrCode, e http2.Err) {
	o := s.owner
	s.Close()
	o.OnTunnelReset(s, e.String())
}

// Charge brings the statistics of the connection's bytes up to date; they are its tunnels' together.
func (s *Stream) Charge() {
	if s.c != nil && s.c.mc != nil {
		s.c.charge()
	}
}

// Pending returns how many bytes wait for a window.
func (s *Stream) Pending() int { return s.tx.Len() }

// Conn returns the pool's connection; nil once it is closed.
func (s *Stream) Conn() *pool.MuxConn {
	if s.c == nil {
		return nil
	}
	return s.c.mc
}

// events is a Conn as its codec sees it.
type events Conn

// HeadFor says where the next block is decoded: one at a time.
func (e *events) HeadFor(*http2.Stream, http2.Block) *header.Head { return &e.head }

// OnHeaders brings a response head. Interim ones mean nothing here.
func (e *events) OnHeaders(hs *http2.Stream, h *header.Head, end bool) {
	if s := hs.Owner.(*Stream); h.Status >= 200 && s.c != nil {
		s.owner.OnTunnelHead(s, h, end)
	}
}

// OnData passes data on.
func (e *events) OnData(hs *http2.Stream, p []byte, end bool) {
	if s := hs.Owner.(*Stream); s.c != nil {
		s.owner.OnTunnelData(s, p, end)
	}
}

// OnTrailers ends a response with its trailers.
func (e *events) OnTrailers(hs *http2.Stream, t *header.Head) {
	if s := hs.Owner.(*Stream); s.c != nil {
		s.owner.OnTunnelTrailers(s, t)
	}
}

// OnReset ends a stream.
func (e *events) OnReset(hs *http2.Stream, code http2.ErrCode, why http2.Err) {
	if e.spilling {
		return // settle ends them all
	}
	if s := hs.Owner.(*Stream); s.c != nil {
		s.reset(code, why)
	}
}

// OnWindow goes on with what waits.
func (e *events) OnWindow(hs *http2.Stream) {
	if s := hs.Owner.(*Stream); s.c != nil && e.mc != nil {
		s.pump()
	}
}

// OnGoAway ends the opening of streams (HC-76).
func (e *events) OnGoAway(uint32, http2.ErrCode) {
	if !e.away {
		e.away = true
		e.w.Stats.Inc(e.up.C.Stats.UpstreamCxCloseNotify)
	}
	if e.mc != nil {
		e.mc.Retire()
	}
}

// OnSettings tells the pool how many streams the server takes.
func (e *events) OnSettings() {
	if e.mc != nil {
		e.mc.SetLimit(int(e.h2.StreamLimit()))
	}
}

// OnPong ends the wait for a PING's answer.
func (e *events) OnPong(payload uint64) {
	e.watch.Answered(payload)
}

// OnCount counts.
func (e *events) OnCount(n http2.Counter) { e.w.Stats.Inc(e.counters[n]) }
