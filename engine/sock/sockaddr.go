package sock

import (
	"net/netip"

	"golang.org/x/sys/unix"
)

// toSockaddr is for set-up, where an allocation is no matter.
func toSockaddr(a netip.AddrPort) unix.Sockaddr {
	if ip := a.Addr(); ip.Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: ip.As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16(), ZoneId: scopeOf(a.Addr())}
}
