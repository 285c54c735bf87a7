package envoy

import (
	"maps"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	bufferv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/buffer/v3"
	corsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	healthv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/health_check/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

func (c *compiler) bufferFilter(m *bufferv3.Buffer, at place) *conf.BufferFilter {
	if m.GetMaxRequestBytes() == nil {
		c.errs.at(at, "max_request_bytes is required")
	}
	return &conf.BufferFilter{MaxRequestBytes: m.GetMaxRequestBytes().GetValue()}
}

func (c *compiler) corsPolicy(m *corsv3.CorsPolicy, at place) *conf.CORSPolicy {
	out := &conf.CORSPolicy{
		AllowMethods: m.GetAllowMethods(), AllowHeaders: m.GetAllowHeaders(), ExposeHeaders: m.GetExposeHeaders(), MaxAge: m.GetMaxAge(),
		AllowCredentials: m.GetAllowCredentials().GetValue(), AllowPrivateNetwork: m.GetAllowPrivateNetworkAccess().GetValue(),
		ForwardPreflights: boolean(m.GetForwardNotMatchingPreflights(), true),
	}
	for i, origin := range m.GetAllowOriginStringMatch() {
		s := c.stringMatcher(origin, at.field("allow_origin_string_match").index(i))
		out.AllowOrigins = append(out.AllowOrigins, conf.StringMatcher{Kind: s.kind, Value: s.value, IgnoreCase: s.ignoreCase})
	}
	if m.GetFilterEnabled() != nil {
		out.Enabled = c.runtimeFraction(m.GetFilterEnabled(), at.field("filter_enabled"))
	}
	if m.GetShadowEnabled() != nil {
		out.Shadow = c.runtimeFraction(m.GetShadowEnabled(), at.field("shadow_enabled"))
	}
	return out
}

func (c *compiler) headerMutations(m *mutationv3.Mutations, at place) *conf.HeaderMutationFilter {
	out := &conf.HeaderMutationFilter{}
	for i, hm := range m.GetRequestMutations() {
		out.Request = append(out.Request, c.oneMutation(hm.GetRemove(), hm.GetAppend(), at.field("request_mutations").index(i)))
	}
	for i, hm := range m.GetResponseMutations() {
		out.Response = append(out.Response, c.oneMutation(hm.GetRemove(), hm.GetAppend(), at.field("response_mutations").index(i)))
	}
	return out
}

func (c *compiler) oneMutation(remove string, add *corev3.HeaderValueOption, at place) conf.HeaderMutation {
	if add == nil {
		return conf.HeaderMutation{Remove: c.headerName(remove, at.field("remove"))}
	}
	v := c.headerValue(add, at.field("append"))
	return conf.HeaderMutation{Add: &v}
}

func (c *compiler) faultFilter(m *faultv3.HTTPFault, at place) *conf.FaultFilter {
	out := &conf.FaultFilter{
		UpstreamCluster: m.GetUpstreamCluster(), DownstreamNodes: m.GetDownstreamNodes(), Headers: c.headerMatchers(m.GetHeaders(), at.field("headers")),
		MaxActive: m.GetMaxActiveFaults().GetValue(), HasMaxActive: m.GetMaxActiveFaults() != nil, Runtime: conf.NewFaultRuntime(),
	}
	if d := m.GetDelay(); d != nil {
		here := at.field("delay")
		out.Delay = &conf.FaultDelay{
			Fixed: c.duration(d.GetFixedDelay(), here.field("fixed_delay"), 0), ByHeader: d.GetHeaderDelay() != nil, Percent: fraction(d.GetPercentage()),
		}
	}
	if a := m.GetAbort(); a != nil {
		out.Abort = &conf.FaultAbort{
			Status: uint16(a.GetHttpStatus()), GRPC: a.GetGrpcStatus(), ByHeader: a.GetHeaderAbort() != nil, Percent: fraction(a.GetPercentage()),
		}
		_, out.Abort.HasGRPC = a.GetErrorType().(*faultv3.FaultAbort_GrpcStatus)
		if out.Abort.GRPC > 16 {
			c.errs.at(at.field("abort").field("grpc_status"), "%d is not a gRPC status: they go from 0 to 16", out.Abort.GRPC)
		}
	}
	if r := m.GetResponseRateLimit(); r != nil {
		out.RateLimit = &conf.FaultRateLimit{
			KiBPerSecond: r.GetFixedLimit().GetLimitKbps(), ByHeader: r.GetHeaderLimit() != nil, Percent: fraction(r.GetPercentage()),
		}
	}
	for _, k := range []struct {
		own string
		key *string
	}{
		{m.GetDelayPercentRuntime(), &out.Runtime.DelayPercent},
		{m.GetDelayDurationRuntime(), &out.Runtime.DelayDuration},
		{m.GetAbortPercentRuntime(), &out.Runtime.AbortPercent},
		{m.GetAbortHttpStatusRuntime(), &out.Runtime.AbortStatus},
		{m.GetAbortGrpcStatusRuntime(), &out.Runtime.AbortGRPC},
		{m.GetMaxActiveFaultsRuntime(), &out.Runtime.MaxActive},
		{m.GetResponseRateLimitPercentRuntime(), &out.Runtime.RateLimitPercent},
	} {
		if k.own != "" {
			*k.key = k.own
		}
	}
	return out
}

func (c *compiler) headerMatchers(list []*routev3.HeaderMatcher, at place) (out []*conf.HeaderMatcher) {
	for i, m := range list {
		out = append(out, c.headerMatcher(m, at.index(i)))
	}
	return out
}

func (c *compiler) healthCheckFilter(m *healthv3.HealthCheck, at place) *conf.HealthCheckFilter {
	out := &conf.HealthCheckFilter{
		PassThrough: m.GetPassThroughMode().GetValue(), CacheTime: c.duration(m.GetCacheTime(), at.field("cache_time"), 0),
		Headers: c.headerMatchers(m.GetHeaders(), at.field("headers")),
	}
	percentages := m.GetClusterMinHealthyPercentages()
	for _, name := range slices.Sorted(maps.Keys(percentages)) {
		out.MinHealthy = append(out.MinHealthy, conf.ClusterPercentage{Cluster: name, Percent: percentages[name].GetValue()})
	}
	if out.CacheTime > 0 && !out.PassThrough {
		c.errs.at(at.field("cache_time"), "needs pass_through_mode")
	}
	if len(out.MinHealthy) > 0 && out.PassThrough {
		c.errs.at(at.field("cluster_min_healthy_percentages"), "excludes pass_through_mode")
	}
	return out
}

func (c *compiler) httpRBAC(m *rbacv3.RBAC, at place) *conf.HTTPRBAC {
	return &conf.HTTPRBAC{
		Rules: c.rbac(m.GetRules(), at.field("rules"), true), ShadowRules: c.rbac(m.GetShadowRules(), at.field("shadow_rules"), true),
		RulesStatPrefix: dotted(m.GetRulesStatPrefix()), ShadowRulesStatPrefix: dotted(m.GetShadowRulesStatPrefix()),
	}
}

// dotted ends a stat prefix with a dot, unless it is empty or does.
func dotted(prefix string) string {
	if prefix == "" || strings.HasSuffix(prefix, ".") {
		return prefix
	}
	return prefix + "."
}
