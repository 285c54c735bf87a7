package e2e

import (
	"fmt"
	"net"
	"strings"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// dnsCache is a dns_cache_config that asks d, with more fields of a flow mapping.
func dnsCache(d *harness.DNS, fields ...string) string {
	all := append([]string{
		"name: names", "dns_lookup_family: V4_ONLY",
		fmt.Sprintf(`typed_dns_resolver_config: { name: cares, typed_config: { "@type": type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig, `+
			"resolvers: [{ socket_address: { address: %s, port_value: %d } }] } }", d.Addr().Addr(), d.Addr().Port()),
	}, fields...)
	return "dns_cache_config: { " + strings.Join(all, ", ") + " }"
}

// forwardCluster is a dynamic forward proxy with that cache.
func forwardCluster(cache string, fields ...string) harness.Cluster {
	return harness.Cluster{Name: "origin", Type: "lb_policy: CLUSTER_PROVIDED\ncluster_type:\n  name: envoy.clusters.dynamic_forward_proxy\n  typed_config:\n" +
		"    \"@type\": type.googleapis.com/envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig\n    " + cache, Fields: strings.Join(fields, "\n")}
}

const forwardName = "envoy.filters.http.dynamic_forward_proxy"

func forwardFilter(cache string, fields ...string) string {
	return "- name: " + forwardName + "\n  typed_config:\n    \"@type\": type.googleapis.com/envoy.extensions.filters.http.dynamic_forward_proxy.v3.FilterConfig\n    " +
		cache + "\n    " + strings.Join(fields, "\n    ")
}

// forwarding is the topology of a proxy that takes everything where its authority says.
func forwarding(cache string, origins ...harness.Origin) harness.Topology {
	c := forwardCluster(cache)
	c.Origins = origins
	return harness.Topology{Clusters: []harness.Cluster{c}, HTTPFilters: forwardFilter(cache)}
}

// at is the authority of a name at an origin's port.
func at(name string, o harness.Origin) string {
	_, port, err := net.SplitHostPort(o.Address())
	if err != nil {
		panic(err)
	}
	return name + ":" + port
}

func getFrom(authority string) string {
	return "GET http://" + authority + "/path HTTP/1.1\r\nhost: " + authority + "\r\n\r\n"
}
