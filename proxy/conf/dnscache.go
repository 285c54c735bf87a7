package conf

import (
	"net/netip"
	"time"
)

// DNSCache is common.dynamic_forward_proxy.v3.DnsCacheConfig: the names that dynamic forward proxies go to.
// All that have the same name are the same cache, and must be equal.
type DNSCache struct {
	Name string
	// DNSOptions: the refresh rate is 60 s, and a time to live goes before it.
	DNSOptions
	// MinRefreshRate is the least that a time to live counts for; 5 s.
	MinRefreshRate time.Duration
	// DropFailed forgets names that cannot be resolved, instead of asking again later
	// (disable_dns_refresh_on_failure).
	DropFailed bool
	// HostTTL is after how long without use a name goes; 5 m.
	HostTTL time.Duration
	// MaxHosts is how many names there are at most, MaxPending how many requests wait for one; 1024.
	MaxHosts, MaxPending uint32
	// QueryTimeout bounds a look-up, 5 s; 0: only what bounds every look-up does.
	QueryTimeout time.Duration
	// Preresolve are names that are looked up from the beginning.
	Preresolve []DNSName
	// Filter takes addresses out of answers; nil: none.
	Filter *AddressFilter
}

// DNSName is a host, which may be an address, with a port.
type DNSName struct {
	Host string
	Port uint16
}

// AddressFilter is resolved_address_filter: addresses within one of the ranges, or with Invert those
// outside of all of them, do not count.
type AddressFilter struct {
	Ranges []netip.Prefix
	Invert bool
}

// Matches says whether the filter takes an address out.
func (f *AddressFilter) Matches(a netip.Addr) bool {
	for _, r := range f.Ranges {
		if r.Contains(a) {
			return !f.Invert
		}
	}
	return f.Invert
}

// NewDNSCache returns a cache with Envoy's defaults.
func NewDNSCache(name string) *DNSCache {
	const rate = time.Minute
	return &DNSCache{
		Name: name, DNSOptions: DNSOptions{DNSRefreshRate: rate, DNSFailureRefreshBase: rate, DNSFailureRefreshMax: rate, RespectDNSTTL: true},
		MinRefreshRate: 5 * time.Second, HostTTL: 5 * time.Minute, MaxHosts: 1024, MaxPending: 1024, QueryTimeout: 5 * time.Second,
	}
}
