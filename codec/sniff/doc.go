// Package sniff tells what a connection speaks by its first bytes, without consuming them: TLS by the
// ClientHello (server name, protocols, versions, fingerprints), HTTP by the request line.
//
//	first bytes --ParseClientHello--> NeedMore | TLS | NotTLS | TooLarge | Malformed, ClientHello
//	            --DetectHTTP--------> Undecided | HTTP10 | HTTP11 | H2C | NotHTTP | TooLong
//
// Both look at a view that begins at the connection's first byte and grows from call to call. An
// answer other than "more bytes are needed" is final: it is given at the first byte that proves it,
// and bytes that follow do not change it. So a connection cut into reads at any places gives the
// answer of the connection read at once.
//
// The package must not know of connections, filter chains or configuration. Open hello.go first.
package sniff
