//go:build !linux

package sock

import "net/netip"

// OriginalDst is known on Linux only.
func OriginalDst(int, bool) netip.AddrPort { return netip.AddrPort{} }
