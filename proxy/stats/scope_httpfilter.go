package stats

// CORSStats is http.<stat_prefix>.cors.
type CORSStats struct {
	OriginValid   Counter `stat:"origin_valid"`
	OriginInvalid Counter `stat:"origin_invalid"`
}

// NewCORSStats registers cors below prefix, which ends with a dot, as do those below.
func NewCORSStats(r *Registry, prefix string) *CORSStats {
	s := new(CORSStats)
	register(r, prefix+"cors.", s)
	return s
}

// FaultStats is http.<stat_prefix>.fault.
type FaultStats struct {
	DelaysInjected     Counter `stat:"delays_injected"`
	AbortsInjected     Counter `stat:"aborts_injected"`
	ResponseRLInjected Counter `stat:"response_rl_injected"`
	FaultsOverflow     Counter `stat:"faults_overflow"`
	ActiveFaults       Gauge   `stat:"active_faults"`
}

// NewFaultStats registers fault.
func NewFaultStats(r *Registry, prefix string) *FaultStats {
	s := new(FaultStats)
	register(r, prefix+"fault.", s)
	return s
}

// HTTPLocalRateLimitStats is <stat_prefix>.http_local_rate_limit.
type HTTPLocalRateLimitStats struct {
	Enabled     Counter `stat:"enabled"`
	OK          Counter `stat:"ok"`
	RateLimited Counter `stat:"rate_limited"`
	Enforced    Counter `stat:"enforced"`
}

// NewHTTPLocalRateLimitStats registers http_local_rate_limit.
func NewHTTPLocalRateLimitStats(r *Registry, statPrefix string) *HTTPLocalRateLimitStats {
	s := new(HTTPLocalRateLimitStats)
	register(r, Clean(statPrefix)+".http_local_rate_limit.", s)
	return s
}

// HTTPRBACStats is http.<stat_prefix>.rbac.[<rules_stat_prefix>].
type HTTPRBACStats struct {
	Allowed Counter `stat:"allowed"`
	Denied  Counter `stat:"denied"`
}

// HTTPRBACShadowStats is http.<stat_prefix>.rbac.[<shadow_rules_stat_prefix>].
type HTTPRBACShadowStats struct {
	ShadowAllowed Counter `stat:"shadow_allowed"`
	ShadowDenied  Counter `stat:"shadow_denied"`
}

// NewHTTPRBACStats registers rbac; rules is a prefix as it stands, often empty.
func NewHTTPRBACStats(r *Registry, prefix, rules string) *HTTPRBACStats {
	s := new(HTTPRBACStats)
	register(r, prefix+"rbac."+Clean(rules), s)
	return s
}

// NewHTTPRBACShadowStats registers the shadow rules' part.
func NewHTTPRBACShadowStats(r *Registry, prefix, rules string) *HTTPRBACShadowStats {
	s := new(HTTPRBACShadowStats)
	register(r, prefix+"rbac."+Clean(rules), s)
	return s
}
