//go:build linux && !race

package sock

import (
	"net/netip"
	"testing"
)

func TestCallsDoNotAllocate(t *testing.T) {
	ln, err := ListenTCP(netip.MustParseAddrPort("[::1]:0"), ListenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer Close(ln)
	addr := LocalAddr(ln)
	b := make([]byte, 64)
	if n := testing.AllocsPerRun(100, func() {
		c, e := DialTCP(addr, netip.AddrPort{})
		if k := Classify(e); k != OK && k != InProgress {
			t.Fatal(e)
		}
		s, remote, e := Accept(ln)
		for Classify(e) == Again {
			s, remote, e = Accept(ln)
		}
		if e != 0 || remote != LocalAddr(c) {
			t.Fatal(e, remote)
		}
		Write2(c, b[:1], b[1:])
		Writev(c, [][]byte{b, b})
		Read2(s, b[:10], b[10:])
		ResetOnClose(c)
		Close(c)
		Close(s)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
