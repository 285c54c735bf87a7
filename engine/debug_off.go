//go:build !sluicedebug

package engine

const debug = false

func (*Conn) check() {}
func (*Loop) check() {}

// goroutineID is not known in release builds.
type goroutineID struct{}

func (goroutineID) claim()         {}
func (goroutineID) isCaller() bool { return true }
