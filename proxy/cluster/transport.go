package cluster

import (
	"fmt"
	"slices"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/secure"
)

// transports are what the connections of a cluster may begin with: what transport_socket_matches choose
// among, and the cluster's own. nil: all its connections are plain.
type transports struct {
	own     transport
	matches []transportMatch
}

// transport is a compiled transport socket. The zero value is the plain one.
type transport struct {
	context *secure.Upstream            // nil: no TLS
	proxy   *conf.UpstreamProxyProtocol // nil: no PROXY header
}

type transportMatch struct {
	want conf.LBMetadata
	transport
}

// openTransports makes the contexts of a cluster. Cold: it reads files.
func openTransports(m *secure.Manager, c *conf.Cluster) (*transports, error) {
	if !needsTransports(c) {
		return nil, nil
	}
	if m == nil && encrypts(c) {
		return nil, fmt.Errorf("cluster %q: there is no TLS here", c.Name)
	}
	t := new(transports)
	var err error
	if t.own, err = openTransport(m, c, c.TLS, c.ProxyProtocol); err != nil {
		return nil, fmt.Errorf("cluster %q: transport_socket: %w", c.Name, err)
	}
	for i := range c.SocketMatches {
		s := &c.SocketMatches[i]
		match := transportMatch{want: s.Match}
		if match.transport, err = openTransport(m, c, s.TLS, s.Proxy); err != nil {
			t.release()
			return nil, fmt.Errorf("cluster %q: transport_socket_matches[%d]: %w", c.Name, i, err)
		}
		t.matches = append(t.matches, match)
	}
	return t, nil
}

func openTransport(m *secure.Manager, c *conf.Cluster, tls *conf.UpstreamTLS, proxy *conf.UpstreamProxyProtocol) (t transport, err error) {
	t.proxy = proxy
	if tls != nil {
		t.context, err = m.Upstream(tls, statName(c))
	}
	return t, err
}

func needsTransports(c *conf.Cluster) bool {
	return c.TLS != nil || c.ProxyProtocol != nil || len(c.SocketMatches) > 0
}

// of returns what the connections to an endpoint begin with: the first match whose values it has, else
// the first one whose values its locality has, else the cluster's own.
func (t *transports) of(e *conf.Endpoint) transport {
	if t == nil {
		return transport{}
	}
	for _, metadata := range [...]conf.LBMetadata{e.SocketMetadata, e.LocalitySocketMetadata} {
		for i := range t.matches {
			if has(metadata, t.matches[i].want) {
				return t.matches[i].transport
			}
		}
	}
	return t.own
}

// encrypts says whether a socket of the cluster needs TLS.
func encrypts(c *conf.Cluster) bool {
	return c.TLS != nil || slices.ContainsFunc(c.SocketMatches, func(m conf.TransportSocketMatch) bool { return m.TLS != nil })
}

func has(metadata, want conf.LBMetadata) bool {
	for key, value := range want {
		if metadata[key] != value {
			return false
		}
	}
	return true
}

// release gives the contexts back. Connections made with them go on.
func (t *transports) release() {
	if t == nil {
		return
	}
	if t.own.context != nil {
		t.own.context.Release()
	}
	for i := range t.matches {
		if c := t.matches[i].context; c != nil {
			c.Release()
		}
	}
}

// open makes the contexts of clusters that are about to be taken over; with an error none of them is.
// The caller holds applying.
func (m *Manager) open(clusters []*conf.Cluster) error {
	for _, c := range clusters {
		t, err := openTransports(m.o.Secure, c)
		if err != nil {
			m.dropOpened()
			return err
		}
		if t != nil {
			m.opened[c] = t
		}
	}
	return nil
}

// dropOpened gives back what open made and no cluster took. The caller holds applying.
func (m *Manager) dropOpened() {
	for c, t := range m.opened {
		t.release()
		delete(m.opened, c)
	}
}
