// Package e2e holds the tests of the whole server over real sockets; package harness is what they
// share. fault_*_test.go: peers that misbehave, vanish or stall, and limits that are reached.
// tcp_*_test.go: the TCP proxy rule by rule, and what a connection meets before it: listener filters,
// the choice of a filter chain, network filters.
package e2e
