// Package forwarded decides whom to believe about a request's origin and writes down what this proxy
// knows: x-forwarded-*, x-envoy-*, x-request-id, via, server (routing.md 12, RT-91 to RT-104).
//
// A [Policy] is compiled once per connection manager, immutable and shared by all loops.
// [Policy.Request] runs before routing, [Policy.Response] before a head is written; neither allocates.
//
// Hop-by-hop fields (RT-102 but for x-envoy-internal) are the codec's to remove. Open this file first.
package forwarded

import (
	"math/rand/v2"
	"net/netip"
	"strconv"
	"strings"

	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/match"
	"github.com/sluiceproxy/sluice/proxy/secure"
)

// Policy is the forwarding and trust settings of one connection manager. Immutable.
type Policy struct {
	conf        *conf.HTTPConnectionManager
	nodeCluster string
	nodeID      string
	clientCert  secure.XFCCFields
	own         netip.Addr // appended to x-forwarded-for in place of a loopback peer
}

// Facts are what Policy.Request needs to know of the connection. Not kept.
type Facts struct {
	// Random makes request ids; loop-owned, from NewRandom.
	Random *rand.Rand
	// Scratch is used while Request runs, to join an x-forwarded-for spread over several fields and to
	// write an x-forwarded-client-cert. Allocated when it is too small.
	Scratch []byte
	// InternalOnly are the headers of internal requests only: internal_only_headers of the route table that
	// the request is for (RT-90).
	InternalOnly []match.Name
	// Secure is what the TLS handshake found out; nil on a plain connection.
	Secure *secure.Peer
	// Peer is the address of the other end; ignored when UnixPeer.
	Peer netip.Addr
	// Local is this end; its port is the x-forwarded-port.
	Local    netip.AddrPort
	UnixPeer bool // the connection came over a unix socket
	TLS      bool // the connection is encrypted: its proto and scheme are https
}

// Decision is what was found out about a request.
type Decision struct {
	// Trusted is the client's address as far as it can be believed; invalid for a unix peer without a
	// usable x-forwarded-for.
	Trusted netip.Addr
	// Internal: the request comes from inside the trusted network (RT-92).
	Internal bool
	// Edge: this proxy is the first trusted hop of an external request (RT-94).
	Edge bool
}

// Compile builds the policy of c. It asks the system for this machine's addresses (RT-91). c must not
// change afterwards.
func Compile(c *conf.HTTPConnectionManager, node conf.Node) *Policy {
	cert := c.CurrentClientCert
	p := &Policy{
		conf: c, nodeCluster: node.Cluster, nodeID: node.ID, own: ownAddress(),
		clientCert: secure.XFCCFields{Cert: cert.Cert, Chain: cert.Chain, Subject: cert.Subject, URI: cert.URI, DNS: cert.DNS},
	}
	return p
}

// ValidatesScheme says whether an https URL on a plaintext connection is refused (RT-120): the client
// is a direct peer, so nobody in front could have ended TLS for it.
func (p *Policy) ValidatesScheme() bool {
	return p.conf.UseRemoteAddress && p.conf.XFFNumTrustedHops == 0
}

// Request applies the policy to a request head, in place, and says what it found.
func (p *Policy) Request(h *header.Head, in *Facts) Decision {
	h.Remove(header.XEnvoyInternal) // RT-102: only this proxy says so
	sanitizeReferer(h)
	d := p.trust(h, in)
	if p.conf.UseRemoteAddress && !p.conf.SkipXFFAppend {
		p.appendXFF(h, in)
	}
	p.setProto(h, in)
	p.sanitize(h, d, in.InternalOnly)
	if p.conf.AddUserAgent {
		p.addUserAgent(h)
	}
	if p.conf.Via != "" {
		appendVia(h, p.conf.Via)
	}
	if d.Edge && d.Trusted.IsValid() {
		var b [addrLen]byte
		h.Set(header.XEnvoyExternalAddress, d.Trusted.AppendTo(b[:0]))
	}
	if p.conf.GenerateRequestID {
		p.setRequestID(h, d.Edge, in.Random)
	}
	p.setClientCert(h, in)
	return d
}

// trusts says whether what x-forwarded-proto and -port say may come from a trusted hop before us.
func (p *Policy) trusts() bool { return !p.conf.UseRemoteAddress || p.conf.XFFNumTrustedHops > 0 }

// setProto makes x-forwarded-proto, x-forwarded-port and the scheme definite (RT-96 to RT-98).
func (p *Policy) setProto(h *header.Head, in *Facts) {
	proto := "http"
	if in.TLS {
		proto = "https"
	}
	if !p.trusts() || !h.Has(header.XForwardedProto) {
		h.SetString(header.XForwardedProto, proto)
	}
	if p.conf.AppendXForwardedPort && in.Local.IsValid() && (!p.trusts() || !h.Has(header.XForwardedPort)) {
		var b [5]byte
		h.Set(header.XForwardedPort, strconv.AppendUint(b[:0], uint64(in.Local.Port()), 10))
	}
	if s := p.conf.SchemeToOverwrite; s != "" {
		h.SetScheme(s)
		h.SetString(header.XForwardedProto, s)
		return
	}
	if h.Scheme.Len == 0 {
		if said := scheme(h.Get(header.XForwardedProto)); said != "" {
			proto = said
		}
		h.SetScheme(proto)
		return
	}
	switch s := h.Bytes(h.Scheme); string(s) {
	case "http", "https":
	default:
		if known := scheme(s); known != "" {
			h.SetScheme(known)
		} else {
			h.SetScheme(strings.ToLower(string(s)))
		}
	}
}

// scheme returns the lower-case form of http and https, "" for anything else.
func scheme(b []byte) string {
	switch {
	case header.EqualFold(b, "http"):
		return "http"
	case header.EqualFold(b, "https"):
		return "https"
	}
	return ""
}

// edgeRemoved are x-envoy headers an external client must not set towards the first trusted hop.
var edgeRemoved = [...]header.Known{
	header.XEnvoyDecoratorOperation, header.XEnvoyDownstreamServiceCluster, header.XEnvoyDownstreamServiceNode,
	header.XEnvoyOriginalPath, header.XEnvoyOriginalHost,
}

// externalRemoved are x-envoy headers that only internal requests may carry.
var externalRemoved = [...]header.Known{
	header.XEnvoyRetryOn, header.XEnvoyRetryGrpcOn, header.XEnvoyMaxRetries, header.XEnvoyRetriableStatusCodes,
	header.XEnvoyRetriableHeaderNames, header.XEnvoyUpstreamAltStatName, header.XEnvoyUpstreamRqTimeoutMs,
	header.XEnvoyUpstreamRqPerTryTimeoutMs, header.XEnvoyUpstreamRqTimeoutAltResponse, header.XEnvoyExpectedRqTimeoutMs,
	header.XEnvoyForceTrace, header.XEnvoyIPTags, header.XEnvoyOriginalURL, header.XEnvoyHedgeOnPerTryTimeout,
}

// sanitize applies the table of routing.md 12: what each kind of request may say about itself.
func (p *Policy) sanitize(h *header.Head, d Decision, internalOnly []match.Name) {
	if d.Internal {
		h.SetString(header.XEnvoyInternal, "true")
		return
	}
	if d.Edge {
		for _, id := range edgeRemoved {
			h.Remove(id)
		}
	}
	for _, id := range externalRemoved {
		h.Remove(id)
	}
	for i := range internalOnly {
		h.RemoveName(internalOnly[i].ID, internalOnly[i].Lower)
	}
}

// addUserAgent names this proxy's service to the upstream (RT-100).
func (p *Policy) addUserAgent(h *header.Head) {
	if p.nodeCluster != "" {
		h.SetString(header.XEnvoyDownstreamServiceCluster, p.nodeCluster)
		if len(h.Get(header.UserAgent)) == 0 {
			h.SetString(header.UserAgent, p.nodeCluster)
		}
	}
	if p.nodeID != "" {
		h.SetString(header.XEnvoyDownstreamServiceNode, p.nodeID)
	}
}

// appendVia adds an element to the Via list (RT-99).
func appendVia(h *header.Head, via string) {
	if i := h.Index(header.Via); i >= 0 && h.Next(i) >= 0 {
		// Spread over several fields: one more continues the list (RFC 9110 5.3).
		h.AddString(header.Via, header.Via.String(), via)
		return
	}
	h.Append(header.Via, ", ", []byte(via))
}
