package proxy

import (
	"strings"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/route"
)

// virtualStats are the prefixes of the series that virtual clusters and routes count in.
type virtualStats map[string]bool

func (v virtualStats) add(c *conf.Listener) {
	for _, chain := range c.Chains() {
		if chain.HTTP == nil {
			continue
		}
		for _, t := range chain.HTTP.RouteTables() {
			route.StatPrefixes(t, func(prefix string) { v[prefix] = true })
		}
	}
}

// virtualStats returns those of the listeners in force and of those that drain. Needs mu.
func (s *Server) virtualStats() virtualStats {
	v := make(virtualStats)
	for _, l := range s.listeners {
		v.add(l.conf)
	}
	for l := range s.leaving {
		v.add(l.conf)
	}
	return v
}

// release takes those out of the output that no listener has any more. Needs mu.
func (v virtualStats) release(s *Server) {
	kept := s.virtualStats()
	for prefix := range v {
		if !kept.under(prefix) {
			s.registry.ReleasePrefix(prefix)
		}
	}
}

// under says whether one of v is, or begins with, prefix.
func (v virtualStats) under(prefix string) bool {
	if v[prefix] {
		return true
	}
	for p := range v {
		if strings.HasPrefix(p, prefix) {
			return true
		}
	}
	return false
}
