//lint:file-ignore SA1019 deprecated fields are still common in configuration files

package envoy

import (
	"encoding/hex"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	filev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/file/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/raw_buffer/v3" // registers RawBuffer
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// defaultBufferLimitBytes is per_connection_buffer_limit_bytes when it is not set.
const defaultBufferLimitBytes = 1 << 20

func (c *compiler) listener(m *listenerv3.Listener, at place) *conf.Listener {
	c.sources = nil
	out := &conf.Listener{
		Name: m.GetName(), StatPrefix: m.GetStatPrefix(),
		PerConnectionBufferLimitBytes: number(m.GetPerConnectionBufferLimitBytes(), defaultBufferLimitBytes),
		Backlog:                       int(number(m.GetTcpBacklogSize(), 0)),
		ReusePort:                     boolean(m.GetEnableReusePort(), true),
		AcceptsPerEvent:               int(number(m.GetMaxConnectionsToAcceptPerSocketEvent(), 0)),
		AccessLogs:                    c.accessLogs(m.GetAccessLog(), at.field("access_log")),
		Raw:                           c.raw(m, at),
	}
	if out.PerConnectionBufferLimitBytes == 0 {
		c.errs.at(at.field("per_connection_buffer_limit_bytes"), "must be greater than 0: buffers are always bounded")
	}
	if m.GetDrainType() == listenerv3.Listener_MODIFY_ONLY {
		out.DrainType = conf.DrainModifyOnly
	}
	switch m.GetTrafficDirection() {
	case corev3.TrafficDirection_INBOUND:
		out.TrafficDirection = conf.TrafficInbound
	case corev3.TrafficDirection_OUTBOUND:
		out.TrafficDirection = conf.TrafficOutbound
	}
	if m.GetAddress() == nil {
		c.errs.at(at.field("address"), "is required")
		return out
	}
	first := at.field("address")
	out.Addresses = append(out.Addresses, c.address(m.GetAddress(), first, bindAddress))
	c.listen(out.Addresses[0], first)
	for i, additional := range m.GetAdditionalAddresses() {
		here := at.field("additional_addresses").index(i).field("address")
		a := c.address(additional.GetAddress(), here, bindAddress)
		c.listen(a, here)
		out.Addresses = append(out.Addresses, a)
	}
	if out.Name == "" {
		out.Name = out.Addresses[0].String()
	}
	out.ConnectionLimit = c.runtimeNumber("envoy.resource_limits.listener."+out.Name+".connection_limit", 0)
	chain, here := c.onlyFilterChain(m, at)
	if chain != nil {
		out.FilterChain = c.filterChain(chain, here)
	}
	if c.sources != nil {
		out.SourcesDigest = hex.EncodeToString(c.sources.Sum(nil))
	}
	return out
}

// onlyFilterChain returns the one chain every connection takes.
func (c *compiler) onlyFilterChain(m *listenerv3.Listener, at place) (*listenerv3.FilterChain, place) {
	chains, fallback := m.GetFilterChains(), m.GetDefaultFilterChain()
	switch {
	case len(chains) == 0 && fallback == nil:
		c.errs.at(at.field("filter_chains"), "a filter chain is required")
	case len(chains) > 1:
		c.errs.at(at.field("filter_chains").index(1), "not supported: a second filter chain")
	case len(chains) == 1 && fallback != nil:
		c.errs.at(at.field("default_filter_chain"), "would never be used: the filter chain before it matches every connection")
	case fallback != nil:
		return fallback, at.field("default_filter_chain")
	default:
		return chains[0], at.field("filter_chains").index(0)
	}
	return nil, at
}

func (c *compiler) filterChain(m *listenerv3.FilterChain, at place) *conf.FilterChain {
	out := &conf.FilterChain{
		Name:                          m.GetName(),
		TransportSocketConnectTimeout: c.duration(m.GetTransportSocketConnectTimeout(), at.field("transport_socket_connect_timeout"), 0),
	}
	c.transportSocket(m.GetTransportSocket(), at.field("transport_socket"))
	filters := at.field("filters")
	if len(m.GetFilters()) == 0 {
		c.errs.at(filters, "a terminal filter is required: an http_connection_manager")
		return out
	}
	for i, filter := range m.GetFilters() {
		here := filters.index(i)
		if filter.GetTypedConfig() == nil {
			c.errs.at(here.field("typed_config"), "is required")
			continue
		}
		if i > 0 {
			c.errs.at(here, "never reached: the filter before it is terminal")
			continue
		}
		if manager, ok := c.unpack(filter.GetTypedConfig(), here).(*hcmv3.HttpConnectionManager); ok {
			out.HTTP = c.connectionManager(manager, here.field("typed_config"))
		}
	}
	return out
}

// transportSocket accepts the plain one, which is also the default.
func (c *compiler) transportSocket(m *corev3.TransportSocket, at place) {
	if m != nil && m.GetTypedConfig() == nil && m.GetName() != "envoy.transport_sockets.raw_buffer" {
		c.errs.at(at, "not supported: %s; supported: envoy.transport_sockets.raw_buffer", shorten(m.GetName()))
	}
}

// admin compiles the admin listener. Its access log is refused unless it goes nowhere, because admin
// requests are not logged.
func (c *compiler) admin(m *bootstrapv3.Admin, at place) *conf.Admin {
	out := &conf.Admin{}
	for i, log := range m.GetAccessLog() {
		here := at.field("access_log").index(i)
		if log.GetTypedConfig() == nil {
			c.errs.at(here.field("typed_config"), "is required")
			continue
		}
		if file, ok := c.unpack(log.GetTypedConfig(), here).(*filev3.FileAccessLog); !ok || file.GetPath() != "/dev/null" {
			c.errs.at(here, "not supported: admin requests are not logged; only a file logger with path /dev/null is accepted")
		}
	}
	if path := m.GetAccessLogPath(); path != "" && path != "/dev/null" {
		c.errs.at(at.field("access_log_path"), "not supported: admin requests are not logged; only /dev/null is accepted")
	}
	for i, matcher := range m.GetAllowPaths() {
		here := at.field("allow_paths").index(i)
		switch pattern := matcher.GetMatchPattern().(type) {
		case *matcherv3.StringMatcher_Exact:
			if pattern.Exact == "" || pattern.Exact[len(pattern.Exact)-1] == '*' {
				c.errs.at(here, "not supported: an exact path that is empty or ends in '*'")
			}
			out.AllowPaths = append(out.AllowPaths, pattern.Exact)
		case *matcherv3.StringMatcher_Prefix:
			out.AllowPaths = append(out.AllowPaths, pattern.Prefix+"*")
		default:
			c.errs.at(here, "not supported: only exact and prefix matchers")
		}
		if matcher.GetIgnoreCase() {
			c.errs.at(here.field("ignore_case"), "not supported")
		}
	}
	if m.GetAddress() == nil {
		c.errs.at(at, "address is required")
		return out
	}
	out.Address = c.address(m.GetAddress(), at.field("address"), bindAddress)
	c.listen(out.Address, at.field("address"))
	return out
}
