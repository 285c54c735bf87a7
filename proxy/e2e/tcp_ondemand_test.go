package e2e

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/cluster"
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

const lineNC = "TcpConnectionEnd NC cluster_not_found "

// onDemand is on_demand with clusters from a directory.
func onDemand(dir, timeout string) string {
	return fmt.Sprintf("on_demand: { odcds_config: { path_config_source: { path: %q } }, timeout: %s }\n", dir, timeout)
}

// putCluster writes, or replaces, the file of a cluster with one host.
func putCluster(t *testing.T, dir, name string, o harness.Origin, fields string) {
	t.Helper()
	host, port, err := net.SplitHostPort(o.Address())
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("name: %s\nload_assignment: { cluster_name: %s, endpoints: [{ lb_endpoints: [{ endpoint: { address: { socket_address: { address: %s, port_value: %s } } } }] }] }\n%s",
		name, name, host, port, fields)
	half := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(half, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(half, filepath.Join(dir, name+".yaml")); err != nil {
		t.Fatal(err)
	}
}

// demand counts on_demand_cluster_*.
func demand(attempt, success, missing, timeout int64) harness.Stats {
	const prefix = inTCP + "on_demand_cluster_"
	return harness.Stats{prefix + "attempt": attempt, prefix + "success": success, prefix + "missing": missing, prefix + "timeout": timeout}
}

// TCP-30: a cluster that is not configured is looked up by the first session that wants it, serves until
// its file goes, and follows it.
func TestTCPOnDemandDirectory(t *testing.T) {
	harness.NoLeaks(t)
	for _, loops := range []int{1, 2} {
		dir := t.TempDir()
		first := harness.NewRaw(t, harness.Named("first"))
		second := harness.NewRaw(t, harness.Named("second"))
		p := harness.StartTCP(t, harness.TCPTopology{
			Loops: loops, Clusters: clustersNamed(t, "configured"), ListenerFilters: tlsInspector, Filters: sniCluster, Proxy: onDemand(dir, "10s"),
		})
		session := func() string {
			c := p.Dial().Send(string(clientHello(t, "tenant")))
			defer c.Close()
			return c.Line()
		}
		putCluster(t, dir, "tenant", first, "")
		if who := session(); who != "first" {
			t.Errorf("%q answers", who)
		}
		p.WantStats(demand(1, 1, 0, 0))
		if who := session(); who != "first" {
			t.Errorf("%q answers", who)
		}
		p.WantStats(demand(1, 1, 0, 0)) // it is there now
		p.WantStats(harness.Stats{"cluster.tenant.upstream_cx_total": 2, inTCP + "downstream_cx_no_route": 0})

		old := p.Dial().Send(string(clientHello(t, "tenant")))
		old.Line()
		putCluster(t, dir, "tenant", second, "connect_timeout: 3s")
		harness.Eventually(t, "the changed file", func() bool { return session() == "second" })
		old.Send("!") // a session that began before is not touched
		if err := os.Remove(filepath.Join(dir, "tenant.yaml")); err != nil {
			t.Fatal(err)
		}
		harness.Eventually(t, "the cluster to go", func() bool { return p.Stats()["cluster.tenant.membership_total"] == 0 })
		c := p.Dial().Send(string(clientHello(t, "tenant")))
		_ = c.WantEnd()
		p.WantStats(demand(2, 1, 1, 0))
		p.WantStats(harness.Stats{inTCP + "downstream_cx_no_route": 1})
		harness.Eventually(t, "the line of the session without a cluster", func() bool {
			return slices.ContainsFunc(p.Lines(), func(l string) bool { return strings.HasPrefix(l, lineNC) })
		})
		old.Close()
	}
}

// TCP-30: what there is no file for, or only a bad one, ends with NC; a configured cluster is not looked
// up.
func TestTCPOnDemandMissing(t *testing.T) {
	harness.NoLeaks(t)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "broken.yaml"), []byte("name: broken\nno_such_field: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := harness.StartTCP(t, harness.TCPTopology{
		Clusters: clustersNamed(t, "configured"), ListenerFilters: tlsInspector, Filters: sniCluster, Proxy: onDemand(dir, "10s"),
	})
	for i, name := range []string{"absent", "broken"} {
		_ = p.Dial().Send(string(clientHello(t, name))).WantEnd() // a FIN, or a RST for the hello nobody read
		p.WantStats(demand(int64(i+1), 0, int64(i+1), 0))
	}
	p.WantStats(harness.Stats{inTCP + "downstream_cx_no_route": 2})
	for _, l := range p.AwaitLines(2) {
		if !strings.HasPrefix(l, lineNC) {
			t.Errorf("line %q", l)
		}
	}
	c := p.Dial().Send(string(clientHello(t, "configured")))
	if who := c.Line(); who != "configured" {
		t.Errorf("%q answers", who)
	}
	p.WantStats(demand(2, 0, 2, 0))
}

// slowProvider answers when it is told, and hears when nobody waits any more.
type slowProvider struct {
	answer chan *conf.Cluster
	asked  chan string
	left   chan struct{}
}

func newSlowProvider() *slowProvider {
	return &slowProvider{answer: make(chan *conf.Cluster), asked: make(chan string, 10), left: make(chan struct{}, 10)}
}

var _ cluster.Provider = (*slowProvider)(nil)

func (s *slowProvider) Lookup(ctx context.Context, name string) (*conf.Cluster, error) {
	s.asked <- name
	select {
	case c := <-s.answer:
		return c, nil
	case <-ctx.Done():
		s.left <- struct{}{}
		return nil, ctx.Err()
	}
}

func (*slowProvider) Watch(func(string)) func() { return func() {} }

func demanding(t *testing.T, s *slowProvider, proxy string) harness.TCPTopology {
	return harness.TCPTopology{
		Clusters: clustersNamed(t, "configured"), Filters: harness.SetFilterState(clusterKey, "wanted"), Provider: s, Proxy: proxy,
	}
}

// TCP-30: a lookup that takes too long ends the session; one that the client leaves is taken back.
func TestTCPOnDemandTimeoutAndLeaving(t *testing.T) {
	harness.NoLeaks(t)
	s := newSlowProvider()
	p := harness.StartTCP(t, demanding(t, s, onDemand("/nowhere", "0.1s")))
	_ = p.Dial().WantEnd()
	p.WantLines("TcpConnectionEnd NC cluster_not_found 0 0 -")
	p.WantStats(demand(1, 0, 0, 1))
	p.WantStats(harness.Stats{inTCP + "downstream_cx_no_route": 1})
	<-s.left

	s = newSlowProvider()
	p = harness.StartTCP(t, demanding(t, s, onDemand("/nowhere", "60s")+early(100)))
	c := p.Dial().Send("early")
	if name := <-s.asked; name != "wanted" {
		t.Errorf("%q is looked up", name)
	}
	p.WantStats(harness.Stats{inTCP + "downstream_cx_rx_bytes_buffered": 5})
	c.Reset()
	<-s.left // nobody wants it any more
	p.WantLines("TcpConnectionEnd DC downstream_remote_disconnect 5 0 -")
	p.WantStats(demand(1, 0, 0, 0))
}

// What a client sends while its cluster is looked up is early data; timeouts and drains end the wait too.
func TestTCPOnDemandWaits(t *testing.T) {
	harness.NoLeaks(t)
	found := func(o harness.Origin) *conf.Cluster {
		dir := t.TempDir()
		putCluster(t, dir, "wanted", o, "")
		c, err := harness.LoadCluster(filepath.Join(dir, "wanted.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	t.Run("early data", func(t *testing.T) {
		s := newSlowProvider()
		p := harness.StartTCP(t, demanding(t, s, onDemand("/nowhere", "60s")+early(100)))
		c, other := p.Dial().Send("early"), p.Dial()
		<-s.asked
		p.WantStats(demand(2, 0, 0, 0))
		s.answer <- found(echoes(t))
		c.WantText("early").Send("more").WantText("more")
		other.Send("x").WantText("x")
		p.WantStats(demand(2, 2, 0, 0))
		p.WantStats(harness.Stats{inTCP + "early_data_received_count_total": 1})
		if n := len(s.asked); n != 0 {
			t.Errorf("%d more lookups for the same name", n)
		}
	})
	t.Run("idle", func(t *testing.T) {
		s := newSlowProvider()
		p := harness.StartTCP(t, demanding(t, s, onDemand("/nowhere", "60s")+"idle_timeout: 0.1s"))
		_ = p.Dial().WantEnd()
		p.WantLines("TcpConnectionEnd - tcp_session_idle_timeout 0 0 -")
		<-s.left
	})
	t.Run("gone again", func(t *testing.T) {
		s := newSlowProvider()
		p := harness.StartTCP(t, demanding(t, s, onDemand("/nowhere", "60s")))
		c := p.Dial()
		s.answer <- nil
		_ = c.WantEnd()
		p.WantStats(demand(1, 0, 1, 0))
	})
	t.Run("closed", func(t *testing.T) {
		s := newSlowProvider()
		top := demanding(t, s, onDemand("/nowhere", "60s"))
		top.NotSettled = true
		p := harness.StartTCP(t, top)
		c := p.Dial()
		<-s.asked
		if err := p.Server.Close(); err != nil {
			t.Error(err)
		}
		_ = c.WantEnd()
		p.WantLine("TcpConnectionEnd LR local_reset ")
	})
}
