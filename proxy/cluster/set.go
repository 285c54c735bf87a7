package cluster

import (
	"maps"
	"slices"
)

// Set is all clusters that serve. Immutable.
type Set struct {
	byName map[string]*Cluster
	sorted []*Cluster
}

// Lookup returns the cluster with that name, nil when there is none. No allocation.
func (s *Set) Lookup(name []byte) *Cluster { return s.byName[string(name)] }

// Clusters returns them sorted by name. Read-only.
func (s *Set) Clusters() []*Cluster { return s.sorted }

func newSet(clusters map[string]*Cluster) *Set {
	s := &Set{byName: maps.Clone(clusters)}
	for _, name := range slices.Sorted(maps.Keys(clusters)) {
		s.sorted = append(s.sorted, clusters[name])
	}
	return s
}
