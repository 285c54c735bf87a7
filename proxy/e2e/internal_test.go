package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"golang.org/x/net/http2"

	"github.com/sluiceproxy/sluice/proxy"
	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// innerCluster is a cluster "inner" whose host is the internal listener "inner".
func innerCluster(fields ...string) harness.Cluster {
	return harness.Cluster{Name: "inner", Origins: []harness.Origin{harness.Internal("inner/a")}, Fields: strings.Join(fields, "\n")}
}

// UP-63: requests through an internal listener that takes them to another proxy by CONNECT, over HTTP/1 and
// HTTP/2: small ones, large bodies both ways, and what listener, cluster and logs say of it.
func TestUP63Encapsulated(t *testing.T) {
	for _, x := range transports[:2] {
		t.Run(x.name, func(t *testing.T) {
			second := terminator(innerHop{t}, harness.NewOrigin(t, "far"), x.routes)
			far := harness.Cluster{Name: "far", Origins: []harness.Origin{asOrigin{second}}}
			if x.h2 {
				far.Fields = h2Cluster
			}
			top := harness.Topology{Clusters: []harness.Cluster{innerCluster(idleGoes()), far}}
			top.Action, top.LogFormat = "timeout: 0s", "%RESPONSE_CODE% %UPSTREAM_HOST% %UPSTREAM_LOCAL_ADDRESS%"
			p := startInner(t, top, innerTCP("inner", "far", "tunneling_config: { "+x.tunneling+" }", ""))
			c := harness.Dial(t, p.Addr)
			for range 3 {
				c.Get("/").Want(200, "hello from far\n")
			}
			if got := c.Get("/bytes/5000000"); got.Status != 200 || len(got.Body) != 5_000_000 {
				t.Errorf("%d, %d bytes", got.Status, len(got.Body))
			}
			n := int64(6_000_000)
			resp, err := http.Post("http://"+p.Addr+"/echo", "", &patternReader{n: n})
			if err != nil {
				t.Fatal(err)
			}
			got, sum, err := sumOf(resp.Body)
			_ = resp.Body.Close()
			if err != nil || got != n || sum != patternSum(n) {
				t.Errorf("%d bytes of %d came back: %v", got, n, err)
			}
			c.Close()
			http.DefaultClient.CloseIdleConnections()
			p.WantStats(harness.Stats{
				"listener.envoy_internal_inner.downstream_cx_total": 1, "listener.envoy_internal_inner.downstream_cx_active": 0,
				"tcp.inner.downstream_cx_total": 1, "cluster.inner.upstream_cx_total": 1, "cluster.inner.upstream_rq_200": 5,
				"cluster.inner.upstream_cx_connect_fail": 0, "cluster.inner.upstream_cx_active": 0,
			})
			second.WantStats(harness.Stats{"http.in.downstream_cx_upgrades_total": 1})
			for _, line := range p.AwaitLines(5) {
				if line != "200 envoy://inner/a -" {
					t.Error(line)
				}
			}
		})
	}
}

// UP-63: a CONNECT tunnel that ends here and whose payload is served as HTTP, by the routes of the internal
// listener; over HTTP/1 and HTTP/2.
func TestUP63Decapsulated(t *testing.T) {
	o := harness.NewRecorder(t, func(m *harness.Message) string { return harness.Reply(m.Path()) })
	top := harness.Topology{Clusters: []harness.Cluster{innerCluster(), {Name: "origin", Origins: []harness.Origin{o}}}, Manager: h2Connect}
	top.Routes = strings.Replace(connectRoute, "cluster: origin", "cluster: inner", 1)
	top.LogFormat = "outer"
	p := startInner(t, top, innerHTTP("inner", "origin", "use_remote_address: true, access_log: [{ name: file, typed_config: { \"@type\": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog, path: /dev/null } }],", ""))
	w := harness.DialWire(t, "tcp", p.Addr)
	w.Send(askConnect)
	if m := w.ReadHead(); m.Status() != 200 {
		t.Fatal(m.Start)
	}
	for _, path := range []string{"/one", "/two"} {
		if m := w.Do("GET " + path + " HTTP/1.1\r\nHost: in.the.tunnel\r\n\r\n"); m.Status() != 200 || string(m.Body) != path {
			t.Errorf("%s %q", m.Start, m.Body)
		}
		seen := o.Last(t)
		if seen.Get("host") != "in.the.tunnel" || seen.Get("x-forwarded-for") != "-" { // its client has no address
			t.Error(seen.Head())
		}
	}
	w.Close()
	h := dialH2(t, p)
	h.connect(1, "h:1")
	h.want("head 1 200")
	h.must(h.WriteData(1, false, []byte("GET /three HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")))
	for got := ""; !strings.HasSuffix(got, "/three"); {
		f, err := h.ReadFrame()
		h.must(err)
		if d, ok := f.(*http2.DataFrame); ok {
			got += string(d.Data())
		}
	}
	_ = h.Conn.Close()
	p.WantStats(harness.Stats{"http.inner.downstream_rq_total": 3, "http.inner.downstream_rq_2xx": 3, "http.inner.downstream_cx_total": 2, "http.inner.downstream_cx_active": 0})
}

// UP-63: TCP sessions: bulk both ways at once with half-close in both orders, and resets from either side.
func TestUP63Sessions(t *testing.T) {
	up, down := tunnelBytes(3<<20), tunnelBytes(5<<20)
	start := func(t *testing.T, serve func(p *harness.Peer)) *harness.Proxy {
		return startInnerTCP(t, harness.TCPTopology{Clusters: []harness.Cluster{innerCluster(), {Name: "origin", Origins: []harness.Origin{harness.NewRaw(t, serve)}}}},
			innerTCP("inner", "origin", "", ""))
	}
	t.Run("client ends first", func(t *testing.T) {
		p := start(t, func(p *harness.Peer) {
			if got, err := io.ReadAll(p.In); err != nil || len(got) != len(up) {
				t.Errorf("the origin got %d bytes, %v", len(got), err)
			}
			_, _ = p.Write(down)
			_ = p.CloseWrite()
		})
		c := dialTCP(t, p.Addr)
		done := sent(c, up)
		wantSame(t, "down", c, down)
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Run("origin ends first", func(t *testing.T) {
		read := make(chan int, 1)
		p := start(t, func(p *harness.Peer) {
			_, _ = p.Write(down)
			_ = p.CloseWrite()
			got, _ := io.ReadAll(p.In)
			read <- len(got)
		})
		c := dialTCP(t, p.Addr)
		wantSame(t, "down", c, down)
		if err := <-sent(c, up); err != nil {
			t.Error(err)
		}
		if n := <-read; n != len(up) {
			t.Errorf("the origin got %d bytes", n)
		}
	})
	t.Run("client resets", func(t *testing.T) {
		ended := make(chan error, 1)
		p := start(t, func(p *harness.Peer) {
			p.Send("x")
			_, err := p.In.ReadByte()
			ended <- err
		})
		c := dialTCP(t, p.Addr)
		_, _ = io.ReadFull(c, make([]byte, 1))
		_ = c.SetLinger(0)
		_ = c.Close()
		if err := <-ended; err == nil {
			t.Error("the origin's connection goes on")
		}
	})
	t.Run("origin resets", func(t *testing.T) {
		p := start(t, func(p *harness.Peer) { _, _ = p.In.ReadByte(); p.Reset() })
		c := dialTCP(t, p.Addr)
		_, _ = io.WriteString(c, "x")
		if rest, _ := io.ReadAll(c); len(rest) > 0 {
			t.Errorf("%q", rest)
		}
	})
}

// UP-63: TLS from the cluster to the internal listener, which sees certificate names and ALPN as any.
func TestUP63TLS(t *testing.T) {
	a := harness.NewAuthority(t)
	o := harness.NewRecorder(t, func(*harness.Message) string { return harness.Reply("well") })
	secured := "      " + harness.ServerSocket(a.Pair(t, "inner.test"), "alpn_protocols: [h2]", "") + "\n"
	top := harness.Topology{Clusters: []harness.Cluster{
		innerCluster(h2Cluster+"\n    "+passing, harness.ClientSocket(a.Trust(), "sni: inner.test")),
		{Name: "origin", Origins: []harness.Origin{o}},
	}}
	p := startInner(t, top, innerHTTP("inner", "origin", "", secured))
	w := harness.DialWire(t, "tcp", p.Addr)
	for range 3 {
		if m := w.Do("GET / HTTP/1.1\r\nHost: h\r\n\r\n"); m.Status() != 200 || string(m.Body) != "well" {
			t.Errorf("%s %q", m.Start, m.Body)
		}
	}
	w.Close()
	p.WantStats(harness.Stats{
		"cluster.inner.ssl.handshake": 1, "listener.envoy_internal_inner.ssl.handshake": 1,
		"http.inner.downstream_cx_http2_total": 1, "http.inner.downstream_rq_total": 3,
	})
}

// UP-63: without a listener of the name connecting fails, as to a port that nobody listens on.
func TestUP63NoListener(t *testing.T) {
	top := harness.Topology{Clusters: []harness.Cluster{innerCluster()}}
	p := startInner(t, top)
	w := harness.DialWire(t, "tcp", p.Addr)
	if m := w.Do("GET / HTTP/1.1\r\nHost: h\r\n\r\n"); m.Status() != 503 || !strings.Contains(string(m.Body), "connection") {
		t.Errorf("%s %q", m.Start, m.Body)
	}
	w.Close()
	if line := p.AwaitLines(1)[0]; !strings.HasPrefix(line, "503 UF") {
		t.Error(line)
	}
	p.WantStats(harness.Stats{"cluster.inner.upstream_cx_connect_fail": 1})
}

// UP-63: an internal listener that leads to itself ends with an error, at a depth or at the cluster's circuit
// breakers, and all it took comes back.
func TestUP63Cycle(t *testing.T) {
	const breakers = "circuit_breakers: { thresholds: [{ max_connections: 50, max_requests: 40 }] }"
	for _, h2 := range []bool{false, true} {
		t.Run(fmt.Sprint("depth, HTTP2 ", h2), func(t *testing.T) {
			fields := idleGoes()
			if h2 {
				fields = h2Cluster + "\n    " + passing
			}
			top := harness.Topology{Clusters: []harness.Cluster{innerCluster(fields)}}
			p := startInner(t, top, innerHTTP("inner", "inner", "", ""))
			w := harness.DialWire(t, "tcp", p.Addr)
			for range 3 {
				if m := w.Do("GET / HTTP/1.1\r\nHost: h\r\n\r\n"); m.Status() != 503 {
					t.Error(m.Start)
				}
			}
			w.Close()
			if n := p.Stat("cluster.inner.upstream_cx_active"); n > 64 {
				t.Errorf("%d connections", n)
			}
		})
	}
	t.Run("TCP depth", func(t *testing.T) {
		p := startInnerTCP(t, harness.TCPTopology{Clusters: []harness.Cluster{innerCluster()}}, innerTCP("inner", "inner", "", ""))
		c := dialTCP(t, p.Addr)
		_, _ = io.WriteString(c, "x")
		if rest, _ := io.ReadAll(c); len(rest) > 0 {
			t.Errorf("%q", rest)
		}
		_ = c.Close()
		p.WantStats(harness.Stats{"tcp.inner.downstream_cx_total": 64, "listener.envoy_internal_inner.downstream_cx_active": 0, "cluster.inner.upstream_cx_connect_fail": 1})
	})
	t.Run("HTTP", func(t *testing.T) {
		top := harness.Topology{Clusters: []harness.Cluster{innerCluster(breakers, idleGoes())}}
		p := startInner(t, top, innerHTTP("inner", "inner", "", ""))
		w := harness.DialWire(t, "tcp", p.Addr)
		for range 3 {
			if m := w.Do("GET / HTTP/1.1\r\nHost: h\r\n\r\n"); m.Status() != 503 {
				t.Error(m.Start)
			}
		}
		w.Close()
		if n := p.Stat("cluster.inner.upstream_cx_total"); n > 150 {
			t.Errorf("%d connections", n)
		}
		p.WantStats(harness.Stats{"cluster.inner.upstream_rq_pending_overflow": 3, "http.inner.downstream_rq_5xx": 120})
	})
	t.Run("TCP", func(t *testing.T) {
		p := startInnerTCP(t, harness.TCPTopology{Clusters: []harness.Cluster{innerCluster(breakers)}}, innerTCP("inner", "inner", "", ""))
		c := dialTCP(t, p.Addr)
		_, _ = io.WriteString(c, "x")
		if rest, _ := io.ReadAll(c); len(rest) > 0 {
			t.Errorf("%q", rest)
		}
		_ = c.Close()
		p.WantStats(harness.Stats{"cluster.inner.upstream_cx_overflow": 1, "tcp.inner.downstream_cx_total": 50, "listener.envoy_internal_inner.downstream_cx_active": 0})
	})
}

// UP-63: a client that does not read stops the origin: what waits within the proxy is bounded by the buffers of the
// connections on the way.
func TestUP63Backpressure(t *testing.T) {
	const limit = "per_connection_buffer_limit_bytes: 32768"
	o := harness.NewRaw(t, func(p *harness.Peer) { p.Fill(64 << 20) })
	p := startInnerTCP(t, harness.TCPTopology{
		Listener: limit,
		Clusters: []harness.Cluster{innerCluster(limit), {Name: "origin", Origins: []harness.Origin{o}, Fields: limit}},
	}, innerTCP("inner", "origin", "", "    "+limit+"\n"))
	c := dialTCP(t, p.Addr)
	harness.Eventually(t, "the origin to be stopped", func() bool {
		return p.Stat("cluster.origin.upstream_flow_control_paused_reading_total") > 0 && p.Stat("cluster.inner.upstream_flow_control_paused_reading_total") > 0
	})
	for range 20 {
		if n := p.Buffered(); n > 1<<20 {
			t.Fatalf("%d bytes wait", n)
		}
	}
	if n, err := io.Copy(io.Discard, c); n != 64<<20 || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
}

// UP-63: a new configuration changes the internal listener for connections to come; one without it refuses them,
// and what goes on does so undisturbed.
func TestUP63Reload(t *testing.T) {
	origin := func(name string) harness.Origin {
		return harness.NewRaw(t, func(p *harness.Peer) {
			p.Send(name)
			_, _ = io.Copy(p.TCPConn, p.In)
			_ = p.CloseWrite()
		})
	}
	top := harness.TCPTopology{Clusters: []harness.Cluster{
		innerCluster(), {Name: "one", Origins: []harness.Origin{origin("one")}}, {Name: "two", Origins: []harness.Origin{origin("two")}},
	}}
	log := logPath(t)
	p := startYAML(t, withInner(t, top.YAML(log), innerTCP("inner", "one", "", "")), log, top.Clusters)
	apply := func(listeners ...string) {
		t.Helper()
		if err := p.Server.Apply(harness.Load(t, withInner(t, top.YAML(log), listeners...))); err != nil {
			t.Fatal(err)
		}
	}
	first := dialTCP(t, p.Addr)
	wantEcho(t, io.Discard, first, "one")
	apply(innerTCP("inner", "two", "", ""))
	second := dialTCP(t, p.Addr)
	wantEcho(t, io.Discard, second, "two")
	apply(innerTCP("inner", "one", "", "    stat_prefix: other\n")) // another listener in the place of the old one
	third := dialTCP(t, p.Addr)
	wantEcho(t, io.Discard, third, "one")
	p.WantStats(harness.Stats{"listener.other.downstream_cx_total": 1})
	apply()
	fourth := dialTCP(t, p.Addr)
	if rest, _ := io.ReadAll(fourth); len(rest) > 0 {
		t.Errorf("%q", rest)
	}
	wantEcho(t, third, third, "still here")
	for _, c := range []interface{ Close() error }{first, second, third, fourth} {
		_ = c.Close()
	}
}

// UP-63: a server that drains finishes what its clients have under way, though it takes a new connection to an
// internal listener.
func TestUP63Drain(t *testing.T) {
	o := harness.NewOrigin(t, "a")
	top := harness.Topology{Clusters: []harness.Cluster{innerCluster(), {Name: "origin", Origins: []harness.Origin{o}}}}
	p := startInner(t, top, innerHTTP("inner", "origin", "", ""))
	p.Server.DrainListeners(proxy.ListenerDrain{Graceful: true, SkipExit: true}) // leaves the internal one as it is
	busy, idle := harness.Dial(t, p.Addr), harness.Dial(t, p.Addr)
	idle.Get("/").Want(200, "hello from a\n")
	idle = harness.Dial(t, p.Addr)
	busy.Send("GET /delay/700 HTTP/1.1\r\nHost: test\r\n\r\n")
	harness.Eventually(t, "the request to be there", func() bool { return p.Stat("http.inner.downstream_rq_active") == 1 })
	over := make(chan struct{})
	go func() {
		defer close(over)
		p.Server.Drain(context.Background())
	}()
	harness.Eventually(t, "the drain", func() bool { return p.Server.State() == proxy.Draining })
	idle.Get("/").Want(200, "hello from a\n")
	busy.Read("GET").Want(200, "delayed 700\n")
	<-over
}

// UP-63: WebSocket through an internal listener, relayed on both sides of it.
func TestUP63WebSocket(t *testing.T) {
	o := webSocketServer(t, nil, overH1, true)
	top := harness.Topology{Clusters: []harness.Cluster{innerCluster(), {Name: "origin", Origins: []harness.Origin{o}}}, Manager: webSocketOn, Action: "timeout: 0s"}
	p := startInner(t, top, innerHTTP("inner", "origin", strings.TrimSpace(webSocketOn)+",", ""))
	talkWebSocket(t, true, "ws://"+p.Addr, nil, []*harness.Proxy{p})
	p.WantStats(harness.Stats{"http.inner.downstream_cx_upgrades_total": 2, "http.inner.downstream_cx_upgrades_active": 0})
}

// What the admin interface and the loader call an internal listener.
func TestUP63Names(t *testing.T) {
	p := startInner(t, harness.Topology{}, innerTCP("inner", "origin", "", ""))
	l := p.Server.Listeners()[1]
	if got := fmt.Sprint(l.Name, " ", l.Addresses[0]); got != "inner envoy://inner/" {
		t.Error(got)
	}
}
