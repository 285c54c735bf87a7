package sock

import (
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// soOriginalDst is SO_ORIGINAL_DST of both families (linux/netfilter_ipv4.h, netfilter_ipv6/ip6_tables.h).
const soOriginalDst = 80

// OriginalDst asks netfilter where a redirected connection was made to; invalid when it was not
// redirected.
func OriginalDst(fd int, v4 bool) netip.AddrPort {
	level := uintptr(unix.SOL_IPV6)
	if v4 {
		level = unix.SOL_IP
	}
	r := rawAddr{len: unix.SizeofSockaddrAny}
	_, _, e := unix.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(fd), level, soOriginalDst,
		uintptr(unsafe.Pointer(&r.any)), uintptr(unsafe.Pointer(&r.len)), 0)
	if e != 0 {
		return netip.AddrPort{}
	}
	return r.addrPort()
}
