package wire

import (
	"net"
	"strings"
)

// Sluice is the sluice binary at path. One worker is enough and keeps the order of events plain.
func Sluice(path string) Target {
	p := &process{bin: path, file: "sluice.yaml", config: sluiceConfig, args: func(config string) []string {
		return []string{"-c", config, "-l", "error", "--concurrency", "1"}
	}}
	return Target{Name: "sluice", Start: p.start}
}

// sluiceConfig renders an Envoy v3 bootstrap.
func sluiceConfig(p *profile, listen, origin, _ string) (string, bool) {
	lhost, lport, _ := net.SplitHostPort(listen)
	ohost, oport, _ := net.SplitHostPort(origin)
	var upstream string
	if p.upstream != "" {
		upstream = `typed_extension_protocol_options:
  envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
    "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
` + strings.TrimSuffix(indent(4, p.upstream), "\n")
	}
	return `static_resources:
  listeners:
  - name: wire
    # Two instances that were given one port must not share it quietly.
    enable_reuse_port: false
    address: { socket_address: { address: ` + lhost + `, port_value: ` + lport + ` } }
` + indent(4, p.listener) + `    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: wire
` + indent(10, p.hcm) + `          route_config:
            name: wire
            virtual_hosts:
            - name: wire
              domains: ["*"]
              routes:
              - match: { prefix: "/" }
                route: { cluster: origin }
          http_filters:
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
  clusters:
  - name: origin
    type: STATIC
    connect_timeout: 1s
` + indent(4, upstream) + `    load_assignment:
      cluster_name: origin
      endpoints:
      - lb_endpoints:
        - endpoint:
            address: { socket_address: { address: ` + ohost + `, port_value: ` + oport + ` } }
`, true
}
