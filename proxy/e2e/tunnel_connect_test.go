package e2e

import (
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/sluiceproxy/sluice/codec/proxyproto"
	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

const askConnect = "CONNECT host.example:443 HTTP/1.1\r\nHost: host.example:443\r\n\r\n"

func tunnelEcho(t testing.TB) *harness.Raw {
	return harness.NewRaw(t, func(p *harness.Peer) {
		_, _ = io.Copy(p.TCPConn, p.In)
		_ = p.CloseWrite()
	})
}

// UP-30, UP-31: off by default, 403 where nothing enables it; 404 where no route matches, 403 where one
// does that does not.
func TestUP31RefusedConnect(t *testing.T) {
	const elsewhere = "- match: { connect_matcher: {}, headers: [{ name: foo, present_match: true }] }\n  route: { cluster: origin, upgrade_configs: [{ upgrade_type: CONNECT }] }\n"
	for _, row := range []struct {
		name, manager, routes string
		status                int
	}{
		{"off", "", "- match: { connect_matcher: {} }\n  route: { cluster: origin }", 403},
		{"enabled false", strings.Replace(connectOn, " }]", ", enabled: false }]", 1), "- match: { connect_matcher: {} }\n  route: { cluster: origin }", 403},
		{"no route", connectOn, "- match: { prefix: / }\n  route: { cluster: origin }", 404},
		{"another route", "", elsewhere, 404},
		{"a route without", "", elsewhere + "- match: { connect_matcher: {} }\n  route: { cluster: origin }", 403},
	} {
		t.Run(row.name, func(t *testing.T) {
			top := one(harness.NewRaw(t, func(*harness.Peer) { t.Error("a connection to the origin") }))
			top.Manager, top.Routes = row.manager, row.routes
			p := harness.Start(t, top)
			w := harness.DialWire(t, "tcp", p.Addr)
			w.Send(askConnect)
			if m := w.Read(); m.Status() != row.status {
				t.Error(m.Start)
			}
			w.WantClosed()
			h := dialH2(t, p)
			h.connect(1, "host.example:443")
			if got := h.next(); !strings.HasPrefix(got, fmt.Sprintf("head 1 %d", row.status)) {
				t.Error(got)
			}
			_ = h.Conn.Close()
		})
	}
}

// connect opens a stream by CONNECT.
func (w *h2Wire) connect(id uint32, authority string, words ...string) {
	w.t.Helper()
	w.deadline()
	w.must(w.WriteHeaders(headersH2(id, w.block(append([]string{":method=CONNECT", ":authority=" + authority}, words...)...), false)))
}

// UP-34, UP-35: targets and bodies of CONNECT.
func TestUP34ConnectTargets(t *testing.T) {
	p := terminator(t, tunnelEcho(t), connectRoute)
	for _, row := range []struct {
		send   string
		status int
	}{
		{"CONNECT /path HTTP/1.1\r\nHost: h\r\n\r\n", 400},
		{"CONNECT host.example HTTP/1.1\r\nHost: host.example\r\n\r\n", 400},
		{"CONNECT http://host.example:1/ HTTP/1.1\r\nHost: host.example:1\r\n\r\n", 400},
		{"CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\nContent-Length: 3\r\n\r\nabc", 400},
		{"CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\nTransfer-Encoding: chunked\r\n\r\n", 501},
	} {
		w := harness.DialWire(t, "tcp", p.Addr)
		w.Send(row.send)
		if m := w.Read(); m.Status() != row.status {
			t.Errorf("%q: %s", row.send, m.Start)
		}
		w.WantClosed()
	}
	w := harness.DialWire(t, "tcp", p.Addr)
	w.Send("CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\nContent-Length: 0\r\n\r\n")
	if m := w.ReadHead(); m.Status() != 200 || m.Get("content-length") != "-" || m.Get("transfer-encoding") != "-" || m.Get("connection") != "-" { // UP-22, UP-47
		t.Errorf("%s", m.Head())
	}
	wantEcho(t, w.Conn, w.In, "bytes")
	w.Close()
	for _, words := range [][]string{{":scheme=http", ":path=/"}, {":protocol=websocket"}} {
		h := dialH2(t, p)
		h.connect(1, "h:1", words...)
		if got := h.next(); !strings.HasPrefix(got, "reset 1 PROTOCOL_ERROR") && !strings.HasPrefix(got, "goaway") {
			t.Errorf("%v: %s", words, got)
		}
		_ = h.Conn.Close()
	}
}

// UP-2a: extended CONNECT to bytestream is CONNECT.
func TestUP2aBytestream(t *testing.T) {
	p := terminator(t, tunnelEcho(t), connectRoute)
	w := dialH2(t, p)
	w.request(1, false, "CONNECT", "/", ":protocol=bytestream")
	w.want("head 1 200")
	w.must(w.WriteData(1, false, []byte("ping")))
	w.want(`data 1 "ping"`)
	_ = w.Conn.Close()
}

// UP-33: domains are those of the target, with its port; a stripped port comes back.
func TestUP33DomainsAndPorts(t *testing.T) {
	o, heads := upgradeOrigin(t, "HTTP/1.1 200 OK\r\n\r\n")
	top := one(o)
	top.Manager = connectOn
	host := func(domain string) string {
		return "- name: one\n  domains: [\"" + domain + "\"]\n  routes:\n  - match: { connect_matcher: {} }\n    route: { cluster: origin }\n"
	}
	top.VirtualHosts = host("host.example:443")
	p := harness.Start(t, top)
	ask := func(target string, status int) {
		t.Helper()
		w := harness.DialWire(t, "tcp", p.Addr)
		defer w.Close()
		w.Send("CONNECT " + target + " HTTP/1.1\r\nHost: other.example\r\n\r\n")
		if m := w.ReadHead(); m.Status() != status {
			t.Errorf("%s: %s", target, m.Start)
		}
	}
	ask("host.example:443", 200)
	if head := <-heads; !strings.HasPrefix(head, "CONNECT host.example:443 HTTP/1.1\r\nhost: host.example:443\r\n") {
		t.Error(head)
	}
	ask("host.example:80", 404)
	top.Manager, top.VirtualHosts = connectOn+"strip_any_host_port: true", host("host.example")
	p.Apply(top)
	ask("host.example:8443", 200)
	if head := <-heads; !strings.HasPrefix(head, "CONNECT host.example:8443 HTTP/1.1\r\nhost: host.example:8443\r\n") {
		t.Error(head)
	}
}

// UP-32: header matchers choose among connect_matchers.
func TestUP32ConnectWithHeaders(t *testing.T) {
	o := tunnelEcho(t)
	top := one(o)
	top.Routes = "- match: { connect_matcher: {}, headers: [{ name: foo, string_match: { exact: bar } }] }\n  direct_response: { status: 418 }\n" + connectRoute
	p := harness.Start(t, top)
	w := harness.DialWire(t, "tcp", p.Addr)
	w.Send(strings.Replace(askConnect, "\r\n\r\n", "\r\nfoo: bar\r\n\r\n", 1))
	if m := w.Read(); m.Status() != 403 { // a direct response enables nothing
		t.Error(m.Start)
	}
	w.WantClosed()
	w = harness.DialWire(t, "tcp", p.Addr)
	w.Send(askConnect)
	if m := w.ReadHead(); m.Status() != 200 {
		t.Error(m.Start)
	}
	wantEcho(t, w.Conn, w.In, "x")
	w.Close()
}

// UP-40, UP-41, UP-42: CONNECT passed on like any request, over HTTP/1 and HTTP/2.
func TestUP40PassedOn(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		t.Run(fmt.Sprint("HTTP2 ", h2), func(t *testing.T) {
			o := tunnelEcho(t)
			second := terminator(innerHop{t}, o, connectRoute)
			top := one(asOrigin{second})
			top.Manager, top.Routes = connectOn, "- match: { connect_matcher: {} }\n  route: { cluster: origin, timeout: 0.2s }"
			if h2 {
				top.Clusters[0].Fields = h2Cluster
			}
			p := harness.Start(t, top)
			w := harness.DialWire(t, "tcp", p.Addr)
			w.Send(askConnect + "early")
			m := w.ReadHead()
			if m.Status() != 200 || m.Get("content-length") != "-" || m.Get("transfer-encoding") != "-" {
				t.Errorf("%s", m.Head())
			}
			got := make([]byte, 5)
			if _, err := io.ReadFull(w.In, got); err != nil || string(got) != "early" {
				t.Errorf("%q, %v", got, err)
			}
			wantEcho(t, w.Conn, w.In, "more")
			_ = w.Conn.(interface{ CloseWrite() error }).CloseWrite() // the rest goes on
			w.WantClosed()
			c := dialH2(t, p)
			c.connect(1, "host.example:443")
			c.must(c.WriteData(1, false, []byte("early")))
			c.want("head 1 200", `data 1 "early"`)
			c.must(c.WriteData(1, true, nil))
			if got := c.next(); got != `data 1 "" end` {
				t.Error(got)
			}
			_ = c.Conn.Close()
		})
	}
	o := harness.NewRecorder(t, func(*harness.Message) string { return "HTTP/1.1 407 No\r\nContent-Length: 2\r\n\r\nno" })
	top := one(o)
	top.Manager, top.Routes = connectOn, "- match: { connect_matcher: {} }\n  route: { cluster: origin }"
	p := harness.Start(t, top)
	w := harness.DialWire(t, "tcp", p.Addr)
	w.Send(askConnect)
	if m := w.Read(); m.Status() != 407 || string(m.Body) != "no" {
		t.Errorf("%s %q", m.Start, m.Body)
	}
	w.WantClosed()
}

// UP-41: with reject_connect_request_early_data, data before the answer is an error.
func TestUP41EarlyData(t *testing.T) {
	o := harness.NewRaw(t, func(p *harness.Peer) { p.ReadHead(); p.Drain() })
	b := harness.Load(t, func() string {
		top := one(o)
		top.Manager, top.Routes = connectOn, "- match: { connect_matcher: {} }\n  route: { cluster: origin }"
		return top.YAML(t.TempDir() + "/log")
	}())
	b.Listeners[0].FilterChains[0].HTTP.Router.RejectConnectEarlyData = true
	p := harness.StartConf(t, b, 1, "", o)
	w := harness.DialWire(t, "tcp", p.Addr)
	w.Send(askConnect + "early")
	if m := w.Read(); m.Status() != 400 {
		t.Error(m.Start)
	}
	w.WantClosed()
	h := dialH2(t, p)
	h.connect(1, "h:1")
	h.must(h.WriteData(1, false, []byte("early")))
	if got := h.next(); !strings.HasPrefix(got, "head 1 400") {
		t.Error(got)
	}
	_ = h.Conn.Close()
}

// UP-45, UP-46, UP-47, UP-53: the cluster gets bare TCP, whatever the client speaks.
func TestUP46Terminated(t *testing.T) {
	first := make(chan string, 1)
	o := harness.NewRaw(t, func(p *harness.Peer) {
		b := make([]byte, 4)
		_, _ = io.ReadFull(p.In, b)
		first <- string(b)
		p.Send("pong")
		p.Drain()
		_ = p.CloseWrite()
	})
	p := terminator(t, o, connectRoute+"\n"+postRoute)
	w := harness.DialWire(t, "tcp", p.Addr)
	w.Send(askConnect)
	if m := w.ReadHead(); m.Status() != 200 { // before a byte of either
		t.Error(m.Start)
	}
	w.Send("ping")
	if got := <-first; got != "ping" {
		t.Errorf("the origin's first bytes are %q", got)
	}
	got := make([]byte, 4)
	if _, err := io.ReadFull(w.In, got); err != nil || string(got) != "pong" {
		t.Errorf("%q, %v", got, err)
	}
	_ = w.Conn.(interface{ CloseWrite() error }).CloseWrite()
	w.WantClosed()

	h := dialH2(t, p)
	h.connect(1, "h:1")
	h.want("head 1 200")
	h.must(h.WriteData(1, true, []byte("ping")))
	<-first
	h.want(`data 1 "pong"`)
	if got := h.next(); got != `data 1 "" end` {
		t.Error(got)
	}
	_ = h.Conn.Close()

	// A POST with framing is answered with framing.
	w = harness.DialWire(t, "tcp", p.Addr)
	if m := w.Do("POST /tunnel HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nping"); m.Status() != 200 || string(m.Body) != "pong" || m.Framing != "chunked" {
		t.Errorf("%s %s %q", m.Start, m.Framing, m.Body)
	}
	<-first
	w.Close()
	harness.Eventually(t, "the tunnels to end", func() bool { return p.Stat("http.in.downstream_cx_upgrades_active") == 0 })
}

// UP-45: another method on such a route is an ordinary request, and so is a POST without allow_post.
func TestUP45OtherMethods(t *testing.T) {
	o := harness.NewRecorder(t, func(*harness.Message) string { return harness.Reply("well") })
	p := terminator(t, o, postRoute+"\n- match: { prefix: / }\n  route: { cluster: origin, upgrade_configs: [{ upgrade_type: CONNECT, connect_config: {} }] }")
	w := harness.DialWire(t, "tcp", p.Addr)
	defer w.Close()
	for _, head := range []string{"GET /tunnel", "POST /other", "PUT /tunnel"} {
		if m := w.Do(head + " HTTP/1.1\r\nHost: h\r\n\r\n"); m.Status() != 200 || string(m.Body) != "well" {
			t.Errorf("%s: %s %q", head, m.Start, m.Body)
		}
		if got := o.Last(t).Start; got != head+" HTTP/1.1" {
			t.Error(got)
		}
	}
}

// UP-48: the PROXY header of the downstream connection comes first.
func TestUP48ProxyHeader(t *testing.T) {
	got := make(chan string, 1)
	o := harness.NewRaw(t, func(p *harness.Peer) {
		line, _ := p.In.ReadString('\n')
		got <- line
		_, _ = io.Copy(p.TCPConn, p.In)
	})
	p := terminator(t, o, strings.Replace(connectRoute, "connect_config: {}", "connect_config: { proxy_protocol_config: { version: V1 } }", 1))
	w := harness.DialWire(t, "tcp", p.Addr)
	defer w.Close()
	w.Send(askConnect)
	if m := w.ReadHead(); m.Status() != 200 {
		t.Error(m.Start)
	}
	_, from, _ := strings.Cut(w.Conn.LocalAddr().String(), ":")
	if line := <-got; !strings.HasPrefix(line, "PROXY TCP4 127.0.0.1 127.0.0.1 "+from+" ") {
		t.Errorf("%q", line)
	}
	wantEcho(t, w.Conn, w.In, "after it")
}

// UP-48: version 2, with TLVs of the configuration and those of the client's own header that pass.
func TestUP48ProxyHeaderWithTLVs(t *testing.T) {
	const passAll = "pass_through_tlvs: { match_type: INCLUDE_ALL }"
	received := proxyV2("10.0.0.1:1", "10.0.0.2:2", "\xe0", "first", "\xe0", "second", "\xe1", "other")
	for name, tc := range map[string]struct{ config, want string }{
		"none":             {"", ""},
		"all":              {passAll, "e0=first e0=second e1=other"},
		"some":             {"pass_through_tlvs: { match_type: INCLUDE, tlv_type: [0xe1] }", "e1=other"},
		"its own":          {"added_tlvs: [{ type: 0xd0, value: T1dO }]", "d0=OWN"},
		"its own first":    {passAll + ", added_tlvs: [{ type: 0xe0, value: T1dO }]", "e0=OWN e1=other"},
		"its own, as text": {"added_tlvs: [{ type: 0xd1, format_string: { text_format_source: { inline_string: \"%REQ(:AUTHORITY)%\" } } }]", "d1=host.example:443"},
		"its own, empty":   {"added_tlvs: [{ type: 0xd1, format_string: { text_format_source: { inline_string: \"%REQ(X-NOT)%\" }, omit_empty_values: true } }]", ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := make(chan string, 1)
			o := harness.NewRaw(t, func(p *harness.Peer) {
				all, _ := io.ReadAll(p.In)
				got <- string(all)
			})
			top := one(o)
			top.Routes = strings.Replace(connectRoute, "connect_config: {}", "connect_config: { proxy_protocol_config: { version: V2, "+tc.config+" } }", 1)
			top.Listener = "listener_filters:\n" + proxyProtocol(passAll)
			p := harness.Start(t, top)
			w := harness.DialWire(t, "tcp", p.Addr)
			w.Send(received + askConnect)
			if m := w.ReadHead(); m.Status() != 200 {
				t.Error(m.Start)
			}
			w.Send("payload")
			_ = w.Conn.(interface{ CloseWrite() error }).CloseWrite()
			w.WantClosed()
			all := <-got
			var h proxyproto.Header
			n, st := proxyproto.Parse([]byte(all), 1<<16, &h)
			if st != proxyproto.Done || all[n:] != "payload" || h.Source != netip.MustParseAddrPort("10.0.0.1:1") || h.Destination != netip.MustParseAddrPort("10.0.0.2:2") {
				t.Fatalf("%q is %v with %d bytes, from %v to %v", all, st, n, h.Source, h.Destination)
			}
			if s := listTLVs(h.TLVs); s != tc.want {
				t.Errorf("the TLVs are %q, want %q", s, tc.want)
			}
		})
	}
}

// UP-49: the client's end is the origin's FIN; the origin's ends the whole.
func TestUP49Ends(t *testing.T) {
	got := make(chan string, 4)
	o := harness.NewRaw(t, func(p *harness.Peer) {
		word := make([]byte, 4)
		_, _ = io.ReadFull(p.In, word)
		if string(word) == "ends" {
			p.Send("last")
			_ = p.CloseWrite()
		}
		rest, _ := io.ReadAll(p.In)
		got <- string(rest)
	})
	p := terminator(t, o, connectRoute)
	w := harness.DialWire(t, "tcp", p.Addr)
	w.Send(askConnect)
	w.ReadHead()
	w.Send("ends")
	if rest, err := io.ReadAll(w.In); string(rest) != "last" || err != nil {
		t.Errorf("%q, %v", rest, err)
	}
	w.Close()
	<-got
	h := dialH2(t, p)
	h.connect(1, "h:1")
	h.want("head 1 200")
	h.must(h.WriteData(1, false, []byte("ends")))
	h.want(`data 1 "last"`, `data 1 "" end`)
	if line := h.next(); !strings.HasPrefix(line, "reset 1") {
		t.Error(line)
	}
	<-got
	h.connect(3, "h:1")
	h.want("head 3 200")
	h.must(h.WriteData(3, false, []byte("and here")))
	h.must(h.WriteRSTStream(3, 8))
	if rest := <-got; rest != "here" {
		t.Errorf("%q", rest)
	}
	_ = h.Conn.Close()
}

// UP-50: no connection is 503 with UF, no host UH.
func TestUP50ConnectFailure(t *testing.T) {
	p := terminator(t, harness.Refusing(t), connectRoute)
	w := harness.DialWire(t, "tcp", p.Addr)
	w.Send(askConnect)
	if m := w.Read(); m.Status() != 503 {
		t.Error(m.Start)
	}
	w.WantClosed()
	if line := p.AwaitLines(1)[0]; !strings.Contains(line, "503 UF") {
		t.Error(line)
	}
	q := harness.Start(t, harness.Topology{Routes: connectRoute})
	w = harness.DialWire(t, "tcp", q.Addr)
	w.Send(askConnect)
	if m := w.Read(); m.Status() != 503 {
		t.Error(m.Start)
	}
	w.WantClosed()
	if line := q.AwaitLines(1)[0]; !strings.Contains(line, "503 UH") {
		t.Error(line)
	}
}

// curl with a CONNECT proxy, to an HTTPS-like plain origin and through absolute URIs.
func TestConnectWithCurl(t *testing.T) {
	curl := harness.Tool(t, "curl")
	o := newHTTPOrigin(t, nil, overH1, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Host+r.URL.Path) })
	p := terminator(t, o, connectRoute+"\n- match: { prefix: / }\n  route: { cluster: origin }")
	for _, args := range [][]string{{"-p"}, {}} {
		all := append(append([]string{"-sS", "-m", "20", "-x", "http://" + p.Addr}, args...), "http://some.example:8080/page")
		if got := harness.Run(t, curl, all...); got != "some.example:8080/page" {
			t.Errorf("%v: %q", args, got)
		}
	}
}

// The log line of a tunnel that stands, and the flags of how it ended (upgrades.md 4).
func TestTunnelLog(t *testing.T) {
	o := tunnelEcho(t)
	top := one(o)
	top.Routes, top.Manager = connectRoute, "access_log_options: { flush_log_on_tunnel_successfully_established: true }"
	top.LogFormat = "%ACCESS_LOG_TYPE% %RESPONSE_CODE% %BYTES_RECEIVED% %BYTES_SENT% %RESPONSE_FLAGS%"
	p := harness.Start(t, top)
	w := harness.DialWire(t, "tcp", p.Addr)
	w.Send(askConnect)
	w.ReadHead()
	p.WantLines("DownstreamTunnelSuccessfullyEstablished 200 0 0 -")
	wantEcho(t, w.Conn, w.In, "12345")
	_ = w.Conn.(interface{ CloseWrite() error }).CloseWrite()
	w.WantClosed()
	p.WantLines("DownstreamTunnelSuccessfullyEstablished 200 0 0 -", "DownstreamEnd 200 5 5 -")
}
