package proxy

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/hcm"
	"github.com/sluiceproxy/sluice/proxy/stats"
)

// change is what an Apply will do to the listeners, worked out before anything is touched.
type change struct {
	added   []*listener
	swapped map[*listener]*hcm.Config // same sockets, new filter chain
	confs   map[*listener]*conf.Listener
	removed []*listener
	next    map[string]*listener
	made    []*hcm.Config
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
	s.logs.SetRuntime(b.Runtime)
	ch, err := s.prepare(b)
	if err == nil {
		// Clusters first: no route may name one that is not there yet, or not any more.
		err = s.clusters.Apply(s.withCurrentClusters(b.Clusters))
	} else {
		s.manager.ListenerCreateFailure.Inc()
	}
	if err != nil {
		s.restoreRuntime()
		s.undo(ch)
		return err
	}
	s.commit(b, ch)
	for _, w := range s.workers {
		s.onLoop(w, func() {}) // requests that were being routed by the old tables are on their way after it
	}
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

// restoreRuntime takes the runtime values of a rejected snapshot back.
func (s *Server) restoreRuntime() {
	if s.config != nil {
		s.logs.SetRuntime(s.config.Runtime)
	}
}

// prepare compiles every listener and opens the new sockets.
func (s *Server) prepare(b *conf.Bootstrap) (*change, error) {
	ch := &change{swapped: map[*listener]*hcm.Config{}, confs: map[*listener]*conf.Listener{}, next: map[string]*listener{}}
	deps := hcm.Deps{Registry: s.registry, Logs: s.logs, Node: b.Node}
	// What listeners are compiled against, besides their own text.
	others := s.config != nil && (s.config.Node != b.Node || !maps.Equal(s.config.Runtime, b.Runtime))
	taken := make(map[string]bool)
	for i, c := range b.Listeners {
		if len(c.Addresses) == 0 || c.FilterChain == nil || c.FilterChain.HTTP == nil {
			return ch, fmt.Errorf("listeners[%d] %q: needs an address and an HTTP filter chain", i, c.Name)
		}
		if ch.next[c.Name] != nil {
			return ch, fmt.Errorf("listeners[%d]: the name %q is used twice", i, c.Name)
		}
		for j := range c.Addresses {
			a := &c.Addresses[j]
			if taken[a.String()] && (a.Pipe != "" || a.IP.Port() != 0) {
				// With reuse_port the kernel would share the connections out among them.
				return ch, fmt.Errorf("listeners[%d] %q: the address %s is used twice", i, c.Name, a)
			}
			taken[a.String()] = true
		}
		old := s.listeners[c.Name]
		if old != nil && !old.draining && !others && sameListener(old.conf, c) {
			ch.next[c.Name] = old
			continue
		}
		cfg, err := hcm.Compile(c, statName(c), deps)
		if err != nil {
			return ch, fmt.Errorf("listeners[%d] %q: %w", i, c.Name, err)
		}
		ch.made = append(ch.made, cfg)
		if old != nil && !old.draining && sameSockets(old.conf, c) {
			ch.swapped[old], ch.confs[old] = cfg, c
			ch.next[c.Name] = old
			continue
		}
		l, err := s.openListener(c, cfg)
		ch.added = append(ch.added, l)
		if err != nil {
			return ch, err
		}
		ch.next[c.Name] = l
	}
	for name, l := range s.listeners {
		if ch.next[name] != l {
			ch.removed = append(ch.removed, l)
		}
	}
	return ch, nil
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
	for _, l := range ch.added {
		l.close()
		l.each(s, (*hcm.Acceptor).CloseAll)
		s.releaseStats(l.statName)
	}
	for _, cfg := range ch.made {
		cfg.Close()
	}
}

func (s *Server) commit(b *conf.Bootstrap, ch *change) {
	for l, cfg := range ch.swapped {
		l.conf = ch.confs[l]
		l.failHealth(s, s.healthFailed.Load()) // drain_type may be another
		s.retire(l, l.live.Swap(cfg))
		s.manager.ListenerInPlaceUpdated.Inc()
		s.manager.ListenerModified.Inc()
	}
	for _, l := range ch.added {
		if s.listeners[l.conf.Name] != nil {
			s.manager.ListenerModified.Inc()
		} else {
			s.manager.ListenerAdded.Inc()
		}
		s.manager.ListenerCreateSuccess.Add(uint64(len(s.workers)))
		s.countSockets(l)
		l.each(s, (*hcm.Acceptor).Open)
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

// retireInterval is how often it is looked whether a replaced Config is still in use.
const retireInterval = time.Second

// retire closes a replaced Config, and with it its log files, when the last stream that began with it
// is over.
func (s *Server) retire(l *listener, old *hcm.Config) {
	s.background.Go(func() {
		for l.uses(s, old) && s.sleep(retireInterval) {
		}
		old.Close()
	})
}

// leave takes a listener out of service: no new connections at once, the others drain and are
// closed when the drain time is over (OP-52).
func (s *Server) leave(l *listener) {
	l.close()
	l.draining = true
	s.leaving[l] = struct{}{}
	s.manager.TotalListenersDraining.Set(int64(len(s.leaving)))
	l.drain(s) // here, so that it is in force when Apply returns
	s.background.Go(func() { s.finishLeaving(l) })
}

func (s *Server) finishLeaving(l *listener) {
	ctx, cancel := context.WithTimeout(s.running, s.o.DrainTime)
	defer cancel()
	s.awaitEmpty(ctx, []*listener{l})
	if s.running.Err() != nil {
		return // Close ends the connections
	}
	l.each(s, (*hcm.Acceptor).CloseAll)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.leaving, l)
	s.manager.TotalListenersDraining.Set(int64(len(s.leaving)))
	l.live.Load().Close()
	s.sockets[l.statName].retire(l.sockets)
	s.releaseStats(l.statName)
}
