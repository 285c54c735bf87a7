//go:build sluicedebug

package pool

import "fmt"

// history holds the states a connection was in last, newest first.
type history struct{ states [4]connState }

// allowed is the table of connState.
var allowed = [...][]connState{
	gone:       {connecting},
	connecting: {idle, leased, closing, gone},
	idle:       {leased, closing, gone},
	leased:     {idle, closing, gone},
	closing:    {gone},
}

// muxHistory is history for multiplexed connections.
type muxHistory struct{ states [4]muxState }

// muxAllowed is the table of muxState.
var muxAllowed = [...][]muxState{
	muxGone:       {muxConnecting},
	muxConnecting: {muxReady, muxClosing, muxGone},
	muxReady:      {muxBusy, muxRetired, muxClosing, muxGone},
	muxBusy:       {muxReady, muxRetired, muxClosing, muxGone},
	muxRetired:    {muxClosing, muxGone},
	muxClosing:    {muxGone},
}

// note keeps a transition and panics when the table has no such.
func (c *MuxConn) note(s muxState) {
	for _, a := range muxAllowed[c.state] {
		if a == s {
			copy(c.history.states[1:], c.history.states[:3])
			c.history.states[0] = c.state
			return
		}
	}
	panic(fmt.Sprintf("pool: multiplexed connection went from %v to %v; before that %v", c.state, s, c.history.states))
}

func (c *Conn) setState(s connState) {
	for _, a := range allowed[c.state] {
		if a == s {
			copy(c.history.states[1:], c.history.states[:3])
			c.history.states[0], c.state = c.state, s
			return
		}
	}
	panic(fmt.Sprintf("pool: connection went from %v to %v; before that %v", c.state, s, c.history.states))
}
