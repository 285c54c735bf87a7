//go:build !race

package proxyproto

import "testing"

// TestNothingAllocates writes and reads each kind of header, its TLVs and checksum included.
func TestNothingAllocates(t *testing.T) {
	pairs := [][2]string{{"192.0.2.1:1", "192.0.2.2:65535"}, {"[2001:db8::1]:1", "[2001:db8::2]:65535"}, {"", ""}}
	dst, tlvs := make([]byte, 0, 512), make([]byte, 0, 64)
	for _, pair := range pairs {
		from, to := addrPort(pair[0]), addrPort(pair[1])
		exchange := func() {
			var h Header
			dst = AppendV1(dst[:0], from, to)
			Parse(dst[:len(dst)/2], 0, &h)
			if _, st := Parse(dst, 0, &h); st != Done || h.Source != from {
				t.Fatal(st)
			}
			tlvs = AppendTLV(AppendTLV(tlvs[:0], TypeAuthority, dst[:5]), TypeCRC32C, dst[:4])
			dst = AppendV2(dst[:0], Proxy, from, to, tlvs)
			if _, st := Parse(dst, 0, &h); st != Done || h.Source != from {
				t.Fatal(st)
			}
			it := h.TLVs
			for _, v, ok := it.Next(); ok; _, v, ok = it.Next() {
				tlvs = append(tlvs[:0], v...)
			}
		}
		if n := testing.AllocsPerRun(100, exchange); n != 0 {
			t.Errorf("%v: %v allocations", pair, n)
		}
	}
}
