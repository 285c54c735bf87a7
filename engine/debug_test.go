//go:build sluicedebug

package engine_test

import (
	"testing"

	"github.com/sluiceproxy/sluice/engine"
)

func TestMisuseIsCaught(t *testing.T) {
	g := group(t, engine.Options{Loops: 1})
	l := g.Loops()[0]
	on(t, l, func() {}) // the loop runs, so it has an owner
	mustPanic := func(what string, f func()) {
		t.Helper()
		defer func() {
			if recover() == nil {
				t.Errorf("%s: no panic", what)
			}
		}()
		f()
	}
	if l.OnLoop() {
		t.Error("OnLoop is true elsewhere")
	}
	mustPanic("Defer on another goroutine", func() { l.Defer(nil) })
	p := &peer{}
	var c *engine.Conn
	on(t, l, func() { c = l.Dial(engine.DialSpec{}, p) })
	p.wantClosed(t, engine.ConnectError)
	on(t, l, func() { mustPanic("Write after OnClosed", func() { c.Write([]byte("x")) }) })
}
