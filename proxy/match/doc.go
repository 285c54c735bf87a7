// Package match holds the matchers that routes, filters, access logs and retry policies share: of a
// text ([Text], Envoy's StringMatcher), and of a header field ([Header], Envoy's HeaderMatcher).
//
// A matcher is compiled once from its form in package conf, is immutable and shared by all loops.
// Matching does not allocate, except for what a regular expression needs beyond its pooled scratch.
// Every matcher can say in words what it wants, for those who ask why something did not match.
//
// The package must not know what is done with the answer. Spec: routing.md 6.1. Open text.go first.
package match
