package cluster

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// lookupWait bounds one attempt to resolve a name, all servers and families together.
const lookupWait = 15 * time.Second

// discovery keeps the hosts of one STRICT_DNS or LOGICAL_DNS cluster up to date,
// one goroutine for each endpoint that is a name.
type discovery struct {
	cluster  *Cluster
	resolver resolver
	// turns bounds lookups at a time over all clusters.
	turns chan struct{}
	log   *slog.Logger
	// changed hears of every update, with the hosts that left.
	changed func(c *Cluster, gone []*Host)

	warm    chan struct{}   // closed when each name was tried once, with whatever result
	waiting atomic.Int32    // names not tried yet
	ended   <-chan struct{} // closed by stop
	cancel  context.CancelFunc
	done    sync.WaitGroup
}

// start begins to resolve; c has at least one endpoint that is a name.
func (d *discovery) start(ctx context.Context) {
	ctx, d.cancel = context.WithCancel(ctx)
	d.ended, d.warm = ctx.Done(), make(chan struct{})
	names := names(d.cluster.Conf)
	d.waiting.Store(int32(len(names)))
	for _, i := range names {
		d.done.Go(func() { d.keep(ctx, i) })
	}
}

// names returns which endpoints of a cluster need resolving.
func names(c *conf.Cluster) (endpoints []int) {
	for i, e := range c.Endpoints {
		if e.Address.Host != "" && c.Type != conf.ClusterStatic {
			endpoints = append(endpoints, i)
		}
	}
	return endpoints
}

// stop ends it and waits: no update comes afterwards.
func (d *discovery) stop() {
	d.cancel()
	d.done.Wait()
}

// keep resolves one endpoint again and again.
func (d *discovery) keep(ctx context.Context, endpoint int) {
	b := backoff{conf: &d.cluster.Conf.DNSOptions}
	wait := time.NewTimer(0)
	defer wait.Stop()
	<-wait.C
	for tried := false; ; tried = true {
		again, ok := d.attempt(ctx, endpoint, &b)
		if !ok {
			return
		}
		if !tried && d.waiting.Add(-1) == 0 {
			close(d.warm)
		}
		wait.Reset(again)
		select {
		case <-ctx.Done():
			return
		case <-wait.C:
		}
	}
}

// attempt resolves once and says when to do so again; false when stopped.
func (d *discovery) attempt(ctx context.Context, endpoint int, b *backoff) (again time.Duration, ok bool) {
	select {
	case <-ctx.Done():
		return 0, false
	case d.turns <- struct{}{}:
	}
	c, e := d.cluster, d.cluster.Conf.Endpoints[endpoint]
	c.Stats.UpdateAttempt.Inc()
	limited, cancel := context.WithTimeout(ctx, lookupWait)
	a, err := resolve(limited, d.resolver, e.Address.Host, c.Conf.DNSFamily)
	cancel()
	<-d.turns
	switch {
	case ctx.Err() != nil:
		return 0, false
	case err != nil:
		c.Stats.UpdateFailure.Inc()
		d.log.Warn("name not resolved, hosts stay as they are", "cluster", c.Conf.Name, "name", e.Address.Host, "error", err)
		return b.failed(), true
	case len(a.addrs) == 0:
		// Envoy's update_empty: the hosts stay. A name that vanishes for a moment must
		// not take a whole cluster with it.
		c.Stats.UpdateEmpty.Inc()
		d.log.Warn("name has no address, hosts stay as they are", "cluster", c.Conf.Name, "name", e.Address.Host)
		return b.succeeded(0), true
	}
	c.Stats.UpdateSuccess.Inc()
	addrs := make([]netip.AddrPort, len(a.addrs))
	for i := range addrs {
		addrs[i] = netip.AddrPortFrom(a.addrs[i], e.Address.Port)
	}
	if gone, changed := c.resolved(endpoint, addrs); changed {
		d.changed(c, gone)
	} else {
		c.Stats.UpdateNoRebuild.Inc()
	}
	return b.succeeded(a.ttl), true
}

// backoff says when a name is resolved again.
type backoff struct {
	conf     *conf.DNSOptions
	failures int
}

// succeeded: after the answer's time to live when that is wanted and known, else
// after dns_refresh_rate, plus jitter.
func (b *backoff) succeeded(ttl time.Duration) time.Duration {
	b.failures = 0
	wait := b.conf.DNSRefreshRate
	if b.conf.RespectDNSTTL && ttl > 0 {
		wait = ttl
	}
	return wait + b.jitter()
}

// failed: dns_failure_refresh_rate, doubled with each failure in a row up to its
// maximum. Half of the time is random, so that many names do not fail in step.
func (b *backoff) failed() time.Duration {
	base := b.conf.DNSFailureRefreshBase
	if base <= 0 {
		base = b.conf.DNSRefreshRate
	}
	top := max(base, b.conf.DNSFailureRefreshMax)
	wait := top
	if b.failures < 32 && base<<b.failures > 0 {
		wait = min(top, base<<b.failures)
	}
	b.failures++
	if wait > base {
		wait = wait/2 + rand.N(wait/2+1)
	}
	return wait + b.jitter()
}

func (b *backoff) jitter() time.Duration {
	if b.conf.DNSJitter <= 0 {
		return 0
	}
	return rand.N(b.conf.DNSJitter)
}
