// Package explain tells people what a configuration means: Compare says what changes when one
// configuration takes the place of another. Cold code, on the control plane; nothing here is called
// for a request.
//
// Files to open first: compare.go, then shadow.go for when a route can never be chosen.
package explain
