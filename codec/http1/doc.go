// Package http1 turns HTTP/1 bytes into heads, body runs and trailers, and back (RFC 9110, RFC 9112).
//
// Everything is a pure function of the bytes given, or a small value that counts: no I/O, no
// buffering, no allocation. A function is given bytes and says how many it used, that it needs more,
// or why the message is refused.
//
//	downstream bytes --ParseRequest--> header.Head --AppendRequestHead--> upstream bytes
//	                 --Body.Next-----> views ------AppendChunk---------->
//
// Framing is never guessed. Two framings that disagree, a length that is not a plain number, a coding
// other than chunked, a bare CR: each refuses the message. What is written is built from what was
// parsed, with exactly one framing, never a copy of framing fields received.
//
// Errors in a line are reported once the line is complete, and errors across lines once the head is:
// so a head cut into reads at any places gives the same answer as the head read at once.
//
// The package must not know of connections, timers, routes or configuration messages. Open request.go
// first, then field.go and body.go.
package http1
