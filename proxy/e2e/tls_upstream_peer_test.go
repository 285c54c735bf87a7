package e2e

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/sluiceproxy/sluice/codec/proxyproto"
	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

const upstreamPeerFormat = "%UPSTREAM_TLS_VERSION% %UPSTREAM_TLS_CIPHER% %UPSTREAM_PEER_SUBJECT% %UPSTREAM_PEER_ISSUER% %UPSTREAM_PEER_DNS_SAN% %UPSTREAM_LOCAL_SUBJECT% %UPSTREAM_LOCAL_DNS_SAN%"

// RT-69d: what the host and this end showed each other is for logs and response headers.
func TestTLSUpstreamPeerInLogsAndHeaders(t *testing.T) {
	harness.NoLeaks(t)
	a := harness.NewAuthority(t)
	const want = "TLSv1.2 ECDHE-ECDSA-AES128-GCM-SHA256 CN=origin.test CN=Test Authority origin.test CN=proxy.test proxy.test"
	socket := harness.ClientSocket("tls_certificates: ["+a.Pair(t, "proxy.test").YAML()+"], "+a.Trust(), "sni: origin.test")
	for _, row := range upstreamProtocols {
		t.Run(row.title, func(t *testing.T) {
			o := newNamedOrigin(t, a, row.h2, "origin.test")
			p := harness.Start(t, harness.Topology{
				Clusters: overTLS(o, socket, naming("", row.options)), LogFormat: upstreamPeerFormat,
				VirtualHost: "response_headers_to_add: [{ header: { key: x-peer, value: \"%UPSTREAM_PEER_DNS_SAN%\" } }]",
			})
			c := p.Dial()
			for range 2 { // the second one on a connection that is there already
				c.Get("/").WantHeader("X-Peer", "origin.test")
			}
			p.WantLines(want, want)
		})
	}
	t.Run("a TCP session", func(t *testing.T) {
		o := harness.NewTLSServer(t, serverConfig(t, a, "origin.test"), harness.EchoTLS)
		p := harness.StartTCP(t, harness.TCPTopology{Clusters: overTLS(o, socket), LogFormat: upstreamPeerFormat})
		p.Dial().Send("hello").WantText("hello").Finish().Rest()
		p.WantLines(want)
	})
	t.Run("plain", func(t *testing.T) {
		p := harness.Start(t, harness.Topology{Clusters: to(harness.NewRecorder(t, nil)), LogFormat: upstreamPeerFormat})
		p.Dial().Get("/")
		p.WantLines("- - - - - - -")
	})
	t.Run("refused", func(t *testing.T) {
		o := newNamedOrigin(t, harness.NewAuthority(t), false, "origin.test")
		p := harness.Start(t, harness.Topology{Clusters: overTLS(o, socket), LogFormat: upstreamPeerFormat})
		p.Dial().Get("/")
		p.WantLines("- - - - - - -")
	})
}

// http_codecs.md 5: connections with TLS are counted by the connection manager, from their handshake on.
func TestTLSConnectionsAreCounted(t *testing.T) {
	harness.NoLeaks(t)
	a := harness.NewAuthority(t)
	for _, codec := range []string{"AUTO", "HTTP1", "HTTP2"} {
		for _, protocol := range []string{"h2", "http/1.1"} {
			if codec == "HTTP1" && protocol == "h2" || codec == "HTTP2" && protocol != "h2" {
				continue
			}
			t.Run(codec+" "+protocol, func(t *testing.T) {
				p := harness.StartSecured(t, harness.Topology{Clusters: to(harness.NewRecorder(t, nil)), Manager: "codec_type: " + codec}, secured(t, a, "a.test", "alpn_protocols: ["+protocol+"]"))
				half := p.Dial() // never says anything
				p.WantStats(harness.Stats{inHTTP + "downstream_cx_ssl_total": 1, inHTTP + "downstream_cx_ssl_active": 1})
				half.Close()
				config := a.Client("a.test")
				config.NextProtos = []string{protocol}
				client := p.HTTPS(config)
				client.Transport.(*http.Transport).ForceAttemptHTTP2 = protocol == "h2"
				for range 2 {
					r, err := client.Get("https://a.test/")
					if err != nil {
						t.Fatal(err)
					}
					_, _ = io.Copy(io.Discard, r.Body)
					r.Body.Close()
				}
				p.WantStats(harness.Stats{inHTTP + "downstream_cx_ssl_total": 2, inHTTP + "downstream_cx_ssl_active": 1, inHTTP + "downstream_cx_total": 2})
				client.CloseIdleConnections()
				p.WantStats(harness.Stats{inHTTP + "downstream_cx_ssl_total": 2, inHTTP + "downstream_cx_ssl_active": 0, inHTTP + "downstream_cx_active": 0})
			})
		}
	}
	p := harness.Start(t, harness.Topology{Clusters: to(harness.NewRecorder(t, nil))})
	p.Dial().Get("/")
	p.WantStats(harness.Stats{inHTTP + "downstream_cx_total": 1, inHTTP + "downstream_cx_ssl_total": 0, inHTTP + "downstream_cx_ssl_active": 0})
}

// proxySocket is a cluster's transport socket that writes PROXY headers ahead of another socket's bytes.
func proxySocket(config, inner string) string {
	return strings.Replace(upstreamProxy(config), "transport_socket: { name: raw, typed_config: { \"@type\": type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer } }", inner, 1)
}

// buffered is a connection some of whose bytes were read ahead.
type buffered struct {
	*net.TCPConn
	in *bufio.Reader
}

func (b buffered) Read(p []byte) (int, error) { return b.in.Read(p) }

// readProxyHeader takes a PROXY header, and not a byte more, off a stream.
func readProxyHeader(r *bufio.Reader) (h proxyproto.Header, err error) {
	for n := 1; ; n++ {
		view, err := r.Peek(n)
		if err != nil {
			return h, err
		}
		used, st := proxyproto.Parse(view, 0, &h)
		switch st {
		case proxyproto.NeedMore:
			continue
		case proxyproto.Done:
			h.TLVs = bytes.Clone(h.TLVs)
			_, err = r.Discard(used)
			return h, err
		}
		return h, fmt.Errorf("%q is %v", view, st)
	}
}

// A PROXY header goes ahead of the handshake, in plain; TLS and the session's bytes follow.
func TestTLSUpstreamAfterAProxyHeader(t *testing.T) { // TCP-19
	harness.NoLeaks(t)
	a := harness.NewAuthority(t)
	for _, row := range []struct {
		title, config string
		down          bool
		version       uint8
		more          []string
	}{
		{"version 1", "{ version: V1 }", false, 1, nil},
		{"version 2", "{ version: V2 }", false, 2, nil},
		{"version 2 with TLVs, from a client with TLS", "{ version: V2, added_tlvs: [{ type: 240, value: aGVsbG8= }] }", true, 2, nil},
		{"version 1, the name from filter state", "{ version: V1 }", false, 1, []string{"envoy.network.upstream_server_name", "set.test"}},
	} {
		t.Run(row.title, func(t *testing.T) {
			heard := make(chan string, 1)
			config := serverConfig(t, a, "origin.test")
			o := harness.NewRaw(t, func(peer *harness.Peer) {
				header, err := readProxyHeader(peer.In)
				if err != nil {
					heard <- err.Error()
					return
				}
				c := tls.Server(buffered{peer.TCPConn, peer.In}, config)
				if err := c.Handshake(); err != nil {
					heard <- err.Error()
					return
				}
				heard <- fmt.Sprintf("%d %v %v %q %s", header.Version, header.Source, header.Destination, string(header.TLVs), c.ConnectionState().ServerName)
				harness.EchoTLS(c)
			})
			chain := harness.Chain{}
			if row.down {
				chain.Match = harness.With("", secured(t, a, "a.test", ""))
			}
			want := "origin.test"
			if row.more != nil {
				chain.Filters, want = harness.SetFilterState(row.more...), row.more[1]
			}
			p := harness.StartTCP(t, harness.TCPTopology{
				Clusters: overTLS(o, proxySocket(row.config, harness.ClientSocket(a.Trust(), "sni: origin.test"))), Chains: []harness.Chain{chain},
			})
			tlvs := ""
			if strings.Contains(row.config, "tlvs") {
				tlvs = "\xf0\x00\x05hello"
			}
			c := tlsPath{down: row.down}.dial(t, p, a)
			_, _ = io.WriteString(c, "ping")
			wantRead(t, c, "ping")
			source := c.(net.Conn).LocalAddr().String()
			if got, want := <-heard, fmt.Sprintf("%d %s %s %q %s", row.version, source, p.Addr, tlvs, want); got != want {
				t.Errorf("the origin heard %s, want %s", got, want)
			}
			_ = c.CloseWrite()
			wantEOF(t, c)
			_ = c.Close()
			p.WantStats(harness.Stats{upstreamSSL + "handshake": 1, inTCP + "downstream_cx_rx_bytes_total": 4, inTCP + "downstream_cx_tx_bytes_total": 4})
		})
	}
}

// transport_socket_matches may have PROXY headers too, with and without TLS, and sockets beside them that
// have none.
func TestTLSSocketsByEndpointWithProxyHeaders(t *testing.T) {
	harness.NoLeaks(t)
	a := harness.NewAuthority(t)
	config := serverConfig(t, a, "origin.test")
	serve := func(name string, proxied, secure bool) harness.Origin {
		return harness.NewRaw(t, func(p *harness.Peer) {
			if proxied {
				if h, err := readProxyHeader(p.In); err != nil || h.Version != 1 {
					return
				}
			}
			if !secure {
				_, _ = io.WriteString(p.TCPConn, name)
				return
			}
			c := tls.Server(buffered{p.TCPConn, p.In}, config)
			_, _ = io.WriteString(c, name)
			_ = c.CloseWrite()
			p.Drain()
		})
	}
	raw := "transport_socket: { name: raw, typed_config: { \"@type\": type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer } }"
	secure := harness.ClientSocket(a.Trust(), "sni: origin.test")
	match := func(name, value, socket string) string {
		return fmt.Sprintf("- name: %s\n  match: { mode: %s }\n  %s\n", name, value, strings.ReplaceAll(socket, "\n", "\n  "))
	}
	p := harness.StartTCP(t, harness.TCPTopology{Clusters: []harness.Cluster{{
		Name: "origin",
		Fields: "lb_policy: ROUND_ROBIN\ntransport_socket_matches:\n" + match("a", "plain", raw) + match("b", "proxied", upstreamProxy("{ version: V1 }")) +
			match("c", "secure", secure) + match("d", "plain", secure) + proxySocket("{ version: V1 }", secure),
		Origins: []harness.Origin{serve("plain", false, false), serve("proxied", true, false), serve("secure", false, true), serve("both", true, true), serve("both", true, true)},
		Labels: []string{
			"{}, envoy.transport_socket_match: { mode: plain }", "{}, envoy.transport_socket_match: { mode: proxied }",
			"{}, envoy.transport_socket_match: { mode: secure }", "{}, envoy.transport_socket_match: { mode: none }", "{}",
		},
	}}})
	got := map[string]int{}
	for range 10 {
		c := p.Dial()
		text, err := c.Finish().Rest()
		if err != nil {
			t.Error(err)
		}
		got[text]++
		c.Close()
	}
	if fmt.Sprint(got) != "map[both:4 plain:2 proxied:2 secure:2]" {
		t.Errorf("%v", got)
	}
}
