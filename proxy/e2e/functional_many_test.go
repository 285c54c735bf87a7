//go:build unix

package e2e

import (
	"fmt"
	"sync"
	"syscall"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// Ten thousand keep-alive connections at once, two requests on each, all of them open in between.
func TestTenThousandConnections(t *testing.T) {
	const clients = 10_000
	// Both ends of the client connections, and those to the origin, are in this process.
	const needed = 2*clients + 2*clients + 500
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	n := clients
	if limit.Max < needed {
		if n = (int(limit.Max) - 500) / 4; n < 1000 {
			t.Skipf("the hard limit of %d descriptors is too low for %d connections", limit.Max, clients)
		}
		t.Logf("the hard limit of %d descriptors allows %d connections", limit.Max, n)
	}
	if limit.Cur < limit.Max {
		raised := limit
		raised.Cur = limit.Max
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &raised); err != nil {
			t.Skipf("the limit of descriptors cannot be raised: %v", err)
		}
		defer func() { _ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit) }()
	}
	harness.NoLeaks(t)
	top := one(harness.NewOrigin(t, "a"))
	top.Loops = 2
	const breakers = "circuit_breakers: { thresholds: [{ max_connections: 20000, max_pending_requests: 20000, max_requests: 20000 }] }"
	top.Clusters[0].Fields = breakers
	p := harness.Start(t, top)
	wires := make([]*harness.Wire, n)
	const workers = 50
	all := func(what string, f func(i int) error) {
		t.Helper()
		var running sync.WaitGroup
		for w := range workers {
			running.Go(func() {
				for i := w; i < n; i += workers {
					if err := f(i); err != nil {
						t.Errorf("%s, connection %d: %v", what, i, err)
						return
					}
				}
			})
		}
		running.Wait()
		if t.Failed() {
			t.FailNow()
		}
	}
	send := func(i int) error {
		return wires[i].TrySend(fmt.Sprintf("GET /bytes/%d HTTP/1.1\r\nHost: h\r\n\r\n", i%500))
	}
	read := func(i int) error {
		m, err := wires[i].TryRead(false)
		if err == nil && len(m.Body) != i%500 {
			err = fmt.Errorf("%d bytes of %d", len(m.Body), i%500)
		}
		return err
	}
	all("dial", func(i int) error { wires[i] = harness.DialWire(t, "tcp", p.Addr); return nil })
	harness.Eventually(t, "every connection is accepted", func() bool { return p.Server.Connections() == n })
	for range 2 {
		all("request", send)
		all("response", read)
		if got := p.Server.Connections(); got != n {
			t.Errorf("%d connections are open", got)
		}
	}
	p.WantStats(harness.Stats{
		"http.in.downstream_cx_active": int64(n), "http.in.downstream_rq_2xx": int64(2 * n), "http.in.downstream_rq_5xx": 0,
		"cluster.origin.upstream_cx_overflow": 0, "cluster.origin.upstream_rq_pending_overflow": 0,
	})
	all("close", func(i int) error { wires[i].Close(); return nil })
}
