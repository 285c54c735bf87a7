package envoy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// compiler turns validated messages into conf. Its methods take a message and its place and return
// the compiled form; on a fault they report it and return something harmless, since nothing compiled
// is used when there are errors.
type compiler struct {
	errs        *errorList
	warnings    []string
	checkFormat func(string) error
	custom      []string // names of network filters that the program brings itself
	// checkGeneric is checkFormat for access logs of generic proxies; genericNames are what the program
	// brings for those.
	checkGeneric func(string) error
	genericNames GenericNames
	customHTTP   []string // the same of HTTP filters
	node         conf.Node
	// rbacRequests: the rules being compiled are of requests.
	rbacRequests bool

	runtime     map[string]string
	resolver    dnsResolver               // of the bootstrap: what clusters use that name none
	clusters    map[string]*conf.Cluster  // by name
	dnsCaches   map[string]*conf.DNSCache // by name
	forwarded   map[string]bool           // names of those that clusters have
	misleading  []*conf.Cluster           // those that offer h2 for connections that speak HTTP/1, too
	listening   map[string]place
	secrets     secretTable            // of static_resources
	secretFiles map[string]secretTable // by path; nil: cannot be used
	sources     hash.Hash              // of the listener being compiled; nil until it reads a file or variable

	// internalBytes is the buffer of internal connections, 0 when the bootstrap does not have them.
	internalBytes int
	internalUses  []internalUse
}

func (c *compiler) warn(at place, format string, args ...any) {
	c.warnings = append(c.warnings, (&Error{
		File: at.pos.file, Line: at.pos.line, Col: at.pos.col, Path: at.path, Message: fmt.Sprintf(format, args...),
	}).Error())
}

func (c *compiler) bootstrap(m *bootstrapv3.Bootstrap, at place) *conf.Bootstrap {
	out := &conf.Bootstrap{AccessLogFlushInterval: 10 * time.Second, Node: node3(m.GetNode())}
	out.Raw = c.raw(m, at) // before secrets are put in the place of their names
	c.layeredRuntime(m.GetLayeredRuntime(), at.field("layered_runtime"), out)
	c.runtime, c.node = out.Runtime, out.Node
	c.resolver = c.typedResolver(m.GetTypedDnsResolverConfig(), at.field("typed_dns_resolver_config"))
	c.clusters, c.listening, c.secrets = map[string]*conf.Cluster{}, map[string]place{}, secretTable{}
	c.bootstrapExtensions(m, at.field("bootstrap_extensions"))
	static := at.field("static_resources")
	for i, m := range m.GetStaticResources().GetSecrets() {
		c.addSecret(c.secrets, m, static.field("secrets").index(i))
	}
	for i, cluster := range m.GetStaticResources().GetClusters() {
		here := static.field("clusters").index(i)
		if name := cluster.GetName(); c.clusters[name] != nil {
			c.errs.at(here.field("name"), "another cluster is called %s", shorten(name))
		}
		compiled := c.cluster(cluster, here)
		c.clusters[compiled.Name] = compiled
		out.Clusters = append(out.Clusters, compiled)
	}
	if out.LocalCluster = m.GetClusterManager().GetLocalClusterName(); out.LocalCluster != "" && c.clusters[out.LocalCluster] == nil {
		c.errs.at(at.field("cluster_manager").field("local_cluster_name"), "there is no cluster %s", shorten(out.LocalCluster))
	}
	if m.GetAdmin() != nil {
		out.Admin = c.admin(m.GetAdmin(), at.field("admin"))
	}
	names := map[string]bool{}
	for i, listener := range m.GetStaticResources().GetListeners() {
		here := static.field("listeners").index(i)
		compiled := c.listener(listener, here)
		if names[compiled.Name] {
			c.errs.at(here.field("name"), "another listener is called %s", shorten(compiled.Name))
		}
		names[compiled.Name] = true
		out.Listeners = append(out.Listeners, compiled)
	}
	c.unknownInternal(out.Listeners)
	return out
}

func node3(m *corev3.Node) conf.Node {
	l := m.GetLocality()
	return conf.Node{ID: m.GetId(), Cluster: m.GetCluster(), Region: l.GetRegion(), Zone: l.GetZone(), SubZone: l.GetSubZone()}
}

// raw is m as Envoy prints it: field names as in the protobuf files, without white space, equal for
// equal messages.
func (c *compiler) raw(m proto.Message, at place) json.RawMessage {
	text, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
	var b bytes.Buffer
	if err == nil {
		err = json.Compact(&b, text)
	}
	if err != nil {
		c.errs.at(at, "cannot be written as JSON: %v", err)
	}
	return b.Bytes()
}

// unpack decodes the payload of an Any whose type the decoder has checked against the support table.
func (c *compiler) unpack(packed *anypb.Any, at place) proto.Message {
	m, err := packed.UnmarshalNew()
	if err != nil {
		c.errs.at(at, "cannot be decoded: %v", err)
		return nil
	}
	return m
}

// duration is m, or def when it is not set.
func (c *compiler) duration(m *durationpb.Duration, at place, def time.Duration) time.Duration {
	if m == nil {
		return def
	}
	d := m.AsDuration()
	if d < 0 {
		c.errs.at(at, "must not be negative")
	}
	return d
}

// number is m, or def when it is not set.
func number(m *wrapperspb.UInt32Value, def uint32) uint32 {
	if m == nil {
		return def
	}
	return m.GetValue()
}

// boolean is m, or def when it is not set.
func boolean(m *wrapperspb.BoolValue, def bool) bool {
	if m == nil {
		return def
	}
	return m.GetValue()
}
