package envoy

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	internalv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/internal_upstream/v3"
	upstreamv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/proxy_protocol/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/raw_buffer/v3" // registers RawBuffer
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// rawBufferName is the one transport socket that needs no typed_config.
const rawBufferName = "envoy.transport_sockets.raw_buffer"

// downstreamSocket compiles the transport socket of a filter chain: the plain one, which is also the
// default, is nil.
func (c *compiler) downstreamSocket(m *corev3.TransportSocket, at place) *conf.DownstreamTLS {
	here := at.field("typed_config")
	switch config := c.socketConfig(m, at).(type) {
	case *tlsv3.DownstreamTlsContext:
		out := c.downstreamTLS(config, here)
		c.repack(m, config, here)
		return out
	case *tlsv3.UpstreamTlsContext:
		c.errs.at(here, "is for clusters; a filter chain has a DownstreamTlsContext")
	case *internalv3.InternalUpstreamTransport:
		c.errs.at(here, "is for clusters")
	case *upstreamv3.ProxyProtocolUpstreamTransport:
		c.errs.at(here, "is for clusters; the listener filter envoy.filters.listener.proxy_protocol reads PROXY headers")
	}
	return nil
}

// upstreamSocket compiles a transport socket of a cluster; both are nil for the plain one, which is
// also the default.
func (c *compiler) upstreamSocket(m *corev3.TransportSocket, at place) (*conf.UpstreamTLS, *conf.UpstreamProxyProtocol) {
	here := at.field("typed_config")
	switch config := c.socketConfig(m, at).(type) {
	case *tlsv3.UpstreamTlsContext:
		out := c.upstreamTLS(config, here)
		c.repack(m, config, here)
		return out, nil
	case *tlsv3.DownstreamTlsContext:
		c.errs.at(here, "is for filter chains; a cluster has an UpstreamTlsContext")
	case *upstreamv3.ProxyProtocolUpstreamTransport:
		inner := c.proxiedSocket(config, here.field("transport_socket"))
		if inner != nil {
			c.repack(m, config, here)
		}
		return inner, c.upstreamProxyProtocol(config, here)
	case *internalv3.InternalUpstreamTransport: // passes nothing on, so it is the socket within
		tls, proxy := c.upstreamSocket(config.GetTransportSocket(), here.field("transport_socket"))
		if tls != nil {
			c.repack(m, config, here)
		}
		return tls, proxy
	}
	return nil, nil
}

// socketConfig unpacks a transport socket; nil for the plain one.
func (c *compiler) socketConfig(m *corev3.TransportSocket, at place) proto.Message {
	if m == nil {
		return nil
	}
	if m.GetTypedConfig() == nil {
		if m.GetName() != rawBufferName {
			c.errs.at(at, "%s needs a typed_config; only %s goes without", shorten(m.GetName()), rawBufferName)
		}
		return nil
	}
	return c.unpack(m.GetTypedConfig(), at)
}

// repack puts a context back whose secrets were named: what a listener or cluster is compared by, and
// shown as, holds the secrets themselves, so that a change of one is a change of it.
func (c *compiler) repack(m *corev3.TransportSocket, config proto.Message, at place) {
	if err := anypb.MarshalFrom(m.GetTypedConfig(), config, proto.MarshalOptions{Deterministic: true}); err != nil {
		c.errs.at(at, "cannot be encoded: %v", err)
	}
}

// proxiedSocket compiles the socket that follows a PROXY header; nil for the plain one.
func (c *compiler) proxiedSocket(proxy *upstreamv3.ProxyProtocolUpstreamTransport, at place) *conf.UpstreamTLS {
	tls, header := c.upstreamSocket(proxy.GetTransportSocket(), at)
	if header != nil {
		c.errs.at(at, "not supported: a PROXY header within a PROXY header")
	}
	return tls
}

// upstreamProxyProtocol compiles a PROXY header.
func (c *compiler) upstreamProxyProtocol(proxy *upstreamv3.ProxyProtocolUpstreamTransport, at place) *conf.UpstreamProxyProtocol {
	return c.proxyHeader(proxy.GetConfig(), at.field("config"))
}
