package stats

import "strings"

// NetworkRBACStats is <stat_prefix>.rbac.: what the rules of a network RBAC filter decided.
type NetworkRBACStats struct {
	Allowed Counter `stat:"allowed"`
	Denied  Counter `stat:"denied"`
}

// NewNetworkRBACStats registers <statPrefix>.rbac.
func NewNetworkRBACStats(r *Registry, statPrefix string) *NetworkRBACStats {
	s := new(NetworkRBACStats)
	register(r, joinPrefix(statPrefix, "rbac."), s)
	return s
}

// NetworkRBACShadowStats is <stat_prefix>.rbac.[<shadow_rules_stat_prefix>.]: what its shadow rules
// would have decided.
type NetworkRBACShadowStats struct {
	ShadowAllowed Counter `stat:"shadow_allowed"`
	ShadowDenied  Counter `stat:"shadow_denied"`
}

// NewNetworkRBACShadowStats registers <statPrefix>.rbac.<shadowPrefix>.; shadowPrefix may be empty.
func NewNetworkRBACShadowStats(r *Registry, statPrefix, shadowPrefix string) *NetworkRBACShadowStats {
	s := new(NetworkRBACShadowStats)
	register(r, joinPrefix(joinPrefix(statPrefix, "rbac."), shadowPrefix), s)
	return s
}

// joinPrefix puts a dot between two parts of a prefix, and behind the second, unless there is one.
func joinPrefix(first, second string) string {
	out := ""
	for _, part := range []string{Clean(first), Clean(second)} {
		if out += part; part != "" && !strings.HasSuffix(out, ".") {
			out += "."
		}
	}
	return out
}

// ConnectionLimitStats is connection_limit.<stat_prefix>. A connection is admitted on one loop, and its
// end is heard without one: so the gauge is cold.
type ConnectionLimitStats struct {
	LimitedConnections Counter    `stat:"limited_connections"`
	ActiveConnections  *ColdGauge `stat:"active_connections"`
}

// NewConnectionLimitStats registers connection_limit.<statPrefix>.
func NewConnectionLimitStats(r *Registry, statPrefix string) *ConnectionLimitStats {
	s := new(ConnectionLimitStats)
	register(r, joinPrefix("connection_limit.", statPrefix), s)
	return s
}

// NetworkLocalRateLimitStats is local_rate_limit.<stat_prefix>.
type NetworkLocalRateLimitStats struct {
	RateLimited Counter `stat:"rate_limited"`
}

// NewNetworkLocalRateLimitStats registers local_rate_limit.<statPrefix>.
func NewNetworkLocalRateLimitStats(r *Registry, statPrefix string) *NetworkLocalRateLimitStats {
	s := new(NetworkLocalRateLimitStats)
	register(r, joinPrefix("local_rate_limit.", statPrefix), s)
	return s
}

// SetFilterStateStats is set_filter_state., shared by all filters of the kind. Envoy, which says such
// things in a debug log, has no such name.
type SetFilterStateStats struct {
	// Refused counts values that were not set: the factory does not take them, or the key is read-only.
	Refused Counter `stat:"refused"`
}

// NewSetFilterStateStats registers set_filter_state.
func NewSetFilterStateStats(r *Registry) *SetFilterStateStats {
	s := new(SetFilterStateStats)
	register(r, "set_filter_state.", s)
	return s
}
