package hcm

import (
	"time"

	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/codec/http1"
	"github.com/sluiceproxy/sluice/engine/wheel"
	"github.com/sluiceproxy/sluice/proxy/reason"
	"github.com/sluiceproxy/sluice/proxy/route"
	"github.com/sluiceproxy/sluice/proxy/stats"
	"github.com/sluiceproxy/sluice/proxy/streaminfo"
	"github.com/sluiceproxy/sluice/proxy/worker"
)

// half is how far one direction of a stream has come.
type half uint8

const (
	// halfHead: nothing of the message has been handed on.
	halfHead half = iota
	// halfBody: the head is on its way, the body is not complete.
	halfBody
	// halfDone: the whole message has been handed on.
	halfDone
)

func (h half) String() string { return [...]string{"head", "body", "done"}[h] }

// The deadlines a stream can have. One wheel timer serves them all: it is armed for the earliest and
// looks at the rest when it fires, so that a request arms and disarms at most one timer.
const (
	deadlineIdle     = iota // stream_idle_timeout or the route's idle_timeout: restarted by progress
	deadlineRequest         // request_timeout: whole request received
	deadlineResponse        // route timeout: whole response, counted from the end of the request (ROUTER-40)
	deadlineDuration        // max_stream_duration of the manager or the route
	deadlineUpstream        // max_stream_duration of the cluster, counted from the upstream connection (ROUTER-46)
	numDeadlines
)

// stream is one request and its response. Loop-owned, from the loop's free list.
//
//	event \ state        request: head        body              done
//	onRequestHead        route, attempt -> body or done   -     -
//	onRequestData        -                    to attempt        -
//	response: head       responseHead (upstream or local reply) -> body or done
//	response: body       responseData -> downstream
//	both done            finish(whole) -> free
//	any reset            local reply while response is head, else finish(broken) -> free
//
// request and response are separate machines: a response may be done while the request is not
// (HC-30), which ends the connection.
type stream struct {
	w    *worker.Worker
	cfg  *Config
	down downstream
	next *stream // free list

	request, response half
	// localReply is true once the response is ours; the attempt is gone then.
	localReply bool
	// over is set when the stream was finished; late events are dropped.
	over bool
	// upstreamPaused and downstreamPaused say which side's reading this stream has stopped.
	responsePaused, requestPaused bool
	// rushed is true when the response head came before the request ended: no service time then.
	rushed bool
	// canary is true when the endpoint or its response says so.
	canary bool
	// clusterStatus is what the cluster is charged with: the upstream's status, or that of a local reply
	// before local_reply_config and gRPC changed it. 0 while there is none.
	clusterStatus uint16
	history       history // of the two halves and the attempt, in debug builds

	// body decodes the request and encoding is how the response's body ends; both are the downstream
	// HTTP/1 codec's, kept here so that an idle connection does not carry them.
	body     http1.Body
	encoding transfer
	// h2 is the stream on the wire of a downstream HTTP/2 connection; nil on others.
	h2 *serverStream

	// att is the first attempt, and most often the only one. answering is the one whose response goes, or
	// will go, to the client.
	att       attempt
	answering *attempt
	info      streaminfo.Info
	req       header.Head
	resp      header.Head
	trail     header.Head
	// reqTrail and trail hold the trailers of the request and of the response, which may be arriving at
	// the same time.
	reqTrail header.Head

	// table is the route table the stream began with; nil when no scope matched.
	table *route.Table
	route route.Result
	// hash is what the route's hash policies made of the request.
	hash route.Hash
	// filters are at work on the stream; nil when there is none but the router.
	filters *filterRun
	// replyType and replyGRPC are what a filter wants its local reply to say.
	replyType, replyGRPC string
	// explained says why the request goes where it goes, for a client that asks and may know.
	explained string

	cluster *worker.Upstream
	tun     tunnel

	// tlsName is what names the server to TLS, when the cluster wants that (wish.go).
	tlsName []byte
	// goesTo is the name that a dynamic forward proxy takes the request to; empty: not known yet.
	goesTo []byte
	// tries is what a stream with more than one try, or timed ones, has beside att; nil for most.
	tries *tries
	// altStats are the statistics that x-envoy-upstream-alt-stat-name asks for; nil: none.
	altStats *stats.CodeStats
	// altResponse: a timeout is answered 204. expected: x-envoy-expected-rq-timeout-ms is the request's own.
	altResponse, expected bool
	// isShadow: nobody waits for the response, and the connection manager counts nothing.
	isShadow bool

	idle time.Duration
	// upstreamLimit bounds the attempt from the moment it has a connection; 0 none.
	upstreamLimit time.Duration

	lastMove  int64
	timer     wheel.Timer
	deadlines [numDeadlines]int64
}

// maxKeptName bounds what a stream keeps for the next one's tlsName and goesTo.
const maxKeptName = 256

// reset makes a used stream ready for the free list. Heads keep their storage; req and resp are reset
// by whoever fills them next. The timer may stay armed: the next stream to use the object most often
// wants it due no earlier, so that a request arms and disarms nothing.
func (st *stream) reset() {
	st.w, st.cfg, st.down = nil, nil, nil
	st.request, st.response = halfHead, halfHead
	st.localReply, st.responsePaused, st.requestPaused, st.rushed, st.canary = false, false, false, false, false
	st.clusterStatus, st.history = 0, history{}
	st.over = true // a late look at a stream that was given back finds it over
	st.body, st.encoding, st.h2 = http1.Body{}, transfer{}, nil
	if st.tlsName = st.tlsName[:0]; cap(st.tlsName) > maxKeptName {
		st.tlsName = nil
	}
	if st.goesTo = st.goesTo[:0]; cap(st.goesTo) > maxKeptName {
		st.goesTo = nil
	}
	st.att.reset()
	st.answering = nil
	st.info.Reset()
	st.req.Shrink()
	st.resp.Shrink()
	st.trail.Reset(nil)
	if st.reqTrail.Count() > 0 {
		st.reqTrail.Reset(nil)
	}
	st.table, st.route, st.hash = nil, route.Result{}, route.Hash{}
	st.filters, st.replyType, st.replyGRPC, st.explained = nil, "", "", ""
	st.cluster, st.tun = nil, tunnel{}
	st.tries, st.altStats = nil, nil
	st.altResponse, st.expected, st.isShadow = false, false, false
	st.idle, st.upstreamLimit, st.lastMove = 0, 0, 0
	st.deadlines = [numDeadlines]int64{}
}

// begin starts a stream on its connection. now is when its first byte was seen.
func (st *stream) begin(w *worker.Worker, cfg *Config, d downstream, c *streaminfo.Connection, now int64) {
	st.w, st.cfg, st.down = w, cfg, d
	st.over = false
	st.att.init(st)
	st.answering = &st.att
	st.timer.Handler = st
	st.info.Conn = c
	st.info.RemoteAddress = c.Remote
	st.info.Start = now
	st.info.StartUnixNs = w.Loop.WallNow().UnixNano() - (w.Loop.Now() - now)
	st.info.StreamID = w.Random.Uint64()
	st.info.Request = &st.req
	s := w.Stats
	s.Inc(cfg.stats.DownstreamRqTotal)
	s.GaugeAdd(cfg.stats.DownstreamRqActive, 1)
	st.lastMove = now
	if d := cfg.conf.RequestTimeout; d > 0 {
		st.deadlines[deadlineRequest] = now + int64(d)
	}
	st.managerTimers()
}

// managerTimers sets the manager's deadlines that a route may put its own in the place of.
func (st *stream) managerTimers() {
	c := st.cfg.conf
	st.deadlines[deadlineIdle], st.deadlines[deadlineDuration] = 0, 0
	if st.idle = c.StreamIdleTimeout; st.idle > 0 {
		st.deadlines[deadlineIdle] = st.lastMove + int64(st.idle)
	}
	if d := c.MaxStreamDuration; d > 0 {
		st.deadlines[deadlineDuration] = st.info.Start + int64(d)
	}
	st.arm()
}

// moved notes progress for the idle deadline. The timer is not touched: it looks when it fires.
func (st *stream) moved() { st.lastMove = st.w.Loop.Now() }

// arm sets the timer for the earliest deadline, unless it is already due at or before that.
func (st *stream) arm() { st.w.Loop.ArmFirst(&st.timer, st.deadlines[:]) }

// setDeadline starts (or with d == 0 clears) one deadline from now.
func (st *stream) setDeadline(which int, d time.Duration) {
	if d <= 0 {
		st.deadlines[which] = 0
		return
	}
	st.deadlines[which] = st.w.Loop.Now() + int64(d)
	st.arm()
}

// OnTimer is the wheel's callback.
func (st *stream) OnTimer(*wheel.Timer) {
	if st.over {
		return
	}
	now := st.w.Loop.Now()
	st.lastMove = max(st.lastMove, st.att.upload.LastMove(), st.att.download.LastMove())
	if r := st.tun.relay; r != nil {
		st.lastMove = max(st.lastMove, r.t.LastMove())
	}
	if d := st.deadlines[deadlineIdle]; d != 0 && d <= now {
		st.deadlines[deadlineIdle] = st.lastMove + int64(st.idle)
	}
	switch {
	case st.due(deadlineDuration, now):
		st.timedOut(reason.MaxStreamDuration)
	case st.due(deadlineResponse, now):
		st.routeTimeout()
	case st.due(deadlineUpstream, now):
		st.upstreamTimeout()
	case st.due(deadlineRequest, now):
		st.timedOut(reason.RequestTimeout)
	case st.due(deadlineIdle, now):
		st.tunnelIdle()
	default:
		st.arm()
	}
}

func (st *stream) due(which int, now int64) bool {
	d := st.deadlines[which]
	return d != 0 && d <= now
}

// timedOut ends the stream for a timeout: by a reply while none was started, else by a reset. The
// status is 408 while the request is incomplete (ROUTER-43 to 46).
func (st *stream) timedOut(r reason.Reason) {
	status := r.Entry().Status
	if st.request != halfDone {
		status = 408
	}
	st.expire(r, status)
}

// expire counts a timeout of the connection manager and ends the stream with it.
func (st *stream) expire(r reason.Reason, status uint16) {
	countExpiry(st.w.Stats, st.cfg.stats, r)
	st.fail(r, status)
}

func countExpiry(s *stats.Shard, hs *stats.HTTPStats, r reason.Reason) {
	switch r {
	case reason.MaxStreamDuration:
		s.Inc(hs.DownstreamRqMaxDurationReached)
	case reason.RequestHeadersTimeout:
		s.Inc(hs.DownstreamRqHeaderTimeout)
	case reason.RequestTimeout:
		s.Inc(hs.DownstreamRqTimeout)
	case reason.StreamIdle:
		s.Inc(hs.DownstreamRqIdleTimeout)
	}
}

// fail ends the stream for reason r: by a local reply while no response head was sent and there is a
// status to send, else by breaking the response off. status 0 takes the table's.
func (st *stream) fail(r reason.Reason, status uint16) {
	if st.over {
		return
	}
	st.cancelUpstream()
	if st.response == halfHead && (status != 0 || r.Entry().Status != 0) {
		st.sendLocalReply(r, status, nil)
		return
	}
	st.info.Flags |= r.Entry().Flag
	if st.info.Details == "" || st.info.Details == "via_upstream" {
		st.info.Details = r.DetailsAfterStart()
	}
	st.w.Stats.Inc(st.cfg.stats.DownstreamRqTxReset)
	st.finish(false, r)
}

// maybeFinish ends the stream when both directions are complete.
func (st *stream) maybeFinish() {
	if st.request == halfDone && st.response == halfDone && !st.over {
		st.finish(true, st.info.Reason)
	}
}

// finish charges the statistics, writes the access log and gives the stream back to its codec.
// Nothing may touch the stream afterwards.
func (st *stream) finish(whole bool, r reason.Reason) {
	if st.over {
		return
	}
	st.over = true
	st.cancelUpstream()
	st.endTunnel()
	st.info.Reason = r
	if st.info.End == 0 {
		st.info.End = st.w.Loop.Now()
	}
	if st.isShadow {
		st.endTries()
		st.down.finish(st, whole, r)
		return
	}
	st.charge()
	if x := st.filters; x != nil {
		x.over()
	}
	st.info.LogType = streaminfo.DownstreamEnd
	for _, l := range st.cfg.logs {
		l.Log(st.w.Logs, &st.info)
	}
	st.endTries()
	if x := st.filters; x != nil {
		x.release()
	}
	st.down.finish(st, whole, r)
}

// charge counts the ending in the connection manager's and the cluster's statistics.
func (st *stream) charge() {
	s, hs := st.w.Stats, st.cfg.stats
	s.GaugeAdd(hs.DownstreamRqActive, -1)
	if code := st.info.ResponseCode; code != 0 {
		s.Inc(hs.DownstreamRqCompleted)
		s.Inc(st.cfg.listener.DownstreamRqCompleted)
		if class := int(code)/100 - 1; class >= 0 && class < len(hs.DownstreamRqClass) {
			s.Inc(hs.DownstreamRqClass[class])
			s.Inc(st.cfg.listener.DownstreamRqClass[class])
		}
		s.Record(hs.DownstreamRqTime, uint64(st.info.End-st.info.Start)/uint64(time.Millisecond))
	}
}
