//lint:file-ignore SA1019 deprecated fields are still common in configuration files

package envoy

import (
	"net/netip"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	caresv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/network/dns_resolver/cares/v3"
	sysv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/network/dns_resolver/getaddrinfo/v3"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// dnsResolver is how names are resolved: by the servers listed, or by the system when there are none.
type dnsResolver struct {
	servers []netip.AddrPort
	tcp     bool
	set     bool
}

// typedResolver compiles typed_dns_resolver_config.
func (c *compiler) typedResolver(m *corev3.TypedExtensionConfig, at place) (out dnsResolver) {
	if m == nil {
		return out
	}
	out.set = true
	if m.GetTypedConfig() == nil {
		c.errs.at(at.field("typed_config"), "is required")
		return out
	}
	here := at.field("typed_config")
	switch config := c.unpack(m.GetTypedConfig(), here).(type) {
	case *caresv3.CaresDnsResolverConfig:
		out.servers = c.resolvers(config.GetResolvers(), here.field("resolvers"))
		out.tcp = config.GetDnsResolverOptions().GetUseTcpForDnsLookups()
	case *sysv3.GetAddrInfoDnsResolverConfig:
	default:
		c.errs.at(here, "is not a DNS resolver; supported here: %s", dnsResolvers)
	}
	return out
}

func (c *compiler) resolvers(list []*corev3.Address, at place) (out []netip.AddrPort) {
	for i, m := range list {
		out = append(out, c.address(m, at.index(i), resolverAddress).IP)
	}
	return out
}

// dns compiles the DNS fields of a cluster; the bootstrap's resolver is the default.
func (c *compiler) dns(m *clusterv3.Cluster, at place, out *conf.Cluster) {
	servers := m.GetDnsResolvers()
	out.DNSRefreshRate = c.duration(m.GetDnsRefreshRate(), at.field("dns_refresh_rate"), out.DNSRefreshRate)
	c.failureRate(m.GetDnsFailureRefreshRate(), at.field("dns_failure_refresh_rate"), &out.DNSOptions)
	out.DNSJitter = c.duration(m.GetDnsJitter(), at.field("dns_jitter"), 0)
	out.RespectDNSTTL = m.GetRespectDnsTtl()
	out.DNSFamily = conf.DNSFamily(m.GetDnsLookupFamily())
	resolver := c.typedResolver(m.GetTypedDnsResolverConfig(), at.field("typed_dns_resolver_config"))
	switch {
	case resolver.set && len(servers) > 0:
		c.errs.at(at.field("dns_resolvers"), "excludes typed_dns_resolver_config: only one of them may be set")
	case len(servers) > 0:
		resolver = dnsResolver{servers: c.resolvers(servers, at.field("dns_resolvers"))}
	case !resolver.set:
		resolver = c.resolver
	}
	out.DNSResolvers = resolver.servers
	out.DNSUseTCP = resolver.tcp || m.GetUseTcpForDnsLookups()
}

// failureRate compiles dns_failure_refresh_rate, for what has its refresh rate already.
func (c *compiler) failureRate(m *clusterv3.Cluster_RefreshRate, at place, out *conf.DNSOptions) {
	out.DNSFailureRefreshBase, out.DNSFailureRefreshMax = out.DNSRefreshRate, out.DNSRefreshRate
	if m == nil {
		return
	}
	out.DNSFailureRefreshBase = c.duration(m.GetBaseInterval(), at.field("base_interval"), 0)
	out.DNSFailureRefreshMax = c.duration(m.GetMaxInterval(), at.field("max_interval"), 10*out.DNSFailureRefreshBase)
	if out.DNSFailureRefreshMax < out.DNSFailureRefreshBase {
		c.errs.at(at.field("max_interval"), "must not be less than base_interval")
	}
}

func seconds(n uint32) time.Duration { return time.Duration(n) * time.Second }
