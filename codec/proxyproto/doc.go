// Package proxyproto reads and writes the header that a proxy puts before a connection's bytes to say
// whose connection it carries: the PROXY protocol, versions 1 (a line of text) and 2 (binary).
//
//	first bytes --Parse----> NeedMore | Done, n, Header | NotProxy | TooLarge | Malformed
//	addresses   --AppendV1, AppendV2--> header bytes
//
// Nothing is guessed: a header that is not exactly as specified is malformed, since the address in it
// decides who may do what. An answer other than "more bytes are needed" is final, so a header cut into
// reads at any places gives the answer of the header read at once.
//
// The package must not know of connections, trust or configuration. Open header.go first. Source of
// every rule: haproxy.org, doc/proxy-protocol.txt ("the specification" here).
package proxyproto
