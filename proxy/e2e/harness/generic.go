package harness

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/codec/frame"
	"github.com/sluiceproxy/sluice/proxy"
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/envoy"
	"github.com/sluiceproxy/sluice/proxy/generic"
)

// GenericTopology is a generic proxy with one listener and its clusters. Every field but Codec may be
// empty. The YAML fragments are as in Topology.
type GenericTopology struct {
	// Loops is the number of event loops; 0 means 1.
	Loops int
	// Clusters are the upstreams; none is one cluster "origin" without endpoints.
	Clusters []Cluster
	// Codec is redis, thrift, memcache, dubbo or http1, or the name of one of Codecs; CodecFields are
	// fields of its configuration, a YAML flow mapping's inside.
	Codec, CodecFields string
	Codecs             map[string]frame.Codec
	// Bind is bind_upstream_connection.
	Bind bool
	// Action is further fields of the route to the first cluster. RouteConfig replaces the routes: fields
	// of a route_config. Filters are names of the embedder's filters, which Factories make.
	Action, RouteConfig string
	Filters             []string
	Factories           map[string]generic.FilterFactory

	// Listener, Chain and Proxy are further fields of listener, filter chain and filter, Bootstrap of the whole.
	Listener, Chain, Proxy, Bootstrap string
	// LogFormat is one access-log line; empty means GenericLogFormat.
	LogFormat string
	DrainTime time.Duration
	// NotSettled leaves out the checks at the end of the test.
	NotSettled bool
}

// GenericLogFormat is the default access-log line of a GenericTopology.
const GenericLogFormat = "%METHOD% %PATH% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%"

const genericPackage = typePrefix + "filters.network.generic_proxy."

// GenericAction is an action of a matcher: the fields of a RouteAction as a YAML flow mapping's inside.
func GenericAction(fields string) string {
	return fmt.Sprintf("action: { name: route, typed_config: { \"@type\": %saction.v3.RouteAction, %s } }", genericPackage, fields)
}

// GenericInput is an input of a matcher: Host, Path, Method, Request or Property, and fields.
func GenericInput(name, fields string) string {
	if fields != "" {
		fields = ", " + fields
	}
	return fmt.Sprintf("input: { name: input, typed_config: { \"@type\": %smatcher.v3.%sMatchInput%s } }", genericPackage, name, fields)
}

// codecYAML is a codec_config.
func codecYAML(name, fields string) string {
	own := func(kind, message string) string {
		return fmt.Sprintf("{ name: %s, typed_config: { \"@type\": type.googleapis.com/xds.type.v3.TypedStruct, "+
			"type_url: type.googleapis.com/sluice.generic_proxy.codecs.%s.v1.%s, value: { %s } } }", name, kind, message, fields)
	}
	envoys := func(kind, message string) string {
		if fields != "" {
			fields = ", " + fields
		}
		return fmt.Sprintf("{ name: %s, typed_config: { \"@type\": %scodecs.%s.v3.%s%s } }", name, genericPackage, kind, message, fields)
	}
	switch name {
	case "redis":
		return own("resp", "RespCodecConfig")
	case "thrift":
		return own("thrift", "ThriftCodecConfig")
	case "memcache":
		return own("memcache", "MemcacheCodecConfig")
	case "dubbo":
		return envoys("dubbo", "DubboCodecConfig")
	case "http1":
		return envoys("http1", "Http1CodecConfig")
	}
	return fmt.Sprintf("{ name: custom, typed_config: { \"@type\": type.googleapis.com/xds.type.v3.TypedStruct, type_url: type.googleapis.com/%s } }", name)
}

// YAML is the topology as an Envoy configuration. log is the path of the access log.
func (t *GenericTopology) YAML(log string) string {
	clusters := t.Clusters
	if len(clusters) == 0 {
		clusters = []Cluster{{Name: "origin"}}
	}
	format := t.LogFormat
	if format == "" {
		format = GenericLogFormat
	}
	routes := t.RouteConfig
	if routes == "" {
		action := t.Action
		if action != "" {
			action = ", " + action
		}
		routes = "routes: { on_no_match: { " + GenericAction("name: all, cluster: "+clusters[0].Name+action) + " } }"
	}
	var filters, upstreams strings.Builder
	for _, name := range t.Filters {
		fmt.Fprintf(&filters, "- name: %s\n  typed_config: { \"@type\": type.googleapis.com/xds.type.v3.TypedStruct, type_url: type.googleapis.com/%s }\n", name, name)
	}
	fmt.Fprintf(&filters, "- name: envoy.filters.generic.router\n  typed_config: { \"@type\": %srouter.v3.Router, bind_upstream_connection: %t }", genericPackage, t.Bind)
	for _, c := range clusters {
		upstreams.WriteString(c.yaml())
	}
	chain := t.Chain
	if chain != "" {
		chain += "\n"
	}
	chain += fmt.Sprintf("filters:\n- name: envoy.filters.network.generic_proxy\n  typed_config:\n    \"@type\": %sv3.GenericProxy\n    stat_prefix: in\n    codec_config: %s\n%s\n    filters:\n%s\n    route_config:\n      name: local\n%s\n%s\n",
		genericPackage, codecYAML(t.Codec, t.CodecFields), indent(4, t.Proxy), indent(4, filters.String()), indent(6, routes), indent(4, accessLog(log, format, "")))
	return fmt.Sprintf("static_resources:\n  listeners:\n  - name: ingress\n    stat_prefix: in\n    address: { socket_address: { address: 127.0.0.1, port_value: 0 } }\n%s\n    filter_chains:\n    - %s\n  clusters:\n%s\n%s\n",
		indent(4, t.Listener), strings.TrimPrefix(indent(6, chain), "      "), indent(2, upstreams.String()), t.Bootstrap)
}

// StartGeneric starts the topology's proxy and has it checked and closed at the end of the test.
func StartGeneric(t testing.TB, top GenericTopology) *Proxy {
	t.Helper()
	log := filepath.Join(t.TempDir(), "access.log")
	p := startOptions(t, proxy.Options{
		Config: loadGeneric(t, &top, log), Concurrency: max(1, top.Loops), DrainTime: top.DrainTime,
		GenericCodecs: top.Codecs, GenericFilters: top.Factories,
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

// ApplyGeneric gives the running server another topology; the access log stays.
func (p *Proxy) ApplyGeneric(top GenericTopology) {
	p.T.Helper()
	if err := p.Server.Apply(loadGeneric(p.T, &top, p.log)); err != nil {
		p.T.Fatal(err)
	}
}

func loadGeneric(t testing.TB, top *GenericTopology, log string) *conf.Bootstrap {
	t.Helper()
	src := envoy.Source{Data: []byte(top.YAML(log))}
	for name := range top.Codecs {
		src.Generic.Codecs = append(src.Generic.Codecs, name)
	}
	for name := range top.Factories {
		src.Generic.Filters = append(src.Generic.Filters, name)
	}
	r, err := envoy.Load(src)
	if err != nil {
		t.Fatalf("%v\nin\n%s", err, src.Data)
	}
	return r.Conf
}
