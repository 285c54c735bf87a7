package e2e

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// UP-61, TCP-44: bulk both ways with half-close in both orders, through every kind of tunnel.
func TestUP61BulkAndHalfClose(t *testing.T) {
	up, down := tunnelBytes(3<<20), tunnelBytes(5<<20)
	t.Run("client first", func(t *testing.T) {
		throughTunnel(t, func(t *testing.T) harness.Origin {
			return harness.NewRaw(t, func(p *harness.Peer) {
				got, err := io.ReadAll(p.In) // to the client's FIN, then answers
				if err != nil || len(got) != len(up) {
					t.Errorf("the origin got %d bytes, %v", len(got), err)
				}
				_, _ = p.Write(down)
				_ = p.CloseWrite()
			})
		}, func(t *testing.T, first, _ *harness.Proxy) {
			c := dialTCP(t, first.Addr)
			done := sent(c, up)
			wantSame(t, "down", c, down)
			if err := <-done; err != nil {
				t.Error(err)
			}
			_ = c.Close()
			if line := first.AwaitLines(1)[0]; !strings.Contains(line, fmt.Sprint(len(up), " ", len(down))) {
				t.Error(line)
			}
		})
	})
	t.Run("origin first", func(t *testing.T) {
		throughTunnel(t, func(t *testing.T) harness.Origin {
			return harness.NewRaw(t, func(p *harness.Peer) {
				b := make([]byte, len(up))
				if _, err := io.ReadFull(p.In, b); err != nil {
					t.Error(err)
				}
				_, _ = p.Write(down)
				_ = p.CloseWrite()
				p.Drain()
			})
		}, func(t *testing.T, first, _ *harness.Proxy) {
			c := dialTCP(t, first.Addr)
			go func() { _, _ = c.Write(up) }()
			wantSame(t, "down", c, down)
			_ = c.Close()
		})
	})
}

// A server that speaks first, line by line, as SMTP does.
func TestUP61ServerFirst(t *testing.T) {
	throughTunnel(t, func(t *testing.T) harness.Origin {
		return harness.NewRaw(t, func(p *harness.Peer) {
			p.Send("220 ready\r\n")
			for {
				line, err := p.In.ReadString('\n')
				if err != nil {
					return
				}
				p.Send("250 " + line)
				if strings.HasPrefix(line, "QUIT") {
					return
				}
			}
		})
	}, func(t *testing.T, first, second *harness.Proxy) {
		c := dialTCP(t, first.Addr)
		in := bufio.NewReader(c)
		want := func(text string) {
			t.Helper()
			if line, err := in.ReadString('\n'); line != text || err != nil {
				t.Fatalf("%q, %v", line, err)
			}
		}
		want("220 ready\r\n")
		for _, word := range []string{"HELO me", "MAIL", "QUIT"} {
			_, _ = io.WriteString(c, word+"\r\n")
			want("250 " + word + "\r\n")
		}
		if _, err := in.ReadByte(); err != io.EOF {
			t.Errorf("after QUIT: %v", err)
		}
		_ = c.Close()
		harness.Eventually(t, "the tunnel to be over", func() bool { return second.Stat("http.in.downstream_cx_upgrades_active") == 0 })
		if n := second.Stat("http.in.downstream_cx_upgrades_total"); n != 1 {
			t.Errorf("%d upgrades", n)
		}
	})
}

// TCP-40, TCP-41, UP-60: what the request looks like, and that nothing of the client goes before the answer.
func TestTCP40Request(t *testing.T) {
	for _, row := range []struct{ tunneling, want, not string }{
		{"hostname: \"%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%:443\", headers_to_add: [{ header: { key: x-from, value: \"%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%\" } }]",
			"CONNECT 127.0.0.1:443 HTTP/1.1\r\nhost: 127.0.0.1:443\r\nx-from: 127.0.0.1\r\n\r\n", ""},
		{"hostname: h, use_post: true", "POST / HTTP/1.1\r\nhost: h\r\n\r\n", ""},
	} {
		heads, answer := make(chan string, 1), make(chan struct{})
		o := harness.NewRaw(t, func(p *harness.Peer) {
			head := p.ReadHead()
			<-answer
			if p.In.Buffered() > 0 {
				head += "and too much"
			}
			heads <- head
			p.Send("HTTP/1.1 200 OK\r\nx-told: yes\r\n\r\nfirst")
			_, _ = io.Copy(p.TCPConn, p.In)
		})
		p := encapsulator(t, o, false, row.tunneling+", propagate_response_headers: true", "max_early_data_bytes: 100")
		c := dialTCP(t, p.Addr)
		_, _ = io.WriteString(c, "early")
		close(answer)
		if head := <-heads; head != row.want {
			t.Errorf("%q, want %q", head, row.want)
		}
		got := make([]byte, 10)
		if _, err := io.ReadFull(c, got); err != nil || string(got) != "firstearly" {
			t.Errorf("%q, %v", got, err)
		}
		_ = c.Close()
		p.AwaitLines(1)
	}
}

// TCP-41: any other answer, or a reset, is a connect failure; attempts go on.
func TestTCP41RefusedTunnel(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		t.Run(fmt.Sprint("HTTP2 ", h2), func(t *testing.T) {
			o := harness.NewRaw(t, func(*harness.Peer) { t.Error("a connection to the origin") })
			second := terminator(innerHop{t}, o, "- match: { prefix: /nothing }\n  route: { cluster: origin }")
			first := encapsulator(t, asOrigin{second}, h2, "hostname: h:1", "max_connect_attempts: 3")
			c := dialTCP(t, first.Addr)
			if b, err := io.ReadAll(c); len(b) > 0 {
				t.Errorf("%q, %v", b, err)
			}
			if line := first.AwaitLines(1)[0]; !strings.Contains(line, "UF") || !strings.Contains(line, "URX") || !strings.Contains(line, "tunnel_refused") {
				t.Error(line)
			}
			if n := second.Stat("http.in.downstream_rq_total"); n != 3 {
				t.Errorf("%d attempts", n)
			}
		})
	}
}

// TCP-42: framing of a success means nothing.
func TestTCP42FramingOfSuccess(t *testing.T) {
	o := harness.NewRaw(t, func(p *harness.Peer) {
		p.ReadHead()
		p.Send("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n")
		_, _ = io.Copy(p.TCPConn, p.In)
	})
	p := encapsulator(t, o, false, "hostname: h:1")
	c := dialTCP(t, p.Addr)
	wantEcho(t, c, c, "more than three bytes")
	_ = c.Close()
}

// TCP-43: filter state turns the tunnel off for a connection.
func TestTCP43DisableTunneling(t *testing.T) {
	o := harness.NewRaw(t, func(p *harness.Peer) { _, _ = io.Copy(p.TCPConn, p.In) })
	p := harness.StartTCP(t, harness.TCPTopology{
		Clusters: []harness.Cluster{{Name: "origin", Origins: []harness.Origin{o}}},
		Proxy:    "tunneling_config: { hostname: h:1 }",
		Filters:  harness.SetFilterState("envoy.tcp_proxy.disable_tunneling", "true"),
	})
	c := dialTCP(t, p.Addr)
	wantEcho(t, c, c, "plain")
	_ = c.Close()
}

// TCP-45: tunnels share HTTP/2 connections, and one whose client does not read stops no other.
func TestTCP45SharedAndFair(t *testing.T) {
	o := harness.NewRaw(t, func(p *harness.Peer) {
		kind := make([]byte, 1)
		if _, err := io.ReadFull(p.In, kind); err != nil {
			return
		}
		if kind[0] == 'f' {
			p.Fill(8 << 20)
			return
		}
		_, _ = io.Copy(p.TCPConn, p.In)
	})
	second := terminator(innerHop{t}, o, connectRoute)
	first := encapsulator(t, asOrigin{second}, true, "hostname: h:1")
	slow := dialTCP(t, first.Addr)
	_, _ = io.WriteString(slow, "f") // and does not read
	harness.Eventually(t, "the slow client's tunnel to stop", func() bool {
		return first.Stat("cluster.origin.upstream_flow_control_paused_reading_total") > 0
	})
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			c := dialTCP(t, first.Addr)
			defer c.Close()
			_, _ = io.WriteString(c, "e")
			wantEcho(t, c, c, "quick")
			big := tunnelBytes(1 << 20)
			done := sent(c, big)
			wantSame(t, "echo", c, big)
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := first.Stat("cluster.origin.upstream_cx_total"); n != 1 {
		t.Errorf("%d connections for 17 tunnels", n)
	}
	if n, err := io.Copy(io.Discard, slow); n != 8<<20 || err != nil {
		t.Errorf("the slow client got %d bytes, %v", n, err)
	}
	_ = slow.Close()
}

// TCP-45: connections for tunnels to come are made ahead of them, as many as preconnect_policy says.
func TestTCP45WarmConnections(t *testing.T) {
	end := one(echoes(t))
	end.Routes, end.NotSettled = connectRoute, true
	end.Manager = strings.Replace(h2Connect, "allow_connect: true", "allow_connect: true, max_concurrent_streams: 2", 1)
	if end.Manager == h2Connect {
		t.Fatal("no limit of streams")
	}
	second := harness.Start(t, end)
	clusters := to(asOrigin{second})
	clusters[0].Fields = h2Cluster + "\n" + preconnect
	first := harness.StartTCP(t, harness.TCPTopology{Clusters: clusters, Proxy: "tunneling_config: { hostname: \"h:1\" }"})
	for _, conns := range []int64{1, 2, 3, 4} { // room for twice as many tunnels as there are
		c := dialTCP(t, first.Addr)
		defer c.Close()
		wantEcho(t, c, c, "hello")
		harness.Eventually(t, "connections ahead", func() bool { return first.Stat(onOrigin+"upstream_cx_active") == conns })
		first.WantStats(harness.Stats{onOrigin + "upstream_cx_total": conns})
	}
}

// What the answer to a tunnel says can be had in logs.
func TestTCP40PropagatedHeaders(t *testing.T) {
	o := harness.NewRaw(t, func(p *harness.Peer) {
		p.ReadHead()
		p.Send("HTTP/1.1 200 OK\r\nx-told: yes\r\n\r\n")
		_, _ = io.Copy(p.TCPConn, p.In)
		_ = p.CloseWrite()
	})
	for _, on := range []bool{true, false} {
		p := harness.StartTCP(t, harness.TCPTopology{
			Clusters:  []harness.Cluster{{Name: "origin", Origins: []harness.Origin{harness.At(o.Address())}}},
			Proxy:     fmt.Sprintf("tunneling_config: { hostname: h:1, propagate_response_headers: %v }", on),
			LogFormat: "%FILTER_STATE(envoy.tcp_proxy.propagate_response_headers:PLAIN)%",
		})
		c := dialTCP(t, p.Addr)
		wantEcho(t, c, c, "x")
		_ = c.CloseWrite()
		_, _ = io.ReadAll(c)
		_ = c.Close()
		want := "-"
		if on {
			want = ":status: 200, x-told: yes"
		}
		p.WantLines(want)
	}
}
