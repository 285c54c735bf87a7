package proxy

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/listener"
	"github.com/sluiceproxy/sluice/proxy/network"
	"github.com/sluiceproxy/sluice/proxy/stats"
)

// change is what an Apply will do to the listeners, worked out before anything is touched.
type change struct {
	added   []*plan
	swapped []*plan // same sockets
	removed []*activeListener
	next    map[string]*activeListener
	made    []terminal
}

// Apply makes b the configuration in force: all of it or nothing. Listeners and clusters that are
// equal to the running ones are not touched. A listener whose sockets stay takes its new routes for
// the next request of every connection; requests under way finish with the old ones. A rejected
// snapshot changes nothing and is kept for LastError.
func (s *Server) Apply(b *conf.Bootstrap) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.apply(b)
	s.noteUpdate(err)
	return err
}

// updateStats count what became of new configurations.
type updateStats struct {
	attempt, success, rejected *stats.ColdCounter
}

func newUpdateStats(r *stats.Registry) updateStats {
	return updateStats{
		attempt: r.ColdCounter("server.config_update_attempt"), success: r.ColdCounter("server.config_update_success"),
		rejected: r.ColdCounter("server.config_update_rejected"),
	}
}

func (s *Server) noteUpdate(err error) {
	s.lastError = err
	s.updates.attempt.Inc()
	if err != nil {
		s.failedAt = time.Now()
		s.updates.rejected.Inc()
		return
	}
	s.updates.success.Inc()
}

func (s *Server) apply(b *conf.Bootstrap) error {
	if st := State(s.state.Load()); st == Draining || st == stopped {
		return fmt.Errorf("the server is on its way out (%s)", st)
	}
	ch, err := s.prepare(b)
	if err == nil {
		// Clusters first: no route may name one that is not there yet, or not any more.
		err = s.clusters.Apply(s.withCurrentClusters(b.Clusters))
	} else {
		s.manager.ListenerCreateFailure.Inc()
	}
	if err != nil {
		s.undo(ch)
		return err
	}
	s.runtime.Apply(runtimeLayers(b), b.Node.Cluster)
	counted := s.virtualStats()
	s.commit(b, ch)
	for _, w := range s.workers {
		s.onLoop(w, func() {}) // requests that were being routed by the old tables are on their way after it
	}
	counted.release(s)
	s.dropProviders(b)
	return s.clusters.Apply(b.Clusters) // only removes, so it cannot fail
}

// withCurrentClusters returns clusters and those in force that are not among them.
func (s *Server) withCurrentClusters(clusters []*conf.Cluster) []*conf.Cluster {
	if s.config == nil {
		return clusters
	}
	named := make(map[string]bool, len(clusters))
	for _, c := range clusters {
		named[c.Name] = true
	}
	all := slices.Clone(clusters)
	for _, c := range s.config.Clusters {
		if !named[c.Name] {
			all = append(all, c)
		}
	}
	return all
}

// runtimeLayers returns the layers of b (OP-30).
func runtimeLayers(b *conf.Bootstrap) []conf.RuntimeLayer {
	if len(b.RuntimeLayers) == 0 && len(b.Runtime) > 0 { // an embedder's
		return []conf.RuntimeLayer{{Name: "static", Values: b.Runtime}, {Name: "admin", Admin: true}}
	}
	return b.RuntimeLayers
}

// plan is what becomes of one listener whose configuration is new or has changed.
type plan struct {
	conf *conf.Listener
	cfg  *listener.Config
	l    *activeListener // new, or one whose sockets stay
	// chains are those of the listener from now on; swaps the new Configs of those it has already.
	chains map[string]*chain
	swaps  []swap
}

type swap struct {
	c *chain
	t terminal
}

// prepare compiles every listener and opens the new sockets.
func (s *Server) prepare(b *conf.Bootstrap) (*change, error) {
	ch := &change{next: map[string]*activeListener{}}
	// What listeners are compiled against, besides their own text.
	others := s.config != nil && (s.config.Node != b.Node || !maps.Equal(s.config.Runtime, b.Runtime))
	taken := make(map[string]bool)
	for i, c := range b.Listeners {
		fail := func(err error) (*change, error) { return ch, fmt.Errorf("listeners[%d] %q: %w", i, c.Name, err) }
		if len(c.Addresses) == 0 {
			return fail(errors.New("needs an address"))
		}
		if ch.next[c.Name] != nil {
			return ch, fmt.Errorf("listeners[%d]: the name %q is used twice", i, c.Name)
		}
		for j := range c.Addresses {
			a := &c.Addresses[j]
			if taken[a.String()] && (a.Local() != "" || a.IP.Port() != 0) {
				// With reuse_port the kernel would share the connections out among them.
				return fail(fmt.Errorf("the address %s is used twice", a))
			}
			taken[a.String()] = true
		}
		old := s.listeners[c.Name]
		if old != nil && !old.draining && !others && sameListener(old.conf, c) {
			ch.next[c.Name] = old
			continue
		}
		p := &plan{conf: c, chains: make(map[string]*chain)}
		if old != nil && !old.draining && sameSockets(old.conf, c) {
			p.l = old
			ch.swapped = append(ch.swapped, p)
		} else {
			p.l = s.newListener(c)
			ch.added = append(ch.added, p)
		}
		ch.next[c.Name] = p.l
		if err := s.compile(p, b, ch); err != nil {
			return fail(err)
		}
		if p.l != old {
			p.l.chains = p.chains
			p.l.live.Store(p.cfg)
			if err := p.l.open(s); err != nil {
				return ch, err
			}
		}
	}
	for name, l := range s.listeners {
		if ch.next[name] != l {
			ch.removed = append(ch.removed, l)
		}
	}
	return ch, nil
}

// compile makes the Configs of a plan: its chains, those of the listener as it is where they stay, and
// what chooses among them.
func (s *Server) compile(p *plan, b *conf.Bootstrap, ch *change) error {
	if len(p.conf.Chains()) == 0 {
		return errors.New("needs a filter chain")
	}
	deps := &listener.Deps{Registry: s.registry, Logs: s.logs, Secure: s.secure, TLS: s.tls, StatName: p.l.statName, Network: network.Deps{
		Registry: s.registry, Runtime: s.runtime, Buckets: s.buckets, Custom: s.o.NetworkFilters,
	}}
	var compiled []*listener.Chain
	for i, c := range p.conf.Chains() {
		where := fmt.Sprintf("filter_chains[%d]", i)
		if c == p.conf.DefaultFilterChain {
			where = "default_filter_chain"
		}
		t, err := s.compileTerminal(p.conf, c, b)
		if err != nil {
			closeChains(compiled)
			return fmt.Errorf("%s: %w", where, err)
		}
		ch.made = append(ch.made, t)
		key := chainKey(c)
		for p.chains[key] != nil { // a name used twice
			key += "'"
		}
		live := p.l.chains[key]
		if live != nil {
			p.swaps = append(p.swaps, swap{live, t})
		} else {
			live = s.newChain(key, t, p.l.accounts)
		}
		p.chains[key] = live
		lc, err := listener.NewChain(p.conf, c, live.ends, deps)
		if err != nil {
			closeChains(compiled)
			return fmt.Errorf("%s: %w", where, err)
		}
		compiled = append(compiled, lc)
	}
	all := compiled
	var fallback *listener.Chain
	if p.conf.DefaultFilterChain != nil {
		fallback = compiled[len(compiled)-1]
		compiled = compiled[:len(compiled)-1]
	}
	var err error
	if p.cfg, err = listener.Compile(p.conf, compiled, fallback, deps); err != nil {
		closeChains(all)
	}
	return err
}

func closeChains(chains []*listener.Chain) {
	for _, c := range chains {
		c.Close()
	}
}

// sameListener compares by the Envoy form where there is one, and by what it was read with.
func sameListener(a, b *conf.Listener) bool {
	if len(a.Raw) > 0 && len(b.Raw) > 0 {
		return string(a.Raw) == string(b.Raw) && a.SourcesDigest == b.SourcesDigest
	}
	return reflect.DeepEqual(a, b)
}

// undo gives back what prepare took. Who connected meanwhile is sent away unheard.
func (s *Server) undo(ch *change) {
	for _, p := range ch.added {
		p.l.close()
		p.l.onLoops(s, (*listener.Acceptor).CloseAll)
		s.releaseStats(p.l.statName)
	}
	for _, p := range append(ch.added, ch.swapped...) {
		for key, c := range p.chains {
			if p.l.chains[key] != c || p.l.conf == p.conf {
				c.retireEnds(s)
			}
		}
		if p.cfg != nil {
			p.cfg.Close()
		}
	}
	for _, t := range ch.made {
		t.close()
	}
	registered := make(virtualStats)
	for _, p := range append(ch.added, ch.swapped...) {
		registered.add(p.conf)
	}
	registered.release(s)
}

func (s *Server) commit(b *conf.Bootstrap, ch *change) {
	for _, p := range ch.swapped {
		s.update(p)
		s.manager.ListenerInPlaceUpdated.Inc()
		s.manager.ListenerModified.Inc()
	}
	for _, p := range ch.added {
		if s.listeners[p.conf.Name] != nil {
			s.manager.ListenerModified.Inc()
		} else {
			s.manager.ListenerAdded.Inc()
		}
		s.manager.ListenerCreateSuccess.Add(uint64(len(s.workers)))
		if s.healthFailed.Load() {
			p.l.failHealth(s, true)
		}
		s.countSockets(p.l)
		p.l.onLoops(s, (*listener.Acceptor).Open)
	}
	for _, l := range ch.removed {
		if ch.next[l.conf.Name] == nil {
			s.manager.ListenerRemoved.Inc()
		}
		s.leave(l)
	}
	s.listeners = ch.next
	s.config, s.updated = b, time.Now()
	s.manager.TotalListenersActive.Set(int64(len(s.listeners)))
}

// update puts a changed configuration into a listener whose sockets stay.
func (s *Server) update(p *plan) {
	l := p.l
	for _, w := range p.swaps {
		s.retire(w.c, w.c.swap(w.t))
	}
	gone := l.chains
	l.conf, l.chains = p.conf, p.chains
	old := l.live.Swap(p.cfg)
	l.failHealth(s, s.healthFailed.Load()) // drain_type may be another; and every loop has the new Config after it
	old.Close()
	for key, c := range gone {
		if p.chains[key] != c {
			s.dismiss(c)
		}
	}
}

// leave takes a listener out of service: no new connections at once, the others drain and are
// closed when the drain time is over (OP-52).
func (s *Server) leave(l *activeListener) {
	l.close()
	l.draining = true
	s.leaving[l] = struct{}{}
	s.manager.TotalListenersDraining.Set(int64(len(s.leaving)))
	l.drain(s) // here, so that it is in force when Apply returns
	s.background.Go(func() { s.finishLeaving(l) })
}

func (s *Server) finishLeaving(l *activeListener) {
	ctx, cancel := context.WithTimeout(s.running, s.o.DrainTime)
	defer cancel()
	s.awaitEmpty(ctx, func() (int, int) { return l.load(s) }, func() { l.closeIdle(s) })
	if s.running.Err() != nil {
		return // Close ends the connections
	}
	l.onLoops(s, (*listener.Acceptor).CloseAll)
	for _, c := range l.chains {
		c.end(s)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	counted := s.virtualStats()
	delete(s.leaving, l)
	counted.release(s)
	s.manager.TotalListenersDraining.Set(int64(len(s.leaving)))
	l.live.Load().Close()
	s.sockets[l.statName].retire(l.sockets)
	s.releaseStats(l.statName)
}
