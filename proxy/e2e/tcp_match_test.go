package e2e

import (
	"testing"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// visitor is one connection of a table: its PROXY header, its ClientHello or what it sends instead, and
// where it comes from.
type visitor struct {
	name   string
	header string
	hello  string // a server name
	alpn   []string
	plain  string // sent when there is no hello
	from   string
	want   string // the chain; "" when none matches
}

// visit makes the visitors' connections, one after the other.
func visit(t *testing.T, top harness.TCPTopology, visitors []visitor) {
	t.Helper()
	top.Clusters = to(echoes(t))
	top.LogFormat, top.ListenerLog = "%FILTER_CHAIN_NAME%", true
	p := harness.StartTCP(t, top)
	lines, refused := 0, int64(0)
	for _, v := range visitors {
		from := v.from
		if from == "" {
			from = "127.0.0.1"
		}
		c := p.DialFrom(from).Send(v.header)
		sent := v.plain
		if sent == "" {
			sent = string(clientHello(t, v.hello, v.alpn...))
		}
		c.Send(sent)
		got := "-"
		if v.want == "" {
			_ = c.WantEnd()
			refused++
			lines++
		} else {
			c.WantText(sent)
			got = v.want
			lines += 2
		}
		c.Close()
		all := p.AwaitLines(lines)
		if last := all[len(all)-1]; last != "listener "+got {
			t.Errorf("%s: chain %s, want %s", v.name, last, got)
		}
	}
	p.WantStats(harness.Stats{
		inListener + "no_filter_chain_match": refused, inListener + "downstream_cx_total": int64(len(visitors)) - refused,
		inListener + "downstream_pre_cx_active": 0,
	})
}

func v1(source, destination, ports string) string {
	return "PROXY TCP4 " + source + " " + destination + " " + ports + "\r\n"
}

func v1six(source, destination, ports string) string {
	return "PROXY TCP6 " + source + " " + destination + " " + ports + "\r\n"
}

// TCP-80, TCP-81: destination port first, then the longest destination prefix.
func TestTCPMatchDestination(t *testing.T) {
	harness.NoLeaks(t)
	chains := []harness.Chain{
		{Name: "any"},
		{Name: "port", Match: "{ destination_port: 8443 }"},
		{Name: "net8", Match: "{ prefix_ranges: [{ address_prefix: 10.0.0.0, prefix_len: 8 }] }"},
		{Name: "net16", Match: "{ prefix_ranges: [{ address_prefix: 10.1.0.0, prefix_len: 16 }] }"},
		{Name: "host", Match: "{ prefix_ranges: [{ address_prefix: 10.1.2.3, prefix_len: 32 }, { address_prefix: 192.0.2.1, prefix_len: 32 }] }"},
		{Name: "port+net8", Match: "{ destination_port: 9000, prefix_ranges: [{ address_prefix: 10.0.0.0, prefix_len: 8 }] }"},
		{Name: "net6", Match: "{ prefix_ranges: [{ address_prefix: \"2001:db8::\", prefix_len: 32 }] }"},
	}
	visit(t, harness.TCPTopology{Chains: chains, ListenerFilters: proxyProtocol("allow_requests_without_proxy_protocol: true")}, []visitor{
		{name: "the port", header: v1("1.1.1.1", "2.2.2.2", "1 8443"), plain: "x", want: "port"},
		{name: "the port goes before the prefix", header: v1("1.1.1.1", "10.1.2.3", "1 8443"), plain: "x", want: "port"},
		{name: "the short prefix", header: v1("1.1.1.1", "10.2.0.1", "1 80"), plain: "x", want: "net8"},
		{name: "the longer prefix", header: v1("1.1.1.1", "10.1.0.1", "1 80"), plain: "x", want: "net16"},
		{name: "the longest prefix", header: v1("1.1.1.1", "10.1.2.3", "1 80"), plain: "x", want: "host"},
		{name: "another prefix of the same chain", header: v1("1.1.1.1", "192.0.2.1", "1 80"), plain: "x", want: "host"},
		{name: "port and prefix", header: v1("1.1.1.1", "10.1.2.3", "1 9000"), plain: "x", want: "port+net8"},
		{name: "no way back from the port (TCP-81)", header: v1("1.1.1.1", "11.0.0.1", "1 9000"), plain: "x", want: ""},
		{name: "no prefix", header: v1("1.1.1.1", "11.0.0.1", "1 80"), plain: "x", want: "any"},
		{name: "IPv6", header: v1six("2001:db8::1", "2001:db8::2", "1 80"), plain: "x", want: "net6"},
		{name: "IPv6, no prefix", header: v1six("2001:db8::1", "2001:db9::2", "1 80"), plain: "x", want: "any"},
		{name: "the socket's own address", plain: "x", want: "any"},
		{name: "version 2", header: proxyV2("1.1.1.1:1", "10.1.9.9:80"), plain: "x", want: "net16"},
	})
}

// TCP-80 to TCP-82: then the server name, the transport protocol, the application protocols.
func TestTCPMatchServerName(t *testing.T) {
	harness.NoLeaks(t)
	chains := []harness.Chain{
		{Name: "exact", Match: "{ server_names: [www.example.com, api.example.org] }"},
		{Name: "star", Match: "{ server_names: [\"*.example.com\"] }"},
		{Name: "com", Match: "{ server_names: [\"*.com\"] }"},
		{Name: "h2", Match: "{ server_names: [alpn.test], application_protocols: [h2] }"},
		{Name: "h1", Match: "{ server_names: [alpn.test], application_protocols: [\"http/1.1\"] }"},
		{Name: "plain.test", Match: "{ server_names: [plain.test], transport_protocol: raw_buffer }"},
		{Name: "tls", Match: "{ transport_protocol: tls }"},
		{Name: "tls acme", Match: "{ transport_protocol: tls, application_protocols: [acme] }"},
		{Name: "raw", Match: "{ transport_protocol: raw_buffer }"},
	}
	visit(t, harness.TCPTopology{Chains: chains, ListenerFilters: tlsInspector}, []visitor{
		{name: "the name", hello: "www.example.com", want: "exact"},
		{name: "another name of the chain", hello: "api.example.org", want: "exact"},
		{name: "the name in capitals", hello: "WWW.Example.COM", want: "exact"},
		{name: "its suffix", hello: "other.example.com", want: "star"},
		{name: "its suffix, two labels", hello: "a.b.example.com", want: "star"},
		{name: "a suffix is not the name itself", hello: "example.com", want: "com"},
		{name: "the shorter suffix", hello: "a.example2.com", want: "com"},
		{name: "no name that is known", hello: "example.net", want: "tls"},
		{name: "no name", hello: "", want: "tls"},
		{name: "no TLS", plain: "hello", want: "raw"},
		{name: "the protocol", hello: "alpn.test", alpn: []string{"h2"}, want: "h2"},
		{name: "the client's first protocol", hello: "alpn.test", alpn: []string{"http/1.1", "h2"}, want: "h1"},
		{name: "the first protocol that is known", hello: "alpn.test", alpn: []string{"h3", "h2"}, want: "h2"},
		{name: "no way back from the name: protocol (TCP-81)", hello: "alpn.test", alpn: []string{"h3"}, want: ""},
		{name: "no way back from the name: no protocol (TCP-81)", hello: "alpn.test", want: ""},
		{name: "no way back from the name: transport (TCP-81)", hello: "plain.test", want: ""},
		{name: "transport and protocol", hello: "example.net", alpn: []string{"acme"}, want: "tls acme"},
	})
}

// TCP-80, TCP-81: at last the peer of the socket, the kind of source, the source and its port.
func TestTCPMatchSource(t *testing.T) {
	harness.NoLeaks(t)
	chains := []harness.Chain{
		{Name: "direct", Match: "{ direct_source_prefix_ranges: [{ address_prefix: 127.0.0.2, prefix_len: 32 }] }"},
		{Name: "local", Match: "{ source_type: SAME_IP_OR_LOOPBACK }"},
		{Name: "external", Match: "{ source_type: EXTERNAL }"},
		{Name: "net24", Match: "{ source_type: EXTERNAL, source_prefix_ranges: [{ address_prefix: 192.0.2.0, prefix_len: 24 }] }"},
		{Name: "net24 port", Match: "{ source_type: EXTERNAL, source_prefix_ranges: [{ address_prefix: 192.0.2.0, prefix_len: 24 }], source_ports: [777, 778] }"},
		{Name: "port", Match: "{ source_type: EXTERNAL, source_prefix_ranges: [{ address_prefix: 198.51.100.0, prefix_len: 24 }], source_ports: [5] }"},
		{Name: "net6", Match: "{ source_type: EXTERNAL, source_prefix_ranges: [{ address_prefix: \"2001:db8::\", prefix_len: 32 }] }"},
	}
	visit(t, harness.TCPTopology{Chains: chains, ListenerFilters: proxyProtocol("allow_requests_without_proxy_protocol: true")}, []visitor{
		{name: "the peer of the socket", from: "127.0.0.2", plain: "x", want: "direct"},
		{name: "the peer goes before the source", from: "127.0.0.2", header: v1("192.0.2.1", "2.2.2.2", "777 2"), plain: "x", want: "direct"},
		{name: "loopback", plain: "x", want: "local"},
		{name: "the same address", header: v1("203.0.113.9", "203.0.113.9", "1 2"), plain: "x", want: "local"},
		{name: "a loopback source", header: v1("127.9.9.9", "203.0.113.9", "1 2"), plain: "x", want: "local"},
		{name: "elsewhere", header: v1("203.0.113.1", "2.2.2.2", "1 2"), plain: "x", want: "external"},
		{name: "the source", header: v1("192.0.2.9", "2.2.2.2", "5 2"), plain: "x", want: "net24"},
		{name: "the source and its port", header: v1("192.0.2.9", "2.2.2.2", "777 2"), plain: "x", want: "net24 port"},
		{name: "another port of the chain", header: v1("192.0.2.9", "2.2.2.2", "778 2"), plain: "x", want: "net24 port"},
		{name: "no way back from the source (TCP-81)", header: v1("198.51.100.1", "2.2.2.2", "6 2"), plain: "x", want: ""},
		{name: "IPv6", header: v1six("2001:db8::9", "2001:db9::2", "1 2"), plain: "x", want: "net6"},
		{name: "IPv6, elsewhere", header: v1six("2001:db9::9", "2001:db9::2", "1 2"), plain: "x", want: "external"},
		{name: "a LOCAL header is the socket's", header: "PROXY UNKNOWN\r\n", plain: "x", want: "local"},
	})
}

// TCP-83: what no chain matches goes to the default one, or ends.
func TestTCPMatchDefault(t *testing.T) {
	harness.NoLeaks(t)
	chains := []harness.Chain{{Name: "port", Match: "{ destination_port: 8443, prefix_ranges: [{ address_prefix: 10.0.0.0, prefix_len: 8 }] }"}}
	filters := proxyProtocol("")
	visitors := []visitor{
		{name: "the chain", header: v1("1.1.1.1", "10.0.0.1", "1 8443"), plain: "x", want: "port"},
		{name: "no chain", header: v1("1.1.1.1", "10.0.0.1", "1 80"), plain: "x", want: "default"},
		{name: "no chain further on", header: v1("1.1.1.1", "11.0.0.1", "1 8443"), plain: "x", want: "default"},
	}
	visit(t, harness.TCPTopology{Chains: chains, Default: &harness.Chain{Name: "default"}, ListenerFilters: filters}, visitors)
	for i := range visitors {
		if visitors[i].want == "default" {
			visitors[i].want = ""
		}
	}
	visit(t, harness.TCPTopology{Chains: chains, ListenerFilters: filters}, visitors)
	visit(t, harness.TCPTopology{Chains: []harness.Chain{}, Default: &harness.Chain{Name: "default"}, ListenerFilters: filters}, []visitor{
		{name: "nothing but a default", header: v1("1.1.1.1", "10.0.0.1", "1 80"), plain: "x", want: "default"},
	})
}

// A chain is chosen without listener filters as well, when the connection is accepted.
func TestTCPMatchWithoutListenerFilters(t *testing.T) {
	harness.NoLeaks(t)
	visit(t, harness.TCPTopology{Chains: []harness.Chain{
		{Name: "two", Match: "{ source_prefix_ranges: [{ address_prefix: 127.0.0.2, prefix_len: 32 }] }"},
		{Name: "raw", Match: "{ transport_protocol: raw_buffer, source_prefix_ranges: [{ address_prefix: 127.0.0.3, prefix_len: 32 }] }"},
	}}, []visitor{
		{name: "two", from: "127.0.0.2", plain: "x", want: ""}, // TCP-81: the transport protocol goes before the source
		{name: "raw", from: "127.0.0.3", plain: "x", want: "raw"},
		{name: "none", plain: "x", want: ""},
	})
	visit(t, harness.TCPTopology{Chains: []harness.Chain{
		{Name: "two", Match: "{ source_prefix_ranges: [{ address_prefix: 127.0.0.2, prefix_len: 32 }] }"},
		{Name: "local"},
	}}, []visitor{
		{name: "two", from: "127.0.0.2", plain: "x", want: "two"},
		{name: "others", plain: "x", want: "local"},
	})
}
