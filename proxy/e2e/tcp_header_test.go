package e2e

import (
	"fmt"
	"io"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluiceproxy/sluice/codec/proxyproto"
	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// upstreamProxy is a cluster's transport socket that writes PROXY headers.
func upstreamProxy(config string) string {
	const kind = "type.googleapis.com/envoy.extensions.transport_sockets."
	return "transport_socket:\n  name: envoy.transport_sockets.upstream_proxy_protocol\n  typed_config:\n    \"@type\": " + kind +
		"proxy_protocol.v3.ProxyProtocolUpstreamTransport\n    config: " + config +
		"\n    transport_socket: { name: raw, typed_config: { \"@type\": " + kind + "raw_buffer.v3.RawBuffer } }"
}

// TCP-19: the PROXY header that an upstream connection begins with, by the version, where the client
// came from and how it came.
func TestTCPUpstreamProxyHeader(t *testing.T) {
	harness.NoLeaks(t)
	const v1, v2 = "{ version: V1 }", "{ version: V2 }"
	for name, tc := range map[string]struct {
		config   string
		listener string
		send     string
		pipe     bool
		want     string // "version local source destination", S and D for the socket's own
	}{
		"version 1":                          {config: v1, want: "1 false S D"},
		"version 2":                          {config: v2, want: "2 false S D"},
		"version 1, behind a PROXY header":   {config: v1, listener: proxyProtocol(""), send: "PROXY TCP4 1.2.3.4 5.6.7.8 9 10\r\n", want: "1 false 1.2.3.4:9 5.6.7.8:10"},
		"version 2, behind a PROXY header":   {config: v2, listener: proxyProtocol(""), send: "PROXY TCP6 2001:db8::1 2001:db8::2 9 10\r\n", want: "2 false [2001:db8::1]:9 [2001:db8::2]:10"},
		"version 1, behind a LOCAL one":      {config: v1, listener: proxyProtocol(""), send: "PROXY UNKNOWN\r\n", want: "1 false S D"},
		"version 1, from a unix socket":      {config: v1, pipe: true, want: "1 true invalid AddrPort invalid AddrPort"},
		"version 2, from a unix socket":      {config: v2, pipe: true, want: "2 true invalid AddrPort invalid AddrPort"},
		"version 2, early data behind it":    {config: v2, send: "first bytes", want: "2 false S D"},
		"version 1, by default":              {config: "{}", want: "1 false S D"},
		"version 1, behind one of version 2": {config: v1, listener: proxyProtocol(""), send: proxyV2("1.2.3.4:9", "5.6.7.8:10"), want: "1 false 1.2.3.4:9 5.6.7.8:10"},
	} {
		t.Run(name, func(t *testing.T) {
			o := harness.NewRaw(t, (*harness.Peer).Echo)
			top := harness.TCPTopology{
				Clusters: []harness.Cluster{{Name: "origin", Origins: []harness.Origin{o}, Fields: upstreamProxy(tc.config)}}, ListenerFilters: tc.listener,
				Proxy: early(1000),
			}
			path := filepath.Join(t.TempDir(), "in")
			network := "tcp"
			if tc.pipe {
				top.Address, network = fmt.Sprintf("{ pipe: { path: %q } }", path), "unix"
			}
			p := harness.StartTCP(t, top)
			addr := p.Addr
			w := harness.DialWire(t, network, addr)
			w.Send(tc.send)
			w.Send("end")
			_ = w.Conn.(interface{ CloseWrite() error }).CloseWrite()
			all, err := io.ReadAll(w.In)
			if err != nil {
				t.Fatal(err)
			}
			var h proxyproto.Header
			n, st := proxyproto.Parse(all, 1<<16, &h)
			if st != proxyproto.Done {
				t.Fatalf("%q is %v", all, st)
			}
			source, local := w.Conn.LocalAddr().String(), addr
			want := tc.want
			if network == "tcp" {
				want = strings.NewReplacer("S", source, "D", local).Replace(want)
			}
			if got := fmt.Sprintf("%d %v %v %v", h.Version, h.Local, h.Source, h.Destination); got != want {
				t.Errorf("the header says %s, want %s", got, want)
			}
			rest := tc.send
			if tc.listener != "" {
				rest = ""
			}
			if got := string(all[n:]); got != rest+"end" {
				t.Errorf("behind the header: %q", got)
			}
			// The header is no byte of the session, but one of the upstream connection.
			p.WantStats(harness.Stats{onOrigin + "upstream_cx_tx_bytes_total": int64(len(all)), inTCP + "downstream_cx_rx_bytes_total": int64(len(rest) + 3)})
			p.WantLines(fmt.Sprintf("TcpConnectionEnd - - %d %d origin", len(rest)+3, len(all)))
		})
	}
}

func listTLVs(list proxyproto.TLVs) string {
	var got []string
	for kind, value, ok := list.Next(); ok; kind, value, ok = list.Next() {
		got = append(got, fmt.Sprintf("%x=%s", kind, value))
	}
	return strings.Join(got, " ")
}

// Which TLVs an upstream header of version 2 has: the cluster's own, those of the client that may pass,
// the filter's by its merge policy.
func TestTCPUpstreamProxyTLVs(t *testing.T) {
	harness.NoLeaks(t)
	const (
		passAll = "pass_through_tlvs: { match_type: INCLUDE_ALL }"
		own     = "proxy_protocol_tlvs: [{ type: 0xe0, value: T1dO }, { type: 0xe9, format_string: { text_format_source: { inline_string: \"from %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%\" } } }]\n"
		added   = "added_tlvs: [{ type: 0xd0, value: Q0xVU1RFUg== }]"
	)
	received := proxyV2("10.0.0.1:1", "10.0.0.2:2", "\xe0", "first", "\xe0", "second", "\xe1", "other")
	for name, tc := range map[string]struct {
		config, proxy, listener string
		want                    string
	}{
		"nothing passes by default":      {config: "version: V2", listener: passAll, want: ""},
		"nothing is kept by default":     {config: "version: V2, " + passAll, want: ""},
		"all":                            {config: "version: V2, " + passAll, listener: passAll, want: "e0=first e0=second e1=other"},
		"some, by the cluster":           {config: "version: V2, pass_through_tlvs: { match_type: INCLUDE, tlv_type: [0xe1] }", listener: passAll, want: "e1=other"},
		"some, by the listener":          {config: "version: V2, " + passAll, listener: "pass_through_tlvs: { match_type: INCLUDE, tlv_type: [0xe0] }", want: "e0=first e0=second"},
		"the cluster's own":              {config: "version: V2, " + added, want: "d0=CLUSTER"},
		"the cluster's, then the others": {config: "version: V2, " + passAll + ", " + added, listener: passAll, want: "d0=CLUSTER e0=first e0=second e1=other"},
		"the filter's":                   {config: "version: V2, " + passAll, proxy: own, want: "e0=OWN e9=from 10.0.0.1"},
		"the filter's, which do not pass": {
			config: "version: V2", proxy: own, listener: passAll, want: "",
		},
		"the filter's, if absent":  {config: "version: V2, " + passAll, proxy: own + "proxy_protocol_tlv_merge_policy: ADD_IF_ABSENT", listener: passAll, want: "e0=first e0=second e1=other e9=from 10.0.0.1"},
		"the filter's, by default": {config: "version: V2, " + passAll, proxy: own, listener: passAll, want: "e0=first e0=second e1=other e9=from 10.0.0.1"},
		"the filter's instead":     {config: "version: V2, " + passAll, proxy: own + "proxy_protocol_tlv_merge_policy: OVERWRITE_BY_TYPE_IF_EXISTS_OR_ADD", listener: passAll, want: "e1=other e0=OWN e9=from 10.0.0.1"},
		"the filter's as well":     {config: "version: V2, " + passAll, proxy: own + "proxy_protocol_tlv_merge_policy: APPEND_IF_EXISTS_OR_ADD", listener: passAll, want: "e0=first e0=second e1=other e0=OWN e9=from 10.0.0.1"},
		"the cluster's before the same kind": {
			config: "version: V2, " + passAll + ", added_tlvs: [{ type: 0xe0, value: Q0xVU1RFUg== }]", proxy: own, listener: passAll,
			want: "e0=CLUSTER e1=other e9=from 10.0.0.1",
		},
	} {
		t.Run(name, func(t *testing.T) {
			heads := make(chan string, 1)
			o := harness.NewRaw(t, func(p *harness.Peer) {
				all, _ := io.ReadAll(p.In)
				heads <- string(all)
			})
			p := harness.StartTCP(t, harness.TCPTopology{
				Clusters:        []harness.Cluster{{Name: "origin", Origins: []harness.Origin{o}, Fields: upstreamProxy("{ " + tc.config + " }")}},
				ListenerFilters: proxyProtocol(tc.listener), Proxy: tc.proxy,
			})
			c := p.Dial().Send(received).Finish()
			_ = c.WantEnd()
			c.Close()
			var h proxyproto.Header
			all := <-heads
			n, st := proxyproto.Parse([]byte(all), 1<<16, &h)
			if st != proxyproto.Done || n != len(all) || h.Source != netip.MustParseAddrPort("10.0.0.1:1") {
				t.Fatalf("%q is %v with %d bytes, from %v", all, st, n, h.Source)
			}
			if s := listTLVs(h.TLVs); s != tc.want {
				t.Errorf("the TLVs are %q, want %q", s, tc.want)
			}
		})
	}
}
