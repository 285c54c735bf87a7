package cluster

import (
	"sync"
	"sync/atomic"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/stats"
)

// Cluster is one upstream cluster. It stays the same object until its
// configuration changes. All loops use it at the same time.
type Cluster struct {
	Conf  *conf.Cluster
	Stats *stats.ClusterStats
	Codes *stats.CodeStats
	// Breakers are the circuit breakers by priority: conf.PriorityDefault, PriorityHigh.
	// Connections are counted through Host.Breaker.
	Breakers [2]*Breaker

	subsetStats   *stats.SubsetStats   // nil without subsets
	ringHashStats *stats.RingHashStats // nil unless RING_HASH
	maglevStats   *stats.MaglevStats   // nil unless MAGLEV

	hosts atomic.Pointer[HostSet] // never nil

	transports *transports // nil: plain

	mu      sync.Mutex // the rest: the control plane's
	targets [][]*Host  // present hosts by endpoint
	free    []int      // indexes of hosts that left
	indexes int        // indexes ever given
	// published says that loops can see the cluster: then its gauges are its own.
	published bool
	discovery *discovery // nil for STATIC
	// settled is closed when the cluster serves, or never will.
	settled chan struct{}
}

// Hosts returns the present hosts. One atomic load.
func (c *Cluster) Hosts() *HostSet { return c.hosts.Load() }

func newCluster(c *conf.Cluster, r *stats.Registry, t *transports) *Cluster {
	name := statName(c)
	k := &Cluster{
		Conf: c, Stats: stats.NewClusterStats(r, name), Codes: stats.NewCodeStats(r, statPrefix(name)),
		targets: make([][]*Host, len(c.Endpoints)), settled: make(chan struct{}), transports: t,
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
		k.Breakers[i] = NewBreaker(c.Breakers[i])
	}
	for i, e := range c.Endpoints {
		if e.Address.IP.IsValid() || e.Address.Pipe != "" {
			h := newHost(e, e.Address.IP)
			h.begins(t.of(e))
			k.admit(h)
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

// show registers the breakers' gauges and fills in the membership's: from here on
// the cluster is the one its name means.
func (c *Cluster) show(r *stats.Registry) {
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
	c.Stats.MembershipExcluded.Set(0)
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
