//go:build !race

package tlsio_test

import (
	"net"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/engine"
	"github.com/sluiceproxy/sluice/engine/tlsio"
)

// memory returns the bytes of heap in use and of stacks.
func memory() (heap, stacks int) {
	runtime.GC()
	runtime.GC() // stacks shrink a step each time
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc), int(m.StackInuse)
}

// TestHalfOpenHandshakesAreBounded leaves thousands of handshakes in the state that
// suits their peer, and asks for service meanwhile.
func TestHalfOpenHandshakesAreBounded(t *testing.T) {
	whole := hello(t)
	conns := 10_000
	var lim syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &lim); err == nil && uint64(lim.Cur) < uint64(2*conns+200) {
		conns = max(int(lim.Cur)-200, 200) / 2
	}
	if testing.Short() {
		conns = min(conns, 500)
	}
	for _, tc := range []struct {
		name     string
		sends    []byte
		limit    int // of handshakes past their hello
		perConn  int // bytes at most
		wantShed bool
		served   bool
	}{
		{"that say nothing", nil, 100, 1500, false, true},
		{"in mid-hello", whole[:len(whole)-1], 100, 4000, false, true},
		{"after the hello", whole, conns + 1, 32_000, false, true},
		{"beyond the bound after the hello", whole, 200, 1500 + 200*32_000/conns, true, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			layer := tlsio.New(tlsio.Options{MaxHandshakes: tc.limit})
			addr, g := serve(t, layer, serverConfig(0), time.Minute, func(*engine.Conn) *peer { return echo() })
			heap, stacks := memory()
			fds := make([]int, 0, conns)
			closeAll := func() {
				for _, fd := range fds {
					syscall.Close(fd)
				}
				fds = nil
			}
			defer func() { closeAll() }()
			for range conns {
				fds = append(fds, blocking(t, addr))
				if _, err := syscall.Write(fds[len(fds)-1], tc.sends); err != nil && !tc.wantShed {
					t.Fatal(err)
				}
			}
			eventually(t, "all are half open", func() bool {
				c := layer.Counters()
				switch {
				case c.Started != uint64(conns):
					return false
				case tc.wantShed:
					return c.Busy == tc.limit && c.Shed == uint64(conns-tc.limit)
				case len(tc.sends) == len(whole):
					return c.Busy == conns
				}
				return true
			})
			if tc.served && len(tc.sends) == len(whole) { // they have their answer, and wait
				b := make([]byte, 1)
				for _, fd := range fds {
					eventually(t, "answered", func() bool {
						n, _, err := syscall.Recvfrom(fd, b, syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
						return n == 1 && err == nil
					})
				}
			}
			heapNow, stacksNow := memory()
			each := (heapNow - heap + stacksNow - stacks) / conns
			t.Logf("%d half-open handshakes: %d bytes each, %d of it stack", conns, each, (stacksNow-stacks)/conns)
			if each > tc.perConn {
				t.Errorf("%d bytes each, want at most %d", each, tc.perConn)
			}
			if tc.served {
				c, raw := dialTLS(t, addr, clientConfig(0))
				exchange(t, c, []byte("others are served"))
				raw.Close()
			}
			closeAll()
			eventually(t, "all ended", func() bool { c := layer.Counters(); return c.Open == 0 && c.Busy == 0 && g.Active() == 0 })
		})
	}
}

// blocking connects a bare descriptor, which takes no goroutine and no heap.
func blocking(t testing.TB, addr string) int {
	t.Helper()
	a, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	for {
		switch err := syscall.Connect(fd, &syscall.SockaddrInet4{Port: a.Port, Addr: [4]byte{127, 0, 0, 1}}); err {
		case nil, syscall.EISCONN:
			return fd
		case syscall.EINTR, syscall.EALREADY, syscall.EINPROGRESS:
			runtime.Gosched()
		default:
			t.Fatal(err)
		}
	}
}
