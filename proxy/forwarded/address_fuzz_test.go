package forwarded

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestParseAddrProperty: texts near to addresses are read as netip reads them.
func TestParseAddrProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		checkAddr(t, rapid.StringMatching(`([0-9a-fA-F]{0,5}:{1,2}){0,9}([0-9]{1,3}\.){0,4}[0-9a-f]{0,4}`).Draw(t, "addr"))
	})
}

// FuzzParseAddr: whatever the bytes, parseAddr and netip agree, zones aside.
func FuzzParseAddr(f *testing.F) {
	for _, s := range []string{"1.2.3.4", "::1", "2001:db8::1.2.3.4", "1:2:3:4:5:6:7:8"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if !strings.Contains(s, "%") {
			checkAddr(t, s)
		}
	})
}
