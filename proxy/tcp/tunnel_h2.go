package tcp

import (
	"time"

	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/engine"
	"github.com/sluiceproxy/sluice/proxy/reason"
	"github.com/sluiceproxy/sluice/proxy/streaminfo"
	"github.com/sluiceproxy/sluice/proxy/tunnel"
)

// This file is a session whose bytes go through a stream of HTTP/2 (TCP-44, TCP-45). No relay carries
// them: frames are around them.
//
//	client                                    stream
//	bytes -> Write, paused while it is Full   data -> client, not credited while the client is slow
//	FIN   -> END_STREAM                       END_STREAM, trailers -> FIN
//	gone  -> what is left, then reset         reset -> what is left, then closed

var _ tunnel.Owner = (*attempt)(nil)

// OnTunnel asks for the tunnel on a stream.
func (t *attempt) OnTunnel(x *tunnel.Stream) {
	s := (*session)(t)
	s.stream, s.state = x, asking
	if c := x.Conn(); c != nil {
		s.upID, s.upLocal = c.ID(), c.LocalAddr()
	}
	s.endpoint.Connected(true)
	if s.clientLost() {
		return
	}
	if !s.tunnelHead() {
		s.failure = "the host name of the tunnel is not valid"
		s.dropStream()
		s.refused()
		return
	}
	x.Open(&s.a.request)
}

func (s *session) dropStream() {
	if x := s.stream; x != nil {
		s.stream = nil
		x.Close()
	}
}

// OnTunnelHead begins the tunnel, or the next attempt.
func (t *attempt) OnTunnelHead(_ *tunnel.Stream, h *header.Head, end bool) {
	s := (*session)(t)
	if s.state != asking {
		return
	}
	if !s.tunnelAnswered(h, true) {
		s.dropStream()
		s.refused()
		return
	}
	s.state, s.connectedNs = streaming, s.a.w.Loop.Now()
	s.endpoint.Load.RqActive++
	s.touch()
	s.arm()
	if s.cfg.conf.LogOnConnected {
		s.log(streaminfo.TCPUpstreamConnected)
	}
	if end {
		s.fromTunnel(nil, true)
	}
	if s.c == nil {
		return
	}
	s.c.ResumeRead()
	if s.c.Kept() == 0 && s.c.ReadClosed() {
		s.clientEnds()
	}
}

// toTunnel takes bytes of the client.
func (s *session) toTunnel(c *engine.Conn, view []byte) int {
	if s.stream.Full() {
		s.pauseClient(c)
		return 0
	}
	s.touch()
	s.moved[0] += uint64(len(view))
	s.stream.Write(view, false)
	if c.ReadClosed() {
		s.clientEnds()
	} else if s.stream.Full() {
		s.pauseClient(c)
	}
	return len(view)
}

func (s *session) pauseClient(c *engine.Conn) {
	c.PauseRead()
	if !s.waits {
		s.waits = true
		s.a.w.Stats.Inc(s.cfg.stats.DownstreamFlowControlPausedReadingTotal)
	}
}

// OnTunnelRoom lets the client go on.
func (t *attempt) OnTunnelRoom(*tunnel.Stream) {
	s := (*session)(t)
	if s.state == emptying {
		s.end(reason.SessionEnded, 0)
		return
	}
	if !s.waits {
		return
	}
	s.waits = false
	s.a.w.Stats.Inc(s.cfg.stats.DownstreamFlowControlResumedReadingTotal)
	s.touch()
	s.c.ResumeRead()
}

// clientEnds passes the client's FIN on.
func (s *session) clientEnds() {
	if !s.sentEnd {
		s.sentEnd = true
		s.stream.Write(nil, true)
	}
}

// OnTunnelData gives the client what came.
func (t *attempt) OnTunnelData(_ *tunnel.Stream, p []byte, end bool) {
	(*session)(t).fromTunnel(p, end)
}

func (s *session) fromTunnel(p []byte, end bool) {
	switch {
	case len(p) > 0 && (s.state == emptying || s.state == streaming && s.lost()):
		s.end(reason.SessionDownstreamReset, 0) // for nobody (TCP-51)
		return
	case s.state != streaming:
		return
	}
	s.touch()
	s.moved[1] += uint64(len(p))
	if len(p) > 0 {
		s.a.w.WriteSoon(s.c, p)
	}
	if end {
		s.c.CloseWrite()
		return
	}
	if !s.c.Above() && s.uncredited == 0 {
		s.stream.Consumed(len(p))
		return
	}
	if s.uncredited == 0 {
		s.a.w.Stats.Inc(s.upstream.C.Stats.UpstreamFlowControlPausedReadingTotal)
	}
	s.uncredited += len(p)
}

// drained credits what the client has taken at last.
func (s *session) drained() {
	if n := s.uncredited; n > 0 && s.stream != nil {
		s.uncredited = 0
		s.a.w.Stats.Inc(s.upstream.C.Stats.UpstreamFlowControlResumedReadingTotal)
		s.touch()
		s.stream.Consumed(n)
	}
}

// OnTunnelTrailers ends the upstream's direction.
func (t *attempt) OnTunnelTrailers(_ *tunnel.Stream, h *header.Head) {
	s := (*session)(t)
	if s.cfg.tunnel.conf.PropagateTrailers {
		s.propagate(streaminfo.KeyTCPTunnelTrailers, h)
	}
	s.fromTunnel(nil, true)
}

// OnTunnelReset closes the client's connection, or makes the next attempt.
func (t *attempt) OnTunnelReset(_ *tunnel.Stream, why string) {
	s := (*session)(t)
	s.stream = nil
	s.failure = why
	switch s.state {
	case asking:
		s.refused()
	case emptying:
		s.end(reason.SessionUpstreamReset, 0)
	case streaming:
		if s.c.WriteClosed() { // the server had ended its direction: it wants no more (RFC 9113 8.1)
			s.endedBy(reason.SessionEnded)
		}
		s.endedBy(reason.SessionUpstreamReset)
		s.streamOver()
		s.state = closing
		wait := time.Duration(0)
		if s.c.Buffered() > 0 { // TCP-53
			wait = flushTimeout
		}
		s.c.CloseAfterFlush(wait)
	}
}

// streamOver settles a stream that is over.
func (s *session) streamOver() {
	if s.state == streaming || s.state == emptying {
		s.endpoint.Load.RqActive--
	}
	if s.flushing {
		s.flushing = false
		s.a.w.Stats.GaugeAdd(s.cfg.stats.UpstreamFlushActive, -1)
	}
	s.dropStream()
}

// empty says whether the stream of a session whose client closed is still to get bytes: it gets them before
// it is closed too. Not where the close was this side's doing (TCP-52), but for the end of a drain.
func (s *session) empty(c *engine.Conn, r engine.CloseReason) bool {
	ours := r != engine.PeerClosed && r != engine.PeerReset && r != engine.IOError
	if s.state != streaming || ours && s.why != reason.Draining {
		return false
	}
	s.takeKept(c)
	if r == engine.PeerClosed {
		s.clientEnds()
	}
	if s.stream.Pending() == 0 {
		return false
	}
	s.stream.Full() // so that OnTunnelRoom follows
	s.state, s.unsent = emptying, s.stream.Pending()
	if !ours {
		s.flush()
	}
	s.touch()
	s.arm()
	return true
}

// takeKept gives the stream what was read of the client and waits in its connection, which closes.
func (s *session) takeKept(c *engine.Conn) {
	if rest := c.KeptView(); len(rest) > 0 && !s.sentEnd {
		s.moved[0] += uint64(len(rest))
		s.stream.Write(rest, false)
	}
}

// lost says whether the client is known to be gone and nothing of it to be on its way. The first that comes for
// a client whose connection has failed, but whose bytes wait, tells that they are being flushed; OnClosed follows
// when it is read again.
func (s *session) lost() bool {
	if !s.c.WriteFailed() {
		return false
	}
	if s.flushing || s.stream.Pending() == 0 {
		return true
	}
	s.endedBy(reason.SessionDownstreamReset)
	s.flush()
	return false
}

// flush counts that the client is gone, by no doing of this side, while bytes of it are under way.
func (s *session) flush() {
	if s.flushing {
		return
	}
	s.flushing = true
	s.a.w.Stats.Inc(s.cfg.stats.UpstreamFlushTotal)
	s.a.w.Stats.GaugeAdd(s.cfg.stats.UpstreamFlushActive, 1)
	s.touch()
	s.arm()
}

// flushMoves says whether a flush got on since the last look, and gives it as long again.
func (s *session) flushMoves() bool {
	if s.state != emptying || s.stream.Pending() >= s.unsent {
		return false
	}
	s.unsent = s.stream.Pending()
	s.touch()
	return true
}
