package tcp

import (
	"github.com/sluiceproxy/sluice/engine"
	"github.com/sluiceproxy/sluice/proxy/streaminfo"
)

// counts are bytes on the wire of a session's two connections.
type counts struct{ rx, tx, upRx, upTx uint64 }

// now returns what has moved so far.
func (s *session) now() counts {
	n := s.seen
	if s.c != nil {
		n.rx, n.tx = s.downstreamBytes(s.c)
	}
	if s.up != nil {
		n.upRx, n.upTx = s.up.BytesRead(), s.up.BytesWritten()
	}
	return n
}

// preface is what listener filters consumed.
func (s *session) preface() uint64 {
	if s.facts.Extra == nil {
		return 0
	}
	return s.facts.Extra.PrefaceBytes
}

// noteDownstream keeps the counts of the downstream connection, which closes.
func (s *session) noteDownstream(c *engine.Conn) {
	s.seen.rx, s.seen.tx = s.downstreamBytes(c)
	s.c = nil
}

// downstreamBytes are those of the session itself: without what listener filters took and, as far as
// the relay knows, without TLS around them.
func (s *session) downstreamBytes(c *engine.Conn) (rx, tx uint64) {
	if s.facts.Secure == nil {
		return c.BytesRead() - s.preface(), c.BytesWritten()
	}
	if s.connectedNs == 0 {
		return uint64(c.Kept()), 0
	}
	if s.moved != [2]uint64{} {
		return s.moved[0], s.moved[1]
	}
	return s.relay.Moved()
}

// noteUpstream keeps those of the upstream connection.
func (s *session) noteUpstream(c *engine.Conn) {
	s.seen.upRx, s.seen.upTx = c.BytesRead(), c.BytesWritten()
}

// charge brings the statistics up to date. It runs when they are read, and at the end.
func (s *session) charge() {
	if s.stream != nil {
		s.stream.Charge()
	}
	sh, n := s.a.w.Stats, s.now()
	sh.Add(s.cfg.stats.DownstreamCxRxBytesTotal, n.rx-s.charged.rx)
	sh.Add(s.cfg.stats.DownstreamCxTxBytesTotal, n.tx-s.charged.tx)
	if s.upstream != nil {
		cs := s.upstream.C.Stats
		sh.Add(cs.UpstreamCxRxBytesTotal, n.upRx-s.charged.upRx)
		sh.Add(cs.UpstreamCxTxBytesTotal, n.upTx-s.charged.upTx)
	}
	s.charged = n
	var held [2]int64
	if s.c != nil {
		held[0] = int64(s.c.Kept())
		if s.state == relaying {
			_, down := s.relay.Pending()
			held[1] = int64(down)
		}
	}
	sh.GaugeAdd(s.cfg.stats.DownstreamCxRxBytesBuffered, held[0]-s.gauged[0])
	sh.GaugeAdd(s.cfg.stats.DownstreamCxTxBytesBuffered, held[1]-s.gauged[1])
	s.gauged = held
}

// log writes a line of a type; the last one also leaves the facts in the acceptor's info, for the
// listener's log.
func (s *session) log(t streaminfo.LogType) {
	if t != streaminfo.TCPConnectionEnd && len(s.cfg.logs) == 0 {
		return
	}
	s.describe(t)
	for _, l := range s.cfg.logs {
		l.Log(s.a.w.Logs, &s.a.info)
	}
}

// describe fills in what is known of the session.
func (s *session) describe(t streaminfo.LogType) {
	w, n := s.a.w, s.now()
	now := w.Loop.Now()
	i := &s.a.info
	*i = streaminfo.Info{
		LogType: t, Conn: &s.facts, RemoteAddress: s.facts.Remote,
		Start: s.facts.StartNs, StartUnixNs: w.Loop.WallNow().UnixNano() - (now - s.facts.StartNs),
		End: now, UpstreamReady: s.connectedNs, Reason: s.why, Flags: s.flags,
		BytesReceived: n.rx, BytesSent: n.tx,
		DownstreamWireReceived: n.rx + s.preface(), DownstreamWireSent: n.tx,
		UpstreamWireReceived: n.upRx, UpstreamWireSent: n.upTx,
		Attempts: s.attempts, UpstreamFailure: s.failure, UpstreamConnectionID: s.upID, UpstreamLocal: s.upLocal,
		UpstreamPeer: s.upPeer,
	}
	if s.moved != [2]uint64{} {
		i.UpstreamWireSent, i.UpstreamWireReceived = s.moved[0], s.moved[1]
	}
	if t == streaminfo.TCPConnectionEnd {
		i.Details = s.why.Entry().Details
		i.TerminationDetails = i.Details
	}
	if s.upstream != nil {
		i.UpstreamCluster, i.UpstreamClusterRaw = s.upstream.C.Conf.StatName, s.upstream.C.Conf.Name
	}
	if e := s.endpoint; e != nil {
		i.UpstreamPipe, i.UpstreamHostName = e.Host.Pipe, e.Host.Hostname
		if e.Host.Pipe == "" {
			i.UpstreamAddress = e.Host.Address()
		}
	}
}
