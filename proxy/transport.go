package proxy

import (
	"strings"

	"github.com/sluiceproxy/sluice/engine"
	"github.com/sluiceproxy/sluice/engine/tlsio"
	"github.com/sluiceproxy/sluice/pool"
	"github.com/sluiceproxy/sluice/proxy/secure"
	"github.com/sluiceproxy/sluice/proxy/worker"
)

// upstreamTLS encrypts one loop's connections to an endpoint. Loop-owned.
type upstreamTLS struct {
	layer   *tlsio.Layer
	context *secure.Upstream
	want    secure.Want
}

// Secure begins the handshake of a connection that is being dialled; the connect timeout bounds it.
func (t *upstreamTLS) Secure(c *engine.Conn) { t.layer.Client(c, t.context.ConfigFor(&t.want), 0) }

// secureEndpoint is worker.Worker.Secure.
func (s *Server) secureEndpoint(e *worker.Endpoint, alpn []string) pool.Securer {
	if e.Host.Secure == nil {
		return nil
	}
	return &upstreamTLS{
		layer: s.tls, context: e.Host.Secure,
		want: secure.Want{Host: e.Host.Hostname, FallbackALPN: strings.Join(alpn, ",")},
	}
}
