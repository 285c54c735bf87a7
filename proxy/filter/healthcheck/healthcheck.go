// Package healthcheck is envoy.filters.http.health_check (CL-43): it answers requests of load balancers
// that ask whether the proxy, or what is behind it, is well.
package healthcheck

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/filter"
	"github.com/sluiceproxy/sluice/proxy/match"
	"github.com/sluiceproxy/sluice/proxy/reason"
)

// shared is the compiled filter.
type shared struct {
	c       *conf.HealthCheckFilter
	headers []match.Header
	// clusters are cluster_min_healthy_percentages.
	clusters []percentage
	failed   func() bool
	node     string
	// cached is the last status of an upstream and until when it counts: | until, ms | status 10 bits |.
	cached atomic.Uint64
}

type percentage struct {
	name    []byte
	percent float64
}

var (
	checkedCluster = match.NewName("x-envoy-upstream-healthchecked-cluster")
	immediateFail  = match.NewName("x-envoy-immediate-health-check-fail")
)

// New compiles the filter.
func New(c *conf.HealthCheckFilter, d *filter.Deps) (filter.Spec, error) {
	all := &shared{c: c, failed: d.HealthFailed, node: d.NodeCluster}
	if all.failed == nil {
		all.failed = func() bool { return false }
	}
	var err error
	if all.headers, err = match.CompileHeaders(c.Headers, "headers"); err != nil {
		return filter.Spec{}, err
	}
	if c.CacheTime > 0 && !c.PassThrough {
		return filter.Spec{}, fmt.Errorf("cache_time: needs pass_through_mode")
	}
	if len(c.MinHealthy) > 0 && c.PassThrough {
		return filter.Spec{}, fmt.Errorf("cluster_min_healthy_percentages: excludes pass_through_mode")
	}
	for _, m := range c.MinHealthy {
		all.clusters = append(all.clusters, percentage{[]byte(m.Cluster), m.Percent})
	}
	return filter.Spec{
		Sees: filter.RequestHead | filter.ResponseHead,
		New:  func() filter.Filter { return &instance{shared: all} },
	}, nil
}

// store keeps the status of a response for cache_time; nowNs is the loop's clock.
func (a *shared) store(status uint16, nowNs int64) {
	until := uint64(nowNs+int64(a.c.CacheTime)) / uint64(time.Millisecond)
	a.cached.Store(until<<10 | uint64(status&1023))
}

// recent returns the status that is kept; 0 when there is none.
func (a *shared) recent(nowNs int64) uint16 {
	v := a.cached.Load()
	if a.c.CacheTime == 0 || v>>10 <= uint64(nowNs)/uint64(time.Millisecond) {
		return 0
	}
	return uint16(v & 1023)
}

type instance struct {
	filter.PassThrough
	*shared
	asked bool // the request is a health check
	own   bool // and was answered here
}

// RequestHead answers a health check, or lets it go on where it is to be passed through.
func (f *instance) RequestHead(s filter.Stream, _ bool) filter.Status {
	scratch := s.Worker().Loop.Scratch()
	if !match.AllHold(f.headers, s.Request(), &scratch) {
		return filter.Continue
	}
	f.asked = true
	s.Info().HealthCheck = true
	reply := filter.Reply{Reason: reason.HealthCheckAnswered}
	switch {
	case f.failed():
		reply = filter.Reply{Reason: reason.HealthCheckFailed}
	case f.c.PassThrough:
		status := f.recent(s.Worker().Loop.Now())
		if status == 0 {
			return filter.Continue
		}
		reply.Status, reply.Details = status, "health_check_cached"
		if status/100 != 2 {
			s.Info().Flags |= reason.FailedLocalHealthCheck
		}
	default:
		if details := f.unhealthy(s); details != "" {
			reply = filter.Reply{Reason: reason.HealthCheckFailed, Details: details}
		}
	}
	f.own = true
	s.Reply(reply)
	return filter.Pause
}

// unhealthy says which of cluster_min_healthy_percentages is not reached; empty for none.
func (f *instance) unhealthy(s filter.Stream) string {
	for i := range f.clusters {
		m := &f.clusters[i]
		u := s.Worker().Cluster(m.name)
		if u == nil {
			return "health_check_failed_no_cluster_found"
		}
		set := u.C.Hosts()
		healthy, total := len(set.Healthy)+len(set.Degraded), len(set.Hosts)
		switch {
		case total == 0 && m.percent > 0:
			return "health_check_failed_cluster_empty"
		case float64(healthy)*100 < m.percent*float64(total):
			return "health_check_failed_cluster_unhealthy"
		}
	}
	return ""
}

// ResponseHead says which cluster was asked, and tells others that send health checks of failing ones.
func (f *instance) ResponseHead(s filter.Stream, _ bool) filter.Status {
	h := s.Response()
	switch {
	case f.asked:
		if !f.own && f.c.CacheTime > 0 {
			f.store(h.Status, s.Worker().Loop.Now())
		}
		h.RemoveName(checkedCluster.ID, checkedCluster.Lower)
		h.AddString(checkedCluster.ID, checkedCluster.Lower, f.node)
	case f.failed():
		h.RemoveName(immediateFail.ID, immediateFail.Lower)
		h.AddString(immediateFail.ID, immediateFail.Lower, "true")
	}
	return filter.Continue
}

// Done implements filter.Filter.
func (f *instance) Done(filter.Stream) { f.asked, f.own = false, false }
