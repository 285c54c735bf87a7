package e2e

import (
	"crypto/tls"
	"io"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/proxy"
	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// An upstream that is not trusted, or whose handshake stalls, is one that cannot be connected to: the
// session ends, whether its own handshake is done or not.
func TestTLSSessionsWithoutUpstream(t *testing.T) {
	harness.NoLeaks(t)
	a, other := harness.NewAuthority(t), harness.NewAuthority(t)
	for _, row := range []struct {
		title, flags string
		origin       func() harness.Origin
		want         harness.Stats
	}{
		{
			"not trusted", "UF,URX",
			func() harness.Origin {
				return harness.NewTLSServer(t, serverConfig(t, other, "origin.test"), func(c *tls.Conn) { echoEnd(c) })
			},
			harness.Stats{upstreamSSL + "fail_verify_error": 2, onOrigin + "upstream_cx_connect_timeout": 0},
		},
		{
			"silent", "UF,URX", func() harness.Origin { return harness.NewRaw(t, (*harness.Peer).Drain) },
			harness.Stats{upstreamSSL + "fail_verify_error": 0, onOrigin + "upstream_cx_connect_timeout": 2},
		},
	} {
		for _, secure := range []bool{false, true} {
			for _, mode := range connectModes[:2] {
				name := row.title + " " + mode.title
				chain := harness.Chain{Proxy: mode.proxy + "max_connect_attempts: 2"}
				if secure {
					name += " for clients with TLS"
					chain.Match = harness.With("", secured(t, a, "a.test", ""))
				}
				t.Run(name, func(t *testing.T) {
					p := harness.StartTCP(t, harness.TCPTopology{
						Clusters: overTLS(row.origin(), "connect_timeout: 0.2s", harness.ClientSocket(a.Trust(), "sni: origin.test")),
						Chains:   []harness.Chain{chain}, LogFormat: "%RESPONSE_FLAGS% %UPSTREAM_REQUEST_ATTEMPT_COUNT%",
					})
					raw := p.Dial()
					if secure && mode.proxy != atOnce {
						c := tls.Client(raw.Conn, a.Client("a.test"))
						_ = c.SetDeadline(time.Now().Add(harness.Patience))
						if err := c.Handshake(); err != nil {
							t.Fatal(err)
						}
						_, _ = io.ReadAll(c)
					} else {
						_, _ = raw.Rest()
					}
					raw.Close()
					row.want[onOrigin+"upstream_cx_connect_fail"], row.want[onOrigin+"upstream_cx_active"] = 2, 0
					row.want[onOrigin+"upstream_cx_connect_attempts_exceeded"] = 1
					row.want[inTCP+"downstream_cx_total"], row.want[inListener+"downstream_cx_active"] = 1, 0
					p.WantStats(row.want)
					p.WantLines(row.flags + " 2")
				})
			}
		}
	}
}

// The upstream connection of IMMEDIATE that ends before the client's handshake is done takes the session
// along when it is reset.
func TestTLSUpstreamIsResetDuringTheHandshake(t *testing.T) {
	harness.NoLeaks(t)
	a := harness.NewAuthority(t)
	reset := make(chan struct{})
	o := harness.NewRaw(t, func(p *harness.Peer) {
		<-reset
		p.Reset()
	})
	p := harness.StartTCP(t, harness.TCPTopology{
		Clusters: to(o), Chains: []harness.Chain{{Proxy: atOnce, Match: harness.With("", secured(t, a, "a.test", ""))}},
	})
	c := p.Dial()
	harness.Eventually(t, "the upstream connection is up", func() bool { return p.Histogram(onOrigin+"upstream_cx_connect_ms").Count == 1 })
	close(reset)
	_, _ = c.Rest()
	c.Close()
	p.WantStats(harness.Stats{
		onOrigin + "upstream_cx_active": 0, onOrigin + "upstream_cx_destroy_remote": 1, inListener + "downstream_cx_active": 0, inSSL + "handshake": 0,
	})
	p.WantLine("TcpConnectionEnd UC ")
}

// Sessions end with a close_notify when the listener drains, when they idle, and at their age.
func TestTLSSessionsAreEndedInOrder(t *testing.T) {
	harness.NoLeaks(t)
	a := harness.NewAuthority(t)
	for _, row := range []struct {
		title, proxy string
		end          func(p *harness.Proxy)
		line         string
	}{
		{"drain", checksDrain, func(p *harness.Proxy) {
			p.Server.DrainListeners(proxy.ListenerDrain{Graceful: true, SkipExit: true})
		}, lineDrained},
		{"idle", "idle_timeout: 0.3s", func(*harness.Proxy) {}, "TcpConnectionEnd "},
		{"age", "max_downstream_connection_duration: 0.3s", func(*harness.Proxy) {}, "TcpConnectionEnd "},
	} {
		for _, path := range []tlsPath{tlsPaths[0], tlsPaths[2]} {
			t.Run(row.title+" "+path.title, func(t *testing.T) {
				p := path.start(t, a, row.proxy, echoEnd)
				c := path.dial(t, p, a).(*harness.TLSClient)
				c.Send("x").WantText("x")
				row.end(p)
				c.WantEnd()
				_ = c.Close()
				path.wantCounted(p, 1, 1)
				p.WantLine(row.line)
			})
		}
	}
}
