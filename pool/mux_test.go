package pool

import (
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/engine"
)

func TestStreamsShareAConnection(t *testing.T) { // CL-50
	m := openMux(t, Options{})
	a := m.served()
	m.takes(100)
	b, c := m.ask(), m.ask()
	m.on(func() {
		if b.answers != 1 || c.answers != 1 || b.session != a.session || c.session != a.session {
			t.Error("a connection with room does not answer at once")
		}
		if m.events.created != 1 || m.m.Streams() != 3 || a.session.mc.Streams() != 3 || m.events.pending != 1 {
			t.Errorf("%d connections, %d streams, %d waited", m.events.created, m.m.Streams(), m.events.pending)
		}
	})
	m.finish(a, b, c)
	m.on(m.m.Drain)
	m.quiet()
	m.on(func() {
		if d := m.events.destroyed[0]; d.ActiveRequest || d.Remote || d.Requests != 3 || m.sessions[0].closing != 1 {
			t.Errorf("%+v, closing %d", d, m.sessions[0].closing)
		}
	})
}

// Before the peer has said how many streams it takes one is opened, and the others wait for that.
func TestABurstWaitsForThePeersLimit(t *testing.T) {
	m := openMux(t, Options{})
	var calls []*call
	for range 10 {
		calls = append(calls, m.ask())
	}
	m.until("one stream", func() bool { return m.m.Streams() == 1 })
	m.on(func() {
		if m.m.Pending() != 9 || m.events.created != 1 {
			t.Errorf("%d wait, %d connections", m.m.Pending(), m.events.created)
		}
	})
	m.takes(4)
	m.until("four streams on each of three connections as far as they go", func() bool { return m.events.connected == 3 })
	// The second and third connection may have as many as the first one's peer said.
	m.until("all are served", func() bool { return m.m.Streams() == 10 && m.m.Pending() == 0 })
	m.on(func() {
		for i, s := range m.sessions {
			if len(s.streams) > 4 {
				t.Errorf("connection %d has %d streams", i, len(s.streams))
			}
		}
		for i, k := range calls {
			if k.answers != 1 {
				t.Errorf("request %d was answered %d times", i, k.answers)
			}
		}
	})
	m.finish(calls...)
	m.on(m.m.Drain)
	m.quiet()
}

func TestStreamsWaitAtTheConnectionLimit(t *testing.T) {
	m := openMux(t, Options{})
	m.breaker.maxConnections = 1
	a := m.served()
	m.takes(2)
	b := m.ask()
	c, d := m.ask(), m.ask()
	m.on(func() {
		if b.answers != 1 || c.answers+d.answers != 0 || m.events.connections == 0 || m.m.Pending() != 2 {
			t.Errorf("answers %d %d %d, overflows %d", b.answers, c.answers, d.answers, m.events.connections)
		}
	})
	m.finish(a)
	m.until("the one that waited longest is served", func() bool { return c.answers == 1 })
	m.on(func() {
		if d.answers != 0 || m.breaker.connections != 1 {
			t.Errorf("answers %d, connections %d", d.answers, m.breaker.connections)
		}
		d.Cancel()
	})
	m.finish(b, c)
	m.on(func() {
		if d.answers != 0 || m.breaker.pending != 0 {
			t.Errorf("a cancelled request was answered %d times", d.answers)
		}
	})
}

func TestOneConnectionIsAlwaysAllowed(t *testing.T) { // clusters.md 6
	m := openMux(t, Options{})
	m.breaker.maxConnections = 0
	a := m.served()
	// One that takes no more streams does not count as one.
	m.on(func() {
		if m.breaker.forced != 1 {
			t.Errorf("%d connections beyond the limit", m.breaker.forced)
		}
		a.session.mc.Retire()
	})
	if m.same(a, m.served()) {
		t.Error("a retired connection got a stream")
	}
}

func TestMuxRequestsFailAtThePendingLimit(t *testing.T) {
	m := openMux(t, Options{})
	m.breaker.maxPending = 0
	k := m.ask()
	m.on(func() {
		if !k.failed || k.failure != Overflow || m.events.pendingOver != 1 || m.breaker.connections != 0 {
			t.Errorf("failed %v: %s", k.failed, k.failure)
		}
	})
}

func TestAPeerThatTakesFewerStreams(t *testing.T) {
	m := openMux(t, Options{})
	a, end := m.served(), m.accept()
	_, _ = end.Write([]byte{10})
	m.until("known", func() bool { return a.session.mc.limit == 10 })
	b, c := m.ask(), m.ask()
	_, _ = end.Write([]byte{1})
	m.until("lowered", func() bool { return a.session.mc.limit == 1 })
	d := m.served() // on another connection
	if m.same(d, a) || !m.same(b, a) || !m.same(c, a) {
		t.Error("the connection has more streams than its peer takes")
	}
	m.takes(5)
	m.finish(a, b)
	e := m.ask()
	m.until("a stream of the second connection", func() bool { return e.session != nil })
	if m.same(e, c) {
		t.Error("a second stream on a connection that takes one")
	}
	m.finish(c)
	m.on(func() {
		if c := m.m.first; c == nil || c.streams >= c.limit {
			t.Error("a connection is not ready that has room again")
		}
	})
}

// A peer that takes none for now keeps its connection, and requests wait for it.
func TestAPeerThatTakesNoStreamsForNow(t *testing.T) {
	m := openMux(t, Options{})
	a, end := m.served(), m.accept()
	_, _ = end.Write([]byte{0})
	m.until("known", func() bool { return a.session.mc.known })
	b := m.ask()
	m.finish(a)
	m.on(func() {
		if b.answers != 0 || m.events.created != 1 {
			t.Errorf("%d answers, %d connections", b.answers, m.events.created)
		}
	})
	_, _ = end.Write([]byte{1})
	m.until("served", func() bool { return b.session != nil })
}

func TestARetiredConnectionEndsWithItsStreams(t *testing.T) { // HC-76
	m := openMux(t, Options{})
	a := m.served()
	m.takes(100)
	b := m.ask()
	first := m.of(a)
	m.on(func() { first.mc.Retire(); first.mc.Retire() })
	c := m.served()
	if m.of(c) == first {
		t.Error("a retired connection got a stream")
	}
	m.finish(a)
	m.on(func() {
		if first.closing != 0 || first.closed {
			t.Error("the connection ends before its streams")
		}
	})
	m.finish(b)
	m.until("the connection is closed", func() bool { return first.closed })
	m.on(func() {
		if d := m.events.destroyed[0]; d.ActiveRequest || d.Remote || first.closing != 1 || first.reason != engine.LocalClose {
			t.Errorf("%+v, %s", d, first.reason)
		}
	})
}

func TestMuxMaxRequestsRetires(t *testing.T) { // HC-37
	m := openMux(t, Options{MaxRequests: 2})
	a := m.served()
	m.takes(100)
	b, c := m.ask(), m.ask()
	m.until("the third stream is elsewhere", func() bool { return c.session != nil })
	if !m.same(b, a) || m.same(c, a) {
		t.Error("a connection has more or fewer than 2 streams")
	}
	first := m.of(a)
	m.finish(a, b)
	m.until("the connection is closed", func() bool { return first.closed })
	m.on(func() {
		if m.events.maxRequests != 1 || m.events.destroyed[0].Requests != 2 {
			t.Errorf("%d, %+v", m.events.maxRequests, m.events.destroyed)
		}
	})
}

func TestMuxMaxDurationRetires(t *testing.T) {
	m := openMux(t, Options{MaxDuration: 30 * time.Millisecond})
	a := m.served()
	m.until("the time is over", func() bool { return m.events.maxDurations == 1 })
	b := m.served()
	if m.same(b, a) {
		t.Error("a connection past its time got a stream")
	}
	first := m.of(a)
	m.finish(a)
	m.until("the connection is closed", func() bool { return first.closed })
	m.finish(b)
	m.until("and the idle one when its time comes", func() bool { return m.breaker.connections == 0 })
}

func TestAMuxConnectionWithoutStreamsTimesOut(t *testing.T) {
	m := openMux(t, Options{IdleTimeout: 30 * time.Millisecond})
	for n := range 3 {
		a := m.served()
		m.finish(a)
		m.until("it is closed", func() bool { return m.events.idleTimeouts == n+1 && m.breaker.connections == 0 })
	}
	m.quiet()
}

func TestAMuxConnectionWithStreamsDoesNotTimeOut(t *testing.T) {
	m := openMux(t, Options{IdleTimeout: 30 * time.Millisecond})
	a := m.served()
	m.takes(100)
	m.on(func() {
		for range 10 {
			k := newCall()
			m.m.Acquire(&k.Request)
			k.done()
		}
	})
	m.until("the timer has fired", func() bool { return !a.session.mc.idle.Armed() })
	m.on(func() {
		if a.session == nil || m.events.idleTimeouts != 0 {
			t.Error("it is closed")
		}
	})
	m.finish(a)
	m.until("it is closed", func() bool { return m.events.idleTimeouts == 1 })
}

func TestAMuxConnectionThatIsLost(t *testing.T) {
	for _, row := range []struct {
		title  string
		end    func(m *mux, s *session)
		remote bool
	}{
		{"by a FIN", func(m *mux, _ *session) { m.accept().Close() }, true},
		{"by the session", func(m *mux, s *session) { m.on(func() { s.mc.Abort(); s.mc.Abort() }) }, false},
	} {
		t.Run(row.title, func(t *testing.T) {
			m := openMux(t, Options{})
			a := m.served()
			row.end(m, m.of(a))
			m.until("the stream is gone", func() bool { return a.session == nil })
			m.on(func() {
				if d := m.events.destroyed[0]; d.Remote != row.remote || !d.ActiveRequest || !d.Connected {
					t.Errorf("%+v", d)
				}
			})
			m.quiet()
			b := m.served()
			m.finish(b)
		})
	}
}

// Requests that wait when their connection is lost get another one.
func TestMuxRequestsOutliveAConnection(t *testing.T) {
	m := openMux(t, Options{})
	m.breaker.maxConnections = 1
	a := m.served()
	m.takes(1)
	b := m.ask()
	m.on(func() { a.session.mc.Abort() })
	m.until("the other one is served", func() bool { return b.session != nil })
}

func TestMuxConnectFailures(t *testing.T) {
	m := openMux(t, Options{Target: &moving{addr: refusing(t)}})
	var calls []*call
	m.on(func() {
		for range 5 {
			k := newCall()
			m.m.Acquire(&k.Request)
			calls = append(calls, k)
		}
	})
	m.until("all have failed", func() bool { return calls[4].failed })
	m.on(func() {
		for i, k := range calls {
			if k.answers != 1 || k.failure != ConnectFailure || k.err == nil {
				t.Errorf("request %d: %d answers, %s, %v", i, k.answers, k.failure, k.err)
			}
		}
		if m.events.failed != 1 || m.events.created != 1 {
			t.Errorf("%d connections, %d failed", m.events.created, m.events.failed)
		}
	})
	m.quiet()
}

func TestDrainingAMux(t *testing.T) {
	m := openMux(t, Options{})
	a := m.served()
	m.takes(100)
	m.on(m.m.Drain)
	b := m.ask() // still answered
	if !m.same(b, a) {
		t.Error("no stream")
	}
	m.finish(a)
	m.on(func() {
		if m.sessions[0].closed {
			t.Error("closed with a stream")
		}
	})
	m.finish(b)
	m.quiet()
	c := m.served()
	m.finish(c)
	m.quiet()
}

func TestAMuxWhoseLoopStops(t *testing.T) {
	m := openMux(t, Options{})
	m.breaker.maxConnections = 1
	a := m.served()
	m.takes(1)
	b := m.ask()
	m.stop()
	if a.session != nil || b.failure != Closed || !b.failed {
		t.Errorf("session %v, failure %s", a.session, b.failure)
	}
}

// A session may answer a request with its end at once (a circuit breaker).
func TestAStreamThatEndsWithinOnStream(t *testing.T) {
	m := openMux(t, Options{MaxRequests: 2})
	a := m.served()
	m.takes(100)
	k := newCall()
	k.onStream = k.done
	m.on(func() { m.m.Acquire(&k.Request) })
	m.finish(a)
	m.quiet() // both requests it had were used up
}
