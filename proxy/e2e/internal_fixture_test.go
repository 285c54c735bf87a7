package e2e

import (
	"strings"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

const (
	internalOn   = "bootstrap_extensions: [{ name: envoy.bootstrap.internal_listener, typed_config: { \"@type\": type.googleapis.com/envoy.extensions.bootstrap.internal_listener.v3.InternalListener, buffer_size_kb: 64 } }]\n"
	innerFilters = "type.googleapis.com/envoy.extensions.filters."
	// passing makes idle connections of a cluster go by themselves, so that the listener behind comes to rest.
	passing = "common_http_protocol_options: { idle_timeout: 0.3s }"
)

// idleGoes is a cluster whose idle connections end by themselves.
func idleGoes() string { return harness.ProtocolOptions("{ idle_timeout: 0.3s }") }

// innerTCP is an internal listener of a TCP proxy; proxy are more fields of it, in flow style.
func innerTCP(name, cluster, proxy, chain string) string {
	return "  - name: " + name + "\n    internal_listener: {}\n    filter_chains:\n    - filters: [{ name: tcp, typed_config: { \"@type\": " + innerFilters +
		"network.tcp_proxy.v3.TcpProxy, stat_prefix: " + name + ", cluster: " + cluster + ", " + proxy + " } }]\n" + chain
}

// innerHTTP is an internal listener of an HTTP connection manager with one route to a cluster.
func innerHTTP(name, cluster, manager, chain string) string {
	return "  - name: " + name + "\n    internal_listener: {}\n    filter_chains:\n    - filters: [{ name: http, typed_config: { \"@type\": " + innerFilters +
		"network.http_connection_manager.v3.HttpConnectionManager, stat_prefix: " + name + ", " + manager +
		" http_filters: [{ name: router, typed_config: { \"@type\": " + innerFilters + "http.router.v3.Router } }],\n" +
		"      route_config: { virtual_hosts: [{ name: all, domains: [\"*\"], routes: [{ match: { prefix: / }, route: { cluster: " + cluster + ", timeout: 0s } }] }] } } }]\n" + chain
}

// withInner puts internal listeners into a configuration.
func withInner(t testing.TB, yaml string, listeners ...string) string {
	t.Helper()
	const at = "\n  clusters:\n"
	if strings.Count(yaml, at) != 1 {
		t.Fatal("the configuration has its clusters elsewhere")
	}
	return strings.Replace(yaml, at, "\n"+strings.Join(listeners, "")+"  clusters:\n", 1) + internalOn
}

func logPath(t testing.TB) string { return t.TempDir() + "/access.log" }

// startInner is a topology with internal listeners, whose origins are those of the topology.
func startInner(t testing.TB, top harness.Topology, listeners ...string) *harness.Proxy {
	t.Helper()
	log := logPath(t)
	return startYAML(t, withInner(t, top.YAML(log), listeners...), log, top.Clusters)
}

func startInnerTCP(t testing.TB, top harness.TCPTopology, listeners ...string) *harness.Proxy {
	t.Helper()
	log := logPath(t)
	return startYAML(t, withInner(t, top.YAML(log), listeners...), log, top.Clusters)
}

func startYAML(t testing.TB, yaml, log string, clusters []harness.Cluster) *harness.Proxy {
	t.Helper()
	var origins []harness.Origin
	for _, c := range clusters {
		origins = append(origins, c.Origins...)
	}
	return harness.StartConf(t, harness.Load(t, yaml), 1, log, origins...)
}
