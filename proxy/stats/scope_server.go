package stats

import "runtime/metrics"

// ServerStats is server. (operations.md 3); the control plane's. What changes by itself
// (uptime, memory) is computed when read.
type ServerStats struct {
	Concurrency                *ColdGauge     `stat:"concurrency"`
	Live                       *ColdGauge     `stat:"live"`
	State                      *ColdGauge     `stat:"state"` // 0 live, 1 draining, 2 pre-initializing, 3 initializing
	ParentConnections          *ColdGauge     `stat:"parent_connections"`
	TotalConnections           *ColdGauge     `stat:"total_connections"`
	Version                    *ColdGauge     `stat:"version"`
	DaysUntilFirstCertExpiring *ColdGauge     `stat:"days_until_first_cert_expiring"`
	HotRestartEpoch            *ColdGauge     `stat:"hot_restart_epoch"`
	StaticUnknownFields        *ColdCounter   `stat:"static_unknown_fields"`
	DynamicUnknownFields       *ColdCounter   `stat:"dynamic_unknown_fields"`
	DebugAssertionFailures     *ColdCounter   `stat:"debug_assertion_failures"`
	InitializationTimeMs       *ColdHistogram `stat:"initialization_time_ms,ms"`
}

// NewServerStats registers server.; uptime answers server.uptime in seconds. Memory is the Go
// runtime's view.
func NewServerStats(r *Registry, uptime func() int64) *ServerStats {
	s := new(ServerStats)
	register(r, "server.", s)
	r.GaugeFunc("server.uptime", uptime)
	r.GaugeFunc("server.memory_allocated", func() int64 { return readMetric("/memory/classes/heap/objects:bytes") })
	r.GaugeFunc("server.memory_heap_size", func() int64 {
		return readMetric("/memory/classes/total:bytes") - readMetric("/memory/classes/heap/released:bytes")
	})
	return s
}

func readMetric(name string) int64 {
	sample := []metrics.Sample{{Name: name}}
	metrics.Read(sample)
	return int64(sample[0].Value.Uint64())
}

// RuntimeStats is runtime. (OP-32).
type RuntimeStats struct {
	LoadSuccess          *ColdCounter `stat:"load_success"`
	LoadError            *ColdCounter `stat:"load_error"`
	NumKeys              *ColdGauge   `stat:"num_keys"`
	NumLayers            *ColdGauge   `stat:"num_layers"`
	AdminOverridesActive *ColdGauge   `stat:"admin_overrides_active"`
	DeprecatedFeatureUse *ColdCounter `stat:"deprecated_feature_use"`
	OverrideDirExists    *ColdCounter `stat:"override_dir_exists"`
	OverrideDirNotExists *ColdCounter `stat:"override_dir_not_exists"`
}

// NewRuntimeStats registers runtime.
func NewRuntimeStats(r *Registry) *RuntimeStats {
	s := new(RuntimeStats)
	register(r, "runtime.", s)
	return s
}

// FilesystemStats is filesystem.: the access-log files.
type FilesystemStats struct {
	WriteBuffered      *ColdCounter `stat:"write_buffered"`
	WriteCompleted     *ColdCounter `stat:"write_completed"`
	WriteFailed        *ColdCounter `stat:"write_failed"`
	FlushedByTimer     *ColdCounter `stat:"flushed_by_timer"`
	ReopenFailed       *ColdCounter `stat:"reopen_failed"`
	WriteTotalBuffered *ColdGauge   `stat:"write_total_buffered"`
	// LinesDropped counts what a full queue cost; Envoy, which blocks or grows instead, has no such name.
	LinesDropped *ColdCounter `stat:"lines_dropped"`
}

// NewFilesystemStats registers filesystem.
func NewFilesystemStats(r *Registry) *FilesystemStats {
	s := new(FilesystemStats)
	register(r, "filesystem.", s)
	return s
}
