package sock

import (
	"net"
	"net/netip"
	"strconv"
)

// scopeOf returns the interface index in ip's zone (its number or its name).
func scopeOf(ip netip.Addr) uint32 {
	zone := ip.Zone()
	if zone == "" {
		return 0
	}
	if n, err := strconv.ParseUint(zone, 10, 32); err == nil {
		return uint32(n)
	}
	ifi, err := net.InterfaceByName(zone)
	if err != nil {
		return 0
	}
	return uint32(ifi.Index)
}

// withScope gives link-local addresses their zone, as a number. Others have none.
func withScope(ip netip.Addr, scope uint32) netip.Addr {
	if scope == 0 || !ip.Is6() {
		return ip
	}
	return ip.WithZone(strconv.FormatUint(uint64(scope), 10))
}
