package e2e

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// Scopes of stats, and fields of a tcp_proxy.
const (
	inTCP      = "tcp.in."
	inListener = "listener.in."

	// retryForEver has a session wait for an origin that is not there yet.
	retryForEver = "max_connect_attempts: 1000000\nbackoff_options: { base_interval: 0.002s, max_interval: 0.01s }\n"
	onData       = "upstream_connect_mode: ON_DOWNSTREAM_DATA\n"
	onHandshake  = "upstream_connect_mode: ON_DOWNSTREAM_TLS_HANDSHAKE\n"
)

// early is max_early_data_bytes.
func early(limit int) string { return fmt.Sprintf("max_early_data_bytes: %d\n", limit) }

// to is a cluster "origin" of the given origins.
func to(origins ...harness.Origin) []harness.Cluster {
	return []harness.Cluster{{Name: "origin", Origins: origins}}
}

func echoes(t *testing.T) *harness.Raw { return harness.NewRaw(t, (*harness.Peer).Echo) }

// TCP-3: but for ON_DOWNSTREAM_DATA the upstream is connected when the client is, with and without early
// data; a plaintext client has no handshake to wait for.
func TestTCPConnectsBeforeTheFirstByte(t *testing.T) {
	harness.NoLeaks(t)
	for name, proxy := range map[string]string{
		"immediate": "", "immediate with early data": early(100),
		"handshake": onHandshake, "handshake with early data": onHandshake + early(0),
	} {
		t.Run(name, func(t *testing.T) {
			o := echoes(t)
			p := harness.StartTCP(t, harness.TCPTopology{Clusters: to(o), Proxy: proxy})
			c := p.Dial()
			harness.Eventually(t, "the upstream connection", func() bool { return o.Connections() == 1 })
			p.WantStats(harness.Stats{inTCP + "downstream_cx_total": 1, onOrigin + "upstream_cx_active": 1, inTCP + "downstream_cx_rx_bytes_total": 0})
			c.Send("ping").WantText("ping").Finish()
			if err := c.WantEnd(); err != nil {
				t.Error(err)
			}
			p.WantLines("TcpConnectionEnd - - 4 4 origin")
			p.WantStats(harness.Stats{inTCP + "early_data_received_count_total": 0})
		})
	}
}

// With ON_DOWNSTREAM_DATA the first byte makes the connection, or a FIN, which is passed on (TCP-4).
func TestTCPConnectsOnData(t *testing.T) {
	harness.NoLeaks(t)
	o := echoes(t)
	p := harness.StartTCP(t, harness.TCPTopology{Clusters: to(o), Proxy: onData + early(1000)})
	silent, speaks := p.Dial(), p.Dial()
	speaks.Send("x").WantText("x")
	p.WantStats(harness.Stats{inTCP + "downstream_cx_total": 2, onOrigin + "upstream_cx_total": 1, inTCP + "early_data_received_count_total": 1})
	silent.Finish()
	if err := silent.WantEnd(); err != nil {
		t.Errorf("the FIN came back as %v", err)
	}
	if n := o.Connections(); n != 2 {
		t.Errorf("%d upstream connections, want one more for the FIN", n)
	}
	speaks.Send("yz").WantText("yz").Finish()
	if err := speaks.WantEnd(); err != nil {
		t.Error(err)
	}
	p.WantLines("TcpConnectionEnd - - 0 0 origin", "TcpConnectionEnd - - 3 3 origin")
	p.WantStats(harness.Stats{inTCP + "early_data_received_count_total": 1}) // TCP-7: bytes, not a FIN
}

// TCP-5: when the server speaks first, ON_DOWNSTREAM_DATA has each side wait for the other until
// idle_timeout (TCP-60).
func TestTCPServerFirstOnDataIdles(t *testing.T) {
	harness.NoLeaks(t)
	o := harness.NewRaw(t, harness.Greet("220 hello\r\n"))
	p := harness.StartTCP(t, harness.TCPTopology{Clusters: to(o), Proxy: onData + early(1000) + "idle_timeout: 0.1s"})
	if err := p.Dial().WantEnd(); err != nil {
		t.Error(err)
	}
	if n := o.Connections(); n != 0 {
		t.Errorf("%d upstream connections", n)
	}
	p.WantLines("TcpConnectionEnd - tcp_session_idle_timeout 0 0 -")
	p.WantStats(harness.Stats{inTCP + "idle_timeout": 1, onOrigin + "upstream_cx_total": 0})
}

// A server that speaks first is heard at once in the other modes.
func TestTCPServerFirst(t *testing.T) {
	harness.NoLeaks(t)
	for _, proxy := range []string{"", onHandshake, early(10)} {
		o := harness.NewRaw(t, harness.Greet("220 hello\r\n"))
		p := harness.StartTCP(t, harness.TCPTopology{Clusters: to(o), Proxy: proxy})
		c := p.Dial().WantText("220 hello\r\n").Send("QUIT\r\n").WantText("QUIT\r\n")
		c.Finish()
		if err := c.WantEnd(); err != nil {
			t.Error(err)
		}
		p.WantLines("TcpConnectionEnd - - 6 17 origin")
	}
}

// TCP-2, TCP-4, TCP-7: what comes before the upstream is kept up to the limit, held back in the kernel
// beyond it, and arrives whole, in order, with its FIN behind it.
func TestTCPEarlyData(t *testing.T) {
	harness.NoLeaks(t)
	const limit = 20000
	for name, tc := range map[string]struct {
		limit int // -1: unset
		bytes int64
		mode  string
		kept  int64 // read before the upstream is there, at most one byte beyond the limit
		early int64
	}{
		"nothing":                             {limit: limit},
		"a byte":                              {limit: limit, bytes: 1, kept: 1, early: 1},
		"one less than the limit":             {limit: limit, bytes: limit - 1, kept: limit - 1, early: 1},
		"the limit":                           {limit: limit, bytes: limit, kept: limit, early: 1},
		"one more than the limit":             {limit: limit, bytes: limit + 1, kept: limit + 1, early: 1},
		"ten times the limit":                 {limit: limit, bytes: 10 * limit, kept: limit + 1, early: 1},
		"ten times the limit, on data":        {limit: limit, mode: onData, bytes: 10 * limit, kept: limit + 1, early: 1},
		"ten times the limit, on a handshake": {limit: limit, mode: onHandshake, bytes: 10 * limit, kept: limit + 1, early: 1},
		"a limit of nothing, a byte":          {limit: 0, bytes: 1, kept: 1, early: 1},
		"a limit of nothing, two bytes":       {limit: 0, bytes: 2, kept: 1, early: 1},
		"a limit of nothing, on data":         {limit: 0, mode: onData, bytes: 100, kept: 1, early: 1},
		"below the highest limit":             {limit: 1 << 20, bytes: 1 << 20, kept: 1 << 20, early: 1},
		"no early data (TCP-1)":               {limit: -1, bytes: 10000},
	} {
		t.Run(name, func(t *testing.T) {
			g := harness.NewGate(t, (*harness.Peer).Echo)
			proxy := tc.mode + retryForEver
			if tc.limit >= 0 {
				proxy += early(tc.limit)
			}
			p := harness.StartTCP(t, harness.TCPTopology{Clusters: to(g), Proxy: proxy})
			c := p.Dial()
			sent := make(chan error, 1)
			go func() {
				err := harness.SendStream(c.Conn, tc.bytes)
				if err == nil {
					err = c.Conn.CloseWrite()
				}
				sent <- err
			}()
			p.WantStats(harness.Stats{
				inTCP + "downstream_cx_rx_bytes_total": tc.kept, inTCP + "downstream_cx_rx_bytes_buffered": tc.kept,
				inTCP + "early_data_received_count_total": tc.early,
			})
			g.Open()
			n, err := harness.TakeStream(c.Reader())
			if n != tc.bytes || err != nil {
				t.Errorf("%d bytes came back, then %v; want %d", n, err, tc.bytes)
			}
			if err := <-sent; err != nil {
				t.Error(err)
			}
			if read := g.Read(0); read != tc.bytes {
				t.Errorf("the origin read %d bytes, want %d", read, tc.bytes)
			}
			p.WantLines(fmt.Sprintf("TcpConnectionEnd UF - %d %d origin", tc.bytes, tc.bytes)) // TCP-17
			p.WantStats(harness.Stats{
				inTCP + "downstream_cx_rx_bytes_total": tc.bytes, inTCP + "downstream_cx_tx_bytes_total": tc.bytes,
				onOrigin + "upstream_cx_rx_bytes_total": tc.bytes, onOrigin + "upstream_cx_tx_bytes_total": tc.bytes,
				inTCP + "early_data_received_count_total": tc.early, onOrigin + "upstream_cx_connect_attempts_exceeded": 0,
			})
		})
	}
}

// TCP-1, TCP-2: what a client can send while the upstream is held back is the limit, which is here, and
// what the kernel holds for the two sockets, which no client gets beyond.
func TestTCPEarlyDataIsHeldBackInTheKernel(t *testing.T) {
	harness.NoLeaks(t)
	const most = 64 << 20 // more than the kernel has for a socket
	pushed := func(t *testing.T, limit int) int64 {
		g := harness.NewGate(t, (*harness.Peer).Drain)
		proxy, held := retryForEver, int64(0)
		if limit >= 0 {
			proxy, held = proxy+early(limit), int64(limit)+1
		}
		p := harness.StartTCP(t, harness.TCPTopology{Clusters: to(g), Proxy: proxy})
		c := harness.Dialing{SendBuffer: 64 << 10}.Dial(t, p.Addr)
		n := c.Push(0, most)
		if n <= held || n == most {
			t.Errorf("the client could send %d bytes with a limit of %d", n, limit)
		}
		p.WantStats(harness.Stats{inTCP + "downstream_cx_rx_bytes_total": held, inTCP + "downstream_cx_rx_bytes_buffered": held})
		if b := p.Buffered(); b > 2*(limit+1)+64<<10 {
			t.Errorf("%d bytes of buffers with a limit of %d", b, limit)
		}
		g.Open()
		c.Finish()
		_ = c.WantEnd()
		if read := g.Read(0); read != n {
			t.Errorf("the client sent %d bytes, the origin got %d", n, read)
		}
		p.WantLine("TcpConnectionEnd")
		return n
	}
	const limit = 256 << 10
	kernel := pushed(t, -1)
	if with := pushed(t, limit); with < limit {
		t.Errorf("%d bytes with a limit of %d, %d without early data", with, limit, kernel)
	}
}

// TCP-6: the older key lets one chunk in; the explicit limit wins over it.
func TestTCPReceiveBeforeConnect(t *testing.T) {
	harness.NoLeaks(t)
	const key = "envoy.tcp_proxy.receive_before_connect"
	for name, tc := range map[string]struct {
		filter, proxy string
		kept          int64 // of two chunks of five bytes
	}{
		"true":                      {harness.SetFilterState(key, "true"), "", 5},
		"false":                     {harness.SetFilterState(key, "false"), "", 0},
		"not set":                   {"", "", 0},
		"true, and a limit":         {harness.SetFilterState(key, "true"), early(7), 8},
		"true, and a higher limit":  {harness.SetFilterState(key, "true"), early(100), 10},
		"false, and a limit":        {harness.SetFilterState(key, "false"), early(100), 10},
		"true, and a limit of zero": {harness.SetFilterState(key, "true"), early(0), 1},
	} {
		t.Run(name, func(t *testing.T) {
			g := harness.NewGate(t, (*harness.Peer).Echo)
			p := harness.StartTCP(t, harness.TCPTopology{Clusters: to(g), Filters: tc.filter, Proxy: retryForEver + tc.proxy})
			c := p.Dial().Send("first")
			first := min(tc.kept, 5)
			p.WantStats(harness.Stats{inTCP + "downstream_cx_total": 1, inTCP + "downstream_cx_rx_bytes_total": first, inTCP + "early_data_received_count_total": min(first, 1)})
			c.Send("after")
			p.WantStats(harness.Stats{inTCP + "downstream_cx_rx_bytes_total": tc.kept})
			p.Stats() // another turn of the loop, in which it could read more
			p.WantStats(harness.Stats{inTCP + "downstream_cx_rx_bytes_total": tc.kept})
			g.Open()
			c.WantText("firstafter").Finish()
			if err := c.WantEnd(); err != nil {
				t.Error(err)
			}
			p.WantLines("TcpConnectionEnd UF - 10 10 origin")
		})
	}
}

// TCP-8: a client that leaves before the upstream is there takes its attempt with it, and what it sent.
func TestTCPClientLeavesBeforeConnect(t *testing.T) {
	harness.NoLeaks(t)
	for name, proxy := range map[string]string{"early data": early(100), "on data": onData + early(100)} {
		t.Run(name+", while connecting", func(t *testing.T) {
			t.Parallel()
			p := harness.StartTCP(t, harness.TCPTopology{Clusters: to(harness.BlackHole(t)), Proxy: proxy})
			c := p.Dial().Send("lost")
			p.WantStats(harness.Stats{onOrigin + "upstream_cx_active": 1, onOrigin + "upstream_rq_pending_active": 1})
			c.Reset()
			p.WantLine("TcpConnectionEnd DC downstream_remote_disconnect ")
			p.WantStats(harness.Stats{
				onOrigin + "upstream_cx_active": 0, onOrigin + "upstream_rq_pending_active": 0, onOrigin + "upstream_cx_destroy_local": 1,
				onOrigin + "upstream_cx_connect_fail": 0, onOrigin + "upstream_cx_tx_bytes_total": 0,
			})
		})
		t.Run(name+", between attempts", func(t *testing.T) {
			t.Parallel()
			g := harness.NewGate(t, (*harness.Peer).Echo)
			p := harness.StartTCP(t, harness.TCPTopology{Clusters: to(g), Proxy: proxy + retryForEver})
			c := p.Dial().Send("lost")
			harness.Eventually(t, "an attempt", func() bool { return p.Stat(onOrigin+"upstream_cx_connect_fail") > 0 })
			c.Reset()
			p.WantLine("TcpConnectionEnd UF,DC ")
			g.Open()
			p.Dial().Send("second").WantText("second")
			if n := g.Connections(); n != 1 {
				t.Errorf("%d upstream connections, want that of the second client", n)
			}
			if n := g.Read(0); n != 6 {
				t.Errorf("the origin read %d bytes", n)
			}
		})
	}
}

// TCP-8: the same for a client that is not read from; its reset shows before the next attempt.
func TestTCPClientResetsWhileItIsNotRead(t *testing.T) {
	harness.NoLeaks(t)
	for _, proxy := range []string{"", early(1)} {
		g := harness.NewGate(t, (*harness.Peer).Echo)
		p := harness.StartTCP(t, harness.TCPTopology{Clusters: to(g), Proxy: proxy + retryForEver})
		c := p.Dial().Send("lost")
		harness.Eventually(t, "an attempt", func() bool { return p.Stat(onOrigin+"upstream_cx_connect_fail") > 0 })
		c.Reset()
		p.WantLine("TcpConnectionEnd UF,DC downstream_remote_disconnect ")
		g.Open()
		p.Dial().Send("second").WantText("second").Close()
		p.AwaitLines(2)
		if n := g.Connections(); n != 1 {
			t.Errorf("%d upstream connections, want that of the second client", n)
		}
	}
}

// TCP-8: and during an attempt before a byte is sent.
func TestTCPClientResetsWhileItIsNotReadDuringAnAttempt(t *testing.T) {
	harness.NoLeaks(t)
	for _, proxy := range []string{"", early(1)} {
		hole, open := harness.Reluctant(t, (*harness.Peer).Drain)
		p := harness.StartTCP(t, harness.TCPTopology{Clusters: []harness.Cluster{{Name: "origin", Origins: []harness.Origin{hole}, Fields: "connect_timeout: 20s"}}, Proxy: proxy})
		c := p.Dial().Send("lost")
		p.WantStats(harness.Stats{onOrigin + "upstream_rq_pending_active": 1})
		c.Reset()
		raw := open()
		p.WantLine("TcpConnectionEnd DC downstream_remote_disconnect ")
		p.WantStats(harness.Stats{onOrigin + "upstream_cx_tx_bytes_total": 0, onOrigin + "upstream_cx_total": 1, onOrigin + "upstream_cx_connect_fail": 0})
		raw.Stop()
	}
}

// A client that has sent everything and a FIN has not left: it waits for the answer (TCP-4).
func TestTCPFinBeforeConnectIsNoLeaving(t *testing.T) {
	harness.NoLeaks(t)
	for _, proxy := range []string{"", early(100), onData + early(100), early(3)} {
		g := harness.NewGate(t, func(p *harness.Peer) {
			b, _ := io.ReadAll(p.In)
			p.Send(strings.ToUpper(string(b)))
		})
		p := harness.StartTCP(t, harness.TCPTopology{Clusters: to(g), Proxy: proxy + retryForEver})
		c := p.Dial().Send("whole request").Finish()
		harness.Eventually(t, "an attempt", func() bool { return p.Stat(onOrigin+"upstream_cx_connect_fail") > 0 })
		g.Open()
		if got, err := c.Rest(); got != "WHOLE REQUEST" || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
		p.WantLines("TcpConnectionEnd UF - 13 13 origin")
	}
}
