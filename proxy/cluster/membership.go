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
	before := c.targets[endpoint]
	after := make([]*Host, 0, len(addrs))
	for _, h := range before {
		if slices.Contains(addrs, h.Addr) {
			after = append(after, h)
		} else {
			c.free = append(c.free, h.Index)
		}
	}
	kept := len(after)
	for _, a := range addrs {
		if !slices.ContainsFunc(after, func(h *Host) bool { return h.Addr == a }) {
			h := newHost(e, a)
			h.begins(c.transports.of(e))
			c.admit(h)
			after = append(after, h)
		}
	}
	if kept == len(before) && kept == len(after) {
		return nil, false
	}
	c.targets[endpoint] = after
	old := c.hosts.Load()
	c.rebuild()
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
	c.gauges()
	return gone, true
}

// move changes the address that new connections of a LOGICAL_DNS host go to.
func (h *Host) move(a netip.AddrPort) (changed bool) {
	if h.Address() == a {
		return false
	}
	h.moved.Store(&a)
	return true
}

// admit gives h an index and breakers.
func (c *Cluster) admit(h *Host) {
	if n := len(c.free); n > 0 {
		h.Index, c.free = c.free[n-1], c.free[:n-1]
	} else {
		h.Index = c.indexes
		c.indexes++
	}
	limit := c.Conf.Breakers[conf.PriorityDefault].MaxConnectionsPerHost
	h.breakers[conf.PriorityDefault] = newHostBreaker(c.Breakers[conf.PriorityDefault], limit)
	h.breakers[conf.PriorityHigh] = newHostBreaker(c.Breakers[conf.PriorityHigh], 0)
}

// rebuild publishes the hosts of all endpoints as a new set. Of resolved hosts
// with the same address and priority only the first counts, as in Envoy.
func (c *Cluster) rebuild() {
	type place struct {
		addr     netip.AddrPort
		priority uint32
	}
	var hosts []*Host
	seen := make(map[place]bool)
	for _, target := range c.targets {
		for _, h := range target {
			at := place{h.Addr, h.Priority}
			if c.Conf.Type != conf.ClusterStatic && seen[at] {
				continue
			}
			seen[at] = true
			hosts = append(hosts, h)
		}
	}
	set := newHostSet(c.Conf, hosts, c.hosts.Load())
	if set.subsets != nil {
		c.subsetStats.LbSubsetsCreated.Add(uint64(set.subsets.created))
		c.subsetStats.LbSubsetsRemoved.Add(uint64(set.subsets.removed))
	}
	c.hosts.Store(set)
}
