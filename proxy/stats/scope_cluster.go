package stats

// ClusterStats is cluster.<name>. (clusters.md 9, router.md 11.2). What discovery moves is cold; the
// rest is moved by the loops. Names that only TLS, health checks or outlier detection can move come with
// those, the HTTP/2 codec's with its first connection (NewClusterHTTP2Stats); subsets and hashing have scopes
// of their own; the circuit breakers' gauges are computed from the breakers (Registry.GaugeFunc). What only
// HTTP/3 (upstream_cx_http3_total, upstream_cx_connect_with_0_rtt) or a management server (version,
// update_duration, config_reload, assignment_stale, assignment_timeout_received) would move is left out.
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
	BindErrors                    Counter `stat:"bind_errors"`

	UpstreamRqMaintenanceMode              Counter `stat:"upstream_rq_maintenance_mode"`
	UpstreamRqPerTryTimeout                Counter `stat:"upstream_rq_per_try_timeout"`
	UpstreamRqPerTryIdleTimeout            Counter `stat:"upstream_rq_per_try_idle_timeout"`
	UpstreamRqRxResetNoError               Counter `stat:"upstream_rq_rx_reset_no_error"`
	UpstreamRqRetry                        Counter `stat:"upstream_rq_retry"`
	UpstreamRqRetryBackoffExponential      Counter `stat:"upstream_rq_retry_backoff_exponential"`
	UpstreamRqRetryBackoffRatelimited      Counter `stat:"upstream_rq_retry_backoff_ratelimited"`
	UpstreamRqRetryLimitExceeded           Counter `stat:"upstream_rq_retry_limit_exceeded"`
	UpstreamRqRetrySuccess                 Counter `stat:"upstream_rq_retry_success"`
	UpstreamRqRetryOverflow                Counter `stat:"upstream_rq_retry_overflow"`
	RetryOrShadowAbandoned                 Counter `stat:"retry_or_shadow_abandoned"`
	UpstreamInternalRedirectSucceededTotal Counter `stat:"upstream_internal_redirect_succeeded_total"`
	UpstreamInternalRedirectFailedTotal    Counter `stat:"upstream_internal_redirect_failed_total"`

	UpstreamCxActive Gauge `stat:"upstream_cx_active"`
	// Those buffered are summed up when they are read; see worker.BufferCounter.
	UpstreamCxRxBytesBuffered Gauge `stat:"upstream_cx_rx_bytes_buffered"`
	UpstreamCxTxBytesBuffered Gauge `stat:"upstream_cx_tx_bytes_buffered"`
	UpstreamRqActive          Gauge `stat:"upstream_rq_active"`
	UpstreamRqPendingActive   Gauge `stat:"upstream_rq_pending_active"`

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

// TimeoutBudgetStats is cluster.<name>.upstream_rq_timeout_budget_ (ROUTER-84), of clusters that track it:
// the part of a timeout that was used, in percent; 0 where there is none.
type TimeoutBudgetStats struct {
	UpstreamRqTimeoutBudgetPercentUsed       Histogram `stat:"upstream_rq_timeout_budget_percent_used"`
	UpstreamRqTimeoutBudgetPerTryPercentUsed Histogram `stat:"upstream_rq_timeout_budget_per_try_percent_used"`
}

// NewTimeoutBudgetStats registers cluster.<statName>.upstream_rq_timeout_budget_.
func NewTimeoutBudgetStats(r *Registry, statName string) *TimeoutBudgetStats {
	s := new(TimeoutBudgetStats)
	register(r, "cluster."+Clean(statName)+".", s)
	return s
}

// RequestResponseSizeStats are the sizes of requests and responses of a cluster that tracks them
// (ROUTER-84), one value of each for every attempt.
type RequestResponseSizeStats struct {
	UpstreamRqHeadersSize  Histogram `stat:"upstream_rq_headers_size,bytes"`
	UpstreamRqHeadersCount Histogram `stat:"upstream_rq_headers_count"`
	UpstreamRqBodySize     Histogram `stat:"upstream_rq_body_size,bytes"`
	UpstreamRsHeadersSize  Histogram `stat:"upstream_rs_headers_size,bytes"`
	UpstreamRsHeadersCount Histogram `stat:"upstream_rs_headers_count"`
	UpstreamRsBodySize     Histogram `stat:"upstream_rs_body_size,bytes"`
}

// NewRequestResponseSizeStats registers cluster.<statName>.upstream_rq_headers_size and those beside it.
func NewRequestResponseSizeStats(r *Registry, statName string) *RequestResponseSizeStats {
	s := new(RequestResponseSizeStats)
	register(r, "cluster."+Clean(statName)+".", s)
	return s
}

// DropOverloadStats counts the requests that drop_overloads kept from a cluster that has it. Envoy counts
// them for load reports only.
type DropOverloadStats struct {
	UpstreamRqDropOverload Counter `stat:"upstream_rq_drop_overload"`
}

// NewDropOverloadStats registers cluster.<statName>.upstream_rq_drop_overload.
func NewDropOverloadStats(r *Registry, statName string) *DropOverloadStats {
	s := new(DropOverloadStats)
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

// ZoneStats is cluster.<name>.lb_ of zone aware routing (CL-23).
type ZoneStats struct {
	LbLocalClusterNotOk      Counter `stat:"lb_local_cluster_not_ok"`
	LbZoneRoutingAllDirectly Counter `stat:"lb_zone_routing_all_directly"`
	LbZoneRoutingSampled     Counter `stat:"lb_zone_routing_sampled"`
	LbZoneRoutingCrossZone   Counter `stat:"lb_zone_routing_cross_zone"`
	LbZoneNoCapacityLeft     Counter `stat:"lb_zone_no_capacity_left"`

	LbRecalculateZoneStructures *ColdCounter `stat:"lb_recalculate_zone_structures"`
	LbZoneClusterTooSmall       *ColdCounter `stat:"lb_zone_cluster_too_small"`
}

// NewZoneStats registers cluster.<statName>.lb_zone_ and what belongs to it.
func NewZoneStats(r *Registry, statName string) *ZoneStats {
	s := new(ZoneStats)
	register(r, "cluster."+Clean(statName)+".", s)
	return s
}

// HealthCheckStats is cluster.<name>.health_check. (CL-42), of clusters with active checks.
type HealthCheckStats struct {
	Attempt        *ColdCounter `stat:"attempt"`
	Success        *ColdCounter `stat:"success"`
	Failure        *ColdCounter `stat:"failure"`
	PassiveFailure *ColdCounter `stat:"passive_failure"`
	NetworkFailure *ColdCounter `stat:"network_failure"`
	VerifyCluster  *ColdCounter `stat:"verify_cluster"`
	Healthy        *ColdGauge   `stat:"healthy"`
	Degraded       *ColdGauge   `stat:"degraded"`
}

// NewHealthCheckStats registers cluster.<statName>.health_check.
func NewHealthCheckStats(r *Registry, statName string) *HealthCheckStats {
	s := new(HealthCheckStats)
	register(r, "cluster."+Clean(statName)+".health_check.", s)
	return s
}

// OutlierStats is cluster.<name>.outlier_detection. (CL-46), of clusters with it.
type OutlierStats struct {
	EjectionsEnforcedTotal *ColdCounter `stat:"ejections_enforced_total"`
	EjectionsActive        *ColdGauge   `stat:"ejections_active"`
	EjectionsOverflow      *ColdCounter `stat:"ejections_overflow"`

	EnforcedConsecutive5xx                *ColdCounter `stat:"ejections_enforced_consecutive_5xx"`
	EnforcedConsecutiveGatewayFailure     *ColdCounter `stat:"ejections_enforced_consecutive_gateway_failure"`
	EnforcedConsecutiveLocalOriginFailure *ColdCounter `stat:"ejections_enforced_consecutive_local_origin_failure"`
	EnforcedSuccessRate                   *ColdCounter `stat:"ejections_enforced_success_rate"`
	EnforcedLocalOriginSuccessRate        *ColdCounter `stat:"ejections_enforced_local_origin_success_rate"`
	EnforcedFailurePercentage             *ColdCounter `stat:"ejections_enforced_failure_percentage"`
	EnforcedFailurePercentageLocalOrigin  *ColdCounter `stat:"ejections_enforced_failure_percentage_local_origin"`

	DetectedConsecutive5xx                *ColdCounter `stat:"ejections_detected_consecutive_5xx"`
	DetectedConsecutiveGatewayFailure     *ColdCounter `stat:"ejections_detected_consecutive_gateway_failure"`
	DetectedConsecutiveLocalOriginFailure *ColdCounter `stat:"ejections_detected_consecutive_local_origin_failure"`
	DetectedSuccessRate                   *ColdCounter `stat:"ejections_detected_success_rate"`
	DetectedLocalOriginSuccessRate        *ColdCounter `stat:"ejections_detected_local_origin_success_rate"`
	DetectedFailurePercentage             *ColdCounter `stat:"ejections_detected_failure_percentage"`
	DetectedFailurePercentageLocalOrigin  *ColdCounter `stat:"ejections_detected_failure_percentage_local_origin"`
}

// NewOutlierStats registers cluster.<statName>.outlier_detection.
func NewOutlierStats(r *Registry, statName string) *OutlierStats {
	s := new(OutlierStats)
	register(r, "cluster."+Clean(statName)+".outlier_detection.", s)
	return s
}

// OriginalDstStats is cluster.<name>.original_dst_ of ORIGINAL_DST clusters.
type OriginalDstStats struct {
	OriginalDstHostInvalid Counter `stat:"original_dst_host_invalid"`
}

// NewOriginalDstStats registers cluster.<statName>.original_dst_host_invalid.
func NewOriginalDstStats(r *Registry, statName string) *OriginalDstStats {
	s := new(OriginalDstStats)
	register(r, "cluster."+Clean(statName)+".", s)
	return s
}

// DNSCacheStats is dns_cache.<name>. of dynamic forward proxies.
type DNSCacheStats struct {
	DNSQueryAttempt      *ColdCounter `stat:"dns_query_attempt"`
	DNSQuerySuccess      *ColdCounter `stat:"dns_query_success"`
	DNSQueryFailure      *ColdCounter `stat:"dns_query_failure"`
	DNSQueryTimeout      *ColdCounter `stat:"dns_query_timeout"`
	DNSRqPendingOverflow *ColdCounter `stat:"dns_rq_pending_overflow"`
	HostAddressChanged   *ColdCounter `stat:"host_address_changed"`
	HostAdded            *ColdCounter `stat:"host_added"`
	HostRemoved          *ColdCounter `stat:"host_removed"`
	HostOverflow         *ColdCounter `stat:"host_overflow"`
	NumHosts             *ColdGauge   `stat:"num_hosts"`
}

// NewDNSCacheStats registers dns_cache.<name>.
func NewDNSCacheStats(r *Registry, name string) *DNSCacheStats {
	s := new(DNSCacheStats)
	register(r, DNSCachePrefix(name), s)
	return s
}

// DNSCachePrefix is what the names of a DNS cache's series begin with.
func DNSCachePrefix(name string) string { return "dns_cache." + Clean(name) + "." }

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
	// Changes of health and weight wait for each other (update_merge_window).
	ClusterUpdatedViaMerge *ColdCounter `stat:"cluster_updated_via_merge"`
	UpdateMergeCancelled   *ColdCounter `stat:"update_merge_cancelled"`
	UpdateOutOfMergeWindow *ColdCounter `stat:"update_out_of_merge_window"`

	ActiveClusters  *ColdGauge `stat:"active_clusters"`
	WarmingClusters *ColdGauge `stat:"warming_clusters"`
}

// NewClusterManagerStats registers cluster_manager.
func NewClusterManagerStats(r *Registry) *ClusterManagerStats {
	s := new(ClusterManagerStats)
	register(r, "cluster_manager.", s)
	return s
}
