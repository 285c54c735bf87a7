package cluster

import (
	"math"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

func TestNamesOfDynamicHosts(t *testing.T) {
	for _, row := range []struct {
		host string
		port uint16
		want string // empty: refused
	}{
		{"One.Test", 80, "one.test:80"},
		{"one.test.", 80, "one.test.:80"},
		{"_a-b.test", 65535, "_a-b.test:65535"},
		{"10.0.0.1", 1, "10.0.0.1:1"},
		{"2001:DB8::1", 80, "[2001:db8::1]:80"},
		{"[2001:DB8::1]", 80, "[2001:db8::1]:80"},
		{"one.test", 0, ""},
		{"", 80, ""},
		{".test", 80, ""},
		{"a..b", 80, ""},
		{"a b", 80, ""},
		{"a/b", 80, ""},
		{"[one.test]", 80, ""},
		{"[::1", 80, ""},
		{"::1]", 80, ""},
		{"[]", 80, ""},
		{"[::1%eth0]", 80, ""},
		{"fe80::1%eth0", 80, ""},
		{"a:b", 80, ""},
		{strings.Repeat("a", 253), 80, strings.Repeat("a", 253) + ":80"},
		{strings.Repeat("a", 254), 80, ""},
	} {
		got, ok := AppendName(nil, []byte(row.host), row.port)
		if ok != (row.want != "") || ok && string(got) != row.want {
			t.Errorf("%q: %q %t, want %q", row.host, got, ok, row.want)
		}
	}
}

// A name is its own name: what was made of it and taken apart makes it again.
func FuzzAppendName(f *testing.F) {
	for _, s := range []string{"one.test", "[::1]", "::1", "10.0.0.1", "a..b", "A"} {
		f.Add([]byte(s), uint16(80))
	}
	f.Fuzz(func(t *testing.T, host []byte, port uint16) {
		got, ok := AppendName([]byte("x"), host, port)
		if !ok {
			return
		}
		key := string(got[1:])
		h, p := splitName(key)
		again, ok := AppendName(nil, []byte(h), p)
		if !ok || string(again) != key || p != port || strings.ContainsAny(key, " /@?#\x00") {
			t.Errorf("%q: %q, then %q", host, key, again)
		}
	})
}

func forwardConf(name string, change ...func(c *conf.DNSCache)) *conf.Cluster {
	c := conf.NewCluster(name)
	c.Type, c.LB, c.DNSCache = conf.ClusterDynamicForward, conf.ClusterProvided, conf.NewDNSCache("names")
	c.DNSCache.DNSFamily = conf.DNSV4Only
	for _, f := range change {
		f(c.DNSCache)
	}
	return c
}

// resolved waits until the first look-up of a name is over, and returns its failure.
func resolvedName(t *testing.T, d *DNSCache, key string) string {
	t.Helper()
	outcome := make(chan string, 1)
	state, failure, _ := d.Load([]byte(key), func(failure string) { outcome <- failure })
	switch state {
	case NameKnown:
		return ""
	case NamePending:
		select {
		case failure = <-outcome:
		case <-time.After(10 * time.Second):
			t.Fatal(key, " is not resolved")
		}
	case NameFailed:
	default:
		t.Fatal(key, state)
	}
	return failure
}

// Clusters share a cache by its name, each with hosts of its own, which follow the name's address. Going there
// again allocates nothing.
func TestDynamicHosts(t *testing.T) {
	z := new(zone)
	z.set("one.test/4", 0, "10.0.0.1")
	m, _ := managed(t, z, Options{})
	fast := func(c *conf.DNSCache) { c.DNSRefreshRate = 2 * time.Millisecond }
	apply(t, m, forwardConf("a", fast), forwardConf("b", fast))
	a, b := lookup(m, "a"), lookup(m, "b")
	if a.Cache() != b.Cache() || a.Cache().Name() != "names" || a.DefaultPort() != 80 {
		t.Fatal("two caches")
	}
	one := NewBalancer(a, 0)
	want := &Choice{Name: []byte("one.test:80")}
	if one.PickFor(1, want) != nil || one.PickFor(1, nil) != nil || one.PickFor(1, new(Choice)) != nil {
		t.Error("a host before there is an address")
	}
	if got := resolvedName(t, a.Cache(), "one.test:80"); got != "" {
		t.Fatal(got)
	}
	h := one.PickFor(1, want)
	if h == nil || h.Hostname != "one.test:80" || h.Address().String() != "10.0.0.1:80" {
		t.Fatalf("%+v", h)
	}
	if again := NewBalancer(a, 1).PickFor(1, want); again != h {
		t.Error("another loop has another host")
	}
	other := NewBalancer(b, 0).PickFor(1, want)
	if other == nil || other == h {
		t.Error("clusters share hosts")
	}
	h.mark(FailedOutlier, true)
	if one.PickFor(1, want) != nil {
		t.Error("an ejected host is used")
	}
	h.mark(FailedOutlier, false)
	z.set("one.test/4", 0, "10.0.0.2")
	eventually(t, "the hosts move", func() bool {
		return h.Address().String() == "10.0.0.2:80" && other.Address().String() == "10.0.0.2:80"
	})
	var key [64]byte
	if n := testing.AllocsPerRun(100, func() {
		want.Name, _ = AppendName(key[:0], []byte("One.Test"), 80)
		one.PickFor(1, want)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if state, _, _ := a.Cache().Load([]byte("one.test:80"), nil); state != NameKnown {
		t.Error(state)
	}
}

// A cache lasts as long as a cluster has it. A reload that changes it makes another one; those who wait for
// the old one hear of it.
func TestDNSCachesComeAndGo(t *testing.T) {
	z := new(zone)
	z.set("one.test/4", 0, "10.0.0.1")
	m, r := managed(t, z, Options{})
	early := func(c *conf.DNSCache) { c.Preresolve = []conf.DNSName{{Host: "one.test", Port: 80}} }
	apply(t, m, forwardConf("a", early))
	old := lookup(m, "a").Cache()
	eventually(t, "names are looked up beforehand", func() bool { s, _, _ := old.Load([]byte("one.test:80"), nil); return s == NameKnown })
	z.mu.Lock()
	z.held = make(chan struct{})
	z.mu.Unlock()
	outcome := make(chan string, 1)
	if state, _, wait := old.Load([]byte("late.test:80"), func(f string) { outcome <- f }); state != NamePending || wait == nil {
		t.Fatal(state)
	}
	apply(t, m, forwardConf("a", func(c *conf.DNSCache) { c.MaxHosts = 1 }))
	if got := <-outcome; got != "cache_closed" {
		t.Error(got)
	}
	if state, failure, _ := old.Load([]byte("one.test:80"), nil); state != NameFailed || failure != "cache_closed" {
		t.Error(state, failure)
	}
	now := lookup(m, "a").Cache()
	if now == old {
		t.Fatal("the same cache")
	}
	if state, _, _ := now.Load([]byte("one.test:80"), nil); state != NamePending {
		t.Error(state)
	}
	if state, _, _ := now.Load([]byte("two.test:80"), nil); state != CacheFull {
		t.Error(state)
	}
	if n := gauge(r, "dns_cache.names.num_hosts"); n != 1 {
		t.Errorf("%d hosts", n)
	}
	apply(t, m)
	if n := gauge(r, "dns_cache.names.num_hosts"); n != math.MinInt64 { // the series is gone, too
		t.Errorf("%d hosts", n)
	}
}

// Every kind of failure has its name; whoever takes a wait back hears nothing.
func TestDNSCacheFailures(t *testing.T) {
	z := new(zone)
	z.set("empty.test/4", 0)
	z.set("inside.test/4", 0, "10.0.0.1")
	m, _ := managed(t, z, Options{})
	apply(t, m, forwardConf("a", func(c *conf.DNSCache) {
		c.Filter = &conf.AddressFilter{Ranges: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::1/128")}}
		c.MaxPending, c.DNSFailureRefreshBase, c.DNSFailureRefreshMax = 1, time.Hour, time.Hour
	}))
	d := lookup(m, "a").Cache()
	for name, want := range map[string]string{
		"empty.test": "no_addresses", "fails.test": "resolve_failure", "inside.test": "addresses_filtered", "10.1.1.1": "addresses_filtered",
		"[::1]": "addresses_filtered", "[::2]": "", "192.0.2.1": "",
	} {
		if got := resolvedName(t, d, name+":80"); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	z.mu.Lock()
	z.held = make(chan struct{})
	z.mu.Unlock()
	answer := func(f string) { t.Error("an answer: " + f) }
	_, _, wait := d.Load([]byte("held.test:80"), answer)
	if state, _, _ := d.Load([]byte("held.test:80"), answer); state != TooManyPending {
		t.Error(state)
	}
	wait.Cancel()
	wait.Cancel()
	if d.room() != 1 {
		t.Error(d.room())
	}
}

// When a name is looked up again: after its time to live, dns_min_refresh_rate at least, or dns_refresh_rate when
// nobody said one.
func TestDNSCacheRefresh(t *testing.T) {
	z := new(zone)
	z.set("short.test/4", time.Second, "10.0.0.1")
	z.set("long.test/4", 7*time.Minute, "10.0.0.1")
	z.set("none.test/4", 0, "10.0.0.1")
	m, _ := managed(t, z, Options{})
	apply(t, m, forwardConf("a", func(c *conf.DNSCache) { c.MinRefreshRate = 20 * time.Second }))
	d := lookup(m, "a").Cache()
	for name, want := range map[string]time.Duration{"short.test": 20 * time.Second, "long.test": 7 * time.Minute, "none.test": time.Minute, "fails.test": time.Minute} {
		n := &dnsName{key: name + ":80", host: name, port: 80}
		if again, stays := d.attempt(n, &backoff{conf: &d.conf.DNSOptions}); again != want || !stays {
			t.Errorf("%s: again after %v, %t, want %v", name, again, stays, want)
		}
	}
}

// A name that waits for its turn longer than dns_query_timeout fails, too.
func TestDNSCacheTurns(t *testing.T) {
	z := new(zone)
	m, _ := managed(t, z, Options{})
	for range cap(m.turns) {
		m.turns <- struct{}{}
	}
	apply(t, m, forwardConf("a", func(c *conf.DNSCache) { c.QueryTimeout = time.Millisecond }))
	if got := resolvedName(t, lookup(m, "a").Cache(), "one.test:80"); got != "resolve_timeout" {
		t.Error(got)
	}
}

func TestDNSCacheValidation(t *testing.T) {
	for i, change := range []func(c *conf.Cluster){
		func(c *conf.Cluster) { c.LB = conf.RoundRobin },
		func(c *conf.Cluster) { c.DNSCache = nil },
		func(c *conf.Cluster) { c.Type = conf.ClusterStatic },
		func(c *conf.Cluster) { c.DNSCache.Name = "" },
		func(c *conf.Cluster) { c.DNSCache.MaxHosts = 0 },
		func(c *conf.Cluster) { c.DNSCache.HostTTL = 0 },
		func(c *conf.Cluster) { c.DNSCache.DNSRefreshRate = 0 },
		func(c *conf.Cluster) { c.DNSCache.Preresolve = []conf.DNSName{{Host: "a..b", Port: 80}} },
		func(c *conf.Cluster) { c.Endpoints = append(c.Endpoints, endpointAt(1, 0)) },
	} {
		c := forwardConf("a")
		if err := Validate([]*conf.Cluster{c}); err != nil {
			t.Fatal(err)
		}
		if change(c); Validate([]*conf.Cluster{c}) == nil {
			t.Errorf("row %d is valid", i)
		}
	}
}
