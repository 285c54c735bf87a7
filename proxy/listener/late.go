package listener

import (
	"github.com/sluiceproxy/sluice/engine"
	"github.com/sluiceproxy/sluice/proxy/network"
	"github.com/sluiceproxy/sluice/proxy/reason"
)

// This file is the part of a front's life between chain and terminal filter that only connections have
// whose network filters judge what TLS found out: their handshake comes first.

// awaitPeer begins the TLS handshake; OnConnected follows, or OnClosed.
func (f *front) awaitPeer(chain *Chain) {
	a := f.a
	a.w.Loop.Disarm(&f.timer)
	a.w.Stats.GaugeAdd(a.account.ls.DownstreamPreCxActive, -1)
	a.account.opened()
	f.chain, f.cfg = chain, a.live.Load()
	chain.encrypt(f.c, &f.facts)
}

// OnConnected says that the handshake is done: the filters that waited for it judge, and the connection
// goes to its terminal filter.
func (f *front) OnConnected(c *engine.Conn) {
	a, chain := f.a, f.chain
	if chain == nil || f.refused != reason.None {
		return
	}
	a.account.Secured(c, &f.facts)
	if !f.current() {
		chain.leave(&f.facts, chain.late)
		f.refuse(network.Verdict{Reason: reason.Draining})
		return
	}
	if !f.filter(chain, chain.late, len(chain.filters)) {
		return
	}
	if chain.needs {
		f.extra().Admitted = chain
	}
	a.facts = f.facts
	f.leave()
	h := chain.ends[a.w.Loop.Index()].Serve(c, &a.facts)
	c.SetHandler(h)
	h.OnConnected(c)
}

// current says whether the configuration still has the chain's terminal filter: it may have changed during
// the handshake, and a terminal filter that it has no more takes nobody in.
func (f *front) current() bool {
	cfg, loop := f.a.live.Load(), f.a.w.Loop.Index()
	if cfg == f.cfg {
		return true
	}
	for _, c := range cfg.chains {
		if c.ends[loop] == f.chain.ends[loop] {
			return true
		}
	}
	return false
}

// peerLost is OnClosed of a connection in its handshake, or that the filters after it refused.
func (f *front) peerLost(c *engine.Conn, r engine.CloseReason) {
	a := f.a
	a.account.Broken(c, &f.facts, r)
	if f.refused == reason.None {
		f.chain.leave(&f.facts, f.chain.late) // those that admitted it
		if r == engine.LoopStopped || r == engine.LocalClose {
			f.refused = reason.Stopped
		}
	}
	a.account.countClosed(&f.facts)
	a.account.refused(c, &f.facts, f.refused, f.details)
	a.w.PutExtra(f.facts.Extra)
	f.leave()
}
