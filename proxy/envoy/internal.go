package envoy

import (
	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	internalv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/bootstrap/internal_listener/v3"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

const (
	internalListenerMessage = "envoy.extensions.bootstrap.internal_listener.v3.InternalListener"
	internalUpstreamMessage = "envoy.extensions.transport_sockets.internal_upstream.v3.InternalUpstreamTransport"
	defaultInternalKiB      = 1024 // buffer_size_kb
	needsInternal           = "needs envoy.bootstrap.internal_listener among the bootstrap_extensions"
)

// internalUse is where an endpoint names an internal listener.
type internalUse struct {
	name string
	at   place
}

// bootstrapExtensions compiles bootstrap_extensions: there is one kind.
func (c *compiler) bootstrapExtensions(m *bootstrapv3.Bootstrap, at place) {
	for i, extension := range m.GetBootstrapExtensions() {
		here := at.index(i)
		config, _ := c.coreExtension(extension, here).(*internalv3.InternalListener)
		if c.internalBytes != 0 {
			c.errs.at(here, "is there already")
		}
		c.internalBytes = int(number(config.GetBufferSizeKb(), defaultInternalKiB)) << 10
	}
}

// internalListener compiles a listener that endpoints of this proxy connect to by its name (UP-63).
func (c *compiler) internalListener(m *listenerv3.Listener, at place, out *conf.Listener) {
	here := at.field("internal_listener")
	if c.internalBytes == 0 {
		c.errs.at(here, needsInternal)
	}
	if m.GetName() == "" {
		c.errs.at(at.field("name"), "an internal listener needs one: it is its address")
	}
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"address", m.GetAddress() != nil},
		{"additional_addresses", len(m.GetAdditionalAddresses()) > 0},
		{"connection_balance_config", m.GetConnectionBalanceConfig() != nil},
		{"enable_reuse_port", m.GetEnableReusePort() != nil},
		{"tcp_backlog_size", m.GetTcpBacklogSize() != nil},
		{"max_connections_to_accept_per_socket_event", m.GetMaxConnectionsToAcceptPerSocketEvent() != nil},
	} {
		if f.set {
			c.errs.at(at.field(f.name), "an internal listener has no socket")
		}
	}
	out.Addresses = []conf.Address{{Internal: m.GetName()}}
	out.InternalBufferBytes = c.internalBytes
}

// internalAddress compiles the address of an endpoint that is an internal listener.
func (c *compiler) internalAddress(m *corev3.EnvoyInternalAddress, at place, use addressUse) conf.Address {
	switch {
	case use != staticEndpoint:
		c.errs.at(at, "is for endpoints of clusters of type STATIC")
	case c.clusters != nil && c.internalBytes == 0: // on demand a cluster comes without its bootstrap
		c.errs.at(at, needsInternal)
	}
	name := m.GetServerListenerName()
	if name == "" {
		c.errs.at(at.field("server_listener_name"), "is required")
	}
	c.internalUses = append(c.internalUses, internalUse{name, at.field("server_listener_name")})
	return conf.Address{Internal: name, EndpointID: m.GetEndpointId()}
}

// unknownInternal warns of endpoints that no listener serves: connecting to them fails.
func (c *compiler) unknownInternal(listeners []*conf.Listener) {
	known := map[string]bool{}
	for _, l := range listeners {
		for _, a := range l.Addresses {
			known[a.Internal] = true
		}
	}
	for _, use := range c.internalUses {
		if !known[use.name] {
			c.warn(use.at, "there is no internal listener %s: connections fail", shorten(use.name))
		}
	}
}

// internalEndpoints refuses what a cluster cannot do with endpoints that have no socket.
func (c *compiler) internalEndpoints(m *clusterv3.Cluster, at place, out *conf.Cluster) {
	found := false
	for _, e := range out.Endpoints {
		found = found || e.Address.Internal != "" && e.HealthCheck.Address == (conf.Address{})
	}
	if !found {
		return
	}
	if len(m.GetHealthChecks()) > 0 {
		c.errs.at(at.field("health_checks"), "not supported for endpoints with an envoy_internal_address, unless their health_check_config has an address")
	}
	if m.GetUpstreamBindConfig() != nil {
		c.errs.at(at.field("upstream_bind_config"), "an envoy_internal_address has no socket to bind")
	}
}
