package stats

// VirtualStats is vhost.<name>.vcluster.<name>. and vhost.<name>.route.<stat_prefix>. (router.md 11.4):
// what became of the requests of a virtual cluster, or of a route that has a stat_prefix.
type VirtualStats struct {
	VirtualCounters
	// Codes counts responses: upstream_rq_<code>, _<N>xx, _completed and _time.
	Codes *CodeStats
}

// VirtualCounters are the counters of VirtualStats that exist from the start.
type VirtualCounters struct {
	UpstreamRqTotal              Counter `stat:"upstream_rq_total"`
	UpstreamRqRetry              Counter `stat:"upstream_rq_retry"`
	UpstreamRqRetrySuccess       Counter `stat:"upstream_rq_retry_success"`
	UpstreamRqRetryOverflow      Counter `stat:"upstream_rq_retry_overflow"`
	UpstreamRqRetryLimitExceeded Counter `stat:"upstream_rq_retry_limit_exceeded"`
	UpstreamRqTimeout            Counter `stat:"upstream_rq_timeout"`
}

// NewVirtualClusterStats registers vhost.<host>.vcluster.<name>.
func NewVirtualClusterStats(r *Registry, host, name string) *VirtualStats {
	return newVirtualStats(r, VirtualClusterPrefix(host, name))
}

// VirtualClusterPrefix is what the names of a virtual cluster's series begin with.
func VirtualClusterPrefix(host, name string) string {
	return "vhost." + Clean(host) + ".vcluster." + Clean(name) + "."
}

// NewRouteStats registers vhost.<host>.route.<prefix>.
func NewRouteStats(r *Registry, host, prefix string) *VirtualStats {
	return newVirtualStats(r, RoutePrefix(host, prefix))
}

// RoutePrefix is what the names of the series of a route with a stat_prefix begin with.
func RoutePrefix(host, prefix string) string {
	return "vhost." + Clean(host) + ".route." + Clean(prefix) + "."
}

func newVirtualStats(r *Registry, prefix string) *VirtualStats {
	s := &VirtualStats{Codes: NewCodeStats(r, prefix)}
	register(r, prefix, &s.VirtualCounters)
	return s
}

// ChargePlain is CodeStats.Charge without the prefixes of internal, external and canary requests.
func (c *CodeStats) ChargePlain(s *Shard, status uint16, ms uint64) {
	c.charge(plainCodes, s, status, ms)
}
