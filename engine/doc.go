// Package engine is a reactor: loops, each one goroutine with its own poller,
// listening sockets, connections, timers and buffers, that share nothing.
//
//	                 +--------------------------- Loop ----------------------------+
//	socket ready --> | poll -> dispatch -> read into the loop's buffer -> OnData   |
//	timer due    --> |                     flush the out chain -> OnWritable       |
//	Post, Wake   --> |                     accept -> OnAccept   timer -> OnTimer   |
//	                 |                              |                              |
//	                 |                         safe point: deferred tasks, resumed |
//	                 |                         reads, OnClosed, objects freed      |
//	                 +-------------------------------------------------------------+
//
// The contract is push: the engine reads and hands bytes to a Handler, which says
// how many it consumed. An idle connection owns no buffer; what must wait sits
// in slabs (package pool/buf) with a limit on each side: the read limit on
// input, watermarks on output.
//
// Everything a loop owns (Conn, Loop, timers, handlers of its connections) is
// touched only on that loop. Exceptions say so: Loop.Post, Group and Listener.
// No method calls a Handler synchronously. What a method causes arrives after
// the handler that called it has returned, at the safe point of the dispatch.
//
// Readiness is edge-triggered and every event is a hint that a system call must
// confirm, so descriptors are closed at once and may be reused within a batch.
//
// A Transform (transform.go) may stand between the socket and the handler, as TLS
// does (package tlsio); connections without one pay nothing for it.
//
// A connection may also be one end of a pair within its loop (memory.go), with what
// system calls are for a socket done in memory: the same machine, no descriptor.
//
// The package must not know about protocols. Start reading at conn.go, then
// loop.go. Build with the tag sluicedebug to have ownership, double release and
// use after release checked.
package engine
