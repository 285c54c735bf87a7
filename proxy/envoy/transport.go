package envoy

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	upstreamv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/proxy_protocol/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/raw_buffer/v3" // registers RawBuffer

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// transportSocket compiles a transport socket: the plain one, which is also the default, is nil.
func (c *compiler) transportSocket(m *corev3.TransportSocket, at place) *conf.UpstreamProxyProtocol {
	if m == nil {
		return nil
	}
	if m.GetTypedConfig() == nil {
		if m.GetName() != "envoy.transport_sockets.raw_buffer" {
			c.errs.at(at, "not supported: %s; supported: envoy.transport_sockets.raw_buffer", shorten(m.GetName()))
		}
		return nil
	}
	proxy, ok := c.unpack(m.GetTypedConfig(), at).(*upstreamv3.ProxyProtocolUpstreamTransport)
	if !ok {
		return nil
	}
	at = at.field("typed_config")
	inner := at.field("transport_socket")
	if c.transportSocket(proxy.GetTransportSocket(), inner) != nil {
		c.errs.at(inner, "not supported: a PROXY header within a PROXY header")
	}
	config, here := proxy.GetConfig(), at.field("config")
	out := &conf.UpstreamProxyProtocol{
		Version2:    config.GetVersion() == corev3.ProxyProtocolConfig_V2,
		PassThrough: c.tlvMatch(config.GetPassThroughTlvs(), here.field("pass_through_tlvs")),
		Added:       c.tlvs(config.GetAddedTlvs(), here.field("added_tlvs")),
	}
	if !out.Version2 {
		for _, field := range []string{"pass_through_tlvs", "added_tlvs"} {
			if at := here.field(field); at.pos != here.pos {
				c.warn(at, "has no effect: only version V2 has TLVs")
			}
		}
	}
	return out
}
