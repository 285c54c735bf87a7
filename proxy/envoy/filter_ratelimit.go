package envoy

import (
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/local_ratelimit/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

func (c *compiler) httpRateLimit(m *ratelimitv3.LocalRateLimit, at place) *conf.LocalRateLimitFilter {
	out := &conf.LocalRateLimitFilter{
		StatPrefix: m.GetStatPrefix(), Status: uint16(m.GetStatus().GetCode()),
		Enabled: *c.runtimeFraction(m.GetFilterEnabled(), at.field("filter_enabled")), Enforced: *c.runtimeFraction(m.GetFilterEnforced(), at.field("filter_enforced")),
		AddWhenNotEnforced: c.headerValues(m.GetRequestHeadersToAddWhenNotEnforced(), at.field("request_headers_to_add_when_not_enforced")),
		AddToResponse:      c.headerValues(m.GetResponseHeadersToAdd(), at.field("response_headers_to_add")),
		PerConnection:      m.GetLocalRateLimitPerDownstreamConnection(),
		AlwaysDefault:      boolean(m.GetAlwaysConsumeDefaultTokenBucket(), true),
		XRateLimit:         m.GetEnableXRatelimitHeaders() != 0,
		ResourceExhausted:  m.GetRateLimitedAsResourceExhausted(),
	}
	if out.Status < 400 { // as Envoy reads what is no error
		out.Status = 429
	}
	if b := m.GetTokenBucket(); b != nil {
		bucket := c.tokenBucket(b, at.field("token_bucket"))
		out.Bucket = &bucket
	} else if m.GetFilterEnabled() != nil && len(m.GetDescriptors()) == 0 {
		c.errs.at(at, "token_bucket is required")
	}
	for i, d := range m.GetDescriptors() {
		here := at.field("descriptors").index(i)
		compiled := conf.RateLimitDescriptor{Bucket: c.tokenBucket(d.GetTokenBucket(), here.field("token_bucket"))}
		for j, e := range d.GetEntries() {
			if e.GetValue() == "" {
				c.errs.at(here.field("entries").index(j), "value is required: descriptors for any value are not part of this version")
			}
			compiled.Entries = append(compiled.Entries, conf.RateLimitEntry{Key: e.GetKey(), Value: e.GetValue()})
		}
		out.Descriptors = append(out.Descriptors, compiled)
	}
	for i, l := range m.GetRateLimits() {
		out.Limits = append(out.Limits, c.rateLimit(l, at.field("rate_limits").index(i)))
	}
	if len(out.Descriptors) > 0 && len(out.Limits) == 0 {
		c.warn(at.field("descriptors"), "have no effect without rate_limits, which make the descriptors of a request")
	}
	return out
}

func (c *compiler) tokenBucket(m *typev3.TokenBucket, at place) conf.TokenBucket {
	out := conf.TokenBucket{
		MaxTokens: m.GetMaxTokens(), TokensPerFill: number(m.GetTokensPerFill(), 1), FillInterval: c.duration(m.GetFillInterval(), at.field("fill_interval"), 0),
	}
	if out.MaxTokens == 0 {
		c.errs.at(at.field("max_tokens"), "must be greater than 0: no request could pass")
	}
	if out.FillInterval < minFillInterval {
		c.errs.at(at.field("fill_interval"), "must be at least %v", minFillInterval)
	}
	return out
}

// rateLimit compiles the actions that make one descriptor.
func (c *compiler) rateLimit(m *routev3.RateLimit, at place) conf.RateLimit {
	var out conf.RateLimit
	for i, a := range m.GetActions() {
		here := at.field("actions").index(i)
		key := func(own, def string) string {
			if own == "" {
				return def
			}
			return own
		}
		var action conf.RateLimitAction
		switch s := a.GetActionSpecifier().(type) {
		case *routev3.RateLimit_Action_GenericKey_:
			action = conf.RateLimitAction{Kind: conf.RateLimitGenericKey, Key: key(s.GenericKey.GetDescriptorKey(), "generic_key"), Value: s.GenericKey.GetDescriptorValue()}
		case *routev3.RateLimit_Action_RequestHeaders_:
			action = conf.RateLimitAction{
				Kind: conf.RateLimitRequestHeader, Key: s.RequestHeaders.GetDescriptorKey(), Header: strings.ToLower(s.RequestHeaders.GetHeaderName()),
				SkipAbsent: s.RequestHeaders.GetSkipIfAbsent(),
			}
		case *routev3.RateLimit_Action_RemoteAddress_:
			action = conf.RateLimitAction{Kind: conf.RateLimitRemoteAddress, Key: "remote_address"}
		case *routev3.RateLimit_Action_HeaderValueMatch_:
			action = conf.RateLimitAction{
				Kind: conf.RateLimitHeaderValueMatch, Key: key(s.HeaderValueMatch.GetDescriptorKey(), "header_match"), Value: s.HeaderValueMatch.GetDescriptorValue(),
				Headers: c.headerMatchers(s.HeaderValueMatch.GetHeaders(), here.field("header_value_match").field("headers")),
				Expect:  boolean(s.HeaderValueMatch.GetExpectMatch(), true),
			}
		case *routev3.RateLimit_Action_SourceCluster_:
			action = conf.RateLimitAction{Kind: conf.RateLimitSourceCluster, Key: "source_cluster", Value: c.node.Cluster}
		case *routev3.RateLimit_Action_DestinationCluster_:
			action = conf.RateLimitAction{Kind: conf.RateLimitDestinationCluster, Key: "destination_cluster"}
		}
		out.Actions = append(out.Actions, action)
	}
	return out
}
