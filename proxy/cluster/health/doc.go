// Package health makes active health checks (clusters.md 7.1): HTTP, TCP and gRPC, one goroutine for each
// host, away from the loops. A [Checker] keeps the sessions of one cluster; each tells what it found in
// [State], which is what thresholds make of one result after the other.
//
//	check -> Result -> State.Apply -> told to the cluster -> wait for the next interval
//
// The package knows nothing of clusters but the configuration of their checks; how to connect is the
// caller's (Target.Dial). Bounds: a check ends with its timeout, reads a bounded part of an answer, and at
// most as many run at a time as Options.Turns has room for. Start at session.go.
package health
