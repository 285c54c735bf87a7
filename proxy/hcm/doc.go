// Package hcm is the HTTP connection manager and its router: it turns downstream connections into
// streams, finds each stream's route and upstream connection, and carries bytes, pauses and endings
// between the two.
//
//	downstream codec        stream                     upstream attempt
//	(h1server.go)           (stream.go, request.go,    (h1client.go)
//	                         response.go, router.go)
//	 bytes -> head,data -->  route, cluster, host  -->  head,data -> bytes
//	 bytes <- head,data <--  headers, timeouts     <--  head,data <- bytes
//
// The two codec seams are the interfaces downstream and upstream in seam.go: a stream never knows
// which HTTP version is on either side. Bytes are never queued in a stream: when one side is above
// its watermark the other side's reading pauses.
//
// Files to open in order: seam.go, stream.go, h1server.go (and h1server_wait.go for its timers),
// router.go, h1client.go.
package hcm
