package e2e

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// tlsClient talks to one proxy with one program. ask connects for a name, checks the certificate against
// it, sends a line and returns what the server said to it; fails says that there must be no connection.
type tlsClient struct {
	program string
	ask     func(t *testing.T, p *harness.Proxy, a *harness.Authority, name, protocol string) string
	fails   func(t *testing.T, p *harness.Proxy, a *harness.Authority, name string)
}

func curlArgs(p *harness.Proxy, a *harness.Authority, name string) []string {
	_, port, _ := net.SplitHostPort(p.Addr)
	return []string{"-sS", "--noproxy", "*", "--max-time", "30", "--cacert", a.File, "--resolve", name + ":" + port + ":127.0.0.1", "https://" + name + ":" + port + "/"}
}

func opensslArgs(p *harness.Proxy, a *harness.Authority, name string) []string {
	return []string{"s_client", "-quiet", "-no_ign_eof", "-connect", p.Addr, "-servername", name, "-verify_hostname", name, "-verify_return_error", "-CAfile", a.File}
}

var tlsClients = []tlsClient{
	{
		"curl",
		func(t *testing.T, p *harness.Proxy, a *harness.Authority, name, protocol string) string {
			t.Helper()
			alpn := "--no-alpn"
			if protocol != "" {
				alpn = "--http1.1"
			}
			out := harness.Run(t, harness.Tool(t, "curl"), append(curlArgs(p, a, name), alpn)...)
			return strings.TrimSuffix(out, ": GET / HTTP/1.1\n")
		},
		func(t *testing.T, p *harness.Proxy, a *harness.Authority, name string) {
			t.Helper()
			harness.RunFailing(t, harness.Tool(t, "curl"), curlArgs(p, a, name)...)
		},
	},
	{
		"openssl",
		func(t *testing.T, p *harness.Proxy, a *harness.Authority, name, protocol string) string {
			t.Helper()
			args := opensslArgs(p, a, name)
			if protocol != "" {
				args = append(args, "-alpn", protocol)
			}
			s := harness.StartSession(t, harness.Tool(t, "openssl"), args...)
			answer := s.Send("hello\n").AwaitLine(": hello")
			if rest, err := s.End(); err != nil {
				t.Errorf("%v after %q", err, rest)
			}
			return strings.TrimSuffix(answer, ": hello")
		},
		func(t *testing.T, p *harness.Proxy, a *harness.Authority, name string) {
			t.Helper()
			harness.RunFailing(t, harness.Tool(t, "openssl"), opensslArgs(p, a, name)...)
		},
	},
}

// tlsOrigins returns clusters of one TLS server each, named as the server is.
func tlsOrigins(t *testing.T, a *harness.Authority, names ...string) (out []harness.Cluster) {
	t.Helper()
	for _, name := range names {
		out = append(out, harness.Cluster{Name: name, Origins: []harness.Origin{harness.NewTLSOrigin(t, a, name, "http/1.1")}})
	}
	return out
}

func inspectTLS() string { return harness.ListenerFilter("tls_inspector", "TlsInspector", "") }

// TLS passes through to the server of the name in the hello (TCP-80, TCP-82), whose certificate the
// client sees; other names go to the default chain, or nowhere (TCP-83).
func TestPeerTLSPassthrough(t *testing.T) {
	for _, client := range tlsClients {
		t.Run(client.program, func(t *testing.T) {
			harness.Tool(t, client.program)
			harness.NoLeaks(t)
			a := harness.NewAuthority(t)
			top := harness.TCPTopology{
				Clusters: tlsOrigins(t, a, "a.test", "www.b.test", "other.test"), ListenerFilters: inspectTLS(), ListenerLog: true,
				Chains: []harness.Chain{
					{Name: "a", Match: "{ server_names: [a.test], transport_protocol: tls }", Cluster: "a.test"},
					{Name: "b", Match: "{ server_names: ['*.b.test'], transport_protocol: tls }", Cluster: "www.b.test"},
				},
				Default: &harness.Chain{Name: "rest", Cluster: "other.test"},
			}
			t.Run("with a default chain", func(t *testing.T) {
				p := harness.StartTCP(t, top)
				for range 3 {
					for _, name := range []string{"a.test", "www.b.test", "other.test"} {
						if got, want := client.ask(t, p, a, name, "http/1.1"), name+" by http/1.1"; got != want {
							t.Errorf("asked %s; got %q, want %q", name, got, want)
						}
					}
				}
				client.fails(t, p, a, "unknown.test") // other.test answers, but has no certificate for it
				p.WantStats(harness.Stats{
					"tcp.a.downstream_cx_total": 3, "tcp.b.downstream_cx_total": 3, "tcp.rest.downstream_cx_total": 4,
					"tls_inspector.tls_found": 10, "tls_inspector.sni_found": 10, inListener + "no_filter_chain_match": 0,
				})
			})
			t.Run("without", func(t *testing.T) {
				top := top
				top.Clusters, top.Default = tlsOrigins(t, a, "a.test", "www.b.test", "other.test"), nil
				p := harness.StartTCP(t, top)
				if got := client.ask(t, p, a, "a.test", ""); got != "a.test by no protocol" {
					t.Errorf("got %q", got)
				}
				for _, line := range p.AwaitLines(2) {
					// A program that leaves with a session ticket unread resets the connection.
					if !strings.Contains(line, "TcpConnectionEnd - - ") && !strings.Contains(line, "TcpConnectionEnd DC downstream_remote_disconnect ") {
						t.Errorf("log line %q", line)
					}
				}
				client.fails(t, p, a, "other.test")
				p.WantStats(harness.Stats{inListener + "no_filter_chain_match": 1})
				if lines := p.AwaitLines(3); !strings.HasPrefix(lines[2], "listener ") || !strings.Contains(lines[2], " NR ") {
					t.Errorf("log line %q, want one with NR", lines[2])
				}
			})
		})
	}
}

// The name in the hello is the cluster's.
func TestPeerTLSNamesTheCluster(t *testing.T) {
	for _, client := range tlsClients {
		t.Run(client.program, func(t *testing.T) {
			harness.Tool(t, client.program)
			harness.NoLeaks(t)
			a := harness.NewAuthority(t)
			p := harness.StartTCP(t, harness.TCPTopology{
				Clusters: tlsOrigins(t, a, "a.test", "b.test"), ListenerFilters: inspectTLS(), Proxy: "cluster: unused",
				Filters: harness.NetworkFilter("sni_cluster", "SniCluster", ""),
			})
			for i, name := range []string{"b.test", "a.test", "b.test"} {
				if got, want := client.ask(t, p, a, name, "http/1.1"), name+" by http/1.1"; got != want {
					t.Errorf("got %q, want %q", got, want)
				}
				if lines := p.AwaitLines(i + 1); !strings.HasSuffix(lines[i], " "+name) {
					t.Errorf("log line %q, want one of %s", lines[i], name)
				}
			}
			client.fails(t, p, a, "c.test")
			p.WantStats(harness.Stats{inTCP + "downstream_cx_no_route": 1, "cluster.a.test.upstream_cx_total": 1, "cluster.b.test.upstream_cx_total": 2})
			if line := p.AwaitLines(4)[3]; !strings.HasPrefix(line, "TcpConnectionEnd NC ") {
				t.Errorf("log line %q, want one with NC", line)
			}
		})
	}
}

// Chains chosen by the protocols that the hello offers.
func TestPeerTLSProtocolChoosesTheChain(t *testing.T) {
	openssl := tlsClients[1]
	harness.Tool(t, openssl.program)
	harness.NoLeaks(t)
	a := harness.NewAuthority(t)
	cluster := func(name string, protocols ...string) harness.Cluster {
		return harness.Cluster{Name: name, Origins: []harness.Origin{harness.NewTLSOrigin(t, a, "a.test", protocols...)}}
	}
	p := harness.StartTCP(t, harness.TCPTopology{
		Clusters:        []harness.Cluster{cluster("two", "h2"), cluster("one", "http/1.1"), cluster("none")},
		ListenerFilters: inspectTLS(),
		Chains: []harness.Chain{
			{Name: "two", Match: "{ transport_protocol: tls, application_protocols: [h2] }", Cluster: "two"},
			{Name: "one", Match: "{ transport_protocol: tls, application_protocols: [http/1.1, http/1.0] }", Cluster: "one"},
			{Name: "none", Match: "{ transport_protocol: tls }", Cluster: "none"},
		},
	})
	for i, tc := range []struct{ offer, chain, agreed string }{
		{"h2", "two", "h2"},
		{"h2,http/1.1", "two", "h2"},
		{"http/1.1", "one", "http/1.1"},
		{"http/1.1,h2", "one", "http/1.1"},
		{"", "none", "no protocol"},
		{"smtp", "none", "no protocol"},
	} {
		t.Run(fmt.Sprintf("%q", tc.offer), func(t *testing.T) {
			if got, want := openssl.ask(t, p, a, "a.test", tc.offer), "a.test by "+tc.agreed; got != want {
				t.Errorf("got %q, want %q", got, want)
			}
			if lines := p.AwaitLines(i + 1); !strings.HasSuffix(lines[i], " "+tc.chain) {
				t.Errorf("log line %q, want one of %s", lines[i], tc.chain)
			}
		})
	}
}
