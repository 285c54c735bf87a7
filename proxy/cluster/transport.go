package cluster

import (
	"errors"
	"fmt"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/secure"
)

// transports are the TLS contexts of a cluster: what transport_socket_matches choose among, and the
// cluster's own. nil: all its connections are plain.
type transports struct {
	own     *secure.Upstream // nil: plain
	matches []transportMatch
}

type transportMatch struct {
	want    conf.LBMetadata
	context *secure.Upstream // nil: plain
}

// openTransports makes the contexts of a cluster. Cold: it reads files.
func openTransports(m *secure.Manager, c *conf.Cluster) (*transports, error) {
	if !needsTransports(c) {
		return nil, nil
	}
	if m == nil {
		return nil, fmt.Errorf("cluster %q: there is no TLS here", c.Name)
	}
	t := new(transports)
	var err error
	if c.TLS != nil {
		if t.own, err = m.Upstream(c.TLS, statName(c)); err != nil {
			return nil, fmt.Errorf("cluster %q: transport_socket: %w", c.Name, err)
		}
	}
	for i := range c.SocketMatches {
		s := &c.SocketMatches[i]
		match := transportMatch{want: s.Match}
		if s.Proxy != nil {
			err = errors.New("a PROXY header is possible for the whole cluster only")
		} else if s.TLS != nil {
			match.context, err = m.Upstream(s.TLS, statName(c))
		}
		if err != nil {
			t.release()
			return nil, fmt.Errorf("cluster %q: transport_socket_matches[%d]: %w", c.Name, i, err)
		}
		t.matches = append(t.matches, match)
	}
	return t, nil
}

func needsTransports(c *conf.Cluster) bool { return c.TLS != nil || len(c.SocketMatches) > 0 }

// of returns the context for an endpoint: of the first match whose values it has, else the cluster's.
func (t *transports) of(e *conf.Endpoint) *secure.Upstream {
	if t == nil {
		return nil
	}
	for i := range t.matches {
		if has(e.SocketMetadata, t.matches[i].want) {
			return t.matches[i].context
		}
	}
	return t.own
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
	if t.own != nil {
		t.own.Release()
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
