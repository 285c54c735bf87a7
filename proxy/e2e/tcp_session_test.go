package e2e

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// valve is an origin that reads nothing until it is opened, then takes a Stream to its end.
type valve struct {
	*harness.Raw
	open chan struct{}
	took chan int64
	t    *testing.T
}

func newValve(t *testing.T) *valve {
	v := &valve{open: make(chan struct{}), took: make(chan int64, 1), t: t}
	v.Raw = harness.NewRaw(t, func(p *harness.Peer) {
		select {
		case <-v.open:
		case <-p.Stopped():
			return
		}
		n, err := harness.TakeStream(p.In)
		if err != nil && !strings.Contains(err.Error(), "reset") {
			t.Errorf("after %d bytes: %v", n, err)
		}
		v.took <- n
	})
	return v
}

// await returns how many bytes came in all.
func (v *valve) await() int64 {
	v.t.Helper()
	select {
	case n := <-v.took:
		return n
	case <-time.After(harness.Patience):
		v.t.Fatal("waited in vain for the end of the stream")
		return 0
	}
}

// TCP-50: a FIN is passed on after all bytes, and the other direction goes on.
func TestTCPHalfClose(t *testing.T) {
	harness.NoLeaks(t)
	const size = 3 << 20
	for name, tc := range map[string]struct {
		origin func(*harness.Peer)
		client func(t *testing.T, c *harness.Client)
		line   string
	}{
		"the client first, then the answer": {
			origin: func(p *harness.Peer) {
				b, _ := io.ReadAll(p.In)
				p.Send(fmt.Sprint(len(b)))
			},
			client: func(t *testing.T, c *harness.Client) {
				c.Send("12345").Finish()
				if got, err := c.Rest(); got != "5" || err != nil {
					t.Errorf("got %q, %v", got, err)
				}
			},
			line: "TcpConnectionEnd - - 5 1 origin",
		},
		"the origin first, then the client": {
			origin: harness.FinishFirst("bye"),
			client: func(t *testing.T, c *harness.Client) {
				if got, err := c.Rest(); got != "bye" || err != nil {
					t.Errorf("got %q, %v", got, err)
				}
				c.Send("still here").Finish()
			},
			line: "TcpConnectionEnd - - 10 3 origin",
		},
		"the client first, in bulk": {
			origin: func(p *harness.Peer) {
				if n, err := harness.TakeStream(p.In); n != size || err != nil {
					return
				}
				_ = harness.SendStream(p.TCPConn, size)
			},
			client: func(t *testing.T, c *harness.Client) {
				if err := harness.SendStream(c.Conn, size); err != nil {
					t.Error(err)
				}
				c.Finish()
				if n, err := harness.TakeStream(c.Reader()); n != size || err != nil {
					t.Errorf("%d bytes, then %v", n, err)
				}
			},
			line: fmt.Sprintf("TcpConnectionEnd - - %d %d origin", size, size),
		},
		"the origin first, in bulk": {
			origin: func(p *harness.Peer) {
				_ = harness.SendStream(p.TCPConn, size)
				_ = p.CloseWrite()
				_, _ = harness.TakeStream(p.In)
			},
			client: func(t *testing.T, c *harness.Client) {
				if n, err := harness.TakeStream(c.Reader()); n != size || err != nil {
					t.Errorf("%d bytes, then %v", n, err)
				}
				if err := harness.SendStream(c.Conn, size); err != nil {
					t.Error(err)
				}
				c.Finish()
			},
			line: fmt.Sprintf("TcpConnectionEnd - - %d %d origin", size, size),
		},
		"nothing but FINs": {
			origin: (*harness.Peer).Echo,
			client: func(t *testing.T, c *harness.Client) {
				c.Finish()
				if err := c.WantEnd(); err != nil {
					t.Error(err)
				}
			},
			line: "TcpConnectionEnd - - 0 0 origin",
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := harness.NewRaw(t, tc.origin)
			p := harness.StartTCP(t, harness.TCPTopology{Clusters: to(o)})
			tc.client(t, p.Dial())
			p.WantLines(tc.line)
			var rx, tx int64
			if _, err := fmt.Sscanf(tc.line, "TcpConnectionEnd - - %d %d", &rx, &tx); err != nil {
				t.Fatal(err)
			}
			p.WantStats(harness.Stats{
				inTCP + "downstream_cx_rx_bytes_total": rx, inTCP + "downstream_cx_tx_bytes_total": tx,
				onOrigin + "upstream_cx_rx_bytes_total": tx, onOrigin + "upstream_cx_tx_bytes_total": rx,
				onOrigin + "upstream_cx_destroy_remote": 1, onOrigin + "upstream_cx_destroy_with_active_rq": 1, inTCP + "upstream_flush_total": 0,
				inListener + "downstream_cx_total": 1, inListener + "downstream_cx_destroy": 1, inListener + "worker_0.downstream_cx_total": 1,
			})
			if n := p.Histogram(inListener + "downstream_cx_length_ms").Count; n != 1 {
				t.Errorf("%d lengths", n)
			}
		})
	}
}

// Resets and failures of either side: who did it is in the flags.
func TestTCPResets(t *testing.T) {
	harness.NoLeaks(t)
	for name, tc := range map[string]struct {
		origin func(*harness.Peer)
		client func(c *harness.Client)
		line   string
		stats  harness.Stats
	}{
		"the client": {
			origin: (*harness.Peer).Echo,
			client: func(c *harness.Client) { c.Send("a").WantText("a").Reset() },
			line:   "TcpConnectionEnd DC downstream_remote_disconnect 1 1 origin",
			stats:  harness.Stats{onOrigin + "upstream_cx_destroy_local": 1, inTCP + "upstream_flush_total": 0},
		},
		"the origin": {
			origin: harness.ResetAfter(4),
			client: func(c *harness.Client) { _ = c.Send("ping").WantEnd(); c.Close() },
			line:   "TcpConnectionEnd UC upstream_connection_termination 4 0 origin",
			stats:  harness.Stats{onOrigin + "upstream_cx_destroy_remote": 1},
		},
		"the origin, after an answer (TCP-53)": {
			origin: func(p *harness.Peer) {
				p.ReadHead()
				p.Send("part of an answer")
				// The proxy has the answer before the reset drops what the kernel holds.
				_, _ = p.In.ReadByte()
				p.Reset()
			},
			client: func(c *harness.Client) {
				c.Send("\r\n").WantText("part of an answer").Send("x")
				_ = c.WantEnd()
				c.Close()
			},
			line:  "TcpConnectionEnd UC upstream_connection_termination 3 17 origin",
			stats: harness.Stats{onOrigin + "upstream_cx_destroy_remote": 1},
		},
		"the client, half-closed before": {
			origin: func(p *harness.Peer) { p.Drain(); harness.Hold(p) },
			client: func(c *harness.Client) { c.Send("abc").Finish().Reset() },
			line:   "TcpConnectionEnd DC downstream_remote_disconnect 3 0 origin",
			stats:  harness.Stats{onOrigin + "upstream_cx_destroy_local": 1},
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := harness.NewRaw(t, tc.origin)
			p := harness.StartTCP(t, harness.TCPTopology{Clusters: to(o)})
			tc.client(p.Dial())
			p.WantLines(tc.line)
			p.WantStats(tc.stats)
			o.WantEnd(0)
		})
	}
}

// stall has a client send until nothing more moves; how many bytes went.
func stall(t *testing.T, p *harness.Proxy) (*harness.Client, int64) {
	t.Helper()
	c := harness.Dialing{SendBuffer: 16 << 10}.Dial(t, p.Addr)
	n := c.Push(0, 256<<20)
	if n == 256<<20 {
		t.Fatal("the sender was never stopped")
	}
	return c, n
}

// TCP-51: the client is gone while bytes for the upstream are under way: they are flushed.
func TestTCPUpstreamFlush(t *testing.T) {
	harness.NoLeaks(t)
	v := newValve(t)
	p := harness.StartTCP(t, harness.TCPTopology{Clusters: to(v)})
	c, sent := stall(t, p)
	taken := p.Stat(inTCP + "downstream_cx_rx_bytes_total")
	c.Reset()
	p.WantStats(harness.Stats{inTCP + "upstream_flush_total": 1, inTCP + "upstream_flush_active": 1})
	close(v.open)
	if n := v.await(); n < taken || n > sent {
		t.Errorf("the origin got %d bytes of %d sent, %d of them taken by the proxy before the reset", n, sent, taken)
	}
	p.WantLine("TcpConnectionEnd DC downstream_remote_disconnect ")
	p.WantStats(harness.Stats{inTCP + "upstream_flush_total": 1, inTCP + "upstream_flush_active": 0, onOrigin + "upstream_cx_active": 0})
}

// TCP-51: bytes from the upstream end a flush, since nobody is there to take them.
func TestTCPUpstreamFlushEndsWithUpstreamBytes(t *testing.T) {
	harness.NoLeaks(t)
	say := make(chan struct{})
	o := harness.NewRaw(t, func(p *harness.Peer) {
		select {
		case <-say:
			p.Send("x")
		case <-p.Stopped():
		}
		harness.Hold(p)
	})
	p := harness.StartTCP(t, harness.TCPTopology{Clusters: to(o)})
	c, _ := stall(t, p)
	c.Reset()
	p.WantStats(harness.Stats{inTCP + "upstream_flush_active": 1})
	close(say)
	p.WantLine("TcpConnectionEnd DC downstream_remote_disconnect ")
	p.WantStats(harness.Stats{inTCP + "upstream_flush_total": 1, inTCP + "upstream_flush_active": 0, onOrigin + "upstream_cx_active": 0})
}

// TCP-51: the idle timer applies to a flush too.
func TestTCPUpstreamFlushIdles(t *testing.T) {
	harness.NoLeaks(t)
	p := harness.StartTCP(t, harness.TCPTopology{Clusters: to(newValve(t)), Proxy: "idle_timeout: 2s"})
	c, _ := stall(t, p)
	c.Reset()
	p.WantStats(harness.Stats{inTCP + "upstream_flush_active": 1})
	p.WantStats(harness.Stats{inTCP + "upstream_flush_active": 0, inTCP + "upstream_flush_total": 1, inTCP + "idle_timeout": 1, onOrigin + "upstream_cx_active": 0})
	p.WantLine("TcpConnectionEnd DC downstream_remote_disconnect ")
}

// TCP-52: what this side ends is not flushed: the upstream does not get the bytes under way, and is told
// by a reset that they are missing.
func TestTCPLocalEndDoesNotFlush(t *testing.T) {
	harness.NoLeaks(t)
	v := newValve(t)
	p := harness.StartTCP(t, harness.TCPTopology{Clusters: to(v), Proxy: "max_downstream_connection_duration: 1.5s"})
	stall(t, p)
	taken := p.Stat(inTCP + "downstream_cx_rx_bytes_total")
	p.WantLine("TcpConnectionEnd DT max_connection_duration_reached ")
	p.WantStats(harness.Stats{inTCP + "upstream_flush_total": 0, onOrigin + "upstream_cx_active": 0, onOrigin + "upstream_cx_destroy_local": 1})
	close(v.open)
	if n := v.await(); n >= taken {
		t.Errorf("the origin got %d bytes, %d had been taken from the client", n, taken)
	}
}

// TCP-54: a stopped reader stops the sender; what waits here is within the limits, and all of it arrives
// when the reader goes on. Upwards the cluster's limit counts, downwards the listener's.
func TestTCPFlowControl(t *testing.T) {
	harness.NoLeaks(t)
	for _, limit := range []int64{4 << 10, 64 << 10, 1 << 20} {
		fields := fmt.Sprintf("per_connection_buffer_limit_bytes: %d", limit)
		t.Run(fmt.Sprintf("up, %d", limit), func(t *testing.T) {
			v := newValve(t)
			p := harness.StartTCP(t, harness.TCPTopology{Clusters: []harness.Cluster{{Name: "origin", Origins: []harness.Origin{v}, Fields: fields}}})
			c, sent := stall(t, p)
			s := p.Stats()
			if held := s[inTCP+"downstream_cx_rx_bytes_total"] - s[onOrigin+"upstream_cx_tx_bytes_total"]; held <= 0 || held > limit {
				t.Errorf("%d bytes wait here with a limit of %d", held, limit)
			}
			if b := int64(p.Buffered()); b > 2*limit+64<<10 {
				t.Errorf("%d bytes of buffers with a limit of %d", b, limit)
			}
			p.WantStats(harness.Stats{
				inTCP + "downstream_flow_control_paused_reading_total":  s[inTCP+"downstream_flow_control_resumed_reading_total"] + 1,
				onOrigin + "upstream_flow_control_paused_reading_total": 0,
			})
			close(v.open)
			c.Finish()
			if n := v.await(); n != sent {
				t.Errorf("%d bytes arrived of %d", n, sent)
			}
			if err := c.WantEnd(); err != nil {
				t.Error(err)
			}
			p.WantLines(fmt.Sprintf("TcpConnectionEnd - - %d 0 origin", sent))
			s = p.Stats()
			if paused, resumed := s[inTCP+"downstream_flow_control_paused_reading_total"], s[inTCP+"downstream_flow_control_resumed_reading_total"]; paused == 0 || paused != resumed {
				t.Errorf("paused %d times, resumed %d times", paused, resumed)
			}
		})
		t.Run(fmt.Sprintf("down, %d", limit), func(t *testing.T) {
			const size = 48 << 20
			o := harness.NewRaw(t, func(p *harness.Peer) {
				_ = harness.SendStream(p.TCPConn, size)
				_ = p.CloseWrite()
				p.Drain()
			})
			p := harness.StartTCP(t, harness.TCPTopology{Clusters: to(o), Listener: fields})
			c := harness.Dialing{ReceiveBuffer: 16 << 10}.Dial(t, p.Addr)
			p.WantStats(harness.Stats{onOrigin + "upstream_cx_total": 1})
			harness.Eventually(t, "the origin to be stopped", func() bool {
				s := p.Stats()
				return s[onOrigin+"upstream_flow_control_paused_reading_total"] > s[onOrigin+"upstream_flow_control_resumed_reading_total"]
			})
			s := p.Stats()
			held := s[inTCP+"downstream_cx_tx_bytes_buffered"]
			if held <= 0 || held > limit {
				t.Errorf("%d bytes wait here with a limit of %d", held, limit)
			}
			if diff := s[onOrigin+"upstream_cx_rx_bytes_total"] - s[inTCP+"downstream_cx_tx_bytes_total"]; diff != held {
				t.Errorf("%d bytes were taken and not sent, the gauge says %d", diff, held)
			}
			if b := int64(p.Buffered()); b > 2*limit+64<<10 {
				t.Errorf("%d bytes of buffers with a limit of %d", b, limit)
			}
			c.Finish()
			if n, err := harness.TakeStream(c.Reader()); n != size || err != nil {
				t.Errorf("%d bytes, then %v", n, err)
			}
			p.WantLines(fmt.Sprintf("TcpConnectionEnd - - 0 %d origin", size))
			s = p.Stats()
			if paused, resumed := s[onOrigin+"upstream_flow_control_paused_reading_total"], s[onOrigin+"upstream_flow_control_resumed_reading_total"]; paused == 0 || paused != resumed {
				t.Errorf("paused %d times, resumed %d times", paused, resumed)
			}
			p.WantStats(harness.Stats{inTCP + "downstream_flow_control_paused_reading_total": 0, inTCP + "downstream_cx_tx_bytes_total": size})
		})
	}
}

// TCP-53: the origin has sent everything and closed while the client does not read: the client gets all.
func TestTCPDownstreamIsFlushed(t *testing.T) {
	harness.NoLeaks(t)
	const size = 8 << 20
	o := harness.NewRaw(t, func(p *harness.Peer) { _ = harness.SendStream(p.TCPConn, size) })
	p := harness.StartTCP(t, harness.TCPTopology{Clusters: to(o)})
	c := harness.Dialing{ReceiveBuffer: 16 << 10}.Dial(t, p.Addr)
	harness.Eventually(t, "the origin to be stopped", func() bool { return p.Stat(onOrigin+"upstream_flow_control_paused_reading_total") > 0 })
	c.Finish()
	if n, err := harness.TakeStream(c.Reader()); n != size || err != nil {
		t.Errorf("%d bytes, then %v", n, err)
	}
	p.WantLines(fmt.Sprintf("TcpConnectionEnd - - 0 %d origin", size))
}

// TCP-60: what ends a session in which nothing moves, at any point of it. TCP-52: neither side is flushed.
func TestTCPIdleTimeout(t *testing.T) {
	harness.NoLeaks(t)
	const override = "envoy.tcp_proxy.per_connection_idle_timeout_ms"
	for name, tc := range map[string]struct {
		origin  func(t *testing.T) harness.Origin
		proxy   string
		filters string
		send    string
		line    string
	}{
		"while connected":          {proxy: "idle_timeout: 0.1s", line: "TcpConnectionEnd - tcp_session_idle_timeout 0 0 origin"},
		"after bytes both ways":    {proxy: "idle_timeout: 0.1s", send: "ping", line: "TcpConnectionEnd - tcp_session_idle_timeout 4 4 origin"},
		"while connecting":         {origin: func(t *testing.T) harness.Origin { return harness.BlackHole(t) }, proxy: "idle_timeout: 0.1s", line: "TcpConnectionEnd - tcp_session_idle_timeout 0 0 origin"},
		"between attempts":         {origin: func(t *testing.T) harness.Origin { return harness.Refusing(t) }, proxy: retryForEver + "idle_timeout: 0.1s", line: "TcpConnectionEnd UF tcp_session_idle_timeout 0 0 origin"},
		"waiting for data":         {proxy: onData + early(5) + "idle_timeout: 0.1s", line: "TcpConnectionEnd - tcp_session_idle_timeout 0 0 -"},
		"of the connection's own":  {filters: harness.SetFilterState(override, "100"), send: "ping", line: "TcpConnectionEnd - tcp_session_idle_timeout 4 4 origin"},
		"own, shorter than set":    {proxy: "idle_timeout: 3600s", filters: harness.SetFilterState(override, "100"), line: "TcpConnectionEnd - tcp_session_idle_timeout 0 0 origin"},
		"own, where it is off":     {proxy: "idle_timeout: 0s", filters: harness.SetFilterState(override, "100"), line: "TcpConnectionEnd - tcp_session_idle_timeout 0 0 origin"},
		"own, before the upstream": {origin: func(t *testing.T) harness.Origin { return harness.BlackHole(t) }, filters: harness.SetFilterState(override, "100"), line: "TcpConnectionEnd - tcp_session_idle_timeout 0 0 origin"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			origin := harness.Origin(nil)
			if tc.origin != nil {
				origin = tc.origin(t)
			} else {
				origin = echoes(t)
			}
			p := harness.StartTCP(t, harness.TCPTopology{Clusters: to(origin), Proxy: tc.proxy, Filters: tc.filters})
			c := p.Dial()
			if tc.send != "" {
				c.Send(tc.send).WantText(tc.send)
			}
			_ = c.WantEnd()
			p.WantLines(tc.line)
			p.WantStats(harness.Stats{inTCP + "idle_timeout": 1, inTCP + "max_downstream_connection_duration": 0, onOrigin + "upstream_cx_active": 0})
		})
	}
}

// TCP-60: a session in which bytes move, one way at least, is not idle, and one whose own timeout is
// longer, or off, outlives others.
func TestTCPNotIdle(t *testing.T) {
	harness.NoLeaks(t)
	const override = "envoy.tcp_proxy.per_connection_idle_timeout_ms"
	sink := harness.NewRaw(t, (*harness.Peer).Drain)
	source := harness.NewRaw(t, func(p *harness.Peer) {
		for {
			if _, err := p.Write([]byte("x")); err != nil {
				return
			}
			time.Sleep(20 * time.Millisecond) // the pace of the traffic, not a wait
		}
	})
	echo := echoes(t)
	chain := func(name, from string, extra harness.Chain) harness.Chain {
		extra.Name, extra.Match = name, fmt.Sprintf("{ source_prefix_ranges: [{ address_prefix: %s, prefix_len: 32 }] }", from)
		extra.Proxy = "idle_timeout: 0.5s"
		return extra
	}
	p := harness.StartTCP(t, harness.TCPTopology{
		Clusters: []harness.Cluster{
			{Name: "echo", Origins: []harness.Origin{echo}}, {Name: "sink", Origins: []harness.Origin{sink}}, {Name: "source", Origins: []harness.Origin{source}},
		},
		Chains: []harness.Chain{
			chain("idle", "127.0.0.1", harness.Chain{}),
			chain("sends", "127.0.0.2", harness.Chain{Cluster: "sink"}),
			chain("receives", "127.0.0.3", harness.Chain{Cluster: "source"}),
			chain("own", "127.0.0.4", harness.Chain{Filters: harness.SetFilterState(override, "3600000")}),
			chain("off", "127.0.0.5", harness.Chain{Filters: harness.SetFilterState(override, "0")}),
		},
	})
	sends, receives, own, off := p.DialFrom("127.0.0.2"), p.DialFrom("127.0.0.3"), p.DialFrom("127.0.0.4"), p.DialFrom("127.0.0.5")
	over := make(chan struct{})
	sent := make(chan int)
	go func() {
		for n := 0; ; n++ {
			select {
			case <-over:
				sent <- n
				return
			default:
				_, _ = sends.Conn.Write([]byte("x"))
				time.Sleep(20 * time.Millisecond) // as above
			}
		}
	}()
	for range 2 { // the length of two idle timeouts
		_ = p.Dial().WantEnd()
	}
	close(over)
	n := <-sent
	sends.Finish()
	if err := sends.WantEnd(); err != nil {
		t.Error(err)
	}
	if got := sink.Read(0); got != int64(n) {
		t.Errorf("%d bytes of %d arrived", got, n)
	}
	receives.WantText("xxxxxx")
	own.Send("own").WantText("own")
	off.Send("off").WantText("off")
	p.WantStats(harness.Stats{"tcp.idle.idle_timeout": 2, "tcp.sends.idle_timeout": 0, "tcp.receives.idle_timeout": 0, "tcp.own.idle_timeout": 0, "tcp.off.idle_timeout": 0})
}

// max_downstream_connection_duration ends a session whatever moves in it, with and without jitter.
func TestTCPMaxDuration(t *testing.T) {
	harness.NoLeaks(t)
	const duration = "max_downstream_connection_duration: 0.1s\n"
	for name, tc := range map[string]struct {
		origin func(t *testing.T) harness.Origin
		proxy  string
		flags  string
	}{
		"busy":             {proxy: duration, flags: "DT"},
		"with jitter":      {proxy: duration + "max_downstream_connection_duration_jitter_percentage: { value: 50 }", flags: "DT"},
		"while connecting": {origin: func(t *testing.T) harness.Origin { return harness.BlackHole(t) }, proxy: duration, flags: "DT"},
		"between attempts": {origin: func(t *testing.T) harness.Origin { return harness.Refusing(t) }, proxy: duration + retryForEver, flags: "UF,DT"},
		"waiting for data": {proxy: duration + onData + early(5), flags: "DT"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			origin := harness.Origin(nil)
			if tc.origin != nil {
				origin = tc.origin(t)
			} else {
				origin = echoes(t)
			}
			p := harness.StartTCP(t, harness.TCPTopology{Clusters: to(origin), Proxy: tc.proxy, LogFormat: "%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% %DURATION%"})
			c := p.Dial()
			if name == "busy" || name == "with jitter" {
				for {
					if _, err := c.Conn.Write([]byte("x")); err != nil {
						break
					}
					if _, err := c.Reader().Read(make([]byte, 100)); err != nil {
						break
					}
				}
			} else {
				_ = c.WantEnd()
			}
			line := p.AwaitLines(1)[0]
			var ms int
			if _, err := fmt.Sscanf(line, tc.flags+" max_connection_duration_reached max_connection_duration_reached %d", &ms); err != nil || ms < 100 {
				t.Errorf("the line is %q", line)
			}
			p.WantStats(harness.Stats{inTCP + "max_downstream_connection_duration": 1, inTCP + "idle_timeout": 0, onOrigin + "upstream_cx_active": 0})
		})
	}
}
