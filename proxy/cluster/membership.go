package cluster

import (
	"net/netip"
	"slices"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// resolved takes the addresses of a DNS endpoint over. Hosts whose address stays
// stay the same objects, in the same order, whatever the order of the answer. It
// returns the hosts that left and whether anything changed.
func (c *Cluster) resolved(endpoint int, addrs []netip.AddrPort) (gone []*Host, changed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.Conf.Endpoints[endpoint]
	if c.Conf.Type == conf.ClusterLogicalDNS {
		addrs = addrs[:1]
		if h := c.targets[endpoint]; len(h) > 0 {
			return nil, h[0].move(addrs[0])
		}
	}
	before, left := c.targets[endpoint], []*Host(nil)
	after := make([]*Host, 0, len(addrs))
	stay := false // flags of hosts that are the same have changed
	for _, h := range before {
		switch wanted := slices.Contains(addrs, h.Addr); {
		case wanted:
			stay = h.mark(PendingRemoval, false) || stay
			after = append(after, h)
		case c.keeps(h):
			stay = h.mark(PendingRemoval, true) || stay
			after = append(after, h)
		default:
			c.free = append(c.free, h.Index)
			left = append(left, h)
		}
	}
	kept := len(after)
	var came []*Host
	for _, a := range addrs {
		if !slices.ContainsFunc(after, func(h *Host) bool { return h.Addr == a }) {
			h := newHost(e, a)
			h.begins(c.transports.of(e))
			c.admit(h, e)
			came = append(came, h)
			after = append(after, h)
		}
	}
	if kept == len(before) && kept == len(after) {
		if stay {
			c.show(true)
		}
		return nil, false
	}
	if o := c.monitor; o != nil {
		for _, h := range left {
			o.leave(h)
		}
		for _, h := range came {
			o.arrive(h)
		}
	}
	c.targets[endpoint] = after
	old := c.hosts.Load()
	c.show(false)
	present := make(map[*Host]bool)
	for _, h := range c.hosts.Load().Hosts {
		present[h] = true
	}
	for _, h := range old.Hosts {
		if !present[h] {
			gone = append(gone, h)
		}
	}
	c.Stats.MembershipChange.Inc()
	return gone, true
}

// keeps says whether a host that is not configured any more stays for now: with active health checks as
// long as they find it healthy, unless ignore_health_on_host_removal says that it goes at once.
func (c *Cluster) keeps(h *Host) bool {
	if c.monitor == nil || c.monitor.checker == nil || c.Conf.DropUnhealthyOnRemoval || h.check.Disabled {
		return false
	}
	return h.Flags()&(FailedActive|FailedConfigured|Draining) == 0
}

// move changes the address that new connections of a LOGICAL_DNS host go to.
func (h *Host) move(a netip.AddrPort) (changed bool) {
	if h.Address() == a {
		return false
	}
	h.moved.Store(&a)
	return true
}

// admit gives h an index and breakers, and the health it begins with.
func (c *Cluster) admit(h *Host, e *conf.Endpoint) {
	c.prepare(h, e)
	if n := len(c.free); n > 0 {
		h.Index, c.free = c.free[n-1], c.free[:n-1]
	} else {
		h.Index = c.indexes
		c.indexes++
	}
	h.breakers = c.hostBreakers()
}

// hostBreakers makes the breakers of a host.
func (c *Cluster) hostBreakers() (b [2]*HostBreaker) {
	limit := c.Conf.Breakers[conf.PriorityDefault].MaxConnectionsPerHost
	b[conf.PriorityDefault] = newHostBreaker(c.Breakers[conf.PriorityDefault], limit)
	b[conf.PriorityHigh] = newHostBreaker(c.Breakers[conf.PriorityHigh], 0)
	return b
}

// rebuild publishes the hosts of all endpoints as a new set. Of resolved hosts
// with the same address and priority only the first counts, as in Envoy.
func (c *Cluster) rebuild() {
	type seat struct {
		addr     netip.AddrPort
		priority uint32
	}
	var hosts []*Host
	seen := make(map[seat]bool)
	for _, target := range c.targets {
		for _, h := range target {
			at := seat{h.Addr, h.Priority}
			if c.Conf.Type != conf.ClusterStatic && c.dynamics == nil && seen[at] {
				continue
			}
			seen[at] = true
			hosts = append(hosts, h)
		}
	}
	set := newHostSet(c.plan(), hosts, c.hosts.Load())
	if set.subsets != nil {
		c.subsetStats.LbSubsetsCreated.Add(uint64(set.subsets.created))
		c.subsetStats.LbSubsetsRemoved.Add(uint64(set.subsets.removed))
	}
	c.hosts.Store(set)
}
