package pool

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/engine"
)

func TestAnIdleConnectionThatTheOriginEndsIsClosedAtOnce(t *testing.T) {
	const timeout408 = "HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
	for _, row := range []struct {
		name        string
		do          func(end net.Conn)
		remote      bool
		unsolicited string
	}{
		{"by a FIN", func(end net.Conn) { end.(*net.TCPConn).CloseWrite() }, true, ""},
		{"by closing", func(end net.Conn) { end.Close() }, true, ""},
		{"by a reset", func(end net.Conn) { end.(*net.TCPConn).SetLinger(0); end.Close() }, true, ""},
		{"by bytes nobody asked for (HC-48)", func(end net.Conn) { end.Write([]byte("HTTP/1.1 200 OK\r\n\r\n")) }, false, "HTTP/1.1 200 OK\r\n\r\n"},
		{"by a 408 (HC-48)", func(end net.Conn) { end.Write([]byte(timeout408)) }, false, timeout408},
	} {
		t.Run(row.name, func(t *testing.T) {
			f := open(t, Options{})
			ends := f.idle(2)
			row.do(ends[1])
			f.until("it is gone", func() bool { return len(f.events.destroyed) == 1 })
			f.on(func() {
				d := f.events.destroyed[0]
				if d.Remote != row.remote || d.ActiveRequest || !d.Connected || d.Requests != 1 {
					t.Errorf("destroyed: %+v", d)
				}
				if row.unsolicited == "" && len(f.events.unsolicited) > 0 {
					t.Errorf("unsolicited: %q", f.events.unsolicited)
				}
				if row.unsolicited != "" && (len(f.events.unsolicited) != 1 || f.events.unsolicited[0] != row.unsolicited) {
					t.Errorf("unsolicited: %q", f.events.unsolicited)
				}
				if f.pool.Idle() != 1 || f.breaker.connections != 1 {
					t.Errorf("idle %d, connections %d", f.pool.Idle(), f.breaker.connections)
				}
			})
			k := f.lent() // the other one
			f.on(func() {
				if f.events.created != 2 || k.conn.Requests() != 2 {
					t.Error("the other connection was not used")
				}
			})
		})
	}
}

func TestALentConnectionThatDiesTellsItsRequest(t *testing.T) {
	f := open(t, Options{})
	k := f.lent()
	end := f.accept()
	end.(*net.TCPConn).SetLinger(0)
	end.Close()
	f.until("the request hears", func() bool { return k.closed })
	f.on(func() {
		d := f.events.destroyed[0]
		if k.reason != engine.PeerReset || !d.Remote || !d.ActiveRequest {
			t.Errorf("reason %v, destroyed %+v", k.reason, d)
		}
	})
	f.settled()
}

func TestALentConnectionTellsItsRequestWhenItCanWriteAgain(t *testing.T) {
	f := open(t, Options{Watermark: 1 << 10})
	k := f.lent()
	end := f.accept()
	f.on(func() {
		for !k.conn.Above() { // past what the kernel takes
			k.conn.Write(make([]byte, 64<<10))
		}
	})
	go io.Copy(io.Discard, end)
	f.until("it can", func() bool { return k.writable > 0 })
	f.release(k, false)
	f.settled()
}

func TestAHalfCloseIsTheRequestsToHandle(t *testing.T) {
	f := open(t, Options{})
	k := f.lent()
	f.accept().(*net.TCPConn).CloseWrite()
	f.until("the request hears of the FIN", func() bool { return k.finished })
	if k.closed {
		t.Error("the pool closed a lent connection")
	}
	f.release(k, true) // and a connection that will bring no answer is not reused
	f.settled()
	f.on(func() {
		if d := f.events.destroyed[0]; !d.Remote || d.ActiveRequest {
			t.Errorf("destroyed: %+v", d)
		}
	})
}

func TestWhatIsNotReusedIsClosed(t *testing.T) {
	for _, row := range []struct {
		name   string
		do     func(c *Conn)
		active bool
	}{
		{"released as not reusable", func(c *Conn) { c.Release(false) }, false},
		{"aborted", func(c *Conn) { c.Abort() }, true},
		{"aborted, then released in vain", func(c *Conn) { c.Abort(); c.Release(true); c.Abort() }, true},
		{"released with bytes unsent", func(c *Conn) { c.Cork(); c.Write([]byte("x")); c.Release(true) }, false},
		{"released after it was closed", func(c *Conn) { c.Conn.Close(); c.Release(true) }, false},
		{"released after its write side ended", func(c *Conn) { c.CloseWrite(); c.Release(true) }, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			f := open(t, Options{})
			k := f.lent()
			f.on(func() { row.do(k.conn) })
			f.settled()
			f.on(func() {
				if d := f.events.destroyed[0]; d.Remote || d.ActiveRequest != row.active {
					t.Errorf("destroyed: %+v", d)
				}
				if k.closed {
					t.Error("the request heard of the end after its loan")
				}
			})
		})
	}
}

func TestBytesBeyondTheResponseAreNeverSeenByTheNextRequest(t *testing.T) { // HC-48
	for _, row := range []struct {
		name string
		next func(f *fixture, k *call) *call
	}{
		{"when nobody has the connection", func(f *fixture, k *call) *call { return nil }},
		{"when the next request got it in the same event", func(f *fixture, k *call) *call {
			next := newCall()
			f.pool.Acquire(&next.Request)
			return next
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			f := open(t, Options{})
			k := f.lent()
			var next *call
			f.on(func() {
				k.onData = func(_ *engine.Conn, view []byte) int {
					k.conn.Release(true)
					next = row.next(f, k)
					return 2 // of "okmore"
				}
			})
			f.accept().Write([]byte("okmore"))
			f.settled()
			f.on(func() {
				if len(f.events.unsolicited) != 1 || f.events.unsolicited[0] != "more" {
					t.Errorf("unsolicited: %q", f.events.unsolicited)
				}
				if next != nil && (next.data != "" || !next.closed) {
					t.Errorf("next request: heard %q, closed %v", next.data, next.closed)
				}
			})
		})
	}
}

func TestBytesKeptByARequestAreNotLeftToTheNextOne(t *testing.T) {
	f := open(t, Options{})
	k := f.lent()
	f.on(func() { k.onData = func(*engine.Conn, []byte) int { return 0 } })
	f.accept().Write([]byte("early"))
	f.until("the bytes are kept", func() bool { return k.conn.Kept() == 5 })
	f.release(k, true)
	f.settled()
	if f.events.unsolicited[0] != "early" {
		t.Errorf("unsolicited: %q", f.events.unsolicited)
	}
}

func TestMaxRequestsRetiresAConnection(t *testing.T) {
	f := open(t, Options{MaxRequests: 2})
	first := f.lent()
	f.release(first, true)
	second := f.lent()
	f.release(second, true)
	f.settled()
	if f.events.maxRequests != 1 || f.events.destroyed[0].Requests != 2 || first.id != second.id {
		t.Errorf("%d retired; %+v", f.events.maxRequests, f.events.destroyed)
	}
	third := f.lent()
	if third.id == first.id {
		t.Error("the connection went on")
	}
}

func TestIdleTimeoutClosesWhatWasNotUsed(t *testing.T) {
	f := open(t, Options{IdleTimeout: 30 * time.Millisecond})
	f.idle(3)
	f.settled()
	if f.events.idleTimeouts != 3 {
		t.Errorf("%d idle timeouts of 3", f.events.idleTimeouts)
	}
	k := f.lent() // and the timer serves those that come later
	f.release(k, true)
	f.settled()
	if f.events.idleTimeouts != 4 {
		t.Errorf("%d idle timeouts of 4", f.events.idleTimeouts)
	}
}

func TestIdleTimeoutCountsFromTheLastUse(t *testing.T) {
	const idle = 200 * time.Millisecond
	f := open(t, Options{IdleTimeout: idle})
	f.idle(1)
	var released time.Time
	for range 3 { // keep it in use past the time its first idle spell would have ended
		k := f.lent()
		armed := time.Now()
		f.until("some time passed", func() bool { return time.Since(armed) > idle/2 })
		released = time.Now()
		f.release(k, true)
	}
	f.until("it times out", func() bool { return f.events.idleTimeouts == 1 })
	if early := time.Since(released); early < idle {
		t.Errorf("closed %v after its last use", early)
	}
	if f.events.created != 1 {
		t.Errorf("%d connections", f.events.created)
	}
}

func TestMaxDuration(t *testing.T) {
	f := open(t, Options{MaxDuration: 30 * time.Millisecond})
	f.idle(1)
	f.settled() // idle: closed when it passes
	k := f.lent()
	f.until("it passes", func() bool { return f.events.maxDurations == 2 })
	f.on(func() {
		if k.closed || k.conn.Closed() {
			t.Error("a lent connection was closed")
		}
	})
	f.release(k, true)
	f.settled()
}

func TestDrain(t *testing.T) {
	f := open(t, Options{IdleTimeout: time.Hour})
	busy := f.lent()
	f.idle(2)
	dialling := newCall()
	f.on(func() {
		f.pool.Drain()
		f.pool.Drain()
		if f.pool.Idle() != 0 || f.pool.Active() != 1 || f.pool.idleTimer.Armed() {
			t.Errorf("idle %d, active %d", f.pool.Idle(), f.pool.Active())
		}
		if busy.closed || busy.conn.Closed() {
			t.Error("a lent connection was closed")
		}
		f.pool.Acquire(&dialling.Request) // still answers
	})
	f.until("it answers", func() bool { return dialling.conn != nil })
	f.release(dialling, true)
	f.release(busy, true)
	f.settled()
}

func TestDrainServesThoseWhoWait(t *testing.T) {
	f := open(t, Options{})
	f.breaker.maxConnections = 1
	busy := f.lent()
	waiting := f.acquire()
	f.on(func() { f.pool.Drain() })
	f.release(busy, true)
	f.until("the waiting one is served", func() bool { return waiting.conn != nil })
	if waiting.id != busy.id {
		t.Error("a connection was dialled to a host that is gone")
	}
	f.release(waiting, true)
	f.settled()
}

func TestDrainDropsWhatWasFreedForSomeoneWhoLeft(t *testing.T) {
	f := open(t, Options{})
	f.breaker.maxConnections = 1
	busy := f.lent()
	waiting := f.acquire()
	f.on(func() {
		f.pool.Drain()
		busy.conn.Release(true)
		f.pool.Cancel(&waiting.Request)
	})
	f.settled()
}

func TestDrainDropsAConnectionThatComesUpForNobody(t *testing.T) {
	f := open(t, Options{})
	k := newCall()
	f.on(func() {
		f.pool.Acquire(&k.Request)
		f.pool.Cancel(&k.Request)
		f.pool.Drain()
	})
	f.settled()
	if f.events.connected != 1 {
		t.Errorf("%d came up", f.events.connected)
	}
}

func TestLostSettlesWhatAnotherHandlerSawEnd(t *testing.T) {
	f := open(t, Options{})
	k := f.lent()
	other := &relayed{k: k}
	f.on(func() {
		other.conn = k.conn
		k.conn.Conn.SetHandler(other)
	})
	f.accept().Write([]byte("x"))
	f.until("the other handler hears", func() bool { return other.heard == 1 })
	f.on(func() { other.conn.Conn.Close() })
	f.settled()
	if k.closed {
		t.Error("the request's handler was told as well")
	}
}

// relayed takes a connection over as a relay does.
type relayed struct {
	call
	k     *call
	conn  *Conn
	heard int
}

func (r *relayed) OnData(_ *engine.Conn, view []byte) int          { r.heard += len(view); return len(view) }
func (r *relayed) OnClosed(_ *engine.Conn, why engine.CloseReason) { r.conn.Lost(why) }
