package cluster

import (
	"net/netip"
	"sync"
	"time"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

const (
	// maxOriginals is how many hosts an ORIGINAL_DST cluster has at most; whoever wants another gets none.
	maxOriginals = 16384
	// maxTexts is how many addresses given as text a loop remembers.
	maxTexts = 4096
	// gather is how long new hosts wait for others before they are shown.
	gather = 20 * time.Millisecond
)

// originals are the hosts of an ORIGINAL_DST cluster (clusters.md 2): made by the loops when somebody
// wants to go there, and gone when nobody has for a whole cleanup_interval. A loop uses a host at once; the
// set of hosts, which is for those who look from outside, follows.
type originals struct {
	c     *Cluster
	fresh chan struct{} // room for one: there are hosts that no set has
	end   chan struct{}
	ended chan struct{}

	mu      sync.Mutex
	hosts   map[netip.AddrPort]*Host
	free    []int
	indexes int
}

func newOriginals(c *Cluster) *originals {
	return &originals{
		c: c, hosts: make(map[netip.AddrPort]*Host),
		fresh: make(chan struct{}, 1), end: make(chan struct{}), ended: make(chan struct{}),
	}
}

// host returns the host with that address; nil when there are too many. Under a lock, from loops: once for
// each loop and address.
func (o *originals) host(at netip.AddrPort) *Host {
	o.mu.Lock()
	defer o.mu.Unlock()
	if h := o.hosts[at]; h != nil {
		return h
	}
	if len(o.hosts) >= maxOriginals {
		return nil
	}
	e := &conf.Endpoint{Address: conf.Address{IP: at}, Weight: 1}
	h := newHost(e, at)
	h.begins(o.c.transports.of(e))
	o.c.prepare(h, e)
	h.breakers = o.c.hostBreakers()
	if n := len(o.free); n > 0 {
		h.Index, o.free = o.free[n-1], o.free[:n-1]
	} else {
		h.Index = o.indexes
		o.indexes++
	}
	o.hosts[at] = h
	select {
	case o.fresh <- struct{}{}:
	default:
	}
	return h
}

// run shows new hosts and lets go of those nobody uses.
func (o *originals) run() {
	defer close(o.ended)
	sweep := time.NewTicker(max(time.Millisecond, o.c.Conf.OriginalDst.CleanupInterval))
	defer sweep.Stop()
	for {
		select {
		case <-o.end:
			return
		case <-o.fresh:
			select {
			case <-o.end:
				return
			case <-time.After(gather):
			}
			o.show()
		case <-sweep.C:
			if gone := o.unused(); len(gone) > 0 {
				o.show()
				o.c.gone(o.c, gone)
				o.release(gone)
			}
		}
	}
}

func (o *originals) stop() {
	close(o.end)
	<-o.ended
}

// unused takes out the hosts that nobody has gone to since the last time.
func (o *originals) unused() (gone []*Host) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for at, h := range o.hosts {
		if !h.wanted.Swap(false) {
			gone = append(gone, h)
			delete(o.hosts, at)
		}
	}
	return gone
}

// release lets the indexes of hosts be used again, once no loop has them.
func (o *originals) release(gone []*Host) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, h := range gone {
		o.free = append(o.free, h.Index)
	}
}

// show makes a set of the hosts there are.
func (o *originals) show() {
	o.mu.Lock()
	hosts := make([]*Host, 0, len(o.hosts))
	for _, h := range o.hosts {
		hosts = append(hosts, h)
	}
	o.mu.Unlock()
	c := o.c
	c.mu.Lock()
	defer c.mu.Unlock()
	c.targets = [][]*Host{hosts}
	c.Stats.MembershipChange.Inc()
	c.show(false)
}

// pickOriginal returns the host a request or connection says it wants. No allocation once the loop has been there.
func (b *Balancer) pickOriginal(c *Choice) *Host {
	at := netip.AddrPort{}
	switch {
	case c == nil:
	case len(c.DestinationText) > 0:
		if at = b.parse(c.DestinationText); !at.IsValid() {
			b.count(b.cluster.originalStats.OriginalDstHostInvalid)
			return nil
		}
	default:
		at = c.Destination
	}
	if !at.IsValid() {
		return nil
	}
	if port := b.cluster.Conf.OriginalDst.PortOverride; port != 0 {
		at = netip.AddrPortFrom(at.Addr(), port)
	}
	h := b.originals[at]
	if h == nil {
		if h = b.cluster.originals.host(at); h == nil {
			b.count(b.cluster.originalStats.OriginalDstHostInvalid)
			return nil
		}
		b.originals[at] = h
	}
	if !h.wanted.Load() {
		h.wanted.Store(true)
	}
	return h
}

// parse reads an address; the latest ones are remembered.
func (b *Balancer) parse(text []byte) netip.AddrPort {
	if at, ok := b.texts[string(text)]; ok {
		return at
	}
	at, err := netip.ParseAddrPort(string(text))
	if err != nil || at.Port() == 0 && b.cluster.Conf.OriginalDst.PortOverride == 0 {
		return netip.AddrPort{}
	}
	if len(b.texts) >= maxTexts {
		clear(b.texts)
	}
	b.texts[string(text)] = at
	return at
}

// Forget drops what the balancer knows of a host of an ORIGINAL_DST cluster that left.
func (b *Balancer) Forget(h *Host) {
	if b.originals == nil {
		return
	}
	if b.originals[h.Addr] == h {
		delete(b.originals, h.Addr)
	}
	if h.Index < len(b.owners) && b.owners[h.Index] == h {
		b.loads[h.Index], b.owners[h.Index] = nil, nil
	}
}
