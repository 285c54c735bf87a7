package e2e

import (
	"fmt"
	"net"
	"sync"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// Ten thousand keep-alive connections at once, two requests on each, all of them open in between. The
// proxy has a process of its own, because both ends together would need twice the descriptors.
func TestTenThousandConnections(t *testing.T) {
	const clients, upstream, others = 10_000, 2000, 500
	needDescriptors(t, clients+upstream+others)
	harness.NoLeaks(t)
	top := one(harness.NewOrigin(t, "a"))
	top.Clusters[0].Fields = fmt.Sprintf("circuit_breakers: { thresholds: [{ max_connections: %d, max_pending_requests: %d, max_requests: %d }] }", upstream, 2*clients, 2*clients)
	p := startChild(t, top)

	wires := make([]*harness.Wire, clients)
	t.Cleanup(func() {
		for _, w := range wires {
			if w != nil {
				w.Close()
			}
		}
	})
	all := func(what string, f func(i int) error) {
		t.Helper()
		const workers = 50
		var running sync.WaitGroup
		for w := range workers {
			running.Go(func() {
				for i := w; i < clients; i += workers {
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
	all("dial", func(i int) error {
		c, err := net.DialTimeout("tcp", p.addr, harness.Patience)
		if err == nil {
			wires[i] = harness.NewWire(t, c)
		}
		return err
	})
	p.await("server.total_connections", func(v int64) bool { return v == clients })
	for range 2 {
		all("request", func(i int) error {
			return wires[i].TrySend(fmt.Sprintf("GET /bytes/%d HTTP/1.1\r\nHost: h\r\n\r\n", i%500))
		})
		all("response", func(i int) error {
			m, err := wires[i].TryRead(false)
			if err == nil && len(m.Body) != i%500 {
				err = fmt.Errorf("%d bytes of %d", len(m.Body), i%500)
			}
			return err
		})
	}
	s := p.stats()
	want := harness.Stats{
		"http.in.downstream_cx_active": clients, "http.in.downstream_cx_total": clients, "http.in.downstream_rq_2xx": 2 * clients,
		"http.in.downstream_rq_5xx": 0, "cluster.origin.upstream_rq_pending_overflow": 0, "http.in.downstream_rq_active": 0,
	}
	for name, v := range want {
		if s[name] != v {
			t.Errorf("%s is %d, want %d", name, s[name], v)
		}
	}
}
