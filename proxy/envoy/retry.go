//lint:file-ignore SA1019 deprecated fields are still common in configuration files

package envoy

import (
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	allowlistedv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/internal_redirect/allow_listed_routes/v3"
	previousroutesv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/internal_redirect/previous_routes/v3"
	safeschemev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/internal_redirect/safe_cross_scheme/v3"
	canaryv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/omit_canary_hosts/v3"
	omitmetadatav3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/omit_host_metadata/v3"
	previoushostsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/previous_hosts/v3"
	prioritiesv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/priority/previous_priorities/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/retry"
)

// retryPolicy compiles a RetryPolicy; nil for none.
func (c *compiler) retryPolicy(m *routev3.RetryPolicy, at place) *conf.RetryPolicy {
	if m == nil {
		return nil
	}
	out := conf.NewRetryPolicy(m.GetRetryOn())
	if _, known := retry.Parse(m.GetRetryOn()); !known {
		c.warn(at.field("retry_on"), "has a condition that is not known, which has no effect; known are: %s", strings.ReplaceAll(retry.All().String(), ",", " "))
	}
	if n := m.GetNumRetries(); n != nil {
		out.Retries, out.HasRetries = n.GetValue(), true
	}
	out.PerTryTimeout = c.duration(m.GetPerTryTimeout(), at.field("per_try_timeout"), 0)
	out.PerTryIdleTimeout = c.duration(m.GetPerTryIdleTimeout(), at.field("per_try_idle_timeout"), 0)
	for i, code := range m.GetRetriableStatusCodes() {
		if code < 100 || code > 599 {
			c.errs.at(at.field("retriable_status_codes").index(i), "%d is no status", code)
		}
		out.StatusCodes = append(out.StatusCodes, uint16(code))
	}
	for i, h := range m.GetRetriableHeaders() {
		out.Headers = append(out.Headers, c.headerMatcher(h, at.field("retriable_headers").index(i)))
	}
	for i, h := range m.GetRetriableRequestHeaders() {
		out.RequestHeaders = append(out.RequestHeaders, c.headerMatcher(h, at.field("retriable_request_headers").index(i)))
	}
	c.backOff(m, at, out)
	c.retryHosts(m, at, out)
	return out
}

func (c *compiler) backOff(m *routev3.RetryPolicy, at place, out *conf.RetryPolicy) {
	if b := m.GetRetryBackOff(); b != nil {
		here := at.field("retry_back_off")
		out.BackOffBase = max(time.Millisecond, c.duration(b.GetBaseInterval(), here.field("base_interval"), 0)) // ROUTER-31
		out.BackOffMax = c.duration(b.GetMaxInterval(), here.field("max_interval"), 0)
		if b.GetMaxInterval() != nil {
			if out.BackOffMax = max(time.Millisecond, out.BackOffMax); out.BackOffMax < out.BackOffBase {
				c.errs.at(here.field("max_interval"), "must not be less than base_interval")
			}
		}
	}
	if r := m.GetRateLimitedRetryBackOff(); r != nil {
		limited := &conf.RateLimitedBackOff{
			MaxInterval: c.duration(r.GetMaxInterval(), at.field("rate_limited_retry_back_off").field("max_interval"), 300*time.Second),
		}
		for _, h := range r.GetResetHeaders() {
			limited.ResetHeaders = append(limited.ResetHeaders, conf.ResetHeader{
				Name: strings.ToLower(h.GetName()), Unix: h.GetFormat() == routev3.RetryPolicy_UNIX_TIMESTAMP,
			})
		}
		out.RateLimited = limited
	}
}

// retryHosts compiles what says where retries go (router.md 5.5).
func (c *compiler) retryHosts(m *routev3.RetryPolicy, at place, out *conf.RetryPolicy) {
	for i, p := range m.GetRetryHostPredicate() {
		here := at.field("retry_host_predicate").index(i)
		if p.GetTypedConfig() == nil {
			c.errs.at(here, "typed_config is required; supported here: %s", alternatives(payloadsOf(hostPredicates)))
			continue
		}
		switch predicate := c.unpack(p.GetTypedConfig(), here).(type) {
		case *previoushostsv3.PreviousHostsPredicate:
			out.Predicates.PreviousHosts = true
		case *canaryv3.OmitCanaryHostsPredicate:
			out.Predicates.OmitCanary = true
		case *omitmetadatav3.OmitHostMetadataConfig:
			metadata := lbMetadata(predicate.GetMetadataMatch().GetFilterMetadata()[lbNamespace])
			if len(metadata) == 0 {
				c.warn(here, "omits no host: its metadata_match has nothing in envoy.lb")
				continue
			}
			out.Predicates.OmitMetadata = append(out.Predicates.OmitMetadata, metadata)
		}
	}
	// 0 is not set.
	switch n := m.GetHostSelectionRetryMaxAttempts(); {
	case n < 0 || n > maxHostSelections:
		c.errs.at(at.field("host_selection_retry_max_attempts"), "%d is not within 0 and %d", n, maxHostSelections)
	case n > 0:
		out.PredicateAttempts = int(n)
	}
	if p := m.GetRetryPriority(); p != nil {
		here := at.field("retry_priority")
		if p.GetTypedConfig() == nil {
			c.errs.at(here, "typed_config is required; supported here: %s", alternatives(payloadsOf(retryPriorities)))
			return
		}
		if previous, ok := c.unpack(p.GetTypedConfig(), here).(*prioritiesv3.PreviousPrioritiesConfig); ok {
			out.PriorityUpdateFrequency = int(previous.GetUpdateFrequency())
		}
	}
}

// maxHostSelections bounds how often a balancer is asked for one try.
const maxHostSelections = 1000

// hedgePolicy compiles a HedgePolicy: nothing of it but the timeout form is there (ROUTER-50).
func (c *compiler) hedgePolicy(m *routev3.HedgePolicy, at place) *conf.HedgePolicy {
	if m == nil {
		return nil
	}
	if n := m.GetInitialRequests(); n != nil && n.GetValue() > 1 {
		c.errs.at(at.field("initial_requests"), "not supported: more than one request at once; hedging begins with a per-try timeout")
	}
	if m.GetAdditionalRequestChance().GetNumerator() > 0 {
		c.errs.at(at.field("additional_request_chance"), "not supported: more than one request at once; hedging begins with a per-try timeout")
	}
	return &conf.HedgePolicy{OnPerTryTimeout: m.GetHedgeOnPerTryTimeout()}
}

// mirrors compiles request_mirror_policies (RT-82); nil for none.
func (c *compiler) mirrors(list []*routev3.RouteAction_RequestMirrorPolicy, at place, config *conf.RouteConfiguration) []conf.MirrorPolicy {
	var out []conf.MirrorPolicy
	for i, m := range list {
		here := at.index(i)
		one := conf.MirrorPolicy{
			Cluster: m.GetCluster(), ClusterHeader: strings.ToLower(m.GetClusterHeader()), Fraction: conf.Fraction{Numerator: 100, Denominator: 100},
			KeepHost: m.GetDisableShadowHostSuffixAppend(), HostRewrite: m.GetHostRewriteLiteral(),
		}
		switch {
		case (one.Cluster == "") == (one.ClusterHeader == ""):
			c.errs.at(here, "exactly one of cluster and cluster_header is required")
		case one.Cluster != "" && config.ValidateClusters && c.clusters[one.Cluster] == nil:
			c.errs.at(here.field("cluster"), "there is no cluster %s", shorten(one.Cluster))
		}
		if f := m.GetRuntimeFraction(); f != nil {
			one.RuntimeKey = f.GetRuntimeKey()
			one.Fraction = fraction(f.GetDefaultValue())
		}
		for j, mutation := range m.GetRequestHeadersMutations() {
			there := here.field("request_headers_mutations").index(j)
			if name := mutation.GetRemove(); name != "" {
				one.Headers.RequestRemove = append(one.Headers.RequestRemove, strings.ToLower(name))
			}
			if add := mutation.GetAppend(); add != nil {
				one.Headers.RequestAdd = append(one.Headers.RequestAdd, c.headerValues([]*corev3.HeaderValueOption{add}, there.field("append"))...)
			}
		}
		out = append(out, one)
	}
	return out
}

// redirectCodes are what internal redirects may follow (ROUTER-65).
var redirectCodes = map[uint32]bool{301: true, 302: true, 303: true, 307: true, 308: true}

// internalRedirect compiles an InternalRedirectPolicy; nil for none.
func (c *compiler) internalRedirect(m *routev3.InternalRedirectPolicy, at place) *conf.InternalRedirectPolicy {
	if m == nil {
		return nil
	}
	out := &conf.InternalRedirectPolicy{
		Max: number(m.GetMaxInternalRedirects(), 1), AllowCrossScheme: m.GetAllowCrossSchemeRedirect(), HeadersToCopy: lowerAll(m.GetResponseHeadersToCopy()),
	}
	for i, code := range m.GetRedirectResponseCodes() {
		if !redirectCodes[code] {
			c.warn(at.field("redirect_response_codes").index(i), "has no effect: %d is none of 301, 302, 303, 307 and 308", code)
			continue
		}
		out.Codes = append(out.Codes, uint16(code))
	}
	if len(m.GetRedirectResponseCodes()) == 0 {
		out.Codes = []uint16{302}
	}
	for i, p := range m.GetPredicates() {
		here := at.field("predicates").index(i)
		if p.GetTypedConfig() == nil {
			c.errs.at(here, "typed_config is required; supported here: %s", alternatives(payloadsOf(redirectPredicates)))
			continue
		}
		switch predicate := c.unpack(p.GetTypedConfig(), here).(type) {
		case *previousroutesv3.PreviousRoutesConfig:
			out.Predicates = append(out.Predicates, conf.RedirectPredicate{Kind: conf.RedirectPreviousRoutes})
		case *allowlistedv3.AllowListedRoutesConfig:
			out.Predicates = append(out.Predicates, conf.RedirectPredicate{Kind: conf.RedirectAllowListedRoutes, Routes: predicate.GetAllowedRouteNames()})
		case *safeschemev3.SafeCrossSchemeConfig:
			out.Predicates = append(out.Predicates, conf.RedirectPredicate{Kind: conf.RedirectSafeCrossScheme})
		default:
			c.errs.at(here.field("typed_config"), "is no predicate of internal redirects; supported here: %s", alternatives(payloadsOf(redirectPredicates)))
		}
	}
	return out
}

// actionPolicies compiles what a RouteAction says of tries into its route's policies.
func (c *compiler) actionPolicies(m *routev3.RouteAction, at place, config *conf.RouteConfiguration, out *conf.RoutePolicies) {
	out.Retry = c.retryPolicy(m.GetRetryPolicy(), at.field("retry_policy"))
	out.Hedge = c.hedgePolicy(m.GetHedgePolicy(), at.field("hedge_policy"))
	out.Mirrors = c.mirrors(m.GetRequestMirrorPolicies(), at.field("request_mirror_policies"), config)
	out.InternalRedirect = c.internalRedirect(m.GetInternalRedirectPolicy(), at.field("internal_redirect_policy"))
	c.oldRedirect(m, at, out)
}

// oldRedirect compiles internal_redirect_action and max_internal_redirects, which came before
// internal_redirect_policy.
func (c *compiler) oldRedirect(m *routev3.RouteAction, at place, out *conf.RoutePolicies) {
	if m.GetInternalRedirectAction() != routev3.RouteAction_HANDLE_INTERNAL_REDIRECT || out.InternalRedirect != nil {
		return
	}
	out.InternalRedirect = &conf.InternalRedirectPolicy{Max: number(m.GetMaxInternalRedirects(), 1), Codes: []uint16{302}}
}

// bodyLimits compiles what bounds a request body that is kept (ROUTER-61).
func bodyLimits(limit *wrapperspb.UInt64Value, old *wrapperspb.UInt32Value, out *conf.RoutePolicies) {
	out.BodyBufferLimit, out.HasBodyBufferLimit = limit.GetValue(), limit != nil
	out.PerRequestBufferLimit, out.HasPerRequestBufferLimit = uint64(old.GetValue()), old != nil
}

// hostPolicies compiles what a virtual host says of tries.
func (c *compiler) hostPolicies(m *routev3.VirtualHost, at place, config *conf.RouteConfiguration, out *conf.VirtualHost) {
	out.Retry = c.retryPolicy(m.GetRetryPolicy(), at.field("retry_policy"))
	out.Hedge = c.hedgePolicy(m.GetHedgePolicy(), at.field("hedge_policy"))
	out.Mirrors = c.mirrors(m.GetRequestMirrorPolicies(), at.field("request_mirror_policies"), config)
	out.IncludeTimeoutRetry = m.GetIncludeIsTimeoutRetryHeader()
	bodyLimits(m.GetRequestBodyBufferLimit(), m.GetPerRequestBufferLimitBytes(), &out.RoutePolicies)
}
