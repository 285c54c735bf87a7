package relay_test

import (
	"bytes"
	"testing"

	"github.com/sluiceproxy/sluice/engine"
	"github.com/sluiceproxy/sluice/engine/relay"
)

// TestAFINThatEndsBoth: with EndWith all that the end with the FIN sent arrives, and then both are over,
// though the other one goes on.
func TestAFINThatEndsBoth(t *testing.T) {
	modes(t, func(t *testing.T, g *engine.Group, o relay.Options) {
		for _, up := range []bool{true, false} {
			o.EndWithA, o.EndWithB = up, !up
			l := newRig(t, g, "tcp", o).connect()
			ends, other := l.client, l.origin
			if !up {
				ends, other = l.origin, l.client
			}
			whole := bulk[:l.stuff(g, ends, bulk)]
			part := bulk[1 : 1+l.stuff(g, other, bulk[1:])]
			_ = ends.CloseWrite()
			gotWhole, gotPart := reading(other), reading(ends)
			(<-gotWhole).mustBe(t, "what came before the FIN", whole)
			if r := <-gotPart; r.err != nil || !bytes.HasPrefix(part, r.b) {
				t.Errorf("the other way: %d bytes of %d, %v", len(r.b), len(part), r.err)
			}
			_ = other.Close()
			l.wait()
		}
	})
}
