package proxy

import (
	"errors"
	"strings"

	"github.com/sluiceproxy/sluice/engine"
	"github.com/sluiceproxy/sluice/engine/tlsio"
	"github.com/sluiceproxy/sluice/pool"
	"github.com/sluiceproxy/sluice/proxy/secure"
	"github.com/sluiceproxy/sluice/proxy/stats"
	"github.com/sluiceproxy/sluice/proxy/worker"
)

// upstreamTLS encrypts one loop's connections to an endpoint. Loop-owned.
type upstreamTLS struct {
	layer   *tlsio.Layer
	context *secure.Upstream
	stats   *stats.Shard
	want    secure.Want
}

// Secure begins the handshake of a connection that is being dialled; the connect timeout bounds it.
func (t *upstreamTLS) Secure(c *engine.Conn) { t.layer.Client(c, t.context.ConfigFor(&t.want), 0) }

// Secured counts what the handshake agreed on.
func (t *upstreamTLS) Secured(c *engine.Conn) { t.context.Stats().Finished(t.stats, tlsio.State(c)) }

// Broken counts what TLS ended, and says why in Envoy's words.
func (t *upstreamTLS) Broken(c *engine.Conn, r engine.CloseReason) error {
	err := c.Err()
	if err == nil || r != engine.HandshakeFailed && r != engine.TransformFailed {
		return err
	}
	t.context.Stats().Failed(t.stats, err)
	return errors.New(secure.Failure(err))
}

// secureEndpoint is worker.Worker.Secure.
func (s *Server) secureEndpoint(e *worker.Endpoint, alpn []string) pool.Securer {
	if e.Host.Secure == nil {
		return nil
	}
	return &upstreamTLS{
		layer: s.tls, context: e.Host.Secure, stats: e.Worker().Stats,
		want: secure.Want{Host: e.Host.Hostname, FallbackALPN: strings.Join(alpn, ",")},
	}
}
