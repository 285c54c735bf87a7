package hcm

import (
	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/codec/http2"
	"github.com/sluiceproxy/sluice/engine"
	"github.com/sluiceproxy/sluice/engine/wheel"
	"github.com/sluiceproxy/sluice/proxy/reason"
)

// goingAway is how far the end of an HTTP/2 connection in order has come (HC-75).
//
//	event \ state   staying              noticed                    leaving
//	begin           GOAWAY(2^31-1)       -                          -
//	drain_timeout   -                    GOAWAY(last) -> leaving    -
//	no stream left  idle                 -                          close
type goingAway uint8

const (
	// staying: new streams are welcome.
	staying goingAway = iota
	// noticed: the client was asked for no more streams; those that come are served.
	noticed
	// leaving: only the streams there are go on.
	leaving
)

// Bounds of what a connection gathers.
const (
	// spillBytes is when output is written before the end of the batch, so that its buffer stays one that
	// is kept.
	spillBytes = 32 << 10
	// pieceBytes is how much data is put into the output at a time: one frame.
	pieceBytes = 16 << 10
	// requestsPerFeed is after how many requests the connection looks whether the client reads answers.
	requestsPerFeed = 64
	// streamHighBytes bounds what waits for one stream's window, if the listener's limit is not less.
	streamHighBytes = 256 << 10
)

// h2Conn is one downstream HTTP/2 connection with its streams. Loop-owned, from a free list.
//
//	OnData -> http2.Conn.Feed -> HeadFor, OnHeaders, OnData... -> stream      (h2server_stream.go)
//	stream -> responseHead, responseData... -> http2.Conn's output            (below)
//	end of OnData, or of the batch in which streams wrote (Run) -> settle -> one write of the output
//
// A stream never stops its siblings: what a client sends on one that is paused waits in that stream and
// is not credited to its windows, and what an origin sends waits in the stream until the client's windows
// have room. Both are bounded: by the windows, and by full.
type h2Conn struct {
	accepted
	h2   http2.Conn
	next *h2Conn // free list

	first *serverStream // all streams that are not over on the wire
	count int
	ready *serverStream // those whose request data may go on

	// failed is the error that a write met; settle deals with it.
	failed http2.Err
	going  goingAway
	// why and details are what the streams of a connection are told that we end.
	why     reason.Reason
	details string

	requests int
	pending  int // bytes that wait in streams for the client's windows

	headStart int64 // when the first byte of a frame came that is not whole; 0 none
	headMoved int64 // when the last byte of it came
	idleSince int64 // since when there is no stream
	timer     wheel.Timer
	deadlines [numH2Deadlines]int64

	// started: the first bytes have come.
	started bool
	// holding: the end of what runs will settle, so that nobody has to ask for it.
	holding bool
	// scheduled: Run is to come. It may then find another connection here, or none.
	scheduled bool
	// spilling: output is being written while a stream is in the middle of a call.
	spilling bool
	// inBlock: a field block has begun and is not complete.
	inBlock bool
}

// h2Parts is what an acceptor's HTTP/2 connections share.
type h2Parts struct {
	ws      http2.Workspace
	conns   *h2Conn
	kept    int
	streams *serverStream
	numFree int
	unused  header.Head // of trailers nobody waits for
}

const maxKeptH2Conns = 1024

// serveHTTP2 makes an h2Conn of a connection.
func (a *Acceptor) serveHTTP2(base *accepted) *h2Conn {
	h := a.h2.conns
	if h == nil {
		h = &h2Conn{}
	} else {
		a.h2.conns = h.next
		a.h2.kept--
		h.next = nil
	}
	h.accepted = *base
	h.timer.Handler = h
	h.c.SetReadLimit(max(h.cfg.parse.MaxHeadBytes, 16<<10) + 4096)
	a.link(&h.accepted, h)
	h.idleSince = a.w.Loop.Now()
	h.deadlines[connIdle] = sooner(0, h.idleSince, h.cfg.conf.IdleTimeout)
	h.deadlines[connDuration] = sooner(0, h.facts.StartNs, h.cfg.conf.MaxConnectionDuration)
	h.arm()
	a.w.Stats.Inc(h.stats.DownstreamCxHTTP2Total)
	a.w.Stats.GaugeAdd(h.stats.DownstreamCxHTTP2Active, 1)
	return h
}

// putHTTP2 is put for an h2Conn.
func (a *Acceptor) putHTTP2(h *h2Conn) {
	if a.h2.kept >= maxKeptH2Conns {
		h.closing = true
		if h.timer.Armed() {
			a.w.Loop.Disarm(&h.timer)
		}
		return
	}
	timer, scheduled := h.timer, h.scheduled
	*h = h2Conn{}
	h.timer, h.scheduled, h.closing = timer, scheduled, true
	h.next, a.h2.conns = a.h2.conns, h
	a.h2.kept++
}

// OnConnected comes on connections with TLS, once its handshake is done.
func (h *h2Conn) OnConnected(c *engine.Conn) { h.a.account.Secured(c, &h.facts) }

// OnData feeds the codec. A client that does not read its answers is not read from either.
func (h *h2Conn) OnData(_ *engine.Conn, view []byte) int {
	if h.closing {
		return len(view)
	}
	if !h.started {
		h.begin()
	}
	h.h2.NowNs = h.a.w.Loop.Now()
	used := 0
	h.holding = true
	for !h.c.Above() && h.failed == http2.OK {
		n, e := h.h2.Feed(view[used:])
		used += n
		if h.failed == http2.OK {
			h.failed = e
		}
		if !h.h2.Yielded() {
			break
		}
		h.spill()
	}
	if h.failed == http2.OK {
		h.noteRest(used, len(view)-used)
	}
	h.settle()
	if h.closing {
		return len(view)
	}
	if h.c.Above() {
		h.c.PauseRead() // until OnWritable
	}
	h.holding = false
	return used
}

// Run implements engine.Task: it ends a batch of events of other connections.
func (h *h2Conn) Run(*engine.Loop) {
	h.scheduled = false
	if h.closing {
		return
	}
	h.holding = true
	for x := h.ready; x != nil; x = h.ready {
		h.ready, x.nextReady, x.isReady = x.nextReady, nil, false
		if x.conn == nil {
			h.a.h2.putStream(x)
			continue
		}
		h.deliver(x)
	}
	h.settle()
	h.holding = false
}

// schedule makes Run follow, unless the end of what runs settles anyway. Once in a batch.
//
// A connection with more than one stream waits for the end of the loop's batch of events, because the
// answers of several origins are often in one: they then leave together (bench, h2c row: two thirds of
// the CPU). One whose only stream this is has nothing to wait for.
func (h *h2Conn) schedule() {
	if h.holding || h.scheduled {
		return
	}
	h.scheduled = true
	if h.count < 2 || !h.a.w.Loop.Post((*h2Batch)(h)) {
		h.a.w.Loop.Defer(h)
	}
}

// h2Batch is an h2Conn as a message to its own loop.
type h2Batch h2Conn

// Run implements mailbox.Message.
func (b *h2Batch) Run() { (*h2Conn)(b).Run(nil) }

// wrote is called by whoever put something into the output.
func (h *h2Conn) wrote() {
	if len(h.h2.Output()) >= spillBytes {
		h.spill()
	}
	h.schedule()
}

// spill writes the output. A flood limit that is met ends every stream, perhaps the one whose call this
// is: they hear of it in settle.
func (h *h2Conn) spill() {
	out := h.h2.Output()
	if len(out) == 0 || h.spilling {
		return
	}
	h.c.Write(out)
	h.spilling = true
	if e := h.h2.Taken(h.c.Buffered()); h.failed == http2.OK {
		h.failed = e
	}
	h.spilling = false
}

// settle ends a batch: it writes the output and acts on what became of the connection. No stream is in
// the middle of a call.
func (h *h2Conn) settle() {
	h.spill()
	for h.failed != http2.OK && h.first != nil {
		h.onReset(h.first, h.failed)
	}
	switch {
	case h.closing:
	case h.failed != http2.OK:
		h.broken(h.failed)
	case h.going == leaving && h.count == 0:
		h.end()
	}
}

// OnWritable goes on after the client has read what was waiting.
func (h *h2Conn) OnWritable(*engine.Conn) {
	if h.closing {
		return
	}
	h.c.ResumeRead()
	for x := h.first; x != nil; x = x.next {
		if x.st != nil && !h.full(x.st) {
			x.st.onDownstreamDrained()
		}
	}
}

// informational implements downstream.
func (h *h2Conn) informational(st *stream, hd *header.Head) {
	h.writeHead(st, hd, false)
}

// writeHead puts a head into the output and counts it.
func (h *h2Conn) writeHead(st *stream, hd *header.Head, end bool) {
	before := len(h.h2.Output())
	h.h2.WriteHeaders(st.h2.hs, hd, end)
	n := uint64(len(h.h2.Output()) - before)
	st.info.DownstreamHeaderBytesSent += n
	st.info.DownstreamWireSent += n
	h.wrote()
}

// responseHead implements downstream. What an HTTP/1 head says of its connection does not concern this
// one.
func (h *h2Conn) responseHead(st *stream, hd *header.Head, end bool) {
	if h.going == staying && h.a.draining() {
		h.a.w.Stats.Inc(h.stats.DownstreamCxDrainClose)
		h.goAway()
	}
	if end && st.localReply && hd.ContentLength == 0 {
		hd.ContentLength = -1 // the stream's end says it
	}
	h.writeHead(st, hd, end)
}

// responseData implements downstream: what the windows do not take waits.
func (h *h2Conn) responseData(st *stream, p []byte, end bool) {
	x := st.h2
	frames := max(1, (len(p)+pieceBytes-1)/pieceBytes)
	st.info.DownstreamWireSent += uint64(len(p) + frames*frameHeadBytes)
	n := 0
	if x.out.Len() == 0 {
		n = h.write(x, p, end)
	}
	if x.out.Len() > 0 || n < len(p) {
		x.out.Append(p[n:])
		x.outEnd = end
		h.addPending(len(p) - n)
	}
}

// frameHeadBytes is the length of a frame header (RFC 9113 4.1).
const frameHeadBytes = 9

// write puts into the output what the windows take of p, and end with the last of it.
func (h *h2Conn) write(x *serverStream, p []byte, end bool) (n int) {
	for {
		piece := p[n:min(len(p), n+pieceBytes)]
		k := h.h2.WriteData(x.hs, piece, end && n+len(piece) == len(p))
		n += k
		h.wrote()
		if k < len(piece) || n == len(p) {
			return n
		}
	}
}

func (h *h2Conn) addPending(n int) {
	h.pending += n
	h.a.w.Stats.GaugeAdd(h.cfg.http2.PendingSendBytes, int64(n))
}

// responseTrailers implements downstream (HC-71). They wait behind data that waits.
func (h *h2Conn) responseTrailers(st *stream, t *header.Head) {
	x := st.h2
	if x.out.Len() > 0 {
		t.Retain()
		x.outTrailers = true
		return
	}
	before := len(h.h2.Output())
	h.h2.WriteTrailers(x.hs, t)
	st.info.DownstreamWireSent += uint64(len(h.h2.Output()) - before)
	h.wrote()
}

// full implements downstream. A stream that waits for its window may hold streamHighBytes, and all of
// them together about as much as the listener's limit; one that does not wait is not held up by those.
func (h *h2Conn) full(st *stream) bool {
	n := st.h2.out.Len()
	return h.c.Above() || n > 0 && (n >= min(streamHighBytes, h.cfg.bufferLimit) || h.pending >= h.cfg.bufferLimit)
}

// bare implements downstream: response bytes always have frames around them.
func (h *h2Conn) bare(*stream) *engine.Conn { return nil }

// uploaded and clientEnded never come: no engine carries a body that has frames around it.
func (h *h2Conn) uploaded(*stream, int64) {}

func (h *h2Conn) clientEnded(*stream) {}

// pauseRequest makes what comes wait in the stream, uncredited, so that the client stops at its window.
func (h *h2Conn) pauseRequest(st *stream) { st.h2.paused = true }

// resumeRequest lets it go on, after the event that called.
func (h *h2Conn) resumeRequest(st *stream) {
	x := st.h2
	x.paused = false
	if x.waits() && !x.isReady {
		x.isReady = true
		x.nextReady, h.ready = h.ready, x
		h.schedule()
	}
}

// finish implements downstream. A response that waits for the client's window outlives its stream.
func (h *h2Conn) finish(st *stream, whole bool, r reason.Reason) {
	x := st.h2
	h.charge()
	switch {
	case x == nil: // its head never became whole
	case whole && x.out.Len() > 0:
		h.flushLater(x)
	default:
		if !whole {
			h.h2.Reset(x.hs, resetCode(r))
		}
		h.drop(x)
		h.wrote()
	}
	h.a.streams.Put(st)
}

// resetCode is the error code of a response that is broken off for r.
func resetCode(r reason.Reason) http2.ErrCode {
	switch r {
	case reason.Stopped, reason.Draining, reason.StreamIdle, reason.RequestTimeout, reason.MaxStreamDuration,
		reason.ResponseTimeout, reason.UpstreamMaxDuration:
		return http2.Cancel
	case reason.DownstreamProtocol:
		return http2.ProtocolError
	}
	return http2.InternalError
}

var (
	_ downstream   = (*h2Conn)(nil)
	_ server       = (*h2Conn)(nil)
	_ http2.Events = (*h2Events)(nil)
	_ engine.Task  = (*h2Conn)(nil)
)
