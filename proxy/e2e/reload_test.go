package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/bench/origin"
	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// load is clients that go on asking until they are stopped.
type load struct {
	t      *testing.T
	cancel context.CancelFunc
	done   sync.WaitGroup
	// answered counts good answers.
	answered atomic.Int64

	mu     sync.Mutex
	faults []string
}

// startLoad runs clients that keep their connections; good says what an answer must be.
func startLoad(t *testing.T, addr string, clients int, good func(*harness.Message) bool) *load {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{t: t, cancel: cancel}
	for range clients {
		l.done.Go(func() { l.run(ctx, addr, good) })
	}
	harness.Eventually(t, "the load runs", func() bool { return l.answered.Load() > int64(10*clients) })
	return l
}

func (l *load) run(ctx context.Context, addr string, good func(*harness.Message) bool) {
	var w *harness.Wire
	var c net.Conn
	defer func() {
		if c != nil {
			_ = c.Close()
		}
	}()
	for ctx.Err() == nil {
		if w == nil {
			var err error
			if c, err = net.DialTimeout("tcp", addr, harness.Patience); err != nil {
				l.fault("dial: %v", err)
				return
			}
			w = harness.NewWire(l.t, c)
		}
		if err := w.TrySend(get); err != nil {
			l.fault("write: %v", err)
			return
		}
		m, err := w.TryRead(false)
		if err != nil || !good(m) {
			l.fault("answer %+v: %v", m, err)
			return
		}
		l.answered.Add(1)
		if m.Get("connection") == "close" {
			_ = c.Close()
			w = nil
		}
	}
}

func (l *load) fault(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.faults = append(l.faults, fmt.Sprintf(format, args...))
}

// more waits until n more requests were answered.
func (l *load) more(n int64) {
	l.t.Helper()
	until := l.answered.Load() + n
	harness.Eventually(l.t, "more answers", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.answered.Load() >= until || len(l.faults) > 0
	})
}

// stop ends the clients; no request may have gone wrong.
func (l *load) stop() {
	l.t.Helper()
	l.cancel()
	l.done.Wait()
	for _, f := range l.faults {
		l.t.Error(f)
	}
}

func ok200(m *harness.Message) bool { return m.Status() == 200 }

// Routes, clusters and endpoints change under load: nothing is lost, connections stay.
func TestReloadUnderLoad(t *testing.T) {
	harness.NoLeaks(t)
	a, b := harness.NewOrigin(t, "a"), harness.NewOrigin(t, "b")
	topology := func(o harness.Origin, extra string) harness.Topology {
		top := one(o)
		top.Loops = 2
		top.VirtualHost = "response_headers_to_add: [{ header: { key: x-version, value: \"" + extra + "\" } }]"
		return top
	}
	p := harness.Start(t, topology(a, "0"))
	l := startLoad(t, p.Addr, 8, ok200)
	for i := range 20 {
		o := harness.Origin(a)
		if i%2 == 0 {
			o = b
		}
		p.Apply(topology(o, fmt.Sprint(i+1)))
		l.more(50)
	}
	l.stop()
	p.WantStats(harness.Stats{
		"http.in.downstream_cx_total": 8, "http.in.downstream_rq_5xx": 0, "http.in.downstream_rq_rx_reset": 0,
		"server.config_update_success": 21, "listener_manager.listener_in_place_updated": 20, "cluster_manager.cluster_modified": 20,
	})
}

// An existing keep-alive connection gets the new routes with its next request, and a request under
// way ends with those it began with.
func TestChangedRoutesReachLiveConnections(t *testing.T) {
	harness.NoLeaks(t)
	goOn := make(chan struct{})
	o := harness.NewScripted(t, origin.Script{origin.ReadHead(), origin.Await(goOn), origin.Respond("old"), origin.Stall()})
	first := one(o)
	p := harness.Start(t, first)
	w := harness.DialWire(t, "tcp", p.Addr)
	w.Send(get)
	harness.Eventually(t, "the request is at the origin", func() bool { return strings.Contains(strings.Join(o.Received(), ""), "GET") })
	second := first
	second.Routes = "- " + direct("prefix: /", "new")
	p.Apply(second)
	other := harness.DialWire(t, "tcp", p.Addr)
	if m := other.Do(get); string(m.Body) != "new" {
		t.Errorf("a new connection got %q", m.Body)
	}
	close(goOn)
	if m := w.Read(); string(m.Body) != "old" {
		t.Errorf("the request under way got %q", m.Body)
	}
	if m := w.Do(get); string(m.Body) != "new" {
		t.Errorf("the connection's next request got %q", m.Body)
	}
}

// Removing an endpoint moves the traffic and ends idle connections to it; a response from it that is
// under way finishes.
func TestRemovedEndpointsFinishTheirResponses(t *testing.T) {
	harness.NoLeaks(t)
	goOn := make(chan struct{})
	old := harness.NewScripted(t, origin.Script{
		origin.ReadHead(), origin.Send("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf"), origin.Await(goOn), origin.Send("rest"), origin.Stall(),
	})
	o := harness.NewOrigin(t, "new")
	p := harness.Start(t, one(old))
	w := harness.DialWire(t, "tcp", p.Addr)
	w.Send(get)
	if m := w.ReadStart(); m.Status() != 200 {
		t.Fatalf("got %s", m.Head())
	}
	p.Apply(one(o))
	if m := ask(t, p, "h", "/"); string(m.Body) != "hello from new\n" {
		t.Errorf("got %q", m.Body)
	}
	close(goOn)
	body := make([]byte, 8)
	if _, err := io.ReadFull(w.In, body); err != nil || string(body) != "halfrest" {
		t.Errorf("got %q, %v", body, err)
	}
	if m := w.Do(get); string(m.Body) != "hello from new\n" {
		t.Errorf("got %q", m.Body)
	}
}

// A snapshot that is refused, for whatever part of it, changes nothing.
func TestARejectedSnapshotChangesNothing(t *testing.T) {
	harness.NoLeaks(t)
	o := harness.NewOrigin(t, "a")
	p := harness.Start(t, one(o))
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	w := harness.DialWire(t, "tcp", p.Addr)
	w.Do(get)
	before := p.Stats()
	bad := one(harness.Refusing(t))
	bad.Routes = "- " + direct("prefix: /", "bad")
	conf := harness.Load(t, bad.YAML(t.TempDir()+"/log"))
	second := *conf.Listeners[0]
	second.Name = "second"
	second.Addresses = append(second.Addresses[:0:0], second.Addresses...)
	port := taken.Addr().(*net.TCPAddr).AddrPort()
	second.Addresses[0].IP = port
	second.ReusePort = false
	conf.Listeners = append(conf.Listeners, &second)
	if err := p.Server.Apply(conf); err == nil {
		t.Fatal("applied with an address in use")
	}
	if m := w.Do(get); string(m.Body) != "hello from a\n" {
		t.Errorf("got %q", m.Body)
	}
	if m := ask(t, p, "h", "/"); string(m.Body) != "hello from a\n" {
		t.Errorf("got %q", m.Body)
	}
	after := p.Stats()
	for _, name := range []string{"listener_manager.total_listeners_active", "cluster_manager.active_clusters", "cluster.origin.membership_change", "cluster_manager.cluster_modified"} {
		if before[name] != after[name] {
			t.Errorf("%s was %d and is %d", name, before[name], after[name])
		}
	}
	if _, err := p.Server.LastError(); err == nil || after["server.config_update_rejected"] != 1 {
		t.Errorf("the refusal is not shown: %v, %d", err, after["server.config_update_rejected"])
	}
}

// Listeners come and go; the others and their connections are not touched (OP-52).
func TestListenersComeAndGo(t *testing.T) {
	harness.NoLeaks(t)
	o := harness.NewRecorder(t, nil)
	log := t.TempDir() + "/log"
	top := one(o)
	conf := harness.Load(t, top.YAML(log))
	p := harness.StartConf(t, conf, 1, log, o)
	stays := harness.DialWire(t, "tcp", p.Addr)
	stays.Do(get)

	both := harness.Load(t, top.YAML(log))
	extra := harness.Load(t, strings.NewReplacer("name: ingress", "name: extra", "stat_prefix: in", "stat_prefix: extra").Replace(top.YAML(log)))
	both.Listeners = append(both.Listeners, extra.Listeners...)
	if err := p.Server.Apply(both); err != nil {
		t.Fatal(err)
	}
	second := p.Server.Listeners()[1].Addresses[0].String()
	idle, fresh := harness.DialWire(t, "tcp", second), harness.DialWire(t, "tcp", second)
	if m := idle.Do(get); string(m.Body) != "ok" {
		t.Fatalf("got %s", m.Head())
	}
	harness.Eventually(t, "both are accepted", func() bool { return p.Stat("listener.extra.downstream_cx_active") == 2 })

	if err := p.Server.Apply(harness.Load(t, top.YAML(log))); err != nil {
		t.Fatal(err)
	}
	idle.WantClosed()
	fresh.WantClosed()
	harness.Eventually(t, "the socket is gone", func() bool {
		c, err := net.Dial("tcp", second)
		if err == nil {
			_ = c.Close()
		}
		return err != nil
	})
	if m := stays.Do(get); string(m.Body) != "ok" {
		t.Errorf("the other listener's connection: %s", m.Head())
	}
	p.WantStats(harness.Stats{
		"listener.in.downstream_cx_total": 1, "listener.in.downstream_cx_active": 1, "http.in.downstream_rq_total": 2,
		"listener_manager.listener_added": 2, "listener_manager.listener_removed": 1, "listener_manager.total_listeners_active": 1,
		"listener_manager.total_listeners_draining": 0,
	})
}

// A removed listener's response under way finishes, and says that it is the last.
func TestARemovedListenerDrains(t *testing.T) {
	harness.NoLeaks(t)
	goOn := make(chan struct{})
	o := harness.NewScripted(t, origin.Script{origin.ReadHead(), origin.Await(goOn), origin.Respond("late"), origin.Stall()})
	log := t.TempDir() + "/log"
	top := one(o)
	p := harness.StartConf(t, harness.Load(t, top.YAML(log)), 1, log, o)
	w := harness.DialWire(t, "tcp", p.Addr)
	w.Send(get)
	harness.Eventually(t, "the request is at the origin", func() bool { return strings.Contains(strings.Join(o.Received(), ""), "GET") })
	empty := harness.Load(t, top.YAML(log))
	empty.Listeners = nil
	if err := p.Server.Apply(empty); err != nil {
		t.Fatal(err)
	}
	close(goOn)
	if m := w.Read(); string(m.Body) != "late" || m.Get("connection") != "close" {
		t.Errorf("got %s%s", m.Head(), m.Body)
	}
	w.WantClosed()
}

// OP-51: Drain loses no request, closes idle connections, and waits for the long response.
func TestDrainUnderLoad(t *testing.T) {
	harness.NoLeaks(t)
	top := one(harness.NewOrigin(t, "a"))
	top.Loops = 2
	p := harness.Start(t, top)
	idle := harness.DialWire(t, "tcp", p.Addr)
	idle.Do(get)
	fresh := harness.DialWire(t, "tcp", p.Addr)
	harness.Eventually(t, "the fresh connection is accepted", func() bool { return p.Server.Connections() == 2 })
	long := harness.DialWire(t, "tcp", p.Addr)
	long.Send("GET /slow?bytes=60&every=20 HTTP/1.1\r\nHost: a\r\n\r\n")
	if m := long.ReadStart(); m.Status() != 200 {
		t.Fatalf("got %s", m.Head())
	}
	// The clients end with the connection, as well-behaved ones that cannot connect again.
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var asked, answered, last atomic.Int64
	var clients sync.WaitGroup
	for range 8 {
		clients.Go(func() {
			c, err := net.Dial("tcp", p.Addr)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			w := harness.NewWire(t, c)
			for ctx.Err() == nil {
				asked.Add(1)
				if err := w.TrySend(get); err != nil {
					t.Errorf("write: %v", err)
					return
				}
				m, err := w.TryRead(false)
				if err != nil || m.Status() != http.StatusOK {
					t.Errorf("lost a request: %+v, %v", m, err)
					return
				}
				answered.Add(1)
				if m.Get("connection") == "close" {
					last.Add(1)
					return
				}
			}
		})
	}
	harness.Eventually(t, "the load runs", func() bool { return answered.Load() > 200 })
	drained := make(chan struct{})
	go func() { defer close(drained); p.Server.Drain(ctx) }()
	body, err := io.ReadAll(io.LimitReader(long.In, 60))
	if err != nil || len(body) != 60 {
		t.Errorf("the long response has %d bytes, %v", len(body), err)
	}
	idle.WantClosed()
	fresh.WantClosed()
	long.WantClosed()
	clients.Wait()
	select {
	case <-drained:
	case <-time.After(harness.Patience):
		t.Fatal("Drain does not return")
	}
	if asked.Load() != answered.Load() || last.Load() != 8 {
		t.Errorf("%d asked, %d answered, %d told to close", asked.Load(), answered.Load(), last.Load())
	}
	if c, err := net.Dial("tcp", p.Addr); err == nil {
		_ = c.Close()
		t.Error("the listener still accepts")
	}
}

// The series of virtual clusters and of routes with a stat_prefix go with them, also those of a snapshot that
// was refused; those that stay go on, and one that comes back counts from zero.
func TestVirtualSeriesGoWithWhatTheyCount(t *testing.T) {
	harness.NoLeaks(t)
	first := one(harness.NewOrigin(t, "a"))
	host := func(text string) harness.Topology {
		top := first
		top.VirtualHosts = "- name: all\n  domains: [\"*\"]\n" + text
		return top
	}
	const (
		clusters = "  virtual_clusters: [{ name: a, headers: [{ name: \":path\", string_match: { prefix: / } }] }]\n"
		routes   = "  routes: [{ match: { prefix: / }, stat_prefix: a, route: { cluster: origin } }]\n"
		others   = "  routes: [{ match: { prefix: / }, stat_prefix: b, route: { cluster: origin } }]\n"
		refused  = "  virtual_clusters: [{ name: refused, headers: [{ name: \":path\", string_match: { prefix: / } }] }]\n"
	)
	p := harness.Start(t, host(clusters+routes))
	want := func(when string, counts map[string]int64) {
		t.Helper()
		s := p.Stats()
		for _, name := range []string{"vcluster.a", "vcluster.other", "vcluster.refused", "route.a", "route.b"} {
			got, there := s["vhost.all."+name+".upstream_rq_total"]
			if n, wanted := counts[name]; there != wanted || got != n {
				t.Errorf("%s: %s is %d, %v, want %d, %v", when, name, got, there, n, wanted)
			}
		}
	}
	ask(t, p, "h", "/")
	want("at first", map[string]int64{"vcluster.a": 1, "vcluster.other": 0, "route.a": 1})
	p.Apply(host(others))
	ask(t, p, "h", "/")
	want("without", map[string]int64{"route.b": 1})
	p.Apply(host(clusters + others))
	ask(t, p, "h", "/")
	want("again", map[string]int64{"vcluster.a": 1, "vcluster.other": 0, "route.b": 2})
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	bad := host(refused + others)
	conf := harness.Load(t, bad.YAML(t.TempDir()+"/log"))
	second := *conf.Listeners[0]
	second.Name, second.ReusePort = "second", false
	second.Addresses = append(second.Addresses[:0:0], second.Addresses...)
	second.Addresses[0].IP = taken.Addr().(*net.TCPAddr).AddrPort()
	conf.Listeners = append(conf.Listeners, &second)
	if err := p.Server.Apply(conf); err == nil {
		t.Fatal("applied with an address in use")
	}
	want("after one that was refused", map[string]int64{"vcluster.a": 1, "vcluster.other": 0, "route.b": 2})
	// What begins as the names of another do stays with it.
	p.Apply(host("  routes: [{ match: { prefix: / }, stat_prefix: b.c, route: { cluster: origin } }]\n"))
	ask(t, p, "h", "/")
	if s := p.Stats(); s["vhost.all.route.b.c.upstream_rq_total"] != 1 || s["vhost.all.route.b.upstream_rq_total"] != 2 {
		t.Errorf("%d and %d", s["vhost.all.route.b.c.upstream_rq_total"], s["vhost.all.route.b.upstream_rq_total"])
	}
}
