package e2e

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// inRecords cuts the handshake of one record into records of n bytes.
func inRecords(hello []byte, n int) []byte {
	var out []byte
	for body := hello[5:]; len(body) > 0; {
		piece := body[:min(n, len(body))]
		body = body[len(piece):]
		out = append(append(out, hello[0], hello[1], hello[2], byte(len(piece)>>8), byte(len(piece))), piece...)
	}
	return out
}

// What tls_inspector makes of a beginning; whatever it is, the bytes go on untouched.
func TestTCPTLSInspector(t *testing.T) {
	harness.NoLeaks(t)
	hello := clientHello(t, "name.example", "h2", "http/1.1")
	malformed := append([]byte(nil), hello...)
	malformed[9] ^= 0xff // the version within the handshake and what follows it stay
	malformed[5+38] = 0xff
	stat := func(name string) string { return "tls_inspector." + name }
	for name, tc := range map[string]struct {
		fields  string
		send    []byte
		dribble bool
		refused bool
		line    string // server name, JA3, JA4 by form, and the chain
		stats   harness.Stats
		sized   bool // bytes_processed has a value
	}{
		"a hello": {
			send: hello, line: "name.example - - tls", sized: true,
			stats: harness.Stats{stat("tls_found"): 1, stat("sni_found"): 1, stat("alpn_found"): 1, stat("sni_not_found"): 0, stat("alpn_not_found"): 0, stat("tls_not_found"): 0},
		},
		"a hello without name and protocols": {
			send: clientHello(t, ""), line: "- - - tls", sized: true,
			stats: harness.Stats{stat("tls_found"): 1, stat("sni_not_found"): 1, stat("alpn_not_found"): 1, stat("sni_found"): 0, stat("alpn_found"): 0},
		},
		"byte by byte":        {send: hello, dribble: true, line: "name.example - - tls", sized: true, stats: harness.Stats{stat("tls_found"): 1}},
		"in many records":     {send: inRecords(hello, 50), line: "name.example - - tls", sized: true, stats: harness.Stats{stat("tls_found"): 1, stat("sni_found"): 1}},
		"records and dribble": {send: inRecords(hello, 200), dribble: true, line: "name.example - - tls", sized: true, stats: harness.Stats{stat("tls_found"): 1}},
		"fingerprints": {
			fields: "enable_ja3_fingerprinting: true\nenable_ja4_fingerprinting: true", send: hello, line: "name.example JA3 JA4 tls", sized: true,
			stats: harness.Stats{stat("tls_found"): 1},
		},
		"no TLS":                {send: []byte("SSH-2.0-x\r\n"), line: "- - - raw", stats: harness.Stats{stat("tls_not_found"): 1, stat("tls_found"): 0}},
		"not quite TLS":         {send: []byte("\x16\x03"), dribble: true, refused: true, stats: harness.Stats{inListener + "downstream_listener_filter_remote_close": 1, stat("tls_not_found"): 0}},
		"no TLS, byte by byte":  {send: []byte("\x16GET / HTTP/1.1\r\n"), dribble: true, line: "- - - raw", stats: harness.Stats{stat("tls_not_found"): 1}},
		"a hello too large":     {fields: "max_client_hello_size: 256", send: hello, refused: true, stats: harness.Stats{stat("client_hello_too_large"): 1, inListener + "downstream_listener_filter_error": 1}},
		"a broken hello":        {send: malformed, line: "- - - raw", stats: harness.Stats{stat("tls_not_found"): 1}},
		"a broken hello, close": {fields: "close_connection_on_client_hello_parsing_errors: true", send: malformed, refused: true, stats: harness.Stats{inListener + "downstream_listener_filter_error": 1}},
	} {
		t.Run(name, func(t *testing.T) {
			p := harness.StartTCP(t, harness.TCPTopology{
				Clusters: to(echoes(t)), ListenerFilters: harness.ListenerFilter("tls_inspector", "TlsInspector", tc.fields),
				Chains:    []harness.Chain{{Name: "tls", Match: "{ transport_protocol: tls }"}, {Name: "raw", Match: "{ transport_protocol: raw_buffer }"}},
				LogFormat: "%REQUESTED_SERVER_NAME% %TLS_JA3_FINGERPRINT% %TLS_JA4_FINGERPRINT% %FILTER_CHAIN_NAME%",
			})
			c := p.Dial()
			step := len(tc.send)
			if tc.dribble {
				step = 1
			}
			if err := harness.WritePieces(c.Conn, string(tc.send), step); err != nil && !tc.refused {
				t.Fatal(err)
			}
			if tc.refused {
				if name == "not quite TLS" {
					c.Finish()
				}
				_ = c.WantEnd()
				p.WantStats(harness.Stats{inListener + "downstream_cx_total": 0, inListener + "downstream_pre_cx_active": 0})
				p.WantStats(tc.stats)
				return
			}
			c.WantText(string(tc.send)).Finish()
			_ = c.WantEnd()
			line := p.AwaitLines(1)[0]
			line = regexp.MustCompile(`\b[0-9a-f]{32}\b`).ReplaceAllString(line, "JA3")
			line = regexp.MustCompile(`\bt13d[0-9]{4}h2_[0-9a-f]{12}_[0-9a-f]{12}\b`).ReplaceAllString(line, "JA4")
			if line != tc.line {
				t.Errorf("the line is %q, want %q", line, tc.line)
			}
			p.WantStats(tc.stats)
			if n := p.Histogram("tls_inspector.bytes_processed").Count; (n == 1) != tc.sized {
				t.Errorf("bytes_processed has %d values", n)
			}
			size := int64(len(tc.send)) // bytes that were looked at are the session's
			p.WantStats(harness.Stats{inTCP[:4] + strings.Fields(line)[3] + ".downstream_cx_rx_bytes_total": size})
		})
	}
}

// What http_inspector finds, by chains for each: with TLS beside it and HTTP behind it.
func TestTCPHTTPInspector(t *testing.T) {
	harness.NoLeaks(t)
	web := harness.NewOrigin(t, "web")
	raw := echoes(t)
	p := harness.StartTCP(t, harness.TCPTopology{
		Clusters:        []harness.Cluster{{Name: "raw", Origins: []harness.Origin{raw}}, {Name: "web", Origins: []harness.Origin{web}}},
		ListenerFilters: tlsInspector + httpInspector,
		Chains: []harness.Chain{
			{Name: "h1", Match: "{ transport_protocol: raw_buffer, application_protocols: [\"http/1.1\"] }", HTTP: true, Cluster: "web"},
			{Name: "h10", Match: "{ transport_protocol: raw_buffer, application_protocols: [\"http/1.0\"] }"},
			{Name: "h2c", Match: "{ transport_protocol: raw_buffer, application_protocols: [h2c] }"},
			{Name: "tls", Match: "{ transport_protocol: tls }"},
		},
		Default:   &harness.Chain{Name: "other"},
		LogFormat: "%FILTER_CHAIN_NAME%",
	})
	c := p.Dial()
	c.Get("/").Want(200, "hello from web\n")
	c.Get("/status/404").Want(404, "status 404\n")
	c.Close()
	const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	lines := 2
	for _, tc := range []struct{ name, send, want string }{
		{"HTTP/1.0", "GET / HTTP/1.0\r\n\r\n", "h10"},
		{"HTTP/2", preface, "h2c"},
		{"TLS", string(clientHello(t, "a")), "tls"},
		{"other", "SSH-2.0-x\r\n", "other"},
		{"almost", "GET / FTP/1.1\r\n", "other"},
	} {
		for _, step := range []int{len(tc.send), 1} {
			c := p.Dial()
			if err := harness.WritePieces(c.Conn, tc.send, step); err != nil {
				t.Fatal(err)
			}
			c.WantText(tc.send).Close()
			lines++
			all := p.AwaitLines(lines)
			if got := all[len(all)-1]; got != tc.want {
				t.Errorf("%s: chain %s, want %s", tc.name, got, tc.want)
			}
		}
	}
	p.WantStats(harness.Stats{
		"http_inspector.http11_found": 1, "http_inspector.http10_found": 2, "http_inspector.http2_found": 2, "http_inspector.http_not_found": 4,
		"http.h1.downstream_rq_total": 2, "http.h1.downstream_cx_total": 1, inListener + "downstream_cx_total": 11, "tls_inspector.tls_found": 2,
	})
	// A first line without an end is refused once it is longer than any HTTP's.
	_ = p.Dial().Send("GET /" + strings.Repeat("x", 70<<10)).WantEnd()
	p.WantStats(harness.Stats{inListener + "downstream_listener_filter_error": 1})
}

// What proxy_protocol makes of a beginning.
func TestTCPProxyProtocol(t *testing.T) {
	harness.NoLeaks(t)
	const (
		allow = "allow_requests_without_proxy_protocol: true\n"
		good1 = "PROXY TCP4 192.0.2.1 192.0.2.2 11 22\r\n"
	)
	good2 := proxyV2("192.0.2.1:11", "192.0.2.2:22")
	local2 := "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"
	unix2 := "\r\n\r\n\x00\r\nQUIT\n\x21\x31\x00\xd8" + strings.Repeat("\x00", 216)
	stat := func(name string) string { return "proxy_proto." + name }
	for name, tc := range map[string]struct {
		fields  string
		send    string
		dribble bool
		refused bool
		foreign bool // the header's addresses count, else the socket's
		keeps   bool // there is no header to take off
		stats   harness.Stats
	}{
		"version 1":                       {send: good1, foreign: true, stats: harness.Stats{stat("versions.v1.found"): 1, stat("versions.v2.found"): 0}},
		"version 1, byte by byte":         {send: good1, dribble: true, foreign: true, stats: harness.Stats{stat("versions.v1.found"): 1}},
		"version 2":                       {send: good2, foreign: true, stats: harness.Stats{stat("versions.v2.found"): 1, stat("versions.v1.found"): 0}},
		"version 2, byte by byte":         {send: good2, dribble: true, foreign: true, stats: harness.Stats{stat("versions.v2.found"): 1}},
		"version 1, UNKNOWN":              {send: "PROXY UNKNOWN\r\n", stats: harness.Stats{stat("versions.v1.found"): 1}},
		"version 1, UNKNOWN with more":    {send: "PROXY UNKNOWN ff:: ff:: 1 2\r\n", stats: harness.Stats{stat("versions.v1.found"): 1}},
		"version 2, LOCAL":                {send: local2, stats: harness.Stats{stat("versions.v2.found"): 1}},
		"version 2, of a unix socket":     {send: unix2, refused: true, stats: harness.Stats{stat("versions.v2.error"): 1}},
		"none":                            {send: "hello", refused: true, stats: harness.Stats{stat("not_found_disallowed"): 1}},
		"none, allowed":                   {fields: allow, send: "hello", keeps: true, stats: harness.Stats{stat("not_found_allowed"): 1, stat("not_found_disallowed"): 0}},
		"one, though none is allowed too": {fields: allow, send: good1, foreign: true, stats: harness.Stats{stat("versions.v1.found"): 1, stat("not_found_allowed"): 0}},
		"malformed version 1":             {send: "PROXY TCP4 192.0.2.1 192.0.2.2 11\r\n", refused: true, stats: harness.Stats{stat("versions.v1.error"): 1}},
		"version 1 without end":           {send: "PROXY TCP4 " + strings.Repeat("1", 100), refused: true, stats: harness.Stats{stat("versions.v1.error"): 1}},
		"malformed version 2":             {send: "\r\n\r\n\x00\r\nQUIT\n\x31\x11\x00\x0c", refused: true, stats: harness.Stats{stat("versions.v2.error"): 1}},
		"malformed, though none is allowed": {
			fields: allow, send: "PROXY nonsense\r\n", refused: true, stats: harness.Stats{stat("versions.v1.error"): 1, stat("not_found_allowed"): 0},
		},
		"version 1 is disallowed":   {fields: "disallowed_versions: [V1]", send: good1, refused: true, stats: harness.Stats{stat("versions.v1.disallowed"): 1, stat("versions.v1.found"): 0}},
		"version 2, where 1 is not": {fields: "disallowed_versions: [V1]", send: good2, foreign: true, stats: harness.Stats{stat("versions.v2.found"): 1}},
		"version 2 is disallowed":   {fields: "disallowed_versions: [V2]", send: good2, refused: true, stats: harness.Stats{stat("versions.v2.disallowed"): 1}},
		"a stat_prefix":             {fields: "stat_prefix: edge", send: good1, foreign: true, stats: harness.Stats{"proxy_proto.edge.versions.v1.found": 1}},
	} {
		t.Run(name, func(t *testing.T) {
			p := harness.StartTCP(t, harness.TCPTopology{
				Clusters: to(echoes(t)), ListenerFilters: proxyProtocol(tc.fields), ListenerLog: true,
				LogFormat: "%RESPONSE_CODE_DETAILS% %DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_DIRECT_REMOTE_ADDRESS% %DOWNSTREAM_DIRECT_LOCAL_ADDRESS% %BYTES_RECEIVED% %DOWNSTREAM_WIRE_BYTES_RECEIVED%",
			})
			c := p.Dial()
			step := len(tc.send)
			if tc.dribble {
				step = 1
			}
			if err := harness.WritePieces(c.Conn, tc.send, step); err != nil {
				t.Fatal(err)
			}
			me := c.Conn.LocalAddr().String()
			if tc.refused {
				_ = c.WantEnd()
				p.WantStats(harness.Stats{inListener + "downstream_cx_total": 0, inListener + "downstream_listener_filter_error": 1})
				p.WantStats(tc.stats)
				p.WantLines(fmt.Sprintf("listener listener_filter_refused %s %s %s %s %d %d", me, p.Addr, me, p.Addr, len(tc.send), len(tc.send)))
				return
			}
			body := "body"
			c.Send(body)
			if tc.keeps {
				body = tc.send + body
			}
			c.WantText(body).Finish()
			_ = c.WantEnd()
			p.WantStats(tc.stats)
			remote, local := me, p.Addr
			if tc.foreign {
				remote, local = "192.0.2.1:11", "192.0.2.2:22"
			}
			wire := len(tc.send) + 4
			line := fmt.Sprintf("- %s %s %s %s %d %d", remote, local, me, p.Addr, len(body), wire)
			p.WantLines(line, "listener "+line)
			p.WantStats(harness.Stats{inTCP + "downstream_cx_rx_bytes_total": int64(len(body))})
		})
	}
}

// TLVs that rules ask for are metadata of the connection, or filter state.
func TestTCPProxyProtocolTLVs(t *testing.T) {
	harness.NoLeaks(t)
	const rules = "rules: [{ tlv_type: 0xe0, on_tlv_present: { key: tenant } }, { tlv_type: 0xe1, on_tlv_present: { metadata_namespace: own, key: zone } }]"
	for name, tc := range map[string]struct{ fields, send, want string }{
		"metadata":     {rules, proxyV2("1.1.1.1:1", "2.2.2.2:2", "\xe0", "acme", "\xe1", "west", "\xe2", "not asked for"), "acme west -"},
		"the last one": {rules, proxyV2("1.1.1.1:1", "2.2.2.2:2", "\xe0", "first", "\xe0", "second"), "second - -"},
		"none":         {rules, proxyV2("1.1.1.1:1", "2.2.2.2:2"), "- - -"},
		"version 1":    {rules, "PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\n", "- - -"},
		"filter state": {rules + "\ntlv_location: FILTER_STATE", proxyV2("1.1.1.1:1", "2.2.2.2:2", "\xe0", "acme"), "- - acme"},
	} {
		t.Run(name, func(t *testing.T) {
			p := harness.StartTCP(t, harness.TCPTopology{
				Clusters: to(echoes(t)), ListenerFilters: proxyProtocol(tc.fields),
				LogFormat: "%DYNAMIC_METADATA(envoy.filters.listener.proxy_protocol:tenant)% %DYNAMIC_METADATA(own:zone)% %FILTER_STATE(envoy.network.proxy_protocol.tlv:FIELD:tenant)%",
			})
			c := p.Dial().Send(tc.send).Send("x").WantText("x")
			c.Close()
			p.WantLines(tc.want)
		})
	}
}

// A PROXY header before an HTTP chain: its source is the client.
func TestTCPProxyProtocolBeforeHTTP(t *testing.T) {
	harness.NoLeaks(t)
	o := harness.NewRecorder(t, nil)
	p := harness.StartTCP(t, harness.TCPTopology{
		Clusters: to(o), ListenerFilters: proxyProtocol(""), Chains: []harness.Chain{{Name: "web", HTTP: true, Proxy: "use_remote_address: true"}},
		LogFormat: "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %RESPONSE_CODE%",
	})
	c := p.Dial().Send("PROXY TCP4 203.0.113.7 192.0.2.2 11 22\r\n")
	c.Get("/").Want(200, "ok")
	if got := o.Last(t).Get("x-forwarded-for"); got != "203.0.113.7" {
		t.Errorf("x-forwarded-for is %q", got)
	}
	c.Close()
	// The header and a request in one piece.
	c = p.Dial().Send("PROXY TCP4 203.0.113.8 192.0.2.2 11 22\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n")
	c.Read("GET").Want(200, "ok")
	if got := o.Last(t).Get("x-forwarded-for"); got != "203.0.113.8" {
		t.Errorf("x-forwarded-for is %q", got)
	}
	c.Close()
	p.WantLines("203.0.113.7 200", "203.0.113.8 200")
}

// TCP-70: a beginning that does not come in time.
func TestTCPListenerFiltersTimeout(t *testing.T) {
	harness.NoLeaks(t)
	const soon = "listener_filters_timeout: 0.1s\n"
	for name, tc := range map[string]struct {
		filters, listener, send string
		goesOn                  bool
	}{
		"nothing":                  {filters: tlsInspector, listener: soon},
		"half a hello":             {filters: tlsInspector, listener: soon, send: "\x16\x03\x01\x02"},
		"half a PROXY header":      {filters: proxyProtocol(""), listener: soon, send: "PROXY TCP4"},
		"nothing, go on":           {filters: tlsInspector, listener: soon + "continue_on_listener_filters_timeout: true", goesOn: true},
		"half a hello, go on":      {filters: tlsInspector, listener: soon + "continue_on_listener_filters_timeout: true", send: "\x16\x03\x01\x02", goesOn: true},
		"half a first line, go on": {filters: httpInspector, listener: soon + "continue_on_listener_filters_timeout: true", send: "GET ", goesOn: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := harness.StartTCP(t, harness.TCPTopology{
				Clusters: to(echoes(t)), ListenerFilters: tc.filters, Listener: tc.listener, ListenerLog: true,
				LogFormat: "%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %BYTES_RECEIVED%",
			})
			c := p.Dial().Send(tc.send)
			if tc.goesOn {
				c.WantText(tc.send)
				p.WantStats(harness.Stats{inListener + "downstream_cx_active": 1})
				c.Send("more").WantText("more").Finish()
				_ = c.WantEnd()
				line := fmt.Sprintf("- - %d", len(tc.send)+4)
				p.WantLines(line, "listener "+line)
			} else {
				_ = c.WantEnd()
				p.WantLines(fmt.Sprintf("listener - listener_filter_timeout %d", len(tc.send)))
			}
			p.WantStats(harness.Stats{inListener + "downstream_pre_cx_timeout": 1, inListener + "downstream_pre_cx_active": 0})
		})
	}
}

// A client that ends or resets its connection while filters still look.
func TestTCPClientLeavesDuringInspection(t *testing.T) {
	harness.NoLeaks(t)
	top := harness.TCPTopology{Clusters: to(echoes(t)), ListenerFilters: tlsInspector, ListenerLog: true, LogFormat: "%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %BYTES_RECEIVED%"}
	p := harness.StartTCP(t, top)
	c := p.Dial().Send("\x16\x03").Finish()
	_ = c.WantEnd()
	c.Close()
	p.WantLines("listener DC downstream_remote_disconnect 2")
	p.WantStats(harness.Stats{inListener + "downstream_listener_filter_remote_close": 1})
	c = p.Dial().Send("\x16\x03\x01")
	p.WantStats(harness.Stats{inListener + "downstream_pre_cx_active": 1})
	c.Reset()
	p.AwaitLines(2)
	p.WantStats(harness.Stats{inListener + "downstream_pre_cx_active": 0, inListener + "downstream_listener_filter_error": 1, inListener + "downstream_cx_total": 0})
}
