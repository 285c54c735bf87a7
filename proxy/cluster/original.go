package cluster

import (
	"net/netip"
	"time"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

const (
	// maxOriginals is how many hosts an ORIGINAL_DST cluster has at most; whoever wants another gets none.
	maxOriginals = 16384
	// maxTexts is how many addresses given as text a loop remembers.
	maxTexts = 4096
)

// originals are the hosts of an ORIGINAL_DST cluster (clusters.md 2), which go when nobody has gone there
// for a whole cleanup_interval.
type originals struct {
	arrivals
	hosts map[netip.AddrPort]*Host
}

func newOriginals(c *Cluster) *originals {
	return &originals{arrivals: newArrivals(c), hosts: make(map[netip.AddrPort]*Host)}
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
	h := o.arrive(&conf.Endpoint{Address: conf.Address{IP: at}, Weight: 1})
	o.hosts[at] = h
	return h
}

// keep shows new hosts and lets go of those nobody uses.
func (o *originals) keep() {
	sweep := time.NewTicker(max(time.Millisecond, o.c.Conf.OriginalDst.CleanupInterval))
	defer sweep.Stop()
	o.run(sweep.C, o.sweep)
}

// sweep takes out the hosts that nobody has gone to since the last time.
func (o *originals) sweep() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for at, h := range o.hosts {
		if !h.wanted.Swap(false) {
			delete(o.hosts, at)
			o.leave(h)
		}
	}
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

// Forget drops what the balancer knows of a host that left a cluster whose hosts come when they are wanted.
func (b *Balancer) Forget(h *Host) {
	switch {
	case b.originals != nil:
		if b.originals[h.Addr] == h {
			delete(b.originals, h.Addr)
		}
	case b.named != nil:
		if b.named[h.Hostname] == h {
			delete(b.named, h.Hostname)
		}
	default:
		return
	}
	if h.Index < len(b.owners) && b.owners[h.Index] == h {
		b.loads[h.Index], b.owners[h.Index] = nil, nil
	}
}
