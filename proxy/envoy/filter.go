package envoy

import (
	"maps"
	"slices"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	bufferv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/buffer/v3"
	corsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	dfpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/dynamic_forward_proxy/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	healthv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/health_check/v3"
	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/local_ratelimit/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// httpFilters compiles a manager's chain.
func (c *compiler) httpFilters(list []*hcmv3.HttpFilter, at place, out *conf.HTTPConnectionManager) {
	filters, router, here := c.filterList(list, at)
	out.Filters = filters
	if router != nil {
		out.Router = conf.Router{
			DynamicStats: boolean(router.GetDynamicStats(), true), SuppressEnvoyHeaders: router.GetSuppressEnvoyHeaders(),
			StrictCheckHeaders: lowerAll(router.GetStrictCheckHeaders()), RespectExpectedTimeout: router.GetRespectExpectedRqTimeout(),
			SuppressGRPCCodeStats: router.GetSuppressGrpcRequestFailureCodeStats(),
		}
		out.Router.RejectConnectEarlyData = c.rejectsEarlyData(router)
		c.upstreamLogs(router, here, &out.Router)
	}
}

// upstreamLogs compiles what the router logs of its attempts.
func (c *compiler) upstreamLogs(m *routerv3.Router, at place, out *conf.Router) {
	out.UpstreamLogs = c.accessLogs(m.GetUpstreamLog(), at.field("upstream_log"))
	options, here := m.GetUpstreamLogOptions(), at.field("upstream_log_options")
	out.LogOnUpstreamStream = options.GetFlushUpstreamLogOnUpstreamStream()
	out.UpstreamLogInterval = c.duration(options.GetUpstreamLogFlushInterval(), here.field("upstream_log_flush_interval"), 0)
	if len(m.GetUpstreamLog()) == 0 && (out.LogOnUpstreamStream || out.UpstreamLogInterval > 0) {
		c.warn(here, "has no effect without upstream_log")
	}
}

// filterList compiles a chain of any filters that ends with the router, whose configuration and place it
// returns too.
func (c *compiler) filterList(list []*hcmv3.HttpFilter, at place) (out []*conf.HTTPFilter, router *routerv3.Router, routerAt place) {
	if len(list) == 0 {
		c.errs.at(at, "the router is required as the last filter")
		return nil, nil, at
	}
	terminated, failed := false, false
	for i, m := range list {
		here := at.index(i)
		custom := slices.Contains(c.customHTTP, m.GetName())
		switch {
		case m.GetTypedConfig() == nil && !custom:
			c.errs.at(here.field("typed_config"), "is required")
			failed = true
			continue
		case terminated:
			c.errs.at(here, "never reached: the router before it is terminal")
			continue
		case m.GetTypedConfig() == nil:
			out = append(out, &conf.HTTPFilter{Name: m.GetName(), Disabled: m.GetDisabled()})
			continue
		}
		payload := c.unpack(m.GetTypedConfig(), here)
		if r, ok := payload.(*routerv3.Router); ok {
			if m.GetDisabled() {
				c.errs.at(here.field("disabled"), "the router cannot be taken out of the chain")
			}
			router, routerAt, terminated = r, here.field("typed_config"), true
			continue
		}
		if m.GetName() == "" {
			c.errs.at(here, "name is required: typed_per_filter_config calls the filter by it")
		}
		out = append(out, &conf.HTTPFilter{
			Name: m.GetName(), Disabled: m.GetDisabled(), Config: c.httpFilter(payload, here.field("typed_config")),
		})
	}
	if !terminated && !failed {
		c.errs.at(at.index(len(list)-1), "must not be the last filter: the router ends a chain")
	}
	return out, router, routerAt
}

// httpFilter compiles the configuration of a filter in a chain.
func (c *compiler) httpFilter(m proto.Message, at place) any {
	switch m := m.(type) {
	case *bufferv3.Buffer:
		return c.bufferFilter(m, at)
	case *corsv3.Cors:
		return &conf.CORSFilter{}
	case *dfpv3.FilterConfig:
		return c.dynamicForwardFilter(m, at)
	case *faultv3.HTTPFault:
		return c.faultFilter(m, at)
	case *mutationv3.HeaderMutation:
		out := c.headerMutations(m.GetMutations(), at.field("mutations"))
		out.MostSpecificWins = m.GetMostSpecificHeaderMutationsWins()
		return out
	case *healthv3.HealthCheck:
		return c.healthCheckFilter(m, at)
	case *ratelimitv3.LocalRateLimit:
		return c.httpRateLimit(m, at)
	case *rbacv3.RBAC:
		return c.httpRBAC(m, at)
	}
	return nil
}

// filterConfigs compiles typed_per_filter_config.
func (c *compiler) filterConfigs(configs map[string]*anypb.Any, at place) conf.FilterConfigs {
	if len(configs) == 0 {
		return nil
	}
	out := conf.FilterConfigs{}
	for _, name := range slices.Sorted(maps.Keys(configs)) {
		here := at.key(name)
		m := c.unpack(configs[name], here)
		fc := &conf.FilterConfig{}
		if wrapper, ok := m.(*routev3.FilterConfig); ok {
			fc.Disabled, fc.Optional = wrapper.GetDisabled(), wrapper.GetIsOptional()
			if m = nil; wrapper.GetConfig() != nil {
				here = here.field("config")
				m = c.unpack(wrapper.GetConfig(), here)
			} else if !fc.Disabled {
				c.warn(here, "says nothing: neither config nor disabled")
			}
		}
		if m != nil {
			fc.Config = c.routeFilter(m, here)
		}
		out[name] = fc
	}
	return out
}

// routeFilter compiles what a route says of a filter.
func (c *compiler) routeFilter(m proto.Message, at place) any {
	switch m := m.(type) {
	case *bufferv3.BufferPerRoute:
		if m.GetDisabled() {
			return &conf.BufferFilter{Disabled: true}
		}
		return c.bufferFilter(m.GetBuffer(), at.field("buffer"))
	case *corsv3.CorsPolicy:
		return c.corsPolicy(m, at)
	case *dfpv3.PerRouteConfig:
		return c.dynamicForwardRoute(m, at)
	case *mutationv3.HeaderMutationPerRoute:
		return c.headerMutations(m.GetMutations(), at.field("mutations"))
	case *rbacv3.RBACPerRoute:
		return c.httpRBAC(m.GetRbac(), at.field("rbac"))
	}
	return c.httpFilter(m, at)
}

// sameFilter says whether a configuration of a route is one for a filter of the chain.
func sameFilter(chain, route any) bool {
	if _, ok := chain.(*conf.CORSFilter); ok {
		_, ok = route.(*conf.CORSPolicy)
		return ok
	}
	switch chain.(type) {
	case *conf.BufferFilter:
		_, ok := route.(*conf.BufferFilter)
		return ok
	case *conf.DynamicForwardFilter:
		_, ok := route.(*conf.DynamicForwardRoute)
		return ok
	case *conf.FaultFilter:
		_, ok := route.(*conf.FaultFilter)
		return ok
	case *conf.HeaderMutationFilter:
		_, ok := route.(*conf.HeaderMutationFilter)
		return ok
	case *conf.LocalRateLimitFilter:
		_, ok := route.(*conf.LocalRateLimitFilter)
		return ok
	case *conf.HTTPRBAC:
		_, ok := route.(*conf.HTTPRBAC)
		return ok
	case *conf.HealthCheckFilter:
		return false
	}
	return true // an embedder's
}

// checkFilterConfigs refuses configurations for filters that no chain of the manager has.
func (c *compiler) checkFilterConfigs(out *conf.HTTPConnectionManager, configs conf.FilterConfigs, at place) {
	chains := [][]*conf.HTTPFilter{out.Filters}
	for i := range out.Upgrades {
		chains = append(chains, out.Upgrades[i].Filters)
	}
	filters := slices.Concat(chains...)
	for _, name := range slices.Sorted(maps.Keys(configs)) {
		fc, found := configs[name], false
		for _, f := range filters {
			if f.Name != name {
				continue
			}
			found = true
			if fc.Config != nil && !sameFilter(f.Config, fc.Config) {
				c.errs.at(at.key(name), "is not a configuration for routes of the filter %s", shorten(name))
			}
		}
		if !found && !fc.Optional {
			names := []string{}
			for _, f := range filters {
				names = append(names, f.Name)
			}
			if len(names) == 0 {
				names = append(names, "only the router")
			}
			c.errs.at(at.key(name), "no filter of http_filters is called %s; there is %s", shorten(name), strings.Join(names, ", "))
		}
	}
}

// checkRouteFilters is checkFilterConfigs for every level of a route configuration.
func (c *compiler) checkRouteFilters(out *conf.HTTPConnectionManager, rc *conf.RouteConfiguration, at place) {
	c.checkFilterConfigs(out, rc.Filters, at.field(perFilter))
	for i, vh := range rc.VirtualHosts {
		host := at.field("virtual_hosts").index(i)
		c.checkFilterConfigs(out, vh.Filters, host.field(perFilter))
		for j, r := range vh.AllRoutes() {
			route := host
			if vh.Matcher == nil {
				route = host.field("routes").index(j)
			}
			c.checkFilterConfigs(out, r.Filters, route.field(perFilter))
			if r.Action == nil || r.Action.Weighted == nil {
				continue
			}
			for k := range r.Action.Weighted.Clusters {
				here := route.field("route").field("weighted_clusters").field("clusters").index(k)
				c.checkFilterConfigs(out, r.Action.Weighted.Clusters[k].Filters, here.field(perFilter))
			}
		}
	}
}
