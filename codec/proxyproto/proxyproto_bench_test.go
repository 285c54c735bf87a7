package proxyproto

import "testing"

func BenchmarkParse(b *testing.B) {
	for _, bb := range []struct{ name, in string }{
		{"v1 TCP4", "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n"},
		{"v1 TCP6", "PROXY TCP6 2001:db8::1 2001:db8::2 56324 443\r\n"},
		{"v2 TCP4", unhex(signature + "21 11 000c" + ipv4)},
		{"v2 checksum", string(AppendV2(nil, Proxy, addrPort("192.0.2.1:1"), addrPort("192.0.2.2:2"), AppendTLV(nil, TypeCRC32C, []byte("any4"))))},
	} {
		b.Run(bb.name, func(b *testing.B) {
			in := []byte(bb.in)
			var h Header
			b.ReportAllocs()
			for b.Loop() {
				if _, st := Parse(in, 0, &h); st != Done {
					b.Fatal(st)
				}
			}
		})
	}
}
