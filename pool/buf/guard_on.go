//go:build sluicedebug

package buf

import "unsafe"

// poison is what a freed slab is filled with; 0xDB is no ASCII and no UTF-8 lead.
const poison = 0xDB

// guard knows the free slabs by address and checks that nobody wrote to them.
type guard struct{ idle map[*byte]struct{} }

func (g *guard) taken(b []byte) {
	delete(g.idle, unsafe.SliceData(b))
	for _, c := range b[:cap(b)] {
		if c != poison {
			panic("buf: slab was written to after it was put back")
		}
	}
}

func (g *guard) given(b []byte) {
	if g.idle == nil {
		g.idle = make(map[*byte]struct{})
	}
	if _, twice := g.idle[unsafe.SliceData(b)]; twice {
		panic("buf: slab put back twice")
	}
	g.idle[unsafe.SliceData(b)] = struct{}{}
	full := b[:cap(b)]
	for i := range full {
		full[i] = poison
	}
}

func (g *guard) dropped(b []byte) { delete(g.idle, unsafe.SliceData(b)) }
