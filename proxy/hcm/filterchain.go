package hcm

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/filter"
)

// filterChain is the HTTP filters of a connection manager but the router, compiled. Immutable but for the
// free lists, of which each loop has its own.
type filterChain struct {
	specs []chainedFilter
	// byRoute and byHost hold what typed_per_filter_config says: of the route with what is above it, and of
	// the virtual host for requests that no route matches. nil when nothing says anything.
	byRoute map[*conf.Route]*routeFilters
	byHost  map[*conf.VirtualHost]*routeFilters
	// byTarget is byRoute for entries of weighted_clusters that say something themselves.
	byTarget map[*conf.RouteCluster]*routeFilters
	free     []*freeRuns // by the loop's index
	// upgrade: the filters of one upgrade type, of which routes need not know.
	upgrade bool
}

// chainedFilter is one filter of a chain.
type chainedFilter struct {
	filter.Spec
	name     string
	disabled bool
}

// routeFilters is what one route says of each filter, by its place in the chain.
type routeFilters struct {
	off []bool  // taken out of the chain
	own [][]any // its configurations, the least specific first
}

// freeRuns is one loop's free list.
type freeRuns struct {
	first *filterRun
	kept  int
}

// maxKeptRuns bounds what a burst leaves behind.
const maxKeptRuns = 1024

// compileFilters makes the chain; nil without filters. upgrade says that it is one of upgrade_configs. Errors carry the path within the manager.
func compileFilters(filters []*conf.HTTPFilter, tables []*conf.RouteConfiguration, d *Deps, prefix string, upgrade bool) (*filterChain, error) {
	c := &filterChain{upgrade: upgrade}
	fd := &filter.Deps{
		Registry: d.Registry, Runtime: d.Runtime, StatPrefix: "http." + prefix + ".", NodeCluster: d.Node.Cluster, Loops: max(1, d.Loops), HealthFailed: d.HealthFailed,
	}
	for i, fc := range filters {
		spec, err := compileFilter(fc, fd, d.Filters)
		if err != nil {
			return nil, fmt.Errorf("http_filters[%d]: %w", i, err)
		}
		c.specs = append(c.specs, chainedFilter{spec, fc.Name, fc.Disabled})
	}
	for _, t := range tables {
		if err := c.compileRoutes(t); err != nil {
			return nil, err
		}
	}
	if len(filters) == 0 {
		return nil, nil
	}
	for range fd.Loops {
		c.free = append(c.free, new(freeRuns))
	}
	return c, nil
}

// customFilter makes an embedder's filter.
func customFilter(name string, d *filter.Deps, registered map[string]filter.Factory) (filter.Spec, error) {
	factory := registered[name]
	if factory == nil {
		return filter.Spec{}, fmt.Errorf("no HTTP filter %q is registered; there are: %s", name, strings.Join(slices.Sorted(maps.Keys(registered)), ", "))
	}
	spec, err := factory(name, d)
	if err == nil && spec.New == nil {
		err = fmt.Errorf("the factory returned no filter")
	}
	if err != nil {
		return spec, fmt.Errorf("%s: %w", name, err)
	}
	return spec, nil
}

// compileRoutes works out what each route of t says of each filter.
func (c *filterChain) compileRoutes(t *conf.RouteConfiguration) error {
	top, err := c.level(nil, t.Filters, "route_config")
	if err != nil {
		return err
	}
	for i, vh := range t.VirtualHosts {
		at := fmt.Sprintf("route_config.virtual_hosts[%d]", i)
		host, err := c.level(top, vh.Filters, at)
		if err != nil {
			return err
		}
		if host != nil {
			if c.byHost == nil {
				c.byHost = make(map[*conf.VirtualHost]*routeFilters)
			}
			c.byHost[vh] = host
		}
		for j, r := range vh.AllRoutes() {
			if err := c.compileRoute(host, r, fmt.Sprintf("%s.routes[%d]", at, j)); err != nil {
				return err
			}
		}
	}
	return nil
}

// compileRoute is compileRoutes for one route and its weighted clusters.
func (c *filterChain) compileRoute(host *routeFilters, r *conf.Route, at string) error {
	own, err := c.level(host, r.Filters, at)
	if err != nil {
		return err
	}
	if own != nil {
		if c.byRoute == nil {
			c.byRoute = make(map[*conf.Route]*routeFilters)
		}
		c.byRoute[r] = own
	}
	if r.Action == nil || r.Action.Weighted == nil {
		return nil
	}
	for i := range r.Action.Weighted.Clusters {
		w := &r.Action.Weighted.Clusters[i]
		if len(w.Filters) == 0 {
			continue
		}
		target, err := c.level(own, w.Filters, fmt.Sprintf("%s.route.weighted_clusters.clusters[%d]", at, i))
		if err != nil {
			return err
		}
		if c.byTarget == nil {
			c.byTarget = make(map[*conf.RouteCluster]*routeFilters)
		}
		c.byTarget[w] = target
	}
	return nil
}

// level adds one level's configurations to those above it: nil when neither says anything.
func (c *filterChain) level(above *routeFilters, configs conf.FilterConfigs, at string) (*routeFilters, error) {
	if len(configs) == 0 {
		return above, nil
	}
	out := &routeFilters{off: make([]bool, len(c.specs)), own: make([][]any, len(c.specs))}
	for i := range c.specs {
		out.off[i] = c.specs[i].disabled
		if above != nil {
			out.off[i], out.own[i] = above.off[i], slices.Clip(above.own[i])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(configs)) {
		fc := configs[name]
		found := false
		for i := range c.specs {
			s := &c.specs[i]
			if s.name != name {
				continue
			}
			found = true
			out.off[i] = fc.Disabled
			if fc.Config == nil {
				continue
			}
			if s.CompileRoute == nil {
				return nil, fmt.Errorf("%s.typed_per_filter_config[%s]: the filter has no configuration for routes", at, name)
			}
			own, err := s.CompileRoute(fc.Config)
			if err != nil {
				return nil, fmt.Errorf("%s.typed_per_filter_config[%s]: %w", at, name, err)
			}
			out.own[i] = append(out.own[i], own)
		}
		if !found && !fc.Optional && name != routerName && !c.upgrade {
			return nil, fmt.Errorf("%s.typed_per_filter_config: there is no filter %q in http_filters", at, name)
		}
	}
	return out, nil
}

// routerName is the filter every chain ends with.
const routerName = "envoy.filters.http.router"

// of returns what the route of a stream says; nil when it says nothing.
func (c *filterChain) of(st *stream) *routeFilters {
	if c.byRoute == nil && c.byHost == nil && c.byTarget == nil {
		return nil
	}
	if t := st.route.Target; t != nil && t.Config != nil && c.byTarget != nil {
		if own := c.byTarget[t.Config]; own != nil {
			return own
		}
	}
	if r := st.route.Route; r != nil {
		return c.byRoute[r.Config]
	}
	if vh := st.route.VirtualHost; vh != nil {
		return c.byHost[vh.Config]
	}
	return nil
}

// run gives a stream its instances of the filters.
func (c *filterChain) run(st *stream) *filterRun {
	free := c.free[st.w.Loop.Index()]
	x := free.first
	if x != nil {
		free.first, x.next = x.next, nil
		free.kept--
	} else {
		x = &filterRun{chain: c, slots: make([]slot, len(c.specs))}
		for i := range x.slots {
			x.slots[i].run, x.slots[i].f, x.slots[i].at = x, c.specs[i].New(), i
		}
	}
	x.begin(st)
	return x
}

// put takes them back.
func (c *filterChain) put(x *filterRun, loop int) {
	if free := c.free[loop]; free.kept < maxKeptRuns {
		x.next, free.first = free.first, x
		free.kept++
	}
}
