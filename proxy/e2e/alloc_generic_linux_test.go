//go:build !sluicedebug

package e2e

import (
	"net/netip"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// A request and its response allocate nothing in steady state, in both settings, logged or not.
func TestGenericRequestsAllocateNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	for _, tc := range []struct {
		name, codec, request, answer string
		bind                         bool
	}{
		{"Redis", "redis", "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n", "$1\r\nv\r\n", false},
		{"Redis, bound", "redis", "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n", "$1\r\nv\r\n", true},
		{"Thrift", "thrift", "\x00\x00\x00\x10\x80\x01\x00\x01\x00\x00\x00\x03add\x00\x00\x00\x07\x00", "\x00\x00\x00\x10\x80\x01\x00\x02\x00\x00\x00\x03add\x00\x00\x00\x07\x00", false},
		{"HTTP/1", "http1", "GET / HTTP/1.1\r\nhost: h\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			harness.NoLeaks(t)
			o := newRawOrigin(t)
			p := harness.StartGeneric(t, harness.GenericTopology{
				Codec: tc.codec, Bind: tc.bind, Clusters: []harness.Cluster{{Name: "origin", Origins: []harness.Origin{o}}},
			})
			to := netip.MustParseAddrPort(p.Addr)
			c, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(c)
			if err := unix.Connect(c, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}); err != nil {
				t.Fatal(err)
			}
			request, answer, buf, up := []byte(tc.request), []byte(tc.answer), make([]byte, 256), -1
			read := func(fd, n int) {
				for got := 0; got < n; {
					k, err := unix.Read(fd, buf)
					if k <= 0 {
						t.Fatal("read ", k, err)
					}
					got += k
				}
			}
			exchange := func() {
				if _, err := unix.Write(c, request); err != nil {
					t.Fatal(err)
				}
				if up < 0 {
					up = o.accept(t)
				}
				read(up, len(request))
				if _, err := unix.Write(up, answer); err != nil {
					t.Fatal(err)
				}
				read(c, len(answer))
			}
			for range 500 {
				exchange()
			}
			const requests = 5000
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			for range requests {
				exchange()
			}
			runtime.ReadMemStats(&after)
			unix.Close(up)
			per := float64(after.Mallocs-before.Mallocs) / requests
			t.Logf("%.4f allocations per request", per)
			if per > 0.05 {
				t.Errorf("%.3f allocations per request", per)
			}
		})
	}
}
