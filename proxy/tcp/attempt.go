package tcp

import (
	"github.com/sluiceproxy/sluice/engine"
	"github.com/sluiceproxy/sluice/pool"
	"github.com/sluiceproxy/sluice/proxy/cluster"
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/reason"
	"github.com/sluiceproxy/sluice/proxy/secure"
	"github.com/sluiceproxy/sluice/proxy/streaminfo"
	"github.com/sluiceproxy/sluice/proxy/tunnel"
	"github.com/sluiceproxy/sluice/proxy/worker"
)

// connect makes an attempt: cluster, host, connection. Every way out of it but a connection under way
// or a lookup closes the session.
func (s *session) connect() {
	if s.clientLost() {
		return
	}
	name, criteria := s.pickCluster()
	s.upstream = s.a.w.Cluster(name)
	if s.upstream == nil {
		if s.cfg.lookup != nil {
			s.lookUp(name)
			return
		}
		s.noCluster()
		return
	}
	s.dial(criteria)
}

// clientLost ends a session whose client was reset while nothing is read from it, of which no event
// tells (TCP-8).
func (s *session) clientLost() bool {
	if !s.c.PeerLost() {
		return false
	}
	s.end(reason.SessionDownstreamReset, 0)
	return true
}

// noCluster ends a session whose cluster is not there (TCP-12).
func (s *session) noCluster() {
	s.a.w.Stats.Inc(s.cfg.stats.DownstreamCxNoRoute)
	s.end(reason.NoCluster, 0)
}

// pickCluster returns the cluster's name and the criteria that come with it (TCP-10, TCP-11).
func (s *session) pickCluster() ([]byte, *cluster.Criteria) {
	targets := s.cfg.targets
	if len(s.cfg.conf.Weighted) == 0 {
		if name, ok := s.facts.FilterState(streaminfo.KeyTCPCluster); ok && len(name) > 0 {
			return name, targets[0].criteria
		}
		return targets[0].name, targets[0].criteria
	}
	n := s.a.w.Random.Uint64N(targets[len(targets)-1].upTo)
	for i := range targets {
		if n < targets[i].upTo {
			return targets[i].name, targets[i].criteria
		}
	}
	return targets[0].name, targets[0].criteria
}

// dial asks for a connection to a host of s.upstream. The answer may come before it returns.
func (s *session) dial(criteria *cluster.Criteria) {
	w := s.a.w
	s.endpoint = s.upstream.PickFor(s.choose(criteria))
	if s.endpoint == nil { // TCP-14
		w.Stats.Inc(s.upstream.C.Stats.UpstreamCxNoneHealthy)
		s.end(reason.NoHealthyHost, 0)
		return
	}
	s.state = connecting
	s.attempts++
	ok := false
	if s.tunnels() && s.upstream.C.Conf.Protocol == conf.UpstreamHTTP2 { // TCP-45
		ok = s.endpoint.AcquireTunnel(&s.req, tunnel.Sessions{})
	} else {
		ok = s.endpoint.AcquireTCP(&s.req, s.wish())
	}
	if !ok {
		s.attempts--
		s.end(reason.Overflow, 0)
	}
}

// wish returns what the session asks of the TLS to its host: what filter state says (tcp_proxy.md 11),
// and a PROXY header ahead of it; nil for nothing. Valid until the next call on this loop.
func (s *session) wish() *worker.Wish {
	h := s.endpoint.Host
	if h.Secure == nil || h.Proxy == nil && s.facts.Extra == nil {
		return nil
	}
	w := &s.a.wish
	*w = worker.Wish{}
	any := s.facts.Extra != nil && w.FromState(&s.facts.Extra.State)
	if h.Proxy != nil {
		w.Preface, any = s.proxyHeader(h.Proxy), true
	}
	if !any {
		return nil
	}
	return w
}

// choose fills in what the session says about the host it wants.
func (s *session) choose(criteria *cluster.Criteria) *cluster.Choice {
	a := s.a
	a.choice = cluster.Choice{Criteria: s.withMetadata(criteria)}
	if o := s.upstream.C.Conf.OriginalDst; o != nil {
		a.choice.Destination = s.facts.Restored()
		if s.facts.Extra != nil && o.MetadataKey != "" {
			a.choice.DestinationText, _ = s.facts.Extra.Metadata.Get(o.MetadataNamespace, o.MetadataKey)
		}
	}
	switch p := &s.cfg.conf.HashPolicy; p.Kind {
	case conf.HashSourceIP: // TCP-25: the address as text; unix sockets have none
		if ip := s.facts.Remote.Addr(); ip.IsValid() {
			a.text = ip.AppendTo(a.text[:0])
			a.choice.Hash, a.choice.HasHash = cluster.Hash(a.text), true
		}
	case conf.HashFilterState:
		if v, ok := s.facts.FilterState(p.Key); ok {
			a.choice.Hash, a.choice.HasHash = cluster.Hash(v), true
		}
	}
	return &a.choice
}

// lbNamespace is the metadata that balancers read (TCP-21).
const lbNamespace = "envoy.lb"

// withMetadata merges the connection's own metadata over the configured criteria (TCP-20).
func (s *session) withMetadata(configured *cluster.Criteria) *cluster.Criteria {
	if s.facts.Extra == nil {
		return configured
	}
	at, m := 0, &s.facts.Extra.Metadata
	key, value, ok := m.Next(lbNamespace, &at)
	if !ok {
		return configured
	}
	own := &s.a.criteria
	own.Reset()
	own.Merge(configured)
	for ; ok; key, value, ok = m.Next(lbNamespace, &at) {
		own.SetText(key, value)
	}
	return own
}

// attempt is a session as the pool sees it.
type attempt session

var _ pool.Owner = (*attempt)(nil)

// OnPoolReady begins the relay.
func (t *attempt) OnPoolReady(up *pool.Conn) {
	s := (*session)(t)
	if s.clientLost() {
		up.Release(false)
		return
	}
	s.endpoint.Connected(true)
	if x := up.Security(); x != nil {
		s.upPeer, _ = x.(*secure.Peer)
	}
	if s.tunnels() {
		(*h1Tunnel)(s).ask(up)
		return
	}
	if s.c.Connecting() { // in its TLS handshake
		s.up, s.state = up, handshaking
		up.SetHandler((*upstreamWait)(s))
		return
	}
	s.startRelay(up)
}

// upstreamWait is a session whose upstream connection waits for the downstream TLS handshake. What the
// upstream sends stays with its connection.
type upstreamWait session

// OnConnected never happens: the connection is up.
func (w *upstreamWait) OnConnected(*engine.Conn) {}

// OnData consumes nothing.
func (w *upstreamWait) OnData(*engine.Conn, []byte) int { return 0 }

// OnReadClosed needs nothing: the relay finds the connection half-closed.
func (w *upstreamWait) OnReadClosed(*engine.Conn) {}

// OnWritable never matters: nothing is written.
func (w *upstreamWait) OnWritable(*engine.Conn) {}

// OnClosed ends the session.
func (w *upstreamWait) OnClosed(c *engine.Conn, r engine.CloseReason) {
	s := (*session)(w)
	s.noteUpstream(c)
	s.up, s.state = nil, connecting // nothing to take back
	s.end(endOf(r, reason.SessionUpstreamReset), 0)
}

// OnPoolFailure makes the next attempt, at once or after a back-off, or ends the session (TCP-13,
// TCP-15, TCP-16).
func (t *attempt) OnPoolFailure(f pool.Failure, err error) {
	s := (*session)(t)
	s.state = backingOff
	s.failure = ""
	if err != nil {
		s.failure = err.Error()
	}
	why := reason.ConnectFailure
	switch f {
	case pool.Closed:
		s.end(reason.Stopped, 0)
		return
	case pool.Overflow:
		s.end(reason.Overflow, 0)
		return
	case pool.LocalConnectFailure:
		why = reason.LocalConnectFailure
	case pool.ConnectTimeout:
		why = reason.ConnectTimeout
	}
	s.attemptFailed(why)
}

// attemptFailed makes the next attempt, at once or after a back-off, or ends the session.
func (s *session) attemptFailed(why reason.Reason) {
	s.state = backingOff
	s.endpoint.Failed(cluster.ConnectFailed, 0)
	s.flags |= why.Entry().Flag
	if s.attempts >= s.cfg.conf.MaxConnectAttempts {
		s.a.w.Stats.Inc(s.upstream.C.Stats.UpstreamCxConnectAttemptsExceeded)
		s.end(why, reason.UpstreamRetryLimitExceeded)
		return
	}
	s.deadlines[retryAt] = s.a.w.Loop.Now() + s.nextBackOff()
	s.arm()
}

// nextBackOff is the wait before the next attempt: none, or random below an interval that doubles from
// its base to its limit. A wait of nothing still ends at a later turn of the loop.
func (s *session) nextBackOff() int64 {
	c := s.cfg.conf
	if c.BackOffBase <= 0 {
		return 0
	}
	if s.backOff == 0 {
		s.backOff = c.BackOffBase
	} else {
		s.backOff = min(2*s.backOff, c.BackOffMax)
	}
	return s.a.w.Random.Int64N(int64(s.backOff))
}
