package stats

// ClusterStats is cluster.<name>. (clusters.md 9, router.md 11.2). What discovery moves is cold; the
// rest is moved by the loops. Names that only TLS, HTTP/3, EDS, health checks, outlier detection, retries
// or internal redirects can move come with those, the HTTP/2 codec's with its first connection
// (NewClusterHTTP2Stats); subsets and hashing have scopes of their own; the circuit breakers' gauges are
// computed from the breakers (Registry.GaugeFunc).
type ClusterStats struct {
	UpstreamCxTotal                     Counter `stat:"upstream_cx_total"`
	UpstreamCxHTTP1Total                Counter `stat:"upstream_cx_http1_total"`
	UpstreamCxHTTP2Total                Counter `stat:"upstream_cx_http2_total"`
	UpstreamCxConnectFail               Counter `stat:"upstream_cx_connect_fail"`
	UpstreamCxConnectTimeout            Counter `stat:"upstream_cx_connect_timeout"`
	UpstreamCxIdleTimeout               Counter `stat:"upstream_cx_idle_timeout"`
	UpstreamCxMaxDurationReached        Counter `stat:"upstream_cx_max_duration_reached"`
	UpstreamCxOverflow                  Counter `stat:"upstream_cx_overflow"`
	UpstreamCxPoolOverflow              Counter `stat:"upstream_cx_pool_overflow"`
	UpstreamCxDestroy                   Counter `stat:"upstream_cx_destroy"`
	UpstreamCxDestroyLocal              Counter `stat:"upstream_cx_destroy_local"`
	UpstreamCxDestroyRemote             Counter `stat:"upstream_cx_destroy_remote"`
	UpstreamCxDestroyWithActiveRq       Counter `stat:"upstream_cx_destroy_with_active_rq"`
	UpstreamCxDestroyLocalWithActiveRq  Counter `stat:"upstream_cx_destroy_local_with_active_rq"`
	UpstreamCxDestroyRemoteWithActiveRq Counter `stat:"upstream_cx_destroy_remote_with_active_rq"`
	UpstreamCxCloseNotify               Counter `stat:"upstream_cx_close_notify"`
	UpstreamCxRxBytesTotal              Counter `stat:"upstream_cx_rx_bytes_total"`
	UpstreamCxTxBytesTotal              Counter `stat:"upstream_cx_tx_bytes_total"`
	UpstreamCxProtocolError             Counter `stat:"upstream_cx_protocol_error"`
	UpstreamCxMaxRequests               Counter `stat:"upstream_cx_max_requests"`
	UpstreamCxConnectAttemptsExceeded   Counter `stat:"upstream_cx_connect_attempts_exceeded"`
	UpstreamCxNoneHealthy               Counter `stat:"upstream_cx_none_healthy"`

	UpstreamFlowControlPausedReadingTotal  Counter `stat:"upstream_flow_control_paused_reading_total"`
	UpstreamFlowControlResumedReadingTotal Counter `stat:"upstream_flow_control_resumed_reading_total"`
	UpstreamFlowControlBackedUpTotal       Counter `stat:"upstream_flow_control_backed_up_total"`
	UpstreamFlowControlDrainedTotal        Counter `stat:"upstream_flow_control_drained_total"`

	UpstreamRqTotal               Counter `stat:"upstream_rq_total"`
	UpstreamRqPendingTotal        Counter `stat:"upstream_rq_pending_total"`
	UpstreamRqPendingOverflow     Counter `stat:"upstream_rq_pending_overflow"`
	UpstreamRqPendingFailureEject Counter `stat:"upstream_rq_pending_failure_eject"`
	UpstreamRqActiveOverflow      Counter `stat:"upstream_rq_active_overflow"`
	UpstreamRqCancelled           Counter `stat:"upstream_rq_cancelled"`
	UpstreamRqTimeout             Counter `stat:"upstream_rq_timeout"`
	UpstreamRqMaxDurationReached  Counter `stat:"upstream_rq_max_duration_reached"`
	UpstreamRqTxReset             Counter `stat:"upstream_rq_tx_reset"`
	UpstreamRqRxReset             Counter `stat:"upstream_rq_rx_reset"`
	LbHealthyPanic                Counter `stat:"lb_healthy_panic"`

	UpstreamCxActive        Gauge `stat:"upstream_cx_active"`
	UpstreamRqActive        Gauge `stat:"upstream_rq_active"`
	UpstreamRqPendingActive Gauge `stat:"upstream_rq_pending_active"`

	UpstreamCxConnectMs Histogram `stat:"upstream_cx_connect_ms,ms"`
	UpstreamCxLengthMs  Histogram `stat:"upstream_cx_length_ms,ms"`
	UpstreamRqPerCx     Histogram `stat:"upstream_rq_per_cx"`

	MembershipChange   *ColdCounter `stat:"membership_change"`
	UpdateAttempt      *ColdCounter `stat:"update_attempt"`
	UpdateSuccess      *ColdCounter `stat:"update_success"`
	UpdateFailure      *ColdCounter `stat:"update_failure"`
	UpdateEmpty        *ColdCounter `stat:"update_empty"`
	UpdateNoRebuild    *ColdCounter `stat:"update_no_rebuild"`
	MembershipTotal    *ColdGauge   `stat:"membership_total"`
	MembershipHealthy  *ColdGauge   `stat:"membership_healthy"`
	MembershipDegraded *ColdGauge   `stat:"membership_degraded"`
	MembershipExcluded *ColdGauge   `stat:"membership_excluded"`
	MaxHostWeight      *ColdGauge   `stat:"max_host_weight"`
	WarmingState       *ColdGauge   `stat:"warming_state"`
}

// NewClusterStats registers cluster.<statName>.
func NewClusterStats(r *Registry, statName string) *ClusterStats {
	s := new(ClusterStats)
	register(r, "cluster."+Clean(statName)+".", s)
	return s
}

// SubsetStats is cluster.<name>.lb_subsets_ (clusters.md 5), of clusters with subsets. What the hosts'
// metadata moves is cold and counts once, however many loops there are.
type SubsetStats struct {
	LbSubsetsSelected      Counter `stat:"lb_subsets_selected"`
	LbSubsetsFallback      Counter `stat:"lb_subsets_fallback"`
	LbSubsetsFallbackPanic Counter `stat:"lb_subsets_fallback_panic"`

	LbSubsetsCreated                      *ColdCounter `stat:"lb_subsets_created"`
	LbSubsetsRemoved                      *ColdCounter `stat:"lb_subsets_removed"`
	LbSubsetsActive                       *ColdGauge   `stat:"lb_subsets_active"`
	LbSubsetsSingleHostPerSubsetDuplicate *ColdGauge   `stat:"lb_subsets_single_host_per_subset_duplicate"`
}

// NewSubsetStats registers cluster.<statName>.lb_subsets_.
func NewSubsetStats(r *Registry, statName string) *SubsetStats {
	s := new(SubsetStats)
	register(r, "cluster."+Clean(statName)+".", s)
	return s
}

// RingHashStats is cluster.<name>.ring_hash_lb. (CL-13), of clusters with that policy.
type RingHashStats struct {
	Size             *ColdGauge `stat:"size"`
	MinHashesPerHost *ColdGauge `stat:"min_hashes_per_host"`
	MaxHashesPerHost *ColdGauge `stat:"max_hashes_per_host"`
}

// NewRingHashStats registers cluster.<statName>.ring_hash_lb.
func NewRingHashStats(r *Registry, statName string) *RingHashStats {
	s := new(RingHashStats)
	register(r, "cluster."+Clean(statName)+".ring_hash_lb.", s)
	return s
}

// MaglevStats is cluster.<name>.maglev_lb. (CL-13), of clusters with that policy.
type MaglevStats struct {
	MinEntriesPerHost *ColdGauge `stat:"min_entries_per_host"`
	MaxEntriesPerHost *ColdGauge `stat:"max_entries_per_host"`
}

// NewMaglevStats registers cluster.<statName>.maglev_lb.
func NewMaglevStats(r *Registry, statName string) *MaglevStats {
	s := new(MaglevStats)
	register(r, "cluster."+Clean(statName)+".maglev_lb.", s)
	return s
}

// ClusterManagerStats is cluster_manager.; the control plane's.
type ClusterManagerStats struct {
	ClusterAdded    *ColdCounter `stat:"cluster_added"`
	ClusterModified *ColdCounter `stat:"cluster_modified"`
	ClusterRemoved  *ColdCounter `stat:"cluster_removed"`
	ClusterUpdated  *ColdCounter `stat:"cluster_updated"`
	ActiveClusters  *ColdGauge   `stat:"active_clusters"`
	WarmingClusters *ColdGauge   `stat:"warming_clusters"`
}

// NewClusterManagerStats registers cluster_manager.
func NewClusterManagerStats(r *Registry) *ClusterManagerStats {
	s := new(ClusterManagerStats)
	register(r, "cluster_manager.", s)
	return s
}
