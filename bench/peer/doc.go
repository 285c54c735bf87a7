// Package peer starts and stops the proxies a benchmark compares: nginx, haproxy, h2o, Go's ReverseProxy
// and sluice. Each gets one worker pinned to one CPU and a configuration, written to a temporary folder,
// that a careful operator of that proxy would write for the job.
//
// A [Peer] knows how to be found, configured and started; Start gives a [Running] one, whose CPU time and
// memory are read from /proc. Probe asks it for answers that are known, since a proxy that is fast and
// wrong is of no use in a table. Everything stays on the loopback interface.
package peer
