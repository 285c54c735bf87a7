// Package tunnel carries byte streams of the TCP proxy over HTTP/2 (upgrades.md 6): many of them on few
// upstream connections, each a stream opened by CONNECT or POST.
//
//	TCP session --Write--> Stream --DATA--> Conn --> one write for all streams of a batch
//	TCP session <--OnTunnelData-- Stream <--DATA-- Conn
//
// Fairness: a connection takes from its sessions until its socket has enough, then stops them all, and
// wakes them in turn, beginning behind the one that it woke first the last time. What comes for a session
// whose client is slow is not credited to its stream's window, so it is bounded by the window and stops
// nobody else.
//
// The package must not know of listeners or routes. Open conn.go first, then stream.go.
package tunnel
