package e2e

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// TCP-65: a line at the end of each session, and at other times when they are asked for.
func TestTCPLogTypes(t *testing.T) {
	harness.NoLeaks(t)
	const start, up, end = "TcpConnectionStart - - 0 0 -", "TcpUpstreamConnected - - 0 0 origin", "TcpConnectionEnd - - 4 4 origin"
	for name, tc := range map[string]struct {
		proxy    string
		periodic bool
		want     []string // without periodic lines
	}{
		"the end only":       {want: []string{end}},
		"all":                {proxy: "access_log_options: { access_log_flush_interval: 0.02s, flush_access_log_on_connected: true, flush_access_log_on_start: true }", periodic: true, want: []string{start, up, end}},
		"on connected":       {proxy: "access_log_options: { flush_access_log_on_connected: true }", want: []string{up, end}},
		"on start":           {proxy: "access_log_options: { flush_access_log_on_start: true }", want: []string{start, end}},
		"periodic":           {proxy: "access_log_options: { access_log_flush_interval: 0.02s }", periodic: true, want: []string{end}},
		"the deprecated two": {proxy: "access_log_flush_interval: 0.02s\nflush_access_log_on_connected: true", periodic: true, want: []string{up, end}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := harness.StartTCP(t, harness.TCPTopology{Clusters: to(echoes(t)), Proxy: tc.proxy})
			c := p.Dial()
			p.WantStats(harness.Stats{onOrigin + "upstream_cx_active": 1, onOrigin + "upstream_rq_pending_active": 0})
			c.Send("ping").WantText("ping")
			const line = "TcpPeriodic - - 4 4 origin"
			if tc.periodic {
				harness.Eventually(t, "two periodic lines", func() bool { return strings.Count(strings.Join(p.Lines(), "\n"), line) >= 2 })
			}
			c.Finish()
			_ = c.WantEnd()
			harness.Eventually(t, "the last line", func() bool { return slices.Contains(p.Lines(), end) })
			var others []string
			for _, l := range p.Lines() {
				if !strings.HasPrefix(l, "TcpPeriodic - - ") {
					others = append(others, l)
				} else if !tc.periodic {
					t.Errorf("line %q", l)
				}
			}
			if !slices.Equal(others, tc.want) {
				t.Errorf("the lines are %q, want %q", others, tc.want)
			}
		})
	}
}

// Periodic lines of a session that waits for its upstream, and the number of its attempts.
func TestTCPLogWhileConnecting(t *testing.T) {
	harness.NoLeaks(t)
	p := harness.StartTCP(t, harness.TCPTopology{
		Clusters: to(harness.Refusing(t)), Proxy: retryForEver + early(100) + "access_log_options: { access_log_flush_interval: 0.02s }",
		LogFormat: "%ACCESS_LOG_TYPE% %RESPONSE_FLAGS% %BYTES_RECEIVED% %UPSTREAM_TRANSPORT_FAILURE_REASON%",
	})
	c := p.Dial().Send("12345")
	harness.Eventually(t, "a periodic line", func() bool { return slices.Contains(p.Lines(), "TcpPeriodic UF 5 connection_refused") })
	c.Reset()
	harness.Eventually(t, "the last line", func() bool { return slices.Contains(p.Lines(), "TcpConnectionEnd UF,DC 5 connection_refused") })
}

// What a line says of a session: its two connections, their addresses and bytes. Operators of HTTP
// print "-".
func TestTCPLogFields(t *testing.T) {
	harness.NoLeaks(t)
	peers := make(chan string, 1)
	o := harness.NewRaw(t, func(p *harness.Peer) {
		peers <- p.RemoteAddr().String()
		_, _ = io.ReadFull(p.In, make([]byte, 4))
		p.Send("answer")
	})
	p := harness.StartTCP(t, harness.TCPTopology{
		Clusters: []harness.Cluster{{Name: "origin", Origins: []harness.Origin{o}, Fields: "alt_stat_name: shown"}},
		Chains:   []harness.Chain{{Name: "chain"}},
		LogFormat: "%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_DIRECT_REMOTE_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_DIRECT_LOCAL_ADDRESS% " +
			"%UPSTREAM_HOST% %UPSTREAM_REMOTE_ADDRESS% %UPSTREAM_LOCAL_ADDRESS% %UPSTREAM_CLUSTER% %UPSTREAM_CLUSTER_RAW% %FILTER_CHAIN_NAME% " +
			"%DOWNSTREAM_WIRE_BYTES_RECEIVED% %DOWNSTREAM_WIRE_BYTES_SENT% %UPSTREAM_WIRE_BYTES_RECEIVED% %UPSTREAM_WIRE_BYTES_SENT% " +
			"%UPSTREAM_REQUEST_ATTEMPT_COUNT% %REQUESTED_SERVER_NAME% %PROTOCOL% %RESPONSE_CODE% %REQ(:METHOD)% %ROUTE_NAME% %TLS_JA3_FINGERPRINT%",
	})
	c := p.Dial().Send("ping")
	if got, err := c.Rest(); got != "answer" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	me := c.Conn.LocalAddr().String()
	c.Close()
	p.WantLines(fmt.Sprintf("%s %s %s %s %s %s %s shown origin chain 4 6 6 4 1 - - 0 - - -", me, me, p.Addr, p.Addr, o.Address(), o.Address(), <-peers))
}

// The listener's own log has a line for each connection, whoever ended it.
func TestTCPListenerLog(t *testing.T) {
	harness.NoLeaks(t)
	p := harness.StartTCP(t, harness.TCPTopology{
		Clusters: to(echoes(t)), ListenerLog: true, LogFormat: "%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %BYTES_RECEIVED% %BYTES_SENT% %UPSTREAM_CLUSTER% %FILTER_CHAIN_NAME%",
		Chains: []harness.Chain{{Name: "local", Match: "{ source_prefix_ranges: [{ address_prefix: 127.0.0.1, prefix_len: 32 }] }"}},
	})
	c := p.Dial().Send("ping").WantText("ping")
	c.Finish()
	_ = c.WantEnd()
	p.WantLines("- - 4 4 origin local", "listener - - 4 4 origin local")
	_ = p.DialFrom("127.0.0.2").WantEnd()
	p.WantLines("- - 4 4 origin local", "listener - - 4 4 origin local", "listener NR filter_chain_not_found 0 0 - -")
	p.WantStats(harness.Stats{
		inListener + "no_filter_chain_match": 1, inListener + "downstream_cx_total": 1, inListener + "downstream_pre_cx_active": 0,
	})
}

// A log's filter judges sessions by their ends (operations.md).
func TestTCPLogFilter(t *testing.T) {
	harness.NoLeaks(t)
	o := harness.NewRaw(t, func(p *harness.Peer) {
		if p.Number == 0 {
			_, _ = p.In.ReadByte()
			p.Reset()
		}
		p.Echo()
	})
	p := harness.StartTCP(t, harness.TCPTopology{Clusters: to(o), LogFields: "filter: { response_flag_filter: { flags: [UC] } }"})
	c := p.Dial().Send("x")
	_ = c.WantEnd()
	c.Close()
	p.WantLines("TcpConnectionEnd UC upstream_connection_termination 1 0 origin")
	c = p.Dial().Send("x").WantText("x")
	c.Close()
	p.WantStats(harness.Stats{inListener + "downstream_cx_destroy": 2})
	if lines := p.Lines(); len(lines) != 1 {
		t.Errorf("the lines are %q", lines)
	}
}

// Several addresses of one listener, with a unix socket among them, and origins behind IPv6 and a
// unix socket: what comes in at any goes out at any.
func TestTCPAddresses(t *testing.T) {
	harness.NoLeaks(t)
	dir := t.TempDir()
	in, out := filepath.Join(dir, "in"), filepath.Join(dir, "out")
	origins := map[string]harness.Origin{"v4": echoes(t)}
	for network, addr := range map[string]string{"tcp6": "[::1]:0", "unix": out} {
		origins[network] = harness.NewSocket(t, network, addr, func(c io.ReadWriter) {
			_, _ = io.Copy(struct{ io.Writer }{c}, struct{ io.Reader }{c}) // not by splice, whose pipes would stay
		})
	}
	for name, o := range origins {
		t.Run("to "+name, func(t *testing.T) {
			p := harness.StartTCP(t, harness.TCPTopology{
				Clusters: to(o), LogFormat: "%DOWNSTREAM_LOCAL_ADDRESS% %UPSTREAM_HOST% %BYTES_RECEIVED% %BYTES_SENT%",
				Listener: "additional_addresses:\n- { address: { pipe: { path: " + in + " } } }\n- { address: { socket_address: { address: \"::1\", port_value: 0 } } }\n" +
					"- { address: { socket_address: { address: 0.0.0.0, port_value: 0 } } }",
			})
			const size = 1 << 20
			var want []string
			for i, a := range p.Server.Listeners()[0].Addresses {
				network, addr := a.Network(), a.String()
				if i == 3 { // any address: which one says the socket
					addr = "127.0.0.7" + addr[strings.LastIndexByte(addr, ':'):]
				}
				w := harness.DialWire(t, network, addr)
				go func() {
					_ = harness.SendStream(w.Conn, size)
					_ = w.Conn.(interface{ CloseWrite() error }).CloseWrite()
				}()
				if n, err := harness.TakeStream(w.In); n != size || err != nil {
					t.Errorf("%s: %d bytes, then %v", addr, n, err)
				}
				w.Close()
				want = append(want, fmt.Sprintf("%s %s %d %d", addr, o.Address(), size, size))
				p.AwaitLines(i + 1)
			}
			p.WantLines(want...)
			if name == "unix" {
				_ = os.Remove(in)
			}
		})
	}
}

// With exact_balance every loop has its share of the connections.
func TestTCPExactBalance(t *testing.T) {
	harness.NoLeaks(t)
	p := harness.StartTCP(t, harness.TCPTopology{Loops: 4, Clusters: to(echoes(t)), Listener: "connection_balance_config: { exact_balance: {} }"})
	for range 40 {
		p.Dial().Send("x").WantText("x")
	}
	want := harness.Stats{inListener + "downstream_cx_active": 40}
	for i := range 4 {
		want[fmt.Sprintf("%sworker_%d.downstream_cx_active", inListener, i)] = 10
	}
	p.WantStats(want)
}
