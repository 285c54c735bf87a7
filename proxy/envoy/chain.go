//lint:file-ignore SA1019 deprecated fields are still common in configuration files

package envoy

import (
	"net/netip"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// filterChains compiles the filter chains and the default one.
func (c *compiler) filterChains(m *listenerv3.Listener, at place, out *conf.Listener) {
	chains, fallback := at.field("filter_chains"), m.GetDefaultFilterChain()
	if len(m.GetFilterChains()) == 0 && fallback == nil {
		c.errs.at(chains, "a filter chain is required")
	}
	var matches []chainMatch
	for i, chain := range m.GetFilterChains() {
		here := chains.index(i)
		match := here.field("filter_chain_match")
		compiled := c.filterChain(chain, here)
		compiled.Match = c.filterChainMatch(chain.GetFilterChainMatch(), match)
		out.FilterChains = append(out.FilterChains, compiled)
		matches = append(matches, c.chainMatch(&compiled.Match, here, match))
	}
	c.overlaps(matches)
	c.needTLSInspector(out, at)
	for i, chain := range out.FilterChains {
		if chain.TLS != nil && chain.Match.TransportProtocol == conf.TransportRawBuffer {
			c.warn(matches[i].at.field("transport_protocol"), "leaves no connection that the chain's transport_socket can serve: raw_buffer is what is not TLS")
		}
		if p := chain.Match.TransportProtocol; p == conf.TransportRawBuffer && len(chain.Match.ApplicationProtocols) > 0 && !hasHTTPInspector(out) {
			c.warn(matches[i].at.field("application_protocols"), "match nothing: without TLS only the listener filter http_inspector finds them")
		}
	}
	if fallback == nil {
		return
	}
	here := at.field("default_filter_chain")
	if len(matches) == 1 && matches[0].always() {
		c.errs.at(here, "would never be used: the filter chain before it matches every connection")
	}
	if fallback.GetFilterChainMatch() != nil {
		c.warn(here.field("filter_chain_match"), "has no effect: the default filter chain takes what no other matches")
	}
	out.DefaultFilterChain = c.filterChain(fallback, here)
}

func hasHTTPInspector(l *conf.Listener) bool {
	return slices.ContainsFunc(l.Filters, func(f conf.ListenerFilter) bool { return f.HTTPInspector != nil })
}

func (c *compiler) filterChain(m *listenerv3.FilterChain, at place) *conf.FilterChain {
	out := &conf.FilterChain{
		Name:                          m.GetName(),
		TransportSocketConnectTimeout: c.duration(m.GetTransportSocketConnectTimeout(), at.field("transport_socket_connect_timeout"), 0),
	}
	socket := at.field("transport_socket")
	out.TLS = c.downstreamSocket(m.GetTransportSocket(), socket)
	c.networkFilters(m.GetFilters(), at.field("filters"), out)
	c.managerALPN(out, socket)
	return out
}

// filterChainMatch compiles a filter_chain_match (TCP-80).
func (c *compiler) filterChainMatch(m *listenerv3.FilterChainMatch, at place) conf.FilterChainMatch {
	out := conf.FilterChainMatch{
		DestinationPort:      uint16(number(m.GetDestinationPort(), 0)),
		DestinationPrefixes:  c.prefixes(m.GetPrefixRanges(), at.field("prefix_ranges")),
		DirectSourcePrefixes: c.prefixes(m.GetDirectSourcePrefixRanges(), at.field("direct_source_prefix_ranges")),
		SourcePrefixes:       c.prefixes(m.GetSourcePrefixRanges(), at.field("source_prefix_ranges")),
		TransportProtocol:    m.GetTransportProtocol(),
		ApplicationProtocols: m.GetApplicationProtocols(),
	}
	for i, name := range m.GetServerNames() {
		out.ServerNames = append(out.ServerNames, c.serverName(name, at.field("server_names").index(i)))
	}
	switch out.TransportProtocol {
	case "", conf.TransportTLS, conf.TransportRawBuffer:
	default:
		c.errs.at(at.field("transport_protocol"), "%s is not supported; supported: %s or %s",
			shorten(out.TransportProtocol), conf.TransportRawBuffer, conf.TransportTLS)
	}
	for i, name := range out.ApplicationProtocols {
		if name == "" || len(name) > 255 {
			c.errs.at(at.field("application_protocols").index(i), "an application protocol has 1 to 255 bytes") // RFC 7301 3.1
		}
	}
	switch m.GetSourceType() {
	case listenerv3.FilterChainMatch_SAME_IP_OR_LOOPBACK:
		out.SourceType = conf.SourceLocal
	case listenerv3.FilterChainMatch_EXTERNAL:
		out.SourceType = conf.SourceExternal
	}
	for _, port := range m.GetSourcePorts() {
		out.SourcePorts = append(out.SourcePorts, uint16(port)) // at most 65535: a constraint of the message
	}
	return out
}

// serverName lower-cases a name of server_names and refuses what no name can match (TCP-82).
func (c *compiler) serverName(name string, at place) string {
	name = strings.ToLower(name)
	host := strings.TrimPrefix(name, "*.")
	switch {
	case strings.Contains(host, "*"):
		c.errs.at(at, "%s is not supported: a wildcard stands for the whole first label, as in *.example.com", shorten(name))
	case !validHost(host) || strings.HasSuffix(host, "."):
		c.errs.at(at, "%s is not a host name", shorten(name))
	}
	return name
}

// prefixes compiles a list of CidrRange.
func (c *compiler) prefixes(list []*corev3.CidrRange, at place) (out []netip.Prefix) {
	for i, r := range list {
		if p, ok := c.matchPrefix(r, at.index(i)); ok {
			out = append(out, p)
		}
	}
	return out
}

// prefix compiles a CidrRange; the bits beyond its length are cleared.
func (c *compiler) prefix(r *corev3.CidrRange, at place) (netip.Prefix, bool) {
	ip, err := netip.ParseAddr(r.GetAddressPrefix())
	if err != nil || ip.Zone() != "" {
		c.errs.at(at.field("address_prefix"), "%s is not an IP address", shorten(r.GetAddressPrefix()))
		return netip.Prefix{}, false
	}
	if ip.Is4In6() {
		c.errs.at(at.field("address_prefix"), "%s is an IPv4 address: write it as %s", shorten(r.GetAddressPrefix()), ip.Unmap())
		return netip.Prefix{}, false
	}
	p, err := ip.Prefix(int(r.GetPrefixLen().GetValue()))
	if err != nil {
		c.errs.at(at.field("prefix_len"), "%d is more bits than %s has", r.GetPrefixLen().GetValue(), ip)
		return netip.Prefix{}, false
	}
	return p, true
}

// matchPrefix is prefix, and warns when a forgotten prefix_len makes one address every address.
func (c *compiler) matchPrefix(r *corev3.CidrRange, at place) (netip.Prefix, bool) {
	p, ok := c.prefix(r, at)
	if ip, err := netip.ParseAddr(r.GetAddressPrefix()); ok && err == nil && p.Bits() == 0 && !ip.IsUnspecified() {
		c.warn(at, "prefix_len 0 makes it every address, not %s", ip)
	}
	return p, ok
}
