package proxyproto

import (
	"slices"
	"testing"
)

// cutsOf makes ascending places to end a read at.
func cutsOf(places []byte, length int) []int {
	var cuts []int
	for _, p := range places {
		cuts = append(cuts, int(p)*length/255)
	}
	slices.Sort(cuts)
	return cuts
}

// FuzzParse: reads cut anywhere give the same answer; what is accepted and written again, in either
// version, says the same; bytes after the header change nothing.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\nGET", "PROXY TCP6 2001:db8::1 ::ffff:192.0.2.1 1 2\r\n",
		"PROXY UNKNOWN x\r\n", "PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n", "GET / HTTP/1.1\r\n",
		unhex(signature + "21 11 0011" + ipv4 + "01 0002 6832"), unhex(signature + "21 21 0027" + ipv6 + "04 0000"),
		unhex(signature + "20 00 0003 ffffff"), unhex(signature + "21 00 0000"),
		string(AppendV2(nil, Proxy, addrPort("192.0.2.1:1"), addrPort("192.0.2.2:2"), AppendTLV(nil, TypeCRC32C, []byte("any4")))),
	} {
		f.Add([]byte(s), []byte{40, 200})
	}
	f.Fuzz(func(t *testing.T, in []byte, places []byte) {
		if len(in) > 1024 {
			return
		}
		text := string(in)
		for _, maxBytes := range []int{0, 40} {
			var whole Header
			n, st := parseCut(text, nil, maxBytes, &whole)
			for _, cuts := range [][]int{everyByte(text), cutsOf(places, len(text))} {
				var h Header
				if n2, st2 := parseCut(text, cuts, maxBytes, &h); n != n2 || st != st2 || describe(&h) != describe(&whole) {
					t.Fatalf("cuts %v: %d %v %s\nwhole: %d %v %s", cuts, n2, st2, describe(&h), n, st, describe(&whole))
				}
			}
			if st == Done {
				again(t, text[:n], &whole)
			} else if n != 0 || whole.Source.IsValid() || whole.TLVs != nil {
				t.Fatalf("%v, but %d bytes and %s", st, n, describe(&whole))
			}
		}
	})
}

func again(t *testing.T, header string, h *Header) {
	t.Helper()
	var h1, h2 Header
	if n, st := parseCut(header, nil, 0, &h1); st != Done || n != len(header) || describe(&h1) != describe(h) {
		t.Fatalf("without what follows: %v %s, with it %s", st, describe(&h1), describe(h))
	}
	v1 := string(AppendV1(nil, h.Source, h.Destination))
	if n, st := parseCut(v1, nil, 0, &h1); st != Done || n != len(v1) {
		t.Fatalf("%q is read back as %v", v1, st)
	}
	v2 := string(AppendV2(nil, Proxy, h.Source, h.Destination, h.TLVs))
	if n, st := parseCut(v2, nil, 0, &h2); st != Done || n != len(v2) {
		t.Fatalf("%q is read back as %v", v2, st)
	}
	h1.Version, h1.TLVs, h2.Version = h.Version, h.TLVs, h.Version
	if describe(&h1) != describe(h) || describe(&h2) != describe(h) {
		t.Fatalf("%s is read back as %s and %s", describe(h), describe(&h1), describe(&h2))
	}
}

// FuzzAddress holds the readers of addresses against net/netip.
func FuzzAddress(f *testing.F) {
	for _, s := range addressTexts {
		f.Add(s)
	}
	f.Fuzz(checkAddress)
}
