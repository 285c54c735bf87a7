package cluster

import (
	"container/list"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// Provider knows clusters that are not configured, by name (on_demand, TCP-30).
// Its methods are called on goroutines of the control plane, several at a time. A
// Provider is comparable: what it gave is told apart by it.
type Provider interface {
	// Lookup returns a cluster's configuration, nil when there is no such cluster. It
	// may wait, but not long after ctx has ended. An error counts as nil for who
	// asked, and leaves a cluster that serves as it is.
	Lookup(ctx context.Context, name string) (*conf.Cluster, error)
	// Watch calls changed with the name of a cluster that Lookup has returned when
	// another Lookup may say something else. changed does not wait, and may be called
	// for names too many. stop ends it and is called once.
	Watch(changed func(name string)) (stop func())
}

// Outcome is how an on-demand lookup ended.
type Outcome uint8

// Outcomes.
const (
	// OnDemandFound: the cluster is in the Set, its hosts resolved as far as they can be.
	OnDemandFound Outcome = iota
	// OnDemandMissing: the provider has no such cluster, or an invalid one.
	OnDemandMissing
	// OnDemandTimeout: it took too long. The lookup goes on for those that still wait.
	OnDemandTimeout
)

// String returns the outcome as the statistics name it.
func (o Outcome) String() string {
	return [...]string{"success", "missing", "timeout"}[o]
}

const (
	// maxDemands is how many names are looked up at a time; others wait for a turn.
	maxDemands = 16
	// refreshWait bounds looking up again what has changed, which nobody waits for.
	refreshWait = time.Minute
)

// OnDemandRequest is one that waits for a cluster.
type OnDemandRequest struct {
	demands *demands
	demand  *demand
	answer  func(Outcome)
	timer   *time.Timer
}

// Cancel takes the request back. It reports whether that came in time: then there
// is no answer; else it has been given or is on its way. Does not wait; a loop may
// call it.
func (r *OnDemandRequest) Cancel() bool { return r.demands.leave(r) }

// RequestOnDemand asks p for the cluster name. It does not wait, so a loop may
// call it. answer is called once, on another goroutine, within timeout or soon
// after; it may wait for a loop, but then others who asked for the same name wait
// too. Requests for one name share one lookup. There is no answer after Close.
//
// A cluster that was found serves beside the configured ones, whatever Apply does,
// until the provider has it no more; a configured one of the same name goes before
// it.
func (m *Manager) RequestOnDemand(p Provider, name string, timeout time.Duration, answer func(Outcome)) *OnDemandRequest {
	return m.demands.join(p, name, timeout, answer)
}

// RemoveProvider ends all lookups at p, as if it had nothing, and removes the
// clusters it gave. p should not be asked again. It waits for loops as Apply does,
// and must not be called from a callback.
func (m *Manager) RemoveProvider(p Provider) { m.demands.remove(p) }

// demands are the lookups at providers.
//
//	join, changed -> waits for a turn -> under way -> answered
//	                 everyone left    -> gone         (its result is dropped)
type demands struct {
	m    *Manager
	done sync.WaitGroup

	mu      sync.Mutex // below; held for moments only, as loops take it
	byKey   map[demandKey]*demand
	waiting list.List // *demand, for a turn
	running int
	watches map[Provider]*watch
	closed  bool
}

type demandKey struct {
	from Provider
	name string
}

// demand is a lookup; demands.mu guards what changes.
type demand struct {
	demandKey
	ctx    context.Context
	cancel context.CancelFunc
	turn   *list.Element // nil once under way
	asked  map[*OnDemandRequest]struct{}
	// refresh says that the provider wants it; it goes on though nobody waits.
	refresh bool
	// again says that the provider has changed since it was asked.
	again bool
}

// watch is a provider's, begun before the first lookup there.
type watch struct {
	begin sync.Once
	stop  func()
}

// foundCluster is one that a provider gave.
type foundCluster struct {
	from Provider
	conf *conf.Cluster
}

func newDemands(m *Manager) *demands {
	return &demands{m: m, byKey: make(map[demandKey]*demand), watches: make(map[Provider]*watch)}
}

func (ds *demands) join(p Provider, name string, timeout time.Duration, answer func(Outcome)) *OnDemandRequest {
	r := &OnDemandRequest{demands: ds, answer: answer}
	ds.mu.Lock()
	defer ds.mu.Unlock()
	if ds.closed {
		return r
	}
	r.demand = ds.open(demandKey{p, name})
	r.demand.asked[r] = struct{}{}
	r.timer = time.AfterFunc(timeout, func() {
		if ds.leave(r) {
			answer(OnDemandTimeout)
		}
	})
	return r
}

// leave takes r out and reports whether it was still waiting.
func (ds *demands) leave(r *OnDemandRequest) bool {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	d := r.demand
	if d == nil {
		return false
	}
	if _, ok := d.asked[r]; !ok {
		return false
	}
	delete(d.asked, r)
	r.timer.Stop()
	if len(d.asked) == 0 && !d.refresh {
		d.cancel()
		delete(ds.byKey, d.demandKey)
		if d.turn != nil {
			ds.waiting.Remove(d.turn)
		}
	}
	return true
}

// changed is called by a provider.
func (ds *demands) changed(k demandKey) {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	if ds.closed || ds.watches[k.from] == nil {
		return
	}
	d := ds.open(k)
	d.refresh = true
	d.again = d.turn == nil
}

// open returns the demand for k, which it begins, or queues, when there is none.
func (ds *demands) open(k demandKey) *demand {
	if d := ds.byKey[k]; d != nil {
		return d
	}
	d := &demand{demandKey: k, asked: make(map[*OnDemandRequest]struct{})}
	d.ctx, d.cancel = context.WithCancel(ds.m.ctx)
	ds.byKey[k] = d
	if ds.running == maxDemands {
		d.turn = ds.waiting.PushBack(d)
		return d
	}
	ds.running++
	ds.done.Go(func() {
		for d := d; d != nil; d = ds.next() {
			ds.serve(d)
		}
	})
	return d
}

// next returns whose turn it is; nil ends the goroutine.
func (ds *demands) next() *demand {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	first := ds.waiting.Front()
	if first == nil {
		ds.running--
		return nil
	}
	d := ds.waiting.Remove(first).(*demand)
	d.turn = nil
	return d
}

// serve looks up until the provider has not changed meanwhile, and answers.
func (ds *demands) serve(d *demand) {
	defer d.cancel()
	ds.watch(d)
	for {
		ds.mu.Lock()
		d.again = false
		ds.mu.Unlock()
		outcome := ds.m.demandOnce(d)
		ds.mu.Lock()
		if d.again && d.ctx.Err() == nil {
			ds.mu.Unlock()
			continue
		}
		if ds.byKey[d.demandKey] == d {
			delete(ds.byKey, d.demandKey)
		}
		asked := d.asked
		d.asked = nil
		if ds.closed {
			asked = nil
		}
		ds.mu.Unlock()
		for r := range asked {
			r.timer.Stop()
			r.answer(outcome)
		}
		return
	}
}

// watch begins to hear of the changes of d's provider, before that is asked for the
// first time: no change falls between.
func (ds *demands) watch(d *demand) {
	ds.mu.Lock()
	if d.ctx.Err() != nil {
		ds.mu.Unlock()
		return // remove and close have seen all watches there are
	}
	p := d.from
	w := ds.watches[p]
	if w == nil {
		w = new(watch)
		ds.watches[p] = w
	}
	ds.mu.Unlock()
	w.begin.Do(func() { w.stop = p.Watch(func(name string) { ds.changed(demandKey{p, name}) }) })
}

// remove forgets p.
func (ds *demands) remove(p Provider) {
	ds.mu.Lock()
	w := ds.watches[p]
	delete(ds.watches, p)
	for k, d := range ds.byKey {
		if k.from == p {
			d.cancel() // whoever waits hears of it when the lookup has ended
		}
	}
	ds.mu.Unlock()
	w.end()
	ds.m.dropFound(func(f foundCluster) bool { return f.from == p })
}

func (w *watch) end() {
	if w == nil {
		return
	}
	w.begin.Do(func() {}) // waits for a beginning; none comes after it
	if w.stop != nil {
		w.stop()
	}
}

// close ends all lookups and waits for them.
func (ds *demands) close() {
	ds.mu.Lock()
	ds.closed = true
	for _, d := range ds.byKey {
		d.cancel()
		for r := range d.asked {
			r.timer.Stop()
		}
		clear(d.asked)
	}
	ds.waiting.Init()
	watches := ds.watches
	ds.watches = nil
	ds.mu.Unlock()
	ds.done.Wait()
	for _, w := range watches {
		w.end()
	}
}

// demandOnce asks the provider and brings the clusters in line with what it says.
func (m *Manager) demandOnce(d *demand) Outcome {
	ctx := d.ctx
	if ctx.Err() != nil {
		return OnDemandMissing
	}
	if m.demands.isRefresh(d) {
		limited, cancel := context.WithTimeout(ctx, refreshWait)
		defer cancel()
		ctx = limited
	}
	c, err := d.from.Lookup(ctx, d.name)
	if err == nil && c != nil {
		err = validateFound(c, d.name)
	}
	switch {
	case d.ctx.Err() != nil:
		return OnDemandMissing
	case err != nil:
		m.o.Logger.Debug("on-demand cluster not usable", "cluster", d.name, "error", err)
	case c == nil:
		m.dropFound(func(f foundCluster) bool { return f.from == d.from && f.conf.Name == d.name })
	default:
		m.keepFound(d, c)
	}
	return m.awaitServing(d)
}

func (ds *demands) isRefresh(d *demand) bool {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	return d.refresh
}

// wanted says whether a cluster that d found should be added.
func (ds *demands) wanted(d *demand) bool {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	return d.ctx.Err() == nil && len(d.asked) > 0
}

func validateFound(c *conf.Cluster, name string) error {
	if c.Name != name {
		return fmt.Errorf("name: is %q, and not %q as was asked for", c.Name, name)
	}
	return Validate([]*conf.Cluster{c})
}

// keepFound adds or updates a found cluster. Of two providers the first to give a
// name keeps it.
func (m *Manager) keepFound(d *demand, c *conf.Cluster) {
	m.applying.Lock()
	defer m.applying.Unlock()
	if err := m.open([]*conf.Cluster{c}); err != nil {
		m.o.Logger.Error("a cluster found on demand cannot be used", "cluster", d.name, "error", err)
		return
	}
	defer m.dropOpened()
	m.mu.Lock()
	was, ok := m.found[d.name]
	if ok && was.from != d.from || !ok && !m.demands.wanted(d) || d.ctx.Err() != nil {
		m.mu.Unlock()
		return
	}
	m.found[d.name] = foundCluster{d.from, c}
	m.mu.Unlock()
	m.settle()
}

func (m *Manager) dropFound(which func(foundCluster) bool) {
	m.applying.Lock()
	defer m.applying.Unlock()
	m.mu.Lock()
	dropped := false
	for name, f := range m.found {
		if which(f) {
			delete(m.found, name)
			dropped = true
		}
	}
	m.mu.Unlock()
	if dropped {
		m.settle()
	}
}

// awaitServing waits until a cluster of the name serves with its first hosts.
func (m *Manager) awaitServing(d *demand) Outcome {
	for {
		m.mu.Lock()
		active, next := m.active[d.name], m.warming[d.name]
		m.mu.Unlock()
		var warm, ended <-chan struct{}
		switch {
		case active != nil && active.discovery == nil:
			return OnDemandFound
		case active != nil:
			warm, ended = active.discovery.warm, active.discovery.ended
		case next != nil:
			warm, ended = next.settled, next.discovery.ended
		default:
			return OnDemandMissing
		}
		select {
		case <-d.ctx.Done():
			return OnDemandMissing
		case <-ended: // replaced or removed
		case <-warm:
			if active != nil {
				return OnDemandFound
			}
		}
	}
}
