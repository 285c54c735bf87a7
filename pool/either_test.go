package pool

import "testing"

// openEither starts a loop and both kinds of pool for a host of either kind.
func openEither(t testing.TB, o Options) (*mux, *Either) {
	m := openMux(t, o)
	return m, NewEither(m.pool, m.m)
}

func (m *mux) askEither(e *Either) *call {
	k := newCall()
	m.on(func() { e.Acquire(&k.Request) })
	return k
}

func TestConnectionsGoWhereTheyBelong(t *testing.T) { // clusters.md 8
	m, e := openEither(t, Options{MaxRequests: 1})
	for i, plain := range []bool{false, true, true, false, false, true} {
		m.on(func() { m.plain = plain })
		k := m.askEither(e)
		m.until("the request has what it asked for", func() bool { return k.conn != nil || k.session != nil })
		if (k.conn != nil) != plain {
			t.Errorf("%d: plain %v, a connection of its own: %v", i, plain, k.conn != nil)
		}
		if plain {
			m.release(k, true)
		} else {
			m.finish(k)
		}
		m.until("the connection is gone", func() bool { return m.breaker.connections == 0 })
	}
	m.settled()
	m.quiet()
}

func TestRequestsThatWaitMoveAlong(t *testing.T) {
	for _, plain := range []bool{false, true} {
		m, e := openEither(t, Options{})
		// The other kind is what the last connection was.
		m.on(func() { m.plain = !plain })
		first := m.askEither(e)
		m.until("a connection", func() bool { return first.conn != nil || first.session != nil })
		var calls []*call
		m.on(func() {
			m.plain = plain
			if first.session != nil {
				first.session.mc.Retire() // no room for the others
			}
			for range 5 {
				k := newCall()
				e.Acquire(&k.Request)
				calls = append(calls, k)
			}
			calls[4].Cancel()
		})
		m.until("four are answered", func() bool {
			n := 0
			for _, k := range calls {
				if k.conn != nil || k.session != nil {
					n++
				}
			}
			return n == 4
		})
		m.on(func() {
			for i, k := range calls[:4] {
				if (k.conn != nil) != plain || k.answers != 1 {
					t.Errorf("plain %v, request %d: a connection of its own %v, %d answers", plain, i, k.conn != nil, k.answers)
				}
			}
			if calls[4].answers != 0 || m.breaker.pending != 0 {
				t.Errorf("the cancelled one has %d answers, %d wait", calls[4].answers, m.breaker.pending)
			}
			for _, k := range append(calls, first) {
				k.done()
				if c := k.conn; c != nil {
					k.conn = nil
					c.Release(true)
				}
			}
			m.pool.Drain()
			m.m.Drain()
		})
		m.settled()
		m.quiet()
	}
}
