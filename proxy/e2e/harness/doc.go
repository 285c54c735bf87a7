// Package harness is what end-to-end tests of the whole server share. A test reads as topology, then
// traffic, then assertion:
//
//	o := harness.NewScripted(t, origin.Script{origin.ReadRequest(), origin.Reset()})
//	p := harness.Start(t, harness.Topology{Clusters: []harness.Cluster{{Name: "origin", Origins: []harness.Origin{o}}}})
//	r := p.Dial().Get("/")                                  // one raw client connection
//	r.Want(503, "...")                                       // what the client saw
//	p.WantLine("503 UC upstream_reset...")                   // what the access log says
//	p.WantStats(harness.Stats{"cluster.origin.upstream_rq_total": 1})
//
// At its end a test's proxy must be back where it began: no connection, no active request, no open
// breaker, no buffer (Proxy.finish). Goroutines and descriptors belong to the process, so they are
// checked by NoLeaks, once for a top-level test and the parallel subtests under it. Nothing sleeps
// for a fixed time: Eventually polls until Patience is over.
//
// TCPTopology (tcp.go) is the same for TCP proxies; tcppeers.go has what their clients and origins do.
//
// Files to open in order: topology.go, proxy.go, client.go, leaks.go, tcp.go.
package harness
