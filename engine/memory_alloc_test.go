//go:build !race && !sluicedebug

package engine_test

import (
	"testing"

	"github.com/sluiceproxy/sluice/engine"
)

// Messages between two ends of a loop allocate nothing.
func TestMemoryMessagesDoNotAllocate(t *testing.T) {
	const messages = 1000
	done := make(chan struct{})
	left := 0
	client := &quiet{onData: func(c *engine.Conn, view []byte) int {
		if left--; left > 0 {
			c.Write(view)
		} else {
			done <- struct{}{}
		}
		return len(view)
	}}
	g := group(t, engine.Options{Loops: 1})
	l := g.Loops()[0]
	serve(t, g, engine.ListenSpec{Network: engine.Memory, Addr: "inner"}, func(*engine.Conn) engine.Handler { return &quiet{onData: echo} })
	var c *engine.Conn
	on(t, l, func() { c = l.Dial(engine.DialSpec{Network: engine.Memory, Path: "inner"}, client) })
	message := make([]byte, 3000)
	begin := &job{func() { left = messages; c.Write(message) }}
	round := func() {
		l.Post(begin)
		<-done
	}
	round()
	if n := mallocs(10, round); n > 10 {
		t.Errorf("%d allocations for %d messages", n, messages)
	}
}

// quiet is a handler that keeps no record.
type quiet struct {
	onData func(c *engine.Conn, view []byte) int
}

func (q *quiet) OnData(c *engine.Conn, view []byte) int  { return q.onData(c, view) }
func (*quiet) OnConnected(*engine.Conn)                  {}
func (*quiet) OnReadClosed(c *engine.Conn)               { c.Close() }
func (*quiet) OnWritable(*engine.Conn)                   {}
func (*quiet) OnClosed(*engine.Conn, engine.CloseReason) {}
