// Package e2e holds the tests of the whole server over real sockets; package harness is what they
// share. fault_*_test.go: peers that misbehave, vanish or stall, and limits that are reached.
package e2e
