package hcm

import (
	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/codec/http1"
	"github.com/sluiceproxy/sluice/engine"
	"github.com/sluiceproxy/sluice/engine/relay"
	"github.com/sluiceproxy/sluice/pool"
	"github.com/sluiceproxy/sluice/proxy/reason"
	"github.com/sluiceproxy/sluice/proxy/worker"
)

// attemptState is how far an attempt has come.
type attemptState uint8

const (
	// attemptIdle: not started, or over.
	attemptIdle attemptState = iota
	// attemptPending: waiting for a connection from the pool.
	attemptPending
	// attemptHead: connected, request on its way, no final response head yet.
	attemptHead
	// attemptBody: response body arriving.
	attemptBody
)

func (s attemptState) String() string {
	return [...]string{"idle", "pending", "head", "body"}[s]
}

// attempt is one try of a request at one host over HTTP/1. It is part of its stream and the handler
// of the upstream connection while it holds one. Loop-owned.
//
//	event \ state     pending             head                      body
//	pool ready        send head -> head   -                         -
//	pool failure      fail stream         -                         -
//	bytes             -                   parse head -> body/done   decode body -> done
//	FIN               -                   fail (UC)                 done if until-close, else reset
//	closed            -                   fail (UC)                 same as FIN
//	cancel            leave the queue     close connection          close connection
type attempt struct {
	st       *stream
	endpoint *worker.Endpoint
	pool     *pool.Pool
	pc       *pool.Conn
	req      pool.Request

	state attemptState
	// sent: the whole request was written. encoding is how its body ends.
	sent     bool
	encoding header.TransferKind
	// counted: this attempt is in the cluster's active requests.
	counted  bool
	priority uint8
	// anyByte: the origin has said something on this attempt.
	anyByte bool
	paused  bool
	// keep: the response allows the connection to be used again.
	keep bool
	// starting: Acquire is on the stack, so the event's end will flush what is held.
	starting bool

	body http1.Body
	seen int
	opts *http1.Options

	// rxFrom and txFrom are the connection's byte counts when the attempt got it.
	rxFrom, txFrom uint64

	// upload and download carry bulk bodies without this code seeing them (bulk.go).
	upload, download relay.Pump
}

func (a *attempt) reset() { *a = attempt{} }

// start asks for a connection to the host; the answer may come before it returns.
func (a *attempt) start(e *worker.Endpoint, priority int) {
	st := a.st
	a.endpoint, a.priority = e, uint8(priority)
	st.info.Attempts++
	a.pool = e.Pool(priority)
	if a.pool == nil {
		a.fail(reason.Overflow)
		return
	}
	a.setState(attemptPending)
	a.req.Owner = a
	a.starting = true
	a.pool.Acquire(&a.req)
	a.starting = false
}

// OnPoolReady is the pool's answer: a connection that is ours until released.
func (a *attempt) OnPoolReady(pc *pool.Conn) {
	st, c := a.st, a.st.cluster.C
	s := st.w.Stats
	if !c.Breakers[a.priority].TryRequest() {
		s.Inc(c.Stats.UpstreamRqPendingOverflow) // ROUTER-71
		s.Inc(c.Stats.UpstreamRqActiveOverflow)
		a.setState(attemptIdle)
		pc.SetHandler(a)
		pc.Release(true)
		a.fail(reason.Overflow)
		return
	}
	a.counted = true
	s.Inc(c.Stats.UpstreamRqTotal)
	s.GaugeAdd(c.Stats.UpstreamRqActive, 1)
	a.endpoint.Load.RqTotal++
	a.endpoint.Load.RqActive++
	a.pc = pc
	a.setState(attemptHead)
	a.opts = &st.cluster.Parse
	pc.SetHandler(a)
	a.rxFrom, a.txFrom = pc.BytesRead(), pc.BytesWritten()
	pc.SetReadLimit(a.opts.MaxHeadBytes + 4096)
	st.info.UpstreamReady = st.w.Loop.Now()
	st.info.UpstreamConnectionID = pc.ID()
	st.info.UpstreamLocal = pc.LocalAddr()
	st.info.UpstreamProtocol = header.HTTP11
	if st.upstreamLimit > 0 {
		st.setDeadline(deadlineUpstream, st.upstreamLimit)
	}
	end := st.request == halfDone
	a.requestHead(&st.req, end)
	if !a.starting {
		st.w.FlushHeads()
	}
	if !end {
		st.onUpstreamDrained()
	}
}

// OnPoolFailure is the pool's other answer.
func (a *attempt) OnPoolFailure(f pool.Failure, err error) {
	a.setState(attemptIdle)
	r := reason.ConnectFailure
	switch f {
	case pool.Overflow:
		r = reason.Overflow
	case pool.ConnectTimeout:
		r = reason.ConnectTimeout
	case pool.LocalConnectFailure:
		r = reason.LocalConnectFailure
	case pool.Closed:
		r = reason.Stopped
	}
	if f != pool.Overflow {
		a.st.w.Stats.Inc(a.st.cluster.C.Stats.UpstreamRqPendingFailureEject)
	}
	if err != nil {
		a.st.info.UpstreamFailure = err.Error()
	}
	a.fail(r)
}

// fail ends the attempt and with it the stream: this version does not retry.
func (a *attempt) fail(r reason.Reason) {
	if e := a.endpoint; e != nil {
		e.Load.RqError++
	}
	a.uncount()
	a.st.fail(r, 0)
}

// uncount takes the attempt out of the active requests. Idempotent.
func (a *attempt) uncount() {
	if !a.counted {
		return
	}
	a.counted = false
	u := a.st.cluster
	u.C.Breakers[a.priority].ReleaseRequest()
	a.st.w.Stats.GaugeAdd(u.C.Stats.UpstreamRqActive, -1)
	a.endpoint.Load.RqActive--
}

// cancel implements upstream. A connection in the middle of an exchange cannot be used again.
func (a *attempt) cancel() {
	switch a.state {
	case attemptPending:
		a.pool.Cancel(&a.req)
		a.st.w.Stats.Inc(a.st.cluster.C.Stats.UpstreamRqCancelled)
	case attemptHead, attemptBody:
		a.st.w.Stats.Inc(a.st.cluster.C.Stats.UpstreamRqTxReset)
		a.abort()
	default:
		return
	}
	a.setState(attemptIdle)
	a.uncount()
}

// release gives the connection back after a whole exchange, for further use or to be closed. Bytes
// beyond the response are the pool's to judge (HC-48).
func (a *attempt) release(reusable bool) {
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

// abort closes the connection in the middle of an exchange.
func (a *attempt) abort() {
	a.stopPumps()
	if pc := a.pc; pc != nil {
		a.chargeBytes()
		a.pc, a.paused = nil, false
		a.st.w.DropHead(pc.Conn)
		pc.Abort()
	}
}

// requestHead implements upstream.
func (a *attempt) requestHead(h *header.Head, end bool) {
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
	default:
		f.Transfer = header.Chunked
	}
	a.encoding, a.sent = f.Transfer, end
	now := st.w.Loop.Now()
	st.info.UpstreamTxBegin = now
	b := http1.AppendRequestHead(st.w.HeadBuffer(a.pc.Conn), h, f)
	n := uint64(st.w.HoldHead(a.pc.Conn, b))
	st.info.UpstreamHeaderBytesSent = n
	st.info.UpstreamWireSent += n
	if end {
		st.info.UpstreamTxEnd = now
		st.w.FlushHeads()
	}
}

// requestData implements upstream.
func (a *attempt) requestData(p []byte, end bool) {
	if a.pc == nil {
		return
	}
	if a.encoding == header.Chunked {
		a.st.info.UpstreamWireSent += uint64(a.st.w.WriteChunk(a.pc.Conn, p, end))
	} else {
		a.st.info.UpstreamWireSent += uint64(len(p))
		a.st.w.WriteData(a.pc.Conn, p)
	}
	if end {
		a.sent = true
		a.st.info.UpstreamTxEnd = a.st.w.Loop.Now()
	}
}

// requestTrailers implements upstream. Trailers are only there when enable_trailers let them in.
func (a *attempt) requestTrailers(t *header.Head) {
	if a.pc == nil {
		return
	}
	a.sent = true
	a.st.info.UpstreamTxEnd = a.st.w.Loop.Now()
	if a.encoding != header.Chunked {
		return
	}
	if !a.st.cluster.C.Conf.HTTP1.EnableTrailers {
		t = nil
	}
	b := http1.AppendLastChunk(a.st.w.HeadBuffer(a.pc.Conn), t)
	a.st.info.UpstreamWireSent += uint64(a.st.w.HoldHead(a.pc.Conn, b))
	a.st.w.FlushHeads()
}

// full implements upstream: nowhere to put bytes, or enough of them waiting.
func (a *attempt) full() bool {
	return a.state == attemptPending || a.pc != nil && a.pc.Above()
}

func (a *attempt) pauseResponse() {
	if a.pc != nil {
		a.paused = true
		a.pc.PauseRead()
	}
}

func (a *attempt) resumeResponse() {
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
	w.FlushHeads()
	return used
}

// readHead parses one response head.
func (a *attempt) readHead(b []byte) (int, bool) {
	st := a.st
	h := &st.resp
	n, e := http1.ParseResponse(b, a.seen, a.opts, http1.RequestInfo{Method: st.req.Method}, h)
	switch {
	case e != 0:
		a.badResponse(e)
		return len(b), false
	case n == 0:
		a.seen = len(b)
		return 0, false
	}
	a.seen = 0
	st.info.UpstreamHeaderBytesReceived += uint64(n)
	st.info.UpstreamWireReceived += uint64(n)
	if h.Status < 200 {
		return n, a.informational(h)
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
	if e := http1.StripHopByHop(h, false, false); e != 0 {
		a.badResponse(e)
		return len(b), false
	}
	if !end {
		if st.cfg.retainResponse {
			h.Retain()
		}
		st.onResponseHead(false)
		if !st.cfg.retainResponse {
			st.info.Response = nil // its bytes are gone after this event
		}
		return n, a.pc != nil
	}
	a.finished()
	st.onResponseHead(true)
	return n, false
}

// informational handles a 1xx: 100, 102, 103 and 104 may go on, 101 was not asked for (HC-40, UP-15).
func (a *attempt) informational(h *header.Head) bool {
	st := a.st
	switch h.Status {
	case 101:
		a.badResponse(http1.ErrUnaskedUpgrade)
		return false
	case 100:
		if !st.cfg.conf.Proxy100Continue {
			return true
		}
	case 102, 103, 104:
	default:
		return true
	}
	if e := http1.StripHopByHop(h, false, false); e != 0 {
		a.badResponse(e)
		return false
	}
	st.onInformational(h)
	return true
}

// readBody decodes one run of the body.
func (a *attempt) readBody(b []byte) (int, bool) {
	st := a.st
	data, n, done, e := a.body.Next(b)
	if e != 0 {
		a.badResponse(e)
		return len(b), false
	}
	st.info.UpstreamWireReceived += uint64(n)
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

// finished ends the attempt at the end of a whole response and gives the connection back before
// the response is handed on, so that a pipelined request finds it idle.
func (a *attempt) finished() {
	st := a.st
	st.info.UpstreamRxEnd = st.w.Loop.Now()
	a.setState(attemptIdle)
	if st.resp.Status >= 500 {
		a.endpoint.Load.RqError++
	} else {
		a.endpoint.Load.RqSuccess++
	}
	a.uncount()
	a.release(a.keep && a.sent)
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
	st.info.UpstreamFailure = e.String()
	a.broken(r)
}

// broken ends the attempt because of its connection or what came over it.
func (a *attempt) broken(r reason.Reason) {
	st := a.st
	a.abort()
	a.setState(attemptIdle)
	if e := a.endpoint; e != nil {
		e.Load.RqError++
	}
	a.uncount()
	if st.response != halfHead {
		st.w.Stats.Inc(st.cfg.stats.RqResetAfterDownstreamResponseStarted)
		if r == reason.UpstreamTermination {
			r = reason.ResetAfterStart
		}
	}
	st.fail(r, 0)
}

// OnReadClosed is the origin's FIN: the end of an until-close body, else a response cut off.
func (a *attempt) OnReadClosed(*engine.Conn) { a.endOfStream() }

func (a *attempt) endOfStream() {
	st := a.st
	if a.state == attemptBody && a.body.OnClose() == 0 {
		a.keep = false
		a.finished()
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
	a.broken(reason.UpstreamTermination)
}

var (
	_ upstream       = (*attempt)(nil)
	_ engine.Handler = (*attempt)(nil)
	_ downstream     = (*serverConn)(nil)
)
