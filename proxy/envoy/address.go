package envoy

import (
	"net/netip"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// addressUse says what an address may be.
type addressUse uint8

const (
	bindAddress     addressUse = iota // an IP, with any port, or a pipe
	staticEndpoint                    // an IP with a port, a pipe, or an internal listener
	resolvedAddress                   // an IP or a host name, with a port
	resolverAddress                   // an IP with a port
)

func (c *compiler) address(m *corev3.Address, at place, use addressUse) (out conf.Address) {
	if pipe := m.GetPipe(); pipe != nil {
		at = at.field("pipe")
		if use == resolvedAddress || use == resolverAddress {
			c.errs.at(at, "a pipe cannot be used here: expected a socket_address")
		}
		return c.pipe(pipe, at)
	}
	if internal := m.GetEnvoyInternalAddress(); internal != nil {
		return c.internalAddress(internal, at.field("envoy_internal_address"), use)
	}
	if m.GetSocketAddress() == nil {
		c.errs.at(at, "one of pipe or socket_address is required")
		return out
	}
	return c.socketAddress(m.GetSocketAddress(), at.field("socket_address"), use)
}

// maxPipePath is sun_path without its final NUL.
const maxPipePath = 107

func (c *compiler) pipe(m *corev3.Pipe, at place) conf.Address {
	if len(m.GetPath()) > maxPipePath {
		c.errs.at(at.field("path"), "the path has %d bytes; the limit is %d", len(m.GetPath()), maxPipePath)
	}
	if strings.HasPrefix(m.GetPath(), "@") && m.GetMode() != 0 {
		c.errs.at(at.field("mode"), "an abstract socket has no mode")
	}
	return conf.Address{Pipe: m.GetPath(), Mode: m.GetMode()}
}

func (c *compiler) socketAddress(m *corev3.SocketAddress, at place, use addressUse) (out conf.Address) {
	if m.GetPortSpecifier() == nil {
		c.errs.at(at, "port_value is required")
	}
	port := uint16(m.GetPortValue()) // at most 65535: a constraint of the message
	if use != bindAddress && port == 0 && m.GetPortSpecifier() != nil {
		c.errs.at(at.field("port_value"), "0 is not a port to connect to")
	}
	ip, err := netip.ParseAddr(m.GetAddress())
	if err != nil {
		if use != resolvedAddress {
			c.errs.at(at.field("address"), "%s is not an IP address%s", shorten(m.GetAddress()), hostHint(use))
			return out
		}
		if !validHost(m.GetAddress()) {
			c.errs.at(at.field("address"), "%s is neither an IP address nor a host name", shorten(m.GetAddress()))
		}
		return conf.Address{Host: m.GetAddress(), Port: port}
	}
	out.IP = netip.AddrPortFrom(ip, port)
	if m.GetIpv4Compat() {
		if use != bindAddress || !ip.Is6() {
			c.errs.at(at.field("ipv4_compat"), "only an IPv6 address to listen on can accept IPv4 too")
		}
		out.IPv4Compat = true
	}
	return out
}

func hostHint(use addressUse) string {
	if use == staticEndpoint {
		return "; host names need a cluster of type STRICT_DNS or LOGICAL_DNS"
	}
	return ""
}

// validHost accepts what can be asked of a resolver: labels of at most 63 bytes, 253 in all.
func validHost(name string) bool {
	name = strings.TrimSuffix(name, ".")
	if name == "" || len(name) > 253 {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 {
			return false
		}
		for _, b := range []byte(label) {
			letter := b|0x20 >= 'a' && b|0x20 <= 'z'
			if !letter && (b < '0' || b > '9') && b != '-' && b != '_' {
				return false
			}
		}
	}
	return true
}

// listen claims an address for a listener or the admin server: two cannot have the same one.
func (c *compiler) listen(a conf.Address, at place) {
	if a.Pipe == "" && a.IP.Port() == 0 {
		return // the kernel picks a free one
	}
	if a.Pipe == "" && !a.IP.IsValid() {
		return
	}
	if other, taken := c.listening[a.String()]; taken {
		c.errs.at(at, "%s is already the address of %s", a, other.path)
		return
	}
	c.listening[a.String()] = at
}
