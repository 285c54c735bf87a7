package cluster

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

func TestFamilies(t *testing.T) { // Cluster.dns_lookup_family
	const both, only4, only6, none, fails6, fails = "both", "only4", "only6", "none", "fails6", "fails"
	z := new(zone)
	z.set(both+"/4", 40*time.Second, "10.0.0.1")
	z.set(both+"/6", 60*time.Second, "fd00::1")
	z.set(only4+"/4", 0, "10.0.0.1")
	z.set(only4+"/6", 0)
	z.set(only6+"/4", 0)
	z.set(only6+"/6", 0, "fd00::1")
	z.set(none+"/4", 0)
	z.set(none+"/6", 0)
	z.set(fails6+"/4", 0, "10.0.0.1")
	for _, row := range []struct {
		family conf.DNSFamily
		name   string
		want   string
	}{
		{conf.DNSAuto, both, "[fd00::1] 1m0s"},
		{conf.DNSAuto, only4, "[10.0.0.1] 0s"},
		{conf.DNSAuto, none, "[] 0s"},
		{conf.DNSAuto, fails6, "[10.0.0.1] 0s"},
		{conf.DNSAuto, fails, "error"},
		{conf.DNSV4Preferred, both, "[10.0.0.1] 40s"},
		{conf.DNSV4Preferred, only6, "[fd00::1] 0s"},
		{conf.DNSV4Only, both, "[10.0.0.1] 40s"},
		{conf.DNSV4Only, only6, "[] 0s"},
		{conf.DNSV6Only, both, "[fd00::1] 1m0s"},
		{conf.DNSV6Only, fails6, "error"},
		{conf.DNSAll, both, "[10.0.0.1 fd00::1] 40s"},
		{conf.DNSAll, only6, "[fd00::1] 0s"},
		{conf.DNSAll, fails6, "[10.0.0.1] 0s"},
		{conf.DNSAll, none, "[] 0s"},
		{conf.DNSAll, fails, "error"},
	} {
		a, err := resolve(context.Background(), z, row.name, row.family)
		got := fmt.Sprint(a.addrs, " ", a.ttl)
		if err != nil {
			got = "error"
		}
		if got != row.want {
			t.Errorf("family %d of %s: %s, want %s (%v)", row.family, row.name, got, row.want, err)
		}
	}
}

func TestServersAnswers(t *testing.T) {
	s := serve(t)
	s.set(
		"plain.test. 30 IN A 10.0.0.1", "plain.test. 20 IN A 10.0.0.2", "plain.test. 50 IN AAAA fd00::1",
		"alias.test. 10 IN CNAME MIDDLE.test.", "middle.test. 5 IN CNAME plain.test.",
		"loop.test. 9 IN CNAME pool.test.", "pool.test. 9 IN CNAME loop.test.",
		"far.test. 7 IN CNAME elsewhere.test.", "elsewhere.test. 70 IN A 10.0.0.7",
		"nowhere.test. 7 IN CNAME missing.test.",
		"text.test. 9 IN TXT \"no address\"",
	)
	long := strings.Repeat("a", 70) + ".test"
	for _, row := range []struct {
		what, name string
		v6         bool
		want       string
	}{
		{"addresses, and the least time to live", "plain.test", false, "[10.0.0.1 10.0.0.2] 20s"},
		{"the other family", "plain.test", true, "[fd00::1] 50s"},
		{"a name with its dot", "plain.test.", false, "[10.0.0.1 10.0.0.2] 20s"},
		{"upper case", "PLAIN.Test", false, "[10.0.0.1 10.0.0.2] 20s"},
		{"a chain of aliases holds as long as its shortest part", "alias.test", false, "[10.0.0.1 10.0.0.2] 5s"},
		{"an alias the server does not follow is asked for", "far.test", false, "[10.0.0.7] 7s"},
		{"an alias of nothing", "nowhere.test", false, "[] 0s"},
		{"a name that does not exist", "missing.test", false, "[] 0s"},
		{"a name without such records", "text.test", false, "[] 0s"},
		{"aliases in a circle", "loop.test", false, "chain of CNAME records is too long or a loop"},
		{"a label that is too long", long, false, "server"},
		{"a name that is too long", strings.Repeat("abcdefgh.", 40), false, "is no host name"},
	} {
		r := newServerResolver([]netip.AddrPort{s.addr}, false)
		a, err := r.lookup(context.Background(), row.name, row.v6)
		got := fmt.Sprint(a.addrs, " ", a.ttl)
		if err != nil {
			got = err.Error()
		}
		if got != row.want && (err == nil || !strings.Contains(got, row.want)) {
			t.Errorf("%s: %s, want %s", row.what, got, row.want)
		}
	}
}

func TestTruncatedAnswersAreAskedForByTCP(t *testing.T) {
	s := serve(t)
	var lines []string
	for i := range 100 {
		lines = append(lines, fmt.Sprintf("many.test. 30 IN A 10.0.1.%d", i))
	}
	s.set(lines...)
	s.change(func(s *nameserver) { s.truncate = true })
	a, err := newServerResolver([]netip.AddrPort{s.addr}, false).lookup(context.Background(), "many.test", false)
	if err != nil || len(a.addrs) != 100 {
		t.Errorf("%d addresses, %v", len(a.addrs), err)
	}
	if got, want := s.questions(), []string{"udp many.test./A", "tcp many.test./A"}; !slices.Equal(got, want) {
		t.Errorf("asked %v, want %v", got, want)
	}
}

func TestUseTCPForDNSLookups(t *testing.T) {
	s := serve(t)
	s.set("one.test. 30 IN A 10.0.0.1")
	a, err := newServerResolver([]netip.AddrPort{s.addr}, true).lookup(context.Background(), "one.test", false)
	if err != nil || len(a.addrs) != 1 {
		t.Errorf("%v, %v", a, err)
	}
	if got, want := s.questions(), []string{"tcp one.test./A"}; !slices.Equal(got, want) {
		t.Errorf("asked %v, want %v", got, want)
	}
}

func TestForgedAnswersAreIgnored(t *testing.T) {
	s := serve(t)
	s.set("one.test. 30 IN A 10.0.0.1")
	s.change(func(s *nameserver) { s.stray = true })
	a, err := newServerResolver([]netip.AddrPort{s.addr}, false).lookup(context.Background(), "one.test", false)
	if err != nil || fmt.Sprint(a.addrs) != "[10.0.0.1]" {
		t.Errorf("%v, %v", a, err)
	}
}

func TestAnotherServerIsAskedWhenOneFails(t *testing.T) {
	bad, good := serve(t), serve(t)
	good.set("one.test. 30 IN A 10.0.0.1")
	for _, row := range []struct {
		how string
		do  func(s *nameserver)
	}{
		{"with SERVFAIL", func(s *nameserver) { s.rcode = dns.RcodeServerFailure }},
		{"with REFUSED", func(s *nameserver) { s.rcode = dns.RcodeRefused }},
		{"by silence", func(s *nameserver) { s.silent = true }},
	} {
		bad.change(row.do)
		r := newServerResolver([]netip.AddrPort{bad.addr, good.addr}, false)
		r.wait = 100 * time.Millisecond
		for range 2 {
			if a, err := r.lookup(context.Background(), "one.test", false); err != nil || len(a.addrs) != 1 {
				t.Errorf("%s: %v, %v", row.how, a, err)
			}
		}
		if n := len(bad.questions()); n != 1 {
			t.Errorf("%s: the failed server was asked %d times, the good one should come first then", row.how, n)
		}
	}
}

func TestWhenAllServersFailTheErrorNamesOne(t *testing.T) {
	s := serve(t)
	s.change(func(s *nameserver) { s.rcode = dns.RcodeServerFailure })
	_, err := newServerResolver([]netip.AddrPort{s.addr}, false).lookup(context.Background(), "one.test", false)
	if err == nil || !strings.Contains(err.Error(), s.addr.String()) || !strings.Contains(err.Error(), "one.test") {
		t.Errorf("error %v", err)
	}
	if n := len(s.questions()); n != serverRounds {
		t.Errorf("asked %d times", n)
	}
}

func TestALookupEndsWithItsContext(t *testing.T) {
	s := serve(t)
	s.change(func(s *nameserver) { s.silent = true })
	ctx, cancel := context.WithCancel(context.Background())
	result := make(chan error, 1)
	go func() {
		_, err := newServerResolver([]netip.AddrPort{s.addr}, false).lookup(ctx, "one.test", false)
		result <- err
	}()
	eventually(t, "the server is asked", func() bool { return len(s.questions()) > 0 })
	cancel()
	select {
	case err := <-result:
		if err == nil {
			t.Error("no error")
		}
	case <-time.After(serverWait / 2):
		t.Error("it goes on")
	}
}

func TestTheSystemsResolverKnowsLocalhost(t *testing.T) {
	a, err := (&systemResolver{}).lookup(context.Background(), "localhost", false)
	if err != nil {
		t.Skipf("this machine does not: %v", err)
	}
	if !slices.Contains(a.addrs, netip.MustParseAddr("127.0.0.1")) || a.ttl != 0 {
		t.Errorf("%v", a)
	}
}

// The system's servers cannot be chosen in a test; what hears their answers is
// put into a net.Resolver that asks ours.
func TestTimesToLiveOfTheSystemsAnswersAreHeard(t *testing.T) {
	s := serve(t)
	s.set("one.test. 30 IN A 10.0.0.1", "one.test. 11 IN A 10.0.0.2")
	for _, row := range []struct {
		how           string
		tcp, truncate bool
		asked         []string
	}{
		{"by UDP", false, false, []string{"udp one.test./A"}},
		{"by TCP", true, false, []string{"tcp one.test./A"}},
		{"by TCP after a truncated one", false, true, []string{"udp one.test./A", "tcp one.test./A"}},
	} {
		s.change(func(s *nameserver) { s.truncate = row.truncate })
		var ear ttlEar
		r := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return ear.dial(ctx, network, s.addr.String(), row.tcp)
		}}
		got, err := r.LookupNetIP(context.Background(), "ip4", "one.test.")
		if err != nil || len(got) != 2 || ear.least() != 11*time.Second {
			t.Errorf("%s: %v, ttl %v, %v", row.how, got, ear.least(), err)
		}
		if asked := s.questions(); !slices.Equal(asked, row.asked) {
			t.Errorf("%s: asked %v", row.how, asked)
		}
	}
}

func TestWhichResolverAClusterGets(t *testing.T) {
	c := conf.NewCluster("c")
	c.RespectDNSTTL, c.DNSUseTCP = true, true
	if r, ok := newResolver(&c.DNSOptions).(*systemResolver); !ok || !r.ttl || !r.tcp {
		t.Errorf("without servers: %+v", r)
	}
	c.DNSResolvers = addrs(53, "10.0.0.53")
	if r, ok := newResolver(&c.DNSOptions).(*serverResolver); !ok || !r.tcp || !slices.Equal(r.servers, c.DNSResolvers) {
		t.Errorf("with servers: %+v", r)
	}
}
