//go:build !race

package e2e

// raceEnabled says that the race detector is on, which costs memory and time.
const raceEnabled = false
