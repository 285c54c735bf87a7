//go:build sluicedebug

package obj

import "fmt"

// guard remembers the generation of every object: odd while it is out, even
// while it is free.
type guard[T any] struct{ gens map[*T]uint32 }

func (g *guard[T]) taken(t *T) {
	if g.gens == nil {
		g.gens = make(map[*T]uint32)
	}
	if g.gens[t]%2 != 0 {
		panic(fmt.Sprintf("obj: %T handed out twice", t))
	}
	g.gens[t]++
}

func (g *guard[T]) given(t *T) {
	gen, known := g.gens[t]
	if !known {
		panic(fmt.Sprintf("obj: %T put into a list it never came from", t))
	}
	if gen%2 == 0 {
		panic(fmt.Sprintf("obj: %T put back twice (generation %d)", t, gen))
	}
	g.gens[t]++
}

func (g *guard[T]) dropped(t *T) { delete(g.gens, t) }
