package hcm

import (
	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/codec/http2"
	"github.com/sluiceproxy/sluice/pool/buf"
	"github.com/sluiceproxy/sluice/proxy/reason"
)

// clientStream is one attempt over HTTP/2: the stream that carries it, and what waits on either way.
// Loop-owned, from its connection's free list.
//
//	request                                       response
//	tx:   data for which there was no window      rx:   data that came while the client was slow
//	txEnd, txTrailers: what follows tx            rxEnd, rxTrailers: what follows rx
//
// The server's windows and full bound tx, our own windows rx: it is not credited before it goes on.
type clientStream struct {
	c  *h2Client
	a  *attempt // nil once over
	hs *http2.Stream

	prev, next *clientStream // of the connection; next is the free list's too
	nextReady  *clientStream

	tx, rx buf.Chain

	// paused: the client does not take response data. isReady: on the list of those that go on.
	paused, isReady   bool
	txEnd, txTrailers bool
	rxEnd, rxTrailers bool
}

// maxKeptClientStreams bounds what a burst leaves behind on a connection.
const maxKeptClientStreams = 1024

func (c *h2Client) stream() *clientStream {
	s := c.free
	if s == nil {
		return new(clientStream)
	}
	c.free, s.next = s.next, nil
	c.kept--
	return s
}

func (c *h2Client) putStream(s *clientStream) {
	if c.kept < maxKeptClientStreams {
		s.next, c.free = c.free, s
		c.kept++
	}
}

// whole says whether the response is complete but for what waits in rx.
func (s *clientStream) whole() bool { return s.rxEnd || s.rxTrailers }

// held says whether something of the response waits for the client.
func (s *clientStream) held() bool { return s.rx.Len() > 0 || s.whole() }

// requestHead opens the stream.
func (s *clientStream) requestHead(h *header.Head, end bool) {
	c, info := s.c, s.a.info
	if h.HasUpgrade && !s.mayUpgrade() {
		return
	}
	now := c.w.Loop.Now()
	info.UpstreamTxBegin = now
	before := len(c.h2.Output())
	s.hs = c.h2.Open(h, end) // CanOpen was asked
	s.hs.Owner, s.a.begun = s, true
	n := uint64(len(c.h2.Output()) - before)
	info.UpstreamHeaderBytesSent += n
	info.UpstreamWireSent += n
	if end {
		s.sent()
	}
	c.wrote()
}

// sent notes that the whole request is in the codec's hands.
func (s *clientStream) sent() {
	s.a.sent = true
	s.a.info.UpstreamTxEnd = s.c.w.Loop.Now()
	if s.a.ended {
		s.later()
	}
}

// requestData writes what the windows and the socket take; the rest waits.
func (s *clientStream) requestData(p []byte, end bool) {
	frames := max(1, (len(p)+pieceBytes-1)/pieceBytes)
	s.a.info.UpstreamWireSent += uint64(len(p) + frames*frameHeadBytes)
	s.a.rqBody += uint64(len(p))
	n := 0
	if s.tx.Len() == 0 && (len(p) == 0 || !s.above()) {
		n = s.write(p, end)
	}
	switch {
	case s.tx.Len() > 0 || n < len(p):
		s.tx.Append(p[n:])
		s.addPending(len(p) - n)
		if s.txEnd = end; end {
			s.defers(1)
		}
	case end:
		s.sent()
	}
}

// write puts into the output what the windows take of p, and end with the last of it.
func (s *clientStream) write(p []byte, end bool) (n int) {
	for {
		piece := p[n:min(len(p), n+pieceBytes)]
		k := s.c.h2.WriteData(s.hs, piece, end && n+len(piece) == len(p))
		n += k
		s.c.wrote()
		if k < len(piece) || n == len(p) {
			return n
		}
	}
}

// requestTrailers ends the request with trailers, behind data that waits (HC-71).
func (s *clientStream) requestTrailers(t *header.Head) {
	if s.tx.Len() > 0 {
		t.Retain()
		s.txTrailers = true
		s.defers(1)
		return
	}
	s.writeTrailers(t)
}

func (s *clientStream) writeTrailers(t *header.Head) {
	before := len(s.c.h2.Output())
	s.c.h2.WriteTrailers(s.hs, t)
	s.a.info.UpstreamWireSent += uint64(len(s.c.h2.Output()) - before)
	s.sent()
	s.c.wrote()
}

// addPending and defers count what waits: bytes, and streams whose request is whole but for them.
func (s *clientStream) addPending(n int) {
	s.c.w.Stats.GaugeAdd(s.c.stats.PendingSendBytes, int64(n))
}

func (s *clientStream) defers(n int64) { s.c.w.Stats.GaugeAdd(s.c.stats.DeferredStreamClose, n) }

// above says whether the socket has enough to do.
func (s *clientStream) above() bool { return s.c.mc != nil && s.c.mc.Above() }

// full says whether the client's sending should pause. What waits for a window may be as much as the
// buffer limit, and not more than streamHighBytes.
func (s *clientStream) full() bool {
	return s.hs == nil || s.above() || s.tx.Len() > 0 && s.tx.Len() >= s.high()
}

func (s *clientStream) high() int {
	return min(streamHighBytes, int(s.c.up.C.Conf.PerConnectionBufferLimitBytes))
}

// pump goes on with the request: the server's windows have room, or the socket has.
func (s *clientStream) pump() {
	st := s.a.st
	var piece [1][]byte
	for !s.above() && s.tx.Peek(piece[:]) > 0 {
		p := piece[0][:min(len(piece[0]), pieceBytes)]
		last := len(p) == s.tx.Len()
		n := s.c.h2.WriteData(s.hs, p, s.txEnd && last)
		s.tx.Consume(n)
		s.addPending(-n)
		s.c.wrote()
		switch {
		case n < len(p):
			last = true // until OnWindow
		case last && s.txEnd:
			s.txEnd = false
			s.defers(-1)
			s.sent()
		case last && s.txTrailers:
			s.txTrailers = false
			s.defers(-1)
			s.writeTrailers(&st.reqTrail)
		}
		if last {
			break
		}
	}
	if st.requestPaused && s.tx.Len() <= s.high()/2 && !s.full() {
		st.w.Stats.Inc(st.cluster.C.Stats.UpstreamFlowControlDrainedTotal)
		st.onUpstreamDrained()
	}
}

// resume implements upstream: what waits goes on after the event that called.
func (s *clientStream) resume() {
	s.paused = false
	if s.held() {
		s.later()
	}
}

// later puts the stream on the list of those that go on, after the event that called.
func (s *clientStream) later() {
	if !s.isReady {
		s.isReady = true
		s.nextReady, s.c.ready = s.c.ready, s
		s.c.schedule()
	}
}

// deliver passes on what came while the client was slow. The last piece ends the attempt, so that the
// chain is this function's from there on.
func (s *clientStream) deliver() {
	a := s.a
	st := a.st
	if a.ended {
		s.endTunnel()
		return
	}
	var piece [1][]byte
	for !s.paused && s.rx.Peek(piece[:]) > 0 {
		p := piece[0]
		if s.rxEnd && len(p) == s.rx.Len() {
			rx := s.rx
			s.rx = buf.Chain{}
			a.responseEnds()
			st.onResponseData(p, true)
			rx.Release()
			return
		}
		st.onResponseData(p, false)
		if a.h2 != s {
			return // over, and the chain with it
		}
		s.c.h2.Consumed(s.hs, len(p))
		s.rx.Consume(len(p))
	}
	switch {
	case s.paused || s.rx.Len() > 0:
	case s.rxTrailers:
		a.finished()
		st.onResponseTrailers()
	case s.rxEnd:
		a.responseEnds()
		st.onResponseData(nil, true)
	}
}

// drop ends the stream on the wire, by a reset when it is not over there, and gives its object back. The
// attempt has nothing afterwards.
func (s *clientStream) drop() {
	c := s.c
	s.a.h2 = nil
	if n := s.tx.Len(); n > 0 {
		s.addPending(-n)
		if s.txEnd || s.txTrailers {
			s.defers(-1)
		}
		s.tx.Release()
	}
	s.rx.Release()
	if s.hs != nil {
		c.h2.Release(s.hs)
	}
	c.w.Stats.GaugeAdd(c.stats.StreamsActive, -1)
	if s.prev != nil {
		s.prev.next = s.next
	} else {
		c.first = s.next
	}
	if s.next != nil {
		s.next.prev = s.prev
	}
	listed, link := s.isReady, s.nextReady
	*s = clientStream{}
	if listed {
		s.isReady, s.nextReady = true, link // freed when its turn comes
	} else {
		c.putStream(s)
	}
	if c.mc == nil {
		return
	}
	c.wrote()
	c.charge()
	c.mc.Done()
}

// broken ends the attempt for what became of its stream.
func (s *clientStream) broken(code http2.ErrCode, e http2.Err) {
	a := s.a
	st := a.st
	r := resetReason(code, e)
	series := st.cluster.C.Stats
	switch r {
	case reason.UpstreamReset:
		if code != http2.NoError { // else the codec has counted it
			st.w.Stats.Inc(series.UpstreamRqRxReset)
		}
	case reason.UpstreamRefused, reason.UpstreamTermination:
	default:
		st.w.Stats.Inc(series.UpstreamRqTxReset)
		a.info.UpstreamFailure = e.String()
	}
	a.broken(r)
}

// resetReason says what the end of a stream means for its request. Refused streams were not processed and
// are safe to try again (RFC 9113 8.7).
func resetReason(code http2.ErrCode, e http2.Err) reason.Reason {
	switch e {
	case http2.ErrPeerReset:
		if code == http2.RefusedStream {
			return reason.UpstreamRefused
		}
		return reason.UpstreamReset
	case http2.ErrGoneAway:
		return reason.UpstreamRefused
	case http2.ErrClosed:
		return reason.UpstreamTermination
	case http2.ErrHeadTooLarge, http2.ErrBlockTooLarge:
		return reason.UpstreamHeadTooLarge
	case http2.ErrTooManyFields:
		return reason.UpstreamTooManyFields
	}
	return reason.UpstreamProtocol
}

// h2ClientEvents is an h2Client as its codec sees it.
type h2ClientEvents h2Client

// HeadFor says where the next block is decoded.
func (e *h2ClientEvents) HeadFor(hs *http2.Stream, b http2.Block) *header.Head {
	a := hs.Owner.(*clientStream).a
	if b == http2.TrailerBlock {
		return &a.st.trail
	}
	return a.resp
}

// OnHeaders brings a response head, interim or final.
func (e *h2ClientEvents) OnHeaders(hs *http2.Stream, h *header.Head, end bool) {
	s := hs.Owner.(*clientStream)
	a := s.a
	a.anyByte = true
	a.info.UpstreamHeaderBytesReceived += a.received(hs)
	if h.Status < 200 && h.Transfer != header.Tunnel {
		if a.interimWanted(h.Status) {
			a.inform(h)
		}
		return
	}
	if w := a.watch; w != nil {
		w.head(h)
	}
	if h.Transfer == header.Framed && h.ContentLength >= 0 {
		h.Transfer = header.Length // what the other side has to write, whatever it speaks
	}
	a.setState(attemptBody)
	a.responded(end)
}

// received notes what has come on the attempt's stream and returns how much of it is new.
func (a *attempt) received(hs *http2.Stream) uint64 {
	before := a.info.UpstreamWireReceived
	a.info.UpstreamWireReceived = a.wireBefore + hs.WireReceived()
	return a.info.UpstreamWireReceived - before
}

// OnData passes data on, or keeps it while the client is slow.
func (e *h2ClientEvents) OnData(hs *http2.Stream, p []byte, end bool) {
	s := hs.Owner.(*clientStream)
	a := s.a
	st := a.st
	a.received(hs)
	a.rsBody += uint64(len(p))
	switch {
	case s.paused || s.held():
		s.rx.Append(p)
		s.rxEnd = end
	case end:
		a.responseEnds()
		st.onResponseData(p, true)
	default:
		st.onResponseData(p, false)
		if a.h2 == s {
			e.h2.Consumed(hs, len(p))
		}
	}
}

// OnTrailers ends a response with its trailers.
func (e *h2ClientEvents) OnTrailers(hs *http2.Stream, t *header.Head) {
	s := hs.Owner.(*clientStream)
	a := s.a
	st := a.st
	a.received(hs)
	if s.paused || s.held() {
		t.Retain()
		s.rxTrailers = true
		return
	}
	a.finished()
	st.onResponseTrailers()
}

// OnWindow goes on with the request.
func (e *h2ClientEvents) OnWindow(hs *http2.Stream) { hs.Owner.(*clientStream).pump() }

// OnReset ends a stream that the server reset or did not take, whose response is not acceptable, or whose
// connection ended. While output is written it may be the stream that wrote: then settle tells it.
func (e *h2ClientEvents) OnReset(hs *http2.Stream, code http2.ErrCode, why http2.Err) {
	if e.spilling {
		return
	}
	if e.h2.Over() {
		(*h2Client)(e).stop() // nobody gets another stream of this connection
	}
	hs.Owner.(*clientStream).broken(code, why)
}

// OnGoAway ends the opening of streams (HC-76).
func (e *h2ClientEvents) OnGoAway(uint32, http2.ErrCode) {
	if !e.away {
		e.away = true
		e.w.Stats.Inc(e.up.C.Stats.UpstreamCxCloseNotify)
	}
	if e.mc != nil {
		e.mc.Retire()
	}
}

// OnSettings tells the pool how many streams the server takes.
func (e *h2ClientEvents) OnSettings() {
	if e.mc != nil {
		e.mc.SetLimit(int(e.h2.StreamLimit()))
	}
	(*h2Client)(e).openUpgrades()
}

// OnPong ends the wait for a PING's answer.
func (e *h2ClientEvents) OnPong(payload uint64) { e.watch.Answered(payload) }

// OnCount counts.
func (e *h2ClientEvents) OnCount(n http2.Counter) { e.w.Stats.Inc(e.counters[n]) }
