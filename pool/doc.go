// Package pool keeps the connections one loop has to one upstream host.
//
// A Pool hands out connections for exclusive use, one request at a time. A Mux
// opens streams on connections that carry many, and an Either is for hosts that
// say which of the two they do when a connection comes up. None of them knows the
// protocol spoken.
//
//	Acquire --> idle connection? ---- yes --> OnPoolReady, before Acquire returns
//	               | no
//	               v
//	            waiting, oldest first <----- Release of a connection
//	               |                  <----- a new connection is up
//	               v
//	            OnPoolReady, or OnPoolFailure when no connection can be had
//
// Idle connections are used last in, first out, so that those not needed age and
// time out. They stay registered with the loop: a FIN, a reset or a byte nobody
// asked for closes them at once, which leaves little room for sending a request
// to a connection the origin has just given up.
//
// Everything here is loop-owned: no lock, no atomic. The limits that hold for
// all loops together are the Breaker's. Acquire and Release of an idle
// connection allocate nothing and touch no timer.
//
// Start reading at pool.go; the states of a connection are in conn.go. For streams
// those are mux.go and muxconn.go.
package pool
