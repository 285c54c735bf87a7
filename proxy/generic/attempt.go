package generic

import (
	"time"

	"github.com/sluiceproxy/sluice/codec/frame"
	"github.com/sluiceproxy/sluice/engine"
	"github.com/sluiceproxy/sluice/pool"
	"github.com/sluiceproxy/sluice/proxy/cluster"
	"github.com/sluiceproxy/sluice/proxy/reason"
	"github.com/sluiceproxy/sluice/proxy/worker"
)

// This file is a request with a connection of the pool to itself (GP-10).

// attempt is a stream as its pool and its connection see it.
type attempt stream

var (
	_ pool.Owner     = (*attempt)(nil)
	_ engine.Handler = (*attempt)(nil)
)

// start asks for a connection; the answer may come before it returns.
func (st *stream) start() {
	w := st.s.a.w
	st.attempts++
	st.endpoint = st.upstream.PickFor(st.choose())
	if st.endpoint == nil {
		w.Stats.Inc(st.upstream.C.Stats.UpstreamCxNoneHealthy)
		st.localReply(reason.NoHealthyHost, frame.Unavailable, "")
		return
	}
	st.req.Owner = (*attempt)(st)
	st.pending = true
	if !st.endpoint.AcquireGeneric(&st.req) {
		st.pending = false
		st.attemptFailed(reason.GenericOverflow)
	}
}

// OnPoolReady sends what there is of the request.
func (t *attempt) OnPoolReady(pc *pool.Conn) {
	st := (*stream)(t)
	st.pending = false
	if !st.admitted() {
		pc.SetHandler(t)
		pc.Release(true)
		st.attemptFailed(reason.GenericOverflow)
		return
	}
	st.pc = pc
	st.endpoint.Connected(false)
	pc.SetHandler(t)
	pc.SetReadLimit(st.cfg.readLimit)
	st.rx0, st.tx0, st.upID = pc.BytesRead(), pc.BytesWritten(), pc.ID()
	st.readyNs = st.s.a.w.Loop.Now()
	if st.dec == nil || st.decOf != st.cfg.codec {
		st.dec, st.decOf = st.cfg.codec.NewResponseDecoder(), st.cfg.codec
	} else {
		st.dec.Reset()
	}
	if st.held.Len() > 0 {
		st.sendHeld()
	}
	if st.reqDone {
		st.sentOwn()
		return
	}
	st.s.unstall()
}

// sendHeld writes the kept bytes, and lets go of them when they are not to be sent again.
func (st *stream) sendHeld() {
	st.pc.Cork()
	st.held.CopyTo(st.pc)
	st.pc.Uncork()
	if !st.keep {
		st.s.heldBytes -= st.held.Len()
		st.held.Release()
	}
}

// sendOwn writes bytes of the request, or keeps them.
func (st *stream) sendOwn(b []byte) {
	if st.pc != nil {
		st.pc.Write(b)
	}
	if st.pc != nil && !st.keep {
		return
	}
	if st.keep && st.pc != nil && st.held.Len()+len(b) > st.cfg.bufferLimit {
		st.keep = false // too large to be sent again
		st.s.heldBytes -= st.held.Len()
		st.held.Release()
		return
	}
	st.held.Append(b)
	st.s.heldBytes += len(b)
}

// sentOwn says that the whole request is with its connection.
func (st *stream) sentOwn() {
	st.txEndNs = st.s.a.w.Loop.Now()
	if !st.oneWay {
		return
	}
	if st.pc.Buffered() > 0 { // a connection must not go back with bytes to write
		st.flushing = true
		st.pc.SetWatermarks(1)
		return
	}
	st.oneWayDone()
}

func (st *stream) oneWayDone() {
	st.endedBy(reason.GenericOneWay)
	st.respDone = true
	st.release(true)
	st.finish()
}

// release gives the connection back.
func (st *stream) release(reusable bool) {
	pc := st.pc
	st.chargeOwn()
	st.pc, st.paused = nil, false
	if st.flushing {
		st.flushing = false
		pc.SetWatermarks(int(st.upstream.C.Conf.PerConnectionBufferLimitBytes))
	}
	st.uncount()
	pc.Release(reusable)
}

// chargeOwn counts what the connection moved for this request.
func (st *stream) chargeOwn() {
	sh, c := st.s.a.w.Stats, st.upstream.C.Stats
	sh.Add(c.UpstreamCxRxBytesTotal, st.pc.BytesRead()-st.rx0)
	sh.Add(c.UpstreamCxTxBytesTotal, st.pc.BytesWritten()-st.tx0)
}

// dropOwn gives up the connection, or the wait for one.
func (st *stream) dropOwn() {
	if st.upstream == nil {
		return
	}
	c := st.upstream.C.Stats
	switch {
	case st.pending:
		st.pending = false
		st.req.Cancel()
		st.s.a.w.Stats.Inc(c.UpstreamRqCancelled)
	case st.pc != nil:
		pc := st.pc
		st.s.a.w.Stats.Inc(c.UpstreamRqTxReset)
		st.chargeOwn()
		st.pc, st.paused = nil, false
		pc.Abort()
	}
	st.retryAt = 0
}

// OnPoolFailure implements pool.Owner.
func (t *attempt) OnPoolFailure(f pool.Failure, err error) {
	st := (*stream)(t)
	st.pending = false
	if err != nil {
		st.failure = err.Error()
	}
	switch f {
	case pool.Closed:
		st.abandon(reason.Stopped)
	case pool.Overflow:
		st.attemptFailed(reason.GenericOverflow)
	default:
		st.s.a.w.Stats.Inc(st.upstream.C.Stats.UpstreamRqPendingFailureEject)
		st.attemptFailed(reason.GenericConnectFailure)
	}
}

// retryBase is the longest wait before the second retry; it doubles from one to the next up to ten times
// that. The first one follows at once.
const retryBase = 25 * time.Millisecond

// attemptFailed makes another try when one attempt has failed (GP-4), or answers the request.
func (st *stream) attemptFailed(r reason.Reason) {
	s := st.s
	if st.endpoint != nil {
		st.endpoint.Load.RqError++
		noteFailure(st.endpoint, r)
	}
	st.uncount()
	if !st.began && st.attempts < st.route.tries && st.keep && !s.closing {
		st.retryAt = s.a.w.Loop.Now() + 1
		if n := st.attempts; n > 1 {
			most := min(retryBase<<min(n-2, 8), 10*retryBase)
			st.retryAt += s.a.w.Random.Int64N(int64(most))
		}
		s.arm(st.retryAt)
		return
	}
	if st.attempts > 1 && st.attempts >= st.route.tries {
		st.flags |= reason.UpstreamRetryLimitExceeded
	}
	st.localReply(r, frame.Unavailable, "")
}

// noteFailure tells outlier detection how a try of the host ended without an answer (CL-46).
func noteFailure(e *worker.Endpoint, r reason.Reason) {
	switch r {
	case reason.GenericConnectFailure:
		e.Failed(cluster.ConnectFailed, 0)
	case reason.GenericTermination, reason.GenericProtocol:
		e.Failed(cluster.Broke, 0)
	case reason.GenericTimeout:
		e.Failed(cluster.TimedOut, 0)
	}
}

// broken ends the attempt because of its connection or what came over it.
func (st *stream) broken(r reason.Reason) {
	if st.pc != nil {
		pc := st.pc
		st.chargeOwn()
		st.pc, st.paused = nil, false
		pc.Abort()
	}
	st.attemptFailed(r)
}

// OnConnected never happens here: the pool hands out connections that are up.
func (t *attempt) OnConnected(*engine.Conn) {}

// OnData reads the response, when it is its turn.
func (t *attempt) OnData(_ *engine.Conn, view []byte) int {
	st := (*stream)(t)
	s := st.s
	used := 0
	f := &s.a.frame
	for st.pc != nil && used < len(view) {
		if !s.mayWrite(st) {
			s.await(st)
			st.pause()
			break
		}
		if s.c.Above() {
			s.a.w.Stats.Inc(st.upstream.C.Stats.UpstreamFlowControlPausedReadingTotal)
			st.pause()
			break
		}
		*f = frame.Frame{Note: st.note, Awaited: true}
		n, err := st.dec.Next(view[used:], f)
		if err != nil {
			s.flush()
			st.protocolError(err)
			return len(view)
		}
		if n == 0 && !f.Flags.Has(frame.Answer) {
			if len(view)-used >= st.cfg.readLimit {
				s.flush()
				st.protocolError(errTooLarge)
				return len(view)
			}
			break
		}
		used += n
		over, ok := st.onFrame(f, view, used-n, used)
		if !ok {
			s.flush()
			st.protocolError(errSequence)
			return len(view)
		}
		if over {
			break
		}
	}
	s.flush()
	return used
}

// onFrame takes one frame of the connection. over says that the stream has ended.
func (st *stream) onFrame(f *frame.Frame, view []byte, from, to int) (over, ok bool) {
	switch {
	case f.Flags == 0:
		return false, true
	case f.Flags.Has(frame.Answer):
		st.pc.Write(f.Reply)
		return false, true
	case f.Flags.Has(frame.Push) || st.cfg.byID && f.ID != st.id:
		st.s.a.w.Stats.Inc(st.cfg.stats.UpstreamResponseUnmatched)
		return false, true
	case f.Flags.Has(frame.Header) == st.began: // GP-24
		return false, false
	}
	if st.onResponse(f, view, from, to) {
		return false, true
	}
	if st.pc != nil {
		st.release(st.reqDone && !st.lastOfConn)
	}
	st.finishIfDone()
	return true, true
}

func (st *stream) protocolError(err error) {
	s := st.s
	s.a.w.Stats.Inc(st.upstream.C.Stats.UpstreamCxProtocolError)
	s.a.complain(st.cfg, "generic proxy: an upstream's bytes cannot be read", err)
	st.broken(reason.GenericProtocol)
}

func (st *stream) pause() {
	st.paused = true
	st.pc.PauseRead()
}

func (st *stream) resume() {
	if st.paused && st.pc != nil {
		st.paused = false
		st.pc.ResumeRead()
	}
}

// OnReadClosed ends the response, if the end of the connection can do that.
func (t *attempt) OnReadClosed(*engine.Conn) {
	st := (*stream)(t)
	s := st.s
	if fin, ok := st.dec.(frame.Finisher); ok && st.pc != nil && s.mayWrite(st) {
		f := &s.a.frame
		*f = frame.Frame{Note: st.note, Awaited: true}
		view := st.pc.KeptView()
		n, err := fin.Finish(view, f)
		if err == nil && f.Flags.Has(frame.End) && f.Flags.Has(frame.Header) != st.began {
			st.onResponse(f, view, 0, n)
			s.flush()
			st.release(false)
			st.finishIfDone()
			return
		}
	}
	st.broken(reason.GenericTermination)
}

// OnWritable lets the request go on, or ends a one-way one.
func (t *attempt) OnWritable(*engine.Conn) {
	st := (*stream)(t)
	if st.flushing {
		st.oneWayDone()
		return
	}
	st.s.unstall()
}

// OnClosed ends the attempt.
func (t *attempt) OnClosed(_ *engine.Conn, r engine.CloseReason) {
	st := (*stream)(t)
	if st.pc == nil {
		return
	}
	st.chargeOwn()
	st.pc, st.paused = nil, false
	if r == engine.LoopStopped {
		st.abandon(reason.Stopped)
		return
	}
	st.attemptFailed(reason.GenericTermination)
}
