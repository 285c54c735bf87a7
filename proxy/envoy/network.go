package envoy

import (
	"slices"
	"strings"
	"time"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	limitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/connection_limit/v3"
	genericv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/generic_proxy/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/local_ratelimit/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"
	setstatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/set_filter_state/v3"
	sniv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/sni_cluster/v3"
	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

const terminalFilters = "an http_connection_manager, a tcp_proxy or a generic_proxy"

// networkFilters compiles the filters of a chain: any number of others, then one terminal filter.
func (c *compiler) networkFilters(list []*listenerv3.Filter, at place, out *conf.FilterChain) {
	if len(list) == 0 {
		c.errs.at(at, "a terminal filter is required: %s", terminalFilters)
		return
	}
	terminated, failed := false, false
	for i, m := range list {
		here := at.index(i)
		if terminated {
			c.errs.at(here, "never reached: the filter before it is terminal")
			continue
		}
		if m.GetTypedConfig() == nil {
			if !slices.Contains(c.custom, m.GetName()) {
				c.errs.at(here, "typed_config is required; supported here: %s%s", alternatives(payloadsOf(networkFilters)), c.registered(m.GetName()))
				failed = true
			}
			out.Filters = append(out.Filters, conf.NetworkFilter{Name: m.GetName()})
			continue
		}
		config := here.field("typed_config")
		switch f := c.unpack(m.GetTypedConfig(), here).(type) {
		case *hcmv3.HttpConnectionManager:
			out.HTTP, terminated = c.connectionManager(f, config), true
		case *tcpv3.TcpProxy:
			out.TCP, terminated = c.tcpProxy(f, config, out.Filters), true
		case *genericv3.GenericProxy:
			out.Generic, terminated = c.genericProxy(f, config), true
		default:
			out.Filters = append(out.Filters, c.networkFilter(m.GetName(), f, config))
		}
	}
	if !terminated && !failed {
		c.errs.at(at.index(len(list)-1), "must not be the last filter: %s ends a chain", terminalFilters)
	}
}

// registered says which names need no typed_config.
func (c *compiler) registered(name string) string {
	if len(c.custom) == 0 {
		return ""
	}
	names := slices.Sorted(slices.Values(c.custom))
	return "; " + shorten(name) + " is not one of the registered filters " + strings.Join(names, ", ")
}

// networkFilter compiles a filter that is not terminal.
func (c *compiler) networkFilter(name string, m proto.Message, at place) conf.NetworkFilter {
	out := conf.NetworkFilter{Name: name}
	switch m := m.(type) {
	case *sniv3.SniCluster:
		out.SNICluster = true
	case *setstatev3.Config:
		out.SetFilterState = &conf.SetFilterState{}
		for i, v := range m.GetOnNewConnection() {
			here := at.field("on_new_connection").index(i)
			out.SetFilterState.OnNewConnection = append(out.SetFilterState.OnNewConnection, c.filterStateValue(v, here))
		}
	case *rbacv3.RBAC:
		out.RBAC = c.networkRBAC(m, at)
	case *limitv3.ConnectionLimit:
		if m.GetMaxConnections() == nil {
			c.errs.at(at, "max_connections is required")
		}
		out.ConnectionLimit = &conf.ConnectionLimit{
			StatPrefix: m.GetStatPrefix(), MaxConnections: m.GetMaxConnections().GetValue(),
			Delay: c.duration(m.GetDelay(), at.field("delay"), 0),
		}
	case *ratelimitv3.LocalRateLimit:
		out.LocalRateLimit = c.localRateLimit(m, at)
	}
	return out
}

// minFillInterval is the shortest token_bucket.fill_interval of a local rate limit.
const minFillInterval = 50 * time.Millisecond

func (c *compiler) localRateLimit(m *ratelimitv3.LocalRateLimit, at place) *conf.NetworkLocalRateLimit {
	bucket, here := m.GetTokenBucket(), at.field("token_bucket")
	out := &conf.NetworkLocalRateLimit{
		StatPrefix: m.GetStatPrefix(), ShareKey: m.GetShareKey(),
		MaxTokens: bucket.GetMaxTokens(), TokensPerFill: number(bucket.GetTokensPerFill(), 1),
		FillInterval: c.duration(bucket.GetFillInterval(), here.field("fill_interval"), 0),
		RuntimeKey:   m.GetRuntimeEnabled().GetRuntimeKey(),
		Enabled:      fraction(&typev3.FractionalPercent{Numerator: 100}),
	}
	if out.MaxTokens == 0 {
		c.errs.at(here.field("max_tokens"), "must be greater than 0: no connection could pass")
	}
	if out.FillInterval < minFillInterval {
		c.errs.at(here.field("fill_interval"), "must be at least %v", minFillInterval)
	}
	if enabled := m.GetRuntimeEnabled(); enabled != nil && !enabled.GetDefaultValue().GetValue() {
		out.Enabled.Numerator = 0
	}
	return out
}
