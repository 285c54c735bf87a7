package pool

import (
	"net"
	"net/netip"
	"testing"

	"pgregory.net/rapid"
)

// TestAnyOrderOfEvents drives a pool with random requests, releases, aborts and
// drains against an origin that refuses, ends, resets and talks out of turn. At
// every step the counts must agree, and at the end nothing may be left.
func TestAnyOrderOfEvents(t *testing.T) {
	bad := refusing(t)
	rapid.Check(t, func(rt *rapid.T) {
		m := newMachine(t, rt, bad)
		defer m.close()
		rt.Repeat(map[string]func(*rapid.T){
			"":        func(*rapid.T) { m.check() },
			"acquire": m.acquire,
			"cancel":  m.cancel,
			"release": m.release,
			"abort":   m.abort,
			"origin":  m.origin,
			"route":   m.route,
			"drain":   func(*rapid.T) { m.f.on(m.f.pool.Drain) },
		})
		m.finish()
	})
}

type machine struct {
	f         *fixture
	rt        *rapid.T
	target    *moving
	good, bad netip.AddrPort
	calls     []*call
	ends      []net.Conn
	cleanups  []func()
}

// scoped gives each check of a property its own cleanups.
type scoped struct {
	testing.TB
	m *machine
}

func (s scoped) Cleanup(f func()) { s.m.cleanups = append(s.m.cleanups, f) }

func newMachine(t *testing.T, rt *rapid.T, bad netip.AddrPort) *machine {
	m := &machine{rt: rt, bad: bad, target: &moving{}}
	o := Options{Target: m.target, MaxRequests: rapid.IntRange(0, 3).Draw(rt, "max requests")}
	if r := rapid.SampledFrom([]fixedRatio{0, 1, 1.5, 3}).Draw(rt, "preconnect"); r > 0 {
		o.Preconnect = r
	}
	m.f = open(scoped{t, m}, o)
	m.good = m.f.pool.o.Dial.Addr
	m.target.addr = m.good
	m.f.breaker.maxConnections = rapid.IntRange(0, 4).Draw(rt, "max connections")
	m.f.breaker.maxPending = rapid.IntRange(0, 6).Draw(rt, "max pending")
	return m
}

func (m *machine) close() {
	for i := len(m.cleanups) - 1; i >= 0; i-- {
		m.cleanups[i]()
	}
	for _, c := range m.ends {
		c.Close()
	}
}

func (m *machine) acquire(*rapid.T) {
	m.calls = append(m.calls, m.f.acquire())
}

// pick returns a request for which ok holds.
func (m *machine) pick(rt *rapid.T, ok func(k *call) bool) *call {
	var fit []*call
	m.f.on(func() {
		for _, k := range m.calls {
			if ok(k) {
				fit = append(fit, k)
			}
		}
	})
	if len(fit) == 0 {
		rt.Skip("none")
	}
	return rapid.SampledFrom(fit).Draw(rt, "request")
}

func (m *machine) cancel(rt *rapid.T) {
	k := m.pick(rt, func(k *call) bool { return true })
	m.f.on(func() { m.f.pool.Cancel(&k.Request) })
}

func (m *machine) release(rt *rapid.T) {
	reusable := rapid.Bool().Draw(rt, "reusable")
	k := m.pick(rt, func(k *call) bool { return k.conn != nil })
	m.f.on(func() {
		if k.conn != nil { // it may have died since
			c := k.conn
			k.conn = nil
			c.Release(reusable)
		}
	})
}

func (m *machine) abort(rt *rapid.T) {
	k := m.pick(rt, func(k *call) bool { return k.conn != nil })
	m.f.on(func() {
		if k.conn != nil {
			c := k.conn
			k.conn = nil
			c.Abort()
		}
	})
}

func (m *machine) origin(rt *rapid.T) {
	for len(m.f.accepted) > 0 {
		m.ends = append(m.ends, <-m.f.accepted)
	}
	if len(m.ends) == 0 {
		rt.Skip("none")
	}
	end := rapid.SampledFrom(m.ends).Draw(rt, "connection").(*net.TCPConn)
	switch rapid.SampledFrom([]string{"talk", "finish", "close", "reset"}).Draw(rt, "what") {
	case "talk":
		end.Write([]byte("something"))
	case "finish":
		end.CloseWrite()
	case "close":
		end.Close()
	case "reset":
		end.SetLinger(0)
		end.Close()
	}
}

func (m *machine) route(rt *rapid.T) {
	up := rapid.Bool().Draw(rt, "up")
	m.f.on(func() {
		m.target.addr = m.good
		if !up {
			m.target.addr = m.bad
		}
	})
}

// check compares the pool's counts with its lists, the breaker and the requests.
func (m *machine) check() {
	f := m.f
	f.on(func() {
		p, lent, waiting := f.pool, 0, 0
		seen := make(map[*Conn]bool)
		for _, k := range m.calls {
			if k.answers > 1 {
				m.rt.Errorf("a request was answered %d times", k.answers)
			}
			if k.pool != nil {
				waiting++
			}
			if k.conn != nil {
				if seen[k.conn] {
					m.rt.Error("two requests have one connection")
				}
				seen[k.conn] = true
				lent++
			}
		}
		listed := 0
		for c := p.top; c != nil; c = c.next {
			listed++
		}
		if lent != p.active || waiting != p.waiting.len || listed != p.idle || waiting != f.breaker.pending {
			m.rt.Errorf("lent %d, active %d; waiting %d, counted %d, breaker %d; listed %d, idle %d",
				lent, p.active, waiting, p.waiting.len, f.breaker.pending, listed, p.idle)
		}
		open := f.events.created - len(f.events.destroyed)
		if open != f.breaker.connections || open < p.active+p.idle+p.connecting {
			m.rt.Errorf("%d open, breaker %d; active %d, idle %d, connecting %d",
				open, f.breaker.connections, p.active, p.idle, p.connecting)
		}
		if f.breaker.connections > max(1, f.breaker.maxConnections) && f.breaker.forced == 0 {
			m.rt.Errorf("%d connections, %d allowed", f.breaker.connections, f.breaker.maxConnections)
		}
		if waiting > 0 && open == 0 && !p.handing {
			m.rt.Error("requests wait for nothing")
		}
	})
}

// finish gives everything back and expects nothing to be left.
func (m *machine) finish() {
	m.f.on(func() {
		for _, k := range m.calls {
			m.f.pool.Cancel(&k.Request)
			if c := k.conn; c != nil {
				k.conn = nil
				c.Release(true)
			}
		}
		m.f.pool.Drain()
	})
	m.f.settled()
}
