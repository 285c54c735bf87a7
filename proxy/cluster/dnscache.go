package cluster

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/stats"
)

// DNSCache is the names that dynamic forward proxies go to, each with its address. Clusters share one by
// its name. A name is looked up when somebody asks for it (Load), again and again as long as it is used, and
// goes when it was not for host_ttl.
//
//	       Load                 address, or none
//	(none) ----> first look-up ------------------> known or failed <--> look-up again
//	  ^                                               |
//	  +--------------- not used for host_ttl ---------+
//
// A failed name is looked up again like others, and who asks for it meanwhile hears of the failure at once.
// An address stays when a later look-up fails. Any goroutine may use it; mu is held for moments only.
type DNSCache struct {
	conf     *conf.DNSCache
	stats    *stats.DNSCacheStats
	log      *slog.Logger
	resolver resolver
	turns    chan struct{}

	ctx  context.Context
	stop context.CancelFunc
	done sync.WaitGroup

	users int // guarded by caches.mu

	mu      sync.Mutex // below
	names   map[string]*dnsName
	waiting int // requests
	closed  bool
}

// dnsName is one name of a cache; its mu guards what changes.
type dnsName struct {
	key   string // as AppendName makes it
	host  string
	port  uint16
	tried bool
	addr  netip.AddrPort // invalid: no look-up has found one
	// failure says why not, for Envoy's details.
	failure string
	// asked: somebody asked for it since host_ttl was looked at; hosts note that themselves.
	asked bool
	waits map[*NameWait]struct{}
	hosts map[*dynamics]*Host
}

// NameWait is a request that waits for the first look-up of a name.
type NameWait struct {
	cache  *DNSCache
	name   *dnsName
	answer func(failure string)
}

// NameState is what a cache has to say of a name.
type NameState uint8

// States of a name.
const (
	// NameKnown: it has an address.
	NameKnown NameState = iota
	// NameFailed: the latest look-up failed, and no earlier one found an address.
	NameFailed
	// NamePending: it is looked up for the first time.
	NamePending
	// CacheFull: it is not in the cache, which has max_hosts.
	CacheFull
	// TooManyPending: as many requests wait as may.
	TooManyPending
)

func newDNSCache(ctx context.Context, c *conf.DNSCache, m *Manager) *DNSCache {
	d := &DNSCache{
		conf: c, stats: stats.NewDNSCacheStats(m.o.Stats, c.Name), log: m.o.Logger, resolver: m.o.resolver, turns: m.turns,
		names: make(map[string]*dnsName),
	}
	if d.resolver == nil {
		d.resolver = newResolver(&c.DNSOptions)
	}
	d.ctx, d.stop = context.WithCancel(ctx)
	prefix := stats.DNSCachePrefix(c.Name) + "circuit_breakers."
	m.o.Stats.GaugeFunc(prefix+"rq_pending_open", func() int64 { return int64(1 - min(1, d.room())) })
	m.o.Stats.GaugeFunc(prefix+"rq_pending_remaining", func() int64 { return int64(d.room()) })
	for _, n := range c.Preresolve {
		if key, ok := AppendName(nil, []byte(n.Host), n.Port); ok {
			d.Load(key, nil)
		}
	}
	return d
}

// Name is the cache's.
func (d *DNSCache) Name() string { return d.conf.Name }

// room is how many more requests may wait.
func (d *DNSCache) room() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return max(0, int(d.conf.MaxPending)-d.waiting)
}

// Load says what is known of the name that AppendName has made, and has it looked up if nothing is. It does
// not wait. With NameFailed failure says why. With NamePending there is a NameWait, whose answer is called
// once on another goroutine, with the failure or "" for an address; others wait while it runs. nil: nobody
// wants to know.
func (d *DNSCache) Load(key []byte, answer func(failure string)) (state NameState, failure string, wait *NameWait) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := d.names[string(key)]
	switch {
	case d.closed:
		return NameFailed, lookupClosed, nil
	case n == nil && len(d.names) >= int(d.conf.MaxHosts):
		d.stats.HostOverflow.Inc()
		return CacheFull, "", nil
	case n != nil && n.addr.IsValid():
		return NameKnown, "", nil
	case n != nil && n.tried:
		n.asked = true
		return NameFailed, n.failure, nil
	case answer != nil && d.waiting >= int(d.conf.MaxPending):
		d.stats.DNSRqPendingOverflow.Inc()
		return TooManyPending, "", nil
	case n == nil:
		n = d.add(key)
	}
	if answer == nil {
		return NamePending, "", nil
	}
	wait = &NameWait{cache: d, name: n, answer: answer}
	n.waits[wait] = struct{}{}
	d.waiting++
	return NamePending, "", wait
}

// add begins to keep a name. The caller holds mu.
func (d *DNSCache) add(key []byte) *dnsName {
	n := &dnsName{key: string(key), waits: make(map[*NameWait]struct{}), hosts: make(map[*dynamics]*Host)}
	n.host, n.port = splitName(n.key)
	d.names[n.key] = n
	d.stats.HostAdded.Inc()
	d.stats.NumHosts.Add(1)
	d.done.Go(func() { d.keep(n) })
	return n
}

// Cancel takes the wait back; there is no answer then, unless it is on its way already. A loop may call it.
func (w *NameWait) Cancel() {
	d := w.cache
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, waits := w.name.waits[w]; waits {
		delete(w.name.waits, w)
		d.waiting--
	}
}

// keep resolves a name again and again until nobody uses it.
func (d *DNSCache) keep(n *dnsName) {
	b := backoff{conf: &d.conf.DNSOptions}
	expires := time.Now().Add(d.conf.HostTTL)
	timer := time.NewTimer(0)
	defer timer.Stop()
	var next time.Time
	for {
		select {
		case <-d.ctx.Done():
			return
		case <-timer.C:
		}
		now := time.Now()
		if !now.Before(expires) {
			if d.dropUnused(n) {
				return
			}
			expires = now.Add(d.conf.HostTTL)
		}
		if !now.Before(next) {
			again, stays := d.attempt(n, &b)
			if !stays {
				return
			}
			next = time.Now().Add(again)
		}
		timer.Reset(max(0, time.Until(sooner(next, expires))))
	}
}

func sooner(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// attempt resolves once and says when to do so again; false when the name is gone.
func (d *DNSCache) attempt(n *dnsName, b *backoff) (again time.Duration, stays bool) {
	d.stats.DNSQueryAttempt.Inc()
	a, failure := d.lookUp(n)
	if d.ctx.Err() != nil {
		return 0, false
	}
	if failure == "" {
		d.stats.DNSQuerySuccess.Inc()
	} else {
		d.stats.DNSQueryFailure.Inc()
	}
	for _, w := range d.resolved(n, a, failure) {
		w.answer(failure)
	}
	switch {
	case failure == "":
		if a.ttl > 0 {
			a.ttl = max(a.ttl, d.conf.MinRefreshRate)
		}
		return b.succeeded(a.ttl), true
	case d.conf.DropFailed:
		d.mu.Lock()
		defer d.mu.Unlock()
		d.drop(n)
		return 0, false
	}
	return b.failed(), true
}

// Failures of look-ups, as they are told in a response's details.
const (
	lookupTimedOut = "resolve_timeout"
	lookupFailed   = "resolve_failure"
	lookupEmpty    = "no_addresses"
	lookupFiltered = "addresses_filtered"
	lookupClosed   = "cache_closed"
)

// lookUp asks for the addresses of a name, and says with what it fails; the query's timeout holds for the
// time it waits for its turn, too.
func (d *DNSCache) lookUp(n *dnsName) (a answer, failure string) {
	if ip, err := netip.ParseAddr(n.host); err == nil {
		a.addrs = []netip.Addr{ip.Unmap()}
		return d.filtered(a)
	}
	wait := lookupWait
	if q := d.conf.QueryTimeout; q > 0 {
		wait = min(wait, q)
	}
	ctx, cancel := context.WithTimeout(d.ctx, wait)
	defer cancel()
	var err error
	select {
	case <-ctx.Done():
		err = ctx.Err()
	case d.turns <- struct{}{}:
		a, err = resolve(ctx, d.resolver, n.host, d.conf.DNSFamily)
		<-d.turns
	}
	switch {
	case err == nil && len(a.addrs) == 0:
		return a, lookupEmpty
	case err == nil:
		return d.filtered(a)
	case ctx.Err() != nil && d.ctx.Err() == nil:
		d.stats.DNSQueryTimeout.Inc()
		return a, lookupTimedOut
	}
	d.log.Debug("name not resolved", "dns_cache", d.conf.Name, "name", n.host, "error", err)
	return a, lookupFailed
}

// filtered takes out the addresses that nobody may go to.
func (d *DNSCache) filtered(a answer) (answer, string) {
	f := d.conf.Filter
	if f == nil {
		return a, ""
	}
	a.addrs = slices.DeleteFunc(a.addrs, f.Matches)
	if len(a.addrs) == 0 {
		return a, lookupFiltered
	}
	return a, ""
}

// resolved takes the outcome of a look-up over, and returns those who waited for it.
func (d *DNSCache) resolved(n *dnsName, a answer, failure string) (waits []*NameWait) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n.tried, n.failure = true, failure
	if failure == "" {
		if to := netip.AddrPortFrom(a.addrs[0], n.port); to != n.addr {
			n.addr = to
			d.stats.HostAddressChanged.Inc()
			for _, h := range n.hosts {
				h.move(to)
			}
		}
	}
	return d.takeWaits(n)
}

// takeWaits empties the list of those who wait. The caller holds mu.
func (d *DNSCache) takeWaits(n *dnsName) (waits []*NameWait) {
	for w := range n.waits {
		waits = append(waits, w)
	}
	clear(n.waits)
	d.waiting -= len(waits)
	n.asked = n.asked || len(waits) > 0
	return waits
}

// dropUnused drops a name unless somebody used it since the last time.
func (d *DNSCache) dropUnused(n *dnsName) (dropped bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	used := n.asked || len(n.waits) > 0
	n.asked = false
	for _, h := range n.hosts {
		used = h.wanted.Swap(false) || used
	}
	if !used {
		d.drop(n)
	}
	return !used
}

// drop forgets a name. Its hosts leave their clusters. The caller holds mu.
func (d *DNSCache) drop(n *dnsName) {
	if d.closed {
		return
	}
	delete(d.names, n.key)
	d.stats.HostRemoved.Inc()
	d.stats.NumHosts.Add(-1)
	for c, h := range n.hosts {
		c.mu.Lock()
		c.leave(h)
		c.mu.Unlock()
	}
	clear(n.hosts)
}

// close ends all look-ups; with answer those who wait hear of it.
func (d *DNSCache) close(answer bool) {
	d.stop()
	d.mu.Lock()
	d.closed = true
	d.stats.NumHosts.Add(-int64(len(d.names)))
	var waits []*NameWait
	for _, n := range d.names {
		waits = append(waits, d.takeWaits(n)...)
	}
	d.mu.Unlock()
	if answer {
		for _, w := range waits {
			w.answer(lookupClosed)
		}
	}
	d.done.Wait()
}

// caches are the DNS caches of a manager by name.
type caches struct {
	mu     sync.Mutex
	byName map[string]*DNSCache
}

// acquire returns the cache of a configuration for one more cluster; the one of that name when it is the
// same, else a new one, which the name means from now on.
func (m *Manager) acquireCache(c *conf.DNSCache) *DNSCache {
	cs := &m.caches
	cs.mu.Lock()
	defer cs.mu.Unlock()
	d := cs.byName[c.Name]
	if d == nil || !sameCache(d.conf, c) {
		d = newDNSCache(m.ctx, c, m)
		if cs.byName == nil {
			cs.byName = make(map[string]*DNSCache)
		}
		cs.byName[c.Name] = d
	}
	d.users++
	return d
}

// releaseCache takes a cluster from a cache, which ends without any.
func (m *Manager) releaseCache(d *DNSCache) {
	cs := &m.caches
	cs.mu.Lock()
	d.users--
	last, gone := d.users == 0, false
	if last && cs.byName[d.conf.Name] == d {
		delete(cs.byName, d.conf.Name)
		prefix := stats.DNSCachePrefix(d.conf.Name)
		gone = true
		for name := range cs.byName { // "a." is also the beginning of "a.b."
			gone = gone && !strings.HasPrefix(stats.DNSCachePrefix(name), prefix)
		}
	}
	cs.mu.Unlock()
	if last {
		d.close(m.ctx.Err() == nil)
	}
	if gone {
		m.o.Stats.ReleasePrefix(stats.DNSCachePrefix(d.conf.Name))
	}
}
