package pool

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sluiceproxy/sluice/engine"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fixture is a loop with one pool, and the origin the pool connects to.
type fixture struct {
	t        testing.TB
	group    *engine.Group
	loop     *engine.Loop
	pool     *Pool
	breaker  *limits
	events   *tally
	accepted chan net.Conn
}

// limits is a Breaker with counts to look at. Loop-owned here.
type limits struct {
	maxConnections, maxPending int
	connections, pending       int
	forced                     int
}

func (l *limits) TryConnection(first bool) bool {
	if l.connections >= l.maxConnections {
		if !first {
			return false
		}
		l.forced++
	}
	l.connections++
	return true
}
func (l *limits) ReleaseConnection() { l.connections-- }
func (l *limits) TryPending() bool {
	if l.pending >= l.maxPending {
		return false
	}
	l.pending++
	return true
}
func (l *limits) ReleasePending() { l.pending-- }

// tally counts events. Loop-owned.
type tally struct {
	created, connected, failed, timeouts           int
	idleTimeouts, maxDurations, maxRequests        int
	pending, pendingDone, pendingOver, connections int
	unsolicited                                    []string
	destroyed                                      []Destroyed
}

func (e *tally) OnCreated()                { e.created++ }
func (e *tally) OnConnected(time.Duration) { e.connected++ }
func (e *tally) OnConnectFailed(why engine.CloseReason) {
	e.failed++
	if why == engine.ConnectTimeout {
		e.timeouts++
	}
}
func (e *tally) OnDestroyed(d Destroyed)   { e.destroyed = append(e.destroyed, d) }
func (e *tally) OnIdleTimeout()            { e.idleTimeouts++ }
func (e *tally) OnMaxDuration()            { e.maxDurations++ }
func (e *tally) OnMaxRequests()            { e.maxRequests++ }
func (e *tally) OnUnsolicited(view []byte) { e.unsolicited = append(e.unsolicited, string(view)) }
func (e *tally) OnPending()                { e.pending++ }
func (e *tally) OnPendingDone()            { e.pendingDone++ }
func (e *tally) OnPendingOverflow()        { e.pendingOver++ }
func (e *tally) OnConnectionOverflow()     { e.connections++ }

// open starts a loop and a pool; the origin accepts and hands its ends to f.accept.
func open(t testing.TB, o Options) *fixture {
	t.Helper()
	f := &fixture{
		t: t, accepted: make(chan net.Conn, 1024), events: new(tally),
		breaker: &limits{maxConnections: 1024, maxPending: 1024},
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if f.group, err = engine.New(engine.Options{Loops: 1}); err != nil {
		t.Fatal(err)
	}
	if err := f.group.Start(); err != nil {
		t.Fatal(err)
	}
	accepting := make(chan struct{})
	go func() {
		defer close(accepting)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			f.accepted <- c
		}
	}()
	t.Cleanup(func() {
		f.stop()
		l.Close()
		<-accepting
		close(f.accepted)
		for c := range f.accepted {
			c.Close()
		}
	})
	f.loop = f.group.Loops()[0]
	if o.Dial.Addr == (netip.AddrPort{}) && o.Dial.Path == "" {
		o.Dial.Addr = l.Addr().(*net.TCPAddr).AddrPort()
	}
	if o.ConnectTimeout == 0 {
		o.ConnectTimeout = 5 * time.Second
	}
	o.Breaker, o.Events = f.breaker, f.events
	f.pool = New(f.loop, o)
	return f
}

func (f *fixture) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := f.group.Stop(ctx); err != nil {
		f.t.Errorf("stop: %v", err)
	}
}

type job struct{ f func() }

func (j *job) Run() { j.f() }

// on runs do on the loop and waits.
func (f *fixture) on(do func()) {
	f.t.Helper()
	done := make(chan struct{})
	if !f.loop.Post(&job{func() { defer close(done); do() }}) {
		f.t.Fatal("post refused")
	}
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		f.t.Fatal("posted work never ran")
	}
}

// until waits for ok, asked on the loop, to hold.
func (f *fixture) until(what string, ok func() bool) {
	f.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		var now bool
		f.on(func() { now = ok() })
		if now {
			return
		}
		if time.Now().After(deadline) {
			f.t.Fatalf("never: %s", what)
		}
	}
}

// accept returns the origin's end of the next connection.
func (f *fixture) accept() net.Conn {
	f.t.Helper()
	select {
	case c := <-f.accepted:
		f.t.Cleanup(func() { c.Close() })
		return c
	case <-time.After(10 * time.Second):
		f.t.Fatal("no connection arrived at the origin")
		return nil
	}
}

// call is a request and what became of it. Loop-owned.
type call struct {
	Request
	conn     *Conn // while it has one
	id       uint64
	answers  int
	writable int
	failure  Failure
	failed   bool
	err      error
	data     string
	closed   bool
	reason   engine.CloseReason
	finished bool // OnReadClosed

	session  *session // of its stream, while there is one
	onStream func()
	onReady  func(c *Conn)
	onFailed func()
	onData   func(c *engine.Conn, view []byte) int
}

func (k *call) OnPoolReady(c *Conn) {
	k.answers++
	k.conn, k.id = c, c.ID()
	c.SetHandler(k)
	if k.onReady != nil {
		k.onReady(c)
	}
}

func (k *call) OnPoolFailure(f Failure, err error) {
	k.answers++
	k.failed, k.failure, k.err = true, f, err
	if k.onFailed != nil {
		k.onFailed()
	}
}

func (k *call) OnConnected(*engine.Conn)  { panic("a lent connection is up already") }
func (k *call) OnReadClosed(*engine.Conn) { k.finished = true }
func (k *call) OnWritable(*engine.Conn)   { k.writable++ }
func (k *call) OnClosed(_ *engine.Conn, r engine.CloseReason) {
	k.closed, k.reason, k.conn = true, r, nil
}

func (k *call) OnData(c *engine.Conn, view []byte) int {
	if k.onData != nil {
		return k.onData(c, view)
	}
	k.data += string(view)
	return len(view)
}

func newCall() *call {
	k := new(call)
	k.Owner = k
	return k
}

// acquire makes a request.
func (f *fixture) acquire() *call {
	k := newCall()
	f.on(func() { f.pool.Acquire(&k.Request) })
	return k
}

// lent makes a request and waits for its connection.
func (f *fixture) lent() *call {
	f.t.Helper()
	k := f.acquire()
	f.until("the request has a connection", func() bool { return k.conn != nil })
	return k
}

// release gives the connection back.
func (f *fixture) release(k *call, reusable bool) {
	f.on(func() {
		c := k.conn
		k.conn = nil
		c.Release(reusable)
	})
}

// idle opens n connections and leaves them idle, the last one on top. It returns
// the origin's ends, bottom first.
func (f *fixture) idle(n int) (ends []net.Conn) {
	f.t.Helper()
	var calls []*call
	for range n {
		calls = append(calls, f.lent())
		ends = append(ends, f.accept())
	}
	for _, k := range calls {
		f.release(k, true)
	}
	return ends
}

// settled checks that nothing is left and everything was given back.
func (f *fixture) settled() {
	f.t.Helper()
	f.until("every connection is gone", func() bool { return f.breaker.connections == 0 })
	f.on(func() {
		if f.breaker.pending != 0 || f.pool.Pending() != 0 || f.events.pending != f.events.pendingDone {
			f.t.Errorf("pending: breaker %d, pool %d, events %d begun and %d ended",
				f.breaker.pending, f.pool.Pending(), f.events.pending, f.events.pendingDone)
		}
		if f.pool.Active() != 0 || f.pool.Idle() != 0 || f.pool.Connecting() != 0 {
			f.t.Errorf("connections: %d active, %d idle, %d connecting", f.pool.Active(), f.pool.Idle(), f.pool.Connecting())
		}
		if f.events.created != len(f.events.destroyed) || f.events.created != f.events.connected+f.events.failed {
			f.t.Errorf("%d created, %d connected, %d failed, %d destroyed",
				f.events.created, f.events.connected, f.events.failed, len(f.events.destroyed))
		}
	})
}
