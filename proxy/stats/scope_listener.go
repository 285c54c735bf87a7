package stats

import "strconv"

// ListenerStats is listener.<address>. (operations.md 3).
type ListenerStats struct {
	DownstreamCxTotal   Counter `stat:"downstream_cx_total"`
	DownstreamCxDestroy Counter `stat:"downstream_cx_destroy"`

	DownstreamCxTransportSocketConnectTimeout Counter `stat:"downstream_cx_transport_socket_connect_timeout"`

	DownstreamPreCxTimeout              Counter `stat:"downstream_pre_cx_timeout"`
	DownstreamListenerFilterRemoteClose Counter `stat:"downstream_listener_filter_remote_close"`
	DownstreamListenerFilterError       Counter `stat:"downstream_listener_filter_error"`
	NoFilterChainMatch                  Counter `stat:"no_filter_chain_match"`

	DownstreamCxActive    Gauge `stat:"downstream_cx_active"`
	DownstreamPreCxActive Gauge `stat:"downstream_pre_cx_active"`

	DownstreamCxLengthMs Histogram `stat:"downstream_cx_length_ms,ms"`
}

// NewListenerStats registers listener.<addressOrPrefix>.: the address as ip:port, or stat_prefix.
func NewListenerStats(r *Registry, addressOrPrefix string) *ListenerStats {
	s := new(ListenerStats)
	register(r, "listener."+Clean(addressOrPrefix)+".", s)
	return s
}

// ListenerWorkerStats is listener.<address>.worker_<n>.: one loop's share of a listener.
type ListenerWorkerStats struct {
	DownstreamCxTotal  Counter `stat:"downstream_cx_total"`
	DownstreamCxActive Gauge   `stat:"downstream_cx_active"`
}

// NewListenerWorkerStats registers listener.<addressOrPrefix>.worker_<worker>.
func NewListenerWorkerStats(r *Registry, addressOrPrefix string, worker int) *ListenerWorkerStats {
	s := new(ListenerWorkerStats)
	register(r, "listener."+Clean(addressOrPrefix)+".worker_"+strconv.Itoa(worker)+".", s)
	return s
}

// ListenerManagerStats is listener_manager.; the control plane's.
type ListenerManagerStats struct {
	ListenerAdded             *ColdCounter `stat:"listener_added"`
	ListenerModified          *ColdCounter `stat:"listener_modified"`
	ListenerRemoved           *ColdCounter `stat:"listener_removed"`
	ListenerStopped           *ColdCounter `stat:"listener_stopped"`
	ListenerCreateSuccess     *ColdCounter `stat:"listener_create_success"`
	ListenerCreateFailure     *ColdCounter `stat:"listener_create_failure"`
	ListenerInPlaceUpdated    *ColdCounter `stat:"listener_in_place_updated"`
	TotalListenersActive      *ColdGauge   `stat:"total_listeners_active"`
	TotalListenersWarming     *ColdGauge   `stat:"total_listeners_warming"`
	TotalListenersDraining    *ColdGauge   `stat:"total_listeners_draining"`
	TotalFilterChainsDraining *ColdGauge   `stat:"total_filter_chains_draining"`
	WorkersStarted            *ColdGauge   `stat:"workers_started"`
}

// NewListenerManagerStats registers listener_manager.
func NewListenerManagerStats(r *Registry) *ListenerManagerStats {
	s := new(ListenerManagerStats)
	register(r, "listener_manager.", s)
	return s
}
