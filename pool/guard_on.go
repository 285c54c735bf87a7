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
