package forwarded

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// TestWorkedXFFExamples are the six examples of routing.md 12.
func TestWorkedXFFExamples(t *testing.T) {
	const three = "203.0.113.128, 203.0.113.10, 203.0.113.1"
	for _, row := range []struct {
		name      string
		remote    bool
		hops      int
		peer, in  string
		trusted   string
		external  string // x-envoy-external-address
		out       string
		internal  bool
		configure bool // 10/8 is internal
	}{
		{"1 edge, no trusted hops", true, 0, "192.0.2.5", three, "192.0.2.5", "192.0.2.5", three + ",192.0.2.5", false, false},
		{"2 inside, the last entry", false, 0, "10.11.12.13", three + ", 192.0.2.5", "192.0.2.5", "-", three + ", 192.0.2.5", false, false},
		{"3 edge behind two hops", true, 2, "192.0.2.5", three, "203.0.113.10", "203.0.113.10", three + ",192.0.2.5", false, false},
		{"4 inside behind two hops", false, 2, "10.11.12.13", three + ", 192.0.2.5", "203.0.113.10", "-", three + ", 192.0.2.5", false, false},
		{"5 inside without XFF is external", false, 0, "10.20.30.40", "", "10.20.30.40", "-", "-", false, true},
		{"6 inside with one entry, 10/8 configured", false, 0, "10.20.30.50", "10.20.30.40", "10.20.30.40", "-", "10.20.30.40", true, true},
		{"6 inside with one entry, nothing configured", false, 0, "10.20.30.50", "10.20.30.40", "10.20.30.40", "-", "10.20.30.40", false, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := policy(func(c *conf.HTTPConnectionManager) {
				c.UseRemoteAddress, c.XFFNumTrustedHops = row.remote, row.hops
				if row.configure {
					tens(c)
				}
			})
			var in []string
			if row.in != "" {
				in = append(in, "x-forwarded-for: "+row.in)
			}
			h := request(t, "/", in...)
			d := p.Request(h, facts(row.peer))
			if d.Trusted.String() != row.trusted || d.Internal != row.internal || d.Edge != (row.remote && !row.internal) {
				t.Errorf("got %+v, want trusted %s internal %v", d, row.trusted, row.internal)
			}
			if got := fields(h, "x-envoy-external-address"); got != row.external {
				t.Errorf("x-envoy-external-address %s, want %s", got, row.external)
			}
			if got := fields(h, "x-forwarded-for"); got != row.out {
				t.Errorf("x-forwarded-for %s, want %s", got, row.out)
			}
		})
	}
}

func TestRT91TrustedAddress(t *testing.T) {
	for _, row := range []struct {
		rule   string
		remote bool
		hops   int
		fields []string
		want   string
	}{
		{"remote, N=1: the last entry", true, 1, []string{"x-forwarded-for: 192.0.2.1,192.0.2.2"}, "192.0.2.2"},
		{"remote, N=3: too short", true, 3, []string{"x-forwarded-for: 192.0.2.1,192.0.2.2"}, "192.0.2.9"},
		{"remote, N=1: no address", true, 1, []string{"x-forwarded-for: 192.0.2.1,unknown"}, "192.0.2.9"},
		{"remote, N=1: none", true, 1, nil, "192.0.2.9"},
		{"remote, N=2: counted over fields", true, 2, []string{"x-forwarded-for: 192.0.2.1,192.0.2.2", "x-forwarded-for: 192.0.2.3"}, "192.0.2.2"},
		{"not remote, N=0: the last field's last entry", false, 0, []string{"x-forwarded-for: 192.0.2.1", "x-forwarded-for: 192.0.2.3"}, "192.0.2.3"},
		{"not remote, N=2: counted over fields", false, 2, []string{"x-forwarded-for: 192.0.2.1", "x: y", "x-forwarded-for: 192.0.2.2,192.0.2.3"}, "192.0.2.1"},
		{"not remote, N=3: too short", false, 3, []string{"x-forwarded-for: 192.0.2.1", "x-forwarded-for: 192.0.2.2,192.0.2.3"}, "192.0.2.9"},
		{"not remote: none", false, 0, nil, "192.0.2.9"},
		{"not remote: empty", false, 0, []string{"x-forwarded-for:"}, "192.0.2.9"},
		{"not remote: a trailing comma is an empty entry", false, 0, []string{"x-forwarded-for: 192.0.2.1,"}, "192.0.2.9"},
		{"not remote: with a port it is no address", false, 0, []string{"x-forwarded-for: 192.0.2.1:80"}, "192.0.2.9"},
		{"not remote: IPv6", false, 0, []string{"x-forwarded-for: 192.0.2.1, \t2001:DB8::1"}, "2001:db8::1"},
		{"not remote: IPv4 in IPv6 is IPv4", false, 0, []string{"x-forwarded-for: ::ffff:192.0.2.1"}, "192.0.2.1"},
	} {
		t.Run(row.rule, func(t *testing.T) {
			p := policy(func(c *conf.HTTPConnectionManager) { c.UseRemoteAddress, c.XFFNumTrustedHops = row.remote, row.hops })
			if d := p.Request(request(t, "/", row.fields...), facts("192.0.2.9")); d.Trusted.String() != row.want {
				t.Errorf("trusted %s, want %s", d.Trusted, row.want)
			}
		})
	}
}

func TestRT91Append(t *testing.T) {
	for _, row := range []struct {
		rule   string
		set    func(c *conf.HTTPConnectionManager)
		peer   string
		fields []string
		want   string
	}{
		{"nothing there", useRemote, "192.0.2.9", nil, "192.0.2.9"},
		{"a bare comma", useRemote, "192.0.2.9", []string{"x-forwarded-for: 1.1.1.1, 2.2.2.2"}, "1.1.1.1, 2.2.2.2,192.0.2.9"},
		{"several fields become one", useRemote, "192.0.2.9", []string{"x-forwarded-for: 1.1.1.1", "a: b", "X-Forwarded-For: 2.2.2.2"}, "1.1.1.1,2.2.2.2,192.0.2.9"},
		{"a loopback peer is this machine", useRemote, "127.0.0.1", nil, "192.0.2.254"},
		{"an IPv6 loopback peer is this machine", useRemote, "::1", nil, "192.0.2.254"},
		{"IPv6", useRemote, "2001:db8::1", nil, "2001:db8::1"},
		{"IPv4 in IPv6 is written as IPv4", useRemote, "::ffff:192.0.2.1", nil, "192.0.2.1"},
		{"a zone is ours alone", useRemote, "fe80::1%eth0", nil, "fe80::1"},
		{"skip_xff_append", func(c *conf.HTTPConnectionManager) { c.UseRemoteAddress, c.SkipXFFAppend = true, true }, "192.0.2.9", nil, "-"},
		{"not without use_remote_address", defaults, "192.0.2.9", []string{"x-forwarded-for: 1.1.1.1"}, "1.1.1.1"},
	} {
		t.Run(row.rule, func(t *testing.T) {
			h := request(t, "/", row.fields...)
			policy(row.set).Request(h, facts(row.peer))
			if got := fields(h, "x-forwarded-for"); got != row.want {
				t.Errorf("got %s, want %s", got, row.want)
			}
		})
	}
}

func TestRT91OwnAddressIsUsable(t *testing.T) {
	own := Compile(conf.NewHTTPConnectionManager("x"), conf.Node{}).own
	if !own.IsValid() || own.IsUnspecified() || own.IsMulticast() {
		t.Errorf("own address %v", own)
	}
}

func TestRT91UnixPeer(t *testing.T) {
	for _, internal := range []bool{false, true} {
		p := policy(func(c *conf.HTTPConnectionManager) { c.UseRemoteAddress, c.InternalUnixSockets = true, internal })
		h := request(t, "/")
		d := p.Request(h, &Facts{UnixPeer: true, Random: NewRandom()})
		if d.Trusted.IsValid() || d.Internal != internal || d.Edge == internal {
			t.Errorf("internal sockets %v: %+v", internal, d)
		}
		if fields(h, "x-forwarded-for") != "-" || fields(h, "x-envoy-external-address") != "-" {
			t.Errorf("an address was made up: %s, %s", fields(h, "x-forwarded-for"), fields(h, "x-envoy-external-address"))
		}
	}
}

func TestRT92InternalRequest(t *testing.T) {
	for _, row := range []struct {
		rule   string
		remote bool
		hops   int
		peer   string
		fields []string
		want   bool
	}{
		{"remote, internal peer, no XFF", true, 0, "10.0.0.1", nil, true},
		{"remote, internal IPv6 peer, no XFF", true, 0, "fd00::1", nil, true},
		{"remote, IPv4 in IPv6 peer, no XFF", true, 0, "::ffff:10.0.0.1", nil, true},
		{"remote, internal peer, XFF arrived", true, 0, "10.0.0.1", []string{"x-forwarded-for: 10.0.0.2"}, false},
		{"remote, internal peer, empty XFF arrived", true, 0, "10.0.0.1", []string{"x-forwarded-for:"}, false},
		{"remote, external peer", true, 0, "192.0.2.1", nil, false},
		{"remote, hops, internal entry", true, 1, "10.0.0.1", []string{"x-forwarded-for: 10.0.0.2"}, false},
		{"not remote, one internal entry", false, 0, "192.0.2.1", []string{"x-forwarded-for: 10.0.0.2"}, true},
		{"not remote, one external entry", false, 0, "10.0.0.1", []string{"x-forwarded-for: 192.0.2.1"}, false},
		{"not remote, two entries", false, 0, "10.0.0.1", []string{"x-forwarded-for: 10.0.0.1,10.0.0.2"}, false},
		{"not remote, two fields", false, 0, "10.0.0.1", []string{"x-forwarded-for: 10.0.0.1", "x-forwarded-for: 10.0.0.2"}, false},
		{"not remote, hops", false, 1, "10.0.0.1", []string{"x-forwarded-for: 10.0.0.1,10.0.0.2"}, false},
		{"not remote, no XFF", false, 0, "10.0.0.1", nil, false},
		{"not remote, an entry that is no address", false, 0, "10.0.0.1", []string{"x-forwarded-for: x"}, false},
	} {
		t.Run(row.rule, func(t *testing.T) {
			p := policy(func(c *conf.HTTPConnectionManager) {
				tens(c)
				c.UseRemoteAddress, c.XFFNumTrustedHops = row.remote, row.hops
			})
			h := request(t, "/", row.fields...)
			d := p.Request(h, facts(row.peer))
			if d.Internal != row.want || d.Edge != (row.remote && !row.want) {
				t.Errorf("RT-94: got %+v, want internal %v", d, row.want)
			}
			if got := fields(h, "x-envoy-internal") == "true"; got != row.want {
				t.Errorf("x-envoy-internal %s", fields(h, "x-envoy-internal"))
			}
		})
	}
}

func TestRT93NothingIsInternalByDefault(t *testing.T) {
	for _, peer := range []string{"127.0.0.1", "10.0.0.1", "192.168.1.1", "::1", "fd00::1"} {
		if d := policy(useRemote).Request(request(t, "/"), facts(peer)); d.Internal {
			t.Errorf("%s is internal", peer)
		}
	}
}

func TestManyForwardedFieldsStayBounded(t *testing.T) {
	var in []string
	for range 90 {
		in = append(in, "x-forwarded-for: "+strings.Repeat("1", 600))
	}
	h := request(t, "/", in...)
	in2 := facts("192.0.2.1")
	in2.Scratch = make([]byte, 0, 64)
	policy(useRemote).Request(h, in2)
	got := fields(h, "x-forwarded-for")
	if len(got) != 90*601+len("192.0.2.1") || !strings.HasSuffix(got, ",192.0.2.1") {
		t.Errorf("%d bytes, ends %q", len(got), got[len(got)-12:])
	}
}

func TestParseAddrAgainstNetip(t *testing.T) {
	for _, s := range []string{
		"", "1", "1.2.3", "1.2.3.4", "1.2.3.4.", ".1.2.3.4", "1..2.3", "01.2.3.4", "1.2.3.256", "1.2.3.4.5", "1.2.3.-4", "0.0.0.0", "255.255.255.255",
		"::", "::1", "1::", "1::2", ":1", "1:", "1:2", ":::", "1::2::3", "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7::", "::2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8::", "1:2:3:4::5:6:7:8",
		"1:2:3:4:5:6:7:8:9", "12345::", "g::", "::ffff:1.2.3.4", "1:2:3:4:5:6:1.2.3.4", "1:2:3:4:5:6:7:1.2.3.4", "::1.2.3", "::1.2.3.4:5", "::1.2.3.04", "2001:DB8::aBcD",
		"1.2.3.4:80", "[::1]", "::1 ", "::00001", "::0001", "1:2:3:4:5:6:7:", "1.2.3.4::", "::1.", "::.1", "::ffff:0:0",
	} {
		checkAddr(t, s)
	}
}

func checkAddr(t interface {
	Helper()
	Errorf(string, ...any)
}, s string) {
	t.Helper()
	want, err := netip.ParseAddr(s)
	got, ok := parseAddr([]byte(s))
	if ok != (err == nil) || ok && got != want.Unmap() {
		t.Errorf("parseAddr(%q) = %v, %v; netip says %v, %v", s, got, ok, want, err)
	}
}
