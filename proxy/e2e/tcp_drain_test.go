package e2e

import (
	"context"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/proxy"
	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

const (
	checksDrain = "check_drain_close: true\n"
	lineDrained = "TcpConnectionEnd - drain "
)

// live starts a session and shows that bytes move in it.
func live(p *harness.Proxy) *harness.Client { return p.Dial().Send("live").WantText("live") }

// check_drain_close ends sessions when the listener drains, whatever makes it; without it they go on.
func TestTCPCheckDrainClose(t *testing.T) {
	harness.NoLeaks(t)
	for name, drain := range map[string]func(s *proxy.Server){
		"draining listeners":    func(s *proxy.Server) { s.DrainListeners(proxy.ListenerDrain{Graceful: true, SkipExit: true}) },
		"a failed health check": func(s *proxy.Server) { s.FailHealthCheck(true) },
		"draining inbound ones": func(s *proxy.Server) {
			s.DrainListeners(proxy.ListenerDrain{Graceful: true, SkipExit: true, InboundOnly: true})
		},
		"and then the sockets go": func(s *proxy.Server) { s.DrainListeners(proxy.ListenerDrain{Graceful: true}) },
	} {
		t.Run(name, func(t *testing.T) {
			p := harness.StartTCP(t, harness.TCPTopology{
				Clusters: to(echoes(t)), Loops: 2, Listener: "traffic_direction: INBOUND",
				Chains: []harness.Chain{
					{Name: "checks", Proxy: checksDrain, Match: "{ source_prefix_ranges: [{ address_prefix: 127.0.0.1, prefix_len: 32 }] }"},
					{Name: "stays", Match: "{ source_prefix_ranges: [{ address_prefix: 127.0.0.2, prefix_len: 32 }] }"},
				},
				DrainTime: time.Minute,
			})
			stays := p.DialFrom("127.0.0.2").Send("a").WantText("a")
			checks := live(p)
			drain(p.Server)
			if err := checks.WantEnd(); err != nil {
				t.Error(err)
			}
			checks.Close()
			p.WantLines(lineDrained + "4 4 origin")
			// Who comes now is sent away.
			late := p.Dial()
			_ = late.WantEnd()
			late.Close()
			stays.Send("b").WantText("b")
		})
	}
}

// Bytes under way when a session drains arrive first.
func TestTCPDrainFlushes(t *testing.T) {
	harness.NoLeaks(t)
	const size = 8 << 20
	o := harness.NewRaw(t, func(p *harness.Peer) {
		_ = harness.SendStream(p.TCPConn, size)
		p.Drain()
	})
	p := harness.StartTCP(t, harness.TCPTopology{Clusters: to(o), Proxy: checksDrain})
	c := harness.Dialing{ReceiveBuffer: 16 << 10}.Dial(t, p.Addr)
	harness.Eventually(t, "the origin to be stopped", func() bool { return p.Stat(onOrigin+"upstream_flow_control_paused_reading_total") > 0 })
	taken := p.Stat(onOrigin + "upstream_cx_rx_bytes_total")
	p.Server.DrainListeners(proxy.ListenerDrain{Graceful: true, SkipExit: true})
	n, err := harness.TakeStream(c.Reader())
	if n < taken || err != nil {
		t.Errorf("%d bytes, then %v; %d had been taken from the origin", n, err, taken)
	}
	c.Close()
	p.WantLine(lineDrained)
}

// A session that waits for its upstream is ended by a drain as well, without a byte sent.
func TestTCPDrainWhileConnecting(t *testing.T) {
	harness.NoLeaks(t)
	for name, proxyFields := range map[string]string{"connecting": "", "early data": early(100), "waiting for data": onData + early(100)} {
		p := harness.StartTCP(t, harness.TCPTopology{Clusters: to(harness.BlackHole(t)), Proxy: checksDrain + proxyFields})
		c := p.Dial()
		p.WantStats(harness.Stats{inTCP + "downstream_cx_total": 1})
		p.Server.DrainListeners(proxy.ListenerDrain{Graceful: true, SkipExit: true})
		if err := c.WantEnd(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		p.WantLine(lineDrained + "0 0 ")
		p.WantStats(harness.Stats{onOrigin + "upstream_cx_active": 0})
	}
}

// A gradual drain spreads the ends over the drain time.
func TestTCPGradualDrain(t *testing.T) {
	harness.NoLeaks(t)
	p := harness.StartTCP(t, harness.TCPTopology{Clusters: to(echoes(t)), Proxy: checksDrain, DrainTime: 400 * time.Millisecond, GradualDrain: true, LogFormat: "%RESPONSE_CODE_DETAILS%"})
	const sessions = 40
	var all []*harness.Client
	for range sessions {
		all = append(all, live(p))
	}
	p.Server.DrainListeners(proxy.ListenerDrain{Graceful: true, SkipExit: true})
	// The chance that all have a time in the first hundredth of it is 10^-80.
	if n := p.Stat(inListener + "downstream_cx_active"); n == 0 {
		t.Error("all sessions ended at once")
	}
	for _, c := range all {
		_ = c.WantEnd()
		c.Close()
	}
	p.WantLines(slices.Repeat([]string{"drain"}, sessions)...)
}

// /drain_listeners without grace closes the sockets; sessions are not touched.
func TestTCPDrainListenersKeepsSessions(t *testing.T) {
	harness.NoLeaks(t)
	p := harness.StartTCP(t, harness.TCPTopology{Clusters: to(echoes(t)), Proxy: checksDrain})
	c := live(p)
	p.Server.DrainListeners(proxy.ListenerDrain{})
	if other, err := net.Dial("tcp", p.Addr); err == nil {
		other.Close()
		t.Error("the listener still listens")
	}
	c.Send("more").WantText("more").Finish()
	if err := c.WantEnd(); err != nil {
		t.Error(err)
	}
	p.WantLines("TcpConnectionEnd - - 8 8 origin")
}

// Server.Drain: sessions that do not mind have the whole drain time.
func TestTCPServerDrain(t *testing.T) {
	harness.NoLeaks(t)
	p := harness.StartTCP(t, harness.TCPTopology{
		Clusters: to(echoes(t)), DrainTime: 20 * time.Second, NotSettled: true,
		Chains: []harness.Chain{
			{Name: "checks", Proxy: checksDrain, Match: "{ source_prefix_ranges: [{ address_prefix: 127.0.0.1, prefix_len: 32 }] }"},
			{Name: "stays", Match: "{ source_prefix_ranges: [{ address_prefix: 127.0.0.2, prefix_len: 32 }] }"},
		},
	})
	checks, stays := live(p), p.DialFrom("127.0.0.2").Send("a").WantText("a")
	drained := make(chan struct{})
	go func() {
		p.Server.Drain(context.Background())
		close(drained)
	}()
	if err := checks.WantEnd(); err != nil {
		t.Error(err)
	}
	checks.Close()
	stays.Send("b").WantText("b").Finish()
	if err := stays.WantEnd(); err != nil {
		t.Error(err)
	}
	stays.Close()
	select {
	case <-drained:
	case <-time.After(harness.Patience / 2):
		t.Error("the drain goes on without sessions")
	}
	p.WantLines(lineDrained+"4 4 origin", "TcpConnectionEnd - - 2 2 origin")
}

// chainsFrom are chains for the client addresses 127.0.0.1, 127.0.0.2 and so on, in order.
func chainsFrom(list ...harness.Chain) []harness.Chain {
	for i := range list {
		list[i].Match = "{ source_prefix_ranges: [{ address_prefix: 127.0.0." + string(rune('1'+i)) + ", prefix_len: 32 }] }"
	}
	return list
}

// A listener whose chains change: a chain that stays keeps its sessions, with what they began with; one
// that goes drains, and has until the drain time is over.
func TestTCPReloadOfChains(t *testing.T) {
	harness.NoLeaks(t)
	clusters := clustersNamed(t, "a", "b")
	top := harness.TCPTopology{Clusters: clusters, DrainTime: 700 * time.Millisecond, Loops: 2, Chains: chainsFrom(
		harness.Chain{Name: "stays", Cluster: "a"}, harness.Chain{Name: "goes", Cluster: "a"}, harness.Chain{Name: "goes-checked", Cluster: "a", Proxy: checksDrain},
	)}
	p := harness.StartTCP(t, top)
	begin := func(from string, cluster string) *harness.Client {
		t.Helper()
		c := p.DialFrom(from)
		if who := c.Line(); who != cluster {
			t.Errorf("%s comes to %s, want %s", from, who, cluster)
		}
		return c
	}
	stays, goes, checked := begin("127.0.0.1", "a"), begin("127.0.0.2", "a"), begin("127.0.0.3", "a")
	top.Chains = chainsFrom(harness.Chain{Name: "stays", Cluster: "b"}, harness.Chain{Name: "new", Cluster: "b"})
	p.ApplyTCP(top)
	p.WantStats(harness.Stats{
		"listener_manager.listener_in_place_updated": 1, "listener_manager.listener_modified": 1, "listener_manager.total_filter_chains_draining": 2,
		"listener_manager.total_listeners_draining": 0,
	})
	if err := checked.WantEnd(); err != nil {
		t.Errorf("a session that checks: %v", err)
	}
	checked.Close()
	stays.Send("old").WantText("old")
	begin("127.0.0.1", "b").Close()
	begin("127.0.0.2", "b").Close()
	_ = goes.WantEnd()
	p.WantStats(harness.Stats{"listener_manager.total_filter_chains_draining": 0})
	stays.Send("still old").WantText("still old").Finish()
	if err := stays.WantEnd(); err != nil {
		t.Error(err)
	}
	lines := p.AwaitLines(5)
	slices.Sort(lines)
	if got := strings.Join(lines, "|"); got != "TcpConnectionEnd - - 0 2 b|TcpConnectionEnd - - 0 2 b|TcpConnectionEnd - - 12 14 a|TcpConnectionEnd - drain 0 2 a|TcpConnectionEnd - drain 0 2 a" {
		t.Errorf("the lines are %q", lines)
	}
}

// A chain without a name is told by what it matches.
func TestTCPReloadOfAChainWithoutAName(t *testing.T) {
	harness.NoLeaks(t)
	clusters := clustersNamed(t, "a", "b")
	p := harness.StartTCP(t, harness.TCPTopology{Clusters: clusters, Proxy: checksDrain + "cluster: a"})
	c := p.Dial()
	c.Line()
	p.ApplyTCP(harness.TCPTopology{Clusters: clusters, Proxy: checksDrain + "cluster: b"})
	if who := p.Dial().Line(); who != "b" {
		t.Errorf("a new session comes to %s", who)
	}
	c.Send("old").WantText("old")
}

// A listener that is removed: its socket goes at once, its sessions when the drain time is over.
func TestTCPRemovedListener(t *testing.T) {
	harness.NoLeaks(t)
	top := harness.TCPTopology{Clusters: to(echoes(t)), DrainTime: 300 * time.Millisecond, ListenerFilters: proxyProtocol("allow_requests_without_proxy_protocol: true")}
	p := harness.StartTCP(t, top)
	c := live(p)
	waiting := p.Dial().Send("PROXY ") // no chain has taken it
	p.WantStats(harness.Stats{inListener + "downstream_pre_cx_active": 1})
	b := harness.LoadTCP(t, top)
	b.Listeners = nil
	if err := p.Server.Apply(b); err != nil {
		t.Fatal(err)
	}
	p.WantStats(harness.Stats{"listener_manager.listener_removed": 1, "listener_manager.total_listeners_active": 0})
	c.Send("more").WantText("more")
	_ = c.WantEnd()
	_ = waiting.WantEnd()
	p.WantLines(lineDrained + "8 8 origin")
	p.WantStats(harness.Stats{"listener_manager.total_listeners_draining": 0})
}

// A cluster that is removed, or loses a host, keeps the sessions that are there; attempts under way end.
func TestTCPRemovedClusterAndHosts(t *testing.T) {
	harness.NoLeaks(t)
	clusters := clustersNamed(t, "a", "b")
	p := harness.StartTCP(t, harness.TCPTopology{Clusters: clusters, Proxy: "cluster: a", Loops: 2})
	old := p.Dial()
	old.Line()
	p.ApplyTCP(harness.TCPTopology{Clusters: clusters[1:], Proxy: "cluster: b", Loops: 2})
	if _, there := p.Stats()["cluster.a.membership_total"]; there {
		t.Error("the cluster is still there")
	}
	old.Send("still to a").WantText("still to a")
	again := p.Dial()
	if who := again.Line(); who != "b" {
		t.Errorf("a new session comes to %s", who)
	}
	// The host of b is another one now.
	other := clustersNamed(t, "b")
	p.ApplyTCP(harness.TCPTopology{Clusters: other, Proxy: "cluster: b", Loops: 2})
	again.Send("still to b").WantText("still to b")
	if who := p.Dial().Line(); who != "b" {
		t.Errorf("a new session comes to %s", who)
	}
	old.Finish()
	if err := old.WantEnd(); err != nil {
		t.Error(err)
	}
	again.Finish()
	if err := again.WantEnd(); err != nil {
		t.Error(err)
	}
}

// Attempts at a host that is gone end, the next one goes to one that is there.
func TestTCPHostsChangeDuringAttempts(t *testing.T) {
	harness.NoLeaks(t)
	p := harness.StartTCP(t, harness.TCPTopology{Clusters: to(harness.Refusing(t)), Proxy: retryForEver})
	c := p.Dial().Send("x")
	harness.Eventually(t, "an attempt", func() bool { return p.Stat(onOrigin+"upstream_cx_connect_fail") > 0 })
	p.ApplyTCP(harness.TCPTopology{Clusters: to(echoes(t)), Proxy: retryForEver})
	c.WantText("x").Close()
	p.WantLine("TcpConnectionEnd UF ")
}
