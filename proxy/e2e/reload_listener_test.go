package e2e

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/proxy"
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// pair is a configuration of listeners that answer with their names. Each one is "name address", the
// address a port or a path.
func pair(t *testing.T, log, fields string, listeners ...string) *conf.Bootstrap {
	t.Helper()
	var all *conf.Bootstrap
	for _, l := range listeners {
		name, address, _ := strings.Cut(l, " ")
		yaml := (&harness.Topology{Routes: "- " + direct("prefix: /", name), Listener: fields}).YAML(log)
		at := "port_value: " + address
		if strings.Contains(address, "/") {
			yaml = strings.Replace(yaml, "{ socket_address: { address: 127.0.0.1, port_value: 0 } }", "{ pipe: { path: "+address+" } }", 1)
		}
		yaml = strings.NewReplacer("name: ingress", "name: "+name, "    stat_prefix: in\n    address", "    address", "port_value: 0", at).Replace(yaml)
		b := harness.Load(t, yaml)
		if all == nil {
			all = b
		} else {
			all.Listeners = append(all.Listeners, b.Listeners...)
		}
	}
	return all
}

// freePorts returns ports nobody listens on at the moment.
func freePorts(t *testing.T, n int) []string {
	t.Helper()
	var out []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		out = append(out, fmt.Sprint(l.Addr().(*net.TCPAddr).Port))
	}
	return out
}

func whoAt(t *testing.T, port string) string {
	t.Helper()
	w := harness.DialWire(t, "tcp", "127.0.0.1:"+port)
	defer w.Close()
	return string(w.Do("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").Body)
}

// Listeners exchange their addresses, or one moves away and comes back: all of it or nothing.
func TestListenersMove(t *testing.T) {
	harness.NoLeaks(t)
	ports := freePorts(t, 3)
	a, b, c := ports[0], ports[1], ports[2]
	log := filepath.Join(t.TempDir(), "log")
	p := harness.StartConf(t, pair(t, log, "", "one "+a, "two "+b), 2, log)
	apply := func(listeners ...string) {
		t.Helper()
		if err := p.Server.Apply(pair(t, log, "", listeners...)); err != nil {
			t.Fatal(err)
		}
	}
	want := func(port, name string) {
		t.Helper()
		if got := whoAt(t, port); got != name {
			t.Errorf("%q answers at the address of %q", got, name)
		}
	}
	want(a, "one")
	want(b, "two")
	apply("one "+b, "two "+a)
	want(a, "two")
	want(b, "one")
	apply("one "+c, "two "+a)
	want(c, "one")
	apply("one "+b, "two "+a)
	want(b, "one")
	if err := p.Server.Apply(pair(t, log, "", "one "+c, "two "+a, "three "+c)); err == nil || !strings.Contains(err.Error(), "used twice") {
		t.Errorf("two listeners at one address: %v", err)
	}
	want(b, "one")
	// The series of an address are there while somebody has it.
	p.WantStats(harness.Stats{"listener.127.0.0.1_" + b + ".downstream_cx_active": 0, "listener.127.0.0.1_" + a + ".downstream_cx_overflow": 0})
	p.WantStats(harness.Stats{"listener_manager.total_listeners_draining": 0, "listener_manager.total_listeners_active": 2})
	if _, there := p.Stats()["listener.127.0.0.1_"+c+".downstream_cx_active"]; there {
		t.Error("the series of an address nobody has are still shown")
	}
}

// Without reuse_port two sockets cannot have one address, so that an exchange is refused, whole.
func TestListenersThatCannotMoveStay(t *testing.T) {
	harness.NoLeaks(t)
	ports := freePorts(t, 3)
	a, b, c := ports[0], ports[1], ports[2]
	log := filepath.Join(t.TempDir(), "log")
	const alone = "enable_reuse_port: false"
	p := harness.StartConf(t, pair(t, log, alone, "one "+a, "two "+b), 2, log)
	before := p.Stats()
	if err := p.Server.Apply(pair(t, log, alone, "new "+c, "one "+b, "two "+a)); err == nil {
		t.Error("the exchange is accepted")
	}
	if one, two := whoAt(t, a), whoAt(t, b); one != "one" || two != "two" {
		t.Errorf("%q and %q answer", one, two)
	}
	if conn, err := net.Dial("tcp", "127.0.0.1:"+c); err == nil {
		conn.Close()
		t.Error("the new listener of the refused snapshot listens")
	}
	for name := range p.Stats() {
		if _, ok := before[name]; !ok && strings.HasPrefix(name, "listener.") {
			t.Errorf("the refused snapshot left %s", name)
		}
	}
}

// A listener that only changes its name keeps the series of its address.
func TestARenamedListenerKeepsItsStats(t *testing.T) {
	harness.NoLeaks(t)
	a := freePorts(t, 1)[0]
	log := filepath.Join(t.TempDir(), "log")
	p := harness.StartConf(t, pair(t, log, "", "old "+a), 1, log)
	whoAt(t, a)
	if err := p.Server.Apply(pair(t, log, "", "new "+a)); err != nil {
		t.Fatal(err)
	}
	p.WantStats(harness.Stats{"listener_manager.total_listeners_draining": 0})
	if got := whoAt(t, a); got != "new" {
		t.Errorf("%q answers", got)
	}
	p.WantStats(harness.Stats{"listener.127.0.0.1_" + a + ".downstream_cx_total": 2, "listener.127.0.0.1_" + a + ".downstream_cx_overflow": 0})
}

// How many connections were refused does not go back when another socket takes the address.
func TestOverflowSurvivesANewSocket(t *testing.T) {
	harness.NoLeaks(t)
	a := freePorts(t, 1)[0]
	log := filepath.Join(t.TempDir(), "log")
	limits := func(n int) *conf.Bootstrap {
		b := pair(t, log, "", "one "+a)
		b.Listeners[0].ConnectionLimit, b.Listeners[0].Raw = n, nil
		return b
	}
	p := harness.StartConf(t, limits(1), 1, log)
	overflow := "listener.127.0.0.1_" + a + ".downstream_cx_overflow"
	first := harness.Dial(t, p.Addr)
	first.Get("/").Want(200, "one")
	second := harness.Dial(t, p.Addr)
	_ = second.WantEnd()
	second.Close()
	p.WantStats(harness.Stats{overflow: 1})
	first.Close()
	p.WantQuiet()
	if err := p.Server.Apply(limits(2)); err != nil {
		t.Fatal(err)
	}
	p.WantStats(harness.Stats{"listener_manager.total_listeners_draining": 0, overflow: 1})
}

// A route and its cluster come and go together: no request meets one without the other.
func TestClustersComeAndGoWithTheirRoutes(t *testing.T) {
	harness.NoLeaks(t)
	o := harness.NewOrigin(t, "a")
	topology := func(cluster string) harness.Topology {
		top := one(o)
		top.Loops, top.Clusters[0].Name = 2, cluster
		return top
	}
	p := harness.Start(t, topology("c0"))
	l := startLoad(t, p.Addr, 8, ok200)
	for i := range 200 {
		p.Apply(topology(fmt.Sprintf("c%d", i+1)))
	}
	l.stop()
	p.WantStats(harness.Stats{inHTTP + "no_cluster": 0, inHTTP + "downstream_rq_5xx": 0, "cluster_manager.active_clusters": 1, "cluster_manager.cluster_removed": 200})
}

// A removed listener's connections are cut when the drain time is over (OP-52), and say what of.
func TestARemovedListenerEndsWithTheDrainTime(t *testing.T) {
	harness.NoLeaks(t)
	top := one(harness.NewOrigin(t, "a"))
	top.DrainTime = 100 * time.Millisecond
	p := harness.Start(t, top)
	c := p.Dial().Send("GET /delay/60000 HTTP/1.1\r\nHost: test\r\n\r\n")
	p.WantStats(harness.Stats{onOrigin + "upstream_rq_active": 1})
	empty := harness.Load(t, top.YAML(filepath.Join(t.TempDir(), "log")))
	empty.Listeners = nil
	if err := p.Server.Apply(empty); err != nil {
		t.Fatal(err)
	}
	_, _ = c.Rest()
	p.WantLine("0 LR ")
	p.WantStats(harness.Stats{
		inHTTP + "downstream_cx_destroy_local": 1, inHTTP + "downstream_cx_destroy_local_active_rq": 1, inHTTP + "downstream_rq_tx_reset": 1,
		onOrigin + "upstream_rq_tx_reset": 1, "listener_manager.total_listeners_draining": 0,
	})
	c.Close()
}

// While the server drains, and after Close, a new configuration is refused; Close ends the wait of Drain.
func TestNoConfigurationIsTakenOnTheWayOut(t *testing.T) {
	harness.NoLeaks(t)
	top := one(harness.NewOrigin(t, "a"))
	top.NotSettled = true
	p := harness.Start(t, top)
	c := p.Dial().Send("GET /delay/60000 HTTP/1.1\r\nHost: test\r\n\r\n")
	p.WantStats(harness.Stats{onOrigin + "upstream_rq_active": 1})
	drained := make(chan struct{})
	go func() {
		p.Server.Drain(context.Background())
		close(drained)
	}()
	harness.Eventually(t, "the drain begins", func() bool { return p.Server.State() == proxy.Draining })
	again := harness.Load(t, top.YAML(filepath.Join(t.TempDir(), "log")))
	if err := p.Server.Apply(again); err == nil {
		t.Error("a configuration is taken while the server drains")
	}
	if err := p.Server.Close(); err != nil {
		t.Error(err)
	}
	select {
	case <-drained:
	case <-time.After(harness.Patience):
		t.Error("Drain goes on after Close")
	}
	if err := p.Server.Apply(again); err == nil {
		t.Error("a configuration is taken after Close")
	}
	c.Close()
}

// A replaced listener's log file is closed when the last request that began with it is over, not before
// and not much later.
func TestALogFileIsKeptForTheStreamsThatNeedIt(t *testing.T) {
	harness.NoLeaks(t)
	o := harness.NewOrigin(t, "a")
	top := one(o)
	dir := t.TempDir()
	first, second := filepath.Join(dir, "first"), filepath.Join(dir, "second")
	b := harness.Load(t, top.YAML(first))
	b.AccessLogFlushInterval = 20 * time.Millisecond
	p := harness.StartConf(t, b, 1, first, o)
	c := p.Dial().Send("GET /delay/1500 HTTP/1.1\r\nHost: test\r\n\r\n")
	p.WantStats(harness.Stats{onOrigin + "upstream_rq_active": 1})
	if err := p.Server.Apply(harness.Load(t, top.YAML(second))); err != nil {
		t.Fatal(err)
	}
	c.Read("GET").Want(200, "delayed 1500\n")
	p.WantLine("200 - via_upstream GET /delay/1500")
	harness.Eventually(t, "the first log is closed", func() bool { return !isOpen(first) })
	c.Close()
}

// isOpen says whether the process has the file open; always no on systems without /proc.
func isOpen(path string) bool {
	all, _ := os.ReadDir("/proc/self/fd")
	for _, fd := range all {
		if to, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil && to == path {
			return true
		}
	}
	return false
}
