// Package header holds one request or response head in the shape every HTTP version shares.
//
// A codec (HTTP/1, HTTP/2, HTTP/3) decodes into a [Head]; routing, filters, access logs and the
// encoders of the other side read only that. Names and values are spans into bytes the head does
// not copy until [Head.Retain]: a head that is parsed, routed and written within one event never
// owns memory.
//
//	base:  | GET /a HTTP/1.1\r\nHost: x\r\n ... |   bytes as received; aliased, then owned after Retain
//	extra: | values added or rewritten since     |   owned by the head, reused
//
// The package must not know of connections, framing decisions or configuration. Open head.go first.
package header
