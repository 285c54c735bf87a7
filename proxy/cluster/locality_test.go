package cluster

import (
	"fmt"
	"math"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/stats"
)

// near fails a run when n of total differs from share by more than five standard deviations, which chance
// does less than once in a million.
func near(t *testing.T, what string, n, total int, share float64) {
	t.Helper()
	bound := 5*math.Sqrt(float64(total)*share*(1-share)) + 1
	if math.Abs(float64(n)-share*float64(total)) > bound {
		t.Errorf("%s: %d of %d, expected %.0f +- %.0f", what, n, total, share*float64(total), bound)
	}
}

// zoned makes a cluster of hosts per zone; zone i has locality weight weights[i] and hosts[i] hosts, the first unhealthy[i] of
// which are not usable.
func zoned(lb conf.LBPolicy, hosts, unhealthy []int, weights []uint32, change func(c *conf.Cluster)) *Cluster {
	c := conf.NewCluster("c")
	c.LB = lb
	n := 0
	for z := range hosts {
		for i := range hosts[z] {
			e := endpointAt(n, 0)
			e.Zone = fmt.Sprint("z", z)
			if weights != nil {
				e.LocalityWeight = weights[z]
			}
			if i < unhealthy[z] {
				e.Health = conf.EndpointUnhealthy
			}
			c.Endpoints = append(c.Endpoints, e)
			n++
		}
	}
	if change != nil {
		change(c)
	}
	return newCluster(c, stats.NewRegistry(), nil)
}

func weighted(c *conf.Cluster) { c.LocalityWeighted = true }

func picksByZone(b *Balancer, n int) map[string]int {
	random, out := seeded(), make(map[string]int)
	for range n {
		out[b.PickFor(random.Uint64(), nil).Zone]++
	}
	return out
}

// CL-23: localities get requests by effective weight: their own times their usable part, overprovisioned.
func TestCL23LocalityWeights(t *testing.T) {
	for _, lb := range []conf.LBPolicy{conf.RoundRobin, conf.LeastRequest, conf.Random} {
		for _, row := range []struct {
			hosts, unhealthy []int
			weights          []uint32
			want             []float64
		}{
			{[]int{1, 5}, []int{0, 0}, []uint32{1, 1}, []float64{.5, .5}},
			{[]int{2, 2}, []int{0, 0}, []uint32{3, 1}, []float64{.75, .25}},
			{[]int{4, 4}, []int{1, 0}, []uint32{1, 1}, []float64{.5, .5}}, // 75 % * 1.4 is all
			{[]int{4, 4}, []int{2, 0}, []uint32{1, 1}, []float64{.7 / 1.7, 1 / 1.7}},
			{[]int{2, 2}, []int{2, 0}, []uint32{9, 1}, []float64{0, 1}},
			{[]int{2, 2}, []int{0, 0}, []uint32{0, 1}, []float64{0, 1}},
		} {
			b := NewBalancer(zoned(lb, row.hosts, row.unhealthy, row.weights, weighted), 0)
			got := picksByZone(b, 1700)
			for z, share := range row.want {
				if n := got[fmt.Sprint("z", z)]; math.Abs(float64(n)-share*1700) > 2 { // a schedule, not chance
					t.Errorf("%v %v: zone %d got %d", lb, row, z, n)
				}
			}
			if n := testing.AllocsPerRun(100, func() { b.Pick(5) }); n != 0 {
				t.Errorf("%v allocations", n)
			}
		}
	}
}

// In a panic, and without any weight, localities do not count.
func TestCL23LocalitiesWithoutMeaning(t *testing.T) {
	b := NewBalancer(zoned(conf.RoundRobin, []int{1, 3}, []int{0, 0}, []uint32{0, 0}, weighted), 0)
	if got := picksByZone(b, 400); got["z0"] != 100 {
		t.Errorf("without weights %v", got)
	}
	b = NewBalancer(zoned(conf.RoundRobin, []int{4, 4}, []int{4, 3}, []uint32{1, 9}, weighted), 0)
	if got := picksByZone(b, 400); got["z0"] != 200 {
		t.Errorf("in a panic %v", got)
	}
}

// CL-23: ring and Maglev have the weights in their tables.
func TestCL23LocalityWeightsInTables(t *testing.T) {
	for _, lb := range []conf.LBPolicy{conf.RingHash, conf.Maglev} {
		b := NewBalancer(zoned(lb, []int{2, 2}, []int{0, 0}, []uint32{3, 1}, func(c *conf.Cluster) {
			weighted(c)
			c.RingHash.MinimumSize = 100_000
		}), 0)
		got := picksByZone(b, 20000)
		if share := float64(got["z0"]) / 20000; share < .72 || share > .78 {
			t.Errorf("%v: %v", lb, got)
		}
	}
}

// zoneAware makes a zone aware cluster in zone z0 whose local cluster has that many hosts in each zone.
func zoneAware(hosts []int, local []int, change func(z *conf.ZoneAware, v *zoneView)) (*Balancer, *stats.Registry, *stats.ZoneStats) {
	c := conf.NewCluster("c")
	c.ZoneAware = &conf.ZoneAware{RoutingEnabled: 100, MinClusterSize: 1}
	n := 0
	for z := range hosts {
		for range hosts[z] {
			e := endpointAt(n, 0)
			e.Zone = fmt.Sprint("z", z)
			c.Endpoints = append(c.Endpoints, e)
			n++
		}
	}
	r := stats.NewRegistry()
	k := makeCluster(c, surroundings{stats: r, zone: func(c *Cluster) *zoneView {
		v := &zoneView{own: place{zone: "z0"}, local: make(map[place]int), conf: c.Conf.ZoneAware, stats: c.zoneStats, minSize: c.Conf.ZoneAware.MinClusterSize}
		for z, n := range local {
			v.local[place{zone: fmt.Sprint("z", z)}] = n
			v.all += n
		}
		if change != nil {
			change(c.Conf.ZoneAware, v)
		}
		return v
	}})
	b := NewBalancer(k, 0)
	b.SetShard(r.NewShard())
	return b, r, k.zoneStats
}

// CL-23: requests stay in the zone as far as its hosts can take them; the others go where hosts are over.
func TestCL23ZoneAware(t *testing.T) {
	const n = 20000
	for _, row := range []struct {
		name         string
		hosts, local []int
		want         []float64
		counted      string
	}{
		{"enough here", []int{2, 2}, []int{1, 1}, []float64{1, 0}, "all_directly"},
		{"more than enough", []int{3, 1}, []int{1, 1}, []float64{1, 0}, "all_directly"},
		{"half of what would be needed", []int{1, 3}, []int{1, 1}, []float64{.5, .5}, "sampled"},
		{"what is over elsewhere", []int{1, 2, 5}, []int{2, 1, 1}, []float64{.25, 0, .75}, "cross_zone"},
		{"nobody here", []int{0, 2, 2}, []int{1, 1, 1}, []float64{0, .5, .5}, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			b, r, _ := zoneAware(row.hosts, row.local, nil)
			got := picksByZone(b, n)
			for z, share := range row.want {
				near(t, fmt.Sprint("zone ", z), got[fmt.Sprint("z", z)], n, share)
			}
			if row.counted != "" && counter(r, "cluster.c.lb_zone_routing_"+row.counted) == 0 {
				t.Errorf("lb_zone_routing_%s is not counted", row.counted)
			}
		})
	}
}

func TestCL23ZoneAwareStandsBack(t *testing.T) {
	even := func(name string, b *Balancer) {
		t.Helper()
		if got := picksByZone(b, 400); got["z0"] != 100 {
			t.Errorf("%s: %v", name, got)
		}
	}
	b, _, s := zoneAware([]int{1, 3}, []int{0, 1}, func(_ *conf.ZoneAware, v *zoneView) { v.minSize = 6 })
	even("too few hosts", b)
	if s.LbZoneClusterTooSmall.Value() != 1 {
		t.Error("lb_zone_cluster_too_small is not counted")
	}
	b, _, _ = zoneAware([]int{1, 3}, []int{1, 1}, func(_ *conf.ZoneAware, v *zoneView) { v.panic = true })
	even("local cluster in a panic", b)
	b, _, s = zoneAware([]int{1, 3}, []int{9, 1}, func(z *conf.ZoneAware, _ *zoneView) { z.ForceLocal, z.ForceLocalMinSize = true, 1 })
	if got := picksByZone(b, 100); got["z0"] != 100 {
		t.Errorf("force_local_zone: %v", got)
	}
	if s.LbRecalculateZoneStructures.Value() != 1 {
		t.Error("lb_recalculate_zone_structures is not counted")
	}
}

// clusters.md 5: locality_weight_aware and scale_locality_weight within subsets.
func TestSubsetsWithLocalities(t *testing.T) {
	for _, row := range []struct {
		aware, scale bool
		want         float64
	}{{false, false, .25}, {true, false, .5}, {true, true, .25 / 1.25}} {
		c := zoned(conf.RoundRobin, []int{4, 3}, []int{0, 0}, []uint32{1, 1}, func(c *conf.Cluster) {
			weighted(c)
			for i, e := range c.Endpoints {
				e.Metadata = meta("v=1")
				if i >= 1 && i < 4 { // one of four hosts of the first zone, three of three of the second
					e.Metadata = meta("v=2")
				}
			}
			c.Subsets = &conf.Subsets{Selectors: []conf.SubsetSelector{selector("v", conf.SubsetNotDefined)}, LocalityAware: row.aware, ScaleLocality: row.scale}
		})
		b, n := NewBalancer(c, 0), 0
		for range 1000 {
			if b.PickFor(1, &Choice{Criteria: NewCriteria(meta("v=1"))}).Zone == "z0" {
				n++
			}
		}
		if math.Abs(float64(n)-1000*row.want) > 2 {
			t.Errorf("%+v: %d", row, n)
		}
	}
}

// clusters.md 5: metadata_fallback_policy FALLBACK_LIST.
func TestSubsetFallbackList(t *testing.T) {
	k, _ := divided(conf.Subsets{MetadataFallback: true, Selectors: []conf.SubsetSelector{selector("v", conf.SubsetNotDefined), selector("s v", conf.SubsetNotDefined)}}, "v=1 s=a", "v=2 s=b")
	b := NewBalancer(k, 0)
	criteria := meta("v=9")
	criteria["fallback_list"] = `[{"v":"3"},{"v":"2","s":"b"},{"v":"1"}]`
	c := &Choice{Criteria: NewCriteria(criteria)}
	if h := b.PickFor(1, c); h == nil || h.Index != 1 {
		t.Errorf("got %v", h)
	}
	if n := testing.AllocsPerRun(100, func() { b.PickFor(1, c) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	criteria["fallback_list"] = `[{"v":"3"}]`
	if h := b.PickFor(1, &Choice{Criteria: NewCriteria(criteria)}); h != nil {
		t.Errorf("none of the list: %v", h.AddrText)
	}
}
