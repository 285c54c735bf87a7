package cluster

import (
	"sync"
	"sync/atomic"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/retry"
	"github.com/sluiceproxy/sluice/proxy/runtime"
	"github.com/sluiceproxy/sluice/proxy/stats"
)

// Cluster is one upstream cluster. It stays the same object until its
// configuration changes. All loops use it at the same time.
type Cluster struct {
	Conf  *conf.Cluster
	Stats *stats.ClusterStats
	Codes *stats.CodeStats
	// Budgets and Sizes are what track_cluster_stats asks for (ROUTER-84); nil: not asked for.
	Budgets *stats.TimeoutBudgetStats
	Sizes   *stats.RequestResponseSizeStats
	// Retry is the retry policy of requests whose route has none (RT-78); nil: none.
	Retry *retry.Policy
	// Drops decides which requests are dropped (drop_overloads); nil: none.
	Drops *Drops
	// Breakers are the circuit breakers by priority: conf.PriorityDefault, PriorityHigh.
	// Connections are counted through Host.Breaker.
	Breakers [2]*Breaker

	subsetStats   *stats.SubsetStats   // nil without subsets
	ringHashStats *stats.RingHashStats // nil unless RING_HASH
	maglevStats   *stats.MaglevStats   // nil unless MAGLEV
	zoneStats     *stats.ZoneStats     // nil unless zone aware

	knobs knobs
	slow  *slowStart // nil: off

	hosts atomic.Pointer[HostSet] // never nil

	transports *transports // nil: plain

	mu      sync.Mutex // the rest: the control plane's
	targets [][]*Host  // present hosts by endpoint
	free    []int      // indexes of hosts that left
	indexes int        // indexes ever given
	// published says that loops can see the cluster: then its gauges are its own.
	published     bool
	discovery     *discovery // nil for STATIC
	originals     *originals // nil unless ORIGINAL_DST
	originalStats *stats.OriginalDstStats
	dynamics      *dynamics                       // nil unless a dynamic forward proxy
	monitor       *monitor                        // nil without health checks and outlier detection; does not change
	gone          func(c *Cluster, hosts []*Host) // hears of hosts that left by themselves
	released      func(d *DNSCache)               // gives the DNS cache of a dynamic forward proxy back
	used          atomic.Bool
	merging       updateMerge
	zoneOf        func() *zoneView // what zone aware routing knows now; nil: off
	// settled is closed when the cluster serves, or never will.
	settled chan struct{}
}

// Use notes that the cluster has had a connection, which health checks mind (no_traffic_interval).
func (c *Cluster) Use() {
	if !c.used.Load() {
		c.used.Store(true)
	}
}

// Hosts returns the present hosts. One atomic load.
func (c *Cluster) Hosts() *HostSet { return c.hosts.Load() }

// surroundings are what a cluster gets from its manager.
type surroundings struct {
	stats   *stats.Registry
	runtime *runtime.Loader
	manager *stats.ClusterManagerStats
	// zone returns what a zone aware cluster knows of the local one; nil: there is none.
	zone       func(c *Cluster) *zoneView
	transports *transports
	// cache returns the DNS cache of a dynamic forward proxy.
	cache func(c *conf.DNSCache) *DNSCache
	// monitor returns what watches the cluster's health; nil: nothing.
	monitor func(c *Cluster) *monitor
}

func makeCluster(c *conf.Cluster, s surroundings) *Cluster {
	name, r, t := statName(c), s.stats, s.transports
	k := &Cluster{
		Conf: c, Stats: stats.NewClusterStats(r, name), Codes: stats.NewCodeStats(r, statPrefix(name)),
		targets: make([][]*Host, len(c.Endpoints)), settled: make(chan struct{}), transports: t,
		knobs: newKnobs(s.runtime, c),
	}
	k.merging.stats = s.manager
	if c.TrackTimeoutBudgets {
		k.Budgets = stats.NewTimeoutBudgetStats(r, name)
	}
	if c.TrackRequestResponseSizes {
		k.Sizes = stats.NewRequestResponseSizeStats(r, name)
	}
	if c.Retry != nil {
		k.Retry, _ = retry.Compile(c.Retry) // Validate has asked
	}
	if c.DropOverload.Numerator > 0 {
		k.Drops = &Drops{Stats: stats.NewDropOverloadStats(r, name), share: c.DropOverload, limit: s.runtime.Uint("load_balancing_policy.drop_overload_limit", 100)}
	}
	if c.SlowStart != nil {
		k.slow = &slowStart{window: int64(c.SlowStart.Window), min: c.SlowStart.MinPercent / 100, aggression: k.knobs.aggression}
	}
	if c.ZoneAware != nil {
		k.zoneStats = stats.NewZoneStats(r, name)
		if s.zone != nil {
			k.zoneOf = func() *zoneView { return s.zone(k) }
		}
	}
	if hasSubsets(c) {
		k.subsetStats = stats.NewSubsetStats(r, name)
	}
	switch c.LB {
	case conf.RingHash:
		k.ringHashStats = stats.NewRingHashStats(r, name)
	case conf.Maglev:
		k.maglevStats = stats.NewMaglevStats(r, name)
	}
	for i := range k.Breakers {
		k.Breakers[i] = newBreaker(c.Breakers[i], s.runtime, "circuit_breakers."+c.Name+"."+[...]string{"default.", "high."}[i])
	}
	if c.OriginalDst != nil {
		k.originals, k.originalStats = newOriginals(k), stats.NewOriginalDstStats(r, name)
	}
	if c.DNSCache != nil {
		k.dynamics = &dynamics{arrivals: newArrivals(k), cache: s.cache(c.DNSCache)}
	}
	if s.monitor != nil {
		k.monitor = s.monitor(k)
	}
	for i, e := range c.Endpoints {
		if e.Address.IP.IsValid() || e.Address.Local() != "" {
			h := newHost(e, e.Address.IP)
			h.begins(t.of(e))
			k.admit(h, e)
			k.targets[i] = []*Host{h}
		}
	}
	k.rebuild()
	if len(k.hosts.Load().Hosts) > 0 {
		k.Stats.MembershipChange.Inc()
	}
	return k
}

func statName(c *conf.Cluster) string {
	if c.StatName != "" {
		return c.StatName
	}
	return c.Name
}

// statPrefix is what the names of a cluster's series begin with.
func statPrefix(name string) string { return "cluster." + stats.Clean(name) + "." }

// publish registers the breakers' gauges and fills in the membership's: from here on
// the cluster is the one its name means.
func (c *Cluster) publish(r *stats.Registry) {
	prefix := statPrefix(statName(c.Conf)) + "circuit_breakers."
	c.Breakers[conf.PriorityDefault].register(r, prefix+"default.", c.Conf.Breakers[conf.PriorityDefault].TrackRemaining)
	c.Breakers[conf.PriorityHigh].register(r, prefix+"high.", c.Conf.Breakers[conf.PriorityHigh].TrackRemaining)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.published = true
	c.gauges()
}

func (c *Cluster) gauges() {
	if !c.published {
		return
	}
	set, heaviest := c.hosts.Load(), uint32(0)
	for _, h := range set.Hosts {
		heaviest = max(heaviest, h.Weight)
	}
	c.Stats.MembershipTotal.Set(int64(len(set.Hosts)))
	c.Stats.MembershipHealthy.Set(int64(len(set.Healthy)))
	c.Stats.MembershipDegraded.Set(int64(len(set.Degraded)))
	c.Stats.MembershipExcluded.Set(int64(len(set.Excluded)))
	c.Stats.MaxHostWeight.Set(int64(heaviest))
	c.Stats.WarmingState.Set(0)
	if set.subsets != nil {
		c.subsetStats.LbSubsetsActive.Set(int64(len(set.subsets.all)))
		c.subsetStats.LbSubsetsSingleHostPerSubsetDuplicate.Set(int64(set.subsets.duplicates))
	}
	c.tableGauges(set.whole.table())
}

// tableGauges shows the table of the most preferred hosts (CL-13).
func (c *Cluster) tableGauges(t table) {
	switch c.Conf.LB {
	case conf.RingHash:
		r, s := new(ring), c.ringHashStats
		if t != nil {
			r = t.(*ring)
		}
		s.Size.Set(int64(r.size))
		s.MinHashesPerHost.Set(int64(r.least))
		s.MaxHashesPerHost.Set(int64(r.most))
	case conf.Maglev:
		m, s := new(maglev), c.maglevStats
		if t != nil {
			m = t.(*maglev)
		}
		s.MinEntriesPerHost.Set(int64(m.least))
		s.MaxEntriesPerHost.Set(int64(m.most))
	}
}

// plan returns how the hosts are balanced now.
func (c *Cluster) plan() plan {
	p := plan{conf: c.Conf, panicThreshold: min(100, c.knobs.panicThreshold.Load()), localities: c.Conf.LocalityWeighted}
	if c.zoneOf != nil {
		p.zone = c.zoneOf()
	}
	return p
}
