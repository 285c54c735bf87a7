//go:build sluicedebug

package buf

import "testing"

func mustPanic(t *testing.T, what string, f func()) {
	t.Helper()
	defer func() {
		if recover() == nil {
			t.Errorf("%s: no panic", what)
		}
	}()
	f()
}

func TestMisuseIsCaught(t *testing.T) {
	mustPanic(t, "a slab put back twice", func() {
		var p Pool
		b := p.Get(100)
		p.Put(b)
		p.Put(b)
	})
	mustPanic(t, "a write after Put", func() {
		var p Pool
		b := p.Get(100)[:100]
		p.Put(b)
		b[5] = 'x'
		p.Get(100)
	})
}

func TestAFreedSlabIsPoisoned(t *testing.T) {
	var p Pool
	b := append(p.Get(100), "secret"...)
	p.Put(b)
	if b[0] != poison {
		t.Errorf("a freed slab reads %q", b)
	}
}
