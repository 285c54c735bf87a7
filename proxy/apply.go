package proxy

import (
	"context"
	"fmt"
	"maps"
	"reflect"
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
	s.logs.SetRuntime(b.Runtime)
	ch, err := s.prepare(b)
	if err != nil {
		s.restoreRuntime()
		ch.undo()
		s.manager.ListenerCreateFailure.Inc()
		return err
	}
	if err := s.clusters.Apply(b.Clusters); err != nil {
		s.restoreRuntime()
		ch.undo()
		return err
	}
	s.commit(b, ch)
	return nil
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
	for i, c := range b.Listeners {
		if len(c.Addresses) == 0 || c.FilterChain == nil || c.FilterChain.HTTP == nil {
			return ch, fmt.Errorf("listeners[%d] %q: needs an address and an HTTP filter chain", i, c.Name)
		}
		if ch.next[c.Name] != nil {
			return ch, fmt.Errorf("listeners[%d]: the name %q is used twice", i, c.Name)
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
		if err != nil {
			return ch, err
		}
		ch.added = append(ch.added, l)
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

// undo gives back what prepare took.
func (ch *change) undo() {
	for _, l := range ch.added {
		l.close()
	}
	for _, cfg := range ch.made {
		cfg.Close()
	}
}

func (s *Server) commit(b *conf.Bootstrap, ch *change) {
	for l, cfg := range ch.swapped {
		l.conf = ch.confs[l]
		l.failHealth(s, s.healthFailed.Load()) // drain_type may be another
		// The old Config stays readable for the streams that began with it; its log files are
		// reference-counted and are given back when it can no longer be in use.
		old := l.live.Swap(cfg)
		s.retire(old)
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

// retire closes a Config once no stream can still use it: max over the drain time.
func (s *Server) retire(c *hcm.Config) {
	time.AfterFunc(s.o.DrainTime, c.Close)
}

// leave takes a listener out of service: no new connections at once, the others drain and are
// closed when the drain time is over (OP-52).
func (s *Server) leave(l *listener) {
	l.close()
	l.draining = true
	s.leaving[l] = struct{}{}
	s.manager.TotalListenersDraining.Set(int64(len(s.leaving)))
	l.drain(s) // here, so that it is in force when Apply returns
	go s.finishLeaving(l)
}

func (s *Server) finishLeaving(l *listener) {
	ctx, cancel := context.WithTimeout(s.running, s.o.DrainTime)
	defer cancel()
	s.awaitEmpty(ctx, []*listener{l})
	if s.running.Err() != nil {
		return // Close ends the connections
	}
	for i, w := range s.workers {
		a := l.acceptors[i]
		s.onLoop(w, a.CloseAll)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.leaving, l)
	s.manager.TotalListenersDraining.Set(int64(len(s.leaving)))
	l.live.Load().Close()
	if cur := s.listeners[l.conf.Name]; cur == nil || cur.statName != l.statName {
		s.registry.ReleasePrefix("listener." + l.statName + ".")
	}
}
