package generic

import (
	"github.com/sluiceproxy/sluice/codec/frame"
	"github.com/sluiceproxy/sluice/engine"
	"github.com/sluiceproxy/sluice/pool"
	"github.com/sluiceproxy/sluice/pool/buf"
	"github.com/sluiceproxy/sluice/proxy/reason"
	"github.com/sluiceproxy/sluice/proxy/worker"
)

// This file is the upstream connection of a session with bind_upstream_connection.

// boundState is how far a bound connection has come.
type boundState uint8

const (
	boundNone    boundState = iota // no request has asked for it
	boundPending                   // asked for; requests wait in hold
	boundUp                        // connected
	boundOver                      // closed, or failed: the session closes
)

// bound is the one upstream connection of a session; neither outlives the other (GP-11). Its host is
// that of the first request (GP-12). Part of its session.
//
//	event \ state   pending                     up
//	request         kept, bounded               written
//	connected       kept requests written -> up -
//	response        -                           to the request it answers (GP-13)
//	failure, end    all requests answered, the session closes after what is written -> over
type bound struct {
	s        *session
	state    boundState
	upstream *worker.Upstream
	endpoint *worker.Endpoint
	req      pool.Request
	pc       *pool.Conn
	dec      frame.Decoder
	hold     buf.Chain // requests, until it is connected
	out      window    // part of the client's view that is to be written

	// head and tail are the requests it owes a response, in their order; not for codecs that match by id.
	head, tail *stream
	ghosts     int
	charged    [2]uint64
	paused     bool
	partial    bool // a request was begun on it and has not ended
	answers    []byte
}

var (
	_ pool.Owner     = (*bound)(nil)
	_ engine.Handler = (*bound)(nil)
)

// join makes st a request of the bound connection, which is made with the first one.
func (u *bound) join(st *stream) {
	s := u.s
	if u.state == boundNone {
		st.endpoint = st.upstream.PickFor(st.choose())
		if st.endpoint == nil {
			s.a.w.Stats.Inc(st.upstream.C.Stats.UpstreamCxNoneHealthy)
			st.localReply(reason.NoHealthyHost, frame.Unavailable, "")
			return
		}
		u.upstream, u.endpoint = st.upstream, st.endpoint
	}
	st.upstream, st.endpoint = u.upstream, u.endpoint
	st.attempts = 1
	if !st.admitted() {
		st.localReply(reason.GenericOverflow, frame.Unavailable, "")
		return
	}
	st.sent = true
	if !st.oneWay && !st.cfg.byID {
		if u.tail == nil {
			u.head = st
		} else {
			u.tail.nextAwait = st
		}
		u.tail = st
	}
	if u.pc != nil {
		st.readyNs, st.upID = s.a.w.Loop.Now(), u.pc.ID()
	}
	if u.state != boundNone {
		return
	}
	u.state = boundPending
	if !u.endpoint.AcquireTCP(&u.req, nil) {
		u.failed(reason.GenericOverflow)
	}
}

// OnPoolReady begins with what waits.
func (u *bound) OnPoolReady(pc *pool.Conn) {
	s := u.s
	u.state, u.pc = boundUp, pc
	u.endpoint.Connected(false)
	pc.SetHandler(u)
	u.dec = s.cfg.codec.NewResponseDecoder()
	pc.SetReadLimit(s.cfg.readLimit)
	now := s.a.w.Loop.Now()
	for st := s.first; st != nil; st = st.next {
		if st.sent {
			st.readyNs, st.upID = now, pc.ID()
		}
	}
	if u.hold.Len() > 0 {
		pc.Cork()
		u.hold.CopyTo(pc)
		pc.Uncork()
		s.heldBytes -= u.hold.Len()
		u.hold.Release()
	}
	s.unstall()
}

// OnPoolFailure implements pool.Owner.
func (u *bound) OnPoolFailure(f pool.Failure, err error) {
	r := reason.GenericConnectFailure
	switch f {
	case pool.Closed:
		r = reason.Stopped
	case pool.Overflow:
		r = reason.GenericOverflow
	}
	if err != nil {
		text := err.Error()
		for st := u.s.first; st != nil; st = st.next {
			st.failure = text
		}
	}
	u.failed(r)
}

// failed answers every request that waits and closes the session (GP-11, GP-15).
func (u *bound) failed(r reason.Reason) {
	s := u.s
	if u.state == boundOver {
		return
	}
	u.state = boundOver
	if u.endpoint != nil {
		u.endpoint.Load.RqError++
		if s.first != nil { // the end of a connection that nobody waits for is no failure
			noteFailure(u.endpoint, r)
		}
	}
	if s.closing {
		return
	}
	s.flush()
	for st := s.first; st != nil && !s.closing; {
		next := st.next
		if st.sent && !st.respDone && !st.local && r != reason.Stopped {
			st.reqDone = true // the rest of it will not be read
			st.localReply(r, frame.Unavailable, "")
			next = s.first // they end in order; begin anew
			if next == st {
				next = st.next // waits for its turn
			}
		}
		st = next
	}
	if s.closing {
		return
	}
	s.end(r)
}

// full says whether it can take no more now.
func (u *bound) full() bool {
	switch u.state {
	case boundPending:
		return u.hold.Len() > u.s.cfg.bufferLimit
	case boundUp:
		return u.pc.Above()
	}
	return false
}

// forward passes a frame of a request on: at once, or together with its neighbours.
func (u *bound) forward(f *frame.Frame, view []byte, from, to int) {
	u.partial = !f.Flags.Has(frame.End)
	switch {
	case u.state == boundPending:
		b := f.Bytes
		if b == nil {
			b = view[from:to]
		}
		u.hold.Append(b)
		u.s.heldBytes += len(b)
	case u.state != boundUp:
	case f.Bytes != nil:
		u.flush()
		u.pc.Write(f.Bytes)
	case u.out.view != nil && u.out.to == from:
		u.out.to = to
	default:
		u.flush()
		u.out = window{view, from, to}
	}
}

// flush writes what forward has collected, and the codec's own answers when no request is under way.
func (u *bound) flush() {
	if u.state != boundUp {
		u.out.clear()
		return
	}
	if u.out.view != nil {
		w := u.out
		u.out.clear()
		u.pc.Write(w.view[w.from:w.to])
	}
	if len(u.answers) > 0 && !u.partial {
		u.pc.Write(u.answers)
		u.answers = u.answers[:0]
	}
}

// OnConnected never happens here: the pool hands out connections that are up.
func (u *bound) OnConnected(*engine.Conn) {}

// OnData gives responses to the requests they answer.
func (u *bound) OnData(_ *engine.Conn, view []byte) int {
	s := u.s
	f := &s.a.frame
	used := 0
	for u.state == boundUp && used < len(view) {
		if s.c.Above() {
			if !u.paused {
				u.paused = true
				s.a.w.Stats.Inc(u.upstream.C.Stats.UpstreamFlowControlPausedReadingTotal)
			}
			u.pc.PauseRead()
			break
		}
		*f = frame.Frame{}
		if u.head != nil {
			f.Note, f.Awaited = u.head.note, true
		}
		n, err := u.dec.Next(view[used:], f)
		if err == nil && n == 0 && !f.Flags.Has(frame.Answer) {
			if len(view)-used < s.cfg.readLimit {
				break
			}
			err = errTooLarge
		}
		if err != nil {
			u.protocolError(err)
			return len(view)
		}
		used += n
		if !u.onFrame(f, view, used-n, used) {
			u.protocolError(errSequence)
			return len(view)
		}
	}
	s.flush()
	if u.state != boundUp {
		return len(view)
	}
	u.flush()
	return used
}

// onFrame takes one frame; false when it cannot be.
func (u *bound) onFrame(f *frame.Frame, view []byte, from, to int) bool {
	s := u.s
	switch {
	case f.Flags == 0:
		return true
	case f.Flags.Has(frame.Answer):
		if len(u.answers)+len(f.Reply) <= maxAnswers {
			u.answers = append(u.answers, f.Reply...)
		}
		return true
	case f.Flags.Has(frame.Push):
		s.forward(f, view, from, to)
		return true
	}
	st := u.head
	if s.cfg.byID {
		st = s.find(f.ID)
		if st != nil && (!st.sent || st.local) {
			st = nil
		}
	}
	switch {
	case st == nil: // GP-14
		if f.Flags.Has(frame.Header) {
			s.a.w.Stats.Inc(s.cfg.stats.UpstreamResponseUnmatched)
			s.a.complain(s.cfg, "generic proxy: a response without a request was dropped", errSequence)
		}
		return true
	case st.ghost: // GP-24
		if f.Flags.Has(frame.End) {
			s.a.w.Stats.Inc(s.cfg.stats.UpstreamResponseLate)
			u.pop()
			u.ghosts--
			s.a.put(st)
			s.unstall()
			s.endIfDrained()
		}
		return true
	case f.Flags.Has(frame.Header) == st.began: // GP-24
		return false
	}
	if st.onResponse(f, view, from, to) {
		return true
	}
	if !s.cfg.byID {
		u.pop()
	}
	st.finishIfDone()
	return true
}

// pop takes the request that was answered off those that wait.
func (u *bound) pop() {
	st := u.head
	if u.head = st.nextAwait; u.head == nil {
		u.tail = nil
	}
	st.nextAwait = nil
}

// keepsGhost says whether st, which ends, is still owed a response whose place must be kept.
func (u *bound) keepsGhost(st *stream) bool {
	if u.head == nil || st.oneWay || !st.sent || u.state == boundOver {
		return false
	}
	for at := u.head; at != nil; at = at.nextAwait {
		if at == st {
			u.ghosts++
			return true
		}
	}
	return false
}

// resume reads on when the client can take more.
func (u *bound) resume() {
	if u.paused && u.state == boundUp {
		u.paused = false
		u.s.a.w.Stats.Inc(u.upstream.C.Stats.UpstreamFlowControlResumedReadingTotal)
		u.pc.ResumeRead()
	}
}

func (u *bound) protocolError(err error) {
	s := u.s
	s.a.w.Stats.Inc(u.upstream.C.Stats.UpstreamCxProtocolError)
	s.a.complain(s.cfg, "generic proxy: an upstream's bytes cannot be read", err)
	u.failed(reason.GenericProtocol)
}

// OnReadClosed ends the session; a response that ends with its connection is complete.
func (u *bound) OnReadClosed(*engine.Conn) {
	s := u.s
	if fin, ok := u.dec.(frame.Finisher); ok && u.head != nil && !u.head.ghost && u.pc.Kept() < s.cfg.readLimit {
		f := &s.a.frame
		st := u.head
		*f = frame.Frame{Note: st.note, Awaited: true}
		view := u.pc.KeptView()
		n, err := fin.Finish(view, f)
		if err == nil && f.Flags.Has(frame.End) && f.Flags.Has(frame.Header) != st.began {
			st.onResponse(f, view, 0, n)
			s.flush()
			u.pop()
			st.finishIfDone()
		}
	}
	u.failed(reason.GenericTermination)
}

// OnWritable lets requests go on.
func (u *bound) OnWritable(*engine.Conn) { u.s.unstall() }

// OnClosed ends the session.
func (u *bound) OnClosed(_ *engine.Conn, r engine.CloseReason) {
	u.charge()
	u.pc = nil
	if u.state != boundUp {
		return
	}
	why := reason.GenericTermination
	if r == engine.LoopStopped {
		why = reason.Stopped
	}
	u.failed(why)
}

// charge counts what the connection has moved since the last time.
func (u *bound) charge() {
	if u.pc == nil {
		return
	}
	sh, c := u.s.a.w.Stats, u.upstream.C.Stats
	now := [2]uint64{u.pc.BytesRead(), u.pc.BytesWritten()}
	sh.Add(c.UpstreamCxRxBytesTotal, now[0]-u.charged[0])
	sh.Add(c.UpstreamCxTxBytesTotal, now[1]-u.charged[1])
	u.charged = now
}

// close lets go of the connection: the session is over.
func (u *bound) close() {
	u.out.clear()
	was := u.state
	u.state = boundOver
	if was == boundPending {
		u.req.Cancel()
	}
	u.hold.Release()
	for st := u.head; st != nil; {
		next := st.nextAwait
		if st.ghost {
			u.s.a.put(st)
		}
		st = next
	}
	u.head, u.tail, u.ghosts = nil, nil, 0
	if pc := u.pc; pc != nil {
		u.charge()
		u.pc = nil
		if was == boundUp {
			pc.Abort()
		} else {
			pc.Release(false)
		}
	}
}
