//lint:file-ignore SA1019 deprecated fields are still common in configuration files

package envoy

import (
	"slices"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// defaultHTTP2ResponseHeadersKiB is max_response_headers_kb of clusters that speak only HTTP/2 (HC-49).
const defaultHTTP2ResponseHeadersKiB = 60

// protocolOptions are what a cluster says of HTTP, and where: in HttpProtocolOptions, or in the older
// fields of the cluster itself.
type protocolOptions struct {
	protocol conf.UpstreamProtocol
	chosen   place // what makes the protocol other than HTTP/1

	common   *corev3.HttpProtocolOptions
	commonAt place
	h1       *corev3.Http1ProtocolOptions
	h1At     place
	h2       *corev3.Http2ProtocolOptions
	h2At     place
	names    *corev3.UpstreamHttpProtocolOptions
	namesAt  place
}

// clusterProtocol compiles a cluster's protocol and its options (clusters.md 8); what they want of the
// transport sockets is for protocolSockets to see.
func (c *compiler) clusterProtocol(m *clusterv3.Cluster, at place, out *conf.Cluster) protocolOptions {
	o := c.olderProtocol(m, at)
	for name, packed := range m.GetTypedExtensionProtocolOptions() {
		here := at.field("typed_extension_protocol_options").key(name)
		if name != upstreamHTTP {
			c.errs.at(here, "not supported; supported: %s", upstreamHTTP)
			continue
		}
		options, ok := c.unpack(packed, here).(*httpv3.HttpProtocolOptions)
		if !ok {
			continue
		}
		if older := olderFields(m); len(older) > 0 {
			c.errs.at(here, "excludes %s of the cluster", alternatives(older))
		}
		o = typedProtocol(options, here)
		out.Retry = c.retryPolicy(options.GetRetryPolicy(), here.field("retry_policy"))
	}
	if !http2Ready && o.protocol != conf.UpstreamHTTP1 {
		c.errs.at(o.chosen, "not supported: %s", noHTTP2)
	}
	out.Protocol = o.protocol
	if out.Protocol == conf.UpstreamHTTP2 {
		out.MaxResponseHeadersKiB = defaultHTTP2ResponseHeadersKiB
	}
	out.MaxRequestsPerConnection = int(number(m.GetMaxRequestsPerConnection(), 0))
	c.commonProtocol(o.common, o.commonAt, out)
	c.serverNames(o.names, o.namesAt, out)
	out.HTTP1 = c.http1(o.h1, o.h1At)
	out.HTTP2 = c.http2(o.h2, o.h2At, nil)
	if k := out.HTTP2.KeepAlive; k.Timeout > 0 && k.Interval == 0 && k.IdleInterval == 0 {
		c.warn(o.h2At.field("connection_keepalive"), "has no effect without an interval or a connection_idle_interval")
	}
	return o
}

// olderProtocol reads the fields of the cluster itself.
func (c *compiler) olderProtocol(m *clusterv3.Cluster, at place) protocolOptions {
	o := protocolOptions{
		common: m.GetCommonHttpProtocolOptions(), commonAt: at.field("common_http_protocol_options"),
		h1: m.GetHttpProtocolOptions(), h1At: at.field("http_protocol_options"),
		h2: m.GetHttp2ProtocolOptions(), h2At: at.field("http2_protocol_options"),
		names: m.GetUpstreamHttpProtocolOptions(), namesAt: at.field("upstream_http_protocol_options"),
	}
	switch {
	case m.GetProtocolSelection() == clusterv3.Cluster_USE_DOWNSTREAM_PROTOCOL:
		o.protocol, o.chosen = conf.UpstreamSameAsDownstream, at.field("protocol_selection")
	case o.h2 != nil:
		o.protocol, o.chosen = conf.UpstreamHTTP2, o.h2At
		if o.h1 != nil {
			c.errs.at(o.h2At, "excludes http_protocol_options unless protocol_selection is USE_DOWNSTREAM_PROTOCOL")
		}
	}
	return o
}

// olderFields names the fields of a cluster that HttpProtocolOptions takes the place of.
func olderFields(m *clusterv3.Cluster) (names []string) {
	for _, field := range []struct {
		name string
		set  bool
	}{
		{"common_http_protocol_options", m.GetCommonHttpProtocolOptions() != nil},
		{"upstream_http_protocol_options", m.GetUpstreamHttpProtocolOptions() != nil},
		{"http_protocol_options", m.GetHttpProtocolOptions() != nil},
		{"http2_protocol_options", m.GetHttp2ProtocolOptions() != nil},
		{"protocol_selection", m.GetProtocolSelection() != clusterv3.Cluster_USE_CONFIGURED_PROTOCOL},
	} {
		if field.set {
			names = append(names, field.name)
		}
	}
	return names
}

// typedProtocol reads HttpProtocolOptions.
func typedProtocol(m *httpv3.HttpProtocolOptions, at place) protocolOptions {
	o := protocolOptions{
		common: m.GetCommonHttpProtocolOptions(), commonAt: at.field("common_http_protocol_options"),
		names: m.GetUpstreamHttpProtocolOptions(), namesAt: at.field("upstream_http_protocol_options"),
	}
	var here place
	switch t := m.GetUpstreamProtocolOptions().(type) {
	case *httpv3.HttpProtocolOptions_ExplicitHttpConfig_:
		here = at.field("explicit_http_config")
		o.h1, o.h2 = t.ExplicitHttpConfig.GetHttpProtocolOptions(), t.ExplicitHttpConfig.GetHttp2ProtocolOptions()
		if o.h2 != nil {
			o.protocol, o.chosen = conf.UpstreamHTTP2, here.field("http2_protocol_options")
		}
	case *httpv3.HttpProtocolOptions_UseDownstreamProtocolConfig:
		here = at.field("use_downstream_protocol_config")
		o.h1, o.h2 = t.UseDownstreamProtocolConfig.GetHttpProtocolOptions(), t.UseDownstreamProtocolConfig.GetHttp2ProtocolOptions()
		if o.h2 != nil { // else HTTP/1 for those that came by HTTP/2, too
			o.protocol, o.chosen = conf.UpstreamSameAsDownstream, here.field("http2_protocol_options")
		}
	case *httpv3.HttpProtocolOptions_AutoConfig:
		here = at.field("auto_config")
		o.h1, o.h2 = t.AutoConfig.GetHttpProtocolOptions(), t.AutoConfig.GetHttp2ProtocolOptions()
		o.protocol, o.chosen = conf.UpstreamByALPN, here
	}
	o.h1At, o.h2At = here.field("http_protocol_options"), here.field("http2_protocol_options")
	return o
}

// commonProtocol compiles common_http_protocol_options.
func (c *compiler) commonProtocol(m *corev3.HttpProtocolOptions, at place, out *conf.Cluster) {
	out.IdleTimeout = c.duration(m.GetIdleTimeout(), at.field("idle_timeout"), out.IdleTimeout)
	out.MaxConnectionDuration = c.duration(m.GetMaxConnectionDuration(), at.field("max_connection_duration"), 0)
	out.MaxStreamDuration = c.duration(m.GetMaxStreamDuration(), at.field("max_stream_duration"), 0)
	out.MaxHeadersCount = int(number(m.GetMaxHeadersCount(), uint32(out.MaxHeadersCount)))
	out.MaxResponseHeadersKiB = int(number(m.GetMaxResponseHeadersKb(), uint32(out.MaxResponseHeadersKiB)))
	out.MaxRequestsPerConnection = int(number(m.GetMaxRequestsPerConnection(), uint32(out.MaxRequestsPerConnection)))
	if m.GetHeadersWithUnderscoresAction() != corev3.HttpProtocolOptions_ALLOW {
		c.warn(at.field("headers_with_underscores_action"), "has no effect: it applies to requests only; set it on the connection manager")
	}
}

// serverNames compiles upstream_http_protocol_options: requests that name the server to TLS.
func (c *compiler) serverNames(m *corev3.UpstreamHttpProtocolOptions, at place, out *conf.Cluster) {
	out.AutoSNI, out.AutoSANValidation = m.GetAutoSni(), m.GetAutoSanValidation()
	name, here := strings.ToLower(m.GetOverrideAutoSniHeader()), at.field("override_auto_sni_header")
	switch {
	case name == "" || name == ":authority" || name == "host": // what is taken without it
	case name[0] == ':':
		c.errs.at(here, "%s names no server", shorten(name))
	case !out.AutoSNI && !out.AutoSANValidation:
		c.warn(here, "has no effect without auto_sni or auto_san_validation")
	default:
		out.SNIHeader = name
	}
}

// namesSockets looks at whether what requests name gets to TLS, and does something there.
func (c *compiler) namesSockets(o *protocolOptions, out *conf.Cluster) {
	encrypted := func(tls *conf.UpstreamTLS, _ *conf.UpstreamProxyProtocol) bool { return tls != nil }
	unverified := func(tls *conf.UpstreamTLS, _ *conf.UpstreamProxyProtocol) bool {
		return tls != nil && (tls.Validation == nil || !tls.Validation.TrustedCA.Set())
	}
	switch {
	case !out.AutoSNI && !out.AutoSANValidation:
	case !anySocket(out, encrypted):
		c.warn(o.namesAt, "has no effect: the cluster has no transport_socket with TLS")
	case out.AutoSANValidation && anySocket(out, unverified):
		c.warn(o.namesAt.field("auto_san_validation"), "has no effect on TLS without a validation context with a trusted_ca: certificates are not verified")
	}
}

// protocolSockets settles what a cluster's protocol and its transport sockets want of each other.
func (c *compiler) protocolSockets(o *protocolOptions, at place, out *conf.Cluster) {
	if out.Protocol == conf.UpstreamByALPN && out.TLS == nil {
		c.errs.at(o.chosen, "needs a transport_socket with TLS, which ALPN is part of")
	}
	c.namesSockets(o, out)
	c.socketALPN(out.TLS, at.field("transport_socket"), out)
	for i := range out.SocketMatches {
		socket := at.field("transport_socket_matches").index(i).field("transport_socket")
		if out.Protocol == conf.UpstreamByALPN && out.SocketMatches[i].TLS == nil {
			c.errs.at(socket, "needs TLS: the cluster has an auto_config, and ALPN is part of TLS")
		}
		c.socketALPN(out.SocketMatches[i].TLS, socket, out)
	}
}

// socketALPN looks at what one transport socket offers. One that does not say offers what the cluster
// speaks for requests, and nothing for the sessions of TCP proxies.
func (c *compiler) socketALPN(tls *conf.UpstreamTLS, socket place, out *conf.Cluster) {
	if tls == nil {
		return
	}
	offered := slices.Contains(tls.ALPN, http2Protocol)
	switch {
	case offered && (out.Protocol == conf.UpstreamHTTP1 || out.Protocol == conf.UpstreamSameAsDownstream):
		c.misleading = append(c.misleading, out)
	case len(tls.ALPN) > 0 && !offered && out.Protocol != conf.UpstreamHTTP1:
		c.warn(socket.field("typed_config").field("common_tls_context").field("alpn_protocols"),
			"has no h2, which the cluster's protocol options are for")
	}
}

// routedALPN looks at what a cluster that a route leads to offers. Others may offer what they like: what
// their connections carry is not HTTP to us.
func (c *compiler) routedALPN(cluster *conf.Cluster, at place) {
	switch {
	case !slices.Contains(c.misleading, cluster):
	case !http2Ready:
		c.errs.at(at, "%s offers h2 in alpn_protocols: %s", shorten(cluster.Name), noHTTP2)
	default:
		c.warn(at, "%s offers h2 in alpn_protocols for connections that speak HTTP/1, too: an origin that takes the offer cannot be used", shorten(cluster.Name))
		c.misleading = slices.DeleteFunc(c.misleading, func(one *conf.Cluster) bool { return one == cluster }) // once is enough
	}
}
