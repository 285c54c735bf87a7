package pool

import (
	"testing"

	"github.com/sluiceproxy/sluice/engine"
)

// mux is a fixture whose pool multiplexes. The sessions record what happens to them.
type mux struct {
	*fixture
	m        *Mux
	sessions []*session // by age
	// plain makes connections exclusive where a host may offer either. Loop-owned.
	plain bool
}

// session is a protocol of which one thing is known: a byte from the peer is how many streams it takes.
type session struct {
	mc      *MuxConn
	streams []*call
	closing int
	closed  bool
	reason  engine.CloseReason
}

func (m *mux) Multiplexes(*engine.Conn) bool { return !m.plain }

func (m *mux) NewSession(c *MuxConn) Session {
	s := &session{mc: c}
	m.sessions = append(m.sessions, s)
	return s
}

func (s *session) OnStream(r *Request) {
	k := r.Owner.(*call)
	k.answers++
	k.session = s
	s.streams = append(s.streams, k)
	if k.onStream != nil {
		k.onStream()
	}
}

func (s *session) OnClosing() { s.closing++ }

func (s *session) OnConnected(*engine.Conn) { panic("a session begins when the connection is up") }
func (s *session) OnWritable(*engine.Conn)  {}

func (s *session) OnData(_ *engine.Conn, view []byte) int {
	s.mc.SetLimit(int(view[len(view)-1]))
	return len(view)
}

func (s *session) OnReadClosed(*engine.Conn) { s.mc.Abort() }

func (s *session) OnClosed(_ *engine.Conn, r engine.CloseReason) {
	s.closed, s.reason = true, r
	s.mc.Lost(r)
	for _, k := range s.streams {
		k.session = nil
	}
	s.streams = nil
}

// done ends the stream of k, on the loop.
func (k *call) done() {
	s := k.session
	if s == nil {
		return
	}
	k.session = nil
	for i, other := range s.streams {
		if other == k {
			s.streams = append(s.streams[:i], s.streams[i+1:]...)
			break
		}
	}
	s.mc.Done()
}

// openMux starts a loop and a multiplexing pool of connections with 100 streams at most.
func openMux(t testing.TB, o Options) *mux {
	t.Helper()
	m := &mux{fixture: open(t, o)}
	o = m.pool.o
	m.m = NewMux(m.loop, MuxOptions{Options: o, MaxStreams: 100, Codec: m})
	return m
}

// ask makes a request for a stream.
func (m *mux) ask() *call {
	k := newCall()
	m.on(func() { m.m.Acquire(&k.Request) })
	return k
}

// served makes a request and waits for its stream.
func (m *mux) served() *call {
	m.t.Helper()
	k := m.ask()
	m.until("the request has a stream", func() bool { return k.session != nil })
	return k
}

// of returns the session of a request's stream.
func (m *mux) of(k *call) (s *session) {
	m.on(func() { s = k.session })
	return s
}

// same says whether two requests have streams of one connection.
func (m *mux) same(a, b *call) bool { return m.of(a) == m.of(b) }

// takes has the peer of the youngest connection say how many streams it takes.
func (m *mux) takes(n byte) {
	m.t.Helper()
	end := m.accept()
	var c *MuxConn
	m.on(func() { c = m.sessions[len(m.sessions)-1].mc }) // the answer may bring younger ones
	_, _ = end.Write([]byte{n})
	m.until("the limit is known", func() bool {
		return c.known && c.limit == min(int(n), m.m.o.MaxStreams)
	})
}

func (m *mux) finish(calls ...*call) {
	m.on(func() {
		for _, k := range calls {
			k.done()
		}
	})
}

// quiet checks that nothing is left and everything was given back.
func (m *mux) quiet() {
	m.t.Helper()
	m.until("every connection is gone", func() bool { return m.breaker.connections == 0 })
	m.on(func() {
		if m.breaker.pending != 0 || m.m.Pending() != 0 || m.events.pending != m.events.pendingDone {
			m.t.Errorf("pending: breaker %d, pool %d, events %d begun and %d ended", m.breaker.pending, m.m.Pending(), m.events.pending, m.events.pendingDone)
		}
		if m.m.Conns() != 0 || m.m.Streams() != 0 || m.m.arriving != 0 || m.m.first != nil || m.m.all != nil {
			m.t.Errorf("%d connections, %d arriving, %d streams", m.m.Conns(), m.m.arriving, m.m.Streams())
		}
		if m.events.created != len(m.events.destroyed) {
			m.t.Errorf("%d created, %d destroyed", m.events.created, len(m.events.destroyed))
		}
	})
}
