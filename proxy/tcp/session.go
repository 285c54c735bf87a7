package tcp

import (
	"net/netip"
	"time"

	"github.com/sluiceproxy/sluice/engine"
	"github.com/sluiceproxy/sluice/engine/relay"
	"github.com/sluiceproxy/sluice/engine/wheel"
	"github.com/sluiceproxy/sluice/pool"
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/reason"
	"github.com/sluiceproxy/sluice/proxy/secure"
	"github.com/sluiceproxy/sluice/proxy/streaminfo"
	"github.com/sluiceproxy/sluice/proxy/tunnel"
	"github.com/sluiceproxy/sluice/proxy/worker"
)

// state is what a session waits for.
type state uint8

const (
	awaitingTLS  state = iota // ON_DOWNSTREAM_TLS_HANDSHAKE: the handshake's end
	awaitingData              // ON_DOWNSTREAM_DATA: the first byte, or FIN
	lookingUp                 // the cluster, on demand
	connecting                // a connection of the pool
	backingOff                // the time of the next attempt
	handshaking               // the downstream TLS handshake; the upstream is connected
	asking                    // the answer to the request for a tunnel
	relaying                  // the end of both connections
	streaming                 // the same, of the client's and its stream
	emptying                  // what a client that is gone left for its stream (TCP-51)
	closing                   // OnClosed of the downstream connection
)

// session is one downstream connection and the upstream connection made for it. Loop-owned, from a
// free list.
//
//	event \ state     before relaying                      relaying
//	bytes             kept; paused above the limit         the relay's
//	FIN               remembered by the connection         the relay's: FIN after all bytes
//	downstream gone   attempt cancelled (TCP-8), ended     the relay's
//	attempt fails     next one, or ended                   -
//	timer             ended                                both closed
type session struct {
	a     *Acceptor
	cfg   *Config
	c     *engine.Conn // nil once it is closed
	up    *pool.Conn   // nil until connected, and once it is closed
	facts streaminfo.Connection
	relay relay.Tunnel
	req   pool.Request
	// upstream and endpoint are those of the latest attempt.
	upstream *worker.Upstream
	endpoint *worker.Endpoint
	lookup   *lookup        // while lookingUp
	stream   *tunnel.Stream // the session's tunnel over HTTP/2; nil without

	timer     wheel.Timer
	deadlines [numDeadlines]int64 // loop clock; 0 none
	idle      time.Duration
	backOff   time.Duration
	// connectedNs is when the upstream connection was there, on the loop clock.
	connectedNs int64

	state    state
	why      reason.Reason
	early    bool // bytes came before the upstream was there
	waits    bool // the client, for room in the stream
	sentEnd  bool // the client's FIN went to the stream
	oneChunk bool // TCP-6: reading stops after the first of them
	flushing bool // counted in upstream_flush_active
	attempts uint32
	flags    reason.Flag
	failure  string // of the latest attempt, in the system's words
	upID     uint64 // of the upstream connection, for the log
	upLocal  netip.AddrPort
	upPeer   *secure.Peer // likewise; nil without TLS

	uncredited int       // bytes of the stream the client has yet to take
	unsent     int       // bytes for the stream when a flush was last looked at
	moved      [2]uint64 // through the stream, up and down

	seen    counts // of connections that are closed
	charged counts // what the statistics have
	gauged  [2]int64

	prev, next *session
}

// begin makes s the session of a connection.
func (s *session) begin(a *Acceptor, c *engine.Conn, facts *streaminfo.Connection) {
	cfg := a.live.Load()
	s.a, s.cfg, s.c, s.facts = a, cfg, c, *facts
	s.timer.Handler = (*sessionTimer)(s)
	s.req.Owner = (*attempt)(s)
	c.SetWatermarks(cfg.bufferLimit)
	a.w.Stats.Inc(cfg.stats.DownstreamCxTotal)
	s.setTimers()
	if cfg.conf.LogOnStart {
		s.log(streaminfo.TCPConnectionStart)
	}
	s.openForData()
	switch {
	case cfg.conf.ConnectMode == conf.ConnectOnDownstreamData:
		s.state = awaitingData
	case cfg.conf.ConnectMode == conf.ConnectOnTLSHandshake && facts.Secure != nil:
		s.state = awaitingTLS
	default:
		s.connect()
	}
	if a.draining || a.healthFailed {
		s.drain()
	}
	s.arm()
}

// chunkBytes is the most that receive_before_connect lets in.
const chunkBytes = 16 << 10

// openForData decides what may be read before the upstream is there. What is read stays with the
// connection, in order, and the relay begins with it; what is not stays in the kernel.
func (s *session) openForData() {
	cfg := s.cfg.conf
	switch v, _ := s.facts.FilterState(streaminfo.KeyTCPReceiveBeforeConnect); {
	case cfg.EarlyData: // TCP-2; one more byte than the limit shows that there is more
		s.c.SetReadLimit(int(min(cfg.MaxEarlyDataBytes, 1<<30)) + 1)
	case string(v) == "true": // TCP-6
		s.c.SetReadLimit(chunkBytes)
		s.oneChunk = true
	default: // TCP-1
		s.c.PauseRead()
	}
}

// OnConnected says that the TLS handshake is done.
func (s *session) OnConnected(c *engine.Conn) {
	s.a.account.Secured(c, &s.facts)
	switch s.state {
	case awaitingTLS:
		s.connect()
		s.arm()
	case handshaking:
		s.startRelay(s.up)
	}
}

// OnData consumes nothing: early data waits for the relay, and the connection pauses itself when it
// keeps more than the limit.
func (s *session) OnData(c *engine.Conn, view []byte) int {
	switch s.state {
	case closing:
		return len(view)
	case streaming:
		return s.toTunnel(c, view)
	}
	if !s.early {
		s.early = true
		s.a.w.Stats.Inc(s.cfg.stats.EarlyDataReceivedCountTotal) // TCP-7
	}
	s.touch()
	if s.oneChunk || len(view) > int(s.cfg.conf.MaxEarlyDataBytes) {
		c.PauseRead()
	}
	if s.state == awaitingData {
		s.connect()
		s.arm()
	}
	return 0
}

// OnReadClosed needs no more than to begin: the relay finds the connection half-closed (TCP-4).
func (s *session) OnReadClosed(c *engine.Conn) {
	switch {
	case s.state == awaitingData:
		s.connect()
		s.arm()
	case s.state == streaming && c.Kept() == 0:
		s.clientEnds()
	}
}

// OnWritable matters to a tunnel over HTTP/2 only: nothing else is written before the relay.
func (s *session) OnWritable(*engine.Conn) { s.drained() }

// OnClosed ends a session that never relayed (TCP-8), but for what its stream is still to get.
func (s *session) OnClosed(c *engine.Conn, r engine.CloseReason) {
	why := endOf(r, reason.SessionDownstreamReset)
	s.a.account.Broken(c, &s.facts, r)
	if s.empty(c, r) {
		if why != reason.SessionEnded { // else how the flush ends is how the session does
			s.endedBy(why)
		}
		s.noteDownstream(c)
		return
	}
	s.cancel()
	s.endedBy(why)
	s.noteDownstream(c)
	s.finish(c)
}

// cancel takes back what the session waits for.
func (s *session) cancel() {
	switch s.state {
	case connecting:
		s.req.Cancel()
	case lookingUp:
		s.lookup.cancel()
		s.lookup = nil
	case streaming, emptying:
		s.streamOver()
	case handshaking, asking:
		if s.stream != nil {
			s.streamOver()
			break
		}
		up := s.up
		s.up = nil
		s.noteUpstream(up.Conn)
		up.Abort()
	}
	s.state = closing
}

// end closes a session that does not relay, with nothing to flush. OnClosed follows, unless it came before.
func (s *session) end(r reason.Reason, flags reason.Flag) {
	s.cancel()
	s.endedBy(r)
	s.flags |= flags
	if s.c == nil { // it was being flushed
		s.finish(nil)
		return
	}
	s.c.Close()
}

// endedBy notes how the session ends, once.
func (s *session) endedBy(r reason.Reason) {
	if s.why == reason.None {
		s.why = r
		s.flags |= r.Entry().Flag
	}
}

// abort ends a session in any state, unflushed (TCP-52).
func (s *session) abort(r reason.Reason) {
	switch s.state {
	case closing:
	case relaying:
		s.endedBy(r)
		s.relay.Close()
	default:
		s.end(r, 0)
	}
}

// startRelay begins to move bytes: early data first, then what comes.
func (s *session) startRelay(up *pool.Conn) {
	w := s.a.w
	s.up, s.upID, s.state, s.connectedNs = up, up.ID(), relaying, w.Loop.Now()
	s.endpoint.Load.RqActive++
	s.deadlines[idleAt] = 0 // the relay's from now on
	s.arm()
	if len(s.cfg.logs) > 0 || s.a.account.Logs() {
		s.upLocal = up.LocalAddr() // while it has one
	}
	if h := s.endpoint.Host; h.Proxy != nil && h.Secure == nil { // else it went ahead of the handshake
		up.Write(s.proxyHeader(h.Proxy))
	}
	s.relay.Start(s.c, up.Conn, relay.Options{
		IdleTimeout: s.idle, LimitUp: int(s.upstream.C.Conf.PerConnectionBufferLimitBytes), LimitDown: s.cfg.bufferLimit,
	}, (*owner)(s))
	if s.cfg.conf.LogOnConnected {
		s.log(streaminfo.TCPUpstreamConnected)
	}
}

// finish writes the log and lets go of everything. c is the downstream connection when it closes only
// now, else nil.
func (s *session) finish(c *engine.Conn) {
	a := s.a
	a.w.Loop.Disarm(&s.timer)
	s.state = closing
	s.charge()
	s.log(streaminfo.TCPConnectionEnd)
	a.account.Closed(c, &s.facts, &a.info)
	a.gone(s)
}
