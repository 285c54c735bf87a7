package sniff

import (
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// numbers reads a list of values in a base, such as 47-53 or 002f,0035.
func numbers(t *testing.T, list, separator string, base int) (values []uint16) {
	t.Helper()
	if list == "" {
		return nil
	}
	for _, s := range strings.Split(list, separator) {
		n, err := strconv.ParseUint(s, base, 16)
		if err != nil {
			t.Fatal(err)
		}
		values = append(values, uint16(n))
	}
	return values
}

// offer is a hello with extensions of these types, filled with what the fingerprints read.
func offer(version int, ciphers, kinds, groups []uint16, points string, signatures []uint16, names ...string) string {
	f := fields{version: version, ciphers: list16(ciphers...), methods: "\x00"}
	for _, kind := range kinds {
		switch kind {
		case extServerName:
			f.extensions += serverName("example.com")
		case extSupportedGroups:
			f.extensions += extension(int(kind), vec16(list16(groups...)))
		case extPointFormats:
			f.extensions += extension(int(kind), vec8(points))
		case extSignatures:
			f.extensions += extension(int(kind), vec16(list16(signatures...)))
		case extProtocols:
			f.extensions += protocols(names...)
		case extSupportedVersions:
			f.extensions += extension(int(kind), vec8(list16(0x0303, 0x0304)))
		default:
			f.extensions += extension(int(kind), "")
		}
	}
	f.noBlock = kinds == nil
	return wire(f.body())
}

func TestJA3(t *testing.T) {
	tests := []struct {
		name string
		in   string
		text string
		want string
	}{
		{
			"the published example",
			offer(769, numbers(t, "47-53-5-10-49161-49162-49171-49172-50-56-19-4", "-", 10), []uint16{0, 10, 11}, []uint16{23, 24, 25}, "\x00", nil),
			"769,47-53-5-10-49161-49162-49171-49172-50-56-19-4,0-10-11,23-24-25,0", "ada70206e40642a3e4461f35503241d5",
		},
		{
			"the published example without extensions",
			offer(769, numbers(t, "4-5-10-9-100-98-3-6-19-18-99", "-", 10), nil, nil, "", nil),
			"769,4-5-10-9-100-98-3-6-19-18-99,,,", "de350869b8c85de67a350c8d186f11e6",
		},
		{
			"GREASE is left out of every list",
			offer(769, numbers(t, "2570-47-53-5-10-49161-64250-49162-49171-49172-50-56-19-4-6682", "-", 10), []uint16{0x1a1a, 0, 10, 11, 0xfafa},
				[]uint16{0x2a2a, 23, 24, 25, 0x3a3a}, "\x00", nil),
			"769,47-53-5-10-49161-49162-49171-49172-50-56-19-4,0-10-11,23-24-25,0", "ada70206e40642a3e4461f35503241d5",
		},
		{
			"several point formats, and values that only look like GREASE",
			offer(771, []uint16{0x0a1a, 0x1a0a}, []uint16{11, 10}, []uint16{0x0b0b}, "\x00\x01\x02", nil),
			"771,2586-6666,11-10,2827,0-1-2", "",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, h := parse(t, tt.in, 0)
			if s != TLS {
				t.Fatal(s)
			}
			if got := string(h.appendJA3Text(nil)); got != tt.text {
				t.Errorf("%s, want %s", got, tt.text)
			}
			want := tt.want
			if want == "" {
				sum := md5.Sum([]byte(tt.text))
				want = hex.EncodeToString(sum[:])
			}
			if got := string(h.JA3([]byte("x="))); got != "x="+want {
				t.Errorf("%s, want %s", got, want)
			}
		})
	}
}

// The lists of the example in FoxIO's description of JA4.
const (
	ja4Ciphers    = "1301,1302,1303,c02b,c02f,c02c,c030,cca9,cca8,c013,c014,009c,009d,002f,0035"
	ja4Extensions = "001b,0000,0033,0010,4469,0017,002d,000d,0005,0023,0012,002b,ff01,000b,000a,0015"
	ja4Signatures = "0403,0804,0401,0503,0805,0501,0806,0601"
)

func TestJA4(t *testing.T) {
	ciphers, kinds := numbers(t, ja4Ciphers, ",", 16), numbers(t, ja4Extensions, ",", 16)
	signatures := numbers(t, ja4Signatures, ",", 16)
	groups := []uint16{29}
	without := func(list []uint16, v ...uint16) []uint16 {
		return slices.DeleteFunc(slices.Clone(list), func(x uint16) bool { return slices.Contains(v, x) })
	}
	grease := func(list []uint16) []uint16 { return append(append([]uint16{0x9a9a}, list...), 0xbaba) }
	var hundred []uint16
	for i := range 100 {
		hundred = append(hundred, uint16(1000+i))
	}
	tests := []struct {
		name string
		in   string
		want string
	}{
		{"the published example", offer(0x0303, ciphers, kinds, groups, "\x00", signatures, "h2", "http/1.1"), "t13d1516h2_8daaf6152771_e5627efa2ab1"},
		{"GREASE counts nowhere", offer(0x0303, grease(ciphers), grease(kinds), grease(groups), "\x00", grease(signatures), "h2"), "t13d1516h2_8daaf6152771_e5627efa2ab1"},
		{"the order of ciphers and extensions does not count", offer(0x0303, sorted(ciphers), sorted(kinds), groups, "\x00", signatures, "h2"), "t13d1516h2_8daaf6152771_e5627efa2ab1"},
		{"no name: the third part stays", offer(0x0303, ciphers, without(kinds, 0), groups, "\x00", signatures, "h2"), "t13i1515h2_8daaf6152771_e5627efa2ab1"},
		{"no protocol: the third part stays", offer(0x0303, ciphers, without(kinds, 16), groups, "\x00", signatures), "t13d151500_8daaf6152771_e5627efa2ab1"},
		{"no extensions at all", offer(0x0302, ciphers, nil, nil, "", nil), "t11i150000_8daaf6152771_000000000000"},
		{"no extensions but name and protocol", offer(0x0301, ciphers, []uint16{0, 16}, nil, "", nil, "h2"), "t10d1502h2_8daaf6152771_000000000000"},
		{"nothing but GREASE among the ciphers", offer(0x0300, []uint16{0x0a0a}, nil, nil, "", nil), "ts3i000000_000000000000_000000000000"},
		{"a hundred ciphers", offer(0x0303, hundred, nil, nil, "", nil), "t12i990000_" + shaOf(hexList(hundred)) + "_000000000000"},
		{"an unknown version", offer(0x0305, ciphers, nil, nil, "", nil), "t00i150000_8daaf6152771_000000000000"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, h := parse(t, tt.in, 1<<20)
			if s != TLS {
				t.Fatal(s)
			}
			if got := string(h.JA4([]byte("x="))); got != "x="+tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}

// TestJA4WithoutSignatures: the published text without algorithms ends without an underscore.
func TestJA4WithoutSignatures(t *testing.T) {
	text := "0005,000a,000b,000d,0012,0015,0017,001b,0023,002b,002d,0033,4469,ff01"
	if got := string(appendHash(nil, appendSignatures([]byte(text), nil))); got != "6d807ffa2a79" {
		t.Error(got)
	}
	if got := string(appendHash(nil, appendSignatures([]byte(text), []byte(list16(0x1a1a))))); got != "6d807ffa2a79" {
		t.Error(got)
	}
}

func TestJA4Protocol(t *testing.T) {
	tests := []struct{ name, protocol, want string }{
		{"h2", "h2", "h2"},
		{"http/1.1", "http/1.1", "h1"},
		{"one character", "x", "xx"},
		{"upper case stays", "Ab9Z", "AZ"},
		{"the published bytes ab", "\xab", "ab"},
		{"the published bytes ab cd", "\xab\xcd", "ad"},
		{"the published bytes 30 ab", "\x30\xab", "3b"},
		{"the published bytes 30 31 ab cd", "\x30\x31\xab\xcd", "3d"},
		{"the published bytes 30 ab cd 31", "\x30\xab\xcd\x31", "01"},
		{"a mark at the end", "ab-", "6d"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, h := parse(t, wire(with(protocols(tt.protocol, "later"))), 0)
			if got := string(h.JA4(nil)); got[8:10] != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}

func TestJA4Version(t *testing.T) {
	want := map[uint16]string{0x0304: "13", 0x0303: "12", 0x0302: "11", 0x0301: "10", 0x0300: "s3", 2: "s2", 0xfeff: "d1", 0xfefd: "d2", 0xfefc: "d3"}
	for v := range 1 << 16 {
		expect, known := want[uint16(v)]
		if !known {
			expect = "00"
		}
		if got := ja4Version(uint16(v)); got != expect {
			t.Errorf("%04x: %s, want %s", v, got, expect)
		}
	}
}

func TestGREASE(t *testing.T) {
	var got []string
	for v := range 1 << 16 {
		if isGREASE(uint16(v)) {
			got = append(got, fmt.Sprintf("%04x", v))
		}
	}
	want := "0a0a 1a1a 2a2a 3a3a 4a4a 5a5a 6a6a 7a7a 8a8a 9a9a aaaa baba caca dada eaea fafa" // RFC 8701 2
	if s := strings.Join(got, " "); s != want {
		t.Error(s)
	}
}

func sorted(list []uint16) []uint16 { return slices.Sorted(slices.Values(list)) }

func hexList(list []uint16) string {
	var s []string
	for _, v := range list {
		s = append(s, fmt.Sprintf("%04x", v))
	}
	return strings.Join(s, ",")
}

func shaOf(text string) string {
	return fmt.Sprintf("%x", sha256.Sum256([]byte(text)))[:ja4HashDigits]
}
