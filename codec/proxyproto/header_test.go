package proxyproto

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

// exact returns the bytes with no room behind them, so that reading too far panics.
func exact(s string) []byte {
	b := []byte(s)
	return b[:len(b):len(b)]
}

// parseCut parses in as it grows through the cuts, and then whole.
func parseCut(in string, cuts []int, maxBytes int, h *Header) (int, Status) {
	for _, end := range cuts {
		if n, st := Parse(exact(in[:end]), maxBytes, h); st != NeedMore {
			return n, st
		}
	}
	return Parse(exact(in), maxBytes, h)
}

// everyByte is the cuts of the slowest sender.
func everyByte(in string) []int {
	cuts := make([]int, len(in))
	for i := range cuts {
		cuts[i] = i
	}
	return cuts
}

// describe shows all that a header says.
func describe(h *Header) string {
	s := fmt.Sprintf("v%d", h.Version)
	if h.Local {
		s += " local"
	}
	if h.Source.IsValid() || h.Destination.IsValid() {
		s += fmt.Sprintf(" %v %v", h.Source, h.Destination)
	}
	it := h.TLVs
	for t, v, ok := it.Next(); ok; t, v, ok = it.Next() {
		s += fmt.Sprintf(" %02x=%q", t, v)
	}
	if len(it) > 0 {
		s += " and a part"
	}
	return s
}

// parse fails the test unless the whole input and every way of waiting for it give the same answer.
func parse(t *testing.T, in string, maxBytes int) (n int, st Status, h *Header) {
	t.Helper()
	var slow Header
	h = &Header{}
	n, st = parseCut(in, nil, maxBytes, h)
	n2, st2 := parseCut(in, everyByte(in), maxBytes, &slow)
	if n != n2 || st != st2 || describe(h) != describe(&slow) {
		t.Errorf("whole: %d %v %s\nbyte by byte: %d %v %s", n, st, describe(h), n2, st2, describe(&slow))
	}
	return n, st, h
}

// unhex reads hexadecimal digits, with spaces where they help.
func unhex(s string) string {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		panic(err)
	}
	return string(b)
}

func TestFirstBytes(t *testing.T) {
	tests := []struct {
		name string
		in   string
		want Status
	}{
		{"nothing yet", "", NeedMore},
		{"one byte of version 1", "P", NeedMore},
		{"version 1 less its space", "PROXY", NeedMore},
		{"a POST request", "PO", NotProxy},
		{"a TLS hello", "\x16", NotProxy},
		{"the prefix of version 1 in lower case", "p", NotProxy},
		{"an HTTP/2 preface", "PRI", NotProxy},
		{"one byte of version 2", "\r", NeedMore},
		{"the signature of version 2", v2Signature, NeedMore},
		{"the signature and a last byte that is wrong", v2Signature[:11] + "X", NotProxy},
		{"empty lines before a request", "\r\n\r\nG", NotProxy},
	}
	for _, tt := range tests {
		t.Run("TCP-71 "+tt.name, func(t *testing.T) {
			if n, st, _ := parse(t, tt.in, 0); st != tt.want || n != 0 {
				t.Errorf("%d %v, want %v", n, st, tt.want)
			}
		})
	}
}

func TestV1(t *testing.T) {
	long := "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"
	high := "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff" // the same length, and unicast
	pad := func(total int) string {
		return "PROXY UNKNOWN " + strings.Repeat("x", total-len("PROXY UNKNOWN \r\n")) + "\r\n"
	}
	ok := func(addresses string) string { return "v1 " + addresses }
	malformed := "malformed v1"
	tests := []struct {
		name string
		in   string
		want string
	}{
		{"the specification's example", "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n", ok("192.168.0.1:56324 192.168.0.11:443")},
		{"the longest line of IPv4", "PROXY TCP4 223.255.255.255 223.255.255.254 65535 65535\r\n", ok("223.255.255.255:65535 223.255.255.254:65535")},
		{"the longest line of IPv6", "PROXY TCP6 " + high + " " + high + " 65535 65535\r\n", ok("[" + high + "]:65535 [" + high + "]:65535")},
		{"IPv6 in short", "PROXY TCP6 2001:db8::1 ::1 1 2\r\n", ok("[2001:db8::1]:1 [::1]:2")},
		{"IPv6 in upper case", "PROXY TCP6 2001:DB8::A ::1 1 2\r\n", ok("[2001:db8::a]:1 [::1]:2")},
		{"two mapped addresses are IPv4", "PROXY TCP6 ::ffff:192.0.2.1 ::ffff:c000:202 1 2\r\n", ok("192.0.2.1:1 192.0.2.2:2")},
		{"one mapped address stays", "PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n", ok("[::ffff:192.0.2.1]:1 [::1]:2")},
		{"port 0", "PROXY TCP4 192.0.2.1 192.0.2.2 0 0\r\n", ok("192.0.2.1:0 192.0.2.2:0")},
		{"UNKNOWN, short", "PROXY UNKNOWN\r\n", "v1 local"},
		{"UNKNOWN and addresses", "PROXY UNKNOWN " + long + " " + long + " 65535 65535\r\n", "v1 local"},
		{"UNKNOWN and anything", "PROXY UNKNOWN  \x00\xff what\r\n", "v1 local"},
		{"UNKNOWN in 107 bytes", pad(107), "v1 local"},
		{"UNKNOWN in 108 bytes", pad(108), malformed},
		{"105 bytes without an end", "PROXY TCP4 " + strings.Repeat("1", 94), "need more v1"},
		{"106 bytes without an end, which is too late then", "PROXY TCP4 " + strings.Repeat("1", 95), malformed},
		{"a line without its LF", "PROXY UNKNOWN\r", "need more v1"},
		{"a bare CR", "PROXY UNKNOWN\rx", malformed},
		{"a bare LF", "PROXY UNKNOWN\n", malformed},
		{"a bare LF in what UNKNOWN ignores", "PROXY UNKNOWN x\ny\r\n", malformed},
		{"UNKNOWN and no space", "PROXY UNKNOWNx\r\n", malformed},
		{"no protocol", "PROXY\r\n", malformed},
		{"a space for a protocol", "PROXY \r\n", malformed},
		{"no space after the prefix", "PROXYTCP4 192.0.2.1 192.0.2.2 1 2\r\n", malformed},
		{"two spaces after the prefix", "PROXY  TCP4 192.0.2.1 192.0.2.2 1 2\r\n", malformed},
		{"an unknown protocol", "PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n", malformed},
		{"a protocol in lower case", "PROXY tcp4 192.0.2.1 192.0.2.2 1 2\r\n", malformed},
		{"TCP4 and nothing", "PROXY TCP4\r\n", malformed},
		{"TCP4 and a space", "PROXY TCP4 \r\n", malformed},
		{"one address", "PROXY TCP4 192.0.2.1\r\n", malformed},
		{"no ports", "PROXY TCP4 192.0.2.1 192.0.2.2\r\n", malformed},
		{"one port", "PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n", malformed},
		{"an empty second port", "PROXY TCP4 192.0.2.1 192.0.2.2 1 \r\n", malformed},
		{"a space at the end", "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n", malformed},
		{"a third port", "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n", malformed},
		{"two spaces between addresses", "PROXY TCP4 192.0.2.1  192.0.2.2 1 2\r\n", malformed},
		{"a tab between addresses", "PROXY TCP4 192.0.2.1\t192.0.2.2 1 2\r\n", malformed},
		{"a port over 65535", "PROXY TCP4 192.0.2.1 192.0.2.2 65536 2\r\n", malformed},
		{"a port of six digits", "PROXY TCP4 192.0.2.1 192.0.2.2 1 100000\r\n", malformed},
		{"a port with a leading zero", "PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n", malformed},
		{"port 00", "PROXY TCP4 192.0.2.1 192.0.2.2 1 00\r\n", malformed},
		{"a port with a plus sign", "PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n", malformed},
		{"a negative port", "PROXY TCP4 192.0.2.1 192.0.2.2 -1 2\r\n", malformed},
		{"a hexadecimal port", "PROXY TCP4 192.0.2.1 192.0.2.2 0x1 2\r\n", malformed},
		{"TCP4 with IPv6", "PROXY TCP4 ::1 ::2 1 2\r\n", malformed},
		{"TCP6 with IPv4", "PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n", malformed},
		{"TCP6 with a zone", "PROXY TCP6 fe80::1%eth0 fe80::2 1 2\r\n", malformed},
		{"TCP6 in brackets", "PROXY TCP6 [::1] [::2] 1 2\r\n", malformed},
		{"an octet over 255", "PROXY TCP4 192.0.2.256 192.0.2.2 1 2\r\n", malformed},
		{"an octet with a leading zero", "PROXY TCP4 192.0.02.1 192.0.2.2 1 2\r\n", malformed},
		{"three octets", "PROXY TCP4 192.0.2 192.0.2.2 1 2\r\n", malformed},
		{"five octets", "PROXY TCP4 192.0.2.1.1 192.0.2.2 1 2\r\n", malformed},
		{"no address but 0.0.0.0", "PROXY TCP4 0.0.0.0 192.0.2.2 1 2\r\n", malformed},
		{"broadcast", "PROXY TCP4 192.0.2.1 255.255.255.255 1 2\r\n", malformed},
		{"multicast", "PROXY TCP4 224.0.0.1 192.0.2.2 1 2\r\n", malformed},
		{"no address but ::", "PROXY TCP6 ::1 :: 1 2\r\n", malformed},
		{"IPv6 multicast", "PROXY TCP6 ff02::1 ::1 1 2\r\n", malformed},
	}
	for _, tt := range tests {
		t.Run("TCP-71 "+tt.name, func(t *testing.T) {
			body := ""
			if strings.HasPrefix(tt.want, "v1") {
				body = "GET / HTTP/1.1\r\n"
			}
			n, st, h := parse(t, tt.in+body, 0)
			got := describe(h)
			if st != Done {
				got = st.String() + " " + got
			}
			if got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
			if want := len(tt.in); st == Done && n != want || st != Done && n != 0 {
				t.Errorf("%d bytes of %d", n, want)
			}
		})
	}
}

// TestAddressesAsNetip holds the readers of addresses against net/netip.
func TestAddressesAsNetip(t *testing.T) {
	for _, s := range addressTexts {
		checkAddress(t, s)
		for i := range s {
			checkAddress(t, s[:i])
			checkAddress(t, s[i:])
			checkAddress(t, s[:i]+s[i+1:])
			checkAddress(t, s[:i]+":"+s[i:])
			checkAddress(t, s[:i]+"."+s[i:])
			checkAddress(t, s[:i]+"0"+s[i:])
		}
	}
}

var addressTexts = []string{
	"", "1.2.3.4", "0.0.0.0", "255.255.255.255", "256.1.1.1", "::", "::1", "1::", "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7::",
	"::2:3:4:5:6:7:8", "1::3:4:5:6:7:8", "1:2:3:4:5:6:1.2.3.4", "::ffff:1.2.3.4", "::1.2.3.4", "1:2:3:4:5:6:7:1.2.3.4",
	"1::2::3", "12345::", "ABCD:ef01::", "g::", ":1", "1:", "1.2.3.4:5", "::1%eth0", "::ffff:1.2.3.4.5", "0001:02:003:4::",
}

func checkAddress(t *testing.T, s string) {
	t.Helper()
	want, err := netip.ParseAddr(s)
	plain := err == nil && want.Zone() == ""
	if got, ok := parseIPv4([]byte(s)); ok != (plain && want.Is4()) || ok && got != want {
		t.Fatalf("IPv4 %q: %v %v, by netip %v %v", s, got, ok, want, err)
	}
	if got, ok := parseIPv6([]byte(s)); ok != (plain && want.Is6()) || ok && got != want {
		t.Fatalf("IPv6 %q: %v %v, by netip %v %v", s, got, ok, want, err)
	}
}

// Headers of version 2, written by hand from the specification, 2.2.
const (
	signature = "0d0a0d0a 000d0a51 5549540a"
	ipv4      = "c0a80001 c0a8000b dc04 01bb" // 192.168.0.1:56324 to 192.168.0.11:443
	ipv6      = "20010db8000000000000000000000001 20010db8000000000000000000000002 dc04 01bb"
	said4     = "v2 192.168.0.1:56324 192.168.0.11:443"
	said6     = "v2 [2001:db8::1]:56324 [2001:db8::2]:443"
)

func TestV2(t *testing.T) {
	mapped := "00000000000000000000ffffc0000201"
	malformed := "malformed v2"
	tests := []struct {
		name string
		hex  string // after the signature
		want string
	}{
		{"TCP over IPv4", "21 11 000c" + ipv4, said4},
		{"TCP over IPv6", "21 21 0024" + ipv6, said6},
		{"two mapped addresses are IPv4", "21 21 0024" + mapped + mapped + "0001 0002", "v2 192.0.2.1:1 192.0.2.1:2"},
		{"LOCAL", "20 00 0000", "v2 local"},
		{"LOCAL and addresses, which are skipped", "20 11 000c" + ipv4, "v2 local"},
		{"LOCAL and bytes of a family that is ignored", "20 ff 0003 ffffff", "v2 local"},
		{"LOCAL of UNIX sockets, less than their addresses", "20 31 0001 00", "v2 local"},
		{"AF_UNSPEC", "21 00 0000", "v2 local"},
		{"AF_UNSPEC and bytes, which are skipped", "21 00 0004 00112233", "v2 local"},
		{"UDP over IPv4", "21 12 000c" + ipv4, malformed},
		{"UDP over IPv6", "21 22 0024" + ipv6, malformed},
		{"UNIX stream, at once", "21 31", malformed},
		{"UNIX datagram, at once", "21 32", malformed},
		{"IPv4 of no protocol", "21 10 000c" + ipv4, malformed},
		{"no family and a protocol", "21 01 000c" + ipv4, malformed},
		{"a family that is not assigned", "21 41 000c" + ipv4, malformed},
		{"a protocol that is not assigned", "21 13 000c" + ipv4, malformed},
		{"a command that is not assigned, at once", "22", malformed},
		{"version 1 in binary, at once", "11", malformed},
		{"version 3 in binary, at once", "31", malformed},
		{"less than the addresses of IPv4, at once", "21 11 000b", malformed},
		{"less than the addresses of IPv6, at once", "21 21 0023", malformed},
		{"addresses less a byte", "21 11 000c" + ipv4[:len(ipv4)-2], "need more v2"},
		{"no address but 0.0.0.0", "21 11 000c 00000000 c0a80001 0001 0002", malformed},
		{"multicast", "21 11 000c c0a80001 e0000001 0001 0002", malformed},
		{"one TLV", "21 11 0011" + ipv4 + "01 0002 6832", said4 + ` 01="h2"`},
		{"TLVs in order, an empty one too", "21 21 002e" + ipv6 + "04 0000 02 0001 61 ee 0000", said6 + ` 04="" 02="a" ee=""`},
		{"a TLV that is longer than the header", "21 11 0011" + ipv4 + "01 0003 6832", malformed},
		{"two bytes for a TLV", "21 11 000e" + ipv4 + "01 00", malformed},
		{"a TLV of one byte after a whole one", "21 11 0010" + ipv4 + "04 0000 04", malformed},
		{"a TLV of LOCAL that is cut short, which is skipped", "20 00 0002 01 00", "v2 local"},
		{"a wrong checksum", "21 11 0013" + ipv4 + "03 0004 00000000", malformed},
		{"a checksum of three bytes", "21 11 0012" + ipv4 + "03 0003 000000", malformed},
		{"a checksum of LOCAL, which is skipped", "20 00 0007 03 0004 00000000", "v2 local"},
	}
	for _, tt := range tests {
		t.Run("TCP-71 "+tt.name, func(t *testing.T) {
			in := unhex(signature + tt.hex)
			body := ""
			if strings.HasPrefix(tt.want, "v2") {
				body = "\x01\x02\x03 body"
			}
			n, st, h := parse(t, in+body, 0)
			got := describe(h)
			if st != Done {
				got = st.String() + " " + got
			}
			if got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
			if st == Done && n != len(in) || st != Done && n != 0 {
				t.Errorf("%d bytes of %d", n, len(in))
			}
		})
	}
}

func TestLimitOfV2(t *testing.T) {
	in := unhex(signature + "21 11 0011" + ipv4 + "01 0002 6832")
	largest := unhex(signature+"21 00 ffff") + strings.Repeat("x", 65535)
	tests := []struct {
		name string
		in   string
		max  int
		want Status
	}{
		{"exactly the limit", in, 17, Done},
		{"a byte over the limit", in, 16, TooLarge},
		{"over the limit, known from the length", in[:v2Bytes], 16, TooLarge},
		{"over the limit, the length cut short", in[:v2Bytes-1], 16, NeedMore},
		{"LOCAL is bounded too", unhex(signature + "20 00 0011"), 16, TooLarge},
		{"the largest, and no limit", largest, 0, Done},
		{"the largest less a byte", largest[:len(largest)-1], 0, NeedMore},
		{"version 1 has its own limit", "PROXY UNKNOWN\r\n", 1, Done},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n, st := Parse(exact(tt.in), tt.max, &Header{})
			if st != tt.want || st == Done && n != len(tt.in) {
				t.Errorf("%d %v, want %v", n, st, tt.want)
			}
		})
	}
}

func TestParseForgetsTheLastHeader(t *testing.T) {
	full := unhex(signature + "21 11 0011" + ipv4 + "01 0002 6832")
	for _, next := range []string{"", "G", "PROXY UNKNOWN\r\n", "PROXY x\r\n", full[:20], unhex(signature + "20 00 0000"), unhex(signature + "22")} {
		var h, fresh Header
		if _, st := Parse([]byte(full), 0, &h); st != Done {
			t.Fatal(st)
		}
		Parse([]byte(next), 0, &h)
		Parse([]byte(next), 0, &fresh)
		if describe(&h) != describe(&fresh) {
			t.Errorf("%q: %s, by itself %s", next, describe(&h), describe(&fresh))
		}
	}
}
