//lint:file-ignore SA1019 deprecated fields are still common in configuration files

package envoy

import (
	"encoding/hex"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// Defaults of Listener.
const (
	defaultBufferLimitBytes = 1 << 20 // per_connection_buffer_limit_bytes
	defaultFiltersTimeout   = 15 * time.Second
)

func (c *compiler) listener(m *listenerv3.Listener, at place) *conf.Listener {
	c.sources = nil
	out := &conf.Listener{
		Name: m.GetName(), StatPrefix: m.GetStatPrefix(),
		PerConnectionBufferLimitBytes: number(m.GetPerConnectionBufferLimitBytes(), defaultBufferLimitBytes),
		Backlog:                       int(number(m.GetTcpBacklogSize(), 0)),
		ReusePort:                     boolean(m.GetEnableReusePort(), true),
		AcceptsPerEvent:               int(number(m.GetMaxConnectionsToAcceptPerSocketEvent(), 0)),
		AccessLogs:                    c.accessLogs(m.GetAccessLog(), at.field("access_log")),
		ExactBalance:                  m.GetConnectionBalanceConfig().GetExactBalance() != nil,
		FiltersTimeout:                c.duration(m.GetListenerFiltersTimeout(), at.field("listener_filters_timeout"), defaultFiltersTimeout),
		ContinueOnFiltersTimeout:      m.GetContinueOnListenerFiltersTimeout(),
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
	switch {
	case m.GetInternalListener() != nil:
		c.internalListener(m, at, out)
	case m.GetAddress() == nil:
		c.errs.at(at.field("address"), "is required")
		return out
	default:
		c.listenerAddresses(m, at, out)
	}
	if out.Name == "" {
		out.Name = out.Addresses[0].String()
	}
	out.ConnectionLimit = c.runtimeNumber("envoy.resource_limits.listener."+out.Name+".connection_limit", 0)
	c.listenerFilters(m.GetListenerFilters(), at.field("listener_filters"), out)
	for i, f := range out.Filters {
		if f.OriginalDst != nil && out.Addresses[0].Internal != "" {
			c.errs.at(at.field("listener_filters").index(i), "an internal listener's connections were redirected by nobody")
		}
	}
	c.filterChains(m, at, out)
	out.Raw = c.raw(m, at)
	if c.sources != nil {
		out.SourcesDigest = hex.EncodeToString(c.sources.Sum(nil))
	}
	return out
}

// listenerAddresses compiles and claims the address and the additional ones.
func (c *compiler) listenerAddresses(m *listenerv3.Listener, at place, out *conf.Listener) {
	first := at.field("address")
	out.Addresses = append(out.Addresses, c.address(m.GetAddress(), first, bindAddress))
	c.listen(out.Addresses[0], first)
	for i, additional := range m.GetAdditionalAddresses() {
		here := at.field("additional_addresses").index(i).field("address")
		a := c.address(additional.GetAddress(), here, bindAddress)
		c.listen(a, here)
		out.Addresses = append(out.Addresses, a)
	}
}
