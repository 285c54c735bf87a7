package route

import (
	"fmt"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/match"
	"github.com/sluiceproxy/sluice/proxy/stats"
)

// otherCluster is the virtual cluster of requests that are of none (RT-68).
const otherCluster = "other"

// StatPrefixes calls f with what the names of the series begin with that a table of c counts in: those of its
// virtual clusters, and of its routes with a stat_prefix.
func StatPrefixes(c *conf.RouteConfiguration, f func(prefix string)) {
	for _, vh := range c.VirtualHosts {
		for _, vc := range vh.VirtualClusters {
			f(stats.VirtualClusterPrefix(vh.Name, vc.Name))
		}
		if len(vh.VirtualClusters) > 0 {
			f(stats.VirtualClusterPrefix(vh.Name, otherCluster))
		}
		each := func(r *conf.Route) {
			if r.StatPrefix != "" {
				f(stats.RoutePrefix(vh.Name, r.StatPrefix))
			}
		}
		for _, r := range vh.Routes {
			each(r)
		}
		vh.Matcher.EachRoute(each)
	}
}

// VirtualCluster is a kind of requests with statistics of its own. Immutable.
type VirtualCluster struct {
	Name string
	// Stats is vhost.<virtual host>.vcluster.<name>.; nil for a table compiled without a registry.
	Stats *stats.VirtualStats

	headers []match.Header
}

// virtualClusters compiles those of a virtual host; the catch-all comes last. nil for none.
func (b *builder) virtualClusters(c *conf.VirtualHost) ([]VirtualCluster, error) {
	if len(c.VirtualClusters) == 0 {
		return nil, nil
	}
	out := make([]VirtualCluster, len(c.VirtualClusters)+1)
	for i, vc := range c.VirtualClusters {
		var err error
		switch out[i].headers, err = compileHeaders(vc.Headers); {
		case err != nil:
			return nil, fmt.Errorf("virtual_clusters[%d].%w", i, err)
		case vc.Name == "":
			return nil, fmt.Errorf("virtual_clusters[%d].name: must not be empty", i)
		case len(vc.Headers) == 0:
			return nil, fmt.Errorf("virtual_clusters[%d].headers: at least one is needed", i)
		}
		out[i].Name = vc.Name
	}
	out[len(out)-1].Name = otherCluster
	if b.registry != nil {
		for i := range out {
			out[i].Stats = stats.NewVirtualClusterStats(b.registry, c.Name, out[i].Name)
		}
	}
	return out, nil
}

// virtualCluster returns the first one that matches; nil when the virtual host has none. No allocation but
// what a regular expression needs.
func (vh *VirtualHost) virtualCluster(in *Input) *VirtualCluster {
	if len(vh.virtual) == 0 {
		return nil
	}
	last := len(vh.virtual) - 1
	for i := range vh.virtual[:last] {
		if match.AllHold(vh.virtual[i].headers, in.Head, &in.Scratch) {
			return &vh.virtual[i]
		}
	}
	return &vh.virtual[last]
}
