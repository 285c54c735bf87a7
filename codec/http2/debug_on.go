//go:build sluicedebug

package http2

// debugging makes use of a stream after its Release a panic: streams are then never reused.
const debugging = true
