// Package envoy turns an Envoy v3 bootstrap, in YAML or JSON, into the configuration the proxy runs
// (proxy/conf). It is the only package of the proxy that sees protobuf.
//
// # Stages
//
// Text becomes a tree of values that know their line and column (tree.go, yaml.go, json.go). The
// decoder (decode.go) walks that tree along the message descriptors: it fills the protobuf message
// and, beside it, a tree of positions; it refuses unknown fields, wrong types, and every field,
// enum value and extension type that the support table (support.go) does not list, so nothing that
// is written in a file is ever silently left out. Then come the constraints written in the protobuf
// files (validate.go), and last the compiler (compile.go and its neighbours), which fills in Envoy's
// defaults, checks what needs more than one field to see, and writes conf.
//
// Each stage reports all it finds and the next one runs only when it found nothing: later stages
// may rely on what earlier ones established. Every error is one line:
//
//	file:line:col: static_resources.listeners[0].address: sentence
//
// Certificates, keys and revocation lists of TLS contexts are read and checked here, but files stay
// names in conf: whoever serves TLS reads them again when they change (proxy/secure). Secrets that
// contexts name are put in the place of their names, also in the Raw that changes are found by.
//
// LoadCluster takes the same way with a file that holds one cluster, for clusters that are looked up
// when a connection asks for them.
//
// COVERAGE.md is generated from the support table and says the same in prose.
package envoy

//go:generate go test -run TestCoverageDocument -rewrite
