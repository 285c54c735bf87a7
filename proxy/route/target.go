package route

import (
	"fmt"
	"math"

	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/codec/http1"
	"github.com/sluiceproxy/sluice/proxy/cluster"
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/match"
	"github.com/sluiceproxy/sluice/proxy/runtime"
)

// Target is where a Forward route may send a request: its cluster, or one entry of its weighted_clusters,
// with what comes with that choice (RT-74). Immutable.
type Target struct {
	// Config is the entry of weighted_clusters; nil for a route with one cluster.
	Config *conf.RouteCluster
	// Criteria choose among the cluster's hosts: the entry's metadata_match over the route's. nil: none.
	Criteria *cluster.Criteria

	header      *match.Name // cluster_header; nil for a fixed name
	name        []byte
	hostLiteral []byte
	mutators
}

// Cluster returns the name of the cluster: the configured one, or the first value of the cluster_header.
// Empty when the header is missing. Valid as long as h.
func (t *Target) Cluster(h *header.Head) []byte {
	if t.header == nil {
		return t.name
	}
	if t.header.Lower == authorityName {
		return h.Bytes(h.Authority)
	}
	v, _ := t.header.First(h)
	return v
}

// weights divide a route's requests among its targets (RT-72). nil for a route with one.
type weights struct {
	upTo []uint64 // cumulative, as configured
	// live are the weights' runtime values; nil without runtime_key_prefix.
	live       []*runtime.Uint
	header     *match.Name // header_name; nil for none
	hashPolicy bool
}

// target returns the one a request goes to: the same for the same request, headers and random number.
func (r *Route) target(in *Input) *Target {
	w := r.weights
	if w == nil {
		return &r.targets[0]
	}
	n := w.number(r, in)
	if w.live != nil {
		if t := w.pickLive(n); t >= 0 {
			return &r.targets[t]
		}
	}
	n %= w.upTo[len(w.upTo)-1]
	for i := range w.upTo {
		if n < w.upTo[i] {
			return &r.targets[i]
		}
	}
	return &r.targets[0] // not reached: the last is the total
}

// number is R of RT-72.
func (w *weights) number(r *Route, in *Input) uint64 {
	if w.header != nil {
		if i := in.Head.Find(w.header.ID, w.header.Lower); i >= 0 && in.Head.Next(i) < 0 {
			if n, ok := parseUint64(in.Head.Bytes(in.Head.Fields[i].Value)); ok {
				return n
			}
		}
	}
	if w.hashPolicy {
		if h := r.hash(in); h.OK {
			return h.Value
		}
	}
	return in.Random
}

// pickLive chooses by the weights of the runtime (RT-73); -1 when they are all 0: then the configured ones
// count, since there would be nowhere to go.
func (w *weights) pickLive(n uint64) int {
	total := uint64(0)
	for _, l := range w.live {
		total += min(l.Load(), math.MaxUint32)
	}
	if total == 0 {
		return -1
	}
	n %= total
	for i, l := range w.live {
		weight := min(l.Load(), math.MaxUint32)
		if n < weight {
			return i
		}
		n -= weight
	}
	return len(w.live) - 1 // a weight changed meanwhile
}

func parseUint64(b []byte) (n uint64, ok bool) {
	if len(b) == 0 || len(b) > 20 {
		return 0, false
	}
	for _, c := range b {
		d := uint64(c - '0')
		if d > 9 || n > (math.MaxUint64-d)/10 {
			return 0, false
		}
		n = n*10 + d
	}
	return n, true
}

// compileTargets makes the targets of an action whose route has these levels of mutations.
func (b *builder) compileTargets(r *Route, a *conf.RouteAction, m mutators) error {
	kinds := 0
	for _, there := range []bool{a.Cluster != "", a.ClusterHeader != "", a.Weighted != nil} {
		if there {
			kinds++
		}
	}
	if kinds != 1 {
		return fmt.Errorf("cluster_specifier: exactly one of cluster, cluster_header and weighted_clusters is needed")
	}
	criteria := cluster.NewCriteria(a.MetadataMatch)
	if a.Weighted == nil {
		r.targets = []Target{{Criteria: criteria, mutators: m}}
		return b.name(&r.targets[0], a.Cluster, a.ClusterHeader)
	}
	if err := b.compileWeights(r, a.Weighted); err != nil {
		return fmt.Errorf("weighted_clusters.%w", err)
	}
	for i := range r.targets {
		t := &r.targets[i]
		c := &a.Weighted.Clusters[i]
		t.Config, t.Criteria = c, merged(criteria, cluster.NewCriteria(c.MetadataMatch))
		if err := b.entry(t, c, m); err != nil {
			return fmt.Errorf("weighted_clusters.clusters[%d].%w", i, err)
		}
	}
	return nil
}

// merged is over's criteria above those of under.
func merged(under, over *cluster.Criteria) *cluster.Criteria {
	if over == nil || under == nil {
		if over == nil {
			return under
		}
		return over
	}
	out := new(cluster.Criteria)
	out.Merge(under)
	out.Merge(over)
	return out
}

func (b *builder) compileWeights(r *Route, c *conf.WeightedClusters) error {
	w := &weights{hashPolicy: c.UseHashPolicy}
	total := uint64(0)
	for i := range c.Clusters {
		e := &c.Clusters[i]
		total += uint64(e.Weight)
		w.upTo = append(w.upTo, total)
		if c.RuntimeKeyPrefix != "" {
			w.live = append(w.live, b.runtime.Uint(c.RuntimeKeyPrefix+"."+e.Name, uint64(e.Weight)))
		}
	}
	if total == 0 || total > math.MaxUint32 {
		return fmt.Errorf("clusters: the weights add up to %d; the sum must be from 1 to %d", total, uint32(math.MaxUint32))
	}
	if c.HeaderName != "" {
		if err := match.CheckName(c.HeaderName); err != nil {
			return fmt.Errorf("header_name: %w", err)
		}
		n := match.NewName(c.HeaderName)
		w.header = &n
	}
	r.weights, r.targets = w, make([]Target, len(c.Clusters))
	return nil
}

// entry compiles what comes with a weighted cluster. Its mutations run before those of the route, in
// either order of the levels (RT-69c).
func (b *builder) entry(t *Target, c *conf.RouteCluster, m mutators) error {
	if (c.Name == "") == (c.ClusterHeader == "") {
		return fmt.Errorf("name: exactly one of name and cluster_header is needed")
	}
	own, err := compileLevels(&c.Headers)
	if err != nil {
		return err
	}
	t.request, t.response = m.request.after(own.request), m.response.after(own.response)
	if c.HostRewriteLiteral != "" {
		if !http1.ValidAuthority([]byte(c.HostRewriteLiteral)) {
			return fmt.Errorf("host_rewrite_literal: %q is not a host name", c.HostRewriteLiteral)
		}
		t.hostLiteral = []byte(c.HostRewriteLiteral)
	}
	return b.name(t, c.Name, c.ClusterHeader)
}

// name notes where the cluster's name comes from.
func (b *builder) name(t *Target, fixed, headerName string) error {
	if headerName == "" {
		b.clusters[fixed] = true
		t.name = []byte(fixed)
		return nil
	}
	if headerName == "host" {
		return fmt.Errorf(`cluster_header: "host" is written ":authority"`)
	}
	if headerName != authorityName {
		if err := match.CheckName(headerName); err != nil {
			return fmt.Errorf("cluster_header: %w", err)
		}
	}
	n := match.NewName(headerName)
	t.header = &n
	return nil
}
