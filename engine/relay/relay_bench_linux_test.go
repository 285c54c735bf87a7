package relay_test

import (
	"fmt"
	"net"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/sluiceproxy/sluice/engine"
)

// rusageThread is RUSAGE_THREAD of getrusage(2).
const rusageThread = 1

// loopCPU returns the CPU time in nanoseconds of the loop's thread, which the
// loop's goroutine stays on from the first call on.
func loopCPU(b *testing.B, g *engine.Group) (ns int64) {
	b.Helper()
	on(b, g, func() {
		runtime.LockOSThread()
		var u syscall.Rusage
		if err := syscall.Getrusage(rusageThread, &u); err != nil {
			b.Error(err)
		}
		ns = u.Utime.Nano() + u.Stime.Nano()
	})
	return ns
}

// pairs returns the two ends of n relayed connections, as blocking descriptors.
func pairs(b *testing.B, n int) (clients, origins []int, g *engine.Group) {
	b.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer ln.Close()
	g = start(b)
	f := &front{origin: ln.Addr(), done: make(chan result, n), live: new(atomic.Int32)}
	el, err := g.Listen(engine.ListenSpec{Addr: "127.0.0.1:0"}, func(*engine.Loop) engine.Acceptor { return f })
	if err != nil {
		b.Fatal(err)
	}
	for range n {
		c, err := net.Dial("tcp", el.Addr().String())
		if err != nil {
			b.Fatal(err)
		}
		s, err := ln.Accept()
		if err != nil {
			b.Fatal(err)
		}
		clients, origins = append(clients, blocking(b, c)), append(origins, blocking(b, s))
	}
	return clients, origins, g
}

func blocking(b *testing.B, c net.Conn) int {
	f, err := c.(*net.TCPConn).File()
	if err != nil {
		b.Fatal(err)
	}
	c.Close()
	fd, err := syscall.Dup(int(f.Fd())) // Fd makes it blocking
	if err != nil {
		b.Fatal(err)
	}
	f.Close()
	b.Cleanup(func() { syscall.Close(fd) })
	return fd
}

// BenchmarkPingPong relays messages of 64 bytes there and back over 64
// connections; loop-ns/msg is the CPU time of the loop for one message one way.
func BenchmarkPingPong(b *testing.B) {
	const conns = 64
	clients, origins, g := pairs(b, conns)
	msg := make([]byte, 64)
	round := func() {
		for _, way := range [2][2][]int{{clients, origins}, {origins, clients}} {
			for _, fd := range way[0] {
				sendAll(b, fd, msg)
			}
			for _, fd := range way[1] {
				receiveAll(b, fd, msg)
			}
		}
	}
	for range 100 {
		round()
	}
	before := loopCPU(b, g)
	for b.Loop() {
		round()
	}
	b.ReportMetric(float64(loopCPU(b, g)-before)/float64(b.N)/(2*conns), "loop-ns/msg")
}

// BenchmarkBulk relays pieces of one size one way, each received before the next
// is sent; loop-ns/op is the CPU time of the loop.
func BenchmarkBulk(b *testing.B) {
	for _, size := range []int{4 << 10, 64 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			clients, origins, g := pairs(b, 1)
			out, in := make([]byte, size), make([]byte, size)
			turn := make(chan struct{})
			go func() {
				for range turn {
					sendAll(b, clients[0], out)
				}
			}()
			defer close(turn)
			for range 20 {
				turn <- struct{}{}
				receiveAll(b, origins[0], in)
			}
			b.SetBytes(int64(size))
			before := loopCPU(b, g)
			for b.Loop() {
				turn <- struct{}{}
				receiveAll(b, origins[0], in)
			}
			b.ReportMetric(float64(loopCPU(b, g)-before)/float64(b.N), "loop-ns/op")
		})
	}
}
