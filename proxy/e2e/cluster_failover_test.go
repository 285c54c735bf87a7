package e2e

import (
	"testing"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// CL-20, CL-22: when the first priority dies, checks take everything to the second, and back when it
// returns. The load never stops; what fails is only what was asked of a dying host.
func TestCL20FailoverUnderLoad(t *testing.T) {
	harness.NoLeaks(t)
	a, b, c := newMortal(t, "a"), newMortal(t, "b"), newMortal(t, "c")
	top := checked(checks("healthy_edge_interval: 0.03s\nhttp_health_check: { path: /health }"), a, b, c)
	log := t.TempDir() + "/log"
	k := harness.Load(t, top.YAML(log))
	k.Clusters[0].Endpoints[2].Priority, k.Clusters[0].Raw = 1, nil
	p := harness.StartConf(t, k, 2, log, a, b, c)
	l := startLoad(t, p.Addr, 8, func(m *harness.Message) bool { return m.Status() == 200 || m.Status() == 503 })
	l.more(100)
	if c.asked.Load() != 0 {
		t.Errorf("%d requests to priority 1 while all of 0 is healthy", c.asked.Load())
	}
	a.kill()
	awaitFlags(t, p, "/failed_active_hc", "healthy", "healthy")
	l.more(2000) // 70 % stay, 30 % go on: bounds are 10 standard deviations of 2000 away
	atC, atB := c.asked.Load(), b.asked.Load()
	l.more(2000)
	if n, m := c.asked.Load()-atC, b.asked.Load()-atB; n*100/(n+m) < 19 || n*100/(n+m) > 41 {
		t.Errorf("with half of priority 0: %d to it, %d to priority 1", m, n)
	}
	b.kill()
	awaitFlags(t, p, "/failed_active_hc", "/failed_active_hc", "healthy")
	failed := p.Stat("http.in.downstream_rq_5xx")
	l.more(500)
	if n := p.Stat("http.in.downstream_rq_5xx") - failed; n > 16 { // those under way
		t.Errorf("%d failures while priority 1 is healthy", n)
	}
	a.revive()
	b.revive()
	awaitFlags(t, p, "healthy", "healthy", "healthy")
	l.more(50)
	atC = c.asked.Load()
	l.more(500)
	if n := c.asked.Load() - atC; n > 0 {
		t.Errorf("%d requests to priority 1 after the return", n)
	}
	l.stop()
}
