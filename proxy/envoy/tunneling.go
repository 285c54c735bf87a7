package envoy

import (
	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// tunneling compiles tunneling_config (tcp_proxy.md 7); nil when it is not there.
func (c *compiler) tunneling(m *tcpv3.TcpProxy_TunnelingConfig, at place, proxy *conf.TCPProxy) *conf.Tunneling {
	if m == nil {
		return nil
	}
	out := &conf.Tunneling{
		Hostname: m.GetHostname(), UsePost: m.GetUsePost(), PostPath: m.GetPostPath(),
		PropagateHeaders: m.GetPropagateResponseHeaders(), PropagateTrailers: m.GetPropagateResponseTrailers(),
	}
	c.formatString(out.Hostname, at.field("hostname"))
	switch {
	case out.PostPath != "" && !out.UsePost:
		c.errs.at(at.field("post_path"), "is for use_post only")
	case out.PostPath != "" && out.PostPath[0] != '/':
		c.errs.at(at.field("post_path"), "must begin with a slash")
	case out.UsePost && out.PostPath == "":
		out.PostPath = "/"
	}
	out.Headers = c.headerValues(m.GetHeadersToAdd(), at.field("headers_to_add"))
	names := []string{proxy.Cluster}
	for _, w := range proxy.Weighted {
		names = append(names, w.Name)
	}
	for _, name := range names {
		cluster := c.clusters[name]
		switch {
		case cluster == nil:
		case cluster.Protocol == conf.UpstreamByALPN:
			c.errs.at(at, "not supported: the cluster %s has an auto_config; use an explicit_http_config", shorten(name))
		case anySocket(cluster, func(_ *conf.UpstreamTLS, p *conf.UpstreamProxyProtocol) bool { return p != nil }):
			c.errs.at(at, "not supported: the cluster %s begins its connections with a PROXY header", shorten(name))
		}
	}
	return out
}
