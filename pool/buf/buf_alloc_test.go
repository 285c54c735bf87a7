//go:build !race && !sluicedebug

package buf

import "testing"

func TestSteadyStateDoesNotAllocate(t *testing.T) {
	var p Pool
	var c Chain
	c.Init(&p)
	b := make([]byte, 10_000)
	var pieces [16][]byte
	if n := testing.AllocsPerRun(1000, func() {
		c.Append(b)
		c.Append(b[:100])
		c.Peek(pieces[:])
		c.Consume(5000)
		c.Append(b)
		c.Release()
		s := p.Slab(100)
		s.Append(b)
		p.PutSlab(p.Fit(s, 3000))
		p.Put(p.Get(16 << 10))
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
