// Package resp is a codec of the generic proxy for the protocol of Redis, RESP2 and RESP3.
//
//	client: *2 CRLF $3 CRLF GET CRLF $1 CRLF k CRLF      server: $5 CRLF value CRLF
//	        | method GET, path k                  |              | a reply ends when its last element does
//	        GET k LF (an inline command)                 >3 CRLF ...   a push answers nobody
//
// Requests and replies have no ids: replies come in the order of the requests. What answers how many
// times is known of the few commands that do not answer once: SUBSCRIBE and its kin confirm each
// channel, and what MONITOR and channels bring later are pushes, told from replies by what is subscribed.
//
// The streamed forms of RESP3 ("$?", "*?"), which no server sends, are refused. Limits: a bulk of 512 MiB,
// 1 Mi elements of a request, 64 levels of nesting, 64 KiB of an inline command; what a request is routed
// by must be within its first MiB.
//
// Open request.go first, then reply.go; command.go is the table of commands.
package resp
