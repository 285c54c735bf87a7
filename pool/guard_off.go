//go:build !sluicedebug

package pool

// history costs nothing in release builds.
type history struct{}

func (c *Conn) setState(s connState) { c.state, c.history = s, history{} }
