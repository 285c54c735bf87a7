package harness

import (
	"fmt"
	"net"
	"strings"
	"time"
)

// Topology is a proxy with one listener and its clusters. Every field may be empty. The YAML
// fragments are lists of fields as they stand in an Envoy file, without indentation.
type Topology struct {
	// Loops is the number of event loops; 0 means 1, so that all connections share one pool.
	Loops int
	// Clusters are the upstreams; none is one cluster "origin" without endpoints.
	Clusters []Cluster

	// Listener, Manager and VirtualHost are further fields of those messages; Action of the default
	// route's action, which takes everything to the first cluster.
	Listener, Manager, VirtualHost, Action string
	// HTTPFilters are those before the router: a YAML list.
	HTTPFilters string
	// Routes replaces the default route: a YAML list.
	Routes string
	// VirtualHosts replaces the default virtual host, which has domain * and the routes: a YAML list.
	VirtualHosts string
	// Bootstrap is further top-level fields, such as layered_runtime.
	Bootstrap string
	// LogFormat is one access-log line without its line end; empty means LogFormat.
	LogFormat string
	// DrainTime bounds draining; 0 means the server's default.
	DrainTime time.Duration
	// NotSettled leaves out the checks at the end of the test, for tests that close the server.
	NotSettled bool
}

// Cluster is a static cluster, unless Type says what else.
type Cluster struct {
	Name string
	// Type are the fields of another type, in the place of type: STATIC and the origins as endpoints.
	Type    string
	Origins []Origin
	// Fields are further fields of the cluster.
	Fields string
	// Policy is the policy of its load assignment: a YAML flow mapping.
	Policy string
	// Check is the port the origins' health is checked at; empty: their own.
	Check string
	// Labels are the origins' metadata for subsets (envoy.lb), by index: YAML flow mappings.
	Labels []string
}

// LogFormat is the default access-log line.
const LogFormat = "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %REQ(:METHOD)% %REQ(:PATH)%"

const (
	typePrefix = "type.googleapis.com/envoy.extensions."
	template   = `static_resources:
  listeners:
  - name: ingress
    stat_prefix: in
    address: { socket_address: { address: 127.0.0.1, port_value: 0 } }
%s
    filter_chains:
    - filters:
      - name: hcm
        typed_config:
          "@type": ` + typePrefix + `filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: in
          access_log:
          - name: file
            typed_config:
              "@type": ` + typePrefix + `access_loggers.file.v3.FileAccessLog
              path: %q
              log_format: { text_format_source: { inline_string: %q } }
%s
          http_filters:
%s
          - name: router
            typed_config: { "@type": ` + typePrefix + `filters.http.router.v3.Router }
          route_config:
            name: local
            virtual_hosts:
%s
  clusters:
%s
%s
`
)

// YAML is the topology as an Envoy configuration. log is the path of the access log.
func (t *Topology) YAML(log string) string {
	clusters := t.Clusters
	if len(clusters) == 0 {
		clusters = []Cluster{{Name: "origin"}}
	}
	format := t.LogFormat
	if format == "" {
		format = LogFormat
	}
	hosts := t.VirtualHosts
	if hosts == "" {
		routes := t.Routes
		if routes == "" {
			routes = "- match: { prefix: / }\n  route:\n    cluster: " + clusters[0].Name + "\n" + indent(4, t.Action)
		}
		hosts = "- name: all\n  domains: [\"*\"]\n" + indent(2, t.VirtualHost) + "\n  routes:\n" + indent(2, routes)
	}
	var all strings.Builder
	for _, c := range clusters {
		all.WriteString(c.yaml())
	}
	return fmt.Sprintf(template, indent(4, t.Listener), log, format+"\n", indent(10, t.Manager), indent(10, t.HTTPFilters), indent(12, hosts), indent(2, all.String()), t.Bootstrap)
}

func (c *Cluster) yaml() string {
	var b strings.Builder
	kind := "type: STATIC"
	if c.Type != "" {
		kind = c.Type
	}
	fmt.Fprintf(&b, "- name: %s\n%s\n", c.Name, indent(2, kind))
	if c.Fields != "" {
		b.WriteString(indent(2, c.Fields) + "\n")
	}
	if c.Type != "" {
		return b.String()
	}
	fmt.Fprintf(&b, "  load_assignment:\n    cluster_name: %s\n", c.Name)
	if c.Policy != "" {
		b.WriteString("    policy: " + c.Policy + "\n")
	}
	if len(c.Origins) > 0 {
		b.WriteString("    endpoints:\n    - lb_endpoints:\n")
	}
	for i, o := range c.Origins {
		check := ""
		if c.Check != "" {
			check = ", health_check_config: { port_value: " + c.Check + " }"
		}
		fmt.Fprintf(&b, "      - endpoint: { address: %s%s }\n", addressYAML(o.Address()), check)
		if i < len(c.Labels) {
			fmt.Fprintf(&b, "        metadata: { filter_metadata: { envoy.lb: %s } }\n", c.Labels[i])
		}
	}
	return b.String()
}

// Internal is an origin that is an internal listener of the proxy itself.
type Internal string

// Address implements Origin.
func (i Internal) Address() string { return internalPrefix + string(i) }

// Stop implements Origin: the listener is the proxy's.
func (Internal) Stop() {}

const internalPrefix = "envoy://"

// addressYAML is host:port, the path of a unix socket, or an Internal's, as an Address.
func addressYAML(addr string) string {
	if name, ok := strings.CutPrefix(addr, internalPrefix); ok {
		name, id, _ := strings.Cut(name, "/")
		return fmt.Sprintf("{ envoy_internal_address: { server_listener_name: %q, endpoint_id: %q } }", name, id)
	}
	if strings.HasPrefix(addr, "/") {
		return fmt.Sprintf("{ pipe: { path: %q } }", addr)
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		panic(err)
	}
	return fmt.Sprintf("{ socket_address: { address: %q, port_value: %s } }", host, port)
}

// indent puts n spaces before every line.
func indent(n int, text string) string {
	text = strings.Trim(text, "\n")
	if text == "" {
		return ""
	}
	pad := strings.Repeat(" ", n)
	return pad + strings.ReplaceAll(text, "\n", "\n"+pad)
}

// ProtocolOptions is a cluster's typed_extension_protocol_options with the given fields of
// common_http_protocol_options (a YAML flow mapping), for Cluster.Fields.
func ProtocolOptions(common string) string {
	const http = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
	return "typed_extension_protocol_options:\n  " + http + ":\n    \"@type\": type.googleapis.com/" + http +
		"\n    common_http_protocol_options: " + common + "\n    explicit_http_config: { http_protocol_options: {} }"
}
