package harness

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/proxy"
	"github.com/sluiceproxy/sluice/proxy/cluster"
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/envoy"
	"github.com/sluiceproxy/sluice/proxy/network"
	"github.com/sluiceproxy/sluice/proxy/ondemand"
)

// TCPTopology is a proxy with one listener of TCP proxies and its clusters. Every field may be empty.
// The YAML fragments are as in Topology.
type TCPTopology struct {
	// Loops is the number of event loops; 0 means 1.
	Loops int
	// Clusters are the upstreams; none is one cluster "origin" without endpoints.
	Clusters []Cluster

	// Proxy is further fields of the default chain's tcp_proxy, which has stat_prefix in and goes to the
	// first cluster unless there is a cluster or weighted_clusters here. Filters are the network filters
	// before it: a YAML list.
	Proxy, Filters string
	// Chains replaces the default chain; Default is the default_filter_chain.
	Chains  []Chain
	Default *Chain

	// Address replaces the listener's address, any port of 127.0.0.1: a YAML flow mapping. Listener is
	// further fields of the listener, ListenerFilters a YAML list.
	Address, Listener, ListenerFilters string
	// Bootstrap is further top-level fields.
	Bootstrap string
	// LogFormat is one access-log line without its line end; empty means TCPLogFormat. LogFields are
	// further fields of every access log, such as a filter.
	LogFormat, LogFields string
	// ListenerLog gives the listener an access log too, in the same file, whose lines begin with
	// "listener ".
	ListenerLog bool

	// DrainTime bounds draining; 0 means the server's default. GradualDrain is Options.GradualDrain.
	DrainTime    time.Duration
	GradualDrain bool
	// NetworkFilters are the embedder's.
	NetworkFilters map[string]network.Factory
	// Provider has the clusters of on_demand; nil: each directory that on_demand names.
	Provider cluster.Provider
	// NotSettled leaves out the checks at the end of the test.
	NotSettled bool
}

// Chain is a filter chain of a TCPTopology.
type Chain struct {
	// Name is the chain's, and the stat_prefix of its terminal filter; empty for neither name nor a
	// prefix but in.
	Name string
	// Match is filter_chain_match: a YAML flow mapping. Filters and Proxy are as in TCPTopology.
	Match, Filters, Proxy string
	// Cluster is where its connections go, or its requests; empty means the first cluster.
	Cluster string
	// HTTP makes the terminal filter an HTTP connection manager, with further fields in Proxy.
	HTTP bool
}

// TCPLogFormat is the default access-log line of a TCPTopology.
const TCPLogFormat = "%ACCESS_LOG_TYPE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %BYTES_RECEIVED% %BYTES_SENT% %UPSTREAM_CLUSTER%"

const tcpTemplate = `static_resources:
  listeners:
  - name: ingress
    stat_prefix: in
    address: %s
%s
%s
    listener_filters:
%s
%s
  clusters:
%s
%s
`

// YAML is the topology as an Envoy configuration. log is the path of the access logs.
func (t *TCPTopology) YAML(log string) string {
	clusters := t.Clusters
	if len(clusters) == 0 {
		clusters = []Cluster{{Name: "origin"}}
	}
	address := t.Address
	if address == "" {
		address = "{ socket_address: { address: 127.0.0.1, port_value: 0 } }"
	}
	format := t.LogFormat
	if format == "" {
		format = TCPLogFormat
	}
	listenerLog := ""
	if t.ListenerLog {
		listenerLog = accessLog(log, "listener "+format, "")
	}
	chainLog := accessLog(log, format, t.LogFields)
	chains := t.Chains
	if chains == nil {
		chains = []Chain{{Filters: t.Filters, Proxy: t.Proxy}}
	}
	var all, upstreams strings.Builder
	if len(chains) > 0 {
		all.WriteString("filter_chains:\n")
	}
	for i := range chains {
		all.WriteString("- " + strings.TrimPrefix(indent(2, chains[i].yaml(clusters[0].Name, chainLog)), "  ") + "\n")
	}
	if t.Default != nil {
		all.WriteString("default_filter_chain:\n" + indent(2, t.Default.yaml(clusters[0].Name, chainLog)) + "\n")
	}
	for _, c := range clusters {
		upstreams.WriteString(c.yaml())
	}
	return fmt.Sprintf(tcpTemplate, address, indent(4, t.Listener), indent(4, listenerLog), indent(4, t.ListenerFilters), indent(4, all.String()),
		indent(2, upstreams.String()), t.Bootstrap)
}

func accessLog(path, format, fields string) string {
	return fmt.Sprintf("access_log:\n- name: file\n%s\n  typed_config:\n    \"@type\": %saccess_loggers.file.v3.FileAccessLog\n    path: %q\n    log_format: { text_format_source: { inline_string: %q } }\n",
		indent(2, fields), typePrefix, path, format+"\n")
}

// namesCluster tells fields of a tcp_proxy that say where to.
var namesCluster = regexp.MustCompile(`(?m)^(weighted_clusters|cluster):`)

func (c *Chain) yaml(first, log string) string {
	name, target := c.Name, c.Cluster
	if name == "" {
		name = "in"
	}
	if target == "" {
		target = first
	}
	var b strings.Builder
	fmt.Fprintf(&b, "name: %q\n", c.Name)
	if c.Match != "" {
		fmt.Fprintf(&b, "filter_chain_match: %s\n", c.Match)
	}
	b.WriteString("filters:\n" + strings.Trim(c.Filters, "\n") + "\n")
	if c.HTTP {
		fmt.Fprintf(&b, "- name: hcm\n  typed_config:\n    \"@type\": %sfilters.network.http_connection_manager.v3.HttpConnectionManager\n    stat_prefix: %q\n"+
			"    http_filters: [{ name: router, typed_config: { \"@type\": %sfilters.http.router.v3.Router } }]\n"+
			"    route_config: { virtual_hosts: [{ name: all, domains: [\"*\"], routes: [{ match: { prefix: / }, route: { cluster: %q } }] }] }\n",
			typePrefix, name, typePrefix, target)
	} else {
		fmt.Fprintf(&b, "- name: tcp\n  typed_config:\n    \"@type\": %sfilters.network.tcp_proxy.v3.TcpProxy\n    stat_prefix: %q\n", typePrefix, name)
		if !namesCluster.MatchString(c.Proxy) {
			fmt.Fprintf(&b, "    cluster: %q\n", target)
		}
	}
	b.WriteString(indent(4, c.Proxy) + "\n" + indent(4, log) + "\n")
	return b.String()
}

func filterYAML(kind, name, message, fields string) string {
	return fmt.Sprintf("- name: envoy.filters.%s.%s\n  typed_config:\n    \"@type\": %sfilters.%s.%s.v3.%s\n%s\n", kind, name, typePrefix, kind, name, message, indent(4, fields))
}

// NetworkFilter is a network filter for Filters: the last part of its package, its message and fields.
func NetworkFilter(name, message, fields string) string {
	return filterYAML("network", name, message, fields)
}

// ListenerFilter is a listener filter for ListenerFilters: the last part of its package, its message and
// fields.
func ListenerFilter(name, message, fields string) string {
	return filterYAML("listener", name, message, fields)
}

// SetFilterState is a set_filter_state that sets text values: key, value, key, value and so on.
func SetFilterState(pairs ...string) string {
	var b strings.Builder
	b.WriteString("on_new_connection:\n")
	for i := 0; i+1 < len(pairs); i += 2 {
		factory := ""
		if !strings.HasPrefix(pairs[i], "envoy.") {
			factory = "\n  factory_key: envoy.string"
		}
		fmt.Fprintf(&b, "- object_key: %s%s\n  format_string: { text_format_source: { inline_string: %q } }\n", pairs[i], factory, pairs[i+1])
	}
	return NetworkFilter("set_filter_state", "Config", b.String())
}

// StartTCP starts the topology's proxy and has it checked and closed at the end of the test.
func StartTCP(t testing.TB, top TCPTopology) *Proxy {
	t.Helper()
	log := filepath.Join(t.TempDir(), "access.log")
	p := startOptions(t, proxy.Options{
		Config: loadTCP(t, &top, log), Concurrency: max(1, top.Loops), DrainTime: top.DrainTime, GradualDrain: top.GradualDrain,
		NetworkFilters: top.NetworkFilters,
		OnDemandClusters: func(path string) (cluster.Provider, error) {
			if top.Provider != nil {
				return top.Provider, nil
			}
			return ondemand.NewDirectory(path, envoy.LoadCluster, slog.New(slog.DiscardHandler)), nil
		},
	})
	p.log = log
	for _, c := range top.Clusters {
		p.origins = append(p.origins, c.Origins...)
	}
	if !top.NotSettled {
		t.Cleanup(p.finish)
	}
	return p
}

// ApplyTCP gives the running server another topology; the access log stays.
func (p *Proxy) ApplyTCP(top TCPTopology) {
	p.T.Helper()
	if err := p.Server.Apply(loadTCP(p.T, &top, p.log)); err != nil {
		p.T.Fatal(err)
	}
	for _, c := range top.Clusters {
		p.origins = append(p.origins, c.Origins...)
	}
}

func loadTCP(t testing.TB, top *TCPTopology, log string) *conf.Bootstrap {
	t.Helper()
	src := envoy.Source{Data: []byte(top.YAML(log))}
	for name := range top.NetworkFilters {
		src.NetworkFilters = append(src.NetworkFilters, name)
	}
	r, err := envoy.Load(src)
	if err != nil {
		t.Fatalf("%v\nin\n%s", err, src.Data)
	}
	return r.Conf
}

// LoadTCP compiles a topology, for tests that change more than it can say. Its logs go nowhere.
func LoadTCP(t testing.TB, top TCPTopology) *conf.Bootstrap {
	t.Helper()
	return loadTCP(t, &top, os.DevNull)
}

// LoadCluster compiles a file with a cluster.
func LoadCluster(path string) (*conf.Cluster, error) { return envoy.LoadCluster(path) }
