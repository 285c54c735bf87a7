// Package conf is the configuration the engine runs: plain structs, no protobuf. proxy/envoy builds
// it from an Envoy v3 bootstrap; an embedder may build it in Go, starting from the New functions,
// which set Envoy's defaults. A snapshot is immutable once it is given to the proxy.
//
// A duration of 0 means "off" throughout: defaults are already filled in. Field names are Envoy's;
// comments name the message only where it is not obvious.
package conf
