package generic

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/sluiceproxy/sluice/proxy/cluster"
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/runtime"
)

// route is a compiled RouteAction (GP-3). Immutable.
type route struct {
	conf      *conf.GenericAction
	targets   []target
	criteria  *cluster.Criteria
	timeout   time.Duration
	tries     uint32
	perFilter []json.RawMessage // by filter
}

// target is a cluster that requests go to.
type target struct {
	name   []byte
	upTo   uint64            // weights, cumulative
	closed *runtime.Fraction // requests that maintenance mode keeps away
}

// pick returns the target of a request.
func (r *route) pick(random *rand.Rand) *target {
	if len(r.targets) == 1 {
		return &r.targets[0]
	}
	n := random.Uint64N(r.targets[len(r.targets)-1].upTo)
	for i := range r.targets {
		if n < r.targets[i].upTo {
			return &r.targets[i]
		}
	}
	return &r.targets[0]
}

// table is a compiled RouteConfiguration (GP-1). Immutable.
type table struct {
	exact              map[string]*matcher
	suffixes, prefixes []wildcard // longest first
	fallback           *matcher   // of the host "*", or the configuration's own; nil: none
}

type wildcard struct {
	text   string
	routes *matcher
}

// find returns the matcher of a host; nil: none. The order is exact, longest suffix, longest prefix, "*";
// what a wildcard stands for is not empty.
func (t *table) find(host []byte) *matcher {
	if m := t.exact[string(host)]; m != nil {
		return m
	}
	for i := range t.suffixes {
		if w := &t.suffixes[i]; len(host) > len(w.text) && string(host[len(host)-len(w.text):]) == w.text {
			return w.routes
		}
	}
	for i := range t.prefixes {
		if w := &t.prefixes[i]; len(host) > len(w.text) && string(host[:len(w.text)]) == w.text {
			return w.routes
		}
	}
	return t.fallback
}

// routeBuilder compiles routes.
type routeBuilder struct {
	filters  []filter
	runtime  *runtime.Loader
	clusters []string
}

func (b *routeBuilder) compileTable(c *conf.GenericRoutes) (*table, error) {
	t := &table{exact: make(map[string]*matcher)}
	if c == nil {
		return nil, errors.New("is required")
	}
	seen := make(map[string]bool)
	for i, vh := range c.VirtualHosts {
		if vh.Routes == nil {
			return nil, fmt.Errorf("virtual_hosts[%d].routes: is required", i)
		}
		m, err := b.compileMatcher(vh.Routes, 0)
		if err != nil {
			return nil, fmt.Errorf("virtual_hosts[%d].routes.%w", i, err)
		}
		for j, host := range vh.Hosts {
			if seen[host] {
				return nil, fmt.Errorf("virtual_hosts[%d].hosts[%d]: another one is %q", i, j, host)
			}
			seen[host] = true
			if err := t.add(host, m); err != nil {
				return nil, fmt.Errorf("virtual_hosts[%d].hosts[%d]: %w", i, j, err)
			}
		}
	}
	if c.Routes != nil {
		if t.fallback != nil {
			return nil, errors.New("routes: excludes a virtual host for *: both would take what no other does")
		}
		var err error
		if t.fallback, err = b.compileMatcher(c.Routes, 0); err != nil {
			return nil, fmt.Errorf("routes.%w", err)
		}
	}
	longest := func(a, b wildcard) int { return len(b.text) - len(a.text) }
	slices.SortStableFunc(t.suffixes, longest)
	slices.SortStableFunc(t.prefixes, longest)
	return t, nil
}

func (t *table) add(host string, m *matcher) error {
	switch {
	case host == "*":
		t.fallback = m
	case strings.Count(host, "*") > 1 || strings.Contains(strings.Trim(host, "*"), "*"):
		return fmt.Errorf("%q has a wildcard that is neither its beginning nor its end", host)
	case strings.HasPrefix(host, "*"):
		t.suffixes = append(t.suffixes, wildcard{host[1:], m})
	case strings.HasSuffix(host, "*"):
		t.prefixes = append(t.prefixes, wildcard{host[:len(host)-1], m})
	default:
		t.exact[host] = m
	}
	return nil
}

func (b *routeBuilder) compileAction(c *conf.GenericAction) (*route, error) {
	r := &route{conf: c, criteria: cluster.NewCriteria(c.Metadata), timeout: c.Timeout, tries: max(1, c.NumRetries)}
	all := c.Weighted
	switch {
	case len(all) > 0 && c.Cluster != "":
		return nil, errors.New("cluster: excludes weighted_clusters")
	case len(all) == 0 && c.Cluster == "":
		return nil, errors.New("cluster: is required")
	case len(all) == 0:
		all = []conf.WeightedCluster{{Name: c.Cluster, Weight: 1}}
	}
	upTo := uint64(0)
	for i := range all {
		w := &all[i]
		if w.Name == "" {
			return nil, fmt.Errorf("weighted_clusters.clusters[%d].name: is required", i)
		}
		upTo += uint64(w.Weight)
		closed := b.runtime.Fraction("upstream.maintenance_mode."+w.Name, conf.Fraction{Denominator: 100})
		r.targets = append(r.targets, target{name: []byte(w.Name), upTo: upTo, closed: closed})
		b.clusters = append(b.clusters, w.Name)
	}
	if upTo == 0 {
		return nil, errors.New("weighted_clusters: the weights add up to 0")
	}
	r.perFilter = make([]json.RawMessage, len(b.filters))
	for name, config := range c.PerFilter {
		i := slices.IndexFunc(b.filters, func(f filter) bool { return f.name == name })
		if i < 0 {
			return nil, fmt.Errorf("per_filter_config[%q]: there is no such filter", name)
		}
		r.perFilter[i] = config
	}
	return r, nil
}
