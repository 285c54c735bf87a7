package e2e

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// h2Cluster makes a cluster speak HTTP/2 with extended CONNECT.
const h2Cluster = `typed_extension_protocol_options:
  envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
    "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
    explicit_http_config: { http2_protocol_options: { allow_connect: true } }`

// Fields of a connection manager that lets WebSocket through, by HTTP/2 too.
const (
	webSocketOn = "upgrade_configs: [{ upgrade_type: websocket }]\n"
	connectOn   = "upgrade_configs: [{ upgrade_type: CONNECT }]\n"
	h2Connect   = "http2_protocol_options: { allow_connect: true }\n"
)

// hop is one proxy of a chain.
func hop(t testing.TB, o harness.Origin, upstreamH2 bool, manager, action string) *harness.Proxy {
	t.Helper()
	top := one(o)
	_, inner := t.(innerHop)
	top.NotSettled = inner
	top.Manager, top.Action = manager, action
	if upstreamH2 {
		top.Clusters[0].Fields = h2Cluster
	}
	return harness.Start(t, top)
}

// innerHop marks a proxy that another one has for its origin: it is closed with the other's origins, and
// not checked by itself.
type innerHop struct{ testing.TB }

// asOrigin is a proxy as the origin of another.
type asOrigin struct{ *harness.Proxy }

func (o asOrigin) Address() string { return o.Addr }

func (o asOrigin) Stop() { _ = o.Server.Close() }

// upgradeOrigin accepts upgrades by HTTP/1 as a server that knows nothing of the protocol asked for: it
// notes the request head, answers with what answer says and echoes what comes.
func upgradeOrigin(t testing.TB, answer string) (*harness.Raw, chan string) {
	t.Helper()
	heads := make(chan string, 16)
	return harness.NewRaw(t, func(p *harness.Peer) {
		head := p.ReadHead()
		if head == "" {
			return
		}
		heads <- head
		p.Send(answer)
		_, _ = io.Copy(p.TCPConn, p.In)
		_ = p.CloseWrite()
	}), heads
}

// switching is the answer of an origin that takes the upgrade.
func switching(kind string) string {
	return "HTTP/1.1 101 Switching Protocols\r\nUpgrade: " + kind + "\r\nConnection: Upgrade\r\n\r\n"
}

func askUpgrade(kind string, fields ...string) string {
	return "GET /path HTTP/1.1\r\nHost: test\r\nConnection: keep-alive, Upgrade\r\nUpgrade: " + kind + "\r\n" + strings.Join(append(fields, ""), "\r\n") + "\r\n"
}

// wantEcho sends text and wants it back.
func wantEcho(t testing.TB, w io.Writer, r io.Reader, text string) {
	t.Helper()
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(text))
	if _, err := io.ReadFull(r, got); err != nil || string(got) != text {
		t.Fatalf("got %q, %v, want %q", got, err, text)
	}
}

// webSocketChain is proxies from an HTTP/1 client to an HTTP/1 server, whose hops between speak HTTP/2
// where the letters say so: "11" is one proxy, "1221" three.
func webSocketChain(t testing.TB, protocols, manager string, o harness.Origin) []*harness.Proxy {
	t.Helper()
	var all []*harness.Proxy
	for i := len(protocols) - 1; i > 0; i-- {
		var tb testing.TB = t
		if i > 1 {
			tb = innerHop{t}
		}
		p := hop(tb, o, protocols[i] == '2', manager+h2Connect, "timeout: 0s")
		all = append([]*harness.Proxy{p}, all...)
		o = asOrigin{p}
	}
	return all
}

// secureChain is a webSocketChain whose connections have TLS where secure has an s: by index, as protocols.
func secureChain(t testing.TB, a *harness.Authority, protocols, secure, manager string, o harness.Origin) []*harness.Proxy {
	t.Helper()
	var all []*harness.Proxy
	for i := len(protocols) - 1; i > 0; i-- {
		top := one(o)
		top.NotSettled = i > 1
		top.Manager, top.Action = manager+h2Connect, "timeout: 0s"
		var upstream, chain []string
		if protocols[i] == '2' {
			upstream = append(upstream, h2Cluster)
		}
		if secure[i] == 's' {
			upstream = append(upstream, harness.ClientSocket(a.Trust(), "sni: "+acceptOrigin))
		}
		top.Clusters[0].Fields = strings.Join(upstream, "\n")
		if secure[i-1] == 's' {
			chain = append(chain, harness.ServerSocket(a.Pair(t, acceptName), "alpn_protocols: ["+alpnOf(protocols[i-1])+"]", ""))
		}
		p := harness.StartSecured(t, top, chain...)
		all = append([]*harness.Proxy{p}, all...)
		o = asOrigin{p}
	}
	return all
}

func alpnOf(protocol byte) string {
	if protocol == '2' {
		return "h2"
	}
	return "http/1.1"
}

// chains are what every pair of HTTP/1 and HTTP/2 is part of.
var chains = []string{"11", "121", "1221"}

func dialTCP(t testing.TB, addr string) *net.TCPConn {
	t.Helper()
	c, err := net.DialTimeout("tcp", addr, harness.Patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c.(*net.TCPConn)
}

func upgradesOf(p *harness.Proxy) string {
	return fmt.Sprint(p.Stat("http.in.downstream_cx_upgrades_total"), " ", p.Stat("http.in.downstream_cx_upgrades_active"), " ",
		p.Stat("http.in.downstream_rq_ws_on_non_ws_route"))
}
