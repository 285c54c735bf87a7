package hcm

import (
	"time"

	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/codec/http2"
	"github.com/sluiceproxy/sluice/engine/wheel"
	"github.com/sluiceproxy/sluice/pool/buf"
	"github.com/sluiceproxy/sluice/proxy/reason"
)

// serverStream is one stream of an h2Conn as it stands on the wire. It begins before its stream, with
// the first byte of the head to be decoded, and ends after it when the response waits for the client's
// window. Loop-owned, from a free list.
//
//	           request                                  response
//	in:        data that came while it was paused       out:  data for which there was no window
//	inEnd, inTrailers:  what follows in                 outEnd, outTrailers:  what follows out
type serverStream struct {
	conn *h2Conn // nil once over
	hs   *http2.Stream
	st   *stream // nil once the stream is over and only out is left

	prev, next *serverStream // of the connection; next is the free list's too
	nextReady  *serverStream

	in, out buf.Chain
	trail   header.Head // response trailers behind out, when there is no stream any more
	timer   wheel.Timer // of what is left of the response

	// begun: the stream has been counted.
	begun bool
	// paused: the origin does not take request data.
	paused              bool
	isReady             bool // on the connection's list of those that go on
	inEnd, inTrailers   bool
	outEnd, outTrailers bool
	flush               time.Duration // of what is left of a whole response; 0 for ever
	lastMove            int64         // when the client's window last let something through
}

// waits says whether there is something of the request to deliver.
func (x *serverStream) waits() bool { return x.in.Len() > 0 || x.inEnd || x.inTrailers }

// maxKeptServerStreams bounds what a burst leaves behind.
const maxKeptServerStreams = 4096

func (p *h2Parts) stream() *serverStream {
	x := p.streams
	if x == nil {
		return new(serverStream)
	}
	p.streams, x.next = x.next, nil
	p.numFree--
	return x
}

func (p *h2Parts) putStream(x *serverStream) {
	if p.numFree < maxKeptServerStreams {
		x.next, p.streams = p.streams, x
		p.numFree++
	}
}

// reset clears a stream that is over, but for the storage of its head and its timer, which is not armed.
// Its chains are empty.
func (x *serverStream) reset() {
	x.conn, x.hs, x.st = nil, nil, nil
	x.prev, x.next, x.nextReady = nil, nil, nil
	x.in, x.out = buf.Chain{}, buf.Chain{}
	if x.trail.Count() > 0 {
		x.trail.Reset(nil)
	}
	x.begun, x.paused, x.isReady = false, false, false
	x.inEnd, x.inTrailers, x.outEnd, x.outTrailers = false, false, false, false
	x.lastMove, x.flush = 0, 0
}

// h2Events is an h2Conn as the owner of its codec.
type h2Events h2Conn

// HeadFor implements http2.Events.
func (e *h2Events) HeadFor(hs *http2.Stream, b http2.Block) *header.Head {
	h := (*h2Conn)(e)
	if b == http2.TrailerBlock {
		if x := hs.Owner.(*serverStream); x.st != nil {
			return &x.st.reqTrail
		}
		return &h.a.h2.unused
	}
	x := h.a.h2.stream()
	x.conn, x.hs, x.st = h, hs, h.a.streams.Get()
	x.st.h2 = x
	slabs := h.a.w.Loop.Slabs()
	x.in.Init(slabs)
	x.out.Init(slabs)
	x.timer.Handler = (*flushTimer)(x)
	if x.next = h.first; x.next != nil {
		x.next.prev = x
	}
	h.first = x
	h.count++
	h.a.w.Stats.GaugeAdd(h.cfg.http2.StreamsActive, 1)
	hs.Owner = x
	return &x.st.req
}

// beginStream starts the stream of x, whose head is whole or was refused.
func (h *h2Conn) beginStream(x *serverStream) *stream {
	cfg, st := h.a.live.Load(), x.st
	x.begun = true
	st.begin(h.a.w, cfg, h, &h.facts, h.a.w.Loop.Now())
	h.a.w.Stats.Inc(cfg.stats.DownstreamRqHTTP2Total)
	n := x.hs.WireReceived()
	st.info.DownstreamHeaderBytesReceived, st.info.DownstreamWireReceived = n, n
	if h.requests++; h.requests == cfg.conf.MaxRequestsPerConnection { // HC-37
		h.a.w.Stats.Inc(h.stats.DownstreamCxMaxRequestsReached)
		h.goAway()
	}
	return st
}

// continueHead is the interim response the proxy answers an expectation with (HC-39). Only read.
var continueHead = func() *header.Head {
	h := new(header.Head)
	h.Reset(nil)
	h.Status = 100
	return h
}()

// OnHeaders begins a request.
func (e *h2Events) OnHeaders(hs *http2.Stream, hd *header.Head, end bool) {
	h := (*h2Conn)(e)
	st := h.beginStream(hs.Owner.(*serverStream))
	if hd.Transfer == header.Tunnel {
		st.beginTunnel()
	}
	if !end && hd.ContentLength >= 0 {
		hd.Transfer = header.Length // what the other side has to write, whatever it speaks
	}
	if hd.Expect100 && !end && !st.cfg.conf.Proxy100Continue {
		hd.Remove(header.Expect)
		h.writeHead(st, continueHead, false)
	}
	st.onRequestHead(end)
}

// OnData passes data on, or keeps it while the stream is paused.
func (e *h2Events) OnData(hs *http2.Stream, p []byte, end bool) {
	h := (*h2Conn)(e)
	x := hs.Owner.(*serverStream)
	st := x.st
	if st == nil {
		h.h2.Consumed(hs, len(p)) // the response did not wait for it
		return
	}
	st.info.DownstreamWireReceived = hs.WireReceived()
	if x.paused || x.waits() {
		x.in.Append(p)
		x.inEnd = end
		return
	}
	h.h2.Consumed(hs, len(p))
	st.onRequestData(p, end)
}

// OnTrailers ends a request with its trailers.
func (e *h2Events) OnTrailers(hs *http2.Stream, t *header.Head) {
	x := hs.Owner.(*serverStream)
	if x.st == nil {
		return
	}
	x.st.info.DownstreamWireReceived = hs.WireReceived()
	if x.paused || x.waits() {
		t.Retain()
		x.inTrailers = true
		return
	}
	x.st.onRequestTrailers()
}

// deliver passes on what came while the stream was paused.
func (h *h2Conn) deliver(x *serverStream) {
	st := x.st
	var piece [1][]byte
	for st != nil && !x.paused && x.in.Peek(piece[:]) > 0 {
		n := len(piece[0])
		end := x.inEnd && n == x.in.Len()
		x.inEnd = x.inEnd && !end
		h.h2.Consumed(x.hs, n)
		st.onRequestData(piece[0], end)
		if x.st == nil {
			return // over, and the chain with it
		}
		x.in.Consume(n)
	}
	if st == nil || x.paused || x.in.Len() > 0 {
		return
	}
	switch {
	case x.inTrailers:
		x.inTrailers = false
		st.onRequestTrailers()
	case x.inEnd:
		x.inEnd = false
		st.onRequestData(nil, true)
	}
}

// OnReset ends a stream that the client reset, or whose message was refused, or whose connection ended.
// While output is written it may be the stream that wrote: then settle tells it.
func (e *h2Events) OnReset(hs *http2.Stream, _ http2.ErrCode, why http2.Err) {
	if h := (*h2Conn)(e); !h.spilling {
		h.onReset(hs.Owner.(*serverStream), why)
	}
}

func (h *h2Conn) onReset(x *serverStream, e http2.Err) {
	switch {
	case x.st == nil:
		h.drop(x)
		return
	case !x.begun:
		st := h.beginStream(x)
		st.info.Protocol = header.HTTP2
		st.setRequest(halfDone)
	}
	switch e {
	case http2.ErrPeerReset:
		x.st.onDownstreamReset(reason.DownstreamReset, e.String())
	case http2.ErrClosed:
		x.st.onDownstreamReset(h.why, h.details)
	default:
		x.st.onDownstreamReset(reason.DownstreamProtocol, e.String())
	}
}

// OnWindow goes on with what waited for the client's window.
func (e *h2Events) OnWindow(hs *http2.Stream) {
	h := (*h2Conn)(e)
	x := hs.Owner.(*serverStream)
	x.lastMove = h.a.w.Loop.Now()
	if x.st != nil {
		x.st.moved()
	}
	var piece [1][]byte
	for x.out.Peek(piece[:]) > 0 {
		p := piece[0][:min(len(piece[0]), pieceBytes)]
		n := h.h2.WriteData(hs, p, x.outEnd && len(p) == x.out.Len())
		x.out.Consume(n)
		h.addPending(-n)
		h.wrote()
		if n < len(p) {
			break
		}
	}
	if x.out.Len() == 0 && x.outTrailers {
		t := &x.trail
		if x.st != nil {
			t = &x.st.trail
		}
		h.h2.WriteTrailers(hs, t)
		h.wrote()
	}
	switch {
	case x.st == nil && x.out.Len() == 0:
		h.drop(x)
	case x.st != nil && x.out.Len() <= min(streamHighBytes, h.cfg.bufferLimit)/2 && !h.full(x.st):
		x.st.onDownstreamDrained()
	}
}

// flushLater keeps what is left of a whole response until the client's window lets it through, or does
// nothing for the flush timeout.
func (h *h2Conn) flushLater(x *serverStream) {
	st := x.st
	if x.outTrailers {
		x.trail, st.trail = st.trail, x.trail
	}
	x.st = nil
	h.h2.Consumed(x.hs, x.in.Len())
	x.in.Release()
	h.a.w.Stats.GaugeAdd(h.cfg.http2.DeferredStreamClose, 1)
	x.lastMove = h.a.w.Loop.Now()
	if x.flush = st.flushTimeout(); x.flush > 0 {
		h.a.w.Loop.Arm(&x.timer, x.flush)
	}
}

// flushTimer is a serverStream whose response waits for the client's window.
type flushTimer serverStream

// OnTimer gives the response up when nothing of it moved.
func (t *flushTimer) OnTimer(*wheel.Timer) {
	x := (*serverStream)(t)
	h := x.conn
	l := h.a.w.Loop
	if left := x.lastMove + int64(x.flush) - l.Now(); left > 0 {
		l.Arm(&x.timer, x.flush)
		return
	}
	h.a.w.Stats.Inc(h.cfg.http2.TxFlushTimeout)
	h.h2.Reset(x.hs, http2.Cancel)
	h.drop(x)
	h.wrote()
}

// drop ends a stream on the wire, by a reset when one side of it is open, and frees its object.
func (h *h2Conn) drop(x *serverStream) {
	a := h.a
	sh, s2 := a.w.Stats, h.cfg.http2
	if x.st == nil {
		sh.GaugeAdd(s2.DeferredStreamClose, -1)
		a.w.Loop.Disarm(&x.timer)
	}
	if n := x.out.Len(); n > 0 {
		h.addPending(-n)
		x.out.Release()
	}
	x.in.Release()
	h.h2.Release(x.hs)
	sh.GaugeAdd(s2.StreamsActive, -1)
	if x.prev != nil {
		x.prev.next = x.next
	} else {
		h.first = x.next
	}
	if x.next != nil {
		x.next.prev = x.prev
	}
	listed, link := x.isReady, x.nextReady
	x.reset()
	if listed {
		x.isReady, x.nextReady = true, link // freed when its turn comes
	} else {
		a.h2.putStream(x)
	}
	if h.count--; h.count == 0 {
		h.rest()
	}
}

// OnGoAway says that the client opens no more streams: nothing changes for those there are.
func (e *h2Events) OnGoAway(uint32, http2.ErrCode) {}

// OnSettings: what the client's settings mean is between it and the codec.
func (e *h2Events) OnSettings() {}

// OnCount implements http2.Events.
func (e *h2Events) OnCount(n http2.Counter) { e.a.w.Stats.Inc(e.cfg.http2Counters[n]) }
