//lint:file-ignore SA1019 deprecated fields are still common in configuration files

package envoy

import (
	"reflect"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	dfpclusterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/dynamic_forward_proxy/v3"
	dnscachev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/dynamic_forward_proxy/v3"
	dfpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/dynamic_forward_proxy/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// dynamicForward compiles cluster_type, of which there is one; nil: the cluster has another type.
func (c *compiler) dynamicForward(m *clusterv3.Cluster, at place, out *conf.Cluster) *dfpclusterv3.ClusterConfig {
	custom := m.GetClusterType()
	if custom == nil {
		return nil
	}
	out.Type, out.DNSCache = conf.ClusterDynamicForward, conf.NewDNSCache("")
	at = at.field("cluster_type")
	if custom.GetTypedConfig() == nil {
		c.errs.at(at.field("typed_config"), "is required")
		return nil
	}
	config, ok := c.unpack(custom.GetTypedConfig(), at.field("typed_config")).(*dfpclusterv3.ClusterConfig)
	if !ok {
		return nil
	}
	if config.GetDnsCacheConfig() == nil {
		c.errs.at(at.field("typed_config").field("dns_cache_config"), "is required")
		return config
	}
	out.DNSCache = c.dnsCache(config.GetDnsCacheConfig(), at.field("typed_config").field("dns_cache_config"))
	c.forwarded[out.DNSCache.Name] = true
	return config
}

// forwardNames sees to it that a dynamic forward proxy asks for certificates of the names it goes to.
func (c *compiler) forwardNames(m *clusterv3.Cluster, config *dfpclusterv3.ClusterConfig, o *protocolOptions, at place, out *conf.Cluster) {
	if len(m.GetHealthChecks()) > 0 {
		c.errs.at(at.field("health_checks"), "not supported for dynamic forward proxies: their hosts come and go with those who want them")
	}
	if len(m.GetLoadAssignment().GetEndpoints()) > 0 {
		c.errs.at(at.field("load_assignment"), "excludes cluster_type")
	}
	switch {
	case o.names == nil && len(m.GetTypedExtensionProtocolOptions()) == 0:
		out.AutoSNI, out.AutoSANValidation = true, true
	case !out.AutoSNI || !out.AutoSANValidation:
		if !config.GetAllowInsecureClusterOptions() {
			c.errs.at(o.namesAt, "auto_sni and auto_san_validation must be true for a dynamic forward proxy without allow_insecure_cluster_options")
		}
	}
}

// dnsCache compiles dns_cache_config. All of one name must be equal.
func (c *compiler) dnsCache(m *dnscachev3.DnsCacheConfig, at place) *conf.DNSCache {
	out := conf.NewDNSCache(m.GetName())
	out.DNSFamily = conf.DNSFamily(m.GetDnsLookupFamily())
	out.DNSRefreshRate = c.duration(m.GetDnsRefreshRate(), at.field("dns_refresh_rate"), out.DNSRefreshRate)
	out.MinRefreshRate = c.duration(m.GetDnsMinRefreshRate(), at.field("dns_min_refresh_rate"), out.MinRefreshRate)
	c.failureRate(m.GetDnsFailureRefreshRate(), at.field("dns_failure_refresh_rate"), &out.DNSOptions)
	out.DropFailed = m.GetDisableDnsRefreshOnFailure()
	out.HostTTL = c.duration(m.GetHostTtl(), at.field("host_ttl"), out.HostTTL)
	out.MaxHosts = number(m.GetMaxHosts(), out.MaxHosts)
	out.MaxPending = number(m.GetDnsCacheCircuitBreaker().GetMaxPendingRequests(), out.MaxPending)
	out.QueryTimeout = c.duration(m.GetDnsQueryTimeout(), at.field("dns_query_timeout"), out.QueryTimeout)
	for i, name := range m.GetPreresolveHostnames() {
		a := c.socketAddress(name, at.field("preresolve_hostnames").index(i), resolvedAddress)
		if a.Host == "" {
			a.Host, a.Port = a.IP.Addr().String(), a.IP.Port()
		}
		out.Preresolve = append(out.Preresolve, conf.DNSName{Host: a.Host, Port: a.Port})
	}
	resolver := c.typedResolver(m.GetTypedDnsResolverConfig(), at.field("typed_dns_resolver_config"))
	if !resolver.set {
		resolver = c.resolver
	}
	out.DNSResolvers, out.DNSUseTCP = resolver.servers, resolver.tcp || m.GetUseTcpForDnsLookups()
	out.Filter = c.addressFilter(m.GetResolvedAddressFilter(), at.field("resolved_address_filter"))
	if c.dnsCaches == nil {
		c.dnsCaches, c.forwarded = map[string]*conf.DNSCache{}, map[string]bool{}
	}
	other := c.dnsCaches[out.Name]
	switch {
	case other == nil:
		c.dnsCaches[out.Name] = out
	case !reflect.DeepEqual(other, out):
		c.errs.at(at, "another dns_cache_config with the name %s says something else: all must be equal", shorten(out.Name))
	default:
		out = other
	}
	return out
}

func (c *compiler) addressFilter(m *matcherv3.AddressMatcher, at place) *conf.AddressFilter {
	if m == nil {
		return nil
	}
	out := &conf.AddressFilter{Invert: m.GetInvertMatch()}
	for i, r := range m.GetRanges() {
		same := &corev3.CidrRange{AddressPrefix: r.GetAddressPrefix(), PrefixLen: r.GetPrefixLen()}
		if p, ok := c.matchPrefix(same, at.field("ranges").index(i)); ok {
			out.Ranges = append(out.Ranges, p)
		}
	}
	return out
}

// dynamicForwardFilter compiles envoy.filters.http.dynamic_forward_proxy.
func (c *compiler) dynamicForwardFilter(m *dfpv3.FilterConfig, at place) *conf.DynamicForwardFilter {
	out := &conf.DynamicForwardFilter{SaveAddress: m.GetSaveUpstreamAddress(), HostFromState: m.GetAllowDynamicHostFromFilterState()}
	here := at.field("dns_cache_config")
	if m.GetDnsCacheConfig() == nil {
		c.errs.at(here, "is required")
		out.Cache = conf.NewDNSCache("")
		return out
	}
	out.Cache = c.dnsCache(m.GetDnsCacheConfig(), here)
	if !c.forwarded[out.Cache.Name] {
		c.warn(here, "no cluster of static_resources has the DNS cache %s: the filter does nothing", shorten(out.Cache.Name))
	}
	return out
}

func (c *compiler) dynamicForwardRoute(m *dfpv3.PerRouteConfig, at place) *conf.DynamicForwardRoute {
	out := &conf.DynamicForwardRoute{HostRewrite: m.GetHostRewriteLiteral()}
	if strings.ContainsAny(out.HostRewrite, "\r\n\x00") {
		c.errs.at(at.field("host_rewrite_literal"), "has bytes that no header may have")
	}
	if name := m.GetHostRewriteHeader(); name != "" {
		out.HostRewriteHeader = c.headerName(name, at.field("host_rewrite_header"))
	}
	return out
}
