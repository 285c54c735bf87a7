package e2e

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// The truth table: what the manager and the route say of a type (upgrades.md 2, UP-4, UP-7).
func TestUP4TruthTable(t *testing.T) {
	off := func(u string) string { return strings.Replace(u, " }]", ", enabled: false }]", 1) }
	const none, on = "", "upgrade_configs: [{ upgrade_type: websocket }]"
	for _, row := range []struct {
		manager, route string
		allowed        bool
	}{
		{on, on, true}, {on, off(on), false}, {off(on), on, true}, {off(on), off(on), false},
		{on, none, true}, {off(on), none, false}, {none, none, false}, {none, on, true}, {none, off(on), false},
	} {
		t.Run(fmt.Sprintf("manager %q route %q", row.manager, row.route), func(t *testing.T) {
			o, _ := upgradeOrigin(t, switching("websocket"))
			p := hop(t, o, false, row.manager, row.route)
			w := harness.DialWire(t, "tcp", p.Addr)
			defer w.Close()
			w.Send(askUpgrade("WebSocket"))
			m := w.ReadHead()
			if row.allowed {
				if m.Status() != 101 {
					t.Fatal(m.Start)
				}
				wantEcho(t, w.Conn, w.In, "ping")
				if got := upgradesOf(p); got != "1 1 0" {
					t.Errorf("statistics %s", got)
				}
				return
			}
			if m.Status() != 403 || m.Get("content-length") != "0" {
				t.Fatalf("%s", m.Head())
			}
			w.WantClosed()
			if got := upgradesOf(p); got != "0 0 1" {
				t.Errorf("statistics %s", got)
			}
			if line := p.AwaitLines(1)[0]; !strings.Contains(line, "upgrade_failed") {
				t.Error(line)
			}
		})
	}
}

// UP-8: no route is 404 as ever, and a route with upgrades serves other requests.
func TestUP8NoRouteAndOtherRequests(t *testing.T) {
	o := harness.NewRecorder(t, func(*harness.Message) string { return harness.Reply("well") })
	top := one(o)
	top.Routes = "- match: { prefix: /path }\n  route: { cluster: " + top.Clusters[0].Name + ", upgrade_configs: [{ upgrade_type: websocket }] }"
	p := harness.Start(t, top)
	w := harness.DialWire(t, "tcp", p.Addr)
	if m := w.Do("GET /path HTTP/1.1\r\nHost: test\r\n\r\n"); m.Status() != 200 || string(m.Body) != "well" {
		t.Errorf("%s %q", m.Start, m.Body)
	}
	w.Send(strings.Replace(askUpgrade("websocket"), "/path", "/other", 1))
	if m := w.Read(); m.Status() != 404 {
		t.Error(m.Start)
	}
	w.WantClosed()
	if got := upgradesOf(p); got != "0 0 0" {
		t.Errorf("statistics %s", got)
	}
}

// UP-1, UP-2, UP-3: h2c and what ignore_http_11_upgrade names go on as plain requests; types are compared
// without case and whole; Connection and Upgrade stay.
func TestUP1IgnoredUpgrades(t *testing.T) {
	o := harness.NewRecorder(t, func(*harness.Message) string { return harness.Reply("plain") })
	p := hop(t, o, false, "upgrade_configs: [{ upgrade_type: h2c }, { upgrade_type: websocket }]\nhttp_protocol_options: { ignore_http_11_upgrade: [{ prefix: TLS }] }", "")
	w := harness.DialWire(t, "tcp", p.Addr)
	for _, kind := range []string{"h2c", "H2C", "TLS/1.2"} {
		m := w.Do(askUpgrade(kind, "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA"))
		if m.Status() != 200 {
			t.Fatalf("%s: %s", kind, m.Start)
		}
		seen := o.Last(t)
		for _, name := range []string{"upgrade", "connection", "http2-settings"} {
			if kind != "TLS/1.2" || name != "http2-settings" {
				if got := seen.Get(name); got != "-" {
					t.Errorf("%s: the origin got %s: %s", kind, name, got)
				}
			}
		}
	}
	w.Send(askUpgrade("websocket, h2c")) // one string, of which nobody spoke
	if m := w.Read(); m.Status() != 403 {
		t.Error(m.Start)
	}
	w.WantClosed()
}

func TestUP3UpgradeFieldsAsReceived(t *testing.T) {
	o, heads := upgradeOrigin(t, switching("webSOCKET"))
	p := hop(t, o, false, webSocketOn, "")
	w := harness.DialWire(t, "tcp", p.Addr)
	defer w.Close()
	w.Send(strings.Replace(askUpgrade("WebSocket", "Sec-WebSocket-Key: x"), "GET", "POST", 1))
	m := w.ReadHead()
	if m.Status() != 101 || m.Get("upgrade") != "webSOCKET" || m.Get("connection") != "Upgrade" || m.Get("content-length") != "-" || m.Get("transfer-encoding") != "-" {
		t.Errorf("%s", m.Head())
	}
	head := <-heads
	for _, want := range []string{"POST /path HTTP/1.1\r\n", "connection: keep-alive, Upgrade\r\n", "upgrade: WebSocket\r\n"} { // UP-10: any method between two HTTP/1 sides
		if !strings.Contains(head, want) {
			t.Errorf("%q is not in %q", want, head)
		}
	}
	for _, not := range []string{"content-length", "transfer-encoding"} {
		if strings.Contains(head, not) {
			t.Errorf("%s is in %q", not, head)
		}
	}
}

// UP-10, UP-11: across HTTP/2 the method is GET in the end, the type verbatim, and the answer complete.
func TestUP11AcrossHTTP2(t *testing.T) {
	for _, chain := range chains[1:] {
		t.Run(chain, func(t *testing.T) {
			o, heads := upgradeOrigin(t, switching("Foo/1"))
			all := webSocketChain(t, chain, "upgrade_configs: [{ upgrade_type: foo/1 }]\n", o)
			w := harness.DialWire(t, "tcp", all[0].Addr)
			defer w.Close()
			w.Send(strings.Replace(askUpgrade("Foo/1", "x-more: yes"), "GET", "POST", 1))
			m := w.ReadHead()
			if m.Status() != 101 || m.Get("upgrade") != "Foo/1" || m.Get("connection") != "upgrade" || m.Get("content-length") != "-" {
				t.Errorf("%s", m.Head())
			}
			head := <-heads
			for _, want := range []string{"GET /path HTTP/1.1\r\n", "host: test\r\n", "upgrade: Foo/1\r\n", "connection: upgrade\r\n", "x-more: yes\r\n"} {
				if !strings.Contains(head, want) {
					t.Errorf("%q is not in %q", want, head)
				}
			}
			wantEcho(t, w.Conn, w.In, "hello")
		})
	}
}

// UP-12: without allow_connect extended CONNECT is a stream error, and a server that does not offer it
// gets none.
func TestUP12AllowConnect(t *testing.T) {
	o, _ := upgradeOrigin(t, switching("websocket"))
	p := hop(t, o, false, webSocketOn, "")
	w := dialH2(t, p)
	w.request(1, false, "CONNECT", "/path", ":protocol=websocket")
	w.want("reset 1 PROTOCOL_ERROR")

	second := hop(innerHop{t}, o, false, webSocketOn, "") // speaks HTTP/2, and does not offer it
	first := hop(t, asOrigin{second}, true, webSocketOn, "")
	for range 2 { // on a new connection, and on one whose settings are known
		c := harness.DialWire(t, "tcp", first.Addr)
		c.Send(askUpgrade("websocket"))
		if m := c.Read(); m.Status() != 503 {
			t.Errorf("%s", m.Start)
		}
		c.WantClosed()
	}
}

// UP-14: any other answer goes on with its body, both connections close, and the gauge goes back.
func TestUP14OtherAnswers(t *testing.T) {
	for _, answer := range []string{
		"HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\nConnection: upgrade\r\nContent-Length: 4\r\n\r\nnope",
		"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnope",
		"HTTP/1.1 500 Oh\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nnope\r\n0\r\n\r\n",
	} {
		for _, chain := range chains {
			t.Run(chain+" "+answer[9:12], func(t *testing.T) {
				o := harness.NewRaw(t, func(p *harness.Peer) { p.ReadHead(); p.Send(answer); p.Drain() })
				all := webSocketChain(t, chain, webSocketOn, o)
				w := harness.DialWire(t, "tcp", all[0].Addr)
				w.Send(askUpgrade("websocket"))
				m := w.Read()
				if chain != "11" && answer[9:12] == "200" { // over HTTP/2 it says yes, and with a body is none (UP-17)
					if m.Status() != 502 {
						t.Errorf("%s %q", m.Start, m.Body)
					}
				} else if fmt.Sprint(m.Status()) != answer[9:12] || string(m.Body) != "nope" {
					t.Errorf("%s %q", m.Start, m.Body)
				}
				if chain == "11" && m.Status() == 426 && m.Get("upgrade") != "websocket" {
					t.Errorf("%s", m.Head())
				}
				w.WantClosed()
				o.WantEnd(0)
				for _, p := range all {
					harness.Eventually(t, "the gauge to fall", func() bool { return p.Stat("http.in.downstream_cx_upgrades_active") == 0 })
				}
			})
		}
	}
}

// UP-16: a WebSocket client's payload waits for the answer; that of other types does not.
func TestUP16EarlyPayload(t *testing.T) {
	for _, chain := range chains {
		t.Run(chain, func(t *testing.T) {
			answer, read := make(chan struct{}), make(chan string, 1)
			o := harness.NewRaw(t, func(p *harness.Peer) {
				kind := "websocket"
				if strings.Contains(p.ReadHead(), "foo") {
					kind = "foo"
					b := make([]byte, 5)
					_, _ = io.ReadFull(p.In, b)
					read <- string(b)
				} else {
					<-answer
					if n := p.In.Buffered(); n > 0 {
						read <- fmt.Sprint(n, " bytes too early")
					}
				}
				p.Send(switching(kind))
				_, _ = io.Copy(p.TCPConn, p.In)
			})
			all := webSocketChain(t, chain, "upgrade_configs: [{ upgrade_type: websocket }, { upgrade_type: foo }]\n", o)
			w := harness.DialWire(t, "tcp", all[0].Addr)
			defer w.Close()
			w.Send(askUpgrade("websocket") + "early")
			close(answer)
			if m := w.ReadHead(); m.Status() != 101 {
				t.Fatal(m.Start)
			}
			wantEcho(t, w.Conn, io.MultiReader(w.In), "")
			got := make([]byte, 5)
			if _, err := io.ReadFull(w.In, got); err != nil || string(got) != "early" {
				t.Errorf("%q, %v", got, err)
			}
			other := harness.DialWire(t, "tcp", all[0].Addr)
			defer other.Close()
			other.Send(askUpgrade("foo") + "early")
			if got := <-read; got != "early" {
				t.Error(got)
			}
			if m := other.ReadHead(); m.Status() != 101 {
				t.Error(m.Start)
			}
		})
	}
}

// UP-17, UP-18: between HTTP/1 sides a body's length goes on and its bytes are payload; towards HTTP/2 a
// body is refused.
func TestUP17Bodies(t *testing.T) {
	o, heads := upgradeOrigin(t, switching("websocket"))
	p := hop(t, o, false, webSocketOn, "")
	for _, row := range []struct{ field, want string }{
		{"Content-Length: 7", "content-length: 7\r\n"}, {"Content-Length: 0", "content-length: 0\r\n"}, {"Transfer-Encoding: chunked", ""},
	} {
		w := harness.DialWire(t, "tcp", p.Addr)
		w.Send(askUpgrade("websocket", row.field))
		if m := w.ReadHead(); m.Status() != 101 {
			t.Fatal(m.Start)
		}
		wantEcho(t, w.Conn, w.In, "7\r\npayload that no chunk frames")
		head := <-heads
		if strings.Contains(head, "transfer-encoding") || row.want != "" && !strings.Contains(head, row.want) || row.want == "" && strings.Contains(head, "content-length") {
			t.Errorf("%s: %q", row.field, head)
		}
		w.Close()
	}
	second := hop(innerHop{t}, o, false, webSocketOn+h2Connect, "")
	first := hop(t, asOrigin{second}, true, webSocketOn, "")
	for _, field := range []string{"Content-Length: 7", "Transfer-Encoding: chunked"} {
		w := harness.DialWire(t, "tcp", first.Addr)
		w.Send(askUpgrade("websocket", field))
		if m := w.Read(); m.Status() != 400 {
			t.Errorf("%s: %s", field, m.Start)
		}
		w.WantClosed()
	}
	w := harness.DialWire(t, "tcp", first.Addr)
	defer w.Close()
	w.Send(askUpgrade("websocket", "Content-Length: 0"))
	if m := w.ReadHead(); m.Status() != 101 || m.Get("content-length") != "-" {
		t.Errorf("%s", m.Head())
	}
	if head := <-heads; strings.Contains(head, "content-length") {
		t.Error(head)
	}
}

// UP-19: a FIN from either side of a WebSocket ends the whole, after what is on its way.
func TestUP19FINEndsWebSocket(t *testing.T) {
	for _, chain := range chains {
		t.Run(chain, func(t *testing.T) {
			got := make(chan string, 1)
			o := harness.NewRaw(t, func(p *harness.Peer) {
				head := p.ReadHead()
				p.Send(switching("websocket"))
				if strings.Contains(head, "x-origin-ends") {
					p.Send("last words")
					_ = p.CloseWrite()
				}
				rest, _ := io.ReadAll(p.In)
				got <- string(rest)
			})
			all := webSocketChain(t, chain, webSocketOn, o)
			w := harness.DialWire(t, "tcp", all[0].Addr)
			w.Send(askUpgrade("websocket"))
			if m := w.ReadHead(); m.Status() != 101 {
				t.Fatal(m.Start)
			}
			w.Send("from the client")
			_ = w.Conn.(interface{ CloseWrite() error }).CloseWrite()
			if s := <-got; s != "from the client" {
				t.Errorf("the origin got %q", s)
			}
			w.WantClosed()
			w = harness.DialWire(t, "tcp", all[0].Addr)
			w.Send(askUpgrade("websocket", "x-origin-ends: yes"))
			if m := w.ReadHead(); m.Status() != 101 {
				t.Fatal(m.Start)
			}
			rest, err := io.ReadAll(w.In)
			if string(rest) != "last words" || err != nil {
				t.Errorf("%q, %v", rest, err)
			}
			w.Close()
			<-got
		})
	}
}

// UP-20: the route's timeout is for the handshake only; the idle timeout goes on, and closes.
func TestUP20Timers(t *testing.T) {
	for _, chain := range chains {
		t.Run(chain, func(t *testing.T) {
			o, _ := upgradeOrigin(t, switching("websocket"))
			var all []*harness.Proxy
			var at harness.Origin = o
			for i := len(chain) - 1; i > 0; i-- {
				action := "timeout: 0.1s"
				if i == 1 {
					action += "\nidle_timeout: 0.5s"
				}
				var tb testing.TB = t
				if i > 1 {
					tb = innerHop{t}
				}
				p := hop(tb, at, chain[i] == '2', webSocketOn+h2Connect, action)
				all, at = append([]*harness.Proxy{p}, all...), asOrigin{p}
			}
			w := harness.DialWire(t, "tcp", all[0].Addr)
			w.Send(askUpgrade("websocket"))
			if m := w.ReadHead(); m.Status() != 101 {
				t.Fatal(m.Start)
			}
			wantEcho(t, w.Conn, w.In, "one")
			_, err := io.ReadAll(w.In) // the idle timeout of the first proxy
			if err != nil && !strings.Contains(err.Error(), "reset") {
				t.Error(err)
			}
			line := all[0].AwaitLines(1)[0]
			if !strings.Contains(line, "101") || !strings.Contains(line, "SI") {
				t.Error(line)
			}
		})
	}
	// No answer within the timeout.
	o := harness.NewRaw(t, func(p *harness.Peer) { p.ReadHead(); p.Drain() })
	p := hop(t, o, false, webSocketOn, "timeout: 0.1s")
	w := harness.DialWire(t, "tcp", p.Addr)
	w.Send(askUpgrade("websocket"))
	if m := w.Read(); m.Status() != 504 {
		t.Error(m.Start)
	}
	w.WantClosed()
}

// UP-20: max_stream_duration goes on in a tunnel, and closes.
func TestUP20Duration(t *testing.T) {
	o, _ := upgradeOrigin(t, switching("websocket"))
	p := hop(t, o, false, webSocketOn+"common_http_protocol_options: { max_stream_duration: 0.3s }", "")
	w := harness.DialWire(t, "tcp", p.Addr)
	w.Send(askUpgrade("websocket"))
	if m := w.ReadHead(); m.Status() != 101 {
		t.Fatal(m.Start)
	}
	if _, err := io.ReadAll(w.In); err != nil && !strings.Contains(err.Error(), "reset") {
		t.Error(err)
	}
	o.WantEnd(0)
	if line := p.AwaitLines(1)[0]; !strings.HasPrefix(line, "101 DT max_duration_timeout") {
		t.Error(line)
	}
}
