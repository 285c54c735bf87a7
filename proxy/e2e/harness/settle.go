package harness

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sluiceproxy/sluice/proxy/worker"
)

// zero lists the gauges, by suffix, that are 0 when nobody is connected and nothing is under way.
var zero = []string{
	".downstream_cx_active", ".downstream_cx_http1_active", ".downstream_rq_active",
	".upstream_rq_active", ".upstream_rq_pending_active",
	".rq_pending_open", ".rq_open", ".rq_retry_open",
	".downstream_pre_cx_active", ".active_connections",
	".downstream_cx_rx_bytes_buffered", ".downstream_cx_tx_bytes_buffered", ".upstream_flush_active",
}

// zeroApart lists those that are 0 as well once the origins have gone.
var zeroApart = []string{".upstream_cx_active", ".cx_open"}

func (p *Proxy) nonzero(suffixes []string) (out []string) {
	for name, v := range p.Stats() {
		for _, s := range suffixes {
			if strings.HasSuffix(name, s) && v != 0 {
				out = append(out, fmt.Sprintf("%s is %d", name, v))
			}
		}
	}
	slices.Sort(out)
	return out
}

// WantQuiet waits until no client is connected and no request is under way or waits. Upstream
// connections may be idle in their pools.
func (p *Proxy) WantQuiet() {
	p.T.Helper()
	var left []string
	if !within(Patience, func() bool {
		left = p.nonzero(zero)
		if n := p.Server.Connections(); n != 0 {
			left = append(left, fmt.Sprintf("%d connections", n))
		}
		return len(left) == 0
	}) {
		p.T.Errorf("the proxy did not come to rest: %s", strings.Join(left, ", "))
	}
}

// finish checks at the end of a test that everything came back, and closes the server.
func (p *Proxy) finish() {
	p.T.Helper()
	p.WantQuiet()
	for _, o := range p.origins {
		o.Stop()
	}
	var left []string
	if !within(Patience, func() bool {
		left = p.nonzero(zeroApart)
		left = append(left, p.unbalanced()...)
		conns, slabs := 0, 0
		p.OnLoops(func(w *worker.Worker) {
			conns += w.Loop.Conns()
			slabs += w.Loop.Slabs().InUse()
		})
		if conns != 0 || slabs != 0 {
			left = append(left, fmt.Sprintf("the loops have %d connections and %d bytes of buffers", conns, slabs))
		}
		return len(left) == 0
	}) {
		p.T.Errorf("without clients and origins there is still something left: %s", strings.Join(left, ", "))
	}
	if err := p.Server.Close(); err != nil {
		p.T.Errorf("close: %v", err)
	}
}

// balance lists, by suffix, counters that agree when nothing is connected: the first is the sum of
// the others.
var balance = [][]string{
	{".downstream_cx_total", ".downstream_cx_destroy"},
	{".downstream_cx_destroy", ".downstream_cx_destroy_local", ".downstream_cx_destroy_remote"},
	{".upstream_cx_total", ".upstream_cx_destroy"},
	{".upstream_cx_destroy", ".upstream_cx_destroy_local", ".upstream_cx_destroy_remote"},
	{".upstream_cx_destroy_with_active_rq", ".upstream_cx_destroy_local_with_active_rq", ".upstream_cx_destroy_remote_with_active_rq"},
	{".downstream_flow_control_paused_reading_total", ".downstream_flow_control_resumed_reading_total"},
}

func (p *Proxy) unbalanced() (out []string) {
	all := p.Stats()
	for name, v := range all {
		for _, row := range balance {
			scope, ok := strings.CutSuffix(name, row[0])
			if !ok {
				continue
			}
			sum, known := int64(0), false
			for _, part := range row[1:] {
				n, ok := all[scope+part]
				sum += n
				known = known || ok
			}
			// A request that ends while it is paused is never resumed.
			if known && (sum > v || sum < v && !strings.Contains(row[0], "flow_control")) {
				out = append(out, fmt.Sprintf("%s%s is %d but %v add up to %d", scope, row[0], v, row[1:], sum))
			}
		}
	}
	slices.Sort(out)
	return out
}
