package listener

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/streaminfo"
)

func prefix(s string) []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix(s)} }

// chainOf makes a chain that is known by its name.
func chainOf(name string, m conf.FilterChainMatch) *Chain {
	return &Chain{conf: &conf.FilterChain{Name: name, Match: m}}
}

// from describes a connection.
func from(remote, local string, set func(x *streaminfo.Extra)) *streaminfo.Connection {
	c := &streaminfo.Connection{Remote: netip.MustParseAddrPort(remote), Local: netip.MustParseAddrPort(local)}
	if set != nil {
		c.Extra = new(streaminfo.Extra)
		set(c.Extra)
	}
	return c
}

func tls(name string, alpn ...string) func(x *streaminfo.Extra) {
	return func(x *streaminfo.Extra) {
		x.Transport, x.ServerName = conf.TransportTLS, []byte(name)
		for _, p := range alpn {
			x.AddALPN(p)
		}
	}
}

func TestFilterChainChoice(t *testing.T) { // TCP-80 to TCP-83
	const here, there = "203.0.113.9:40000", "192.0.2.1:443"
	for _, tc := range []struct {
		name   string
		chains []*Chain
		conn   *streaminfo.Connection
		want   string
	}{
		{"a chain without a match takes everything", []*Chain{chainOf("all", conf.FilterChainMatch{})}, from(here, there, nil), "all"},
		{
			"the port goes before the address",
			[]*Chain{
				chainOf("port", conf.FilterChainMatch{DestinationPort: 443}),
				chainOf("address", conf.FilterChainMatch{DestinationPrefixes: prefix("192.0.2.1/32")}),
			},
			from(here, there, nil), "port",
		},
		{
			"the longest prefix is taken",
			[]*Chain{
				chainOf("8", conf.FilterChainMatch{DestinationPrefixes: prefix("192.0.0.0/8")}),
				chainOf("24", conf.FilterChainMatch{DestinationPrefixes: prefix("192.0.2.0/24")}),
				chainOf("16", conf.FilterChainMatch{DestinationPrefixes: prefix("192.0.0.0/16")}),
			},
			from(here, there, nil), "24",
		},
		{
			"a whole name goes before suffixes",
			[]*Chain{
				chainOf("suffix", conf.FilterChainMatch{ServerNames: []string{"*.example.com"}}),
				chainOf("name", conf.FilterChainMatch{ServerNames: []string{"www.example.com"}}),
			},
			from(here, there, tls("www.example.com")), "name",
		},
		{
			"the longest suffix is taken",
			[]*Chain{
				chainOf("com", conf.FilterChainMatch{ServerNames: []string{"*.com"}}),
				chainOf("example", conf.FilterChainMatch{ServerNames: []string{"*.example.com"}}),
			},
			from(here, there, tls("a.b.example.com")), "example",
		},
		{
			"a suffix is no name of its own",
			[]*Chain{chainOf("suffix", conf.FilterChainMatch{ServerNames: []string{"*.example.com"}}), chainOf("any", conf.FilterChainMatch{})},
			from(here, there, tls("example.com")), "any",
		},
		{
			"no name matches chains without names",
			[]*Chain{chainOf("name", conf.FilterChainMatch{ServerNames: []string{"a"}}), chainOf("any", conf.FilterChainMatch{})},
			from(here, there, nil), "any",
		},
		{
			"nobody looked: raw_buffer",
			[]*Chain{
				chainOf("tls", conf.FilterChainMatch{TransportProtocol: "tls"}),
				chainOf("raw", conf.FilterChainMatch{TransportProtocol: "raw_buffer"}),
			},
			from(here, there, nil), "raw",
		},
		{
			"the client's first protocol that some chain has decides",
			[]*Chain{
				chainOf("h1", conf.FilterChainMatch{ApplicationProtocols: []string{"http/1.1"}}),
				chainOf("h2", conf.FilterChainMatch{ApplicationProtocols: []string{"h2"}}),
			},
			from(here, there, tls("", "spdy/3", "h2", "http/1.1")), "h2",
		},
		{
			"the peer of the socket, not the one a PROXY header names",
			[]*Chain{
				chainOf("direct", conf.FilterChainMatch{DirectSourcePrefixes: prefix("10.0.0.0/8")}),
				chainOf("any", conf.FilterChainMatch{}),
			},
			from(here, there, func(x *streaminfo.Extra) { x.DirectRemote = netip.MustParseAddrPort("10.1.2.3:9") }), "direct",
		},
		{
			"loopback is local",
			[]*Chain{
				chainOf("local", conf.FilterChainMatch{SourceType: conf.SourceLocal}),
				chainOf("external", conf.FilterChainMatch{SourceType: conf.SourceExternal}),
			},
			from("127.0.0.1:1", "127.0.0.2:443", nil), "local",
		},
		{
			"the machine's own address is local",
			[]*Chain{chainOf("local", conf.FilterChainMatch{SourceType: conf.SourceLocal})},
			from("192.0.2.1:1", there, nil), "local",
		},
		{
			"any other is external",
			[]*Chain{
				chainOf("local", conf.FilterChainMatch{SourceType: conf.SourceLocal}),
				chainOf("external", conf.FilterChainMatch{SourceType: conf.SourceExternal}),
			},
			from(here, there, nil), "external",
		},
		{
			"the source address, then its port",
			[]*Chain{
				chainOf("net", conf.FilterChainMatch{SourcePrefixes: prefix("203.0.113.0/24")}),
				chainOf("port", conf.FilterChainMatch{SourcePrefixes: prefix("203.0.113.0/24"), SourcePorts: []uint16{40000}}),
			},
			from(here, there, nil), "port",
		},
		{
			"IPv6 prefixes do not match IPv4",
			[]*Chain{chainOf("six", conf.FilterChainMatch{SourcePrefixes: prefix("::/0")}), chainOf("any", conf.FilterChainMatch{})},
			from(here, there, nil), "any",
		},
		{
			"there is no way back from a more specific branch (TCP-81)",
			[]*Chain{
				chainOf("named", conf.FilterChainMatch{ServerNames: []string{"www.example.com"}, SourcePorts: []uint16{1}}),
				chainOf("any", conf.FilterChainMatch{}),
			},
			from(here, there, tls("www.example.com")), "",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m, err := compileMatch(tc.chains, nil)
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			if c := m.find(tc.conn); c != nil {
				got = c.conf.Name
			}
			if got != tc.want {
				t.Errorf("got chain %q, want %q", got, tc.want)
			}
		})
	}
}

func TestTheDefaultChainTakesTheRest(t *testing.T) { // TCP-83
	m, err := compileMatch([]*Chain{chainOf("named", conf.FilterChainMatch{ServerNames: []string{"a"}})}, chainOf("rest", conf.FilterChainMatch{}))
	if err != nil {
		t.Fatal(err)
	}
	if c := m.find(from("192.0.2.1:1", "192.0.2.2:2", nil)); c == nil || c.conf.Name != "rest" {
		t.Errorf("got %v", c)
	}
}

func TestChainsThatMatchTheSameAreRefused(t *testing.T) { // TCP-84
	_, err := compileMatch([]*Chain{
		chainOf("a", conf.FilterChainMatch{ServerNames: []string{"x", "y"}}), chainOf("b", conf.FilterChainMatch{ServerNames: []string{"y"}}),
	}, nil)
	if err == nil || !strings.Contains(err.Error(), `filter_chains[1]`) || !strings.Contains(err.Error(), `"a"`) {
		t.Errorf("got %v", err)
	}
}

// narrow is the rule of TCP-80 as it reads: of the chains left, those that have the most specific value
// the connection matches at a criterion; else those that do not mention it.
func narrow(left []*Chain, specificity func(m *conf.FilterChainMatch) (present bool, match int)) []*Chain {
	best := 0
	for _, c := range left {
		if present, match := specificity(&c.conf.Match); present {
			best = max(best, match)
		}
	}
	return slices.DeleteFunc(slices.Clone(left), func(c *Chain) bool {
		present, match := specificity(&c.conf.Match)
		if best == 0 {
			return present
		}
		return !present || match != best
	})
}

func longest(list []netip.Prefix, a netip.Addr) (bool, int) {
	best := 0
	for _, p := range list {
		if p.Contains(a) {
			best = max(best, p.Bits()+1)
		}
	}
	return len(list) > 0, best
}

func naive(chains []*Chain, f *streaminfo.Connection) *Chain {
	exact := func(present, match bool) (bool, int) {
		if match {
			return present, 1
		}
		return present, 0
	}
	left := narrow(chains, func(m *conf.FilterChainMatch) (bool, int) {
		return exact(m.DestinationPort != 0, m.DestinationPort == f.Local.Port())
	})
	left = narrow(left, func(m *conf.FilterChainMatch) (bool, int) { return longest(m.DestinationPrefixes, f.Local.Addr()) })
	left = narrow(left, func(m *conf.FilterChainMatch) (bool, int) {
		best, name := 0, string(f.ServerName())
		for _, n := range m.ServerNames {
			if n == name {
				best = 1000
			} else if strings.HasPrefix(n, "*") && strings.HasSuffix(name, n[1:]) && len(name) >= len(n) {
				best = max(best, len(n))
			}
		}
		return len(m.ServerNames) > 0, best
	})
	left = narrow(left, func(m *conf.FilterChainMatch) (bool, int) {
		return exact(m.TransportProtocol != "", m.TransportProtocol == transport(f))
	})
	left = narrow(left, func(m *conf.FilterChainMatch) (bool, int) {
		return longest(m.DirectSourcePrefixes, f.DirectRemote().Addr())
	})
	left = narrow(left, func(m *conf.FilterChainMatch) (bool, int) {
		return exact(m.SourceType != conf.SourceAny, (m.SourceType == conf.SourceLocal) == isLocal(f))
	})
	left = narrow(left, func(m *conf.FilterChainMatch) (bool, int) { return longest(m.SourcePrefixes, f.Remote.Addr()) })
	left = narrow(left, func(m *conf.FilterChainMatch) (bool, int) {
		return exact(len(m.SourcePorts) > 0, slices.Contains(m.SourcePorts, f.Remote.Port()))
	})
	if len(left) == 0 {
		return nil
	}
	return left[0]
}

func TestTheTreeChoosesAsTheRuleReads(t *testing.T) {
	prefixes := func(t *rapid.T, label string) []netip.Prefix {
		all := []string{"", "0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "10.1.2.3/32", "::/0", "2001:db8::/32"}
		if s := rapid.SampledFrom(all).Draw(t, label); s != "" {
			return prefix(s)
		}
		return nil
	}
	addresses := []string{"10.1.2.3:1", "10.9.9.9:2", "192.0.2.7:1", "[2001:db8::1]:2", "127.0.0.1:2"}
	rapid.Check(t, func(t *rapid.T) {
		var chains []*Chain
		for range rapid.IntRange(1, 6).Draw(t, "chains") {
			m := conf.FilterChainMatch{
				DestinationPort:      rapid.SampledFrom([]uint16{0, 0, 1, 2}).Draw(t, "port"),
				DestinationPrefixes:  prefixes(t, "destination"),
				TransportProtocol:    rapid.SampledFrom([]string{"", "", "tls", "raw_buffer"}).Draw(t, "transport"),
				DirectSourcePrefixes: prefixes(t, "direct"),
				SourceType:           rapid.SampledFrom([]conf.SourceType{conf.SourceAny, conf.SourceLocal, conf.SourceExternal}).Draw(t, "type"),
				SourcePrefixes:       prefixes(t, "source"),
			}
			if n := rapid.SampledFrom([]string{"", "", "a.b.c", "*.b.c", "*.c"}).Draw(t, "name"); n != "" {
				m.ServerNames = []string{n}
			}
			if p := rapid.SampledFrom([]uint16{0, 0, 1, 2}).Draw(t, "source port"); p != 0 {
				m.SourcePorts = []uint16{p}
			}
			if _, err := compileMatch(append(slices.Clone(chains), chainOf("", m)), nil); err == nil {
				chains = append(chains, chainOf("", m))
			}
		}
		m, err := compileMatch(chains, nil)
		if err != nil {
			t.Fatal(err)
		}
		for range 20 {
			c := from(rapid.SampledFrom(addresses).Draw(t, "remote"), rapid.SampledFrom(addresses).Draw(t, "local"), nil)
			if name := rapid.SampledFrom([]string{"-", "", "a.b.c", "x.b.c", "c", "x.c"}).Draw(t, "sni"); name != "-" {
				c.Extra = new(streaminfo.Extra)
				tls(name)(c.Extra)
			}
			if got, want := m.find(c), naive(chains, c); got != want {
				t.Fatalf("for %v the tree says %v, the rule %v", c, got, want)
			}
		}
	})
}
