// Package generic is the generic proxy filter (generic_proxy.md): it routes, balances, matches and counts
// the messages of any protocol that a frame.Codec can read.
//
//	client bytes -> request decoder -> stream: filters, route, cluster, host -> upstream connection
//	client bytes <- in its turn     <- response decoder                      <- upstream bytes
//
// A session is one client connection; its streams are the requests under way. What a stream forwards are
// the bytes it came in, unless the codec or a filter puts others in their place.
//
//	                        a connection of the pool for each request     bound (bind_upstream_connection)
//	                        (attempt.go)                                  (bound.go)
//	codec matches by id     responses as they come                        requests as they come, any order
//	in order                responses wait for their turn                 requests as they come
//	one by one              responses wait for their turn                 the next request waits
//
// Nothing is queued that can stay with its sender: a request that may not go on stays unread, a response
// whose turn it is not stays in its connection. What is kept (requests that wait for a connection, or may
// be tried again) is bounded by the listener's buffer limit.
//
// Open session.go first, then stream.go, attempt.go, bound.go, turn.go.
package generic
