package cluster

import (
	"bytes"
	"context"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/runtime"
	"github.com/sluiceproxy/sluice/proxy/secure"
	"github.com/sluiceproxy/sluice/proxy/stats"
)

// maxLookups is how many names are resolved at a time.
const maxLookups = 64

// Options of a Manager. The callbacks come from goroutines of the control plane,
// one call at a time for each cluster; they may wait for loops but must not call
// Apply or Close.
type Options struct {
	Stats  *stats.Registry // required
	Logger *slog.Logger    // nil: slog.Default
	// HostsGone hears of hosts that left a cluster, so that the loops' pools for
	// them drain. May be nil.
	HostsGone func(c *Cluster, gone []*Host)
	// HostsFailed hears of hosts that active health checks found unhealthy, so that their connections go. May
	// be nil.
	HostsFailed func(c *Cluster, failed []*Host)
	// HostsChanged hears that the hosts of a cluster are others now. May be nil.
	HostsChanged func(c *Cluster)
	// Tallies gives what each loop counted of each host of c, for outlier detection. It may wait for loops.
	// nil: nothing.
	Tallies func(c *Cluster, add func(h *Host, l *HostLoad))
	// ClustersGone hears of clusters that were removed or replaced, after loops can
	// no longer look them up. May be nil.
	ClustersGone func(gone []*Cluster)
	// Secure makes the TLS contexts of clusters that have one; nil: they are refused.
	Secure *secure.Manager
	// Runtime has the values of runtime keys; nil: defaults.
	Runtime *runtime.Loader

	resolver resolver // tests
}

// Manager makes clusters from their configuration, keeps their hosts up to date,
// and publishes them. Its methods may be called from any goroutine but a loop.
//
// A cluster that resolves names warms first: it serves once every name was tried
// (with wait_for_warm_on_init), and until then the one it replaces does.
//
//	          Apply: new, changed           every name tried
//	(conf) ------------------------> warming ----------------> active (in the Set)
//	          no names, or no wait --------------------------> active
type Manager struct {
	o      Options
	stats  *stats.ClusterManagerStats
	set    atomic.Pointer[Set]
	turns  chan struct{}
	checks chan struct{} // health checks under way

	ctx     context.Context
	stop    context.CancelFunc
	waiters sync.WaitGroup

	demands *demands
	caches  caches

	// local is the cluster this process is one of; nil: none.
	local atomic.Pointer[Cluster]

	applying sync.Mutex // one Apply or Close at a time, with its callbacks

	mu         sync.Mutex // below
	configured []*conf.Cluster
	// opened are contexts for clusters that settle is about to make; guarded by applying.
	opened     map[*conf.Cluster]*transports
	found      map[string]foundCluster // on demand; a configured one of the same name goes first
	active     map[string]*Cluster
	warming    map[string]*Cluster
	ready      chan struct{} // closed when nothing that was waited for warms
	localName  string
	localPlace place
	unused     map[string]bool // stat names of removed clusters that are still shown
}

// NewManager returns a manager with no cluster.
func NewManager(o Options) *Manager {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.HostsGone == nil {
		o.HostsGone = func(*Cluster, []*Host) {}
	}
	if o.ClustersGone == nil {
		o.ClustersGone = func([]*Cluster) {}
	}
	m := &Manager{
		o: o, stats: stats.NewClusterManagerStats(o.Stats), turns: make(chan struct{}, maxLookups), checks: make(chan struct{}, maxChecks),
		active: make(map[string]*Cluster), warming: make(map[string]*Cluster),
		ready: make(chan struct{}), unused: make(map[string]bool), opened: make(map[*conf.Cluster]*transports), found: make(map[string]foundCluster),
	}
	m.demands = newDemands(m)
	m.ctx, m.stop = context.WithCancel(context.Background())
	m.set.Store(newSet(nil))
	return m
}

// Set returns the clusters that serve now. One atomic load; any goroutine.
func (m *Manager) Set() *Set { return m.set.Load() }

// Runtime returns where the manager's runtime keys come from; nil: they have their defaults.
func (m *Manager) Runtime() *runtime.Loader { return m.o.Runtime }

// Ready returns a channel that is closed once no cluster warms: the moment to
// open listeners after the first Apply. Each Apply that finds it closed and has
// something to warm makes a new one.
func (m *Manager) Ready() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.ready
}

// Warming returns the names of the clusters that warm, sorted.
func (m *Manager) Warming() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Keys(m.warming))
}

// Apply makes clusters the configuration, all or nothing: with an error nothing
// has changed. A cluster whose configuration is the same (conf.Cluster.Raw, or
// every field when there is no Raw) stays the same object, with its hosts,
// connections and counts.
func (m *Manager) Apply(clusters []*conf.Cluster) error {
	if err := Validate(clusters); err != nil {
		return err
	}
	m.applying.Lock()
	defer m.applying.Unlock()
	if err := m.open(clusters); err != nil {
		return err
	}
	m.mu.Lock()
	m.configured = slices.Clone(clusters)
	m.mu.Unlock()
	m.settle()
	m.dropOpened()
	return nil
}

// settle makes what serves what is configured and found. The caller holds applying.
func (m *Manager) settle() {
	m.mu.Lock()
	gone, ended := m.change(m.wanted())
	m.publish()
	m.mu.Unlock()

	endAll(gone)
	endAll(ended)
	if len(gone) > 0 {
		m.o.ClustersGone(gone)
	}
	m.releaseStats()
}

// wanted returns the configured clusters, then the others that were found.
func (m *Manager) wanted() []*conf.Cluster {
	if len(m.found) == 0 {
		return m.configured
	}
	all, names := slices.Clone(m.configured), make(map[string]bool, len(m.configured))
	for _, c := range m.configured {
		names[c.Name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(m.found)) {
		if !names[name] {
			all = append(all, m.found[name].conf)
		}
	}
	return all
}

// Close stops resolving and looking up. Set goes on returning the last clusters.
func (m *Manager) Close() {
	m.demands.close()
	m.applying.Lock()
	defer m.applying.Unlock()
	m.stop()
	m.waiters.Wait()
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range m.active {
		c.end()
	}
	for _, c := range m.warming {
		c.end()
	}
}

// change brings active and warming in line with clusters. It returns the
// clusters that served and do not any more, and those that had not served yet.
func (m *Manager) change(clusters []*conf.Cluster) (gone, ended []*Cluster) {
	wanted := make(map[string]bool, len(clusters))
	for _, c := range clusters {
		wanted[c.Name] = true
		served, next := m.active[c.Name], m.warming[c.Name]
		switch {
		case next != nil && same(next.Conf, c):
			continue
		case served != nil && same(served.Conf, c):
			if next != nil { // changed back before the change was warm
				ended = append(ended, m.dropWarming(next))
				m.stats.ClusterModified.Inc()
			}
			continue
		case served == nil && next == nil:
			m.stats.ClusterAdded.Inc()
		default:
			m.stats.ClusterModified.Inc()
		}
		if next != nil {
			ended = append(ended, m.dropWarming(next))
		}
		if replaced := m.add(c); replaced != nil {
			gone = append(gone, replaced)
		}
	}
	for name, c := range m.active {
		if !wanted[name] {
			gone = append(gone, c)
			delete(m.active, name)
			m.stats.ClusterRemoved.Inc()
			m.unused[statName(c.Conf)] = true
		}
	}
	for name, c := range m.warming {
		if !wanted[name] {
			ended = append(ended, m.dropWarming(c))
			if !containsName(gone, name) {
				m.stats.ClusterRemoved.Inc()
			}
			m.unused[statName(c.Conf)] = true
		}
	}
	return gone, ended
}

func (m *Manager) dropWarming(c *Cluster) *Cluster {
	delete(m.warming, c.Conf.Name)
	close(c.settled)
	c.Stats.WarmingState.Set(0)
	return c
}

// add makes a cluster active, or lets it warm. It returns the one it replaces at once.
func (m *Manager) add(conf *conf.Cluster) (replaced *Cluster) {
	t := m.opened[conf]
	delete(m.opened, conf)
	if t == nil && needsTransports(conf) { // found on demand before, and wanted again
		var err error
		if t, err = openTransports(m.o.Secure, conf); err != nil {
			m.o.Logger.Error("a cluster found on demand cannot be used any more", "cluster", conf.Name, "error", err)
			without := *conf
			without.Endpoints = nil // rather no host than one without TLS
			conf = &without
		}
	}
	c := makeCluster(conf, m.surroundings(t))
	c.gone = m.hostsChanged
	if c.monitor != nil {
		c.monitor.start()
	}
	if c.originals != nil {
		go c.originals.keep()
	}
	if c.dynamics != nil {
		go c.dynamics.run(nil, nil)
		c.released = m.releaseCache
	}
	m.startDiscovery(c)
	if (c.discovery != nil || conf.HealthCheck != nil) && conf.WaitForWarm {
		m.warming[conf.Name] = c
		c.Stats.WarmingState.Set(1)
		m.waiters.Go(func() { m.awaitWarm(c) })
		return nil
	}
	replaced = m.active[conf.Name]
	m.activate(c)
	return replaced
}

func (m *Manager) surroundings(t *transports) surroundings {
	return surroundings{stats: m.o.Stats, runtime: m.o.Runtime, manager: m.stats, transports: t, zone: m.zone, cache: m.acquireCache, monitor: m.monitorOf}
}

func (m *Manager) monitorOf(c *Cluster) *monitor {
	o, err := m.newMonitor(c)
	if err != nil { // Validate refuses what is wrong
		m.o.Logger.Error("health is not watched", "cluster", c.Conf.Name, "error", err)
	}
	return o
}

// healthChanged hears that hosts of c became usable, or are not any more.
func (m *Manager) healthChanged(c *Cluster) {
	if c == m.local.Load() {
		m.localChanged()
	}
}

func (m *Manager) startDiscovery(c *Cluster) {
	if len(names(c.Conf)) == 0 {
		return
	}
	r := m.o.resolver
	if r == nil {
		r = newResolver(&c.Conf.DNSOptions)
	}
	c.discovery = &discovery{cluster: c, resolver: r, turns: m.turns, log: m.o.Logger, changed: m.hostsChanged}
	c.discovery.start(m.ctx)
}

func (m *Manager) hostsChanged(c *Cluster, gone []*Host) {
	m.stats.ClusterUpdated.Inc()
	if c == m.local.Load() {
		m.localChanged()
	}
	if m.o.HostsChanged != nil {
		m.o.HostsChanged(c)
	}
	if len(gone) > 0 {
		m.o.HostsGone(c, gone)
	}
}

// awaitWarm makes c active when it is warm, unless it was dropped before.
func (m *Manager) awaitWarm(c *Cluster) {
	if d := c.discovery; d != nil {
		select {
		case <-m.ctx.Done():
			return
		case <-d.ended:
			return
		case <-d.warm:
		}
	}
	if o := c.monitor; o != nil && o.checker != nil {
		select {
		case <-m.ctx.Done():
			return
		case <-o.stopping:
			return
		case <-o.awaitRound():
		}
	}
	m.mu.Lock()
	name := c.Conf.Name
	if m.warming[name] != c {
		m.mu.Unlock()
		return
	}
	delete(m.warming, name)
	replaced := m.active[name]
	m.activate(c)
	m.publish()
	m.mu.Unlock()
	if replaced != nil {
		replaced.end()
		m.o.ClustersGone([]*Cluster{replaced})
	}
}

func (m *Manager) activate(c *Cluster) {
	if old := m.active[c.Conf.Name]; old != nil && statName(old.Conf) != statName(c.Conf) {
		m.unused[statName(old.Conf)] = true
	}
	m.active[c.Conf.Name] = c
	close(c.settled)
	c.publish(m.o.Stats)
}

// publish shows the active clusters to the loops and tells who waits for warmth.
func (m *Manager) publish() {
	m.set.Store(newSet(m.active))
	if local := m.active[m.localName]; m.localName != "" && local != m.local.Load() {
		m.local.Store(local)
		m.localChanged()
	}
	m.stats.ActiveClusters.Set(int64(len(m.active)))
	m.stats.WarmingClusters.Set(int64(len(m.warming)))
	isReady := false
	select {
	case <-m.ready:
		isReady = true
	default:
	}
	switch {
	case isReady && len(m.warming) > 0:
		m.ready = make(chan struct{})
	case !isReady && len(m.warming) == 0:
		close(m.ready)
	}
}

// releaseStats takes the series of removed clusters out of the output. A prefix
// that is also the beginning of a present cluster's ("a." of "a.b.") waits until
// that one is gone.
func (m *Manager) releaseStats() {
	m.mu.Lock()
	var present, release []string
	for _, set := range []map[string]*Cluster{m.active, m.warming} {
		for _, c := range set {
			present = append(present, statPrefix(statName(c.Conf)))
		}
	}
	for name := range m.unused {
		prefix, used := statPrefix(name), false
		for _, p := range present {
			if p == prefix {
				delete(m.unused, name) // it came back
			}
			used = used || strings.HasPrefix(p, prefix)
		}
		if !used {
			delete(m.unused, name)
			release = append(release, prefix)
		}
	}
	m.mu.Unlock()
	for _, prefix := range release {
		m.o.Stats.ReleasePrefix(prefix)
	}
}

// end stops what c does in the background.
func (c *Cluster) end() {
	c.transports.release()
	c.mu.Lock()
	c.merging.drop()
	c.mu.Unlock()
	if c.discovery != nil {
		c.discovery.stop()
	}
	if c.monitor != nil {
		c.monitor.stop()
	}
	if c.originals != nil {
		c.originals.stop()
	}
	if c.dynamics != nil {
		c.dynamics.stop()
		c.dynamics.forget()
		c.released(c.dynamics.cache)
	}
	if s := c.hosts.Load().subsets; s != nil {
		c.subsetStats.LbSubsetsRemoved.Add(uint64(len(s.all)))
	}
}

func endAll(clusters []*Cluster) {
	for _, c := range clusters {
		c.end()
	}
}

func containsName(clusters []*Cluster, name string) bool {
	for _, c := range clusters {
		if c.Conf.Name == name {
			return true
		}
	}
	return false
}

// same reports whether two configurations of a cluster mean the same.
func same(a, b *conf.Cluster) bool {
	if a == b {
		return true
	}
	if len(a.Raw) > 0 && len(b.Raw) > 0 {
		return bytes.Equal(a.Raw, b.Raw)
	}
	return reflect.DeepEqual(a, b)
}
