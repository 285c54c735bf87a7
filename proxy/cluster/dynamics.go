package cluster

import (
	"bytes"
	"net/netip"
	"reflect"
	"strconv"
	"strings"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// dynamics are the hosts of a dynamic forward proxy: one for each name of its DNS cache that somebody went to
// through the cluster. A host keeps to its name, whatever the address becomes, and goes with it.
type dynamics struct {
	arrivals
	cache *DNSCache
}

// host returns the host of a name; nil when the cache has no address for it. Under a lock, from loops: once
// for each loop and name.
func (d *dynamics) host(key []byte) *Host {
	d.cache.mu.Lock()
	defer d.cache.mu.Unlock()
	n := d.cache.names[string(key)]
	if n == nil || !n.addr.IsValid() || d.cache.closed {
		return nil
	}
	if h := n.hosts[d]; h != nil {
		return h
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	h := d.arrive(&conf.Endpoint{Address: conf.Address{IP: n.addr}, Hostname: n.key, Weight: 1})
	n.hosts[d] = h
	return h
}

// forget takes the cluster's hosts from the cache, which others may go on using.
func (d *dynamics) forget() {
	d.cache.mu.Lock()
	defer d.cache.mu.Unlock()
	for _, n := range d.cache.names {
		delete(n.hosts, d)
	}
}

// Cache is the DNS cache of a dynamic forward proxy; nil for other clusters.
func (c *Cluster) Cache() *DNSCache {
	if c.dynamics == nil {
		return nil
	}
	return c.dynamics.cache
}

// DefaultPort is the port of names that have none: 443 when the cluster's connections are encrypted, else 80.
func (c *Cluster) DefaultPort() uint16 {
	if c.Conf.TLS != nil {
		return 443
	}
	return 80
}

// Named returns the host of a dynamic forward proxy by its name, as AppendName has made it; nil when its DNS
// cache has no address for it. No allocation once the loop has been there.
func (b *Balancer) Named(key []byte) *Host {
	h := b.named[string(key)]
	if h == nil {
		if h = b.cluster.dynamics.host(key); h == nil {
			return nil
		}
		b.named[h.Hostname] = h
	}
	if !h.wanted.Load() {
		h.wanted.Store(true)
	}
	return h
}

// pickNamed returns the host of the name a request or connection goes to, unless it is known not to be well.
func (b *Balancer) pickNamed(c *Choice) *Host {
	if c == nil || len(c.Name) == 0 {
		return nil
	}
	h := b.Named(c.Name)
	if h == nil || h.Flags()&unhealthyFlags != 0 {
		return nil
	}
	return h
}

// maxName is the longest host name there is (RFC 1035 2.3.4).
const maxName = 253

// AppendName appends what a DNS cache and the hosts of dynamic forward proxies go by: the host, which may be an
// address, in lower case, and the port. It reports false for what is neither a name nor an address. No allocation.
func AppendName(dst, host []byte, port uint16) ([]byte, bool) {
	bare := bytes.IndexByte(host, ':') >= 0 && host[0] != '['
	if port == 0 || !isHost(host, bare) {
		return dst, false
	}
	if bare {
		dst = append(dst, '[')
	}
	for _, c := range host {
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		dst = append(dst, c)
	}
	if bare {
		dst = append(dst, ']')
	}
	return strconv.AppendUint(append(dst, ':'), uint64(port), 10), true
}

// isHost says whether text is what a host name is made of, or an IPv6 address, in brackets unless bare.
func isHost(text []byte, bare bool) bool {
	if len(text) == 0 || len(text) > maxName {
		return false
	}
	if n := len(text); text[0] == '[' || bare {
		if !bare {
			if text[n-1] != ']' {
				return false
			}
			text = text[1 : n-1]
		}
		a, err := netip.ParseAddr(string(text))
		return err == nil && a.Is6() && a.Zone() == ""
	}
	for i, c := range text {
		switch {
		case 'a' <= c|0x20 && c|0x20 <= 'z', '0' <= c && c <= '9', c == '-', c == '_':
		case c == '.' && i > 0 && text[i-1] != '.':
		default:
			return false
		}
	}
	return true
}

// splitName takes a name apart again.
func splitName(key string) (host string, port uint16) {
	colon := strings.LastIndexByte(key, ':')
	n, _ := strconv.ParseUint(key[colon+1:], 10, 16)
	return strings.Trim(key[:colon], "[]"), uint16(n)
}

func sameCache(a, b *conf.DNSCache) bool { return a == b || reflect.DeepEqual(a, b) }
