// Package explain tells people what a configuration means: Ask says where a request goes and why, Compare
// what changes when one configuration takes the place of another. Cold code, on the control plane; nothing
// here is called for a request.
//
// It must not decide anything by itself: routes are judged by the tables that the loops use, through a
// Judge. Files to open first: answer.go and question.go; compare.go, and shadow.go for when a route can
// never be chosen.
package explain
