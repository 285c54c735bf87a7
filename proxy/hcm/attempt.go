package hcm

import (
	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/codec/http1"
	"github.com/sluiceproxy/sluice/engine/relay"
	"github.com/sluiceproxy/sluice/pool"
	"github.com/sluiceproxy/sluice/proxy/cluster"
	"github.com/sluiceproxy/sluice/proxy/reason"
	"github.com/sluiceproxy/sluice/proxy/streaminfo"
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

// attempt is one try of a request at one host. The first is part of its stream. Which protocol carries it is
// known when the pool answers: OnPoolReady brings an HTTP/1 connection (h1client.go), of which the
// attempt is the handler while it has it, and h2Client.OnStream a stream (h2client_stream.go). Loop-owned.
//
//	event \ state     pending             head                      body
//	pool ready        send head -> head   -                         -
//	pool failure      fail stream         -                         -
//	bytes             -                   parse head -> body/done   decode body -> done
//	FIN, reset        -                   fail (UC, UR)             done if until-close, else reset
//	closed            -                   fail (UC)                 same as FIN
//	cancel            leave the queue     close connection (1)      close connection (1)
//
// (1) or reset the HTTP/2 stream.
type attempt struct {
	st       *stream
	endpoint *worker.Endpoint
	// resp is where the response head is decoded, info where the attempt's addresses, times and bytes are
	// noted: the stream's own, unless other attempts live at the same time.
	resp *header.Head
	info *streaminfo.Info
	req  pool.Request
	// pc is the connection that carries the attempt over HTTP/1, h2 the stream that does over HTTP/2. At
	// most one is there.
	pc *pool.Conn
	h2 *clientStream

	state attemptState
	// sent: the whole request was written. encoding is how its body ends over HTTP/1.
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

	// ended: the origin has ended its direction of a tunnel, whose other one goes on.
	ended bool

	// The rest is HTTP/1's.
	body http1.Body
	seen int
	opts *http1.Options

	// rxFrom and txFrom are the connection's byte counts when the attempt got it.
	rxFrom, txFrom uint64
	// own is the spare the attempt is part of; nil for the stream's own attempt.
	own *spare
	// deadlines are those of the try itself; only of streams that have tries, which also serve them.
	// clockedAt is when they began.
	deadlines [numTryDeadlines]int64
	clockedAt int64
	// begun: the request's head was written to the server. retried: another try was made because this one
	// took long. dropping: the response does not go to the client, but what is at hand of it is decoded, so
	// that the connection can be used again.
	begun, retried, dropping bool
	// held is the breaker that counts the attempt as a retry.
	held *cluster.Breaker

	// watch is what is noted of the attempt where somebody wants to know; nil: nobody does.
	watch *attemptWatch
	// rqBody and rsBody count the bytes of the bodies, without framing.
	rqBody, rsBody uint64

	// wireBefore is what info.UpstreamWireReceived counted before this attempt.
	wireBefore uint64

	// upload and download carry bulk bodies without this code seeing them (bulk.go).
	upload, download relay.Pump
}

func (a *attempt) reset() { *a = attempt{} }

// init makes the stream's own attempt.
func (a *attempt) init(st *stream) {
	a.st, a.resp, a.info = st, &st.resp, &st.info
}

// renew makes an attempt that is over ready for the next try.
func (a *attempt) renew() {
	*a = attempt{st: a.st, resp: a.resp, info: a.info, own: a.own}
}

// awaits says whether the attempt is under way and no response has come.
func (a *attempt) awaits() bool { return a.state == attemptPending || a.state == attemptHead }

// releaseHold says that the attempt's response is decided on, so that it counts as a retry no more.
func (a *attempt) releaseHold() {
	if b := a.held; b != nil {
		a.held = nil
		b.ReleaseRetry()
	}
}

// start asks for a connection or stream to the host; the answer may come before it returns.
func (a *attempt) start(e *worker.Endpoint, priority int) {
	a.endpoint, a.priority = e, uint8(priority)
	a.info.UpstreamAddress, a.info.UpstreamPipe, a.info.UpstreamHostName = e.Host.Address(), e.Host.Pipe, e.Host.Hostname
	a.info.UpstreamPeer, a.info.UpstreamFailure = nil, ""
	a.wireBefore = a.info.UpstreamWireReceived
	a.st.info.Attempts++
	if a.st.watchesAttempts() {
		a.beginWatch()
	}
	a.setState(attemptPending)
	a.req.Owner = a
	a.starting = true
	if !a.acquire(e, priority) {
		a.setState(attemptIdle)
		a.fail(reason.Overflow)
	}
	a.starting = false
}

// acquire asks the endpoint's pools for a connection.
func (a *attempt) acquire(e *worker.Endpoint, priority int) bool {
	var wish *worker.Wish
	if e.Host.Secure != nil {
		w := &a.st.w.Wish
		if *w = (worker.Wish{}); a.st.wish(w) {
			wish = w
		}
	}
	switch {
	case a.st.tun.connect != nil: // UP-46
		return e.AcquireTCP(&a.req, wish)
	case wish != nil:
		return e.AcquireFor(&a.req, priority, a.st.req.Version, h2Sessions{}, wish)
	}
	return e.Acquire(&a.req, priority, a.st.req.Version, h2Sessions{})
}

// admitted asks the circuit breaker for one more active request and counts it (ROUTER-71).
func (a *attempt) admitted() bool {
	st, c := a.st, a.st.cluster.C
	s := st.w.Stats
	if !c.Breakers[a.priority].TryRequest() {
		s.Inc(c.Stats.UpstreamRqPendingOverflow)
		s.Inc(c.Stats.UpstreamRqActiveOverflow)
		return false
	}
	a.counted = true
	s.Inc(c.Stats.UpstreamRqTotal)
	if st.hasVirtual() {
		st.visitVirtual(countVirtualRequest)
	}
	s.GaugeAdd(c.Stats.UpstreamRqActive, 1)
	a.endpoint.Load.RqTotal++
	a.endpoint.Load.RqActive++
	return true
}

// uncount takes the attempt out of the active requests. Idempotent.
func (a *attempt) uncount() {
	if a.watch != nil {
		a.endWatch()
	}
	if a.held != nil || a.own != nil {
		a.releaseHold()
		a.lose()
	}
	if !a.counted {
		return
	}
	a.counted = false
	u := a.endpoint.Upstream()
	u.C.Breakers[a.priority].ReleaseRequest()
	a.st.w.Stats.GaugeAdd(u.C.Stats.UpstreamRqActive, -1)
	a.endpoint.Load.RqActive--
}

// connected notes when the attempt has something to write to, and starts the clock of ROUTER-46.
func (a *attempt) connected(v header.Version) {
	st := a.st
	a.setState(attemptHead)
	a.endpoint.Connected(false)
	a.info.UpstreamReady = st.w.Loop.Now()
	a.info.UpstreamProtocol = v
	if w := a.watch; w != nil {
		w.ready()
	}
	switch {
	case st.tries != nil:
		st.tries.connected(a)
	case st.upstreamLimit > 0:
		st.setDeadline(deadlineUpstream, st.upstreamLimit)
	}
}

// OnPoolFailure is the pool's answer when it has nothing to offer.
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
	if f != pool.Overflow && f != pool.Closed {
		a.endpoint.Failed(cluster.ConnectFailed, 0)
	}
	if f != pool.Overflow {
		a.st.w.Stats.Inc(a.st.cluster.C.Stats.UpstreamRqPendingFailureEject)
	}
	if err != nil {
		a.info.UpstreamFailure = err.Error()
	}
	a.fail(r)
}

// fail ends an attempt that has got nothing to go by.
func (a *attempt) fail(r reason.Reason) {
	a.endsFor(r)
	if e := a.endpoint; e != nil {
		e.Load.RqError++
	}
	a.uncount()
	a.st.attemptFailed(a, r)
}

// endsFor notes why the attempt is about to end.
func (a *attempt) endsFor(r reason.Reason) {
	if w := a.watch; w != nil {
		w.why = r
	}
}

// cancel implements upstream. An HTTP/1 connection in the middle of an exchange cannot be used again.
func (a *attempt) cancel() {
	switch a.state {
	case attemptPending:
		a.req.Cancel()
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

// abort gives up what carries the attempt in the middle of an exchange.
func (a *attempt) abort() {
	if r := a.st.tun.relay; r != nil {
		r.cut()
		return
	}
	if a.h2 != nil {
		a.h2.drop()
		return
	}
	a.abortConn()
}

// release gives back what carried the attempt after a whole response; reusable is about a connection.
func (a *attempt) release(reusable bool) {
	if a.h2 != nil {
		a.h2.drop() // resets the stream when the request is not whole (HC-72)
		return
	}
	a.releaseConn(reusable)
}

// finished ends the attempt at the end of a whole response and gives the connection back before
// the response is handed on, so that a pipelined request finds it idle.
func (a *attempt) finished() {
	a.info.UpstreamRxEnd = a.st.w.Loop.Now()
	a.setState(attemptIdle)
	if a.resp.Status >= 500 {
		a.endpoint.Load.RqError++
	} else {
		a.endpoint.Load.RqSuccess++
	}
	a.uncount()
	a.release(a.keep && a.sent)
}

// broken ends the attempt because of its connection or what came over it.
func (a *attempt) broken(r reason.Reason) {
	a.abort()
	a.setState(attemptIdle)
	a.endpoint.Failed(cluster.Broke, 0)
	a.fail(r)
}

// responded takes a final response head in a.resp, without hop-by-hop fields; end says that nothing
// follows. It goes to the client, or the router has other plans with the request. Reports whether the
// attempt has more to read.
func (a *attempt) responded(end bool) bool {
	st := a.st
	if a.endpoint.Host.Minds() {
		a.noteHead(a.resp, end)
	}
	if st.tries != nil && !st.tries.answered(a) {
		return a.drop(end)
	}
	if end {
		a.finished()
		st.onResponseHead(true)
		return false
	}
	retain := st.cfg.retainResponse
	if retain {
		a.resp.Retain()
	}
	st.onResponseHead(false)
	if !retain && a.state != attemptIdle {
		st.info.Response = nil // its bytes are gone after this event
	}
	return a.state != attemptIdle
}

// drop keeps a response from the client. The rest of one over HTTP/1 that has arrived is read.
func (a *attempt) drop(end bool) bool {
	a.releaseHold()
	switch {
	case end:
		a.finished()
	case a.h2 != nil:
		a.cancel()
	default:
		a.dropping = true
		return true
	}
	return false
}

// inform passes an interim response head on.
func (a *attempt) inform(h *header.Head) {
	if t := a.st.tries; t != nil {
		t.informed()
	}
	a.st.onInformational(h)
}

// interimWanted says whether a 1xx goes on to the client: 100 as configured, 102, 103 and 104 (HC-40).
func (a *attempt) interimWanted(status uint16) bool {
	return status == 100 && a.st.cfg.conf.Proxy100Continue || 102 <= status && status <= 104
}

var _ upstream = (*attempt)(nil)
