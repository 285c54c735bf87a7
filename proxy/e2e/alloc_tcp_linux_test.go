//go:build !sluicedebug

package e2e

import (
	"net/netip"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// maxMallocsPerSession leaves room for the runtime's own: timers, stack growth, the poller.
const maxMallocsPerSession = 0.2

// A session from accept to log line, early data and the listener filter that looks at it included.
func TestTCPSessionsAllocateNothing(t *testing.T) { // TCP-2
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	for _, tc := range []struct{ name, proxy, filters string }{
		{"immediate, nothing read before", "", ""},
		{"immediate with early data", "max_early_data_bytes: 4096", ""},
		{"after the first byte, seen by listener filters", "upstream_connect_mode: ON_DOWNSTREAM_DATA\nmax_early_data_bytes: 4096", tlsAndHTTPInspectors},
	} {
		t.Run(tc.name, func(t *testing.T) {
			harness.NoLeaks(t)
			o := newRawOrigin(t)
			p := harness.StartTCP(t, harness.TCPTopology{
				Clusters: []harness.Cluster{{Name: "origin", Origins: []harness.Origin{o}}}, Proxy: tc.proxy, ListenerFilters: tc.filters,
			})
			to := netip.MustParseAddrPort(p.Addr)
			target := &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}
			message, buf := []byte("GET / HTTP/1.1\r\n\r\n"), make([]byte, 256)
			session := func() {
				c, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
				if err != nil {
					t.Fatal(err)
				}
				if err := unix.Connect(c, target); err != nil {
					t.Fatal(err)
				}
				if _, err := unix.Write(c, message); err != nil {
					t.Fatal(err)
				}
				up := o.accept(t)
				for got := 0; got < len(message); {
					n, err := unix.Read(up, buf)
					if n <= 0 {
						t.Fatal("the origin read ", n, err)
					}
					got += n
				}
				if _, err := unix.Write(up, message); err != nil {
					t.Fatal(err)
				}
				unix.Close(up)
				for got := 0; got < len(message); {
					n, err := unix.Read(c, buf)
					if n <= 0 {
						t.Fatal("the client read ", n, err)
					}
					got += n
				}
				unix.Close(c)
			}
			for range 300 {
				session()
			}
			const sessions = 3000
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			for range sessions {
				session()
			}
			runtime.ReadMemStats(&after)
			per := float64(after.Mallocs-before.Mallocs) / sessions
			t.Logf("%.3f allocations per session", per)
			if per > maxMallocsPerSession {
				t.Errorf("%.3f allocations per session, at most %v are allowed", per, maxMallocsPerSession)
			}
		})
	}
}

const tlsAndHTTPInspectors = `- name: tls
  typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector }
- name: http
  typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.listener.http_inspector.v3.HttpInspector }
`
