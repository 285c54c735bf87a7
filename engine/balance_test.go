package engine_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/engine"
)

// balanced returns a listener that counts its connections by loop.
func balanced(t *testing.T, g *engine.Group, spec engine.ListenSpec) (ln *engine.Listener, on []atomic.Int64) {
	t.Helper()
	spec.ExactBalance = true
	on = make([]atomic.Int64, len(g.Loops()))
	return serve(t, g, spec, func(c *engine.Conn) engine.Handler {
		n := &on[c.Loop().Index()]
		n.Add(1)
		return &peer{onData: echo, onReadClosed: (*engine.Conn).Close, onClosed: func(*engine.Conn) { n.Add(-1) }}
	}), on
}

// dialEchoed connects and returns once the loop has the connection.
func dialEchoed(t *testing.T, ln *engine.Listener) net.Conn {
	t.Helper()
	c := dialNet(t, ln)
	mustEcho(t, c)
	return c
}

func mustEcho(t *testing.T, c net.Conn) {
	t.Helper()
	_, _ = c.Write([]byte("x"))
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
}

func loads(on []atomic.Int64) (least, most, sum int64) {
	least = on[0].Load()
	for i := range on {
		n := on[i].Load()
		least, most, sum = min(least, n), max(most, n), sum+n
	}
	return least, most, sum
}

func TestExactBalanceKeepsLoopsWithinOneConnection(t *testing.T) {
	for _, tc := range []struct {
		name string
		spec engine.ListenSpec
	}{
		{"a socket for each loop", engine.ListenSpec{Network: "tcp", Addr: "127.0.0.1:0"}},
		{"one socket for all", engine.ListenSpec{Network: "tcp", Addr: "127.0.0.1:0", NoReusePort: true}},
		{"a unix socket", engine.ListenSpec{Network: "unix", Addr: "s"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.spec.Network == "unix" {
				dir, err := os.MkdirTemp("", "sl")
				if err != nil {
					t.Fatal(err)
				}
				defer os.RemoveAll(dir)
				tc.spec.Addr = filepath.Join(dir, tc.spec.Addr)
			}
			g := group(t, engine.Options{Loops: 3})
			ln, on := balanced(t, g, tc.spec)
			var open []net.Conn
			for i := range int64(60) {
				open = append(open, dialEchoed(t, ln))
				if least, most, sum := loads(on); most-least > 1 || sum != i+1 {
					t.Fatalf("%d connections: loops have %d to %d of %d", i+1, least, most, sum)
				}
			}
			// Whoever has lost some gets the next ones.
			rand.Shuffle(len(open), func(i, j int) { open[i], open[j] = open[j], open[i] })
			for _, c := range open[:40] {
				c.Close()
			}
			eventually(t, "closed ones are counted out", func() bool { return ln.Stats().Active == 20 })
			_, most, _ := loads(on)
			for range max(0, 3*most-20) {
				dialEchoed(t, ln)
			}
			if least, now, _ := loads(on); now-least > 1 || now != most {
				t.Errorf("after some left and others came, loops have %d to %d, want %d", least, now, most)
			}
			if st := ln.Stats(); st.Refused != 0 || st.AcceptErrors != 0 || int(st.Active) != g.Active() {
				t.Errorf("stats %+v with %d active in the group", st, g.Active())
			}
		})
	}
}

// TestExactBalanceIsOfOneListener: what a loop has of another listener does not count.
func TestExactBalanceIsOfOneListener(t *testing.T) {
	g := group(t, engine.Options{Loops: 2})
	other, otherOn := balanced(t, g, engine.ListenSpec{})
	var elsewhere []net.Conn
	for range 8 {
		before := otherOn[1].Load()
		if c := dialEchoed(t, other); otherOn[1].Load() > before {
			elsewhere = append(elsewhere, c)
		}
	}
	for _, c := range elsewhere {
		c.Close()
	}
	eventually(t, "one loop has all of the other listener", func() bool { return otherOn[1].Load() == 0 })
	ln, on := balanced(t, g, engine.ListenSpec{})
	for range 4 {
		dialEchoed(t, ln)
	}
	if least, most, _ := loads(on); least != 2 || most != 2 {
		t.Errorf("loops have %d and %d", on[0].Load(), on[1].Load())
	}
}

func TestRefusedConnectionsLeaveTheBalance(t *testing.T) {
	g := group(t, engine.Options{Loops: 2})
	var refuse atomic.Bool
	var on [2]atomic.Int64
	ln := serve(t, g, engine.ListenSpec{Network: "tcp", Addr: "127.0.0.1:0", ExactBalance: true}, func(c *engine.Conn) engine.Handler {
		if refuse.Load() {
			return nil
		}
		on[c.Loop().Index()].Add(1)
		return &peer{onData: echo}
	})
	refuse.Store(true)
	for range 7 {
		if !closedByPeer(t, dialNet(t, ln)) {
			t.Fatal("let in")
		}
	}
	eventually(t, "counted out", func() bool { return ln.Stats().Active == 0 })
	refuse.Store(false)
	for range 4 {
		dialEchoed(t, ln)
	}
	if a, b := on[0].Load(), on[1].Load(); a != 2 || b != 2 {
		t.Errorf("%d and %d", a, b)
	}
}

// TestABusyLoopDoesNotHoldUpTheBalance: one loop stands still while far more clients
// come than may be on their way to it.
func TestABusyLoopDoesNotHoldUpTheBalance(t *testing.T) {
	const clients = 400
	for _, tc := range []struct {
		name string
		fill bool // of its mailbox there is no room at all
	}{{"its slots are used up", false}, {"its mailbox is full", true}} {
		t.Run(tc.name, func(t *testing.T) {
			g := group(t, engine.Options{Loops: 2})
			ln, on := balanced(t, g, engine.ListenSpec{Network: "tcp", Addr: "127.0.0.1:0", NoReusePort: true})
			release := hold(t, g.Loops()[1])
			defer release()
			for tc.fill && g.Loops()[1].Post(&job{func() {}}) {
			}
			var all []net.Conn
			for range clients {
				all = append(all, dialNet(t, ln))
			}
			eventually(t, "all are accepted", func() bool { return ln.Stats().Accepted == clients })
			eventually(t, "the other loop has what this one cannot take", func() bool {
				if n := on[0].Load(); tc.fill {
					return n == clients
				} else {
					return n >= clients/2 && n < clients
				}
			})
			release()
			drained := make(chan struct{})
			last := &job{func() { close(drained) }}
			eventually(t, "there is room in the mailbox", func() bool { return g.Loops()[1].Post(last) })
			<-drained
			for _, c := range all {
				mustEcho(t, c)
			}
			if _, _, sum := loads(on); sum != clients {
				t.Errorf("%d connections, want %d", sum, clients)
			}
			// The counts are those of where they are: what comes now goes to the other loop.
			before := on[1].Load()
			for range 5 {
				dialEchoed(t, ln)
			}
			if n := on[1].Load() - before; n != 5 {
				t.Errorf("%d of 5 went to the loop with fewer (%d and %d)", n, on[0].Load(), on[1].Load())
			}
		})
	}
}

// TestClientsOnTheirWayAreServedWhenTheListenerCloses: the receiving loop stands
// still, so that Close finds connections in its slots.
func TestClientsOnTheirWayAreServedWhenTheListenerCloses(t *testing.T) {
	const clients = 20
	g := group(t, engine.Options{Loops: 2})
	ln, on := balanced(t, g, engine.ListenSpec{Network: "tcp", Addr: "127.0.0.1:0", NoReusePort: true})
	release := hold(t, g.Loops()[1])
	defer release()
	var all []net.Conn
	for range clients {
		all = append(all, dialNet(t, ln))
	}
	eventually(t, "half are placed here", func() bool { return on[0].Load() == clients/2 })
	eventually(t, "all are accepted", func() bool { return ln.Stats().Accepted == clients })
	_ = ln.Close()
	seen := make(chan int, 1)
	g.Loops()[1].Post(&job{func() { seen <- g.Loops()[1].Conns() }})
	release()
	if n := <-seen; n != clients/2 {
		t.Errorf("a message posted after Close finds %d connections, want %d", n, clients/2)
	}
	for _, c := range all {
		mustEcho(t, c)
		c.Close()
	}
	if err := g.Drain(context.Background()); err != nil {
		t.Error(err)
	}
}

// TestTheQueueOfAClosedListenerIsBalanced: who waits when it closes is spread too.
func TestTheQueueOfAClosedListenerIsBalanced(t *testing.T) {
	g := group(t, engine.Options{Loops: 2})
	ln, on := balanced(t, g, engine.ListenSpec{})
	ln.Pause()
	var all []net.Conn
	for range 21 {
		all = append(all, dialNet(t, ln))
	}
	_ = ln.Close()
	for _, c := range all {
		mustEcho(t, c)
	}
	if least, most, _ := loads(on); least != 10 || most != 11 {
		t.Errorf("%d and %d", least, most)
	}
}

// TestStopClosesWhatIsOnItsWay; group's cleanup counts the descriptors.
func TestStopClosesWhatIsOnItsWay(t *testing.T) {
	g := group(t, engine.Options{Loops: 2})
	ln, on := balanced(t, g, engine.ListenSpec{Network: "tcp", Addr: "127.0.0.1:0", NoReusePort: true})
	release := hold(t, g.Loops()[1])
	defer release()
	var all []net.Conn
	for range 20 {
		all = append(all, dialNet(t, ln))
	}
	eventually(t, "half are placed here", func() bool { return on[0].Load() == 10 })
	stopped := make(chan error, 1)
	go func() { stopped <- g.Stop(context.Background()) }()
	eventually(t, "stopping", g.Loops()[1].Stopped)
	release()
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
	for _, c := range all {
		if !closedByPeer(t, c) {
			t.Fatal("a connection outlived the group")
		}
	}
	if g.Active() != 0 || ln.Stats().Active != 0 {
		t.Errorf("%d active in the group, %d of the listener", g.Active(), ln.Stats().Active)
	}
}

// TestBalancedListenersComeAndGo: clients come and leave on many goroutines while
// listeners open and close and, at last, the group stops. Nobody who was echoed
// once is dropped before the stop, and no count or descriptor is left over.
func TestBalancedListenersComeAndGo(t *testing.T) {
	for round := range 10 {
		g := group(t, engine.Options{Loops: 3})
		var wg sync.WaitGroup
		for worker := range 4 {
			wg.Go(func() {
				for range 5 {
					ln, err := g.Listen(engine.ListenSpec{
						Network: "tcp", Addr: "127.0.0.1:0", ExactBalance: true, NoReusePort: worker%2 == 0,
					}, func(*engine.Loop) engine.Acceptor {
						return acceptor{func(*engine.Conn) engine.Handler {
							return &peer{onData: echo, onReadClosed: (*engine.Conn).Close}
						}}
					})
					if err != nil {
						return // the group has stopped
					}
					churn(t, ln)
					if worker < 3 && !poll(func() bool { return ln.Stats().Active == 0 }) {
						t.Errorf("%d connections never leave", ln.Stats().Active)
					}
				}
			})
		}
		if round%2 == 0 {
			wg.Wait()
			eventually(t, "all have left", func() bool { return g.Active() == 0 })
		}
		if err := g.Stop(context.Background()); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
		if n := g.Active(); n != 0 {
			t.Errorf("%d active after the stop", n)
		}
	}
}

// churn has clients connect and leave, and closes ln among them.
func churn(t *testing.T, ln *engine.Listener) {
	var clients sync.WaitGroup
	for i := range 6 {
		clients.Go(func() {
			for j := range 6 {
				c, err := net.Dial("tcp", ln.Addr().String())
				if err != nil {
					return // it has closed
				}
				_ = c.SetDeadline(time.Now().Add(20 * time.Second))
				_, _ = fmt.Fprint(c, "x")
				_, _ = c.Read(make([]byte, 1)) // an end when the group stops
				c.Close()
				if i == 0 && j == 3 {
					_ = ln.Close()
				}
			}
		})
	}
	clients.Wait()
	_ = ln.Close()
}
