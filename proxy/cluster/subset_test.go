package cluster

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/stats"
)

// meta reads "v=1.0 stage=prod n:2"; after ':' is JSON.
func meta(text string) conf.LBMetadata {
	m := conf.LBMetadata{}
	for _, word := range strings.Fields(text) {
		if key, value, ok := strings.Cut(word, "="); ok {
			m[key] = `"` + value + `"`
		} else {
			key, value, _ := strings.Cut(word, ":")
			m[key] = value
		}
	}
	return m
}

// divided makes a shown cluster of one host, h1 and up, for each text of metadata.
func divided(s conf.Subsets, metadata ...string) (*Cluster, *stats.Registry) {
	return dividedAs(s, func(*conf.Cluster) {}, metadata...)
}

func dividedAs(s conf.Subsets, change func(c *conf.Cluster), metadata ...string) (*Cluster, *stats.Registry) {
	c := conf.NewCluster("c")
	c.Subsets = &s
	for i, m := range metadata {
		c.Endpoints = append(c.Endpoints, &conf.Endpoint{Address: addressOf(i), Weight: 1, Hostname: fmt.Sprint("h", i+1), Metadata: meta(m)})
	}
	change(c)
	if err := Validate([]*conf.Cluster{c}); err != nil {
		panic(err)
	}
	r := stats.NewRegistry()
	k := newCluster(c, r, nil)
	k.publish(r)
	return k, r
}

// picked returns the names of all hosts that picks with these criteria give, sorted.
func picked(b *Balancer, criteria string) string {
	choice := &Choice{Criteria: NewCriteria(meta(criteria))}
	random := seeded()
	seen := map[string]bool{}
	for range 200 {
		h := b.PickFor(random.Uint64(), choice)
		if h == nil {
			seen["none"] = true
			continue
		}
		seen[h.Hostname] = true
	}
	var names []string
	for name := range seen {
		names = append(names, name)
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

func selector(keys string, fallback conf.SubsetFallback, fallbackKeys ...string) conf.SubsetSelector {
	return conf.SubsetSelector{Keys: strings.Fields(keys), Fallback: fallback, FallbackKeys: fallbackKeys}
}

func expectCounts(t *testing.T, r *stats.Registry, want map[string]uint64) {
	t.Helper()
	for name, n := range want {
		if got := counter(r, "cluster.c.lb_subsets_"+name); got != n {
			t.Errorf("lb_subsets_%s is %d, want %d", name, got, n)
		}
	}
}

// The example of clusters.md 5.
func TestSubsetsOfTheSpecification(t *testing.T) {
	c, r := divided(conf.Subsets{
		Fallback: conf.SubsetDefaultSubset, DefaultSubset: meta("stage=prod"),
		Selectors: []conf.SubsetSelector{selector("stage v", conf.SubsetNotDefined), selector("stage", conf.SubsetNoFallback)},
	}, "v=1.0 stage=prod", "v=1.0 stage=prod", "v=1.1 stage=canary", "v=1.2-pre stage=dev")
	expectCounts(t, r, map[string]uint64{"created": 6, "removed": 0})
	expectGauges(t, r, map[string]int64{"cluster.c.lb_subsets_active": 6, "cluster.c.lb_subsets_single_host_per_subset_duplicate": 0})
	for _, row := range []struct {
		criteria, hosts    string
		selected, fallback uint64
	}{
		{"stage=canary", "h3", 200, 0},
		{"stage=prod v=1.0", "h1 h2", 200, 0},
		{"v=1.2-pre stage=dev", "h4", 200, 0},
		{"v=1.0", "h1 h2", 0, 200},
		{"other=x", "h1 h2", 0, 200},
		{"", "h1 h2", 0, 200},
		{"stage=test", "none", 0, 0},
		{"stage=prod v=1.0 other=x", "h1 h2", 0, 200}, // not exactly the keys of a selector
		{"stage=canary v=1.0", "h1 h2", 0, 200},       // no host has both
		{"stage:1", "none", 0, 0},
	} {
		b := NewBalancer(c, 3)
		b.SetShard(r.NewShard())
		selected, fallback := counter(r, "cluster.c.lb_subsets_selected"), counter(r, "cluster.c.lb_subsets_fallback")
		if got := picked(b, row.criteria); got != row.hosts {
			t.Errorf("%q: %s, want %s", row.criteria, got, row.hosts)
		}
		expectCounts(t, r, map[string]uint64{"selected": selected + row.selected, "fallback": fallback + row.fallback, "fallback_panic": 0})
	}
}

func TestFallbacks(t *testing.T) {
	hosts := []string{"a=1 b=1", "a=1 b=2", "a=2", "c=1"}
	two := selector("a b", conf.SubsetNotDefined)
	for _, row := range []struct {
		name            string
		subsets         conf.Subsets
		criteria, hosts string
	}{
		{"no fallback", conf.Subsets{Selectors: []conf.SubsetSelector{two}}, "a=9 b=9", "none"},
		{"no fallback, without criteria", conf.Subsets{Selectors: []conf.SubsetSelector{two}}, "", "none"},
		{"any endpoint", conf.Subsets{Fallback: conf.SubsetAnyEndpoint, Selectors: []conf.SubsetSelector{two}}, "a=9 b=9", "h1 h2 h3 h4"},
		{
			"a default subset that is all", conf.Subsets{Fallback: conf.SubsetDefaultSubset, Selectors: []conf.SubsetSelector{two}},
			"a=9 b=9", "h1 h2 h3 h4",
		},
		{
			"a default subset that is empty", conf.Subsets{Fallback: conf.SubsetDefaultSubset, DefaultSubset: meta("a=7"), Selectors: []conf.SubsetSelector{two}},
			"a=9 b=9", "none",
		},
		{
			"panic_mode_any when the default subset is empty",
			conf.Subsets{Fallback: conf.SubsetDefaultSubset, DefaultSubset: meta("a=7"), PanicModeAny: true, Selectors: []conf.SubsetSelector{two}},
			"a=9 b=9", "h1 h2 h3 h4",
		},
		{
			"panic_mode_any does not replace NO_FALLBACK", conf.Subsets{PanicModeAny: true, Selectors: []conf.SubsetSelector{two}},
			"a=9 b=9", "none",
		},
		{
			"a selector's any endpoint", conf.Subsets{Selectors: []conf.SubsetSelector{selector("a b", conf.SubsetAnyEndpoint)}},
			"a=9 b=9", "h1 h2 h3 h4",
		},
		{
			"a selector's default subset", conf.Subsets{DefaultSubset: meta("a=2"), Selectors: []conf.SubsetSelector{selector("a b", conf.SubsetDefaultSubset)}},
			"a=9 b=9", "h3",
		},
		{
			"a selector's no fallback, before any endpoint",
			conf.Subsets{Fallback: conf.SubsetAnyEndpoint, Selectors: []conf.SubsetSelector{selector("a b", conf.SubsetNoFallback)}},
			"a=9 b=9", "none",
		},
		{
			"fewer keys", conf.Subsets{Selectors: []conf.SubsetSelector{selector("a b", conf.SubsetKeys, "a"), selector("a", conf.SubsetNoFallback)}},
			"a=1 b=9", "h1 h2",
		},
		{
			"fewer keys have no subset either: their selector's fallback",
			conf.Subsets{Fallback: conf.SubsetNoFallback, Selectors: []conf.SubsetSelector{selector("a b", conf.SubsetKeys, "a"), selector("a", conf.SubsetAnyEndpoint)}},
			"a=9 b=9", "h1 h2 h3 h4",
		},
		{
			"fewer keys, and fewer again",
			conf.Subsets{Selectors: []conf.SubsetSelector{
				selector("a b c", conf.SubsetKeys, "a", "b"), selector("a b", conf.SubsetKeys, "a"), selector("a", conf.SubsetNoFallback),
			}},
			"a=2 b=9 c=9", "h3",
		},
		{
			"fewer keys without a selector: the cluster's fallback",
			conf.Subsets{Fallback: conf.SubsetDefaultSubset, DefaultSubset: meta("c=1"), Selectors: []conf.SubsetSelector{selector("a b", conf.SubsetKeys, "a")}},
			"a=1 b=9", "h4",
		},
		{
			"the first selector of equal keys counts",
			conf.Subsets{Selectors: []conf.SubsetSelector{selector("a", conf.SubsetAnyEndpoint), selector("a", conf.SubsetNoFallback)}},
			"a=9", "h1 h2 h3 h4",
		},
		{"subset of equal keys has each host once", conf.Subsets{Selectors: []conf.SubsetSelector{selector("a", 0), selector("a", 0)}}, "a=2", "h3"},
		{"without a selector the fallback means nothing", conf.Subsets{Fallback: conf.SubsetNoFallback}, "a=1", "h1 h2 h3 h4"},
	} {
		t.Run(row.name, func(t *testing.T) {
			c, r := divided(row.subsets, hosts...)
			b := NewBalancer(c, 0)
			b.SetShard(r.NewShard())
			if got := picked(b, row.criteria); got != row.hosts {
				t.Errorf("%s, want %s", got, row.hosts)
			}
			if strings.HasPrefix(row.name, "panic_mode_any when") {
				expectCounts(t, r, map[string]uint64{"fallback": 0, "fallback_panic": 200, "selected": 0})
			}
			if strings.HasPrefix(row.name, "fewer keys, and") {
				expectCounts(t, r, map[string]uint64{"fallback": 0, "selected": 200})
			}
		})
	}
}

func TestListsStandForTheirElements(t *testing.T) { // list_as_any
	one := []conf.SubsetSelector{selector("s v", conf.SubsetNotDefined)}
	hosts := []string{`s:["a","b"] v:["1","2"]`, `s=a v:[1,"1","1"]`, `s:[] v=1`}
	for _, row := range []struct {
		listAsAny       bool
		criteria, hosts string
	}{
		{true, "s=a v=1", "h1 h2"},
		{true, "s=b v=2", "h1"},
		{true, "s=b v:1", "none"},
		{true, "s=a v:1", "h2"},
		{true, `s:["a","b"] v=1`, "none"},
		{false, "s=a v=1", "none"},
		{false, `s:["a","b"] v:["1","2"]`, "h1"},
		{false, `s:[] v=1`, "h3"},
	} {
		c, _ := divided(conf.Subsets{ListAsAny: row.listAsAny, Selectors: one}, hosts...)
		if got := picked(NewBalancer(c, 0), row.criteria); got != row.hosts {
			t.Errorf("list_as_any %v, %q: %s, want %s", row.listAsAny, row.criteria, got, row.hosts)
		}
	}
	c, _ := divided(conf.Subsets{ListAsAny: true, Fallback: conf.SubsetDefaultSubset, DefaultSubset: meta("s=b"), Selectors: one}, hosts...)
	if got := picked(NewBalancer(c, 0), ""); got != "h1" {
		t.Errorf("default subset: %s", got)
	}
}

func TestSingleHostPerSubset(t *testing.T) {
	s := selector("node", conf.SubsetNoFallback)
	s.SingleHost = true
	c, r := dividedAs(conf.Subsets{Selectors: []conf.SubsetSelector{s}}, func(c *conf.Cluster) {
		c.Endpoints[1].Priority = 1 // a host that was found is used whatever its priority
		c.Endpoints[2].Health = conf.EndpointUnhealthy
	}, "node=a", "node=b", "node=c", "node=a", "node=a")
	for criteria, want := range map[string]string{"node=a": "h1", "node=b": "h2", "node=c": "h3", "node=d": "none"} {
		if got := picked(NewBalancer(c, 0), criteria); got != want {
			t.Errorf("%s: %s, want %s", criteria, got, want)
		}
	}
	expectGauges(t, r, map[string]int64{"cluster.c.lb_subsets_single_host_per_subset_duplicate": 2, "cluster.c.lb_subsets_active": 3})
}

// Each subset has the priorities and the panic of its own hosts.
func TestSubsetsHavePrioritiesAndPanic(t *testing.T) {
	c, r := dividedAs(conf.Subsets{Selectors: []conf.SubsetSelector{selector("s", conf.SubsetNoFallback)}}, func(c *conf.Cluster) {
		for i := 3; i < 6; i++ {
			c.Endpoints[i].Priority = 1
		}
		c.Endpoints[0].Health = conf.EndpointUnhealthy
		for i := 6; i < 9; i++ {
			c.Endpoints[i].Health = conf.EndpointUnhealthy
		}
	}, "s=a", "s=b", "s=b", "s=a", "s=b", "s=c", "s=d", "s=d", "s=d")
	b := NewBalancer(c, 0)
	b.SetShard(r.NewShard())
	for criteria, want := range map[string]string{
		"s=a": "h4",    // the only one of level 0 is out
		"s=b": "h2 h3", // level 0 suffices
		"s=c": "h6",    // no host in level 0
	} {
		if got := picked(b, criteria); got != want {
			t.Errorf("%s: %s, want %s", criteria, got, want)
		}
	}
	if got := counter(r, "cluster.c.lb_healthy_panic"); got != 0 {
		t.Errorf("lb_healthy_panic %d before any panic", got)
	}
	if got := picked(b, "s=d"); got != "h7 h8 h9" {
		t.Errorf("panic: %s", got)
	}
	if got := counter(r, "cluster.c.lb_healthy_panic"); got != 200 {
		t.Errorf("lb_healthy_panic %d", got)
	}
}

// Each subset goes on where its own last request was, and has tables of its own.
func TestSubsetsBalanceByThePolicy(t *testing.T) {
	s := conf.Subsets{Fallback: conf.SubsetAnyEndpoint, Selectors: []conf.SubsetSelector{selector("s", conf.SubsetNoFallback)}}
	hosts := []string{"s=a", "s=b", "s=a", "s=b"}
	c, _ := divided(s, hosts...)
	b, order := NewBalancer(c, 0), ""
	one, two := &Choice{Criteria: NewCriteria(meta("s=a"))}, &Choice{Criteria: NewCriteria(meta("s=b"))}
	for range 3 {
		order += b.PickFor(0, one).Hostname + b.PickFor(0, two).Hostname + b.PickFor(0, nil).Hostname + " "
	}
	if order != "h1h2h1 h3h4h2 h1h2h3 " {
		t.Errorf("order %s", order)
	}

	for _, lb := range []conf.LBPolicy{conf.RingHash, conf.Maglev} {
		c, _ := dividedAs(s, func(c *conf.Cluster) { c.LB = lb }, hosts...)
		alone, _ := dividedAs(conf.Subsets{}, func(c *conf.Cluster) { // the same two hosts, undivided
			c.LB, c.Endpoints = lb, []*conf.Endpoint{c.Endpoints[1], c.Endpoints[3]}
		}, hosts...)
		b, reference := NewBalancer(c, 0), NewBalancer(alone, 0)
		for i := range uint64(500) {
			two.Hash, two.HasHash = mix(i), true
			if got, want := b.PickFor(0, two).Hostname, pickHash(reference, mix(i)).Hostname; got != want {
				t.Fatalf("policy %d, key %d: %s, want %s", lb, i, got, want)
			}
		}
	}
}

func TestSubsetsFollowTheHosts(t *testing.T) {
	endpoint := func(name, metadata string) *conf.Endpoint {
		return &conf.Endpoint{Address: conf.Address{Host: name, Port: 80}, Weight: 1, Metadata: meta(metadata), Hostname: name}
	}
	m, r := managed(t, new(zone), Options{})
	c := conf.NewCluster("c")
	c.Type, c.Endpoints = conf.ClusterStrictDNS, []*conf.Endpoint{endpoint("a.test", "s=a"), endpoint("b.test", "s=b")}
	c.Subsets = &conf.Subsets{Selectors: []conf.SubsetSelector{selector("s", conf.SubsetNoFallback)}}
	z := m.o.resolver.(*zone)
	z.set("a.test/4", 0, "10.0.0.1")
	z.set("b.test/4", 0)
	apply(t, m, c)
	ready(t, m)
	k := lookup(m, "c")
	b := NewBalancer(k, 0)
	if got := picked(b, "s=a") + ", " + picked(b, "s=b"); got != "a.test, none" {
		t.Errorf("picked %s", got)
	}
	expectGauges(t, r, map[string]int64{"cluster.c.lb_subsets_active": 1})
	partOfA := k.Hosts().subsets.all[0].part

	k.resolved(1, addrs(80, "10.0.0.2"))
	if got := picked(b, "s=a") + ", " + picked(b, "s=b"); got != "a.test, b.test" {
		t.Errorf("picked %s", got)
	}
	expectGauges(t, r, map[string]int64{"cluster.c.lb_subsets_active": 2})
	expectCounts(t, r, map[string]uint64{"created": 2, "removed": 0})
	if k.Hosts().subsets.all[0].part != partOfA {
		t.Error("a subset whose hosts stayed was made anew")
	}

	other := *c
	other.Endpoints = []*conf.Endpoint{endpoint("a.test", "s=z")}
	apply(t, m, &other)
	ready(t, m)
	b = NewBalancer(lookup(m, "c"), 0)
	if got := picked(b, "s=z") + ", " + picked(b, "s=a"); got != "a.test, none" {
		t.Errorf("picked %s", got)
	}
	expectGauges(t, r, map[string]int64{"cluster.c.lb_subsets_active": 1})
	eventually(t, "the subsets of the replaced cluster are counted out", func() bool {
		return counter(r, "cluster.c.lb_subsets_removed") == 2 && counter(r, "cluster.c.lb_subsets_created") == 3
	})
}

// Whatever the hosts and the criteria: the hosts picked are those whose metadata
// have exactly what is asked for, when the keys are a selector's.
func TestSubsetsAreWhatTheirCriteriaSay(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		keys := []string{"a", "b", "c"}
		metadata := rapid.Custom(func(rt *rapid.T) string {
			text := ""
			for _, k := range keys {
				if v := rapid.IntRange(0, 2).Draw(rt, k); v > 0 {
					text += fmt.Sprintf("%s=%d ", k, v)
				}
			}
			return text
		})
		hosts := rapid.SliceOfN(metadata, 1, 10).Draw(rt, "hosts")
		selectors := []conf.SubsetSelector{selector("a", conf.SubsetNoFallback), selector("b c", conf.SubsetNoFallback)}
		c, _ := divided(conf.Subsets{Fallback: conf.SubsetAnyEndpoint, Selectors: selectors}, hosts...)
		criteria := metadata.Draw(rt, "criteria")
		wanted := NewCriteria(meta(criteria))
		var want []string
		exact := wanted != nil && slices.ContainsFunc(selectors, func(s conf.SubsetSelector) bool { return wanted.hasKeys(s.Keys) })
		for i, h := range hosts {
			matches := true
			for k, v := range meta(criteria) {
				matches = matches && meta(h)[k] == v
			}
			if matches || !exact {
				want = append(want, fmt.Sprint("h", i+1))
			}
		}
		if want == nil {
			want = []string{"none"}
		}
		slices.Sort(want)
		if got := picked(NewBalancer(c, 0), criteria); got != strings.Join(want, " ") {
			rt.Fatalf("%s, want %v", got, want)
		}
	})
}

func TestDifferentPairsOfOneSum(t *testing.T) {
	c, _ := divided(conf.Subsets{Selectors: []conf.SubsetSelector{selector("s", conf.SubsetNoFallback)}}, "s=a", "s=b", "s=c")
	s := c.Hosts().subsets
	s.index = map[uint64]int32{}
	for i := range s.all { // as if all had the sum 7
		s.all[i].next = -1
		if first, ok := s.index[7]; ok {
			s.all[i].next = first
		}
		s.index[7] = int32(i)
	}
	for i := range s.all {
		if got := s.find(7, s.all[i].pairs); got != i {
			t.Errorf("found %d, want %d", got, i)
		}
	}
	if got := s.find(7, []pair{{"s", []byte(`"d`)}}); got != -1 {
		t.Errorf("found %d", got)
	}
}

func TestValidatePolicies(t *testing.T) {
	with := func(change func(c *conf.Cluster)) *conf.Cluster {
		c := static("a", 1)
		change(c)
		return c
	}
	subsets := func(s ...conf.SubsetSelector) func(c *conf.Cluster) {
		return func(c *conf.Cluster) { c.Subsets = &conf.Subsets{Selectors: s} }
	}
	single := selector("a b", 0)
	single.SingleHost = true
	for _, row := range []struct {
		change func(c *conf.Cluster)
		want   string // "" is valid
	}{
		{func(c *conf.Cluster) { c.LB = conf.RingHash }, ""},
		{func(c *conf.Cluster) { c.LB = conf.Maglev }, ""},
		{func(c *conf.Cluster) { c.LB, c.RingHash.MinimumSize = conf.RingHash, 9<<20 }, "minimum_ring_size"},
		{func(c *conf.Cluster) { c.LB, c.RingHash.MaximumSize = conf.RingHash, 9<<20 }, "maximum_ring_size"},
		{func(c *conf.Cluster) { c.LB, c.MaglevTableSize = conf.Maglev, 8 }, "must be a prime"},
		{func(c *conf.Cluster) { c.LB, c.MaglevTableSize = conf.Maglev, 5000081 }, "must be a prime up to 5000011"},
		{func(c *conf.Cluster) { c.HashBalanceFactor = 99 }, "hash_balance_factor: 99 is under 100"},
		{subsets(selector("a b", conf.SubsetKeys, "b")), ""},
		{subsets(selector("", 0)), "subset_selectors[0]: keys: must not be empty"},
		{subsets(selector("a", 0), selector("b a", 0)), "subset_selectors[1]: keys: not sorted"},
		{subsets(selector("a b", conf.SubsetKeys)), "fallback_keys_subset: must be some"},
		{subsets(selector("a b", conf.SubsetKeys, "b", "a")), "fallback_keys_subset: must be some"},
		{subsets(selector("a b", conf.SubsetKeys, "c")), `fallback_keys_subset: "c" is not in keys`},
		{subsets(single), "single_host_per_subset: needs exactly one key"},
		{func(c *conf.Cluster) {
			c.Subsets = &conf.Subsets{ListAsAny: true, Selectors: []conf.SubsetSelector{selector("a b", 0)}}
			list := "[0" + strings.Repeat(",1", 32) + "]"
			c.Endpoints[0].Metadata = conf.LBMetadata{"a": list, "b": list}
		}, "make more than 1024 subsets"},
	} {
		err := Validate([]*conf.Cluster{with(row.change)})
		if (err == nil) != (row.want == "") || (err != nil && !strings.Contains(err.Error(), row.want)) {
			t.Errorf("error %v, want %q", err, row.want)
		}
	}
}
