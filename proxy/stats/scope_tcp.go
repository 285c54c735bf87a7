package stats

// TCPStats is tcp.<stat_prefix>. (tcp_proxy.md 10).
type TCPStats struct {
	DownstreamCxTotal                        Counter `stat:"downstream_cx_total"`
	DownstreamCxNoRoute                      Counter `stat:"downstream_cx_no_route"`
	DownstreamCxRxBytesTotal                 Counter `stat:"downstream_cx_rx_bytes_total"`
	DownstreamCxTxBytesTotal                 Counter `stat:"downstream_cx_tx_bytes_total"`
	DownstreamFlowControlPausedReadingTotal  Counter `stat:"downstream_flow_control_paused_reading_total"`
	DownstreamFlowControlResumedReadingTotal Counter `stat:"downstream_flow_control_resumed_reading_total"`
	EarlyDataReceivedCountTotal              Counter `stat:"early_data_received_count_total"`
	IdleTimeout                              Counter `stat:"idle_timeout"`
	MaxDownstreamConnectionDuration          Counter `stat:"max_downstream_connection_duration"`
	UpstreamFlushTotal                       Counter `stat:"upstream_flush_total"`

	DownstreamCxRxBytesBuffered Gauge `stat:"downstream_cx_rx_bytes_buffered"`
	DownstreamCxTxBytesBuffered Gauge `stat:"downstream_cx_tx_bytes_buffered"`
	UpstreamFlushActive         Gauge `stat:"upstream_flush_active"`
}

// NewTCPStats registers tcp.<statPrefix>.
func NewTCPStats(r *Registry, statPrefix string) *TCPStats {
	s := new(TCPStats)
	register(r, "tcp."+Clean(statPrefix)+".", s)
	return s
}

// OnDemandStats is what tcp.<stat_prefix>. has besides when on_demand is configured.
type OnDemandStats struct {
	Attempt Counter `stat:"on_demand_cluster_attempt"`
	Missing Counter `stat:"on_demand_cluster_missing"`
	Success Counter `stat:"on_demand_cluster_success"`
	Timeout Counter `stat:"on_demand_cluster_timeout"`
}

// NewOnDemandStats registers tcp.<statPrefix>.on_demand_cluster_.
func NewOnDemandStats(r *Registry, statPrefix string) *OnDemandStats {
	s := new(OnDemandStats)
	register(r, "tcp."+Clean(statPrefix)+".", s)
	return s
}
