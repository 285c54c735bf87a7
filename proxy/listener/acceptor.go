package listener

import (
	"net/netip"

	"github.com/sluiceproxy/sluice/codec/proxyproto"
	"github.com/sluiceproxy/sluice/codec/sniff"
	"github.com/sluiceproxy/sluice/engine"
	"github.com/sluiceproxy/sluice/engine/wheel"
	"github.com/sluiceproxy/sluice/proxy/network"
	"github.com/sluiceproxy/sluice/proxy/reason"
	"github.com/sluiceproxy/sluice/proxy/streaminfo"
	"github.com/sluiceproxy/sluice/proxy/worker"
)

// Acceptor is one loop's end of a listener. Loop-owned.
type Acceptor struct {
	w       *worker.Worker
	live    *Live
	account *Account

	// held: connections are accepted and not read from, until Open.
	held  bool
	first *front // connections that no chain has taken yet
	count int
	free  *front
	kept  int

	hello  sniff.ClientHello
	header proxyproto.Header
	facts  streaminfo.Connection // of a connection that needs no front
	conn   network.Connection
	text   []byte
}

// NewAcceptor makes a loop's end of a listener. live is shared with the control plane, which swaps
// the Config. What clients send waits until Open.
func NewAcceptor(w *worker.Worker, live *Live, account *Account) *Acceptor {
	return &Acceptor{w: w, live: live, account: account, held: true}
}

const maxKeptFronts = 1024

// Socket is the acceptor of one of a listener's addresses. local is what connections to it have as
// their own end; invalid when the socket is bound to a wildcard and each has to ask.
func (a *Acceptor) Socket(local netip.AddrPort, pipe bool) engine.Acceptor {
	return &socket{a, local, pipe}
}

type socket struct {
	a     *Acceptor
	local netip.AddrPort
	pipe  bool
}

// OnAccept implements engine.Acceptor.
func (s *socket) OnAccept(c *engine.Conn) engine.Handler {
	a := s.a
	local := s.local
	if !local.IsValid() && !s.pipe {
		local = c.LocalAddr()
	}
	cfg := a.live.Load()
	a.facts = streaminfo.Connection{ID: c.ID(), Remote: c.RemoteAddr(), Local: local, StartNs: a.w.Loop.Now(), Listener: &cfg.shared}
	if s.pipe {
		a.facts.Listener = &cfg.sharedPipe
	}
	if a.held || len(cfg.filters) > 0 {
		return a.wait(c, cfg)
	}
	chain := cfg.match.find(&a.facts)
	if chain == nil || len(chain.filters) > 0 {
		return a.wait(c, cfg) // may refuse it, and needs something to do that with
	}
	return a.serve(chain, c)
}

// serve hands the connection in a.facts to a chain's terminal filter. With TLS the handshake begins;
// the terminal filter hears OnConnected when it is done.
func (a *Acceptor) serve(chain *Chain, c *engine.Conn) engine.Handler {
	a.facts.Listener = chain.listener(&a.facts)
	a.account.opened()
	if chain.secure != nil {
		chain.encrypt(c, &a.facts)
	}
	return chain.ends[a.w.Loop.Index()].Serve(c, &a.facts)
}

// encrypt begins the TLS handshake.
func (c *Chain) encrypt(conn *engine.Conn, facts *streaminfo.Connection) {
	facts.Secure = &streaminfo.Secure{Context: c.secure}
	c.layer.Server(conn, c.secure.Config(), c.timeout)
}

// listener returns the facts that the connections of a chain share.
func (c *Chain) listener(f *streaminfo.Connection) *streaminfo.Listener {
	if f.Listener.Pipe != "" {
		return &c.pipe
	}
	return &c.shared
}

// wait makes a front of the connection in a.facts.
func (a *Acceptor) wait(c *engine.Conn, cfg *Config) engine.Handler {
	f := a.free
	if f == nil {
		f = new(front)
	} else {
		a.free = f.next
		a.kept--
		f.next = nil
	}
	f.a, f.c, f.cfg, f.facts = a, c, cfg, a.facts
	f.timer.Handler = (*frontTimer)(f)
	f.nextLive = a.first
	if a.first != nil {
		a.first.prevLive = f
	}
	a.first = f
	a.count++
	a.w.Stats.GaugeAdd(a.account.ls.DownstreamPreCxActive, 1)
	if a.held {
		c.PauseRead()
		return f
	}
	return f.begin()
}

// Open begins to serve the connections there are and those to come: the listener is part of the
// configuration in force. Runs on the loop.
func (a *Acceptor) Open() {
	a.held = false
	for f := a.first; f != nil; {
		next, c := f.nextLive, f.c
		f.cfg = a.live.Load()
		if h := f.begin(); h != engine.Handler(f) {
			c.SetHandler(h)
		}
		f = next
	}
}

// CloseAll ends every connection that no chain has taken. Runs on the loop.
func (a *Acceptor) CloseAll() {
	for f := a.first; f != nil; f = f.nextLive {
		f.c.Close()
	}
}

// Conns counts the connections that no chain has taken yet.
func (a *Acceptor) Conns() int { return a.count }

// front is a connection that no filter chain has taken yet. Loop-owned, from a free list.
//
//	event            what follows
//	bytes            the filters look; the last one to pass hands the connection over
//	FIN              closed: nothing would come that the filters wait for
//	timeout          closed, or handed over with what is known
//	filter refuses   closed, at once or after the filter's delay
type front struct {
	a     *Acceptor
	c     *engine.Conn
	cfg   *Config
	chain *Chain // while it is in its TLS handshake (late.go); else nil
	facts streaminfo.Connection
	timer wheel.Timer
	at    int // the filter that looks
	seen  int // bytes the HTTP inspector has seen
	// refused is why the connection is being closed; None while it may go on.
	refused            reason.Reason
	details            string
	next               *front // free list
	prevLive, nextLive *front
}

var _ engine.Handler = (*front)(nil)

// extra returns the connection's Extra, made on first use.
func (f *front) extra() *streaminfo.Extra {
	if f.facts.Extra == nil {
		f.facts.Extra = f.a.w.Extra()
	}
	return f.facts.Extra
}

// replaceAddresses makes the connection be between other ends than the socket's.
func (f *front) replaceAddresses(remote, local netip.AddrPort) {
	x := f.extra()
	x.DirectRemote, x.DirectLocal = f.facts.DirectRemote(), f.facts.DirectLocal()
	f.facts.Remote, f.facts.Local = remote, local
}

// begin lets the filters look that need no bytes. It returns who handles the connection from now on.
func (f *front) begin() engine.Handler {
	if f.c.ReadPaused() {
		f.c.ResumeRead()
	}
	if f.cfg.keepBytes > 0 {
		f.c.SetReadLimit(f.cfg.keepBytes)
	}
	if _, v := f.look(nil); v == pass {
		return f.admit()
	}
	if f.refused == reason.None && f.cfg.timeout > 0 {
		f.a.w.Loop.Arm(&f.timer, f.cfg.timeout)
	}
	return f
}

// look runs the filters over the bytes not consumed yet.
func (f *front) look(view []byte) (used int, v verdict) {
	for f.at < len(f.cfg.filters) {
		n, v := f.cfg.filters[f.at].look(f, view[used:])
		if n > 0 {
			used += n
			f.extra().PrefaceBytes += uint64(n)
		}
		switch v {
		case wait:
			return used, wait
		case refuse:
			f.a.w.Stats.Inc(f.a.account.ls.DownstreamListenerFilterError)
			f.refuse(network.Verdict{Reason: reason.ListenerFilterRefused})
			return used, refuse
		}
		f.at++
	}
	return used, pass
}

// admit chooses the chain, runs its network filters and hands the connection to its terminal filter,
// which it returns. When something refuses the connection that is f, and the connection is closing.
// Otherwise f is free again.
func (f *front) admit() engine.Handler {
	a := f.a
	cfg := a.live.Load()
	chain := cfg.match.find(&f.facts)
	if chain == nil {
		a.w.Stats.Inc(a.account.ls.NoFilterChainMatch)
		f.refuse(network.Verdict{Reason: reason.NoFilterChain})
		return f
	}
	f.facts.Listener = chain.listener(&f.facts)
	if !f.filter(chain, 0, chain.late) {
		return f
	}
	if chain.late < len(chain.filters) {
		f.awaitPeer(chain)
		return f
	}
	c := f.c
	a.facts = f.facts
	if chain.needs {
		f.extra().Admitted = chain
		a.facts.Extra = f.facts.Extra
	}
	f.leave()
	return a.serve(chain, c)
}

// filter runs the network filters from one up to another. False when one refused.
func (f *front) filter(chain *Chain, from, to int) bool {
	nc := &f.a.conn
	nc.Facts, nc.Worker = &f.facts, f.a.w
	for i, nf := range chain.filters[from:to] {
		v := nf.OnNewConnection(nc)
		if !v.Close {
			continue
		}
		chain.leave(&f.facts, from+i)
		f.refuse(v)
		return false
	}
	return true
}

// refuse closes the connection, after the delay asked for.
func (f *front) refuse(v network.Verdict) {
	f.refused, f.details = v.Reason, v.Details
	if v.Delay <= 0 {
		f.c.Close()
		return
	}
	f.c.PauseRead()
	f.a.w.Loop.Arm(&f.timer, v.Delay)
}

// leave takes f out of the acceptor's accounts and frees it.
func (f *front) leave() {
	a := f.a
	a.w.Loop.Disarm(&f.timer)
	if f.chain == nil { // else a chain has it
		a.w.Stats.GaugeAdd(a.account.ls.DownstreamPreCxActive, -1)
	}
	if f.prevLive != nil {
		f.prevLive.nextLive = f.nextLive
	} else {
		a.first = f.nextLive
	}
	if f.nextLive != nil {
		f.nextLive.prevLive = f.prevLive
	}
	a.count--
	timer := f.timer
	*f = front{timer: timer}
	if a.kept < maxKeptFronts {
		f.next, a.free = a.free, f
		a.kept++
	}
}

// OnData lets the filters look, and hands what they leave to the terminal filter once all have passed.
func (f *front) OnData(c *engine.Conn, view []byte) int {
	if f.refused != reason.None || f.chain != nil {
		return 0
	}
	used, v := f.look(view)
	if v != pass {
		return used
	}
	h := f.admit()
	if h == engine.Handler(f) {
		return used
	}
	c.SetHandler(h)
	if used < len(view) && !c.ReadPaused() && !c.Closed() && c.Transform() == nil {
		used += h.OnData(c, view[used:])
	} // else what is left is kept: for later, or for TLS
	return used
}

// OnReadClosed ends a connection that the filters wait for in vain.
func (f *front) OnReadClosed(c *engine.Conn) {
	if f.refused != reason.None || f.chain != nil {
		return
	}
	f.a.w.Stats.Inc(f.a.account.ls.DownstreamListenerFilterRemoteClose)
	f.refused = reason.ListenerFilterClosed
	c.Close()
}

// OnWritable never happens: nothing is written.
func (f *front) OnWritable(*engine.Conn) {}

// OnClosed writes the listener's log line and frees f.
func (f *front) OnClosed(c *engine.Conn, r engine.CloseReason) {
	if f.chain != nil {
		f.peerLost(c, r)
		return
	}
	if f.refused == reason.None {
		f.refused = reason.ListenerFilterClosed
		if r == engine.LoopStopped || r == engine.LocalClose {
			f.refused = reason.Stopped
		} else {
			f.a.w.Stats.Inc(f.a.account.ls.DownstreamListenerFilterError)
		}
	}
	a := f.a
	a.account.refused(c, &f.facts, f.refused, f.details)
	a.w.PutExtra(f.facts.Extra)
	f.leave()
}

// frontTimer is a front whose wait for bytes, or whose delay before closing, is over.
type frontTimer front

// OnTimer closes the connection, or goes on with what is known (TCP-70).
func (t *frontTimer) OnTimer(*wheel.Timer) {
	f := (*front)(t)
	c := f.c
	if f.refused != reason.None {
		c.Close()
		return
	}
	f.a.w.Stats.Inc(f.a.account.ls.DownstreamPreCxTimeout)
	if !f.cfg.goOn {
		f.refused = reason.ListenerFilterTimeout
		c.Close()
		return
	}
	h := f.admit()
	if h == engine.Handler(f) {
		return
	}
	c.SetHandler(h)
	if !c.ReadPaused() && !c.Closed() && c.Transform() == nil {
		c.ResumeRead() // what came is delivered again, to its new handler
	}
}
