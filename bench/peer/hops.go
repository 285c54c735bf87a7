package peer

import (
	"net"
	"strings"
)

// sluiceHops is a proxy before itself: the first listener's connections go to the second, and from there to
// the origin, as they are or through a tunnel.
const sluiceHops = `admin:
  address: {socket_address: {address: {adminhost}, port_value: {adminport}}}
static_resources:
  listeners:
  - name: bench
    address: {socket_address: {address: {host}, port_value: {port}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.tcp_proxy
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: bench
          cluster: between
{tunnel}  - name: second
    address: {socket_address: {address: {bhost}, port_value: {bport}}}
    filter_chains:
    - filters:
{filter}  clusters:
  - name: between
    type: STATIC
    connect_timeout: 5s
{protocol}    circuit_breakers:
      thresholds:
      - {max_connections: 100000, max_pending_requests: 100000, max_requests: 100000}
    load_assignment:
      cluster_name: between
      endpoints:
      - lb_endpoints:
        - endpoint:
            address: {socket_address: {address: {bhost}, port_value: {bport}}}
  - name: origin
    type: STATIC
    connect_timeout: 5s
    circuit_breakers:
      thresholds:
      - {max_connections: 100000, max_pending_requests: 100000, max_requests: 100000}
    load_assignment:
      cluster_name: origin
      endpoints:
      - lb_endpoints:
        - endpoint:
            address: {socket_address: {address: {uphost}, port_value: {upport}}}
`

const sluiceTunnel = `          tunneling_config: {hostname: "origin.test:443"}
`

const sluiceTunnelEnd = `      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: second
          generate_request_id: false
          route_config:
            name: second
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {connect_matcher: {}}
                route: {cluster: origin, timeout: 0s, upgrade_configs: [{upgrade_type: CONNECT, connect_config: {}}]}
          http_filters:
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
`

const sluiceH2Cluster = `    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
`

// hopsConfig is the configuration of a mode with two hops.
func hopsConfig(dir string, s Spec) ([]string, error) {
	tunnel, filter, protocol := sluiceTunnel, sluiceTunnelEnd, ""
	switch s.Mode {
	case Hops:
		tunnel, filter = "", strings.Replace(sluiceTCPFilter, "{await}", "", 1)
	case TunnelH2:
		protocol = sluiceH2Cluster
	}
	between, err := FreeAddr()
	if err != nil {
		return nil, err
	}
	keys := []string{"{tunnel}", tunnel, "{filter}", filter, "{protocol}", protocol}
	keys, err = appendAddresses(keys, s, between)
	if err != nil {
		return nil, err
	}
	path, err := render(dir, "sluice.yaml", sluiceHops, keys...)
	return []string{"-c", path, "--concurrency", "1", "-l", "error"}, err
}

// appendAddresses appends what the hosts and ports of a configuration are replaced with.
func appendAddresses(keys []string, s Spec, between string) ([]string, error) {
	for _, a := range []struct{ addr, host, port string }{
		{s.Listen, "{host}", "{port}"},
		{s.Upstream, "{uphost}", "{upport}"},
		{s.Admin, "{adminhost}", "{adminport}"},
		{between, "{bhost}", "{bport}"},
	} {
		if a.addr == "" {
			continue
		}
		host, port, err := net.SplitHostPort(a.addr)
		if err != nil {
			return nil, err
		}
		keys = append(keys, a.host, host, a.port, port)
	}
	return keys, nil
}
