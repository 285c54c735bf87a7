package listener

import (
	"time"

	"github.com/sluiceproxy/sluice/engine"
	"github.com/sluiceproxy/sluice/engine/tlsio"
	"github.com/sluiceproxy/sluice/proxy/reason"
	"github.com/sluiceproxy/sluice/proxy/secure"
	"github.com/sluiceproxy/sluice/proxy/stats"
	"github.com/sluiceproxy/sluice/proxy/streaminfo"
	"github.com/sluiceproxy/sluice/proxy/worker"
)

// Account counts one loop's connections of a listener, and writes the listener's own access log.
// Loop-owned.
type Account struct {
	w    *worker.Worker
	ls   *stats.ListenerStats
	ws   *stats.ListenerWorkerStats
	live *Live
	info streaminfo.Info // of the line being written
}

// NewAccount registers nothing: live, ls and ws are the listener's.
func NewAccount(w *worker.Worker, live *Live, ls *stats.ListenerStats, ws *stats.ListenerWorkerStats) *Account {
	return &Account{w: w, live: live, ls: ls, ws: ws}
}

// Logs says whether the listener has an access log of its own.
func (a *Account) Logs() bool { return len(a.live.Load().logs) > 0 }

// opened counts a connection that a filter chain takes.
func (a *Account) opened() {
	sh := a.w.Stats
	sh.Inc(a.ls.DownstreamCxTotal)
	sh.GaugeAdd(a.ls.DownstreamCxActive, 1)
	sh.Inc(a.ws.DownstreamCxTotal)
	sh.GaugeAdd(a.ws.DownstreamCxActive, 1)
}

// Secured notes that the TLS handshake of a connection is done. For a Terminal's OnConnected.
func (a *Account) Secured(c *engine.Conn, facts *streaminfo.Connection) {
	s, st := facts.Secure, tlsio.State(c)
	if s.Peer != nil {
		return // the network filters waited for it
	}
	s.Peer, s.HandshakeNs = secure.NewPeer(st, s.Context.Local(st)), a.w.Loop.Now()
	s.Context.Stats().Finished(a.w.Stats, st)
}

// Broken notes why a connection closed when that was TLS's doing; nothing on plain connections. For a
// Terminal's OnClosed, before Closed.
func (a *Account) Broken(c *engine.Conn, facts *streaminfo.Connection, r engine.CloseReason) {
	s := facts.Secure
	if s == nil {
		return
	}
	switch r {
	case engine.HandshakeFailed, engine.TransformFailed:
		err := c.Err()
		s.TransportFailure = secure.Failure(err)
		s.Context.Stats().Failed(a.w.Stats, err)
	case engine.HandshakeTimeout:
		a.w.Stats.Inc(a.ls.DownstreamCxTransportSocketConnectTimeout)
	}
}

// Closed counts the end of a connection that a Terminal served, tells the network filters, and writes
// the listener's log line. info is what is known of the whole connection, nil when that is no more
// than facts say. facts' Extra must not be used afterwards. Runs within OnClosed of c.
func (a *Account) Closed(c *engine.Conn, facts *streaminfo.Connection, info *streaminfo.Info) {
	a.countClosed(facts)
	if a.Logs() {
		if info == nil {
			a.fill(c, facts)
			info = &a.info
		}
		a.write(info)
	}
	if x := facts.Extra; x != nil {
		if x.Admitted != nil {
			x.Admitted.Leave(facts)
		}
		a.w.PutExtra(x)
		facts.Extra = nil
	}
}

// countClosed undoes opened.
func (a *Account) countClosed(facts *streaminfo.Connection) {
	sh := a.w.Stats
	sh.GaugeAdd(a.ls.DownstreamCxActive, -1)
	sh.GaugeAdd(a.ws.DownstreamCxActive, -1)
	sh.Inc(a.ls.DownstreamCxDestroy)
	sh.Record(a.ls.DownstreamCxLengthMs, uint64(a.w.Loop.Now()-facts.StartNs)/uint64(time.Millisecond))
}

// refused writes the log line of a connection that no chain took.
func (a *Account) refused(c *engine.Conn, facts *streaminfo.Connection, r reason.Reason, details string) {
	if !a.Logs() {
		return
	}
	a.fill(c, facts)
	e := r.Entry()
	a.info.Reason, a.info.Flags, a.info.Details = r, e.Flag, e.Details
	if details != "" {
		a.info.Details = details
	}
	a.info.TerminationDetails = a.info.Details
	a.write(&a.info)
}

func (a *Account) write(info *streaminfo.Info) {
	for _, l := range a.live.Load().logs {
		l.Log(a.w.Logs, info)
	}
	a.info.Reset()
}

// fill describes a connection by its facts and byte counts alone.
func (a *Account) fill(c *engine.Conn, facts *streaminfo.Connection) {
	now := a.w.Loop.Now()
	a.info = streaminfo.Info{
		Conn: facts, RemoteAddress: facts.Remote, Start: facts.StartNs, End: now,
		StartUnixNs:   a.w.Loop.WallNow().UnixNano() - (now - facts.StartNs),
		BytesReceived: c.BytesRead(), BytesSent: c.BytesWritten(),
		DownstreamWireReceived: c.BytesRead(), DownstreamWireSent: c.BytesWritten(),
	}
}
