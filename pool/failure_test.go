package pool

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/sluiceproxy/sluice/engine"
)

// refusing returns an address nobody listens at.
func refusing(t testing.TB) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).AddrPort()
}

func TestARefusedConnectionFailsItsRequest(t *testing.T) {
	f := open(t, Options{Dial: engine.DialSpec{Addr: refusing(t)}})
	k := f.acquire()
	f.until("it fails", func() bool { return k.failed })
	if k.failure != ConnectFailure || k.err == nil || !strings.Contains(k.err.Error(), "refused") {
		t.Errorf("failed with %v, %v", k.failure, k.err)
	}
	f.settled()
	if d := f.events.destroyed[0]; f.events.failed != 1 || f.events.timeouts != 0 || d.Connected || !d.Remote || d.Requests != 0 {
		t.Errorf("%+v", d)
	}
}

func TestAMissingPipeFailsItsRequest(t *testing.T) {
	f := open(t, Options{Dial: engine.DialSpec{Network: "unix", Path: t.TempDir() + "/none"}})
	k := f.acquire()
	f.until("it fails", func() bool { return k.failed })
	if k.failure != ConnectFailure || k.err == nil {
		t.Errorf("failed with %v, %v", k.failure, k.err)
	}
	f.settled()
}

func TestFailureOfReasons(t *testing.T) {
	for _, row := range []struct {
		reason engine.CloseReason
		want   Failure
	}{
		{engine.ConnectRefused, ConnectFailure},
		{engine.ConnectUnreachable, ConnectFailure},
		{engine.ConnectError, ConnectFailure},
		{engine.PeerReset, ConnectFailure},
		{engine.ConnectTimeout, ConnectTimeout},
		{engine.FDLimit, LocalConnectFailure},
		{engine.BindFailed, LocalConnectFailure},
	} {
		if got := failureOf(row.reason); got != row.want {
			t.Errorf("%v: %v, want %v", row.reason, got, row.want)
		}
	}
}

func TestWhenNoConnectionIsLeftAllWaitingRequestsFail(t *testing.T) {
	f := open(t, Options{Dial: engine.DialSpec{Addr: refusing(t)}})
	f.breaker.maxConnections = 1
	var calls []*call
	f.on(func() {
		for range 3 {
			k := newCall()
			calls = append(calls, k)
			f.pool.Acquire(&k.Request)
		}
	})
	for i, k := range calls {
		f.until("it fails", func() bool { return k.failed })
		if k.failure != ConnectFailure {
			t.Errorf("request %d failed with %v", i, k.failure)
		}
	}
	f.settled()
	if f.events.created != 1 {
		t.Errorf("%d connections were tried for requests that wait for one", f.events.created)
	}
}

func TestWhileOthersServeOneFailedConnectionFailsOneRequest(t *testing.T) {
	target := &moving{}
	f := open(t, Options{Target: target})
	good := f.pool.o.Dial.Addr
	target.addr = good
	f.breaker.maxConnections = 2
	busy := f.lent()
	f.on(func() { target.addr = refusing(t) })
	first, second := newCall(), newCall()
	f.on(func() {
		f.pool.Acquire(&first.Request)
		f.pool.Acquire(&second.Request)
		target.addr = good
	})
	f.until("the oldest fails", func() bool { return first.failed })
	f.on(func() {
		if second.failed {
			t.Error("the other one failed as well, with a connection in use that it can have")
		}
	})
	f.release(busy, true)
	f.until("the other one is served", func() bool { return second.conn != nil || second.failed })
}

func TestRequestsThatJoinWhileOthersFailAreNotFailedWithThem(t *testing.T) {
	target := &moving{}
	f := open(t, Options{Target: target})
	good := f.pool.o.Dial.Addr
	target.addr = refusing(t)
	first, again := newCall(), newCall()
	first.onFailed = func() {
		target.addr = good
		f.pool.Acquire(&again.Request) // a retry on the same host
	}
	f.on(func() { f.pool.Acquire(&first.Request) })
	f.until("the retry is served", func() bool { return again.conn != nil })
	if again.failed {
		t.Error("the retry failed first")
	}
}

func TestCancellingOthersWhileFailingFailsNobodyInTheirPlace(t *testing.T) {
	target := &moving{}
	f := open(t, Options{Target: target})
	good := f.pool.o.Dial.Addr
	target.addr = refusing(t)
	f.breaker.maxConnections = 1
	first, second, again := newCall(), newCall(), newCall()
	first.onFailed = func() {
		target.addr = good
		f.pool.Cancel(&second.Request)
		f.pool.Acquire(&again.Request)
	}
	f.on(func() {
		f.pool.Acquire(&first.Request)
		f.pool.Acquire(&second.Request)
	})
	f.until("the newcomer is answered", func() bool { return again.answers > 0 })
	if again.failed || second.answers != 0 {
		t.Errorf("newcomer failed %v; cancelled one answered %d times", again.failed, second.answers)
	}
}

func TestAStoppedLoopFailsThoseWhoWait(t *testing.T) {
	f := open(t, Options{})
	f.breaker.maxConnections = 1
	busy := f.lent()
	waiting, late := newCall(), newCall()
	waiting.onFailed = func() { f.pool.Acquire(&late.Request) }
	f.on(func() { f.pool.Acquire(&waiting.Request) })
	f.stop()
	if !waiting.failed || waiting.failure != Closed {
		t.Errorf("waiting: failed %v with %v", waiting.failed, waiting.failure)
	}
	if !late.failed || late.failure != Closed {
		t.Errorf("asked after the end: failed %v with %v", late.failed, late.failure)
	}
	if !busy.closed || busy.reason != engine.LoopStopped {
		t.Errorf("lent: closed %v, %v", busy.closed, busy.reason)
	}
	if f.breaker.connections != 0 || f.breaker.pending != 0 {
		t.Errorf("breaker: %d connections, %d pending", f.breaker.connections, f.breaker.pending)
	}
}
