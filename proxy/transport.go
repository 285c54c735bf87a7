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
	preface []byte
}

// Secure begins the handshake of a connection that is being dialled; the connect timeout bounds it.
func (t *upstreamTLS) Secure(c *engine.Conn) {
	t.layer.ClientAfter(c, t.preface, t.context.ConfigFor(&t.want), 0)
}

// Secured counts what the handshake agreed on, and describes the host: a *secure.Peer.
func (t *upstreamTLS) Secured(c *engine.Conn) any {
	state := tlsio.State(c)
	t.context.Stats().Finished(t.stats, state)
	return secure.NewPeer(state, t.context.Local())
}

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
func (s *Server) secureEndpoint(e *worker.Endpoint, alpn []string, wish *worker.Wish) pool.Securer {
	if e.Host.Secure == nil {
		return nil
	}
	t := &upstreamTLS{
		layer: s.tls, context: e.Host.Secure, stats: e.Worker().Stats,
		want: secure.Want{Host: e.Host.Hostname, FallbackALPN: strings.Join(alpn, ",")},
	}
	if wish != nil {
		t.want.ServerName, t.want.ALPN, t.want.SANs, t.preface = wish.ServerName, wish.ALPN, wish.SANs, wish.Preface
	}
	return t
}
