package hcm

import (
	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/engine"
	"github.com/sluiceproxy/sluice/engine/wheel"
	"github.com/sluiceproxy/sluice/proxy/cluster"
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/reason"
	"github.com/sluiceproxy/sluice/proxy/retry"
	"github.com/sluiceproxy/sluice/proxy/route"
	"github.com/sluiceproxy/sluice/proxy/streaminfo"

	"time"
)

// tries is what a stream has beyond its own attempt when the request may be tried again, when a try has a
// time of its own, or when the request or its redirects go to further clusters. Most streams have none.
// Loop-owned, from the loop's free list.
//
//	event \ tries of the stream       one under way                     several, or one more to come
//	response worth another try        drop it, back-off -> next try     drop it (ROUTER-54)
//	the same, and no try is left      to the client                     drop it
//	any other response                to the client                     to the client; the others end (ROUTER-53)
//	reset worth another try           back-off -> next try              wait for the others (ROUTER-55)
//	the same, and no try is left      local reply                       wait for the others
//	a try's time is over              as a reset; hedging: a try more   as a reset; hedging: a try more
//	back-off over                     -                                 next try
//
// Tries one after the other use the stream's own attempt again; those at the same time, which there are
// only with hedging, are spares.
type tries struct {
	st   *stream // nil on the free list
	next *tries

	policies *route.Policies // nil: the request's headers alone ask for this
	state    retry.State
	hedge    bool
	// perTry and perTryIdle are 0 for none.
	perTry, perTryIdle time.Duration

	timer wheel.Timer
	// startAt is when the next try begins; 0: none is to. held is the breaker that has counted it. byTimeout:
	// the try before it was too slow.
	startAt   int64
	held      *cluster.Breaker
	byTimeout bool

	spares *spare // attempts beside the stream's own, latest first

	judge hostJudge
	body  keptBody

	mirrors   []mirrorChoice
	authority header.Span // before auto_host_rewrite
	redirects redirects
}

// parts are a loop's free lists for what few streams need.
type parts struct {
	tries      *tries
	numTries   int
	spares     *spare
	numSpares  int
	watches    *attemptWatch
	numWatches int
	line       streaminfo.Info // of the upstream_log that is being written
	shadows    int             // under way
	freeShadow *shadow
}

// What a burst leaves behind at most.
const (
	maxKeptTries  = 1024
	maxKeptSpares = 256
)

func (st *stream) parts() *parts {
	p, ok := st.w.Router.(*parts)
	if !ok {
		p = new(parts)
		st.w.Router = p
	}
	return p
}

// beginTries gives the stream what its policies or headers ask for; nothing when they ask for nothing. policy
// is p's retry policy or the cluster's.
func (st *stream) beginTries(p *route.Policies, policy *retry.Policy, perTry time.Duration, hedge bool) {
	t := st.tries // of a request that an internal redirect has brought here
	again := t != nil
	if again {
		t.state.Reset()
		t.judge.reset()
	} else {
		t = st.parts().take(st)
	}
	t.policies = p
	perTryIdle := policy.PerTryIdleTimeout()
	scratch := st.w.Loop.Scratch()
	retries := t.state.Begin(policy, &st.req, st.cfg.router.retryOptions(), &scratch)
	t.perTry, t.perTryIdle, t.hedge = perTry, perTryIdle, hedge
	if p != nil {
		t.chooseMirrors(p.Mirrors)
	}
	if !retries && perTry == 0 && perTryIdle == 0 && len(t.mirrors) == 0 && (p == nil || p.Redirect == nil) {
		if again {
			t.body.keeps = false // what there is goes with the next try
		} else {
			t.release()
		}
		return
	}
	if retries && policy != nil {
		t.judge.begin(policy.Config)
	}
	t.body.keeps = st.tun.kind == noTunnel && (retries || len(t.mirrors) > 0 || p != nil && p.Redirect != nil)
	t.body.limit = p.BodyLimit(st.cfg.bufferLimit)
	st.tries = t
}

// take returns tries for a stream.
func (p *parts) take(st *stream) *tries {
	t := p.tries
	if t == nil {
		t = new(tries)
		t.timer.Handler = t
	} else {
		p.tries, t.next = t.next, nil
		p.numTries--
	}
	t.st = st
	t.body.data.Init(st.w.Loop.Slabs())
	return t
}

// endTries gives it back when the stream is over.
func (st *stream) endTries() {
	if t := st.tries; t != nil {
		st.tries = nil
		t.release()
	}
}

func (t *tries) release() {
	st := t.st
	parts := st.parts()
	st.w.Loop.Disarm(&t.timer)
	for s := t.spares; s != nil; {
		next := s.link
		parts.putSpare(s)
		s = next
	}
	t.body.data.Release()
	if parts.numTries >= maxKeptTries {
		t.st = nil
		return
	}
	t.reset()
	t.next, parts.tries = parts.tries, t
	parts.numTries++
}

// reset clears it but for storage, which is bounded, and its timer, which is not armed. Field by field: most
// requests need no second try and have touched few of them.
func (t *tries) reset() {
	t.st, t.next, t.policies = nil, nil, nil
	t.state.Reset()
	t.hedge, t.byTimeout = false, false
	t.perTry, t.perTryIdle = 0, 0
	t.startAt, t.held, t.spares = 0, nil, nil
	t.judge.reset()
	t.body = keptBody{}
	t.mirrors, t.authority = t.mirrors[:0], header.Span{}
	t.redirects.reset()
}

// cancel ends all attempts but the stream's own, and the wait for the next one.
func (t *tries) cancel() {
	t.unschedule()
	for s := t.spares; s != nil; s = s.link {
		s.attempt.cancel()
	}
}

func (t *tries) unschedule() {
	t.startAt = 0
	if b := t.held; b != nil {
		t.held = nil
		b.ReleaseRetry()
	}
}

func (st *stream) breaker() *cluster.Breaker {
	return st.cluster.C.Breakers[st.priority()]
}

// priority says whose circuit breakers and connections the request uses (RT-79).
func (st *stream) priority() int {
	if st.route.Route.Config.Action.HighPriority {
		return conf.PriorityHigh
	}
	return conf.PriorityDefault
}

// open says whether the request may still be tried again: nothing of a response has gone to the client
// (ROUTER-25).
func (t *tries) open() bool { return t.state.Active() && t.st.response == halfHead && !t.st.localReply }

// settled ends what only a response to come needs: the client gets one now. Mirrors get the body when it
// is whole.
func (t *tries) settled() {
	t.state.Reset()
	if len(t.mirrors) == 0 {
		t.body.drop()
	}
}

// answered judges a response whose head has come to a: true when it goes to the client.
func (t *tries) answered(a *attempt) bool {
	st := t.st
	worth := false
	if t.open() {
		scratch := st.w.Loop.Scratch()
		switch worth = t.state.Response(a.resp, st.cfg.router.retryOptions(), &scratch); {
		case worth && !a.retried && t.again(a, a.resp, false):
			st.chargeRetried(a)
			return false
		case !worth && t.state.Retries > 0:
			st.w.Stats.Inc(st.cluster.C.Stats.UpstreamRqRetrySuccess)
			st.visitVirtual(countVirtualRetrySuccess)
		}
	}
	if t.redirect(a) {
		return false
	}
	if worth && t.others(a) {
		return false
	}
	t.win(a)
	return true
}

// failed says what becomes of a try that ended without a response: true when the stream goes on.
func (t *tries) failed(a *attempt, r reason.Reason) bool {
	if !t.open() {
		return false
	}
	how, begun := resetOf(r), a.begun
	return !a.retried && t.state.ResetBy(how, begun) && t.again(a, nil, how == retry.ResetTimeout) || t.others(a)
}

// resetOf says what kind of a reset r is to retry policies.
func resetOf(r reason.Reason) retry.Reset {
	switch r {
	case reason.Overflow:
		return retry.ResetOverflow
	case reason.ConnectFailure, reason.LocalConnectFailure, reason.ConnectTimeout:
		return retry.ResetConnect
	case reason.UpstreamRefused:
		return retry.ResetRefused
	case reason.PerTryTimeout, reason.PerTryIdleTimeout, reason.UpstreamMaxDuration:
		return retry.ResetTimeout
	}
	return retry.ResetBroke
}

// others says whether another try is under way or to come.
func (t *tries) others(a *attempt) bool {
	if t.startAt != 0 {
		return true
	}
	st := t.st
	if a != &st.att && st.att.awaits() {
		return true
	}
	for s := t.spares; s != nil; s = s.link {
		if &s.attempt != a && s.attempt.awaits() {
			return true
		}
	}
	return false
}

// win makes a the one whose response the client gets: every other try ends (ROUTER-53).
func (t *tries) win(a *attempt) {
	st := t.st
	t.cancelOthers(a)
	a.deadlines[tryTimeout] = 0
	if st.tun.kind != noTunnel {
		a.deadlines[tryIdle] = 0 // ROUTER-48
	}
	if t.spares != nil && a.resp != &st.resp {
		a.adopt()
	}
	st.answering = a
	t.settled()
}

// cancelOthers ends every try but a, and the wait for the next one.
func (t *tries) cancelOthers(a *attempt) {
	t.unschedule()
	if own := &t.st.att; a != own {
		own.cancel()
	}
	for s := t.spares; s != nil; s = s.link {
		if &s.attempt != a {
			s.attempt.cancel()
		}
	}
}

// again decides whether a request whose try a went wrong is tried once more, and when (ROUTER-23). h is
// the response head, if there was one.
func (t *tries) again(a *attempt, h *header.Head, byTimeout bool) bool {
	st := t.st
	s, series, router := st.w.Stats, st.cluster.C.Stats, &st.cfg.router
	switch t.state.Decide(router.useRetry.Enabled(st.w.Random.Uint64()), st.breaker()) {
	case retry.No:
		return false
	case retry.Exhausted:
		s.Inc(series.UpstreamRqRetryLimitExceeded)
		st.visitVirtual(countVirtualRetryLimit)
		st.info.Flags |= reason.UpstreamRetryLimitExceeded
		return false
	case retry.Overflow:
		s.Inc(series.UpstreamRqRetryOverflow)
		st.visitVirtual(countVirtualRetryOverflow)
		st.info.Flags |= reason.UpstreamOverflow
		return false
	}
	s.Inc(series.UpstreamRqRetry)
	st.visitVirtual(countVirtualRetry)
	base := time.Duration(router.baseBackOffMs.Load()) * time.Millisecond
	d, limited := t.state.Delay(h, base, st.w.Loop.WallNow().UnixMilli(), st.w.Random.Uint64())
	if limited {
		s.Inc(series.UpstreamRqRetryBackoffRatelimited)
	} else {
		s.Inc(series.UpstreamRqRetryBackoffExponential)
	}
	t.held, t.byTimeout = st.breaker(), byTimeout
	t.judge.add(a.endpoint)
	t.startAt = st.w.Loop.Now() + max(int64(d), 1)
	t.arm()
	st.onUpstreamDrained() // what comes meanwhile is kept
	return true
}

// start begins the next try.
func (t *tries) start() {
	st := t.st
	t.startAt = 0
	a := t.free()
	a.held, t.held = t.held, nil
	e := t.pick()
	if e == nil {
		a.releaseHold()
		if t.others(a) {
			return
		}
		st.fail(reason.NoHealthyHost, 0) // ROUTER-26
		return
	}
	st.nextHead(e.Host.Hostname, t.byTimeout)
	a.start(e, st.priority())
	if t.st == st && !st.over && st.request != halfDone {
		st.pauseWhenFull()
	}
}

// free returns an attempt that is not under way.
func (t *tries) free() *attempt {
	st := t.st
	if st.att.state == attemptIdle {
		st.att.renew()
		return &st.att
	}
	for s := t.spares; s != nil; s = s.link {
		if s.attempt.state == attemptIdle && !s.attempt.dropping {
			s.attempt.renew()
			return &s.attempt
		}
	}
	s := st.parts().spare()
	s.attempt.st, s.attempt.resp, s.attempt.info, s.attempt.own = st, &s.head, &s.notes, s
	s.notes = st.info
	s.notes.UpstreamWireSent, s.notes.UpstreamWireReceived, s.notes.UpstreamHeaderBytesSent, s.notes.UpstreamHeaderBytesReceived = 0, 0, 0, 0
	s.link, t.spares = t.spares, s
	return &s.attempt
}

// informed notes that an interim response has gone to the client: no retries any more (ROUTER-25). A
// redirect may still be followed.
func (t *tries) informed() {
	t.unschedule()
	if t.policies != nil && t.policies.Redirect != nil {
		t.state.Reset()
		return
	}
	t.settled()
}

// A try's own deadlines.
const (
	tryTimeout  = iota // per_try_timeout (ROUTER-41)
	tryIdle            // per_try_idle_timeout (ROUTER-42)
	tryDuration        // max_stream_duration of the cluster (ROUTER-46)
	numTryDeadlines
)

// connected starts the clocks of a try that has something to write to.
func (t *tries) connected(a *attempt) {
	st := t.st
	if d := st.upstreamLimit; d > 0 {
		a.deadlines[tryDuration] = st.w.Loop.Now() + int64(d)
	}
	if st.requestWhole() || st.tun.webSocket { // UP-20
		t.clock(a)
	}
	t.arm()
}

// requestComplete starts the clocks of the try that is under way, if it is connected.
func (t *tries) requestComplete() {
	if a := &t.st.att; a.state == attemptHead {
		t.clock(a)
		t.arm()
	}
	t.sendMirrors()
}

// clock starts the clocks that run from when the request is whole and the try connected.
func (t *tries) clock(a *attempt) {
	now := t.st.w.Loop.Now()
	a.clockedAt = now
	if t.perTry > 0 {
		a.deadlines[tryTimeout] = now + int64(t.perTry)
	}
	if t.perTryIdle > 0 {
		a.deadlines[tryIdle] = now + int64(t.perTryIdle)
	}
}

// arm sets the timer for what is due first.
func (t *tries) arm() {
	first := earlier(t.startAt, t.st.att.due())
	for s := t.spares; s != nil; s = s.link {
		first = earlier(first, s.attempt.due())
	}
	if first != 0 && (!t.timer.Armed() || t.timer.Deadline() > first) {
		l := t.st.w.Loop
		l.Arm(&t.timer, time.Duration(first-l.Now()))
	}
}

// earlier is the lesser of two times of which 0 is none.
func earlier(a, b int64) int64 {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// due is when the first of the try's clocks is over; 0: none runs.
func (a *attempt) due() int64 {
	if a.state == attemptIdle {
		return 0
	}
	return earlier(earlier(a.deadlines[tryTimeout], a.deadlines[tryIdle]), a.deadlines[tryDuration])
}

// OnTimer is the wheel's callback.
func (t *tries) OnTimer(*wheel.Timer) {
	st, w := t.st, t.st.w
	now := w.Loop.Now()
	for t.st == st && !st.over {
		if t.startAt != 0 && t.startAt <= now {
			t.start()
			continue
		}
		a := t.overdue(now)
		if a == nil {
			t.arm()
			break
		}
		t.expired(a, now)
	}
	w.FlushHeads()
}

func (t *tries) overdue(now int64) *attempt {
	if d := t.st.att.due(); d != 0 && d <= now {
		return &t.st.att
	}
	for s := t.spares; s != nil; s = s.link {
		if d := s.attempt.due(); d != 0 && d <= now {
			return &s.attempt
		}
	}
	return nil
}

// Run implements engine.Task: what must not happen within the event that asked for it.
func (t *tries) Run(*engine.Loop) {
	if t.st != nil && !t.st.over {
		t.follow()
	}
}

var (
	_ wheel.Handler = (*tries)(nil)
	_ engine.Task   = (*tries)(nil)
)
