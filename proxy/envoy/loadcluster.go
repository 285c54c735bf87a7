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
	if tree != nil && slices.ContainsFunc(tree.keys, func(k key) bool { return k.name == "resources" }) {
		tree, at = d.response(tree, at)
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

// response returns the one cluster of a DiscoveryResponse; nil when it reported a fault instead. The
// message's own type is part of the packages that need grpc, so its few fields are read here.
func (d *decoder) response(tree *node, at place) (cluster *node, clusterAt place) {
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
			if n.kind != scalarNode || messageName(n.text) != clusterMessage {
				d.errs.at(here, "expected type.googleapis.com/%s, got %s", clusterMessage, n.describe())
			}
		case "resources":
			if n.kind != listNode || len(n.items) != 1 || n.items[0].kind != mappingNode {
				d.errs.at(here, "expected a list of one cluster")
				continue
			}
			cluster = n.items[0]
			here.pos.items = []*position{d.position(cluster.line, cluster.col, cluster)}
			clusterAt = here.index(0)
		default:
			d.errs.at(here, "not supported: a response holds version_info, type_url, nonce and resources")
		}
	}
	if cluster == nil {
		return nil, at
	}
	clusterAt.pos.isAny = true
	i := slices.IndexFunc(cluster.keys, func(k key) bool { return k.name == typeKey })
	switch {
	case i < 0:
		d.errs.at(clusterAt, "%q is missing; supported here: %s", typeKey, clusterMessage)
	case cluster.items[i].kind != scalarNode || messageName(cluster.items[i].text) != clusterMessage:
		n := cluster.items[i]
		here := place{path: clusterAt.path + "." + typeKey, pos: newPosition(d.file, n.line, n.col)}
		d.errs.at(here, "%s is not supported; supported here: %s", n.describe(), clusterMessage)
	}
	return cluster, clusterAt
}

// messageName is a type URL without what is before the name.
func messageName(url string) string { return url[strings.LastIndexByte(url, '/')+1:] }
