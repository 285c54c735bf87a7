// Package network holds the network filters that run before a filter chain's terminal filter
// (tcp_proxy.md 11, 12): they admit or refuse a new connection, and leave values for what comes after.
//
//	connection -> sni_cluster -> rbac -> connection_limit -> an embedder's own -> terminal filter
//	              Extra.State    refuse?  refuse?            whatever it likes     reads Extra.State
//
// A filter is compiled once for its filter chain and shared by all loops, so what it changes is atomic
// or the loop's. It sees facts of the connection (addresses, what listener filters found, what filters
// before it set) and no byte of it.
//
// Where this differs from Envoy:
//   - rbac decides when the connection is new, Envoy at its first byte: there, a server that speaks
//     first is connected, and heard, before the client is judged. For the same reason enforcement_type
//     CONTINUOUS decides once: nothing that rules read changes later.
//   - connection_limit does not count refused connections, which Envoy does while their delay lasts.
//
// Open filter.go first.
package network
