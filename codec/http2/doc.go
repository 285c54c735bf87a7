// Package http2 turns HTTP/2 bytes into stream events and back (RFC 9113, RFC 8441): frames, field
// blocks, stream states, flow control and the limits that keep a peer from costing more than it pays.
//
// A [Conn] is a state machine over bytes: no sockets, no goroutines, no clock, and no memory of its own
// while it is idle. Bytes go in by Feed, events come out by [Events], what must be written gathers in
// Output. A [Stream] is the owner's from the event that announces it until Release.
//
//	transport --Feed--> frames --> blocks --hpack--> header.Head --OnHeaders--> owner
//	                          \--> data ------------------------OnData------->
//	transport <-Output- frames <--------WriteHeaders, WriteData, WriteTrailers-- owner
//
// The states of a stream (RFC 9113 5.1). There is no push, so the reserved states do not exist:
//
//	            HEADERS in or out
//	      idle -------------------> open
//	                               /    \
//	       we send END_STREAM     /      \     the peer sends END_STREAM
//	            half closed (local)      half closed (remote)
//	                              \      /
//	the peer sends END_STREAM      \    /      we send END_STREAM
//	                               closed      (RST_STREAM either way leads here from any state)
//
// What a frame on a stream in the wrong state costs:
//
//	state                         DATA, HEADERS            WINDOW_UPDATE   RST_STREAM
//	idle                          connection error (1)     connection err  connection error
//	half closed (remote)          STREAM_CLOSED, stream    counted         closes
//	closed, both sides ended      STREAM_CLOSED, conn.     ignored         ignored
//	closed, we sent RST_STREAM    ignored (2)              ignored         ignored
//	closed, the peer sent it      STREAM_CLOSED, stream    ignored         ignored
//
// (1) but HEADERS from a client open it. (2) the block is still decoded and the data still counted on
// the connection: both ends must agree on the tables and windows.
//
// Malformed messages (RFC 9113 8) end the connection unless Options.StreamErrorOnInvalidMessage, as with
// Envoy's override_stream_error_on_invalid_http_message.
//
// The package must not know of sockets, timers, routes or configuration messages. Open conn.go first,
// then conn_read.go and stream.go.
package http2
