// Package filter is what HTTP filters are to the connection manager: the interface a filter implements,
// and what it may ask of the stream it filters. The sub-folders are Envoy's filters; an embedder's own
// implement the same interface (proxy.Options.HTTPFilters).
//
//	codec -> request head, data, trailers -> filter 0 -> filter 1 -> ... -> router
//	codec <- filter 0 <- filter 1 <- ... <- response head, data, trailers <- router, or a local reply
//
// A filter is made once for a chain (Spec) and has an instance for each stream, which the loop uses again
// (Spec.New, Filter.Done). Instances are loop-owned: no locks, and nothing may block.
package filter
