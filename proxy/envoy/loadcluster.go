package envoy

import (
	"slices"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

const clusterMessage = "envoy.config.cluster.v3.Cluster"

// LoadCluster reads, checks and compiles a file that holds one cluster: a Cluster message, or a
// DiscoveryResponse with one Cluster among its resources, as YAML or JSON. Errors are as those of
// Load. Names are resolved by the system unless the cluster has resolvers of its own.
func LoadCluster(path string) (*conf.Cluster, error) {
	name, data, err := readSource(Source{Path: path})
	if err != nil {
		return nil, err
	}
	return parseCluster(name, data)
}

func parseCluster(name string, data []byte) (*conf.Cluster, error) {
	errs := &errorList{}
	d := &decoder{errs: errs}
	tree, root := d.parse(name, 0, data, "a cluster")
	at := place{pos: root}
	if tree != nil && tree.has("resources") {
		nodes, places := d.resources(tree, clusterMessage, "a list of one cluster")
		if tree = nil; len(nodes) == 1 {
			tree, at = nodes[0], places[0]
		}
	}
	m := &clusterv3.Cluster{}
	if tree != nil {
		d.message(tree, m.ProtoReflect(), at)
	}
	if err := errs.join(); err != nil {
		return nil, err
	}
	validate(errs, m, at)
	if err := errs.join(); err != nil {
		return nil, err
	}
	c := &compiler{errs: errs}
	out := c.cluster(m, at)
	if err := errs.join(); err != nil {
		return nil, err
	}
	return out, nil
}

// resources returns the messages in a DiscoveryResponse, which must be what expected says, and their
// places; none when it reported a fault instead. The message's own type is part of the packages that
// need grpc, so its few fields are read here.
func (d *decoder) resources(tree *node, message, expected string) (nodes []*node, places []place) {
	for i, k := range tree.keys {
		n := tree.items[i]
		here := place{path: k.name, pos: d.position(k.line, k.col, n)}
		switch k.name {
		case "version_info", "versionInfo", "nonce":
			if n.kind != scalarNode {
				d.errs.at(here, "expected a string, got %s", n.describe())
				continue
			}
			d.text(n, here)
		case "type_url", "typeUrl":
			if n.kind != scalarNode || messageName(n.text) != message {
				d.errs.at(here, "expected type.googleapis.com/%s, got %s", message, n.describe())
			}
		case "resources":
			one := message == clusterMessage
			if n.kind != listNode || len(n.items) == 0 || one && len(n.items) > 1 ||
				slices.ContainsFunc(n.items, func(item *node) bool { return item.kind != mappingNode }) {
				d.errs.at(here, "expected %s", expected)
				continue
			}
			nodes = n.items
			for i, item := range nodes {
				here.pos.items = append(here.pos.items, d.position(item.line, item.col, item))
				places = append(places, here.index(i))
			}
		default:
			d.errs.at(here, "not supported: a response holds version_info, type_url, nonce and resources")
		}
	}
	for i, n := range nodes {
		d.resourceType(n, message, places[i])
	}
	return nodes, places
}

// resourceType checks the type of one resource.
func (d *decoder) resourceType(resource *node, message string, at place) {
	at.pos.isAny = true
	i := slices.IndexFunc(resource.keys, func(k key) bool { return k.name == typeKey })
	switch {
	case i < 0:
		d.errs.at(at, "%q is missing; supported here: %s", typeKey, message)
	case resource.items[i].kind != scalarNode || messageName(resource.items[i].text) != message:
		n := resource.items[i]
		here := place{path: at.path + "." + typeKey, pos: newPosition(d.file, n.line, n.col)}
		here.pos.ordinal = d.ordinal
		d.errs.at(here, "%s is not supported; supported here: %s", n.describe(), message)
	}
}

// messageName is a type URL without what is before the name.
func messageName(url string) string { return url[strings.LastIndexByte(url, '/')+1:] }
