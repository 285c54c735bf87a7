//go:build !race

package sniff

import (
	"strings"
	"testing"
)

// TestNothingAllocates reads hellos in one record and in many, their fingerprints, and request lines,
// with warm room.
func TestNothingAllocates(t *testing.T) {
	body := with(serverName("A.example"), protocols("h2", "http/1.1"), extension(extSupportedGroups, vec16(list16(29, 23))),
		extension(extSignatures, vec16(list16(0x0403, 0x0804))), extension(extSupportedVersions, vec8(list16(0x0304))))
	one, many, line := []byte(wire(body)), []byte(records(body, 30)), []byte("GET /"+strings.Repeat("a", 100)+" HTTP/1.1\r\n")
	var h ClientHello
	dst := make([]byte, 0, 128)
	look := func() {
		for _, in := range [][]byte{one, many} {
			ParseClientHello(in[:len(in)/2], 0, &h)
			if s := ParseClientHello(in, 0, &h); s != TLS || string(h.ServerName()) != "a.example" || !h.Supports(0x0304) {
				t.Fatal(s)
			}
			list := h.Protocols()
			for name, ok := list.Next(); ok; name, ok = list.Next() {
				dst = append(dst[:0], name...)
			}
			dst = h.JA4(h.JA3(dst[:0]))
		}
		if p := DetectHTTP(line, 50, 0); p != HTTP11 {
			t.Fatal(p)
		}
	}
	look()
	if n := testing.AllocsPerRun(100, look); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
