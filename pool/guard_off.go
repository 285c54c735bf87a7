//go:build !sluicedebug

package pool

// history and muxHistory cost nothing in release builds.
type (
	history    struct{}
	muxHistory struct{}
)

func (c *Conn) setState(s connState) { c.state, c.history = s, history{} }

func (c *MuxConn) note(muxState) { c.history = muxHistory{} }
