package route

import (
	"slices"
	"strings"
	"testing"

	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/proxy/conf"
)

// hosts is a configuration of virtual hosts named by their first domain, each with one route.
func hosts(domains ...string) *conf.RouteConfiguration {
	c := &conf.RouteConfiguration{}
	for _, d := range domains {
		c.VirtualHosts = append(c.VirtualHosts, &conf.VirtualHost{
			Name: d, Domains: strings.Split(d, ","), Routes: []*conf.Route{forward("r", prefix("/"))},
		})
	}
	return c
}

func TestVirtualHostSelection(t *testing.T) {
	domains := []string{
		"*", "*.foo.com", "*-bar.foo.com", "*.b.foo.com", "foo.com", "foo.*", "foo.c*", "www.foo.com", "ported.com:8080", "a*b.com", "UPPER.com", "[::1]:80",
	}
	for _, row := range []struct{ rule, host, want string }{
		{"RT-20 an exact name beats every wildcard", "www.foo.com", "www.foo.com"},
		{"RT-20 a suffix wildcard beats a prefix wildcard", "foo.com.foo.com", "*.foo.com"},
		{"RT-20 a prefix wildcard beats the star", "foo.org", "foo.*"},
		{"RT-20 the star takes the rest", "other.org", "*"},
		{"RT-21 the longest suffix wins", "x.b.foo.com", "*.b.foo.com"},
		{"RT-21 the longest suffix wins in the middle of a label", "baz-bar.foo.com", "*-bar.foo.com"},
		{"RT-21 the longest prefix wins", "foo.cat", "foo.c*"},
		{"RT-22 a star needs one character: the name without label", ".foo.com", "*"},
		{"RT-22 a star needs one character: the longer suffix does not, the shorter does", "-bar.foo.com", "*.foo.com"},
		{"RT-22 a prefix wildcard needs one character", "foo.", "*"},
		{"RT-23 the request's letter case does not matter for exact names", "WWW.Foo.COM", "www.foo.com"},
		{"RT-23 nor for wildcards", "X.FOO.com", "*.foo.com"},
		{"RT-23 the domain's letter case does not matter", "upper.com", "UPPER.com"},
		{"RT-25 a star inside is a literal", "a*b.com", "a*b.com"},
		{"RT-25 a star inside matches nothing else", "axb.com", "*"},
		{"RT-25 a domain with a port matches that port", "ported.com:8080", "ported.com:8080"},
		{"RT-25 a domain with a port matches no other", "ported.com:8081", "*"},
		{"RT-25 a domain with a port needs it", "ported.com", "*"},
		{"RT-25 a domain without port does not match one with", "foo.com:80", "foo.c*"},
		{"RT-25 IPv6", "[::1]:80", "[::1]:80"},
	} {
		t.Run(row.rule, func(t *testing.T) {
			table := mustCompile(t, hosts(domains...))
			h := request(t, "GET /", "host: a")
			h.SetAuthority([]byte(row.host)) // names no listener would let through too
			res := table.Match(&Input{Head: h})
			if res.VirtualHost == nil || res.VirtualHost.Config.Name != row.want {
				t.Fatalf("%s went to %+v, want %s", row.host, res.VirtualHost, row.want)
			}
		})
	}
}

func TestRT21OrderOfConfigurationDoesNotMatter(t *testing.T) {
	for _, domains := range [][]string{{"*.c.d", "*.b.c.d"}, {"*.b.c.d", "*.c.d"}} {
		res := mustCompile(t, hosts(domains...)).Match(&Input{Head: request(t, "GET /", "host: a.b.c.d")})
		if res.VirtualHost.Config.Name != "*.b.c.d" {
			t.Errorf("%v: got %s", domains, res.VirtualHost.Config.Name)
		}
	}
}

func TestRT24DuplicateDomainsAreRefused(t *testing.T) {
	refused(t, hosts("a.com,b.com", "c.com,A.com"), `virtual_hosts[1].domains[1]: "A.com" is used twice`)
	refused(t, hosts("*", "*"), `virtual_hosts[1].domains[0]`)
	refused(t, hosts("*.a", "*.A"), `virtual_hosts[1].domains[0]`)
	refused(t, hosts("a.*,a.*"), `virtual_hosts[0].domains[1]`)
	c := hosts("a")
	c.VirtualHosts[0].Domains = nil
	refused(t, c, "virtual_hosts[0].domains: at least one")
	mustCompile(t, hosts("a*", "*a", "a"))
}

func TestRT26OnlyTheStarNeedsNoHost(t *testing.T) {
	h := request(t, "GET /")
	h.SetAuthority(nil)
	if got := routed(mustCompile(t, hosts("*")), h); got != "r" {
		t.Errorf("got %s", got)
	}
	if res := mustCompile(t, hosts("a.example")).Match(&Input{Head: h}); res.VirtualHost != nil {
		t.Errorf("an empty name matched %s", res.VirtualHost.Config.Name)
	}
}

func TestRT27ConnectIsRoutedByItsTarget(t *testing.T) {
	h := request(t, "CONNECT target.example:443", "host: other.example")
	res := mustCompile(t, hosts("target.example:443", "other.example")).Match(&Input{Head: h})
	if res.VirtualHost == nil || res.VirtualHost.Config.Name != "target.example:443" {
		t.Fatalf("got %+v", res.VirtualHost)
	}
	if res.Kind != NoRoute {
		t.Errorf("RT-44: a request without path matched a path route: %v", res.Kind)
	}
}

func TestRT28NoVirtualHost(t *testing.T) {
	res := mustCompile(t, hosts("b.example")).Match(&Input{Head: request(t, "GET /")})
	if res.VirtualHost != nil || res.Route != nil || res.Kind != NoRoute {
		t.Errorf("got %+v", res)
	}
}

func TestIgnorePortInHostMatching(t *testing.T) {
	c := hosts("a.example", "[2001:db8::1]", "p.example:80")
	c.IgnorePortInHostMatching = true
	table := mustCompile(t, c)
	for host, want := range map[string]string{
		"a.example:8080": "a.example", "a.example": "a.example", "[2001:db8::1]:443": "[2001:db8::1]", "[2001:db8::1]": "[2001:db8::1]", "p.example:80": "",
	} {
		got := ""
		if res := table.Match(&Input{Head: request(t, "GET /", "host: "+host)}); res.VirtualHost != nil {
			got = res.VirtualHost.Config.Name
		}
		if got != want {
			t.Errorf("%s went to %q, want %q", host, got, want)
		}
	}
}

func TestVirtualHostHeader(t *testing.T) {
	c := hosts("a.example", "tenant-1", "*")
	c.VirtualHostHeader = "x-tenant"
	table := mustCompile(t, c)
	for _, row := range []struct {
		fields []string
		want   string
	}{
		{[]string{"x-tenant: Tenant-1"}, "tenant-1"},
		{[]string{"x-tenant: tenant-1", "x-tenant: a.example"}, "tenant-1"},
		{nil, "*"},
	} {
		if got := table.Match(&Input{Head: request(t, "GET /", row.fields...)}).VirtualHost.Config.Name; got != row.want {
			t.Errorf("%v went to %s, want %s", row.fields, got, row.want)
		}
	}
	c.VirtualHostHeader = "x tenant"
	refused(t, c, "vhost_header")
}

func TestRequireTLS(t *testing.T) {
	const everyone, internal = false, true
	for _, row := range []struct {
		rule     string
		mode     conf.TLSRequirement
		internal bool
		proto    string
		want     Kind
	}{
		{"RT-30 NONE lets http pass", conf.TLSNone, everyone, "http", Forward},
		{"RT-30 EXTERNAL_ONLY redirects external http", conf.TLSExternalOnly, everyone, "http", RequireTLS},
		{"RT-30 EXTERNAL_ONLY lets internal http pass", conf.TLSExternalOnly, internal, "http", Forward},
		{"RT-30 EXTERNAL_ONLY lets https pass", conf.TLSExternalOnly, everyone, "https", Forward},
		{"RT-30 ALL redirects internal http", conf.TLSAll, internal, "http", RequireTLS},
		{"RT-30 ALL lets https pass", conf.TLSAll, everyone, "https", Forward},
		{"RT-30 ALL does not believe an unknown protocol", conf.TLSAll, everyone, "ftp", RequireTLS},
		{"RT-31 no protocol, no route", conf.TLSAll, everyone, "", NoRoute},
	} {
		t.Run(row.rule, func(t *testing.T) {
			c := oneHost(forward("r", prefix("/")))
			c.VirtualHosts[0].RequireTLS = row.mode
			h := request(t, "GET /a?b=c", "host: a.example:8080", "x-forwarded-proto: "+row.proto)
			h.SetScheme("https") // RT-30: not what the check looks at
			res := mustCompile(t, c).Match(&Input{Head: h, Internal: row.internal})
			if res.Kind != row.want {
				t.Fatalf("got %v, want %v", res.Kind, row.want)
			}
			if res.Kind != RequireTLS {
				return
			}
			loc, status := res.AppendLocation(nil, h, []byte(row.proto), nil)
			if string(loc) != "https://a.example:8080/a?b=c" || status != 301 {
				t.Errorf("RT-31: %d to %s", status, loc)
			}
		})
	}
}

func TestRT30TheCheckRunsBeforeRoutes(t *testing.T) {
	c := oneHost()
	c.VirtualHosts[0].RequireTLS = conf.TLSAll
	if res := mustCompile(t, c).Match(&Input{Head: request(t, "GET /", "x-forwarded-proto: http")}); res.Kind != RequireTLS {
		t.Errorf("got %v", res.Kind)
	}
}

func TestRT20ExactNamesOfEveryLength(t *testing.T) {
	var domains []string
	for n := 1; n < 300; n += 13 {
		domains = append(domains, strings.Repeat("h", n))
	}
	table := mustCompile(t, hosts(append(domains, "*")...))
	for n := 1; n < 320; n++ {
		host := strings.Repeat("h", n)
		h := new(header.Head)
		h.Reset(nil)
		h.SetAuthority([]byte(host))
		want := "*"
		if slices.Contains(domains, host) {
			want = host
		}
		if got := table.Match(&Input{Head: h}).VirtualHost.Config.Name; got != want {
			t.Errorf("a name of %d bytes: %q", n, got)
		}
	}
}
