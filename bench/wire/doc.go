// Package wire is the raw-byte conformance corpus of the HTTP/1.1 proxy path and its runner. The same
// cases run against sluice, nginx and HAProxy.
//
// # A case
//
// Case files are cases/*.txt, one file per family. A case reads as a conversation: ">" lines are bytes
// of the client, "<" lines bytes of the origin, the other lines are sentences.
//
//	case twice-different
//	rule HC-23, RFC 9112 6.3
//	says Two lengths that differ are refused.
//	> POST /cl HTTP/1.1
//	> Host: a.example
//	> Content-Length: 5
//	> Content-Length: 0
//	>
//	> hello\
//	origin gets nothing
//	gets 400
//	closes
//
// The expectation is what sluice must do, derived from the rule named. A peer that does otherwise is
// listed at the end of the case: "nginx differs: how". A listed difference that is gone is an error
// like one that is not listed, so the lists stay true; "haproxy varies: how" is for a race in the peer.
// The lists hold for the versions that corpus_test.go names.
//
// A line of bytes ends in CRLF unless it ends in a backslash. Escapes are \r \n \t \s (space) \xHH \\
// and \{text*N} (text, N times). Sentences:
//
//	profile NAME                proxy configuration, default "default"; see profile.go
//	client pauses               what follows comes in a segment of its own
//	client shuts | resets       half-close; RST
//	gets 200                    one response is read; also "gets 502|503", "gets 200 to HEAD", "gets 200 cut"
//	closes                      the connection ends without another byte
//	stays open                  a further request on the connection is served
//	origin answers [early]      begins the answer to the next request; early: when its head is there
//	origin pauses | reads body | closes | resets
//	origin gets nothing         not one byte of a request
//	origin completes nothing    at most the beginning of requests
//	forwards METHOD TARGET      the origin gets this request; all such lines together are all it gets
//
// A message of gets or forwards is described by the lines after it: "with name: value" (all lines for
// one name are the exact list of its values), "with name", "with name ~ regexp", "without name",
// "spelled Name", "line TEXT", "body TEXT", "framed none|length|chunked|close", "trailer name: value",
// "no trailers", "cut", "on a new connection", "on the same connection".
//
// Whatever a case says, a message the proxy sends fails it when it is not strict HTTP/1.1: exactly one
// framing, one Host, CRLF line ends, token names, no control bytes.
//
// # Running
//
// Cases run one at a time against a proxy instance and an origin of their own. The origin plays the
// answers of the case and records each byte. When the client is done, a request on a new connection
// (the sentinel) must be served and must reach the origin unharmed: what the proxy would still have
// forwarded has arrived by then, and a desynchronised upstream connection shows. All upstream
// connections are closed between cases.
package wire
