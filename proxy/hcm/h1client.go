package hcm

import (
	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/codec/http1"
	"github.com/sluiceproxy/sluice/engine"
	"github.com/sluiceproxy/sluice/pool"
	"github.com/sluiceproxy/sluice/proxy/reason"
	"github.com/sluiceproxy/sluice/proxy/secure"
)

// This file is an attempt over HTTP/1: it has a connection to itself.

// OnPoolReady is the pool's answer: a connection that is ours until released.
func (a *attempt) OnPoolReady(pc *pool.Conn) {
	st := a.st
	if !a.admitted() {
		a.setState(attemptIdle)
		pc.SetHandler(a)
		pc.Release(true)
		a.fail(reason.Overflow)
		return
	}
	a.pc = pc
	if st.tun.connect != nil {
		a.connectedTCP()
		return
	}
	a.opts = &st.cluster.Parse
	pc.SetHandler(a)
	a.rxFrom, a.txFrom = pc.BytesRead(), pc.BytesWritten()
	pc.SetReadLimit(a.opts.MaxHeadBytes + 4096)
	a.info.UpstreamConnectionID = pc.ID()
	a.info.UpstreamLocal = pc.LocalAddr()
	if x := pc.Security(); x != nil {
		a.info.UpstreamPeer, _ = x.(*secure.Peer)
	}
	a.connected(header.HTTP11)
	a.sendRequest()
	if !a.starting {
		st.w.FlushHeads()
	}
	if !st.requestWhole() {
		st.onUpstreamDrained()
	}
}

// releaseConn gives the connection back after a whole exchange, for further use or to be closed. Bytes
// beyond the response are the pool's to judge (HC-48).
func (a *attempt) releaseConn(reusable bool) {
	a.stopPumps() // an upload the origin did not wait for
	pc := a.pc
	a.chargeBytes()
	a.pc, a.paused = nil, false
	pc.Release(reusable)
}

// chargeBytes counts what the connection moved for this attempt.
func (a *attempt) chargeBytes() {
	s, c := a.st.w.Stats, a.st.cluster.C.Stats
	s.Add(c.UpstreamCxRxBytesTotal, a.pc.BytesRead()-a.rxFrom)
	s.Add(c.UpstreamCxTxBytesTotal, a.pc.BytesWritten()-a.txFrom)
}

// abortConn closes the connection in the middle of an exchange.
func (a *attempt) abortConn() {
	a.stopPumps()
	if pc := a.pc; pc != nil {
		a.chargeBytes()
		a.pc, a.paused = nil, false
		if a.encoding == header.Tunnel && a.state == attemptBody {
			a.st.w.FlushHeads()
			pc.AbortAfterFlush(tunnelLinger) // UP-49
			return
		}
		a.st.w.DropHead(pc.Conn)
		pc.Abort()
	}
}

// requestHead implements upstream.
func (a *attempt) requestHead(h *header.Head, end bool) {
	if a.h2 != nil {
		a.h2.requestHead(h, end)
		return
	}
	st := a.st
	f := http1.Framing{Version: header.HTTP11, Case: st.cluster.HeaderCase, FullURL: st.cluster.C.Conf.HTTP1.SendFullyQualifiedURL}
	switch {
	case end && h.Transfer == header.Length:
		f.Transfer, f.Length = header.Length, 0
	case end:
		f.Transfer = header.NoBody
		if m := h.Method; m == header.MethodPost || m == header.MethodPut || m == header.MethodPatch {
			f.Transfer, f.Length = header.Length, 0 // HC-53
		}
	case h.Transfer == header.Length:
		f.Transfer, f.Length = header.Length, h.ContentLength
	case h.Transfer == header.Tunnel:
		st.webSocketKey(h)
		a.tunnelFraming(h, &f)
	case h.Transfer == header.Framed && h.ContentLength >= 0:
		f.Transfer, f.Length = header.Length, h.ContentLength // the codec it came by sees to the length
	default:
		f.Transfer = header.Chunked
	}
	a.encoding, a.sent, a.begun = f.Transfer, end, true
	if h.Transfer == header.Tunnel {
		a.encoding = header.Tunnel
	}
	now := st.w.Loop.Now()
	a.info.UpstreamTxBegin = now
	b := http1.AppendRequestHead(st.w.HeadBuffer(a.pc.Conn), h, f)
	n := uint64(st.w.HoldHead(a.pc.Conn, b))
	a.info.UpstreamHeaderBytesSent += n
	a.info.UpstreamWireSent += n
	if end {
		a.info.UpstreamTxEnd = now
		st.w.FlushHeads()
		return
	}
	a.flushSoon()
}

// flushSoon sees to what is held when the request comes by HTTP/2, whose events end without a flush.
func (a *attempt) flushSoon() {
	if a.st.h2 != nil {
		a.st.w.FlushSoon()
	}
}

// requestData implements upstream.
func (a *attempt) requestData(p []byte, end bool) {
	if a.h2 != nil {
		a.h2.requestData(p, end)
		return
	}
	if a.pc == nil {
		return
	}
	a.rqBody += uint64(len(p))
	// A client may send its body in frames of a byte; they leave together.
	more := a.st.h2 != nil && !end
	if a.encoding == header.Tunnel && more {
		a.info.UpstreamWireSent += uint64(len(p))
		a.st.w.WriteSoon(a.pc.Conn, p)
		return
	}
	if a.encoding == header.Chunked {
		a.info.UpstreamWireSent += uint64(a.st.w.WriteChunk(a.pc.Conn, p, end, more))
	} else {
		a.info.UpstreamWireSent += uint64(len(p))
		a.st.w.WriteData(a.pc.Conn, p, more)
	}
	a.flushSoon()
	if end {
		a.sent = true
		a.info.UpstreamTxEnd = a.st.w.Loop.Now()
		if a.encoding == header.Tunnel {
			a.pc.CloseWrite()
		}
	}
}

// requestTrailers implements upstream. Trailers are only there when enable_trailers let them in.
func (a *attempt) requestTrailers(t *header.Head) {
	if a.h2 != nil {
		a.h2.requestTrailers(t)
		return
	}
	if a.pc == nil {
		return
	}
	if a.encoding == header.Tunnel {
		a.requestData(nil, true) // UP-49
		return
	}
	a.sent = true
	a.info.UpstreamTxEnd = a.st.w.Loop.Now()
	if a.encoding != header.Chunked {
		return
	}
	if !a.st.cluster.C.Conf.HTTP1.EnableTrailers {
		t = nil
	}
	b := http1.AppendLastChunk(a.st.w.HeadBuffer(a.pc.Conn), t)
	a.info.UpstreamWireSent += uint64(a.st.w.HoldHead(a.pc.Conn, b))
	a.st.w.FlushHeads()
}

// full implements upstream: nowhere to put bytes, or enough of them waiting.
func (a *attempt) full() bool {
	if a.h2 != nil {
		return a.h2.full()
	}
	return a.state == attemptPending || a.pc != nil && a.pc.Above()
}

func (a *attempt) pauseResponse() {
	if a.h2 != nil {
		a.h2.paused = true
		return
	}
	if a.pc != nil {
		a.paused = true
		a.pc.PauseRead()
	}
}

func (a *attempt) resumeResponse() {
	if a.h2 != nil {
		a.h2.resume()
		return
	}
	if a.pc != nil {
		a.paused = false
		a.pc.ResumeRead()
	}
}

// OnConnected never happens here: the pool hands out connections that are up.
func (a *attempt) OnConnected(*engine.Conn) {}

// OnWritable lets the request go on.
func (a *attempt) OnWritable(*engine.Conn) {
	if a.st.requestPaused {
		a.st.w.Stats.Inc(a.st.cluster.C.Stats.UpstreamFlowControlDrainedTotal)
	}
	a.st.onUpstreamDrained()
}

// OnData decodes the response as far as the downstream side can take it.
func (a *attempt) OnData(_ *engine.Conn, view []byte) int {
	used := 0
	w := a.st.w // the stream may be over, and its object given back, before the end of this call
	a.anyByte = true
	for a.pc != nil && !a.paused && used < len(view) {
		var n int
		var ok bool
		if a.state == attemptHead {
			n, ok = a.readHead(view[used:])
		} else {
			n, ok = a.readBody(view[used:])
		}
		used += n
		if !ok {
			break
		}
	}
	if a.dropping {
		a.cancel() // the rest has not come
	}
	w.FlushHeads()
	return used
}

// readHead parses one response head.
func (a *attempt) readHead(b []byte) (int, bool) {
	st := a.st
	h := a.resp
	upgrade := st.tun.kind == upgradeTunnel
	n, e := http1.ParseResponse(b, a.seen, a.opts, http1.RequestInfo{Method: st.req.Method, Upgrade: upgrade}, h)
	switch {
	case e != 0:
		a.badResponse(e)
		return len(b), false
	case n == 0:
		a.seen = len(b)
		return 0, false
	}
	a.seen = 0
	if st.webSocketRefuted(h) {
		a.badResponse(http1.ErrUnaskedUpgrade)
		return len(b), false
	}
	a.info.UpstreamHeaderBytesReceived += uint64(n)
	a.info.UpstreamWireReceived += uint64(n)
	if h.Status < 200 && h.Transfer != header.Tunnel {
		return n, a.informational(h)
	}
	if w := a.watch; w != nil {
		w.head(h)
	}
	end := h.Transfer == header.NoBody
	a.body.Init(h)
	a.body.SetLimits(a.opts)
	if a.opts.EnableTrailers {
		a.body.SetTrailers(&st.trail)
	}
	a.setState(attemptBody)
	// Close spoke of the origin's connection; from here on the head is the client's.
	a.keep, h.Close = !h.Close, false
	if e := http1.StripHopByHop(h, false, upgrade); e != 0 {
		a.badResponse(e)
		return len(b), false
	}
	return n, a.responded(end)
}

// informational handles a 1xx; 101 was not asked for (UP-15).
func (a *attempt) informational(h *header.Head) bool {
	if h.Status == 101 {
		a.badResponse(http1.ErrUnaskedUpgrade)
		return false
	}
	if !a.interimWanted(h.Status) {
		return true
	}
	if e := http1.StripHopByHop(h, false, false); e != 0 {
		a.badResponse(e)
		return false
	}
	a.inform(h)
	return true
}

// readBody decodes one run of the body.
func (a *attempt) readBody(b []byte) (int, bool) {
	st := a.st
	data, n, done, e := a.body.Next(b)
	a.rsBody += uint64(len(data))
	if e == 0 {
		a.info.UpstreamWireReceived += uint64(n)
	}
	if a.dropping {
		return a.dropped(len(b), n, done, e)
	}
	if e != 0 {
		a.badResponse(e)
		return len(b), false
	}
	if !done {
		if len(data) > 0 {
			st.onResponseData(data, false)
		}
		if n == len(b) && a.pc != nil {
			a.tryDownload()
		}
		return n, n > 0 && a.pc != nil
	}
	a.finished()
	if st.trail.Count() > 0 {
		if len(data) > 0 {
			st.onResponseData(data, false)
		}
		if !st.over {
			st.onResponseTrailers()
		}
	} else {
		st.onResponseData(data, true)
	}
	return n, false
}

// dropped goes over a run of a body nobody wants.
func (a *attempt) dropped(have, n int, done bool, e http1.Err) (int, bool) {
	switch {
	case e != 0:
		a.dropping = false
		a.cancel()
		return have, false
	case done:
		a.dropping = false
		a.finished()
	}
	return n, n > 0 && !done
}

// badResponse ends the attempt for a response that is not valid HTTP.
func (a *attempt) badResponse(e http1.Err) {
	st := a.st
	s := st.w.Stats
	s.Inc(st.cluster.C.Stats.UpstreamCxProtocolError)
	r := reason.UpstreamProtocol
	switch e.String() {
	case "http1.headers_too_large":
		r = reason.UpstreamHeadTooLarge
	case "http1.too_many_headers":
		r = reason.UpstreamTooManyFields
	}
	a.info.UpstreamFailure = e.String()
	a.broken(r)
}

// OnReadClosed is the origin's FIN: the end of an until-close body, else a response cut off.
func (a *attempt) OnReadClosed(*engine.Conn) { a.endOfStream() }

func (a *attempt) endOfStream() {
	st := a.st
	if a.state == attemptBody && a.body.OnClose() == 0 {
		a.keep = false
		a.responseEnds()
		st.onResponseData(nil, true)
		return
	}
	a.broken(reason.UpstreamTermination)
}

// OnClosed is the end of the connection while it was ours. A reset never ends a body, not even an
// until-close one: bytes may be missing.
func (a *attempt) OnClosed(*engine.Conn, engine.CloseReason) {
	a.stopPumps()
	a.st.w.DropHead(a.pc.Conn)
	a.chargeBytes()
	a.pc = nil // the pool has settled its accounts
	if a.ended && a.sent {
		a.tunnelOver()
		return
	}
	a.broken(reason.UpstreamTermination)
}

var (
	_ engine.Handler = (*attempt)(nil)
	_ downstream     = (*serverConn)(nil)
)
