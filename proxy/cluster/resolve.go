package cluster

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// answer is the addresses of a name. No addresses and no error means that the
// name does not exist or has none of that family.
type answer struct {
	addrs []netip.Addr
	// ttl is how long the answer holds, whole seconds; 0 when nobody said.
	ttl time.Duration
}

// resolver looks one name up in one address family.
type resolver interface {
	lookup(ctx context.Context, name string, v6 bool) (answer, error)
}

// newResolver returns what a configuration asks for.
func newResolver(c *conf.DNSOptions) resolver {
	if len(c.DNSResolvers) == 0 {
		return &systemResolver{ttl: c.RespectDNSTTL, tcp: c.DNSUseTCP}
	}
	return newServerResolver(c.DNSResolvers, c.DNSUseTCP)
}

// resolve looks name up as dns_lookup_family says. With a preferred family the
// other one is asked when the first has no address, or fails.
func resolve(ctx context.Context, r resolver, name string, family conf.DNSFamily) (answer, error) {
	switch family {
	case conf.DNSV4Only:
		return r.lookup(ctx, name, false)
	case conf.DNSV6Only:
		return r.lookup(ctx, name, true)
	case conf.DNSAll:
		return resolveBoth(ctx, r, name)
	}
	preferV6 := family == conf.DNSAuto
	first, err := r.lookup(ctx, name, preferV6)
	if err == nil && len(first.addrs) > 0 {
		return first, nil
	}
	second, err2 := r.lookup(ctx, name, !preferV6)
	if err2 == nil && len(second.addrs) > 0 {
		return second, nil
	}
	return answer{}, errors.Join(err, err2)
}

// resolveBoth returns IPv4 addresses, then IPv6: without happy eyeballs the first
// one should work nearly everywhere. One family's failure does not take away the
// other's addresses.
func resolveBoth(ctx context.Context, r resolver, name string) (answer, error) {
	v4, err4 := r.lookup(ctx, name, false)
	v6, err6 := r.lookup(ctx, name, true)
	all := answer{addrs: append(v4.addrs, v6.addrs...), ttl: v4.ttl}
	if len(v4.addrs) == 0 || (len(v6.addrs) > 0 && v6.ttl < v4.ttl) {
		all.ttl = v6.ttl
	}
	if len(all.addrs) > 0 {
		return all, nil
	}
	return answer{}, errors.Join(err4, err6)
}

// systemResolver asks as any program of this machine does: hosts file, search
// domains and servers of resolv.conf.
type systemResolver struct {
	// ttl listens to the servers' answers for the times net.Resolver hides.
	ttl bool
	tcp bool
}

func (s *systemResolver) lookup(ctx context.Context, name string, v6 bool) (answer, error) {
	network := "ip4"
	if v6 {
		network = "ip6"
	}
	var heard ttlEar
	r := net.DefaultResolver
	if s.ttl || s.tcp {
		r = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			return heard.dial(ctx, network, address, s.tcp)
		}}
	}
	addrs, err := r.LookupNetIP(ctx, network, name)
	var e *net.DNSError
	if errors.As(err, &e) && e.IsNotFound {
		return answer{}, nil
	}
	if err != nil {
		return answer{}, err
	}
	for i := range addrs {
		addrs[i] = addrs[i].Unmap()
	}
	a := answer{addrs: addrs}
	if s.ttl {
		a.ttl = heard.least()
	}
	return a, nil
}
