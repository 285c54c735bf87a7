// Package stats counts: counters, gauges and histograms under Envoy's names, one plain copy of each
// per loop, added up when somebody reads.
//
//	Registry  "cluster.c.upstream_rq_total" -> Counter 17     process-wide, cold, a mutex
//	Shard     counters[17]++                                  one per loop, no lock, no atomic
//	Collect   visit every loop: copy its shard; then add up   cold, off the loops
//
// Invariants: a Shard is touched only on its loop; what readers see is the copy its loop made of it
// (Shard.publish). An index stays valid for ever: a series that was released only disappears from
// the output. Series that the control plane moves are Cold: shared, atomic, and added to what the
// loops counted under the same name.
//
// The package must not know who counts what, beyond the lists of names in scope_*.go. Open shard.go
// for the hot half, registry.go for the cold one, text.go and prometheus.go for the output.
package stats
