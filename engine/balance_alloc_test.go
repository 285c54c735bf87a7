//go:build !race && !sluicedebug

package engine_test

import (
	"net"
	"syscall"
	"testing"

	"github.com/sluiceproxy/sluice/engine"
)

func TestHandingOverDoesNotAllocate(t *testing.T) {
	g := group(t, engine.Options{Loops: 2})
	ln, err := g.Listen(engine.ListenSpec{Addr: "127.0.0.1:0", ExactBalance: true}, func(*engine.Loop) engine.Acceptor { return &plain{} })
	if err != nil {
		t.Fatal(err)
	}
	sa := &syscall.SockaddrInet4{Port: ln.Addr().(*net.TCPAddr).Port, Addr: [4]byte{127, 0, 0, 1}}
	b := make([]byte, 64)
	const waves = 50
	trip := func() {
		// Several open at a time: half of them are accepted by the loop that has more.
		var fds [8]int
		for range waves {
			for i := range fds {
				fds[i] = connect(t, sa)
				pingPong(t, fds[i], b)
			}
			for _, fd := range fds {
				syscall.Close(fd)
			}
		}
	}
	trip()
	if n := mallocs(small, trip); n > small {
		t.Errorf("%d allocations in %d connections", n, 8*waves)
	}
}
