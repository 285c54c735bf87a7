package cluster

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/stats"
)

// hashed makes a shown cluster of hosts 127.0.0.1:first and up with these weights.
func hashed(lb conf.LBPolicy, first uint16, weights []uint32, change func(c *conf.Cluster)) (*Cluster, *stats.Registry) {
	c := conf.NewCluster("c")
	c.LB = lb
	for i, w := range weights {
		at := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), first+uint16(i))
		c.Endpoints = append(c.Endpoints, &conf.Endpoint{Address: conf.Address{IP: at}, Weight: w, Hostname: fmt.Sprint(at.Port())})
	}
	if change != nil {
		change(c)
	}
	r := stats.NewRegistry()
	k := newCluster(c, r, nil)
	k.publish(r)
	return k, r
}

func ones(n int) []uint32 { return slices.Repeat([]uint32{1}, n) }

func pickHash(b *Balancer, hash uint64) *Host {
	return b.PickFor(0, &Choice{Hash: hash, HasHash: true})
}

// Values that GCC's std::hash<std::string> gives, which is this function.
func TestMurmurHash2(t *testing.T) {
	for _, row := range []struct {
		text string
		want uint64
	}{
		{"", 6142509188972423790},
		{"a", 4993892634952068459},
		{"abc", 3663726644998027833},
		{"abcdefg", 16063891478991045295},
		{"abcdefgh", 8664279048047335611},
		{"127.0.0.1:80_0", 17613279263364193813},
		{"The quick brown fox jumps over the lazy dog", 15910076551593770101},
	} {
		if got := murmurHash2([]byte(row.text)); got != row.want {
			t.Errorf("%q hashes to %d, want %d", row.text, got, row.want)
		}
	}
}

// The hash of a client's address is Envoy's: xxHash64, seed 0.
func TestHash(t *testing.T) {
	for text, want := range map[string]uint64{"": 0xef46db3751d8e999, "foo": 0x33bf00a859c4ba3f} {
		if got := Hash([]byte(text)); got != want {
			t.Errorf("%q hashes to %x, want %x", text, got, want)
		}
	}
}

// CL-10. The points and choices are those that Envoy's own tests publish for these
// hosts.
func TestRingsHaveThePointsThatEnvoyComputes(t *testing.T) {
	byHostname := func(c *conf.Cluster) { c.HashByHostname = true }
	for _, row := range []struct {
		name        string
		first       uint16
		weights     []uint32
		minimum     uint64
		maximum     uint64
		change      func(c *conf.Cluster)
		points      string // port:hash, by hash
		least, most int64
	}{
		{
			name: "two points each, by address", first: 90, weights: ones(6), minimum: 12, least: 2, most: 2,
			points: `94:833437586790550860 92:928266305478181108 90:1033482794131418490 95:3551244743356806947
				93:3851675632748031481 91:5583722120771150861 91:6311230543546372928 93:7700377290971790572
				95:13144177310400110813 92:13444792449719432967 94:15516499411664133160 90:16117243373044804889`,
		},
		{
			name: "by hostname", first: 90, weights: ones(6), minimum: 12, least: 2, most: 2, change: byHostname,
			points: `95:1975508444536362413 95:2376063919839173711 93:2386806903309390596 94:6749904478991551885
				93:6803900775736438537 92:7225015537174310577 90:8787465352164086522 92:11282020843382717940
				91:13723418369486627818 90:13776502110861797421 91:14338313586354474791 94:15364271037087512980`,
		},
		{
			name: "by hash_key, which counts before the hostname", first: 90, weights: ones(6), minimum: 12, least: 2, most: 2,
			change: func(c *conf.Cluster) {
				for _, e := range c.Endpoints {
					e.Metadata = conf.LBMetadata{"hash_key": `"` + e.Hostname + `"`}
					e.Hostname = "other"
				}
				c.HashByHostname = true
			},
			points: `95:1975508444536362413 95:2376063919839173711 93:2386806903309390596 94:6749904478991551885
				93:6803900775736438537 92:7225015537174310577 90:8787465352164086522 92:11282020843382717940
				91:13723418369486627818 90:13776502110861797421 91:14338313586354474791 94:15364271037087512980`,
		},
		{
			name: "MurmurHash2", first: 80, weights: ones(6), minimum: 12, least: 2, most: 2,
			change: func(c *conf.Cluster) { c.RingHash.Function = conf.MurmurHash2 },
			points: `85:1358027074129602068 83:4361834613929391114 84:7224494972555149682 81:7701421856454313576
				82:8649315368077433379 84:8739448859063030639 81:9887544217113020895 82:10150910876324007731
				83:15168472011420622455 80:15427156902705414897 85:16375050414328759093 80:17613279263364193813`,
		},
		{
			name: "a minimum that is no multiple of the hosts grows", first: 80, weights: ones(2), minimum: 3, least: 2, most: 2,
			points: "80:5454692015285649509 81:7859399908942313493 80:13838424394637650569 81:16064866803292627174",
		},
		{
			name: "weights 1, 2 and 3 on six points", first: 90, weights: []uint32{1, 2, 3}, minimum: 6, maximum: 6, least: 1, most: 3,
			points: `92:928266305478181108 92:4443673547860492590 91:5583722120771150861 91:6311230543546372928
				92:13444792449719432967 90:16117243373044804889`,
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			c, r := hashed(conf.RingHash, row.first, row.weights, func(c *conf.Cluster) {
				c.RingHash.MinimumSize = row.minimum
				if row.maximum > 0 {
					c.RingHash.MaximumSize = row.maximum
				}
				if row.change != nil {
					row.change(c)
				}
			})
			want := strings.Fields(row.points)
			var got []string
			for _, p := range c.Hosts().whole.table().(*ring).points {
				got = append(got, fmt.Sprintf("%d:%d", int(row.first)+int(p.host), p.hash))
			}
			if !slices.Equal(got, want) {
				t.Errorf("points\n%v, want\n%v", got, want)
			}
			expectGauges(t, r, map[string]int64{ // CL-13
				"cluster.c.ring_hash_lb.size":                int64(len(want)),
				"cluster.c.ring_hash_lb.min_hashes_per_host": row.least,
				"cluster.c.ring_hash_lb.max_hashes_per_host": row.most,
			})
		})
	}
}

func TestARequestGoesToTheFirstPointAtOrAfterItsHash(t *testing.T) {
	c, _ := hashed(conf.RingHash, 90, ones(6), func(c *conf.Cluster) { c.RingHash.MinimumSize = 12 })
	b := NewBalancer(c, 7)
	for hash, port := range map[uint64]uint16{
		0: 94, 833437586790550860: 94, math.MaxUint64: 94, // wraps
		3551244743356806947: 95, 3551244743356806948: 93, 16117243373044804880: 90,
	} {
		if got := pickHash(b, hash).Addr.Port(); got != port {
			t.Errorf("hash %d: host %d, want %d", hash, got, port)
		}
		// CL-11: without a hash the random bits take its place.
		if got := b.PickFor(hash, &Choice{Hash: 1}).Addr.Port(); got != port {
			t.Errorf("random %d: host %d, want %d", hash, got, port)
		}
		if got := b.Pick(hash).Addr.Port(); got != port {
			t.Errorf("random %d without a choice: host %d, want %d", hash, got, port)
		}
	}
}

// CL-10. The slots are those that Envoy's own tests publish for these hosts.
func TestMaglevTablesHaveTheSlotsThatEnvoyComputes(t *testing.T) {
	for _, row := range []struct {
		name        string
		weights     []uint32
		size        uint64
		byHostname  bool
		slots       []int
		least, most int64
	}{
		{"by address", ones(6), 7, false, []int{2, 4, 0, 1, 5, 0, 3}, 1, 2},
		{"by hostname", ones(6), 7, true, []int{2, 5, 0, 3, 4, 1, 0}, 1, 2},
		{"weights 1 and 2", []uint32{1, 2}, 17, false, []int{1, 0, 0, 1, 0, 1, 1, 0, 1, 1, 1, 1, 1, 0, 1, 0, 1}, 6, 11},
		{"one host", ones(1), 7, false, []int{0, 0, 0, 0, 0, 0, 0}, 1, 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			c, r := hashed(conf.Maglev, 90, row.weights, func(c *conf.Cluster) {
				c.MaglevTableSize, c.HashByHostname = row.size, row.byHostname
			})
			b := NewBalancer(c, 7)
			for hash := range 3 * row.size {
				if got, want := pickHash(b, hash).Index, row.slots[hash%row.size]; got != want {
					t.Errorf("hash %d: host %d, want %d", hash, got, want)
				}
			}
			expectGauges(t, r, map[string]int64{ // CL-13
				"cluster.c.maglev_lb.min_entries_per_host": row.least,
				"cluster.c.maglev_lb.max_entries_per_host": row.most,
			})
		})
	}
}

func TestMoreHostsThanTwoBytesCount(t *testing.T) {
	c := conf.NewCluster("c")
	c.LB, c.MaglevTableSize = conf.Maglev, 70001
	hosts := make([]*Host, 1<<16+1)
	for i := range hosts {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], uint32(i))
		hosts[i] = newHost(&conf.Endpoint{Weight: 1}, netip.AddrPortFrom(netip.AddrFrom4(b), 80))
	}
	m := newMaglev(c, hosts, (&crowd{hosts: hosts}).hostWeights())
	seen := make(map[int]bool)
	for key := range m.size {
		seen[m.pick(key, 0)] = true
	}
	if m.narrow != nil || len(seen) != len(hosts) || m.least != 1 {
		t.Errorf("%d of %d hosts have a slot, least %d", len(seen), len(hosts), m.least)
	}
}

// CL-12.
func TestAHostThatLeavesMovesOnlyItsOwnKeys(t *testing.T) {
	for _, lb := range []conf.LBPolicy{conf.RingHash, conf.Maglev} {
		rapid.Check(t, func(rt *rapid.T) {
			n := rapid.IntRange(2, 30).Draw(rt, "hosts")
			out := rapid.IntRange(0, n-1).Draw(rt, "who leaves")
			const keys = 2000
			// As many points for a host in both: a ring of the same size has more for each of
			// fewer hosts, and what those take moves.
			all, _ := hashed(lb, 1000, ones(n), func(c *conf.Cluster) {
				c.RingHash.MinimumSize, c.MaglevTableSize = uint64(n)*40, 10007
			})
			fewer, _ := hashed(lb, 1000, ones(n), func(c *conf.Cluster) {
				c.Endpoints = slices.Delete(c.Endpoints, out, out+1)
				c.RingHash.MinimumSize, c.MaglevTableSize = uint64(n-1)*40, 10007
			})
			before, after := NewBalancer(all, 0), NewBalancer(fewer, 0)
			random := rand.New(rand.NewPCG(3, 4))
			own, moved := 0, 0
			for range keys {
				hash := random.Uint64()
				was, is := pickHash(before, hash), pickHash(after, hash)
				switch {
				case was.Index == out:
					own++
				case was.Addr != is.Addr:
					moved++
				}
			}
			if lb == conf.RingHash && moved != 0 {
				rt.Errorf("ring: %d keys moved between hosts that stayed", moved)
			}
			// Maglev gives a few up for evenness.
			if moved > keys/20 {
				rt.Errorf("%d of %d keys moved between hosts that stayed", moved, keys)
			}
			if want := keys / n; own > 2*want+200 {
				rt.Errorf("%d keys were the host's, about %d expected", own, want)
			}
		})
	}
}

func TestKeysAreSharedByWeight(t *testing.T) {
	for _, lb := range []conf.LBPolicy{conf.RingHash, conf.Maglev} {
		c, _ := hashed(lb, 1000, []uint32{1, 2, 5}, func(c *conf.Cluster) { c.RingHash.MinimumSize = 8000 })
		b, random, counts := NewBalancer(c, 0), seeded(), [3]int{}
		for range 16000 {
			counts[pickHash(b, random.Uint64()).Index]++
		}
		for i, want := range []int{2000, 4000, 10000} {
			if d := counts[i] - want; d < -want/8 || d > want/8 {
				t.Errorf("policy %d: host %d has %d keys, about %d expected", lb, i, counts[i], want)
			}
		}
	}
}

// The order of the hosts, which DNS may change, moves nobody in a Maglev table.
func TestMaglevDoesNotMindTheOrderOfHosts(t *testing.T) {
	forth, _ := hashed(conf.Maglev, 1000, ones(9), nil)
	back, _ := hashed(conf.Maglev, 1000, ones(9), func(c *conf.Cluster) { slices.Reverse(c.Endpoints) })
	a, b := NewBalancer(forth, 0), NewBalancer(back, 0)
	for hash := range uint64(65537) {
		if x, y := pickHash(a, hash).Addr, pickHash(b, hash).Addr; x != y {
			t.Fatalf("hash %d: %v and %v", hash, x, y)
		}
	}
}

func TestAKeyKeepsToItsLevel(t *testing.T) {
	c, _ := hashed(conf.Maglev, 1000, ones(8), func(c *conf.Cluster) {
		for i, e := range c.Endpoints {
			e.Priority = uint32(i / 4)
		}
		c.Endpoints[0].Health, c.Endpoints[1].Health = conf.EndpointUnhealthy, conf.EndpointDegraded
		c.Endpoints[2].Health, c.Endpoints[3].Health = conf.EndpointDegraded, conf.EndpointHealthy
	})
	b, random := NewBalancer(c, 0), seeded()
	counts := make([]int, 8)
	for range 10000 {
		hash := random.Uint64()
		h := pickHash(b, hash)
		counts[h.Index]++
		if again := pickHash(b, hash); again != h {
			t.Fatalf("hash %d: %v, then %v", hash, h.Addr, again.Addr)
		}
	}
	// Level 0: a quarter healthy, 35 %; the healthy ones of level 1 take the rest.
	if got := counts[3]; got < 3300 || got > 3700 || counts[0]+counts[1]+counts[2] != 0 {
		t.Errorf("picked %v", counts)
	}
}

func TestHashingInAPanicUsesAllHosts(t *testing.T) { // CL-22
	c, r := hashed(conf.RingHash, 90, ones(6), func(c *conf.Cluster) {
		c.RingHash.MinimumSize = 12
		for _, e := range c.Endpoints {
			e.Health = conf.EndpointUnhealthy
		}
	})
	b := NewBalancer(c, 0)
	b.SetShard(r.NewShard())
	if got := pickHash(b, 0).Addr.Port(); got != 94 {
		t.Errorf("host %d, want 94", got)
	}
	if got := counter(r, "cluster.c.lb_healthy_panic"); got != 1 {
		t.Errorf("lb_healthy_panic %d", got)
	}
}

func TestDegradedHostsHaveATableToo(t *testing.T) { // CL-21
	c, r := hashed(conf.Maglev, 90, ones(6), func(c *conf.Cluster) {
		c.MaglevTableSize = 7
		for _, e := range c.Endpoints {
			e.Health = conf.EndpointDegraded
		}
	})
	b := NewBalancer(c, 0)
	for hash, want := range []int{2, 4, 0, 1, 5, 0, 3} {
		if got := pickHash(b, uint64(hash)).Index; got != want {
			t.Errorf("hash %d: host %d, want %d", hash, got, want)
		}
	}
	expectGauges(t, r, map[string]int64{"cluster.c.maglev_lb.max_entries_per_host": 2})
}

func TestNoHostHasNoTable(t *testing.T) {
	for _, lb := range []conf.LBPolicy{conf.RingHash, conf.Maglev} {
		c, _ := hashed(lb, 1, nil, nil)
		if h := pickHash(NewBalancer(c, 0), 5); h != nil {
			t.Errorf("picked %v", h.Addr)
		}
	}
}

// hash_balance_factor: at no time has a host more than its part, rounded up, of
// factor % of the active requests; with room the hash decides alone.
func TestBoundedLoad(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		weights := rapid.SliceOfN(rapid.Uint32Range(1, 9), 2, 12).Draw(rt, "weights")
		factor := rapid.Uint32Range(100, 300).Draw(rt, "factor")
		lb := rapid.SampledFrom([]conf.LBPolicy{conf.RingHash, conf.Maglev}).Draw(rt, "policy")
		c, _ := hashed(lb, 1000, weights, func(c *conf.Cluster) { c.HashBalanceFactor, c.MaglevTableSize = factor, 1009 })
		b, sum, active := NewBalancer(c, 1), uint64(0), uint64(0)
		for _, w := range weights {
			sum += uint64(w)
		}
		hash := rapid.Uint64().Draw(rt, "one key for all")
		if first := pickHash(b, hash); first != c.Hosts().Hosts[c.Hosts().whole.table().pick(hash, 0)] {
			rt.Fatal("an idle host is not the one of the hash")
		}
		for range 200 {
			h := pickHash(b, hash)
			b.Load(h).RqActive++
			active++
			total := (active*uint64(factor) + 99) / 100
			if limit := (total*uint64(h.Weight) + sum - 1) / sum; b.Load(h).RqActive > limit {
				rt.Fatalf("host of weight %d has %d of %d active, at most %d", h.Weight, b.Load(h).RqActive, active, limit)
			}
		}
	})
}

// What one host cannot take is spread, and the same for the same key.
func TestBoundedLoadSpreads(t *testing.T) {
	c, _ := hashed(conf.RingHash, 1000, ones(10), func(c *conf.Cluster) { c.HashBalanceFactor = 150 })
	b := NewBalancer(c, 0)
	seen := map[*Host]bool{}
	for hash := range uint64(1000) {
		h := pickHash(b, mix(hash))
		if h != c.Hosts().Hosts[0] {
			continue
		}
		b.Load(h).RqActive = 100
		next := pickHash(b, mix(hash))
		if next == h || pickHash(b, mix(hash)) != next {
			t.Fatalf("hash %d: %v after the busy %v", hash, next.Addr, h.Addr)
		}
		seen[next] = true
		b.Load(h).RqActive = 0
	}
	if len(seen) < 5 {
		t.Errorf("the surplus of one host goes to %d others", len(seen))
	}
}

func TestEveryStepVisitsAll(t *testing.T) {
	for n := 2; n < 40; n++ {
		for key := range uint64(50) {
			at, seen := 0, map[int]bool{}
			for range n {
				seen[at] = true
				at = (at + stepOf(key, n)) % n
			}
			if len(seen) != n {
				t.Fatalf("step %d visits %d of %d", stepOf(key, n), len(seen), n)
			}
		}
	}
}

func TestTablesStayWhereHostsStay(t *testing.T) {
	c := dnsCluster(conf.ClusterStrictDNS)
	c.Conf.LB = conf.Maglev
	c.maglevStats = stats.NewMaglevStats(stats.NewRegistry(), "c")
	c.resolved(0, addrs(80, "10.0.0.1", "10.0.0.2"))
	before := c.Hosts().whole
	if _, changed := c.resolved(0, addrs(80, "10.0.0.2", "10.0.0.1")); changed || c.Hosts().whole != before {
		t.Error("made anew for the same hosts")
	}
	c.resolved(0, addrs(80, "10.0.0.2", "10.0.0.3"))
	if c.Hosts().whole == before {
		t.Error("not made anew for other hosts")
	}
	if got := c.maglevStats.MinEntriesPerHost.Value(); got != 32768 {
		t.Errorf("min_entries_per_host %d", got)
	}
}
