package cluster

import (
	"sync"
	"time"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// gather is how long new hosts wait for others before they are shown.
const gather = 20 * time.Millisecond

// arrivals are the hosts of a cluster that are made by the loops, when somebody wants to go there. A loop
// uses such a host at once; the set of hosts, which is for those who look from outside, follows. Which hosts
// there are to be, and for how long, is for ORIGINAL_DST clusters (originals) and dynamic forward proxies
// (dynamics) to say.
type arrivals struct {
	c     *Cluster
	moved chan struct{} // room for one: there are hosts that no set has, or that left
	end   chan struct{}
	ended chan struct{}

	mu      sync.Mutex
	present map[*Host]struct{}
	left    []*Host
	free    []int
	indexes int
}

func newArrivals(c *Cluster) arrivals {
	return arrivals{
		c: c, present: make(map[*Host]struct{}),
		moved: make(chan struct{}, 1), end: make(chan struct{}), ended: make(chan struct{}),
	}
}

// arrive makes the host of an endpoint whose address is known. The caller holds mu.
func (a *arrivals) arrive(e *conf.Endpoint) *Host {
	h := newHost(e, e.Address.IP)
	h.begins(a.c.transports.of(e))
	a.c.prepare(h, e)
	h.breakers = a.c.hostBreakers()
	if n := len(a.free); n > 0 {
		h.Index, a.free = a.free[n-1], a.free[:n-1]
	} else {
		h.Index = a.indexes
		a.indexes++
	}
	a.present[h] = struct{}{}
	a.change()
	return h
}

// leave takes a host out. The caller holds mu.
func (a *arrivals) leave(h *Host) {
	delete(a.present, h)
	a.left = append(a.left, h)
	a.change()
}

func (a *arrivals) change() {
	select {
	case a.moved <- struct{}{}:
	default:
	}
}

// run shows hosts that came and lets go of those that left. At each tick, which may be nil, it calls look.
func (a *arrivals) run(tick <-chan time.Time, look func()) {
	defer close(a.ended)
	for {
		select {
		case <-a.end:
			return
		case <-tick:
			look()
			continue
		case <-a.moved:
		}
		select {
		case <-a.end:
			return
		case <-time.After(gather):
		}
		a.show()
	}
}

func (a *arrivals) stop() {
	close(a.end)
	<-a.ended
}

// show makes a set of the hosts there are.
func (a *arrivals) show() {
	select {
	case <-a.moved:
	default:
	}
	a.mu.Lock()
	hosts, left := make([]*Host, 0, len(a.present)), a.left
	a.left = nil
	for h := range a.present {
		hosts = append(hosts, h)
	}
	a.mu.Unlock()
	c := a.c
	c.mu.Lock()
	c.targets = [][]*Host{hosts}
	c.Stats.MembershipChange.Inc()
	c.show(false)
	c.mu.Unlock()
	if len(left) == 0 {
		return
	}
	c.gone(c, left)
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, h := range left { // no loop has them any more
		a.free = append(a.free, h.Index)
	}
}
