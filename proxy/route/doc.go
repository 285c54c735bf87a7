// Package route holds compiled route tables: which virtual host and route a request belongs to, and
// what the route does to its head (redirect location, rewrites, header mutations).
//
// A [Table] is compiled once from [conf.RouteConfiguration], is immutable and shared by all loops.
// [Table.Match] and everything it leads to run on a loop for every request and do not allocate.
//
// [Routes] is what a connection manager has: one table, or scopes of them. [Table.Explain] walks the same
// compiled table and says why each route before the chosen one was not taken; it is cold.
//
// The package must not know of connections, clusters' endpoints or how a reply is sent. Spec:
// routing.md (RT rules). Open table.go first, then hosts.go (virtual hosts), paths.go (routes),
// conditions.go (what else a route asks), target.go (clusters), hash.go, scope.go and tree.go.
package route
