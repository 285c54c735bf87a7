//go:build !race && !sluicedebug

package relay_test

import (
	"io"
	"net"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/engine"
	"github.com/sluiceproxy/sluice/engine/relay"
)

// TestMovingBytesDoesNotAllocate relays small messages (copied) and megabytes
// (spliced) through a tunnel that is up.
func TestMovingBytesDoesNotAllocate(t *testing.T) {
	client, origin, _, _ := tunnel(t, relay.Options{})
	small, big := make([]byte, 64), make([]byte, 1<<20)
	arrived := make(chan error)
	go func() {
		for _, b := range [][]byte{small, big} {
			for range 200 {
				_, err := io.ReadFull(origin, b)
				arrived <- err
			}
		}
		for range 200 * 4 {
			_, err := io.ReadFull(origin, big)
			arrived <- err
		}
	}()
	send := func(b []byte) {
		for range 200 {
			if _, err := client.Write(b); err != nil {
				t.Error(err)
			}
			if err := <-arrived; err != nil {
				t.Error(err)
			}
		}
	}
	send(small)
	send(big)
	least := ^uint64(0)
	for range 4 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		send(big)
		runtime.ReadMemStats(&after)
		least = min(least, after.Mallocs-before.Mallocs)
	}
	if least > 8 {
		t.Errorf("%d allocations in 200 relayed megabytes", least)
	}
}

// cycle relays every connection to addr with tunnels it uses again and again.
type cycle struct {
	origin engine.DialSpec
	opts   relay.Options
	free   []*relay.Tunnel
	ended  atomic.Int64
}

func (y *cycle) OnAccept(c *engine.Conn) engine.Handler {
	if len(y.free) == 0 {
		y.free = append(y.free, new(relay.Tunnel))
	}
	last := len(y.free) - 1
	t := y.free[last]
	y.free = y.free[:last]
	t.Start(c, c.Loop().Dial(y.origin, nil), y.opts, y)
	return c.Handler()
}

func (y *cycle) OnRelayPaused(*relay.Tunnel, bool)                                   {}
func (y *cycle) OnRelayResumed(*relay.Tunnel, bool)                                  {}
func (y *cycle) OnRelayFlush(*relay.Tunnel)                                          {}
func (y *cycle) OnRelayClosed(*relay.Tunnel, *engine.Conn, bool, engine.CloseReason) {}
func (y *cycle) OnRelayDone(t *relay.Tunnel) {
	y.free = append(y.free, t)
	y.ended.Add(1)
}

// echo is the origin.
type echo struct{}

func (echo) OnAccept(*engine.Conn) engine.Handler      { return echo{} }
func (echo) OnConnected(*engine.Conn)                  {}
func (echo) OnWritable(*engine.Conn)                   {}
func (echo) OnReadClosed(c *engine.Conn)               { c.CloseWrite() }
func (echo) OnData(c *engine.Conn, view []byte) int    { c.Write(view); return len(view) }
func (echo) OnClosed(*engine.Conn, engine.CloseReason) {}

// TestTunnelsComeAndGoWithoutAllocating, whichever way they end.
func TestTunnelsComeAndGoWithoutAllocating(t *testing.T) {
	g := loops(t, 1)
	origin, err := g.Listen(engine.ListenSpec{Addr: "127.0.0.1:0"}, func(*engine.Loop) engine.Acceptor { return echo{} })
	if err != nil {
		t.Fatal(err)
	}
	y := &cycle{origin: dialSpec(origin.Addr()), opts: relay.Options{IdleTimeout: time.Minute}}
	front, err := g.Listen(engine.ListenSpec{Addr: "127.0.0.1:0"}, func(*engine.Loop) engine.Acceptor { return y })
	if err != nil {
		t.Fatal(err)
	}
	sa := &syscall.SockaddrInet4{Port: front.Addr().(*net.TCPAddr).Port, Addr: [4]byte{127, 0, 0, 1}}
	b := make([]byte, 64)
	one := func(abort bool) {
		fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
		for err == nil {
			if err = syscall.Connect(fd, sa); err != syscall.EINTR {
				break
			}
		}
		if err != nil && err != syscall.EISCONN {
			t.Fatal(err)
		}
		ended := y.ended.Load()
		sendAll(t, fd, b)
		receiveAll(t, fd, b)
		if abort {
			_ = syscall.SetsockoptLinger(fd, syscall.SOL_SOCKET, syscall.SO_LINGER, &syscall.Linger{Onoff: 1})
		} else {
			_ = syscall.Shutdown(fd, syscall.SHUT_WR)
			if n, err := syscall.Read(fd, b); n != 0 || err != nil {
				t.Fatalf("read %d, %v", n, err)
			}
		}
		syscall.Close(fd)
		for deadline := time.Now().Add(10 * time.Second); y.ended.Load() == ended; runtime.Gosched() {
			if time.Now().After(deadline) {
				t.Fatal("the tunnel never ended")
			}
		}
	}
	least := ^uint64(0)
	for range 5 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for i := range 100 {
			one(i%2 == 1)
		}
		runtime.ReadMemStats(&after)
		least = min(least, after.Mallocs-before.Mallocs)
	}
	if least > 8 {
		t.Errorf("%d allocations in 100 tunnels", least)
	}
}

// TestAPausedTunnelDoesNotAllocate: a message that blocks, is waited for and arrives.
func TestAPausedTunnelDoesNotAllocate(t *testing.T) {
	for _, noSplice := range []bool{false, true} {
		client, origin, _, _ := tunnel(t, relay.Options{NoSplice: noSplice, LimitUp: 200 << 10})
		piece := make([]byte, 8<<20) // more than the buffers on the way take
		in := make([]byte, len(piece))
		go func() {
			for {
				if _, err := client.Write(piece); err != nil {
					return
				}
			}
		}()
		least := ^uint64(0)
		for range 6 {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			if _, err := io.ReadFull(origin, in); err != nil {
				t.Fatal(err)
			}
			runtime.ReadMemStats(&after)
			least = min(least, after.Mallocs-before.Mallocs)
		}
		if least > 8 {
			t.Errorf("no splice %v: %d allocations in 8 MiB", noSplice, least)
		}
		client.Close()
	}
}
