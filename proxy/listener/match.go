package listener

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/streaminfo"
)

// level is one criterion of filter chain choice, in the order they are tried (TCP-80).
type level uint8

const (
	byDestinationPort level = iota
	byDestination
	byServerName
	byTransport
	byApplication
	byDirectSource
	bySourceType
	bySource
	bySourcePort
	numLevels
)

// matcher is a tree: each level narrows to the most specific value that some chain has, and never
// goes back (TCP-81).
type matcher struct {
	root     *node
	fallback *Chain
}

// node is one step of the tree. Only the tables of its level are in use; any is the branch of chains
// that do not mention the criterion.
type node struct {
	ports    map[uint16]*node
	networks []prefixes // longest prefix first
	names    map[string]*node
	suffixes map[string]*node // of "*.suffix", with the dot
	types    [3]*node
	any      *node
	chain    *Chain // below the last level
}

// prefixes is the branches of one prefix length and family.
type prefixes struct {
	bits int
	v4   bool
	by   map[netip.Prefix]*node
}

func compileMatch(chains []*Chain, fallback *Chain) (*matcher, error) {
	m := &matcher{root: new(node), fallback: fallback}
	for i, c := range chains {
		if err := m.root.insert(0, &c.conf.Match, c); err != nil {
			return nil, fmt.Errorf("filter_chains[%d]: %w", i, err)
		}
	}
	return m, nil
}

// insert adds c under every value of its match at every level.
func (n *node) insert(l level, m *conf.FilterChainMatch, c *Chain) error {
	if l == numLevels {
		if n.chain != nil {
			return fmt.Errorf("matches the same connections as filter chain %q", n.chain.conf.Name)
		}
		n.chain = c
		return nil
	}
	for _, next := range n.branches(l, m) {
		if err := next.insert(l+1, m, c); err != nil {
			return err
		}
	}
	return nil
}

// branches returns the nodes of a match at a level, made where missing.
func (n *node) branches(l level, m *conf.FilterChainMatch) []*node {
	var out []*node
	switch l {
	case byDestinationPort:
		if m.DestinationPort != 0 {
			out = append(out, branch(&n.ports, m.DestinationPort))
		}
	case byDestination:
		out = n.networkBranches(m.DestinationPrefixes)
	case byServerName:
		for _, name := range m.ServerNames {
			if suffix, ok := strings.CutPrefix(name, "*"); ok {
				out = append(out, branch(&n.suffixes, suffix))
			} else {
				out = append(out, branch(&n.names, name))
			}
		}
	case byTransport:
		if m.TransportProtocol != "" {
			out = append(out, branch(&n.names, m.TransportProtocol))
		}
	case byApplication:
		for _, name := range m.ApplicationProtocols {
			out = append(out, branch(&n.names, name))
		}
	case byDirectSource:
		out = n.networkBranches(m.DirectSourcePrefixes)
	case bySourceType:
		if m.SourceType != conf.SourceAny {
			out = append(out, orNew(&n.types[m.SourceType]))
		}
	case bySource:
		out = n.networkBranches(m.SourcePrefixes)
	case bySourcePort:
		for _, p := range m.SourcePorts {
			out = append(out, branch(&n.ports, p))
		}
	}
	if out == nil {
		out = append(out, orNew(&n.any))
	}
	return out
}

func orNew(n **node) *node {
	if *n == nil {
		*n = new(node)
	}
	return *n
}

func branch[K comparable](m *map[K]*node, key K) *node {
	if *m == nil {
		*m = make(map[K]*node)
	}
	n := (*m)[key]
	if n == nil {
		n = new(node)
		(*m)[key] = n
	}
	return n
}

func (n *node) networkBranches(list []netip.Prefix) []*node {
	var out []*node
	for _, p := range list {
		p = p.Masked()
		out = append(out, branch(&n.network(p.Bits(), p.Addr().Is4()).by, p))
	}
	return out
}

// network returns the table of a prefix length, made where missing, in its place.
func (n *node) network(bits int, v4 bool) *prefixes {
	at, found := slices.BinarySearchFunc(n.networks, bits, func(w prefixes, bits int) int { return bits - w.bits })
	for i := at; found && i < len(n.networks) && n.networks[i].bits == bits; i++ {
		if n.networks[i].v4 == v4 {
			return &n.networks[i]
		}
	}
	n.networks = slices.Insert(n.networks, at, prefixes{bits: bits, v4: v4})
	return &n.networks[at]
}

// find returns the chain of a connection, nil when there is none. No allocation.
func (m *matcher) find(f *streaminfo.Connection) *Chain {
	n := m.root
	for l := level(0); l < numLevels && n != nil; l++ {
		n = n.next(l, f)
	}
	if n != nil && n.chain != nil {
		return n.chain
	}
	return m.fallback
}

// next is the most specific branch for the connection; nil when no chain left matches it.
func (n *node) next(l level, f *streaminfo.Connection) *node {
	var found *node
	switch l {
	case byDestinationPort:
		found = n.ports[f.Local.Port()]
	case byDestination:
		found = n.within(f.Local.Addr())
	case byServerName:
		found = n.named(f.ServerName())
	case byTransport:
		found = n.names[transport(f)]
	case byApplication:
		found = n.application(f.Extra)
	case byDirectSource:
		found = n.within(f.DirectRemote().Addr())
	case bySourceType:
		if isLocal(f) {
			found = n.types[conf.SourceLocal]
		} else {
			found = n.types[conf.SourceExternal]
		}
	case bySource:
		found = n.within(f.Remote.Addr())
	case bySourcePort:
		found = n.ports[f.Remote.Port()]
	}
	if found == nil {
		found = n.any
	}
	return found
}

// within returns the branch of the longest prefix that has the address.
func (n *node) within(a netip.Addr) *node {
	if len(n.networks) == 0 || !a.IsValid() {
		return nil
	}
	a = a.Unmap().WithZone("")
	for i := range n.networks {
		w := &n.networks[i]
		if w.v4 != a.Is4() {
			continue
		}
		if p, err := a.Prefix(w.bits); err == nil {
			if found := w.by[p]; found != nil {
				return found
			}
		}
	}
	return nil
}

// named tries the whole name, then its suffixes, longest first (TCP-82).
func (n *node) named(name []byte) *node {
	if len(name) == 0 {
		return nil
	}
	if found := n.names[string(name)]; found != nil {
		return found
	}
	if len(n.suffixes) == 0 {
		return nil
	}
	for i, c := range name {
		if c == '.' && i > 0 {
			if found := n.suffixes[string(name[i:])]; found != nil {
				return found
			}
		}
	}
	return nil
}

// transport is what a listener filter found; raw_buffer when none looked, as Envoy has it.
func transport(f *streaminfo.Connection) string {
	if f.Extra == nil || f.Extra.Transport == "" {
		return conf.TransportRawBuffer
	}
	return f.Extra.Transport
}

// application returns the branch of the client's most preferred protocol that some chain mentions.
func (n *node) application(x *streaminfo.Extra) *node {
	if x == nil || len(n.names) == 0 {
		return nil
	}
	for list := x.ALPN; len(list) > 0; {
		size := min(int(list[0]), len(list)-1)
		if found := n.names[string(list[1:1+size])]; found != nil {
			return found
		}
		list = list[1+size:]
	}
	return nil
}

// isLocal says whether the peer is this machine: the same address, or a loopback one. Unix sockets are.
func isLocal(f *streaminfo.Connection) bool {
	remote := f.Remote.Addr()
	return !remote.IsValid() || remote.Unmap().IsLoopback() || remote == f.Local.Addr()
}
