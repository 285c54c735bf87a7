package envoy

import (
	"encoding/json"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	actionv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/generic_proxy/action/v3"
	genericrouterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/generic_proxy/router/v3"
	genericv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/generic_proxy/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	xdstypev3 "github.com/cncf/xds/go/xds/type/v3"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// genericProxy compiles a generic_proxy.
func (c *compiler) genericProxy(m *genericv3.GenericProxy, at place) *conf.GenericProxy {
	out := &conf.GenericProxy{StatPrefix: m.GetStatPrefix()}
	out.Codec = c.genericCodec(m.GetCodecConfig(), at.field("codec_config"))
	c.genericFilters(m.GetFilters(), at, out)
	out.Routes = c.genericRoutes(m.GetRouteConfig(), at.field("route_config"), out)
	check := c.checkFormat
	if check != nil {
		c.checkFormat = c.checkGeneric
	}
	out.AccessLogs = c.accessLogs(m.GetAccessLog(), at.field("access_log"))
	c.checkFormat = check
	return out
}

// genericFilters compiles the filters: those that the program brings itself, by the type of a TypedStruct,
// and the router, which is the last one.
func (c *compiler) genericFilters(list []*corev3.TypedExtensionConfig, at place, out *conf.GenericProxy) {
	here := at.field("filters")
	if len(list) == 0 {
		c.errs.at(here, "a router is required: %s", genericRouter)
		return
	}
	for i, m := range list { // each has a typed_config: a constraint of the message
		at := here.index(i)
		last := i == len(list)-1
		switch t := c.unpack(m.GetTypedConfig(), at).(type) {
		case *genericrouterv3.Router:
			if !last {
				c.errs.at(here.index(i+1), "never reached: the filter before it is the router")
				return
			}
			out.BindUpstreamConnection = t.GetBindUpstreamConnection()
			return
		case *xdstypev3.TypedStruct:
			name := messageName(t.GetTypeUrl())
			if !slices.Contains(c.genericNames.Filters, name) {
				c.errs.at(at.field("typed_config").field("type_url"), "%s is not a filter; supported here: %s%s", shorten(name), genericRouter, registered("filters", c.genericNames.Filters))
			}
			text, err := json.Marshal(t.GetValue().AsMap())
			if err != nil {
				c.errs.at(at, "cannot be written as JSON: %v", err)
			}
			out.Filters = append(out.Filters, conf.GenericFilter{Name: m.GetName(), Type: name, Config: text})
		default:
			c.errs.at(at.field("typed_config"), "is not a filter of a generic proxy; supported here: %s", genericRouter)
			return
		}
	}
	c.errs.at(here.index(len(list)-1), "must not be the last filter: a router ends the list")
}

// registered lists what the program brings itself, when that is something.
func registered(what string, names []string) string {
	if len(names) == 0 {
		return ""
	}
	return ", and the registered " + what + " " + strings.Join(slices.Sorted(slices.Values(names)), ", ")
}

// genericRoutes compiles a route_config (GP-1).
func (c *compiler) genericRoutes(m *genericv3.RouteConfiguration, at place, proxy *conf.GenericProxy) *conf.GenericRoutes {
	out := &conf.GenericRoutes{Name: m.GetName()}
	seen := map[string]bool{}
	for i, vh := range m.GetVirtualHosts() {
		here := at.field("virtual_hosts").index(i)
		for j, host := range vh.GetHosts() {
			c.genericHost(host, here.field("hosts").index(j), seen)
		}
		out.VirtualHosts = append(out.VirtualHosts, &conf.GenericVirtualHost{
			Name: vh.GetName(), Hosts: vh.GetHosts(), Routes: c.genericMatcher(vh.GetRoutes(), here.field("routes"), proxy, 0),
		})
	}
	if m.GetRoutes() != nil {
		if seen["*"] {
			c.errs.at(at.field("routes"), "excludes a virtual host for *: both would take what no other does")
		}
		out.Routes = c.genericMatcher(m.GetRoutes(), at.field("routes"), proxy, 0)
	}
	return out
}

func (c *compiler) genericHost(host string, at place, seen map[string]bool) {
	switch inner := strings.TrimSuffix(strings.TrimPrefix(host, "*"), "*"); {
	case host == "":
		c.errs.at(at, "must not be empty")
	case seen[host]:
		c.errs.at(at, "another one is %s", shorten(host))
	case strings.Contains(inner, "*") || strings.Count(host, "*") > 1:
		c.errs.at(at, "%s is not supported: a wildcard is the beginning or the end", shorten(host))
	}
	seen[host] = true
}

// genericAction compiles a RouteAction (GP-3).
func (c *compiler) genericAction(m *actionv3.RouteAction, at place, proxy *conf.GenericProxy) *conf.GenericAction {
	out := conf.NewGenericAction(m.GetCluster())
	out.Name = m.GetName()
	out.Timeout = c.duration(m.GetTimeout(), at.field("timeout"), out.Timeout)
	out.Metadata = c.metadataMatch(m.GetMetadata(), at.field("metadata"))
	switch m.GetClusterSpecifier().(type) {
	case *actionv3.RouteAction_Cluster:
		here := at.field("cluster")
		switch {
		case out.Cluster == "":
			c.errs.at(here, "must not be empty")
		case c.clusters[out.Cluster] == nil:
			c.warn(here, "there is no cluster %s: requests are answered with cluster_not_found", shorten(out.Cluster))
		}
		c.dropsNothing(out.Cluster, here)
	case *actionv3.RouteAction_WeightedClusters:
		c.genericWeights(m.GetWeightedClusters(), at.field("weighted_clusters"), out)
	default:
		c.errs.at(at, "one of cluster or weighted_clusters is required")
	}
	if p := m.GetRetryPolicy(); p != nil {
		here := at.field("retry_policy")
		c.onlyFields(p, here, "num_retries")
		if n := p.GetNumRetries(); n != nil {
			out.NumRetries = max(1, n.GetValue())
			if n.GetValue() > maxGenericTries {
				c.errs.at(here.field("num_retries"), "must be at most %d", maxGenericTries)
			}
		}
	}
	for name, packed := range m.GetPerFilterConfig() {
		here := at.field("per_filter_config").key(name)
		if !slices.ContainsFunc(proxy.Filters, func(f conf.GenericFilter) bool { return f.Name == name }) {
			c.errs.at(here, "there is no filter %s", shorten(name))
			continue
		}
		if s, ok := c.unpack(packed, here).(*xdstypev3.TypedStruct); ok {
			text, err := json.Marshal(s.GetValue().AsMap())
			if err != nil {
				c.errs.at(here, "cannot be written as JSON: %v", err)
			}
			if out.PerFilter == nil {
				out.PerFilter = map[string]json.RawMessage{}
			}
			out.PerFilter[name] = text
		}
	}
	return out
}

// maxGenericTries bounds num_retries of a generic proxy, which counts the first try.
const maxGenericTries = 64

func (c *compiler) genericWeights(m *routev3.WeightedCluster, at place, out *conf.GenericAction) {
	c.onlyFields(m, at, "clusters")
	list := at.field("clusters")
	if len(m.GetClusters()) == 0 {
		c.errs.at(at, "clusters needs at least one entry")
	}
	sum := uint64(0)
	for i, w := range m.GetClusters() {
		here := list.index(i)
		c.onlyFields(w, here, "name", "weight")
		switch {
		case w.GetName() == "":
			c.errs.at(here.field("name"), "is required")
		case c.clusters[w.GetName()] == nil:
			c.warn(here.field("name"), "there is no cluster %s: requests are answered with cluster_not_found", shorten(w.GetName()))
		}
		c.dropsNothing(w.GetName(), here.field("name"))
		if w.GetWeight() == nil {
			c.errs.at(here.field("weight"), "is required")
		}
		sum += uint64(w.GetWeight().GetValue())
		out.Weighted = append(out.Weighted, conf.WeightedCluster{Name: w.GetName(), Weight: w.GetWeight().GetValue()})
	}
	if len(m.GetClusters()) > 0 && sum == 0 || sum > 1<<32-1 {
		c.errs.at(list, "the weights add up to %d; they must add up to 1 to %d", sum, uint32(1<<32-1))
	}
}

// onlyFields refuses what a message shares with other filters and a generic proxy does not read.
func (c *compiler) onlyFields(m proto.Message, at place, names ...string) {
	m.ProtoReflect().Range(func(fd protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		if !slices.Contains(names, string(fd.Name())) {
			c.errs.at(at.field(string(fd.Name())), "not supported: a generic proxy reads only %s", strings.Join(names, " and "))
		}
		return true
	})
}
