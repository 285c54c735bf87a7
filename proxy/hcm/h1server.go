package hcm

import (
	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/codec/http1"
	"github.com/sluiceproxy/sluice/engine"
	"github.com/sluiceproxy/sluice/engine/wheel"
	"github.com/sluiceproxy/sluice/proxy/reason"
)

// Deadlines of a connection, kept the way a stream keeps its own.
const (
	connIdle     = iota // idle_timeout: no stream for that long
	connHead            // a head has begun and is not complete (headDeadline)
	connDuration        // max_connection_duration
	numConnDeadlines
)

// serverConn is one downstream HTTP/1 connection: at most one stream at a time; what a client sends
// ahead waits in the kernel and in the engine's bounded rest (HC-29). Loop-owned, from a free list.
//
//	event \ state   idle (cur nil)       reading (request not done)   waiting (request done)
//	bytes           parse head -> cur    body to the stream            left unread
//	stream ends     -                    close after flush (HC-30)     next head, or close
//	peer's FIN      close                stream gone (DC), close       stream gone (DC), close
type serverConn struct {
	accepted
	cur  *stream
	next *serverConn // free list

	seen     int
	requests int

	headStart int64 // when the first byte of the pending head was seen; 0 none
	idleSince int64 // since when nothing came: end of the last stream, or last byte of the pending head
	timer     wheel.Timer
	deadlines [numConnDeadlines]int64

	// inData is true while OnData runs: a finished stream then goes on with the next head there.
	inData bool
	// lastOne: the response under way ends the connection.
	lastOne bool
	paused  bool
	// undecided: the client may yet turn out to speak HTTP/2 (choose.go).
	undecided bool
}

// transfer is how the body of the message being written ends.
type transfer struct {
	kind header.TransferKind
	// none suppresses the body: HEAD, 204, 304.
	none bool
}

// OnData reads as much as the current state can take.
func (s *serverConn) OnData(c *engine.Conn, view []byte) int {
	if s.undecided && !s.closing {
		if h := s.choose(view); h != engine.Handler(s) {
			if h == nil {
				return 0
			}
			return h.OnData(c, view)
		}
	}
	used := 0
	s.inData = true
	for !s.closing && !s.paused {
		if s.cur == nil {
			if s.c.Above() {
				break // a client that does not read gets no further answers to keep for it (HC-56)
			}
			n := s.readHead(view[used:])
			if n == 0 {
				break
			}
			used += n
			continue
		}
		if s.cur.request == halfDone || used == len(view) {
			break
		}
		n, ok := s.readBody(view[used:])
		used += n
		if !ok {
			break
		}
	}
	s.inData = false
	if used == len(view) {
		s.afterTunnelData()
	}
	if s.closing {
		return len(view)
	}
	s.a.w.FlushHeads()
	return used
}

// readHead parses one head; 0 means that more bytes are needed (or the connection is closing).
func (s *serverConn) readHead(b []byte) int {
	if len(b) == 0 {
		return 0
	}
	cfg := s.a.live.Load()
	s.cfg = cfg
	st := s.a.streams.Get()
	n, e := http1.ParseRequest(b, s.seen, &cfg.parse, &st.req)
	if n == 0 && e == 0 {
		st.req.Reset(nil)
		s.a.streams.Put(st)
		s.partialHead(cfg, b)
		return 0
	}
	start := s.headStart
	if start == 0 {
		start = s.a.w.Loop.Now()
	}
	s.seen, s.headStart = 0, 0
	s.deadlines[connHead] = 0
	s.requests++
	s.cur = st
	st.begin(s.a.w, cfg, s, &s.facts, start)
	s.a.w.Stats.Inc(cfg.stats.DownstreamRqHTTP1Total)
	if e != 0 {
		s.lastOne = true
		st.setRequest(halfDone)
		st.info.DownstreamHeaderBytesReceived, st.info.DownstreamWireReceived = uint64(len(b)), uint64(len(b))
		st.rejectHead(e)
		return len(b)
	}
	if d := st.req.DroppedUnderscores; d > 0 {
		s.a.w.Stats.Add(cfg.stats.HTTP1DroppedHeadersWithUnderscores, uint64(d))
	}
	st.info.DownstreamHeaderBytesReceived = uint64(n)
	st.info.DownstreamWireReceived = uint64(n)
	s.lastOne = s.lastOne || st.req.Close || s.exhausted(cfg)
	end := st.req.Transfer == header.NoBody
	switch {
	case (st.req.HasUpgrade || st.req.Method == header.MethodConnect) && st.asksForTunnel():
		end = false
		st.body.InitTunnel()
	case end:
		if st.mayTunnel() {
			st.tun.bare, end = true, false
		}
	default:
		st.body.Init(&st.req)
		st.body.SetLimits(&cfg.parse)
		if cfg.parse.EnableTrailers {
			st.body.SetTrailers(&st.reqTrail)
		}
		if st.req.Expect100 && !cfg.conf.Proxy100Continue {
			// HC-39: answered here, whatever the origin will say.
			st.req.Remove(header.Expect)
			if st.req.Version != header.HTTP10 {
				s.c.Write(continue100)
				st.info.DownstreamWireSent += uint64(len(continue100))
			}
		}
	}
	st.onRequestHead(end)
	return n
}

var continue100 = []byte(http1.Continue100)

// exhausted applies max_requests_per_connection (HC-37).
func (s *serverConn) exhausted(cfg *Config) bool {
	limit := cfg.conf.MaxRequestsPerConnection
	if limit == 0 || s.requests < limit {
		return false
	}
	if s.requests == limit {
		s.a.w.Stats.Inc(s.stats.DownstreamCxMaxRequestsReached)
	}
	return true
}

// readBody hands one run of body bytes to the stream; ok is false when no progress is possible.
func (s *serverConn) readBody(b []byte) (n int, ok bool) {
	st := s.cur
	data, n, done, e := st.body.Next(b)
	if e != 0 {
		s.badBody(e)
		return len(b), false
	}
	st.info.DownstreamWireReceived += uint64(n)
	switch {
	case done && st.reqTrail.Count() > 0:
		if len(data) > 0 {
			st.onRequestData(data, false)
		}
		if s.cur == st && !st.over {
			st.onRequestTrailers()
		}
	case done || len(data) > 0:
		st.onRequestData(data, done)
	}
	if !done && n == len(b) && s.cur == st && !st.over && !s.paused {
		st.tryUpload(s.c, st.body.Remaining())
	}
	return n, n > 0
}

// badBody ends a request whose framing broke in the middle.
func (s *serverConn) badBody(e http1.Err) {
	st := s.cur
	s.lastOne = true
	st.setRequest(halfDone)
	st.cancelUpstream()
	if st.response == halfHead {
		st.rejectHead(e)
		return
	}
	s.a.w.Stats.Inc(st.cfg.stats.DownstreamCxProtocolError)
	s.a.w.Stats.Inc(st.cfg.stats.DownstreamRqTxReset)
	st.info.Flags |= reason.DownstreamProtocolError
	st.info.Details = e.String()
	st.finish(false, reason.DownstreamProtocol)
}

// OnReadClosed treats the peer's FIN as its end, as Envoy does: a client that is gone must not keep
// an origin busy.
func (s *serverConn) OnReadClosed(*engine.Conn) {
	if s.tunnelFIN() {
		return
	}
	s.remote = true
	s.gone(reason.DownstreamClosed)
}

// gone ends what is under way, or what has begun, because the client is.
func (s *serverConn) gone(r reason.Reason) {
	st := s.cur
	switch {
	case s.closing:
		return
	case st == nil && s.headStart != 0:
		st = s.beginUnparsed()
	case st == nil:
		s.closing = true
		s.c.Close()
		return
	}
	s.lastOne, s.cutOff = true, true
	st.onDownstreamGone(r)
}

// OnWritable resumes the response, or the reading of requests that waited for the last one to leave.
func (s *serverConn) OnWritable(*engine.Conn) {
	switch {
	case s.cur != nil:
		s.cur.onDownstreamDrained()
	case !s.closing && s.c.Kept() > 0:
		s.c.ResumeRead()
	}
}

// OnClosed is the end of the connection.
func (s *serverConn) OnClosed(c *engine.Conn, r engine.CloseReason) {
	if s.headStart != 0 && !s.closing {
		s.beginUnparsed()
	}
	active := s.cur != nil || s.cutOff
	if st := s.cur; st != nil {
		s.closing = true
		why := reason.DownstreamClosed
		if r == engine.LoopStopped {
			why = reason.Stopped
		}
		st.onDownstreamGone(why)
	}
	if !s.undecided {
		s.a.w.Stats.GaugeAdd(s.stats.DownstreamCxHTTP1Active, -1)
	}
	s.countClosed(c, r, active)
	s.a.put(s)
}

// informational implements downstream.
func (s *serverConn) informational(st *stream, h *header.Head) {
	if st.req.Version == header.HTTP10 {
		return // RFC 9110 15.2
	}
	b := http1.AppendResponseHead(s.a.w.Loop.Scratch()[:0], h, http1.Framing{Transfer: header.NoBody, Length: -1, Case: st.cfg.hcase})
	st.info.DownstreamHeaderBytesSent += uint64(len(b))
	st.info.DownstreamWireSent += uint64(len(b))
	s.c.Write(b)
}

// responseHead implements downstream: it decides framing and persistence and keeps the bytes until
// the first body bytes are there, so that both leave in one write.
func (s *serverConn) responseHead(st *stream, h *header.Head, end bool) {
	if h.Transfer == header.Tunnel {
		s.tunnelHead(st, h)
		return
	}
	f := http1.Framing{Case: st.cfg.hcase, KeepReason: st.cfg.conf.HTTP1.ForwardReasonPhrase}
	f.Upgrade = st.tun.kind == upgradeTunnel && h.Has(header.Upgrade) // UP-14
	old := st.req.Version == header.HTTP10
	none := st.req.Method == header.MethodHead || h.Status == 204 || h.Status == 304
	switch {
	case none:
		f.Transfer, f.Length = header.NoBody, -1
		if h.Status != 204 && h.ContentLength >= 0 {
			f.Length = h.ContentLength // HC-45: passed through on HEAD and 304
		}
	case end:
		f.Transfer, f.Length = header.Length, 0
	case h.Transfer == header.Length:
		f.Transfer, f.Length = header.Length, h.ContentLength
	case old:
		f.Transfer = header.UntilClose // HC-46, HC-55
		s.lastOne = true
	default:
		f.Transfer = header.Chunked
	}
	switch {
	case s.lastOne:
	case st.request != halfDone || h.Close:
		s.lastOne = true
	case s.a.draining():
		s.lastOne = true
		s.a.w.Stats.Inc(s.stats.DownstreamCxDrainClose)
	}
	f.ConnectionClose = s.lastOne
	f.ConnectionKeepAlive = old && !s.lastOne
	st.encoding = transfer{kind: f.Transfer, none: none}
	b := http1.AppendResponseHead(s.a.w.HeadBuffer(s.c), h, f)
	n := uint64(s.a.w.HoldHead(s.c, b))
	st.info.DownstreamHeaderBytesSent += n
	st.info.DownstreamWireSent += n
	if end {
		s.a.w.FlushHeads()
	}
}

// responseData implements downstream.
func (s *serverConn) responseData(st *stream, p []byte, end bool) {
	switch {
	case st.encoding.none:
		s.a.w.FlushHeads()
	case st.encoding.kind == header.Chunked:
		st.info.DownstreamWireSent += uint64(s.a.w.WriteChunk(s.c, p, end, false))
	case st.encoding.kind == header.Tunnel:
		s.tunnelData(st, p, end)
	default:
		st.info.DownstreamWireSent += uint64(len(p))
		s.a.w.WriteData(s.c, p, false)
	}
}

// responseTrailers implements downstream (HC-13: dropped unless enable_trailers).
func (s *serverConn) responseTrailers(st *stream, t *header.Head) {
	if st.encoding.none || st.encoding.kind != header.Chunked {
		s.a.w.FlushHeads()
		return
	}
	if !st.cfg.conf.HTTP1.EnableTrailers {
		t = nil
	}
	b := http1.AppendLastChunk(s.a.w.HeadBuffer(s.c), t)
	st.info.DownstreamWireSent += uint64(s.a.w.HoldHead(s.c, b))
	s.a.w.FlushHeads()
}

func (s *serverConn) bare(st *stream) *engine.Conn {
	if st.encoding.none || st.encoding.kind != header.Length {
		return nil
	}
	return s.c
}

func (s *serverConn) full(*stream) bool { return s.c.Above() }

// pauseRequest leaves what arrives in the engine's bounded rest rather than in the kernel, so that a
// client that goes away meanwhile is noticed.
func (s *serverConn) pauseRequest(*stream) { s.paused = true }

func (s *serverConn) resumeRequest(*stream) {
	s.paused = false
	s.c.ResumeRead()
	if s.c.Kept() == 0 && !s.inData {
		s.afterTunnelData() // no event brings a FIN that came before
	}
}

// uploaded says that n body bytes went to the origin without passing through here.
func (s *serverConn) uploaded(st *stream, n int64) { st.body.Skip(n) }

func (s *serverConn) clientEnded(*stream) { s.OnReadClosed(s.c) }

// finish implements downstream: the stream is over; go on with the next request or close.
func (s *serverConn) finish(st *stream, whole bool, r reason.Reason) {
	s.a.w.FlushHeads()
	s.cur = nil
	cfg := st.cfg
	s.charge()
	unread := !st.body.Complete() && st.req.Transfer != header.NoBody
	untilClose := st.encoding.kind == header.UntilClose
	asked := st.req.Close
	s.a.streams.Put(st)
	s.idleSince = s.a.w.Loop.Now()
	switch {
	case s.closing:
	case r == reason.DownstreamClosed:
		s.closing = true
		s.c.Close()
	case !whole && untilClose:
		// FIN would make a cut-off body look whole (HC-50).
		s.closing = true
		s.c.Reset()
	case whole && asked && !unread && s.c.Buffered() == 0:
		// The client said that this is its last request, so nothing can be on its way that would turn
		// the FIN into a RST: there is no need to wait for its own FIN.
		s.closing = true
		s.c.Close()
	case s.lastOne || unread || !whole:
		s.linger(cfg)
	default:
		if s.paused {
			s.paused = false
			s.c.ResumeRead()
		} else if !s.inData && s.c.Kept() > 0 {
			s.c.ResumeRead() // a pipelined request waits
		}
		if d := cfg.conf.IdleTimeout; d > 0 && s.deadlines[connIdle] == 0 {
			s.deadlines[connIdle] = s.idleSince + int64(d)
			s.arm()
		}
	}
}

// drain ends the connection in order: after the stream under way, at once when there is none.
func (s *serverConn) drain() {
	if s.closing {
		return
	}
	s.lastOne = true
	if s.cur == nil && s.headStart == 0 {
		s.linger(s.cfg)
	}
}

func (s *serverConn) uses(cfg *Config) bool {
	return s.cur != nil && s.cur.cfg == cfg || s.headStart != 0 && s.cfg == cfg
}

func (s *serverConn) busy() bool { return s.cur != nil || s.headStart != 0 }

// shutDown ends a connection without a request when it is to, and the others with their response.
func (s *serverConn) shutDown(idle bool) {
	if !idle {
		return // the next response says so
	}
	if !s.closing && !s.lastOne {
		s.a.w.Stats.Inc(s.stats.DownstreamCxDrainClose)
	}
	s.drain()
}

// abort ends the connection now, whatever is under way.
func (s *serverConn) abort() {
	if st := s.cur; st != nil && !s.closing {
		s.cutOff = true
		st.fail(reason.Stopped, 0)
	}
	s.closing, s.lingers = true, false
	s.c.Close()
}
