// Package hcm is the HTTP connection manager and its router: it turns downstream connections into
// streams, finds each stream's route and upstream connection, and carries bytes, pauses and endings
// between the two.
//
//	downstream codec        stream                     upstream attempt
//	(h1server*.go,          (stream.go, request.go,    (attempt.go, h1client.go,
//	 h2server*.go)           response.go, router.go)    h2client*.go)
//	 bytes -> head,data -->  route, cluster, host  -->  head,data -> bytes
//	 bytes <- head,data <--  headers, timeouts     <--  head,data <- bytes
//
// The two codec seams are the interfaces downstream and upstream in seam.go: a stream never knows
// which HTTP version is on either side. Bytes are never queued in a stream: when one side is above
// its watermark the other side's reading pauses. What an HTTP/2 codec cannot send or hand on for want of
// a window waits in the codec's own stream, bounded by the windows and the listener's limit.
//
// HTTP filters stand between the downstream codec and the router: filterchain.go compiles them, filterrun.go
// takes a stream's messages through them, filterends.go is where messages come in and go out, and
// filterstream.go what a filter may ask for (package filter). Without filters they are one branch.
//
// An acceptor (acceptor.go) makes a serverConn of each connection, and an h2Conn when it turns out to
// speak HTTP/2 (choose.go); what the two have in common is in accepted.go.
//
// Files to open in order: seam.go, stream.go, h1server.go (and h1server_wait.go for its timers),
// router.go, attempt.go, h1client.go; then h2server.go, h2server_stream.go, h2server_life.go.
package hcm
