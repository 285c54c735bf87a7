package network_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/proxy"
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/network"
)

// greeter answers every connection with its name and keeps it open until the client leaves.
func greeter(t *testing.T, name string) netip.AddrPort {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				io.WriteString(c, name)
				io.Copy(io.Discard, c)
			}()
		}
	}()
	return netip.MustParseAddrPort(l.Addr().String())
}

// serve runs a TCP proxy to the clusters "one" and "two" behind the filters. It returns the server,
// its address and the listener's access log.
func serve(t *testing.T, custom map[string]network.Factory, filters ...conf.NetworkFilter) (s *proxy.Server, address, log string) {
	log = filepath.Join(t.TempDir(), "log")
	l := conf.NewListener("in", netip.MustParseAddrPort("127.0.0.1:0"), &conf.FilterChain{Filters: filters, TCP: conf.NewTCPProxy("p", "one")})
	l.AccessLogs = []*conf.AccessLog{{Path: log, Format: &conf.Format{Text: "%RESPONSE_FLAGS% %CONNECTION_TERMINATION_DETAILS%\n"}}}
	s, err := proxy.New(proxy.Options{Concurrency: 2, NetworkFilters: custom, Config: &conf.Bootstrap{
		Listeners: []*conf.Listener{l},
		Clusters:  []*conf.Cluster{conf.NewCluster("one", greeter(t, "one")), conf.NewCluster("two", greeter(t, "two"))},
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if err := s.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	return s, s.Listeners()[0].Addresses[0].String(), log
}

// visit connects and returns what the server says first: a cluster's name, or nothing when the
// connection is refused.
func visit(t *testing.T, address string) (c net.Conn, said string) {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetReadDeadline(time.Now().Add(20 * time.Second))
	b := make([]byte, 3)
	n, err := io.ReadFull(c, b)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal("the connection is neither served nor closed")
	}
	return c, string(b[:n])
}

// eventually waits for a statistic.
func eventually(t *testing.T, s *proxy.Server, name string, want int64) {
	t.Helper()
	got := int64(-1)
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		m := s.Registry().Collect()
		for _, c := range m.Counters {
			if c.Name == name {
				got = int64(c.Value)
			}
		}
		for _, g := range m.Gauges {
			if g.Name == name {
				got = g.Value
			}
		}
		if got == want {
			return
		}
	}
	t.Errorf("%s is %d, want %d", name, got, want)
}

// wantLog compares the listener's log once all of it is written.
func wantLog(t *testing.T, s *proxy.Server, path, want string) {
	t.Helper()
	var got []byte
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		s.FlushLogs()
		if got, _ = os.ReadFile(path); len(got) >= len(want) {
			break
		}
	}
	if string(got) != want {
		t.Errorf("log %q, want %q", got, want)
	}
}

func anyone() []*conf.RBACRule { return []*conf.RBACRule{{Kind: conf.RBACAny}} }

func loopback() []*conf.RBACRule {
	return []*conf.RBACRule{{Kind: conf.RBACDirectRemoteIP, Prefix: netip.MustParsePrefix("127.0.0.0/8")}}
}

func TestServedClusterIsTheFiltersChoice(t *testing.T) {
	_, address, _ := serve(t, map[string]network.Factory{"acme.pick": func(string) (network.Filter, error) {
		return &byAddress{netip.MustParsePrefix("127.0.0.0/8"), []byte("two"), []byte("one")}, nil
	}}, conf.NetworkFilter{Name: "acme.pick"})
	if _, said := visit(t, address); said != "two" {
		t.Errorf("%q, want two", said)
	}
}

func TestServedConnectionsAreLimited(t *testing.T) {
	s, address, log := serve(t, nil, conf.NetworkFilter{ConnectionLimit: &conf.ConnectionLimit{StatPrefix: "l", MaxConnections: 1, Delay: 10 * time.Millisecond}})
	first, said := visit(t, address)
	if said != "one" {
		t.Fatalf("the first: %q", said)
	}
	if _, said := visit(t, address); said != "" {
		t.Errorf("a second: %q, want it refused", said)
	}
	eventually(t, s, "connection_limit.l.limited_connections", 1)
	eventually(t, s, "connection_limit.l.active_connections", 1)
	wantLog(t, s, log, "- over_connection_limit\n")
	first.Close()
	eventually(t, s, "connection_limit.l.active_connections", 0)
	if _, said := visit(t, address); said != "one" {
		t.Errorf("after the first has left: %q", said)
	}
}

// A limit counts what it admitted and a later filter refused only while it was there.
func TestServedLimitHearsOfLaterRefusals(t *testing.T) {
	s, address, log := serve(t, nil,
		conf.NetworkFilter{ConnectionLimit: &conf.ConnectionLimit{StatPrefix: "l", MaxConnections: 1}},
		conf.NetworkFilter{RBAC: &conf.NetworkRBAC{StatPrefix: "r", Rules: &conf.RBAC{Action: conf.RBACDeny, Policies: []conf.RBACPolicy{
			{Name: "no locals", Permissions: anyone(), Principals: loopback()},
		}}}})
	for range 3 {
		if _, said := visit(t, address); said != "" {
			t.Errorf("%q, want it refused", said)
		}
	}
	eventually(t, s, "r.rbac.denied", 3)
	eventually(t, s, "connection_limit.l.limited_connections", 0)
	eventually(t, s, "connection_limit.l.active_connections", 0)
	const line = "- rbac_access_denied_matched_policy[no_locals]\n"
	wantLog(t, s, log, line+line+line)
}

func TestServedConnectionsTakeTokens(t *testing.T) {
	s, address, log := serve(t, nil,
		conf.NetworkFilter{RBAC: &conf.NetworkRBAC{
			StatPrefix: "r", Rules: &conf.RBAC{Policies: []conf.RBACPolicy{{Name: "locals", Permissions: anyone(), Principals: loopback()}}}, ShadowRules: &conf.RBAC{},
		}},
		conf.NetworkFilter{LocalRateLimit: &conf.NetworkLocalRateLimit{StatPrefix: "t", MaxTokens: 2, TokensPerFill: 1, FillInterval: time.Hour}},
	)
	for i, want := range []string{"one", "one", "", ""} {
		if _, said := visit(t, address); said != want {
			t.Errorf("connection %d: %q, want %q", i, said, want)
		}
	}
	eventually(t, s, "local_rate_limit.t.rate_limited", 2)
	eventually(t, s, "r.rbac.allowed", 4)
	eventually(t, s, "r.rbac.shadow_denied", 4)
	wantLog(t, s, log, "RL local_ratelimit_close_over_limit\nRL local_ratelimit_close_over_limit\n")
}
