package cluster

import (
	"strings"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// HealthFlags say why a host is not, or not fully, usable. Their names are those of /clusters.
type HealthFlags uint32

// Health flags.
const (
	// FailedActive: active health checks say so.
	FailedActive HealthFlags = 1 << iota
	// FailedOutlier: outlier detection has ejected it.
	FailedOutlier
	// FailedConfigured: its health_status says so.
	FailedConfigured
	// DegradedActive: active health checks find it degraded.
	DegradedActive
	// DegradedConfigured: its health_status says so.
	DegradedConfigured
	// PendingRemoval: it left the configuration and stays until it is unhealthy.
	PendingRemoval
	// PendingActive: it has not been checked yet, and does not count before it is.
	PendingActive
	// Excluded: an answer said x-envoy-immediate-health-check-fail.
	Excluded
	// ActiveTimeout: the latest active check that failed did so for a timeout.
	ActiveTimeout
	// Draining: its health_status says so.
	Draining
)

const (
	unhealthyFlags = FailedActive | FailedOutlier | FailedConfigured | Draining
	degradedFlags  = DegradedActive | DegradedConfigured
	excludedFlags  = PendingActive | Excluded | Draining
)

var flagNames = [...]string{
	"failed_active_hc", "failed_outlier_check", "failed_eds_health", "degraded_active_hc", "degraded_eds_health",
	"pending_dynamic_removal", "pending_active_hc", "excluded_via_immediate_hc_fail", "active_hc_timeout", "eds_status_draining",
}

// String returns the flags as /clusters prints them.
func (f HealthFlags) String() string {
	var out strings.Builder
	for i, name := range flagNames {
		if f&(1<<i) != 0 {
			out.WriteString("/" + name)
		}
	}
	if out.Len() == 0 {
		return "healthy"
	}
	return out.String()
}

// Healthy, Degraded and Excluded say what the flags mean for balancing; neither of the first two is
// unhealthy.
func (f HealthFlags) Healthy() bool { return f&(unhealthyFlags|degradedFlags) == 0 }

// Degraded says that the host is used after the healthy ones (CL-21).
func (f HealthFlags) Degraded() bool { return f&unhealthyFlags == 0 && f&degradedFlags != 0 }

// Excluded says that the host does not count in any total (CL-21).
func (f HealthFlags) Excluded() bool { return f&excludedFlags != 0 }

// Flags returns the host's flags now; those of a set are what they were when it was made.
func (h *Host) Flags() HealthFlags {
	f := HealthFlags(h.flags.Load())
	switch h.Health {
	case conf.EndpointDegraded:
		f |= DegradedConfigured
	case conf.EndpointUnhealthy:
		f |= FailedConfigured
	case conf.EndpointDraining:
		f |= Draining
	}
	return f
}

// mark sets or takes back flags and says whether that changed any.
func (h *Host) mark(f HealthFlags, on bool) bool {
	if on {
		return HealthFlags(h.flags.Or(uint32(f)))&f != f
	}
	return HealthFlags(h.flags.And(^uint32(f)))&f != 0
}
