package proxyproto

import (
	"encoding/binary"
	"hash/crc32"
	"net/netip"
	"strings"
	"testing"
)

func addrPort(s string) (a netip.AddrPort) {
	if s != "" {
		a = netip.MustParseAddrPort(s)
	}
	return a
}

func TestAppend(t *testing.T) {
	tests := []struct {
		name     string
		from, to string
		v1       string
		v2       string // after the signature
	}{
		{"the specification's example", "192.168.0.1:56324", "192.168.0.11:443", "TCP4 192.168.0.1 192.168.0.11 56324 443", "21 11 000c" + ipv4},
		{"IPv6", "[2001:db8::1]:56324", "[2001:db8::2]:443", "TCP6 2001:db8::1 2001:db8::2 56324 443", "21 21 0024" + ipv6},
		{"both mapped is IPv4", "[::ffff:192.168.0.1]:56324", "[::ffff:192.168.0.11]:443", "TCP4 192.168.0.1 192.168.0.11 56324 443", "21 11 000c" + ipv4},
		{"one mapped and IPv4 is IPv4", "192.168.0.1:56324", "[::ffff:192.168.0.11]:443", "TCP4 192.168.0.1 192.168.0.11 56324 443", "21 11 000c" + ipv4},
		{
			"one mapped and IPv6 is IPv6", "[::ffff:192.0.2.1]:1", "[::2]:2", "TCP6 ::ffff:192.0.2.1 ::2 1 2",
			"21 21 0024 00000000000000000000ffffc0000201 00000000000000000000000000000002 0001 0002",
		},
		{
			"zones are left out", "[fe80::1%eth0]:1", "[fe80::2%eth0]:2", "TCP6 fe80::1 fe80::2 1 2",
			"21 21 0024 fe800000000000000000000000000001 fe800000000000000000000000000002 0001 0002",
		},
		{"two families", "192.0.2.1:1", "[::2]:2", "UNKNOWN", "21 00 0000"},
		{"two families the other way", "[::2]:2", "192.0.2.1:1", "UNKNOWN", "21 00 0000"},
		{"no source", "", "192.0.2.1:1", "UNKNOWN", "21 00 0000"},
		{"no destination", "[::2]:2", "", "UNKNOWN", "21 00 0000"},
		{"no addresses", "", "", "UNKNOWN", "21 00 0000"},
	}
	for _, tt := range tests {
		t.Run("TCP-71 "+tt.name, func(t *testing.T) {
			from, to := addrPort(tt.from), addrPort(tt.to)
			v1 := string(AppendV1([]byte("before"), from, to))
			if want := "beforePROXY " + tt.v1 + "\r\n"; v1 != want {
				t.Errorf("%q, want %q", v1, want)
			}
			v2 := string(AppendV2([]byte("before"), Proxy, from, to, nil))
			if want := "before" + unhex(signature+tt.v2); v2 != want {
				t.Errorf("% x, want % x", v2, want)
			}
			for _, in := range []string{v1, v2} {
				n, st, h := parse(t, in[len("before"):], 0)
				if st != Done || n != len(in)-len("before") {
					t.Fatalf("%q is read back as %v", in, st)
				}
				wantFrom, wantTo, f := familyOf(from, to)
				if h.Local != (f == familyNone) || !h.Local && (h.Source != wantFrom || h.Destination != wantTo) {
					t.Errorf("%q is read back as %s", in, describe(h))
				}
			}
		})
	}
}

func TestAppendLocal(t *testing.T) {
	from, to := addrPort("192.0.2.1:1"), addrPort("192.0.2.2:2")
	if got, want := string(AppendV2(nil, Local, from, to, nil)), unhex(signature+"20 00 0000"); got != want {
		t.Errorf("% x", got)
	}
	got := string(AppendV2(nil, Local, from, to, AppendTLV(nil, TypeNoop, []byte("x"))))
	if want := unhex(signature + "20 00 0004 04 0001 78"); got != want {
		t.Errorf("% x", got)
	}
	if n, st, h := parse(t, got, 0); st != Done || n != len(got) || describe(h) != "v2 local" {
		t.Errorf("read back as %v %s", st, describe(h))
	}
}

func TestAppendTLVs(t *testing.T) {
	from, to := addrPort("192.168.0.1:56324"), addrPort("192.168.0.11:443")
	fits := v2MaxRestBytes - v2IPv4Bytes - tlvHeaderBytes
	big := func(n int) []byte { return AppendTLV(nil, 0xe0, []byte(strings.Repeat("v", n))) }
	tests := []struct {
		name string
		tlvs []byte
		want string
	}{
		{"two", AppendTLV(AppendTLV(nil, TypeALPN, []byte("h2")), TypeAuthority, nil), ` 01="h2" 02=""`},
		{"as many bytes as fit", big(fits), ` e0="` + strings.Repeat("v", fits) + `"`},
		{"a byte more", big(fits + 1), ""},
		{"a value that cannot be", big(1 << 16), ""},
		{"the longest value, which has no room beside the addresses", big(1<<16 - 1), ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := AppendV2(nil, Proxy, from, to, tt.tlvs)
			var h Header
			if n, st := Parse(in, 0, &h); st != Done || n != len(in) {
				t.Fatal(st)
			}
			if got := describe(&h); got != said4+tt.want {
				t.Errorf("%.200s, want %.200s", got, said4+tt.want)
			}
		})
	}
}

func TestChecksum(t *testing.T) {
	from, to := addrPort("192.168.0.1:56324"), addrPort("192.168.0.11:443")
	before, after := AppendTLV(nil, TypeALPN, []byte("h2")), AppendTLV(nil, TypeAuthority, []byte("a.b"))
	for _, tlvs := range [][]byte{
		AppendTLV(nil, TypeCRC32C, []byte("any4")),
		append(AppendTLV(before, TypeCRC32C, []byte("any4")), after...),
	} {
		in := AppendV2([]byte("before"), Proxy, from, to, tlvs)[len("before"):]

		// By hand: the sum of the header with zeros where the sum is.
		zeroed := []byte(strings.Replace(string(in), "\x03\x00\x04"+sumIn(in), "\x03\x00\x04\x00\x00\x00\x00", 1))
		want := crc32.Checksum(zeroed, crc32.MakeTable(crc32.Castagnoli))
		if got := binary.BigEndian.Uint32([]byte(sumIn(in))); got != want {
			t.Fatalf("%08x, want %08x", got, want)
		}
		if n, st, _ := parse(t, string(in), 0); st != Done || n != len(in) {
			t.Fatalf("%v", st)
		}
		for i := range in { // a header with a checksum is refused whichever bit of it is wrong
			for bit := range 8 {
				in[i] ^= 1 << bit
				var h Header
				if _, st := Parse(in, 0, &h); st == Done && !h.Local && sumIn(in) != "" {
					t.Errorf("byte %d, bit %d: accepted as %s", i, bit, describe(&h))
				}
				in[i] ^= 1 << bit
			}
		}
	}
	twice := AppendTLV(AppendTLV(nil, TypeCRC32C, []byte("any4")), TypeCRC32C, []byte("any4"))
	if _, st := Parse(AppendV2(nil, Proxy, from, to, twice), 0, &Header{}); st != Malformed {
		t.Errorf("two checksums: %v", st)
	}
}

// sumIn returns the value of the checksum in a header.
func sumIn(header []byte) string {
	t := TLVs(header[v2Bytes+v2IPv4Bytes:])
	for kind, value, ok := t.Next(); ok; kind, value, ok = t.Next() {
		if kind == TypeCRC32C {
			return string(value)
		}
	}
	return ""
}

// TestKnownChecksum is a header whose sum was computed apart from this code, bit by bit.
func TestKnownChecksum(t *testing.T) {
	in := []byte(unhex(signature + "21 11 0013" + ipv4 + "03 0004 00000000"))
	sum := ^uint32(0)
	for _, c := range in { // RFC 4960 appendix B, reflected
		sum ^= uint32(c)
		for range 8 {
			sum = sum>>1 ^ 0x82f63b78&-(sum&1)
		}
	}
	binary.BigEndian.PutUint32(in[len(in)-4:], ^sum)
	if _, st := Parse(in, 0, &Header{}); st != Done {
		t.Errorf("%v", st)
	}
}
