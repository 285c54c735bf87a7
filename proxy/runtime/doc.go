// Package runtime holds the values that can be changed while the proxy runs: layers of dotted keys, of
// which later ones override earlier ones (layered_runtime, OP-30 to OP-34).
//
//	static layer   configuration         ->\
//	disk layer     files below a link    -> > snapshot: key -> text -> handles, one atomic number each
//	admin layer    /runtime_modify       ->/
//
// Whoever wants a value asks the Loader for a handle when it is compiled, and reads the handle on the hot
// path: one atomic load, no text and no map. Handles follow every later change. The Loader refers to them
// weakly, so they end with the configuration that holds them.
//
// Files to open first: loader.go, then handle.go; value.go says what a text means as a number, a boolean
// or a fraction, disk.go reads files and watch.go sees when they change.
package runtime
