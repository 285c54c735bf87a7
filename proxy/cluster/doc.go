// Package cluster holds the upstream clusters: which hosts they have, which host
// the next request goes to, and how much of everything is allowed at a time.
//
//	control plane                       |  each loop
//	Manager.Apply -> *Set ------------- | -> Set.Lookup(name) -> *Cluster
//	Provider.Lookup, .Watch --^         |    else Manager.RequestOnDemand
//	DNS refresh   -> *HostSet --------- | -> Balancer.PickFor(*Choice) -> *Host
//	DNSCache, by name ----------------- | -> DNSCache.Load, Balancer.Named -> *Host
//	                 subsets, tables    |    Breaker.Try...(), HostLoad
//
// A Set and a HostSet are immutable and reach the loops behind an atomic
// pointer; a stream keeps the Cluster and the Host it began with. A Balancer and
// its HostLoads are loop-owned. Breakers are the one thing all loops share and
// change: plain atomics.
//
// A HostSet brings along what choosing needs and all loops can share: the levels and
// their loads, the subsets, the rings and Maglev tables. It is made on the
// control plane's goroutines, so that a loop only takes it over.
//
// The package does not connect (package pool does) and does not know HTTP.
// Rule ids (CL-20) are those of the cluster specification; start at cluster.go.
package cluster
