package e2e

import (
	"crypto/tls"
	"io"
	"strings"
	"testing"

	"golang.org/x/net/http2"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
	"github.com/sluiceproxy/sluice/proxy/envoy"
)

// UP-5: one entry a type in each place, and connect_config for CONNECT alone.
func TestUP5RefusedConfigurations(t *testing.T) {
	for _, row := range []struct{ manager, action, want string }{
		{"upgrade_configs: [{ upgrade_type: websocket }, { upgrade_type: WebSocket }]", "", `upgrade_configs[1].upgrade_type: there is an entry for "websocket" already`},
		{"", "upgrade_configs: [{ upgrade_type: foo }, { upgrade_type: FOO }]", `route.upgrade_configs[1].upgrade_type: there is an entry for "foo" already`},
		{"", "upgrade_configs: [{ upgrade_type: websocket, connect_config: {} }]", "route.upgrade_configs[0].connect_config: is for the upgrade_type CONNECT only"},
	} {
		top := harness.Topology{Manager: row.manager, Action: row.action}
		if _, err := envoy.Load(envoy.Source{Data: []byte(top.YAML("/dev/null"))}); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s%s: %v, want %s", row.manager, row.action, err, row.want)
		}
	}
}

// retryEverything is a route that tries again whatever happens and copies all it is given to another cluster.
const retryEverything = `retry_policy: { retry_on: "5xx,reset,connect-failure", num_retries: 3, retry_back_off: { base_interval: 0.001s } }
request_mirror_policies: [{ cluster: mirror }]`

// UP-21: a tunnel is not copied to a mirror, and not tried again once payload went: neither after the answer nor,
// for a type whose payload does not wait, before it. A WebSocket whose origin resets before the answer has
// sent nothing, and is tried again.
func TestUP21NeitherMirroredNorRetried(t *testing.T) {
	for _, row := range []struct {
		name, kind, request string
		script              func(p *harness.Peer, try int)
		tries, status       int
	}{
		{"after the answer", "websocket", "", func(p *harness.Peer, _ int) {
			p.Send(switching("websocket"))
			_, _ = p.In.ReadByte()
			p.Reset()
		}, 1, 101},
		{"payload before the answer", "foo", "payload", func(p *harness.Peer, _ int) {
			_, _ = io.ReadFull(p.In, make([]byte, len("payload")))
			p.Reset()
		}, 1, 503},
		{"nothing sent yet", "websocket", "payload", func(p *harness.Peer, try int) {
			if try == 0 {
				p.Reset()
				return
			}
			p.Send(switching("websocket"))
			_, _ = io.Copy(p.TCPConn, p.In)
		}, 2, 101},
	} {
		t.Run(row.name, func(t *testing.T) {
			tries := make(chan int, 8)
			tries <- 0
			o := harness.NewRaw(t, func(p *harness.Peer) {
				p.ReadHead()
				try := <-tries
				tries <- try + 1
				row.script(p, try)
			})
			mirror := harness.NewRaw(t, func(*harness.Peer) { t.Error("a connection to the mirror") })
			top := one(o)
			top.Clusters = append(top.Clusters, harness.Cluster{Name: "mirror", Origins: []harness.Origin{mirror}})
			top.Manager, top.Action = "upgrade_configs: [{ upgrade_type: websocket }, { upgrade_type: foo }]", retryEverything
			p := harness.Start(t, top)
			w := harness.DialWire(t, "tcp", p.Addr)
			w.Send(askUpgrade(row.kind) + row.request)
			if m := w.ReadHead(); m.Status() != row.status {
				t.Errorf("%s", m.Head())
			}
			switch {
			case row.tries == 2:
				got := make([]byte, len(row.request))
				if _, err := io.ReadFull(w.In, got); err != nil || string(got) != row.request {
					t.Errorf("%q, %v", got, err)
				}
			case row.status == 101:
				w.Send("x")
				if rest, _ := io.ReadAll(w.In); len(rest) > 0 {
					t.Errorf("%q", rest)
				}
			}
			w.Close()
			p.AwaitLines(1)
			if n := o.Connections(); n != row.tries {
				t.Errorf("%d connections to the origin, want %d", n, row.tries)
			}
			p.WantStats(harness.Stats{"cluster.origin.upstream_rq_retry": int64(row.tries - 1), "cluster.mirror.upstream_rq_total": 0})
		})
	}
	t.Run("CONNECT", func(t *testing.T) {
		o := harness.NewRaw(t, func(p *harness.Peer) { _, _ = p.In.ReadByte(); p.Reset() })
		mirror := harness.NewRaw(t, func(*harness.Peer) { t.Error("a connection to the mirror") })
		top := one(o)
		top.Clusters = append(top.Clusters, harness.Cluster{Name: "mirror", Origins: []harness.Origin{mirror}})
		top.Routes = connectRoute[:len(connectRoute)-2] + ", " + strings.Replace(retryEverything, "\n", ", ", 1) + " }"
		p := harness.Start(t, top)
		w := harness.DialWire(t, "tcp", p.Addr)
		w.Send(askConnect + "x")
		if m := w.ReadHead(); m.Status() != 200 {
			t.Error(m.Start)
		}
		_, _ = io.ReadAll(w.In)
		w.Close()
		p.AwaitLines(1)
		if n := o.Connections(); n != 1 {
			t.Errorf("%d connections to the origin", n)
		}
		p.WantStats(harness.Stats{"cluster.origin.upstream_rq_retry": 0, "cluster.mirror.upstream_rq_total": 0})
	})
}

// UP-51: payload is nobody's to read or change, though it looks like requests that would be refused, answered or
// changed: each byte of it arrives, and no request is counted but the one that asked for the tunnel.
func TestUP51PayloadIsOpaque(t *testing.T) {
	payload := "GET /admin HTTP/1.1\r\nHost: other\r\nX-Envoy-Internal: true\r\nbad_name : v\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n" +
		"0\r\n\r\nCONNECT h:1 HTTP/1.1\r\n\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00" +
		"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\nHTTP/1.1 400 Bad Request\r\n\r\n\r\n\x16\x03\x01\x00\x05"
	check := func(t *testing.T, w *harness.Wire, ask string, all ...*harness.Proxy) {
		w.Send(ask)
		if m := w.ReadHead(); m.Status() > 200 {
			t.Fatal(m.Start)
		}
		wantEcho(t, w.Conn, w.In, payload)
		for i := range payload { // in single bytes too
			if _, err := io.WriteString(w.Conn, payload[i:i+1]); err != nil {
				t.Fatal(err)
			}
		}
		wantEcho(t, io.Discard, w.In, payload)
		w.Close()
		for _, p := range all {
			harness.Eventually(t, "the request to end", func() bool { return p.Stat("http.in.downstream_rq_active") == 0 })
			p.WantStats(harness.Stats{"http.in.downstream_rq_total": 1, "http.in.downstream_cx_protocol_error": 0})
		}
	}
	for _, chain := range chains {
		t.Run(chain, func(t *testing.T) {
			o, _ := upgradeOrigin(t, switching("foo"))
			all := webSocketChain(t, chain, "upgrade_configs: [{ upgrade_type: foo }]\n", o)
			check(t, harness.DialWire(t, "tcp", all[0].Addr), askUpgrade("foo"), all...)
		})
	}
	for _, x := range transports[:2] {
		t.Run(x.name, func(t *testing.T) {
			p := terminator(t, tunnelEcho(t), connectRoute)
			if !x.h2 {
				check(t, harness.DialWire(t, "tcp", p.Addr), askConnect, p)
				return
			}
			w := dialH2(t, p)
			w.connect(1, "h:1")
			w.want("head 1 200")
			w.must(w.WriteData(1, false, []byte(payload)))
			var got []byte
			for len(got) < len(payload) {
				w.deadline()
				f, err := w.ReadFrame()
				w.must(err)
				if d, ok := f.(*http2.DataFrame); ok {
					got = append(got, d.Data()...)
				}
			}
			if string(got) != payload {
				t.Errorf("%q", got)
			}
			_ = w.Conn.Close()
		})
	}
}

// UP-62: TLS within a CONNECT that is in the clear takes two steps, a TCP proxy that encrypts and, behind it, one
// that asks for the tunnel.
func TestUP62EncryptedPayloadOfClearConnect(t *testing.T) {
	a := harness.NewAuthority(t)
	o := harness.NewTLSServer(t, &tls.Config{Certificates: []tls.Certificate{a.Certificate(t, acceptOrigin)}, MinVersion: tls.VersionTLS12}, harness.EchoTLS)
	end := terminator(innerHop{t}, o, connectRoute)
	loopBack := harness.TCPTopology{
		Clusters:   []harness.Cluster{{Name: "origin", Origins: []harness.Origin{asOrigin{end}}}},
		Proxy:      "tunneling_config: { hostname: host.example:443 }",
		NotSettled: true,
	}
	second := harness.StartTCP(t, loopBack)
	first := harness.StartTCP(t, harness.TCPTopology{Clusters: []harness.Cluster{{
		Name: "loop", Origins: []harness.Origin{asOrigin{second}},
		Fields: harness.ClientSocket(a.Trust(), "sni: "+acceptOrigin),
	}}})
	c := dialTCP(t, first.Addr)
	wantEcho(t, c, c, "in the clear at both ends, and nowhere between")
	_ = c.CloseWrite()
	if rest, err := io.ReadAll(c); len(rest) > 0 || err != nil {
		t.Errorf("%q, %v", rest, err)
	}
	if n := len(o.States()); n != 1 {
		t.Errorf("%d handshakes at the origin", n)
	}
	end.WantStats(harness.Stats{"http.in.downstream_cx_upgrades_total": 1})
}
