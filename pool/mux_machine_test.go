package pool

import (
	"net"
	"net/netip"
	"testing"

	"pgregory.net/rapid"
)

// TestAnyOrderOfMuxEvents is TestAnyOrderOfEvents for multiplexed connections, some of them to a host that
// does not multiplex for a while.
func TestAnyOrderOfMuxEvents(t *testing.T) {
	bad := refusing(t)
	rapid.Check(t, func(rt *rapid.T) {
		m := newMuxMachine(t, rt, bad)
		defer m.close()
		rt.Repeat(map[string]func(*rapid.T){
			"":        func(*rapid.T) { m.check() },
			"acquire": m.acquire,
			"burst":   func(rt *rapid.T) { m.acquire(rt); m.acquire(rt); m.acquire(rt) },
			"cancel":  m.cancel,
			"done":    m.done,
			"retire":  m.retire,
			"abort":   m.abort,
			"origin":  m.origin,
			"route":   m.route,
			"kind":    m.kind,
			"drain":   func(*rapid.T) { m.on(m.m.Drain) },
		})
		m.finishAll()
	})
}

type muxMachine struct {
	*mux
	rt        *rapid.T
	either    *Either
	target    *moving
	good, bad netip.AddrPort
	calls     []*call
	ends      []net.Conn
	cleanups  []func()
}

// muxScoped gives each check of a property its own cleanups.
type muxScoped struct {
	testing.TB
	m *muxMachine
}

func (s muxScoped) Cleanup(f func()) { s.m.cleanups = append(s.m.cleanups, f) }

func newMuxMachine(t *testing.T, rt *rapid.T, bad netip.AddrPort) *muxMachine {
	m := &muxMachine{rt: rt, bad: bad, target: &moving{}}
	o := Options{Target: m.target, MaxRequests: rapid.IntRange(0, 4).Draw(rt, "max requests")}
	if r := rapid.SampledFrom([]fixedRatio{0, 1, 1.5, 3}).Draw(rt, "preconnect"); r > 0 {
		o.Preconnect = r
	}
	m.mux = openMux(muxScoped{t, m}, o)
	m.m.o.MaxStreams = rapid.IntRange(1, 5).Draw(rt, "max streams")
	m.either = NewEither(m.pool, m.m)
	m.good = m.m.o.Dial.Addr
	m.target.addr = m.good
	m.breaker.maxConnections = rapid.IntRange(0, 4).Draw(rt, "max connections")
	m.breaker.maxPending = rapid.IntRange(0, 8).Draw(rt, "max pending")
	return m
}

func (m *muxMachine) close() {
	for i := len(m.cleanups) - 1; i >= 0; i-- {
		m.cleanups[i]()
	}
	for _, c := range m.ends {
		c.Close()
	}
}

func (m *muxMachine) acquire(*rapid.T) { m.calls = append(m.calls, m.askEither(m.either)) }

// pick returns a request for which ok holds.
func (m *muxMachine) pick(rt *rapid.T, ok func(k *call) bool) *call {
	var fit []*call
	m.on(func() {
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

func (m *muxMachine) cancel(rt *rapid.T) {
	k := m.pick(rt, func(*call) bool { return true })
	m.on(k.Cancel)
}

func (m *muxMachine) done(rt *rapid.T) {
	k := m.pick(rt, func(k *call) bool { return k.session != nil || k.conn != nil })
	m.on(func() { over(k) })
}

// over ends what a request has, if it still has it. On the loop.
func over(k *call) {
	k.done()
	if c := k.conn; c != nil {
		k.conn = nil
		c.Release(true)
	}
}

func (m *muxMachine) retire(rt *rapid.T) {
	k := m.pick(rt, func(k *call) bool { return k.session != nil })
	m.on(func() {
		if s := k.session; s != nil {
			s.mc.Retire()
		}
	})
}

func (m *muxMachine) abort(rt *rapid.T) {
	k := m.pick(rt, func(k *call) bool { return k.session != nil })
	m.on(func() {
		if s := k.session; s != nil {
			s.mc.Abort()
		}
	})
}

func (m *muxMachine) origin(rt *rapid.T) {
	for len(m.accepted) > 0 {
		m.ends = append(m.ends, <-m.accepted)
	}
	if len(m.ends) == 0 {
		rt.Skip("none")
	}
	end := rapid.SampledFrom(m.ends).Draw(rt, "connection").(*net.TCPConn)
	switch rapid.SampledFrom([]string{"limit", "limit", "limit", "finish", "close", "reset"}).Draw(rt, "what") {
	case "limit":
		_, _ = end.Write([]byte{byte(rapid.IntRange(0, 6).Draw(rt, "streams"))})
	case "finish":
		end.CloseWrite()
	case "close":
		end.Close()
	case "reset":
		end.SetLinger(0)
		end.Close()
	}
}

func (m *muxMachine) route(rt *rapid.T) {
	up := rapid.Bool().Draw(rt, "up")
	m.on(func() {
		m.target.addr = m.good
		if !up {
			m.target.addr = m.bad
		}
	})
}

func (m *muxMachine) kind(rt *rapid.T) {
	plain := rapid.Bool().Draw(rt, "plain")
	m.on(func() { m.plain = plain })
}

// check compares the pools' counts with their lists, the breaker and the requests.
func (m *muxMachine) check() {
	m.on(func() {
		p := m.m
		streams, lent, waiting := 0, 0, 0
		for _, k := range m.calls {
			if k.answers > 1 {
				m.rt.Errorf("a request was answered %d times", k.answers)
			}
			if k.pool != nil || k.mux != nil {
				waiting++
			}
			if k.session != nil {
				streams++
			}
			if k.conn != nil {
				lent++
			}
		}
		conns, arriving, counted, room := 0, 0, 0, 0
		for c := p.all; c != nil; c = c.next {
			counted += c.streams
			if c.state.takes() {
				conns++
			}
			if c.arriving {
				arriving++
			}
			if c.state == muxReady {
				room++
				if c.streams >= c.limit {
					m.rt.Errorf("%d streams of %d, and ready", c.streams, c.limit)
				}
			}
			if c.streams > p.o.MaxStreams {
				m.rt.Errorf("%d streams, %d allowed", c.streams, p.o.MaxStreams)
			}
			if c.state == muxRetired && c.streams == 0 {
				m.rt.Error("a retired connection without streams stays")
			}
		}
		listed := 0
		for c := p.first; c != nil; c = c.nextRoom {
			listed++
		}
		if streams != p.streams || counted != p.streams || lent != m.pool.active || waiting != p.waiting.len+m.pool.waiting.len || waiting != m.breaker.pending {
			m.rt.Errorf("streams %d, counted %d and %d; lent %d of %d; waiting %d, counted %d and %d, breaker %d",
				streams, p.streams, counted, lent, m.pool.active, waiting, p.waiting.len, m.pool.waiting.len, m.breaker.pending)
		}
		if conns != p.conns || arriving != p.arriving || listed != room {
			m.rt.Errorf("conns %d, counted %d; arriving %d, counted %d; ready %d, listed %d", conns, p.conns, arriving, p.arriving, room, listed)
		}
		if open := m.events.created - len(m.events.destroyed); open != m.breaker.connections {
			m.rt.Errorf("%d open, breaker %d", open, m.breaker.connections)
		}
		if p.waiting.len > 0 && p.conns == 0 && !p.handing {
			for c := p.all; c != nil; c = c.next {
				if c.state == muxClosing || c.state == muxRetired {
					return // its end makes room
				}
			}
			m.rt.Error("requests wait for nothing")
		}
	})
}

// finishAll gives everything back and expects nothing to be left.
func (m *muxMachine) finishAll() {
	m.on(func() {
		for _, k := range m.calls {
			k.Cancel()
			over(k)
		}
		m.m.Drain()
		m.pool.Drain()
	})
	m.settled()
	m.quiet()
}
